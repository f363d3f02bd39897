/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blocks.c: see blocks.h
 *
 * What pays: compression trades the processor's time for the network's.  It does not pay if the blocks do not become smaller, nor if
 * the stream, held up by the compression, goes slower than it does without.  Both are looked at after each window of so many bytes.
 * Without compression a window is tried now and then, less often each time it was in vain; with compression that keeps the
 * thread busy all the time, a window without it shows what the network can do.
 */
#include "remote/blocks.h"

#include <lz4.h>
#include <string.h>
#include <zstd.h>

#include "base/error.h"

#include "base/gettext.h"

#define WINDOW_BYTES ((uint64_t)4 * 1024 * 1024)
#define PAUSE_FIRST ((uint64_t)16 * 1024 * 1024)
#define PAUSE_LAST ((uint64_t)256 * 1024 * 1024)
/* In hundredths. */
#define WORTH_PERCENT 90
#define BUSY_PERCENT 80
#define LEVEL_DEFAULT 1
#define LEVEL_MOST 20

struct _blocksWriter {
    blocksMethod method;
    int level;
    gint64 (*clock)(void);
    ZSTD_CCtx *zstd;
    uint8_t *room;
    size_t roomBytes;
    uint32_t number;
    bool ended;
    uint64_t compressed, all;    /* blocks */

    bool on;
    uint64_t raw, wire;          /* bytes of the window */
    gint64 startedUs, busyUs;
    uint64_t until;              /* the window ends after so many raw bytes */
    uint64_t pause;              /* the next pause is so long */
    double speedOff;             /* raw bytes per microsecond without compression; 0: unknown */
};

struct _blocksReader {
    GByteArray *waiting;
    size_t start;
    ZSTD_DCtx *zstd;
    uint8_t *room;
    uint32_t number;
    bool ended;
    bool cut;                    /* as a filter: the stream ended without a last block */
};

/* ---- the head: method, three bytes 0, number, length before, length after; big endian ---- */

void
blocksHeadWrite(const blocksHead *head, uint8_t ret[BLOCKS_HEAD])
{
    const uint32_t words[] = { GUINT32_TO_BE((uint32_t)head->method << 24), GUINT32_TO_BE(head->number),
                               GUINT32_TO_BE(head->raw), GUINT32_TO_BE(head->wire) };

    memcpy(ret, words, sizeof(words));
}

static void
headBad(uint32_t number, const blocksHead *head, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("The stream of blocks is damaged: block %1$u has the head of a block %2$u of the kind %3$u with %4$u bytes for %5$u."),
                number, head->number, (unsigned)head->method, head->wire, head->raw);
}

bool
blocksHeadRead(const uint8_t *bytes, blocksHead *ret, GError **error)
{
    uint32_t words[4];
    bool lengths;

    memcpy(words, bytes, sizeof(words));
    *ret = (blocksHead){ .method = GUINT32_FROM_BE(words[0]) >> 24, .number = GUINT32_FROM_BE(words[1]),
                         .raw = GUINT32_FROM_BE(words[2]), .wire = GUINT32_FROM_BE(words[3]) };
    if (ret->method == BLOCKS_END)
        lengths = ret->raw == 0 && ret->wire == 0;
    else if (ret->method == BLOCKS_PLAIN)
        lengths = ret->raw > 0 && ret->raw <= BLOCKS_MOST && ret->wire == ret->raw;
    else
        lengths = ret->raw > 0 && ret->raw <= BLOCKS_MOST && ret->wire > 0 && ret->wire < ret->raw;
    if (ret->method <= BLOCKS_END && !(GUINT32_FROM_BE(words[0]) & 0xffffff) && lengths)
        return true;
    headBad(ret->number, ret, error);
    return false;
}

/* ---- what pays ---- */

static void
windowStart(blocksWriter *w, bool on, uint64_t bytes)
{
    w->on = on;
    w->raw = w->wire = 0;
    w->busyUs = 0;
    w->startedUs = w->clock();
    w->until = bytes;
}

static void
windowEnd(blocksWriter *w)
{
    const gint64 took = MAX(1, w->clock() - w->startedUs);
    const double speed = (double)w->raw / (double)took;
    const bool smaller = w->wire * 100 < w->raw * WORTH_PERCENT;
    const bool busy = w->busyUs * 100 > took * BUSY_PERCENT;

    if (!w->on) {
        w->speedOff = speed;
        windowStart(w, true, WINDOW_BYTES);
    } else if (!smaller || (busy && w->speedOff > speed)) {
        windowStart(w, false, w->pause);
        w->pause = MIN(w->pause * 2, PAUSE_LAST);
    } else {
        w->pause = PAUSE_FIRST;
        /* What the network can do is not known, or not any more. */
        windowStart(w, !(busy && w->speedOff == 0), WINDOW_BYTES);
        if (w->on && !busy)
            w->speedOff = 0;
    }
}

