/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dest.c: the destination: wait, receive, commit, start
 *
 * Theory of operation: until the commit record is on disk the waiting VMM may be ended at any moment and
 * for any reason, since the source still has the guest.  From then on the guest is this host's.  The record lives in
 * the ledger, which is the authority: a restart believes it over the status file, and a source that lost the reply gets its
 * answer from it.  To be asked is to decide: a migration that is not committed when the source asks never will be.
 */
#include "base/gettext.h"
#include "base/error.h"
#include "base/fault.h"
#include "migration/dest.h"
#include "migration/files.h"
#include "migration/guide.h"
#include "migration/job_priv.h"
#include "migration/tunnel_job.h"
#include "migration/way.h"
#include "remote/uri.h"

#include <string.h>
#include <unistd.h>


#define FINISH_POLL_MS 50
/* A commit that is to be undone is tried again. */
#define UNDO_SIGNALS (MIG_SIGNAL_RESOLVE | MIG_SIGNAL_LEASE | MIG_SIGNAL_LOST | MIG_SIGNAL_VMM_GONE)

bool
migDestRecord(migJob *job, migPhase phase, GError **error)
{
    g_autoptr(migLedgerEntry) entry = NULL;
    migOutcome outcome = phase == MIG_PHASE_COMMITTED ? MIG_OUTCOME_COMMITTED :
        phase == MIG_PHASE_ABSENT ? MIG_OUTCOME_ABSENT : MIG_OUTCOME_PENDING;

    if (migLedgerFind(job->env->ledger, job->record.uuid, &entry)) {
        if (entry->outcome == outcome && entry->keys == job->record.keys)
            return true;
    } else {
        entry = g_new0(migLedgerEntry, 1);
        entry->uuid = g_strdup(job->record.uuid);
        memcpy(entry->token, job->record.token, sizeof(entry->token));
    }
    entry->outcome = outcome;
    entry->keys = job->record.keys;
    entry->when = g_get_real_time() / G_USEC_PER_SEC;
    return migLedgerWrite(job->env->ledger, entry, error);
}

static void
destTellError(migJob *job, const char *text)
{
    JsonObject *body = json_object_new();

    json_object_set_string_member(body, "text", text);
    migJobNotify(job, "error", body);
}

static JsonObject *
destOutcome(const char *outcome)
{
    JsonObject *body = json_object_new();

    json_object_set_string_member(body, "outcome", outcome);
    return body;
}

/* Why it will not start here, for the coordinator and for the source. */
static void
destSayWhy(migJob *job, const char *text)
{
    g_mutex_lock(&job->lock);
    if (!job->peerError)
        job->peerError = g_strdup(text);
    g_mutex_unlock(&job->lock);
    destTellError(job, text);
}

/* Caller frees. */
static char *
destReason(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);
    const char *text = job->stats.errorText ? job->stats.errorText : job->peerError;

    return g_strdup(text ? text : _("the migration was given up."));
}

static void
destEndGivenUp(migJob *job, migResult result, const char *text)
{
    g_autoptr(GError) why = g_error_new_literal(BASE_ERROR, BASE_ERROR_OPERATION_FAILED, text);

    if (job->version < 3 && job->record.phase == MIG_PHASE_ABSENT)
        migJobNotify(job, "outcome", destOutcome("absent"));
    migJobEnd(job, result, why);
}

/* Give the waiting VMM up because of @event; tells the source why. */
static void
destGiveUp(migJob *job, migEvent event, migResult result, const char *text)
{
    g_autoptr(GError) error = NULL;

    destSayWhy(job, text);
    if (!migJobFire(job, event, &error))
        g_warning("%s: %s", job->record.uuid, error->message);
    destEndGivenUp(job, result, text);
}

bool
migDestStartFailed(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return job->startFailed;
}

static void
destNoteStartFailed(migJob *job, bool failed)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    job->startFailed = failed;
}

/*
 * The commit is on disk, but the guest did not start and nobody was told.  It is undone only when the disk says that, too: a
 * restart believes the disk, and so would every answer to the source.  As long as it cannot be written, the job stays, with the
 * VMM, and it is tried again: before the source's questions are answered, and from time to time.
 */
