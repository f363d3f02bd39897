/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * source_send.c: the transfer itself, as the source sees it
 *
 * Theory of operation: the source opens two connections to the destination's migration port, the link and the data
 * stream, hands the latter to the VMM and then waits for signals: the VMM's events, the link, a user.  Whatever goes wrong, the first
 * reason is kept, the VMM is told to stop and the loop goes on until the VMM has said how it ended, because only the VMM
 * knows whether the cancellation came in time.
 */
#include "base/gettext.h"
#include "base/error.h"
#include "base/fault.h"
#include "migration/converge.h"
#include "migration/direct.h"
#include "migration/guide.h"
#include "migration/job_priv.h"
#include "migration/progress.h"
#include "migration/source.h"
#include "migration/tunnel_job.h"
#include "migration/way.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>


#define POLL_FIRST_MS 20
#define POLL_LAST_MS 250
#define PROGRESS_MS 500
/* The destination knows best why its VMM hung up; its word and the broken stream arrive in any order. */
#define PEER_WORD_MS 500

/* ---- connecting ---- */

/* The destination has answered in the files beside the disks; they have done their service then. */
static bool
sourceVerifyStorage(migJob *job, const migCookie *cookie, GError **error)
{
    bool ok = migStorageVerify(job->disks, cookie->disks, job->domainUuid, cookie->hostName, error);

    migStorageRemove(job->disks, job->domainUuid);
    return ok;
}

/* Versions 1 and 2: only now does the destination learn what comes. */
static bool
sourceOffer(migJob *job, GError **error)
{
    g_autofree char *answer = NULL;
    g_autoptr(migCookie) cookie = NULL;
    int len = 0;

    if (!(answer = migOfferMake(job, &len, error)))
        return false;
    cookie = migCookieParse(answer, len, MIG_STEP_PREPARE, error);
    return cookie && sourceVerifyStorage(job, cookie, error);
}

static bool
sourceConnect(migJob *job, const migCookie *cookie, const char *uriText, GError **error)
{
    const char *address = NULL;
    hello h = { .role = HELLO_DATA, .index = 0 };
    GStrv candidates;
    unsigned port;

    if (!migWayVerify(job, cookie, error) || !(candidates = migSourceCandidates(cookie, uriText, &port, error)))
        return false;
    g_mutex_lock(&job->lock);
    g_strfreev(job->record.peerAddresses);
    job->record.peerAddresses = candidates;
    job->record.peerPort = port;
    job->record.peerAskPort = cookie->askPort;
    g_free(job->record.peerUuid);
    job->record.peerUuid = g_str_equal(cookie->uuid, job->record.uuid) ? NULL : g_strdup(cookie->uuid);
    g_free(job->record.peerHost);
    job->record.peerHost = g_strdup(cookie->hostName);
    memcpy(job->record.token, cookie->token, sizeof(job->record.token));
    job->record.hasToken = true;
    g_mutex_unlock(&job->lock);

    /* Saved with the address, so that the outcome can be asked whatever happens from here on. */
    if (!migJobFire(job, MIG_EVENT_PERFORM, error))
        return false;
    if (!(job->tunnel ? migSourceTunnelLink(job, job->record.token, error) : migSourceConnectLink(job, &address, error)))
        return false;
    /* Has it from Begin, where there is one. */
    if ((job->version < 3 && !sourceOffer(job, error)) || !migJobTakeSlot(job, error) ||
        (job->version < 3 && !migJobAskTurn(job, error)))
        return false;

    memcpy(h.token, job->record.token, sizeof(h.token));
    if (job->tunnel) {
        helloConn conn = HELLO_CONN_INIT;

        if (!migTunnelOpenData(job, &conn, error))
            return false;
        if (!migRelayDialTunnel(job, conn, error))
            return false;
    } else if (migRelayChannels(&job->params) > 0) {
        if (!migRelayDial(job, address, port, &h, error))
            return false;
    } else {
        helloSecurity security;
        const helloTarget target = migSourceTarget(job, address, &security);
        helloConn conn = HELLO_CONN_INIT;

        if (!helloConnect(&target, &h, &conn, error))
            return false;
        migRelayTune(job, &conn);
        if (!conn.tls && job->way.channel != MIG_CHANNEL_RELAY && !migGuideNeeded(job))
            job->dataFd = conn.fd;
        else if (!migRelayDialOne(job, conn, error))
            return false;
    }
    migWayTell(job, job->tunnel ? g_strdup_printf(_("%1$s (libvirt connection)"), job->record.peerHost) :
               g_strdup_printf("%s (%s:%u)", job->record.peerHost, address, port));
    return true;
}

