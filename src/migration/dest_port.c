/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dest_port.c: what the connections that carry a migration's token find
 *
 * A token outlives its migration: while the job lives, one link and one data stream may use it; afterwards, and after a
 * restart, it only serves to ask for the outcome, which the ledger knows.
 */
#include "base/gettext.h"
#include "base/error.h"
#include "base/fd.h"
#include "migration/dest.h"
#include "migration/job_priv.h"
#include "migration/progress.h"
#include "remote/json.h"
#include "remote/uri.h"

#include <string.h>
#include <unistd.h>


struct _migDestPort {
    gint refs;
    const migEnv *env;
    char *uuid;
    GMutex lock;
    migJob *job;                 /* NULL once the migration is over here */
};

static migDestPort *
portRef(migDestPort *port)
{
    g_atomic_int_inc(&port->refs);
    return port;
}

static void
portUnref(gpointer data)
{
    migDestPort *port = data;

    if (!g_atomic_int_dec_and_test(&port->refs))
        return;
    g_free(port->uuid);
    g_mutex_clear(&port->lock);
    g_free(port);
}

static migDestPort *
portNew(const migEnv *env, const char *uuid, migJob *job)
{
    migDestPort *port = g_new0(migDestPort, 1);

    port->refs = 1;
    port->env = env;
    port->uuid = g_strdup(uuid);
    port->job = job ? migJobRef(job) : NULL;
    g_mutex_init(&port->lock);
    return port;
}

static migJob *
portJob(migDestPort *port)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&port->lock);

    return port->job ? migJobRef(port->job) : NULL;
}

void
migDestPortDrop(migJob *job)
{
    migDestPort *port = g_steal_pointer(&job->port);
    migJob *held;

    if (!port)
        return;
    g_mutex_lock(&port->lock);
    held = g_steal_pointer(&port->job);
    g_mutex_unlock(&port->lock);
    portUnref(port);
    /* The caller has a reference of its own, so this is not the last. */
    migJobUnref(held);
}

/* ---- messages of the source ---- */

/* The ledger's answer for a migration that is over here.  Pending without a job means that nothing of it can start any
 * more: it was given up, or the daemon was restarted.  It stays so if that cannot be written down, since a
 * restart takes pending for absent. */
static const char *
portLedgerOutcome(migDestPort *port)
{
    g_autoptr(migLedgerEntry) entry = NULL;
    g_autoptr(GError) error = NULL;

    if (!migLedgerFind(port->env->ledger, port->uuid, &entry))
        return NULL;
    if (entry->outcome == MIG_OUTCOME_COMMITTED)
        return "committed";
    if (entry->outcome == MIG_OUTCOME_PENDING) {
        entry->outcome = MIG_OUTCOME_ABSENT;
        if (!migLedgerWrite(port->env->ledger, entry, &error))
            g_warning("%s: %s, ignoring", port->uuid, error->message);
    }
    return "absent";
}

static void
portResolve(migDestPort *port, migLink *link, JsonObject *question, guint64 id)
{
    g_autoptr(migJob) job = portJob(port);
    const char *uuid = jsonGetString(question, "uuid", "");
    const char *outcome;
    JsonObject *body;

    if (!g_str_equal(uuid, port->uuid)) {
        linkReply(link, id, NULL, _("The question is about another migration than the token."));
        return;
    }
    if (job) {
        migResolver *resolver = g_new0(migResolver, 1);

        resolver->link = linkRef(link);
        resolver->id = id;
        g_mutex_lock(&job->lock);
        g_queue_push_tail(&job->resolvers, resolver);
        g_mutex_unlock(&job->lock);
        migJobPost(job, MIG_SIGNAL_RESOLVE);
        return;
    }
    outcome = portLedgerOutcome(port);
    if (!outcome) {
        linkReply(link, id, NULL, _("The record of this migration cannot be read."));
        return;
    }
    body = json_object_new();
    json_object_set_string_member(body, "outcome", outcome);
    linkReply(link, id, body, NULL);
}

static void
portNoteProgress(migJob *job, JsonObject *body)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);
    gint64 remainingMs = jsonGetInt(body, "remaining-ms", -1);

    migProgressFromJson(body, &job->stats.vmm);
    job->stats.setupMs = job->stats.vmm.setupMs;
    if (!job->stats.downtimeFinal)
        job->stats.downtimeMs = job->stats.vmm.expectedDowntimeMs;
    job->stats.left = jsonGetInt(body, "left", 0);
    job->stats.hasRemainingMs = remainingMs >= 0;
    job->stats.remainingMs = remainingMs >= 0 ? (uint64_t)remainingMs : 0;
}

static void
portNoteStopped(migJob *job, bool ran)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    job->stoppedAtMs = g_get_monotonic_time() / 1000;
    job->sourcePaused = !ran;
    g_cond_broadcast(&job->cond);
}

static void
portNoteTime(migJob *job, gint64 *at)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    *at = g_get_monotonic_time() / 1000;
}

