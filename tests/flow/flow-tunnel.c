/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flow-tunnel.c: the streams of a tunnelled migration, which end with the daemon at either end
 *
 * The data goes into the destination's sink, as libvirt's event loop there does it; link and way back are the sockets that
 * libvirt would serve, read by a thread each.
 */
#include "flow-world.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/socket.h"
#include "migration/tunnel_job.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE 65536

typedef struct {
    gint refs;
    const flowScenario *scenario;
    gint *broken;                /* the world's */
    unsigned number;
    uint64_t forward;            /* bytes that have been sent; by one thread */
    int fd;                      /* closed with the last reference, shut before; -1: the data's */
    tunnelSink *sink;            /* the data's */
    gint cut;                    /* atomic */
    gint dropping;               /* atomic: what is sent goes nowhere */
    tunnelTake take;
    void *opaque;
    GDestroyNotify opaqueFree;
} flowStream;

static flowStream *
streamRef(flowStream *s)
{
    g_atomic_int_inc(&s->refs);
    return s;
}

static void
streamUnref(void *opaque)
{
    flowStream *s = opaque;

    if (!g_atomic_int_dec_and_test(&s->refs))
        return;
    tunnelSinkUnref(s->sink);
    baseFdClose(s->fd);
    g_atomic_rc_box_release(s->broken);
    g_free(s);
}

static void
streamEnd(flowStream *s)
{
    if (s->sink)
        tunnelSinkFinish(s->sink);
    else
        shutdown(s->fd, SHUT_RDWR);
}

static bool
streamIsCut(flowStream *s, GError **error)
{
    if (!g_atomic_int_get(&s->cut))
        return false;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "the connection was lost");
    return true;
}

/* In the way of the scenario. */
static void
streamBreak(flowStream *s)
{
    switch (s->scenario->cut) {
    case FLOW_CUT_RESET:
        g_atomic_int_set(&s->cut, 1);
        streamEnd(s);
        break;
    case FLOW_CUT_CLOSE:
        g_atomic_int_set(&s->dropping, 1);
        streamEnd(s);
        break;
    case FLOW_CUT_HALF:
        g_atomic_int_set(&s->dropping, 1);
        if (s->sink)
            streamEnd(s);
        else
            shutdown(s->fd, SHUT_WR);
        break;
    case FLOW_CUT_STALL:
    case FLOW_CUT_NONE:
    case FLOW_CUTS:
        g_assert_not_reached();
    }
    g_atomic_int_set(s->broken, 1);
}

static void
streamBreakIfDue(flowStream *s, size_t len)
{
    s->forward += len;
    if (s->scenario->cut != FLOW_CUT_NONE && !s->scenario->cutAt && s->scenario->connection == s->number &&
        s->forward > s->scenario->cutAfter && !g_atomic_int_get(s->broken))
        streamBreak(s);
}

static bool
streamSend(void *stream, const void *bytes, size_t len, GError **error)
{
    flowStream *s = stream;
    const char *from = bytes;

    streamBreakIfDue(s, len);
    if (streamIsCut(s, error))
        return false;
    if (g_atomic_int_get(&s->dropping))
        return true;
    if (s->sink)
        return tunnelSinkPut(s->sink, bytes, len, error);
    while (len > 0) {
        ssize_t n = send(s->fd, from, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "the stream has ended");
            return false;
        }
        from += n;
        len -= (size_t)n;
    }
    return true;
}

static bool
streamFinish(void *stream, GError **error)
{
    if (streamIsCut(stream, error))
        return false;
    streamEnd(stream);
    return true;
}

static void
streamAbort(void *stream)
{
    streamEnd(stream);
}

static gpointer
receiveThread(gpointer data)
{
    g_autofree char *buffer = g_malloc(PIECE);
    flowStream *s = data;
    ssize_t n;

    while ((n = recv(s->fd, buffer, PIECE, 0)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0)
            s->take(buffer, (size_t)n, s->opaque);
    }
    s->take("", 0, s->opaque);
    s->opaqueFree(s->opaque);
    streamUnref(s);
    return NULL;
}

