/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * lease.c: a destination that nobody claims gives up, and a source that nobody ends asks
 *
 * Theory of operation: whoever prepares a destination must come back, and in version 1 of the protocol nobody tells it of a failure.
 * So a prepared (or reserved) destination lives on a lease: while the link to the source lives it is renewed by that
 * alone; without a link it ends after env->leaseMs, by a timer in the I/O thread.  In versions 1 and 2 a link counts only once a
 * guest was offered over it: a reservation takes one of few slots.
 *
 * A source that has sent everything is frozen until the coordinator has said Finish there and Confirm here.  One that is alive
 * but hangs would keep it so for ever.  After twice the time that Finish may wait on the destination it is not waited for any longer.
 */
#include "migration/dest.h"
#include "migration/job_priv.h"

static gboolean
leaseEnded(gpointer data)
{
    migJob *job = data;

    migJobPost(job, MIG_SIGNAL_LEASE);
    return G_SOURCE_REMOVE;
}

static void
leaseUnref(gpointer data)
{
    migJobUnref(data);
}

void
migLeaseStart(migJob *job)
{
    unsigned ms = job->record.side == MIG_SIDE_SOURCE ? 2 * job->env->finishTimeoutMs : job->env->leaseMs;
    GSource *source, *old;

    /* What is to be undone is tried again in any case. */
    if (ms == 0 && migDestStartFailed(job))
        ms = 2 * job->env->finishTimeoutMs;
    if (ms == 0)
        return;
    source = g_timeout_source_new(ms);
    g_source_set_callback(source, leaseEnded, migJobRef(job), leaseUnref);
    g_mutex_lock(&job->lock);
    old = job->lease;
    job->lease = source;
    g_source_attach(source, job->env->io);
    g_mutex_unlock(&job->lock);
    if (old) {
        g_source_destroy(old);
        g_source_unref(old);
    }
}

void
migLeaseStop(migJob *job)
{
    GSource *old;

    g_mutex_lock(&job->lock);
    old = g_steal_pointer(&job->lease);
    g_mutex_unlock(&job->lock);
    /* Not under the lock: it may hold the last reference but the caller's. */
    if (old) {
        g_source_destroy(old);
        g_source_unref(old);
    }
}
