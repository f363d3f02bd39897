/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration/threads.h"

#include "base/thread.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Between two looks for a thread, when there were none left. */
#define AGAIN_MS 200

struct _migThreads {
    GMainContext *context;
    GMutex lock;
    GCond cond;
    unsigned count;
    GPtrArray *ended;            /* GThread *: have done their work and are to be joined */
    GQueue waiting;              /* threadsStart *: there was no thread for them, oldest first */
    GSource *again;              /* NULL: nothing waits */
    bool stopping;
    int stopFd;
};

typedef struct {
    migThreads *threads;
    GThreadFunc func;
    gpointer data;
    GDestroyNotify discard;
    const char *name;
} threadsStart;

migThreads *
migThreadsNew(GMainContext *context)
{
    migThreads *threads = g_new0(migThreads, 1);

    g_mutex_init(&threads->lock);
    g_cond_init(&threads->cond);
    threads->context = g_main_context_ref(context);
    g_queue_init(&threads->waiting);
    threads->ended = g_ptr_array_new();
    threads->stopFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return threads;
}

/* Lock held. */
static void
threadsLookNoMore(migThreads *threads)
{
    if (!threads->again)
        return;
    g_source_destroy(threads->again);
    g_clear_pointer(&threads->again, g_source_unref);
}

/* Lock held.  Nothing that could wait is left for them to do. */
static void
threadsJoinEnded(migThreads *threads)
{
    for (guint i = 0; i < threads->ended->len; i++)
        g_thread_join(g_ptr_array_index(threads->ended, i));
    g_ptr_array_set_size(threads->ended, 0);
}

void
migThreadsStop(migThreads *threads)
{
    threadsStart *start;

    g_mutex_lock(&threads->lock);
    threads->stopping = true;
    while ((start = g_queue_pop_head(&threads->waiting))) {
        g_mutex_unlock(&threads->lock);
        start->discard(start->data);
        g_free(start);
        g_mutex_lock(&threads->lock);
    }
    threadsLookNoMore(threads);
    if (threads->stopFd >= 0)
        eventfd_write(threads->stopFd, 1);
    while (threads->count > 0)
        g_cond_wait(&threads->cond, &threads->lock);
    threadsJoinEnded(threads);
    g_mutex_unlock(&threads->lock);
}

void
migThreadsFree(migThreads *threads)
{
    if (!threads)
        return;
    migThreadsStop(threads);
    if (threads->stopFd >= 0)
        close(threads->stopFd);
    g_ptr_array_unref(threads->ended);
    g_main_context_unref(threads->context);
    g_mutex_clear(&threads->lock);
    g_cond_clear(&threads->cond);
    g_free(threads);
}

static gpointer
threadsMain(gpointer data)
{
    threadsStart *start = data;
    migThreads *threads = start->threads;

    start->func(start->data);
    g_free(start);
    g_mutex_lock(&threads->lock);
    threads->count--;
    g_ptr_array_add(threads->ended, g_thread_ref(g_thread_self()));
    g_cond_broadcast(&threads->cond);
    g_mutex_unlock(&threads->lock);
    return NULL;
}

/* Lock held. */
static bool
threadsTry(migThreads *threads, threadsStart *start, GError **error)
{
    threads->count++;
    if (baseThreadStart(start->name, threadsMain, start, error))
        return true;
    threads->count--;
    return false;
}

static gboolean
threadsAgain(gpointer data)
{
    migThreads *threads = data;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&threads->lock);

    while (!g_queue_is_empty(&threads->waiting) && threadsTry(threads, g_queue_peek_head(&threads->waiting), NULL))
        g_queue_pop_head(&threads->waiting);
    if (!g_queue_is_empty(&threads->waiting))
        return G_SOURCE_CONTINUE;
    threadsLookNoMore(threads);
    return G_SOURCE_REMOVE;
}

/* Lock held. */
static void
threadsWait(migThreads *threads, threadsStart *start)
{
    g_queue_push_tail(&threads->waiting, start);
    if (threads->again)
        return;
    threads->again = g_timeout_source_new(AGAIN_MS);
    g_source_set_callback(threads->again, threadsAgain, threads, NULL);
    g_source_attach(threads->again, threads->context);
}

bool
migThreadsRun(migThreads *threads, const char *name, GThreadFunc func, gpointer data, GDestroyNotify discard)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&threads->lock);
    g_autoptr(GError) error = NULL;
    threadsStart *start;

    if (threads->stopping)
        return false;
    threadsJoinEnded(threads);
    start = g_new0(threadsStart, 1);
    start->threads = threads;
    start->func = func;
    start->data = data;
    start->discard = discard;
    start->name = name;
    if (!threadsTry(threads, start, &error)) {
        g_warning("A migration goes on later: %s", error->message);
        threadsWait(threads, start);
    }
    return true;
}

bool
migThreadsPause(migThreads *threads, unsigned ms)
{
    struct pollfd pfd = { .fd = threads->stopFd, .events = POLLIN };

    return poll(&pfd, 1, ms) == 0;
}

int
migThreadsStopFd(migThreads *threads)
{
    return threads->stopFd;
}