/* ---- the wait ---- */

typedef struct {
    migJob *job;
    GError *first;               /* why the transfer was given up */
    bool aborted;                /* ... because a user asked */
    bool coordinatorLost;
    bool stopping;
    bool frozen;
    bool ended;                  /* the VMM has said how it ended, or is gone */
    gint64 failedAtMs;           /* monotonic; the VMM failed and the destination may still say why */
    uint64_t pass;
    gint64 lastProgressMs;
    migProgress progress;
    migConverge converge;
    bool throttled;
} sendLoop;

static void
sendGiveUp(sendLoop *loop, migEvent event, baseErrorCode code, const char *text)
{
    g_autoptr(GError) error = NULL;

    if (!loop->first)
        g_set_error_literal(&loop->first, BASE_ERROR, code, text);
    if (loop->stopping)
        return;
    loop->stopping = true;
    if (!migJobFire(loop->job, event, &error))
        g_warning("%s: %s", loop->job->record.uuid, error->message);
    migTunnelCancel(loop->job);
    /* A VMM that waits for a dead peer notices only when its socket ends. */
    if (loop->job->dataFd >= 0)
        shutdown(loop->job->dataFd, SHUT_RDWR);
    if (loop->job->relay)
        migRelayShut(loop->job->relay);
}

/* What the destination has said. */
static GError *
sourcePeerError(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return g_error_new(BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("Host '%1$s' reports: %2$s"), job->record.peerHost, job->peerError);
}

static void
sendHandleSignals(sendLoop *loop, unsigned signals)
{
    migJob *job = loop->job;

    if (signals & MIG_SIGNAL_VMM_GONE) {
        g_autoptr(GError) error = NULL;

        if (!loop->first)
            g_set_error_literal(&loop->first, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                                _("The VMM of the source ended while the guest was being sent."));
        if (!migJobFire(job, MIG_EVENT_VMM_GONE, &error))
            g_warning("%s: %s", job->record.uuid, error->message);
        loop->ended = true;
        return;
    }
    if (signals & MIG_SIGNAL_ABORT) {
        loop->aborted = loop->aborted || !loop->first;
        sendGiveUp(loop, MIG_EVENT_CANCEL, BASE_ERROR_ABORTED,
                   _("migration out job: canceled by client"));
    }
    if (signals & MIG_SIGNAL_PEER_ERROR) {
        g_autoptr(GError) said = sourcePeerError(job);

        sendGiveUp(loop, MIG_EVENT_LOST, BASE_ERROR_OPERATION_FAILED, said->message);
    }
    if (signals & MIG_SIGNAL_LINK_LOST) {
        g_autofree char *text = migDirectBroken(job);

        if (!text)
            text = g_strdup_printf(_("The connection to host '%1$s' was lost while the guest was being sent."),
                                   job->record.peerHost);
        sendGiveUp(loop, MIG_EVENT_LOST, BASE_ERROR_OPERATION_FAILED, text);
    }
    loop->coordinatorLost = loop->coordinatorLost || (signals & MIG_SIGNAL_LOST);
    if (signals & MIG_SIGNAL_LOST)
        sendGiveUp(loop, MIG_EVENT_LOST, BASE_ERROR_OPERATION_FAILED,
                   _("The coordinator of the migration is gone."));
    if ((signals & MIG_SIGNAL_IO_ERROR) && job->params.abortOnError)
        sendGiveUp(loop, MIG_EVENT_LOST, BASE_ERROR_OPERATION_FAILED,
                   _("A disk error stopped the guest while it was being sent, and the migration was to be given up in that case."));
}

