/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dest_port.c: what the connections that carry a migration's token find
 *
 * A token outlives its migration: while the job lives, one link and one data stream may use it; afterwards, and after a
 * restart, it only serves to ask for the outcome, which the ledger knows.
 *
 * To know the token is not enough as long as there is a link: whoever else connects must be the one at its other end, by
 * certificate or else by address.  An honest source asks over the link as long as that stands, and comes from there with its data; if it
 * has lost the link and this host has not noticed yet, it is refused for a moment and asks again.
 */
#include "base/gettext.h"
#include "base/error.h"
#include "base/fd.h"
#include "migration/dest.h"
#include "migration/job_priv.h"
#include "migration/progress.h"
#include "migration/tunnel_job.h"
#include "migration/way.h"
#include "remote/json.h"
#include "remote/uri.h"

#include <string.h>
#include <unistd.h>


/* Questions that wait for the runner; an honest source has one or two. */
#define RESOLVERS_MAX 64
/* Connections made only to ask, at a time. */
#define QUERIES_MAX 16

struct _migDestPort {
    gint refs;
    const migEnv *env;
    char *uuid;
    GMutex lock;
    migJob *job;                 /* NULL once the migration is over here */
    char *address;               /* the link's other end; NULL: there has been none, or it is tunnelled */
    char *identity;              /* ... as its certificate says; NULL: it has shown none */
    GQueue queries;              /* migLink, a reference each: made only to ask; oldest first */
    unsigned refused;            /* connections */
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
    g_free(port->address);
    g_free(port->identity);
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
    migDestPort *port;
    migJob *held;

