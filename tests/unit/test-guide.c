/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-guide.c: a destination has everything and has committed: its VMM gets the guest whatever ends meanwhile, and what is said of it
 * afterwards is true
 */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <glib/gstdio.h>

#include "base/error.h"
#include "base/fd.h"
#include "migration/guide.h"
#include "migration/job_priv.h"

#include "io-thread.h"
#include "stratovirt-stream.h"
#include "unix-listen.h"

#define WAIT_MS 10000
/* How long the VMM is slow, which is how long whatever is wrong has to reach it. */
#define SLOW_MS 300

/* What becomes of the source's connection when all is here and before the VMM is given the end. */
typedef enum { SOURCE_STAYS, SOURCE_ENDS, SOURCE_RESET, SOURCE_RAVES } sourceFate;

/* How far the VMM goes; then its process "ends", or with SILENT stays. */
typedef enum { VMM_DIES, VMM_DIES_LATE, VMM_LOADS, VMM_LOADS_LATE, VMM_REFUSES, VMM_RUNS, VMM_SILENT, VMM_LOADS_SILENT } vmmFate;

typedef struct {
    ioThread io;
    migEnv env;
    char *folder, *path;
    migJob *job;
    int source;                  /* the source's end of the connection */
    int vmm;                     /* the VMM's */
    vmmFate fate;
    GByteArray *state;
    GThread *thread;
    unsigned ended;              /* endIncoming() */
    migStart saved;
    bool heardEnd;               /* the VMM has found its connection ended while it loaded the guest */
} world;

static bool
hostSave(void *host, const migRecord *record, GError **error G_GNUC_UNUSED)
{
    world *w = host;

    w->saved = record->start;
    return true;
}

/* The VMM is killed: its connection ends.  One that loads late has just said so. */
static void
hostEnd(void *host, const char *why G_GNUC_UNUSED)
{
    world *w = host;

    w->ended++;
    if (w->fate == VMM_LOADS_LATE)
        g_assert_cmpint(send(w->vmm, "\x06\0", 2, MSG_NOSIGNAL), ==, 2);
    shutdown(w->vmm, SHUT_RDWR);
}

static const migHostOps hostOps = { .save = hostSave, .endIncoming = hostEnd };

static void
receive(int fd, void *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        struct pollfd entry = { .fd = fd, .events = POLLIN };
        ssize_t n;

        g_assert_cmpint(poll(&entry, 1, WAIT_MS), ==, 1);
        n = recv(fd, (char *)bytes + at, len - at, 0);
        g_assert_cmpint(n, >, 0);
        at += (size_t)n;
    }
}

static void
answer(world *w, uint16_t status)
{
    uint16_t le = GUINT16_TO_LE(status);

    g_assert_cmpint(send(w->vmm, &le, sizeof(le), MSG_NOSIGNAL), ==, sizeof(le));
}

/* From the source to the VMM, and the answer back. */
static void
exchange(world *w, GByteArray *taken, bool heard)
{
    g_autoptr(GByteArray) request = taken;
    g_autofree uint8_t *bytes = g_malloc(request->len);
    struct pollfd entry = { .fd = w->source, .events = POLLIN };
    uint8_t status[2];

    g_assert_cmpint(send(w->source, request->data, request->len, MSG_NOSIGNAL), ==, request->len);
    receive(w->vmm, bytes, request->len);
    answer(w, OK);
    g_assert_cmpint(poll(&entry, 1, WAIT_MS), ==, 1);
    if (heard)
        receive(w->source, status, sizeof(status));
}

