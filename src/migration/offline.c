/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* offline.c: see offline.h */
#include "base/gettext.h"
#include "base/error.h"
#include "migration/job_priv.h"
#include "migration/offline.h"
#include "remote/uri.h"

#include <string.h>

bool
migOfflineIs(migJob *job)
{
    return job->params.offline;
}

bool
migOfflinePrepare(migJob *job, const migCookie *remote, migParams *params, char **retUri, GError **error)
{
    g_autofree char *host = g_strdup(job->env->addresses && job->env->addresses[0] ?
                                     job->env->addresses[0] : job->env->hostName);
    uri u = { .kind = URI_TCP, .host = host, .port = job->env->port };

    /* Nobody connects, but the ledger's entry is like every other one. */
    if (migDestAborted(job, error) || !helloNewToken(job->record.token, error))
        return false;
    g_mutex_lock(&job->lock);
    job->record.hasToken = true;
    g_free(job->record.peerHost);
    job->record.peerHost = g_strdup(remote->hostName);
    g_mutex_unlock(&job->lock);
    if (!migJobFire(job, MIG_EVENT_PREPARE, error))
        return false;
    *retUri = params->uri ? g_strdup(params->uri) : uriFormat(&u);
    migParamsClear(&job->params);
    job->params = *params;
    memset(params, 0, sizeof(*params));
    return true;
}

/* Back to nothing; the caller's error stays. */
static bool
offlineGiveUp(migJob *job, const GError *why)
{
    g_autoptr(GError) error = NULL;

    g_mutex_lock(&job->lock);
    if (!job->peerError)
        job->peerError = g_strdup(why->message);
    g_mutex_unlock(&job->lock);
    if (!migJobFire(job, MIG_EVENT_FINISH_CANCEL, &error))
        g_warning("%s: %s", job->record.uuid, error->message);
    migJobEnd(job, MIG_RESULT_FAILED, why);
    return false;
}

bool
migOfflineFinish(migJob *job, migDestPersistFunc persist, void *opaque, const migCookieIo *io, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (job->record.phase != MIG_PHASE_PREPARED) {
        g_autofree char *text = migJobErrorText(job);

        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The definition was not stored on host '%1$s': %2$s"), job->env->hostName,
                    text ? text : _("the migration was given up."));
        return false;
    }
    if (io->inLen > 0)
        g_set_error_literal(&local, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                            _("An offline migration has no Perform, so its Finish takes no cookie."));
    if (local || !persist(opaque, NULL, &local) || !migJobFire(job, MIG_EVENT_MOVED, &local)) {
        offlineGiveUp(job, local);
        g_propagate_error(error, g_steal_pointer(&local));
        return false;
    }
    job->told = true;
    migJobEnd(job, MIG_RESULT_COMPLETED, NULL);
    return true;
}

bool
migOfflineMoved(migJob *job, GError **error)
{
    /* Given up meanwhile, by a user or because the client was gone for a moment: the definition stays, too. */
    if (!migJobFire(job, MIG_EVENT_MOVED, error))
        return false;
    migJobEnd(job, MIG_RESULT_COMPLETED, NULL);
    return true;
}
