/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * job.c: the life of one migration: who runs it, how its phase moves, what it tells
 */
#include "base/gettext.h"
#include "base/error.h"
#include "migration/dest.h"
#include "migration/job_priv.h"

#include <unistd.h>


void
migRecordClear(migRecord *record)
{
    g_clear_pointer(&record->uuid, g_free);
    g_clear_pointer(&record->peerHost, g_free);
    g_clear_pointer(&record->peerAddresses, g_strfreev);
}

void
migRecordCopy(migRecord *dst, const migRecord *src)
{
    *dst = *src;
    dst->uuid = g_strdup(src->uuid);
    dst->peerHost = g_strdup(src->peerHost);
    dst->peerAddresses = g_strdupv(src->peerAddresses);
}

void
migStatsClear(migStats *stats)
{
    g_clear_pointer(&stats->errorText, g_free);
    g_clear_pointer(&stats->transport, g_free);
    g_clear_pointer(&stats->peer, g_free);
    vmmMigStatusClear(&stats->vmm);
}

migJob *
migJobNew(const migEnv *env, const migRecord *record, const migHostOps *ops,
          void *host, GDestroyNotify hostFree)
{
    migJob *job = g_new0(migJob, 1);

    job->refs = 1;
    job->env = env;
    job->ops = ops;
    job->host = host;
    job->hostFree = hostFree;
    job->dataFd = -1;
    g_mutex_init(&job->lock);
    g_cond_init(&job->cond);
    g_queue_init(&job->resolvers);
    migRecordCopy(&job->record, record);
    if (!job->record.uuid)
        job->record.uuid = g_uuid_string_random();
    if (job->record.startedMs == 0)
        job->record.startedMs = g_get_real_time() / 1000;
    job->startedAtMs = g_get_monotonic_time() / 1000;
    job->stats.side = record->side;
    job->stats.transport = g_strdup("native");
    return job;
}

migJob *
migJobRef(migJob *job)
{
    g_atomic_int_inc(&job->refs);
    return job;
}

void
migResolverFree(gpointer data)
{
    migResolver *resolver = data;

    linkUnref(resolver->link);
    g_free(resolver);
}

void
migJobUnref(migJob *job)
{
    if (!job || !g_atomic_int_dec_and_test(&job->refs))
        return;
    if (job->link) {
        linkClose(job->link);
        linkUnref(job->link);
    }
    if (job->dataFd >= 0)
        close(job->dataFd);
    g_queue_clear_full(&job->resolvers, migResolverFree);
    migParamsClear(&job->params);
    migRecordClear(&job->record);
    migStatsClear(&job->stats);
    g_free(job->peerError);
    g_free(job->boundAddress);
    g_mutex_clear(&job->lock);
    g_cond_clear(&job->cond);
    if (job->hostFree)
        job->hostFree(job->host);
    g_free(job);
}

const char *
migJobUuid(migJob *job)
{
    return job->record.uuid;
}

migPhase
migJobPhase(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return job->record.phase;
}

void
migJobEnter(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    while (job->running)
        g_cond_wait(&job->cond, &job->lock);
    job->running = true;
}

static gpointer
jobServeThread(gpointer data)
{
    g_autoptr(migJob) job = data;
    unsigned signals;

    migJobEnter(job);
    while ((signals = migJobWait(job, 0)) != 0)
        migJobServe(job, signals);
    migJobLeave(job);
    return NULL;
}

/* Lock held. */
static void
jobServeIfIdle(migJob *job)
{
    if (job->running || job->signals == 0)
        return;
    if (!migThreadsRun(job->env->threads, "migration", jobServeThread, migJobRef(job)))
        g_atomic_int_add(&job->refs, -1);
}

void
migJobLeave(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    job->running = false;
    g_cond_broadcast(&job->cond);
    jobServeIfIdle(job);
}

void
migJobPost(migJob *job, migSignal signal)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    job->signals |= signal;
    g_cond_broadcast(&job->cond);
    jobServeIfIdle(job);
}

unsigned
migJobWait(migJob *job, unsigned ms)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);
    gint64 until = g_get_monotonic_time() + (gint64)ms * 1000;
    unsigned signals;

    while (job->signals == 0 && ms > 0) {
        if (!g_cond_wait_until(&job->cond, &job->lock, until))
            break;
    }
    signals = job->signals;
    job->signals = 0;
    return signals;
}

void
migJobServe(migJob *job, unsigned signals)
{
    if (job->record.side == MIG_SIDE_SOURCE)
        migSourceServe(job, signals);
    else
        migDestServe(job, signals);
}

static bool
jobSavePhase(migJob *job, const migMove *move, GError **error)
{
    bool commit = move->to == MIG_PHASE_COMMITTED || move->from == MIG_PHASE_COMMITTED;
    g_autoptr(GError) local = NULL;
    bool recorded, saved;
    migRecord next;

    migRecordCopy(&next, &job->record);
    next.phase = move->to;
    /* The ledger is the authority on a commit, so it comes first; recovery believes it over the status file. */
    recorded = job->record.side == MIG_SIDE_SOURCE || migDestRecord(job, move->to, &local);
    saved = recorded && job->ops->save(job->host, &next, &local);
    migRecordClear(&next);
    if (saved)
        return true;
    /* Once the ledger has it, the source will hear it, whether or not the status file could follow. */
    if (migMoveMustBeSaved(move) && !(recorded && commit)) {
        g_propagate_error(error, g_steal_pointer(&local));
        g_prefix_error(error, _("The migration phase '%1$s' could not be saved: "),
                       migPhaseName(move->to));
        return false;
    }
    g_warning("Cannot save migration phase '%s' of migration %s: %s, ignoring",
              migPhaseName(move->to), job->record.uuid, local ? local->message : "?");
    return true;
}

