/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-unlanded.c: a daemon finds after its restart that the VMM of a committed guest has ended before the guest was known to run */
#include <glib/gstdio.h>
#include <string.h>

#include "migration/dest.h"
#include "migration/recover.h"

#include "io-thread.h"

#define WAIT_US (20 * G_TIME_SPAN_SECOND)
#define LEASE_MS 50
#define UUID "0a0b0c0d-0001-4002-8003-000000000002"

typedef struct {
    ioThread io;
    migEnv env;
    char *dir;
    char *obstacle;              /* where a folder keeps the ledger from being written */

    GMutex lock;
    GCond cond;
    unsigned over, ended;
} world;

static bool
hostSave(void *host G_GNUC_UNUSED, const migRecord *record G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    return true;
}

static void
hostEnd(void *host, const char *why G_GNUC_UNUSED)
{
    world *w = host;

    w->ended++;
}

static void
hostOver(void *host, migPhase phase G_GNUC_UNUSED)
{
    world *w = host;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&w->lock);

    w->over++;
    g_cond_broadcast(&w->cond);
}

static const migHostOps hostOps = { .save = hostSave, .endIncoming = hostEnd, .over = hostOver };

static void
worldLedger(world *w)
{
    g_autoptr(GError) error = NULL;

    migLedgerFree(w->env.ledger);
    w->env.ledger = migLedgerOpen(w->dir, 3600, &error);
    g_assert_no_error(error);
}

static void
worldInit(world *w)
{
    migLedgerEntry entry = { .uuid = (char *)UUID, .outcome = MIG_OUTCOME_COMMITTED, .when = g_get_real_time() / G_USEC_PER_SEC };
    g_autoptr(GError) error = NULL;

    memset(w, 0, sizeof(*w));
    g_mutex_init(&w->lock);
    g_cond_init(&w->cond);
    w->dir = g_dir_make_tmp("sv-unlanded-XXXXXX", &error);
    g_assert_no_error(error);
    w->obstacle = g_build_filename(w->dir, UUID ".json.new", NULL);
    ioThreadStart(&w->io);
    w->env = (migEnv){ .io = w->io.context, .threads = migThreadsNew(w->io.context), .hostName = (char *)"h2", .leaseMs = LEASE_MS };
    w->env.listen = listenerNew(w->io.context);
    worldLedger(w);
    g_assert_true(migLedgerWrite(w->env.ledger, &entry, &error));
    g_assert_no_error(error);
    migLedgerDoubt(w->env.ledger, UUID, true);
}

static void
worldClear(world *w)
{
    g_autofree char *file = g_build_filename(w->dir, UUID ".json", NULL);

    migThreadsStop(w->env.threads);
    migThreadsFree(w->env.threads);
    listenerFree(w->env.listen);
    ioThreadDrain(&w->io);
    ioThreadStop(&w->io);
    migLedgerFree(w->env.ledger);
    g_remove(file);
    g_assert_cmpint(g_rmdir(w->dir), ==, 0);
    g_free(w->dir);
    g_free(w->obstacle);
    g_mutex_clear(&w->lock);
    g_cond_clear(&w->cond);
}

/* The job, which may last. */
static migJob *
recoverDead(world *w, migStart start)
{
    migRecord record = { .uuid = (char *)UUID, .side = MIG_SIDE_DEST, .phase = MIG_PHASE_COMMITTED, .start = start, .hasToken = true };
    migJob *job = migJobNew(&w->env, &record, &hostOps, w, NULL);

    g_assert_true(migJobTryEnter(job));
    migRecover(job, false);
    return job;
}

static migOutcome
outcomeOf(world *w)
{
    g_autoptr(migLedgerEntry) entry = NULL;

    g_assert_true(migLedgerFind(w->env.ledger, UUID, &entry));
    return entry->outcome;
}

static void
testNeverRan(void)
{
    g_autoptr(migJob) job = NULL;
    world w;

    worldInit(&w);
    job = recoverDead(&w, MIG_START_PENDING);
    g_assert_cmpuint(w.over, ==, 1);
    g_assert_cmpint(outcomeOf(&w), ==, MIG_OUTCOME_ABSENT);
    g_assert_true(migLedgerStands(w.env.ledger, UUID));
    worldClear(&w);
}

