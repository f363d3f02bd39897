/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flow.h: a whole migration in one process: two daemons, two VMMs, a coordinator, and what goes
 * wrong
 *
 * Theory of operation: the daemons are real (job, source, destination, peer, ledger, listener,
 * link, sockets on the loopback); the VMMs are threads that send bytes over the stream's socket,
 * the domain is a few flags.  Everything that a migration asks of the world (migHostOps,
 * migPeerOps) passes a named point, in which one fault can happen: the operation fails, the daemon
 * is killed before or after it, the VMM dies, the client dies.
 *
 * A killed daemon's threads are parked in the next operation that they call and its sockets are
 * shut; a new daemon is made from what had been saved, as after a real kill.  Since operations are
 * all that a migration can do to the world, a parked thread is as good as a dead one.
 *
 * The world watches all the time that no two copies run, and at the end that one does, that both
 * sides are at rest and that nothing is left: VMMs, threads, descriptors.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/phase.h"

typedef enum {
    FLOW_NOTHING,
    FLOW_FAIL,        /* the operation fails */
    FLOW_KILL_BEFORE, /* the daemon is killed and started again */
    FLOW_KILL_AFTER,
    FLOW_VMM_DIES,
    FLOW_CLIENT_DIES, /* the client that coordinates, or that waits for a peer-to-peer migration */
    FLOW_ABORT,       /* a user asks to stop */
    FLOW_STRANGER,     /* somebody else who knows the token connects in every way, and asks for the outcome */
    FLOW_DISK_FULL,    /* from here on the daemon can write nothing, until it is started again */
    FLOW_KINDS
} flowKind;

const char *flowKindName(flowKind kind);

typedef enum { FLOW_LOSE_NONE, FLOW_LOSE_PREPARE, FLOW_LOSE_PERFORM, FLOW_LOSE_FINISH } flowLoss;

/* How a connection between the hosts breaks. */
typedef enum {
    FLOW_CUT_NONE,
    FLOW_CUT_RESET,              /* to both sides */
    FLOW_CUT_CLOSE,              /* an end in order, to both sides */
    FLOW_CUT_HALF,               /* an end in order to the destination; what that sends still arrives */
    FLOW_CUT_STALL,              /* nothing passes any more, and nobody is told */
    FLOW_CUTS
} flowCut;

#define FLOW_ALL_STREAMS 3

const char *flowCutName(flowCut cut);

typedef struct {
    bool peer;                   /* the source coordinates */
    unsigned version;            /* of libvirt's protocol; 0 is 3 */
    bool notLive;
    bool pausedBefore;           /* the guest does not run when it starts */
    bool stayPaused;             /* VIR_MIGRATE_PAUSED */
    bool truncated; /* the stream ends too early, and the source's VMM does not notice */
    bool persistFails;           /* the definition cannot be stored on the destination */
    bool startFails;             /* the destination's disk is full just when the guest does not start, until the source is in doubt */
    bool secure;                 /* both hosts require it; there are no certificates, so the token is the key */
    bool spread;                 /* its one stream goes over several connections */
    bool relay;                  /* through both daemons */
    bool tunnel;                 /* peer-to-peer: through the libvirt connection */
    size_t chunk;                /* bytes that the VMM sends at a time; 0: 1 KiB */
    unsigned roundMs;            /* how long it waits after each; 0: 2 */
    bool ownPort;                /* the migration URI names a port of its own */
    bool clientStays;            /* it keeps its connections, whatever came of its calls */
    bool finishSkipped;          /* the client claims success without having called Finish */
    bool cookieLost;             /* the client does not bring Finish's cookie to Confirm */
    flowLoss loss;               /* whose reply is lost */
    /* One fault. */
    flowKind kind;
    migSide side;
    const char *point;
    unsigned nth;                /* which passage, from 1; 0 is 1 */
    /* Or a connection that breaks. */
    flowCut cut;
    /* In the order in which the source makes them: the link, the data's, later questions; of a tunnel the streams: the link, the way
     * back, the data, or FLOW_ALL_STREAMS, which is the libvirt connection itself.  Streams do not stall by themselves. */
    unsigned connection;
    const char *cutAt;           /* when this point is passed first: "dest/persist" */
    uint64_t cutAfter;           /* without a point: with the first byte of the source after so many */
} flowScenario;

typedef struct {
    char *violation;             /* NULL: all is well */
    GPtrArray *points;           /* char *: "source/save-begun", each passage, in order */
    bool faultHappened;          /* or the connection broke */
    bool vmmDied;                /* by the fault */
    bool atSource, atDest;       /* where a VMM is left */
    bool runs;
    bool told;                   /* the coordinator heard that it succeeded */
    char *error;                 /* what the coordinator heard else */
    unsigned strangers;          /* connections of a stranger that were welcome */
} flowOutcome;

/** flowRun: play one migration to its end; takes up to some seconds. */
void flowRun(const flowScenario *scenario, flowOutcome *ret);
void flowOutcomeClear(flowOutcome *outcome);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(flowOutcome, flowOutcomeClear)

/** flowCountEntries: in a folder of /proc/self: "fd" or "task". */
unsigned flowCountEntries(const char *path);
/** flowExpectEntries: there are as many as @before, or soon will be; ends the program if not. */
void flowExpectEntries(const char *path, unsigned before);
