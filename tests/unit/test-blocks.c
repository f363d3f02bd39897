/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-blocks.c: streams that are compressed and expanded again, what is no such stream, and when compression gives up */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "remote/blocks.h"

#include "io-thread.h"
#include "pump-rig.h"

typedef enum { ZEROES, TEXT, NOISE, KINDS } kindOfData;

static uint8_t *
makeData(kindOfData kind, size_t len)
{
    uint8_t *data = g_malloc0(len);
    guint32 x = 2463534242;

    for (size_t i = 0; i < len && kind != ZEROES; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        data[i] = kind == NOISE ? (uint8_t)x : (uint8_t)('a' + (i % 16 ? i / 5 : x) % 20);
    }
    return data;
}

static void
collect(void *opaque, const void *bytes, size_t len)
{
    g_assert_cmpuint(len, <=, BLOCKS_MOST);
    g_byte_array_append(opaque, bytes, (guint)len);
}

/* All blocks that are there; the error if one is damaged. */
static GError *
readAll(blocksReader *reader, GByteArray *out)
{
    GError *error = NULL;
    bool any = true;

    while (any && blocksNext(reader, collect, out, &any, &error))
        continue;
    return error;
}

static void
roundTrip(blocksMethod method, kindOfData kind, size_t len, size_t piece)
{
    g_autoptr(blocksWriter) writer = blocksWriterNew(method, 0, NULL);
    g_autoptr(blocksReader) reader = blocksReaderNew();
    g_autoptr(GByteArray) wire = g_byte_array_new();
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autofree uint8_t *data = makeData(kind, MAX(len, 1));

    for (size_t done = 0; done < len; done += piece)
        blocksWrite(writer, data + done, MIN(piece, len - done), collect, wire);
    blocksWriteEnd(writer, collect, wire);
    blocksWriteEnd(writer, collect, wire);
    if (kind != NOISE && piece > 1000 && len > 100000)
        g_assert_cmpuint(wire->len, <, len / 2);
    for (size_t done = 0; done < wire->len; done += 777) {
        g_autoptr(GError) error = NULL;

        g_assert_false(blocksEnded(reader));
        blocksFeed(reader, wire->data + done, MIN(777, wire->len - done));
        error = readAll(reader, out);
        g_assert_no_error(error);
    }
    g_assert_true(blocksEnded(reader));
    g_assert_cmpuint(out->len, ==, len);
    g_assert_cmpint(memcmp(out->data ? out->data : data, data, len), ==, 0);
}

static void
testRoundTrip(void)
{
    static const size_t sizes[] = { 0, 1, 2, 100, BLOCKS_MOST - 1, BLOCKS_MOST, BLOCKS_MOST + 1, 3 * BLOCKS_MOST + 5 };

    for (kindOfData kind = ZEROES; kind < KINDS; kind++) {
        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
            roundTrip(BLOCKS_ZSTD, kind, sizes[i], SIZE_MAX / 2);
            roundTrip(BLOCKS_LZ4, kind, sizes[i], 4099);
        }
    }
}

/* ---- what is damaged ---- */

static void
expectDamaged(const uint8_t *bytes, size_t len, const char *word)
{
    g_autoptr(blocksReader) reader = blocksReaderNew();
    g_autoptr(GByteArray) out = g_byte_array_new();
    g_autoptr(GError) error = NULL;

    blocksFeed(reader, bytes, len);
    error = readAll(reader, out);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    if (!strstr(error->message, word))
        g_error("'%s' does not say '%s'", error->message, word);
    g_assert_false(blocksEnded(reader));
}

static void
testHeads(void)
{
    static const struct { uint32_t words[4]; } heads[] = {
        { { 0x04000000, 0, 10, 5 } },                /* no such method */
        { { 0xff000000, 0, 10, 5 } },
        { { 0x01000001, 0, 10, 5 } },                /* not 0 */
        { { 0x01000000, 1, 10, 5 } },                /* not its turn */
        { { 0x01000000, 0, 10, 10 } },               /* did not become smaller */
        { { 0x01000000, 0, 10, 11 } },
        { { 0x01000000, 0, 10, 0 } },
        { { 0x01000000, 0, 0, 0 } },
        { { 0x01000000, 0, 0xffffffff, 5 } },        /* more than a block has */
        { { 0x02000000, 0, 256 * 1024 + 1, 5 } },
        { { 0x00000000, 0, 10, 9 } },
        { { 0x00000000, 0, 0, 0 } },
        { { 0x00000000, 0, 0xffffffff, 0xffffffff } },
        { { 0x03000000, 0, 0, 1 } },
        { { 0x03000000, 0, 1, 0 } },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(heads); i++) {
        uint32_t words[4];

        for (size_t w = 0; w < 4; w++)
            words[w] = GUINT32_TO_BE(heads[i].words[w]);
        expectDamaged((const uint8_t *)words, sizeof(words), "the head of");
    }
}

