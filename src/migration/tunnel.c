/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tunnel.c: the source's end of a tunnel, see tunnel.h
 *
 * Theory of operation: one thread reads the socket and sends, since sending may block.  What arrives comes in the connection's own
 * thread, which must not wait: it goes into the socket at once, and what that has no room for is kept for the bridge's thread.
 *
 * A message costs the same dozen of wake-ups and system calls whatever its length, most of them in libvirt's client and in the event loop
 * of the daemon, which its keepalive wakes with every message.  So a stream that flows is given the time to fill one.
 */
#include "migration/tunnel.h"

#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/thread.h"
#include "base/gettext.h"

/* One message of the stream at most.  More gains nothing and leaves the processors' caches; VIR_NET_MESSAGE_MAX, 32 MiB, is far away. */
#define BLOCK_BYTES (2 * 1024 * 1024)
/* How long a stream that flows may take to fill a block: no event tells that a socket holds so much. */
#define GATHER_US 1000
/* Whoever has written so much at once will write more. */
#define FLOW_BYTES (16 * 1024)
/* What may wait for a reader of the socket that does not read. */
#define INPUT_MAX (8 * 1024 * 1024)

struct _tunnelBridge {
    gint refs;
    tunnelStream stream;
    tunnelBridgeOptions options;
    int wakeFd;                  /* eventfd */
    uint8_t *buffer;             /* the thread's */
    bool flows;                  /* the thread's */

    GMutex lock;
    GCond cond;                  /* over */
    int fd;                      /* closed by the thread at its end; -1 then */
    bool cancelled;
    bool over;                   /* the stream has been ended */
    bool inputEnded;
    GByteArray *input;           /* arrived, and not yet in the socket */
    uint64_t allowed, sent;
    GError *error;
};

void
tunnelKeepMemory(void)
{
    static gsize done;

    if (!g_once_init_enter(&done))
        return;
    g_free(g_malloc(TUNNEL_WINDOW));
    g_once_init_leave(&done, 1);
}

tunnelBridge *
tunnelBridgeRef(tunnelBridge *bridge)
{
    g_atomic_int_inc(&bridge->refs);
    return bridge;
}

void
tunnelBridgeUnref(tunnelBridge *bridge)
{
    if (!bridge || !g_atomic_int_dec_and_test(&bridge->refs))
        return;
    bridge->stream.ops->free(bridge->stream.stream);
    if (bridge->options.answers.ops)
        bridge->options.answers.ops->free(bridge->options.answers.stream);
    if (bridge->options.opaqueFree)
        bridge->options.opaqueFree(bridge->options.opaque);
    baseFdClose(bridge->fd);
    baseFdClose(bridge->wakeFd);
    g_byte_array_unref(bridge->input);
    g_clear_error(&bridge->error);
    g_free(bridge->buffer);
    g_mutex_clear(&bridge->lock);
    g_cond_clear(&bridge->cond);
    g_free(bridge);
}

static void
bridgeRelease(gpointer bridge)
{
    tunnelBridgeUnref(bridge);
}

static void
bridgeWake(tunnelBridge *bridge)
{
    eventfd_write(bridge->wakeFd, 1);
}

/* Takes @error. */
static void
bridgeBreak(tunnelBridge *bridge, GError *error)
{
    bool tell;

    g_mutex_lock(&bridge->lock);
    tell = !bridge->error && !bridge->cancelled;
    if (bridge->error)
        g_error_free(error);
    else
        bridge->error = error;
    /* The one who holds the other end is to notice. */
    if (bridge->fd >= 0)
        shutdown(bridge->fd, SHUT_RDWR);
    g_mutex_unlock(&bridge->lock);
    g_debug("tunnel: %s: %s", bridge->options.name, bridge->error->message);
    if (tell && bridge->options.broken)
        bridge->options.broken(bridge->options.opaque);
}

static void
bridgeAbort(tunnelBridge *bridge)
{
    bridge->stream.ops->abort(bridge->stream.stream);
}

static void
bridgeEndAnswers(tunnelBridge *bridge)
{
    const tunnelStream *answers = &bridge->options.answers;

    if (answers->ops)
        answers->ops->abort(answers->stream);
}

/* ---- what arrives --------------------------------------------------------------------------- */

