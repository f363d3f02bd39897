/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig_tunnel.c: the streams of a tunnelled migration as libvirt's streams; see migration/tunnel_job.h
 *
 * Theory of operation: on the source a stream is libvirt's client's.  Sending on it blocks, so that is left to the tunnel's
 * threads, one at a time: the library (9.0) wakes only one of several that wait in a connection which keepalive gives up, and leaves the
 * others waiting for ever.  For the same reason the data's stream is ended before the coordinator says Finish, so that
 * nothing that could be held up is on its way besides.  What arrives is taken in the event loop.  At the destination the data's stream has a driver of our own, which is always ready: the
 * daemon's event loop hands it what arrives, and the sink takes it at once (migration/tunnel_sink.c), so the connection's other users
 * never wait for a VMM.  The two channels are descriptors, which libvirt serves by itself.
 */
#include <config.h>

#include "driver/mig_tunnel.h"
#include "driver/report.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/socket.h"
#include "base/thread.h"

#include "datatypes.h"
#include "virerror.h"
#include "virfdstream.h"
#include "virlog.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

VIR_LOG_INIT("stratovirt.mig_tunnel");

#define TAKE_BYTES (64 * 1024)

/* ---- source: a stream of a connection ------------------------------------------------------- */

typedef struct {
    gint refs;
    virStreamPtr st;
    GMutex *calls;               /* held while a call blocks; shared by the streams of a connection */
    GMutex lock;                 /* the following; a callback may run while another thread ends the stream */
    bool receiving;              /* libvirt has a callback */
    tunnelTake take;
    void *opaque;
    GDestroyNotify opaqueFree;
} peerStream;

static void
callsClear(void *calls)
{
    g_mutex_clear(calls);
}

GMutex *
migTunnelCallsNew(void)
{
    GMutex *calls = g_atomic_rc_box_new0(GMutex);

    g_mutex_init(calls);
    return calls;
}

void
migTunnelCallsUnref(GMutex *calls)
{
    g_atomic_rc_box_release_full(calls, callsClear);
}

static void
peerStreamUnref(void *opaque)
{
    peerStream *ps = opaque;

    if (!g_atomic_int_dec_and_test(&ps->refs))
        return;
    if (ps->opaqueFree)
        ps->opaqueFree(ps->opaque);
    virStreamFree(ps->st);
    migTunnelCallsUnref(ps->calls);
    g_mutex_clear(&ps->lock);
    g_free(ps);
}

static bool
peerStreamSend(void *stream, const void *bytes, size_t len, GError **error)
{
    peerStream *ps = stream;
    const char *from = bytes;
    BASE_LOCK(ps->calls);

    while (len > 0) {
        int n = virStreamSend(ps->st, from, len);

        if (n < 0) {
            reportToGError(error);
            return false;
        }
        from += n;
        len -= (size_t)n;
    }
    return true;
}

static gpointer
peerStreamReleaseThread(gpointer opaque)
{
    peerStream *ps = opaque;
    GDestroyNotify opaqueFree = g_steal_pointer(&ps->opaqueFree);

    if (opaqueFree)
        opaqueFree(ps->opaque);
    peerStreamUnref(ps);
    return NULL;
}

/* The event loop's thread is also the one that calls peerStreamEvent(), so that does not run now. */
static void
peerStreamReleaseTimer(int timer, void *opaque)
{
    virEventRemoveTimeout(timer);
    /* It may be the last reference to the connection, whose end is a call. */
    if (!baseThreadStart("tunnel-release", peerStreamReleaseThread, opaque, NULL))
        peerStreamReleaseThread(opaque);
}

/* What peerStreamReceive() has taken is given back from here, since libvirt never calls the free function of a stream's callback. */
static void
peerStreamDeafen(peerStream *ps)
{
    bool receiving;

    g_mutex_lock(&ps->lock);
    receiving = ps->receiving;
    ps->receiving = false;
    g_mutex_unlock(&ps->lock);
    if (!receiving)
        return;
    virStreamEventRemoveCallback(ps->st);
    if (virEventAddTimeout(0, peerStreamReleaseTimer, ps, NULL) < 0)
        VIR_WARN("a stream of a tunnel cannot be given back: %s, ignoring", virGetLastErrorMessage());
}