static void
sendTellProgress(sendLoop *loop, const vmmMigStatus *status)
{
    JsonObject *body = migProgressToJson(status);
    uint64_t remainingMs;

    json_object_set_int_member(body, "left", (gint64)loop->progress.left);
    if (migProgressRemaining(&loop->progress, &remainingMs))
        json_object_set_int_member(body, "remaining-ms", (gint64)remainingMs);
    migJobNotify(loop->job, "progress", body);
}

static void
sendThrottle(sendLoop *loop, unsigned percent)
{
    g_autoptr(GError) error = NULL;
    migJob *job = loop->job;

    if (percent == 0 && !loop->throttled)
        return;
    loop->throttled = job->ops->throttle(job->host, percent, &error) && percent > 0;
    if (!error)
        return;
    /* Neither is a reason to give up. */
    g_warning("%s: the guest cannot be slowed down: %s", job->record.uuid, error->message);
    loop->converge = (migConverge) { .on = false };
}

/* Takes over @status. */
static void
sendNoteStatus(sendLoop *loop, vmmMigStatus *status)
{
    migJob *job = loop->job;
    gint64 now = g_get_monotonic_time() / 1000;
    bool completed = status->state == VMM_MIG_COMPLETED;
    uint64_t relayed = job->relay ? migRelayBytes(job->relay, PUMP_FORWARD) : migDirectBytes(job);

    if (!status->ramTransferred)
        status->ramTransferred = relayed;
    migProgressAdd(&loop->progress, now, status);
    if (relayed && !status->ramBps)
        status->ramBps = migProgressSpeed(&loop->progress);
    /* A guide may count several between two looks; one that asks its VMM sees the last one only. */
    while (status->ramIteration > loop->pass) {
        loop->pass = job->guide ? loop->pass + 1 : status->ramIteration;
        job->ops->iteration(job->host, loop->pass);
    }
    if (!loop->frozen && !loop->stopping &&
        migConvergeNote(&loop->converge, status->ramIteration, loop->progress.dirty, migProgressSpeed(&loop->progress)))
        sendThrottle(loop, loop->converge.percent);
    if (loop->converge.on)
        status->cpuThrottlePercent = loop->converge.percent;
    if (now - loop->lastProgressMs >= PROGRESS_MS || completed) {
        loop->lastProgressMs = now;
        sendTellProgress(loop, status);
    }
    g_mutex_lock(&job->lock);
    vmmMigStatusClear(&job->stats.vmm);
    job->stats.vmm = *status;
    job->stats.setupMs = status->setupMs;
    job->stats.wireBytes = relayed;
    if (!job->stats.downtimeFinal)
        job->stats.downtimeMs = status->downtimeMs ? status->downtimeMs : status->expectedDowntimeMs;
    job->stats.hasRemainingMs = migProgressRemaining(&loop->progress, &job->stats.remainingMs);
    job->stats.left = loop->progress.left;
    g_mutex_unlock(&job->lock);
    memset(status, 0, sizeof(*status));
}

static void
sendNoteFrozen(sendLoop *loop)
{
    migJob *job = loop->job;
    JsonObject *body;
    bool ran;

    if (loop->frozen)
        return;
    loop->frozen = true;
    job->stoppedAtMs = g_get_monotonic_time() / 1000;
    sendThrottle(loop, 0);
    /* What is still to go is downtime. */
    if (job->relay)
        migRelayLift(job->relay);
    else
        migDirectSetSpeed(job, 0);
    ran = job->ops->guestFrozen(job->host);
    /* Somebody suspended it on the way: it arrives so, and stays so if it does not leave. */
    g_mutex_lock(&job->lock);
    job->record.wasRunning = ran;
    g_mutex_unlock(&job->lock);
    body = json_object_new();
    json_object_set_boolean_member(body, "ran", ran);
    migJobNotify(job, "stopped", body);
}

