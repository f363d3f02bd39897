/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pump.c: the thread that moves bytes between two ends
 *
 * Theory of operation: each direction is a pair of steps, one that takes in what there is and one
 * that gives away what it holds.  The thread makes the steps that may succeed, in turn, and sleeps in
 * poll() only when none can; readiness is remembered, so a stream that flows needs two system calls a
 * chunk and no poll() at all.  Nothing ever blocks but that poll(), which also watches an eventfd: so
 * cancelling is a matter of one chunk.  The clock is read only for a limit or a watchdog.
 *
 * The ends of the two directions are independent: an end of stream is passed on, and the pump lasts until
 * both have ended.  When a receiver is gone for good while it still has bytes for the other side (it
 * said its last word and went), those are delivered first and the failure is told at the end.
 */
#include "remote/pump_priv.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

#include "base/gettext.h"

/* How long the bytes of one who does not know yet that nobody listens are taken. */
#define GRACE_MS 1000

#define PUMP_LEAST_BYTES 16384       /* taken in at a time, however low the limit */
#define KEEPALIVE_MOST 32767         /* s, the kernel's */
/* What may lie in a connection beyond what is on its way: with megabytes of it, it is sent as acknowledgements arrive, in bursts, and the
 * last word of a migration waits behind them. Two of the largest segments that the kernel hands to a card. */
#define UNSENT_BYTES (128 * 1024)

/* ---- the limit ---- */

static uint64_t
pumpRate(const pump *p, const pumpWay *way)
{
    return way == &p->ways[PUMP_FORWARD] ? pumpLimitRate(p->limit) : 0;
}

/* ---- the steps ---- */

static pumpWay *
pumpWayFrom(pump *p, const pumpSide *side)
{
    for (unsigned i = 0; i < p->wayCount; i++) {
        if (p->ways[i].from == side)
            return &p->ways[i];
    }
    return NULL;
}

static bool
pumpHasHungUp(const pumpSide *side)
{
    struct pollfd fd = { .fd = side->fd };

    return poll(&fd, 1, 0) == 1 && (fd.revents & (POLLHUP | POLLERR));
}

/*
 * The receiver of @way takes nothing more, because of @why, which is taken over.  What it has sent itself must still
 * arrive, for which the other side's bytes have to be read: closing a connection with unread bytes destroys those on their way.
 */
static bool
pumpReceiverGone(pump *p, pumpWay *way, GError *why, bool *retMoved, GError **error)
{
    pumpWay *other = pumpWayFrom(p, way->to);

    if (!other || !way->closed || (!other->over && !pumpHasHungUp(way->to))) {
        g_propagate_error(error, why);
        return false;
    }
    if (p->first)
        g_error_free(why);
    else
        p->first = why;
    pumpWayDiscard(way);
    *retMoved = true;
    return true;
}

static bool
pumpDrain(pump *p, pumpWay *way, bool *retMoved, GError **error)
{
    uint64_t rate = pumpRate(p, way);
    size_t most = rate ? pumpLimitTake(p->limit, way->held, &way->resumeUs) : SIZE_MAX;
    uint64_t before = atomic_load_explicit(&way->bytes, memory_order_relaxed);
    GError *why = NULL;
    uint64_t moved;

    if (most == 0)
        return true;
    way->resumeUs = 0;
    if (!pumpWayDrain(way, most, retMoved, &why))
        return pumpReceiverGone(p, way, why, retMoved, error);
    moved = atomic_load_explicit(&way->bytes, memory_order_relaxed) - before;
    if (rate && moved < most)
        pumpLimitGiveBack(p->limit, most - (size_t)moved);
    else if (rate && moved > most)
        pumpLimitCharge(p->limit, (size_t)moved - most);
    if (moved > 0)
        way->stuckSinceUs = 0;
    return true;
}

static pumpDirection
pumpDirectionOf(const pump *p, const pumpWay *way)
{
    return way == &p->ways[PUMP_FORWARD] ? PUMP_FORWARD : PUMP_BACKWARD;
}

/* The filter may have more to say of what it was given before. */
static bool
pumpAskFilter(pump *p, pumpWay *way, bool *retMoved, GError **error)
{
    bool any = false;

    if (way->dry || way->held > 0)
        return true;
    if (!way->discards && !pumpStagesMore(p, pumpDirectionOf(p, way), &any, error))
        return false;
    way->dry = !any;
    *retMoved = *retMoved || any;
    return true;
}