/* Lock held: put into the socket what there is room for. */
static void
bridgeFlush(tunnelBridge *bridge)
{
    size_t done = 0;

    while (bridge->fd >= 0 && done < bridge->input->len) {
        ssize_t n = send(bridge->fd, bridge->input->data + done, bridge->input->len - done, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            done = bridge->input->len;   /* Nobody reads it any more. */
        if (n < 0)
            break;
        done += (size_t)n;
    }
    if (done > 0)
        g_byte_array_remove_range(bridge->input, 0, (guint)done);
    if (bridge->inputEnded && bridge->input->len == 0 && bridge->fd >= 0)
        shutdown(bridge->fd, SHUT_WR);
}

static void
bridgeTake(const void *bytes, size_t len, void *opaque)
{
    tunnelBridge *bridge = opaque;
    bool tooMuch, wake;

    g_mutex_lock(&bridge->lock);
    tooMuch = bridge->input->len + len > INPUT_MAX;
    if (!tooMuch && !bridge->cancelled) {
        g_byte_array_append(bridge->input, bytes, (guint)len);
        bridge->inputEnded = bridge->inputEnded || len == 0;
        bridgeFlush(bridge);
    }
    wake = bridge->input->len > 0;
    g_mutex_unlock(&bridge->lock);
    if (tooMuch)
        bridgeBreak(bridge, g_error_new_literal(BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                                                _("The destination sends through the tunnel what nobody reads.")));
    if (wake)
        bridgeWake(bridge);
}

/* ---- the thread ----------------------------------------------------------------------------- */

/* How much may be read now; *retInput: there is something to put into the socket.  False: it is time to stop. */
static bool
bridgeLook(tunnelBridge *bridge, size_t *retRoom, bool *retInput)
{
    BASE_LOCK(&bridge->lock);

    *retInput = bridge->input->len > 0;
    *retRoom = BLOCK_BYTES;
    if (bridge->options.metered)
        *retRoom = (size_t)MIN(bridge->allowed - bridge->sent, (uint64_t)BLOCK_BYTES);
    return !bridge->cancelled && !bridge->error;
}

static void
bridgeGather(tunnelBridge *bridge, size_t room)
{
    /* Nothing is waited for behind the end, nor by one who has been cancelled. */
    struct pollfd end = { .fd = bridge->fd, .events = POLLRDHUP };
    const struct timespec most = { .tv_nsec = GATHER_US * 1000 };
    int there = 0;

    if (bridge->flows && ioctl(bridge->fd, FIONREAD, &there) == 0 && (size_t)there < room)
        ppoll(&end, 1, &most, NULL);
}

/* A block from the socket into the stream. *retEnd: the socket has ended. */
static bool
bridgeForward(tunnelBridge *bridge, size_t room, bool *retEnd, GError **error)
{
    ssize_t n;

    bridgeGather(bridge, room);
    n = recv(bridge->fd, bridge->buffer, room, MSG_DONTWAIT);
    bridge->flows = n >= FLOW_BYTES;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    if (n < 0 && errno != ECONNRESET) {
        baseSetErrno(error, errno, _("The tunnel cannot read what is to be sent"));
        return false;
    }
    *retEnd = n <= 0;
    if (n <= 0)
        return true;
    if (!bridge->stream.ops->send(bridge->stream.stream, bridge->buffer, (size_t)n, error)) {
        g_prefix_error(error, "%s", _("The tunnel through the libvirt connection broke: "));
        return false;
    }
    g_mutex_lock(&bridge->lock);
    bridge->sent += (uint64_t)n;
    g_mutex_unlock(&bridge->lock);
    return true;
}

/* The destination allows nothing more; has something waited for that too long?  *since: since when, 0: nothing waits. *retMs: for
 * how long that can still be so. */
static bool
bridgePatience(tunnelBridge *bridge, bool held, gint64 *since, int *retMs, GError **error)
{
    struct pollfd fd = { .fd = bridge->fd, .events = POLLIN };
    gint64 now, left;

    *retMs = -1;
    if (!held || bridge->options.stallMs == 0) {
        *since = 0;
        return true;
    }
    now = g_get_monotonic_time() / 1000;
    if (*since == 0)
        *since = now;
    left = *since + bridge->options.stallMs - now;
    if (left <= 0 && poll(&fd, 1, 0) == 1) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT, _("The tunnel broke: the VMM of the destination has taken nothing for %1$u ms."),
                    bridge->options.stallMs);
        return false;
    }
    /* Nothing waited as yet. */
    if (left <= 0)
        *since = now;
    *retMs = (int)MIN(left > 0 ? left : bridge->options.stallMs, G_MAXINT);
    return true;
}

/* True: the socket has ended and everything is sent. */
static bool
bridgeRun(tunnelBridge *bridge, GError **error)
{
    bool end = false, input;
    gint64 since = 0;
    size_t room;
    int ms;

    while (bridgeLook(bridge, &room, &input)) {
        struct pollfd fds[] = {
            { .fd = bridge->wakeFd, .events = POLLIN },
            /* Not asked for a socket that nothing may be read from: its end would be told again and again. */
            { .fd = room > 0 || input ? bridge->fd : -1, .events = (room > 0 ? POLLIN : 0) | (input ? POLLOUT : 0) },
        };
        eventfd_t ignored;

        if (!bridgePatience(bridge, room == 0, &since, &ms, error))
            return false;
        if (poll(fds, G_N_ELEMENTS(fds), ms) < 0 && errno != EINTR) {
            baseSetErrno(error, errno, _("The tunnel cannot wait for what is to be sent"));
            return false;
        }
        if (fds[0].revents)
            eventfd_read(bridge->wakeFd, &ignored);
        if (fds[1].revents & (POLLOUT | POLLERR | POLLHUP)) {
            BASE_LOCK(&bridge->lock);

            bridgeFlush(bridge);
        }
        if (room > 0 && fds[1].revents & (POLLIN | POLLHUP | POLLERR) && !bridgeForward(bridge, room, &end, error))
            return false;
        if (end)
            return true;
    }
    return false;
}

