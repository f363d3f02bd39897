/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-spread.c: one stream over several connections: whole, in order, bounded, and nothing damaged taken for it */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "remote/hello.h"
#include "remote/spread.h"

#include "io-thread.h"
#include "pump-rig.h"

#define MOST 5

typedef struct {
    gint broken;
    unsigned index;
    bool byVmm;
    char *why;
} ending;

/* vmm[0] =source= net[i] =dest= vmm[1] */
typedef struct {
    int vmm[2];
    spread *source, *dest;
    pumpLimit *limit;
    ending ends[2];
    guint fds;
} world;

static void
onBroken(unsigned index, bool byVmm, const GError *why, void *opaque)
{
    ending *e = opaque;

    e->index = index;
    e->byVmm = byVmm;
    e->why = g_strdup(why->message);
    g_atomic_int_inc(&e->broken);
}

/* ---- TLS by a common secret ---- */

typedef struct {
    helloConn conn;
    tlsSide side;
    GThread *thread;
} tlsEndOf;

static gpointer
secureThread(gpointer data)
{
    static const uint8_t secret[32] = "a secret of thirty-two bytes ...";
    const tlsExpect expect = { "h2", NULL };
    g_autoptr(GError) error = NULL;
    tlsEndOf *end = data;
    g_autoptr(tlsIdentity) identity = tlsIdentityFromSecret(secret, sizeof(secret), end->side, &error);

    end->conn.tls = tlsSessionNew(end->conn.fd, end->side, identity, &expect, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(tlsHandshake(end->conn.tls, -1, 20000, &error));
    return NULL;
}

static void
secureBoth(helloConn *a, helloConn *b)
{
    tlsEndOf ends[] = { { .conn = *a, .side = TLS_CLIENT }, { .conn = *b, .side = TLS_SERVER } };

    for (unsigned i = 0; i < 2; i++)
        ends[i].thread = g_thread_new("tls", secureThread, &ends[i]);
    for (unsigned i = 0; i < 2; i++)
        g_thread_join(ends[i].thread);
    *a = ends[0].conn;
    *b = ends[1].conn;
}

/* ---- worlds ---- */

typedef struct {
    unsigned count;
    blocksMethod method;
    bool tls;
    unsigned stallMs;
} shape;

static spread *
startOne(world *w, const shape *s, bool sends, int fd, pumpEnd *ends)
{
    g_autoptr(GError) error = NULL;
    const spreadOptions options = {
        .sends = sends, .method = s->method, .limit = w->limit,
        /* Who is stuck first is not a matter of two clocks. */
        .stallMs = sends ? 20 * s->stallMs : s->stallMs, .broken = onBroken, .opaque = &w->ends[!sends],
    };
    spread *ret = spreadNew(fd, ends, s->count, &options, &error);

    g_assert_no_error(error);
    return ret;
}

/* The source's limit is w->limit; the destination has the same one, which it does not use. */
static void
worldMake(world *w, const shape *s)
{
    pumpEnd ends[2][MOST];
    int pair[2], inner[2];

    memset(w, 0, sizeof(*w));
    w->fds = ioCountFds();
    w->limit = pumpLimitNew(0);
    for (unsigned i = 0; i < s->count; i++) {
        helloConn a, b;

        makePair(TCP, pair);
        a = helloConnOf(pair[0]);
        b = helloConnOf(pair[1]);
        if (s->tls)
            secureBoth(&a, &b);
        ends[0][i] = helloConnEnd(a, "host 'h2'");
        ends[1][i] = helloConnEnd(b, "host 'h1'");
    }
    for (unsigned i = 0; i < 2; i++) {
        makePair(UNIX, pair);
        w->vmm[i] = pair[0];
        inner[i] = pair[1];
    }
    w->source = startOne(w, s, true, inner[0], ends[0]);
    w->dest = startOne(w, s, false, inner[1], ends[1]);
}

static void
worldFree(world *w)
{
    spreadFree(w->source);
    spreadFree(w->dest);
    pumpLimitUnref(w->limit);
    for (unsigned i = 0; i < 2; i++) {
        baseFdClose(w->vmm[i]);
        g_free(w->ends[i].why);
    }
    g_assert_cmpuint(ioCountFds(), ==, w->fds);
}

static void
testWhole(gconstpointer data)
{
    const shape *s = data;
    flow out, in, back, got;
    world w;

    worldMake(&w, s);
    out = (flow){ .fd = w.vmm[0], .len = 24 * MIB + 4, .seed = 1, .finish = true };
    in = (flow){ .fd = w.vmm[1] };
    back = (flow){ .fd = w.vmm[1], .len = 3 * MIB, .seed = 2, .finish = true };
    got = (flow){ .fd = w.vmm[0] };
    flowStart(&in, readFlow);
    flowStart(&got, readFlow);
    flowStart(&out, writeFlow);
    flowStart(&back, writeFlow);
    flowsCompare(&out, &in);
    flowsCompare(&back, &got);
    g_assert_cmpuint(spreadBytes(w.dest, PUMP_FORWARD), ==, out.len);
    g_assert_cmpuint(spreadBytes(w.source, PUMP_FORWARD), >, out.len);
    g_assert_cmpuint(spreadBytes(w.source, PUMP_BACKWARD), ==, back.len);
    g_assert_cmpint(w.ends[0].broken + w.ends[1].broken, ==, 0);
    worldFree(&w);
}

/* What can be made smaller is, by every connection. */
static void
testCompressed(gconstpointer data)
{
    const shape *s = data;
    g_autofree char *zeroes = g_malloc0(MIB);
    world w;

    worldMake(&w, s);
    for (unsigned i = 0; i < 8; i++) {
        size_t at = 0;

        while (at < MIB) {
            struct pollfd fds[] = { { .fd = w.vmm[0], .events = POLLOUT }, { .fd = w.vmm[1], .events = POLLIN } };
            char sink[65536];
            ssize_t n;

            g_assert_cmpint(poll(fds, 2, PATIENCE_US / 1000), >, 0);
            if (fds[1].revents)
                g_assert_cmpint(recv(w.vmm[1], sink, sizeof(sink), 0), >, 0);
            n = send(w.vmm[0], zeroes, MIB - at, MSG_DONTWAIT | MSG_NOSIGNAL);
            at += n > 0 ? (size_t)n : 0;
        }
    }
    spreadCancel(w.source);
    g_assert_cmpuint(spreadBytes(w.source, PUMP_FORWARD), <, MIB);
    worldFree(&w);
}

/* One question, one answer, over and over: nothing waits for more to come. */
static void
testTwoWay(void)
{
    const shape s = { .count = 3 };
    world w;

    worldMake(&w, &s);
    for (unsigned i = 0; i < 200; i++) {
        sendByte(w.vmm[0], (char)('a' + i % 26));
        expectByte(w.vmm[1], (char)('a' + i % 26));
        sendByte(w.vmm[1], (char)('A' + i % 26));
        expectByte(w.vmm[0], (char)('A' + i % 26));
    }
    worldFree(&w);
}

/* A VMM that reads nothing stops the other one, after what the sockets and two blocks a connection and side hold. */
static void
testBounded(void)
{
    const shape s = { .count = MOST };
    size_t taken;
    world w;

    worldMake(&w, &s);
    taken = stuff(w.vmm[0]);
    g_test_message("%zu bytes are on their way", taken);
    g_assert_cmpuint(taken, <, 64 * MIB);
    worldFree(&w);
}

static gint64
msOf(gint64 since)
{
    return (g_get_monotonic_time() - since) / 1000;
}

/* However much is stuck. */
static void
testCancel(void)
{
    const shape s = { .count = MOST };
    gint64 begin;
    world w;

    worldMake(&w, &s);
    stuff(w.vmm[0]);
    begin = g_get_monotonic_time();
    spreadCancel(w.source);
    spreadFree(g_steal_pointer(&w.source));
    g_assert_cmpint(msOf(begin), <, 100);
    /* The other side does not take it for the end. */
    g_assert_true(ioWaitFlag(&w.ends[1].broken, 1));
    g_assert_nonnull(strstr(w.ends[1].why, "'h1'"));
    g_assert_false(w.ends[1].byVmm);
    g_assert_cmpint(w.ends[0].broken, ==, 0);
    worldFree(&w);
}

static void
testStall(void)
{
    const shape s = { .count = 2, .stallMs = 300 };
    world w;

    worldMake(&w, &s);
    while (!g_atomic_int_get(&w.ends[1].broken) && !g_atomic_int_get(&w.ends[0].broken)) {
        char bytes[65536] = { 0 };
        struct pollfd p = { .fd = w.vmm[0], .events = POLLOUT };

        if (poll(&p, 1, 50) == 1 && send(w.vmm[0], bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            continue;
    }
    g_assert_true(ioWaitFlag(&w.ends[1].broken, 1));
    /* It was this host's VMM that took nothing; the connections behind it may be found stuck at the same time. */
    g_assert_nonnull(strstr(w.ends[1].why, "300 ms"));
    g_assert_true(w.ends[1].byVmm);
    worldFree(&w);
}

/* All has been said in both directions and the VMM takes the rest of it not: that is waited for, too, and not for ever. */
static void
testStallAtTheEnd(void)
{
    const shape s = { .count = 1, .stallMs = 300 };
    g_autofree char *bytes = g_malloc0(MIB);
    size_t left = 500 * 1024;
    int problem;
    world w;

    worldMake(&w, &s);
    g_assert_cmpint(shutdown(w.vmm[1], SHUT_WR), ==, 0);
    g_assert_cmpint(receiveEnd(w.vmm[0], &problem), ==, 0);
    while (left > 0)
        left -= (size_t)send(w.vmm[0], bytes, left, MSG_NOSIGNAL);
    g_assert_cmpint(shutdown(w.vmm[0], SHUT_WR), ==, 0);
    g_assert_true(ioWaitFlag(&w.ends[1].broken, 1));
    g_assert_true(w.ends[1].byVmm);
    g_assert_nonnull(strstr(w.ends[1].why, "300 ms"));
    worldFree(&w);
}

/* One limit for all connections, and another one at once. */
static void
testLimit(void)
{
    const shape s = { .count = 3 };
    flow in;
    gint64 begin;
    world w;
    flow out;

    worldMake(&w, &s);
    pumpLimitSet(w.limit, 4 * MIB);
    out = (flow){ .fd = w.vmm[0], .len = 4 * MIB, .seed = 3, .finish = true };
    in = (flow){ .fd = w.vmm[1] };
    begin = g_get_monotonic_time();
    flowStart(&in, readFlow);
    flowStart(&out, writeFlow);
    flowsCompare(&out, &in);
    /* A tenth of a second's worth may go at once. */
    g_assert_cmpint(msOf(begin), >=, 880);
    g_assert_cmpint(msOf(begin), <, 3000);
    worldFree(&w);
}

/* ---- what comes is not what was sent ---- */

typedef struct {
    const char *name;
    /* For each of two connections: numbers of blocks, 'E' and a number for an end, '!' for nonsense; ended by closing. */
    const char *lines[2];
    const char *error;           /* NULL: it is whole */
    const char *bytes;           /* what the VMM gets at least; block n is the letter 'a' + n */
} damage;

static const damage damages[] = {
    { "whole", { "0 2 3 E5", "1 4 E5" }, NULL, "abcde" },
    { "one-sided", { "E3", "0 1 2 E3" }, NULL, "abc" },
    { "empty", { "E0", "E0" }, NULL, "" },
    { "cut", { "0 2", "1 E3" }, "without saying", "ab" },
    { "cut-both", { "0", "1" }, "without saying", "" },
    { "cut-in-head", { "0 .", "1 E2" }, "without saying", "" },
    { "missing", { "0 3 E4", "1 E4" }, "block 2 is missing", "ab" },
    { "missing-at-the-end", { "0 E3", "1 E3" }, "block 2 is missing", "ab" },
    { "twice", { "0 1 E2", "1 E2" }, "block 1 is missing or has come at the wrong place", "a" },
    { "replayed", { "0 1 2 0 E3", "E3" }, "block 0 is missing or has come at the wrong place", "abc" },
    { "turned-round", { "1 0 E2", "E2" }, "block 0 is missing", "" },
    { "after-the-end", { "0 1 2 E3", "E2" }, "is missing or has come at the wrong place", "" },
    { "two-ends", { "0 E1", "E2" }, "is missing or has come at the wrong place", "" },
    { "nonsense", { "0 !", "1 E2" }, "The stream of blocks is damaged", "" },
};

static void
writeBlock(int fd, blocksMethod method, uint32_t number, char byte)
{
    const uint32_t len = method == BLOCKS_END ? 0 : 1;
    const blocksHead head = { .method = method, .number = number, .raw = len, .wire = len };
    uint8_t wire[BLOCKS_HEAD + 1];

    blocksHeadWrite(&head, wire);
    wire[BLOCKS_HEAD] = (uint8_t)byte;
    /* The other side may have had enough. */
    if (send(fd, wire, BLOCKS_HEAD + len, MSG_NOSIGNAL) < 0)
        g_test_message("block %u is not taken", number);
}

static void
writeLine(int fd, const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", -1);

    for (size_t i = 0; words[i]; i++) {
        if (words[i][0] == '!')
            g_assert_cmpint(send(fd, "GET / HTTP/1.1\r\n", 16, MSG_NOSIGNAL), ==, 16);
        else if (words[i][0] == '.')
            g_assert_cmpint(send(fd, "", 1, MSG_NOSIGNAL), ==, 1);
        else if (words[i][0] == 'E')
            writeBlock(fd, BLOCKS_END, (uint32_t)atoi(words[i] + 1), 0);
        else
            writeBlock(fd, BLOCKS_PLAIN, (uint32_t)atoi(words[i]), (char)('a' + atoi(words[i])));
    }
    shutdown(fd, SHUT_WR);
}

static void
testDamage(gconstpointer data)
{
    const damage *d = data;
    const shape s = { .count = 2 };
    g_autoptr(GString) got = g_string_new(NULL);
    world w = { .fds = ioCountFds(), .limit = pumpLimitNew(0) };
    int net[2], pair[2];
    pumpEnd ends[2];
    char byte;

    for (unsigned i = 0; i < 2; i++) {
        makePair(TCP, pair);
        net[i] = pair[0];
        ends[i] = (pumpEnd){ .fd = pair[1], .name = "host 'h1'" };
    }
    makePair(UNIX, pair);
    w.vmm[0] = -1;
    w.vmm[1] = pair[0];
    w.dest = startOne(&w, &s, false, pair[1], ends);
    for (unsigned i = 0; i < 2; i++)
        writeLine(net[i], d->lines[i]);
    while (recv(w.vmm[1], &byte, 1, 0) == 1)
        g_string_append_c(got, byte);
    g_test_message("got '%s'", got->str);
    g_assert_true(g_str_has_prefix(got->str, d->bytes));
    if (d->error) {
        g_assert_true(ioWaitFlag(&w.ends[1].broken, 1));
        g_test_message("%s", w.ends[1].why);
        g_assert_nonnull(strstr(w.ends[1].why, d->error));
    } else {
        g_assert_cmpstr(got->str, ==, d->bytes);
    }
    spreadFree(g_steal_pointer(&w.dest));
    g_assert_cmpint(w.ends[1].broken, ==, d->error != NULL);
    for (unsigned i = 0; i < 2; i++)
        close(net[i]);
    worldFree(&w);
}

/* The same block again while the first one is being written: not a byte of it gets between. */
static void
testTwiceAtOnce(void)
{
    const blocksHead head = { .method = BLOCKS_PLAIN, .number = 0, .raw = BLOCKS_MOST, .wire = BLOCKS_MOST };
    const shape s = { .count = 2 };
    g_autofree uint8_t *big = g_malloc0(BLOCKS_HEAD + BLOCKS_MOST);
    world w = { .fds = ioCountFds(), .limit = pumpLimitNew(0) };
    const int little = 4096;
    int net[2], pair[2];
    pumpEnd ends[2];

    for (unsigned i = 0; i < 2; i++) {
        makePair(UNIX, pair);
        net[i] = pair[0];
        ends[i] = (pumpEnd){ .fd = pair[1], .name = "host 'h1'" };
    }
    makePair(UNIX, pair);
    w.vmm[0] = -1;
    w.vmm[1] = pair[0];
    g_assert_cmpint(setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof(little)), ==, 0);
    w.dest = startOne(&w, &s, false, pair[1], ends);
    blocksHeadWrite(&head, big);
    for (size_t at = 0; at < BLOCKS_HEAD + BLOCKS_MOST;) {
        ssize_t n = send(net[0], big + at, BLOCKS_HEAD + BLOCKS_MOST - at, MSG_NOSIGNAL);

        g_assert_cmpint(n, >, 0);
        at += (size_t)n;
    }
    /* It has begun, and there is no room for all of it. */
    expectByte(w.vmm[1], 0);
    writeBlock(net[1], BLOCKS_PLAIN, 0, 'x');
    g_assert_true(ioWaitFlag(&w.ends[1].broken, 1));
    g_assert_nonnull(strstr(w.ends[1].why, "block 0 is missing or has come at the wrong place"));
    for (unsigned i = 0; i < 2; i++)
        close(net[i]);
    worldFree(&w);
}

/* ---- a machine without threads ---- */

static unsigned threadsLeft = G_MAXUINT;

/* Instead of GLib's, which the code under test calls. */
GThread *
g_thread_try_new(const char *name, GThreadFunc func, gpointer data, GError **error)
{
    if (threadsLeft > 0) {
        threadsLeft -= threadsLeft < G_MAXUINT;
        return g_thread_new(name, func, data);
    }
    /* Those that are there get the time to find out that their connection has ended. */
    g_usleep(20000);
    g_set_error(error, G_THREAD_ERROR, G_THREAD_ERROR_AGAIN, "no more threads");
    return NULL;
}

/* Some can be made and not all: the caller alone is told, whatever the others find; it may hold what broken() waits for. */
static void
testNoThread(gconstpointer data)
{
    const bool sends = GPOINTER_TO_INT(data);

    for (unsigned made = 0; made < 3; made++) {
        world w = { .fds = ioCountFds(), .vmm = { -1, -1 }, .limit = pumpLimitNew(0) };
        const spreadOptions options = { .sends = sends, .limit = w.limit, .broken = onBroken, .opaque = &w.ends[0] };
        g_autoptr(GError) error = NULL;
        pumpEnd ends[2];
        int pair[2];

        for (unsigned i = 0; i < 2; i++) {
            makePair(TCP, pair);
            close(pair[0]);
            ends[i] = (pumpEnd){ .fd = pair[1], .name = "host 'h1'" };
        }
        makePair(UNIX, pair);
        w.vmm[0] = pair[0];
        sendByte(w.vmm[0], 'x');
        threadsLeft = made;
        g_assert_null(spreadNew(pair[1], ends, 2, &options, &error));
        threadsLeft = G_MAXUINT;
        g_assert_nonnull(error);
        g_assert_nonnull(strstr(error->message, "no more threads"));
        g_assert_cmpint(w.ends[0].broken, ==, 0);
        worldFree(&w);
    }
}

/* The receiving VMM goes in the middle; its host knows that it was the VMM. */
static void
testVmmGone(void)
{
    const shape s = { .count = 3 };
    world w;

    worldMake(&w, &s);
    sendByte(w.vmm[0], 'x');
    expectByte(w.vmm[1], 'x');
    baseFdReplace(&w.vmm[1], -1);
    while (!g_atomic_int_get(&w.ends[1].broken)) {
        char byte = 'y';

        if (send(w.vmm[0], &byte, 1, MSG_NOSIGNAL) < 0)
            break;
    }
    g_assert_true(ioWaitFlag(&w.ends[1].broken, 1));
    g_assert_true(w.ends[1].byVmm);
    g_assert_true(ioWaitFlag(&w.ends[0].broken, 1));
    g_assert_false(w.ends[0].byVmm);
    worldFree(&w);
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *name;
        shape s;
    } wholes[] = {
        { "one", { .count = 1 } }, { "two", { .count = 2 } }, { "five", { .count = 5 } },
        { "zstd", { .count = 3, .method = BLOCKS_ZSTD } }, { "lz4", { .count = 4, .method = BLOCKS_LZ4 } },
        { "tls", { .count = 3, .tls = true } }, { "tls-zstd", { .count = 2, .tls = true, .method = BLOCKS_ZSTD } },
    };
    static const shape zstd = { .count = 3, .method = BLOCKS_ZSTD };

    g_test_init(&argc, &argv, NULL);
    ioWarmUp();
    for (size_t i = 0; i < G_N_ELEMENTS(wholes); i++) {
        g_autofree char *path = g_strconcat("/spread/whole/", wholes[i].name, NULL);

        g_test_add_data_func(path, &wholes[i].s, testWhole);
    }
    g_test_add_data_func("/spread/compressed", &zstd, testCompressed);
    g_test_add_func("/spread/two-way", testTwoWay);
    g_test_add_func("/spread/bounded", testBounded);
    g_test_add_func("/spread/cancel", testCancel);
    g_test_add_func("/spread/stall", testStall);
    g_test_add_func("/spread/stall/at-the-end", testStallAtTheEnd);
    g_test_add_func("/spread/limit", testLimit);
    for (size_t i = 0; i < G_N_ELEMENTS(damages); i++) {
        g_autofree char *path = g_strconcat("/spread/damaged/", damages[i].name, NULL);

        g_test_add_data_func(path, &damages[i], testDamage);
    }
    g_test_add_func("/spread/damaged/twice-at-once", testTwiceAtOnce);
    g_test_add_data_func("/spread/no-thread/sends", GINT_TO_POINTER(true), testNoThread);
    g_test_add_data_func("/spread/no-thread/receives", GINT_TO_POINTER(false), testNoThread);
    g_test_add_func("/spread/vmm-gone", testVmmGone);
    return g_test_run();
}