static void
portNotePerformed(migJob *job, JsonObject *body)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    g_free(job->performed);
    job->performed = g_strdup(jsonGetString(body, "cookie", NULL));
}

static void
portOffer(migLink *link, migJob *job, JsonObject *offer)
{
    const char *why = migOfferArrived(job, offer);
    JsonObject *body;

    if (!why)
        return;
    body = json_object_new();
    json_object_set_string_member(body, "text", why);
    linkNotify(link, "error", body);
}

static void
portMessage(migLink *link, const char *type, JsonObject *body, bool wantsReply, guint64 id, void *opaque)
{
    migDestPort *port = opaque;
    g_autoptr(migJob) job = NULL;

    if (wantsReply && g_str_equal(type, "resolve")) {
        portResolve(port, link, body, id);
        return;
    }
    job = portJob(port);
    if (wantsReply && job && g_str_equal(type, "performed")) {
        portNotePerformed(job, body);
        linkReply(link, id, NULL, NULL);
        return;
    }
    if (wantsReply) {
        linkReply(link, id, NULL, _("The destination does not know this question."));
        return;
    }
    if (!job)
        return;
    if (g_str_equal(type, "progress")) {
        portNoteProgress(job, body);
    } else if (g_str_equal(type, "stopped")) {
        portNoteStopped(job, jsonGetBool(body, "ran", TRUE));
    } else if (g_str_equal(type, "turn")) {
        migJobTurnAsked(job);
    } else if (g_str_equal(type, "offer")) {
        portOffer(link, job, body);
    } else if (g_str_equal(type, "sent")) {
        portNoteTime(job, &job->sentAtMs);
    } else if (g_str_equal(type, "error")) {
        migJobPost(job, MIG_SIGNAL_PEER_ERROR);
    }
}

/* The migration's own link: the job has the only reference. */
static void
portLinkLost(migLink *link G_GNUC_UNUSED, const GError *why, void *opaque)
{
    migDestPort *port = opaque;
    g_autoptr(migJob) job = portJob(port);

    g_debug("%s: link lost: %s", port->uuid, why->message);
    if (job)
        migJobPost(job, MIG_SIGNAL_LINK_LOST);
}

/* A connection made only to ask: its one reference lives as long as the connection. */
static void
portQueryLost(migLink *link, const GError *why G_GNUC_UNUSED, void *opaque G_GNUC_UNUSED)
{
    linkUnref(link);
}

static const linkHandlers portHandlers = { portMessage, portLinkLost };
static const linkHandlers portQueryHandlers = { portMessage, portQueryLost };

/* ---- connections ---- */

typedef struct {
    migJob *job;
    int fd;
} portStream;

static void
portStreamFree(portStream *stream)
{
    if (stream->fd >= 0)
        close(stream->fd);
    migJobUnref(stream->job);
    g_free(stream);
}

static gpointer
portAttachThread(gpointer data)
{
    portStream *stream = data;
    migJob *job = stream->job;
    g_autoptr(GError) error = NULL;

    migJobEnter(job);
    if (job->record.phase != MIG_PHASE_PREPARED) {
        g_debug("%s: a stream came too late", job->record.uuid);
    } else if (!(job->parallel ? migParallelReceive(job, &error) : job->ops->vmmAttach(job->host, stream->fd, &error))) {
        g_mutex_lock(&job->lock);
        g_free(job->peerError);
        job->peerError = g_strdup(error->message);
        g_mutex_unlock(&job->lock);
        migDestGiveUpStream(job, error->message);
    }
    migJobLeave(job);
    portStreamFree(stream);
    return NULL;
}

static const char *
portClaim(migJob *job, const hello *h)
{
    g_autoptr(GMutexLocker) locker = NULL;

    if (!job)
        return _("This migration is over.");
    locker = g_mutex_locker_new(&job->lock);
    if (h->role == HELLO_CONTROL) {
        if (job->controlUsed)
            return _("The token has been used for a control connection before.");
        job->controlUsed = true;
        return NULL;
    }
    if (!job->controlUsed)
        return _("The control connection must come first.");
    if (h->index >= (job->parallel ? migParallelCount(job->parallel) : 1))
        return _("This migration has not so many connections.");
    if (job->streamsUsed & UINT32_C(1) << h->index)
        return _("The token has been used for this stream before.");
    job->streamsUsed |= UINT32_C(1) << h->index;
    job->dataUsed = job->dataUsed || h->index == 0;
    return NULL;
}

