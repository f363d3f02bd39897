/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * peer.c: this host coordinates: prepare there, perform here, finish there, confirm here
 *
 * The order of undoing is that of libvirt's own coordinator, with one difference: a Finish without an answer is not
 * taken for a refusal.  Either way migSourceConfirm() asks the destination before the guest runs again.
 */
#include "base/gettext.h"
#include "base/error.h"
#include "migration/job_priv.h"
#include "migration/peer.h"
#include "migration/source.h"


typedef struct {
    migJob *job;
    const migPeerOps *ops;
    void *peer;
    const migPeerTask *task;
    char *cookie;                /* of the last step */
    int cookieLen;
    char *uri;
} peerRun;

static void
peerTakeCookie(peerRun *run, char *cookie, int len)
{
    g_free(run->cookie);
    run->cookie = cookie;
    run->cookieLen = cookie ? len : 0;
}

static bool
peerPrepare(peerRun *run, GError **error)
{
    char *cookie = NULL;
    int len = 0;

    if (!run->ops->prepare(run->peer, &run->job->params, run->task->xml, run->cookie, run->cookieLen,
                           &cookie, &len, &run->uri, error)) {
        g_prefix_error_literal(error, _("The destination could not prepare: "));
        return false;
    }
    peerTakeCookie(run, cookie, len);
    return true;
}

static bool
peerPerform(peerRun *run, GError **error)
{
    char *cookie = NULL;
    int len = 0;
    migCookieIo io = { run->cookie, run->cookieLen, &cookie, &len };

    if (!migSourcePerform(run->job, run->task->spec, run->uri, run->task->persistentXml, &io, error))
        return false;
    peerTakeCookie(run, cookie, len);
    return true;
}

static bool
peerFinish(peerRun *run, bool cancelled, GError **error)
{
    char *cookie = NULL;
    int len = 0;
    bool ok = run->ops->finish(run->peer, &run->job->params, run->uri, cancelled,
                               run->cookie, run->cookieLen, &cookie, &len, error);

    peerTakeCookie(run, cookie, len);
    return ok;
}

/* Nothing was sent: back to what it was. */
static bool
peerGiveUp(peerRun *run)
{
    g_autoptr(GError) local = NULL;

    if (migPhaseMove(run->job->record.phase, MIG_EVENT_CONFIRM_CANCEL) && !migSourceGiveUp(run->job, &local))
        g_warning("%s: %s", run->job->record.uuid, local->message);
    return false;
}

/* The guest is frozen here and Finish did not say that it runs there. */
static bool
peerUndecided(peerRun *run, GError *why, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (migSourceConfirm(run->job, true, NULL, 0, &local)) {
        g_propagate_error(error, why);
        return false;
    }
    if (run->job->record.phase == MIG_PHASE_GONE) {
        /* Only the reply was lost: the migration succeeded. */
        g_message("%s: %s", run->job->record.uuid, local->message);
        g_error_free(why);
        return true;
    }
    g_prefix_error(&local, "%s ", why->message);
    g_error_free(why);
    g_propagate_error(error, g_steal_pointer(&local));
    return false;
}

static bool
peerSteps(peerRun *run, GError **error)
{
    GError *why = NULL;

    if (!peerPrepare(run, error))
        return peerGiveUp(run);
    if (!peerPerform(run, error)) {
        g_autoptr(GError) ignored = NULL;

        peerFinish(run, true, &ignored);
        return false;
    }
    if (!peerFinish(run, false, &why))
        return peerUndecided(run, why, error);
    return migSourceConfirm(run->job, false, run->cookie, run->cookieLen, error);
}

bool
migPeerRun(migJob *job, const migPeerOps *ops, void *peer, const migPeerTask *task, GError **error)
{
    peerRun run = {
        .job = job, .ops = ops, .peer = peer, .task = task,
        .cookie = g_strndup(task->cookie, task->cookieLen), .cookieLen = task->cookieLen,
    };
    bool ret;

    if (ops->open(peer, error)) {
        ret = peerSteps(&run, error);
        ops->close(peer);
    } else {
        ret = peerGiveUp(&run);
    }
    g_free(run.cookie);
    g_free(run.uri);
    return ret;
}