static bool
destUndoCommit(migJob *job)
{
    g_autofree char *text = destReason(job);
    g_autoptr(GError) error = NULL;

    if (!migJobFire(job, MIG_EVENT_START_FAILED, &error)) {
        g_warning("%s: the guest was not started here, and that could not be written down: %s; trying again",
                  job->record.uuid, error->message);
        migLeaseStart(job);
        return false;
    }
    destNoteStartFailed(job, false);
    migLedgerDoubt(job->env->ledger, job->record.uuid, false);
    destEndGivenUp(job, MIG_RESULT_FAILED, text);
    return true;
}

void
migDestNeverRan(migJob *job, const char *text)
{
    destSayWhy(job, text);
    destNoteStartFailed(job, true);
    destUndoCommit(job);
}

bool
migDestRecordUnknown(migJob *job, GError **error)
{
    g_autoptr(migLedgerEntry) entry = NULL;

    if (!migLedgerFind(job->env->ledger, job->record.uuid, &entry)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INTERNAL, _("The migration '%1$s' has no record."), job->record.uuid);
        return false;
    }
    entry->outcome = MIG_OUTCOME_UNKNOWN;
    entry->when = g_get_real_time() / G_USEC_PER_SEC;
    return migLedgerWrite(job->env->ledger, entry, error);
}

void
migDestDrop(migJob *job, const char *text)
{
    g_autoptr(GError) why = NULL;

    if (job->record.phase != MIG_PHASE_ABSENT) {
        destGiveUp(job, MIG_EVENT_LOST, MIG_RESULT_FAILED, text);
        return;
    }
    /* Only reserved: there is nothing to give up but the token. */
    why = g_error_new_literal(BASE_ERROR, BASE_ERROR_OPERATION_FAILED, text);
    destTellError(job, text);
    migJobEnd(job, MIG_RESULT_FAILED, why);
}

void
migDestGiveUpStream(migJob *job, const char *text)
{
    destGiveUp(job, MIG_EVENT_VMM_FAILED, MIG_RESULT_FAILED, text);
}

/* Why one of several connections has failed; NULL: none has, or the VMM will tell. Caller frees. */
static char *
destBroken(migJob *job)
{
    return job->relay ? migRelayError(job->relay, true) : NULL;
}

/* The VMM says nothing before it runs. */
static void
destLookAtGuide(migJob *job)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;

    if (migGuideArrived(job)) {
        if (!migJobFire(job, MIG_EVENT_VMM_LOADED, &error))
            g_warning("%s: %s", job->record.uuid, error->message);
    } else if ((text = destBroken(job))) {
        destGiveUp(job, MIG_EVENT_VMM_FAILED, MIG_RESULT_FAILED, text);
    }
}

static void
destLookAtVmm(migJob *job)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    vmmMigStatus status = { 0 };

    if (job->record.phase != MIG_PHASE_PREPARED || !job->dataUsed)
        return;
    if (job->guide) {
        destLookAtGuide(job);
        return;
    }
    if (!job->ops->vmmStatus(job->host, &status, &error)) {
        g_debug("%s: no status: %s", job->record.uuid, error->message);
        if ((text = destBroken(job)))
            destGiveUp(job, MIG_EVENT_VMM_FAILED, MIG_RESULT_FAILED, text);
        return;
    }
    if (status.state == VMM_MIG_COMPLETED) {
        if (!migJobFire(job, MIG_EVENT_VMM_LOADED, &error))
            g_warning("%s: %s", job->record.uuid, error->message);
    } else if ((text = destBroken(job))) {
        destGiveUp(job, MIG_EVENT_VMM_FAILED, MIG_RESULT_FAILED, text);
    } else if (status.state == VMM_MIG_FAILED) {
        text = g_strdup_printf(_("The VMM of the destination could not read the guest's state: %1$s"),
                               status.errorText ? status.errorText : _("it gives no reason."));
        destGiveUp(job, MIG_EVENT_VMM_FAILED, MIG_RESULT_FAILED, text);
    }
    vmmMigStatusClear(&status);
}

static void
destAnswer(migJob *job, const migResolver *resolver)
{
    bool committed = job->record.phase == MIG_PHASE_COMMITTED;

    if (migDestStartFailed(job)) {
        linkReply(resolver->link, resolver->id, NULL,
                  _("The guest was not started here, but that cannot be written down yet; ask again."));
        return;
    }
    job->told = job->told || committed;
    linkReply(resolver->link, resolver->id, destOutcome(committed ? "committed" : "absent"), NULL);
}