static bool
jobAct(migJob *job, migAction action, GError **error)
{
    switch (action) {
    case MIG_ACTION_STOP_SENDING:
        return job->ops->vmmCancel(job->host, error);
    case MIG_ACTION_RESUME:
        return !job->record.wasRunning || job->ops->guestResume(job->host, error);
    case MIG_ACTION_ASK:
        migSourceAsk(job);
        return true;
    case MIG_ACTION_END_SOURCE:
        job->ops->endSource(job->host);
        return true;
    case MIG_ACTION_START:
        return job->ops->guestStart(job->host, job->record.startPaused, error);
    case MIG_ACTION_END_INCOMING:
        job->ops->endIncoming(job->host, job->peerError);
        return true;
    case MIG_ACTION_NONE:
    case MIG_ACTION_LAST:
        break;
    }
    return true;
}

bool
migJobFire(migJob *job, migEvent event, GError **error)
{
    g_autoptr(GError) local = NULL;
    const migMove *move = migPhaseMove(job->record.phase, event);

    if (!move) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID,
                    _("The migration is in phase '%1$s', in which '%2$s' is not possible."),
                    migPhaseName(job->record.phase), migEventName(event));
        return false;
    }
    if (move->to != move->from && !jobSavePhase(job, move, error))
        return false;

    g_message("%s: phase: %s -> %s on %s", job->record.uuid, migPhaseName(move->from),
              migPhaseName(move->to), migEventName(event));
    g_mutex_lock(&job->lock);
    job->record.phase = move->to;
    job->stats.phase = move->to;
    g_mutex_unlock(&job->lock);

    if (!jobAct(job, move->action, &local)) {
        /* The phase stands: it says what may be, the action only brings it about.  A failed START is an event of its own. */
        if (move->action == MIG_ACTION_START) {
            g_propagate_error(error, g_steal_pointer(&local));
            return false;
        }
        g_warning("%s: '%s' after phase '%s' failed: %s, ignoring", job->record.uuid,
                  migActionName(move->action), migPhaseName(move->to), local ? local->message : "?");
    }
    return true;
}

void
migJobSetLink(migJob *job, migLink *link)
{
    g_autoptr(migLink) old = NULL;

    g_mutex_lock(&job->lock);
    old = job->link;
    job->link = link;
    g_mutex_unlock(&job->lock);
    if (old)
        linkClose(old);
}

migLink *
migJobGetLink(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return job->link ? linkRef(job->link) : NULL;
}

void
migJobSignCookie(migJob *job, migCookie *cookie)
{
    cookie->uuid = g_strdup(job->record.uuid);
    cookie->hostName = g_strdup(job->env->hostName);
    cookie->hostUuid = g_strdup(job->env->hostUuid);
    cookie->bootId = g_strdup(job->env->bootId);
    cookie->instance = g_strdup(job->env->instance);
}

void
migJobNotify(migJob *job, const char *type, JsonObject *body)
{
    g_autoptr(migLink) link = migJobGetLink(job);

    if (link)
        linkNotify(link, type, body);
    else if (body)
        json_object_unref(body);
}

void
migJobEnd(migJob *job, migResult result, const GError *why)
{
    bool first;

    g_mutex_lock(&job->lock);
    first = !job->overCalled;
    job->overCalled = true;
    if (first) {
        job->stats.result = result;
        job->stats.elapsedMs = g_get_monotonic_time() / 1000 - job->startedAtMs;
        if (why && !job->stats.errorText)
            job->stats.errorText = g_strdup(why->message);
    }
    g_mutex_unlock(&job->lock);
    if (!first)
        return;
    if (job->record.side == MIG_SIDE_SOURCE)
        migJobSetLink(job, NULL);
    else
        migDestRelease(job);
    job->ops->over(job->host, job->record.phase);
}

void
migJobGetStats(migJob *job, migStats *ret)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    *ret = job->stats;
    ret->errorText = g_strdup(job->stats.errorText);
    ret->transport = g_strdup(job->stats.transport);
    ret->peer = g_strdup(job->stats.peer);
    ret->vmm.errorText = g_strdup(job->stats.vmm.errorText);
    ret->phase = job->record.phase;
    if (ret->result == MIG_RESULT_RUNNING)
        ret->elapsedMs = g_get_monotonic_time() / 1000 - job->startedAtMs;
}

bool
migJobAbort(migJob *job, GError **error)
{
    migPhase phase = migJobPhase(job);

    /* ABORTING is accepted again: asking twice is no error of the user's. */
    if (!migPhaseMove(phase, MIG_EVENT_CANCEL)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID,
                    _("The migration cannot be aborted any more: it is in phase '%1$s' (%2$s)."),
                    migPhaseName(phase), _(migPhaseInfo(phase)->meaning));
        return false;
    }
    migJobPost(job, MIG_SIGNAL_ABORT);
    return true;
}

void
migJobSetTuning(migJob *job, uint64_t maxDowntimeMs)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    job->stats.maxDowntimeMs = maxDowntimeMs;
}

void
migJobFinishAdmin(migJob *job)
{
    g_autoptr(GError) why = g_error_new_literal(BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                                                _("An administrator decided where the guest belongs."));

    job->ops->doubt(job->host, NULL);
    migJobEnd(job, MIG_RESULT_FAILED, why);
}

char *
migJobErrorText(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return g_strdup(job->stats.errorText);
}