static bool
pumpFillWay(pump *p, pumpWay *way, bool *retMoved, GError **error)
{
    uint64_t rate = pumpRate(p, way);
    size_t got;

    /* A twentieth of a second's worth: what waits here reaches the other side late. */
    way->most = rate ? (size_t)CLAMP(rate / 20, (uint64_t)PUMP_LEAST_BYTES, (uint64_t)PUMP_ROOM) : PUMP_ROOM;
    if (!pumpAskFilter(p, way, retMoved, error))
        return false;
    if (!way->dry)
        return true;
    if (!pumpWayFill(way, &got, retMoved, error))
        return false;
    if (got == 0)
        return true;
    return pumpStagesBytes(p, pumpDirectionOf(p, way), way->buffer, got, error);
}

/* Everything has gone: may the end go, too? */
static bool
pumpMayFinish(pump *p, pumpWay *way, bool *retMay, GError **error)
{
    *retMay = false;
    if (!way->eof || !way->dry || way->held > 0 || way->inPipe > 0 || way->over || way->endHeld)
        return true;
    if (!way->discards && !pumpStagesEnd(p, pumpDirectionOf(p, way), error))
        return false;
    /* A filter may have had a last word. */
    *retMay = !way->endHeld && way->held == 0 && way->dry;
    return true;
}

static bool
pumpStep(pump *p, pumpWay *way, bool *retMoved, GError **error)
{
    GError *why = NULL;
    bool may = false;

    if (way->over)
        return true;
    if (!pumpFillWay(p, way, retMoved, error))
        return false;
    if (way->held > 0 && way->writable && !pumpDrain(p, way, retMoved, error))
        return false;
    if (way->writable && !pumpMayFinish(p, way, &may, error))
        return false;
    if (may && !pumpWayFinish(way, retMoved, &why))
        return pumpReceiverGone(p, way, why, retMoved, error);
    return true;
}

static bool
pumpPokeFilter(pump *p, GError **error)
{
    if (p->stageCount == 0 || !atomic_exchange(&p->poked, false))
        return true;
    for (unsigned i = 0; i < p->wayCount; i++)
        p->ways[i].endHeld = false;
    return pumpStagesPoke(p, error);
}

/* ---- the wait ---- */

static gint64
pumpEarlier(gint64 a, gint64 b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

/* When to wake up at the latest, monotonic; 0: never.  False: somebody has taken nothing for too long. */
static bool
pumpDeadline(pump *p, gint64 *ret, GError **error)
{
    *ret = p->graceUs;
    for (unsigned i = 0; i < p->wayCount; i++) {
        pumpWay *way = &p->ways[i];
        bool stuck = p->stallMs > 0 && pumpWayWantsOutput(way) && !way->writable;
        gint64 now = stuck ? g_get_monotonic_time() : 0;
        gint64 until;

        if (pumpWayWantsOutput(way) && way->writable)
            *ret = pumpEarlier(*ret, way->resumeUs);
        if (!stuck)
            continue;
        if (way->stuckSinceUs == 0)
            way->stuckSinceUs = now;
        until = way->stuckSinceUs + (gint64)p->stallMs * 1000;
        if (now >= until) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                        _("The stream to %1$s broke: nothing was taken for %2$u ms."), way->to->name, p->stallMs);
            way->to->failed = true;
            return false;
        }
        *ret = pumpEarlier(*ret, until);
    }
    return true;
}

static short
pumpEvents(pump *p, const pumpSide *side)
{
    short events = 0;

    for (unsigned i = 0; i < p->wayCount; i++) {
        const pumpWay *way = &p->ways[i];

        if (way->from == side && pumpWayWantsInput(way) && !way->readable)
            events |= POLLIN;
        if (way->to == side && pumpWayWantsOutput(way) && !way->writable)
            events |= POLLOUT;
    }
    return events;
}

/* Nobody waits for anything of @side, but it has hung up. */
static bool
pumpNoteHangUp(pump *p, pumpSide *side, short events, GError **error)
{
    pumpWay *from = pumpWayFrom(p, side);
    int problem = 0;
    socklen_t len = sizeof(problem);

    side->quiet = true;
    /* Reading it will tell, after the bytes that are there. */
    if (from && !from->over)
        return true;
    if (side->complete)
        return true;
    if (events & POLLERR)
        getsockopt(side->fd, SOL_SOCKET, SO_ERROR, &problem, &len);
    /* Of two directions, the other may have nothing to say any more; then no byte is lost. */
    if (!problem && p->wayCount > 1)
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The stream to %1$s broke: %2$s."),
                side->name, g_strerror(problem ? problem : EPIPE));
    side->failed = true;
    return false;
}

