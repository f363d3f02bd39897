/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A request is 16 bytes: the length of what follows (8), a status (2) and 6 bytes that mean nothing; numbers are little
 * endian.  After each request the source waits for 2 bytes with a status.  A round of memory has as its length that of a
 * table of blocks (address, length), which the blocks' bytes follow.  So the place in the stream is always known: wireWant
 * says what comes next and wantBytes how much.
 *
 * The state alone has no length: it ends when the destination answers, which must not have it yet.  But a source that finds the
 * answer there already goes on as soon as it has written the state: with its farewell.  So the state is answered here before it
 * comes, and is whole when what follows a record of it is no record but the farewell.  Records are easily stepped over: their
 * heads say how long they are, or, before version 2.5, the descriptions before all of them do.  If they ever look different, the state is
 * taken for whole when the VMM says that it has been answered, the last bytes are those of a farewell and no more come for a moment.  From there on the length is known, and the other host
 * is told it in the request's own field, which is zero between VMMs.
 *
 * Only what is needed is kept: a request's head, one row of the table, and the state, which is small.
 * All of it happens in the pump's thread; the lock is for those who look or release.
 */
#include "remote/stratovirt_wire.h"

#include <string.h>

#include "base/error.h"
#include "base/lock.h"
#include "remote/json.h"
#include "remote/stratovirt_state.h"

#include "base/gettext.h"

#define WIRE_HEAD 16
#define WIRE_BLOCK 16
#define WIRE_ANSWER 2
/* StratoVirt's own limits, beyond which a destination gives up; that of the state is ours. */
#define WIRE_MAX_CONFIG (1024 * 1024)
#define WIRE_MAX_TABLE (65536ULL * WIRE_BLOCK)
#define WIRE_MAX_MEMORY (512ULL << 30)
#define WIRE_MAX_STATE (256 * 1024 * 1024)
/* The state: a head with a length and JSON in it, descriptions, then records with a head of their own each. */
#define WIRE_STATE_HEAD 4096
#define WIRE_RECORD 24
#define WIRE_RECORD_24 16            /* of StratoVirt 2.4 */
#define WIRE_MAX_PART (1024 * 1024)
/* How long nothing must come for a state to be whole whose records cannot be read. */
#define WIRE_QUIET_US 100000

typedef enum {
    WIRE_ACTIVE, WIRE_CONFIG, WIRE_MEMORY, WIRE_STATE, WIRE_COMPLETE, WIRE_CANCEL, WIRE_OK, WIRE_ERROR,
} wireStatus;

typedef enum {
    WANT_HEAD,
    WANT_CONFIG,         /* wantBytes of it */
    WANT_TABLE,
    WANT_PAGES,
    WANT_STATE,          /* until it is whole, with the farewell */
    WANT_ANSWER,         /* the source has to wait */
    WANT_NOTHING,        /* after the farewell */
} wireWant;

struct _stratoWire {
    stratoWireSide side;
    stratoWireFunc notify;
    void *opaque;

    /* The pump's thread alone. */
    wireWant want;
    uint64_t wantBytes;
    wireStatus last;             /* of the request under way */
    unsigned requests;
    unsigned owed;               /* answers that the destination still has to give to what was held */
    uint8_t part[WIRE_HEAD];     /* of a head or of a row of the table */
    size_t partLen;
    uint8_t answer[WIRE_ANSWER];
    size_t answerLen;
    uint64_t pageBytes;          /* of the table so far */
    uint64_t stateBytes;         /* destination: how many it has */
    GByteArray *held;            /* state and farewell, each with its head */
    size_t stepAt;               /* source: where in it the next part of the state begins; 0: it cannot be read */
    GHashTable *sizes;           /* of the records by kind; NULL: their heads say it */
    gint64 heldAtUs;             /* when the last of it came */
    gint64 roundBeganUs;

    GMutex lock;                 /* guards what follows */
    bool released, measured, concluded;
    stratoWireStats stats;
};

