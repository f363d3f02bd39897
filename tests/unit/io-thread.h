/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* io-thread.h: a thread that serves a GMainContext, as the driver has one; for unit tests */
#pragma once

#include <glib.h>

typedef struct {
    GMainContext *context;
    GMainLoop *loop;
    GThread *thread;
} ioThread;

static gpointer
ioThreadRun(gpointer opaque)
{
    ioThread *io = opaque;

    g_main_context_push_thread_default(io->context);
    g_main_loop_run(io->loop);
    g_main_context_pop_thread_default(io->context);
    return NULL;
}

static void
ioThreadStart(ioThread *io)
{
    io->context = g_main_context_new();
    io->loop = g_main_loop_new(io->context, FALSE);
    io->thread = g_thread_new("io", ioThreadRun, io);
}

static gboolean
ioThreadQuit(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

/* What the thread had to do at the time of the call is done when this returns. */
static inline gboolean
ioThreadReached(gpointer flag)
{
    g_atomic_int_set((gint *)flag, 1);
    return G_SOURCE_REMOVE;
}

static inline void
ioThreadDrain(ioThread *io)
{
    gint flag = 0;
    g_autoptr(GSource) source = g_idle_source_new(); /* lowest priority: after all that is ready */

    g_source_set_callback(source, ioThreadReached, &flag, NULL);
    g_source_attach(source, io->context);
    while (!g_atomic_int_get(&flag))
        g_thread_yield();
}

static void
ioThreadStop(ioThread *io)
{
    g_autoptr(GSource) quit = g_idle_source_new();

    /* Not g_main_context_invoke(): a quit before the loop runs would be lost. */
    g_source_set_callback(quit, ioThreadQuit, io->loop, NULL);
    g_source_attach(quit, io->context);
    g_thread_join(io->thread);
    g_main_loop_unref(io->loop);
    g_main_context_unref(io->context);
}

/* Open descriptors of this process.  GLib opens one of its own with the first context, so call
 * ioWarmUp() before. */
static inline guint
ioCountFds(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    guint count = 0;

    while (g_dir_read_name(dir))
        count++;
    return count;
}

static inline void
ioWarmUp(void)
{
    ioThread io;

    ioThreadStart(&io);
    ioThreadStop(&io);
}

/* Wait until *flag (atomic) is at least @value, at most 5 s. */
static inline gboolean
ioWaitFlag(gint *flag, gint value)
{
    gint64 end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;

    while (g_atomic_int_get(flag) < value && g_get_monotonic_time() < end)
        g_usleep(500);
    return g_atomic_int_get(flag) >= value;
}
