/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* thread.h: threads that may not be had: g_thread_new() ends the process then, and with it everybody's daemon */
#pragma once

#include <glib.h>
#include <stdbool.h>

/**
 * baseThreadNew: a thread that is to be joined.
 * @name: what it is called, at most 15 bytes of it
 *
 * NULL: there are no threads left; @data is still the caller's.
 * Errors: BASE_ERROR_SYSTEM, with the reason alone, for the caller to say what was to be done.
 */
GThread *baseThreadNew(const char *name, GThreadFunc func, gpointer data, GError **error);

/** baseThreadStart: the same for one that nobody joins. */
bool baseThreadStart(const char *name, GThreadFunc func, gpointer data, GError **error);