static void
portAccept(int fd, const hello *h, const char *peer, void *opaque)
{
    migDestPort *port = opaque;
    g_autoptr(migJob) job = portJob(port);
    g_autoptr(GError) error = NULL;
    const char *why = h->role == HELLO_QUERY ? NULL : portClaim(job, h);
    portStream *stream;

    if (!helloAnswer(fd, why, &error) || why) {
        g_message("%s: connection from %s refused: %s", port->uuid, peer, why ? why : error->message);
        close(fd);
        return;
    }
    g_debug("%s: connection from %s, role %d", port->uuid, peer, h->role);
    if (h->role == HELLO_QUERY) {
        linkNew(port->env->io, fd, 0, port->env->linkTimeoutMs, &portQueryHandlers, portRef(port), portUnref);
        return;
    }
    if (h->role == HELLO_CONTROL) {
        migLeaseStop(job);
        migJobSetLink(job, linkNew(port->env->io, fd, 0, port->env->linkTimeoutMs, &portHandlers,
                                   portRef(port), portUnref));
        return;
    }
    if (job->stats.peer == NULL)
        job->stats.peer = g_strdup(peer);
    if (job->parallel) {
        migParallelAdd(job->parallel, h->index, baseFdSteal(&fd));
        if (h->index > 0)
            return;
    }
    stream = g_new0(portStream, 1);
    stream->job = migJobRef(job);
    stream->fd = fd;
    if (!migThreadsRun(job->env->threads, "migration-attach", portAttachThread, stream))
        portStreamFree(stream);
}

/* ---- setting up and down ---- */

static GStrv
portAddresses(const migEnv *env, const uri *u)
{
    const char *one[] = { u && u->host ? u->host : NULL, NULL };

    return one[0] ? g_strdupv((char **)one) : g_strdupv(env->addresses);
}

/* A port of the migration's own is closed when it is over, and not opened again after a restart; the default one is. */
static void
portBindDefault(migJob *job)
{
    g_autoptr(GError) error = NULL;

    if (job->boundPort == job->env->port)
        return;
    if (listenerBind(job->env->listen, job->env->listenAddress, job->env->port, &error))
        job->askPort = job->env->port;
    else
        g_warning("%s: the outcome can be asked at port %u only, as long as this daemon runs: %s", job->record.uuid,
                  job->boundPort, error->message);
}

bool
migDestListen(migJob *job, const migCookie *remote, migParams *params, GError **error)
{
    g_autoptr(uri) u = NULL;
    const char *address = params->listenAddress ? params->listenAddress : job->env->listenAddress;
    migDestPort *port;

    if (params->uri && !(u = uriParse(params->uri, error)))
        return false;
    if (u && u->kind != URI_TCP) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("The migration URI '%1$s' is not of the kind tcp."), params->uri);
        return false;
    }
    if (!helloNewToken(job->record.token, error))
        return false;
    job->record.hasToken = true;
    job->boundPort = u && u->port ? u->port : job->env->port;
    job->boundAddress = g_strdup(address);
    if (!listenerBind(job->env->listen, address, job->boundPort, error))
        return false;
    job->boundListen = true;
    portBindDefault(job);

    port = portNew(job->env, job->record.uuid, job);
    if (!listenerExpect(job->env->listen, job->record.token, portAccept, portRef(port), portUnref)) {
        portUnref(port);
        migDestRelease(job);
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_INTERNAL,
                            _("The migration token could not be registered."));
        return false;
    }
    job->port = port;
    job->record.peerAddresses = portAddresses(job->env, u);
    if (!job->record.peerAddresses || !job->record.peerAddresses[0]) {
        migDestRelease(job);
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_CONFIG,
                            _("This host has no address that a source could connect to; set migration_addresses in stratovirt.conf or give a migration URI."));
        return false;
    }
    job->record.peerHost = remote ? g_strdup(remote->hostName) : NULL;
    migParamsClear(&job->params);
    job->params = *params;
    memset(params, 0, sizeof(*params));
    job->record.startPaused = job->params.paused;
    migParallelExpect(job);
    return true;
}

void
migDestRelease(migJob *job)
{
    bool known = job->record.phase != MIG_PHASE_ABSENT;
    g_autoptr(migLedgerEntry) entry = NULL;

    /* Without an entry in the ledger nobody can have a reason to ask later. */
    if (!known && job->record.hasToken && !migLedgerFind(job->env->ledger, job->record.uuid, &entry))
        listenerForget(job->env->listen, job->record.token);
    migLeaseStop(job);
    migDestPortDrop(job);
    /* The port at which the outcome will be asked stays open. */
    if (job->boundListen && job->askPort)
        listenerUnbind(job->env->listen, job->boundAddress, job->boundPort);
    job->boundListen = false;
}

static void
portServeEntry(const migLedgerEntry *entry, void *opaque)
{
    const migEnv *env = opaque;
    migDestPort *port = portNew(env, entry->uuid, NULL);

    if (!listenerExpect(env->listen, entry->token, portAccept, port, portUnref))
        portUnref(port);
}

static void
portCountEntry(const migLedgerEntry *entry G_GNUC_UNUSED, void *opaque)
{
    (*(size_t *)opaque)++;
}

bool
migDestServeLedger(const migEnv *env, GError **error)
{
    size_t count = 0;

    migLedgerForEach(env->ledger, portCountEntry, &count);
    if (count == 0)
        return true;
    migLedgerForEach(env->ledger, portServeEntry, (void *)env);
    return listenerBind(env->listen, env->listenAddress, env->port, error);
}
