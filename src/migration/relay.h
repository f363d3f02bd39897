/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * relay.h: a guest's data through this process
 *
 * Each connection to the migration port is joined to one of the VMM's by a pump, which encrypts, limits the speed, counts
 * and can be ended at once.  Several of them (VIR_MIGRATE_PARALLEL) live and die together.  If the VMM has one stream only, or the
 * relay is named as the transport, that is spread over them (remote/spread.h).
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "migration/params.h"
#include "remote/blocks.h"
#include "remote/hello.h"
#include "remote/vmm.h"

#define MIG_PARALLEL_DEFAULT 2
#define MIG_PARALLEL_MAX 16

typedef struct _migRelay migRelay;
typedef struct _migJob migJob;

/** migRelayNeeded: does it take a relay to do what the parameters ask for, whatever the VMM can do by itself? */
bool migRelayNeeded(const migParams *params);
/**
 * migRelaySpreads: of several connections: is one stream of the VMM's spread over them?  Otherwise the VMM makes several.
 * @canParallel: it can do that.
 */
bool migRelaySpreads(const migParams *params, bool canParallel);
/** migRelayChannels: memory connections that the parameters ask for; 0: everything goes over one. */
unsigned migRelayChannels(const migParams *params);

/**
 * migRelayNew: nothing connected yet.
 * @channels: connections beside the main one, which has index 0
 * @peer: the other host, for messages
 * @broken: called once, in some thread, when the first connection has failed; all others are being shut then.
 *     Must not block.  Never called once migRelayEnd() has been.
 */
migRelay *migRelayNew(unsigned channels, const char *peer, void (*broken)(void *opaque), void *opaque);
/** migRelayFree: migRelayEnd() and free.  NULL is fine. */
void migRelayFree(migRelay *relay);

typedef struct {
    unsigned stallMs;            /* see pumpOptions */
    const pumpFilterOps *filterOps;  /* of one stream of the VMM's, beside that; see pump.h.  NULL: none */
    void *filter;                /* freed with the relay */
    GDestroyNotify filterFree;   /* NULL: it is not, and must live until migRelayEnd() */
    bool spread;                 /* of several connections: one stream is spread over them */
    blocksMethod method;         /* it is compressed; of the source if it is spread, otherwise of both.  BLOCKS_PLAIN: it is not */
    int level;                   /* see blocksWriterNew() */
} migRelayOptions;

/** migRelaySetOptions: before the first connection is added; without it there are none of these. */
void migRelaySetOptions(migRelay *relay, const migRelayOptions *options);
/** migRelaySetLimit: how fast all connections together send, in the direction in which the guest goes; bytes/s, 0: as they can.
 * Any thread, any time. */
void migRelaySetLimit(migRelay *relay, uint64_t bytesPerSecond);
/** migRelayLift: from now on there is no limit whatever is set: the guest has been stopped.  Any thread, any time. */
void migRelayLift(migRelay *relay);
/** migRelayBytes: of all connections; forward is where the guest goes.  Any thread, any time. */
uint64_t migRelayBytes(migRelay *relay, pumpDirection direction);
/** migRelayGuide: destination, runner, nothing connected yet: the one connection gets the VMM's guide, see guide.h. */
void migRelayGuide(migJob *job);
/**
 * migRelayKeepVmm: destination, in a filter, and so in its pump's thread: whatever ends from now on, the VMM's connection does not, before
 * migRelayFree().
 */
void migRelayKeepVmm(migRelay *relay);
/**
 * migRelayTakeVmm: migRelayEnd(), and then the connection that was kept, which is the caller's now.  -1: BASE_ERROR_OPERATION_FAILED: there is
 * none.
 */
int migRelayTakeVmm(migRelay *relay, GError **error);
/** migRelayByPath: does the VMM connect to, or listen at, a path? */
bool migRelayByPath(const migJob *job);
/** migRelayPoke: pumpPoke().  Any thread, any time. */
void migRelayPoke(migRelay *relay);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(migRelay, migRelayFree)

