/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm_stratovirt_guide.c: StratoVirt's stream in the terms of vmm.h
 *
 * Its own query-migrate tells a state and nothing else, and 'completed' there is no success.  What there is to know is read in the
 * stream (stratovirt_wire.h).
 */
#include "remote/vmm_stratovirt_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "remote/stratovirt_wire.h"

#include "base/gettext.h"

#define STRATO_PAGE 4096
/* More than a greeting, an answer and some events. */
#define ANSWER_MAX 65536
/* A source waits 30 s for the answer to its farewell, which it sends after the answer to its state. */
#define WAIT_SURE_US (20 * G_TIME_SPAN_SECOND)

/* How long a VMM may go on naming the state of the migration before, until it has begun with this one. */
#define STALE_US (5 * G_TIME_SPAN_SECOND)

typedef struct {
    stratoWire *wire;
    void (*changed)(void *opaque);
    void *opaque;
    gint64 madeAtUs;             /* monotonic */
    gint begun;                  /* atomic: the source had begun when it was looked at last */
    GByteArray *rest;            /* destination: what land() gives the VMM; NULL: it has not been called */
    guint restAt;                /* so many of it the VMM has */
} stratoGuide;

static void
guidePhase(stratoWirePhase phase G_GNUC_UNUSED, void *opaque)
{
    const stratoGuide *guide = opaque;

    guide->changed(guide->opaque);
}

static void *
guideCreate(bool source, void (*changed)(void *opaque), void *opaque)
{
    stratoGuide *guide = g_new0(stratoGuide, 1);

    guide->wire = stratoWireNew(source ? STRATO_WIRE_SOURCE : STRATO_WIRE_DEST);
    guide->changed = changed;
    guide->opaque = opaque;
    guide->madeAtUs = g_get_monotonic_time();
    stratoWireSetNotify(guide->wire, guidePhase, guide);
    return guide;
}

static void
guideFree(void *opaque)
{
    stratoGuide *guide = opaque;

    stratoWireFree(guide->wire);
    if (guide->rest)
        g_byte_array_unref(guide->rest);
    g_free(guide);
}

static void
guideRelease(void *opaque, bool toDaemon)
{
    const stratoGuide *guide = opaque;

    stratoWireRelease(guide->wire, toDaemon);
}

/* ---- destination: without a pump, see vmm.h --------------------------------------------------------------------------------- */

/* The source hears no answer any more. */
static void
landEmit(void *opaque, pumpDirection direction, const void *bytes, size_t len)
{
    stratoGuide *guide = opaque;

    if (direction == PUMP_FORWARD)
        g_byte_array_append(guide->rest, bytes, (guint)len);
}

/* One that takes nothing more may have said something before. */
static void
landWrite(stratoGuide *guide, int fd)
{
    ssize_t n = send(fd, guide->rest->data + guide->restAt, guide->rest->len - guide->restAt, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n > 0)
        guide->restAt += (guint)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        guide->restAt = guide->rest->len;
}

static bool
landRead(stratoGuide *guide, int fd, GError **error)
{
    const stratoWireOut out = { landEmit, guide };
    uint8_t buffer[64];
    ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

    if (n > 0)
        return stratoWireFeed(guide->wire, PUMP_BACKWARD, buffer, (size_t)n, &out, error);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return true;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The VMM of the destination has ended its connection."));
    return false;
}

/* True when there is nothing more to hear, with *error unless the guest runs. */
static bool
landOver(const stratoGuide *guide, gint64 untilUs, GError **error)
{
    stratoWireStats stats;

    stratoWireGetStats(guide->wire, &stats);
    if (stats.phase == STRATO_WIRE_COMPLETE)
        return true;
    if (guide->rest->len == 0)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("What has come of the guest's state cannot be loaded."));
    else if (stats.phase == STRATO_WIRE_FAILED)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The VMM of the destination refuses the guest's state."));
    else if (g_get_monotonic_time() >= untilUs)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_TIMEOUT, _("The VMM of the destination does not say that the guest runs."));
    else
        return false;
    return true;
}

