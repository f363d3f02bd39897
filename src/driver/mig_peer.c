/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig_peer.c: migPeerOps on a connection to the destination's libvirt
 *
 * Opening runs in a thread of its own: the library has no time-out for a peer that accepts and then says nothing, and a
 * user must be able to abort meanwhile.  A thread given up on closes the connection itself when it comes back.
 *
 * The other calls have threads of their own as well: the library waits for an answer as long as the connection lives.  When keepalive
 * gives it up while several threads wait in it, the library (9.0) wakes only one of them, and the others wait until TCP gives up, which
 * may be never.  So no call on this connection holds up the migration for longer than it may.
 */
#include <config.h>

#include "driver/api.h"
#include "driver/mig_calls.h"
#include "driver/mig_priv.h"
#include "driver/mig_tunnel.h"
#include "driver/report.h"
#include "base/error.h"
#include "base/thread.h"
#include "migration/offline.h"
#include "migration/params_rows.h"

#include "datatypes.h"
#include "libvirt_internal.h"
#include "viralloc.h"
#include "virerror.h"
#include "virlog.h"
#include "virtypedparam.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

VIR_LOG_INIT("stratovirt.mig_peer");

#define PEER_OPEN_MS 30000
#define PEER_OPEN_POLL_MS 100
#define PEER_ABANDON_TRIES 20
#define CLOSE_MS 2000
#define LATE_KEEPALIVE_S 5
#define LATE_KEEPALIVE_COUNT 5

typedef struct {
    gint refs;
    GMutex lock;
    GCond cond;
    char *uri;
    bool done;
    bool abandoned;
    virConnectPtr conn;
    GError *error;
} peerOpening;

/* What can be spoken to the destination, best first. */
typedef struct {
    int feature;
    unsigned version;
    bool params;                 /* extensible parameters */
} peerProtocol;

static const peerProtocol peerProtocols[] = {
    { VIR_DRV_FEATURE_MIGRATION_PARAMS, 3, true },
    { VIR_DRV_FEATURE_MIGRATION_V3, 3, false },
    { VIR_DRV_FEATURE_MIGRATION_V2, 2, false },
};

typedef struct {
    migJob *job;
    char *dconnuri;
    char *destName;
    unsigned keepaliveInterval, keepaliveCount;
    unsigned finishMs;           /* how long the answer to Finish is waited for */
    unsigned channelMs;          /* how long a tunnel's channel may take to open */
    bool watched;                /* its end is told to the job */
    virConnectPtr conn;          /* the client's, a reference */
    virConnectPtr dconn;
    const peerProtocol *protocol;
    virStreamPtr st;             /* tunnelled: the data's, once prepared */
    GMutex *streamCalls;
} migPeer;

void *
migPeerNew(migJob *job, virConnectPtr conn, const char *dconnuri, const char *destName)
{
    g_autoptr(drvConf) conf = stateConf(conn->privateData);
    migPeer *peer = g_new0(migPeer, 1);

    peer->conn = virObjectRef(conn);
    peer->streamCalls = migTunnelCallsNew();

    peer->job = migJobRef(job);
    peer->dconnuri = g_strdup(dconnuri);
    peer->destName = g_strdup(destName);
    peer->keepaliveInterval = conf->keepaliveInterval;
    peer->keepaliveCount = conf->keepaliveCount;
    /* As with another coordinator. */
    peer->finishMs = 2 * conf->finishTimeoutMs;
    peer->channelMs = conf->connectTimeoutMs;
    return peer;
}

void
migPeerFree(void *opaque)
{
    migPeer *peer = opaque;

    if (peer->st)
        virStreamFree(peer->st);
    migTunnelCallsUnref(peer->streamCalls);
    virObjectUnref(peer->dconn);
    virObjectUnref(peer->conn);
    migJobUnref(peer->job);
    g_free(peer->dconnuri);
    g_free(peer->destName);
    g_free(peer);
}

static void
openingUnref(peerOpening *opening)
{
    if (!g_atomic_int_dec_and_test(&opening->refs))
        return;
    if (opening->conn)
        virConnectClose(opening->conn);
    g_clear_error(&opening->error);
    g_free(opening->uri);
    g_mutex_clear(&opening->lock);
    g_cond_clear(&opening->cond);
    g_free(opening);
}

