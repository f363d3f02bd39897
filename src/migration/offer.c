/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* offer.c: see offer.h */
#include "base/gettext.h"
#include "base/error.h"
#include "migration/dest.h"
#include "migration/job_priv.h"
#include "migration/way.h"
#include "remote/json.h"

#include <string.h>

/* The wait is for a signal; this is only how long one look lasts. */
#define OFFER_WAIT_MS 60000
/* Of a domain and a VMM that nobody knows yet. */
#define NO_DOMAIN_UUID "00000000-0000-0000-0000-000000000000"
#define UNKNOWN "unknown"

migOffer *
migOfferNew(const char *cookie, const char *xml, const char *name)
{
    migOffer *offer = g_new0(migOffer, 1);

    offer->cookie = g_strdup(cookie);
    offer->xml = g_strdup(xml);
    offer->name = g_strdup(name);
    return offer;
}

void
migOfferFree(migOffer *offer)
{
    if (!offer)
        return;
    g_free(offer->cookie);
    g_free(offer->xml);
    g_free(offer->name);
    g_free(offer);
}

/* ---- source ---- */

void
migOfferSet(migJob *job, migOffer *offer)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    migOfferFree(job->offer);
    job->offer = offer;
}

static char *
offerTakeText(migJob *job, char **slot)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return g_steal_pointer(slot);
}

/* Is there a reason not to wait any longer for the answer? */
static bool
offerHeed(migJob *job, unsigned signals, GError **error)
{
    g_autofree char *text = NULL;

    g_mutex_lock(&job->lock);
    text = g_strdup(job->peerError);
    g_mutex_unlock(&job->lock);
    if (migJobAbortAsked(job))
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_ABORTED, _("migration out job: canceled by client"));
    else if (signals & MIG_SIGNAL_LOST)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The coordinator of the migration is gone."));
    else if (signals & MIG_SIGNAL_VMM_GONE)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The guest ended before it could be sent."));
    else if ((signals & (MIG_SIGNAL_PEER_ERROR | MIG_SIGNAL_LINK_LOST)) && text)
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, _("Host '%1$s' reports: %2$s"),
                    job->record.peerHost, text);
    else if (signals & (MIG_SIGNAL_PEER_ERROR | MIG_SIGNAL_LINK_LOST))
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The connection to host '%1$s' was lost before it had answered the offer of the guest."),
                    job->record.peerHost);
    else
        return true;
    return false;
}

char *
migOfferMake(migJob *job, int *retLen, GError **error)
{
    g_autoptr(migLink) link = migJobGetLink(job);
    g_autofree char *answer = NULL;
    JsonObject *body = json_object_new();
    unsigned signals = 0;
    bool ok;

    json_object_set_string_member(body, "begin", job->offer->cookie);
    json_object_set_string_member(body, "xml", job->offer->xml);
    json_object_set_string_member(body, "name", job->offer->name);
    if (!linkNotify(link, "offer", body)) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The definition of the guest is too long for versions 1 and 2 of the migration protocol."));
        return NULL;
    }
    do {
        signals |= migJobWait(job, OFFER_WAIT_MS);
        answer = offerTakeText(job, &job->offered);
        ok = answer || offerHeed(job, signals, error);
    } while (ok && !answer);
    /* What ended the wait has been dealt with; the rest is for whoever looks next. */
    signals &= ~MIG_SIGNAL_OFFER;
    if (!ok)
        signals &= ~(MIG_SIGNAL_ABORT | MIG_SIGNAL_LOST);
    if (signals)
        migJobPost(job, signals);
    if (!ok)
        return NULL;
    *retLen = (int)strlen(answer) + 1;
    return g_steal_pointer(&answer);
}

bool
migOfferPerformed(migJob *job, const char *cookie, GError **error)
{
    g_autoptr(migLink) link = migJobGetLink(job);
    g_autoptr(JsonObject) reply = NULL;
    JsonObject *body = json_object_new();

    json_object_set_string_member(body, "cookie", cookie);
    reply = linkRequest(link, "performed", body, job->env->linkTimeoutMs, error);
    return reply != NULL;
}