static void
destAnswerResolvers(migJob *job)
{
    bool open = job->record.phase != MIG_PHASE_COMMITTED && job->record.phase != MIG_PHASE_ABSENT;

    if (open)
        destGiveUp(job, MIG_EVENT_RESOLVE, MIG_RESULT_FAILED,
                   _("The source asked for the outcome before the guest was started."));
    for (;;) {
        migResolver *resolver;

        g_mutex_lock(&job->lock);
        resolver = g_queue_pop_head(&job->resolvers);
        g_mutex_unlock(&job->lock);
        if (!resolver)
            break;
        destAnswer(job, resolver);
        migResolverFree(resolver);
    }
}

static void
destServeTurn(migJob *job)
{
    g_autoptr(GError) error = NULL;

    if (job->record.phase == MIG_PHASE_PREPARED && !migJobTurnChanged(job, &error))
        destGiveUp(job, MIG_EVENT_LOST, MIG_RESULT_FAILED, error->message);
}

static void
destServeLease(migJob *job)
{
    g_autoptr(migLink) link = migJobGetLink(job);
    g_autofree char *text = NULL;
    bool alive = link && linkIsAlive(link);

    if (job->finishing || (alive && !migOfferAwaited(job)))
        return;
    text = g_strdup_printf(alive ? _("The source did not say within %1$u ms which guest it sends.") :
                           _("No source claimed the prepared migration within %1$u ms."), job->env->leaseMs);
    migDestDrop(job, text);
}

/* Version 1, between Prepare and the offer. */
static void
destServeReserved(migJob *job, unsigned signals)
{
    if (signals & MIG_SIGNAL_PEER_ERROR)
        migDestDrop(job, _("The source gave the migration up."));
    else if (signals & MIG_SIGNAL_LINK_LOST)
        migDestDrop(job, _("The source went away before it had offered a guest."));
    else if (signals & MIG_SIGNAL_LEASE)
        destServeLease(job);
}

void
migDestServe(migJob *job, unsigned signals)
{
    bool waiting = job->record.phase == MIG_PHASE_PREPARED || job->record.phase == MIG_PHASE_RECEIVED;
    /* A VMM whose connection is lost may end before it is looked at. */
    g_autofree char *broken = destBroken(job);

    if ((signals & UNDO_SIGNALS) && migDestStartFailed(job))
        destUndoCommit(job);
    if (job->version == 1 && job->record.phase == MIG_PHASE_ABSENT && !job->overCalled)
        destServeReserved(job, signals);
    if ((signals & MIG_SIGNAL_VMM_GONE) && waiting)
        destGiveUp(job, MIG_EVENT_VMM_GONE, MIG_RESULT_FAILED,
                   broken ? broken : _("The VMM of the destination ended before the guest was started."));
    else if ((signals & MIG_SIGNAL_ABORT) && waiting)
        destGiveUp(job, MIG_EVENT_CANCEL, MIG_RESULT_CANCELLED,
                   _("migration in job: canceled by client"));
    else if ((signals & MIG_SIGNAL_LOST) && waiting)
        destGiveUp(job, MIG_EVENT_LOST, MIG_RESULT_FAILED,
                   _("The coordinator of the migration is gone."));
    else if ((signals & MIG_SIGNAL_PEER_ERROR) && waiting)
        destGiveUp(job, MIG_EVENT_LOST, MIG_RESULT_FAILED, _("The source gave the migration up."));
    else if ((signals & MIG_SIGNAL_VMM) && waiting)
        destLookAtVmm(job);
    if (signals & MIG_SIGNAL_SLOT)
        destServeTurn(job);
    if (signals & MIG_SIGNAL_RESOLVE)
        destAnswerResolvers(job);
    if (signals & MIG_SIGNAL_LINK_LOST) {
        migJobSetLink(job, NULL);
        if (waiting && !job->finishing && !job->overCalled)
            migLeaseStart(job);
    }
    if ((signals & MIG_SIGNAL_LEASE) && waiting && !job->overCalled)
        destServeLease(job);
    if (signals & MIG_SIGNAL_OFFER)
        migOfferServe(job);
}