    g_mutex_lock(&job->lock);
    port = g_steal_pointer(&job->port);
    g_mutex_unlock(&job->lock);
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
 * more: it was given up, or the daemon was restarted.  That is not written down here, in the I/O thread: a restart, too, takes
 * pending for absent. */
static const char *
portLedgerOutcome(migDestPort *port, const char **retWhyNot)
{
    g_autoptr(migLedgerEntry) entry = NULL;

    *retWhyNot = _("The record of this migration cannot be read, or is being looked into after a restart.");
    /* A guest whose VMM had not got it yet when this daemon was restarted is looked for first. */
    if (!migLedgerStands(port->env->ledger, port->uuid) || !migLedgerFind(port->env->ledger, port->uuid, &entry))
        return NULL;
    if (entry->outcome == MIG_OUTCOME_UNKNOWN) {
        *retWhyNot = _("Nobody can find out whether the guest has run here: its VMM ended while it was given the guest.");
        return NULL;
    }
    return entry->outcome == MIG_OUTCOME_COMMITTED ? "committed" : "absent";
}

static void
portResolve(migDestPort *port, migLink *link, JsonObject *question, guint64 id)
{
    g_autoptr(migJob) job = portJob(port);
    const char *uuid = jsonGetString(question, "uuid", "");
    const char *outcome, *whyNot;
    JsonObject *body;

    if (!g_str_equal(uuid, port->uuid)) {
        linkReply(link, id, NULL, _("The question is about another migration than the token."));
        return;
    }
    if (job) {
        migResolver *resolver = g_new0(migResolver, 1);
        bool full;

        resolver->link = linkRef(link);
        resolver->id = id;
        g_mutex_lock(&job->lock);
        full = g_queue_get_length(&job->resolvers) >= RESOLVERS_MAX;
        if (!full)
            g_queue_push_tail(&job->resolvers, resolver);
        g_mutex_unlock(&job->lock);
        if (full) {
            migResolverFree(resolver);
            linkReply(link, id, NULL, _("Too many questions wait for the outcome of this migration."));
        }
        migJobPost(job, MIG_SIGNAL_RESOLVE);
        return;
    }
    outcome = portLedgerOutcome(port, &whyNot);
    if (!outcome) {
        linkReply(link, id, NULL, whyNot);
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
    job->stats.left = jsonGetUint(body, "left", 0);
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
portTellPrepared(migJob *job, migLink *link, guint64 id)
{
    g_autofree char *cookie = migTunnelKept(job);
    JsonObject *body = json_object_new();

    if (cookie)
        json_object_set_string_member(body, "cookie", cookie);
    linkReply(link, id, body, NULL);
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
    if (wantsReply && job && g_str_equal(type, "prepared")) {
        portTellPrepared(job, link, id);
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

/* A connection made only to ask. */
static void
portQueryLost(migLink *link, const GError *why G_GNUC_UNUSED, void *opaque)
{
    migDestPort *port = opaque;
    bool listed;

    g_mutex_lock(&port->lock);
    listed = g_queue_remove(&port->queries, link);
    g_mutex_unlock(&port->lock);
    if (listed)
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
portStreamFree(gpointer data)
{
    portStream *stream = data;

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
    } else if (!(migRelayByPath(job) ? migRelayReceive(job, &error) : job->ops->vmmAttach(job->host, stream->fd, &error))) {
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
    if (h->index >= (job->relay ? migRelayCount(job->relay) : 1))
        return _("This migration has not so many connections.");
    if (job->streamsUsed & UINT32_C(1) << h->index)
        return _("The token has been used for this stream before.");
    job->streamsUsed |= UINT32_C(1) << h->index;
    job->dataUsed = job->dataUsed || h->index == 0;
    return NULL;
}

/* "ADDRESS:PORT" without the port; caller frees. */
static char *
portAddressOf(const char *peer)
{
    const char *colon = strrchr(peer, ':');

    return colon ? g_strndup(peer, colon - peer) : g_strdup(peer);
}

static char *
portIdentityOf(const helloConn *conn, const hello *h)
{
    return conn->tls && h->keys == HELLO_KEYS_X509 ? tlsPeer(conn->tls) : NULL;
}

/* Somebody else than the one at the other end of the link, which is alive?  NULL: no. */
static const char *
portStranger(migDestPort *port, migJob *job, const helloConn *conn, const hello *h, const char *peer)
{
    g_autoptr(migLink) link = job ? migJobGetLink(job) : NULL;
    g_autofree char *identity = portIdentityOf(conn, h);
    g_autofree char *address = portAddressOf(peer);
    g_autoptr(GMutexLocker) locker = NULL;

    if (!link || !linkIsAlive(link))
        return NULL;
    locker = g_mutex_locker_new(&port->lock);
    if (port->identity)
        return g_strcmp0(port->identity, identity) == 0 ? NULL :
            _("This migration comes from a host with another certificate.");
    if (!port->address)
        return _("This migration is tunnelled, and its libvirt connection stands.");
    return g_str_equal(port->address, address) ? NULL : _("This migration comes from another address.");
}

/* NULL: welcome. */
static const char *
portRefuse(migDestPort *port, migJob *job, const helloConn *conn, const hello *h, const char *peer)
{
    const char *why;

    if (h->role != HELLO_QUERY && job && job->tunnel)
        return _("This migration is tunnelled: its data comes through the libvirt connection.");
    if ((why = portStranger(port, job, conn, h, peer)))
        return why;
    return h->role == HELLO_QUERY ? NULL : portClaim(job, h);
}

/* The first one is worth an administrator's attention; whoever knows the token could otherwise fill the log with the others. */
static void
portLogRefusal(migDestPort *port, const char *peer, const char *why)
{
    unsigned before;

    g_mutex_lock(&port->lock);
    before = port->refused++;
    g_mutex_unlock(&port->lock);
    if (before == 0)
        g_message("%s: connection from %s refused: %s (others are not told any more)", port->uuid, peer, why);
    else
        g_debug("%s: connection from %s refused: %s (%u before)", port->uuid, peer, why, before);
}

/* The stream goes to the VMM, @fd is taken over. */
static void
portAttach(migJob *job, int fd)
{
    portStream *stream = g_new0(portStream, 1);

    stream->job = migJobRef(job);
    stream->fd = fd;
    if (!migThreadsRun(job->env->threads, "migration-attach", portAttachThread, stream, portStreamFree))
        portStreamFree(stream);
}

static void
portTakeLink(migDestPort *port, migJob *job, helloConn conn, helloKeys keys)
{
    /* Through a tunnel nothing has come to the port. */
    if (!job->tunnel)
        migWayArrived(job, keys);
    /* Whoever is to make an offer has not shown yet that he is more than connected. */
    if (migOfferAwaited(job))
        migLeaseStart(job);
    else
        migLeaseStop(job);
    migJobSetLink(job, linkNew(port->env->io, conn, 0, port->env->linkTimeoutMs, &portHandlers, portRef(port), portUnref));
}

/* From now on all others are measured by it. */
static void
portNoteSource(migDestPort *port, const helloConn *conn, const hello *h, const char *peer)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&port->lock);

    /* One link at most. */
    port->address = portAddressOf(peer);
    port->identity = portIdentityOf(conn, h);
}

static void
portTakeQuery(migDestPort *port, helloConn conn)
{
    g_autoptr(migLink) oldest = NULL;
    migLink *link = linkNew(port->env->io, conn, 0, port->env->linkTimeoutMs, &portQueryHandlers, portRef(port), portUnref);

    /* Its end is told in this thread, so not before it is in the list. */
    g_mutex_lock(&port->lock);
    g_queue_push_tail(&port->queries, link);
    if (g_queue_get_length(&port->queries) > QUERIES_MAX)
        oldest = g_queue_pop_head(&port->queries);
    g_mutex_unlock(&port->lock);
    if (oldest)
        linkClose(oldest);
}

static void
portAccept(helloConn given, const hello *h, const char *peer, void *opaque)
{
    g_auto(helloConn) conn = given;
    migDestPort *port = opaque;
    g_autoptr(migJob) job = portJob(port);
    g_autoptr(GError) error = NULL;
    const char *why = portRefuse(port, job, &conn, h, peer);

    if (!helloAnswer(&conn, why, &error) || why) {
        portLogRefusal(port, peer, why ? why : error->message);
        return;
    }
    g_debug("%s: connection from %s, role %d", port->uuid, peer, h->role);
    if (h->role == HELLO_QUERY) {
        portTakeQuery(port, helloConnSteal(&conn));
        return;
    }
    if (h->role == HELLO_CONTROL) {
        portNoteSource(port, &conn, h, peer);
        portTakeLink(port, job, helloConnSteal(&conn), h->keys);
        return;
    }
    migWayTell(job, g_strdup(peer));
    migWayNote(job, &conn);
    migRelayTune(job, &conn);
    if (migRelayByPath(job)) {
        migRelayAdd(job->relay, h->index, helloConnSteal(&conn));
        if (h->index > 0)
            return;
    } else if (conn.tls || migRelayNeeded(&job->params)) {
        migRelayAdd(job->relay, h->index, helloConnSteal(&conn));
        if (h->index > 0)
            return;
        conn.fd = migRelayPair(job->relay, false, &error);
        if (conn.fd < 0) {
            g_message("%s: the stream cannot be given to the VMM: %s", port->uuid, error->message);
            migJobPost(job, MIG_SIGNAL_VMM);
            return;
        }
    }
    portAttach(job, baseFdSteal(&conn.fd));
}

/* ---- tunnelled ---- */

/* The data has begun to come. */
static void
portTunnelFirst(void *opaque)
{
    static const hello data = { .role = HELLO_DATA, .index = 0 };
    migDestPort *port = opaque;
    g_autoptr(migJob) job = portJob(port);
    const char *why = portClaim(job, &data);
    g_autoptr(GError) error = NULL;
    int fd = -1;

    if (!why) {
        fd = migTunnelVmmFd(job);
        if (migRelayByPath(job)) {
            migRelayAdd(job->relay, 0, helloConnOf(baseFdSteal(&fd)));
        } else if (migRelayNeeded(&job->params)) {
            migRelayAdd(job->relay, 0, helloConnOf(fd));
            fd = migRelayPair(job->relay, false, &error);
        }
        why = error ? error->message : NULL;
    }
    if (why)
        g_message("%s: data through the tunnel is not taken: %s", port->uuid, why);
    else
        portAttach(job, fd);
}

static void
portTunnelAllow(uint64_t total, void *opaque)
{
    g_autoptr(migJob) job = portJob(opaque);
    JsonObject *body;

    if (!job)
        return;
    body = json_object_new();
    json_object_set_int_member(body, "total", (gint64)total);
    migJobNotify(job, "allow", body);
}

static const tunnelSinkHooks portTunnelHooks = { portTunnelFirst, portTunnelAllow, portUnref };

static bool
portProven(const char *proof, const char *wanted)
{
    uint8_t a[HELLO_TOKEN_LEN], b[HELLO_TOKEN_LEN];

    if (!*wanted)
        return !*proof;
    return helloTokenFromHex(proof, a) && helloTokenFromHex(wanted, b) && helloTokenEqual(a, b);
}

/* The job's reference to the port is there as long as it is not over. */
static migDestPort *
portOfTunnel(migJob *job, const char *proof, bool knowsToken, GError **error)
{
    g_autofree char *wanted = migTunnelProof(knowsToken ? job->record.token : NULL);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    if (job->tunnel && job->port && portProven(proof, wanted))
        return portRef(job->port);
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID,
                        _("This channel does not belong to a tunnelled migration that is waiting here."));
    return NULL;
}

bool
migDestTunnelLink(migJob *job, const char *proof, int fd, GError **error)
{
    static const hello control = { .role = HELLO_CONTROL };
    /* In version 2 the source asks for the token over the link. */
    migDestPort *port = portOfTunnel(job, proof, job->version >= 3, error);
    g_autoptr(tunnelSink) sink = migTunnelSink(job);
    const char *why = port ? portClaim(job, &control) : NULL;

    if (!port || why) {
        if (why)
            g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID, why);
        g_clear_pointer(&port, portUnref);
        baseFdClose(fd);
        return false;
    }
    portTakeLink(port, job, helloConnOf(fd), HELLO_KEYS_PLAIN);
    migWayTell(job, g_strdup(_("libvirt connection")));
    tunnelSinkOpen(sink);
    portUnref(port);
    return true;
}

int
migDestTunnelBack(migJob *job, const char *proof, GError **error)
{
    migDestPort *port = portOfTunnel(job, proof, true, error);
    g_autoptr(tunnelSink) sink = migTunnelSink(job);
    int fd;

    if (!port)
        return -1;
    portUnref(port);
    if ((fd = tunnelSinkDup(sink)) < 0)
        baseSetErrno(error, errno, _("Cannot open the way back of the tunnel"));
    return fd;
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
    /* As strings they live on in the job's. */
    const char *address = params->listenAddress ? params->listenAddress : job->env->listenAddress;
    migDestPort *port;

    if (params->uri && !(u = uriParse(params->uri, error)))
        return false;
    if (u && u->kind != URI_TCP) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("The migration URI '%1$s' is not of the kind tcp."), params->uri);
        return false;
    }
    migParamsClear(&job->params);
    job->params = *params;
    memset(params, 0, sizeof(*params));
    job->record.startPaused = job->params.paused;
    if (!migWayChoose(job, job->version >= 3 ? remote : NULL, error) || !helloNewToken(job->record.token, error))
        return false;
    job->record.hasToken = true;
    job->boundPort = u && u->port ? u->port : job->env->port;
    job->boundAddress = g_strdup(address);
    if (!listenerBind(job->env->listen, address, job->boundPort, error))
        return false;
    job->boundListen = true;
    portBindDefault(job);

