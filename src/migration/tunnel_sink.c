/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tunnel_sink.c: the destination's end of a tunnel, see tunnel.h
 *
 * Theory of operation: bytes arrive in the daemon's event loop, which must not wait.  As long as the VMM keeps up they go straight
 * into its socket; what finds no room is put into a ring as large as the window, which a thread empties.  The source cannot fill more
 * than the ring unless it lies.
 */
#include "migration/tunnel.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/thread.h"
#include "base/gettext.h"

/* The source is told when this part of the window has become free. */
#define ALLOW_PARTS 4

struct _tunnelSink {
    gint refs;
    size_t window;
    int wakeFd;                  /* eventfd: ended */

    GMutex lock;
    GCond cond;                  /* there is something for the thread */
    tunnelSinkHooks hooks;       /* cleared by the end */
    void *opaque;
    unsigned calling;            /* hooks that run */
    bool freed;                  /* the opaque, as soon as none does */
    int fd;                      /* closed by the last reference; shut before */
    uint8_t *ring;               /* NULL until needed */
    size_t start, held;
    uint64_t arrived, taken, allowed;
    bool opened, begun, finished, ended;
    bool deaf;                   /* the VMM reads nothing any more */
};

tunnelSink *
tunnelSinkRef(tunnelSink *sink)
{
    g_atomic_int_inc(&sink->refs);
    return sink;
}

void
tunnelSinkUnref(tunnelSink *sink)
{
    if (!sink || !g_atomic_int_dec_and_test(&sink->refs))
        return;
    tunnelSinkEnd(sink);
    baseFdClose(sink->fd);
    baseFdClose(sink->wakeFd);
    g_free(sink->ring);
    g_mutex_clear(&sink->lock);
    g_cond_clear(&sink->cond);
    g_free(sink);
}

/* ---- hooks; lock held, given up meanwhile --------------------------------------------------- */

static void
sinkFreeOpaque(tunnelSink *sink)
{
    GDestroyNotify func = sink->hooks.free;
    void *opaque = sink->opaque;

    if (sink->calling > 0 || !sink->ended || sink->freed)
        return;
    sink->freed = true;
    g_mutex_unlock(&sink->lock);
    if (func)
        func(opaque);
    g_mutex_lock(&sink->lock);
}

static void
sinkCallFirst(tunnelSink *sink)
{
    if (sink->begun || sink->ended)
        return;
    sink->begun = true;
    sink->calling++;
    g_mutex_unlock(&sink->lock);
    sink->hooks.first(sink->opaque);
    g_mutex_lock(&sink->lock);
    sink->calling--;
    sinkFreeOpaque(sink);
}

static void
sinkCallAllow(tunnelSink *sink)
{
    uint64_t total = sink->taken + sink->window;

    if (sink->ended || !sink->opened || total - sink->allowed < sink->window / ALLOW_PARTS)
        return;
    sink->allowed = total;
    sink->calling++;
    g_mutex_unlock(&sink->lock);
    sink->hooks.allow(total, sink->opaque);
    g_mutex_lock(&sink->lock);
    sink->calling--;
    sinkFreeOpaque(sink);
}

/* ---- the socket ----------------------------------------------------------------------------- */

/* How many were taken; all of them when nobody reads any more; 0: no room.  Sets *retDeaf. */
static size_t
sinkWrite(int fd, const uint8_t *bytes, size_t len, bool *retDeaf)
{
    ssize_t n;

    do {
        n = send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0)
        return (size_t)n;
    if (errno == EAGAIN)
        return 0;
    *retDeaf = true;
    return len;
}

/* Lock held, given up meanwhile. */
static void
sinkEndNow(tunnelSink *sink)
{
    if (!sink->ended) {
        sink->ended = true;
        shutdown(sink->fd, SHUT_RDWR);
        eventfd_write(sink->wakeFd, 1);
        g_cond_signal(&sink->cond);
    }
    sinkFreeOpaque(sink);
}

/* ---- the thread ----------------------------------------------------------------------------- */

