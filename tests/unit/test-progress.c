/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-progress.c: speed, time left and percentage from made-up samples */
#include "migration/progress.h"

#define MIB (UINT64_C(1) << 20)

static void
add(migProgress *progress, gint64 atMs, uint64_t transferred, uint64_t remaining,
    uint64_t dirtyPages)
{
    vmmMigStatus status = {
        .state = VMM_MIG_ACTIVE, .ramTotal = 1000 * MIB, .ramTransferred = transferred,
        .ramRemaining = remaining, .ramDirtyPagesPerSecond = dirtyPages, .ramPageSize = 4096,
    };

    migProgressAdd(progress, atMs, &status);
}

static void
testNothing(void)
{
    migProgress progress = { 0 };
    uint64_t ms = 77;

    g_assert_cmpuint(migProgressSpeed(&progress), ==, 0);
    g_assert_false(migProgressRemaining(&progress, &ms));
    g_assert_true(migProgressConverges(&progress));
    g_assert_cmpuint(migProgressPercent(&progress), ==, 0);
    /* The VMM has begun, but knows nothing yet. */
    add(&progress, 1000, 0, 0, 0);
    g_assert_false(migProgressRemaining(&progress, &ms));
    g_assert_cmpuint(ms, ==, 77);
}

static void
testSteady(void)
{
    migProgress progress = { 0 };
    uint64_t ms = 0;

    for (int i = 0; i <= 4; i++)
        add(&progress, i * 1000, i * 100 * MIB, (1000 - i * 100) * MIB, 0);
    g_assert_cmpuint(migProgressSpeed(&progress), ==, 100 * MIB);
    g_assert_true(migProgressRemaining(&progress, &ms));
    g_assert_cmpuint(ms, ==, 6000);
    g_assert_cmpuint(migProgressPercent(&progress), ==, 40);
}

static void
testDirty(void)
{
    migProgress progress = { 0 };
    uint64_t ms = 0;

    /* 100 MiB/s sent, 50 MiB/s dirtied anew: it takes twice as long. */
    add(&progress, 0, 0, 1000 * MIB, 12800);
    add(&progress, 1000, 100 * MIB, 900 * MIB, 12800);
    g_assert_true(migProgressRemaining(&progress, &ms));
    g_assert_cmpuint(ms, ==, 18000);
    g_assert_true(migProgressConverges(&progress));
    /* As much as can be sent: never. */
    add(&progress, 2000, 200 * MIB, 900 * MIB, 25600);
    ms = 77;
    g_assert_false(migProgressRemaining(&progress, &ms));
    g_assert_cmpuint(ms, ==, 77);
    g_assert_false(migProgressConverges(&progress));
}

/* The network slows down: the old speed is forgotten within seconds. */
static void
testWindow(void)
{
    migProgress progress = { 0 };
    uint64_t sent = 0;
    gint64 at = 0;

    for (int i = 0; i < 100; i++, at += 100)
        add(&progress, at, sent += 10 * MIB, 1000 * MIB, 0);
    g_assert_cmpuint(migProgressSpeed(&progress), ==, 100 * MIB);
    for (int i = 0; i < 70; i++, at += 100)
        add(&progress, at, sent += MIB, 1000 * MIB, 0);
    g_assert_cmpuint(migProgressSpeed(&progress), <=, 15 * MIB);
    g_assert_cmpuint(migProgressSpeed(&progress), >=, 10 * MIB);
    g_assert_cmpuint(progress.count, <=, MIG_PROGRESS_SAMPLES);
}

static void
testVmmSpeedFirst(void)
{
    migProgress progress = { 0 };
    vmmMigStatus status = {
        .state = VMM_MIG_ACTIVE,
        .ramTotal = 100 * MIB,
        .ramRemaining = 100 * MIB,
        .ramBps = 50 * MIB,
    };
    uint64_t ms;

    /* Too few samples to measure: the VMM's own figure. */
    migProgressAdd(&progress, 0, &status);
    g_assert_true(migProgressRemaining(&progress, &ms));
    g_assert_cmpuint(ms, ==, 2000);
    /* Two samples at one instant are no division by zero. */
    status.ramTransferred = MIB;
    migProgressAdd(&progress, 0, &status);
    g_assert_cmpuint(migProgressSpeed(&progress), ==, 50 * MIB);
    g_assert_cmpuint(progress.count, ==, 1);
}