static bool
peerStreamFinish(void *stream, GError **error)
{
    peerStream *ps = stream;
    int rc;

    peerStreamDeafen(ps);
    g_mutex_lock(ps->calls);
    rc = virStreamFinish(ps->st);
    g_mutex_unlock(ps->calls);
    if (rc < 0)
        reportToGError(error);
    return rc == 0;
}

static void
peerStreamAbort(void *stream)
{
    peerStream *ps = stream;
    int rc;

    peerStreamDeafen(ps);
    g_mutex_lock(ps->calls);
    rc = virStreamAbort(ps->st);
    g_mutex_unlock(ps->calls);
    if (rc < 0)
        VIR_DEBUG("stream abort: %s", virGetLastErrorMessage());
    virResetLastError();
}

static void
peerStreamEvent(virStreamPtr st, int events G_GNUC_UNUSED, void *opaque)
{
    g_autofree char *buffer = g_malloc(TAKE_BYTES);
    peerStream *ps = opaque;
    int n;

    while ((n = virStreamRecv(st, buffer, TAKE_BYTES)) > 0)
        ps->take(buffer, (size_t)n, ps->opaque);
    if (n == -2)
        return;
    if (n < 0)
        VIR_DEBUG("stream: %s", virGetLastErrorMessage());
    virResetLastError();
    ps->take("", 0, ps->opaque);
    peerStreamDeafen(ps);
}

static bool
peerStreamReceive(void *stream, tunnelTake take, void *opaque, GDestroyNotify opaqueFree, GError **error)
{
    peerStream *ps = stream;

    ps->take = take;
    ps->opaque = opaque;
    /* First, since the callback may end it at once. */
    ps->opaqueFree = opaqueFree;
    g_atomic_int_inc(&ps->refs);
    ps->receiving = true;
    if (virStreamEventAddCallback(ps->st, VIR_STREAM_EVENT_READABLE, peerStreamEvent, ps, NULL) == 0)
        return true;
    reportToGError(error);
    ps->receiving = false;
    ps->opaqueFree = NULL;
    peerStreamUnref(ps);
    opaqueFree(opaque);
    return false;
}

static const tunnelStreamOps peerStreamOps = {
    .send = peerStreamSend,
    .finish = peerStreamFinish,
    .abort = peerStreamAbort,
    .receive = peerStreamReceive,
    .free = peerStreamUnref,
};

void
migTunnelStreamOf(virStreamPtr st, GMutex *calls, tunnelStream *ret)
{
    peerStream *ps = g_new0(peerStream, 1);

    ps->refs = 1;
    ps->st = st;
    ps->calls = g_atomic_rc_box_acquire(calls);
    g_mutex_init(&ps->lock);
    ret->ops = &peerStreamOps;
    ret->stream = ps;
}

/* ---- source: opening a channel; work for migRemoteRun() -------------------------------------- */

void
migTunnelOpeningFree(void *opaque)
{
    migTunnelOpening *o = opaque;

    if (o->st) {
        virStreamAbort(o->st);
        virStreamFree(o->st);
    }
    virObjectUnref(o->dconn);
    g_free(o->domain);
    g_free(o->channel);
    g_clear_error(&o->error);
    g_free(o);
}

void
migTunnelOpeningRun(void *opaque)
{
    migTunnelOpening *o = opaque;
    virDomainPtr ddom = virDomainLookupByName(o->dconn, o->domain);
    virStreamPtr st = ddom ? virStreamNew(o->dconn, VIR_STREAM_NONBLOCK) : NULL;

    if (st && virDomainOpenChannel(ddom, o->channel, st, 0) == 0)
        o->st = g_steal_pointer(&st);
    else
        reportToGError(&o->error);
    if (st)
        virStreamFree(st);
    virObjectUnref(ddom);
}

