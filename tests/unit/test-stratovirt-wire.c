/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* StratoVirt's stream through a pump: what is read of it, holding the state, and streams that are none; then two stand-ins. */
#include <errno.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "io-thread.h"
#include "remote/await.h"
#include "remote/control.h"
#include "remote/stratovirt_state.h"
#include "remote/stratovirt_wire.h"
#include "remote/vmm.h"
#include "remote/vmm_child.h"
#include "stratovirt-stream.h"
#include "unix-listen.h"

#define LIMIT_MS 20000
/* Long enough for a pump to pass on what it has. */
#define QUIET_MS 300
#define LIMIT_US (LIMIT_MS * (gint64)1000)

typedef struct {
    GMutex lock;
    GCond changed;
    GString *phases;             /* by the lock */
    bool over;
    GError *why;
    stratoWire *wire;
    pump *pump;
    baseFd source, dest;         /* the VMMs' ends, unless real ones have them */
} rig;

static void
rigPhase(stratoWirePhase phase, void *opaque)
{
    rig *r = opaque;

    g_mutex_lock(&r->lock);
    g_string_append_printf(r->phases, "%d ", phase);
    g_cond_broadcast(&r->changed);
    g_mutex_unlock(&r->lock);
}

static void
rigEnded(pump *p G_GNUC_UNUSED, const GError *why, void *opaque)
{
    rig *r = opaque;

    g_mutex_lock(&r->lock);
    r->over = true;
    r->why = why ? g_error_copy(why) : NULL;
    g_cond_broadcast(&r->changed);
    g_mutex_unlock(&r->lock);
}

static void
rigStart(rig *r, stratoWireSide side, int source, int dest)
{
    const pumpEnd ends[] = { { .fd = source, .name = "the source" }, { .fd = dest, .name = "the destination" } };
    pumpOptions options = { .twoWay = true, .ended = rigEnded, .opaque = r, .filterOps = &stratoWireFilter };
    g_autoptr(GError) error = NULL;

    r->phases = g_string_new(NULL);
    r->wire = stratoWireNew(side);
    stratoWireSetNotify(r->wire, rigPhase, r);
    options.filter = r->wire;
    r->pump = pumpNew(&ends[0], &ends[1], &options, &error);
    g_assert_no_error(error);
}

