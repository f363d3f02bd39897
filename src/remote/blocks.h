/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * blocks.h: a stream in compressed blocks
 *
 * Each block is a head of BLOCKS_HEAD bytes (method, number, length before and after) and its bytes.  The last one says that it is the
 * last, so a stream that was cut is never taken for a whole one.  A writer that finds that compression does not pay sends
 * blocks as they are, and tries again now and then.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "remote/pump.h"

#define BLOCKS_HEAD 16
/* Bytes of one block, before it is compressed. */
#define BLOCKS_MOST ((size_t)256 * 1024)

/* Wire values: never renumber. */
typedef enum {
    BLOCKS_PLAIN = 0,
    BLOCKS_ZSTD = 1,
    BLOCKS_LZ4 = 2,
    BLOCKS_END = 3,
} blocksMethod;

/* Takes bytes that have been made; they are not kept. */
typedef void (*blocksSink)(void *opaque, const void *bytes, size_t len);

/* What stands before the bytes of a block. */
typedef struct {
    blocksMethod method;
    uint32_t number;
    uint32_t raw, wire;          /* bytes before and after */
} blocksHead;

typedef struct _blocksWriter blocksWriter;
typedef struct _blocksReader blocksReader;

/**
 * blocksWriterNew: for one stream.
 * @method: BLOCKS_ZSTD, BLOCKS_LZ4, or BLOCKS_PLAIN: nothing is compressed; @level: of zstd, 0: a quick one
 * @clock: microseconds, to measure what pays; NULL: the monotonic clock
 */
blocksWriter *blocksWriterNew(blocksMethod method, int level, gint64 (*clock)(void));
void blocksWriterFree(blocksWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(blocksWriter, blocksWriterFree)
/** blocksWrite: all of @bytes go into blocks at once, so nothing waits here. */
void blocksWrite(blocksWriter *writer, const uint8_t *bytes, size_t len, blocksSink sink, void *opaque);
/** blocksWriteEnd: say that this was all.  Twice is fine. */
void blocksWriteEnd(blocksWriter *writer, blocksSink sink, void *opaque);
/** blocksCompressed: so many blocks were sent compressed, of so many. */
uint64_t blocksCompressed(const blocksWriter *writer, uint64_t *retAll);

/** blocksReaderNew: for one stream; it says itself how each block is compressed. */
blocksReader *blocksReaderNew(void);
void blocksReaderFree(blocksReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(blocksReader, blocksReaderFree)
/** blocksFeed: bytes have come; they wait here until blocksNext() has taken their blocks. */
void blocksFeed(blocksReader *reader, const uint8_t *bytes, size_t len);
/**
 * blocksNext: hand the next whole block to @sink, at most BLOCKS_MOST bytes.
 * *retAny: there was one.  Errors: BASE_ERROR_OPERATION_FAILED: these are not our blocks, and whatever follows is worthless.
 */
bool blocksNext(blocksReader *reader, blocksSink sink, void *opaque, bool *retAny, GError **error);
/** blocksEnded: the other side has said that this was all, and it was. */
bool blocksEnded(const blocksReader *reader);

/* ---- one block at a time, for those who number them themselves ---- */

/** blocksWriteAs: @len bytes, at most BLOCKS_MOST, as the block @number. */
void blocksWriteAs(blocksWriter *writer, uint32_t number, const uint8_t *bytes, size_t len, blocksSink sink, void *opaque);
/** blocksHeadWrite: BLOCKS_HEAD bytes. */
void blocksHeadWrite(const blocksHead *head, uint8_t ret[BLOCKS_HEAD]);
/** blocksHeadRead: BLOCKS_HEAD bytes; any number.  BASE_ERROR_OPERATION_FAILED: it is no head of ours. */
bool blocksHeadRead(const uint8_t *bytes, blocksHead *ret, GError **error);
/** blocksExpand: what the head->wire bytes after @head stand for, head->raw bytes; the reader's until the next call, or @bytes itself.  NULL:
 * as blocksNext(). */
const uint8_t *blocksExpand(blocksReader *reader, const blocksHead *head, const uint8_t *bytes, GError **error);

/* As filters of a pump, in the direction forward; backward everything goes as it is.  The filter is the writer, the reader. */
extern const pumpFilterOps blocksWriterOps, blocksReaderOps;
