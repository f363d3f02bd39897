/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * source.c: the source before and after the transfer
 *
 * Theory of operation: once everything is sent (phase 'sent') the guest here stays frozen until
 * somebody proves where it runs.  The coordinator's "it started" is proof; its "it did not" is not,
 * since only the reply may have been lost.  Then, and when the coordinator vanishes, the
 * destination is asked: over the link while it lives, else over a new connection with the same
 * token, again and again.  The destination's answer is final: by being asked it gives up whatever
 * it has not committed.
 */
#include "base/gettext.h"
#include "base/error.h"
#include "base/fault.h"
#include "migration/direct.h"
#include "migration/files.h"
#include "migration/guide.h"
#include "migration/job_priv.h"
#include "migration/offline.h"
#include "migration/source.h"
#include "migration/way.h"
#include "remote/json.h"

#include <string.h>


#define ASK_FIRST_MS 1000
#define ASK_LAST_MS 30000

/* Announced; now it may have to wait until others are done. */
static bool
sourceAwaitTurn(migJob *job, GError **error)
{
    g_autoptr(GError) local = NULL;
    g_autoptr(GError) why = NULL;
    bool aborted;

    if (migJobTakeSlot(job, &why))
        return true;
    aborted = g_error_matches(why, BASE_ERROR, BASE_ERROR_ABORTED);
    if (!migJobFire(job, aborted ? MIG_EVENT_CANCEL : MIG_EVENT_LOST, &local))
        g_warning("%s: %s", job->record.uuid, local->message);
    migJobEnd(job, aborted ? MIG_RESULT_CANCELLED : MIG_RESULT_FAILED, why);
    g_propagate_error(error, g_steal_pointer(&why));
    return false;
}

/* The phase is saved, so whatever is left beside the disks is found again after a restart. */
static bool
sourceAnnounce(migJob *job, migCookie *cookie, const migSourceFacts *facts, const migCookieIo *io, GError **error)
{
    g_autoptr(GError) why = NULL;

    /* Who knows better than a check needs no proof. */
    if (facts->disks && facts->disks->len > 0 && !job->params.unsafe && !job->params.offline) {
        job->disks = g_ptr_array_ref(facts->disks);
        job->domainUuid = g_strdup(facts->domainUuid);
        cookie->disks = g_ptr_array_ref(facts->disks);
        migStorageLeave(job->disks, job->domainUuid);
    }
    migWayOwn(job, &cookie->way);
    cookie->hasWay = true;
    if ((*io->out = migCookieFormat(cookie, MIG_STEP_BEGIN, io->outLen)))
        return true;
    why = g_error_new_literal(BASE_ERROR, BASE_ERROR_INTERNAL, _("The migration cookie could not be made."));
    migSourceGiveUp(job, why, NULL);
    g_propagate_error(error, g_steal_pointer(&why));
    return false;
}

