/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-snapshot.c: a VMM with files taken for one with a stream: whole or not at all, given up at any moment, nothing left behind */
#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "remote/snapshot.h"

#define MEMORY (3 * 1024 * 1024)
#define STATE 200000
#define LIMIT_US (20 * G_USEC_PER_SEC)

/* ---- the VMM is played by the function that the row has for saving ---- */

static struct {
    size_t state, memory;        /* how much it writes */
    const char *refusal;         /* with what it ends; NULL: well */
    gint seen;                   /* it has begun to write its memory */
    int lastErrno;               /* of its last write */
} play;

static uint8_t
byteAt(size_t at)
{
    /* The second of three MiB is empty. */
    return at >> 20 == 1 ? 0 : (uint8_t)(at * 7 + (at >> 8) + 1);
}

static void
playPut(const char *folder, const char *name, size_t len)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autofree uint8_t *bytes = g_malloc(len + 1);
    g_auto(baseFd) fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    size_t done = 0;

    g_assert_cmpint(fd, >=, 0);
    for (size_t i = 0; i < len; i++)
        bytes[i] = byteAt(i);
    while (done < len) {
        ssize_t n = write(fd, bytes + done, MIN(len - done, 65536));

        if (n < 0) {
            play.lastErrno = errno;
            return;
        }
        done += (size_t)n;
        if (g_str_equal(name, "memory"))
            g_atomic_int_set(&play.seen, 1);
    }
}

static bool
playSave(control *ctl G_GNUC_UNUSED, const char *folder, GError **error)
{
    playPut(folder, "state", play.state);
    if (play.lastErrno == 0)
        playPut(folder, "memory", play.memory);
    if (play.lastErrno == 0 && !play.refusal)
        return true;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, play.refusal ? play.refusal : g_strerror(play.lastErrno));
    return false;
}

static char *
playIncoming(const char *folder, unsigned long version G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    return g_strdup(folder);
}

static const vmmSnapshotOps playOps = {
    .stateName = "state", .memoryName = "memory", .save = playSave, .incomingUri = playIncoming,
};
static const vmmTraits playTraits = { .name = "play", .snapshot = &playOps };

/* ---- one on its way ---- */

typedef struct {
    char *folder;
    int pair[2];
    control *ctl;
    snapshot *out, *in;
    gint changes;
} world;

static void
onChanged(void *opaque)
{
    world *w = opaque;

    g_atomic_int_inc(&w->changes);
}

static void
setUp(world *w, gconstpointer data G_GNUC_UNUSED)
{
    memset(w, 0, sizeof(*w));
    memset(&play, 0, sizeof(play));
    play.state = STATE;
    play.memory = MEMORY;
    w->folder = g_dir_make_tmp("sv-snapshot-XXXXXX", NULL);
    w->ctl = controlNew(g_main_context_default(), "guest", NULL, NULL, NULL);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->pair), ==, 0);
}

static bool
isEmpty(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);

    return !g_dir_read_name(dir);
}

static void
tearDown(world *w, gconstpointer data G_GNUC_UNUSED)
{
    gint64 end = g_get_monotonic_time() + LIMIT_US;

    snapshotFree(w->out);
    snapshotFree(w->in);
    baseFdClose(w->pair[0]);
    baseFdClose(w->pair[1]);
    /* Its threads end by themselves, and take everything with them. */
    while (!isEmpty(w->folder) && g_get_monotonic_time() < end)
        g_usleep(1000);
    g_assert_true(isEmpty(w->folder));
    g_assert_cmpint(g_rmdir(w->folder), ==, 0);
    controlUnref(w->ctl);
    g_free(w->folder);
}

static snapshotSpec
specOf(world *w, int end, bool hold)
{
    return (snapshotSpec) {
        .vmm = &playTraits, .parent = w->folder, .fd = w->pair[end], .memoryBytes = MEMORY, .hold = hold,
        .changed = onChanged, .opaque = w,
    };
}

static void
sendFrom(world *w, bool hold)
{
    snapshotSpec spec = specOf(w, 0, hold);
    g_autoptr(GError) error = NULL;

    w->out = snapshotSend(&spec, w->ctl, &error);
    g_assert_no_error(error);
}

