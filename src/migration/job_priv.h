/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* job_priv.h: the inside of migJob, for job.c, source.c, dest.c, peer.c, recover.c and tests */
#pragma once

#include "migration/cookie.h"
#include "migration/job.h"

typedef struct _migDestPort migDestPort;

struct _migJob {
    gint refs;
    const migEnv *env;
    const migHostOps *ops;
    void *host;
    GDestroyNotify hostFree;

    /* Runner only. */
    migParams params;
    int dataFd;                  /* source: the stream's socket while sending; -1 */
    gint64 stoppedAtMs;          /* monotonic: the guest was stopped (source) or heard to be (destination) */
    gboolean boundListen;        /* destination: holds one use of the listening socket */
    char *boundAddress;
    unsigned boundPort;
    bool told;                   /* destination: "committed" has been told to somebody */
    bool overCalled;
    migDestPort *port;           /* destination: what the token's connections find */

    /* Guarded by 'lock', a leaf: nothing else is taken while it is held. */
    GMutex lock;
    GCond cond;
    bool running;                /* somebody is the runner */
    unsigned signals;
    migRecord record;            /* written by the runner under the lock */
    migStats stats;
    gint64 startedAtMs;          /* monotonic */
    char *peerError;             /* what the other side said */
    migLink *link;
    bool controlUsed, dataUsed;  /* destination: the one-time roles of the token */
    bool asking;                 /* source: a thread asks for the outcome */
    GQueue resolvers;            /* destination: migResolver waiting for the outcome */
};

typedef struct {
    migLink *link;
    guint64 id;
} migResolver;

void migJobSetLink(migJob *job, migLink *link);     /* takes the reference */
migLink *migJobGetLink(migJob *job);                /* a reference or NULL */
void migJobEnd(migJob *job, migResult result, const GError *why);
/* Put the migration and this host into a cookie of ours. */
void migJobSignCookie(migJob *job, migCookie *cookie);
void migJobNotify(migJob *job, const char *type, JsonObject *body);

/* The two sides' ways to act on signals between calls. */
void migSourceServe(migJob *job, unsigned signals);
void migDestServe(migJob *job, unsigned signals);
/* Actions of the table that need more than one operation. */
void migSourceAsk(migJob *job);
/* Runner, phase in doubt: wait for the answer of the thread that asks; show the doubt if there is none. Gives the role up meanwhile. */
void migSourceSettle(migJob *job);
/* Destination: what the ledger must say in @phase; part of saving it. */
bool migDestRecord(migJob *job, migPhase phase, GError **error);
void migDestPortDrop(migJob *job);
/* Runner, phase prepared: the stream cannot be read. */
void migDestGiveUpStream(migJob *job, const char *text);
void migResolverFree(gpointer resolver);
