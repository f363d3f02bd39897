/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-check.c: each reason not to migrate, alone and together */
#include "base/error.h"
#include "migration/check.h"

#include <string.h>

#define QEMU_GOOD 10000003UL
#define QEMU_BROKEN 7002000UL

static const char *const machineList[] = { "microvm", "q35", "pc-q35-10.0", "pc-q35-7.2", NULL };
static const char *const aliasList[] = { "q35=pc-q35-10.0", NULL };

typedef struct {
    vmmTraits traits;
    vmmInfo vmm;
    migSourceFacts source;
    migDestFacts dest;
    migCookie remote;
    migParams params;
} scene;

/* Two hosts between which everything is well. */
static void
sceneInit(scene *s)
{
    memset(s, 0, sizeof(*s));
    s->traits = *vmmTraitsByName("qemu");
    s->vmm.traits = &s->traits;
    s->vmm.version = QEMU_GOOD;
    s->vmm.machines = (GStrv)machineList;
    s->vmm.aliases = (GStrv)aliasList;
    s->vmm.maxCpus = 8;
    s->params.live = true;

    s->source.domainName = "web";
    s->source.active = s->source.persistent = true;
    s->source.vmm = &s->vmm;
    s->source.tcg = true;
    s->source.machine = "pc-q35-10.0";
    s->source.arch = "x86_64";

    s->dest.hostName = "h2";
    s->dest.hostUuid = "22222222-2222-4222-8222-222222222222";
    s->dest.bootId = "boot-2";
    s->dest.instance = "i-2";
    s->dest.vmm = &s->vmm;
    s->dest.machine = "pc-q35-10.0";
    s->dest.arch = "x86_64";
    s->dest.tcg = true;
    s->dest.emulator = "/usr/bin/qemu-system-x86_64";
    s->dest.memoryKiB = 262144;
    s->dest.vcpus = 2;
    s->dest.maxVcpus = 8;

    s->remote.domainName = (char *)"web";
    s->remote.domainUuid = (char *)"c7a5fdbd-edaf-9455-926a-d65c16db1809";
    s->remote.hostName = (char *)"h1";
    s->remote.hostUuid = (char *)"11111111-1111-4111-8111-111111111111";
    s->remote.bootId = (char *)"boot-1";
    s->remote.instance = (char *)"i-1";
    s->remote.vmmName = (char *)"qemu";
    s->remote.vmmVersion = QEMU_GOOD;
    s->remote.machine = (char *)"pc-q35-10.0";
    s->remote.arch = (char *)"x86_64";
    s->remote.tcg = true;
    s->remote.memoryKiB = 262144;
    s->remote.vcpus = 2;
}

static void
expectSource(const scene *s, int code, const char *word)
{
    g_autoptr(GError) error = NULL;
    bool ok = migCheckSource(&s->source, &s->params, &error);

    if (!word) {
        g_assert_no_error(error);
        g_assert_true(ok);
        return;
    }
    g_assert_false(ok);
    g_assert_error(error, BASE_ERROR, code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, "'web'"));
    g_assert_nonnull(strstr(error->message, word));
}

static void
expectDest(const scene *s, int code, const char *word)
{
    g_autoptr(GError) error = NULL;
    bool ok = migCheckDest(&s->dest, &s->remote, &s->params, &error);

    if (!word) {
        g_assert_no_error(error);
        g_assert_true(ok);
        return;
    }
    g_assert_false(ok);
    g_assert_error(error, BASE_ERROR, code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, "'web'"));
    g_assert_nonnull(strstr(error->message, word));
}

static void
testGood(void)
{
    scene s;

    sceneInit(&s);
    expectSource(&s, 0, NULL);
    expectDest(&s, 0, NULL);
    /* A paused and transient guest is as good. */
    s.source.paused = true;
    s.source.persistent = false;
    expectSource(&s, 0, NULL);
    /* A newer VMM and an older machine that it knows. */
    s.vmm.version += 1000;
    s.dest.machine = "pc-q35-7.2";
    s.remote.machine = (char *)"pc-q35-7.2";
    expectDest(&s, 0, NULL);
}

/* ---- source -------------------------------------------------------------------------------- */

static void
testSourceState(void)
{
    scene s;

    sceneInit(&s);
    s.source.active = false;
    expectSource(&s, BASE_ERROR_OPERATION_INVALID, "not running");
    sceneInit(&s);
    s.source.job = "migration out";
    expectSource(&s, BASE_ERROR_OPERATION_INVALID, "'migration out'");
    sceneInit(&s);
    s.source.autodestroy = true;
    expectSource(&s, BASE_ERROR_OPERATION_INVALID, "destroyed when the client");
    sceneInit(&s);
    s.source.snapshots = 3;
    expectSource(&s, BASE_ERROR_OPERATION_INVALID, "snapshots (3)");
}

