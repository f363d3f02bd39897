/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * peer.c: this host coordinates: prepare there, perform here, finish there, confirm here
 *
 * The order of undoing is that of libvirt's own coordinator, with one difference: a Finish without an answer is not
 * taken for a refusal.  Either way migSourceConfirm() asks the destination before the guest runs again.
 */
#include "base/gettext.h"
#include "base/error.h"
#include "base/fault.h"
#include "migration/job_priv.h"
#include "migration/offline.h"
#include "migration/peer.h"
#include "migration/source.h"
#include "migration/tunnel_job.h"

#include <string.h>

typedef struct {
    migJob *job;
    const migPeerOps *ops;
    void *peer;
    const migPeerTask *task;
    char *cookie;                /* of the last step */
    int cookieLen;
    char *uri;
    unsigned version;
} peerRun;

static void
peerTakeCookie(peerRun *run, char *cookie, int len)
{
    g_free(run->cookie);
    run->cookie = cookie;
    run->cookieLen = cookie ? len : 0;
}

/* Version 2 has no cookies into Prepare and Finish; the offer takes their place. */
static void
peerOffer(peerRun *run)
{
    migJobSetVersion(run->job, run->version);
    migOfferSet(run->job, migOfferNew(run->cookie, run->task->xml, run->task->name));
    peerTakeCookie(run, NULL, 0);
}

/* Begin was before the connection was there, so its cookie could not say of what kind it is. */
static bool
peerTellConn(peerRun *run, GError **error)
{
    g_autoptr(migCookie) cookie = NULL;
    char *text;
    int len = 0;

    if (!run->ops->conn)
        return true;
    g_clear_pointer(&run->job->connHost, g_free);
    run->job->conn = run->ops->conn(run->peer, &run->job->connHost);
    if (!run->cookie)
        return true;
    if (!(cookie = migCookieParse(run->cookie, run->cookieLen, MIG_STEP_BEGIN, error)))
        return false;
    cookie->way.conn = run->job->conn;
    if (!(text = migCookieFormat(cookie, MIG_STEP_BEGIN, &len))) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_INTERNAL, _("The migration cookie could not be made."));
        return false;
    }
    peerTakeCookie(run, text, len);
    return true;
}

static bool
peerPrepare(peerRun *run, GError **error)
{
    char *cookie = NULL;
    int len = 0;

    if (!peerTellConn(run, error))
        return false;
    if (run->version < 3)
        peerOffer(run);
    if (!run->ops->prepare(run->peer, &run->job->params, run->task->xml, run->cookie, run->cookieLen,
                           &cookie, &len, &run->uri, error)) {
        if (!g_error_matches(*error, BASE_ERROR, BASE_ERROR_ABORTED))
            g_prefix_error_literal(error, _("The destination could not prepare: "));
        return false;
    }
    peerTakeCookie(run, cookie, len);
    return true;
}

/* Version 2 answers a tunnelled Prepare with nothing: what it has to say is asked over the link. */
static bool
peerTunnel(peerRun *run, GError **error)
{
    char *cookie;

    if (!run->job->params.tunnelled)
        return true;
    if (!run->ops->stream) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_INTERNAL, _("There is no connection for a tunnel."));
        return false;
    }
    migTunnelStart(run->job, run->ops, run->peer);
    if (run->cookie)
        return true;
    if (!migSourceTunnelLink(run->job, NULL, error) || !(cookie = migSourceTunnelCookie(run->job, error)))
        return false;
    peerTakeCookie(run, cookie, (int)strlen(cookie) + 1);
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
    bool ok;

    if (!cancelled && FAULT_ERROR(PEER_FINISH, error))
        return false;
    migTunnelSettle(run->job, cancelled);
    ok = run->ops->finish(run->peer, &run->job->params, run->uri, cancelled,
                          run->cookie, run->cookieLen, &cookie, &len, error);

    peerTakeCookie(run, cookie, len);
    return ok;
}

/* Nothing was sent: back to what it was. */
static bool
peerGiveUp(peerRun *run, GError *why, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (migPhaseMove(run->job->record.phase, MIG_EVENT_CONFIRM_CANCEL) && !migSourceGiveUp(run->job, why, &local))
        g_warning("%s: %s", run->job->record.uuid, local->message);
    g_propagate_error(error, why);
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

/* Nothing runs and nothing is sent: there is no Perform, and nobody has to be asked afterwards. */
static bool
peerOffline(peerRun *run, GError **error)
{
    GError *why = NULL;

    peerTakeCookie(run, NULL, 0);
    if (peerFinish(run, false, &why))
        return migSourceConfirm(run->job, false, NULL, 0, error);
    return peerGiveUp(run, why, error);
}

/* Of a dry run the best answer is a refusal, too. */
static bool
peerDryRun(peerRun *run, GError *why)
{
    if (!run->job->params.dryRun || !g_error_matches(why, BASE_ERROR, BASE_ERROR_ABORTED) || migJobAbortAsked(run->job))
        return false;
    g_message("%s: %s", run->job->record.uuid, why->message);
    peerGiveUp(run, why, NULL);
    return true;
}

static bool
peerSteps(peerRun *run, GError **error)
{
    GError *why = NULL;

    if (run->job->params.dryRun && run->version < 3) {
        g_set_error_literal(&why, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                            _("Versions 1 and 2 of the migration protocol have no dry run."));
        return peerGiveUp(run, why, error);
    }
    if (!peerPrepare(run, &why))
        return peerDryRun(run, why) || peerGiveUp(run, why, error);
    if (migOfflineIs(run->job))
        return peerOffline(run, error);
    if (!peerTunnel(run, &why)) {
        g_autoptr(GError) ignored = NULL;

        peerFinish(run, true, &ignored);
        return peerGiveUp(run, why, error);
    }
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
    GError *why = NULL;
    bool ret;

    if (ops->open(peer, &why)) {
        run.version = ops->version(peer);
        ret = peerSteps(&run, error);
        migTunnelDrop(job);
        ops->close(peer);
    } else {
        ret = peerGiveUp(&run, why, error);
    }
    g_free(run.cookie);
    g_free(run.uri);
    return ret;
}
