/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-threads.c: threads that migrations start, and what becomes of their work when there are none left */
#include "base/error.h"
#include "base/fault.h"
#include "base/thread.h"
#include "io-thread.h"
#include "migration/threads.h"

/* A machine may be busy; nothing takes so long when all is well. */
#define LIMIT_US (30 * G_USEC_PER_SEC)

typedef struct {
    GMutex lock;
    GCond cond;
    unsigned done, discarded;
    bool pauses;                 /* each waits to be stopped */
    migThreads *threads;
    ioThread io;
} world;

static void
worldInit(world *w)
{
    *w = (world){ 0 };
    g_mutex_init(&w->lock);
    g_cond_init(&w->cond);
    ioThreadStart(&w->io);
    w->threads = migThreadsNew(w->io.context);
}

static void
worldClear(world *w)
{
    migThreadsStop(w->threads);
    ioThreadStop(&w->io);
    migThreadsFree(w->threads);
    g_mutex_clear(&w->lock);
    g_cond_clear(&w->cond);
}

static gpointer
work(gpointer data)
{
    world *w = data;

    if (w->pauses)
        g_assert_false(migThreadsPause(w->threads, LIMIT_US / 1000));
    g_mutex_lock(&w->lock);
    w->done++;
    g_cond_broadcast(&w->cond);
    g_mutex_unlock(&w->lock);
    return NULL;
}

static void
discard(gpointer data)
{
    world *w = data;

    w->discarded++;
}

static void
expectDone(world *w, unsigned count)
{
    gint64 until = g_get_monotonic_time() + LIMIT_US;

    g_mutex_lock(&w->lock);
    while (w->done < count && g_cond_wait_until(&w->cond, &w->lock, until))
        continue;
    g_assert_cmpuint(w->done, ==, count);
    g_mutex_unlock(&w->lock);
}

static void
testRun(void)
{
    world w;

    worldInit(&w);
    g_assert_true(migThreadsRun(w.threads, "work", work, &w, discard));
    g_assert_true(migThreadsRun(w.threads, "work", work, &w, discard));
    expectDone(&w, 2);
    worldClear(&w);
    g_assert_cmpuint(w.discarded, ==, 0);
}

static void
testStop(void)
{
    world w;

    worldInit(&w);
    w.pauses = true;
    g_assert_true(migThreadsRun(w.threads, "work", work, &w, discard));
    migThreadsStop(w.threads);
    g_assert_cmpuint(w.done, ==, 1);
    g_assert_false(migThreadsRun(w.threads, "work", work, &w, discard));
    worldClear(&w);
    g_assert_cmpuint(w.done, ==, 1);
    g_assert_cmpuint(w.discarded, ==, 0);
}

#ifdef SV_FAULT_POINTS
static void
arm(const char *text)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(faultArm(text, &error));
    g_assert_no_error(error);
}

/* The second one has to wait for its thread. */
static void
testLater(void)
{
    world w;

    worldInit(&w);
    arm("thread-new:fail:2");
    g_test_expect_message("stratovirt-migration", G_LOG_LEVEL_WARNING, "A migration goes on later: *");
    for (unsigned i = 0; i < 3; i++)
        g_assert_true(migThreadsRun(w.threads, "work", work, &w, discard));
    g_test_assert_expected_messages();
    expectDone(&w, 3);
    worldClear(&w);
    arm(NULL);
    g_assert_cmpuint(w.discarded, ==, 0);
}

static void
testNever(void)
{
    world w;

    worldInit(&w);
    arm("thread-new");
    for (unsigned i = 0; i < 2; i++) {
        g_test_expect_message("stratovirt-migration", G_LOG_LEVEL_WARNING, "A migration goes on later: *");
        g_assert_true(migThreadsRun(w.threads, "work", work, &w, discard));
    }
    g_test_assert_expected_messages();
    worldClear(&w);
    arm(NULL);
    g_assert_cmpuint(w.discarded, ==, 2);
    g_assert_cmpuint(w.done, ==, 0);
}

static void
testError(void)
{
    g_autoptr(GError) error = NULL;

    arm("thread-new");
    g_assert_null(baseThreadNew("work", work, NULL, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_clear_error(&error);
    g_assert_false(baseThreadStart("work", work, NULL, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    arm(NULL);
}
#endif

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/threads/run", testRun);
    g_test_add_func("/threads/stop", testStop);
#ifdef SV_FAULT_POINTS
    g_test_add_func("/threads/later", testLater);
    g_test_add_func("/threads/never", testNever);
    g_test_add_func("/threads/error", testError);
#endif
    return g_test_run();
}