/* Every single bit that is turned over is noticed, or makes other bytes, which it is for TLS to prevent; never more than are said. */
static void
testBodies(gconstpointer data)
{
    const blocksMethod method = GPOINTER_TO_UINT(data);
    g_autoptr(blocksWriter) writer = blocksWriterNew(method, 0, NULL);
    g_autoptr(GByteArray) wire = g_byte_array_new();
    g_autofree uint8_t *text = makeData(TEXT, 500);

    blocksWrite(writer, text, 500, collect, wire);
    g_assert_cmpuint(wire->len, <, 500 + BLOCKS_HEAD);
    for (size_t bit = 0; bit < wire->len * 8; bit++) {
        g_autoptr(blocksReader) reader = blocksReaderNew();
        g_autoptr(GByteArray) out = g_byte_array_new();
        g_autoptr(GError) error = NULL;

        wire->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        blocksFeed(reader, wire->data, wire->len);
        error = readAll(reader, out);
        if (error)
            g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
        else
            g_assert_true(out->len == 500 || out->len == 0);
        wire->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    /* It is said to have more than it has. */
    wire->data[11]++;
    expectDamaged(wire->data, wire->len, "cannot be expanded");
    wire->data[11]--;
    wire->data[BLOCKS_HEAD] ^= 0xff;
    wire->data[BLOCKS_HEAD + 1] ^= 0xff;
    expectDamaged(wire->data, wire->len, "cannot be expanded");
}

static void
testAfterTheEnd(void)
{
    g_autoptr(blocksWriter) writer = blocksWriterNew(BLOCKS_LZ4, 0, NULL);
    g_autoptr(GByteArray) wire = g_byte_array_new();

    blocksWriteEnd(writer, collect, wire);
    g_byte_array_append(wire, (const guint8 *)"x", 1);
    expectDamaged(wire->data, wire->len, "after its end");
}

/* ---- what pays ---- */

static gint64 nowUs;
static gint64 costUs;                /* of each block that is compressed */
static unsigned calls;

/* It is asked twice for each such block and for each window, so every other time a block has been compressed. */
static gint64
fakeClock(void)
{
    if (calls++ % 2 == 0)
        nowUs += costUs;
    return nowUs;
}

static void
swallow(void *opaque, const void *bytes G_GNUC_UNUSED, size_t len)
{
    *(uint64_t *)opaque += len;
}

/* So many blocks, the network takes @netUs for each; how many were sent compressed. */
static uint64_t
writeBlocks(blocksWriter *writer, const uint8_t *block, unsigned count, gint64 netUs)
{
    uint64_t before, all, wire = 0;

    before = blocksCompressed(writer, &all);
    for (unsigned i = 0; i < count; i++) {
        blocksWrite(writer, block, BLOCKS_MOST, swallow, &wire);
        nowUs += netUs;
    }
    return blocksCompressed(writer, &all) - before;
}

#define WINDOW 16                    /* blocks */
#define PAUSE 64

static void
testNotSmaller(void)
{
    g_autoptr(blocksWriter) writer = NULL;
    g_autofree uint8_t *noise = makeData(NOISE, BLOCKS_MOST);
    g_autofree uint8_t *zeroes = makeData(ZEROES, BLOCKS_MOST);

    nowUs = costUs = calls = 0;
    writer = blocksWriterNew(BLOCKS_LZ4, 0, fakeClock);
    g_assert_cmpuint(writeBlocks(writer, noise, WINDOW, 100), ==, 0);
    /* Now it is not even tried, until it is tried again. */
    g_assert_cmpuint(writeBlocks(writer, zeroes, PAUSE, 100), ==, 0);
    g_assert_cmpuint(writeBlocks(writer, zeroes, 100, 100), ==, 100);
    /* In vain twice: the second pause is longer. */
    g_assert_cmpuint(writeBlocks(writer, noise, 2 * WINDOW, 100), ==, 0);
    g_assert_cmpuint(writeBlocks(writer, noise, PAUSE + WINDOW, 100), ==, 0);
    g_assert_cmpuint(writeBlocks(writer, zeroes, 2 * PAUSE - 2 * WINDOW, 100), ==, 0);
    writeBlocks(writer, zeroes, 2 * WINDOW, 100);
    g_assert_cmpuint(writeBlocks(writer, zeroes, WINDOW, 100), ==, WINDOW);
}

/* The network is quicker than the compression. */
static void
testTooSlow(void)
{
    g_autoptr(blocksWriter) writer = NULL;
    g_autofree uint8_t *zeroes = makeData(ZEROES, BLOCKS_MOST);

    nowUs = calls = 0;
    costUs = 1000;
    writer = blocksWriterNew(BLOCKS_LZ4, 0, fakeClock);
    g_assert_cmpuint(writeBlocks(writer, zeroes, WINDOW, 10), ==, WINDOW);
    /* Without it, to compare. */
    g_assert_cmpuint(writeBlocks(writer, zeroes, WINDOW, 10), ==, 0);
    g_assert_cmpuint(writeBlocks(writer, zeroes, WINDOW, 10), ==, WINDOW);
    g_assert_cmpuint(writeBlocks(writer, zeroes, PAUSE, 10), ==, 0);
    g_assert_cmpuint(writeBlocks(writer, zeroes, WINDOW, 10), ==, WINDOW);
}

/* The network is what holds it up: it is never without. */
static void
testPays(void)
{
    g_autoptr(blocksWriter) writer = NULL;
    g_autofree uint8_t *zeroes = makeData(ZEROES, BLOCKS_MOST);

    nowUs = calls = 0;
    costUs = 10;
    writer = blocksWriterNew(BLOCKS_ZSTD, 3, fakeClock);
    g_assert_cmpuint(writeBlocks(writer, zeroes, 10 * WINDOW, 1000), ==, 10 * WINDOW);
}

/* ---- in pumps ---- */

typedef struct {
    GMutex lock;
    GCond cond;
    unsigned ended;
    GError *why[2];
    pump *pumps[2];
} line;

static void
onEnded(pump *p, const GError *why, void *opaque)
{
    line *l = opaque;

    g_mutex_lock(&l->lock);
    /* The second pump may end before pumpNew() has returned it. */
    if (why)
        l->why[p == l->pumps[0] ? 0 : 1] = g_error_copy(why);
    l->ended++;
    g_cond_signal(&l->cond);
    g_mutex_unlock(&l->lock);
}

/* sender[0] - sender[1] =writer= net[0] - net[1] =reader= receiver[0] - receiver[1] */
static void
lineMake(line *l, blocksWriter *writer, blocksReader *reader, int *retSender, int *retReceiver)
{
    const pumpOptions options[] = {
        { .twoWay = true, .filterOps = &blocksWriterOps, .filter = writer, .ended = onEnded, .opaque = l },
        { .twoWay = true, .filterOps = &blocksReaderOps, .filter = reader, .ended = onEnded, .opaque = l },
    };
    int sender[2], net[2], receiver[2];
    g_autoptr(GError) error = NULL;

    memset(l, 0, sizeof(*l));
    makePair(UNIX, sender);
    makePair(TCP, net);
    makePair(UNIX, receiver);
    l->pumps[0] = pumpNew(&(pumpEnd){ .fd = sender[1], .name = "sender" }, &(pumpEnd){ .fd = net[0], .name = "host 'h2'" },
                          &options[0], &error);
    g_assert_no_error(error);
    l->pumps[1] = pumpNew(&(pumpEnd){ .fd = net[1], .name = "host 'h1'" }, &(pumpEnd){ .fd = receiver[0], .name = "receiver" },
                          &options[1], &error);
    g_assert_no_error(error);
    *retSender = sender[0];
    *retReceiver = receiver[1];
}

static void
lineAwait(line *l)
{
    gint64 until = g_get_monotonic_time() + PATIENCE_US;

    g_mutex_lock(&l->lock);
    while (l->ended < 2)
        g_assert_true(g_cond_wait_until(&l->cond, &l->lock, until));
    g_mutex_unlock(&l->lock);
    pumpFree(l->pumps[0]);
    pumpFree(l->pumps[1]);
}

static void
testPumps(gconstpointer data)
{
    g_autoptr(blocksWriter) writer = blocksWriterNew(GPOINTER_TO_UINT(data), 0, NULL);
    g_autoptr(blocksReader) reader = blocksReaderNew();
    flow from = { .len = 16 * MIB, .seed = 1, .finish = true };
    flow to = { 0 };
    line l;

    lineMake(&l, writer, reader, &from.fd, &to.fd);
    flowStart(&from, writeFlow);
    flowStart(&to, readFlow);
    flowsCompare(&from, &to);
    /* Answers go as they are, also after the end of the stream. */
    sendByte(to.fd, 'r');
    expectByte(from.fd, 'r');
    close(to.fd);
    close(from.fd);
    lineAwait(&l);
    g_assert_no_error(l.why[0]);
    g_assert_no_error(l.why[1]);
    g_assert_true(blocksEnded(reader));
}

/* Few bytes become many: they come one block after the other. */
static void
testZeroesThroughPumps(void)
{
    g_autoptr(blocksWriter) writer = blocksWriterNew(BLOCKS_ZSTD, 0, NULL);
    g_autoptr(blocksReader) reader = blocksReaderNew();
    g_autofree uint8_t *zeroes = makeData(ZEROES, 8 * MIB);
    g_autofree uint8_t *got = g_malloc(MIB);
    size_t all = 0;
    int sender, receiver;
    line l;

    lineMake(&l, writer, reader, &sender, &receiver);
    for (size_t done = 0; done < 8 * MIB;) {
        ssize_t put = send(sender, zeroes + done, MIN(128 * 1024, 8 * MIB - done), MSG_NOSIGNAL);

        g_assert_cmpint(put, >, 0);
        done += (size_t)put;
        while (all < done) {
            ssize_t n = recv(receiver, got, MIN(MIB, done - all), 0);

            g_assert_cmpint(n, >, 0);
            for (ssize_t i = 0; i < n; i++)
                g_assert_cmpint(got[i], ==, 0);
            all += (size_t)n;
        }
    }
    shutdown(sender, SHUT_WR);
    g_assert_cmpint(recv(receiver, got, 1, 0), ==, 0);
    g_assert_cmpuint(pumpBytes(l.pumps[0], PUMP_FORWARD), <, MIB / 4);
    close(sender);
    close(receiver);
    lineAwait(&l);
    g_assert_no_error(l.why[1]);
}

/* A stream that ends without a last block is not whole. */
static void
testCut(void)
{
    g_autoptr(blocksReader) reader = blocksReaderNew();
    g_autoptr(blocksWriter) writer = blocksWriterNew(BLOCKS_LZ4, 0, NULL);
    g_autoptr(GByteArray) wire = g_byte_array_new();
    rig r;

    blocksWrite(writer, (const uint8_t *)"a", 1, collect, wire);
    rigMake(&r, TCP, UNIX);
    rigStart(&r, (pumpOptions){ .twoWay = true, .filterOps = &blocksReaderOps, .filter = reader });
    g_assert_cmpint(send(r.outer[0], wire->data, wire->len, MSG_NOSIGNAL), ==, wire->len);
    expectByte(r.outer[1], 'a');
    shutdown(r.outer[0], SHUT_WR);
    rigAwait(&r);
    g_assert_error(r.why, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(r.why->message, "without saying"));
    rigEnd(&r);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ioWarmUp();
    g_test_add_func("/blocks/round-trip", testRoundTrip);
    g_test_add_func("/blocks/heads", testHeads);
    g_test_add_data_func("/blocks/bodies/zstd", GUINT_TO_POINTER(BLOCKS_ZSTD), testBodies);
    g_test_add_data_func("/blocks/bodies/lz4", GUINT_TO_POINTER(BLOCKS_LZ4), testBodies);
    g_test_add_func("/blocks/after-the-end", testAfterTheEnd);
    g_test_add_func("/blocks/not-smaller", testNotSmaller);
    g_test_add_func("/blocks/too-slow", testTooSlow);
    g_test_add_func("/blocks/pays", testPays);
    g_test_add_data_func("/blocks/pumps/zstd", GUINT_TO_POINTER(BLOCKS_ZSTD), testPumps);
    g_test_add_data_func("/blocks/pumps/lz4", GUINT_TO_POINTER(BLOCKS_LZ4), testPumps);
    g_test_add_func("/blocks/pumps/zeroes", testZeroesThroughPumps);
    g_test_add_func("/blocks/pumps/cut", testCut);
    return g_test_run();
}
