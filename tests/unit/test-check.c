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
    s->vmm.kvm = true;
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
testSourceCache(void)
{
    g_autoptr(GPtrArray) targets = g_ptr_array_new();
    scene s;

    sceneInit(&s);
    s.source.unflushed = targets;
    expectSource(&s, 0, NULL);
    g_ptr_array_add(targets, (gpointer)"vdb");
    expectSource(&s, BASE_ERROR_UNSAFE, "'vdb' has cache='unsafe'");
    s.params.unsafe = true;
    expectSource(&s, 0, NULL);
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
    s.params.bandwidthMiBs = 1;
    expectSource(&s, 0, NULL);
    s.source.throttleTrouble = "it has no control groups";
    expectSource(&s, BASE_ERROR_UNSUPPORTED, "no control groups");
    s.params.autoConverge = false;
    expectSource(&s, 0, NULL);
    s.source.throttleTrouble = NULL;
    s.params.autoConverge = true;
    s.traits.canAutoConverge = false;
    expectSource(&s, BASE_ERROR_UNSUPPORTED, "VIR_MIGRATE_AUTO_CONVERGE");
    s.params.autoConverge = false;
    s.traits.canLimitSpeed = false;
    /* The relay has it. */
    expectSource(&s, 0, NULL);
    s.params.bandwidthGiven = false;
    s.params.bandwidthMiBs = 0;
    s.params.parallel = true;
    s.traits.canParallel = true;
    expectSource(&s, 0, NULL);
    s.traits.canParallel = false;
    expectSource(&s, 0, NULL);
    s.params.parallel = false;
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

/* Versions between which the stream has changed, whichever way. */
static void
testVersionsApart(void)
{
    for (unsigned i = 0; i < 4; i++) {
        vmmTraits traits;
        scene s;

        sceneInit(&s);
        traits = *s.vmm.traits;
        traits.streamChanged = QEMU_GOOD + 1000;
        s.vmm.traits = &traits;
        s.vmm.version = QEMU_GOOD + (i & 1 ? 1000 : 0);
        s.remote.vmmVersion = QEMU_GOOD + (i & 2 ? 1000 : 0);
        s.params.unsafe = true;
        if (i == 1 || i == 2)
            expectDest(&s, BASE_ERROR_CONFIG, i == 1 ? "10.0.3 on the source and 10.1.3" : "10.1.3 on the source and 10.0.3");
        else
            expectDest(&s, 0, NULL);
    }
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

static void
testResources(void)
{
    scene s;

    sceneInit(&s);
    s.dest.hostMemoryKiB = 262144;
    s.dest.freeMemoryKiB = 1000;
    s.remote.residentKiB = 1000;
    expectDest(&s, 0, NULL);
    s.remote.residentKiB = 1001;
    expectDest(&s, BASE_ERROR_UNSAFE, "occupies 1001 KiB of memory on the source, but only 1000 KiB");
    s.params.unsafe = true;
    expectDest(&s, 0, NULL);
    s.params.unsafe = false;
    s.remote.residentKiB = 0;
    s.dest.hostMemoryKiB = 262143;
    expectDest(&s, BASE_ERROR_UNSAFE, "more than all that host 'h2' has (262143 KiB)");
    s.params.unsafe = true;
    expectDest(&s, 0, NULL);
}

static void
testProcessor(void)
{
    static const char *const models[] = { "qemu64", "Haswell", NULL };
    scene s;

    sceneInit(&s);
    s.vmm.cpus = (GStrv)models;
    s.dest.cpuModel = "Haswell";
    expectDest(&s, 0, NULL);
    s.dest.cpuModel = "EPYC-Rome";
    s.params.unsafe = true;
    expectDest(&s, BASE_ERROR_CONFIG, "processor model 'EPYC-Rome'");

    sceneInit(&s);
    s.dest.cpuTrouble = "missing features: avx512f";
    s.params.unsafe = true;
    expectDest(&s, BASE_ERROR_CONFIG, "host 'h2' lacks what its definition names: missing features: avx512f");

    sceneInit(&s);
    s.dest.hostCpu = "vendor_id A";
    expectDest(&s, 0, NULL);
    s.remote.hostCpu = (char *)"vendor_id A";
    expectDest(&s, 0, NULL);
    s.remote.hostCpu = (char *)"vendor_id B";
    expectDest(&s, BASE_ERROR_UNSAFE, "vendor_id B");
    s.dest.hostCpu = NULL;
    expectDest(&s, BASE_ERROR_UNSAFE, "(?)");
    s.params.unsafe = true;
    expectDest(&s, 0, NULL);

    sceneInit(&s);
    s.dest.cpuMaximum = true;
    expectDest(&s, 0, NULL);
    s.remote.vmmVersion = QEMU_GOOD - 1;
    expectDest(&s, BASE_ERROR_UNSAFE, "differs with the VMM's version");
    s.params.unsafe = true;
    expectDest(&s, 0, NULL);
}

static void
testKvm(void)
{
    scene s;

    sceneInit(&s);
    s.dest.tcg = s.remote.tcg = s.source.tcg = false;
    s.vmm.kvm = true;
    expectDest(&s, 0, NULL);
    s.vmm.kvm = false;
    s.params.unsafe = true;
    expectDest(&s, BASE_ERROR_CONFIG, "KVM, which does not work on host 'h2'");
}

static void
testMissing(void)
{
    g_autoptr(GPtrArray) missing = g_ptr_array_new();
    scene s;

    sceneInit(&s);
    s.dest.missing = missing;
    expectDest(&s, 0, NULL);
    g_ptr_array_add(missing, (gpointer)"There is no bridge 'br0' at the destination.");
    g_ptr_array_add(missing, (gpointer)"There is no kernel '/boot/x' at the destination.");
    s.params.unsafe = true;
    expectDest(&s, BASE_ERROR_CONFIG, "(1) There is no bridge 'br0'");
    expectDest(&s, BASE_ERROR_CONFIG, "(2) There is no kernel");

    sceneInit(&s);
    s.dest.portTrouble = "port 49152 is taken.";
    expectDest(&s, BASE_ERROR_OPERATION_FAILED, "port 49152 is taken.");
}

static void
testStorage(void)
{
    g_autoptr(GPtrArray) unproved = g_ptr_array_new();
    scene s;

    sceneInit(&s);
    s.dest.unproved = unproved;
    expectDest(&s, 0, NULL);
    g_ptr_array_add(unproved, (gpointer)"Disk 'vda' is elsewhere.");
    expectDest(&s, BASE_ERROR_UNSAFE, "Disk 'vda' is elsewhere. To migrate nevertheless, add the flag 'VIR_MIGRATE_UNSAFE'");
    s.params.unsafe = true;
    expectDest(&s, 0, NULL);
    /* A definition alone needs none of it. */
    s.params.unsafe = false;
    s.params.offline = true;
    expectDest(&s, 0, NULL);
}

/* ---- dry run ------------------------------------------------------------------------------- */

static void
forgetReasons(scene *s)
{
    g_clear_pointer(&s->remote.reasons, g_ptr_array_unref);
    g_clear_pointer(&s->remote.reasonsCode, g_free);
}

static void
dryRun(scene *s)
{
    forgetReasons(s);
    migCheckSourceDry(&s->source, &s->params, &s->remote);
    g_assert_true(s->remote.dryRun);
}

static void
testDryRun(void)
{
    g_autoptr(GPtrArray) unproved = g_ptr_array_new();
    g_autofree char *counts = NULL;
    scene s;

    /* Always an error, also when all is well: nothing may be started. */
    sceneInit(&s);
    dryRun(&s);
    g_assert_cmpuint(s.remote.reasons->len, ==, 0);
    g_assert_cmpuint(s.remote.checks, >, 5);
    counts = g_strdup_printf(". %u checks were made on the source", s.remote.checks);
    expectDest(&s, BASE_ERROR_ABORTED, "can migrate from host 'h1' to host 'h2'");
    expectDest(&s, BASE_ERROR_ABORTED, counts);
    /* Which channel it would be, or that there is none. */
    s.dest.channel = "The data would take the channel 'native'.";
    expectDest(&s, BASE_ERROR_ABORTED, "nothing was started. The data would take the channel 'native'.");
    s.dest.channel = NULL;
    s.dest.channelTrouble = "The data of the guest must be secure.";
    expectDest(&s, BASE_ERROR_UNSUPPORTED, "cannot migrate from host 'h1' to host 'h2': The data of the guest must be secure.");

    /* Asked for at the destination alone it is one as well. */
    forgetReasons(&s);
    sceneInit(&s);
    s.params.dryRun = true;
    expectDest(&s, BASE_ERROR_ABORTED, "can migrate");

    /* Reasons of both hosts in one list; the worst gives the code. */
    forgetReasons(&s);
    sceneInit(&s);
    s.dest.unproved = unproved;
    g_ptr_array_add(unproved, (gpointer)"Disk 'vda' is elsewhere.");
    dryRun(&s);
    expectDest(&s, BASE_ERROR_UNSAFE, "cannot migrate safely from host 'h1' to host 'h2': Disk 'vda' is elsewhere. To migrate nevertheless");
    s.source.snapshots = 3;
    dryRun(&s);
    expectDest(&s, BASE_ERROR_OPERATION_INVALID, "(1) It has snapshots (3), which would stay behind. (2) Disk 'vda' is elsewhere.");
    s.source.snapshots = 0;
    s.traits.streamFd = false;
    dryRun(&s);
    expectDest(&s, BASE_ERROR_UNSUPPORTED, "(1) ");

    /* What can be overridden on the source gives way to what cannot at the destination. */
    forgetReasons(&s);
    sceneInit(&s);
    s.vmm.version = QEMU_BROKEN;
    s.remote.vmmVersion = QEMU_BROKEN;
    dryRun(&s);
    g_assert_cmpuint(s.remote.reasons->len, ==, 1);
    /* Both hosts' VMMs have the defect, which is told once. */
    expectDest(&s, BASE_ERROR_UNSAFE, "to host 'h2': QEMU before version 10");
    s.dest.nameTaken = true;
    expectDest(&s, BASE_ERROR_OPERATION_FAILED, "(2) Host 'h2' has another guest named 'web'");
    /* A word that a newer source may use for it. */
    g_free(s.remote.reasonsCode);
    s.remote.reasonsCode = g_strdup("something-new");
    expectDest(&s, BASE_ERROR_OPERATION_INVALID, "(1) ");
    forgetReasons(&s);
}

static void
testConnections(void)
{
    scene s;

    sceneInit(&s);
    s.remote.connections = 1;
    expectDest(&s, 0, NULL);
    s.remote.connections = 5;
    expectDest(&s, BASE_ERROR_INVALID_ARG, "over 5 connections, but host 'h2' was told to expect 1");
    s.params.parallel = true;
    s.params.parallelConnections = 4;
    expectDest(&s, 0, NULL);
    s.params.parallelConnections = 8;
    expectDest(&s, BASE_ERROR_INVALID_ARG, "to expect 9");
    /* One that does not say it. */
    s.remote.connections = 0;
    expectDest(&s, 0, NULL);
}

/* 107 bytes is what a socket's address can hold. */
static void
testSocketPath(void)
{
    g_autofree char *longest = g_strnfill(107, 'p');
    g_autofree char *tooLong = g_strnfill(108, 'p');
    static char relay[] = "relay";
    scene s;

    sceneInit(&s);
    s.source.channelPath = s.dest.channelPath = tooLong;
    expectSource(&s, 0, NULL);
    expectDest(&s, 0, NULL);
    s.params.parallel = true;
    expectSource(&s, BASE_ERROR_UNSUPPORTED, tooLong);
    expectDest(&s, BASE_ERROR_UNSUPPORTED, "107 bytes");
    /* What is spread needs none. */
    s.params.transport = relay;
    s.remote.way.spread = true;
    expectSource(&s, 0, NULL);
    expectDest(&s, 0, NULL);
    s.params.transport = NULL;
    s.remote.way.spread = false;
    s.source.channelPath = s.dest.channelPath = longest;
    expectSource(&s, 0, NULL);
    expectDest(&s, 0, NULL);
}

/* The documentation is what the rows say. */
static void
testDescribe(void)
{
    static const char mark[] = "writes them anew.\n\n";
    const char *root = g_getenv("SV_SOURCE_ROOT");
    g_autofree char *path = g_build_filename(root ? root : "../..", "docs/migration-checks.rst", NULL);
    g_autofree char *text = migCheckDescribe();
    g_autofree char *page = NULL;
    char *tables;

    g_assert_true(g_file_get_contents(path, &page, NULL, NULL));
    tables = strstr(page, mark);
    g_assert_nonnull(tables);
    tables += strlen(mark);
    if (g_getenv("REGENERATE")) {
        g_autofree char *next = g_strdup_printf("%.*s%s", (int)(tables - page), page, text);

        g_assert_true(g_file_set_contents(path, next, -1, NULL));
    } else {
        g_assert_cmpstr(tables, ==, text);
    }
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
    g_test_add_func("/check/source/cache", testSourceCache);
    g_test_add_func("/check/source/devices", testSourceDevices);
    g_test_add_func("/check/source/vmm", testSourceVmm);
    g_test_add_func("/check/defect", testDefect);
    g_test_add_func("/check/dest/same-host", testSameHost);
    g_test_add_func("/check/dest/clashes", testClashes);
    g_test_add_func("/check/dest/emulator", testEmulator);
    g_test_add_func("/check/dest/other-vmm", testOtherVmm);
    g_test_add_func("/check/dest/version", testVersion);
    g_test_add_func("/check/dest/versions-apart", testVersionsApart);
    g_test_add_func("/check/dest/machine", testMachine);
    g_test_add_func("/check/dest/accelerator", testAccelerator);
    g_test_add_func("/check/dest/sizes", testSizes);
    g_test_add_func("/check/dest/resources", testResources);
    g_test_add_func("/check/dest/processor", testProcessor);
    g_test_add_func("/check/dest/kvm", testKvm);
    g_test_add_func("/check/dest/missing", testMissing);
    g_test_add_func("/check/dest/storage", testStorage);
    g_test_add_func("/check/dry-run", testDryRun);
    g_test_add_func("/check/connections", testConnections);
    g_test_add_func("/check/socket-path", testSocketPath);
    g_test_add_func("/check/describe", testDescribe);
    g_test_add_func("/check/together", testTogether);
    return g_test_run();
}