static void
vmmLoad(world *w)
{
    size_t len = 16 + w->state->len + 16;
    g_autofree uint8_t *bytes = g_malloc(len);
    struct pollfd entry = { .events = POLLIN };

    receive(w->vmm, bytes, len);
    /* As a VMM has it from another. */
    g_assert_cmpint(memcmp(bytes, "\0\0\0\0\0\0\0\0", 8), ==, 0);
    g_assert_cmpint(memcmp(bytes + 16, w->state->data, w->state->len), ==, 0);
    if (w->fate == VMM_SILENT || w->fate == VMM_LOADS_LATE || w->fate == VMM_DIES_LATE)
        return;
    answer(w, w->fate == VMM_REFUSES ? ERROR : OK);
    if (w->fate != VMM_RUNS)
        return;
    /* It is let down by whatever ends its connection now. */
    entry.fd = w->vmm;
    w->heardEnd = poll(&entry, 1, SLOW_MS) != 0;
    if (!w->heardEnd)
        answer(w, OK);
}

static gpointer
vmmThread(gpointer data)
{
    world *w = data;

    if (w->fate != VMM_DIES)
        vmmLoad(w);
    if (w->fate != VMM_SILENT && w->fate != VMM_LOADS_SILENT && w->fate != VMM_LOADS_LATE)
        shutdown(w->vmm, SHUT_RDWR);
    return NULL;
}

static void
worldConnect(world *w)
{
    g_auto(baseFd) listening = unixListen(w->path, 1);
    g_autoptr(GError) error = NULL;
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    w->source = pair[0];
    migRelayAdd(w->job->relay, 0, helloConnOf(pair[1]));
    g_assert_true(migRelayConnect(w->job->relay, w->path, &error));
    g_assert_no_error(error);
    w->vmm = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint(w->vmm, >=, 0);
}

/* Everything has come from the source, which has @heard the last answer, or not. */
static void
worldInit(world *w, vmmFate fate, bool heard)
{
    static const uint64_t blocks[] = { 5000, 1 };
    migRecord record = { .uuid = (char *)"0a0b0c0d-0001-4002-8003-000000000003", .side = MIG_SIDE_DEST, .phase = MIG_PHASE_COMMITTED };
    gint64 until = g_get_monotonic_time() + WAIT_MS * G_TIME_SPAN_MILLISECOND;
    g_autoptr(GByteArray) end = NULL;

    memset(w, 0, sizeof(*w));
    w->fate = fate;
    w->folder = g_dir_make_tmp("sv-guide-XXXXXX", NULL);
    w->path = g_build_filename(w->folder, "s", NULL);
    ioThreadStart(&w->io);
    w->env = (migEnv){ .io = w->io.context, .threads = migThreadsNew(w->io.context), .hostName = (char *)"h2", .finishTimeoutMs = WAIT_MS };
    if (fate == VMM_SILENT || fate == VMM_LOADS_SILENT || fate == VMM_LOADS_LATE)
        w->env.finishTimeoutMs = SLOW_MS;
    w->job = migJobNew(&w->env, &record, &hostOps, w, NULL);
    g_assert_true(migJobTryEnter(w->job));
    migGuideSet(w->job, vmmTraitsByName("stratovirt"));
    worldConnect(w);
    exchange(w, makeRequest(ACTIVE, 0), true);
    exchange(w, makeRequest(CONFIG, 20), true);
    exchange(w, makeRound(blocks, G_N_ELEMENTS(blocks)), heard);
    w->state = makeState(true);
    end = makeEnd(w->state, w->state->len);
    g_assert_cmpint(send(w->source, end->data, end->len, MSG_NOSIGNAL), ==, end->len);
    while (!migGuideArrived(w->job) && g_get_monotonic_time() < until)
        g_usleep(1000);
    g_assert_true(migGuideArrived(w->job));
}

static void
worldFate(world *w, sourceFate fate)
{
    gint64 until = g_get_monotonic_time() + WAIT_MS * G_TIME_SPAN_MILLISECOND;
    char *error = NULL;

    if (fate == SOURCE_RAVES)
        g_assert_cmpint(send(w->source, "more", 4, MSG_NOSIGNAL), ==, 4);
    /* What it has not read makes a reset of it. */
    if (fate == SOURCE_ENDS || fate == SOURCE_RESET)
        baseFdReplace(&w->source, -1);
    while (fate >= SOURCE_RESET && !(error = migRelayError(w->job->relay, false)) && g_get_monotonic_time() < until)
        g_usleep(1000);
    g_assert_true(fate < SOURCE_RESET || error);
    g_free(error);
}