static void
rigPair(rig *r, stratoWireSide side)
{
    struct timeval limit = { .tv_sec = LIMIT_MS / 1000 };
    int pairs[2][2];

    for (size_t i = 0; i < 2; i++)
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), ==, 0);
    *r = (rig) { .source = pairs[0][0], .dest = pairs[1][0] };
    setsockopt(r->source, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(r->dest, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    rigStart(r, side, pairs[0][1], pairs[1][1]);
}

static void
rigEnd(rig *r)
{
    pumpFree(r->pump);
    stratoWireFree(r->wire);
    baseFdReplace(&r->source, -1);
    baseFdReplace(&r->dest, -1);
    g_clear_error(&r->why);
    g_string_free(r->phases, TRUE);
}

static void
rigWaitPhase(rig *r, stratoWirePhase phase)
{
    g_autofree char *wanted = g_strdup_printf("%d ", phase);
    gint64 end = g_get_monotonic_time() + LIMIT_US;

    g_mutex_lock(&r->lock);
    while (!strstr(r->phases->str, wanted)) {
        if (!g_cond_wait_until(&r->changed, &r->lock, end))
            g_error("no phase %d in '%s'; %s", phase, r->phases->str, r->why ? r->why->message : "no error");
    }
    g_mutex_unlock(&r->lock);
}

static void
rigWaitOver(rig *r)
{
    gint64 end = g_get_monotonic_time() + LIMIT_US;

    g_mutex_lock(&r->lock);
    while (!r->over)
        g_assert_true(g_cond_wait_until(&r->changed, &r->lock, end));
    g_mutex_unlock(&r->lock);
}

/* ---- streams made here -------------------------------------------------------------------------------------- */

static void
sendAll(int fd, const void *bytes, size_t len, size_t chunk)
{
    for (size_t at = 0; at < len; at += MIN(chunk, len - at))
        g_assert_cmpint(send(fd, (const char *)bytes + at, MIN(chunk, len - at), MSG_NOSIGNAL), ==,
                        (gssize)MIN(chunk, len - at));
}

static void
expectBytes(int fd, const void *wanted, size_t len)
{
    g_autofree char *got = g_malloc(len);

    g_assert_cmpint(recv(fd, got, len, MSG_WAITALL), ==, (gssize)len);
    g_assert_cmpmem(got, len, wanted, len);
}

static void
expectNothing(int fd)
{
    char byte;

    g_assert_cmpint(recv(fd, &byte, 1, MSG_DONTWAIT), ==, -1);
    g_assert_cmpint(errno, ==, EAGAIN);
}

typedef struct {
    int fd;
    GByteArray *bytes;
    size_t chunk;
} sending;

static gpointer
sendThread(gpointer data)
{
    const sending *s = data;

    sendAll(s->fd, s->bytes->data, s->bytes->len, s->chunk);
    return NULL;
}

/* @bytes, which is used up, arrives, and its answer does. */
static void
exchange(rig *r, GByteArray *bytes, size_t chunk)
{
    static const uint8_t ok[] = { OK, 0 };
    sending s = { .fd = r->source, .bytes = bytes, .chunk = chunk };
    /* Small pieces fill a socket quickly. */
    GThread *thread = g_thread_new("send", sendThread, &s);

    expectBytes(r->dest, bytes->data, bytes->len);
    g_thread_join(thread);
    sendAll(r->dest, ok, sizeof(ok), 1);
    expectBytes(r->source, ok, sizeof(ok));
    g_byte_array_unref(bytes);
}

static void
exchangeMemory(rig *r, size_t chunk)
{
    static const uint64_t all[] = { 4096, 40960 };
    static const uint64_t some[] = { 4096, 1, 8192 };

    exchange(r, makeRequest(ACTIVE, 0), chunk);
    exchange(r, makeRequest(CONFIG, 2000), chunk);
    exchange(r, makeRound(all, G_N_ELEMENTS(all)), chunk);
    exchange(r, makeRound(some, G_N_ELEMENTS(some)), chunk);
}

#define FIELDS "\"current_version\":1,\"compat_version\":1,\"fields\":[{\"var_name\":\"x\\\"}\",\"alias\":\"size\",\"offset\":0,\"size\":4}]}"
#define DESCRIPTIONS_24 \
    "{\"name\":\"Block\",\"alias\":7,\"size\":20000," FIELDS "{\"name\":\"Cpu\",\"alias\":18000000000000000001,\"size\":160," FIELDS

/* However it is cut into pieces, it arrives as it is, and the figures are right. */
static void
testPlain(void)
{
    static const size_t chunks[] = { 1, 7, 16, 1000, 100000 };

    for (size_t i = 0; i < G_N_ELEMENTS(chunks); i++) {
        stratoWireStats stats;
        rig r;

        rigPair(&r, i % 2 ? STRATO_WIRE_SOURCE : STRATO_WIRE_DEST);
        exchangeMemory(&r, chunks[i]);
        stratoWireGetStats(r.wire, &stats);
        g_assert_cmpint(stats.phase, ==, STRATO_WIRE_MEMORY);
        g_assert_cmpuint(stats.rounds, ==, 2);
        g_assert_cmpuint(stats.memoryTotal, ==, 45056);
        g_assert_cmpuint(stats.memorySent, ==, 45056 + 12289);
        g_assert_cmpuint(stats.roundTotal, ==, 12289);
        g_assert_cmpuint(stats.roundSent, ==, 12289);
        g_assert_cmpuint(stats.lastRoundTotal, ==, 45056);
        g_assert_cmpuint(stats.dirtyBps, >, 0);
        baseFdReplace(&r.source, -1);
        baseFdReplace(&r.dest, -1);
        rigWaitOver(&r);
        g_assert_no_error(r.why);
        rigEnd(&r);
    }
}

/*
 * The source: the state is answered at once, it is whole when the farewell has come and not before, not a byte goes on before it
 * is released, and the farewell is never answered.
 */
static void
sourceWith(const GByteArray *state)
{
    static const uint8_t ok[] = { OK, 0 };
    static const size_t chunks[] = { 1, 9, 4096, 9999, 1000000 };
    g_autoptr(GByteArray) end = makeEnd(state, 0);
    g_autoptr(GByteArray) measured = makeEnd(state, state->len);

    for (size_t i = 0; i < G_N_ELEMENTS(chunks); i++) {
        sending s = { .bytes = end, .chunk = chunks[i] };
        stratoWireStats stats;
        GThread *thread;
        rig r;

        rigPair(&r, STRATO_WIRE_SOURCE);
        exchangeMemory(&r, 1000);
        s.fd = r.source;
        thread = g_thread_new("send", sendThread, &s);
        expectBytes(r.source, ok, sizeof(ok));
        rigWaitPhase(&r, STRATO_WIRE_READY);
        g_thread_join(thread);
        stratoWireGetStats(r.wire, &stats);
        g_assert_cmpuint(stats.heldBytes, ==, end->len);
        /* A poke alone releases nothing. */
        pumpPoke(r.pump);
        expectNothing(r.dest);
        stratoWireRelease(r.wire, i % 2);
        pumpPoke(r.pump);
        expectBytes(r.dest, i % 2 ? measured->data : end->data, end->len);
        sendAll(r.dest, ok, sizeof(ok), 2);
        rigWaitPhase(&r, STRATO_WIRE_LOADED);
        sendAll(r.dest, ok, sizeof(ok), 2);
        rigWaitPhase(&r, STRATO_WIRE_COMPLETE);
        expectNothing(r.source);
        baseFdReplace(&r.dest, -1);
        pumpPoke(r.pump);
        expectNothing(r.source);                                       /* neither an answer nor the end */
        g_assert_cmpstr(r.phases->str, ==, "1 1 1 2 3 4 5 6 ");
        rigEnd(&r);
    }
}

static void
testSource(void)
{
    g_autoptr(GByteArray) state = makeState(true);

    sourceWith(state);
}

static void
testSource24(void)
{
    g_autoptr(GByteArray) state = makeState24(DESCRIPTIONS_24);

    sourceWith(state);
}

/* Where the lengths are said, and where not. */
static void
testSizes(void)
{
    static const char *const none[] = {
        "", "x", "{}", "[]", "}", "{\"alias\":1}", "{\"alias\":1,\"size\":0}", "{\"alias\":1,\"size\":5", "{\"alias\":1,\"size\":5}{",
        "{\"alias\":1,\"size\":5}{\"alias\":2,\"size\":0}", "{\"fields\":[{\"alias\":1,\"size\":5}]}", "{\"alias", "{\"a\\",
    };
    static const uint64_t kinds[] = { 7, 18000000000000000001ULL };
    g_autoptr(GHashTable) sizes = stratoStateSizes((const uint8_t *)DESCRIPTIONS_24, strlen(DESCRIPTIONS_24));

    g_assert_cmpuint(g_hash_table_size(sizes), ==, 2);
    g_assert_cmpuint(*(uint64_t *)g_hash_table_lookup(sizes, &kinds[0]), ==, 20000);
    g_assert_cmpuint(*(uint64_t *)g_hash_table_lookup(sizes, &kinds[1]), ==, 160);
    for (size_t i = 0; i < G_N_ELEMENTS(none); i++)
        g_assert_null(stratoStateSizes((const uint8_t *)none[i], strlen(none[i])));
}

/* The destination is gone while the state comes: the source must not hear it, since it would let its guest run at once. */
static void
testGoneInState(void)
{
    static const uint8_t ok[] = { OK, 0 };
    g_autoptr(GByteArray) state = makeState(true);
    g_autoptr(GByteArray) end = makeEnd(state, 0);
    struct pollfd entry = { .events = POLLIN };
    gint64 began = g_get_monotonic_time();
    stratoWireStats stats;
    rig r;

    rigPair(&r, STRATO_WIRE_SOURCE);
    exchangeMemory(&r, 1000);
    stratoWireGetStats(r.wire, &stats);
    g_assert_cmpint(stats.stateAtUs, ==, 0);
    sendAll(r.source, end->data, state->len, state->len);
    expectBytes(r.source, ok, sizeof(ok));
    baseFdReplace(&r.dest, -1);
    entry.fd = r.source;
    g_assert_cmpint(poll(&entry, 1, QUIET_MS), ==, 0);
    stratoWireGetStats(r.wire, &stats);
    g_assert_cmpint(stats.phase, ==, STRATO_WIRE_STATE);
    g_assert_cmpint(stats.stateAtUs, >=, began);
    rigEnd(&r);
}

/*
 * The destination has all of it and leaves in good order: that it had loaded it, it would have said before; half an answer is no
 * proof of anything.  The source hears nothing of it.
 */
static void
testLeft(void)
{
    static const uint8_t answers[] = { OK, 0, OK, 0 };
    static const struct { size_t said; stratoWirePhase phase; bool refused; } cases[] = {
        { 0, STRATO_WIRE_RELEASED, true }, { 1, STRATO_WIRE_RELEASED, false }, { 2, STRATO_WIRE_LOADED, false },
        { 4, STRATO_WIRE_COMPLETE, false },
    };
    g_autoptr(GByteArray) state = makeState(true);
    g_autoptr(GByteArray) end = makeEnd(state, 0);

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        gint64 until = g_get_monotonic_time() + (cases[i].refused ? LIMIT_US : QUIET_MS * 1000);
        stratoWireStats stats = { 0 };
        rig r;

        rigPair(&r, STRATO_WIRE_SOURCE);
        exchangeMemory(&r, 1000);
        sendAll(r.source, end->data, end->len, 5000);
        expectBytes(r.source, answers, 2);
        rigWaitPhase(&r, STRATO_WIRE_READY);
        stratoWireRelease(r.wire, false);
        pumpPoke(r.pump);
        expectBytes(r.dest, end->data, end->len);
        if (cases[i].said > 0)
            sendAll(r.dest, answers, cases[i].said, 1);
        rigWaitPhase(&r, cases[i].phase);
        stratoWireGetStats(r.wire, &stats);
        g_assert_false(stats.refused);
        baseFdReplace(&r.dest, -1);
        while (!stats.refused && g_get_monotonic_time() < until) {
            g_usleep(1000);
            stratoWireGetStats(r.wire, &stats);
        }
        g_assert_cmpint(stats.refused, ==, cases[i].refused);
        g_assert_cmpint(stats.phase, ==, cases[i].phase);
        expectNothing(r.source);
        rigEnd(&r);
    }
}

