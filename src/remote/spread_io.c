/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spread_io.c: how the threads of spread.c read, write and wait: none ever blocks but in poll(), where the end of it all wakes it */
#include "remote/spread_priv.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/lock.h"

#include "base/gettext.h"

/* How soon another limit is felt, at the latest. */
#define LIMIT_LOOK_MS 20

/* ---- waiting -------------------------------------------------------------------------------- */

void
spreadSetAborted(GError **error)
{
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_ABORTED, _("The stream was ended from this side."));
}

/* For at most @ms, -1: as long as it takes.  *retReady: the descriptor is.  False: it is time to stop. */
static bool
spreadPoll(spread *s, int fd, short events, int ms, bool *retReady, GError **error)
{
    struct pollfd fds[] = { { .fd = s->wakeFd, .events = POLLIN }, { .fd = fd, .events = events } };
    int n = poll(fds, G_N_ELEMENTS(fds), ms);

    if (n < 0 && errno != EINTR) {
        baseSetErrno(error, errno, _("Waiting for the guest's data failed"));
        return false;
    }
    if (atomic_load(&s->cancelled)) {
        spreadSetAborted(error);
        return false;
    }
    *retReady = n != 0;
    return true;
}

bool
spreadAwaitInput(spread *s, int fd, GError **error)
{
    bool ignored;

    return spreadPoll(s, fd, POLLIN, -1, &ignored, error);
}

static void
spreadSetStalled(spread *s, const char *name, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT, _("The stream to %1$s broke: nothing was taken for %2$u ms."), name,
                s->options.stallMs);
}

bool
spreadAwaitRoom(spread *s, int fd, const char *name, GError **error)
{
    bool ready;

    if (!spreadPoll(s, fd, POLLOUT, s->options.stallMs > 0 ? (int)MIN(s->options.stallMs, (unsigned)G_MAXINT) : -1, &ready, error))
        return false;
    if (!ready)
        spreadSetStalled(s, name, error);
    return ready;
}

/* So many of @len may go now. */
static bool
spreadAwaitLimit(spread *s, size_t len, size_t *ret, GError **error)
{
    gint64 resumeUs = 0;
    bool ignored;

    while ((*ret = pumpLimitTake(s->options.limit, len, &resumeUs)) == 0) {
        gint64 left = (resumeUs - g_get_monotonic_time() + 999) / 1000;

        if (!spreadPoll(s, -1, 0, (int)CLAMP(left, 0, LIMIT_LOOK_MS), &ignored, error))
            return false;
    }
    return true;
}

/* Nobody else would notice a connection that is reset while nothing is sent on it. */
static bool
connCheckReset(const spreadConn *c, short revents, GError **error)
{
    int problem = 0;
    socklen_t len = sizeof(problem);

    if (!(revents & POLLERR))
        return true;
    getsockopt(c->end.fd, SOL_SOCKET, SO_ERROR, &problem, &len);
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The stream from %1$s broke: %2$s."), c->name,
                g_strerror(problem ? problem : ECONNRESET));
    return false;
}

/* True: nothing but good ends of some; these are not looked at any more, as poll() would tell them again and again. */
static bool
connsHaveEnded(struct pollfd *fds, unsigned count)
{
    bool well = true;

    for (unsigned i = 0; i < count; i++) {
        well = well && !(fds[i].revents & POLLERR);
        if (fds[i].revents == POLLHUP)
            fds[i].fd = -1;
    }
    return well;
}

/* ---- the VMM's end -------------------------------------------------------------------------- */

/* Wait for @events of the VMM with an eye on the connections [@first, @last). */
static bool
vmmAwait(spread *s, short events, unsigned first, unsigned last, GError **error)
{
    const int ms = (events & POLLOUT) && s->options.stallMs > 0 ? (int)MIN(s->options.stallMs, (unsigned)G_MAXINT) : -1;
    g_autofree struct pollfd *fds = g_new0(struct pollfd, 2 + last - first);
    int n;

    fds[0] = (struct pollfd){ .fd = s->wakeFd, .events = POLLIN };
    fds[1] = (struct pollfd){ .fd = s->vmmFd, .events = events };
    for (unsigned i = first; i < last; i++)
        fds[2 + i - first].fd = s->conns[i].end.fd;
    do {
        n = poll(fds, 2 + last - first, ms);
    } while (n > 0 && !fds[0].revents && !fds[1].revents && connsHaveEnded(fds + 2, last - first));
    if (atomic_load(&s->cancelled)) {
        spreadSetAborted(error);
        return false;
    }
    if (n == 0) {
        spreadSetStalled(s, _("the VMM"), error);
        return false;
    }
    for (unsigned i = first; i < last && n > 0; i++) {
        if (!connCheckReset(&s->conns[i], fds[2 + i - first].revents, error))
            return false;
    }
    return true;
}