static void
testBackwards(void)
{
    migProgress progress = { 0 };

    add(&progress, 1000, 500 * MIB, 500 * MIB, 0);
    add(&progress, 2000, 600 * MIB, 400 * MIB, 0);
    g_assert_cmpuint(migProgressPercent(&progress), ==, 60);
    /* A new start; the percentage does not fall back. */
    add(&progress, 3000, 0, 1000 * MIB, 0);
    g_assert_cmpuint(progress.count, ==, 1);
    g_assert_cmpuint(migProgressPercent(&progress), ==, 60);
    add(&progress, 2500, 10 * MIB, 990 * MIB, 0);
    g_assert_cmpuint(progress.count, ==, 1);
}

static void
testPercent(void)
{
    migProgress progress = { 0 };
    vmmMigStatus status = { .state = VMM_MIG_ACTIVE, .ramTotal = 100, .ramRemaining = 0 };
    uint64_t ms = 77;

    migProgressAdd(&progress, 0, &status);
    g_assert_cmpuint(migProgressPercent(&progress), ==, 99);
    /* Nonsense from the VMM stays nonsense of bounded size. */
    status.ramRemaining = G_MAXUINT64;
    migProgressAdd(&progress, 1000, &status);
    g_assert_cmpuint(migProgressPercent(&progress), ==, 99);
    status.state = VMM_MIG_COMPLETED;
    migProgressAdd(&progress, 2000, &status);
    g_assert_cmpuint(migProgressPercent(&progress), ==, 100);
    g_assert_true(migProgressRemaining(&progress, &ms));
    g_assert_cmpuint(ms, ==, 0);
}

/* What programs show must not go back when the guest has written its memory anew. */
static void
testLeft(void)
{
    migProgress progress = { 0 };

    add(&progress, 1000, 0, 1000 * MIB, 0);
    g_assert_cmpuint(progress.left, ==, 1000 * MIB);
    add(&progress, 2000, 900 * MIB, 100 * MIB, 0);
    g_assert_cmpuint(progress.left, ==, 100 * MIB);
    add(&progress, 3000, 900 * MIB, 400 * MIB, 0);
    g_assert_cmpuint(progress.left, ==, 100 * MIB);
    add(&progress, 4000, 1300 * MIB, 0, 0);
    g_assert_cmpuint(progress.left, ==, 0);
}

static void
testWire(void)
{
    vmmMigStatus status = {
        .ramTotal = 1, .ramTransferred = 2, .ramRemaining = 3, .ramDuplicatePages = 4, .ramNormalPages = 5,
        .ramNormalBytes = 6, .ramIteration = 7, .ramBps = 8, .ramDirtyPagesPerSecond = 9, .ramPageSize = 10,
        .diskTotal = 11, .diskTransferred = 12, .diskRemaining = 13, .setupMs = 14, .expectedDowntimeMs = 15,
        .cpuThrottlePercent = 16, .cacheBytes = 17, .cacheSentBytes = 18, .cacheSentPages = 19, .cacheMisses = 20,
        .cacheOverflows = 21,
    };
    vmmMigStatus told = { 0 };
    g_autoptr(JsonObject) body = migProgressToJson(&status);
    g_autoptr(JsonObject) empty = json_object_new();
    g_autoptr(JsonObject) nonsense = json_object_new();

    migProgressFromJson(body, &told);
    g_assert_cmpmem(&told, sizeof(told), &status, sizeof(status));
    /* What an older or a hostile source does not say, or says wrongly, changes nothing. */
    migProgressFromJson(empty, &told);
    json_object_set_int_member(nonsense, "total", -5);
    json_object_set_string_member(nonsense, "bps", "fast");
    migProgressFromJson(nonsense, &told);
    g_assert_cmpuint(told.ramTotal, ==, 1);
    /* Beyond what JSON's numbers hold. */
    status.ramTotal = G_MAXUINT64;
    g_clear_pointer(&body, json_object_unref);
    body = migProgressToJson(&status);
    migProgressFromJson(body, &told);
    g_assert_cmpuint(told.ramTotal, ==, G_MAXINT64);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/progress/nothing", testNothing);
    g_test_add_func("/progress/steady", testSteady);
    g_test_add_func("/progress/dirty", testDirty);
    g_test_add_func("/progress/window", testWindow);
    g_test_add_func("/progress/vmm-speed-first", testVmmSpeedFirst);
    g_test_add_func("/progress/backwards", testBackwards);
    g_test_add_func("/progress/percent", testPercent);
    g_test_add_func("/progress/left", testLeft);
    g_test_add_func("/progress/wire", testWire);
    return g_test_run();
}
