/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-relay.c: connections that live and die together, with sockets of our own in the place of VMMs */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "base/error.h"
#include "base/fd.h"
#include "migration/relay.h"

#include "io-thread.h"
#include "unix-listen.h"

#define COUNT 4

/* Two daemons, and between them what the network would be: net[i][0] is the source's end. */
typedef struct {
    char *folder, *sourcePath, *destPath;
    migRelay *source, *dest;
    int net[COUNT][2];
    int sender[COUNT];           /* the sending VMM's ends, in the order in which it made them */
    int receiver[COUNT];
    int listening;               /* the receiving VMM's */
    gint sourceBroken, destBroken;
    guint fds;
} world;

static void
onBroken(void *opaque)
{
    g_atomic_int_inc((gint *)opaque);
}

static int
unixConnect(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void
tcpPair(int fds[2])
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    g_auto(baseFd) listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(bind(listening, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    g_assert_cmpint(listen(listening, 1), ==, 0);
    g_assert_cmpint(getsockname(listening, (struct sockaddr *)&address, &len), ==, 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(connect(fds[0], (struct sockaddr *)&address, sizeof(address)), ==, 0);
    fds[1] = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint(fds[1], >=, 0);
}

static void
worldMake(world *w)
{
    memset(w, 0, sizeof(*w));
    w->fds = ioCountFds();
    w->folder = g_dir_make_tmp("relay-XXXXXX", NULL);
    w->sourcePath = g_build_filename(w->folder, "source.sock", NULL);
    w->destPath = g_build_filename(w->folder, "dest.sock", NULL);
    w->source = migRelayNew(COUNT - 1, "h2", onBroken, &w->sourceBroken);
    w->dest = migRelayNew(COUNT - 1, "h1", onBroken, &w->destBroken);
    w->listening = -1;
    for (unsigned i = 0; i < COUNT; i++) {
        w->sender[i] = w->receiver[i] = -1;
        tcpPair(w->net[i]);
        migRelayAdd(w->source, i, helloConnOf(w->net[i][0]));
    }
    g_assert_cmpuint(migRelayCount(w->source), ==, COUNT);
}

static void
worldFree(world *w)
{
    migRelayFree(w->source);
    migRelayFree(w->dest);
    for (unsigned i = 0; i < COUNT; i++) {
        baseFdClose(w->sender[i]);
        baseFdClose(w->receiver[i]);
    }
    baseFdClose(w->listening);
    /* Nothing is left, neither files nor descriptors. */
    g_assert_false(g_file_test(w->sourcePath, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(w->destPath, G_FILE_TEST_EXISTS));
    g_assert_cmpint(g_rmdir(w->folder), ==, 0);
    g_free(w->folder);
    g_free(w->sourcePath);
    g_free(w->destPath);
    g_assert_cmpuint(ioCountFds(), ==, w->fds);
}

static void
sendByte(int fd, char byte)
{
    g_assert_cmpint(send(fd, &byte, 1, MSG_NOSIGNAL), ==, 1);
}

/* The byte, 0 at the end of the stream, -1 on an error. */
static int
receive(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char c = 0;
    ssize_t got;

    g_assert_cmpint(poll(&p, 1, 10000), ==, 1);
    got = recv(fd, &c, 1, 0);
    return got == 1 ? c : (int)got;
}

static void
worldConnectSender(world *w)
{
    g_autoptr(GError) error = NULL;
    struct stat st;

    g_assert_true(migRelayListen(w->source, w->sourcePath, &error));
    g_assert_no_error(error);
    g_assert_cmpint(stat(w->sourcePath, &st), ==, 0);
    g_assert_cmphex(st.st_mode & 0777, ==, 0600);
    for (unsigned i = 0; i < COUNT; i++) {
        w->sender[i] = unixConnect(w->sourcePath);
        g_assert_cmpint(w->sender[i], >=, 0);
        sendByte(w->sender[i], (char)('a' + i));
    }
}

/* The connections arrive in the given order. */
static void
worldConnectReceiver(world *w, const unsigned *order)
{
    g_autoptr(GError) error = NULL;

    w->listening = unixListen(w->destPath, COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        migRelayAdd(w->dest, order[i], helloConnOf(w->net[order[i]][1]));
        if (order[i] == 0)
            g_assert_true(migRelayConnect(w->dest, w->destPath, &error));
        g_assert_no_error(error);
    }
    for (unsigned i = 0; i < COUNT; i++)
        w->receiver[i] = accept4(w->listening, NULL, NULL, SOCK_CLOEXEC);
}

static void
testJoined(void)
{
    static const unsigned orders[][COUNT] = { { 0, 1, 2, 3 }, { 0, 3, 1, 2 }, { 3, 2, 0, 1 } };

    for (size_t o = 0; o < G_N_ELEMENTS(orders); o++) {
        world w;

        worldMake(&w);
        worldConnectSender(&w);
        worldConnectReceiver(&w, orders[o]);
        for (unsigned i = 0; i < COUNT; i++) {
            g_assert_cmpint(receive(w.receiver[i]), ==, 'a' + (int)i);
            sendByte(w.receiver[i], 'r');
            g_assert_cmpint(receive(w.sender[i]), ==, 'r');
        }
        /* All are there, so nobody else can come. */
        while (g_file_test(w.sourcePath, G_FILE_TEST_EXISTS))
            g_thread_yield();
        g_assert_cmpint(unixConnect(w.sourcePath), ==, -1);
        /* They end one by one, in good order. */
        for (unsigned i = 0; i < COUNT; i++) {
            baseFdReplace(&w.sender[i], -1);
            g_assert_cmpint(receive(w.receiver[i]), ==, 0);
            baseFdReplace(&w.receiver[i], -1);
        }
        g_assert_null(migRelayError(w.source, false));
        g_assert_null(migRelayError(w.dest, false));
        migRelayEnd(w.source);
        migRelayEnd(w.source);
        g_assert_cmpint(w.sourceBroken + w.destBroken, ==, 0);
        worldFree(&w);
    }
}

static void
resetTcp(int fd)
{
    const struct linger now = { .l_onoff = 1 };

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(fd);
}

/* One connection fails: all others end, and it is said once which and why. */
static void
testOneFails(gconstpointer data)
{
    const unsigned which = GPOINTER_TO_UINT(data);
    g_autofree char *why = NULL;
    g_autofree char *start = g_strdup_printf("Connection %u of %u: ", which + 1, COUNT);
    world w;

    worldMake(&w);
    worldConnectSender(&w);
    for (unsigned i = 0; i < COUNT; i++)
        g_assert_cmpint(receive(w.net[i][1]), ==, 'a' + (int)i);
    resetTcp(w.net[which][1]);
    g_assert_true(ioWaitFlag(&w.sourceBroken, 1));
    for (unsigned i = 0; i < COUNT; i++) {
        g_assert_cmpint(receive(w.sender[i]), ==, 0);
        if (i == which)
            continue;
        /* Not as if it were complete. */
        g_assert_cmpint(receive(w.net[i][1]), ==, -1);
        close(w.net[i][1]);
    }
    why = migRelayError(w.source, true);
    g_assert_true(g_str_has_prefix(why, start));
    g_assert_nonnull(strstr(why, "'h2'"));
    migRelayEnd(w.source);
    g_assert_cmpint(w.sourceBroken, ==, 1);
    worldFree(&w);
}

/* Shut at any time: before the VMM has connected, in the middle of it, afterwards. */
static void
testShut(void)
{
    for (unsigned connected = 0; connected <= COUNT; connected++) {
        g_autoptr(GError) error = NULL;
        world w;

        worldMake(&w);
        g_assert_true(migRelayListen(w.source, w.sourcePath, &error));
        for (unsigned i = 0; i < connected; i++) {
            w.sender[i] = unixConnect(w.sourcePath);
            sendByte(w.sender[i], 'x');
            g_assert_cmpint(receive(w.net[i][1]), ==, 'x');
        }
        migRelayShut(w.source);
        for (unsigned i = 0; i < COUNT; i++) {
            if (i < connected)
                g_assert_cmpint(receive(w.sender[i]), ==, 0);
            g_assert_cmpint(receive(w.net[i][1]), <=, 0);
            close(w.net[i][1]);
        }
        g_assert_null(migRelayError(w.source, false));
        migRelayFree(g_steal_pointer(&w.source));
        g_assert_cmpint(w.sourceBroken, ==, 0);
        worldFree(&w);
    }
}

/* What comes twice, with a wrong number or too late is closed. */
static void
testStrangers(void)
{
    g_autoptr(GError) error = NULL;
    world w;
    int pair[2];

    worldMake(&w);
    for (unsigned i = 0; i < COUNT; i++)
        migRelayAdd(w.dest, i, helloConnOf(w.net[i][1]));
    for (unsigned index = 0; index <= COUNT; index += COUNT) {
        tcpPair(pair);
        migRelayAdd(w.dest, index, helloConnOf(pair[0]));
        g_assert_cmpint(receive(pair[1]), ==, 0);
        close(pair[1]);
    }
    migRelayShut(w.dest);
    tcpPair(pair);
    migRelayAdd(w.dest, 1, helloConnOf(pair[0]));
    g_assert_cmpint(receive(pair[1]), ==, 0);
    close(pair[1]);
    migRelayShut(w.source);
    g_assert_false(migRelayListen(w.source, w.sourcePath, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    worldFree(&w);
}

static void
testNoSocket(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *deep = g_strnfill(200, 'd');
    world w;

    worldMake(&w);
    g_assert_false(migRelayListen(w.source, deep, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_assert_nonnull(strstr(error->message, deep));
    g_clear_error(&error);
    g_assert_false(migRelayListen(w.source, "/nonexistent/x.sock", &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_assert_nonnull(strstr(error->message, "/nonexistent/x.sock"));
    g_clear_error(&error);
    /* Nobody listens there. */
    for (unsigned i = 0; i < COUNT; i++)
        migRelayAdd(w.dest, i, helloConnOf(w.net[i][1]));
    g_assert_false(migRelayConnect(w.dest, w.destPath, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_assert_nonnull(strstr(error->message, w.destPath));
    worldFree(&w);
}

/* The receiving VMM has gone when a later connection comes. */
static void
testReceiverGone(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *why = NULL;
    world w;

    worldMake(&w);
    w.listening = unixListen(w.destPath, COUNT);
    migRelayAdd(w.dest, 0, helloConnOf(w.net[0][1]));
    g_assert_true(migRelayConnect(w.dest, w.destPath, &error));
    baseFdReplace(&w.listening, -1);
    migRelayAdd(w.dest, 1, helloConnOf(w.net[1][1]));
    g_assert_true(ioWaitFlag(&w.destBroken, 1));
    /* Whichever is noticed first: that the first one was hung up on, or that the second one is refused. */
    why = migRelayError(w.dest, false);
    g_assert_true(strstr(why, w.destPath) || strstr(why, "the VMM"));
    migRelayAdd(w.dest, 2, helloConnOf(w.net[2][1]));
    migRelayAdd(w.dest, 3, helloConnOf(w.net[3][1]));
    migRelayEnd(w.dest);
    g_assert_cmpint(w.destBroken, ==, 1);
    worldFree(&w);
}

/* A VMM that goes without taking its bytes knows better why than the network does. */
static void
testVmmGone(void)
{
    static const unsigned order[] = { 0, 1, 2, 3 };
    g_autofree char *why = NULL;
    world w;

    worldMake(&w);
    worldConnectSender(&w);
    worldConnectReceiver(&w, order);
    baseFdReplace(&w.receiver[2], -1);
    g_assert_true(ioWaitFlag(&w.destBroken, 1));
    while ((why = migRelayError(w.dest, true)))
        g_free(why);
    why = migRelayError(w.dest, false);
    g_assert_true(g_str_has_prefix(why, "Connection 3 of 4: "));
    g_assert_nonnull(strstr(why, "the VMM"));
    /* The other host hears of it by the network. */
    g_assert_true(ioWaitFlag(&w.sourceBroken, 1));
    g_free(why);
    why = migRelayError(w.source, true);
    g_assert_nonnull(strstr(why, "'h2'"));
    worldFree(&w);
}

/* ---- one connection ---- */

/* The source's relay alone: vmm =relay= net. */
typedef struct {
    migRelay *relay;
    int vmm, net;
    gint broken;
    guint fds;
} single;

static void
singleMake(single *s, const migRelayOptions *options)
{
    g_autoptr(GError) error = NULL;
    int pair[2];

    memset(s, 0, sizeof(*s));
    s->fds = ioCountFds();
    s->relay = migRelayNew(0, "h2", onBroken, &s->broken);
    if (options)
        migRelaySetOptions(s->relay, options);
    tcpPair(pair);
    s->net = pair[1];
    migRelayAdd(s->relay, 0, helloConnOf(pair[0]));
    s->vmm = migRelayPair(s->relay, true, &error);
    g_assert_no_error(error);
    g_assert_false(migRelaySeveral(s->relay));
}

static void
singleFree(single *s)
{
    migRelayFree(s->relay);
    baseFdClose(s->vmm);
    baseFdClose(s->net);
    g_assert_cmpuint(ioCountFds(), ==, s->fds);
}

static void
testSingle(void)
{
    single s;

    singleMake(&s, NULL);
    for (unsigned i = 0; i < 5; i++) {
        sendByte(s.vmm, 'f');
        g_assert_cmpint(receive(s.net), ==, 'f');
    }
    sendByte(s.net, 'b');
    g_assert_cmpint(receive(s.vmm), ==, 'b');
    /* A byte may be there before it is counted. */
    while (migRelayBytes(s.relay, PUMP_FORWARD) < 5 || migRelayBytes(s.relay, PUMP_BACKWARD) < 1)
        g_thread_yield();
    migRelayEnd(s.relay);
    /* Still known when all is over. */
    g_assert_cmpuint(migRelayBytes(s.relay, PUMP_FORWARD), ==, 5);
    g_assert_cmpuint(migRelayBytes(s.relay, PUMP_BACKWARD), ==, 1);
    g_assert_cmpint(s.broken, ==, 0);
    singleFree(&s);
}

/* Its one connection needs no number. */
static void
testSingleFails(void)
{
    g_autofree char *why = NULL;
    single s;

    singleMake(&s, NULL);
    sendByte(s.vmm, 'f');
    g_assert_cmpint(receive(s.net), ==, 'f');
    resetTcp(s.net);
    s.net = -1;
    g_assert_true(ioWaitFlag(&s.broken, 1));
    why = migRelayError(s.relay, false);
    g_assert_null(strstr(why, "Connection 1"));
    g_assert_nonnull(strstr(why, "'h2'"));
    g_assert_cmpint(receive(s.vmm), ==, 0);
    singleFree(&s);
}

/* A limit that is set before and while there are connections is one for all of them. */
static void
testLimit(void)
{
    static const unsigned order[] = { 0, 1, 2, 3 };
    world w;

    worldMake(&w);
    /* One byte in a second or so, whoever sends it. */
    migRelaySetLimit(w.source, 1);
    worldConnectSender(&w);
    worldConnectReceiver(&w, order);
    g_assert_cmpuint(migRelayBytes(w.source, PUMP_FORWARD), <, COUNT);
    migRelaySetLimit(w.source, 0);
    for (unsigned i = 0; i < COUNT; i++)
        g_assert_cmpint(receive(w.receiver[i]), ==, 'a' + (int)i);
    /* They are counted once they are gone, and so may have arrived before. */
    while (migRelayBytes(w.source, PUMP_FORWARD) < COUNT || migRelayBytes(w.dest, PUMP_FORWARD) < COUNT)
        g_thread_yield();
    g_assert_cmpuint(migRelayBytes(w.source, PUMP_FORWARD), ==, COUNT);
    g_assert_cmpuint(migRelayBytes(w.dest, PUMP_FORWARD), ==, COUNT);
    worldFree(&w);
}

/* The other side takes nothing, although its host is well. */
static void
testStall(void)
{
    const migRelayOptions options = { .stallMs = 300 };
    g_autofree char *bytes = g_malloc0(65536);
    g_autofree char *why = NULL;
    single s;

    singleMake(&s, &options);
    while (!g_atomic_int_get(&s.broken)) {
        if (send(s.vmm, bytes, 65536, MSG_NOSIGNAL) < 0)
            break;
    }
    g_assert_true(ioWaitFlag(&s.broken, 1));
    why = migRelayError(s.relay, false);
    g_assert_nonnull(strstr(why, "300 ms"));
    g_assert_nonnull(strstr(why, "'h2'"));
    singleFree(&s);
}

/* Lets nothing pass before it is poked. */
typedef struct {
    GByteArray *held;
    bool open;
} gateFilter;

static bool
gateBytes(void *filter, pump *p, pumpDirection direction, const uint8_t *bytes, size_t len, GError **error G_GNUC_UNUSED)
{
    gateFilter *g = filter;

    if (direction == PUMP_FORWARD && !g->open)
        g_byte_array_append(g->held, bytes, (guint)len);
    else
        pumpEmit(p, direction, bytes, len);
    return true;
}

static bool
gatePoke(void *filter, pump *p, GError **error G_GNUC_UNUSED)
{
    gateFilter *g = filter;

    pumpEmit(p, PUMP_FORWARD, g->held->data, g->held->len);
    g_byte_array_set_size(g->held, 0);
    g->open = true;
    return true;
}

static void
testFilter(void)
{
    static const pumpFilterOps ops = { .bytes = gateBytes, .poke = gatePoke };
    gateFilter filter = { .held = g_byte_array_new() };
    const migRelayOptions options = { .filterOps = &ops, .filter = &filter };
    single s;

    singleMake(&s, &options);
    sendByte(s.vmm, 'f');
    sendByte(s.net, 'b');
    g_assert_cmpint(receive(s.vmm), ==, 'b');
    g_assert_cmpuint(migRelayBytes(s.relay, PUMP_FORWARD), ==, 0);
    migRelayPoke(s.relay);
    g_assert_cmpint(receive(s.net), ==, 'f');
    sendByte(s.vmm, 'g');
    g_assert_cmpint(receive(s.net), ==, 'g');
    singleFree(&s);
    g_byte_array_unref(filter.held);
}

/* ---- one stream over several connections ---- */

/* The VMM's ends: by pairs, or by paths as of a VMM that takes no descriptor. */
static void
spreadEnd(world *w, bool byPath, bool sends)
{
    int *end = sends ? &w->sender[0] : &w->receiver[0];
    g_autoptr(GError) error = NULL;

    if (!byPath) {
        *end = migRelayPair(sends ? w->source : w->dest, sends, &error);
    } else if (sends) {
        migRelayListen(w->source, w->sourcePath, &error);
        *end = unixConnect(w->sourcePath);
    } else {
        w->listening = unixListen(w->destPath, COUNT);
        migRelayConnect(w->dest, w->destPath, &error);
        *end = accept4(w->listening, NULL, NULL, SOCK_CLOEXEC);
    }
    g_assert_no_error(error);
    g_assert_cmpint(*end, >=, 0);
}

/* With a filter before or without one; the connections arrive in any order. */
static void
testSpread(gconstpointer data)
{
    const bool byPath = g_strcmp0(data, "path") == 0;
    static const pumpFilterOps ops = { .bytes = gateBytes, .poke = gatePoke };
    static const unsigned order[] = { 2, 0, 3, 1 };
    gateFilter filter = { .held = g_byte_array_new() };
    const migRelayOptions options = { .spread = true, .filterOps = data ? &ops : NULL, .filter = &filter, .method = BLOCKS_ZSTD };
    const migRelayOptions there = { .spread = true, .method = BLOCKS_ZSTD };
    world w;

    worldMake(&w);
    migRelaySetOptions(w.source, &options);
    migRelaySetOptions(w.dest, &there);
    g_assert_false(migRelaySeveral(w.source));
    spreadEnd(&w, byPath, true);
    for (unsigned i = 0; i < COUNT; i++) {
        migRelayAdd(w.dest, order[i], helloConnOf(w.net[order[i]][1]));
        if (order[i] == 0)
            spreadEnd(&w, byPath, false);
    }
    sendByte(w.sender[0], 'f');
    sendByte(w.receiver[0], 'b');
    g_assert_cmpint(receive(w.sender[0]), ==, 'b');
    migRelayPoke(w.source);
    g_assert_cmpint(receive(w.receiver[0]), ==, 'f');
    /* The end comes after the last byte, in both directions. */
    sendByte(w.sender[0], 'z');
    g_assert_cmpint(shutdown(w.sender[0], SHUT_WR), ==, 0);
    g_assert_cmpint(receive(w.receiver[0]), ==, 'z');
    g_assert_cmpint(receive(w.receiver[0]), ==, 0);
    sendByte(w.receiver[0], 'c');
    baseFdReplace(&w.receiver[0], -1);
    g_assert_cmpint(receive(w.sender[0]), ==, 'c');
    g_assert_cmpint(receive(w.sender[0]), ==, 0);
    migRelayEnd(w.source);
    migRelayEnd(w.dest);
    g_assert_cmpuint(migRelayBytes(w.dest, PUMP_FORWARD), ==, 2);
    g_assert_cmpint(w.sourceBroken + w.destBroken, ==, 0);
    worldFree(&w);
    g_byte_array_unref(filter.held);
}

static bool
refuseBytes(void *filter G_GNUC_UNUSED, pump *p G_GNUC_UNUSED, pumpDirection direction G_GNUC_UNUSED, const uint8_t *bytes G_GNUC_UNUSED,
            size_t len G_GNUC_UNUSED, GError **error)
{
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "The filter has had enough.");
    return false;
}

/* A stream that the filter has cut is no whole one for the other side, and the filter's reason is the one that is told. */
static void
testSpreadRefused(void)
{
    static const pumpFilterOps ops = { .bytes = refuseBytes };
    const migRelayOptions options = { .spread = true, .filterOps = &ops };
    const migRelayOptions there = { .spread = true };
    g_autoptr(GError) error = NULL;
    g_autofree char *why = NULL;
    world w;

    worldMake(&w);
    migRelaySetOptions(w.source, &options);
    migRelaySetOptions(w.dest, &there);
    w.sender[0] = migRelayPair(w.source, true, &error);
    for (unsigned i = 0; i < COUNT; i++)
        migRelayAdd(w.dest, i, helloConnOf(w.net[i][1]));
    w.receiver[0] = migRelayPair(w.dest, false, &error);
    g_assert_no_error(error);
    sendByte(w.sender[0], 'f');
    g_assert_true(ioWaitFlag(&w.sourceBroken, 1));
    why = migRelayError(w.source, false);
    g_assert_nonnull(strstr(why, "The filter has had enough."));
    g_assert_true(ioWaitFlag(&w.destBroken, 1));
    g_assert_cmpint(receive(w.receiver[0]), <=, 0);
    worldFree(&w);
}

static void
testSpreads(void)
{
    migParams params = { .parallel = false, .transport = NULL };

    g_assert_false(migRelaySpreads(&params, false));
    params.parallel = true;
    g_assert_true(migRelaySpreads(&params, false));
    g_assert_false(migRelaySpreads(&params, true));
    params.transport = (char *)"relay";
    g_assert_true(migRelaySpreads(&params, true));
}

static void
testChannels(void)
{
    migParams params = { .parallelConnections = 5 };

    g_assert_cmpuint(migRelayChannels(&params), ==, 0);
    params.parallel = true;
    g_assert_cmpuint(migRelayChannels(&params), ==, 5);
    params.parallelConnections = 0;
    g_assert_cmpuint(migRelayChannels(&params), ==, 2);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ioWarmUp();
    g_test_add_func("/relay/channels", testChannels);
    g_test_add_func("/relay/joined", testJoined);
    g_test_add_data_func("/relay/one-fails/main", GUINT_TO_POINTER(0), testOneFails);
    g_test_add_data_func("/relay/one-fails/last", GUINT_TO_POINTER(COUNT - 1), testOneFails);
    g_test_add_func("/relay/shut", testShut);
    g_test_add_func("/relay/strangers", testStrangers);
    g_test_add_func("/relay/no-socket", testNoSocket);
    g_test_add_func("/relay/receiver-gone", testReceiverGone);
    g_test_add_func("/relay/vmm-gone", testVmmGone);
    g_test_add_func("/relay/single", testSingle);
    g_test_add_func("/relay/single-fails", testSingleFails);
    g_test_add_func("/relay/limit", testLimit);
    g_test_add_func("/relay/stall", testStall);
    g_test_add_func("/relay/filter", testFilter);
    g_test_add_func("/relay/spreads", testSpreads);
    g_test_add_data_func("/relay/spread/plain", NULL, testSpread);
    g_test_add_data_func("/relay/spread/filter", "filter", testSpread);
    g_test_add_data_func("/relay/spread/path", "path", testSpread);
    g_test_add_func("/relay/spread/refused", testSpreadRefused);
    return g_test_run();
}
