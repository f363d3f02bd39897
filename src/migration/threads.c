/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration/threads.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct _migThreads {
    GMutex lock;
    GCond cond;
    unsigned count;
    GPtrArray *ended;            /* GThread *: have done their work and are to be joined */
    bool stopping;
    int stopFd;
};

typedef struct {
    migThreads *threads;
    GThreadFunc func;
    gpointer data;
} threadsStart;

migThreads *
migThreadsNew(void)
{
    migThreads *threads = g_new0(migThreads, 1);

    g_mutex_init(&threads->lock);
    g_cond_init(&threads->cond);
    threads->ended = g_ptr_array_new();
    threads->stopFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return threads;
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
    g_mutex_lock(&threads->lock);
    threads->stopping = true;
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

bool
migThreadsRun(migThreads *threads, const char *name, GThreadFunc func, gpointer data)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&threads->lock);
    threadsStart *start;

    if (threads->stopping)
        return false;
    threadsJoinEnded(threads);
    start = g_new0(threadsStart, 1);
    start->threads = threads;
    start->func = func;
    start->data = data;
    threads->count++;
    g_thread_unref(g_thread_new(name, threadsMain, start));
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