static gpointer
openingThread(gpointer data)
{
    peerOpening *opening = data;
    virConnectPtr conn = virConnectOpenAuth(opening->uri, NULL, 0);
    g_autoptr(GError) error = NULL;

    if (!conn)
        reportToGError(&error);
    g_mutex_lock(&opening->lock);
    opening->conn = conn;
    opening->error = g_steal_pointer(&error);
    opening->done = true;
    g_cond_broadcast(&opening->cond);
    g_mutex_unlock(&opening->lock);
    openingUnref(opening);
    return NULL;
}

/* Wait for the thread, a user's abort or the end of patience. */
static void
openingAwait(peerOpening *opening, migJob *job, GError **error)
{
    gint64 until = g_get_monotonic_time() + PEER_OPEN_MS * 1000;

    for (;;) {
        unsigned signals;
        bool done;

        g_mutex_lock(&opening->lock);
        if (!opening->done)
            g_cond_wait_until(&opening->cond, &opening->lock,
                              g_get_monotonic_time() + PEER_OPEN_POLL_MS * 1000);
        done = opening->done;
        g_mutex_unlock(&opening->lock);
        if (done)
            return;
        signals = migJobWait(job, 0);
        /* The others are for later. */
        if (signals & ~(unsigned)MIG_SIGNAL_ABORT)
            migJobPost(job, signals & ~(unsigned)MIG_SIGNAL_ABORT);
        if (signals & MIG_SIGNAL_ABORT) {
            g_set_error_literal(error, BASE_ERROR, BASE_ERROR_ABORTED,
                                _("migration out job: canceled by client"));
            return;
        }
        if (g_get_monotonic_time() >= until) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                        _("no answer within %1$d seconds"), PEER_OPEN_MS / 1000);
            return;
        }
    }
}

static virConnectPtr
peerConnect(migPeer *peer, GError **error)
{
    peerOpening *opening = g_new0(peerOpening, 1);
    virConnectPtr conn = NULL;

    opening->refs = 2;
    opening->uri = g_strdup(peer->dconnuri);
    g_mutex_init(&opening->lock);
    g_cond_init(&opening->cond);
    if (baseThreadStart("migration-open", openingThread, opening, error))
        openingAwait(opening, peer->job, error);
    else
        openingUnref(opening);
    g_mutex_lock(&opening->lock);
    if (!*error) {
        conn = g_steal_pointer(&opening->conn);
        if (!conn)
            g_propagate_error(error, g_steal_pointer(&opening->error));
    }
    g_mutex_unlock(&opening->lock);
    openingUnref(opening);
    return conn;
}

static void
peerClosed(virConnectPtr conn G_GNUC_UNUSED, int reason, void *opaque)
{
    VIR_DEBUG("connection to the destination closed, reason %d", reason);
    migJobPost(opaque, MIG_SIGNAL_LOST);
}

static bool
peerSupports(migPeer *peer, int feature, const char *what, GError **error)
{
    int rc = virConnectSupportsFeature(peer->dconn, feature);

    if (rc > 0)
        return true;
    if (rc < 0)
        reportToGError(error);
    else
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("The destination '%1$s' does not support %2$s."), peer->dconnuri, what);
    return false;
}

/* Other drivers have cookies and streams of their own; theirs would only say that ours are malformed. */
static bool
peerIsOurs(migPeer *peer, GError **error)
{
    const char *type = virConnectGetType(peer->dconn);

    if (type && STREQ(type, CONNECT_TYPE))
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                _("The destination '%1$s' is served by libvirt's driver '%2$s', not by '%3$s'."),
                peer->dconnuri, NULLSTR(type), CONNECT_TYPE);
    return false;
}

/* The newest version that the destination offers and that is not newer than what the client's own connection is limited to. */
static bool
peerChoose(migPeer *peer, GError **error)
{
    bool allowed = false;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(peerProtocols); i++) {
        int rc;

        allowed = allowed || connectOffers(peer->conn, peerProtocols[i].feature);
        rc = allowed ? virConnectSupportsFeature(peer->dconn, peerProtocols[i].feature) : 0;

        if (rc < 0) {
            reportToGError(error);
            return false;
        }
        if (rc > 0) {
            peer->protocol = &peerProtocols[i];
            VIR_DEBUG("version %u of the migration protocol, parameters: %d", peer->protocol->version,
                      peer->protocol->params);
            return true;
        }
    }
    g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                _("The destination '%1$s' and the connection to this host offer no common version of peer-to-peer migration."),
                peer->dconnuri);
    return false;
}

static unsigned
peerVersion(void *opaque)
{
    migPeer *peer = opaque;

    return peer->protocol->version;
}

