/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "remote/pump.h"

#include "io-thread.h"
#include "pump-rig.h"

/* ---- content ---- */

typedef struct {
    kind first, second;
    bool copies, twoWay;
} shape;

static const shape shapes[] = {
    { UNIX, UNIX, false, false }, { UNIX, TCP, false, true }, { TCP, UNIX, false, true }, { TCP, TCP, false, true },
    { UNIX, UNIX, true, true }, { UNIX, TCP, true, true },
};

static void
testIntegrity(gconstpointer data)
{
    const shape *s = data;
    flow out = { .len = 64 * MIB + 12345, .seed = 1, .finish = true };
    flow in = { 0 };
    flow back = { .len = 3 * MIB + 77, .seed = 2, .finish = true };
    flow backIn = { 0 };
    rig r;

    rigMake(&r, s->first, s->second);
    rigStart(&r, (pumpOptions){ .twoWay = s->twoWay, .alwaysCopy = s->copies });
    out.fd = backIn.fd = r.outer[0];
    in.fd = back.fd = r.outer[1];
    flowStart(&out, writeFlow);
    flowStart(&in, readFlow);
    if (s->twoWay) {
        flowStart(&back, writeFlow);
        flowStart(&backIn, readFlow);
    }
    flowsCompare(&out, &in);
    if (s->twoWay)
        flowsCompare(&back, &backIn);
    rigAwait(&r);
    g_assert_no_error(r.why);
    g_assert_cmpuint(pumpBytes(r.p, PUMP_FORWARD), ==, out.len);
    g_assert_cmpuint(pumpBytes(r.p, PUMP_BACKWARD), ==, s->twoWay ? back.len : 0);
    /* Sockets can be spliced. */
    g_assert_cmpint(pumpCopies(r.p, PUMP_FORWARD), ==, s->copies);
    rigEnd(&r);
}

/* A descriptor that splice() refuses to write to, found out when the pipe already holds something. */
static void
testSpliceRefused(void)
{
    g_autofree char *path = NULL;
    g_autofree char *text = NULL;
    g_autofree char *digest = NULL;
    g_autoptr(GError) error = NULL;
    flow out = { .len = 2 * MIB, .seed = 5, .finish = true };
    gsize len;
    rig r;
    int file = g_file_open_tmp("pump-XXXXXX", &path, &error);

    g_assert_no_error(error);
    g_assert_cmpint(fcntl(file, F_SETFL, O_APPEND), ==, 0);
    rigMake(&r, UNIX, UNIX);
    r.fds--;
    out.fd = r.outer[0];
    flowStart(&out, writeFlow);
    close(r.inner[1]);
    rigStartEnds(&r, (pumpOptions){ 0 }, &(pumpEnd){ .fd = r.inner[0], .name = "a" },
                 &(pumpEnd){ .fd = file, .name = "b" });
    rigAwait(&r);
    g_assert_no_error(r.why);
    g_assert_true(pumpCopies(r.p, PUMP_FORWARD));
    g_thread_join(out.thread);
    g_assert_true(g_file_get_contents(path, &text, &len, NULL));
    g_assert_cmpuint(len, ==, out.len);
    digest = g_compute_checksum_for_data(G_CHECKSUM_MD5, (guint8 *)text, len);
    g_assert_cmpstr(digest, ==, out.digest);
    g_free(out.digest);
    unlink(path);
    rigEnd(&r);
}

/* A channel that turns every bit around, takes odd amounts and often has to wait. */
typedef struct {
    int fd;
    unsigned calls;
    bool ended, freed;
    const void *again;
    gsize againLen;
} mangler;

static gssize
mangleRead(void *channel, void *buffer, gsize len, GError **error)
{
    mangler *m = channel;
    ssize_t got = recv(m->fd, buffer, MIN(len, 7777), 0);

    g_assert_true(error && !*error);
    for (ssize_t i = 0; i < got; i++)
        ((guint8 *)buffer)[i] ^= 0xff;
    return got >= 0 ? got : PUMP_WAIT;
}

static gssize
mangleWrite(void *channel, const void *buffer, gsize len, GError **error)
{
    mangler *m = channel;
    g_autofree guint8 *bytes = NULL;
    ssize_t put;

    g_assert_true(error && !*error);
    /* What had to wait comes again as it was. */
    if (m->again) {
        g_assert_true(m->again == buffer);
        g_assert_cmpuint(m->againLen, ==, len);
    }
    m->again = NULL;
    if (m->calls++ % 3 == 0) {
        m->again = buffer;
        m->againLen = len;
        return PUMP_WAIT;
    }
    len = MIN(len, 5555);
    bytes = g_memdup2(buffer, len);
    for (gsize i = 0; i < len; i++)
        bytes[i] ^= 0xff;
    put = send(m->fd, bytes, len, MSG_NOSIGNAL);
    if (put >= 0)
        return put;
    m->again = buffer;
    m->againLen = len;
    return PUMP_WAIT;
}

