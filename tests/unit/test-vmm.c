/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The real VMM is tried where one is installed (SV_TEST_QEMU names another binary). */
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/fault.h"
#include "remote/json.h"
#include "remote/vmm.h"
#include "remote/vmm_ask.h"

#include "find-qemu.h"
#include "vmm-fixture.h"

static const vmmOps *ops;

/* ---- rows ---------------------------------------------------------------------------------- */

static void
testRows(void)
{
    const vmmTraits *qemu = vmmTraitsByName("qemu");
    const vmmTraits *stratovirt = vmmTraitsByName("stratovirt");
    const gpointer *all[] = { (const gpointer *)qemu->ops, (const gpointer *)stratovirt->ops };

    g_assert_cmpstr(qemu->title, ==, "QEMU");
    g_assert_true(stratovirt->startsOnArrival && stratovirt->streamTwoWay);
    g_assert_null(vmmTraitsByName("xen"));
    g_assert_null(vmmTraitsByName(NULL));
    g_assert_true(vmmTraitsAt(0) == qemu && vmmTraitsAt(1) == stratovirt);
    g_assert_null(vmmTraitsAt(2));
    /* One that can compress knows how much memory that may cost. */
    g_assert_true(!qemu->canXbzrle == !qemu->xbzrleCacheBytes);
    /* Callers never look whether an operation is there. */
    for (size_t i = 0; i < sizeof(vmmOps) / sizeof(gpointer); i++) {
        for (size_t k = 0; k < G_N_ELEMENTS(all); k++)
            g_assert_nonnull(all[k][i]);
    }
}