static void
testSourceDiskError(void)
{
    scene s;

    sceneInit(&s);
    s.source.diskError = s.source.paused = true;
    expectSource(&s, 0, NULL);
    s.params.abortOnError = true;
    expectSource(&s, BASE_ERROR_OPERATION_INVALID, "disk error");
}

static void
testSourceDevices(void)
{
    g_autoptr(GPtrArray) blockers = g_ptr_array_new();
    scene s;

    sceneInit(&s);
    s.source.deviceBlockers = blockers;
    expectSource(&s, 0, NULL);
    g_ptr_array_add(blockers, (gpointer)"PCI device 0000:01:00.0 belongs to this host");
    g_ptr_array_add(blockers, (gpointer)"USB device 3 belongs to this host");
    expectSource(&s, BASE_ERROR_OPERATION_INVALID, "0000:01:00.0");
    expectSource(&s, BASE_ERROR_OPERATION_INVALID, "USB device 3");
}

static void
testSourceVmm(void)
{
    scene s;

    sceneInit(&s);
    s.params.autoConverge = true;
    s.params.bandwidthGiven = true;
    expectSource(&s, 0, NULL);
    s.traits.canAutoConverge = false;
    expectSource(&s, BASE_ERROR_UNSUPPORTED, "VIR_MIGRATE_AUTO_CONVERGE");
    s.params.autoConverge = false;
    s.traits.canLimitSpeed = false;
    expectSource(&s, BASE_ERROR_UNSUPPORTED, "'bandwidth'");
    s.params.bandwidthGiven = false;
    expectSource(&s, 0, NULL);
    s.traits.streamFd = false;
    expectSource(&s, BASE_ERROR_UNSUPPORTED, "cannot send into a connection");
}

/* QEMU before 10 loses writes of a guest that runs under TCG while it is sent. */
static void
testDefect(void)
{
    scene s;

    sceneInit(&s);
    s.vmm.version = QEMU_BROKEN;
    s.remote.vmmVersion = QEMU_BROKEN;
    expectSource(&s, BASE_ERROR_UNSAFE, "VIR_MIGRATE_UNSAFE");
    /* Only if it runs meanwhile, and not with KVM. */
    s.params.live = false;
    expectSource(&s, 0, NULL);
    expectDest(&s, 0, NULL);
    s.params.live = true;
    s.source.tcg = false;
    expectSource(&s, 0, NULL);
    s.source.tcg = true;
    s.params.unsafe = true;
    expectSource(&s, 0, NULL);
    expectDest(&s, 0, NULL);
}

/* ---- destination --------------------------------------------------------------------------- */

static void
testSameHost(void)
{
    scene s;

    /* Equal host UUIDs (bad firmware, cloned machines), but not the same kernel: two hosts. */
    sceneInit(&s);
    s.dest.hostUuid = s.remote.hostUuid;
    expectDest(&s, 0, NULL);
    /* One kernel, but each daemon has a host UUID of its own: that is how one tests. */
    sceneInit(&s);
    s.dest.bootId = s.remote.bootId;
    expectDest(&s, 0, NULL);
    s.dest.hostUuid = s.remote.hostUuid;
    expectDest(&s, BASE_ERROR_OPERATION_INVALID, "'host_uuid' in stratovirt.conf");
    /* One daemon, whatever the configuration says. */
    sceneInit(&s);
    s.dest.instance = s.remote.instance;
    expectDest(&s, BASE_ERROR_OPERATION_INVALID, "the same daemon");
}

