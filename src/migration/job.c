/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * job.c: the life of one migration: who runs it, how its phase moves, what it tells
 */
#include "base/gettext.h"
#include "base/error.h"
#include "migration/dest.h"
#include "migration/direct.h"
#include "migration/files.h"
#include "migration/guide.h"
#include "migration/job_priv.h"
#include "migration/tunnel_job.h"

#include <sys/eventfd.h>
#include <unistd.h>

/* Whoever waits for something else than these must be woken by them. */
#define STOP_SIGNALS (MIG_SIGNAL_ABORT | MIG_SIGNAL_LOST | MIG_SIGNAL_VMM_GONE)

void
migRecordClear(migRecord *record)
{
    g_clear_pointer(&record->uuid, g_free);
    g_clear_pointer(&record->peerHost, g_free);
    g_clear_pointer(&record->peerUuid, g_free);
    g_clear_pointer(&record->tlsName, g_free);
    g_clear_pointer(&record->peerAddresses, g_strfreev);
}

void
migRecordCopy(migRecord *dst, const migRecord *src)
{
    *dst = *src;
    dst->uuid = g_strdup(src->uuid);
    dst->peerHost = g_strdup(src->peerHost);
    dst->peerUuid = g_strdup(src->peerUuid);
    dst->tlsName = g_strdup(src->tlsName);
    dst->peerAddresses = g_strdupv(src->peerAddresses);
}

