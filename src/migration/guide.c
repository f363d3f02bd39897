/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* guide.c: see guide.h */
#include "migration/guide.h"

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "migration/job_priv.h"

#include "base/gettext.h"

/* How long the kernel may take to end the connection of a process that it has ended. */
#define LAND_DRAIN_MS 5000

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

/* The pump's thread.  Once everything is here the VMM needs the source no more, and must not hear of its end. */
static void
guideChanged(void *opaque)
{
    migJob *job = opaque;

    if (job->record.side == MIG_SIDE_DEST && migGuideArrived(job))
        migRelayKeepVmm(job->relay);
    migJobPost(job, MIG_SIGNAL_VMM);
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

/*
 * The VMM does not let the guest run, because of *why: it is ended, and heard out.  One that had not taken the state by then has never run
 * it; of another nobody can tell, and *why says so.
 */
static bool
guideMayHaveRun(migJob *job, int fd, GError **why)
{
    g_autoptr(GError) end = NULL;

    job->ops->endIncoming(job->host, (*why)->message);
    job->vmm->guide->land(job->guide, fd, LAND_DRAIN_MS, &end);
    if (!job->vmm->guide->isLoaded(job->guide) && !g_error_matches(end, BASE_ERROR, BASE_ERROR_TIMEOUT))
        return false;
    g_prefix_error(why, "%s ", _("Nobody can find out whether the guest has run here: its VMM ended while it was given the guest."));
    return true;
}

bool
migGuideLand(migJob *job, GError **error)
{
    g_autoptr(GError) local = NULL;
    g_auto(baseFd) fd = -1;

    if (!job->guide || !job->relay)
        return true;
    if (FAULT_ERROR(GUIDE_LAND, error))
        return false;
    if (job->record.startPaused && !job->ops->guestExpect(job->host, error))
        return false;
    /* All that is needed is here: from now on nothing that happens to the source's connection can reach the VMM. */
    fd = migRelayTakeVmm(job->relay, error);
    if (fd < 0)
        return false;
    /* First this: with the end the guest runs, and a restart must not take it for one that never did. */
    if (!migGuideSaveStart(job, MIG_START_RELEASED, error)) {
        g_prefix_error(error, _("It cannot be saved that the guest is about to be started: "));
        return false;
    }
    if (!job->vmm->guide->land(job->guide, fd, job->env->finishTimeoutMs, &local)) {
        job->landUnknown = guideMayHaveRun(job, fd, &local);
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
    }
    (void)FAULT(GUIDE_LANDED);
    /* Else a restart could not tell what became of a guest that ended later. */
    if (!migGuideSaveStart(job, MIG_START_NONE, &local))
        g_warning("%s: it cannot be saved that the guest has been started: %s, ignoring", job->record.uuid, local->message);
    return true;
}