static bool
bridgeStopped(tunnelBridge *bridge)
{
    BASE_LOCK(&bridge->lock);

    return bridge->cancelled || bridge->error;
}

static gpointer
bridgeThread(gpointer data)
{
    tunnelBridge *bridge = data;
    GError *error = NULL;
    bool ended = bridgeRun(bridge, &error);

    if (ended && !bridgeStopped(bridge))
        ended = bridge->stream.ops->finish(bridge->stream.stream, &error);
    else
        ended = false;
    if (!ended)
        bridgeAbort(bridge);
    bridgeEndAnswers(bridge);
    if (error)
        bridgeBreak(bridge, error);
    g_mutex_lock(&bridge->lock);
    baseFdReplace(&bridge->fd, -1);
    bridge->over = true;
    g_cond_broadcast(&bridge->cond);
    g_mutex_unlock(&bridge->lock);
    tunnelBridgeUnref(bridge);
    return NULL;
}

static void
streamDrop(const tunnelStream *stream)
{
    if (!stream->ops)
        return;
    stream->ops->abort(stream->stream);
    stream->ops->free(stream->stream);
}

void
tunnelBridgeRefuse(const tunnelStream *stream, const tunnelBridgeOptions *options)
{
    streamDrop(stream);
    streamDrop(&options->answers);
    if (options->opaqueFree)
        options->opaqueFree(options->opaque);
}

static bool
bridgeListen(tunnelBridge *bridge, GError **error)
{
    const tunnelStream *from = bridge->options.answers.ops ? &bridge->options.answers : &bridge->stream;

    return !bridge->options.receives ||
        from->ops->receive(from->stream, bridgeTake, tunnelBridgeRef(bridge), bridgeRelease, error);
}

static bool
bridgeStart(tunnelBridge *bridge, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (baseThreadStart(bridge->options.name, bridgeThread, tunnelBridgeRef(bridge), &local))
        return true;
    tunnelBridgeUnref(bridge);
    g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, _("A thread for the tunnel could not be made: %1$s"), local->message);
    return false;
}

tunnelBridge *
tunnelBridgeNew(const tunnelStream *stream, int fd, const tunnelBridgeOptions *options, GError **error)
{
    g_autoptr(tunnelBridge) bridge = g_new0(tunnelBridge, 1);

    tunnelKeepMemory();
    bridge->refs = 1;
    bridge->stream = *stream;
    bridge->options = *options;
    bridge->fd = fd;
    bridge->input = g_byte_array_new();
    bridge->buffer = g_malloc(BLOCK_BYTES);
    g_mutex_init(&bridge->lock);
    g_cond_init(&bridge->cond);
    bridge->wakeFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bridge->wakeFd < 0)
        baseSetErrno(error, errno, _("Cannot create an event for the tunnel"));
    if (bridge->wakeFd >= 0 && bridgeListen(bridge, error) && bridgeStart(bridge, error))
        return g_steal_pointer(&bridge);
    bridgeAbort(bridge);
    bridgeEndAnswers(bridge);
    return NULL;
}

void
tunnelBridgeAllow(tunnelBridge *bridge, uint64_t total)
{
    bool more;

    g_mutex_lock(&bridge->lock);
    more = total > bridge->allowed;
    if (more)
        bridge->allowed = total;
    g_mutex_unlock(&bridge->lock);
    if (more)
        bridgeWake(bridge);
}

uint64_t
tunnelBridgeBytes(tunnelBridge *bridge)
{
    BASE_LOCK(&bridge->lock);

    return bridge->sent;
}

char *
tunnelBridgeError(tunnelBridge *bridge)
{
    BASE_LOCK(&bridge->lock);

    return bridge->error ? g_strdup(bridge->error->message) : NULL;
}

void
tunnelBridgeCancel(tunnelBridge *bridge)
{
    g_mutex_lock(&bridge->lock);
    bridge->cancelled = true;
    if (bridge->fd >= 0)
        shutdown(bridge->fd, SHUT_RDWR);
    g_mutex_unlock(&bridge->lock);
    bridgeWake(bridge);
}

bool
tunnelBridgeAwait(tunnelBridge *bridge, unsigned ms)
{
    gint64 until = g_get_monotonic_time() + (gint64)ms * 1000;
    BASE_LOCK(&bridge->lock);

    while (!bridge->over && g_cond_wait_until(&bridge->cond, &bridge->lock, until))
        continue;
    return bridge->over;
}