/* ---- writing ---- */

blocksWriter *
blocksWriterNew(blocksMethod method, int level, gint64 (*clock)(void))
{
    blocksWriter *w = g_new0(blocksWriter, 1);

    g_assert(method != BLOCKS_END);
    w->method = method;
    w->level = level > 0 ? MIN(level, LEVEL_MOST) : LEVEL_DEFAULT;
    w->clock = clock ? clock : g_get_monotonic_time;
    w->zstd = method == BLOCKS_ZSTD ? ZSTD_createCCtx() : NULL;
    /* What does not become smaller is sent as it is, so there is never need for more. */
    w->roomBytes = BLOCKS_MOST;
    w->room = g_malloc(w->roomBytes);
    w->pause = PAUSE_FIRST;
    windowStart(w, method != BLOCKS_PLAIN, WINDOW_BYTES);
    return w;
}

void
blocksWriterFree(blocksWriter *w)
{
    if (!w)
        return;
    ZSTD_freeCCtx(w->zstd);
    g_free(w->room);
    g_free(w);
}

/* The bytes are in the room; 0: they do not become smaller. */
static size_t
writerCompress(blocksWriter *w, const uint8_t *bytes, size_t len)
{
    gint64 started = w->clock();
    size_t ret = 0;

    if (w->method == BLOCKS_LZ4) {
        int put = LZ4_compress_default((const char *)bytes, (char *)w->room, (int)len, (int)(len - 1));

        ret = put > 0 ? (size_t)put : 0;
    } else if (w->zstd) {
        size_t put = ZSTD_compressCCtx(w->zstd, w->room, len - 1, bytes, len, w->level);

        ret = ZSTD_isError(put) ? 0 : put;
    }
    w->busyUs += w->clock() - started;
    return ret;
}

void
blocksWriteAs(blocksWriter *w, uint32_t number, const uint8_t *bytes, size_t len, blocksSink sink, void *opaque)
{
    size_t put = w->on && len > 1 ? writerCompress(w, bytes, len) : 0;
    blocksHead head = { .method = put ? w->method : BLOCKS_PLAIN, .number = number, .raw = (uint32_t)len,
                        .wire = (uint32_t)(put ? put : len) };
    uint8_t wire[BLOCKS_HEAD];

    blocksHeadWrite(&head, wire);
    sink(opaque, wire, sizeof(wire));
    sink(opaque, put ? w->room : bytes, head.wire);
    w->all++;
    w->compressed += put > 0;
    w->raw += len;
    w->wire += head.wire + BLOCKS_HEAD;
    if (w->raw >= w->until && w->method != BLOCKS_PLAIN)
        windowEnd(w);
}

void
blocksWrite(blocksWriter *w, const uint8_t *bytes, size_t len, blocksSink sink, void *opaque)
{
    g_assert(!w->ended);
    for (size_t done = 0; done < len; done += BLOCKS_MOST)
        blocksWriteAs(w, w->number++, bytes + done, MIN(len - done, BLOCKS_MOST), sink, opaque);
}

void
blocksWriteEnd(blocksWriter *w, blocksSink sink, void *opaque)
{
    const blocksHead head = { .method = BLOCKS_END, .number = w->number };
    uint8_t wire[BLOCKS_HEAD];

    if (w->ended)
        return;
    w->ended = true;
    blocksHeadWrite(&head, wire);
    sink(opaque, wire, sizeof(wire));
}

uint64_t
blocksCompressed(const blocksWriter *w, uint64_t *retAll)
{
    *retAll = w->all;
    return w->compressed;
}

/* ---- reading ---- */

blocksReader *
blocksReaderNew(void)
{
    blocksReader *r = g_new0(blocksReader, 1);

    r->waiting = g_byte_array_new();
    return r;
}

void
blocksReaderFree(blocksReader *r)
{
    if (!r)
        return;
    g_byte_array_unref(r->waiting);
    ZSTD_freeDCtx(r->zstd);
    g_free(r->room);
    g_free(r);
}