bool
migSourceBegin(migJob *job, const migSourceFacts *facts, migParams *params, const migCookieIo *io, GError **error)
{
    g_autoptr(migCookie) cookie = g_new0(migCookie, 1);
    bool waits;

    /* First, since the relay can do what the VMM cannot. */
    job->spread = facts->vmm && migRelaySpreads(params, facts->vmm->traits->canParallel);
    if (job->spread && !migParamsCompressSpread(params, error))
        return false;
    if (params->dryRun)
        migCheckSourceDry(facts, params, cookie);
    else if (!migCheckSource(facts, params, error))
        return false;

    migJobSignCookie(job, cookie);
    cookie->domainUuid = g_strdup(facts->domainUuid);
    cookie->domainName = g_strdup(facts->domainName);
    /* Unknown only when nothing runs. */
    cookie->vmmName = g_strdup(facts->vmm ? facts->vmm->traits->name : "unknown");
    cookie->vmmVersion = facts->vmm ? facts->vmm->version : 0;
    cookie->machine = g_strdup(facts->machine);
    cookie->arch = g_strdup(facts->arch);
    cookie->tcg = facts->tcg;
    cookie->memoryKiB = facts->memoryKiB;
    cookie->residentKiB = facts->residentKiB;
    cookie->vcpus = facts->vcpus;
    cookie->hostCpu = g_strdup(facts->hostCpu);

    migParamsClear(&job->params);
    job->params = *params;
    memset(params, 0, sizeof(*params));
    cookie->connections = migRelayChannels(&job->params) + 1;
    /* What the VMM cannot do the relay does. */
    job->files = cookie->files = migFilesWanted(facts->vmm, facts->tcg, &job->params);
    migGuideSet(job, facts->vmm ? facts->vmm->traits : NULL);
    job->relayByDefault = facts->vmm && (!facts->vmm->traits->streamFd || !facts->vmm->traits->canLimitSpeed);
    job->record.wasRunning = !facts->paused;
    /* libvirt's client adds the flag by itself; peer-to-peer it is ours to add. */
    job->params.paused = job->params.paused || facts->paused;
    job->record.undefineSource = job->params.undefineSource;
    if (FAULT_ERROR(MIGRATE_BEGIN, error))
        return false;
    /* When too many wait already it is refused before anything has happened.  A definition takes no room in the line. */
    /* Versions 1 and 2 take their slot in Perform: the destination is prepared by now. */
    waits = !migOfflineIs(job) && !job->params.dryRun && job->version >= 3;
    if ((waits && !migJobJoinLine(job, error)) || !migJobFire(job, MIG_EVENT_BEGIN, error) ||
        (waits && !sourceAwaitTurn(job, error)))
        return false;
    return sourceAnnounce(job, cookie, facts, io, error);
}

bool
migSourceGiveUp(migJob *job, const GError *why, GError **error)
{
    bool aborted = g_error_matches(why, BASE_ERROR, BASE_ERROR_ABORTED);

    if (!migJobFire(job, aborted ? MIG_EVENT_CANCEL : MIG_EVENT_CONFIRM_CANCEL, error))
        return false;
    migJobEnd(job, aborted ? MIG_RESULT_CANCELLED : MIG_RESULT_FAILED, why);
    return true;
}

/* One question; *retHeard is set only by a definite answer. */
static bool
sourceAskLink(migLink *link, const char *uuid, unsigned timeoutMs,
              migEvent *retHeard, GError **error)
{
    g_autoptr(JsonObject) reply = NULL;
    JsonObject *body = json_object_new();
    const char *outcome;

    json_object_set_string_member(body, "uuid", uuid);
    reply = linkRequest(link, "resolve", body, timeoutMs, error);
    if (!reply)
        return false;
    outcome = jsonGetString(reply, "outcome", "");
    if (g_str_equal(outcome, "committed")) {
        *retHeard = MIG_EVENT_HEARD_COMMITTED;
        return true;
    }
    if (g_str_equal(outcome, "absent")) {
        *retHeard = MIG_EVENT_HEARD_ABSENT;
        return true;
    }
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("The destination gave no definite outcome but '%1$s'."), outcome);
    return false;
}

/* By which name the destination knows it. */
static const char *
sourceAskUuid(migJob *job)
{
    return job->record.peerUuid ? job->record.peerUuid : job->record.uuid;
}

static bool
sourceAskAnew(migJob *job, const char *address, unsigned port, migEvent *retHeard, GError **error)
{
    static const linkHandlers handlers = { NULL, NULL };
    g_autoptr(migLink) link = NULL;
    helloSecurity security;
    const helloTarget target = {
        .host = address,
        .port = port,
        .cancelFd = migThreadsStopFd(job->env->threads),
        .timeoutMs = job->env->connectTimeoutMs,
        .security = migWaySecurity(job, &security),
    };
    helloConn conn = HELLO_CONN_INIT;
    hello h = { .role = HELLO_QUERY };
    bool ret;

    memcpy(h.token, job->record.token, sizeof(h.token));
    if (!helloConnect(&target, &h, &conn, error))
        return false;
    link = linkNew(job->env->io, conn, 0, job->env->linkTimeoutMs, &handlers, NULL, NULL);
    ret = sourceAskLink(link, sourceAskUuid(job), job->env->linkTimeoutMs, retHeard, error);
    linkClose(link);
    return ret;
}

