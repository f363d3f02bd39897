/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-pump-filter.c: a pump's filter, which holds back, swallows, makes up and refuses; and a speed that pumps share */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "remote/blocks.h"
#include "remote/pump.h"

#include "io-thread.h"
#include "pump-rig.h"

/*
 * Forward: 'x' is swallowed, '?' is answered with '!' and swallowed, '#' and what follows is held until released (and 'h' is said
 * to the other side), '~' is refused.  Backward everything passes.
 */
typedef struct {
    GByteArray *held;
    bool holds;
    gint released, endReleased;
    guint pokes, endings;
} censor;

static bool
censorForward(censor *c, pump *p, char byte, GError **error)
{
    if (c->holds) {
        g_byte_array_append(c->held, (const guint8 *)&byte, 1);
        return true;
    }
    switch (byte) {
    case 'x':
        return true;
    case '?':
        pumpEmit(p, PUMP_BACKWARD, "!", 1);
        return true;
    case '#':
        c->holds = true;
        pumpEmit(p, PUMP_BACKWARD, "h", 1);
        return true;
    case '~':
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "The stream has a tilde.");
        return false;
    default:
        pumpEmit(p, PUMP_FORWARD, &byte, 1);
        return true;
    }
}

static bool
censorBytes(void *filter, pump *p, pumpDirection direction, const uint8_t *bytes, size_t len, GError **error)
{
    if (direction == PUMP_BACKWARD) {
        pumpEmit(p, direction, bytes, len);
        return true;
    }
    for (size_t i = 0; i < len; i++) {
        if (!censorForward(filter, p, (char)bytes[i], error))
            return false;
    }
    return true;
}

static bool
censorEnd(void *filter, pump *p, pumpDirection direction)
{
    censor *c = filter;

    if (direction == PUMP_BACKWARD)
        return true;
    c->endings++;
    if (!g_atomic_int_get(&c->endReleased)) {
        pumpEmit(p, PUMP_BACKWARD, "e", 1);
        return false;
    }
    return true;
}

static bool
censorPoke(void *filter, pump *p, GError **error G_GNUC_UNUSED)
{
    censor *c = filter;

    c->pokes++;
    if (c->holds && g_atomic_int_get(&c->released)) {
        pumpEmit(p, PUMP_FORWARD, c->held->data, c->held->len);
        g_byte_array_set_size(c->held, 0);
        c->holds = false;
    }
    return true;
}

static const pumpFilterOps censorOps = { .bytes = censorBytes, .end = censorEnd, .poke = censorPoke };

static void
censorStart(rig *r, censor *c)
{
    rigMake(r, UNIX, TCP);
    *c = (censor){ .held = g_byte_array_new() };
    rigStart(r, (pumpOptions){ .twoWay = true, .filterOps = &censorOps, .filter = c });
    g_assert_true(pumpCopies(r->p, PUMP_FORWARD));
}

static void
censorStop(rig *r, censor *c)
{
    pumpCancel(r->p);
    rigAwait(r);
    rigEnd(r);
    g_byte_array_unref(c->held);
}

static void
say(int fd, const char *text)
{
    for (; *text; text++)
        sendByte(fd, *text);
}

static void
hear(int fd, const char *text)
{
    for (; *text; text++)
        expectByte(fd, *text);
}