static void
testIdentify(void)
{
    static const struct { const char *text; const char *name; unsigned long version; } cases[] = {
        { "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg)\nCopyright", "qemu", 7002022 },
        { "warning: x\nQEMU emulator version 10.0.2", "qemu", 10000002 },
        { "QEMU emulator version 9.2.50 (v9.2.0-1-gabc)", "qemu", 9002050 },
        { "QEMU emulator version 11.0", "qemu", 11000000 },
        { "StratoVirt 2.4.0", "stratovirt", 2004000 },
        { "StratoVirt-2.5.0", "stratovirt", 2005000 },
        { "StratoVirtual 2.5.0", NULL, 0 },
        { "QEMU emulator version x.y", NULL, 0 },
        { "QEMU emulator version 7", NULL, 0 },
        { "QEMU emulator version 7.99999999999999999999", NULL, 0 },
        { "GNU bash, version 5.2.15", NULL, 0 },
        { "", NULL, 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        unsigned long version = 0;
        const vmmRow *row = vmmIdentify(cases[i].text, &version);

        g_assert_cmpstr(row ? row->traits->name : NULL, ==, cases[i].name);
        g_assert_cmpuint(version, ==, cases[i].version);
    }
}

static void
testDefects(void)
{
    vmmInfo info = { .traits = vmmTraitsByName("qemu"), .version = 7002022 };
    const vmmDefect *defect = vmmDefectFor(&info, true);

    g_assert_nonnull(defect);
    g_assert_true(defect->overridable);
    g_assert_nonnull(strstr(defect->text, "observed"));
    g_assert_null(vmmDefectFor(&info, false));
    info.version = 9002050;
    g_assert_nonnull(vmmDefectFor(&info, true));
    info.version = 10000000;
    g_assert_null(vmmDefectFor(&info, true));
    info.traits = vmmTraitsByName("stratovirt");
    info.version = 2004000;
    g_assert_null(vmmDefectFor(&info, true));
    info.version = 2005000;
    defect = vmmDefectFor(&info, false);
    g_assert_nonnull(defect);
    g_assert_false(defect->overridable);
}

/* ---- operations against a fake ------------------------------------------------------------- */

static void
testStatus(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    static const vmmRunState wanted[] = {
        VMM_RUN_RUNNING, VMM_RUN_PAUSED, VMM_RUN_POSTMIGRATE, VMM_RUN_OTHER,
    };
    vmmRunState state = VMM_RUN_CRASHED;

    PLAY(f, { FAKE_EXPECT, "query-status" }, FAKE_RETURN("{\"status\":\"running\"}"),
         { FAKE_EXPECT, "query-status" }, FAKE_RETURN("{\"status\":\"prelaunch\"}"),
         { FAKE_EXPECT, "query-status" }, FAKE_RETURN("{\"status\":\"postmigrate\"}"),
         { FAKE_EXPECT, "query-status" }, FAKE_RETURN("{\"status\":\"brand-new\"}"),
         { FAKE_EXPECT, "query-status" }, FAKE_RETURN("{\"status\":5}"),
         { FAKE_EXPECT, "query-status" }, FAKE_RETURN("[]"),
         { FAKE_EXPECT, "query-status" }, FAKE_REFUSE);
    for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++) {
        g_assert_true(ops->status(f->ctl, &state, NULL));
        g_assert_cmpint(state, ==, wanted[i]);
    }
    state = VMM_RUN_CRASHED;
    for (size_t i = 0; i < 3; i++) {
        g_assert_false(ops->status(f->ctl, &state, &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
        g_clear_error(&error);
    }
    g_assert_cmpint(state, ==, VMM_RUN_CRASHED);   /* untouched on failure */
    fakeQmpJoin(&f->fake);
}

static void
testSimple(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    PLAY(f, { FAKE_EXPECT, "\"stop\"" }, FAKE_OK, { FAKE_EXPECT, "\"cont\"" }, FAKE_OK,
         { FAKE_EXPECT, "\"system_powerdown\"" }, FAKE_OK,
         { FAKE_EXPECT, "\"system_reset\"" }, FAKE_OK,
         { FAKE_EXPECT, "\"migrate_cancel\"" }, FAKE_OK, { FAKE_EXPECT, "\"cont\"" }, FAKE_REFUSE,
         { FAKE_EXPECT, "\"quit\"" }, { FAKE_CLOSE, NULL });
    g_assert_true(ops->pause(f->ctl, NULL));
    g_assert_true(ops->resume(f->ctl, NULL));
    g_assert_true(ops->powerdown(f->ctl, NULL));
    g_assert_true(ops->reset(f->ctl, NULL));
    g_assert_true(ops->migrateCancel(f->ctl, NULL));
    g_assert_false(ops->resume(f->ctl, &error));
    g_assert_nonnull(strstr(error->message, "not now"));
    g_assert_true(ops->quit(f->ctl, NULL));        /* it went without a word */
    g_clear_error(&error);
    g_assert_false(ops->pause(f->ctl, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED);
    fakeQmpJoin(&f->fake);
}

static void
testMigrateStart(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    const vmmMigSpec plain = { .live = true, .pauseBeforeSwitchover = true };
    const vmmMigSpec full = {
        .live = true, .maxBandwidth = 1000, .maxDowntimeMs = 77, .autoConverge = true,
        .autoConvergeInitial = 30, .autoConvergeIncrement = 5, .xbzrleCacheBytes = 65536,
    };

    PLAY(f,
         { FAKE_EXPECT, "{\"capability\":\"events\",\"state\":true},"
                        "{\"capability\":\"return-path\",\"state\":true},"
                        "{\"capability\":\"pause-before-switchover\",\"state\":true},"
                        "{\"capability\":\"auto-converge\",\"state\":false},"
                        "{\"capability\":\"xbzrle\",\"state\":false},"
                        "{\"capability\":\"multifd\",\"state\":false}" }, FAKE_OK,
         { FAKE_EXPECT, "{\"max-bandwidth\":1125899906842624,\"downtime-limit\":300,"
                        "\"cpu-throttle-initial\":20,\"cpu-throttle-increment\":10,"
                        "\"multifd-compression\":\"none\"}" }, FAKE_OK,
         { FAKE_EXPECT, "\"getfd\"" }, FAKE_OK,
         { FAKE_EXPECT, "\"execute\":\"migrate\",\"arguments\":{\"uri\":\"fd:" }, FAKE_OK,
         { FAKE_EXPECT, "\"state\":\"pre-switchover\"" }, FAKE_OK,
         { FAKE_EXPECT, "{\"capability\":\"auto-converge\",\"state\":true},"
                        "{\"capability\":\"xbzrle\",\"state\":true},"
                        "{\"capability\":\"multifd\",\"state\":false}" }, FAKE_OK,
         { FAKE_EXPECT, "{\"max-bandwidth\":1000,\"downtime-limit\":77,\"cpu-throttle-initial\":30,"
                        "\"cpu-throttle-increment\":5,\"xbzrle-cache-size\":65536,"
                        "\"multifd-compression\":\"none\"}" }, FAKE_OK,
         { FAKE_EXPECT, "\"getfd\"" }, FAKE_OK,
         { FAKE_EXPECT, "\"migrate\"" }, FAKE_REFUSE,
         { FAKE_EXPECT, "\"closefd\"" }, FAKE_REFUSE,
         { FAKE_EXPECT, "{\"max-bandwidth\":5,\"downtime-limit\":300}" }, FAKE_OK,
         { FAKE_EXPECT, "{\"xbzrle-cache-size\":131072}" }, FAKE_OK);
    g_assert_true(ops->migrateStart(f->ctl, &plain, f->pair[0], &error));
    g_assert_true(ops->migrateContinue(f->ctl, &error));
    g_assert_false(ops->migrateStart(f->ctl, &full, f->pair[0], &error));
    g_assert_nonnull(strstr(error->message, "not now"));
    g_assert_nonnull(strstr(error->message, "'migrate'"));   /* not closefd */
    g_assert_true(ops->migrateTune(f->ctl, &(vmmMigSpec){ .maxBandwidth = 5 }, NULL));
    g_assert_true(ops->migrateCache(f->ctl, 131072, NULL));
    fakeQmpJoin(&f->fake);
}

static void
testIncoming(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    PLAY(f, { FAKE_EXPECT, "{\"capability\":\"return-path\",\"state\":true}" }, FAKE_OK,
         { FAKE_EXPECT, "\"getfd\"" }, FAKE_OK,
         { FAKE_EXPECT, "\"migrate-incoming\"" }, FAKE_OK);
    g_assert_true(ops->incomingAttach(f->ctl, f->pair[0], NULL));
    fakeQmpJoin(&f->fake);
}

/* Over several connections the VMM makes and accepts them itself. */
static void
testParallel(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    const vmmMigSpec spec = {
        .live = true, .channels = 7, .unixPath = "/run/x/a,b.sock", .channelCompress = VMM_COMPRESS_ZLIB, .compressLevel = 3,
    };
    const vmmMigSpec plain = { .live = true };

    PLAY(f,
         { FAKE_EXPECT, "{\"capability\":\"multifd\",\"state\":true}" }, FAKE_OK,
         { FAKE_EXPECT, "\"multifd-channels\":7,\"multifd-compression\":\"zlib\",\"multifd-zlib-level\":3}" }, FAKE_OK,
         { FAKE_EXPECT, "\"execute\":\"migrate\",\"arguments\":{\"uri\":\"unix:/run/x/a,b.sock\"}" }, FAKE_OK,
         { FAKE_EXPECT, "{\"capability\":\"multifd\",\"state\":true}" }, FAKE_OK,
         { FAKE_EXPECT, "{\"multifd-channels\":7,\"multifd-compression\":\"zlib\",\"multifd-zlib-level\":3}" }, FAKE_OK,
         { FAKE_EXPECT, "{\"uri\":\"unix:/run/x/a,b.sock\",\"exit-on-error\":false}" }, FAKE_REFUSE,
         { FAKE_EXPECT, "\"arguments\":{\"uri\":\"unix:/run/x/a,b.sock\"}" }, FAKE_OK,
         /* It outlives a migration that failed. */
         { FAKE_EXPECT, "{\"capability\":\"multifd\",\"state\":false}" }, FAKE_REFUSE);
    g_assert_true(ops->migrateStart(f->ctl, &spec, -1, &error));
    g_assert_true(ops->incomingListen(f->ctl, spec.unixPath, &spec, &error));
    g_assert_false(ops->migrateStart(f->ctl, &plain, f->pair[0], &error));
    fakeQmpJoin(&f->fake);
}

static void
testMigrateStatus(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    vmmMigStatus status = { 0 };

    PLAY(f, { FAKE_EXPECT, "query-migrate" }, FAKE_RETURN("{}"),
         { FAKE_EXPECT, "query-migrate" },
         FAKE_RETURN("{\"status\":\"active\",\"setup-time\":3,\"expected-downtime\":300,"
                     "\"total-time\":9,"
                     "\"cpu-throttle-percentage\":20,\"ram\":{\"total\":100,\"transferred\":40,"
                     "\"remaining\":60,\"duplicate\":1,\"normal\":2,"
                     "\"normal-bytes\":8192,\"mbps\":8.5,"
                     "\"dirty-pages-rate\":7,\"dirty-sync-count\":4,\"page-size\":4096,"
                     "\"postcopy-requests\":0},\"disk\":{\"total\":-1},"
                     "\"xbzrle-cache\":{\"cache-size\":65536,\"bytes\":5,\"pages\":6,\"cache-miss\":7,"
                     "\"cache-miss-rate\":0.1,\"encoding-rate\":1,\"overflow\":8}}"),
         { FAKE_EXPECT, "query-migrate" },
         FAKE_RETURN("{\"status\":\"failed\",\"error-desc\":\"broken\",\"ram\":[]}"),
         { FAKE_EXPECT, "query-migrate" }, FAKE_RETURN("7"));
    g_assert_true(ops->migrateStatus(f->ctl, &status, NULL));
    g_assert_cmpint(status.state, ==, VMM_MIG_NONE);
    g_assert_true(ops->migrateStatus(f->ctl, &status, NULL));
    g_assert_cmpint(status.state, ==, VMM_MIG_ACTIVE);
    g_assert_cmpuint(status.ramTotal, ==, 100);
    g_assert_cmpuint(status.ramRemaining, ==, 60);
    g_assert_cmpuint(status.ramBps, ==, 1062500);
    g_assert_cmpuint(status.ramIteration, ==, 4);
    g_assert_cmpuint(status.expectedDowntimeMs, ==, 300);
    g_assert_cmpuint(status.cpuThrottlePercent, ==, 20);
    g_assert_cmpuint(status.diskTotal, ==, 0);
    g_assert_cmpuint(status.cacheBytes, ==, 65536);
    g_assert_cmpuint(status.cacheSentBytes, ==, 5);
    g_assert_cmpuint(status.cacheSentPages, ==, 6);
    g_assert_cmpuint(status.cacheMisses, ==, 7);
    g_assert_cmpuint(status.cacheOverflows, ==, 8);
    g_assert_true(ops->migrateStatus(f->ctl, &status, NULL));
    g_assert_cmpint(status.state, ==, VMM_MIG_FAILED);
    g_assert_cmpstr(status.errorText, ==, "broken");
    g_assert_false(ops->migrateStatus(f->ctl, &status, &error));
    g_assert_cmpint(status.state, ==, VMM_MIG_FAILED);
    vmmMigStatusClear(&status);
    fakeQmpJoin(&f->fake);
}

static void
testDevices(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    g_autofree pid_t *threads = NULL;
    vmmBlockStats stats;
    uint64_t bytes = 0;
    size_t count = 0;

#define DISKS "[{\"device\":\"\",\"qdev\":\"/machine/peripheral/virtio-disk10/virtio-backend\"," \
              "\"stats\":{\"rd_bytes\":10}},{\"device\":\"drive-virtio-disk1\"," \
              "\"stats\":{\"rd_bytes\":1,\"rd_operations\":2,\"flush_total_time_ns\":3}}]"
    PLAY(f, { FAKE_EXPECT, "query-balloon" }, FAKE_RETURN("{\"actual\":4096}"),
         { FAKE_EXPECT, "{\"value\":8192}" }, FAKE_OK,
         { FAKE_EXPECT, "query-blockstats" }, FAKE_RETURN(DISKS),
         { FAKE_EXPECT, "query-blockstats" }, FAKE_RETURN(DISKS),
         { FAKE_EXPECT, "query-blockstats" }, FAKE_RETURN(DISKS),
         { FAKE_EXPECT, "query-cpus-fast" },
         FAKE_RETURN("[{\"cpu-index\":1,\"thread-id\":11},{\"cpu-index\":0,\"thread-id\":22}]"),
         { FAKE_EXPECT, "query-cpus-fast" }, FAKE_RETURN("[{\"cpu-index\":1}]"),
         { FAKE_EXPECT, "query-chardev" },
         FAKE_RETURN("[{\"label\":\"charserial0\",\"filename\":\"pty:/dev/pts/3\"}]"),
         { FAKE_EXPECT, "query-chardev" }, FAKE_RETURN("[{\"label\":\"a\",\"filename\":\"file\"}]"),
         { FAKE_EXPECT, "query-chardev" }, FAKE_RETURN("[]"));
    g_assert_true(ops->balloonGet(f->ctl, &bytes, NULL));
    g_assert_cmpuint(bytes, ==, 4096);
    g_assert_true(ops->balloonSet(f->ctl, 8192, NULL));
    g_assert_true(ops->blockStats(f->ctl, "virtio-disk1", &stats, NULL));
    g_assert_cmpuint(stats.rdBytes, ==, 1);
    g_assert_cmpuint(stats.rdReq, ==, 2);
    g_assert_cmpuint(stats.flNs, ==, 3);
    g_assert_cmpuint(stats.wrBytes, ==, UINT64_MAX);
    g_assert_true(ops->blockStats(f->ctl, "virtio-disk10", &stats, NULL));
    g_assert_cmpuint(stats.rdBytes, ==, 10);
    g_assert_false(ops->blockStats(f->ctl, "virtio-disk", &stats, &error));
    g_clear_error(&error);
    g_assert_true(ops->vcpuThreads(f->ctl, &threads, &count, NULL));
    g_assert_cmpuint(count, ==, 2);
    g_assert_cmpint(threads[0], ==, 22);
    g_assert_false(ops->vcpuThreads(f->ctl, &threads, &count, NULL));
    g_assert_true(ops->chardevPath(f->ctl, "charserial0", &path, NULL));
    g_assert_cmpstr(path, ==, "/dev/pts/3");
    g_assert_false(ops->chardevPath(f->ctl, "a", &path, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID);
    g_clear_error(&error);
    g_assert_false(ops->chardevPath(f->ctl, "a", &path, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    fakeQmpJoin(&f->fake);
}

/* What the guest has not told is 2^64 - 1. */
static void
testBalloonStats(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    vmmGuestMemory memory = { 0 };

    PLAY(f,
         { FAKE_EXPECT, "{\"path\":\"/machine/peripheral/balloon0\",\"property\":\"guest-stats\"}" },
         FAKE_RETURN("{\"last-update\":1700000000,\"stats\":{\"stat-free-memory\":4096,\"stat-total-memory\":8192,"
                     "\"stat-major-faults\":3,\"stat-swap-in\":18446744073709551615,\"stat-htlb-pgalloc\":-1}}"),
         { FAKE_EXPECT, "\"guest-stats\"" }, FAKE_RETURN("{}"),
         { FAKE_EXPECT, "\"guest-stats\"" }, FAKE_REFUSE,
         { FAKE_EXPECT, "\"property\":\"guest-stats-polling-interval\",\"value\":5}" }, FAKE_OK);
    g_assert_true(ops->balloonStats(f->ctl, "balloon0", &memory, &error));
    g_assert_cmpuint(memory.updatedAt, ==, 1700000000);
    g_assert_cmpuint(memory.unused, ==, 4096);
    g_assert_cmpuint(memory.available, ==, 8192);
    g_assert_cmpuint(memory.majorFaults, ==, 3);
    g_assert_cmpuint(memory.swapIn, ==, UINT64_MAX);
    g_assert_cmpuint(memory.hugeAllocs, ==, UINT64_MAX);
    g_assert_cmpuint(memory.usable, ==, UINT64_MAX);
    g_assert_false(ops->balloonStats(f->ctl, "balloon0", &memory, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_false(ops->balloonStats(f->ctl, "balloon0", &memory, NULL));
    g_assert_true(ops->balloonPeriod(f->ctl, "balloon0", 5, NULL));
    fakeQmpJoin(&f->fake);
}

static void
testMaxCpus(void)
{
    static const char *const limits[] = { "microvm=288", "pc-q35-10.0=4096", "q35=4096", NULL };
    const vmmInfo info = { .cpuLimits = (char **)limits, .maxCpus = 4096 };
    const vmmInfo silent = { .maxCpus = 7 };

    g_assert_cmpuint(vmmMaxCpus(&info, "microvm"), ==, 288);
    g_assert_cmpuint(vmmMaxCpus(&info, "q35"), ==, 4096);
    g_assert_cmpuint(vmmMaxCpus(&info, "micro"), ==, 4096);   /* no machine of that name */
    g_assert_cmpuint(vmmMaxCpus(&silent, "q35"), ==, 7);
}

static void
testTranslate(void)
{
    static const struct {
        const char *name, *data;
        vmmEventKind kind;
        bool byGuest;
        const char *alias, *reason;
        guint64 number;          /* whichever the kind has */
    } cases[] = {
        { "STOP", NULL, VMM_EVENT_STOP, false, NULL, NULL, 0 },
        { "RESUME", "{}", VMM_EVENT_RESUME, false, NULL, NULL, 0 },
        { "SHUTDOWN", "{\"guest\":true,\"reason\":\"guest-shutdown\"}", VMM_EVENT_SHUTDOWN, true,
          NULL, NULL, 0 },
        { "SHUTDOWN", "{\"guest\":false}", VMM_EVENT_SHUTDOWN, false, NULL, NULL, 0 },
        { "RESET", "{\"guest\":1}", VMM_EVENT_RESET, false, NULL, NULL, 0 },
        { "POWERDOWN", NULL, VMM_EVENT_POWERDOWN, false, NULL, NULL, 0 },
        { "GUEST_PANICKED", NULL, VMM_EVENT_PANIC, false, NULL, NULL, 0 },
        { "BLOCK_IO_ERROR",
          "{\"device\":\"drive-virtio-disk0\",\"action\":\"stop\",\"nospace\":true}",
          VMM_EVENT_IO_ERROR, false, "virtio-disk0", "enospc", 1 },
        { "BLOCK_IO_ERROR", "{\"device\":\"\",\"node-name\":\"n\",\"action\":\"report\","
          "\"qom-path\":\"/machine/peripheral/virtio-disk1/virtio-backend\"}",
          VMM_EVENT_IO_ERROR, false, "virtio-disk1", NULL, 0 },
        { "BLOCK_IO_ERROR", NULL, VMM_EVENT_IO_ERROR, false, "", NULL, 0 },
        { "BALLOON_CHANGE", "{\"actual\":7}", VMM_EVENT_BALLOON, false, NULL, NULL, 7 },
        { "MIGRATION", "{\"status\":\"pre-switchover\"}", VMM_EVENT_MIGRATION, false, NULL, NULL,
          VMM_MIG_PRE_SWITCHOVER },
        { "MIGRATION_PASS", "{\"pass\":3}", VMM_EVENT_MIGRATION_PASS, false, NULL, NULL, 3 },
        { "NIC_RX_FILTER_CHANGED", NULL, VMM_EVENT_NONE, false, NULL, NULL, 0 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const char *text = cases[i].data;
        g_autoptr(JsonObject) data = text ? jsonParseObject(text, strlen(text), NULL) : NULL;
        vmmEvent event;
        guint64 number = 0;

        ops->translateEvent(cases[i].name, data, &event);
        g_assert_cmpint(event.kind, ==, cases[i].kind);
        g_assert_cmpint(event.byGuest, ==, cases[i].byGuest);
        g_assert_cmpstr(event.deviceAlias, ==, cases[i].alias);
        g_assert_cmpstr(event.reason, ==, cases[i].reason);
        if (event.kind == VMM_EVENT_IO_ERROR)
            number = event.ioErrorStops;
        if (event.kind == VMM_EVENT_BALLOON)
            number = event.balloonBytes;
        if (event.kind == VMM_EVENT_MIGRATION)
            number = event.migState;
        if (event.kind == VMM_EVENT_MIGRATION_PASS)
            number = event.pass;
        g_assert_cmpuint(number, ==, cases[i].number);
        vmmEventClear(&event);
    }
}

/* ---- probing ------------------------------------------------------------------------------- */

static char *
writeScript(const char *dir, const char *name, const char *body)
{
    char *path = g_build_filename(dir, name, NULL);
    g_autofree char *text = g_strdup_printf("#!/bin/sh\n%s\n", body);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    g_assert_cmpint(g_chmod(path, 0755), ==, 0);
    return path;
}

static void
removeDir(const char *dir)
{
    g_autoptr(GDir) list = g_dir_open(dir, 0, NULL);
    const char *name;

    while ((name = g_dir_read_name(list))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);

        g_unlink(path);
    }
    g_rmdir(dir);
}

static void
testProbeBad(void)
{
    static const struct { const char *body; int code; const char *text; } cases[] = {
        { "echo hello", BASE_ERROR_UNSUPPORTED, "says 'hello'" },
        { "exit 3", BASE_ERROR_UNSUPPORTED, "status 3" },
        { "test $1 = -version && exec echo StratoVirt 2.4.0\necho no such option >&2\nexit 1",
          BASE_ERROR_MONITOR_CLOSED, "It wrote: no such option" },
        { "echo StratoVirt 2.3.1", BASE_ERROR_UNSUPPORTED, "StratoVirt 2.3, but at least version 2.4" },
        { "echo QEMU emulator version 2.0.1", BASE_ERROR_UNSUPPORTED, "at least version" },
        { "test $1 = -version && exec echo QEMU emulator version 9.0.0\n"
          "echo no such option >&2\nexit 1",
          BASE_ERROR_MONITOR_CLOSED, "It wrote: no such option" },
        { "test $1 = -version && exec echo QEMU emulator version 9.0.0\n"
          "echo nonsense >&3\nsleep 100",
          BASE_ERROR_OPERATION_FAILED, "makes no sense" },
        { "yes", BASE_ERROR_UNSUPPORTED, "not a VMM" },   /* ended by its limit of output */
    };
    g_autofree char *dir = g_dir_make_tmp("vmm-XXXXXX", NULL);
    g_autofree char *plain = g_build_filename(dir, "plain", NULL);
    g_autoptr(GError) error = NULL;
    guint fds = ioCountFds();

    g_assert_null(vmmProbe("relative", NULL, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    g_clear_error(&error);
    g_assert_null(vmmProbe("/does/not/exist", NULL, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_assert_nonnull(strstr(error->message, "/does/not/exist"));
    g_clear_error(&error);
    g_assert_null(vmmProbe(dir, NULL, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    g_clear_error(&error);
    g_assert_true(g_file_set_contents(plain, "x", 1, NULL));
    g_assert_null(vmmProbe(plain, NULL, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_clear_error(&error);

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name = g_strdup_printf("vmm%zu", i);
        g_autofree char *path = writeScript(dir, name, cases[i].body);

        g_assert_null(vmmProbe(path, dir, &error));
        g_assert_error(error, BASE_ERROR, cases[i].code);
        if (!strstr(error->message, cases[i].text))
            g_error("expected '%s' in '%s'", cases[i].text, error->message);
        g_clear_error(&error);
    }
    g_assert_cmpuint(ioCountFds(), ==, fds);
    g_assert_cmpint(waitpid(-1, NULL, WNOHANG), ==, -1);   /* no child is left */
    removeDir(dir);
}

/* The guest of the KVM probe is right if emulation runs it. */
static void
testRom(void)
{
    g_autofree char *qemu = findQemu();
    g_autoptr(GError) error = NULL;

    if (!qemu) {
        g_test_skip("no QEMU");
        return;
    }
    vmmRomRuns(qemu, vmmRowQemu.tcgArgs, &error);
    g_assert_no_error(error);
}

/* Does the binary's own list of options have this one? */
static bool
qemuHelps(const char *qemu, const char *option)
{
    const char *argv[] = { qemu, "-help", NULL };
    g_autofree char *text = NULL;

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &text, NULL, NULL, NULL));
    return strstr(text, option) != NULL;
}

static void
testProbeReal(void)
{
    g_autofree char *qemu = findQemu();
    g_autofree char *dir = NULL;
    g_autoptr(GError) error = NULL;
    const vmmInfo *info;
    guint fds;

    if (!qemu) {
        g_test_skip("no QEMU");
        return;
    }
    fds = ioCountFds();
    dir = g_dir_make_tmp("vmm-XXXXXX", NULL);
    info = vmmProbe(qemu, dir, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(info->traits->name, ==, "qemu");
    g_assert_cmpuint(info->version, >=, 6000000);
    g_assert_true(g_strv_contains((const char *const *)info->machines, "microvm"));
    g_assert_true(g_strv_contains((const char *const *)info->machines, "q35"));
    g_assert_true(g_str_has_prefix(info->aliases[0], "pc=") ||
                  g_str_has_prefix(info->aliases[0], "q35="));
    g_assert_true(g_strv_contains((const char *const *)info->cpus, "qemu64"));
    g_assert_cmpuint(info->maxCpus, >=, 64);
    g_assert_cmpuint(vmmMaxCpus(info, "q35"), ==, info->maxCpus);
    g_assert_cmpuint(vmmMaxCpus(info, "microvm"), <=, info->maxCpus);
    g_assert_true(info->sandbox == qemuHelps(qemu, "\n-sandbox on"));
    g_test_message("%s: version %lu, KVM %s", qemu, info->version,
                   info->kvm ? "works" : "does not work");
    g_assert_true(vmmProbe(qemu, dir, NULL) == info);
    g_assert_cmpuint(ioCountFds(), ==, fds);
    removeDir(dir);
}

/* A script that notes when it is asked; without KVM, which would take its time. */
static void
testProbeCache(void)
{
    g_autofree char *qemu = findQemu();
    g_autofree char *dir = NULL;
    g_autofree char *path = NULL;
    g_autofree char *body = NULL;
    g_autofree char *log = NULL;
    g_autofree char *text = NULL;
    g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
    const vmmInfo *info;

    if (!qemu) {
        g_test_skip("no QEMU");
        return;
    }
    dir = g_dir_make_tmp("vmm-XXXXXX", NULL);
    log = g_build_filename(dir, "log", NULL);
    body = g_strdup_printf("echo asked >>%s\ncase \"$*\" in *accel=kvm*) exit 1;; esac\n"
                           "exec %s \"$@\"", log, qemu);
    path = writeScript(dir, "counted", body);
    info = vmmProbe(path, dir, NULL);
    g_assert_nonnull(info);
    g_assert_false(info->kvm);
    g_assert_true(vmmProbe(path, dir, NULL) == info);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    g_assert_true(g_str_has_prefix(text, "asked\nasked\n"));
    g_clear_pointer(&text, g_free);
    g_unlink(log);

    /* Another process. */
    for (int changed = 0; changed < 2; changed++) {
        g_autoptr(GError) error = NULL;
        const char *argv[] = { self, "--probe", path, dir, NULL };
        int status = -1;

        g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL,
                                   NULL, NULL, &status, NULL));
        g_assert_cmpint(status, ==, 0);
        g_assert_cmpint(g_file_test(log, G_FILE_TEST_EXISTS), ==, changed);
        g_free(writeScript(dir, "counted", body));   /* a new file: the cache is stale */
    }
    removeDir(dir);
}

#define ADD(name, func) g_test_add("/vmm/" name, fixture, NULL, setUp, func, tearDown)

int
main(int argc, char **argv)
{
    ops = vmmTraitsByName("qemu")->ops;
    if (argc == 4 && g_str_equal(argv[1], "--probe"))
        return vmmProbe(argv[2], argv[3], NULL) ? 0 : 1;
    g_test_init(&argc, &argv, NULL);
    ioWarmUp();
    g_test_add_func("/vmm/rows", testRows);
    g_test_add_func("/vmm/identify", testIdentify);
    g_test_add_func("/vmm/defects", testDefects);
    ADD("status", testStatus);
    ADD("simple", testSimple);
    ADD("migrate-start", testMigrateStart);
    ADD("incoming", testIncoming);
    ADD("parallel", testParallel);
    ADD("migrate-status", testMigrateStatus);
    ADD("devices", testDevices);
    ADD("balloon-stats", testBalloonStats);
    g_test_add_func("/vmm/max-cpus", testMaxCpus);
    g_test_add_func("/vmm/translate", testTranslate);
    g_test_add_func("/vmm/probe/bad", testProbeBad);
    g_test_add_func("/vmm/probe/rom", testRom);
    g_test_add_func("/vmm/probe/real", testProbeReal);
    g_test_add_func("/vmm/probe/cache", testProbeCache);
    return g_test_run();
}
