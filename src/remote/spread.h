/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spread.h: one stream of a VMM's over several connections
 *
 * What the VMM sends is cut into numbered blocks (blocks.h), which go over whichever connection is free and are put together in their
 * order on the other side, each of them compressed or not.  What the other VMM answers goes over the first connection alone.
 * Memory is bounded by two blocks a connection on either side, and a receiver that is slow slows the sender down.  Every connection
 * says at its end how many blocks there were: what is missing, comes twice or is cut is noticed, and nothing of it taken for whole.
 */
#pragma once

#include <stdatomic.h>

#include "remote/blocks.h"
#include "remote/pump.h"

typedef struct _spread spread;

/**
 * spreadBrokenFunc: it did not come to its end in good order; called once at most, from one of its threads, without a lock.
 * @index: of the connection at which it was noticed; @byVmm: it was the end of this host's VMM that failed
 */
typedef void (*spreadBrokenFunc)(unsigned index, bool byVmm, const GError *why, void *opaque);

typedef struct {
    bool sends;                  /* the VMM of this host is the one that sends */
    blocksMethod method;         /* of the one who sends; see blocksWriterNew() */
    int level;
    pumpLimit *limit;            /* of what the one who sends gives to the connections; a reference is taken.  Not NULL */
    unsigned stallMs;            /* see pumpOptions */
    atomic_bool *complete;       /* who sends: the end of the VMM's stream counts only if this is set by then; NULL: it counts */
    spreadBrokenFunc broken;
    void *opaque;
} spreadOptions;

/**
 * spreadNew: start.
 * @vmmFd: a stream socket, by which the VMM's bytes come and go; @ends: @count connections, in the same order on both hosts.
 *
 * Takes over the descriptors (which become non-blocking) and channels whatever it returns.  They are closed when all is over; a TCP
 * connection that has not had all of it is reset.  Errors: BASE_ERROR_SYSTEM.
 */
spread *spreadNew(int vmmFd, const pumpEnd *ends, unsigned count, const spreadOptions *options, GError **error);
/** spreadFree: cancel, wait for all threads.  Not from broken().  NULL is fine. */
void spreadFree(spread *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(spread, spreadFree)

/** spreadCancel: end soon, whatever the ends do; broken() is not called for it.  Any thread, any lock, does not wait. */
void spreadCancel(spread *s);
/** spreadBytes: how many have been handed to the receivers of that direction: the connections (with what blocks need beside the
 * bytes) or the VMM.  Forward is where the guest goes.  Any thread; takes no lock. */
uint64_t spreadBytes(const spread *s, pumpDirection direction);