static void
receiveAt(world *w)
{
    snapshotSpec spec = specOf(w, 1, false);
    g_autoptr(GError) error = NULL;

    w->in = snapshotReceive(&spec, &error);
    g_assert_no_error(error);
}

static vmmMigStatus
await(snapshot *snap, vmmMigState wanted)
{
    gint64 end = g_get_monotonic_time() + LIMIT_US;
    vmmMigStatus status = { 0 };

    for (;;) {
        vmmMigStatusClear(&status);
        snapshotLook(snap, &status);
        if (status.state == wanted || g_get_monotonic_time() > end)
            break;
        g_usleep(1000);
    }
    g_assert_cmpint(status.state, ==, wanted);
    return status;
}

static void
awaitFailure(snapshot *snap, const char *text)
{
    vmmMigStatus status = await(snap, VMM_MIG_FAILED);

    g_assert_nonnull(strstr(status.errorText, text));
    vmmMigStatusClear(&status);
}

/* The other side hears of a failure when the connection is closed for it. */
static void
awaitCut(world *w)
{
    g_clear_pointer(&w->out, snapshotFree);
    shutdown(w->pair[0], SHUT_RDWR);
    awaitFailure(w->in, "cut short");
}

static void
checkMemory(world *w)
{
    g_autofree char *folder = snapshotIncoming(w->in, 0, NULL);
    g_autofree char *path = g_build_filename(folder, "memory", NULL);
    g_autofree char *bytes = NULL;
    gsize len = 0;
    struct stat st;

    g_assert_true(g_file_get_contents(path, &bytes, &len, NULL));
    g_assert_cmpuint(len, ==, MEMORY);
    for (size_t i = 0; i < len; i++)
        g_assert_cmpint((uint8_t)bytes[i], ==, byteAt(i));
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
    /* What is empty takes no room, but for the edges. */
    g_assert_cmpint(st.st_blocks * 512, <=, MEMORY - (1 << 20) + 2 * 256 * 1024);
}

/* ---- the good case ---- */

