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
#include "migration/job_priv.h"
#include "migration/source.h"

#include <string.h>


#define ASK_FIRST_MS 1000
#define ASK_LAST_MS 30000

bool
migSourceBegin(migJob *job, const migSourceFacts *facts, migParams *params, const migCookieIo *io, GError **error)
{
    g_autoptr(migCookie) cookie = g_new0(migCookie, 1);

    if (!migCheckSource(facts, params, error))
        return false;

    migJobSignCookie(job, cookie);
    cookie->domainUuid = g_strdup(facts->domainUuid);
    cookie->domainName = g_strdup(facts->domainName);
    cookie->vmmName = g_strdup(facts->vmm->traits->name);
    cookie->vmmVersion = facts->vmm->version;
    cookie->machine = g_strdup(facts->machine);
    cookie->arch = g_strdup(facts->arch);
    cookie->tcg = facts->tcg;
    cookie->memoryKiB = facts->memoryKiB;
    cookie->vcpus = facts->vcpus;
    if (!(*io->out = migCookieFormat(cookie, MIG_STEP_BEGIN, io->outLen))) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_INTERNAL,
                            _("The migration cookie could not be made."));
        return false;
    }

    migParamsClear(&job->params);
    job->params = *params;
    memset(params, 0, sizeof(*params));
    job->record.wasRunning = !facts->paused;
    /* libvirt's client adds the flag by itself; peer-to-peer it is ours to add. */
    job->params.paused = job->params.paused || facts->paused;
    job->record.undefineSource = job->params.undefineSource;
    if (!migJobFire(job, MIG_EVENT_BEGIN, error)) {
        g_clear_pointer(io->out, g_free);
        return false;
    }
    return true;
}

bool
migSourceGiveUp(migJob *job, GError **error)
{
    if (!migJobFire(job, MIG_EVENT_CONFIRM_CANCEL, error))
        return false;
    migJobEnd(job, MIG_RESULT_FAILED, NULL);
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
    outcome = json_object_get_string_member_with_default(reply, "outcome", "");
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

static bool
sourceAskAnew(migJob *job, const char *address, migEvent *retHeard, GError **error)
{
    static const linkHandlers handlers = { NULL, NULL };
    g_autoptr(migLink) link = NULL;
    hello h = { .role = HELLO_QUERY };
    bool ret;
    int fd;

    memcpy(h.token, job->record.token, sizeof(h.token));
    fd = helloConnect(address, job->record.peerPort, &h, migThreadsStopFd(job->env->threads),
                      job->env->connectTimeoutMs, error);
    if (fd < 0)
        return false;
    link = linkNew(job->env->io, fd, 0, job->env->linkTimeoutMs, &handlers, NULL, NULL);
    ret = sourceAskLink(link, job->record.uuid, job->env->linkTimeoutMs, retHeard, error);
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
        sourceAskLink(link, job->record.uuid, job->env->linkTimeoutMs, retHeard, &local))
        return true;
    for (i = 0; job->record.peerAddresses && job->record.peerAddresses[i]; i++) {
        g_clear_error(&local);
        if (sourceAskAnew(job, job->record.peerAddresses[i], retHeard, &local))
            return true;
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
        if (!sourceAskPause(job, wait))
            break;
        wait = MIN(wait * 2, ASK_LAST_MS);
    }
    g_mutex_lock(&job->lock);
    job->asking = false;
    g_mutex_unlock(&job->lock);
    return NULL;
}

void
migSourceAsk(migJob *job)
{
    bool start;

    g_mutex_lock(&job->lock);
    start = !job->asking;
    job->asking = true;
    g_mutex_unlock(&job->lock);
    if (start && !migThreadsRun(job->env->threads, "migration-ask", sourceAskThread, migJobRef(job)))
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
    g_autofree char *addresses = job->record.peerAddresses ?
        g_strjoinv(", ", job->record.peerAddresses) : g_strdup("?");
    g_autofree char *text =
        g_strdup_printf(_("It is not known whether the guest runs on host '%1$s' (%2$s, port %3$u), so it "
                          "stays stopped here. The host is being asked again; if it can never answer, make sure "
                          "that the guest does not run there and resume it here, or destroy it here."),
                        job->record.peerHost ? job->record.peerHost : "?", addresses,
                        job->record.peerPort);

    job->ops->doubt(job->host, text);
}

void
migSourceSettle(migJob *job)
{
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

bool
migSourceConfirm(migJob *job, bool cancelled, const char *cookieIn, int cookieInLen, GError **error)
{
    g_autoptr(migCookie) cookie = NULL;
    g_autoptr(GError) local = NULL;

    if (cancelled)
        return sourceConfirmCancelled(job, error);

    /* The link may have told the outcome before the coordinator did. */
    if (job->record.phase == MIG_PHASE_GONE)
        return true;
    if (!migJobFire(job, MIG_EVENT_CONFIRM_OK, error))
        return false;
    job->ops->doubt(job->host, NULL);

    if (cookieInLen > 0 &&
        !(cookie = migCookieParse(cookieIn, cookieInLen, MIG_STEP_FINISH, &local)))
        g_warning("%s: the last cookie of the destination is unreadable: %s, ignoring",
                  job->record.uuid, local->message);
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
    if (signals & MIG_SIGNAL_LOST)
        sourceServeLost(job);
}
