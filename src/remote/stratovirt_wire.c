/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A request is 16 bytes: the length of what follows (8), a status (2) and 6 bytes that mean nothing; numbers are little
 * endian.  After each request the source waits for 2 bytes with a status.  A round of memory has as its length that of a
 * table of blocks (address, length), which the blocks' bytes follow.  The state alone has no length: it ends when the
 * destination answers.  So the place in the stream is always known: wireWant says what comes next and wantBytes how much.
 *
 * Only what is needed is kept: a request's head, one row of the table, and, while it is held, the state, which is small.
 * All of it happens in the pump's thread; the lock is for those who look or release.
 */
#include "remote/stratovirt_wire.h"

#include <string.h>

#include "base/error.h"
#include "base/lock.h"

#include "base/gettext.h"

#define WIRE_HEAD 16
#define WIRE_BLOCK 16
#define WIRE_ANSWER 2
/* StratoVirt's own limits, beyond which a destination gives up; that of the state is ours. */
#define WIRE_MAX_CONFIG (1024 * 1024)
#define WIRE_MAX_TABLE (65536ULL * WIRE_BLOCK)
#define WIRE_MAX_MEMORY (512ULL << 30)
#define WIRE_MAX_STATE (256 * 1024 * 1024)

typedef enum {
    WIRE_ACTIVE, WIRE_CONFIG, WIRE_MEMORY, WIRE_STATE, WIRE_COMPLETE, WIRE_CANCEL, WIRE_OK, WIRE_ERROR,
} wireStatus;

typedef enum {
    WANT_HEAD,
    WANT_CONFIG,         /* wantBytes of it */
    WANT_TABLE,
    WANT_PAGES,
    WANT_STATE,          /* until the answer */
    WANT_ANSWER,         /* the source has to wait */
    WANT_NOTHING,        /* after the end */
} wireWant;

struct _stratoWire {
    bool hold;
    stratoWireFunc notify;
    void *opaque;

    /* The pump's thread alone. */
    wireWant want;
    uint64_t wantBytes;
    wireStatus last;             /* of the request under way */
    unsigned requests;
    bool answeredHere;           /* the destination's next answer is not for the source */
    uint8_t part[WIRE_HEAD];     /* of a head or of a row of the table */
    size_t partLen;
    uint8_t answer[WIRE_ANSWER];
    size_t answerLen;
    uint64_t pageBytes;          /* of the table so far */
    uint64_t stateBytes;
    GByteArray *held;
    gint64 roundBeganUs;

    GMutex lock;                 /* guards what follows */
    bool released;
    stratoWireStats stats;
};

stratoWire *
stratoWireNew(bool hold)
{
    stratoWire *wire = g_new0(stratoWire, 1);

    wire->hold = hold;
    wire->held = g_byte_array_new();
    g_mutex_init(&wire->lock);
    return wire;
}

void
stratoWireFree(stratoWire *wire)
{
    if (!wire)
        return;
    g_byte_array_unref(wire->held);
    g_mutex_clear(&wire->lock);
    g_free(wire);
}

void
stratoWireSetNotify(stratoWire *wire, stratoWireFunc func, void *opaque)
{
    wire->notify = func;
    wire->opaque = opaque;
}

void
stratoWireRelease(stratoWire *wire)
{
    BASE_LOCK(&wire->lock);

    wire->released = true;
}

void
stratoWireGetStats(stratoWire *wire, stratoWireStats *ret)
{
    BASE_LOCK(&wire->lock);

    *ret = wire->stats;
}

static void
wireEnter(stratoWire *wire, stratoWirePhase phase)
{
    bool isNew;

    g_mutex_lock(&wire->lock);
    isNew = wire->stats.phase != phase;
    wire->stats.phase = phase;
    g_mutex_unlock(&wire->lock);
    if (isNew && wire->notify)
        wire->notify(phase, wire->opaque);
}

static bool G_GNUC_PRINTF(2, 3)
wireWrong(GError **error, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The stream is not one of StratoVirt's: %1$s."), text);
    return false;
}

