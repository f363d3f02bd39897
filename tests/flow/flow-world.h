/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow-world.h: the inside of flow.h, for flow.c, flow-daemon.c and flow-vmm.c */
#pragma once

#include "flow.h"

#include "migration/job.h"
#include "migration/threads.h"

#define FLOW_NAME "web"
#define FLOW_DOMAIN_UUID "c7a5fdbd-edaf-9455-926a-d65c16db1809"

typedef struct _flowWorld flowWorld;
typedef struct _flowWire flowWire;

/* A VMM and its guest on one host.  All under the world's lock. */
typedef struct {
    flowWorld *world;
    migSide side;
    bool alive, runs;
    bool waits;                  /* started for a stream, and not given the guest yet */
    vmmMigState state;
    uint64_t sent, pass;
    bool cancel, goOn;
    GThread *thread;
    int fd;                      /* of the stream while a thread uses it, -1 */
} flowVmm;

/* One incarnation of a daemon. */
typedef struct {
    flowWorld *world;
    migSide side;
    bool dead;
    migEnv env;
    bool full;                   /* nothing can be written any more */
    char *ledgerDir;
    GMainLoop *loop;
    GThread *io;
    migJob *job;                 /* a reference; NULL: no migration */
    char *lastError;             /* of the migration that ended here last; NULL: it ended well, or there was none */
} flowDaemon;

struct _flowWorld {
    const flowScenario *scenario;
    flowOutcome *ret;
    char *dir;
    unsigned port;               /* of the destination */
    unsigned ownPort;            /* of this migration; 0: the destination's */
    flowWire *wire;              /* NULL: the source connects to the destination itself */
    unsigned wirePort;           /* where it does instead; 0: it does */

    GMutex lock;
    GCond cond;
    bool over;                   /* parked threads go on, and may do nothing */
    bool clientDead;
    unsigned passages;           /* of the faulty point */
    bool clientBusy;
    GPtrArray *calls;            /* under way, also in dead daemons */
    GPtrArray *callThreads;      /* GThread: all that were ever made */
    flowDaemon *daemons[2];
    GPtrArray *graves;           /* flowDaemon: killed */
    GPtrArray *streams;          /* of a tunnel: all that were ever opened */
    gint *streamBroken;          /* atomic, in a box: the one of the scenario is */
    bool connLost;               /* the libvirt connection between the hosts */
    unsigned incarnations;
    flowVmm vmms[2];
    migRecord records[2];        /* the status files */
    bool saved[2];
    bool persisted;
};

/* flow.c */
void flowViolation(flowWorld *w, const char *format, ...) G_GNUC_PRINTF(2, 3);   /* lock held */
/* flow-point.c */
/** flowEnter: at the named point of @d; false: fail. Returns only in a daemon that lives, or when
 * all is over (false). */
bool flowEnter(flowDaemon *d, const char *point, GError **error);
void flowLeave(flowDaemon *d, const char *point);
/** flowPark: lock held: a thread of a dead daemon gets no further until all is over. */
void flowPark(flowWorld *w);
/* flow.c */
/** flowPost: tell the side's migration, if there is one; takes the lock. */
void flowPost(flowWorld *w, migSide side, migSignal signal);
unsigned flowVersion(const flowWorld *w);   /* of the protocol */

/* flow-wire.c */
flowWire *flowWireNew(const flowScenario *scenario, unsigned port, unsigned destPort);
/** flowWireFree: NULL is fine; true: a connection has been broken. */
bool flowWireFree(flowWire *wire);
/** flowWirePoint: this point is being passed; NULL is fine.  The world's lock may be held. */
void flowWirePoint(flowWire *wire, const char *passage);

/* flow-stranger.c */
/** flowStranger: lock held, dropped for a while; @d lives. */
void flowStranger(flowDaemon *d);

/* flow-tunnel.c */
bool flowTunnelStream(flowWorld *w, migTunnelRole role, const char *proof, tunnelStream *ret, GError **error);
/** flowTunnelCut: lock held: the connection has ended with one of the daemons. */
void flowTunnelCut(flowWorld *w);
GPtrArray *flowTunnelStreamsNew(void);
/** flowTunnelPoint: this point is being passed; lock held, dropped for a while. */
void flowTunnelPoint(flowWorld *w, const char *passage);

/* flow-vmm.c */
void flowVmmStart(flowVmm *vmm, bool runs); /* lock held, as in all of these but the first two */
size_t flowVmmTotal(const flowVmm *vmm);             /* bytes of its guest; lock not needed */
bool flowVmmSend(flowVmm *vmm, int fd);
bool flowVmmReceive(flowVmm *vmm, int fd);
void flowVmmSetRuns(flowVmm *vmm, bool runs);
void flowVmmEnd(flowVmm *vmm);
void flowVmmJoin(flowVmm *vmm);                      /* lock not held */

/* flow-daemon.c */
flowDaemon *flowDaemonNew(flowWorld *w, migSide side);
void flowDaemonFillDisk(flowDaemon *d);  /* lock held */
void flowDaemonKill(flowDaemon *d); /* lock held; parks the caller's daemon, not the caller */
void flowDaemonsEnd(flowWorld *w);  /* lock not held: those in the graves; no call is under way */
extern const migHostOps flowOps;

/* flow-call.c: a call into a daemon, in a thread of its own, so that it can outlive who waits for it. */
typedef struct _flowCall flowCall;
struct _flowCall {
    gint refs;
    flowWorld *world;
    flowDaemon *daemon;
    migJob *job;                 /* recovery: may be over by the time that it is recovered */
    void (*run)(flowCall *call);
    bool cancelled;
    char *in, *uri;
    int inLen;
    /* Results. */
    bool done, ok;
    char *out, *outUri;
    int outLen;
    GError *error;
};

flowCall *flowCallNew(flowWorld *w, void (*run)(flowCall *call));
/** flowCallWith: with a cookie to hand in. */
flowCall *flowCallWith(flowWorld *w, void (*run)(flowCall *call), const char *in, int inLen);
void flowCallUnref(flowCall *call);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(flowCall, flowCallUnref)
bool flowCallStart(flowCall *call, migSide side);    /* lock held */
bool flowCallDo(flowCall *call, migSide side, flowDaemon *caller);
void flowCallTakeError(flowCall *call, GError **error);

/* flow-steps.c: the bodies of calls. */
void flowRunBegin(flowCall *call);
void flowRunPrepare(flowCall *call);
void flowRunPerform(flowCall *call);
void flowRunSimple(flowCall *call);
void flowRunFinish(flowCall *call);
void flowRunConfirm(flowCall *call);
void flowRunPeer(flowCall *call);

/* flow-client.c: data is the world. */
gpointer flowClientThread(gpointer data);