bool
spreadVmmRead(spread *s, uint8_t *buffer, size_t most, size_t *retGot, bool *retByVmm, GError **error)
{
    /* The sending side only: on the other one others read them. */
    const unsigned watched = s->options.sends ? s->count : 0;
    size_t got = 0;

    while (got < most) {
        ssize_t n = recv(s->vmmFd, buffer + got, most - got, MSG_DONTWAIT);

        if (n > 0) {
            got += (size_t)n;
        } else if (n == 0 || got > 0) {
            break;
        } else if (errno == EAGAIN || errno == EINTR) {
            if (!vmmAwait(s, POLLIN, 0, watched, error))
                return false;
        } else {
            g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The stream from %1$s broke: %2$s."), _("the VMM"),
                        g_strerror(errno));
            *retByVmm = true;
            return false;
        }
    }
    *retGot = got;
    return true;
}

static void
spreadCount(spread *s, pumpDirection direction, size_t len)
{
    atomic_fetch_add_explicit(&s->bytes[direction], len, memory_order_relaxed);
}

bool
spreadVmmWrite(spreadConn *c, pumpDirection direction, const uint8_t *bytes, size_t len, bool *retByVmm, GError **error)
{
    spread *s = c->owner;

    while (len > 0) {
        ssize_t n = send(s->vmmFd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n >= 0) {
            bytes += n;
            len -= (size_t)n;
            spreadCount(s, direction, (size_t)n);
        } else if (errno == EAGAIN || errno == EINTR) {
            if (!vmmAwait(s, POLLOUT, c->index, c->index + 1, error)) {
                *retByVmm = g_error_matches(*error, BASE_ERROR, BASE_ERROR_TIMEOUT);
                return false;
            }
        } else {
            g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The stream to %1$s broke: %2$s."), _("the VMM"),
                        g_strerror(errno));
            *retByVmm = true;
            return false;
        }
    }
    return true;
}

/* ---- a connection --------------------------------------------------------------------------- */

gssize
spreadConnTry(spreadConn *c, uint8_t *buffer, size_t len, GError **error)
{
    ssize_t n;
    BASE_LOCK(&c->lock);

    if (c->end.ops)
        return c->end.ops->read(c->end.channel, buffer, len, error);
    n = recv(c->end.fd, buffer, len, MSG_DONTWAIT);
    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EINTR)
        return PUMP_WAIT;
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The stream from %1$s broke: %2$s."), c->name, g_strerror(errno));
    return PUMP_ERROR;
}

static gssize
connTryWrite(spreadConn *c, const uint8_t *bytes, size_t len, GError **error)
{
    ssize_t n;
    BASE_LOCK(&c->lock);

    if (c->end.ops)
        return c->end.ops->write(c->end.channel, bytes, len, error);
    /* Of a block the head comes first. */
    n = send(c->end.fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL | (len == BLOCKS_HEAD ? MSG_MORE : 0));
    if (n >= 0)
        return n;
    if (errno == EAGAIN || errno == EINTR)
        return PUMP_WAIT;
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The stream to %1$s broke: %2$s."), c->name, g_strerror(errno));
    return PUMP_ERROR;
}

bool
spreadConnRead(spreadConn *c, uint8_t *buffer, size_t len, GError **error)
{
    while (len > 0) {
        gssize n = spreadConnTry(c, buffer, len, error);

        if (n == PUMP_ERROR || (n == PUMP_WAIT && !spreadAwaitInput(c->owner, c->end.fd, error)))
            return false;
        if (n == 0) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                        _("The stream from %1$s has ended without saying that this was all."), c->name);
            return false;
        }
        if (n > 0) {
            buffer += n;
            len -= (size_t)n;
        }
    }
    return true;
}

bool
spreadConnWrite(spreadConn *c, const uint8_t *bytes, size_t len, bool metered, GError **error)
{
    spread *s = c->owner;

    while (len > 0) {
        size_t may = len;

        if (metered && !spreadAwaitLimit(s, len, &may, error))
            return false;
        for (size_t done = 0; done < may;) {
            gssize n = connTryWrite(c, bytes + done, may - done, error);

            if (n == PUMP_ERROR || (n == PUMP_WAIT && !spreadAwaitRoom(s, c->end.fd, c->name, error)))
                return false;
            if (n > 0) {
                done += (size_t)n;
                spreadCount(s, s->options.sends ? PUMP_FORWARD : PUMP_BACKWARD, (size_t)n);
            }
        }
        bytes += may;
        len -= may;
    }
    return true;
}