stratoWire *
stratoWireNew(stratoWireSide side)
{
    stratoWire *wire = g_new0(stratoWire, 1);

    wire->side = side;
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
    g_clear_pointer(&wire->sizes, g_hash_table_unref);
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
stratoWireRelease(stratoWire *wire, bool measured)
{
    BASE_LOCK(&wire->lock);

    wire->released = true;
    wire->measured = measured;
}

void
stratoWireConclude(stratoWire *wire)
{
    BASE_LOCK(&wire->lock);

    wire->concluded = true;
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

/* ---- the state ----------------------------------------------------------------------------------------------- */

static void
wireNoteHeld(stratoWire *wire)
{
    BASE_LOCK(&wire->lock);

    wire->stats.heldBytes = wire->held->len;
}

static void
wireHold(stratoWire *wire, const uint8_t *bytes, size_t len)
{
    g_byte_array_append(wire->held, bytes, (guint)len);
    wire->heldAtUs = g_get_monotonic_time();
    wireNoteHeld(wire);
}

/* Do the bytes at @at look like a farewell? */
static bool
wireIsFarewell(const stratoWire *wire, size_t at)
{
    const uint8_t *head = wire->held->data + at;

    return at + WIRE_HEAD <= wire->held->len && wireNumber(head) == 0 && wireStatusOf(head + 8) == WIRE_COMPLETE;
}

/* How long the descriptions after the state's head are, if that is one. */
static bool
wireStateHead(const uint8_t *head, uint64_t *retLen)
{
    g_autoptr(JsonObject) object = NULL;
    const uint64_t len = wireNumber(head);
    gint64 described;

    if (len > WIRE_STATE_HEAD - 8 || !(object = jsonParseObject((const char *)head + 8, len, NULL)))
        return false;
    described = jsonGetInt(object, "desc_len", -1);
    if (described < 0 || described > WIRE_MAX_PART)
        return false;
    *retLen = (uint64_t)described;
    return true;
}

/* Over the state's head and the descriptions; false: they are not here yet, or there are none (stepAt is 0). */
static bool
wireStepHead(stratoWire *wire)
{
    const size_t described = WIRE_HEAD + WIRE_STATE_HEAD;
    uint64_t len;

    if (wire->held->len < described)
        return false;
    if (!wireStateHead(wire->held->data + WIRE_HEAD, &len)) {
        wire->stepAt = 0;
        return false;
    }
    if (wire->held->len < described + len)
        return false;
    wire->sizes = stratoStateSizes(wire->held->data + described, (size_t)len);
    wire->stepAt = described + (size_t)len;
    return true;
}

/* Over one record; false: its head is not here yet. */
static bool
wireStepRecord(stratoWire *wire)
{
    const uint8_t *head = wire->held->data + wire->stepAt;
    const size_t headLen = wire->sizes ? WIRE_RECORD_24 : WIRE_RECORD;
    uint64_t len = WIRE_MAX_PART + 1;

    if (wire->stepAt + headLen > wire->held->len)
        return false;
    if (wire->sizes) {
        const uint64_t kind = wireNumber(head + 8);
        const uint64_t *size = g_hash_table_lookup(wire->sizes, &kind);

        if (size)
            len = *size;
    } else {
        len = wireNumber(head + 16);
    }
    wire->stepAt = len > WIRE_MAX_PART ? 0 : wire->stepAt + headLen + (size_t)len;
    return true;
}

/* Step over what is whole; true when the farewell has come. */
static bool
wireStep(stratoWire *wire)
{
    if (wire->stepAt == WIRE_HEAD && !wireStepHead(wire))
        return false;
    while (wire->stepAt > 0 && wire->stepAt + WIRE_HEAD <= wire->held->len) {
        if (wireIsFarewell(wire, wire->stepAt))
            return true;
        if (!wireStepRecord(wire))
            return false;
    }
    return false;
}

/* It is whole, and its last bytes are the farewell. */
static void
wireReady(stratoWire *wire)
{
    wire->want = WANT_NOTHING;
    wire->last = WIRE_COMPLETE;
    wire->requests++;
    wireEnter(wire, STRATO_WIRE_READY);
}

/* Source. */
static bool
wireTakeState(stratoWire *wire, const uint8_t *bytes, size_t len, GError **error)
{
    if (wire->held->len + len > WIRE_MAX_STATE)
        return wireWrong(error, _("the state has more than %1$d bytes"), WIRE_MAX_STATE);
    wireHold(wire, bytes, len);
    if (!wireStep(wire))
        return true;
    if (wire->held->len > wire->stepAt + WIRE_HEAD)
        return wireWrong(error, _("it goes on after its farewell"));
    wireReady(wire);
    return true;
}

/* Destination: no more than it is to have, the farewell included. */
static bool
wireTakeMeasured(stratoWire *wire, const uint8_t **bytes, size_t *len, GError **error)
{
    uint64_t all = WIRE_HEAD + wire->stateBytes + WIRE_HEAD;
    size_t take = (size_t)MIN((uint64_t)*len, all - wire->held->len);

    wireHold(wire, *bytes, take);
    *bytes += take;
    *len -= take;
    if (wire->held->len < all)
        return true;
    if (!wireIsFarewell(wire, (size_t)(all - WIRE_HEAD)))
        return wireWrong(error, _("the state is not followed by a farewell"));
    wireReady(wire);
    return true;
}

static void
wireLetGo(stratoWire *wire, const stratoWireOut *out)
{
    uint64_t len = wire->measured ? wire->held->len - 2 * WIRE_HEAD : 0;

    len = GUINT64_TO_LE(len);
    memcpy(wire->held->data, &len, sizeof(len));
    /* The farewell follows without waiting for an answer: from here on nothing of this process is needed any more. */
    out->emit(out->opaque, PUMP_FORWARD, wire->held->data, wire->held->len);
    g_byte_array_set_size(wire->held, 0);
    wireNoteHeld(wire);
    wire->owed = 2;
    wireEnter(wire, STRATO_WIRE_RELEASED);
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
    case WIRE_CANCEL:
        good = wire->requests > 0;
        break;
    case WIRE_COMPLETE:
        good = false;            /* it comes with the state */
        break;
    default:
        return wireWrong(error, _("it has a request of the unknown kind %1$u"), status);
    }
    return good || wireWrong(error, _("a request of the kind %1$u comes after %2$u others, where it cannot"), status,
                             wire->requests);
}

static bool
wireCheckLength(const stratoWire *wire, uint16_t status, uint64_t length, GError **error)
{
    bool good = length == 0;

    if (status == WIRE_STATE && wire->side == STRATO_WIRE_DEST)
        good = length > 0 && length <= WIRE_MAX_STATE;
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
    g_mutex_lock(&wire->lock);
    wire->stats.begun = true;
    g_mutex_unlock(&wire->lock);
}

/* A whole head is in 'part'. */
static bool
wireRequest(stratoWire *wire, const stratoWireOut *out, GError **error)
{
    static const uint8_t ok[WIRE_ANSWER] = { WIRE_OK, 0 };
    uint64_t length = wireNumber(wire->part);
    uint16_t status = wireStatusOf(wire->part + 8);

    if (!wireCheckOrder(wire, status, error) || !wireCheckLength(wire, status, length, error))
        return false;
    wireWantNext(wire, status, length);
    if (status == WIRE_MEMORY)
        wireEnter(wire, STRATO_WIRE_MEMORY);
    if (status == WIRE_CANCEL)
        wireEnter(wire, STRATO_WIRE_CANCELLED);
    if (status == WIRE_STATE) {
        wire->stateBytes = length;
        wire->stepAt = WIRE_HEAD;
        wireHold(wire, wire->part, WIRE_HEAD);
        g_mutex_lock(&wire->lock);
        wire->stats.stateAtUs = wire->side == STRATO_WIRE_SOURCE ? g_get_monotonic_time() : 0;
        g_mutex_unlock(&wire->lock);
        wireEnter(wire, STRATO_WIRE_STATE);
        if (wire->side == STRATO_WIRE_SOURCE)
            out->emit(out->opaque, PUMP_BACKWARD, ok, sizeof(ok));
        return true;
    }
    out->emit(out->opaque, PUMP_FORWARD, wire->part, WIRE_HEAD);
    return true;
}

/* ---- rounds of memory ------------------------------------------------------------------------------------------ */

static void
wireRoundBegins(stratoWire *wire)
{
    gint64 now = g_get_monotonic_time();
    stratoWireStats *stats = &wire->stats;

    g_mutex_lock(&wire->lock);

    if (stats->rounds > 0)
        stats->roundUs = MAX(now - wire->roundBeganUs, 1);
    stats->rounds++;
    if (stats->rounds == 1)
        stats->memoryTotal = wire->pageBytes;
    else
        stats->dirtyBps = (uint64_t)((double)wire->pageBytes * G_USEC_PER_SEC / (double)stats->roundUs);
    stats->lastRoundTotal = stats->roundTotal;
    stats->roundTotal = wire->pageBytes;
    stats->roundSent = 0;
    wire->roundBeganUs = now;
    g_mutex_unlock(&wire->lock);
    if (wire->notify)
        wire->notify(STRATO_WIRE_MEMORY, wire->opaque);
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
wirePass(stratoWire *wire, const stratoWireOut *out, const uint8_t **bytes, size_t *len)
{
    size_t take = (size_t)MIN((uint64_t)*len, wire->wantBytes);

    out->emit(out->opaque, PUMP_FORWARD, *bytes, take);
    if (wire->want == WANT_PAGES)
        wirePages(wire, take);
    *bytes += take;
    *len -= take;
    wire->wantBytes -= take;
    if (wire->wantBytes == 0)
        wire->want = WANT_ANSWER;
}

static bool
wireForward(stratoWire *wire, const stratoWireOut *out, const uint8_t *bytes, size_t len, GError **error)
{
    while (len > 0) {
        switch (wire->want) {
        case WANT_HEAD:
            if (wireCollect(wire, &bytes, &len) && !wireRequest(wire, out, error))
                return false;
            break;
        case WANT_TABLE:
            if (!wireCollect(wire, &bytes, &len))
                break;
            if (!wireBlock(wire, error))
                return false;
            out->emit(out->opaque, PUMP_FORWARD, wire->part, WIRE_BLOCK);
            break;
        case WANT_CONFIG:
        case WANT_PAGES:
            wirePass(wire, out, &bytes, &len);
            break;
        case WANT_STATE:
            if (wire->side == STRATO_WIRE_SOURCE)
                return wireTakeState(wire, bytes, len, error);
            if (!wireTakeMeasured(wire, &bytes, &len, error))
                return false;
            break;
        case WANT_ANSWER:
        case WANT_NOTHING:
            /* Whose stream goes on after its end is not to run. */
            if (wire->side == STRATO_WIRE_DEST && wire->want == WANT_NOTHING && wire->held->len > 0)
                wireEnter(wire, STRATO_WIRE_FAILED);
            return wireWrong(error, _("it goes on where the source has to wait for an answer"));
        }
    }
    return true;
}

/* To the state, then to the farewell.  The source has been answered the one, and must never hear an answer to the other. */
static bool
wireAnswerHeld(stratoWire *wire, const stratoWireOut *out, uint16_t status)
{
    wire->owed--;
    if (wire->side == STRATO_WIRE_DEST)
        out->emit(out->opaque, PUMP_BACKWARD, wire->answer, WIRE_ANSWER);
    if (status == WIRE_ERROR)
        wireEnter(wire, wire->owed > 0 ? STRATO_WIRE_FAILED : STRATO_WIRE_COMPLETE);
    else
        wireEnter(wire, wire->owed > 0 ? STRATO_WIRE_LOADED : STRATO_WIRE_COMPLETE);
    return true;
}

/* A whole answer of the destination. */
static bool
wireAnswer(stratoWire *wire, const stratoWireOut *out, GError **error)
{
    uint16_t status = wireStatusOf(wire->answer);

    if (status != WIRE_OK && status != WIRE_ERROR)
        return wireWrong(error, _("it has an answer of the unknown kind %1$u"), status);
    if (wire->owed > 0)
        return wireAnswerHeld(wire, out, status);
    if (wire->want != WANT_ANSWER)
        return wireWrong(error, _("it has an answer that nothing has been asked for"));
    out->emit(out->opaque, PUMP_BACKWARD, wire->answer, WIRE_ANSWER);
    wire->want = wire->last == WIRE_CANCEL ? WANT_NOTHING : WANT_HEAD;
    if (status == WIRE_ERROR)
        wireEnter(wire, STRATO_WIRE_FAILED);
    return true;
}

static bool
wireBackward(stratoWire *wire, const stratoWireOut *out, const uint8_t *bytes, size_t len, GError **error)
{
    for (size_t i = 0; i < len; i++) {
        wire->answer[wire->answerLen++] = bytes[i];
        if (wire->answerLen < WIRE_ANSWER)
            continue;
        wire->answerLen = 0;
        if (!wireAnswer(wire, out, error))
            return false;
    }
    return true;
}

/* ---- as a filter --------------------------------------------------------------------------------------------------------- */

bool
stratoWireFeed(stratoWire *wire, pumpDirection direction, const uint8_t *bytes, size_t len, const stratoWireOut *out, GError **error)
{
    return direction == PUMP_FORWARD ? wireForward(wire, out, bytes, len, error) : wireBackward(wire, out, bytes, len, error);
}

static void
wireEmit(void *p, pumpDirection direction, const void *bytes, size_t len)
{
    pumpEmit(p, direction, bytes, len);
}

static bool
wireBytes(void *filter, pump *p, pumpDirection direction, const uint8_t *bytes, size_t len, GError **error)
{
    const stratoWireOut out = { wireEmit, p };

    return stratoWireFeed(filter, direction, bytes, len, &out, error);
}

void
stratoWirePoke(stratoWire *wire, const stratoWireOut *out)
{
    bool released, concluded;

    g_mutex_lock(&wire->lock);
    released = wire->released && wire->stats.phase == STRATO_WIRE_READY;
    concluded = wire->concluded;
    g_mutex_unlock(&wire->lock);
    if (released)
        wireLetGo(wire, out);
    else if (concluded && wire->want == WANT_STATE && wire->side == STRATO_WIRE_SOURCE &&
             wire->held->len >= 2 * WIRE_HEAD && wireIsFarewell(wire, wire->held->len - WIRE_HEAD) &&
             g_get_monotonic_time() - wire->heldAtUs >= WIRE_QUIET_US)
        wireReady(wire);
}

static bool
wirePoke(void *filter, pump *p, GError **error G_GNUC_UNUSED)
{
    const stratoWireOut out = { wireEmit, p };

    stratoWirePoke(filter, &out);
    return true;
}

/* A destination that has everything needs no source any more; and a source that hears the end would let its guest run. */
static bool
wireEndPasses(stratoWire *wire, pumpDirection direction)
{
    BASE_LOCK(&wire->lock);

    if (wire->side == STRATO_WIRE_SOURCE)
        return direction == PUMP_FORWARD || (wire->want != WANT_STATE && (wire->want != WANT_NOTHING || wire->last != WIRE_COMPLETE));
    return direction == PUMP_BACKWARD || wire->stats.phase != STRATO_WIRE_READY;
}

/* The destination has left while it was being sent the state: one that had loaded it would have said so before. */
static void
wireNoteLeft(stratoWire *wire)
{
    stratoWirePhase phase;
    bool isNew;

    g_mutex_lock(&wire->lock);
    phase = wire->stats.phase;
    isNew = !wire->stats.refused && wire->answerLen == 0 && phase >= STRATO_WIRE_STATE && phase <= STRATO_WIRE_RELEASED;
    wire->stats.refused = wire->stats.refused || isNew;
    g_mutex_unlock(&wire->lock);
    if (isNew && wire->notify)
        wire->notify(phase, wire->opaque);
}

bool
stratoWireEnd(stratoWire *wire, pumpDirection direction)
{
    if (wireEndPasses(wire, direction))
        return true;
    if (wire->side == STRATO_WIRE_SOURCE)
        wireNoteLeft(wire);
    return false;
}

static bool
wireEnd(void *filter, pump *p G_GNUC_UNUSED, pumpDirection direction)
{
    return stratoWireEnd(filter, direction);
}

const pumpFilterOps stratoWireFilter = {
    .bytes = wireBytes,
    .end = wireEnd,
    .poke = wirePoke,
};
