/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* job_priv.h: the inside of migJob, for job.c, source.c, dest.c, peer.c, recover.c and tests */
#pragma once

#include "migration/cookie.h"
#include "migration/job.h"
#include "migration/offer.h"
#include "migration/relay.h"
#include "migration/security.h"

typedef struct _migDestPort migDestPort;
typedef struct _migDirect migDirect;
typedef struct _migTunnel migTunnel;

struct _migJob {
    gint refs;
    const migEnv *env;
    const migHostOps *ops;
    void *host;
    GDestroyNotify hostFree;

    /* Runner only. */
    migParams params;
    migDirect *direct;           /* source: of a direct migration; NULL: it is none, or the daemon was restarted */
    char *linkFrom;              /* source: the address of this host from which the link goes; NULL: there is none, or it is tunnelled */
    int dataFd;                  /* source: the stream's socket while sending; -1 */
    gint64 stoppedAtMs;          /* monotonic: the guest was stopped (source) or heard to be (destination) */
    gboolean boundListen;        /* destination: holds one use of the listening socket */
    char *boundAddress;
    unsigned boundPort;
    bool told;                   /* destination: "committed" has been told to somebody */
    bool overCalled;
    unsigned version;            /* of libvirt's protocol; constant once others know the job */
    bool finishing;              /* destination: the coordinator has said Finish */
    migConn conn;                /* the libvirt connection as this host sees it */
    char *connHost;              /* source, peer-to-peer: where it leads to; may be NULL */
    bool relayByDefault;         /* source: the VMM cannot connect by itself */
    bool files;                  /* the stopped guest goes by way of its VMM's files, see files.h */
    bool landUnknown;            /* destination: the guest may have run, and its VMM has ended */
    bool spread;                 /* one stream of the VMM's goes over several connections; the source's word */
    migSecurityOut way;          /* decided before anything is started */
    helloKeys keys;              /* destination: in which ways connections may be secured */
    helloKeys arrivedKeys;       /* destination: how the first one was; 0: none has come; guarded by 'lock' */
    unsigned askPort;            /* destination: where the outcome can be asked as well; 0: nowhere else */
    migOfferJudge judge;         /* destination, versions 1 and 2; constant */
    void *judgeOpaque;
    GDestroyNotify judgeFree;
    migDestPort *port;           /* destination: what the token's connections find */
    migRelay *relay;             /* its several connections; NULL: one; once set, until the job is freed */
    const vmmTraits *vmm;        /* of this side; NULL: not known yet, or found after a restart */
    void *guide;                 /* see guide.h; the relay's, so as long as that */

    GPtrArray *disks;            /* source: migDisk with what was left beside them; destination: with its answers; may be NULL */
    char *domainUuid;            /* source: for the files beside the disks */

    /* Guarded by 'lock', a leaf: nothing else is taken while it is held. */
    GMutex lock;
    GCond cond;
    bool running;                /* somebody is the runner */
    bool serving;                /* a thread is on its way to become it */
    unsigned signals;
    migRecord record;            /* written by the runner under the lock */
    migStats stats;
    gint64 startedAtMs;          /* monotonic */
    bool sourcePaused;           /* destination: heard that a user had suspended the guest on the source */
    gint64 sentAtMs;             /* destination: monotonic; heard that everything is sent; 0: not yet */
    char *peerError;             /* what the other side said */
    migLink *link;
    migTunnel *tunnel;           /* NULL: there is none; written by the runner under the lock */
    bool controlUsed, dataUsed;  /* destination: the one-time roles of the token */
    uint32_t streamsUsed;        /* ... by the numbers of the streams */
    bool asking;                 /* source: a thread asks for the outcome */
    char *askedInVain;           /* source: why it has not heard it yet; NULL: it was not asked, or is being asked */
    migOffer *offer;             /* source: to make; destination: to judge */
    bool offerSeen;              /* destination: only one may come */
    char *offered;               /* source: the answer, a Prepare cookie */
    char *performed;             /* destination: the Perform cookie that came over the link */
    migEvent heard;              /* source: with MIG_SIGNAL_OUTCOME */
    GSource *lease;              /* destination: runs while there is no link; source: while the coordinator is to say Finish */
    migTicket *ticket;           /* slot or place in the line */
    bool turnWanted;             /* destination: the source waits for the word that there is a slot */
    bool turnGiven;              /* source: heard it */
    bool abortAsked;             /* a user did, at any time */
    bool startFailed;            /* destination: see migDestStartFailed() */
    int stopFd;                  /* eventfd, see migJobStopFd(); constant */
    GQueue resolvers;            /* destination: migResolver waiting for the outcome */
};