/* ---- destination: the data's stream --------------------------------------------------------- */

/* Guarded by the lock, which is not held while libvirt is called back. */
typedef struct {
    GMutex lock;
    tunnelSink *sink;
    int timer;                   /* -1: no callback */
    bool armed;                  /* it fires again and again */
    virStreamEventCallback cb;
    void *cbOpaque;
    virFreeCallback cbFree;
    bool dispatching;
    bool removed;                /* while dispatching */
    bool ended;
} sinkStream;

static void
sinkStreamFree(void *opaque)
{
    sinkStream *ss = opaque;

    tunnelSinkFinish(ss->sink);
    tunnelSinkUnref(ss->sink);
    g_mutex_clear(&ss->lock);
    g_free(ss);
}

static int
sinkStreamSend(virStreamPtr st, const char *data, size_t nbytes)
{
    sinkStream *ss = st->privateData;
    g_autoptr(GError) error = NULL;

    if (tunnelSinkPut(ss->sink, data, nbytes, &error))
        return (int)MIN(nbytes, (size_t)INT_MAX);
    return reportGError(g_steal_pointer(&error));
}

static void
sinkStreamTimer(int timer G_GNUC_UNUSED, void *opaque)
{
    virStreamPtr st = opaque;
    sinkStream *ss = st->privateData;
    virStreamEventCallback cb;
    virFreeCallback cbFree = NULL;
    void *cbOpaque;

    g_mutex_lock(&ss->lock);
    cb = ss->timer >= 0 ? ss->cb : NULL;
    cbOpaque = ss->cbOpaque;
    ss->dispatching = cb != NULL;
    g_mutex_unlock(&ss->lock);
    if (!cb)
        return;
    cb(st, VIR_STREAM_EVENT_WRITABLE, cbOpaque);
    g_mutex_lock(&ss->lock);
    ss->dispatching = false;
    if (ss->removed)
        cbFree = g_steal_pointer(&ss->cbFree);
    ss->removed = false;
    g_mutex_unlock(&ss->lock);
    if (cbFree)
        cbFree(cbOpaque);
}

static int
sinkStreamAddCallback(virStreamPtr st, int events, virStreamEventCallback cb, void *opaque, virFreeCallback ff)
{
    sinkStream *ss = st->privateData;
    bool busy;

    g_mutex_lock(&ss->lock);
    busy = ss->timer >= 0 || ss->dispatching;
    if (!busy) {
        ss->timer = virEventAddTimeout(events & VIR_STREAM_EVENT_WRITABLE ? 0 : -1, sinkStreamTimer, virObjectRef(st),
                                       virObjectUnref);
        if (ss->timer < 0)
            virObjectUnref(st);
        ss->armed = (events & VIR_STREAM_EVENT_WRITABLE) != 0;
        ss->cb = cb;
        ss->cbOpaque = opaque;
        ss->cbFree = ff;
    }
    busy = busy || ss->timer < 0;
    g_mutex_unlock(&ss->lock);
    if (busy)
        virReportError(VIR_ERR_INTERNAL_ERROR, "%s", _("the tunnel's stream cannot be watched"));
    return busy ? -1 : 0;
}

static int
sinkStreamUpdateCallback(virStreamPtr st, int events)
{
    bool wanted = (events & VIR_STREAM_EVENT_WRITABLE) != 0;
    sinkStream *ss = st->privateData;
    int timer;

    g_mutex_lock(&ss->lock);
    timer = ss->timer;
    /* A timer that is set anew begins anew, and would be put off by every message that comes. */
    if (timer >= 0 && ss->armed != wanted)
        virEventUpdateTimeout(timer, wanted ? 0 : -1);
    ss->armed = wanted;
    g_mutex_unlock(&ss->lock);
    if (timer >= 0)
        return 0;
    virReportError(VIR_ERR_INTERNAL_ERROR, "%s", _("the tunnel's stream is not watched"));
    return -1;
}

