/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guide.c: see guide.h */
#include "migration/guide.h"

#include "base/error.h"
#include "base/fault.h"
#include "migration/job_priv.h"

#include "base/gettext.h"

#define LAND_POLL_MS 50
/* For the last words of a VMM that has ended. */
#define LAND_DRAIN_MS 500

bool
migGuideNeeded(const migJob *job)
{
    return job->vmm && job->vmm->guide && !job->files;
}

void
migGuideSet(migJob *job, const vmmTraits *vmm)
{
    migJobSetVmm(job, vmm);
    if (job->record.side == MIG_SIDE_SOURCE || job->guide || !(job->files || migGuideNeeded(job)))
        return;
    if (!job->files)
        migRelayGuide(job);
    g_mutex_lock(&job->lock);
    job->record.start = MIG_START_PENDING;
    g_mutex_unlock(&job->lock);
}

/* The pump's thread. */
static void
guideChanged(void *opaque)
{
    migJobPost(opaque, MIG_SIGNAL_VMM);
}

void
migGuideOptions(migJob *job, migRelayOptions *options)
{
    if (!migGuideNeeded(job))
        return;
    job->guide = job->vmm->guide->create(job->record.side == MIG_SIDE_SOURCE, guideChanged, job);
    options->filterOps = job->vmm->guide->filter;
    options->filter = job->guide;
    options->filterFree = job->vmm->guide->free;
}

bool
migGuideStatus(migJob *job, bool stopping, vmmMigStatus *ret, GError **error)
{
    vmmMigState told;

    if (!job->ops->vmmStatus(job->host, ret, error))
        return false;
    told = ret->state;
    if (job->guide)
        job->vmm->guide->look(job->guide, ret);
    /* It has taken its state: the guide may see by that where it ends. */
    if (job->guide && job->relay && told == VMM_MIG_COMPLETED)
        migRelayPoke(job->relay);
    /* "Completed", and still there: that is how it calls a migration that failed last of all. */
    if (job->guide && stopping && told == VMM_MIG_COMPLETED)
        ret->state = VMM_MIG_CANCELLED;
    return true;
}

bool
migGuideHolds(migJob *job, GError **error)
{
    g_autofree char *broken = job->relay ? migRelayError(job->relay, false) : NULL;

    if (broken)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, broken);
    else if (job->guide && !job->vmm->guide->stillWaits(job->guide))
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                            _("The VMM of the source was kept waiting for the switch-over so long that it may have let the guest run again."));
    else
        return true;
    return false;
}

void
migGuideSwitchOver(migJob *job)
{
    if (!job->guide)
        return;
    job->vmm->guide->release(job->guide, !job->record.direct);
    migRelayPoke(job->relay);
}

void
migGuideRecall(migJob *job)
{
    if (job->guide)
        migRelayShut(job->relay);
}

/* ---- destination ---------------------------------------------------------------------------- */

bool
migGuideArrived(migJob *job)
{
    vmmMigStatus status = { .state = VMM_MIG_NONE };

    job->vmm->guide->look(job->guide, &status);
    return status.state == VMM_MIG_PRE_SWITCHOVER;
}

/* Somebody posted something, or a little time has passed; the signals stay. False: the VMM is gone. */
static bool
guideWait(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    if (job->signals & MIG_SIGNAL_VMM_GONE)
        return false;
    g_cond_wait_until(&job->cond, &job->lock, g_get_monotonic_time() + LAND_POLL_MS * G_TIME_SPAN_MILLISECOND);
    return true;
}

/* The VMM is ended: has it loaded the state before?  What it said last may still be under way in the relay. */
static bool
guideHadLoaded(migJob *job, const GError *why)
{
    gint64 until = g_get_monotonic_time() + LAND_DRAIN_MS * G_TIME_SPAN_MILLISECOND;
    bool broken = false;

    job->ops->endIncoming(job->host, why->message);
    while (!broken && !job->vmm->guide->isLoaded(job->guide) && g_get_monotonic_time() < until) {
        g_autofree char *text = migRelayError(job->relay, false);

        broken = text != NULL;
        g_mutex_lock(&job->lock);
        if (!broken)
            g_cond_wait_until(&job->cond, &job->lock, g_get_monotonic_time() + LAND_POLL_MS * G_TIME_SPAN_MILLISECOND);
        g_mutex_unlock(&job->lock);
    }
    migRelayEnd(job->relay);
    return job->vmm->guide->isLoaded(job->guide);
}

static bool
guideAwaitLoaded(migJob *job, GError **error)
{
    gint64 until = g_get_monotonic_time() + (gint64)job->env->finishTimeoutMs * 1000;

    while (!job->vmm->guide->isLoaded(job->guide)) {
        g_autofree char *broken = migRelayError(job->relay, false);

        if (broken || !guideWait(job)) {
            /* Its answer may have come just before. */
            if (job->vmm->guide->isLoaded(job->guide))
                return true;
            g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                        _("The VMM of the destination ended instead of loading the guest's state%1$s%2$s"),
                        broken ? ": " : ".", broken ? broken : "");
            return false;
        }
        if (g_get_monotonic_time() >= until) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                        _("The VMM of the destination has not loaded the guest's state within %1$u ms."),
                        job->env->finishTimeoutMs);
            return false;
        }
    }
    return true;
}

bool
migGuideSaveStart(migJob *job, migStart start, GError **error)
{
    migStart before = job->record.start;

    g_mutex_lock(&job->lock);
    job->record.start = start;
    g_mutex_unlock(&job->lock);
    if (job->ops->save(job->host, &job->record, error))
        return true;
    g_mutex_lock(&job->lock);
    job->record.start = before;
    g_mutex_unlock(&job->lock);
    return false;
}

bool
migGuideLand(migJob *job, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (!job->guide || !job->relay)
        return true;
    if (FAULT_ERROR(GUIDE_LAND, error))
        return false;
    if (job->record.startPaused && !job->ops->guestExpect(job->host, error))
        return false;
    /* First this: with the end the guest runs, and a restart must not take it for one that never did. */
    if (!migGuideSaveStart(job, MIG_START_RELEASED, error)) {
        g_prefix_error(error, _("It cannot be saved that the guest is about to be started: "));
        return false;
    }
    job->vmm->guide->release(job->guide, false);
    migRelayPoke(job->relay);
    if (!guideAwaitLoaded(job, &local) && !guideHadLoaded(job, local)) {
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
    }
    (void)FAULT(GUIDE_LANDED);
    g_clear_error(&local);
    /* Else a restart could not tell what became of a guest that ended later. */
    if (!migGuideSaveStart(job, MIG_START_NONE, &local))
        g_warning("%s: it cannot be saved that the guest has been started: %s, ignoring", job->record.uuid, local->message);
    return true;
}
