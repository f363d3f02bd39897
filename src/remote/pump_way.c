/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pump_way.c: one direction of a pump
 *
 * Bytes wait in a pipe, into and out of which splice() moves them without a copy, or in a buffer.  A
 * descriptor that splice() refuses is found out by the first call; what the pipe holds then is read from it first.
 */
#include "remote/pump_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

#include "base/gettext.h"

bool
pumpWayInit(pumpWay *way, pumpSide *from, pumpSide *to, bool copies, GError **error)
{
    way->from = from;
    way->to = to;
    way->readable = way->writable = true;
    way->most = PUMP_ROOM;
    way->dry = true;
    way->copies = copies || from->ops || to->ops;
    atomic_store(&way->copiesNow, way->copies);
    if (way->copies)
        return true;
    if (pipe2(way->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
        baseSetErrno(error, errno, _("A pipe for the guest's data could not be made"));
        return false;
    }
    /* A user without privileges may have less; then it stays as it is. */
    fcntl(way->pipe[1], F_SETPIPE_SZ, PUMP_ROOM);
    return true;
}

void
pumpWayClear(pumpWay *way)
{
    baseFdReplace(&way->pipe[0], -1);
    baseFdReplace(&way->pipe[1], -1);
    g_clear_pointer(&way->buffer, g_free);
    g_clear_pointer(&way->queue, g_byte_array_unref);
}

void
pumpWayUseQueue(pumpWay *way)
{
    way->queue = g_byte_array_new();
}

void
pumpWayQueue(pumpWay *way, const void *bytes, size_t len)
{
    if (way->over || way->discards)
        return;
    if (way->held == 0) {
        g_byte_array_set_size(way->queue, 0);
        way->start = 0;
    }
    g_byte_array_append(way->queue, bytes, (guint)len);
    way->held += len;
}

/* From now on by hand. */
static void
wayCopy(pumpWay *way)
{
    way->copies = true;
    atomic_store(&way->copiesNow, true);
    way->inPipe = way->held;
    way->held = way->start = 0;
    way->full = false;
}

static bool
wayRefused(int errnum)
{
    return errnum == EINVAL || errnum == ENOSYS || errnum == EOPNOTSUPP;
}

static bool
wayNotYet(int errnum)
{
    return errnum == EAGAIN || errnum == EINTR;
}

static void
wayReadError(pumpWay *way, int errnum, GError **error)
{
    way->from->failed = true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The stream from %1$s broke: %2$s."),
                way->from->name, g_strerror(errnum));
}

static void
wayWriteError(const pumpWay *way, int errnum, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The stream to %1$s broke: %2$s."),
                way->to->name, g_strerror(errnum));
}

/* ---- in ---- */

static bool
wayFillSplice(pumpWay *way, bool *retMoved, GError **error)
{
    ssize_t got = splice(way->from->fd, NULL, way->pipe[1], NULL, way->most - way->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

    if (got >= 0) {
        way->held += (size_t)got;
        way->eof = got == 0;
        *retMoved = true;
    } else if (wayNotYet(errno)) {
        /* Either the pipe is full or there is nothing; an empty pipe cannot be full. */
        if (way->held > 0)
            way->full = true;
        else
            way->readable = false;
    } else if (wayRefused(errno)) {
        wayCopy(way);
        *retMoved = true;
    } else {
        wayReadError(way, errno, error);
        return false;
    }
    return true;
}

static gssize
wayReadSome(pumpWay *way, GError **error)
{
    int fd = way->inPipe > 0 ? way->pipe[0] : way->from->fd;
    size_t most = MIN(way->most, (size_t)PUMP_COPY_BYTES);
    ssize_t got;

    if (way->inPipe == 0 && way->from->ops)
        return way->from->ops->read(way->from->channel, way->buffer, most, error);
    got = read(fd, way->buffer, most);
    if (got >= 0)
        return got;
    if (wayNotYet(errno))
        return PUMP_WAIT;
    wayReadError(way, errno, error);
    return PUMP_ERROR;
}

static bool
wayFillCopy(pumpWay *way, size_t *retGot, bool *retMoved, GError **error)
{
    gssize got;

    if (!way->buffer)
        way->buffer = g_malloc(PUMP_COPY_BYTES);
    got = wayReadSome(way, error);
    if (got == PUMP_ERROR) {
        way->from->failed = true;
        return false;
    }
    if (got == PUMP_WAIT) {
        way->readable = false;
        return true;
    }
    *retMoved = true;
    if (way->inPipe > 0) {
        way->inPipe -= MIN((size_t)got, way->inPipe);
    } else {
        way->eof = got == 0;
    }
    way->start = 0;
    if (way->queue)
        *retGot = (size_t)got;
    else
        way->held = way->discards ? 0 : (size_t)got;
    return true;
}

bool
pumpWayFill(pumpWay *way, size_t *retGot, bool *retMoved, GError **error)
{
    *retGot = 0;
    if (!pumpWayWantsInput(way) || (!way->readable && way->inPipe == 0))
        return true;
    return way->copies ? wayFillCopy(way, retGot, retMoved, error) : wayFillSplice(way, retMoved, error);
}

/* ---- out ---- */

static gssize
wayWriteSome(pumpWay *way, size_t most, GError **error)
{
    const uint8_t *bytes = way->queue ? way->queue->data : way->buffer;
    size_t len = MIN(way->held, most);
    ssize_t put;

    if (way->to->ops) {
        gssize ret;

        len = way->offered ? way->offered : len;
        ret = way->to->ops->write(way->to->channel, bytes + way->start, len, error);
        way->offered = ret == PUMP_WAIT ? len : 0;
        return ret;
    }
    if (way->copies)
        put = write(way->to->fd, bytes + way->start, len);
    else
        put = splice(way->pipe[0], NULL, way->to->fd, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (put >= 0)
        return put;
    if (wayNotYet(errno))
        return PUMP_WAIT;
    if (!way->copies && wayRefused(errno)) {
        wayCopy(way);
        return 0;
    }
    way->closed = errno == EPIPE;
    wayWriteError(way, errno, error);
    return PUMP_ERROR;
}

bool
pumpWayDrain(pumpWay *way, size_t most, bool *retMoved, GError **error)
{
    gssize put = wayWriteSome(way, most, error);

    if (put == PUMP_ERROR) {
        way->to->failed = true;
        return false;
    }
    if (put == PUMP_WAIT) {
        way->writable = false;
        return true;
    }
    *retMoved = true;
    if (put == 0)
        return true;
    way->held -= (size_t)put;
    way->start += way->copies ? (size_t)put : 0;
    way->full = false;
    atomic_store_explicit(&way->bytes, atomic_load_explicit(&way->bytes, memory_order_relaxed) + (uint64_t)put,
                          memory_order_relaxed);
    return true;
}

bool
pumpWayFinish(pumpWay *way, bool *retMoved, GError **error)
{
    if (way->to->ops && !way->discards) {
        int ret = way->to->ops->end(way->to->channel, error);

        if (ret == PUMP_ERROR) {
            way->to->failed = true;
            return false;
        }
        if (ret == PUMP_WAIT) {
            way->writable = false;
            return true;
        }
    }
    /* A pipe ends by being closed; one that is gone needs not be told. */
    shutdown(way->to->fd, SHUT_WR);
    way->over = true;
    way->to->complete = !way->discards;
    *retMoved = true;
    return true;
}

void
pumpWayDiscard(pumpWay *way)
{
    if (!way->copies)
        wayCopy(way);
    way->discards = true;
    way->held = way->start = way->offered = 0;
    way->writable = true;
    way->stuckSinceUs = 0;
}
