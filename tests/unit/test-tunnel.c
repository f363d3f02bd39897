/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-tunnel.c: both ends of a tunnel, joined by a stream that is a function call */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/socket.h"
#include "migration/tunnel.h"

#define WINDOW (512 * 1024)
#define TOTAL (24 * 1024 * 1024)
#define PIECE (64 * 1024)
#define WAIT_MS 20000

/* The whole way: 'in' is what a source's VMM writes into, 'out' what a destination's reads from. */
typedef struct {
    int in, out;
    tunnelSink *sink;
    tunnelBridge *bridge;
    tunnelStream data, back;
    GMutex lock;
    GCond cond;
    uint64_t allowed;
    unsigned first, freed, finished, aborted, broken, streamsFreed, opaqueFreed;
    bool failSend, failFinish;
    bool swallow;                /* what is sent goes nowhere */
    unsigned sends;
    tunnelTake take;
    void *takeOpaque;
    GDestroyNotify takeFree;
} rig;

static void
bump(rig *r, unsigned *what)
{
    g_mutex_lock(&r->lock);
    (*what)++;
    g_cond_broadcast(&r->cond);
    g_mutex_unlock(&r->lock);
}

static bool
reaches(rig *r, const unsigned *what, unsigned value)
{
    gint64 until = g_get_monotonic_time() + WAIT_MS * G_TIME_SPAN_MILLISECOND;
    bool ok;

    g_mutex_lock(&r->lock);
    while (*what != value && g_cond_wait_until(&r->cond, &r->lock, until))
        continue;
    ok = *what == value;
    g_mutex_unlock(&r->lock);
    return ok;
}

/* ---- the stream ---- */

static bool
dataSend(void *stream, const void *bytes, size_t len, GError **error)
{
    rig *r = stream;

    r->sends++;
    if (r->swallow)
        return true;
    if (!r->failSend)
        return tunnelSinkPut(r->sink, bytes, len, error);
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "cut.");
    return false;
}

static bool
dataFinish(void *stream, GError **error)
{
    rig *r = stream;

    if (r->failFinish) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "not confirmed.");
        return false;
    }
    tunnelSinkFinish(r->sink);
    bump(r, &r->finished);
    return true;
}

static void
dataAbort(void *stream)
{
    rig *r = stream;

    bump(r, &r->aborted);
}

static void
streamFree(void *stream)
{
    rig *r = stream;

    bump(r, &r->streamsFreed);
}

static bool
backReceive(void *stream, tunnelTake take, void *opaque, GDestroyNotify free, GError **error G_GNUC_UNUSED)
{
    rig *r = stream;

    r->take = take;
    r->takeOpaque = opaque;
    r->takeFree = free;
    return true;
}

static void
backAbort(void *stream)
{
    rig *r = stream;

    if (r->takeFree)
        r->takeFree(r->takeOpaque);
    r->takeFree = NULL;
}

static const tunnelStreamOps dataOps = { dataSend, dataFinish, dataAbort, NULL, streamFree };
static const tunnelStreamOps backOps = { NULL, NULL, backAbort, backReceive, streamFree };

/* ---- the rest of the rig ---- */

static void
hookFirst(void *opaque)
{
    rig *r = opaque;

    bump(r, &r->first);
}

static void
hookAllow(uint64_t total, void *opaque)
{
    rig *r = opaque;

    g_mutex_lock(&r->lock);
    r->allowed = MAX(r->allowed, total);
    g_mutex_unlock(&r->lock);
    if (r->bridge)
        tunnelBridgeAllow(r->bridge, total);
}

static void
hookFree(void *opaque)
{
    rig *r = opaque;

    bump(r, &r->freed);
}

static void
bridgeBroken(void *opaque)
{
    rig *r = opaque;

    bump(r, &r->broken);
}

static void
bridgeFreed(void *opaque)
{
    rig *r = opaque;

    bump(r, &r->opaqueFreed);
}

