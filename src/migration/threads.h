/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* threads.h: the threads that migrations start beside the calls, so that a daemon can end without them */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct _migThreads migThreads;

migThreads *migThreadsNew(void);
/** migThreadsStop: tell all to stop, wait until they are gone; no new ones start. Not from one of them. */
void migThreadsStop(migThreads *threads);
/** migThreadsFree: after migThreadsStop(), when nobody can ask for a thread any more. */
void migThreadsFree(migThreads *threads);
/** migThreadsRun: run @func(@data) in a thread of its own; false when stopping: @func is not called. */
bool migThreadsRun(migThreads *threads, const char *name, GThreadFunc func, gpointer data);
/** migThreadsPause: wait @ms; false when it is time to stop. */
bool migThreadsPause(migThreads *threads, unsigned ms);
/** migThreadsStopFd: readable when it is time to stop; stays the object's. */
int migThreadsStopFd(migThreads *threads);