static void
testClashes(void)
{
    scene s;

    sceneInit(&s);
    s.dest.uuidActive = true;
    expectDest(&s, BASE_ERROR_OPERATION_INVALID, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
    sceneInit(&s);
    s.dest.nameTaken = true;
    expectDest(&s, BASE_ERROR_OPERATION_FAILED, "another guest named 'web'");
    s.params.destName = (char *)"mail";
    expectDest(&s, BASE_ERROR_OPERATION_FAILED, "another guest named 'mail'");
    sceneInit(&s);
    s.dest.nameDiffers = true;
    s.dest.existingName = "old";
    expectDest(&s, BASE_ERROR_OPERATION_FAILED, "under the name 'old'");
}

static void
testEmulator(void)
{
    scene s;

    sceneInit(&s);
    s.dest.emulatorMissing = true;
    s.dest.vmm = NULL;
    expectDest(&s, BASE_ERROR_CONFIG, "/usr/bin/qemu-system-x86_64");
    s.dest.emulator = NULL;
    expectDest(&s, BASE_ERROR_CONFIG, "'h2' has no program");
}

static void
testOtherVmm(void)
{
    scene s;

    sceneInit(&s);
    s.remote.vmmName = (char *)"stratovirt";
    s.remote.vmmVersion = G_MAXUINT32;
    expectDest(&s, BASE_ERROR_CONFIG, "'stratovirt'");
    s.params.unsafe = true;
    expectDest(&s, BASE_ERROR_CONFIG, "'qemu'");
}

static void
testVersion(void)
{
    scene s;

    sceneInit(&s);
    s.remote.vmmVersion = QEMU_GOOD + 1000;
    expectDest(&s, BASE_ERROR_UNSAFE, "(10.0.3) than on the source (10.1.3)");
    s.params.unsafe = true;
    expectDest(&s, 0, NULL);
}

static void
testMachine(void)
{
    scene s;

    sceneInit(&s);
    s.remote.machine = (char *)"microvm";
    expectDest(&s, BASE_ERROR_CONFIG, "'microvm' on the source, but 'pc-q35-10.0'");
    /* An alias is the machine that it stands for. */
    sceneInit(&s);
    s.dest.machine = "q35";
    expectDest(&s, 0, NULL);
    s.remote.machine = (char *)"pc-q35-10.1";
    expectDest(&s, BASE_ERROR_CONFIG, "'pc-q35-10.1' on the source, but 'pc-q35-10.0'");
    s.dest.machine = "pc-q35-10.1";
    expectDest(&s, BASE_ERROR_CONFIG, "does not know the machine 'pc-q35-10.1'");
    sceneInit(&s);
    s.dest.arch = "aarch64";
    expectDest(&s, BASE_ERROR_CONFIG, "'aarch64'");
    s.dest.machine = s.dest.arch = NULL;
    expectDest(&s, BASE_ERROR_CONFIG, "'?'");
}

static void
testAccelerator(void)
{
    scene s;

    sceneInit(&s);
    s.dest.tcg = false;
    expectDest(&s, BASE_ERROR_UNSAFE, "runs with TCG on the source and would run with KVM");
    s.params.unsafe = true;
    expectDest(&s, 0, NULL);
}

static void
testSizes(void)
{
    scene s;

    sceneInit(&s);
    s.dest.memoryKiB = 1;
    expectDest(&s, BASE_ERROR_CONFIG, "262144 KiB on the source, but 1 KiB");
    sceneInit(&s);
    s.dest.vcpus = 3;
    expectDest(&s, BASE_ERROR_CONFIG, "2 virtual processors on the source, but 3");
    sceneInit(&s);
    s.dest.maxVcpus = 1;
    expectDest(&s, BASE_ERROR_CONFIG, "at most 1");
}

/* ---- together ------------------------------------------------------------------------------ */

static void
testTogether(void)
{
    g_autoptr(GError) error = NULL;
    scene s;

    sceneInit(&s);
    s.remote.vmmVersion = QEMU_GOOD + 1000;
    s.dest.nameTaken = true;
    s.dest.memoryKiB = 1;
    s.dest.tcg = false;
    /* The first that nobody can override gives the code; the others are told nevertheless. */
    expectDest(&s, BASE_ERROR_OPERATION_FAILED,
               "(1) Host 'h2' has another guest named 'web'. (2) ");
    expectDest(&s, BASE_ERROR_OPERATION_FAILED, "(4) ");
    g_assert_false(migCheckDest(&s.dest, &s.remote, &s.params, &error));
    g_assert_null(strstr(error->message, "VIR_MIGRATE_UNSAFE"));
    g_clear_error(&error);
    /* With UNSAFE those that it overrides are not told any more. */
    s.params.unsafe = true;
    g_assert_false(migCheckDest(&s.dest, &s.remote, &s.params, &error));
    g_assert_nonnull(strstr(error->message, "(2) "));
    g_assert_null(strstr(error->message, "(3) "));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/check/good", testGood);
    g_test_add_func("/check/source/state", testSourceState);
    g_test_add_func("/check/source/disk-error", testSourceDiskError);
    g_test_add_func("/check/source/devices", testSourceDevices);
    g_test_add_func("/check/source/vmm", testSourceVmm);
    g_test_add_func("/check/defect", testDefect);
    g_test_add_func("/check/dest/same-host", testSameHost);
    g_test_add_func("/check/dest/clashes", testClashes);
    g_test_add_func("/check/dest/emulator", testEmulator);
    g_test_add_func("/check/dest/other-vmm", testOtherVmm);
    g_test_add_func("/check/dest/version", testVersion);
    g_test_add_func("/check/dest/machine", testMachine);
    g_test_add_func("/check/dest/accelerator", testAccelerator);
    g_test_add_func("/check/dest/sizes", testSizes);
    g_test_add_func("/check/together", testTogether);
    return g_test_run();
}