static uint64_t
wireNumber(const uint8_t *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return GUINT64_FROM_LE(value);
}

static uint16_t
wireStatusOf(const uint8_t *bytes)
{
    uint16_t value;

    memcpy(&value, bytes, sizeof(value));
    return GUINT16_FROM_LE(value);
}

/* ---- holding ------------------------------------------------------------------------------------------------- */

static bool
wireMayGo(stratoWire *wire)
{
    BASE_LOCK(&wire->lock);

    return !wire->hold || wire->released;
}

static void
wireNoteHeld(stratoWire *wire)
{
    BASE_LOCK(&wire->lock);

    wire->stats.heldBytes = wire->held->len;
    if (wire->held->len == 0)
        wire->stats.heldSinceUs = 0;
    else if (wire->stats.heldSinceUs == 0)
        wire->stats.heldSinceUs = g_get_monotonic_time();
}

static void
wireLetGo(stratoWire *wire, pump *p)
{
    if (wire->held->len > 0)
        pumpEmit(p, PUMP_FORWARD, wire->held->data, wire->held->len);
    g_byte_array_set_size(wire->held, 0);
    wireNoteHeld(wire);
    wireEnter(wire, STRATO_WIRE_RELEASED);
}

/* Bytes of the state, its request among them. */
static bool
wireState(stratoWire *wire, pump *p, const uint8_t *bytes, size_t len, GError **error)
{
    wire->stateBytes += len;
    if (wire->stateBytes > WIRE_MAX_STATE)
        return wireWrong(error, _("the state has more than %1$d bytes"), WIRE_MAX_STATE);
    if (wireMayGo(wire)) {
        g_byte_array_append(wire->held, bytes, (guint)len);
        wireLetGo(wire, p);
        return true;
    }
    g_byte_array_append(wire->held, bytes, (guint)len);
    wireNoteHeld(wire);
    return true;
}

/* ---- requests ------------------------------------------------------------------------------------------------ */

/* What may come after how many requests, and after what. */
static bool
wireCheckOrder(const stratoWire *wire, uint16_t status, GError **error)
{
    bool good;

    switch (status) {
    case WIRE_ACTIVE:
        good = wire->requests == 0;
        break;
    case WIRE_CONFIG:
        good = wire->requests == 1;
        break;
    case WIRE_MEMORY:
        good = wire->requests >= 2 && (wire->last == WIRE_CONFIG || wire->last == WIRE_MEMORY);
        break;
    case WIRE_STATE:
        good = wire->last == WIRE_MEMORY;
        break;
    case WIRE_COMPLETE:
        good = wire->last == WIRE_STATE;
        break;
    case WIRE_CANCEL:
        good = wire->requests > 0 && wire->last != WIRE_STATE;
        break;
    default:
        return wireWrong(error, _("it has a request of the unknown kind %1$u"), status);
    }
    return good || wireWrong(error, _("a request of the kind %1$u comes after %2$u others, where it cannot"), status,
                             wire->requests);
}

static bool
wireCheckLength(uint16_t status, uint64_t length, GError **error)
{
    bool good = length == 0;

    if (status == WIRE_CONFIG)
        good = length > 0 && length <= WIRE_MAX_CONFIG;
    if (status == WIRE_MEMORY)
        good = length > 0 && length % WIRE_BLOCK == 0;
    if (status == WIRE_MEMORY && length > WIRE_MAX_TABLE)
        return wireWrong(error, _("a round of memory has %1$llu blocks, and a destination takes %2$llu"),
                         (unsigned long long)(length / WIRE_BLOCK), (unsigned long long)(WIRE_MAX_TABLE / WIRE_BLOCK));
    return good || wireWrong(error, _("a request of the kind %1$u has the length %2$llu"), status,
                             (unsigned long long)length);
}