static migConn
peerConnKind(void *opaque, char **retHost)
{
    migPeer *peer = opaque;

    return migConnOfDest(peer->dconn, retHost);
}

typedef struct {
    virConnectPtr dconn;
    bool watched;
    bool begun;
} peerClosing;

static void
peerClosingRun(void *opaque)
{
    peerClosing *c = opaque;

    c->begun = true;
    /* As long as it is registered, it keeps the connection. */
    if (c->watched)
        virConnectUnregisterCloseCallback(c->dconn, peerClosed);
    virConnectClose(c->dconn);
}

/* A connection must not stay because there is no thread to end it: the destination keeps for it what it has prepared. */
static void
peerClosingFree(void *opaque)
{
    peerClosing *c = opaque;

    if (!c->begun)
        peerClosingRun(c);
    g_free(c);
}

/* Taking leave is a call, too. */
static void
peerClose(void *opaque)
{
    migPeer *peer = opaque;
    g_autoptr(GError) error = NULL;
    peerClosing *c;

    if (!peer->dconn)
        return;
    c = g_new0(peerClosing, 1);
    c->dconn = g_steal_pointer(&peer->dconn);
    c->watched = peer->watched;
    peer->watched = false;
    if (migRemoteRunFor(CLOSE_MS, peerClosingRun, c, peerClosingFree, &error))
        peerClosingFree(c);
    else
        VIR_WARN("closing the connection to '%s': %s, going on without", peer->dconnuri, error->message);
}

static bool
peerWatch(migPeer *peer, GError **error)
{
    if (virConnectSetKeepAlive(peer->dconn, peer->keepaliveInterval, peer->keepaliveCount) < 0) {
        reportToGError(error);
        return false;
    }
    migJobRef(peer->job);
    peer->watched = virConnectRegisterCloseCallback(peer->dconn, peerClosed, peer->job, (virFreeCallback)migJobUnref) == 0;
    if (!peer->watched) {
        reportToGError(error);
        migJobUnref(peer->job);
    }
    return peer->watched;
}

static bool
peerOpen(void *opaque, GError **error)
{
    migPeer *peer = opaque;
    g_autoptr(GError) local = NULL;

    peer->dconn = peerConnect(peer, &local);
    if (!peer->dconn) {
        g_propagate_error(error, g_steal_pointer(&local));
        g_prefix_error(error, _("Connecting to the destination '%1$s' failed: "), peer->dconnuri);
        return false;
    }
    /* Nothing is asked before keepalive watches over the answer. */
    if (peerWatch(peer, &local) && peerIsOurs(peer, &local) &&
        (!migOfflineIs(peer->job) ||
         peerSupports(peer, VIR_DRV_FEATURE_MIGRATION_OFFLINE, _("offline migration"), &local)) &&
        peerSupports(peer, VIR_DRV_FEATURE_MIGRATION_P2P, _("peer-to-peer migration"), &local) &&
        peerChoose(peer, &local))
        return true;
    g_propagate_error(error, g_steal_pointer(&local));
    peerClose(peer);
    return false;
}

/* One Prepare on its way; the connection's reference is its own. */
typedef struct {
    virConnectPtr dconn;
    const peerProtocol *protocol;
    virStreamPtr st;             /* NULL: not tunnelled */
    virTypedParameterPtr typed;
    int ntyped;
    unsigned long flags;
    char *cookieIn, *cookieOut, *uri;
    int cookieInLen, cookieOutLen;
    gint *over;                  /* atomic, in a box: it has been answered, or never was */
    bool ok;
    GError *error;
} peerPreparing;

static void
peerPreparingFree(void *opaque)
{
    peerPreparing *p = opaque;

    g_atomic_int_set(p->over, 1);
    g_atomic_rc_box_release(p->over);
    virTypedParamsFree(p->typed, p->ntyped);
    if (p->st)
        virStreamFree(p->st);
    virObjectUnref(p->dconn);
    g_free(p->cookieIn);
    g_free(p->cookieOut);
    g_free(p->uri);
    g_clear_error(&p->error);
    g_free(p);
}

/* What versions without extensible parameters can carry. */
typedef struct {
    const char *uri, *dname, *xml;
    unsigned long bandwidth;
} peerPlain;