/* Whose records are none: the VMM's word, the look of the last bytes and a moment's silence do. */
static void
testConclude(void)
{
    static const uint8_t ok[] = { OK, 0 };
    g_autoptr(GByteArray) state = makeState(false);
    g_autoptr(GByteArray) end = makeEnd(state, 0);
    gint64 until = g_get_monotonic_time() + LIMIT_US;
    stratoWireStats stats = { 0 };
    rig r;

    rigPair(&r, STRATO_WIRE_SOURCE);
    exchangeMemory(&r, 1000);
    sendAll(r.source, end->data, end->len, 5000);
    expectBytes(r.source, ok, sizeof(ok));
    do {
        stratoWireGetStats(r.wire, &stats);
        g_assert_cmpint(g_get_monotonic_time(), <, until);
        g_thread_yield();
    } while (stats.heldBytes < end->len);
    g_assert_cmpint(stats.phase, ==, STRATO_WIRE_STATE);
    stratoWireConclude(r.wire);
    while (stats.phase == STRATO_WIRE_STATE) {
        pumpPoke(r.pump);
        g_usleep(1000);
        stratoWireGetStats(r.wire, &stats);
        g_assert_cmpint(g_get_monotonic_time(), <, until);
    }
    g_assert_cmpint(stats.phase, ==, STRATO_WIRE_READY);
    stratoWireRelease(r.wire, false);
    pumpPoke(r.pump);
    expectBytes(r.dest, end->data, end->len);
    rigEnd(&r);
}