static bool
guideLand(void *opaque, int fd, unsigned timeoutMs, GError **error)
{
    gint64 until = g_get_monotonic_time() + (gint64)timeoutMs * 1000;
    stratoGuide *guide = opaque;
    const stratoWireOut out = { landEmit, guide };
    g_autoptr(GError) why = NULL;

    if (!guide->rest) {
        guide->rest = g_byte_array_new();
        stratoWireRelease(guide->wire, false);
        stratoWirePoke(guide->wire, &out);
    }
    while (!landOver(guide, until, &why)) {
        bool more = guide->restAt < guide->rest->len;
        struct pollfd entry = { .fd = fd, .events = (short)(POLLIN | (more ? POLLOUT : 0)) };

        poll(&entry, 1, (int)((until - g_get_monotonic_time()) / 1000 + 1));
        if (more && (entry.revents & (POLLOUT | POLLHUP | POLLERR)))
            landWrite(guide, fd);
        if ((entry.revents & ~POLLOUT) && !landRead(guide, fd, error))
            return false;
    }
    if (!why)
        return true;
    g_propagate_error(error, g_steal_pointer(&why));
    return false;
}

/* ---- how it goes ---------------------------------------------------------------------------------------------------------------- */

static vmmMigState
guideState(stratoWirePhase phase)
{
    static const vmmMigState states[] = {
        [STRATO_WIRE_BEGIN] = VMM_MIG_SETUP, [STRATO_WIRE_MEMORY] = VMM_MIG_ACTIVE, [STRATO_WIRE_STATE] = VMM_MIG_DEVICE,
        [STRATO_WIRE_READY] = VMM_MIG_PRE_SWITCHOVER, [STRATO_WIRE_RELEASED] = VMM_MIG_DEVICE,
        [STRATO_WIRE_LOADED] = VMM_MIG_COMPLETED, [STRATO_WIRE_COMPLETE] = VMM_MIG_COMPLETED,
        [STRATO_WIRE_CANCELLED] = VMM_MIG_CANCELLED, [STRATO_WIRE_FAILED] = VMM_MIG_FAILED,
    };

    return states[phase];
}

/* A round's rest, and what will be written meanwhile, is what the guest will stand still for, or more. */
static void
guideFigures(const stratoWireStats *stats, vmmMigStatus *ret)
{
    uint64_t speed = stats->roundUs && stats->rounds > 1 ? stats->lastRoundTotal * G_USEC_PER_SEC / stats->roundUs : 0;

    ret->ramPageSize = STRATO_PAGE;
    ret->ramTotal = stats->memoryTotal;
    ret->ramTransferred = stats->memorySent;
    ret->ramRemaining = stats->roundTotal - MIN(stats->roundSent, stats->roundTotal);
    ret->ramNormalBytes = stats->memorySent;
    ret->ramNormalPages = stats->memorySent / STRATO_PAGE;
    ret->ramIteration = stats->rounds;
    ret->ramDirtyPagesPerSecond = stats->dirtyBps / STRATO_PAGE;
    if (speed > 0)
        ret->expectedDowntimeMs = MAX(stats->roundTotal * 1000 / speed, 1);
}

/*
 * A VMM answers 'migrate' before its thread sets a state, so what it is asked next it answers with how the migration before this one has
 * ended.  That is over when something had come even before it was asked.
 */
static bool
guideMeansThis(stratoGuide *guide, const stratoWireStats *stats)
{
    bool had = g_atomic_int_get(&guide->begun);

    if (stats->begun)
        g_atomic_int_set(&guide->begun, 1);
    return had || g_get_monotonic_time() - guide->madeAtUs > STALE_US;
}

static void
guideLook(void *opaque, vmmMigStatus *ret)
{
    stratoGuide *guide = opaque;
    vmmMigState told = ret->state;
    stratoWireStats stats;
    bool meant;

    stratoWireGetStats(guide->wire, &stats);
    meant = guideMeansThis(guide, &stats);
    guideFigures(&stats, ret);
    ret->state = guideState(stats.phase);
    if (meant && (told == VMM_MIG_FAILED || told == VMM_MIG_CANCELLED))
        ret->state = told;
    else if (told == VMM_MIG_COMPLETED && stats.phase == STRATO_WIRE_STATE)
        stratoWireConclude(guide->wire);
}