static bool
streamReceive(void *stream, tunnelTake take, void *opaque, GDestroyNotify opaqueFree, GError **error G_GNUC_UNUSED)
{
    flowStream *s = stream;

    s->take = take;
    s->opaque = opaque;
    s->opaqueFree = opaqueFree;
    g_thread_unref(g_thread_new("stream", receiveThread, streamRef(s)));
    return true;
}

static const tunnelStreamOps streamOps = { streamSend, streamFinish, streamAbort, streamReceive, streamUnref };

static bool
streamOpen(flowStream *s, migJob *job, migTunnelRole role, const char *proof, GError **error)
{
    int fds[2];

    switch (role) {
    case MIG_TUNNEL_DATA:
        s->sink = migTunnelSink(job);
        return s->sink != NULL;
    case MIG_TUNNEL_BACK:
        s->fd = migDestTunnelBack(job, proof, error);
        return s->fd >= 0;
    case MIG_TUNNEL_LINK:
        break;
    }
    if (!baseSocketPair(fds, TUNNEL_ROOM_LINK, error))
        return false;
    s->fd = fds[0];
    return migDestTunnelLink(job, proof, fds[1], error);
}

bool
flowTunnelStream(flowWorld *w, migTunnelRole role, const char *proof, tunnelStream *ret, GError **error)
{
    g_autoptr(migJob) job = NULL;
    flowStream *s;

    g_mutex_lock(&w->lock);
    if (!w->connLost && w->daemons[MIG_SIDE_DEST] && !w->daemons[MIG_SIDE_DEST]->dead && w->daemons[MIG_SIDE_DEST]->job)
        job = migJobRef(w->daemons[MIG_SIDE_DEST]->job);
    g_mutex_unlock(&w->lock);
    s = g_new0(flowStream, 1);
    s->refs = 1;
    s->scenario = w->scenario;
    s->broken = g_atomic_rc_box_acquire(w->streamBroken);
    s->fd = -1;
    if (!job || !streamOpen(s, job, role, proof, error)) {
        if (error && !*error)
            g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID, "no migration for a channel");
        streamUnref(s);
        return false;
    }
    g_mutex_lock(&w->lock);
    s->number = w->streams->len;
    g_ptr_array_add(w->streams, streamRef(s));
    g_mutex_unlock(&w->lock);
    ret->ops = &streamOps;
    ret->stream = s;
    return true;
}

/* Lock held. */
void
flowTunnelCut(flowWorld *w)
{
    for (guint i = 0; i < w->streams->len; i++) {
        flowStream *s = g_ptr_array_index(w->streams, i);

        g_atomic_int_set(&s->cut, 1);
        streamEnd(s);
    }
}

/* Everything ends, and both daemons notice it. */
static void
connectionBreak(flowWorld *w)
{
    flowTunnelCut(w);
    w->connLost = true;
    g_atomic_int_set(w->streamBroken, 1);
    g_mutex_unlock(&w->lock);
    flowPost(w, MIG_SIDE_SOURCE, MIG_SIGNAL_LOST);
    flowPost(w, MIG_SIDE_DEST, MIG_SIGNAL_LOST);
    g_mutex_lock(&w->lock);
}

void
flowTunnelPoint(flowWorld *w, const char *passage)
{
    const flowScenario *s = w->scenario;

    if (!s->tunnel || s->cut == FLOW_CUT_NONE || g_strcmp0(s->cutAt, passage) != 0 || g_atomic_int_get(w->streamBroken))
        return;
    if (s->connection == FLOW_ALL_STREAMS)
        connectionBreak(w);
    else if (s->connection < w->streams->len)
        streamBreak(g_ptr_array_index(w->streams, s->connection));
}

GPtrArray *
flowTunnelStreamsNew(void)
{
    return g_ptr_array_new_with_free_func(streamUnref);
}