void
migStatsClear(migStats *stats)
{
    g_clear_pointer(&stats->errorText, g_free);
    g_clear_pointer(&stats->transport, g_free);
    g_clear_pointer(&stats->peer, g_free);
    g_clear_pointer(&stats->cipher, g_free);
    g_clear_pointer(&stats->peerIdentity, g_free);
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
    job->conn = MIG_CONN_TCP;
    job->version = 3;
    job->stopFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
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
    migRelayFree(job->relay);
    migTunnelFree(job->tunnel);
    if (job->dataFd >= 0)
        close(job->dataFd);
    migDirectDrop(job);
    migDirectFree(job);
    if (job->stopFd >= 0)
        close(job->stopFd);
    g_queue_clear_full(&job->resolvers, migResolverFree);
    if (job->record.side == MIG_SIDE_SOURCE)
        migStorageRemove(job->disks, job->domainUuid);
    g_clear_pointer(&job->disks, g_ptr_array_unref);
    g_free(job->domainUuid);
    g_free(job->connHost);
    g_free(job->askedInVain);
    g_free(job->linkFrom);
    migParamsClear(&job->params);
    migRecordClear(&job->record);
    migStatsClear(&job->stats);
    g_free(job->peerError);
    g_free(job->boundAddress);
    migOfferFree(job->offer);
    g_free(job->offered);
    g_free(job->performed);
    if (job->judgeFree)
        job->judgeFree(job->judgeOpaque);
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

unsigned
migJobVersion(migJob *job)
{
    return job->version;
}

void
migJobSetVersion(migJob *job, unsigned version)
{
    job->version = version;
}

void
migJobSetConn(migJob *job, migConn conn)
{
    job->conn = conn;
}

const migParams *
migJobParams(migJob *job)
{
    return &job->params;
}

void
migJobSetHost(migJob *job, void *host, GDestroyNotify hostFree)
{
    if (job->hostFree)
        job->hostFree(job->host);
    job->host = host;
    job->hostFree = hostFree;
}

bool
migJobFiles(const migJob *job)
{
    return job->files;
}

void
migJobSetVmm(migJob *job, const vmmTraits *vmm)
{
    job->vmm = vmm;
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

bool
migJobTryEnter(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    if (job->running)
        return false;
    job->running = true;
    return true;
}

static void
jobDiscard(gpointer job)
{
    migJobUnref(job);
}

static gpointer
jobServeThread(gpointer data)
{
    g_autoptr(migJob) job = data;
    unsigned signals;

    migJobEnter(job);
    g_mutex_lock(&job->lock);
    job->serving = false;
    g_mutex_unlock(&job->lock);
    while ((signals = migJobWait(job, 0)) != 0)
        migJobServe(job, signals);
    migJobLeave(job);
    return NULL;
}

/* Lock held. */
static void
jobServeIfIdle(migJob *job)
{
    /* One is enough, however many signals a peer provokes before it runs. */
    if (job->running || job->serving || job->signals == 0)
        return;
    job->serving = migThreadsRun(job->env->threads, "migration", jobServeThread, migJobRef(job), jobDiscard);
    if (!job->serving)
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
    if ((signal & STOP_SIGNALS) && job->stopFd >= 0)
        eventfd_write(job->stopFd, 1);
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
    if ((signals & STOP_SIGNALS) && job->stopFd >= 0) {
        eventfd_t count;

        eventfd_read(job->stopFd, &count);
    }
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

/* A guest with a guide runs as soon as it has landed: whatever comes then, it is no guest that was not started. */
static bool
jobStart(migJob *job, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (!(job->files ? migFilesLand(job, error) : migGuideLand(job, error)))
        return false;
    if (job->ops->guestStart(job->host, job->record.startPaused, &local))
        return true;
    if (!job->guide && !job->files) {
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
    }
    g_warning("%s: the guest has arrived, but: %s", job->record.uuid, local->message);
    return true;
}

static bool
jobAct(migJob *job, migAction action, GError **error)
{
    switch (action) {
    case MIG_ACTION_STOP_SENDING:
        return job->ops->vmmCancel(job->host, error);
    case MIG_ACTION_RESUME:
        if (migDirectIs(job))
            migDirectRecall(job);
        migGuideRecall(job);
        if (job->record.wasRunning)
            return job->ops->guestResume(job->host, error);
        if (job->vmm && job->vmm->resumesByItself && !job->files)
            job->ops->guestKeep(job->host);
        return true;
    case MIG_ACTION_ASK:
        migSourceAsk(job);
        return true;
    case MIG_ACTION_END_SOURCE:
        job->ops->endSource(job->host);
        return true;
    case MIG_ACTION_START:
        return jobStart(job, error);
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
    /* It may last for days, and takes nothing of this host meanwhile. */
    if (move->to == MIG_PHASE_IN_DOUBT)
        migJobLeaveSlot(job);
    if (move->to == MIG_PHASE_PREPARED)
        migLeaseStart(job);

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
migJobNoteControl(migJob *job, gint64 ms)
{
    if (ms < 0)
        return;
    job->stats.controlMs = (uint64_t)ms;
    job->stats.hasControlMs = true;
}

bool
migJobPeerSpoke(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return job->peerError != NULL;
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
    migJobLeaveSlot(job);
    if (job->record.side == MIG_SIDE_SOURCE) {
        migLeaseStop(job);
        migStorageRemove(job->disks, job->domainUuid);
    }
    if (job->relay)
        migRelayEnd(job->relay);
    migDirectDrop(job);
    if (job->record.side == MIG_SIDE_DEST)
        migDestRelease(job);
    if (job->host)
        job->ops->over(job->host, job->record.phase);
    migTunnelEnd(job);
    /* Last: the destination may wait for the end of the link to know that all is done here. */
    if (job->record.side == MIG_SIDE_SOURCE)
        migJobSetLink(job, NULL);
}

bool
migJobSetSpeed(migJob *job, uint64_t bytesPerSecond)
{
    if (job->relay)
        migRelaySetLimit(job->relay, bytesPerSecond);
    return job->relay || migDirectSetSpeed(job, bytesPerSecond);
}

int
migJobStopFd(migJob *job)
{
    return job->stopFd;
}

/* Lock held; a reference or NULL. */
static migTicket *
jobCopyStats(migJob *job, migStats *ret)
{
    *ret = job->stats;
    ret->errorText = g_strdup(job->stats.errorText);
    ret->transport = g_strdup(job->stats.transport);
    ret->peer = g_strdup(job->stats.peer);
    ret->cipher = g_strdup(job->stats.cipher);
    ret->peerIdentity = g_strdup(job->stats.peerIdentity);
    ret->vmm.errorText = g_strdup(job->stats.vmm.errorText);
    ret->phase = job->record.phase;
    if (ret->result == MIG_RESULT_RUNNING)
        ret->elapsedMs = g_get_monotonic_time() / 1000 - job->startedAtMs;
    return job->ticket ? migTicketRef(job->ticket) : NULL;
}

void
migJobGetStats(migJob *job, migStats *ret)
{
    g_autoptr(migTicket) ticket = NULL;

    g_mutex_lock(&job->lock);
    ticket = jobCopyStats(job, ret);
    g_mutex_unlock(&job->lock);
    if (ticket)
        ret->queuePosition = migTicketPosition(ticket, &ret->queueOthers, &ret->queueLimit);
}

bool
migJobAbort(migJob *job, GError **error)
{
    migPhase phase;
    bool early, over;

    g_mutex_lock(&job->lock);
    phase = job->record.phase;
    over = job->overCalled;
    /* Before the first move there is nothing to cancel yet: whoever makes it looks at this first. */
    early = !over && (phase == MIG_PHASE_IDLE || phase == MIG_PHASE_ABSENT);
    job->abortAsked = job->abortAsked || early || migPhaseMove(phase, MIG_EVENT_CANCEL);
    g_mutex_unlock(&job->lock);
    /* ABORTING is accepted again: asking twice is no error of the user's. */
    if (over) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID, _("There is no job any more: the migration has just ended."));
        return false;
    }
    if (!early && !migPhaseMove(phase, MIG_EVENT_CANCEL)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID,
                    _("The migration cannot be aborted any more: it is in phase '%1$s' (%2$s)."),
                    migPhaseName(phase), _(migPhaseInfo(phase)->meaning));
        return false;
    }
    migJobPost(job, MIG_SIGNAL_ABORT);
    return true;
}

bool
migJobAbortAsked(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return job->abortAsked;
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