/* Lock held, given up meanwhile: write a contiguous part of the ring. */
static void
sinkEmpty(tunnelSink *sink)
{
    const uint8_t *from = sink->ring + sink->start;
    size_t len = MIN(sink->held, sink->window - sink->start), n;
    struct pollfd fds[] = { { .fd = sink->wakeFd, .events = POLLIN }, { .fd = sink->fd, .events = POLLOUT } };
    bool deaf = sink->deaf;

    g_mutex_unlock(&sink->lock);
    poll(fds, deaf ? 1 : G_N_ELEMENTS(fds), deaf ? 0 : -1);
    n = deaf ? len : fds[1].revents ? sinkWrite(sink->fd, from, len, &deaf) : 0;
    g_mutex_lock(&sink->lock);
    sink->deaf = deaf;
    sink->start = (sink->start + n) % sink->window;
    sink->held -= n;
    sink->taken += n;
    sinkCallAllow(sink);
}

static gpointer
sinkThread(gpointer data)
{
    tunnelSink *sink = data;

    g_mutex_lock(&sink->lock);
    while (!sink->ended && !(sink->finished && sink->held == 0)) {
        if (sink->held > 0)
            sinkEmpty(sink);
        else
            g_cond_wait(&sink->cond, &sink->lock);
    }
    if (!sink->ended)
        shutdown(sink->fd, SHUT_WR);
    g_mutex_unlock(&sink->lock);
    tunnelSinkUnref(sink);
    return NULL;
}

/* ---- calls ---------------------------------------------------------------------------------- */

tunnelSink *
tunnelSinkNew(int fd, size_t window, const tunnelSinkHooks *hooks, void *opaque, GError **error)
{
    g_autoptr(tunnelSink) sink = g_new0(tunnelSink, 1);
    g_autoptr(GError) local = NULL;

    tunnelKeepMemory();
    sink->refs = 1;
    sink->window = window;
    sink->fd = fd;
    sink->hooks = *hooks;
    sink->opaque = opaque;
    g_mutex_init(&sink->lock);
    g_cond_init(&sink->cond);
    sink->wakeFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (sink->wakeFd < 0) {
        baseSetErrno(error, errno, _("Cannot create an event for the tunnel"));
        return NULL;
    }
    if (!baseThreadStart("tunnel-sink", sinkThread, tunnelSinkRef(sink), &local)) {
        tunnelSinkUnref(sink);
        g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, _("A thread for the tunnel could not be made: %1$s"), local->message);
        return NULL;
    }
    return g_steal_pointer(&sink);
}

void
tunnelSinkOpen(tunnelSink *sink)
{
    BASE_LOCK(&sink->lock);

    sink->opened = true;
    sinkCallAllow(sink);
}

/* Lock held; there is room for it. */
static void
sinkKeep(tunnelSink *sink, const uint8_t *bytes, size_t len)
{
    size_t end = (sink->start + sink->held) % sink->window;
    size_t once = MIN(len, sink->window - end);

    if (!sink->ring)
        sink->ring = g_malloc(sink->window);
    memcpy(sink->ring + end, bytes, once);
    memcpy(sink->ring, bytes + once, len - once);
    sink->held += len;
    g_cond_signal(&sink->cond);
}

bool
tunnelSinkPut(tunnelSink *sink, const void *bytes, size_t len, GError **error)
{
    size_t done = 0;
    BASE_LOCK(&sink->lock);

    if (sink->ended || sink->finished) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The migration that the tunnel belongs to is over."));
        return false;
    }
    if (sink->arrived + len > sink->allowed) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID,
                    _("The source has sent %1$llu bytes through the tunnel, but only %2$llu were allowed."),
                    (unsigned long long)(sink->arrived + len), (unsigned long long)sink->allowed);
        sinkEndNow(sink);
        return false;
    }
    sink->arrived += len;
    sinkCallFirst(sink);
    if (sink->held == 0 && len > 0)
        done = sink->deaf ? len : sinkWrite(sink->fd, bytes, len, &sink->deaf);
    sink->taken += done;
    if (done < len)
        sinkKeep(sink, (const uint8_t *)bytes + done, len - done);
    sinkCallAllow(sink);
    return true;
}

void
tunnelSinkFinish(tunnelSink *sink)
{
    BASE_LOCK(&sink->lock);

    sink->finished = true;
    g_cond_signal(&sink->cond);
}

void
tunnelSinkEnd(tunnelSink *sink)
{
    BASE_LOCK(&sink->lock);

    sinkEndNow(sink);
}

int
tunnelSinkDup(tunnelSink *sink)
{
    return fcntl(sink->fd, F_DUPFD_CLOEXEC, 0);
}

uint64_t
tunnelSinkBytes(tunnelSink *sink)
{
    BASE_LOCK(&sink->lock);

    return sink->arrived;
}