/** migRelaySeveral: does the VMM make several connections? */
bool migRelaySeveral(const migRelay *relay);
/** migRelayCount: with the main one. */
unsigned migRelayCount(const migRelay *relay);
/**
 * migRelayAdd: the connection @index to the other host, once for each; @conn is taken over.
 * Any thread; does not wait.  One that comes when all is over is closed.
 */
void migRelayAdd(migRelay *relay, unsigned index, helloConn conn);

/**
 * migRelayPair: of one stream, after its connection was added (spread: at any time): a descriptor for the VMM, which needs not
 * know what becomes of the bytes on their way.  @sends: the VMM sends.  -1: BASE_ERROR_SYSTEM.
 */
int migRelayPair(migRelay *relay, bool sends, GError **error);

/**
 * migRelayListen: source, all connections added: make a socket at @path, in an existing folder, on which the VMM may connect.
 * The first connection it makes belongs to the first added, and so on; then the socket is removed again.
 * Only the owner of the folder can connect.  Errors: BASE_ERROR_SYSTEM.
 */
bool migRelayListen(migRelay *relay, const char *path, GError **error);
/**
 * migRelayConnect: destination: the VMM listens at @path: connect to it once for each connection, in the order of
 * their indexes, as they come.  What goes wrong later is told by broken().  Errors: BASE_ERROR_SYSTEM.
 */
bool migRelayConnect(migRelay *relay, const char *path, GError **error);

/** migRelayShut: end all connections now.  Any thread, any lock but the job's; does not wait. */
void migRelayShut(migRelay *relay);
/** migRelayEnd: the same, and wait for all threads and remove what is left.  Not from broken().  Twice is fine. */
void migRelayEnd(migRelay *relay);
/**
 * migRelayError: which connection failed and why; NULL: none has.  Caller frees.
 * @hideVmm: not if it was the VMM of this host that broke it, since that knows the reason better
 */
char *migRelayError(migRelay *relay, bool hideVmm);

/* ---- for a job ---- */

/** migRelayTune: how soon a data connection fails when the other host is silent. */
void migRelayTune(const migJob *job, const helloConn *conn);
/** migRelayTitle: the decided channel, for the statistics: "relay, 3 connections"; caller frees. */
char *migRelayTitle(const migJob *job);
/** migRelayDial: source: connect to the destination as often as needed; @h has the token.  If it is spread, the VMM's end is job->dataFd
 * then. The job's runner. */
bool migRelayDial(migJob *job, const char *address, unsigned port, const hello *h, GError **error);
/** migRelayAgree: destination: what the source has said: one stream of its VMM's is spread. The job's runner, before data comes. */
bool migRelayAgree(migJob *job, bool spread, GError **error);
/** migRelayDialOne: source: the one connection; the VMM's end is job->dataFd then. The job's runner. */
bool migRelayDialOne(migJob *job, helloConn conn, GError **error);
/** migRelayDialTunnel: source: @conn, taken over, leads into the tunnel: the VMM's end is job->dataFd then, with a relay before the tunnel
 * for what neither the VMM nor the tunnel does. The job's runner. */
bool migRelayDialTunnel(migJob *job, helloConn conn, GError **error);
/** migRelayOrTunnelError: why the data broke, migRelayError() or migTunnelError(); NULL: it has not.  Caller frees. */
char *migRelayOrTunnelError(migJob *job, bool hideVmm);
/** migRelaySend: source, after migRelayDial(), of a VMM that makes several: let the VMM send. The job's runner. */
bool migRelaySend(migJob *job, const vmmMigSpec *spec, GError **error);
/** migRelayExpect: destination: connections will be added. */
void migRelayExpect(migJob *job);
/** migRelayReceive: destination, the main connection has been added: let the VMM read. The job's runner. */
bool migRelayReceive(migJob *job, GError **error);
