/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ops.h: what a migration needs from the world
 *
 * migHostOps is the domain and its VMM on this host, migPeerOps the destination's libvirt when this
 * host coordinates (peer-to-peer), migEnv what all migrations of one daemon share.  The driver
 * implements them for real, tests with fakes.  All calls are made by the thread that runs the job,
 * with no lock held; they may block on the wire.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/gate.h"
#include "migration/ledger.h"
#include "migration/params.h"
#include "migration/phase.h"
#include "migration/security.h"
#include "migration/threads.h"
#include "migration/tunnel.h"
#include "remote/listen.h"
#include "remote/vmm.h"

/* Destination of a VMM with a guide: how much of the guest its VMM has, see guide.h. */
typedef enum {
    MIG_START_NONE,              /* all, or there is no guide */
    MIG_START_PENDING,           /* not the end, so the guest cannot run */
    MIG_START_RELEASED,          /* it is being given the end, or has it: the guest may run, or may have run */
} migStart;

/* What must survive a restart of the daemon; saved with every change of phase. */
typedef struct {
    char *uuid;                  /* of this migration */
    migSide side;
    migPhase phase;
    bool wasRunning;             /* source: the guest ran before, so it may be resumed */
    bool startPaused;            /* destination: leave the guest paused after the commit */
    migStart start;              /* destination */
    bool undefineSource;
    char *peerHost;              /* host name of the other side, for people */
    GStrv peerAddresses;         /* source: where the outcome can be asked */
    unsigned peerPort;
    unsigned peerAskPort;        /* source: another port of the destination to ask at; 0: none */
    char *peerUuid;              /* source: the destination's name of this migration; NULL: the same */
    uint8_t token[HELLO_TOKEN_LEN];
    bool hasToken;
    bool direct;                 /* source: no libvirt at the destination, see direct.h */
    migKeys keys;                /* how the token's connections are secured, questions about the outcome included */
    char *tlsName;               /* source, with certificates: what the destination's must bear */
    gint64 startedMs;            /* wall clock, milliseconds since the epoch */
} migRecord;

void migRecordClear(migRecord *record);
void migRecordCopy(migRecord *dst, const migRecord *src);

typedef struct {
    /* Save the record durably: synced when it returns true. */
    bool (*save)(void *host, const migRecord *record, GError **error);
    /* Source. */
    bool (*vmmSend)(void *host, const vmmMigSpec *spec, int fd, GError **error);
    bool (*vmmContinue)(void *host, GError **error);
    bool (*vmmCancel)(void *host, GError **error);
    bool (*vmmRelease)(void *host, GError **error);    /* see vmmOps */
    bool (*guestStop)(void *host, GError **error);
    bool (*guestResume)(void *host, GError **error);   /* idempotent; only if it ran before */
    /* Of a VMM that resumes by itself: keep its whole process from running until guestResume() or guestKeep(). */
    bool (*guestFreeze)(void *host, GError **error);
    void (*guestKeep)(void *host);                     /* idempotent; the guest is not to run, whatever its VMM does */
    /* The VMM stopped the guest to switch over; from now on no user may let it run.  True: it ran until now. */
    bool (*guestFrozen)(void *host);
    void (*iteration)(void *host, uint64_t pass);
    /* Of a VMM that leaves it to the host: keep the guest's processors from so much of their time; 0: from none, idempotent. */
    bool (*throttle)(void *host, unsigned percent, GError **error);
    void (*endSource)(void *host);                     /* idempotent */
    void (*doubt)(void *host, const char *why);        /* NULL: no longer in doubt */
    /* Destination. */
    bool (*vmmAttach)(void *host, int fd, GError **error);
    bool (*vmmListen)(void *host, const char *path, const vmmMigSpec *spec, GError **error);
    /* With a guide, before it gives the VMM the end: the guest is to stay stopped from its first moment. */
    bool (*guestExpect)(void *host, GError **error);
    /* With files: start the VMM that is to load them, up to where nothing but guestLoad() is missing. */
    bool (*guestOffer)(void *host, GError **error);
    /* Then: let it run.  False: it never ran, or, with *retUnknown, nobody can tell. */
    bool (*guestLoad)(void *host, bool *retUnknown, GError **error);
    /* With files, after a restart: is it certain that the VMM, which has ended, never ran its guest? */
    bool (*guestNeverRan)(void *host);
    bool (*guestStart)(void *host, bool paused, GError **error);   /* idempotent */
    void (*endIncoming)(void *host, const char *why);  /* idempotent */
    /* Both. */
    bool (*vmmStatus)(void *host, vmmMigStatus *ret, GError **error);
    /* Where a socket can be that only the VMM and this process reach; caller frees. */
    char *(*channelPath)(void *host, GError **error);
    void (*over)(void *host, migPhase phase);          /* nothing more comes; release the job */
} migHostOps;

/* What one daemon's migrations share; constant while any job lives. */
typedef struct {
    GMainContext *io;
    listener *listen;
    migLedger *ledger;
    migThreads *threads;
    migGate *gate;               /* NULL: no limits */
    char *hostName, *hostUuid, *bootId, *instance;
    GStrv addresses;             /* candidates a destination offers, best first */
    char *listenAddress;         /* bind here; NULL: everywhere */
    unsigned port;
    unsigned connectTimeoutMs, linkTimeoutMs, finishTimeoutMs;
    migPolicy secure;
    migAsk ask;                  /* the transport that is configured */
    unsigned ackTimeoutMs, keepaliveMs;   /* of data connections, see pumpTune() */
    unsigned stallTimeoutMs;     /* a relay gives up when a receiver takes nothing for so long; 0: never */
    char *tlsDir, *tlsPriority;  /* NULL: no certificates; GnuTLS's default */
    unsigned leaseMs;            /* how long a destination waits for a link; 0: for ever */
} migEnv;

/* The streams of a tunnelled migration, see tunnel_job.h. */
typedef enum { MIG_TUNNEL_DATA, MIG_TUNNEL_LINK, MIG_TUNNEL_BACK } migTunnelRole;

typedef struct {
    bool (*open)(void *peer, GError **error);
    /* After open(): the version of libvirt's protocol to speak, 2 or 3; in 2 there are no cookies into prepare() and finish(). */
    unsigned (*version)(void *peer);
    bool (*prepare)(void *peer, const migParams *params, const char *xml,
                    const char *cookieIn, int cookieInLen,
                    char **retCookie, int *retCookieLen, char **retUri, GError **error);
    /* True if the destination says that the guest is there; false: refused, cancelled or no answer. */
    bool (*finish)(void *peer, const migParams *params, const char *uri, bool cancelled,
                   const char *cookieIn, int cookieInLen,
                   char **retCookie, int *retCookieLen, GError **error);
    void (*close)(void *peer);
    /* After open(): of what kind the connection is, and to which host it leads by its own word (caller frees; NULL: unknown).
     * May be missing: then it is taken for one that anybody can alter. */
    migConn (*conn)(void *peer, char **retHost);
    /* Tunnelled, after prepare(): one of the streams; the caller ends and frees it; may be missing.  @proof: see migTunnelProof(). */
    bool (*stream)(void *peer, migTunnelRole role, const char *proof, tunnelStream *ret, GError **error);
} migPeerOps;