/* ---- the three ways to Finish ---- */

static bool
destFinishError(migJob *job, GError **error)
{
    g_autofree char *text = destReason(job);

    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("The guest was not started on host '%1$s': %2$s"), job->env->hostName, text);
    return false;
}

/* Until the VMM has read everything; false with the job at rest. */
static bool
destAwaitReceived(migJob *job, GError **error)
{
    gint64 until = g_get_monotonic_time() + (gint64)job->env->finishTimeoutMs * 1000;

    for (;;) {
        destLookAtVmm(job);
        if (job->record.phase == MIG_PHASE_RECEIVED)
            return true;
        if (job->record.phase != MIG_PHASE_PREPARED)
            return destFinishError(job, error);
        if (g_get_monotonic_time() >= until) {
            g_autofree char *text =
                g_strdup_printf(_("The guest's state was not complete within %1$u ms."),
                                job->env->finishTimeoutMs);

            destGiveUp(job, MIG_EVENT_FINISH_CANCEL, MIG_RESULT_FAILED, text);
            return destFinishError(job, error);
        }
        migDestServe(job, migJobWait(job, FINISH_POLL_MS));
    }
}

static void
destTakeStats(migJob *job, const migCookie *cookie)
{
    if (!cookie->hasStats)
        return;
    g_mutex_lock(&job->lock);
    /* The whole migration, not only its part here. */
    if (job->sentAtMs)
        job->startedAtMs = MIN(job->startedAtMs, job->sentAtMs - (gint64)MIN(cookie->statsTotalMs, (uint64_t)G_MAXINT32));
    job->stats.left = 0;
    job->stats.hasRemainingMs = false;
    job->stats.setupMs = cookie->statsSetupMs;
    job->stats.downtimeMs = cookie->statsDowntimeMs;
    job->stats.vmm.ramTotal = cookie->statsBytesTotal;
    job->stats.vmm.ramTransferred = cookie->statsBytesMoved;
    job->stats.vmm.ramRemaining = 0;
    job->stats.vmm.ramIteration = cookie->statsIteration;
    job->stats.vmm.ramBps = cookie->statsBps;
    job->stats.vmm.ramNormalPages = cookie->statsNormal;
    job->stats.vmm.ramNormalBytes = cookie->statsNormal * cookie->statsPageSize;
    job->stats.vmm.ramDuplicatePages = cookie->statsConstant;
    job->stats.vmm.ramPageSize = cookie->statsPageSize;
    g_mutex_unlock(&job->lock);
}

/*
 * Was the guest suspended on the way?  The word for it left before the last part of the stream did, so it is nearly always
 * here; only a link that is dead cannot bring it any more.
 */
static void
destLearnPaused(migJob *job)
{
    g_autoptr(migLink) link = migJobGetLink(job);
    gint64 until = g_get_monotonic_time() + (gint64)job->env->linkTimeoutMs * 1000;

    g_mutex_lock(&job->lock);
    while (job->stoppedAtMs == 0 && link && linkIsAlive(link) && g_get_monotonic_time() < until)
        g_cond_wait_until(&job->cond, &job->lock, g_get_monotonic_time() + FINISH_POLL_MS * 1000);
    job->record.startPaused = job->record.startPaused || job->sourcePaused;
    g_mutex_unlock(&job->lock);
}

/* Its VMM ended when it was about to run, or had run: the source must not go on by itself. */
static void
destLandedUnknown(migJob *job, const GError *why)
{
    g_autoptr(GError) error = NULL;

    destSayWhy(job, why->message);
    g_warning("%s: nobody can find out whether the guest has run here: %s", job->record.uuid, why->message);
    if (!migDestRecordUnknown(job, &error)) {
        g_warning("%s: that could not be written down: %s", job->record.uuid, error->message);
        migLedgerDoubt(job->env->ledger, job->record.uuid, true);
    }
    job->ops->endIncoming(job->host, why->message);
    migJobEnd(job, MIG_RESULT_FAILED, why);
}

