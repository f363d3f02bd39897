/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* threads.h: the threads that migrations start beside the calls, so that a daemon can end without them */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct _migThreads migThreads;

/** migThreadsNew: @context: whose loop looks again for threads when there were none left; a reference is taken. */
migThreads *migThreadsNew(GMainContext *context);
/** migThreadsStop: tell all to stop, wait until they are gone; no new ones start. Not from one of them, nor with a lock held. */
void migThreadsStop(migThreads *threads);
/** migThreadsFree: after migThreadsStop(), when nobody can ask for a thread any more and the context's loop has ended. */
void migThreadsFree(migThreads *threads);
/**
 * migThreadsRun: run @func(@data) in a thread of its own, as soon as there is one: what it is to do must be done some time.
 * @name: static
 * @discard: frees @data in the place of @func when migThreadsStop() comes first
 *
 * False when stopping: neither of them is called.  Any thread, any lock.
 */
bool migThreadsRun(migThreads *threads, const char *name, GThreadFunc func, gpointer data, GDestroyNotify discard);
/** migThreadsPause: wait @ms; false when it is time to stop. */
bool migThreadsPause(migThreads *threads, unsigned ms);
/** migThreadsStopFd: readable when it is time to stop; stays the object's. */
int migThreadsStopFd(migThreads *threads);