static int
mangleEnd(void *channel, GError **error G_GNUC_UNUSED)
{
    mangler *m = channel;

    if (m->calls++ % 2 == 0)
        return PUMP_WAIT;
    m->ended = true;
    return 0;
}

static void
mangleFree(gpointer channel)
{
    ((mangler *)channel)->freed = true;
}

static const pumpChannelOps mangleOps = { mangleRead, mangleWrite, mangleEnd, mangleFree };

/* Two pumps one behind the other, their channels facing each other, as with TLS. */
static void
testChannels(void)
{
    mangler near = { 0 }, far = { 0 };
    flow out = { .len = 4 * MIB, .seed = 3, .finish = true }, in = { 0 };
    rig a, b;

    rigMake(&a, UNIX, TCP);
    rigMake(&b, TCP, UNIX);
    near.fd = a.inner[1];
    far.fd = a.outer[1];
    close(b.outer[0]);
    close(b.inner[0]);
    rigStartEnds(&a, (pumpOptions){ .twoWay = true }, &(pumpEnd){ .fd = a.inner[0], .name = "a" },
                 &(pumpEnd){ .fd = a.inner[1], .name = "b", .ops = &mangleOps, .channel = &near });
    rigStartEnds(&b, (pumpOptions){ .twoWay = true },
                 &(pumpEnd){ .fd = a.outer[1], .name = "c", .ops = &mangleOps, .channel = &far },
                 &(pumpEnd){ .fd = b.inner[1], .name = "d" });
    out.fd = a.outer[0];
    in.fd = b.outer[1];
    flowStart(&out, writeFlow);
    flowStart(&in, readFlow);
    flowsCompare(&out, &in);
    sendByte(b.outer[1], 'x');
    expectByte(a.outer[0], 'x');
    shutdown(b.outer[1], SHUT_WR);
    rigAwait(&a);
    rigAwait(&b);
    g_assert_no_error(a.why);
    g_assert_no_error(b.why);
    g_assert_true(near.ended && near.freed && far.ended && far.freed);
    a.outer[1] = b.outer[0] = -1;
    /* Of the other rig, its outer end and the pump's own descriptor are still there. */
    b.fds = a.fds + 2;
    rigEnd(&b);
    rigEnd(&a);
}

/* ---- speed ---- */

/* Bytes that arrive within @us. */
static size_t
receiveFor(int fd, gint64 us)
{
    g_autofree guint8 *bytes = g_malloc(MIB);
    gint64 until = g_get_monotonic_time() + us, now;
    size_t total = 0;

    while ((now = g_get_monotonic_time()) < until) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        ssize_t got;

        if (poll(&p, 1, (int)((until - now) / 1000) + 1) == 0)
            break;
        got = recv(fd, bytes, MIB, MSG_DONTWAIT);
        g_assert_cmpint(got, >, 0);
        total += (size_t)got;
    }
    return total;
}

static gpointer
writeForEver(gpointer data)
{
    g_autofree guint8 *bytes = g_malloc0(MIB);
    int fd = GPOINTER_TO_INT(data);

    while (send(fd, bytes, MIB, MSG_NOSIGNAL) > 0)
        continue;
    return NULL;
}

