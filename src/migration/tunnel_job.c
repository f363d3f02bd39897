/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tunnel_job.c: see tunnel_job.h; what the destination's channels find is in dest_port.c */
#include "migration/tunnel_job.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/socket.h"
#include "migration/job_priv.h"
#include "base/gettext.h"

/* The connection's keepalive ends a wait that is longer than it should be; this is for one without. */
#define SETTLE_MS 120000

struct _migTunnel {
    const migPeerOps *ops;       /* source */
    void *peer;
    /* Guarded by the job's lock. */
    tunnelBridge *data;          /* source */
    uint64_t allowed;            /* source: before there is a bridge for the data */
    tunnelSink *sink;            /* destination; constant */
    int vmmFd;                   /* destination: the sink's other end */
    char *kept;                  /* destination */
};

char *
migTunnelProof(const uint8_t *token)
{
    uint8_t hash[HELLO_TOKEN_LEN];

    if (!token)
        return g_strdup("");
    helloTokenHash(token, hash);
    return helloTokenToHex(hash);
}

void
migTunnelFree(migTunnel *tunnel)
{
    if (!tunnel)
        return;
    tunnelBridgeUnref(tunnel->data);
    if (tunnel->sink)
        tunnelSinkEnd(tunnel->sink);
    tunnelSinkUnref(tunnel->sink);
    baseFdClose(tunnel->vmmFd);
    g_free(tunnel->kept);
    g_free(tunnel);
}

/* ---- source --------------------------------------------------------------------------------- */

void
migTunnelStart(migJob *job, const migPeerOps *ops, void *peer)
{
    migTunnel *tunnel = g_new0(migTunnel, 1);

    tunnel->ops = ops;
    tunnel->peer = peer;
    tunnel->vmmFd = -1;
    g_mutex_lock(&job->lock);
    job->tunnel = tunnel;
    g_mutex_unlock(&job->lock);
}

/* Looking at the VMM finds the reason. */
static void
tunnelBroken(void *opaque)
{
    migJobPost(opaque, MIG_SIGNAL_VMM);
}

static void
tunnelUnrefJob(gpointer job)
{
    migJobUnref(job);
}

/* *ret is the other end of the bridge. */
static tunnelBridge *
tunnelBridgeTo(const tunnelStream *stream, const tunnelBridgeOptions *options, size_t room, helloConn *ret, GError **error)
{
    tunnelBridge *bridge;
    int fds[2];

    if (!baseSocketPair(fds, room, error)) {
        tunnelBridgeRefuse(stream, options);
        return NULL;
    }
    if (!(bridge = tunnelBridgeNew(stream, fds[1], options, error))) {
        baseFdClose(fds[0]);
        return NULL;
    }
    *ret = helloConnOf(fds[0]);
    return bridge;
}

static bool
tunnelOpen(migJob *job, migTunnelRole role, const char *proof, tunnelStream *ret, GError **error)
{
    if (job->tunnel->ops->stream(job->tunnel->peer, role, proof, ret, error))
        return true;
    g_prefix_error(error, _("The tunnel to host '%1$s' cannot be opened: "), job->record.peerHost ? job->record.peerHost : "?");
    return false;
}

bool
migTunnelOpenLink(migJob *job, const uint8_t *token, helloConn *ret, GError **error)
{
    static const tunnelBridgeOptions options = { .name = "tunnel-link", .receives = true };
    g_autofree char *proof = migTunnelProof(token);
    g_autoptr(tunnelBridge) bridge = NULL;
    tunnelStream stream = { NULL, NULL };

    if (!tunnelOpen(job, MIG_TUNNEL_LINK, proof, &stream, error))
        return false;
    /* It lives on by itself until the link closes its end. */
    bridge = tunnelBridgeTo(&stream, &options, TUNNEL_ROOM_LINK, ret, error);
    return bridge != NULL;
}