typedef struct {
    migLink *link;
    guint64 id;
} migResolver;

void migJobSetLink(migJob *job, migLink *link);     /* takes the reference */
migLink *migJobGetLink(migJob *job);                /* a reference or NULL */
/* Lock held: the coordinator's way from the end of Perform to the begin of Finish took @ms; negative: unknown. */
void migJobNoteControl(migJob *job, gint64 ms);
/* The other side has told an error, which is posted as a signal. */
bool migJobPeerSpoke(migJob *job);
void migJobEnd(migJob *job, migResult result, const GError *why);
/* Put the migration and this host into a cookie of ours. */
void migJobSignCookie(migJob *job, migCookie *cookie);
void migJobNotify(migJob *job, const char *type, JsonObject *body);

/* Any thread: the lease begins (anew), or is not needed any more; of the source: in phase sent. */
void migLeaseStart(migJob *job);
void migLeaseStop(migJob *job);
/* Destination, versions 1 and 2, any thread: no offer has come yet. */
bool migOfferAwaited(migJob *job);
/* Destination, I/O thread: NULL, or why the offer cannot be taken. */
const char *migOfferArrived(migJob *job, JsonObject *body);
/* Destination, runner: MIG_SIGNAL_OFFER. */
void migOfferServe(migJob *job);
/* Destination, runner: give up whatever is prepared or only reserved; the source is told @text. */
void migDestDrop(migJob *job, const char *text);
/* Destination, runner: fill in @cookie what every Prepare answers; @retUri may be NULL. */
bool migDestFormatAnswer(migJob *job, migCookie *cookie, const migCookieIo *io, char **retUri, GError **error);

/* Destination, runner: MIG_SIGNAL_SLOT; false: there will be no slot, *error says why. */
bool migJobTurnChanged(migJob *job, GError **error);
/* The two sides' ways to act on signals between calls. */
void migSourceServe(migJob *job, unsigned signals);
void migDestServe(migJob *job, unsigned signals);
/* Where to look for the destination, the host of @uriText (may be NULL) first when it is not among the cookie's own; caller frees. */
GStrv migSourceCandidates(const migCookie *cookie, const char *uriText, unsigned *retPort, GError **error);
/* How to connect to @address; valid as long as @security is. */
helloTarget migSourceTarget(migJob *job, const char *address, helloSecurity *security);
/* Source, runner: open the link to the first candidate that answers, *retAddress, the job's; the error lists what was tried. */
bool migSourceConnectLink(migJob *job, const char **retAddress, GError **error);
/* Source, tunnelled, runner: open the link; @token NULL: version 2, for migSourceTunnelCookie(). */
bool migSourceTunnelLink(migJob *job, const uint8_t *token, GError **error);
/* Version 2, then: what Prepare could not answer; caller frees. */
char *migSourceTunnelCookie(migJob *job, GError **error);
/* The parts of Perform that a direct migration needs, too: send, to phase sent; false: undone, over. */
bool migSourceSend(migJob *job, const vmmMigSpec *spec, GError **error);
/* Undo after *error, which may be given another text. */
void migSourceFailed(migJob *job, GError **error);
/* Actions of the table that need more than one operation. */
void migSourceAsk(migJob *job);
/* Runner, phase in doubt: wait for the answer of the thread that asks; show the doubt if there is none. Gives the role up meanwhile. */
void migSourceSettle(migJob *job);
/* Destination: what the ledger must say in @phase; part of saving it. */
bool migDestRecord(migJob *job, migPhase phase, GError **error);
/* Destination, runner, phase committed: the guest was not started and nobody was told that it was, because of @text: undo the commit,
 * now or, if that cannot be saved, later; the job lasts so long. */
void migDestNeverRan(migJob *job, const char *text);
/* Destination: write down that nobody can find out whether the guest has run here. */
bool migDestRecordUnknown(migJob *job, GError **error);
void migDestPortDrop(migJob *job);
/* Runner, phase prepared: the stream cannot be read. */
void migDestGiveUpStream(migJob *job, const char *text);
void migResolverFree(gpointer resolver);