/* The destination: what has a length is whole when it is there; then even the end of the source does no harm. */
static void
testDest(void)
{
    static const uint8_t ok[] = { OK, 0 };
    g_autoptr(GByteArray) state = makeState(true);
    g_autoptr(GByteArray) end = makeEnd(state, 0);
    g_autoptr(GByteArray) measured = makeEnd(state, state->len);
    rig r;

    rigPair(&r, STRATO_WIRE_DEST);
    exchangeMemory(&r, 1000);
    sendAll(r.source, measured->data, measured->len - 1, 777);
    rigWaitPhase(&r, STRATO_WIRE_STATE);
    g_assert_null(strstr(r.phases->str, "3 "));
    sendAll(r.source, measured->data + measured->len - 1, 1, 1);
    rigWaitPhase(&r, STRATO_WIRE_READY);
    shutdown(r.source, SHUT_WR);
    pumpPoke(r.pump);
    expectNothing(r.dest);
    stratoWireRelease(r.wire, false);
    pumpPoke(r.pump);
    expectBytes(r.dest, end->data, end->len);
    sendAll(r.dest, ok, sizeof(ok), 2);
    sendAll(r.dest, ok, sizeof(ok), 2);
    rigWaitPhase(&r, STRATO_WIRE_COMPLETE);
    expectBytes(r.source, ok, sizeof(ok));
    g_assert_cmpstr(r.phases->str, ==, "1 1 1 2 3 4 5 6 ");
    rigEnd(&r);
}