bool
migTunnelOpenData(migJob *job, helloConn *ret, GError **error)
{
    tunnelBridgeOptions options = {
        .name = "tunnel-data", .receives = true, .metered = true, .stallMs = job->env->stallTimeoutMs, .broken = tunnelBroken,
    };
    g_autofree char *proof = migTunnelProof(job->record.token);
    migTunnel *tunnel = job->tunnel;
    tunnelStream stream = { NULL, NULL };
    tunnelBridge *bridge;

    if (!tunnelOpen(job, MIG_TUNNEL_BACK, proof, &options.answers, error))
        return false;
    if (!tunnelOpen(job, MIG_TUNNEL_DATA, proof, &stream, error)) {
        options.answers.ops->abort(options.answers.stream);
        options.answers.ops->free(options.answers.stream);
        return false;
    }
    options.opaque = migJobRef(job);
    options.opaqueFree = tunnelUnrefJob;
    if (!(bridge = tunnelBridgeTo(&stream, &options, TUNNEL_ROOM, ret, error)))
        return false;
    g_mutex_lock(&job->lock);
    tunnel->data = bridge;
    tunnelBridgeAllow(bridge, tunnel->allowed);
    g_mutex_unlock(&job->lock);
    return true;
}

void
migTunnelAllow(migJob *job, uint64_t total)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    if (!job->tunnel)
        return;
    job->tunnel->allowed = MAX(job->tunnel->allowed, total);
    if (job->tunnel->data)
        tunnelBridgeAllow(job->tunnel->data, total);
}

void
migTunnelCancel(migJob *job)
{
    if (job->tunnel && job->tunnel->data)
        tunnelBridgeCancel(job->tunnel->data);
}

char *
migTunnelError(migJob *job)
{
    return job->tunnel && job->tunnel->data ? tunnelBridgeError(job->tunnel->data) : NULL;
}

void
migTunnelSettle(migJob *job, bool cancelled)
{
    tunnelBridge *data = job->tunnel ? job->tunnel->data : NULL;

    /* With a guide the sender never ends its stream; the end of the data leaves while Finish is under way, at the latest. */
    if (!data || (job->guide && !cancelled))
        return;
    if (cancelled)
        tunnelBridgeCancel(data);
    if (!tunnelBridgeAwait(data, SETTLE_MS))
        g_warning("%s: the tunnel takes too long to end, ignoring", job->record.uuid);
}

void
migTunnelDrop(migJob *job)
{
    migTunnel *tunnel;

    g_mutex_lock(&job->lock);
    tunnel = g_steal_pointer(&job->tunnel);
    g_mutex_unlock(&job->lock);
    if (tunnel && tunnel->data)
        tunnelBridgeCancel(tunnel->data);
    migTunnelFree(tunnel);
}

/* ---- destination ---------------------------------------------------------------------------- */

bool
migTunnelExpect(migJob *job, const tunnelSinkHooks *hooks, void *opaque, GError **error)
{
    tunnelSink *sink;
    migTunnel *tunnel;
    int fds[2];

    /* All that may be on its way: so it is copied once, and no thread is woken for it. */
    if (!baseSocketPair(fds, TUNNEL_WINDOW, error)) {
        hooks->free(opaque);
        return false;
    }
    if (!(sink = tunnelSinkNew(fds[1], TUNNEL_WINDOW, hooks, opaque, error))) {
        baseFdClose(fds[0]);
        return false;
    }
    tunnel = g_new0(migTunnel, 1);
    tunnel->sink = sink;
    tunnel->vmmFd = fds[0];
    g_mutex_lock(&job->lock);
    job->tunnel = tunnel;
    g_mutex_unlock(&job->lock);
    return true;
}

tunnelSink *
migTunnelSink(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return job->tunnel && job->tunnel->sink ? tunnelSinkRef(job->tunnel->sink) : NULL;
}

int
migTunnelVmmFd(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return baseFdSteal(&job->tunnel->vmmFd);
}

void
migTunnelKeep(migJob *job, const char *cookie)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    if (!job->tunnel)
        return;
    g_free(job->tunnel->kept);
    job->tunnel->kept = g_strdup(cookie);
}

char *
migTunnelKept(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return job->tunnel ? g_strdup(job->tunnel->kept) : NULL;
}

void
migTunnelEnd(migJob *job)
{
    g_autoptr(tunnelSink) sink = migTunnelSink(job);

    if (sink)
        tunnelSinkEnd(sink);
}