/* Ask once by every road there is.  Not necessarily the runner: reads only what is constant by now. */
static bool
sourceAskOnce(migJob *job, migEvent *retHeard, GError **error)
{
    g_autoptr(migLink) link = migJobGetLink(job);
    g_autoptr(GError) local = NULL;
    size_t i;

    if (link && linkIsAlive(link) &&
        sourceAskLink(link, sourceAskUuid(job), job->env->linkTimeoutMs, retHeard, &local))
        return true;
    for (i = 0; job->record.peerAddresses && job->record.peerAddresses[i]; i++) {
        g_clear_error(&local);
        if (sourceAskAnew(job, job->record.peerAddresses[i], job->record.peerPort, retHeard, &local))
            return true;
        if (job->record.peerAskPort) {
            g_clear_error(&local);
            if (sourceAskAnew(job, job->record.peerAddresses[i], job->record.peerAskPort, retHeard, &local))
                return true;
        }
    }
    if (local)
        g_propagate_error(error, g_steal_pointer(&local));
    else
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("No address of the destination is known."));
    return false;
}

/* Runner only. */
static void
sourceHeard(migJob *job, migEvent heard)
{
    g_autoptr(GError) error = NULL;
    bool committed = heard == MIG_EVENT_HEARD_COMMITTED;

    if (job->record.phase != MIG_PHASE_SENT && job->record.phase != MIG_PHASE_IN_DOUBT)
        return;
    if (!migJobFire(job, heard, &error)) {
        g_warning("%s: %s", job->record.uuid, error->message);
        return;
    }
    job->ops->doubt(job->host, NULL);
    if (committed) {
        g_mutex_lock(&job->lock);
        g_clear_pointer(&job->stats.errorText, g_free);
        g_mutex_unlock(&job->lock);
    }
    migJobEnd(job, committed ? MIG_RESULT_COMPLETED : MIG_RESULT_FAILED, NULL);
}

/* Between two questions; ends early when somebody else settled the matter.  False: the daemon ends. */
static bool
sourceAskPause(migJob *job, unsigned ms)
{
    unsigned i;

    for (i = 0; i < ms / ASK_FIRST_MS && migJobPhase(job) == MIG_PHASE_IN_DOUBT; i++) {
        if (!migThreadsPause(job->env->threads, ASK_FIRST_MS))
            return false;
    }
    return true;
}

static gpointer
sourceAskThread(gpointer data)
{
    g_autoptr(migJob) job = data;
    unsigned wait = ASK_FIRST_MS;

    while (migJobPhase(job) == MIG_PHASE_IN_DOUBT) {
        g_autoptr(GError) error = NULL;
        migEvent heard;

        if (sourceAskOnce(job, &heard, &error)) {
            migJobEnter(job);
            sourceHeard(job, heard);
            migJobLeave(job);
            break;
        }
        g_debug("%s: still in doubt: %s", job->record.uuid, error->message);
        g_mutex_lock(&job->lock);
        g_free(job->askedInVain);
        job->askedInVain = g_strdup(error->message);
        g_mutex_unlock(&job->lock);
        if (!sourceAskPause(job, wait))
            break;
        wait = MIN(wait * 2, ASK_LAST_MS);
    }
    g_mutex_lock(&job->lock);
    job->asking = false;
    g_mutex_unlock(&job->lock);
    return NULL;
}

static void
sourceDiscard(gpointer job)
{
    migJobUnref(job);
}

void
migSourceAsk(migJob *job)
{
    bool start;

    /* Nobody is there to be asked; what the VMM here says is looked at when it says it. */
    if (migDirectIs(job))
        return;
    g_mutex_lock(&job->lock);
    start = !job->asking;
    job->asking = true;
    g_mutex_unlock(&job->lock);
    if (start && !migThreadsRun(job->env->threads, "migration-ask", sourceAskThread, migJobRef(job), sourceDiscard))
        migJobUnref(job);
}

/* In doubt: the asking thread is at work; give it the time of one round trip so that the usual case, a destination that
 * answers, never shows as doubt to anybody.  Runner; releases and takes the role again. */
