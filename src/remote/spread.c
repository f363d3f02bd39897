/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spread.c: see spread.h
 *
 * Theory of operation: each connection has a thread on both hosts.  On the sending one it takes the next piece of the stream and its
 * number in one step, then compresses and sends it while others take the following ones.  On the receiving one it reads a block,
 * expands it and waits until it is this block's turn.  That cannot lock up: the numbers on one connection only grow, so the block
 * whose turn it is stands at the head of some connection, which nothing else holds up.  So no connection needs more room than its block.
 *
 * All descriptors are non-blocking; a thread waits for its own and for an event that is never taken back, the end of it all.
 */
#include "remote/spread_priv.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/thread.h"

#include "base/gettext.h"

/* With a limit: a twentieth of a second's worth at a time, but no less than this. */
#define LEAST_BYTES ((uint64_t)16384)
static bool
connFinish(spreadConn *c, uint32_t number, GError **error)
{
    const blocksHead head = { .method = BLOCKS_END, .number = number };
    uint8_t wire[BLOCKS_HEAD];
    int rc = PUMP_WAIT;

    blocksHeadWrite(&head, wire);
    if (!spreadConnWrite(c, wire, sizeof(wire), false, error))
        return false;
    while (c->end.ops && rc == PUMP_WAIT) {
        g_mutex_lock(&c->lock);
        rc = c->end.ops->end(c->end.channel, error);
        g_mutex_unlock(&c->lock);
        if (rc == PUMP_ERROR || (rc == PUMP_WAIT && !spreadAwaitRoom(c->owner, c->end.fd, c->name, error)))
            return false;
    }
    c->toldEnd = true;
    /* One that is gone needs not be told. */
    shutdown(c->end.fd, SHUT_WR);
    return true;
}

static void
connSink(void *opaque, const void *bytes, size_t len)
{
    spreadConn *c = opaque;

    if (!c->sinkError)
        spreadConnWrite(c, bytes, len, true, &c->sinkError);
}

/* A block as it is on the wire, in @buffer. */
static bool
connReadBlock(spreadConn *c, uint8_t *buffer, blocksHead *ret, GError **error)
{
    uint8_t wire[BLOCKS_HEAD];

    return spreadConnRead(c, wire, sizeof(wire), error) && blocksHeadRead(wire, ret, error) && spreadConnRead(c, buffer, ret->wire, error);
}

/* It has said that this was all; what its layer below says of it is taken as well, so that closing it destroys nothing. */
static void
connReadRest(spreadConn *c)
{
    uint8_t byte;
    gssize n;

    c->heardEnd = true;
    while ((n = spreadConnTry(c, &byte, 1, NULL)) == PUMP_WAIT) {
        if (!spreadAwaitInput(c->owner, c->end.fd, NULL))
            return;
    }
}

/* ---- sending -------------------------------------------------------------------------------- */

/* The next piece and its number; *retGot 0: there is none. */
static bool
sendTake(spreadConn *c, size_t *retGot, uint32_t *retNumber, bool *retByVmm, GError **error)
{
    spread *s = c->owner;
    uint64_t rate = pumpLimitRate(s->options.limit);
    size_t most = rate ? (size_t)CLAMP(rate / 20, LEAST_BYTES, (uint64_t)BLOCKS_MOST) : BLOCKS_MOST;
    BASE_LOCK(&s->vmmLock);

    *retGot = 0;
    /* Its holder may have failed: what would be read now has a gap before it. */
    if (atomic_load(&s->cancelled)) {
        spreadSetAborted(error);
        return false;
    }
    *retNumber = s->taken;
    if (s->eof)
        return true;
    if (!spreadVmmRead(s, c->buffer, most, retGot, retByVmm, error))
        return false;
    s->eof = *retGot == 0;
    if (!s->eof)
        s->taken++;
    return true;
}

static bool
sendRun(spreadConn *c, bool *retByVmm, GError **error)
{
    spread *s = c->owner;

    for (;;) {
        uint32_t number;
        size_t got;

        if (!sendTake(c, &got, &number, retByVmm, error))
            return false;
        if (got == 0 && s->options.complete && !atomic_load(s->options.complete)) {
            /* Whoever cut it says why. */
            spreadSetAborted(error);
            return false;
        }
        if (got == 0)
            return connFinish(c, number, error);
        blocksWriteAs(c->writer, number, c->buffer, got, connSink, c);
        if (c->sinkError) {
            g_propagate_error(error, g_steal_pointer(&c->sinkError));
            return false;
        }
    }
}