static rig *
rigNewStalling(unsigned stallMs)
{
    static const tunnelSinkHooks hooks = { hookFirst, hookAllow, hookFree };
    g_autoptr(GError) error = NULL;
    rig *r = g_new0(rig, 1);
    tunnelBridgeOptions options = {
        .name = "tunnel-test", .receives = true, .answers = { &backOps, r }, .metered = true, .stallMs = stallMs,
        .broken = bridgeBroken, .opaque = r, .opaqueFree = bridgeFreed,
    };
    int in[2], out[2];

    r->data = (tunnelStream){ &dataOps, r };
    g_assert_true(baseSocketPair(in, TUNNEL_ROOM, &error));
    g_assert_true(baseSocketPair(out, TUNNEL_ROOM, &error));
    r->in = in[0];
    r->out = out[0];
    r->sink = tunnelSinkNew(out[1], WINDOW, &hooks, r, &error);
    g_assert_no_error(error);
    r->bridge = tunnelBridgeNew(&r->data, in[1], &options, &error);
    g_assert_no_error(error);
    return r;
}

static rig *
rigNew(void)
{
    return rigNewStalling(0);
}

static void
rigFree(rig *r)
{
    tunnelBridgeCancel(r->bridge);
    tunnelBridgeUnref(r->bridge);
    tunnelSinkEnd(r->sink);
    tunnelSinkUnref(r->sink);
    baseFdClose(r->in);
    baseFdClose(r->out);
    /* Nothing is left of anything, once each. */
    g_assert_true(reaches(r, &r->opaqueFreed, 1));
    g_assert_true(reaches(r, &r->streamsFreed, 2));
    g_assert_true(reaches(r, &r->freed, 1));
    g_mutex_clear(&r->lock);
    g_cond_clear(&r->cond);
    g_free(r);
}

static uint8_t
patternAt(uint64_t i)
{
    return (uint8_t)(i * 2654435761U >> 13);
}

static gpointer
writerThread(gpointer data)
{
    rig *r = data;
    g_autofree uint8_t *block = g_malloc(100003);
    uint64_t done = 0;

    while (done < TOTAL) {
        size_t len = (size_t)MIN((uint64_t)100003, TOTAL - done), i;
        ssize_t n;

        for (i = 0; i < len; i++)
            block[i] = patternAt(done + i);
        if ((n = send(r->in, block, len, MSG_NOSIGNAL)) < 0)
            break;
        done += (uint64_t)n;
    }
    shutdown(r->in, SHUT_WR);
    return NULL;
}

/* Until the end of the stream; how many, all of them as written. */
static uint64_t
readAll(rig *r)
{
    g_autofree uint8_t *block = g_malloc(65536);
    uint64_t done = 0;
    ssize_t n, i;

    while ((n = read(r->out, block, 65536)) > 0) {
        for (i = 0; i < n; i++)
            g_assert_cmpuint(block[i], ==, patternAt(done + (uint64_t)i));
        done += (uint64_t)n;
    }
    return done;
}

/* All that is allowed has been sent. */
static void
awaitFull(rig *r)
{
    gint64 until = g_get_monotonic_time() + WAIT_MS * G_TIME_SPAN_MILLISECOND;

    for (;;) {
        uint64_t allowed;

        g_mutex_lock(&r->lock);
        allowed = r->allowed;
        g_mutex_unlock(&r->lock);
        if (allowed > 0 && tunnelBridgeBytes(r->bridge) == allowed)
            return;
        g_assert_cmpint(g_get_monotonic_time(), <, until);
        g_usleep(1000);
    }
}

/* ---- tests ---- */

