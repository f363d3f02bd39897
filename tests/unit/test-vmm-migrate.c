/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-vmm-migrate.c: migrations of the real VMM, where one is installed (SV_TEST_QEMU names another binary) */
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "remote/vmm.h"
#include "remote/vmm_ask.h"

#include "find-qemu.h"

static const vmmOps *ops;

/* ---- a real migration ---------------------------------------------------------------------- */

typedef struct {
    vmmAsk *ask;
    control *ctl;
} realVm;

#define REAL_ARGS \
    "-nodefaults", "-no-user-config", "-display", "none", "-S", "-m", "64", \
    "-machine", "microvm,accel=tcg", \
    "-chardev", "socket,id=control,fd=3", "-mon", "chardev=control,mode=control", \
    "-chardev", "pty,id=tty", "-device", "isa-serial,chardev=tty"

static void
waitMigration(control *ctl, vmmMigState wanted)
{
    gint64 end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;
    vmmMigState state = VMM_MIG_NONE;

    while (g_get_monotonic_time() < end && state != wanted && state != VMM_MIG_FAILED) {
        g_autoptr(GError) error = NULL;
        vmmMigStatus status = { 0 };

        ops->migrateStatus(ctl, &status, &error);
        g_assert_no_error(error);
        state = status.state;
        if (state == VMM_MIG_COMPLETED) {
            g_test_message("%" G_GUINT64_FORMAT " ms, %" G_GUINT64_FORMAT " bytes", status.totalMs,
                           status.ramTransferred);
        }
        vmmMigStatusClear(&status);
        g_usleep(5000);
    }
    g_assert_cmpint(state, ==, wanted);
}

static void
assertState(control *ctl, vmmRunState wanted)
{
    g_autoptr(GError) error = NULL;
    vmmRunState state = VMM_RUN_OTHER;

    ops->status(ctl, &state, &error);
    g_assert_no_error(error);
    g_assert_cmpint(state, ==, wanted);
}

static void
checkRealDevices(control *ctl)
{
    g_autoptr(GError) error = NULL;
    g_autofree pid_t *threads = NULL;
    g_autofree char *path = NULL;
    size_t count = 0;
    uint64_t bytes;

    ops->vcpuThreads(ctl, &threads, &count, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(count, ==, 1);
    g_assert_cmpint(threads[0], >, 1);
    ops->chardevPath(ctl, "tty", &path, &error);
    g_assert_no_error(error);
    g_assert_true(g_str_has_prefix(path, "/dev/pts/"));
    g_assert_false(ops->balloonGet(ctl, &bytes, NULL));   /* it has none */
}

static void
testRealMigration(void)
{
    static const char *const sourceArgs[] = { REAL_ARGS, NULL };
    static const char *const destArgs[] = { REAL_ARGS, "-incoming", "defer", NULL };
    const vmmMigSpec spec = { .live = false, .pauseBeforeSwitchover = true, .autoConverge = true,
                              .xbzrleCacheBytes = 1 << 20 };
    g_autofree char *qemu = findQemu();
    g_autoptr(GError) error = NULL;
    g_autoptr(vmmAsk) source = NULL;
    g_autoptr(vmmAsk) dest = NULL;
    int pair[2], status = -1;

    if (!qemu) {
        g_test_skip("no QEMU");
        return;
    }
    source = vmmAskStart(qemu, sourceArgs, -1, &error);
    g_assert_no_error(error);
    dest = vmmAskStart(qemu, destArgs, -1, &error);
    g_assert_no_error(error);
    assertState(vmmAskControl(source), VMM_RUN_PAUSED);
    assertState(vmmAskControl(dest), VMM_RUN_INMIGRATE);
    checkRealDevices(vmmAskControl(source));

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    ops->incomingAttach(vmmAskControl(dest), pair[1], &error);
    g_assert_no_error(error);
    ops->migrateStart(vmmAskControl(source), &spec, pair[0], &error);
    g_assert_no_error(error);
    close(pair[0]);
    close(pair[1]);
    waitMigration(vmmAskControl(source), VMM_MIG_PRE_SWITCHOVER);
    ops->migrateTune(vmmAskControl(source), &spec, &error);
    g_assert_no_error(error);
    ops->migrateContinue(vmmAskControl(source), &error);
    g_assert_no_error(error);
    waitMigration(vmmAskControl(source), VMM_MIG_COMPLETED);
    waitMigration(vmmAskControl(dest), VMM_MIG_COMPLETED);
    assertState(vmmAskControl(source), VMM_RUN_POSTMIGRATE);
    assertState(vmmAskControl(dest), VMM_RUN_PAUSED);

    ops->resume(vmmAskControl(dest), &error);
    g_assert_no_error(error);
    assertState(vmmAskControl(dest), VMM_RUN_RUNNING);
    g_assert_true(ops->quit(vmmAskControl(dest), NULL));
    g_assert_true(vmmChildWait(vmmAskChild(dest), 5000, &status, NULL));
    g_assert_cmpint(status, ==, 0);
}

/* The destination dies, the source fails and can try again; then the source is cancelled. */
static void
testRealFailure(void)
{
    static const char *const sourceArgs[] = { REAL_ARGS, NULL };
    const vmmMigSpec spec = { .pauseBeforeSwitchover = true, .maxBandwidth = 4096 };
    g_autofree char *qemu = findQemu();
    g_autoptr(GError) error = NULL;
    g_autoptr(vmmAsk) source = NULL;
    int pair[2];

    if (!qemu) {
        g_test_skip("no QEMU");
        return;
    }
    source = vmmAskStart(qemu, sourceArgs, -1, &error);
    g_assert_no_error(error);
    for (int round = 0; round < 2; round++) {
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
        ops->migrateStart(vmmAskControl(source), &spec, pair[0], &error);
        g_assert_no_error(error);
        close(pair[0]);
        if (round == 0) {
            close(pair[1]);
            waitMigration(vmmAskControl(source), VMM_MIG_FAILED);
        } else {
            ops->migrateCancel(vmmAskControl(source), &error);
            g_assert_no_error(error);
            waitMigration(vmmAskControl(source), VMM_MIG_CANCELLED);
            close(pair[1]);
        }
        assertState(vmmAskControl(source), VMM_RUN_PAUSED);
    }
}

int
main(int argc, char **argv)
{
    ops = vmmTraitsByName("qemu")->ops;
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vmm/migration/real", testRealMigration);
    g_test_add_func("/vmm/migration/failure", testRealFailure);
    return g_test_run();
}