/* ---- receiving ------------------------------------------------------------------------------ */

/* Lock held: will the block whose turn it is ever come? */
static bool
turnIsComing(const spread *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        const spreadConn *c = &s->conns[i];

        if (c->state == CONN_READS || c->state == CONN_WRITES || (c->state == CONN_WAITS && c->number == s->next))
            return true;
    }
    return false;
}

static bool
turnBad(uint32_t number, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("The stream over several connections is damaged: block %1$u is missing or has come at the wrong place."), number);
    return false;
}

/* Lock held: one that has the same number and came first. */
static bool
turnIsTaken(const spread *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->conns[i].state == CONN_WRITES)
            return true;
    }
    return false;
}

static bool
turnAwait(spreadConn *c, uint32_t number, GError **error)
{
    spread *s = c->owner;
    BASE_LOCK(&s->lock);

    c->state = CONN_WAITS;
    c->number = number;
    g_cond_broadcast(&s->cond);
    while (!atomic_load(&s->cancelled) && s->next != number) {
        if ((int32_t)(number - s->next) < 0 || (s->endKnown && (int32_t)(number - s->endNumber) >= 0) || !turnIsComing(s))
            return turnBad((int32_t)(number - s->next) < 0 ? number : s->next, error);
        g_cond_wait(&s->cond, &s->lock);
    }
    if (atomic_load(&s->cancelled)) {
        spreadSetAborted(error);
        return false;
    }
    if ((s->endKnown && (int32_t)(number - s->endNumber) >= 0) || turnIsTaken(s))
        return turnBad(number, error);
    c->state = CONN_WRITES;
    return true;
}

static void
turnPass(spreadConn *c)
{
    spread *s = c->owner;
    BASE_LOCK(&s->lock);

    c->state = CONN_READS;
    s->next++;
    g_cond_broadcast(&s->cond);
}

static bool
receiveEnd(spreadConn *c, uint32_t number, GError **error)
{
    spread *s = c->owner;
    BASE_LOCK(&s->lock);

    if (s->endKnown && s->endNumber != number)
        return turnBad(number, error);
    s->endKnown = true;
    s->endNumber = number;
    c->state = CONN_ENDED;
    s->ended++;
    g_cond_broadcast(&s->cond);
    if (s->ended < s->count)
        return true;
    if (s->next != number)
        return turnBad(s->next, error);
    /* A VMM that has gone needs not be told. */
    shutdown(s->vmmFd, SHUT_WR);
    return true;
}

static bool
receiveRun(spreadConn *c, bool *retByVmm, GError **error)
{
    for (;;) {
        const uint8_t *raw;
        blocksHead head;

        if (!connReadBlock(c, c->buffer, &head, error))
            return false;
        if (head.method == BLOCKS_END) {
            if (!receiveEnd(c, head.number, error))
                return false;
            connReadRest(c);
            return true;
        }
        if (!(raw = blocksExpand(c->reader, &head, c->buffer, error)) || !turnAwait(c, head.number, error))
            return false;
        if (!spreadVmmWrite(c, PUMP_FORWARD, raw, head.raw, retByVmm, error))
            return false;
        turnPass(c);
    }
}

/* ---- what the other VMM answers ------------------------------------------------------------- */

static bool
answersSend(spread *s, bool *retByVmm, GError **error)
{
    spreadConn *c = &s->conns[0];
    uint32_t number = 0;
    size_t got;

    for (;; number++) {
        blocksHead head = { .method = BLOCKS_PLAIN, .number = number };
        uint8_t wire[BLOCKS_HEAD];

        if (!spreadVmmRead(s, s->answerBuffer, BLOCKS_MOST, &got, retByVmm, error))
            return false;
        if (got == 0)
            return connFinish(c, number, error);
        head.raw = head.wire = (uint32_t)got;
        blocksHeadWrite(&head, wire);
        if (!spreadConnWrite(c, wire, sizeof(wire), false, error) || !spreadConnWrite(c, s->answerBuffer, got, false, error))
            return false;
    }
}