static void
worldClear(world *w)
{
    migJobLeave(w->job);
    migJobUnref(w->job);
    migThreadsStop(w->env.threads);
    ioThreadStop(&w->io);
    migThreadsFree(w->env.threads);
    baseFdClose(w->source);
    baseFdClose(w->vmm);
    g_byte_array_unref(w->state);
    g_remove(w->path);
    g_assert_cmpint(g_rmdir(w->folder), ==, 0);
    g_free(w->path);
    g_free(w->folder);
}

typedef struct {
    const char *name;
    sourceFate source;
    vmmFate vmm;
    bool lands, unknown;
    const char *words;           /* of the error */
} landCase;

static const landCase cases[] = {
    { "runs", SOURCE_STAYS, VMM_RUNS, .lands = true },
    /* The daemon of the source dies. */
    { "source-ends", SOURCE_ENDS, VMM_RUNS, .lands = true },
    { "source-reset", SOURCE_RESET, VMM_RUNS, .lands = true },
    { "source-raves", SOURCE_RAVES, VMM_RUNS, .words = "cannot be loaded" },
    { "vmm-dies", SOURCE_STAYS, VMM_DIES, .words = "ended its connection" },
    { "vmm-dies-late", SOURCE_ENDS, VMM_DIES_LATE, .words = "ended its connection" },
    { "vmm-refuses", SOURCE_STAYS, VMM_REFUSES, .words = "refuses the guest's state" },
    { "vmm-dies-loaded", SOURCE_ENDS, VMM_LOADS, .unknown = true, .words = "ended its connection" },
    { "vmm-hangs", SOURCE_STAYS, VMM_SILENT, .words = "does not say" },
    { "vmm-hangs-loaded", SOURCE_STAYS, VMM_LOADS_SILENT, .unknown = true, .words = "does not say" },
    /* It hangs, and takes the state when it is ended for that. */
    { "vmm-loads-late", SOURCE_STAYS, VMM_LOADS_LATE, .unknown = true, .words = "does not say" },
};

static void
testLand(gconstpointer data)
{
    const landCase *c = data;
    g_autoptr(GError) error = NULL;
    guint fds = ioCountFds();
    bool ok;
    world w;

    worldInit(&w, c->vmm, c->source != SOURCE_RESET);
    worldFate(&w, c->source);
    if (c->source != SOURCE_RAVES)
        w.thread = g_thread_new("vmm", vmmThread, &w);
    ok = migGuideLand(w.job, &error);
    if (w.thread)
        g_thread_join(w.thread);
    g_assert_false(w.heardEnd);
    if (c->lands)
        g_assert_no_error(error);
    g_assert_cmpint(ok, ==, c->lands);
    g_assert_cmpint(w.job->landUnknown, ==, c->unknown);
    g_assert_cmpuint(w.ended, ==, c->lands ? 0 : 1);
    g_assert_cmpint(w.saved, ==, c->lands ? MIG_START_NONE : MIG_START_RELEASED);
    if (c->words && !strstr(error->message, c->words))
        g_error("'%s' does not say '%s'", error->message, c->words);
    if (!c->lands)
        g_assert_cmpint(strstr(error->message, "Nobody can find out") != NULL, ==, c->unknown);
    worldClear(&w);
    g_assert_cmpuint(ioCountFds(), ==, fds);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FLAG_RECURSION);
    ioWarmUp();
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/guide/land/%s", cases[i].name);

        g_test_add_data_func(path, &cases[i], testLand);
    }
    return g_test_run();
}