static bool
destCommit(migJob *job, GError **error)
{
    g_autoptr(GError) local = NULL;

    destLearnPaused(job);
    if (!FAULT_ERROR(MIGRATE_FINISH, &local) && migJobFire(job, MIG_EVENT_FINISH_OK, &local))
        return true;
    /* Either the commit could not be saved (still 'received') or the guest did not start (nobody was told): both undo. */
    if (job->record.phase == MIG_PHASE_COMMITTED && job->landUnknown) {
        destLandedUnknown(job, local);
    } else if (job->record.phase == MIG_PHASE_COMMITTED) {
        migDestNeverRan(job, local->message);
    } else {
        destGiveUp(job, MIG_EVENT_FINISH_CANCEL, MIG_RESULT_FAILED, local->message);
    }
    return destFinishError(job, error);
}

static void
destNoteRunning(migJob *job)
{
    JsonObject *body = json_object_new();
    uint64_t downtimeMs, controlMs;

    g_mutex_lock(&job->lock);
    controlMs = job->stats.hasControlMs ? job->stats.controlMs : 0;
    if (job->stoppedAtMs) {
        job->stats.downtimeMs = g_get_monotonic_time() / 1000 - job->stoppedAtMs;
        job->stats.downtimeFinal = true;
    }
    downtimeMs = job->stats.downtimeMs;
    g_mutex_unlock(&job->lock);
    json_object_set_int_member(body, "downtime-ms", downtimeMs);
    json_object_set_int_member(body, "control-ms", controlMs);
    migJobNotify(job, "running", body);
}

static char *
destFinishCookie(migJob *job, int *retLen)
{
    g_autoptr(migCookie) cookie = g_new0(migCookie, 1);

    migJobSignCookie(job, cookie);
    cookie->outcome = g_strdup("committed");
    cookie->hasStats = true;
    cookie->statsDowntimeMs = job->stats.downtimeMs;
    cookie->statsTotalMs = g_get_monotonic_time() / 1000 - job->startedAtMs;
    return migCookieFormat(cookie, MIG_STEP_FINISH, retLen);
}

static bool
destFinishCancelled(migJob *job)
{
    if (migPhaseMove(job->record.phase, MIG_EVENT_FINISH_CANCEL))
        destGiveUp(job, MIG_EVENT_FINISH_CANCEL, MIG_RESULT_FAILED, _("The coordinator gave the migration up."));
    return false;
}

/* How long the coordinator took to bring the word from there to here: one clock measures both ends of it. */
static void
destNoteFinish(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    if (job->sentAtMs)
        migJobNoteControl(job, g_get_monotonic_time() / 1000 - job->sentAtMs);
}

/* Versions 1 and 2: it came over the migration's own link. */
static migCookie *
destPerformedCookie(migJob *job, GError **error)
{
    g_autofree char *text = NULL;

    g_mutex_lock(&job->lock);
    text = g_strdup(job->performed);
    g_mutex_unlock(&job->lock);
    if (text)
        return migCookieParse(text, (int)strlen(text) + 1, MIG_STEP_PERFORM, error);
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID,
                        _("The source has not said yet that everything is sent."));
    return NULL;
}

static bool
destFinishRefuse(migJob *job, const GError *why, GError **error)
{
    if (migPhaseMove(job->record.phase, MIG_EVENT_FINISH_CANCEL))
        destGiveUp(job, MIG_EVENT_FINISH_CANCEL, MIG_RESULT_FAILED, why->message);
    return destFinishError(job, error);
}

bool
migDestOwnFinish(const migJob *job, const migCookieIo *io, GError **error)
{
    g_autoptr(migCookie) cookie = NULL;

    if (io->in)
        cookie = migCookieParse(io->in, io->inLen, job->version >= 3 ? MIG_STEP_PERFORM : MIG_STEP_PREPARE, NULL);
    if (!cookie || g_str_equal(cookie->uuid, job->record.uuid))
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("The source's cookie belongs to migration '%1$s', not to '%2$s'."),
                cookie->uuid, job->record.uuid);
    return false;
}

/* Versions 1 and 2: nobody else tells the source.  The wait is for its end, so that the copy there is gone when Finish returns. */
static void
destTellCommitted(migJob *job)
{
    g_autoptr(migLink) link = migJobGetLink(job);
    g_autoptr(JsonObject) reply = NULL;
    g_autoptr(GError) error = NULL;

    if (job->version >= 3 || !link)
        return;
    reply = linkRequest(link, "outcome", destOutcome("committed"), job->env->linkTimeoutMs, &error);
    if (!reply)
        g_debug("%s: after the outcome: %s", job->record.uuid, error->message);
}