static void
sendEnded(sendLoop *loop, migEvent event, const char *errorText)
{
    g_autoptr(GError) error = NULL;
    migJob *job = loop->job;

    loop->ended = true;
    if (!loop->first && event != MIG_EVENT_VMM_DONE)
        g_set_error(&loop->first, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The VMM could not send the guest to host '%1$s': %2$s"), job->record.peerHost,
                    errorText && *errorText ? errorText : _("it gives no reason."));
    if (!migJobFire(job, event, &error)) {
        /* 'sent' could not be saved: the promise cannot be made, so the guest stays here. */
        if (!loop->first)
            loop->first = g_steal_pointer(&error);
        g_clear_error(&error);
        if (!migJobFire(job, MIG_EVENT_VMM_FAILED, &error))
            g_warning("%s: %s", job->record.uuid, error->message);
    }
    if (job->record.phase == MIG_PHASE_SENT)
        migJobNotify(job, "sent", NULL);
}

/*
 * The VMM waits for the answer to its last word, and would let the guest run again without one.  From here on it does nothing any
 * more: not even when this daemon ends.
 */
static void
sendSwitchOverGuided(sendLoop *loop)
{
    g_autoptr(GError) error = NULL;
    migJob *job = loop->job;

    if (loop->stopping)
        return;
    sendNoteFrozen(loop);
    if (migDirectIs(job) && !job->record.wasRunning && job->vmm->startsOnArrival) {
        sendGiveUp(loop, MIG_EVENT_LOST, BASE_ERROR_OPERATION_INVALID,
                   _("The guest was suspended while it was being sent, and the VMM at the destination would let it run."));
        return;
    }
    if (!job->ops->guestFreeze(job->host, &error)) {
        sendGiveUp(loop, MIG_EVENT_LOST, BASE_ERROR_OPERATION_FAILED, error->message);
        return;
    }
    if (FAULT_ERROR(GUIDE_FROZEN, &error) || !migGuideHolds(job, &error)) {
        sendGiveUp(loop, MIG_EVENT_LOST, BASE_ERROR_OPERATION_FAILED, error->message);
        return;
    }
    sendEnded(loop, MIG_EVENT_VMM_DONE, NULL);
    if (job->record.phase == MIG_PHASE_SENT)
        migGuideSwitchOver(job);
}

/* The VMM has stopped the guest and waits for the last word. */
static void
sendSwitchOver(sendLoop *loop)
{
    g_autoptr(GError) error = NULL;
    migJob *job = loop->job;

    if (loop->frozen || loop->stopping)
        return;
    sendNoteFrozen(loop);
    if (migDirectIs(job)) {
        /* The guest may start there as soon as the end has arrived, so this comes first. */
        sendEnded(loop, MIG_EVENT_VMM_DONE, NULL);
        return;
    }
    if (!job->ops->vmmContinue(job->host, &error))
        sendGiveUp(loop, MIG_EVENT_LOST, BASE_ERROR_OPERATION_FAILED, error->message);
}

static bool
sendAwaitsPeerWord(sendLoop *loop)
{
    g_autoptr(migLink) link = migJobGetLink(loop->job);
    gint64 now = g_get_monotonic_time() / 1000;

    /* It may have come just now, with the end of the link behind it. */
    if (loop->first || migJobPeerSpoke(loop->job) || !link || !linkIsAlive(link))
        return !loop->first && migJobPeerSpoke(loop->job);
    if (!loop->failedAtMs)
        loop->failedAtMs = now;
    return now - loop->failedAtMs < PEER_WORD_MS;
}

/* One of several connections has failed: that is the reason if there is no other.  The VMM only knows that a socket ended. */
static void
sendNoteConnections(sendLoop *loop)
{
    g_autofree char *why = migRelayOrTunnelError(loop->job, true);

    if (why && !loop->first)
        g_set_error_literal(&loop->first, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, why);
}

static void
sendLookAtConnections(sendLoop *loop)
{
    g_autofree char *why = migRelayOrTunnelError(loop->job, false);

    if (why && !loop->stopping && !sendAwaitsPeerWord(loop))
        sendGiveUp(loop, MIG_EVENT_LOST, BASE_ERROR_OPERATION_FAILED, why);
}