static void
wireWantNext(stratoWire *wire, uint16_t status, uint64_t length)
{
    static const wireWant next[] = {
        [WIRE_ACTIVE] = WANT_ANSWER, [WIRE_CONFIG] = WANT_CONFIG, [WIRE_MEMORY] = WANT_TABLE, [WIRE_STATE] = WANT_STATE,
        [WIRE_COMPLETE] = WANT_ANSWER, [WIRE_CANCEL] = WANT_ANSWER,
    };

    wire->want = next[status];
    wire->wantBytes = length;
    wire->last = status;
    wire->requests++;
    wire->pageBytes = 0;
}

/* A whole head is in 'part'. */
static bool
wireRequest(stratoWire *wire, pump *p, GError **error)
{
    static const uint8_t ok[WIRE_ANSWER] = { WIRE_OK, 0 };
    uint64_t length = wireNumber(wire->part);
    uint16_t status = wireStatusOf(wire->part + 8);

    if (!wireCheckOrder(wire, status, error) || !wireCheckLength(status, length, error))
        return false;
    wireWantNext(wire, status, length);
    if (status == WIRE_MEMORY)
        wireEnter(wire, STRATO_WIRE_MEMORY);
    if (status == WIRE_CANCEL)
        wireEnter(wire, STRATO_WIRE_CANCELLED);
    if (status == WIRE_STATE) {
        wireEnter(wire, STRATO_WIRE_STATE);
        return wireState(wire, p, wire->part, WIRE_HEAD, error);
    }
    pumpEmit(p, PUMP_FORWARD, wire->part, WIRE_HEAD);
    if (status == WIRE_COMPLETE && wire->hold) {
        /* The destination's own answer may never come: it runs already. */
        wire->answeredHere = true;
        wire->want = WANT_NOTHING;
        pumpEmit(p, PUMP_BACKWARD, ok, sizeof(ok));
        wireEnter(wire, STRATO_WIRE_COMPLETE);
    }
    return true;
}

/* ---- rounds of memory ------------------------------------------------------------------------------------------ */

static void
wireRoundBegins(stratoWire *wire)
{
    gint64 now = g_get_monotonic_time();
    BASE_LOCK(&wire->lock);
    stratoWireStats *stats = &wire->stats;

    if (stats->rounds > 0)
        stats->roundUs = MAX(now - wire->roundBeganUs, 1);
    stats->rounds++;
    if (stats->rounds == 1)
        stats->memoryTotal = wire->pageBytes;
    else
        stats->dirtyBps = (uint64_t)((double)wire->pageBytes * G_USEC_PER_SEC / (double)stats->roundUs);
    stats->roundTotal = wire->pageBytes;
    stats->roundSent = 0;
    wire->roundBeganUs = now;
}

/* A whole row of the table is in 'part'. */
static bool
wireBlock(stratoWire *wire, GError **error)
{
    uint64_t length = wireNumber(wire->part + 8);

    if (length == 0 || length > WIRE_MAX_MEMORY || wire->pageBytes + length > WIRE_MAX_MEMORY)
        return wireWrong(error, _("a round has a block of %1$llu bytes"), (unsigned long long)length);
    wire->pageBytes += length;
    wire->wantBytes -= WIRE_BLOCK;
    if (wire->wantBytes == 0) {
        wire->want = WANT_PAGES;
        wire->wantBytes = wire->pageBytes;
        wireRoundBegins(wire);
    }
    return true;
}

static void
wirePages(stratoWire *wire, size_t len)
{
    BASE_LOCK(&wire->lock);

    wire->stats.roundSent += len;
    wire->stats.memorySent += len;
}

/* ---- the two directions -------------------------------------------------------------------------------------------- */

/* Take as many bytes for 'part' as it lacks; true when it is whole. */
static bool
wireCollect(stratoWire *wire, const uint8_t **bytes, size_t *len)
{
    size_t take = MIN(*len, WIRE_HEAD - wire->partLen);

    memcpy(wire->part + wire->partLen, *bytes, take);
    wire->partLen += take;
    *bytes += take;
    *len -= take;
    if (wire->partLen < WIRE_HEAD)
        return false;
    wire->partLen = 0;
    return true;
}