static int
sinkStreamRemoveCallback(virStreamPtr st)
{
    sinkStream *ss = st->privateData;
    virFreeCallback cbFree = NULL;
    void *cbOpaque;
    int timer;

    g_mutex_lock(&ss->lock);
    timer = ss->timer;
    ss->timer = -1;
    cbOpaque = ss->cbOpaque;
    if (timer >= 0 && ss->dispatching)
        ss->removed = true;
    else if (timer >= 0)
        cbFree = g_steal_pointer(&ss->cbFree);
    g_mutex_unlock(&ss->lock);
    if (timer < 0) {
        virReportError(VIR_ERR_INTERNAL_ERROR, "%s", _("the tunnel's stream is not watched"));
        return -1;
    }
    virEventRemoveTimeout(timer);
    if (cbFree)
        cbFree(cbOpaque);
    return 0;
}

static int
sinkStreamFinish(virStreamPtr st)
{
    sinkStream *ss = st->privateData;

    ss->ended = true;
    tunnelSinkFinish(ss->sink);
    return 0;
}

/* What has arrived may go on; that something is missing, the VMM finds by itself and the link's other end says. */
static int
sinkStreamAbort(virStreamPtr st)
{
    sinkStream *ss = st->privateData;

    if (!ss->ended)
        tunnelSinkFinish(ss->sink);
    ss->ended = true;
    return 0;
}

static virStreamDriver sinkStreamDriver = {
    .streamSend = sinkStreamSend,
    .streamEventAddCallback = sinkStreamAddCallback,
    .streamEventUpdateCallback = sinkStreamUpdateCallback,
    .streamEventRemoveCallback = sinkStreamRemoveCallback,
    .streamFinish = sinkStreamFinish,
    .streamAbort = sinkStreamAbort,
};

int
migTunnelTakeStream(migJob *job, virStreamPtr st)
{
    tunnelSink *sink = migTunnelSink(job);
    sinkStream *ss;

    if (!sink) {
        virReportError(VIR_ERR_INTERNAL_ERROR, "%s", _("the migration waits for no tunnel"));
        return -1;
    }
    ss = g_new0(sinkStream, 1);
    g_mutex_init(&ss->lock);
    ss->timer = -1;
    ss->sink = sink;
    st->driver = &sinkStreamDriver;
    st->privateData = ss;
    st->ff = sinkStreamFree;
    return 0;
}

/* ---- destination: the channels -------------------------------------------------------------- */

bool
migTunnelIsChannel(const char *name)
{
    return name && STRPREFIX(name, MIG_TUNNEL_PREFIX);
}

/* *ret: what libvirt is to serve. */
static bool
channelConnect(migJob *job, const char *which, int *ret, GError **error)
{
    const char *proof;
    int fds[2];

    if ((proof = STRSKIP(which, "back:"))) {
        *ret = migDestTunnelBack(job, proof, error);
        return *ret >= 0;
    }
    if (!(proof = STRSKIP(which, "link:"))) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG, _("A migration has no channel '%1$s'."), which);
        return false;
    }
    if (!baseSocketPair(fds, TUNNEL_ROOM_LINK, error))
        return false;
    if (!migDestTunnelLink(job, proof, fds[1], error)) {
        baseFdClose(fds[0]);
        return false;
    }
    *ret = fds[0];
    return true;
}

int
migTunnelOpenChannel(virDomainObj *vm, virConnectPtr conn, const char *name, virStreamPtr st)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;
    g_autoptr(GError) error = NULL;
    int fd = -1;

    if (!mig || !mig->job || mig->record.side != MIG_SIDE_DEST || mig->tunnelConn != conn) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("No tunnelled migration of domain '%1$s' has been prepared over this connection."), vm->def->name);
        return -1;
    }
    if (FAULT_ERROR(TUNNEL_CHANNEL, &error))
        return reportGError(g_steal_pointer(&error));
    if (!channelConnect(mig->job, name + strlen(MIG_TUNNEL_PREFIX), &fd, &error))
        return reportGError(g_steal_pointer(&error));
    if (virFDStreamOpen(st, fd) < 0) {
        baseFdClose(fd);
        return -1;
    }
    return 0;
}