static void
sendLookAtVmm(sendLoop *loop)
{
    migJob *job = loop->job;
    g_autoptr(GError) error = NULL;
    g_autofree char *errorText = NULL;
    vmmMigStatus status = { 0 };
    vmmMigState state;

    if (!migGuideStatus(job, loop->stopping, &status, &error)) {
        /* A dead VMM is told by its own signal; a slow one is asked again. */
        g_debug("%s: no status: %s", job->record.uuid, error->message);
        return;
    }
    state = status.state;
    errorText = g_strdup(status.errorText);
    sendNoteStatus(loop, &status);
    switch (state) {
    case VMM_MIG_PRE_SWITCHOVER:
        if (job->guide)
            sendSwitchOverGuided(loop);
        else
            sendSwitchOver(loop);
        break;
    case VMM_MIG_COMPLETED:
        sendNoteFrozen(loop);
        sendEnded(loop, MIG_EVENT_VMM_DONE, NULL);
        break;
    case VMM_MIG_FAILED:
        if (!sendAwaitsPeerWord(loop)) {
            sendNoteConnections(loop);
            sendEnded(loop, MIG_EVENT_VMM_FAILED, errorText);
        }
        break;
    case VMM_MIG_CANCELLED:
        sendEnded(loop, job->record.phase == MIG_PHASE_ABORTING ? MIG_EVENT_VMM_CANCELLED : MIG_EVENT_VMM_FAILED,
                  errorText);
        break;
    case VMM_MIG_NONE:
        /* Told to cancel before it had begun. */
        if (loop->stopping)
            sendEnded(loop, MIG_EVENT_VMM_CANCELLED, NULL);
        break;
    case VMM_MIG_DEVICE:
        sendNoteFrozen(loop);
        break;
    case VMM_MIG_SETUP:
    case VMM_MIG_ACTIVE:
    case VMM_MIG_CANCELLING:
        break;
    }
}

static bool
sourceTransfer(migJob *job, const vmmMigSpec *spec, bool *retAborted, GError **error)
{
    sendLoop loop = { .job = job };
    unsigned poll = POLL_FIRST_MS;

    migConvergeBegin(&loop.converge, spec, job->vmm);
    if (!spec->live && !job->ops->guestStop(job->host, error)) {
        migJobFire(job, MIG_EVENT_VMM_FAILED, NULL);
        return false;
    }
    if (!(migRelayByPath(job) ? migRelaySend(job, spec, error) : job->ops->vmmSend(job->host, spec, job->dataFd, error))) {
        migJobFire(job, MIG_EVENT_VMM_FAILED, NULL);
        return false;
    }
    while (!loop.ended) {
        unsigned signals = migJobWait(job, poll);

        poll = signals & MIG_SIGNAL_VMM ? POLL_FIRST_MS : MIN(poll * 2, POLL_LAST_MS);
        sendHandleSignals(&loop, signals);
        if (!loop.ended)
            sendLookAtVmm(&loop);
        if (!loop.ended)
            sendLookAtConnections(&loop);
    }
    sendThrottle(&loop, 0);
    *retAborted = loop.aborted;
    if (job->record.phase == MIG_PHASE_SENT) {
        /* A wish to stop that came too late is only noted. */
        if (loop.first)
            g_message("%s: too late to stop: %s", job->record.uuid, loop.first->message);
        g_clear_error(&loop.first);
        /* Nobody will call Confirm: that matters more now than it did while sending. */
        if (loop.coordinatorLost)
            migJobPost(job, MIG_SIGNAL_LOST);
        return true;
    }
    g_propagate_error(error, loop.first);
    return false;
}