/* Bytes whose number is known and whose meaning is not ours. */
static void
wirePass(stratoWire *wire, pump *p, const uint8_t **bytes, size_t *len)
{
    size_t take = (size_t)MIN((uint64_t)*len, wire->wantBytes);

    pumpEmit(p, PUMP_FORWARD, *bytes, take);
    if (wire->want == WANT_PAGES)
        wirePages(wire, take);
    *bytes += take;
    *len -= take;
    wire->wantBytes -= take;
    if (wire->wantBytes == 0)
        wire->want = WANT_ANSWER;
}

static bool
wireForward(stratoWire *wire, pump *p, const uint8_t *bytes, size_t len, GError **error)
{
    while (len > 0) {
        switch (wire->want) {
        case WANT_HEAD:
            if (wireCollect(wire, &bytes, &len) && !wireRequest(wire, p, error))
                return false;
            break;
        case WANT_TABLE:
            if (!wireCollect(wire, &bytes, &len))
                break;
            if (!wireBlock(wire, error))
                return false;
            pumpEmit(p, PUMP_FORWARD, wire->part, WIRE_BLOCK);
            break;
        case WANT_CONFIG:
        case WANT_PAGES:
            wirePass(wire, p, &bytes, &len);
            break;
        case WANT_STATE:
            return wireState(wire, p, bytes, len, error);
        case WANT_ANSWER:
        case WANT_NOTHING:
            return wireWrong(error, _("it goes on where the source has to wait for an answer"));
        }
    }
    return true;
}

/* A whole answer of the destination. */
static bool
wireAnswer(stratoWire *wire, pump *p, GError **error)
{
    uint16_t status = wireStatusOf(wire->answer);

    if (status != WIRE_OK && status != WIRE_ERROR)
        return wireWrong(error, _("it has an answer of the unknown kind %1$u"), status);
    if (wire->answeredHere) {
        wire->answeredHere = false;
        return true;
    }
    if (wire->want != WANT_ANSWER && (wire->want != WANT_STATE || !wireMayGo(wire)))
        return wireWrong(error, _("it has an answer that nothing has been asked for"));
    pumpEmit(p, PUMP_BACKWARD, wire->answer, WIRE_ANSWER);
    wire->want = WANT_HEAD;
    if (status == WIRE_ERROR) {
        wireEnter(wire, STRATO_WIRE_FAILED);
    } else if (wire->last == WIRE_STATE) {
        wireEnter(wire, STRATO_WIRE_LOADED);
    } else if (wire->last == WIRE_COMPLETE) {
        wire->want = WANT_NOTHING;
        wireEnter(wire, STRATO_WIRE_COMPLETE);
    } else if (wire->last == WIRE_CANCEL) {
        wire->want = WANT_NOTHING;
    }
    return true;
}

static bool
wireBackward(stratoWire *wire, pump *p, const uint8_t *bytes, size_t len, GError **error)
{
    for (size_t i = 0; i < len; i++) {
        wire->answer[wire->answerLen++] = bytes[i];
        if (wire->answerLen < WIRE_ANSWER)
            continue;
        wire->answerLen = 0;
        if (!wireAnswer(wire, p, error))
            return false;
    }
    return true;
}

/* ---- as a filter --------------------------------------------------------------------------------------------------------- */

static bool
wireBytes(void *filter, pump *p, pumpDirection direction, const uint8_t *bytes, size_t len, GError **error)
{
    return direction == PUMP_FORWARD ? wireForward(filter, p, bytes, len, error)
                                     : wireBackward(filter, p, bytes, len, error);
}

static bool
wirePoke(void *filter, pump *p, GError **error G_GNUC_UNUSED)
{
    stratoWire *wire = filter;

    if (wire->want == WANT_STATE && wire->held->len > 0 && wireMayGo(wire))
        wireLetGo(wire, p);
    return true;
}

const pumpFilterOps stratoWireFilter = {
    .bytes = wireBytes,
    .poke = wirePoke,
};
