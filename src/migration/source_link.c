/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * source_link.c: how the source finds the destination's migration port, and what it hears over the link
 */
#include "base/gettext.h"
#include "base/error.h"
#include "migration/job_priv.h"
#include "migration/tunnel_job.h"
#include "migration/way.h"
#include "remote/json.h"
#include "remote/uri.h"

#include <string.h>


/* ---- the link, source's end ---- */

static void
sourceNoteOffered(migJob *job, const char *cookie)
{
    g_mutex_lock(&job->lock);
    g_free(job->offered);
    job->offered = g_strdup(cookie);
    g_mutex_unlock(&job->lock);
    migJobPost(job, MIG_SIGNAL_OFFER);
}

/* Not answered unless this host coordinates: the end of the link says that the copy here has ended. */
static void
sourceNoteOutcome(migLink *link, migJob *job, const char *outcome, guint64 id)
{
    if (job->params.peer2peer) {
        if (id)
            linkReply(link, id, NULL, NULL);
        return;
    }
    g_mutex_lock(&job->lock);
    job->heard = g_str_equal(outcome, "committed") ? MIG_EVENT_HEARD_COMMITTED : MIG_EVENT_HEARD_ABSENT;
    g_mutex_unlock(&job->lock);
    if (g_str_equal(outcome, "committed") || g_str_equal(outcome, "absent"))
        migJobPost(job, MIG_SIGNAL_OUTCOME);
}

static void
sourceLinkMessage(migLink *link, const char *type, JsonObject *body,
                  bool wantsReply, guint64 id, void *opaque)
{
    migJob *job = opaque;

    if (g_str_equal(type, "error")) {
        g_mutex_lock(&job->lock);
        if (!job->peerError)
            job->peerError = baseForeignText(jsonGetString(body, "text", ""));
        g_mutex_unlock(&job->lock);
        migJobPost(job, MIG_SIGNAL_PEER_ERROR);
    } else if (g_str_equal(type, "turn")) {
        g_mutex_lock(&job->lock);
        job->turnGiven = true;
        g_mutex_unlock(&job->lock);
        migJobPost(job, MIG_SIGNAL_SLOT);
    } else if (g_str_equal(type, "allow")) {
        migTunnelAllow(job, jsonGetUint(body, "total", 0));
    } else if (g_str_equal(type, "running")) {
        g_mutex_lock(&job->lock);
        job->stats.downtimeMs = jsonGetUint(body, "downtime-ms", 0);
        job->stats.downtimeFinal = true;
        migJobNoteControl(job, jsonGetInt(body, "control-ms", -1));
        g_mutex_unlock(&job->lock);
    } else if (g_str_equal(type, "offered")) {
        sourceNoteOffered(job, jsonGetString(body, "prepare", ""));
    } else if (g_str_equal(type, "outcome") && job->version < 3) {
        sourceNoteOutcome(link, job, jsonGetString(body, "outcome", ""), id);
        return;
    }
    if (wantsReply)
        linkReply(link, id, NULL, _("The source answers no questions of this kind."));
}

static void
sourceLinkLost(migLink *link G_GNUC_UNUSED, const GError *why, void *opaque)
{
    migJob *job = opaque;

    g_debug("%s: link lost: %s", job->record.uuid, why->message);
    migJobPost(job, MIG_SIGNAL_LINK_LOST);
}

static const linkHandlers sourceLinkHandlers = { sourceLinkMessage, sourceLinkLost };

/* ---- connecting ---- */

GStrv
migSourceCandidates(const migCookie *cookie, const char *uriText, unsigned *retPort, GError **error)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    g_autoptr(uri) u = NULL;
    size_t i;

    *retPort = cookie->port;
    if (uriText && *uriText) {
        if (!(u = uriParse(uriText, error)))
            return NULL;
        if (u->kind != URI_TCP) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                        _("The migration URI '%1$s' is not of the kind tcp."), uriText);
            return NULL;
        }
        if (u->host && !(cookie->addresses && g_strv_contains((const char *const *)cookie->addresses, u->host)))
            g_strv_builder_add(builder, u->host);
        if (u->port)
            *retPort = u->port;
    }
    for (i = 0; cookie->addresses && cookie->addresses[i]; i++)
        g_strv_builder_add(builder, cookie->addresses[i]);
    return g_strv_builder_end(builder);
}

helloTarget
migSourceTarget(migJob *job, const char *address, helloSecurity *security)
{
    return (helloTarget){
        .host = address,
        .port = job->record.peerPort,
        .cancelFd = migJobStopFd(job),
        .timeoutMs = job->env->connectTimeoutMs,
        .security = migWaySecurity(job, security),
        .from = job->linkFrom,
    };
}

bool
migSourceConnectLink(migJob *job, const char **retAddress, GError **error)
{
    g_autoptr(GString) tried = g_string_new(NULL);
    hello h = { .role = HELLO_CONTROL };
    size_t i;

    memcpy(h.token, job->record.token, sizeof(h.token));
    for (i = 0; job->record.peerAddresses[i]; i++) {
        g_autoptr(GError) local = NULL;
        helloSecurity security;
        const helloTarget target = migSourceTarget(job, job->record.peerAddresses[i], &security);
        helloConn conn = HELLO_CONN_INIT;

        if (helloConnect(&target, &h, &conn, &local)) {
            job->linkFrom = helloConnFrom(&conn);
            migJobSetLink(job, linkNew(job->env->io, conn, 0, job->env->linkTimeoutMs, &sourceLinkHandlers,
                                       migJobRef(job), (GDestroyNotify)migJobUnref));
            *retAddress = job->record.peerAddresses[i];
            return true;
        }
        if (g_error_matches(local, BASE_ERROR, BASE_ERROR_ABORTED)) {
            g_propagate_error(error, g_steal_pointer(&local));
            return false;
        }
        g_string_append_printf(tried, "%s%s", tried->len ? "; " : "", local->message);
    }
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("The migration port of host '%1$s' could not be reached: %2$s"),
                job->record.peerHost, tried->len ? tried->str : _("no address is known."));
    return false;
}

bool
migSourceTunnelLink(migJob *job, const uint8_t *token, GError **error)
{
    g_autoptr(migLink) link = migJobGetLink(job);
    helloConn conn = HELLO_CONN_INIT;

    if (link)
        return true;
    if (!migTunnelOpenLink(job, token, &conn, error))
        return false;
    migJobSetLink(job, linkNew(job->env->io, conn, 0, job->env->linkTimeoutMs, &sourceLinkHandlers, migJobRef(job),
                               (GDestroyNotify)migJobUnref));
    return true;
}

char *
migSourceTunnelCookie(migJob *job, GError **error)
{
    g_autoptr(migLink) link = migJobGetLink(job);
    g_autoptr(JsonObject) reply = NULL;
    const char *text;

    if (!(reply = linkRequest(link, "prepared", NULL, job->env->linkTimeoutMs, error)))
        return NULL;
    if ((text = jsonGetString(reply, "cookie", NULL)))
        return g_strdup(text);
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("The destination does not say what it has prepared."));
    return NULL;
}