static char *
sourcePerformCookie(migJob *job, const char *persistentXml, int *retLen)
{
    g_autoptr(migCookie) cookie = g_new0(migCookie, 1);

    migJobSignCookie(job, cookie);
    cookie->persistentXml = g_strdup(persistentXml);
    g_mutex_lock(&job->lock);
    cookie->hasStats = true;
    cookie->statsTotalMs = g_get_monotonic_time() / 1000 - job->startedAtMs;
    cookie->statsDowntimeMs = job->stats.downtimeMs;
    cookie->statsSetupMs = job->stats.setupMs;
    cookie->statsBytesTotal = job->stats.vmm.ramTotal;
    cookie->statsBytesMoved = job->stats.vmm.ramTransferred;
    cookie->statsIteration = job->stats.vmm.ramIteration;
    cookie->statsBps = job->stats.vmm.ramBps;
    cookie->statsNormal = job->stats.vmm.ramNormalPages;
    cookie->statsConstant = job->stats.vmm.ramDuplicatePages;
    cookie->statsPageSize = job->stats.vmm.ramPageSize;
    g_mutex_unlock(&job->lock);
    return migCookieFormat(cookie, MIG_STEP_PERFORM, retLen);
}

/* Whatever is left of a failed Perform: phase idle or, when the VMM is gone, idle as well. */
static void
sourcePerformUndo(migJob *job, bool aborted, const GError *why)
{
    g_autoptr(GError) local = NULL;

    if (job->record.phase == MIG_PHASE_BEGUN)
        migJobFire(job, MIG_EVENT_CONFIRM_CANCEL, &local);
    else if (job->record.phase == MIG_PHASE_PERFORMING)
        migJobFire(job, MIG_EVENT_VMM_FAILED, &local);
    if (job->dataFd >= 0) {
        close(job->dataFd);
        job->dataFd = -1;
    }
    /* Tells the destination at once, also when nobody will call Finish there. */
    if (why) {
        JsonObject *body = json_object_new();

        json_object_set_string_member(body, "text", why->message);
        migJobNotify(job, "error", body);
    }
    migJobSetLink(job, NULL);
    migJobEnd(job, aborted ? MIG_RESULT_CANCELLED : MIG_RESULT_FAILED, why);
}

/* A wait of the preparations was cut short: by whom? */
static void
sourceSayWhyStopped(migJob *job, bool *retAborted, GError **error)
{
    if (!g_error_matches(*error, BASE_ERROR, BASE_ERROR_ABORTED))
        return;
    *retAborted = migJobAbortAsked(job);
    g_clear_error(error);
    if (*retAborted)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_ABORTED, _("migration out job: canceled by client"));
    else
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The coordinator of the migration or the guest itself is gone."));
}

/*
 * A connection was not made: the destination may have refused it because it has given up, and knows better why.  Its word is on the link, and may
 * arrive a little later.
 */
static void
sourceHearPeer(migJob *job, GError **error)
{
    g_autoptr(migLink) link = migJobGetLink(job);
    gint64 now = g_get_monotonic_time() / 1000, until = now + PEER_WORD_MS;
    unsigned others = 0;

    if (!link || g_error_matches(*error, BASE_ERROR, BASE_ERROR_ABORTED))
        return;
    for (; now < until && linkIsAlive(link) && !migJobPeerSpoke(job) && !(others & MIG_SIGNAL_ABORT);
         now = g_get_monotonic_time() / 1000)
        others |= migJobWait(job, (unsigned)(until - now)) & ~MIG_SIGNAL_PEER_ERROR;
    if (others)
        migJobPost(job, others);
    if (!migJobPeerSpoke(job))
        return;
    g_clear_error(error);
    *error = sourcePeerError(job);
}

static bool
sourceOpen(migJob *job, const migCookie *cookie, const char *uriText, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (sourceConnect(job, cookie, uriText, &local))
        return true;
    sourceHearPeer(job, &local);
    g_propagate_error(error, g_steal_pointer(&local));
    return false;
}