static bool
guideIsLoaded(void *opaque)
{
    const stratoGuide *guide = opaque;
    stratoWireStats stats;

    stratoWireGetStats(guide->wire, &stats);
    return stats.phase == STRATO_WIRE_LOADED || stats.phase == STRATO_WIRE_COMPLETE;
}

/* It answers the state before its processors run, and the farewell when they do. */
static vmmGuideWord
guideWord(void *opaque)
{
    const stratoGuide *guide = opaque;
    stratoWireStats stats;

    stratoWireGetStats(guide->wire, &stats);
    if (stats.phase == STRATO_WIRE_COMPLETE)
        return VMM_WORD_RUNS;
    return stats.phase == STRATO_WIRE_FAILED || (stats.refused && stats.phase < STRATO_WIRE_LOADED) ? VMM_WORD_ABSENT : VMM_WORD_NONE;
}

static bool
guideStillWaits(void *opaque)
{
    const stratoGuide *guide = opaque;
    stratoWireStats stats;

    stratoWireGetStats(guide->wire, &stats);
    return stats.stateAtUs != 0 && g_get_monotonic_time() - stats.stateAtUs < WAIT_SURE_US;
}

/* One write, since it takes what it reads at once for one request. */
static bool
guideStopAhead(int fd, GError **error)
{
    static const char request[] = "{\"execute\":\"stop\",\"id\":\"ahead\"}\r\n";

    if (send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request))
        return true;
    baseSetErrno(error, errno, _("The VMM cannot be told to stop its guest on arrival"));
    return false;
}

/* The greeting comes first, then the answer and its event, in any order. */
static bool
guideAwaitStopped(int fd, unsigned timeoutMs, GError **error)
{
    gint64 end = g_get_monotonic_time() + (gint64)timeoutMs * 1000;
    g_autoptr(GString) text = g_string_new(NULL);

    while (text->len < ANSWER_MAX) {
        struct pollfd entry = { .fd = fd, .events = POLLIN };
        gint64 leftMs = (end - g_get_monotonic_time()) / 1000;
        char buffer[1024];
        ssize_t n;

        if (leftMs <= 0 || (poll(&entry, 1, (int)leftMs) < 0 && errno != EINTR))
            break;
        n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            break;
        if (n > 0)
            g_string_append_len(text, buffer, n);
        if (strstr(text->str, "\"return\""))
            return true;
    }
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "%s", _("The VMM has not said that it has stopped its guest on arrival."));
    return false;
}

static bool
guideBytes(void *opaque, pump *p, pumpDirection direction, const uint8_t *bytes, size_t len, GError **error)
{
    const stratoGuide *guide = opaque;

    return stratoWireFilter.bytes(guide->wire, p, direction, bytes, len, error);
}

static bool
guideEnd(void *opaque, pump *p, pumpDirection direction)
{
    const stratoGuide *guide = opaque;

    return stratoWireFilter.end(guide->wire, p, direction);
}

static bool
guidePoke(void *opaque, pump *p, GError **error)
{
    const stratoGuide *guide = opaque;

    return stratoWireFilter.poke(guide->wire, p, error);
}

static const pumpFilterOps guideFilter = {
    .bytes = guideBytes,
    .end = guideEnd,
    .poke = guidePoke,
};

const vmmGuideOps vmmStratovirtGuide = {
    .filter = &guideFilter,
    .create = guideCreate,
    .free = guideFree,
    .release = guideRelease,
    .look = guideLook,
    .land = guideLand,
    .isLoaded = guideIsLoaded,
    .word = guideWord,
    .stillWaits = guideStillWaits,
    .stopAhead = guideStopAhead,
    .awaitStopped = guideAwaitStopped,
};
