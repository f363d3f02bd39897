/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig_peer.c: migPeerOps on a connection to the destination's libvirt
 *
 * Opening runs in a thread of its own: the library has no time-out for a peer that accepts and then says nothing, and a
 * user must be able to abort meanwhile.  A thread given up on closes the connection itself when it comes back.
 */
#include <config.h>

#include "driver/api.h"
#include "driver/mig_priv.h"
#include "driver/report.h"
#include "base/error.h"

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

typedef struct {
    migJob *job;
    char *dconnuri;
    char *destName;
    unsigned keepaliveInterval, keepaliveCount;
    virConnectPtr dconn;
} migPeer;

void *
migPeerNew(migJob *job, const char *dconnuri, drvState *drv, const char *destName)
{
    g_autoptr(drvConf) conf = stateConf(drv);
    migPeer *peer = g_new0(migPeer, 1);

    peer->job = migJobRef(job);
    peer->dconnuri = g_strdup(dconnuri);
    peer->destName = g_strdup(destName);
    peer->keepaliveInterval = conf->keepaliveInterval;
    peer->keepaliveCount = conf->keepaliveCount;
    return peer;
}

void
migPeerFree(void *opaque)
{
    migPeer *peer = opaque;

    virObjectUnref(peer->dconn);
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
        bool done;

        g_mutex_lock(&opening->lock);
        if (!opening->done)
            g_cond_wait_until(&opening->cond, &opening->lock,
                              g_get_monotonic_time() + PEER_OPEN_POLL_MS * 1000);
        done = opening->done;
        g_mutex_unlock(&opening->lock);
        if (done)
            return;
        if (migJobWait(job, 0) & MIG_SIGNAL_ABORT) {
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
    g_thread_unref(g_thread_new("migration-open", openingThread, opening));
    openingAwait(opening, peer->job, error);
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
    if (virConnectSetKeepAlive(peer->dconn, peer->keepaliveInterval, peer->keepaliveCount) < 0 ||
        virConnectRegisterCloseCallback(peer->dconn, peerClosed, migJobRef(peer->job),
                                        (virFreeCallback)migJobUnref) < 0)
        reportToGError(&local);
    if (!local && peerIsOurs(peer, &local) &&
        peerSupports(peer, VIR_DRV_FEATURE_MIGRATION_P2P, _("peer-to-peer migration"), &local) &&
        peerSupports(peer, VIR_DRV_FEATURE_MIGRATION_PARAMS, _("migration with extensible parameters"), &local))
        return true;
    g_propagate_error(error, g_steal_pointer(&local));
    virConnectClose(g_steal_pointer(&peer->dconn));
    return false;
}

static bool
peerPrepare(void *opaque, const migParams *params, const char *xml, const char *cookieIn, int cookieInLen,
            char **retCookie, int *retCookieLen, char **retUri, GError **error)
{
    migPeer *peer = opaque;
    virTypedParameterPtr typed = NULL;
    int ntyped = 0;
    int rc;

    if (!migParamsToTyped(params, MIG_CALL_PREPARE, xml, peer->destName, &typed, &ntyped, error))
        return false;
    rc = virDomainMigratePrepare3Params(peer->dconn, typed, ntyped, cookieIn, cookieInLen,
                                        retCookie, retCookieLen, retUri,
                                        migParamsFlags(params, MIG_CALL_PREPARE));
    virTypedParamsFree(typed, ntyped);
    if (rc < 0)
        reportToGError(error);
    return rc >= 0;
}

static bool
peerFinish(void *opaque, const migParams *params, const char *uri G_GNUC_UNUSED, bool cancelled,
           const char *cookieIn, int cookieInLen, char **retCookie, int *retCookieLen, GError **error)
{
    migPeer *peer = opaque;
    virDomainPtr ddom;
    bool there;
    virTypedParameterPtr typed = NULL;
    int ntyped = 0;

    if (!migParamsToTyped(params, MIG_CALL_FINISH, NULL, peer->destName, &typed, &ntyped, error))
        return false;
    ddom = virDomainMigrateFinish3Params(peer->dconn, typed, ntyped, cookieIn, cookieInLen,
                                         retCookie, retCookieLen,
                                         migParamsFlags(params, MIG_CALL_FINISH), cancelled);
    virTypedParamsFree(typed, ntyped);
    there = ddom != NULL;
    if (there)
        virObjectUnref(ddom);
    else
        reportToGError(error);
    return there;
}

static void
peerClose(void *opaque)
{
    migPeer *peer = opaque;

    if (!peer->dconn)
        return;
    virConnectUnregisterCloseCallback(peer->dconn, peerClosed);
    virConnectClose(g_steal_pointer(&peer->dconn));
}

const migPeerOps migPeerOpsReal = {
    .open = peerOpen,
    .prepare = peerPrepare,
    .finish = peerFinish,
    .close = peerClose,
};