static void
peerPlainFill(peerPlain *plain, virTypedParameterPtr typed, int ntyped)
{
    unsigned long long bandwidth = 0;

    memset(plain, 0, sizeof(*plain));
    virTypedParamsGetString(typed, ntyped, VIR_MIGRATE_PARAM_URI, &plain->uri);
    virTypedParamsGetString(typed, ntyped, VIR_MIGRATE_PARAM_DEST_NAME, &plain->dname);
    virTypedParamsGetString(typed, ntyped, VIR_MIGRATE_PARAM_DEST_XML, &plain->xml);
    virTypedParamsGetULLong(typed, ntyped, VIR_MIGRATE_PARAM_BANDWIDTH, &bandwidth);
    plain->bandwidth = bandwidth;
}

static bool
peerPlainCheck(const migPeer *peer, virTypedParameterPtr typed, int ntyped, GError **error)
{
    static const char *const plain[] = { VIR_MIGRATE_PARAM_URI, VIR_MIGRATE_PARAM_DEST_NAME, VIR_MIGRATE_PARAM_DEST_XML,
                                         VIR_MIGRATE_PARAM_BANDWIDTH,
                                         /* The cookie tells it as well. */
                                         MIG_PARAM_DRY_RUN, NULL };
    int i;

    for (i = 0; i < ntyped && !peer->protocol->params; i++) {
        if (!g_strv_contains(plain, typed[i].field)) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                        _("The parameter '%1$s' cannot be told to the destination '%2$s' in version %3$u of the migration protocol "
                          "without extensible parameters."), typed[i].field, peer->dconnuri, peer->protocol->version);
            return false;
        }
    }
    return true;
}

static int
peerPreparingTunnel(peerPreparing *p)
{
    peerPlain plain;

    if (p->protocol->params)
        return virDomainMigratePrepareTunnel3Params(p->dconn, p->st, p->typed, p->ntyped, p->cookieIn, p->cookieInLen,
                                                    &p->cookieOut, &p->cookieOutLen, p->flags);
    peerPlainFill(&plain, p->typed, p->ntyped);
    if (p->protocol->version == 3)
        return virDomainMigratePrepareTunnel3(p->dconn, p->st, p->cookieIn, p->cookieInLen, &p->cookieOut,
                                              &p->cookieOutLen, p->flags, plain.dname, plain.bandwidth, plain.xml);
    return virDomainMigratePrepareTunnel(p->dconn, p->st, p->flags, plain.dname, plain.bandwidth, plain.xml);
}

static void
peerPreparingRun(void *opaque)
{
    peerPreparing *p = opaque;
    peerPlain plain;
    int rc;

    if (p->st) {
        rc = peerPreparingTunnel(p);
    } else if (p->protocol->params) {
        rc = virDomainMigratePrepare3Params(p->dconn, p->typed, p->ntyped, p->cookieIn, p->cookieInLen,
                                            &p->cookieOut, &p->cookieOutLen, &p->uri, p->flags);
    } else {
        peerPlainFill(&plain, p->typed, p->ntyped);
        if (p->protocol->version == 3)
            rc = virDomainMigratePrepare3(p->dconn, p->cookieIn, p->cookieInLen, &p->cookieOut, &p->cookieOutLen,
                                          plain.uri, &p->uri, p->flags, plain.dname, plain.bandwidth, plain.xml);
        else
            rc = virDomainMigratePrepare2(p->dconn, &p->cookieOut, &p->cookieOutLen, plain.uri, &p->uri, p->flags,
                                          plain.dname, plain.bandwidth, plain.xml);
    }
    g_atomic_int_set(p->over, 1);
    p->ok = rc >= 0;
    if (!p->ok)
        reportToGError(&p->error);
}

typedef struct {
    virConnectPtr dconn;
    char *name;
    gint *over;                  /* of the Prepare */
} peerAbandoned;

/* Nothing but a migration that comes in: the domain may be there already, and have quite another job. */
static bool
peerAbortIncoming(virDomainPtr ddom, const gint *over)
{
    virTypedParameterPtr params = NULL;
    int nparams = 0, type = 0, operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;

    if (virDomainGetJobStats(ddom, &type, &params, &nparams, 0) < 0)
        return false;
    virTypedParamsGetInt(params, nparams, VIR_DOMAIN_JOB_OPERATION, &operation);
    virTypedParamsFree(params, nparams);
    return operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN && !g_atomic_int_get(over) && virDomainAbortJob(ddom) == 0;
}

static void
peerAbandonedFree(peerAbandoned *abandoned)
{
    virObjectUnref(abandoned->dconn);
    g_atomic_rc_box_release(abandoned->over);
    g_free(abandoned->name);
    g_free(abandoned);
}