static void
hearNothing(int fd)
{
    char c;

    g_assert_cmpint(recv(fd, &c, 1, MSG_DONTWAIT), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
}

/* Bytes are counted once they are gone, and so may have arrived before. */
static void
expectCount(rig *r, pumpDirection direction, uint64_t count)
{
    while (pumpBytes(r->p, direction) < count)
        g_thread_yield();
    g_assert_cmpuint(pumpBytes(r->p, direction), ==, count);
}

static void
testSwallow(void)
{
    censor c;
    rig r;

    censorStart(&r, &c);
    say(r.outer[0], "axxbxc");
    hear(r.outer[1], "abc");
    /* Not in the other direction. */
    say(r.outer[1], "dxe");
    hear(r.outer[0], "dxe");
    expectCount(&r, PUMP_FORWARD, 3);
    censorStop(&r, &c);
}

static void
testSynthesize(void)
{
    censor c;
    rig r;

    censorStart(&r, &c);
    say(r.outer[0], "a?b");
    hear(r.outer[1], "ab");
    hear(r.outer[0], "!");
    hearNothing(r.outer[1]);
    expectCount(&r, PUMP_BACKWARD, 1);
    censorStop(&r, &c);
}

static void
testHold(void)
{
    censor c;
    rig r;

    censorStart(&r, &c);
    say(r.outer[0], "ab#cd");
    hear(r.outer[1], "ab");
    hear(r.outer[0], "h");
    /* A poke alone changes nothing; the other direction goes on. */
    pumpPoke(r.p);
    say(r.outer[1], "z");
    hear(r.outer[0], "z");
    hearNothing(r.outer[1]);
    g_atomic_int_set(&c.released, 1);
    pumpPoke(r.p);
    hear(r.outer[1], "cd");
    say(r.outer[0], "f");
    hear(r.outer[1], "f");
    g_assert_cmpuint(c.pokes, >=, 1);
    censorStop(&r, &c);
}

/* The end of the stream waits for a word; then the pump ends by itself, in good order. */
static void
testHoldEnd(void)
{
    int problem;
    censor c;
    rig r;

    censorStart(&r, &c);
    say(r.outer[0], "ab");
    shutdown(r.outer[0], SHUT_WR);
    hear(r.outer[1], "ab");
    hear(r.outer[0], "e");
    hearNothing(r.outer[1]);
    g_atomic_int_set(&c.endReleased, 1);
    pumpPoke(r.p);
    g_assert_cmpint(receiveEnd(r.outer[1], &problem), ==, 0);
    say(r.outer[1], "z");
    hear(r.outer[0], "z");
    shutdown(r.outer[1], SHUT_WR);
    rigAwait(&r);
    g_assert_no_error(r.why);
    g_assert_cmpuint(c.endings, ==, 2);
    rigEnd(&r);
    g_byte_array_unref(c.held);
}

static void
testRefuse(void)
{
    int problem;
    censor c;
    rig r;

    censorStart(&r, &c);
    say(r.outer[0], "a");
    hear(r.outer[1], "a");
    say(r.outer[0], "~b");
    rigAwait(&r);
    g_assert_error(r.why, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_cmpstr(r.why->message, ==, "The stream has a tilde.");
    /* Not as if it were complete. */
    g_assert_cmpint(receiveEnd(r.outer[1], &problem), ==, -1);
    g_assert_cmpint(problem, ==, ECONNRESET);
    rigEnd(&r);
    g_byte_array_unref(c.held);
}

/* A filter without functions lets everything pass, in both directions at once. */
static void
testPass(void)
{
    static const pumpFilterOps none = { 0 };
    flow out = { .len = 8 * MIB, .seed = 5, .finish = true }, in = { 0 };
    flow back = { .len = 3 * MIB, .seed = 9, .finish = true }, home = { 0 };
    rig r;

    rigMake(&r, UNIX, TCP);
    rigStart(&r, (pumpOptions){ .twoWay = true, .filterOps = &none });
    out.fd = home.fd = r.outer[0];
    in.fd = back.fd = r.outer[1];
    flowStart(&out, writeFlow);
    flowStart(&in, readFlow);
    flowStart(&back, writeFlow);
    flowStart(&home, readFlow);
    flowsCompare(&out, &in);
    flowsCompare(&back, &home);
    rigAwait(&r);
    g_assert_no_error(r.why);
    g_assert_cmpuint(pumpBytes(r.p, PUMP_FORWARD), ==, out.len);
    rigEnd(&r);
}

/* ---- a common speed ---- */

#define SHARERS 3

/* What was sent beyond what was taken is waited for, and what was not sent is there at once. */
static void
testCharge(void)
{
    pumpLimit *limit = pumpLimitNew(MIB);
    gint64 resumeUs = 0;
    size_t taken;

    /* None yet at the beginning. */
    g_assert_cmpuint(pumpLimitTake(limit, MIB, &resumeUs), ==, 0);
    pumpLimitGiveBack(limit, 1000000);
    taken = pumpLimitTake(limit, MIB, &resumeUs);
    g_assert_cmpuint(taken, >, 0);
    pumpLimitCharge(limit, 10 * MIB);
    g_assert_cmpuint(pumpLimitTake(limit, MIB, &resumeUs), ==, 0);
    g_assert_cmpint(resumeUs - g_get_monotonic_time(), >, 9 * G_USEC_PER_SEC);
    pumpLimitUnref(limit);
}

/* Together they send no more than the limit allows, and nearly that. */
static void
testShared(void)
{
    const uint64_t rate = 6 * MIB;
    const size_t each = 2 * MIB;
    flow out[SHARERS] = { { 0 } }, in[SHARERS] = { { 0 } };
    pumpLimit *limit = pumpLimitNew(rate);
    guint fds = ioCountFds();
    rig r[SHARERS];
    gint64 start = g_get_monotonic_time();
    double seconds;

    for (unsigned i = 0; i < SHARERS; i++) {
        rigMake(&r[i], UNIX, TCP);
        rigStart(&r[i], (pumpOptions){ .limit = limit });
        out[i] = (flow){ .fd = r[i].outer[0], .len = each, .seed = i, .finish = true };
        in[i] = (flow){ .fd = r[i].outer[1] };
        flowStart(&out[i], writeFlow);
        flowStart(&in[i], readFlow);
    }
    pumpLimitUnref(limit);
    for (unsigned i = 0; i < SHARERS; i++)
        flowsCompare(&out[i], &in[i]);
    seconds = (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC;
    g_assert_cmpuint(SHARERS * each, <=, (size_t)((double)rate * seconds));
    /* On a busy machine it may be less. */
    g_assert_cmpfloat(seconds, <, 5 * (double)(SHARERS * each) / (double)rate);
    for (unsigned i = 0; i < SHARERS; i++) {
        rigAwait(&r[i]);
        g_assert_no_error(r[i].why);
        rigFree(&r[i]);
    }
    g_assert_cmpuint(ioCountFds(), ==, fds);
}

/* What waits in a pump that is slowed down is little: all of it is late. */
static void
testHoldsLittle(void)
{
    const uint64_t rate = MIB;
    size_t taken;
    rig r;

    rigMake(&r, UNIX, UNIX);
    rigStart(&r, (pumpOptions){ .bytesPerSecond = rate });
    taken = stuff(r.outer[0]);
    /* Beside what the sockets hold, which is not the pump's, and what it may have sent on. */
    g_assert_cmpuint(taken - pumpBytes(r.p, PUMP_FORWARD), <, 512 * 1024);
    pumpCancel(r.p);
    rigAwait(&r);
    rigEnd(&r);
}

/* ---- two filters of one pump ---- */

/* a compresses, b expands, and behind that a censor stands next to the receiver: outer of a =pump= pump= outer of b. */
typedef struct {
    rig a, b;
    censor sender, receiver;
    blocksWriter *writer;
    blocksReader *reader;
} chain;

static void
chainStart(chain *c, bool censorSender)
{
    rigMake(&c->a, UNIX, TCP);
    rigMake(&c->b, TCP, UNIX);
    c->sender = (censor){ .held = g_byte_array_new() };
    c->receiver = (censor){ .held = g_byte_array_new() };
    c->writer = blocksWriterNew(BLOCKS_ZSTD, 0, NULL);
    c->reader = blocksReaderNew();
    rigStart(&c->a, (pumpOptions){ .twoWay = true, .filterOps = censorSender ? &censorOps : NULL, .filter = &c->sender,
                                   .farFilterOps = &blocksWriterOps, .farFilter = c->writer });
    close(c->b.outer[0]);
    c->b.outer[0] = -1;
    close(c->b.inner[0]);
    c->b.inner[0] = c->a.outer[1];
    c->a.outer[1] = -1;
    rigStart(&c->b, (pumpOptions){ .twoWay = true, .filterOps = &blocksReaderOps, .filter = c->reader,
                                   .farFilterOps = &censorOps, .farFilter = &c->receiver });
}

static void
chainFree(chain *c)
{
    pumpCancel(c->a.p);
    pumpCancel(c->b.p);
    rigAwait(&c->a);
    rigAwait(&c->b);
    rigFree(&c->a);
    rigFree(&c->b);
    blocksWriterFree(c->writer);
    blocksReaderFree(c->reader);
    g_byte_array_unref(c->sender.held);
    g_byte_array_unref(c->receiver.held);
}

/* Each looks at what the one before lets pass, and what it answers goes back through that one. */
static void
testChain(void)
{
    int problem;
    chain c;

    chainStart(&c, true);
    say(c.a.outer[0], "axb");
    expectByte(c.b.outer[1], 'a');
    expectByte(c.b.outer[1], 'b');
    say(c.a.outer[0], "?");
    expectByte(c.a.outer[0], '!');
    say(c.b.outer[1], "q");
    expectByte(c.a.outer[0], 'q');
    /* The end passes when the last of them lets it, after all that was before it. */
    g_atomic_int_set(&c.sender.endReleased, 1);
    say(c.a.outer[0], "c");
    g_assert_cmpint(shutdown(c.a.outer[0], SHUT_WR), ==, 0);
    expectByte(c.b.outer[1], 'c');
    expectByte(c.a.outer[0], 'e');
    g_atomic_int_set(&c.receiver.endReleased, 1);
    pumpPoke(c.b.p);
    g_assert_cmpint(receiveEnd(c.b.outer[1], &problem), ==, 0);
    g_assert_cmpuint(c.receiver.pokes, ==, 1);
    chainFree(&c);
}

/* What the second one refuses ends the pump, although it was the first that spoke to it. */
static void
testChainRefuses(void)
{
    chain c;

    chainStart(&c, false);
    say(c.a.outer[0], "a");
    expectByte(c.b.outer[1], 'a');
    say(c.a.outer[0], "~");
    rigAwait(&c.b);
    g_assert_error(c.b.why, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(c.b.why->message, "tilde"));
    chainFree(&c);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ioWarmUp();
    g_test_add_func("/pump-filter/pass", testPass);
    g_test_add_func("/pump-filter/swallow", testSwallow);
    g_test_add_func("/pump-filter/synthesize", testSynthesize);
    g_test_add_func("/pump-filter/hold", testHold);
    g_test_add_func("/pump-filter/hold-end", testHoldEnd);
    g_test_add_func("/pump-filter/refuse", testRefuse);
    g_test_add_func("/pump-filter/charge", testCharge);
    g_test_add_func("/pump-filter/shared-limit", testShared);
    g_test_add_func("/pump-filter/holds-little", testHoldsLittle);
    g_test_add_func("/pump-filter/chain", testChain);
    g_test_add_func("/pump-filter/chain/refuses", testChainRefuses);
    return g_test_run();
}