static void
testLimit(gconstpointer data)
{
    const uint64_t rate = GPOINTER_TO_SIZE(data);
    GThread *writer;
    gint64 start;
    size_t got;
    double seconds;
    rig r;

    rigMake(&r, UNIX, TCP);
    start = g_get_monotonic_time();
    rigStart(&r, (pumpOptions){ .twoWay = true, .bytesPerSecond = rate });
    writer = g_thread_new("writer", writeForEver, GINT_TO_POINTER(r.outer[0]));
    got = receiveFor(r.outer[1], 1200000);
    seconds = (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC;
    /* Never more; on a busy machine it may be less. */
    g_assert_cmpuint(got, <=, (size_t)((double)rate * seconds));
    g_assert_cmpuint(got, >=, (size_t)((double)rate * seconds * 0.6));
    g_test_message("limit %zu: %.3f of it", (size_t)rate, (double)got / ((double)rate * seconds));

    /* Way back without one. */
    sendByte(r.outer[1], 'b');
    expectByte(r.outer[0], 'b');
    pumpCancel(r.p);
    rigAwait(&r);
    g_thread_join(writer);
    rigEnd(&r);
}

static void
testLimitChange(void)
{
    const uint64_t slow = MIB / 4, quick = 16 * MIB;
    GThread *writer;
    size_t got;
    gint64 start;
    double seconds;
    rig r;

    rigMake(&r, UNIX, UNIX);
    /* Nothing for ages, if the change did not wake it. */
    rigStart(&r, (pumpOptions){ .bytesPerSecond = 1 });
    writer = g_thread_new("writer", writeForEver, GINT_TO_POINTER(r.outer[0]));
    g_assert_cmpuint(receiveFor(r.outer[1], 200000), <=, 1);
    start = g_get_monotonic_time();
    pumpSetLimit(r.p, quick);
    got = receiveFor(r.outer[1], 500000);
    seconds = (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC;
    g_assert_cmpuint(got, <=, (size_t)((double)quick * seconds));
    g_assert_cmpuint(got, >=, quick / 8);

    start = g_get_monotonic_time();
    pumpSetLimit(r.p, slow);
    got = receiveFor(r.outer[1], 1000000);
    seconds = (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC;
    /* What the socket held before is a fifth of a MiB. */
    g_assert_cmpuint(got, <=, (size_t)((double)slow * seconds) + MIB / 2);

    pumpSetLimit(r.p, 0);
    got = receiveFor(r.outer[1], 500000);
    g_assert_cmpuint(got, >=, 16 * MIB);
    pumpCancel(r.p);
    rigAwait(&r);
    g_thread_join(writer);
    rigEnd(&r);
}

/* ---- ends ---- */

static void
checkCancel(rig *r)
{
    gint64 start = g_get_monotonic_time();

    pumpCancel(r->p);
    rigAwait(r);
    g_assert_cmpint(g_get_monotonic_time() - start, <, 1000000);
    g_assert_error(r->why, BASE_ERROR, BASE_ERROR_ABORTED);
}

static void
testCancelReading(void)
{
    rig r;
    int problem;

    rigMake(&r, UNIX, TCP);
    rigStart(&r, (pumpOptions){ .twoWay = true });
    sendByte(r.outer[0], 'a');
    expectByte(r.outer[1], 'a');
    checkCancel(&r);
    /* The other side cannot take it for complete. */
    g_assert_cmpint(receiveEnd(r.outer[1], &problem), ==, -1);
    g_assert_cmpint(problem, ==, ECONNRESET);
    g_assert_cmpint(receiveEnd(r.outer[0], &problem), ==, 0);
    rigEnd(&r);
}

static void
testCancelWriting(void)
{
    rig r;

    rigMake(&r, UNIX, TCP);
    rigStart(&r, (pumpOptions){ .twoWay = true });
    g_assert_cmpuint(stuff(r.outer[0]), >, MIB);
    checkCancel(&r);
    rigEnd(&r);
}

static void
testFreeCancels(void)
{
    rig r;

    rigMake(&r, UNIX, UNIX);
    rigStart(&r, (pumpOptions){ .twoWay = true, .bytesPerSecond = 1 });
    stuff(r.outer[0]);
    rigEnd(&r);
}

static void
testHalfClose(gconstpointer data)
{
    const shape *s = data;
    int problem;
    rig r;

    rigMake(&r, s->first, s->second);
    rigStart(&r, (pumpOptions){ .twoWay = true, .alwaysCopy = s->copies });
    sendByte(r.outer[0], 'q');
    shutdown(r.outer[0], SHUT_WR);
    expectByte(r.outer[1], 'q');
    g_assert_cmpint(receiveEnd(r.outer[1], &problem), ==, 0);
    /* The other direction goes on. */
    for (int i = 0; i < 3; i++) {
        sendByte(r.outer[1], 'r');
        expectByte(r.outer[0], 'r');
    }
    g_assert_cmpuint(r.endings, ==, 0);
    shutdown(r.outer[1], SHUT_WR);
    g_assert_cmpint(receiveEnd(r.outer[0], &problem), ==, 0);
    rigAwait(&r);
    g_assert_no_error(r.why);
    rigEnd(&r);
}

static void
resetTcp(int *fd)
{
    const struct linger now = { .l_onoff = 1 };

    setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    baseFdReplace(fd, -1);
}

static void
testReset(gconstpointer data)
{
    bool whileWriting = GPOINTER_TO_INT(data);
    rig r;

    rigMake(&r, UNIX, TCP);
    rigStart(&r, (pumpOptions){ .twoWay = true });
    if (whileWriting)
        stuff(r.outer[0]);
    resetTcp(&r.outer[1]);
    rigAwait(&r);
    g_assert_error(r.why, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(r.why->message, "the second end"));
    g_assert_nonnull(strstr(r.why->message, g_strerror(ECONNRESET)));
    rigEnd(&r);
}

/* The receiver of a one-way pump goes while nothing is sent. */
static void
testReceiverGone(gconstpointer data)
{
    rig r;

    rigMake(&r, UNIX, GPOINTER_TO_INT(data));
    rigStart(&r, (pumpOptions){ 0 });
    if (GPOINTER_TO_INT(data) == TCP)
        resetTcp(&r.outer[1]);
    else
        baseFdReplace(&r.outer[1], -1);
    rigAwait(&r);
    g_assert_error(r.why, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(r.why->message, "the second end"));
    rigEnd(&r);
}

/* One end says all it has to say and goes at once, while the other still talks: every byte arrives. */
static void
testLastWord(void)
{
    flow out = { .len = MIB, .seed = 9, .finish = true }, in = { 0 };
    rig r;

    rigMake(&r, UNIX, TCP);
    rigStart(&r, (pumpOptions){ .twoWay = true });
    sendByte(r.outer[1], 'z');
    expectByte(r.outer[0], 'z');
    /* The receiver is slow to begin, so that most is still under way when the sender goes. */
    out.fd = r.outer[0];
    flowStart(&out, writeFlow);
    g_thread_join(out.thread);
    out.thread = g_thread_new("none", (GThreadFunc)g_strdup, NULL);
    baseFdReplace(&r.outer[0], -1);
    for (int i = 0; i < 5; i++)
        sendByte(r.outer[1], 'y');
    in.fd = r.outer[1];
    flowStart(&in, readFlow);
    flowsCompare(&out, &in);
    shutdown(r.outer[1], SHUT_WR);
    rigAwait(&r);
    /* What was said to nobody is told. */
    g_assert_error(r.why, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(r.why->message, "the first end"));
    rigEnd(&r);
}

static void
testStall(void)
{
    gint64 start;
    rig r;

    rigMake(&r, UNIX, UNIX);
    rigStart(&r, (pumpOptions){ .twoWay = true, .stallMs = 400 });
    /* Silence is no stall. */
    g_usleep(600000);
    g_assert_cmpuint(r.endings, ==, 0);
    start = g_get_monotonic_time();
    sendByte(r.outer[0], 'a');
    expectByte(r.outer[1], 'a');
    stuff(r.outer[0]);
    rigAwait(&r);
    g_assert_error(r.why, BASE_ERROR, BASE_ERROR_TIMEOUT);
    g_assert_nonnull(strstr(r.why->message, "the second end"));
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 400000);
    rigEnd(&r);
}

/* A limit is no stall either, and neither is a slow receiver. */
static void
testNoStall(void)
{
    g_autofree guint8 *bytes = g_malloc(MIB);
    rig r;

    rigMake(&r, UNIX, UNIX);
    rigStart(&r, (pumpOptions){ .stallMs = 600, .bytesPerSecond = 1 });
    stuff(r.outer[0]);
    for (int i = 0; i < 10; i++) {
        g_usleep(100000);
        recv(r.outer[1], bytes, 1, MSG_DONTWAIT);
        g_assert_cmpuint(r.endings, ==, 0);
    }
    rigEnd(&r);
}

/* However much is offered, what is under way is bounded. */
static void
testBounded(gconstpointer data)
{
    bool copies = GPOINTER_TO_INT(data);
    struct rusage before, after;
    size_t under;
    rig r;

    rigMake(&r, UNIX, UNIX);
    getrusage(RUSAGE_SELF, &before);
    rigStart(&r, (pumpOptions){ .alwaysCopy = copies });
    under = stuff(r.outer[0]);
    getrusage(RUSAGE_SELF, &after);
    /* The pump's own and the buffers of four sockets. */
    g_assert_cmpuint(under, <=, 4 * MIB);
    g_assert_cmpint(after.ru_maxrss - before.ru_maxrss, <, 8 * 1024);
    rigEnd(&r);
}

static gint64
threadCpuMs(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

/* Whatever it waits for, it sleeps. */
static void
testIdle(void)
{
    gint64 cpu;
    rig r;

    rigMake(&r, UNIX, TCP);
    rigStart(&r, (pumpOptions){ .twoWay = true });
    /* The sender goes, then the receiver stands still: the sender's hang-up must not be told for ever. */
    stuff(r.outer[0]);
    baseFdReplace(&r.outer[0], -1);
    cpu = threadCpuMs();
    g_usleep(500000);
    g_assert_cmpint(threadCpuMs() - cpu, <, 150);
    pumpCancel(r.p);
    rigAwait(&r);
    rigEnd(&r);
}

/* An end that is no socket, and no descriptors left. */
static void
testNoDescriptors(void)
{
    struct rlimit old, none;
    g_autoptr(GError) error = NULL;
    pumpOptions options = { .twoWay = true };
    int pair[2], other[2];
    guint fds = ioCountFds();
    pump *p;

    makePair(UNIX, pair);
    makePair(UNIX, other);
    getrlimit(RLIMIT_NOFILE, &old);
    none = old;
    none.rlim_cur = (rlim_t)other[1] + 1;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &none), ==, 0);
    p = pumpNew(&(pumpEnd){ .fd = pair[1], .name = "a" }, &(pumpEnd){ .fd = other[1], .name = "b" }, &options, &error);
    setrlimit(RLIMIT_NOFILE, &old);
    g_assert_null(p);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    close(pair[0]);
    close(other[0]);
    g_assert_cmpuint(ioCountFds(), ==, fds);
    pumpFree(NULL);
}

static void
testTune(void)
{
    int pair[2], value = 0;
    socklen_t len = sizeof(value);

    makePair(TCP, pair);
    pumpTune(pair[0], 30000, 10000);
    getsockopt(pair[0], IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &len);
    g_assert_cmpint(value, ==, 30000);
    getsockopt(pair[0], SOL_SOCKET, SO_KEEPALIVE, &value, &len);
    g_assert_cmpint(value, ==, 1);
    getsockopt(pair[0], IPPROTO_TCP, TCP_KEEPIDLE, &value, &len);
    g_assert_cmpint(value, ==, 10);
    getsockopt(pair[0], IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, &len);
    g_assert_cmpint(value, ==, 128 * 1024);
    pumpTune(pair[0], 0, 0);
    getsockopt(pair[0], IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &len);
    g_assert_cmpint(value, ==, 0);
    getsockopt(pair[0], SOL_SOCKET, SO_KEEPALIVE, &value, &len);
    g_assert_cmpint(value, ==, 0);
    close(pair[0]);
    close(pair[1]);
    makePair(UNIX, pair);
    pumpTune(pair[0], 100, 100);
    close(pair[0]);
    close(pair[1]);
}

int
main(int argc, char **argv)
{
    static const char *const kinds[] = { "unix", "tcp" };

    g_test_init(&argc, &argv, NULL);
    ioWarmUp();
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++) {
        const shape *s = &shapes[i];
        g_autofree char *name = g_strdup_printf("%s-%s%s%s", kinds[s->first], kinds[s->second],
                                                s->twoWay ? "-two-way" : "", s->copies ? "-copied" : "");
        g_autofree char *integrity = g_strconcat("/pump/integrity/", name, NULL);
        g_autofree char *half = g_strconcat("/pump/half-close/", name, NULL);

        g_test_add_data_func(integrity, s, testIntegrity);
        g_test_add_data_func(half, s, testHalfClose);
    }
    g_test_add_func("/pump/splice-refused", testSpliceRefused);
    g_test_add_func("/pump/channels", testChannels);
    g_test_add_data_func("/pump/limit/1MiB", GSIZE_TO_POINTER(MIB), testLimit);
    g_test_add_data_func("/pump/limit/100MiB", GSIZE_TO_POINTER(100 * MIB), testLimit);
    g_test_add_func("/pump/limit/change", testLimitChange);
    g_test_add_func("/pump/cancel/reading", testCancelReading);
    g_test_add_func("/pump/cancel/writing", testCancelWriting);
    g_test_add_func("/pump/cancel/free", testFreeCancels);
    g_test_add_data_func("/pump/reset/idle", GINT_TO_POINTER(false), testReset);
    g_test_add_data_func("/pump/reset/writing", GINT_TO_POINTER(true), testReset);
    g_test_add_data_func("/pump/receiver-gone/unix", GINT_TO_POINTER(UNIX), testReceiverGone);
    g_test_add_data_func("/pump/receiver-gone/tcp", GINT_TO_POINTER(TCP), testReceiverGone);
    g_test_add_func("/pump/last-word", testLastWord);
    g_test_add_func("/pump/stall/receiver", testStall);
    g_test_add_func("/pump/stall/none", testNoStall);
    g_test_add_data_func("/pump/bounded/spliced", GINT_TO_POINTER(false), testBounded);
    g_test_add_data_func("/pump/bounded/copied", GINT_TO_POINTER(true), testBounded);
    g_test_add_func("/pump/idle", testIdle);
    g_test_add_func("/pump/no-descriptors", testNoDescriptors);
    g_test_add_func("/pump/tune", testTune);
    return g_test_run();
}