/* That it never ran cannot be written: nobody is told anything until it can be. */
static void
testWrittenLater(void)
{
    gint64 until = g_get_monotonic_time() + WAIT_US;
    g_autoptr(migJob) job = NULL;
    world w;

    worldInit(&w);
    g_assert_cmpint(g_mkdir(w.obstacle, 0700), ==, 0);
    job = recoverDead(&w, MIG_START_PENDING);
    g_mutex_lock(&w.lock);
    /* The first new attempt fails as well, or has not been made. */
    g_cond_wait_until(&w.cond, &w.lock, g_get_monotonic_time() + 2 * LEASE_MS * G_TIME_SPAN_MILLISECOND);
    g_assert_cmpuint(w.over, ==, 0);
    g_mutex_unlock(&w.lock);
    g_assert_true(migDestStartFailed(job));
    g_assert_false(migLedgerStands(w.env.ledger, UUID));
    g_assert_cmpint(outcomeOf(&w), ==, MIG_OUTCOME_COMMITTED);

    g_assert_cmpint(g_rmdir(w.obstacle), ==, 0);
    g_mutex_lock(&w.lock);
    while (w.over == 0 && g_cond_wait_until(&w.cond, &w.lock, until))
        continue;
    g_assert_cmpuint(w.over, ==, 1);
    g_mutex_unlock(&w.lock);
    g_assert_cmpint(outcomeOf(&w), ==, MIG_OUTCOME_ABSENT);
    g_assert_true(migLedgerStands(w.env.ledger, UUID));
    worldClear(&w);
}

/* It may have run: nobody can tell, and that is what stays, whatever is restarted. */
static void
testMayHaveRun(void)
{
    world w;

    worldInit(&w);
    for (unsigned i = 0; i < 2; i++) {
        g_autoptr(migJob) job = recoverDead(&w, MIG_START_RELEASED);
        g_auto(migStats) stats = { 0 };

        g_assert_cmpuint(w.over, ==, i + 1);
        g_assert_cmpint(outcomeOf(&w), ==, MIG_OUTCOME_UNKNOWN);
        migJobGetStats(job, &stats);
        g_assert_cmpint(stats.result, ==, MIG_RESULT_FAILED);
        g_assert_nonnull(strstr(stats.errorText, "its VMM ended while it was given the guest"));
        worldLedger(&w);
        g_assert_cmpint(outcomeOf(&w), ==, MIG_OUTCOME_UNKNOWN);
    }
    worldClear(&w);
}

/* That cannot be written either: the question stays. */
static void
testUnknownUnwritten(void)
{
    g_autoptr(migJob) job = NULL;
    world w;

    worldInit(&w);
    g_assert_cmpint(g_mkdir(w.obstacle, 0700), ==, 0);
    job = recoverDead(&w, MIG_START_RELEASED);
    g_assert_cmpuint(w.over, ==, 0);
    g_assert_false(migLedgerStands(w.env.ledger, UUID));
    g_assert_cmpint(g_rmdir(w.obstacle), ==, 0);
    worldClear(&w);
}

/* It was known to run, and ended later: it stays where it belongs. */
static void
testRan(void)
{
    g_autoptr(migJob) job = NULL;
    world w;

    worldInit(&w);
    job = recoverDead(&w, MIG_START_NONE);
    g_assert_cmpuint(w.over, ==, 1);
    g_assert_cmpuint(w.ended, ==, 0);
    g_assert_cmpint(outcomeOf(&w), ==, MIG_OUTCOME_COMMITTED);
    g_assert_true(migLedgerStands(w.env.ledger, UUID));
    worldClear(&w);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_FLAG_RECURSION);
    g_test_add_func("/unlanded/never-ran", testNeverRan);
    g_test_add_func("/unlanded/written-later", testWrittenLater);
    g_test_add_func("/unlanded/may-have-run", testMayHaveRun);
    g_test_add_func("/unlanded/unknown-unwritten", testUnknownUnwritten);
    g_test_add_func("/unlanded/ran", testRan);
    return g_test_run();
}