void
blocksFeed(blocksReader *r, const uint8_t *bytes, size_t len)
{
    if (r->start > 0)
        g_byte_array_remove_range(r->waiting, 0, (guint)r->start);
    r->start = 0;
    g_byte_array_append(r->waiting, bytes, (guint)len);
}

const uint8_t *
blocksExpand(blocksReader *r, const blocksHead *head, const uint8_t *bytes, GError **error)
{
    bool ok;

    if (head->method == BLOCKS_PLAIN)
        return bytes;
    if (!r->room)
        r->room = g_malloc(BLOCKS_MOST);
    if (head->method == BLOCKS_LZ4) {
        ok = LZ4_decompress_safe((const char *)bytes, (char *)r->room, (int)head->wire, (int)BLOCKS_MOST) == (int)head->raw;
    } else {
        if (!r->zstd)
            r->zstd = ZSTD_createDCtx();
        ok = r->zstd && ZSTD_decompressDCtx(r->zstd, r->room, BLOCKS_MOST, bytes, head->wire) == head->raw;
    }
    if (!ok)
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The stream of blocks is damaged: block %1$u cannot be expanded to the %2$u bytes that it is said to have."),
                    head->number, head->raw);
    return ok ? r->room : NULL;
}

bool
blocksNext(blocksReader *r, blocksSink sink, void *opaque, bool *retAny, GError **error)
{
    const size_t left = r->waiting->len - r->start;
    /* Without a byte there is no memory to point into. */
    const uint8_t *bytes = left > 0 ? r->waiting->data + r->start : NULL;
    const uint8_t *raw;
    blocksHead head;

    *retAny = false;
    if (r->ended && left > 0) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The stream of blocks is damaged: it goes on after its end."));
        return false;
    }
    if (left < BLOCKS_HEAD)
        return true;
    if (!blocksHeadRead(bytes, &head, error))
        return false;
    if (head.number != r->number) {
        headBad(r->number, &head, error);
        return false;
    }
    if (left - BLOCKS_HEAD < head.wire)
        return true;
    if (head.method == BLOCKS_END)
        r->ended = true;
    else if ((raw = blocksExpand(r, &head, bytes + BLOCKS_HEAD, error)))
        sink(opaque, raw, head.raw);
    else
        return false;
    r->number++;
    r->start += BLOCKS_HEAD + head.wire;
    *retAny = true;
    return true;
}

bool
blocksEnded(const blocksReader *r)
{
    return r->ended && r->start == r->waiting->len;
}

/* ---- as filters ---- */

static void
emitForward(void *p, const void *bytes, size_t len)
{
    pumpEmit(p, PUMP_FORWARD, bytes, len);
}

static bool
writerBytes(void *filter, pump *p, pumpDirection direction, const uint8_t *bytes, size_t len, GError **error G_GNUC_UNUSED)
{
    if (direction == PUMP_FORWARD)
        blocksWrite(filter, bytes, len, emitForward, p);
    else
        pumpEmit(p, direction, bytes, len);
    return true;
}

static bool
writerEnd(void *filter, pump *p, pumpDirection direction)
{
    if (direction == PUMP_FORWARD)
        blocksWriteEnd(filter, emitForward, p);
    return true;
}

const pumpFilterOps blocksWriterOps = { .bytes = writerBytes, .end = writerEnd };

static bool
readerBytes(void *filter, pump *p, pumpDirection direction, const uint8_t *bytes, size_t len, GError **error G_GNUC_UNUSED)
{
    if (direction == PUMP_FORWARD)
        blocksFeed(filter, bytes, len);
    else
        pumpEmit(p, direction, bytes, len);
    return true;
}

/* One block at a time, since a few bytes can become many; the last one brings no bytes. */
static bool
readerMore(void *filter, pump *p, pumpDirection direction, bool *retAny, GError **error)
{
    if (direction == PUMP_FORWARD)
        return blocksNext(filter, emitForward, p, retAny, error);
    *retAny = false;
    return true;
}

static bool
readerEnd(void *filter, pump *p, pumpDirection direction)
{
    blocksReader *r = filter;

    if (direction == PUMP_BACKWARD || blocksEnded(r))
        return true;
    r->cut = true;
    pumpPoke(p);
    return false;
}

static bool
readerPoke(void *filter, pump *p G_GNUC_UNUSED, GError **error)
{
    blocksReader *r = filter;

    if (!r->cut)
        return true;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                        _("The stream of blocks has ended without saying that this was all."));
    return false;
}

const pumpFilterOps blocksReaderOps = { .bytes = readerBytes, .end = readerEnd, .poke = readerPoke, .more = readerMore };