static bool
sourcePerform(migJob *job, const vmmMigSpec *spec, const char *uriText, const migCookieIo *io,
              bool *retAborted, GError **error)
{
    g_autoptr(migCookie) cookie = migCookieParse(io->in, io->inLen, MIG_STEP_PREPARE, error);
    unsigned signals;

    if (!cookie)
        return false;
    if (job->params.dryRun) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID,
                            _("The migration was begun as a dry run and cannot be performed."));
        return false;
    }
    /* In versions 1 and 2 nothing of ours has reached the destination yet. */
    if (job->version >= 3 && !g_str_equal(cookie->uuid, job->record.uuid)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The destination's cookie belongs to migration '%1$s', not to '%2$s'."),
                    cookie->uuid, job->record.uuid);
        return false;
    }
    if (job->version >= 3 && !sourceVerifyStorage(job, cookie, error))
        return false;
    signals = migJobWait(job, 0);
    if (signals & ~MIG_SIGNAL_ABORT)
        migJobPost(job, signals & ~MIG_SIGNAL_ABORT);
    if (signals & MIG_SIGNAL_ABORT) {
        *retAborted = true;
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_ABORTED,
                            _("migration out job: canceled by client"));
        return false;
    }
    return sourceOpen(job, cookie, uriText, error) &&
        sourceTransfer(job, spec, retAborted, error);
}

void
migSourceFailed(migJob *job, GError **error)
{
    bool aborted = migJobAbortAsked(job);

    sourceSayWhyStopped(job, &aborted, error);
    sourcePerformUndo(job, aborted, *error);
}

bool
migSourceSend(migJob *job, const vmmMigSpec *spec, GError **error)
{
    g_autoptr(GError) local = NULL;
    bool aborted = false;

    g_mutex_lock(&job->lock);
    job->stats.maxDowntimeMs = spec->maxDowntimeMs;
    g_mutex_unlock(&job->lock);
    if (sourceTransfer(job, spec, &aborted, &local))
        return true;
    sourceSayWhyStopped(job, &aborted, &local);
    sourcePerformUndo(job, aborted, local);
    g_propagate_error(error, g_steal_pointer(&local));
    return false;
}

/*
 * Versions 1 and 2: the destination must have the last cookie before the coordinator says Finish.  If it cannot be told, nobody
 * has said Finish yet, so nobody will: the destination gives up by being asked.
 */
static bool
sourceTellPerformed(migJob *job, const char *persistentXml, GError **error)
{
    g_autofree char *cookie = NULL;
    g_autoptr(GError) why = NULL;
    int len = 0;

    cookie = sourcePerformCookie(job, persistentXml, &len);
    if (migOfferPerformed(job, cookie, &why))
        return true;
    if (!migJobFire(job, MIG_EVENT_LOST, error))
        return false;
    migSourceSettle(job);
    if (job->record.phase == MIG_PHASE_IDLE)
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("Host '%1$s' has everything but was lost before the guest could be handed over; it goes on here: %2$s"),
                    job->record.peerHost, why->message);
    else
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("It is not known whether the guest runs on host '%1$s'; it stays stopped here until that host answers."),
                    job->record.peerHost ? job->record.peerHost : "?");
    return false;
}

bool
migSourcePerform(migJob *job, const vmmMigSpec *spec, const char *uriText, const char *persistentXml,
                 const migCookieIo *io, GError **error)
{
    g_autoptr(GError) local = NULL;
    bool aborted = false;

    if (job->record.phase != MIG_PHASE_BEGUN) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID,
                    _("The migration is in phase '%1$s' and cannot be performed."),
                    migPhaseName(job->record.phase));
        return false;
    }
    g_mutex_lock(&job->lock);
    job->stats.maxDowntimeMs = spec->maxDowntimeMs;
    g_mutex_unlock(&job->lock);
    if (!sourcePerform(job, spec, uriText, io, &aborted, &local)) {
        sourceSayWhyStopped(job, &aborted, &local);
        sourcePerformUndo(job, aborted, local);
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
    }
    if (job->dataFd >= 0)
        close(job->dataFd);
    job->dataFd = -1;
    if (job->version < 3 && !sourceTellPerformed(job, persistentXml, error))
        return false;
    if (job->version >= 3 && io->out)
        *io->out = sourcePerformCookie(job, persistentXml, io->outLen);
    /* Peer-to-peer this host itself goes on. */
    if (!job->params.peer2peer)
        migLeaseStart(job);
    return true;
}