static bool
answersReceive(spread *s, GError **error)
{
    spreadConn *c = &s->conns[0];
    blocksHead head;
    bool gone = false;

    for (uint32_t number = 0;; number++) {
        if (!connReadBlock(c, s->answerBuffer, &head, error))
            return false;
        if (head.number != number || (head.method != BLOCKS_PLAIN && head.method != BLOCKS_END))
            return turnBad(number, error);
        if (head.method == BLOCKS_END)
            break;
        /* A VMM that listens no more has said its last word before, or its stream tells. */
        if (!spreadVmmWrite(c, PUMP_BACKWARD, s->answerBuffer, head.raw, &gone, error)) {
            if (!gone)
                return false;
            g_clear_error(error);
        }
    }
    shutdown(s->vmmFd, SHUT_WR);
    connReadRest(c);
    return true;
}

/* ---- the threads ---------------------------------------------------------------------------- */

static void
connClose(spreadConn *c, bool complete)
{
    const struct linger reset = { .l_onoff = 1, .l_linger = 0 };
    int domain = AF_UNIX;
    socklen_t len = sizeof(domain);

    if (c->end.ops && c->end.ops->free)
        c->end.ops->free(c->end.channel);
    c->end.ops = NULL;
    if (!complete && getsockopt(c->end.fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain != AF_UNIX)
        setsockopt(c->end.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    baseFdReplace(&c->end.fd, -1);
}

static bool
connIsComplete(const spreadConn *c)
{
    if (c->owner->options.sends)
        return c->toldEnd;
    return c->heardEnd && (c->index > 0 || c->toldEnd);
}

/* A thread is done; the last one closes the doors. */
static void
spreadLeave(spread *s)
{
    if (atomic_fetch_sub(&s->alive, 1) != 1)
        return;
    for (unsigned i = 0; i < s->count; i++)
        connClose(&s->conns[i], connIsComplete(&s->conns[i]));
    baseFdReplace(&s->vmmFd, -1);
}

static void
spreadFail(spread *s, unsigned index, bool byVmm, const GError *why)
{
    bool first;

    g_mutex_lock(&s->lock);
    first = !s->failed && !atomic_load(&s->cancelled);
    s->failed = true;
    g_mutex_unlock(&s->lock);
    if (first && !g_error_matches(why, BASE_ERROR, BASE_ERROR_ABORTED))
        s->options.broken(index, byVmm, why, s->options.opaque);
    spreadCancel(s);
}

static void
spreadBlockSignals(void)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
}

/* False: there are not enough threads, or it is over before it began; who makes them may hold what broken() needs. */
static bool
spreadAwaitAll(spread *s)
{
    BASE_LOCK(&s->lock);

    while (!s->go && !atomic_load(&s->cancelled))
        g_cond_wait(&s->cond, &s->lock);
    return s->go;
}

static gpointer
spreadConnThread(gpointer data)
{
    spreadConn *c = data;
    spread *s = c->owner;
    g_autoptr(GError) why = NULL;
    bool byVmm = false;

    spreadBlockSignals();
    if (spreadAwaitAll(s) && !(s->options.sends ? sendRun(c, &byVmm, &why) : receiveRun(c, &byVmm, &why)) && why)
        spreadFail(s, c->index, byVmm, why);
    g_debug("%s, connection %u of %u: %s", c->name, c->index + 1, s->count, why ? why->message : "complete");
    spreadLeave(s);
    return NULL;
}

static gpointer
spreadAnswersThread(gpointer data)
{
    spread *s = data;
    g_autoptr(GError) why = NULL;
    bool byVmm = false;

    spreadBlockSignals();
    if (spreadAwaitAll(s) && !(s->options.sends ? answersReceive(s, &why) : answersSend(s, &byVmm, &why)) && why)
        spreadFail(s, 0, byVmm, why);
    spreadLeave(s);
    return NULL;
}

/* ---- from outside --------------------------------------------------------------------------- */

void
spreadCancel(spread *s)
{
    atomic_store(&s->cancelled, true);
    eventfd_write(s->wakeFd, 1);
    g_mutex_lock(&s->lock);
    g_cond_broadcast(&s->cond);
    g_mutex_unlock(&s->lock);
}

static void
connInit(spread *s, unsigned index, const pumpEnd *end)
{
    spreadConn *c = &s->conns[index];

    c->owner = s;
    c->index = index;
    c->end = *end;
    c->name = g_strdup(end->name);
    c->buffer = g_malloc(BLOCKS_MOST);
    g_mutex_init(&c->lock);
    if (s->options.sends)
        c->writer = blocksWriterNew(s->options.method, s->options.level, NULL);
    else
        c->reader = blocksReaderNew();
}

static void
connClear(spreadConn *c)
{
    g_free(c->name);
    g_free(c->buffer);
    g_mutex_clear(&c->lock);
    blocksWriterFree(c->writer);
    blocksReaderFree(c->reader);
    g_clear_error(&c->sinkError);
}

static void
spreadGo(spread *s)
{
    BASE_LOCK(&s->lock);

    s->go = true;
    g_cond_broadcast(&s->cond);
}

static bool
spreadStartThreads(spread *s, GError **error)
{
    g_autoptr(GError) local = NULL;
    unsigned started = 0;

    atomic_store(&s->alive, s->count + 1);
    for (; started < s->count && !local; started += !local)
        s->conns[started].thread = baseThreadNew("spread", spreadConnThread, &s->conns[started], &local);
    if (!local)
        s->answers = baseThreadNew("spread", spreadAnswersThread, s, &local);
    if (!local) {
        spreadGo(s);
        return true;
    }
    g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, _("A thread for the guest's data could not be made: %1$s"), local->message);
    spreadCancel(s);
    for (unsigned i = started; i <= s->count; i++)
        spreadLeave(s);
    return false;
}