static void
testCancel(void)
{
    rig r;

    rigPair(&r, STRATO_WIRE_SOURCE);
    exchangeMemory(&r, 1000);
    exchange(&r, makeRequest(CANCEL, 0), 16);
    rigWaitPhase(&r, STRATO_WIRE_CANCELLED);
    rigEnd(&r);
}

/* ---- streams that are none ------------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    unsigned before;             /* requests that are good: the greeting, the configuration */
    uint16_t status;
    uint64_t length;
    uint64_t block;              /* of MEMORY: the length of the first block */
    const char *words;
} badCase;

static const badCase badCases[] = {
    { "kind", 0, 8, 0, 0, "unknown kind 8" },
    { "answer-as-request", 0, OK, 0, 0, "unknown kind 6" },
    { "config-first", 0, CONFIG, 10, 0, "comes after 0 others" },
    { "greeting-twice", 1, ACTIVE, 0, 0, "comes after 1 others" },
    { "memory-too-early", 1, MEMORY, 16, 4096, "comes after 1 others" },
    { "state-too-early", 2, STATE, 0, 0, "comes after 2 others" },
    { "complete-without-state", 2, COMPLETE, 0, 0, "comes after 2 others" },
    { "greeting-with-body", 0, ACTIVE, 1, 0, "the length 1" },
    { "config-empty", 1, CONFIG, 0, 0, "the length 0" },
    { "config-huge", 1, CONFIG, 1024 * 1024 + 1, 0, "the length 1048577" },
    { "table-odd", 2, MEMORY, 17, 4096, "the length 17" },
    { "table-empty", 2, MEMORY, 0, 4096, "the length 0" },
    { "table-65537", 2, MEMORY, 65537 * 16, 4096, "65537 blocks" },
    { "block-empty", 2, MEMORY, 16, 0, "a block of 0 bytes" },
    { "block-endless", 2, MEMORY, 16, UINT64_MAX, "a block of 18446744073709551615 bytes" },
};