/* ---- destination ---- */

void
migOfferExpect(migJob *job, unsigned version, migOfferJudge judge, void *opaque, GDestroyNotify freeOpaque)
{
    job->version = version;
    job->judge = judge;
    job->judgeOpaque = opaque;
    job->judgeFree = freeOpaque;
}

bool
migOfferReserve(migJob *job, const migCookieIo *io, char **retUri, GError **error)
{
    g_autoptr(migCookie) cookie = g_new0(migCookie, 1);

    cookie->domainUuid = g_strdup(NO_DOMAIN_UUID);
    cookie->domainName = g_strdup(UNKNOWN);
    cookie->vmmName = g_strdup(UNKNOWN);
    cookie->machine = g_strdup(UNKNOWN);
    cookie->arch = g_strdup(UNKNOWN);
    if (!migDestFormatAnswer(job, cookie, io, retUri, error)) {
        migDestRelease(job);
        return false;
    }
    migLeaseStart(job);
    return true;
}

bool
migOfferAwaited(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return job->version < 3 && !job->offerSeen;
}

const char *
migOfferArrived(migJob *job, JsonObject *body)
{
    const char *begin = jsonGetString(body, "begin", NULL);
    const char *xml = jsonGetString(body, "xml", NULL);
    const char *name = jsonGetString(body, "name", NULL);

    if (!job->judge)
        return _("This migration was prepared by a version of the protocol that makes no offers.");
    if (!begin || !xml || !name)
        return _("The offer of the guest is incomplete.");
    g_mutex_lock(&job->lock);
    if (job->offerSeen) {
        g_mutex_unlock(&job->lock);
        return _("A guest has been offered before.");
    }
    job->offerSeen = true;
    job->offer = migOfferNew(begin, xml, name);
    g_mutex_unlock(&job->lock);
    /* From here on it lives as long as the link does. */
    migLeaseStop(job);
    migJobPost(job, MIG_SIGNAL_OFFER);
    return NULL;
}

static bool
offerAnswer(migJob *job, const migOffer *offer, GError **error)
{
    g_autoptr(migCookie) remote = migCookieParse(offer->cookie, (int)strlen(offer->cookie) + 1, MIG_STEP_BEGIN, error);
    g_autofree char *answer = NULL;
    int len = 0;
    migCookieIo io = { NULL, 0, &answer, &len };
    JsonObject *body;

    if (!remote)
        return false;
    g_mutex_lock(&job->lock);
    g_free(job->record.peerHost);
    job->record.peerHost = g_strdup(remote->hostName);
    g_mutex_unlock(&job->lock);
    /* Each of them has named the migration before it knew of the other. */
    g_message("%s: host '%s' offers domain '%s', migration %s", job->record.uuid, remote->hostName,
              remote->domainName, remote->uuid);
    if (!migWayChoose(job, remote, error) || (job->record.phase != MIG_PHASE_ABSENT && !migDestRecord(job, job->record.phase, error)) ||
        !job->judge(job, remote, offer, &io, job->judgeOpaque, error))
        return false;
    body = json_object_new();
    json_object_set_string_member(body, "prepare", answer);
    migJobNotify(job, "offered", body);
    return true;
}

void
migOfferServe(migJob *job)
{
    g_autoptr(migOffer) offer = NULL;
    g_autoptr(GError) error = NULL;

    g_mutex_lock(&job->lock);
    offer = g_steal_pointer(&job->offer);
    g_mutex_unlock(&job->lock);
    if (!offer || job->overCalled ||
        job->record.phase != (job->version == 1 ? MIG_PHASE_ABSENT : MIG_PHASE_PREPARED))
        return;
    if (!offerAnswer(job, offer, &error))
        migDestDrop(job, error->message);
}
