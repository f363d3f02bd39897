/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* relay_priv.h: the inside of a relay, for relay.c and relay_spread.c */
#pragma once

#include <stdatomic.h>

#include "migration/relay.h"
#include "remote/blocks.h"
#include "remote/pump.h"
#include "remote/spread.h"

typedef struct {
    migRelay *relay;
    unsigned index;
    helloConn conn;              /* to the other host, until the pump has it */
    bool added;
    pump *pump;
    unsigned vmmEnd;             /* which of the pump's */
} relayStream;

struct _migRelay {
    char *peer;
    void (*broken)(void *opaque);
    void *opaque;

    GMutex lock;                 /* taken before a job's own */
    unsigned count;
    relayStream *streams;     /* by index */
    unsigned joined;             /* so many have a pump */
    bool shut;
    migRelayOptions options;     /* constant once there is a pump */
    pumpLimit *limit;
    uint64_t rate;               /* bytes/s; 0: unlimited */
    bool lifted;
    uint64_t bytes[2];           /* of the pumps that are gone, by pumpDirection */
    blocksWriter *writer;        /* of one connection that is compressed */
    blocksReader *reader;
    char *error;                 /* the first, or the first that the VMM of this host is the reason of */
    bool byVmm;                  /* ... was at the VMM's end */

    /* One stream over several connections. */
    spread *spread;              /* NULL: not yet, or not any more */
    pump *filterPump;            /* between the VMM and the spread; NULL: there is no filter */
    int spreadFd;                /* what is to be spread, until it is; -1 */
    bool spreadSends;
    atomic_bool vmmComplete;     /* the VMM's stream has passed the filter whole */

    int vmmFd;                   /* of one stream: the VMM's end, which its pump closes; -1 */
    int keptFd;                  /* the same connection, see migRelayKeepVmm(); -1 */

    char *path;                  /* of the unix socket */
    bool connects;               /* destination: the VMM listens there */
    int listenFd;                /* source: the accepting thread's until it is joined */
    int wakeFd;
    GThread *accepting;
};

/* Lock held: it is over, because of @why at one of the connections; @byVmm: at the VMM's end of it. */
void relayBreak(migRelay *relay, const relayStream *stream, const char *why, bool byVmm);

/* ---- relay_spread.c: one stream over all connections; lock held, but for the last ---- */

/* As soon as the VMM's stream and all connections are there: begin. */
bool relaySpreadReady(migRelay *relay, GError **error);
/* If there is a filter, it gets a pump of its own before. */
bool relaySpreadFilter(migRelay *relay, bool sends, GError **error);
/* Nobody adds any more; waits for the threads, whose last words need the lock. */
void relaySpreadEnd(migRelay *relay);