static void
pumpNoteReady(pump *p, const pumpSide *side, short events)
{
    for (unsigned i = 0; i < p->wayCount; i++) {
        pumpWay *way = &p->ways[i];

        if (way->from == side && (events & (POLLIN | POLLHUP | POLLERR)))
            way->readable = true;
        if (way->to == side && (events & (POLLOUT | POLLHUP | POLLERR)))
            way->writable = true;
    }
}

static bool
pumpPollFailed(int errnum, GError **error)
{
    if (errnum == EINTR)
        return true;
    baseSetErrno(error, errnum, _("Waiting for the guest's data failed"));
    return false;
}

static bool
pumpWait(pump *p, GError **error)
{
    struct pollfd fds[3] = { { .fd = p->wakeFd, .events = POLLIN } };
    struct timespec timeout = { 0 };
    eventfd_t count;
    gint64 until;

    if (!pumpDeadline(p, &until, error))
        return false;
    for (unsigned i = 0; i < 2; i++) {
        fds[1 + i].events = pumpEvents(p, &p->sides[i]);
        fds[1 + i].fd = fds[1 + i].events || !p->sides[i].quiet ? p->sides[i].fd : -1;
    }
    if (until) {
        gint64 left = MAX(0, until - g_get_monotonic_time());

        timeout.tv_sec = left / G_USEC_PER_SEC;
        timeout.tv_nsec = left % G_USEC_PER_SEC * 1000;
    }
    if (ppoll(fds, G_N_ELEMENTS(fds), until ? &timeout : NULL, NULL) < 0)
        return pumpPollFailed(errno, error);
    if (fds[0].revents)
        eventfd_read(p->wakeFd, &count);
    for (unsigned i = 0; i < 2; i++) {
        pumpNoteReady(p, &p->sides[i], fds[1 + i].revents);
        if (fds[1 + i].events == 0 && fds[1 + i].revents != 0 &&
            !pumpNoteHangUp(p, &p->sides[i], fds[1 + i].revents, error))
            return false;
    }
    return true;
}

/* ---- the thread ---- */

static bool
pumpIsOver(pump *p)
{
    bool delivered = true, over = true;

    for (unsigned i = 0; i < p->wayCount; i++) {
        over = over && p->ways[i].over;
        delivered = delivered && (p->ways[i].over || p->ways[i].discards);
    }
    if (over || !delivered)
        return over;
    if (p->graceUs == 0)
        p->graceUs = g_get_monotonic_time() + GRACE_MS * 1000;
    return g_get_monotonic_time() >= p->graceUs;
}

static void
pumpRun(pump *p, GError **error)
{
    while (!pumpIsOver(p)) {
        bool moved = false;

        if (atomic_load_explicit(&p->cancelled, memory_order_relaxed)) {
            g_set_error_literal(error, BASE_ERROR, BASE_ERROR_ABORTED, _("The stream was ended from this side."));
            return;
        }
        if (!pumpPokeFilter(p, error))
            return;
        for (unsigned i = 0; i < p->wayCount; i++) {
            if (!pumpStep(p, &p->ways[i], &moved, error))
                return;
        }
        if (!moved && !pumpWait(p, error))
            return;
    }
    if (p->first)
        g_propagate_error(error, g_steal_pointer(&p->first));
}