static void
testWhole(world *w, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    vmmMigStatus status;

    receiveAt(w);
    sendFrom(w, true);
    status = await(w->out, VMM_MIG_PRE_SWITCHOVER);
    g_assert_cmpuint(status.ramTotal, ==, MEMORY);
    g_assert_cmpuint(status.ramTransferred, ==, MEMORY);
    /* Held back until it is told to go on. */
    g_usleep(50000);
    snapshotLook(w->in, &status);
    g_assert_cmpint(status.state, ==, VMM_MIG_ACTIVE);
    g_assert_true(snapshotContinue(w->out, &error));
    await(w->out, VMM_MIG_COMPLETED);
    status = await(w->in, VMM_MIG_COMPLETED);
    g_assert_cmpuint(status.ramTransferred, ==, MEMORY);
    g_assert_cmpint(g_atomic_int_get(&w->changes), >=, 5);
    checkMemory(w);
    g_assert_false(snapshotContinue(w->out, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID);
}

typedef struct {
    char *path;
    size_t want;                 /* reads so much and ends; 0: all */
    GByteArray *got;
    gint count;
} reader;

static gpointer
readThread(gpointer opaque)
{
    reader *r = opaque;
    g_auto(baseFd) fd = open(r->path, O_RDONLY | O_CLOEXEC);
    uint8_t buffer[1000];
    ssize_t n;

    while ((r->want == 0 || r->got->len < r->want) && (n = read(fd, buffer, sizeof(buffer))) > 0) {
        g_byte_array_append(r->got, buffer, (guint)n);
        g_atomic_int_set(&r->count, (gint)r->got->len);
    }
    return NULL;
}

/* The VMM gets all but the last byte, then that. */
static void
testOffer(world *w, gconstpointer data G_GNUC_UNUSED)
{
    g_auto(baseFd) pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    g_autoptr(GByteArray) got = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    g_autofree char *folder = NULL;
    reader r = { .got = got };
    GThread *thread;

    receiveAt(w);
    sendFrom(w, false);
    await(w->in, VMM_MIG_COMPLETED);
    folder = snapshotIncoming(w->in, 0, NULL);
    r.path = g_build_filename(folder, "state", NULL);
    /* Nobody reads. */
    g_assert_false(snapshotOffer(w->in, pidfd, 50, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
    g_clear_error(&error);
    thread = g_thread_new("vmm", readThread, &r);
    g_assert_true(snapshotOffer(w->in, pidfd, 10000, &error));
    g_assert_cmpint(g_atomic_int_get(&r.count), >=, STATE - 1);
    g_assert_true(snapshotRelease(w->in, &error));
    g_clear_pointer(&w->in, snapshotFree);
    g_thread_join(thread);
    for (guint i = 0; i < STATE; i++)
        g_assert_cmpint(got->data[got->len - STATE + i], ==, byteAt(i));
    g_free(r.path);
}

/* It ends instead. */
static void
testOfferDies(world *w, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_auto(baseFd) pidfd = -1;
    pid_t pid;

    receiveAt(w);
    sendFrom(w, false);
    await(w->in, VMM_MIG_COMPLETED);
    pid = fork();
    if (pid == 0) {
        pause();
        _exit(0);
    }
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    kill(pid, SIGKILL);
    g_assert_false(snapshotOffer(w->in, pidfd, 10000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED);
}

/* ---- given up ---- */

/* While the VMM writes, and nobody takes it. */
static void
testCancel(world *w, gconstpointer data G_GNUC_UNUSED)
{
    gint64 end = g_get_monotonic_time() + LIMIT_US;
    vmmMigStatus status;

    play.memory = 200 * 1024 * 1024;
    sendFrom(w, false);
    while (!g_atomic_int_get(&play.seen) && g_get_monotonic_time() < end)
        g_usleep(1000);
    snapshotCancel(w->out);
    status = await(w->out, VMM_MIG_CANCELLED);
    vmmMigStatusClear(&status);
    g_assert_cmpint(play.lastErrno, ==, EPIPE);
}

/* Before it has begun: it must not wait for a reader for ever. */
static void
testCancelSoon(world *w, gconstpointer data G_GNUC_UNUSED)
{
    vmmMigStatus status;

    sendFrom(w, false);
    snapshotCancel(w->out);
    status = await(w->out, VMM_MIG_CANCELLED);
    vmmMigStatusClear(&status);
}

static void
testCancelHeld(world *w, gconstpointer data G_GNUC_UNUSED)
{
    vmmMigStatus status;

    receiveAt(w);
    sendFrom(w, true);
    await(w->out, VMM_MIG_PRE_SWITCHOVER);
    snapshotCancel(w->out);
    status = await(w->out, VMM_MIG_CANCELLED);
    vmmMigStatusClear(&status);
    awaitCut(w);
}

/* The other side is gone. */
static void
testNobodyTakes(world *w, gconstpointer data G_GNUC_UNUSED)
{
    play.memory = 200 * 1024 * 1024;
    sendFrom(w, false);
    baseFdReplace(&w->pair[1], -1);
    awaitFailure(w->out, "passed on");
    g_assert_cmpint(play.lastErrno, ==, EPIPE);
}

static void
testRefusal(world *w, gconstpointer data G_GNUC_UNUSED)
{
    receiveAt(w);
    play.refusal = "no room left";
    sendFrom(w, false);
    awaitFailure(w->out, "no room left");
    awaitCut(w);
}

static void
testNothingWritten(world *w, gconstpointer data G_GNUC_UNUSED)
{
    receiveAt(w);
    play.memory = 0;
    sendFrom(w, false);
    awaitFailure(w->out, "written nothing");
    awaitCut(w);
}

/* ---- what comes is not what must come ---- */

static void
put(GByteArray *to, uint32_t kind, uint32_t len, const void *bytes, size_t count)
{
    guint32 head[2] = { GUINT32_TO_BE(kind), GUINT32_TO_BE(len) };

    g_byte_array_append(to, (const guint8 *)head, sizeof(head));
    g_byte_array_append(to, bytes, (guint)count);
}

static void
testDamaged(world *w, gconstpointer data G_GNUC_UNUSED)
{
    static const guint8 zeros[512] = { 0 };
    static const struct { const char *magic; uint32_t kind, len; size_t count; uint64_t sums[2]; const char *text; } cases[] = {
        { "StratoVirt-Filez", 1, 10, 10, { 10, 4096 }, "damaged" },
        { SNAPSHOT_MAGIC, 9, 10, 10, { 0, 4096 }, "damaged" },
        { SNAPSHOT_MAGIC, 1, 1 << 30, 10, { 0, 4096 }, "damaged" },
        { SNAPSHOT_MAGIC, 2, 1 << 30, 10, { 0, 4096 }, "damaged" },
        { SNAPSHOT_MAGIC, 3, 1 << 30, 0, { 0, 4096 }, "damaged" },
        { SNAPSHOT_MAGIC, 1, 10, 10, { 11, 4096 }, "damaged" },
        { SNAPSHOT_MAGIC, 1, 10, 10, { 10, 4097 }, "damaged" },
        { SNAPSHOT_MAGIC, 2, 10, 10, { 0, 4106 }, "damaged" },
        { SNAPSHOT_MAGIC, 4, 3, 3, { 0, 0 }, "damaged" },
        { SNAPSHOT_MAGIC, 1, 500, 10, { 10, 4096 }, "cut short" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        guint64 sums[2] = { GUINT64_TO_BE(cases[i].sums[0]), GUINT64_TO_BE(cases[i].sums[1]) };

        g_byte_array_append(bytes, (const guint8 *)cases[i].magic, 16);
        put(bytes, cases[i].kind, cases[i].len, zeros, cases[i].count);
        put(bytes, 3, 4096, zeros, 0);
        put(bytes, 4, sizeof(sums), sums, sizeof(sums));
        receiveAt(w);
        g_assert_cmpint(write(w->pair[0], bytes->data, bytes->len), ==, (ssize_t)bytes->len);
        baseFdReplace(&w->pair[0], -1);
        awaitFailure(w->in, cases[i].text);
        g_clear_pointer(&w->in, snapshotFree);
        close(w->pair[1]);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, w->pair), ==, 0);
    }
}

/* The disk is not filled with what never ends. */
static void
testEndless(world *w, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();

    g_byte_array_append(bytes, (const guint8 *)SNAPSHOT_MAGIC, 16);
    for (uint64_t sum = 0; sum <= MEMORY + (256ULL << 20); sum += 256 * 1024)
        put(bytes, 3, 256 * 1024, NULL, 0);
    receiveAt(w);
    g_assert_cmpint(write(w->pair[0], bytes->data, bytes->len), ==, (ssize_t)bytes->len);
    awaitFailure(w->in, "larger than the 3145728 bytes");
}

static void
testNoFolder(world *w, gconstpointer data G_GNUC_UNUSED)
{
    snapshotSpec spec = specOf(w, 0, false);
    g_autoptr(GError) error = NULL;

    spec.parent = "/none";
    g_assert_null(snapshotSend(&spec, w->ctl, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_clear_error(&error);
    g_assert_null(snapshotReceive(&spec, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
}

/* What StratoVirt is told, by version, and what it cannot be told. */
static void
testStratovirt(void)
{
    const vmmSnapshotOps *ops = vmmTraitsByName("stratovirt")->snapshot;
    g_autofree char *older = ops->incomingUri("/a/b", 2004000, NULL);
    g_autofree char *newer = ops->incomingUri("/a/b", 2005000, NULL);
    g_autoptr(GError) error = NULL;

    g_assert_cmpstr(older, ==, "file:/a/b");
    g_assert_cmpstr(newer, ==, "file:/a/b,mapped=false");
    g_assert_null(ops->incomingUri("/a:b", 2005000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    g_assert_null(ops->incomingUri("/a,b", 2005000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED);
    g_assert_true(ops->neverRan("x\nError: Failed to start migration.\n"));
    g_assert_false(ops->neverRan("Killed"));
    g_assert_null(vmmTraitsByName("qemu")->snapshot);
}

int
main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    g_test_init(&argc, &argv, NULL);
#define ADD(name, function) g_test_add("/snapshot/" name, world, NULL, setUp, function, tearDown)
    ADD("whole", testWhole);
    ADD("offer", testOffer);
    ADD("offer/dies", testOfferDies);
    ADD("cancel", testCancel);
    ADD("cancel/soon", testCancelSoon);
    ADD("cancel/held", testCancelHeld);
    ADD("nobody-takes", testNobodyTakes);
    ADD("refusal", testRefusal);
    ADD("nothing-written", testNothingWritten);
    ADD("damaged", testDamaged);
    ADD("endless", testEndless);
    ADD("no-folder", testNoFolder);
    g_test_add_func("/snapshot/stratovirt", testStratovirt);
    return g_test_run();
}