/* The destination may let Prepare stand in line for long; its own job can be aborted. */
static gpointer
peerAbandonThread(gpointer data)
{
    peerAbandoned *abandoned = data;
    bool done = false;
    unsigned i;

    /* Prepare may be on its way still; when it comes too late for us, the end of the connection undoes it. Once it has been answered, what
     * is there is somebody's next migration. */
    for (i = 0; i < PEER_ABANDON_TRIES && !done && !g_atomic_int_get(abandoned->over); i++) {
        virDomainPtr ddom = virDomainLookupByName(abandoned->dconn, abandoned->name);

        done = ddom && peerAbortIncoming(ddom, abandoned->over);
        virObjectUnref(ddom);
        if (!done)
            g_usleep(PEER_OPEN_POLL_MS * 1000);
    }
    peerAbandonedFree(abandoned);
    return NULL;
}

/* @over is taken over. */
static void
peerAbandon(migPeer *peer, gint *over)
{
    peerAbandoned *abandoned = g_new0(peerAbandoned, 1);
    g_autoptr(GError) error = NULL;

    abandoned->dconn = virObjectRef(peer->dconn);
    abandoned->name = g_strdup(peer->destName);
    abandoned->over = over;
    if (baseThreadStart("migration-abort", peerAbandonThread, abandoned, &error))
        return;
    /* The connection is about to end, and with it what it has prepared. */
    VIR_WARN("the destination '%s' is not told to stop preparing: %s", peer->dconnuri, error->message);
    peerAbandonedFree(abandoned);
}

static virStreamPtr
peerNewStream(migPeer *peer, GError **error)
{
    virStreamPtr st = virStreamNew(peer->dconn, 0);

    if (!st)
        reportToGError(error);
    return st;
}

static bool
peerPrepare(void *opaque, const migParams *params, const char *xml, const char *cookieIn, int cookieInLen,
            char **retCookie, int *retCookieLen, char **retUri, GError **error)
{
    migPeer *peer = opaque;
    peerPreparing *p = g_new0(peerPreparing, 1);
    gint *over = g_atomic_rc_box_new0(gint);
    bool ok;

    p->over = g_atomic_rc_box_acquire(over);
    p->dconn = virObjectRef(peer->dconn);
    p->protocol = peer->protocol;
    p->flags = migParamsFlags(params, MIG_CALL_PREPARE);
    p->cookieIn = g_strndup(cookieIn, cookieInLen);
    p->cookieInLen = cookieInLen;
    if (!migParamsToTyped(params, MIG_CALL_PREPARE, xml, peer->destName, &p->typed, &p->ntyped, error) ||
        !peerPlainCheck(peer, p->typed, p->ntyped, error) ||
        (params->tunnelled && !(p->st = peerNewStream(peer, error)))) {
        peerPreparingFree(p);
        g_atomic_rc_box_release(over);
        return false;
    }
    /* It may stand in line there for as long as a user likes. */
    if (!migRemoteRun(peer->job, -1, peerPreparingRun, p, peerPreparingFree, error)) {
        peerAbandon(peer, over);
        return false;
    }
    g_atomic_rc_box_release(over);
    ok = p->ok;
    if (ok) {
        *retCookie = g_steal_pointer(&p->cookieOut);
        *retCookieLen = p->cookieOutLen;
        *retUri = g_steal_pointer(&p->uri);
        peer->st = g_steal_pointer(&p->st);
    } else {
        g_propagate_error(error, g_steal_pointer(&p->error));
    }
    peerPreparingFree(p);
    return ok;
}

/* So that a call that is not waited for any more comes to an end some time, whatever is configured.  If there is keepalive, this does
 * nothing. */
static void
peerGivenUp(migPeer *peer)
{
    if (virConnectSetKeepAlive(peer->dconn, LATE_KEEPALIVE_S, LATE_KEEPALIVE_COUNT) < 0)
        virResetLastError();
}

/* One Finish on its way; the connection's reference is its own. */
typedef struct {
    virConnectPtr dconn;
    const peerProtocol *protocol;
    virTypedParameterPtr typed;
    int ntyped;
    unsigned long flags;
    bool cancelled;
    char *destName, *dconnuri, *uri;
    char *cookieIn, *cookieOut;
    int cookieInLen, cookieOutLen;
    bool there;
    GError *error;
} peerFinishing;