static void
pumpCloseSide(pumpSide *side)
{
    struct linger reset = { .l_onoff = 1, .l_linger = 0 };
    int domain = 0;
    socklen_t len = sizeof(domain);

    if (side->ops && side->ops->free)
        side->ops->free(side->channel);
    side->channel = NULL;
    if (!side->complete && getsockopt(side->fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain != AF_UNIX)
        setsockopt(side->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    baseFdReplace(&side->fd, -1);
}

static gpointer
pumpThread(gpointer data)
{
    g_autoptr(GError) why = NULL;
    pump *p = data;
    sigset_t all;

    /* Signals are others' affair, and a broken pipe is an error here, not a reason to die. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pumpRun(p, &why);
    /* Who only sends is told nothing, so nothing can be incomplete. */
    p->sides[0].complete = p->sides[0].complete || p->wayCount == 1;
    for (unsigned i = 0; i < p->wayCount; i++)
        pumpWayClear(&p->ways[i]);
    for (unsigned i = 0; i < 2; i++)
        pumpCloseSide(&p->sides[i]);
    if (p->ended)
        p->ended(p, why, p->opaque);
    return NULL;
}

/* ---- from outside ---- */

static void
pumpTakeSide(pumpSide *side, const pumpEnd *end)
{
    side->fd = end->fd;
    side->name = g_strdup(end->name);
    side->ops = end->ops;
    side->channel = end->channel;
}

static bool
pumpStart(pump *p, const pumpOptions *options, GError **error)
{
    g_autoptr(GError) local = NULL;

    p->wayCount = options->twoWay ? 2 : 1;
    for (unsigned i = 0; i < p->wayCount; i++) {
        if (!pumpWayInit(&p->ways[i], &p->sides[i], &p->sides[1 - i], options->alwaysCopy || p->stageCount > 0, error))
            return false;
        if (p->stageCount > 0)
            pumpWayUseQueue(&p->ways[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        if (!baseFdSetNonblock(p->sides[i].fd, true)) {
            baseSetErrno(error, errno, _("The stream of %1$s cannot be used"), p->sides[i].name);
            return false;
        }
    }
    p->wakeFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->wakeFd < 0) {
        baseSetErrno(error, errno, _("A descriptor for a stream could not be made"));
        return false;
    }
    p->thread = g_thread_try_new("pump", pumpThread, p, &local);
    if (!p->thread)
        g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, _("A thread for the guest's data could not be made: %1$s"),
                    local->message);
    return p->thread != NULL;
}

pump *
pumpNew(const pumpEnd *first, const pumpEnd *second, const pumpOptions *options, GError **error)
{
    pump *p = g_new0(pump, 1);

    p->wakeFd = -1;
    for (unsigned i = 0; i < 2; i++)
        p->ways[i].pipe[0] = p->ways[i].pipe[1] = -1;
    pumpTakeSide(&p->sides[0], first);
    pumpTakeSide(&p->sides[1], second);
    p->stallMs = options->stallMs;
    p->ended = options->ended;
    p->opaque = options->opaque;
    pumpStagesInit(p, options);
    p->limit = options->limit ? pumpLimitRef(options->limit) : pumpLimitNew(options->bytesPerSecond);
    if (pumpStart(p, options, error))
        return p;
    for (unsigned i = 0; i < 2; i++) {
        pumpWayClear(&p->ways[i]);
        pumpCloseSide(&p->sides[i]);
    }
    pumpFree(p);
    return NULL;
}

void
pumpFree(pump *p)
{
    if (!p)
        return;
    if (p->thread) {
        pumpCancel(p);
        g_thread_join(p->thread);
    }
    for (unsigned i = 0; i < 2; i++)
        g_free(p->sides[i].name);
    g_clear_error(&p->first);
    g_clear_error(&p->stageError);
    pumpLimitUnref(p->limit);
    baseFdClose(p->wakeFd);
    g_free(p);
}

void
pumpCancel(pump *p)
{
    atomic_store(&p->cancelled, true);
    eventfd_write(p->wakeFd, 1);
}

void
pumpSetLimit(pump *p, uint64_t bytesPerSecond)
{
    pumpLimitSet(p->limit, bytesPerSecond);
    eventfd_write(p->wakeFd, 1);
}

void
pumpPoke(pump *p)
{
    atomic_store(&p->poked, true);
    eventfd_write(p->wakeFd, 1);
}

uint64_t
pumpBytes(const pump *p, pumpDirection direction)
{
    return atomic_load_explicit(&p->ways[direction].bytes, memory_order_relaxed);
}

bool
pumpFailedAt(const pump *p, unsigned end)
{
    return p->sides[end].failed;
}

bool
pumpCopies(const pump *p, pumpDirection direction)
{
    return atomic_load(&p->ways[direction].copiesNow);
}

void
pumpTune(int fd, unsigned ackTimeoutMs, unsigned keepaliveMs)
{
    int seconds = (int)CLAMP(keepaliveMs / 1000, 1, KEEPALIVE_MOST);
    const bool asks = keepaliveMs > 0;
    const struct { bool wanted; int level, name, value; } options[] = {
        { true, SOL_SOCKET, SO_KEEPALIVE, asks },
        { true, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)MIN(ackTimeoutMs, (unsigned)G_MAXINT) },
        { true, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_BYTES },
        { asks, IPPROTO_TCP, TCP_KEEPIDLE, seconds },
        { asks, IPPROTO_TCP, TCP_KEEPINTVL, seconds },
        { asks, IPPROTO_TCP, TCP_KEEPCNT, 5 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        if (options[i].wanted)
            setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
    }
}
