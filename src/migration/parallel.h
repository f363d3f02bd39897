/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * parallel.h: a guest's memory over several connections (VIR_MIGRATE_PARALLEL)
 *
 * Each connection to the migration port is joined to one of the VMM's by a pump.  All live and die
 * together.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "migration/params.h"
#include "remote/hello.h"
#include "remote/vmm.h"

#define MIG_PARALLEL_DEFAULT 2
#define MIG_PARALLEL_MAX 16

typedef struct _migParallel migParallel;
typedef struct _migJob migJob;

/** migParallelChannels: memory connections that the parameters ask for; 0: everything goes over one. */
unsigned migParallelChannels(const migParams *params);

/**
 * migParallelNew: nothing connected yet.
 * @channels: connections beside the main one, which has index 0
 * @peer: the other host, for messages
 * @broken: called once, in some thread, when the first connection has failed; all others are being shut then.
 *     Must not block.  Never called once migParallelEnd() has been.
 */
migParallel *migParallelNew(unsigned channels, const char *peer, void (*broken)(void *opaque), void *opaque);
/** migParallelFree: migParallelEnd() and free.  NULL is fine. */
void migParallelFree(migParallel *parallel);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(migParallel, migParallelFree)

/** migParallelCount: with the main one. */
unsigned migParallelCount(const migParallel *parallel);
/**
 * migParallelAdd: the connection @index to the other host, once for each; @fd is taken over.
 * Any thread; does not wait.  One that comes when all is over is closed.
 */
void migParallelAdd(migParallel *parallel, unsigned index, int fd);

/**
 * migParallelListen: source, all connections added: make a socket at @path, in an existing folder, on which the VMM may connect.
 * The first connection it makes belongs to the first added, and so on; then the socket is removed again.
 * Only the owner of the folder can connect.  Errors: BASE_ERROR_SYSTEM.
 */
bool migParallelListen(migParallel *parallel, const char *path, GError **error);
/**
 * migParallelConnect: destination: the VMM listens at @path: connect to it once for each connection, in the order of
 * their indexes, as they come.  What goes wrong later is told by broken().  Errors: BASE_ERROR_SYSTEM.
 */
bool migParallelConnect(migParallel *parallel, const char *path, GError **error);

/** migParallelShut: end all connections now.  Any thread, any lock but the job's; does not wait. */
void migParallelShut(migParallel *parallel);
/** migParallelEnd: the same, and wait for all threads and remove what is left.  Not from broken().  Twice is fine. */
void migParallelEnd(migParallel *parallel);
/**
 * migParallelError: which connection failed and why; NULL: none has.  Caller frees.
 * @hideVmm: not if it was the VMM of this host that broke it, since that knows the reason better
 */
char *migParallelError(migParallel *parallel, bool hideVmm);

/* ---- for a job ---- */

/** migParallelDial: source: connect to the destination as often as needed; @h has the token. The job's runner. */
bool migParallelDial(migJob *job, const char *address, unsigned port, const hello *h, GError **error);
/** migParallelSend: source, after migParallelDial(): let the VMM send. The job's runner. */
bool migParallelSend(migJob *job, const vmmMigSpec *spec, GError **error);
/** migParallelExpect: destination: connections will be added. */
void migParallelExpect(migJob *job);
/** migParallelReceive: destination, the main connection has been added: let the VMM read. The job's runner. */
bool migParallelReceive(migJob *job, GError **error);
