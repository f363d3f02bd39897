/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/thread.h"

#include "base/error.h"
#include "base/fault.h"

GThread *
baseThreadNew(const char *name, GThreadFunc func, gpointer data, GError **error)
{
    g_autoptr(GError) local = NULL;
    GThread *thread = NULL;

    if (!FAULT_ERROR(THREAD_NEW, &local))
        thread = g_thread_try_new(name, func, data, &local);
    if (!thread)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_SYSTEM, local->message);
    return thread;
}

bool
baseThreadStart(const char *name, GThreadFunc func, gpointer data, GError **error)
{
    GThread *thread = baseThreadNew(name, func, data, error);

    if (thread)
        g_thread_unref(thread);
    return thread != NULL;
}
