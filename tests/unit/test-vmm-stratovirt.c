/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* StratoVirt's row: probing, operations and events, on the stand-in (tests/vmm); and waiting for the socket that it makes. */
#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "io-thread.h"
#include "remote/await.h"
#include "remote/control.h"
#include "remote/vmm.h"
#include "remote/vmm_child.h"

#define LIMIT_MS 20000

static char *
standin(const char *version)
{
    const char *root = g_getenv("SV_BUILD_ROOT");

    g_assert_nonnull(root);
    return g_strdup_printf("%s/tests/vmm/stratovirt-%s", root, version);
}

static void
removeDir(const char *dir)
{
    g_autoptr(GDir) list = g_dir_open(dir, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(list))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);

        g_assert_cmpint(g_unlink(path), ==, 0);
    }
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

/* ---- probing --------------------------------------------------------------------------------------- */

static void
testProbe(void)
{
    static const struct { const char *version; unsigned long number; } cases[] = {
        { "2.4.0", 2004000 }, { "2.5.0", 2005000 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *binary = standin(cases[i].version);
        g_autoptr(GError) error = NULL;
        const vmmInfo *info = vmmProbe(binary, NULL, &error);

        g_assert_no_error(error);
        g_assert_cmpstr(info->traits->name, ==, "stratovirt");
        g_assert_cmpuint(info->version, ==, cases[i].number);
        g_assert_true(g_strv_contains((const char *const *)info->machines, "q35"));
        g_assert_true(g_strv_contains((const char *const *)info->machines, "microvm"));
        g_assert_cmpuint(vmmMaxCpus(info, "q35"), ==, 254);
        g_assert_true(info->kvm);
        g_assert_cmpint(vmmDefectFor(info, false) != NULL, ==, cases[i].number >= 2005000);
    }
}

/* ---- operations -------------------------------------------------------------------------------------- */

typedef struct {
    ioThread io;
    char *dir, *path;
    vmmChild child;
    control *ctl;
    const vmmOps *ops;
    GMutex lock;
    GCond changed;
    GString *events;             /* names of kinds, by the lock */
    bool closed;
} fixture;

static void
noteEvent(control *ctl G_GNUC_UNUSED, const char *name, JsonObject *data, gint64 timestampMs G_GNUC_UNUSED, void *opaque)
{
    fixture *f = opaque;
    vmmEvent event;

    f->ops->translateEvent(name, data, &event);
    g_mutex_lock(&f->lock);
    g_string_append_printf(f->events, "%s:%d:%d ", name, event.kind, event.byGuest);
    g_cond_broadcast(&f->changed);
    g_mutex_unlock(&f->lock);
    vmmEventClear(&event);
}

static void
noteClosed(control *ctl G_GNUC_UNUSED, const GError *why G_GNUC_UNUSED, void *opaque)
{
    fixture *f = opaque;

    g_mutex_lock(&f->lock);
    f->closed = true;
    g_cond_broadcast(&f->changed);
    g_mutex_unlock(&f->lock);
}

static void
waitEvent(fixture *f, const char *name, vmmEventKind kind, bool byGuest)
{
    g_autofree char *wanted = g_strdup_printf("%s:%d:%d ", name, kind, byGuest);
    gint64 end = g_get_monotonic_time() + LIMIT_MS * 1000;

    g_mutex_lock(&f->lock);
    while (!strstr(f->events->str, wanted)) {
        if (!g_cond_wait_until(&f->changed, &f->lock, end))
            g_error("no event '%s' among '%s'", wanted, f->events->str);
    }
    g_mutex_unlock(&f->lock);
}

static void
waitClosed(fixture *f)
{
    gint64 end = g_get_monotonic_time() + LIMIT_MS * 1000;
    int status = 1;

    g_mutex_lock(&f->lock);
    while (!f->closed)
        g_assert_true(g_cond_wait_until(&f->changed, &f->lock, end));
    g_mutex_unlock(&f->lock);
    g_assert_true(vmmChildWait(&f->child, LIMIT_MS, &status, NULL));
    g_assert_cmpint(status, ==, 0);
}

static void
setUp(fixture *f, gconstpointer data)
{
    static const controlHandlers handlers = { .event = noteEvent, .closed = noteClosed };
    g_autofree char *binary = standin(data && g_str_has_prefix(data, "2.") ? data : "2.5.0");
    g_autofree char *flash = NULL;
    g_autofree char *qmp = NULL;
    g_autofree char *kernel = NULL;
    g_autoptr(GError) error = NULL;
    int fd;

    ioThreadStart(&f->io);
    f->child = (vmmChild)VMM_CHILD_INIT;
    f->ops = vmmTraitsByName("stratovirt")->ops;
    f->events = g_string_new(NULL);
    f->dir = g_dir_make_tmp("standin-XXXXXX", NULL);
    f->path = g_build_filename(f->dir, "qmp", NULL);
    kernel = g_build_filename(f->dir, "kernel", NULL);
    g_assert_true(g_file_set_contents(kernel, "x", 1, NULL));
    qmp = g_strdup_printf("unix:%s,server,nowait", f->path);
    flash = g_strdup_printf("file=%s,if=pflash,unit=0,readonly=true", kernel);
    g_assert_true(vmmChildStart(&f->child, (const char *[]) {
            binary, "-drive", flash, "-machine", "q35", "-m", "128M", "-smp", "2", "-kernel", kernel, "-append", "sv.mem=1 sv.tick=5", "-S",
            "-qmp", qmp, "-serial", "pty",
            "-device", "pcie-root-port,id=pci.1,port=0x1,bus=pcie.0,addr=0x1",
            "-device", "virtio-serial-pci,id=s,bus=pcie.0,addr=0x2",
            "-chardev", "pty,id=charconsole1", "-device", "virtconsole,id=console1,chardev=charconsole1,nr=0",
            "-device", "virtio-balloon-pci,id=balloon0,bus=pcie.0,addr=0x3", NULL }, NULL, 0, &error));
    g_assert_no_error(error);
    fd = awaitSocket(f->path, f->child.pidFd, LIMIT_MS, &error);
    g_assert_no_error(error);
    f->ctl = controlNew(f->io.context, "guest", &handlers, f, NULL);
    controlOpenFd(f->ctl, fd, LIMIT_MS, &error);
    g_assert_no_error(error);
}

static void
tearDown(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    controlUnref(f->ctl);
    ioThreadStop(&f->io);
    vmmChildClear(&f->child);
    removeDir(f->dir);
    g_free(f->dir);
    g_free(f->path);
    g_string_free(f->events, TRUE);
}

static void
expectState(fixture *f, vmmRunState wanted)
{
    vmmRunState state;
    g_autoptr(GError) error = NULL;

    f->ops->status(f->ctl, &state, &error);
    g_assert_no_error(error);
    g_assert_cmpint(state, ==, wanted);
}

/* Another program has a file of the guest. */
static void
testLocked(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 102 };
    g_autofree char *path = g_build_filename(f->dir, "kernel", NULL);
    g_autoptr(GError) error = NULL;
    g_auto(baseFd) fd = open(path, O_RDWR | O_CLOEXEC);

    g_assert_cmpint(fcntl(fd, F_SETLK, &lock), ==, 0);
    g_assert_false(f->ops->resume(f->ctl, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    if (!strstr(error->message, "refused 'cont'") || !strstr(error->message, "has locked an image"))
        g_error("'%s'", error->message);
    g_clear_error(&error);
    expectState(f, VMM_RUN_PAUSED);
    baseFdReplace(&fd, -1);
    f->ops->resume(f->ctl, &error);
    g_assert_no_error(error);
    expectState(f, VMM_RUN_RUNNING);
}

static void
testRun(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    expectState(f, VMM_RUN_PAUSED);
    g_assert_true(f->ops->resume(f->ctl, &error));
    waitEvent(f, "RESUME", VMM_EVENT_RESUME, false);
    expectState(f, VMM_RUN_RUNNING);
    g_assert_true(f->ops->pause(f->ctl, &error));
    waitEvent(f, "STOP", VMM_EVENT_STOP, false);
    expectState(f, VMM_RUN_PAUSED);
    g_assert_true(f->ops->reset(f->ctl, &error));
    waitEvent(f, "RESET", VMM_EVENT_RESET, true);
    g_assert_no_error(error);
}

/* To pause what is paused and to let run what runs is no error, though version 2.4 has one for it. */
static void
testRunAgain(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; i < 2; i++)
        g_assert_true(f->ops->pause(f->ctl, &error));
    expectState(f, VMM_RUN_PAUSED);
    for (size_t i = 0; i < 2; i++)
        g_assert_true(f->ops->resume(f->ctl, &error));
    expectState(f, VMM_RUN_RUNNING);
    g_assert_no_error(error);
}

/* Quit says SHUTDOWN, the power button says nothing; the file of the control socket is gone after both, not after a kill. */
static void
testEnds(fixture *f, gconstpointer data)
{
    const char *how = data;
    g_autoptr(GError) error = NULL;

    if (g_str_equal(how, "quit")) {
        g_assert_true(f->ops->quit(f->ctl, &error));
        waitEvent(f, "SHUTDOWN", VMM_EVENT_SHUTDOWN, false);
        waitClosed(f);
    } else if (g_str_equal(how, "powerdown")) {
        g_assert_true(f->ops->powerdown(f->ctl, &error));
        waitClosed(f);
        g_assert_cmpstr(f->events->str, ==, "");
    } else {
        vmmChildClear(&f->child);
    }
    g_assert_no_error(error);
    g_assert_cmpint(g_file_test(f->path, G_FILE_TEST_EXISTS), ==, g_str_equal(how, "kill"));
}

static void
testDevices(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree pid_t *threads = NULL;
    g_autofree char *serial = NULL;
    g_autofree char *console = NULL;
    size_t count = 0;
    uint64_t bytes = 0;
    vmmMigStatus status = { .state = VMM_MIG_FAILED };

    g_assert_true(f->ops->vcpuThreads(f->ctl, &threads, &count, &error));
    g_assert_cmpuint(count, ==, 2);
    g_assert_true(f->ops->chardevPath(f->ctl, vmmTraitsByName("stratovirt")->serialChardev, &serial, &error));
    g_assert_true(f->ops->chardevPath(f->ctl, "charconsole1", &console, &error));
    g_assert_true(g_str_has_prefix(serial, "/dev/pts/") && g_str_has_prefix(console, "/dev/pts/"));
    g_assert_cmpstr(serial, !=, console);
    g_assert_true(f->ops->balloonGet(f->ctl, &bytes, &error));
    g_assert_cmpuint(bytes, ==, 128ULL << 20);
    g_assert_false(f->ops->balloonSet(f->ctl, 100ULL << 20, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(error->message, "driver"));
    g_clear_error(&error);
    g_assert_true(f->ops->resume(f->ctl, &error));
    while (!f->ops->balloonSet(f->ctl, 100ULL << 20, &error))
        g_clear_error(&error);
    waitEvent(f, "BALLOON_CHANGED", VMM_EVENT_BALLOON, false);
    g_assert_true(f->ops->migrateStatus(f->ctl, &status, &error));
    g_assert_cmpint(status.state, ==, VMM_MIG_SETUP);
    g_assert_no_error(error);
    g_assert_false(f->ops->chardevPath(f->ctl, "charnothing", &serial, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
}

/* ---- devices that come and go -------------------------------------------------------------------------- */

static void
expectThere(fixture *f, const char *alias, bool there)
{
    const char *const wanted[] = { "s", alias, "no-such", NULL };
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) names = NULL;

    f->ops->deviceList(f->ctl, wanted, &names, &error);
    g_assert_no_error(error);
    g_assert_true(g_strv_contains((const char *const *)names, "s"));
    g_assert_cmpint(g_strv_contains((const char *const *)names, alias), ==, there);
    g_assert_cmpuint(g_strv_length(names), ==, there ? 2 : 1);
}

static void
expectRefused(fixture *f, const char *const *args, baseErrorCode code, const char *text)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(f->ops->devicePlug(f->ctl, args, NULL, 0, &error));
    g_assert_error(error, BASE_ERROR, (int)code);
    if (!strstr(error->message, text))
        g_error("'%s' is not in: %s", text, error->message);
}

static void
forgetEvents(fixture *f)
{
    g_mutex_lock(&f->lock);
    g_string_truncate(f->events, 0);
    g_mutex_unlock(&f->lock);
}

static void
testPlugDisk(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *image = g_build_filename(f->dir, "image", NULL);
    g_autofree char *drive =
        g_strdup_printf("id=drive-d,file=%s,format=raw,readonly=off,direct=on,aio=io_uring,discard=unmap,detect-zeroes=on,"
                        "throttling.iops-total=99,if=none", image);
    g_autofree char *buffered = g_strdup_printf("id=drive-d,file=%s,format=raw,readonly=off,direct=off,aio=threads,if=none", image);
    const char *args[] = { "-drive", drive, "-device",
        "virtio-blk-pci,id=d,bus=pci.1,addr=0x0,drive=drive-d,serial=x1,num-queues=2,queue-size=128,bootindex=3", NULL };
    const char *onRoot[] = { "-drive", drive, "-device", "virtio-blk-pci,id=d,bus=pcie.0,addr=0x9,drive=drive-d", NULL };
    const char *noBus[] = { "-drive", drive, "-device", "virtio-blk-pci,id=d,bus=pci.7,addr=0x0,drive=drive-d", NULL };
    const char *threads[] = { "-drive", buffered, "-device", args[3], NULL };
    const char *strange[] = { "-drive", drive, "-device", "virtio-blk-pci,id=d,bus=pci.1,addr=0x0,drive=drive-d,colour=red", NULL };
    g_autoptr(GError) error = NULL;

    g_assert_true(g_file_set_contents(image, "x", 1, NULL));
    g_assert_true(f->ops->resume(f->ctl, NULL));
    expectThere(f, "d", false);
    /* Nothing of a failure is left: neither the image, which is used again, nor its name. */
    expectRefused(f, onRoot, BASE_ERROR_OPERATION_FAILED, "No hot plug controller");
    expectRefused(f, noBus, BASE_ERROR_OPERATION_FAILED, "Bus not found");
    expectRefused(f, threads, BASE_ERROR_UNSUPPORTED, "io='threads'");
    expectRefused(f, strange, BASE_ERROR_UNSUPPORTED, "colour");
    for (int i = 0; i < 2; i++) {
        f->ops->devicePlug(f->ctl, args, NULL, 0, &error);
        g_assert_no_error(error);
        expectThere(f, "d", true);
        expectRefused(f, args, BASE_ERROR_OPERATION_INVALID, "'d' already");
        forgetEvents(f);
        f->ops->deviceUnplug(f->ctl, "d", &error);
        g_assert_no_error(error);
        waitEvent(f, "DEVICE_DELETED", VMM_EVENT_DEVICE_REMOVED, false);
        expectThere(f, "d", false);
        /* What is left behind of the first one is in nobody's way. */
        if (i == 1)
            g_assert_true(f->ops->deviceForget(f->ctl, args, &error));
    }
    g_assert_false(f->ops->deviceUnplug(f->ctl, "d", &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID);
    g_clear_error(&error);
    g_assert_false(f->ops->deviceForget(f->ctl, args, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
}

static void
testPlugNet(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const one[] = { "-netdev", "tap,id=hostn,fd=99", "-device",
        "virtio-net-pci,id=n,bus=pci.1,addr=0x0,netdev=hostn,mac=52:54:00:00:00:01", NULL };
    static const char *const several[] = { "-netdev", "tap,id=hostn,fds=98:99", "-device",
        "virtio-net-pci,id=n,bus=pci.1,addr=0x0,netdev=hostn,mac=52:54:00:00:00:01,mq=on", NULL };
    g_autoptr(GError) error = NULL;

    g_assert_true(f->ops->resume(f->ctl, NULL));
    expectRefused(f, several, BASE_ERROR_UNSUPPORTED, "one queue");
    for (size_t i = 0; i < 2; i++) {
        int ends[2], fds[1];
        char byte;

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
        fds[0] = ends[0];
        f->ops->devicePlug(f->ctl, one, fds, 1, &error);
        g_assert_no_error(error);
        close(fds[0]);
        expectThere(f, "n", true);
        /* The VMM has it open for as long as there is the device. */
        g_assert_cmpint(recv(ends[1], &byte, 1, MSG_DONTWAIT), ==, -1);
        forgetEvents(f);
        g_assert_true(f->ops->deviceUnplug(f->ctl, "n", NULL));
        waitEvent(f, "DEVICE_DELETED", VMM_EVENT_DEVICE_REMOVED, false);
        g_assert_cmpint(recv(ends[1], &byte, 1, MSG_DONTWAIT), ==, 0);
        g_assert_true(f->ops->deviceForget(f->ctl, one, &error));
        baseFdClose(ends[1]);
    }
}

/* Nobody can say whether it is there, so nothing is asked of it: its guest may have arrived here. */
static void
testUnplugUnknown(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    g_assert_false(f->ops->deviceUnplug(f->ctl, "no-such", &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID);
    g_clear_error(&error);
    /* On pcie.0. */
    g_assert_false(f->ops->deviceUnplug(f->ctl, "s", &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    expectState(f, VMM_RUN_PAUSED);
}

static void
testLacks(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const vmmMigSpec spec = { .live = true };
    vmmBlockStats block;
    vmmGuestMemory memory;
    GError *errors[10] = { NULL };
    size_t n = 0;

    g_assert_false(f->ops->blockStats(f->ctl, "virtio-disk0", &block, &errors[n++]));
    g_assert_false(f->ops->balloonStats(f->ctl, "balloon0", &memory, &errors[n++]));
    g_assert_false(f->ops->balloonPeriod(f->ctl, "balloon0", 5, &errors[n++]));
    g_assert_false(f->ops->migrateStart(f->ctl, &spec, -1, &errors[n++]));
    g_assert_false(f->ops->migrateContinue(f->ctl, &errors[n++]));
    g_assert_false(f->ops->migrateRelease(f->ctl, &errors[n++]));
    g_assert_false(f->ops->migrateTune(f->ctl, &spec, &errors[n++]));
    g_assert_false(f->ops->migrateCache(f->ctl, 1, &errors[n++]));
    g_assert_false(f->ops->incomingAttach(f->ctl, -1, &errors[n++]));
    g_assert_false(f->ops->incomingListen(f->ctl, "/x", &spec, &errors[n++]));
    for (size_t i = 0; i < n; i++) {
        g_assert_error(errors[i], BASE_ERROR, BASE_ERROR_UNSUPPORTED);
        g_assert_nonnull(strstr(errors[i]->message, "StratoVirt"));
        g_error_free(errors[i]);
    }
    /* And the connection has not suffered. */
    expectState(f, VMM_RUN_PAUSED);
}

/* ---- its guide ------------------------------------------------------------------------------------------- */

static void
noteChanged(void *opaque G_GNUC_UNUSED)
{
}

static vmmMigState
lookTold(const vmmGuideOps *ops, void *guide, vmmMigState told)
{
    vmmMigStatus status = { .state = told };

    ops->look(guide, &status);
    return status.state;
}

/* What a VMM says of the migration before is not taken for this one, until it has begun with this one before it was asked. */
static void
testStale(void)
{
    static const char greeting[16] = "";
    const vmmGuideOps *ops = vmmTraitsByName("stratovirt")->guide;
    void *guide = ops->create(true, noteChanged, NULL);
    const pumpOptions options = { .twoWay = true, .filterOps = ops->filter, .filter = guide };
    char got[sizeof(greeting)];
    g_autoptr(GError) error = NULL;
    int source[2], dest[2];
    pump *p;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, source), ==, 0);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, dest), ==, 0);
    p = pumpNew(&(pumpEnd){ .fd = source[1], .name = "the source" }, &(pumpEnd){ .fd = dest[1], .name = "the destination" }, &options, &error);
    g_assert_no_error(error);
    g_assert_cmpint(lookTold(ops, guide, VMM_MIG_FAILED), ==, VMM_MIG_SETUP);
    g_assert_cmpint(lookTold(ops, guide, VMM_MIG_CANCELLED), ==, VMM_MIG_SETUP);
    g_assert_cmpint(send(source[0], greeting, sizeof(greeting), MSG_NOSIGNAL), ==, sizeof(greeting));
    g_assert_cmpint(recv(dest[0], got, sizeof(got), MSG_WAITALL), ==, sizeof(got));
    g_assert_cmpint(lookTold(ops, guide, VMM_MIG_FAILED), ==, VMM_MIG_SETUP);
    g_assert_cmpint(lookTold(ops, guide, VMM_MIG_FAILED), ==, VMM_MIG_FAILED);
    pumpFree(p);
    ops->free(guide);
    baseFdReplace(&source[0], -1);
    baseFdReplace(&dest[0], -1);
}

/* ---- waiting for a socket -------------------------------------------------------------------------------- */

static void
testAwaitFails(void)
{
    g_autofree char *dir = g_dir_make_tmp("await-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "s", NULL);
    g_autofree char *nowhere = g_build_filename(dir, "no", "s", NULL);
    g_auto(vmmChild) child = VMM_CHILD_INIT;
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(awaitSocket(path, -1, 30, &error), ==, -1);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
    g_clear_error(&error);
    g_assert_cmpint(awaitSocket(nowhere, -1, 30, &error), ==, -1);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_clear_error(&error);
    /* A file that is no socket refuses for ever. */
    g_assert_true(g_file_set_contents(path, "", 0, NULL));
    g_assert_cmpint(awaitSocket(path, -1, 30, &error), ==, -1);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT);
    g_clear_error(&error);
    g_assert_cmpint(g_unlink(path), ==, 0);

    g_assert_true(vmmChildStart(&child, (const char *[]) { "/bin/true", NULL }, NULL, 0, NULL));
    g_assert_cmpint(awaitSocket(path, child.pidFd, LIMIT_MS, &error), ==, -1);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED);
    removeDir(dir);
}

static gpointer
awaitThread(gpointer path)
{
    g_autoptr(GError) error = NULL;
    int fd = awaitSocket(path, -1, LIMIT_MS, &error);

    g_assert_no_error(error);
    return GINT_TO_POINTER(fd);
}

/* Bound and listened on while somebody waits, below a folder whose path no address can hold. */
static void
testAwaitLater(void)
{
    g_autofree char *dir = g_dir_make_tmp("await-XXXXXX", NULL);
    g_autofree char *name = g_strnfill(120, 'n');
    g_autofree char *deep = g_build_filename(dir, name, NULL);
    g_autofree char *path = g_build_filename(deep, "s", NULL);
    g_autofree char *here = g_get_current_dir();
    struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "s" };
    g_auto(baseFd) listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    GThread *thread;
    int fd;

    g_assert_cmpint(g_mkdir(deep, 0700), ==, 0);
    thread = g_thread_new("await", awaitThread, path);
    g_assert_cmpint(chdir(deep), ==, 0);
    g_assert_cmpint(bind(listener, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    g_assert_cmpint(chdir(here), ==, 0);
    g_assert_cmpint(listen(listener, 1), ==, 0);
    fd = GPOINTER_TO_INT(g_thread_join(thread));
    g_assert_cmpint(fd, >=, 0);
    baseFdClose(fd);
    removeDir(deep);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vmm-stratovirt/probe", testProbe);
    g_test_add_func("/vmm-stratovirt/stale", testStale);
    g_test_add("/vmm-stratovirt/run", fixture, NULL, setUp, testRun, tearDown);
    g_test_add("/vmm-stratovirt/locked", fixture, NULL, setUp, testLocked, tearDown);
    g_test_add("/vmm-stratovirt/run-again", fixture, "2.5.0", setUp, testRunAgain, tearDown);
    g_test_add("/vmm-stratovirt/run-again-2.4", fixture, "2.4.0", setUp, testRunAgain, tearDown);
    g_test_add("/vmm-stratovirt/quit", fixture, "quit", setUp, testEnds, tearDown);
    g_test_add("/vmm-stratovirt/powerdown", fixture, "powerdown", setUp, testEnds, tearDown);
    g_test_add("/vmm-stratovirt/kill", fixture, "kill", setUp, testEnds, tearDown);
    g_test_add("/vmm-stratovirt/devices", fixture, NULL, setUp, testDevices, tearDown);
    g_test_add("/vmm-stratovirt/plug-disk", fixture, NULL, setUp, testPlugDisk, tearDown);
    g_test_add("/vmm-stratovirt/plug-net", fixture, NULL, setUp, testPlugNet, tearDown);
    g_test_add("/vmm-stratovirt/unplug-unknown", fixture, NULL, setUp, testUnplugUnknown, tearDown);
    g_test_add("/vmm-stratovirt/lacks", fixture, NULL, setUp, testLacks, tearDown);
    g_test_add_func("/await/fails", testAwaitFails);
    g_test_add_func("/await/later", testAwaitLater);
    return g_test_run();
}
