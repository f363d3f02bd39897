/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* recover.c: after a restart of the daemon, every saved phase has a defined end; the rows say which */
#include "base/gettext.h"
#include "base/error.h"
#include "migration/guide.h"
#include "migration/job_priv.h"
#include "migration/recover.h"


#define RECOVER_POLL_MS 100

static void
recoverFire(migJob *job, migEvent event)
{
    g_autoptr(GError) error = NULL;

    if (!migPhaseMove(job->record.phase, event))
        return;
    if (!migJobFire(job, event, &error))
        g_warning("%s: %s", job->record.uuid, error->message);
}

/* Sending was under way: the VMM has been told to stop; wait until it says how it ended. */
static void
recoverAborting(migJob *job)
{
    while (job->record.phase == MIG_PHASE_ABORTING) {
        g_autoptr(GError) error = NULL;
        vmmMigStatus status = { 0 };

        if (job->ops->vmmStatus(job->host, &status, &error)) {
            if (status.state == VMM_MIG_COMPLETED && !migGuideNeeded(job))
                recoverFire(job, MIG_EVENT_VMM_DONE);
            else if (status.state == VMM_MIG_FAILED || status.state == VMM_MIG_COMPLETED)
                recoverFire(job, MIG_EVENT_VMM_FAILED);
            else if (status.state == VMM_MIG_CANCELLED || status.state == VMM_MIG_NONE)
                recoverFire(job, MIG_EVENT_VMM_CANCELLED);
            vmmMigStatusClear(&status);
        }
        if (job->record.phase != MIG_PHASE_ABORTING)
            break;
        if (migJobWait(job, RECOVER_POLL_MS) & MIG_SIGNAL_VMM_GONE)
            recoverFire(job, MIG_EVENT_VMM_GONE);
    }
    /* Everything had been sent after all, and the coordinator never heard of it. */
    if (job->record.phase == MIG_PHASE_SENT)
        recoverFire(job, MIG_EVENT_LOST);
}

static void
recoverSource(migJob *job)
{
    g_autoptr(GError) why = g_error_new_literal(BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                                                _("The daemon was restarted during the migration."));

    recoverAborting(job);
    if (job->record.phase == MIG_PHASE_IN_DOUBT) {
        job->ops->guestFrozen(job->host);
        migSourceSettle(job);
    }
    if (migPhaseInfo(job->record.phase)->final)
        migJobEnd(job, job->record.phase == MIG_PHASE_GONE ? MIG_RESULT_COMPLETED : MIG_RESULT_FAILED, why);
}

/* It has never run, and nobody was told that it would; or nobody knows whether it has. */
static void
recoverUnlanded(migJob *job, const GError *why)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) unknown = NULL;

    if (job->record.start == MIG_START_PENDING || (job->ops->guestNeverRan && job->ops->guestNeverRan(job->host))) {
        migDestNeverRan(job, why->message);
        return;
    }
    unknown = g_error_new_literal(BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                                  _("Nobody can find out whether the guest has run here: its VMM ended while it was given the guest."));
    g_warning("%s: %s Its source waits for an administrator.", job->record.uuid, unknown->message);
    if (!migDestRecordUnknown(job, &error)) {
        /* The record stays, and with it the question, for the next start of the daemon. */
        g_warning("%s: that could not be written down: %s", job->record.uuid, error->message);
        return;
    }
    migLedgerDoubt(job->env->ledger, job->record.uuid, false);
    migJobEnd(job, MIG_RESULT_FAILED, unknown);
}

void
migRecover(migJob *job, bool vmmAlive)
{
    g_autoptr(GError) why = g_error_new_literal(BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                                                _("The daemon was restarted during the migration."));
    g_autoptr(migLedgerEntry) entry = NULL;

    /* The daemon may have died between the ledger and the status file; what the source hears is the ledger's. */
    if (job->record.side == MIG_SIDE_DEST && migLedgerFind(job->env->ledger, job->record.uuid, &entry)) {
        if (entry->outcome == MIG_OUTCOME_COMMITTED)
            job->record.phase = job->stats.phase = MIG_PHASE_COMMITTED;
        else if (job->record.phase == MIG_PHASE_COMMITTED && entry->outcome != MIG_OUTCOME_UNKNOWN)
            job->record.phase = job->stats.phase = MIG_PHASE_RECEIVED;
    }

    if (job->record.side == MIG_SIDE_DEST && job->record.start != MIG_START_NONE && !vmmAlive &&
        (job->record.phase == MIG_PHASE_COMMITTED || (entry && entry->outcome == MIG_OUTCOME_UNKNOWN))) {
        recoverUnlanded(job, why);
        migJobLeave(job);
        return;
    }
    recoverFire(job, vmmAlive ? MIG_EVENT_RESTART : MIG_EVENT_VMM_GONE);
    if (job->record.side == MIG_SIDE_DEST)
        migLedgerDoubt(job->env->ledger, job->record.uuid, false);
    if (job->record.side == MIG_SIDE_SOURCE)
        recoverSource(job);
    else
        migJobEnd(job, job->record.phase == MIG_PHASE_COMMITTED ? MIG_RESULT_COMPLETED : MIG_RESULT_FAILED, why);
    migJobLeave(job);
}