static void
sourceAwaitAnswer(migJob *job)
{
    gint64 until = g_get_monotonic_time() +
        (gint64)(job->env->connectTimeoutMs + job->env->linkTimeoutMs) * 1000;

    migJobLeave(job);
    g_mutex_lock(&job->lock);
    while (job->record.phase == MIG_PHASE_IN_DOUBT && g_cond_wait_until(&job->cond, &job->lock, until))
        continue;
    g_mutex_unlock(&job->lock);
    migJobEnter(job);
}

static void
sourceShowDoubt(migJob *job)
{
    g_autofree char *direct = migDirectIs(job) ? migDirectDoubt(job) : NULL;
    g_autofree char *addresses = job->record.peerAddresses ?
        g_strjoinv(", ", job->record.peerAddresses) : g_strdup("?");
    g_autofree char *asked = NULL;
    g_autofree char *whole = NULL;
    g_autofree char *text =
        g_strdup_printf(_("It is not known whether the guest runs on host '%1$s' (%2$s, port %3$u), so it "
                          "stays stopped here. The host is being asked again; if it can never answer, make sure "
                          "that the guest does not run there and resume it here, or destroy it here."),
                        job->record.peerHost ? job->record.peerHost : "?", addresses,
                        job->record.peerPort);

    g_mutex_lock(&job->lock);
    asked = g_strdup(job->askedInVain);
    g_mutex_unlock(&job->lock);
    /* A host that answers, but cannot tell either, will never be able to. */
    whole = asked ? g_strdup_printf(_("%1$s It has been asked in vain: %2$s"), text, asked) : NULL;
    job->ops->doubt(job->host, direct ? direct : whole ? whole : text);
}

void
migSourceSettle(migJob *job)
{
    if (migDirectIs(job))
        migDirectLook(job);
    else
        sourceAwaitAnswer(job);
    if (job->record.phase == MIG_PHASE_IN_DOUBT)
        sourceShowDoubt(job);
}

static bool
sourceConfirmCancelled(migJob *job, GError **error)
{
    if (!migJobFire(job, MIG_EVENT_CONFIRM_CANCEL, error))
        return false;
    if (job->record.phase == MIG_PHASE_IN_DOUBT)
        migSourceSettle(job);

    switch (job->record.phase) {
    case MIG_PHASE_IDLE:
        migJobEnd(job, MIG_RESULT_FAILED, NULL);
        return true;
    case MIG_PHASE_GONE:
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The reply of host '%1$s' was lost, but the guest runs there; the copy here has been ended."),
                    job->record.peerHost ? job->record.peerHost : "?");
        return false;
    default:
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("It is not known whether the guest runs on host '%1$s'; it stays stopped here until that host answers."),
                    job->record.peerHost ? job->record.peerHost : "?");
        return false;
    }
}

/* The destination's own word that the guest is its: only a Finish that went well gives it, and for this migration alone. */
static bool
sourceConfirmProven(const migJob *job, const migCookie *cookie)
{
    /* Peer-to-peer it was this host that called Finish. */
    if (job->params.peer2peer)
        return true;
    return cookie && g_str_equal(cookie->uuid, job->record.uuid) && g_strcmp0(cookie->outcome, "committed") == 0;
}

/* A coordinator that claims success without that word may have left Finish out. */
static bool
sourceConfirmUnproven(migJob *job, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (sourceConfirmCancelled(job, &local)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The coordinator says that the guest was started on host '%1$s', but that host does not have it; it goes on here."),
                    job->record.peerHost ? job->record.peerHost : "?");
        return false;
    }
    if (job->record.phase == MIG_PHASE_GONE)
        return true;
    g_propagate_error(error, g_steal_pointer(&local));
    return false;
}