bool
migDestFinish(migJob *job, bool cancelled, migDestPersistFunc persist, void *opaque,
              const migCookieIo *io, GError **error)
{
    g_autoptr(migCookie) cookie = NULL;
    g_autoptr(GError) local = NULL;

    job->finishing = true;
    migLeaseStop(job);
    if (cancelled)
        return destFinishCancelled(job);
    destNoteFinish(job);
    /* It is here before the coordinator can say Finish, or will never be. */
    if (job->version < 3 && !(cookie = destPerformedCookie(job, &local)))
        return destFinishRefuse(job, local, error);
    if (!destAwaitReceived(job, error))
        return false;
    if (!cookie)
        cookie = migCookieParse(io->in, io->inLen, MIG_STEP_PERFORM, &local);
    if (local || (persist && !persist(opaque, cookie->persistentXml, &local)))
        return destFinishRefuse(job, local, error);
    destTakeStats(job, cookie);
    if (!migFilesOffer(job, &local))
        return destFinishRefuse(job, local, error);
    if (!destCommit(job, error))
        return false;

    /* From here on the guest is ours: what goes wrong is only logged. */
    destNoteRunning(job);
    if (io->out)
        *io->out = destFinishCookie(job, io->outLen);
    job->told = true;
    destTellCommitted(job);
    migJobEnd(job, MIG_RESULT_COMPLETED, NULL);
    return true;
}

bool
migDestAborted(migJob *job, GError **error)
{
    if (!migJobAbortAsked(job))
        return false;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_ABORTED, _("migration in job: canceled by client"));
    return true;
}

bool
migDestFormatAnswer(migJob *job, migCookie *cookie, const migCookieIo *io, char **retUri, GError **error)
{
    uri u = { .kind = URI_TCP };

    migJobSignCookie(job, cookie);
    cookie->addresses = g_strdupv(job->record.peerAddresses);
    cookie->port = job->boundPort;
    cookie->askPort = job->askPort;
    memcpy(cookie->token, job->record.token, sizeof(cookie->token));
    cookie->hasToken = true;
    migWayOwn(job, &cookie->way);
    cookie->hasWay = true;
    cookie->channel = job->way.channel;
    cookie->keys = job->way.keys;
    if (!(*io->out = migCookieFormat(cookie, MIG_STEP_PREPARE, io->outLen))) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_INTERNAL,
                            _("The migration cookie could not be made."));
        return false;
    }
    if (!retUri)
        return true;
    u.host = cookie->addresses[0];
    u.port = cookie->port;
    *retUri = uriFormat(&u);
    return true;
}

bool
migDestAnswer(migJob *job, const migCookie *remote, const migDestFacts *facts, const migCookieIo *io,
              char **retUri, GError **error)
{
    g_autoptr(migCookie) cookie = g_new0(migCookie, 1);

    cookie->domainUuid = g_strdup(remote->domainUuid);
    cookie->domainName = g_strdup(remote->domainName);
    cookie->vmmName = g_strdup(facts->vmm->traits->name);
    cookie->vmmVersion = facts->vmm->version;
    cookie->machine = g_strdup(facts->machine);
    cookie->arch = g_strdup(facts->arch);
    cookie->tcg = facts->tcg;
    cookie->disks = remote->disks ? g_ptr_array_ref(remote->disks) : NULL;
    return migDestFormatAnswer(job, cookie, io, retUri, error);
}

bool
migDestPrepare(migJob *job, const migCookie *remote, const migDestFacts *facts, const migCookieIo *io,
               char **retUri, GError **error)
{
    job->files = remote->files;
    migGuideSet(job, facts->vmm->traits);
    if (!migDestAnswer(job, remote, facts, io, retUri, error)) {
        migDestRelease(job);
        return false;
    }
    if (job->version < 3)
        migTunnelKeep(job, *io->out);
    if (migDestAborted(job, error) || !migJobFire(job, MIG_EVENT_PREPARE, error)) {
        g_clear_pointer(io->out, g_free);
        g_clear_pointer(retUri, g_free);
        migDestRelease(job);
        return false;
    }
    return true;
}