    port = portNew(job->env, job->record.uuid, job);
    if (!listenerExpect(job->env->listen, job->record.token, migWayKeys(job), portAccept, portRef(port), portUnref)) {
        portUnref(port);
        migDestRelease(job);
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_INTERNAL,
                            _("The migration token could not be registered."));
        return false;
    }
    job->port = port;
    if (job->params.tunnelled && !migTunnelExpect(job, &portTunnelHooks, portRef(port), error)) {
        migDestRelease(job);
        return false;
    }
    job->record.peerAddresses = portAddresses(job->env, u);
    if (!job->record.peerAddresses || !job->record.peerAddresses[0]) {
        migDestRelease(job);
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_CONFIG,
                            _("This host has no address that a source could connect to; set migration_address in stratovirt.conf or give a migration URI."));
        return false;
    }
    job->record.peerHost = remote ? g_strdup(remote->hostName) : NULL;
    migRelayExpect(job);
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

static helloKeys
portKeys(migKeys keys)
{
    return keys == MIG_KEYS_X509 ? HELLO_KEYS_X509 : keys == MIG_KEYS_TOKEN ? HELLO_KEYS_TOKEN : HELLO_KEYS_PLAIN;
}

static void
portServeEntry(const migLedgerEntry *entry, void *opaque)
{
    const migEnv *env = opaque;
    migDestPort *port = portNew(env, entry->uuid, NULL);

    if (!listenerExpect(env->listen, entry->token, portKeys(entry->keys), portAccept, port, portUnref))
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