static void
peerFinishingFree(void *opaque)
{
    peerFinishing *f = opaque;

    virTypedParamsFree(f->typed, f->ntyped);
    virObjectUnref(f->dconn);
    g_free(f->destName);
    g_free(f->dconnuri);
    g_free(f->uri);
    g_free(f->cookieIn);
    g_free(f->cookieOut);
    g_clear_error(&f->error);
    g_free(f);
}

static void
peerFinishingRun(void *opaque)
{
    peerFinishing *f = opaque;
    virDomainPtr ddom;

    if (f->protocol->params)
        ddom = virDomainMigrateFinish3Params(f->dconn, f->typed, f->ntyped, f->cookieIn, f->cookieInLen,
                                             &f->cookieOut, &f->cookieOutLen, f->flags, f->cancelled);
    else if (f->protocol->version == 3)
        ddom = virDomainMigrateFinish3(f->dconn, f->destName, f->cookieIn, f->cookieInLen, &f->cookieOut, &f->cookieOutLen,
                                       f->dconnuri, f->uri, f->flags, f->cancelled);
    else
        ddom = virDomainMigrateFinish2(f->dconn, f->destName, f->cookieIn, f->cookieInLen, f->uri ? f->uri : "", f->flags,
                                       f->cancelled);
    f->there = ddom != NULL;
    if (!f->there)
        reportToGError(&f->error);
    virObjectUnref(ddom);
}

/* The library waits for an answer as long as the connection lives, and of one without keepalive nobody says that it is dead. */
static bool
peerFinish(void *opaque, const migParams *params, const char *uri, bool cancelled,
           const char *cookieIn, int cookieInLen, char **retCookie, int *retCookieLen, GError **error)
{
    migPeer *peer = opaque;
    peerFinishing *f = g_new0(peerFinishing, 1);
    bool there;

    f->dconn = virObjectRef(peer->dconn);
    f->protocol = peer->protocol;
    f->flags = migParamsFlags(params, MIG_CALL_FINISH);
    f->cancelled = cancelled;
    f->destName = g_strdup(peer->destName);
    f->dconnuri = g_strdup(peer->dconnuri);
    f->uri = g_strdup(uri);
    f->cookieIn = g_strndup(cookieIn, cookieInLen);
    f->cookieInLen = cookieInLen;
    if (peer->protocol->params &&
        !migParamsToTyped(params, MIG_CALL_FINISH, NULL, peer->destName, &f->typed, &f->ntyped, error)) {
        peerFinishingFree(f);
        return false;
    }
    if (!migRemoteRunFor(peer->finishMs, peerFinishingRun, f, peerFinishingFree, error)) {
        peerGivenUp(peer);
        return false;
    }
    *retCookie = g_steal_pointer(&f->cookieOut);
    *retCookieLen = f->cookieOutLen;
    there = f->there;
    if (f->error)
        g_propagate_error(error, g_steal_pointer(&f->error));
    peerFinishingFree(f);
    return there;
}

static bool
peerStream(void *opaque, migTunnelRole role, const char *proof, tunnelStream *ret, GError **error)
{
    migPeer *peer = opaque;
    migTunnelOpening *o;
    virStreamPtr st;

    if (role == MIG_TUNNEL_DATA) {
        migTunnelStreamOf(g_steal_pointer(&peer->st), peer->streamCalls, ret);
        return true;
    }
    o = g_new0(migTunnelOpening, 1);
    o->dconn = virObjectRef(peer->dconn);
    o->domain = g_strdup(peer->destName);
    o->channel = g_strdup_printf("%s%s:%s", MIG_TUNNEL_PREFIX, role == MIG_TUNNEL_LINK ? "link" : "back", proof);
    if (!migRemoteRun(peer->job, (int)MIN(peer->channelMs, (unsigned)G_MAXINT), migTunnelOpeningRun, o, migTunnelOpeningFree, error)) {
        peerGivenUp(peer);
        return false;
    }
    if ((st = g_steal_pointer(&o->st)))
        migTunnelStreamOf(st, peer->streamCalls, ret);
    else
        g_propagate_error(error, g_steal_pointer(&o->error));
    migTunnelOpeningFree(o);
    return st != NULL;
}

const migPeerOps migPeerOpsReal = {
    .open = peerOpen,
    .version = peerVersion,
    .prepare = peerPrepare,
    .finish = peerFinish,
    .close = peerClose,
    .conn = peerConnKind,
    .stream = peerStream,
};
