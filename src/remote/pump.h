/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pump.h: moves bytes between two stream descriptors, in a thread of its own
 *
 * Bytes that arrive at one end leave at the other, unchanged and in order, in one direction or in
 * both.  What is under way is bounded (about 1 MiB a direction), so a slow receiver slows the sender
 * down.  An end of stream is passed on after the last byte, the other direction goes on.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct _pump pump;

#define PUMP_WAIT (-1)
#define PUMP_ERROR (-2)

/*
 * What stands between an end's descriptor and the bytes, such as TLS.  All calls are made by the
 * pump's thread and never block; error texts are whole sentences.
 */
typedef struct {
    /* The number of bytes, 0 when the other side has said that this was all, PUMP_WAIT when nothing
     * comes before POLLIN, PUMP_ERROR with @error set. */
    gssize (*read)(void *channel, void *buffer, gsize len, GError **error);
    /* The number of bytes taken, PUMP_WAIT for POLLOUT (the same bytes are offered again). */
    gssize (*write)(void *channel, const void *buffer, gsize len, GError **error);
    /* Say that this was all: 0, PUMP_WAIT for POLLOUT, PUMP_ERROR. */
    int (*end)(void *channel, GError **error);
    GDestroyNotify free;             /* may be NULL */
} pumpChannelOps;

typedef struct {
    int fd;                          /* a stream socket; in a one-way pump also a pipe */
    const char *name;                /* for messages: "host 'h2'", "the VMM"; copied */
    const pumpChannelOps *ops;       /* NULL: the bytes are the descriptor's own */
    void *channel;
} pumpEnd;

/**
 * pumpEndedFunc: the pump has come to its end, by itself or not; called once, from its thread.
 * @why: NULL: each direction has ended after its last byte was taken.  BASE_ERROR_ABORTED:
 *     pumpCancel().  BASE_ERROR_TIMEOUT: a receiver took nothing for stallMs.  Otherwise
 *     BASE_ERROR_OPERATION_FAILED naming the end and what was wrong there.
 *
 * Both descriptors are closed by then; the counters can still be read.  May call everything but pumpFree().
 */
typedef void (*pumpEndedFunc)(pump *p, const GError *why, void *opaque);

typedef struct {
    bool twoWay;
    bool alwaysCopy;                 /* do not try splice() */
    uint64_t bytesPerSecond;         /* first to second; 0: unlimited */
    unsigned stallMs;                /* how long a receiver may take nothing of what there is for it; 0: for ever */
    pumpEndedFunc ended;             /* may be NULL */
    void *opaque;
} pumpOptions;

typedef enum {
    PUMP_FORWARD,                    /* from the first end to the second */
    PUMP_BACKWARD,
} pumpDirection;

/**
 * pumpNew: start moving bytes between @first and @second.
 *
 * Takes over both descriptors (which become non-blocking) and channels whatever it returns.  When
 * the pump ends before its time, by an error or by pumpCancel(), a TCP connection that has not had
 * all bytes is reset rather than ended, so that the other side cannot take it for complete.
 * Errors: BASE_ERROR_SYSTEM.
 */
pump *pumpNew(const pumpEnd *first, const pumpEnd *second, const pumpOptions *options,
              GError **error);
/** pumpFree: cancel, wait for the thread (and so for the end function).  Not from the end function.  NULL is fine. */
void pumpFree(pump *p);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(pump, pumpFree)

/** pumpCancel: end soon (well within 100 ms), whatever the ends do.  Any thread, any lock, does not wait. */
void pumpCancel(pump *p);
/** pumpSetLimit: a new speed from first to second, bytes/s, 0: unlimited; at once.  Any thread, any lock. */
void pumpSetLimit(pump *p, uint64_t bytesPerSecond);
/** pumpBytes: how many have been handed to the receiver of that direction.  Any thread; takes no lock. */
uint64_t pumpBytes(const pump *p, pumpDirection direction);
/** pumpFailedAt: in the end function: was it this end's fault that the pump did not last?  @end: 0 or 1. */
bool pumpFailedAt(const pump *p, unsigned end);
/** pumpCopies: do bytes go through user space in that direction (splice() was refused or not asked for)?  Any thread. */
bool pumpCopies(const pump *p, pumpDirection direction);

/**
 * pumpTune: let a TCP connection on @fd fail when the other host is silent.
 * @ackTimeoutMs: how long sent bytes may stay without an acknowledgement, and, roughly, how long an idle
 *     connection may have lost its other end; 0: the kernel's own (about 15 minutes)
 * Anything but TCP, and failures, are ignored.
 */
void pumpTune(int fd, unsigned ackTimeoutMs);