static void
testBad(gconstpointer data)
{
    const badCase *c = data;
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    rig r;

    rigPair(&r, STRATO_WIRE_SOURCE);
    if (c->before > 0)
        exchange(&r, makeRequest(ACTIVE, 0), 16);
    if (c->before > 1)
        exchange(&r, makeRequest(CONFIG, 20), 16);
    addHead(bytes, c->length, c->status);
    addNumber(bytes, 0, 8);
    addNumber(bytes, c->block, 8);
    sendAll(r.source, bytes->data, bytes->len, bytes->len);
    rigWaitOver(&r);
    g_assert_error(r.why, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    if (!strstr(r.why->message, c->words))
        g_error("'%s' does not say '%s'", r.why->message, c->words);
    rigEnd(&r);
}

/* The source goes on without an answer; the destination answers what nobody asked, or nonsense. */
static void
testTurns(void)
{
    static const struct { bool fromSource; uint8_t bytes[2]; const char *words; } cases[] = {
        { true, { 0, 0 }, "has to wait" },
        { false, { 9, 0 }, "unknown kind 9" },
        { false, { OK, 0 }, "nothing has been asked" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) greeting = makeRequest(ACTIVE, 0);
        rig r;

        rigPair(&r, STRATO_WIRE_SOURCE);
        if (i < 2) {
            sendAll(r.source, greeting->data, greeting->len, 16);
            expectBytes(r.dest, greeting->data, greeting->len);
        }
        sendAll(cases[i].fromSource ? r.source : r.dest, cases[i].bytes, 2, 2);
        rigWaitOver(&r);
        g_assert_error(r.why, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
        g_assert_nonnull(strstr(r.why->message, cases[i].words));
        rigEnd(&r);
    }
}

/* A destination is told a length, and finds a farewell after so many bytes; a source sends nothing after it. */
static void
testEnds(void)
{
    static const struct { stratoWireSide side; uint64_t length; const char *words; } cases[] = {
        { STRATO_WIRE_DEST, 0, "the length 0" },
        { STRATO_WIRE_DEST, 1ULL << 40, "the length 1099511627776" },
        { STRATO_WIRE_DEST, 100, "not followed by a farewell" },
        { STRATO_WIRE_SOURCE, 7, "the length 7" },
        { STRATO_WIRE_SOURCE, 0, "after its farewell" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) state = makeState(true);
        g_autoptr(GByteArray) end = makeEnd(state, cases[i].length);
        rig r;

        rigPair(&r, cases[i].side);
        exchangeMemory(&r, 1000);
        addHead(end, 0, COMPLETE);
        send(r.source, end->data, end->len, MSG_NOSIGNAL);
        rigWaitOver(&r);
        g_assert_error(r.why, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
        /* In one read, or in two. */
        if (!strstr(r.why->message, cases[i].words) && !(i == 4 && strstr(r.why->message, "has to wait")))
            g_error("'%s' does not say '%s'", r.why->message, cases[i].words);
        rigEnd(&r);
    }
}

/* ---- two stand-ins -------------------------------------------------------------------------------------------------- */

typedef struct {
    vmmChild child;
    control *ctl;
    char *path;
} peer;

static void
peerStart(peer *to, ioThread *io, const char *dir, const char *name, const char *incoming)
{
    g_autofree char *binary = g_strdup_printf("%s/tests/vmm/stratovirt-2.5.0-mended", g_getenv("SV_BUILD_ROOT"));
    g_autofree char *kernel = g_build_filename(dir, "kernel", NULL);
    g_autofree char *qmp = NULL;
    const char *argv[] = { binary, "-machine", "q35", "-m", "128M", "-kernel", kernel, "-append", "sv.mem=16 sv.tick=5 sv.dirty=4",
                           "-serial", "pty", "-initrd", kernel, "-qmp", NULL, incoming ? "-incoming" : NULL, incoming, "-disable-seccomp", NULL };
    g_autoptr(GError) error = NULL;
    int fd;

    to->child = (vmmChild)VMM_CHILD_INIT;
    to->path = g_build_filename(dir, name, NULL);
    qmp = g_strdup_printf("unix:%s,server,nowait", to->path);
    argv[14] = qmp;
    g_assert_true(vmmChildStart(&to->child, argv, NULL, 0, &error));
    to->ctl = controlNew(io->context, name, NULL, NULL, NULL);
    if (incoming)
        return;                  /* says nothing until the guest is there */
    fd = awaitSocket(to->path, to->child.pidFd, LIMIT_MS, &error);
    g_assert_no_error(error);
    g_assert_true(controlOpenFd(to->ctl, fd, LIMIT_MS, &error));
}

static void
peerEnd(peer *to)
{
    controlUnref(to->ctl);
    vmmChildClear(&to->child);
    g_unlink(to->path);
    g_free(to->path);
}

static void
sendMigrate(peer *from, const char *path)
{
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    JsonObject *arguments = json_object_new();
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(GError) error = NULL;

    json_object_set_string_member(arguments, "uri", uri);
    answer = controlCall(from->ctl, "migrate", arguments, -1, LIMIT_MS, &error);
    g_assert_no_error(error);
}

static void
expectStatus(peer *of, vmmRunState wanted)
{
    vmmRunState state;
    g_autoptr(GError) error = NULL;

    g_assert_true(vmmTraitsByName("stratovirt")->ops->status(of->ctl, &state, &error));
    g_assert_cmpint(state, ==, wanted);
}

/* A running guest moves; while its state is held the source stands still and the destination has nothing. */
static void
testLive(void)
{
    g_autofree char *dir = g_dir_make_tmp("wire-XXXXXX", NULL);
    g_autofree char *relay = g_build_filename(dir, "relay", NULL);
    g_autofree char *stream = g_build_filename(dir, "stream", NULL);
    g_autofree char *incoming = g_strdup_printf("unix:%s", stream);
    g_autofree char *kernel = g_build_filename(dir, "kernel", NULL);
    g_auto(baseFd) listener = unixListen(relay, 1);
    g_autoptr(GError) error = NULL;
    stratoWireStats stats;
    rig r = { .source = -1, .dest = -1 };
    peer source, dest;
    ioThread io;
    int fd, from;

    g_assert_true(g_file_set_contents(kernel, "x", 1, NULL));
    ioThreadStart(&io);
    peerStart(&source, &io, dir, "source", NULL);
    peerStart(&dest, &io, dir, "dest", incoming);
    fd = awaitSocket(stream, dest.child.pidFd, LIMIT_MS, &error);
    g_assert_no_error(error);
    sendMigrate(&source, relay);
    from = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint(from, >=, 0);
    rigStart(&r, STRATO_WIRE_SOURCE, from, fd);
    rigWaitPhase(&r, STRATO_WIRE_READY);
    expectStatus(&source, VMM_RUN_PAUSED);
    stratoWireGetStats(r.wire, &stats);
    g_assert_cmpuint(stats.memoryTotal, ==, 128ULL << 20);
    g_assert_cmpuint(stats.rounds, >=, 2);
    g_assert_cmpuint(stats.memorySent, >, stats.memoryTotal);
    stratoWireRelease(r.wire, false);
    pumpPoke(r.pump);
    rigWaitPhase(&r, STRATO_WIRE_COMPLETE);
    fd = awaitSocket(dest.path, dest.child.pidFd, LIMIT_MS, &error);
    g_assert_no_error(error);
    g_assert_true(controlOpenFd(dest.ctl, fd, LIMIT_MS, &error));
    expectStatus(&dest, VMM_RUN_RUNNING);
    /* It waits for an answer, and without one it would run again. */
    expectStatus(&source, VMM_RUN_PAUSED);
    rigEnd(&r);
    peerEnd(&source);
    peerEnd(&dest);
    ioThreadStop(&io);
    g_unlink(relay);
    g_unlink(stream);
    g_unlink(kernel);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/stratovirt-wire/plain", testPlain);
    g_test_add_func("/stratovirt-wire/source", testSource);
    g_test_add_func("/stratovirt-wire/source-2.4", testSource24);
    g_test_add_func("/stratovirt-wire/sizes", testSizes);
    g_test_add_func("/stratovirt-wire/gone-in-state", testGoneInState);
    g_test_add_func("/stratovirt-wire/conclude", testConclude);
    g_test_add_func("/stratovirt-wire/dest", testDest);
    g_test_add_func("/stratovirt-wire/left", testLeft);
    g_test_add_func("/stratovirt-wire/ends", testEnds);
    g_test_add_func("/stratovirt-wire/cancel", testCancel);
    for (size_t i = 0; i < G_N_ELEMENTS(badCases); i++) {
        g_autofree char *path = g_strdup_printf("/stratovirt-wire/bad/%s", badCases[i].name);

        g_test_add_data_func(path, &badCases[i], testBad);
    }
    g_test_add_func("/stratovirt-wire/turns", testTurns);
    g_test_add_func("/stratovirt-wire/live", testLive);
    return g_test_run();
}