static void
testWhole(void)
{
    rig *r = rigNew();
    GThread *writer = g_thread_new("writer", writerThread, r);

    tunnelSinkOpen(r->sink);
    g_assert_cmpuint(readAll(r), ==, TOTAL);
    g_thread_join(writer);
    g_assert_true(tunnelBridgeAwait(r->bridge, WAIT_MS));
    g_assert_cmpuint(r->finished, ==, 1);
    g_assert_cmpuint(r->aborted, ==, 0);
    g_assert_cmpuint(r->first, ==, 1);
    g_assert_cmpuint(r->broken, ==, 0);
    g_assert_cmpuint(tunnelBridgeBytes(r->bridge), ==, TOTAL);
    g_assert_cmpuint(tunnelSinkBytes(r->sink), ==, TOTAL);
    rigFree(r);
}

/* A reader that does not read holds up the writer, and no more than the window waits for it beside what sockets hold. */
static void
testBounded(void)
{
    rig *r = rigNew();
    GThread *writer = g_thread_new("writer", writerThread, r);
    int held = 0;
    socklen_t len = sizeof(held);
    uint64_t stuck;

    /* Nothing moves before it is allowed. */
    g_assert_cmpuint(tunnelBridgeBytes(r->bridge), ==, 0);
    tunnelSinkOpen(r->sink);
    awaitFull(r);
    stuck = tunnelSinkBytes(r->sink);
    g_assert_cmpint(getsockopt(r->out, SOL_SOCKET, SO_SNDBUF, &held, &len), ==, 0);
    g_assert_cmpuint(stuck, >=, WINDOW);
    g_assert_cmpuint(stuck, <=, WINDOW + (uint64_t)held);
    g_assert_cmpuint(stuck, <, TOTAL);
    g_assert_cmpuint(r->finished, ==, 0);

    g_assert_cmpuint(readAll(r), ==, TOTAL);
    g_thread_join(writer);
    rigFree(r);
}

/* The receiving VMM reads nothing: after the window the source waits, but not for ever; as long as nothing is to be sent, it does. */
static void
testStall(void)
{
    rig *r = rigNewStalling(300);
    g_autofree uint8_t *bytes = g_malloc0(WINDOW);
    g_autofree char *why = NULL;
    gint64 begin;

    tunnelSinkOpen(r->sink);
    g_assert_null(tunnelBridgeError(r->bridge));
    begin = g_get_monotonic_time();
    while (send(r->in, bytes, WINDOW, MSG_NOSIGNAL) > 0)
        continue;
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, 300 * 1000);
    g_assert_true(reaches(r, &r->broken, 1));
    why = tunnelBridgeError(r->bridge);
    g_assert_nonnull(strstr(why, "taken nothing for 300 ms"));
    rigFree(r);
}