static bool
spreadStart(spread *s, GError **error)
{
    bool ok = baseFdSetNonblock(s->vmmFd, true);

    for (unsigned i = 0; i < s->count; i++)
        ok = baseFdSetNonblock(s->conns[i].end.fd, true) && ok;
    if (ok)
        return spreadStartThreads(s, error);
    baseSetErrno(error, errno, _("The connections of the guest's data cannot be used"));
    atomic_store(&s->alive, 1);
    spreadLeave(s);
    return false;
}

spread *
spreadNew(int vmmFd, const pumpEnd *ends, unsigned count, const spreadOptions *options, GError **error)
{
    spread *s = g_new0(spread, 1);

    s->options = *options;
    s->options.limit = pumpLimitRef(options->limit);
    s->vmmFd = vmmFd;
    s->count = count;
    s->conns = g_new0(spreadConn, count);
    s->answerBuffer = g_malloc(BLOCKS_MOST);
    g_mutex_init(&s->vmmLock);
    g_mutex_init(&s->lock);
    g_cond_init(&s->cond);
    for (unsigned i = 0; i < count; i++)
        connInit(s, i, &ends[i]);
    s->wakeFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wakeFd < 0) {
        baseSetErrno(error, errno, _("A descriptor for a stream could not be made"));
        atomic_store(&s->alive, 1);
        spreadLeave(s);
    } else if (spreadStart(s, error)) {
        return s;
    }
    spreadFree(s);
    return NULL;
}

void
spreadFree(spread *s)
{
    if (!s)
        return;
    spreadCancel(s);
    for (unsigned i = 0; i < s->count; i++) {
        if (s->conns[i].thread)
            g_thread_join(s->conns[i].thread);
    }
    if (s->answers)
        g_thread_join(s->answers);
    /* The first one was the answers' as well. */
    for (unsigned i = 0; i < s->count; i++)
        connClear(&s->conns[i]);
    pumpLimitUnref(s->options.limit);
    g_free(s->conns);
    g_free(s->answerBuffer);
    baseFdClose(s->wakeFd);
    g_mutex_clear(&s->vmmLock);
    g_mutex_clear(&s->lock);
    g_cond_clear(&s->cond);
    g_free(s);
}

uint64_t
spreadBytes(const spread *s, pumpDirection direction)
{
    return atomic_load_explicit(&s->bytes[direction], memory_order_relaxed);
}