bool
migSourceConfirm(migJob *job, bool cancelled, const char *cookieIn, int cookieInLen, GError **error)
{
    g_autoptr(migCookie) cookie = NULL;
    g_autoptr(GError) local = NULL;

    if (FAULT_ERROR(MIGRATE_CONFIRM, error))
        return false;
    /* It came to its end while this call waited for the role: there is nothing to confirm, and nothing may be saved any more. */
    if (job->overCalled)
        return true;
    if (cancelled)
        return sourceConfirmCancelled(job, error);

    /* The link may have told the outcome before the coordinator did. */
    if (job->record.phase == MIG_PHASE_GONE)
        return true;
    if (migOfflineIs(job))
        return migOfflineMoved(job, error);
    if (cookieInLen > 0 &&
        !(cookie = migCookieParse(cookieIn, cookieInLen, MIG_STEP_FINISH, &local)))
        g_warning("%s: the last cookie of the destination is unreadable: %s, ignoring",
                  job->record.uuid, local->message);
    if ((job->record.phase == MIG_PHASE_SENT || job->record.phase == MIG_PHASE_IN_DOUBT) &&
        !sourceConfirmProven(job, cookie))
        return sourceConfirmUnproven(job, error);
    if (!migJobFire(job, MIG_EVENT_CONFIRM_OK, error))
        return false;
    job->ops->doubt(job->host, NULL);

    if (cookie && cookie->hasStats) {
        g_mutex_lock(&job->lock);
        job->stats.downtimeMs = cookie->statsDowntimeMs;
        job->stats.downtimeFinal = true;
        g_mutex_unlock(&job->lock);
    }
    migJobEnd(job, MIG_RESULT_COMPLETED, NULL);
    return true;
}

static void
sourceServeLost(migJob *job)
{
    g_autoptr(GError) error = NULL;
    migPhase before = job->record.phase;

    if (!migPhaseMove(before, MIG_EVENT_LOST) || before == MIG_PHASE_IN_DOUBT)
        return;
    if (!migJobFire(job, MIG_EVENT_LOST, &error)) {
        g_warning("%s: %s", job->record.uuid, error->message);
        return;
    }
    if (job->record.phase == MIG_PHASE_IDLE) {
        g_set_error_literal(&error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The client that coordinated the migration is gone."));
        migJobEnd(job, MIG_RESULT_FAILED, error);
    } else if (job->record.phase == MIG_PHASE_IN_DOUBT) {
        migSourceSettle(job);
    }
}

/* By being asked the destination gives up what it has not started. */
static void
sourceServeLease(migJob *job)
{
    if (job->record.phase != MIG_PHASE_SENT)
        return;
    g_mutex_lock(&job->lock);
    if (!job->stats.errorText)
        job->stats.errorText = g_strdup_printf(_("The coordinator of the migration did not finish it within %1$u ms."),
                                               2 * job->env->finishTimeoutMs);
    g_mutex_unlock(&job->lock);
    sourceServeLost(job);
}

static migEvent
sourceHeardEvent(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return job->heard;
}

void
migSourceServe(migJob *job, unsigned signals)
{
    g_autoptr(GError) error = NULL;
    migPhase phase = job->record.phase;

    if ((signals & MIG_SIGNAL_VMM_GONE) && migPhaseMove(phase, MIG_EVENT_VMM_GONE)) {
        if (!migJobFire(job, MIG_EVENT_VMM_GONE, &error))
            g_warning("%s: %s", job->record.uuid, error->message);
        migJobEnd(job, MIG_RESULT_FAILED, error);
        return;
    }
    if ((signals & MIG_SIGNAL_ABORT) && phase == MIG_PHASE_BEGUN) {
        g_autoptr(GError) why = g_error_new_literal(BASE_ERROR, BASE_ERROR_ABORTED,
                                                    _("The migration was aborted by a user."));

        if (!migJobFire(job, MIG_EVENT_CANCEL, &error))
            g_warning("%s: %s", job->record.uuid, error->message);
        migJobEnd(job, MIG_RESULT_CANCELLED, why);
        return;
    }
    if (migDirectIs(job))
        migDirectLook(job);
    if (signals & MIG_SIGNAL_OUTCOME)
        sourceHeard(job, sourceHeardEvent(job));
    /* Versions 1 and 2: nobody else will tell how it ended. */
    if ((signals & MIG_SIGNAL_LOST) ||
        ((signals & MIG_SIGNAL_LINK_LOST) && job->version < 3 && job->record.phase == MIG_PHASE_SENT))
        sourceServeLost(job);
    if (signals & MIG_SIGNAL_LEASE)
        sourceServeLease(job);
}