static void
testLies(void)
{
    static const tunnelSinkHooks hooks = { hookFirst, hookAllow, hookFree };
    g_autofree uint8_t *bytes = g_malloc0(WINDOW + 1);
    bool opened;

    for (opened = false;; opened = true) {
        g_autoptr(GError) error = NULL;
        rig r = { 0 };
        tunnelSink *sink;
        int out[2];
        char byte;

        g_assert_true(baseSocketPair(out, TUNNEL_ROOM, &error));
        sink = tunnelSinkNew(out[1], WINDOW, &hooks, &r, &error);
        g_assert_no_error(error);
        if (opened)
            tunnelSinkOpen(sink);
        g_assert_false(tunnelSinkPut(sink, bytes, opened ? WINDOW + 1 : 1, &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID);
        g_assert_nonnull(strstr(error->message, opened ? "only 524288 were allowed" : "only 0 were allowed"));
        /* The VMM gets none of it, and it is over. */
        g_assert_cmpint(read(out[0], &byte, 1), ==, 0);
        g_clear_error(&error);
        g_assert_false(tunnelSinkPut(sink, bytes, 1, &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
        tunnelSinkUnref(sink);
        close(out[0]);
        g_assert_true(reaches(&r, &r.freed, 1));
        if (opened)
            break;
    }
}

/* A VMM that has what it needs, or has failed, must not hold up the connection. */
static void
testDeaf(void)
{
    rig *r = rigNew();
    GThread *writer;

    tunnelSinkOpen(r->sink);
    close(r->out);
    r->out = -1;
    writer = g_thread_new("writer", writerThread, r);
    g_thread_join(writer);
    g_assert_true(tunnelBridgeAwait(r->bridge, WAIT_MS));
    g_assert_cmpuint(tunnelSinkBytes(r->sink), ==, TOTAL);
    g_assert_cmpuint(r->finished, ==, 1);
    rigFree(r);
}

/* The writer notices, and the reason is told; the reader gets what had arrived. */
static void
testBroken(void)
{
    rig *r = rigNew();
    g_autofree char *text = NULL;
    GThread *writer;

    r->failSend = true;
    tunnelSinkOpen(r->sink);
    writer = g_thread_new("writer", writerThread, r);
    g_assert_true(reaches(r, &r->broken, 1));
    g_thread_join(writer);
    g_assert_true(tunnelBridgeAwait(r->bridge, WAIT_MS));
    text = tunnelBridgeError(r->bridge);
    g_assert_nonnull(strstr(text, "cut."));
    g_assert_cmpuint(r->aborted, ==, 1);
    g_assert_cmpuint(r->finished, ==, 0);
    rigFree(r);
}

/* An end that is not confirmed is none. */
static void
testUnconfirmed(void)
{
    rig *r = rigNew();
    g_autofree char *text = NULL;

    r->failFinish = true;
    shutdown(r->in, SHUT_WR);
    tunnelSinkOpen(r->sink);
    g_assert_true(tunnelBridgeAwait(r->bridge, WAIT_MS));
    text = tunnelBridgeError(r->bridge);
    g_assert_cmpstr(text, ==, "not confirmed.");
    g_assert_cmpuint(r->aborted, ==, 1);
    g_assert_cmpuint(r->broken, ==, 1);
    rigFree(r);
}

/* While it waits for the destination, and without a word to anybody else. */
static void
testCancel(void)
{
    rig *r = rigNew();
    GThread *writer = g_thread_new("writer", writerThread, r);
    gint64 before;

    tunnelSinkOpen(r->sink);
    awaitFull(r);
    before = g_get_monotonic_time();
    tunnelBridgeCancel(r->bridge);
    g_assert_true(tunnelBridgeAwait(r->bridge, WAIT_MS));
    g_assert_cmpint(g_get_monotonic_time() - before, <, 100 * G_TIME_SPAN_MILLISECOND);
    g_thread_join(writer);
    g_assert_cmpuint(r->aborted, ==, 1);
    g_assert_cmpuint(r->finished, ==, 0);
    g_assert_cmpuint(r->broken, ==, 0);
    g_assert_null(tunnelBridgeError(r->bridge));
    rigFree(r);
}

/* More than the socket holds, while nobody reads; then its end. */
static void
testAnswers(void)
{
    enum { ANSWERS = 6 * 1024 * 1024 };
    rig *r = rigNew();
    g_autofree uint8_t *block = g_malloc(65536);
    uint64_t done = 0;
    ssize_t n;
    size_t i;

    for (i = 0; i < ANSWERS / 65536; i++) {
        memset(block, (int)i, 65536);
        r->take(block, 65536, r->takeOpaque);
    }
    r->take("", 0, r->takeOpaque);
    while ((n = read(r->in, block, 65536)) > 0) {
        for (ssize_t k = 0; k < n; k++)
            g_assert_cmpuint(block[k], ==, (uint8_t)((done + (uint64_t)k) / 65536));
        done += (uint64_t)n;
    }
    g_assert_cmpuint(done, ==, ANSWERS);
    g_assert_cmpuint(r->broken, ==, 0);
    rigFree(r);
}

static void
testTooManyAnswers(void)
{
    rig *r = rigNew();
    g_autofree uint8_t *block = g_malloc0(1024 * 1024);
    g_autofree char *text = NULL;
    int i;

    for (i = 0; i < 16; i++)
        r->take(block, 1024 * 1024, r->takeOpaque);
    g_assert_true(reaches(r, &r->broken, 1));
    text = tunnelBridgeError(r->bridge);
    g_assert_nonnull(strstr(text, "what nobody reads"));
    rigFree(r);
}

/* The way back is the same socket. */
static void
testBack(void)
{
    rig *r = rigNew();
    int back = tunnelSinkDup(r->sink);
    char text[6] = "";

    g_assert_cmpint(back, >=, 0);
    g_assert_cmpint(write(r->out, "hello", 5), ==, 5);
    g_assert_cmpint(read(back, text, 5), ==, 5);
    g_assert_cmpstr(text, ==, "hello");
    close(back);
    rigFree(r);
}

/* What has arrived is not lost by the end of what comes. */
static void
testFinish(void)
{
    static const tunnelSinkHooks hooks = { hookFirst, hookAllow, hookFree };
    g_autofree uint8_t *bytes = g_malloc(4 * WINDOW);
    g_autoptr(GError) error = NULL;
    rig r = { 0 };
    tunnelSink *sink;
    int out[2];
    size_t i;

    for (i = 0; i < 4 * WINDOW; i++)
        bytes[i] = patternAt(i);
    g_assert_true(baseSocketPair(out, TUNNEL_ROOM, &error));
    sink = tunnelSinkNew(out[1], 4 * WINDOW, &hooks, &r, &error);
    g_assert_no_error(error);
    tunnelSinkOpen(sink);
    g_assert_true(tunnelSinkPut(sink, bytes, 4 * WINDOW, &error));
    tunnelSinkFinish(sink);
    tunnelSinkUnref(sink);
    r.out = out[0];
    g_assert_cmpuint(readAll(&r), ==, 4 * WINDOW);
    close(out[0]);
}

static gpointer
pieceThread(gpointer data)
{
    rig *r = data;
    g_autofree uint8_t *piece = g_malloc0(PIECE);

    for (unsigned i = 0; i < TOTAL / PIECE; i++) {
        /* A VMM has its work with each. */
        for (unsigned j = 0; j < PIECE; j++)
            piece[j] = patternAt(i + j);
        g_assert_cmpint(send(r->in, piece, PIECE, MSG_NOSIGNAL), ==, PIECE);
    }
    shutdown(r->in, SHUT_WR);
    return NULL;
}

/* However fast the stream takes them, pieces that follow each other are not a message each. */
static void
testGathers(void)
{
    rig *r = rigNew();
    GThread *writer;

    r->swallow = true;
    /* The end is looked for only as long as something may be sent. */
    tunnelBridgeAllow(r->bridge, TOTAL + 1);
    writer = g_thread_new("writer", pieceThread, r);
    g_assert_true(tunnelBridgeAwait(r->bridge, WAIT_MS));
    g_thread_join(writer);
    g_test_message("%u messages of %u pieces", r->sends, TOTAL / PIECE);
    g_assert_cmpuint(tunnelBridgeBytes(r->bridge), ==, TOTAL);
    g_assert_cmpuint(r->sends, <=, TOTAL / PIECE / 4);
    rigFree(r);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tunnel/whole", testWhole);
    g_test_add_func("/tunnel/bounded", testBounded);
    g_test_add_func("/tunnel/gathers", testGathers);
    g_test_add_func("/tunnel/lies", testLies);
    g_test_add_func("/tunnel/stall", testStall);
    g_test_add_func("/tunnel/deaf", testDeaf);
    g_test_add_func("/tunnel/broken", testBroken);
    g_test_add_func("/tunnel/unconfirmed", testUnconfirmed);
    g_test_add_func("/tunnel/cancel", testCancel);
    g_test_add_func("/tunnel/answers", testAnswers);
    g_test_add_func("/tunnel/too-many-answers", testTooManyAnswers);
    g_test_add_func("/tunnel/back", testBack);
    g_test_add_func("/tunnel/finish", testFinish);
    return g_test_run();
}
