/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow-steps.c: what a daemon does in each of libvirt's calls, as the driver does it */
#include "flow-world.h"

#include "base/error.h"
#include "migration/dest.h"
#include "migration/offer.h"
#include "migration/peer.h"
#include "migration/recover.h"
#include "migration/source.h"

#include <string.h>

static void
daemonSetJob(flowDaemon *d, migJob *job)
{
    flowWorld *w = d->world;

    g_mutex_lock(&w->lock);
    d->job = migJobRef(job);
    g_mutex_unlock(&w->lock);
}

static void
daemonDropJob(flowDaemon *d)
{
    flowWorld *w = d->world;
    migJob *job;

    g_mutex_lock(&w->lock);
    job = g_steal_pointer(&d->job);
    g_free(d->lastError);
    d->lastError = job ? migJobErrorText(job) : NULL;
    migRecordClear(&w->records[d->side]);
    w->saved[d->side] = false;
    g_mutex_unlock(&w->lock);
    migJobUnref(job);
}

/* As the driver does it: the caller is in the middle of a migration that ended meanwhile, and has not heard why. */
static void
setNoMigration(flowCall *call)
{
    flowDaemon *d = call->daemon;
    g_autofree char *why = NULL;

    g_mutex_lock(&d->world->lock);
    why = g_strdup(d->lastError);
    g_mutex_unlock(&d->world->lock);
    g_set_error(&call->error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID, "no migration%s%s", why ? ", it is over: " : "",
                why ? why : "");
}

static migJob *
daemonJob(flowDaemon *d)
{
    migJob *job;

    g_mutex_lock(&d->world->lock);
    job = d->job ? migJobRef(d->job) : NULL;
    g_mutex_unlock(&d->world->lock);
    return job;
}

/* Its libvirt connection is one of this host. */
static migJob *
newJob(flowDaemon *d, const migRecord *record, flowDaemon *host)
{
    migJob *job = migJobNew(&d->env, record, &flowOps, host, NULL);

    migJobSetConn(job, MIG_CONN_UNIX);
    return job;
}

static void
fillParams(const flowScenario *s, migParams *params)
{
    memset(params, 0, sizeof(*params));
    params->live = !s->notLive;
    params->peer2peer = s->peer;
    params->parallel = s->spread;
    params->tunnelled = s->tunnel;
    /* The destination does not hear of it in this way. */
    params->transport = s->spread || s->relay ? g_strdup("relay") : NULL;
    /* libvirt's client adds it for a guest that does not run. */
    params->paused = s->stayPaused || s->pausedBefore;
    params->persistDest = true;
}

static bool
beginJob(flowDaemon *d, migJob *job, char **out, int *outLen, GError **error)
{
    const flowScenario *s = d->world->scenario;
    vmmInfo vmm = { .traits = vmmTraitsByName("qemu"), .version = 10000000 };
    migSourceFacts facts = {
        .domainName = FLOW_NAME, .active = true, .paused = s->pausedBefore, .persistent = true,
        .vmm = &vmm, .machine = "microvm", .arch = "x86_64", .domainUuid = FLOW_DOMAIN_UUID,
        .memoryKiB = 262144, .vcpus = 1,
    };
    migCookieIo io = { NULL, 0, out, outLen };
    migParams params;
    bool ok;

    fillParams(s, &params);
    migJobEnter(job);
    ok = migSourceBegin(job, &facts, &params, &io, error);
    migJobLeave(job);
    migParamsClear(&params);
    return ok;
}

void
flowRunBegin(flowCall *call)
{
    migRecord record = { .side = MIG_SIDE_SOURCE, .phase = MIG_PHASE_IDLE };
    g_autoptr(migJob) job = newJob(call->daemon, &record, call->daemon);

    daemonSetJob(call->daemon, job);
    call->ok = beginJob(call->daemon, job, &call->out, &call->outLen, &call->error);
    if (!call->ok)
        daemonDropJob(call->daemon);
}

/* Runner: the VMM, and the answer that says so. */
static bool
startIncoming(flowDaemon *d, migJob *job, const migCookie *remote, const migCookieIo *io, char **retUri, GError **error)
{
    vmmInfo vmm = { .traits = vmmTraitsByName("qemu"), .version = 10000000 };
    migDestFacts facts = { .machine = "microvm", .arch = "x86_64", .vmm = &vmm };
    flowWorld *w = d->world;

    if (!flowEnter(d, "vmm-start", error)) {
        migDestRelease(job);
        return false;
    }
    g_mutex_lock(&w->lock);
    flowVmmStart(&w->vmms[MIG_SIDE_DEST], false);
    w->vmms[MIG_SIDE_DEST].waits = true;
    g_mutex_unlock(&w->lock);
    flowLeave(d, "vmm-start");
    return migDestPrepare(job, remote, &facts, io, retUri, error);
}

static void
endIncoming(flowDaemon *d)
{
    g_mutex_lock(&d->world->lock);
    if (!d->dead)
        flowVmmEnd(&d->world->vmms[MIG_SIDE_DEST]);
    g_mutex_unlock(&d->world->lock);
}

static bool
judgeRefuses(flowDaemon *d, GError **error)
{
    if (!flowEnter(d, "judge", error))
        return true;
    flowLeave(d, "judge");
    return false;
}

/* Version 2: the VMM waits already. */
static bool
judgeSecond(migJob *job, const migCookie *remote, const migOffer *offer G_GNUC_UNUSED, const migCookieIo *io,
            void *opaque, GError **error)
{
    vmmInfo vmm = { .traits = vmmTraitsByName("qemu"), .version = 10000000 };
    migDestFacts facts = { .machine = "microvm", .arch = "x86_64", .vmm = &vmm };

    return !judgeRefuses(opaque, error) && migDestAnswer(job, remote, &facts, io, NULL, error);
}

/* Version 1: the domain is made now. */
static bool
judgeFirst(migJob *job, const migCookie *remote, const migOffer *offer, const migCookieIo *io,
           void *opaque, GError **error)
{
    flowDaemon *d = opaque;
    g_autofree char *uri = NULL;

    g_assert_cmpstr(offer->xml, ==, "<domain/>");
    if (judgeRefuses(d, error))
        return false;
    migJobSetHost(job, d, NULL);
    if (startIncoming(d, job, remote, io, &uri, error))
        return true;
    endIncoming(d);
    migJobSetHost(job, NULL, NULL);
    return false;
}

static bool
prepareJob(flowCall *call, migJob *job, const migCookie *remote)
{
    migCookieIo io = { NULL, 0, &call->out, &call->outLen };
    migParams params;
    bool ok;

    fillParams(call->world->scenario, &params);
    if (call->world->ownPort)
        params.uri = g_strdup_printf("tcp:127.0.0.1:%u", call->world->ownPort);
    migJobEnter(job);
    ok = migDestListen(job, remote, &params, &call->error) &&
        startIncoming(call->daemon, job, remote, &io, &call->outUri, &call->error);
    migJobLeave(job);
    migParamsClear(&params);
    return ok;
}

/* Version 1: a token, and a job without a domain. */
static bool
reserveJob(flowCall *call, migJob *job)
{
    migCookieIo io = { NULL, 0, &call->out, &call->outLen };
    migParams params;
    bool ok;

    fillParams(call->world->scenario, &params);
    migOfferExpect(job, 1, judgeFirst, call->daemon, NULL);
    migJobEnter(job);
    ok = migDestListen(job, NULL, &params, &call->error) && migOfferReserve(job, &io, &call->outUri, &call->error);
    migJobLeave(job);
    migParamsClear(&params);
    return ok;
}

/* Version 2 has no cookie of the source yet. */
static migCookie *
unknownSource(void)
{
    migCookie *remote = g_new0(migCookie, 1);

    remote->uuid = g_uuid_string_random();
    remote->domainUuid = g_strdup(FLOW_DOMAIN_UUID);
    remote->domainName = g_strdup(FLOW_NAME);
    remote->hostName = g_strdup("?");
    return remote;
}

void
flowRunPrepare(flowCall *call)
{
    unsigned version = flowVersion(call->world);
    g_autoptr(migCookie) remote =
        version < 3 ? unknownSource() : migCookieParse(call->in, call->inLen, MIG_STEP_BEGIN, &call->error);
    migRecord record = { .side = MIG_SIDE_DEST, .phase = MIG_PHASE_ABSENT };
    g_autoptr(migJob) job = NULL;

    if (!remote)
        return;
    record.uuid = remote->uuid;
    job = newJob(call->daemon, &record, version == 1 ? NULL : call->daemon);
    if (version == 2)
        migOfferExpect(job, 2, judgeSecond, call->daemon, NULL);
    daemonSetJob(call->daemon, job);
    call->ok = version == 1 ? reserveJob(call, job) : prepareJob(call, job, remote);
    if (call->ok && call->world->wirePort) {
        g_free(call->outUri);
        call->outUri = g_strdup_printf("tcp:127.0.0.1:%u", call->world->wirePort);
    }
    if (call->ok)
        return;
    endIncoming(call->daemon);
    if (!call->daemon->dead)
        daemonDropJob(call->daemon);
}

void
flowRunPerform(flowCall *call)
{
    g_autoptr(migJob) job = daemonJob(call->daemon);
    vmmMigSpec spec = { .live = !call->world->scenario->notLive, .pauseBeforeSwitchover = true };
    migCookieIo io = { call->in, call->inLen, &call->out, &call->outLen };

    if (!job) {
        setNoMigration(call);
        return;
    }
    migJobEnter(job);
    call->ok = migSourcePerform(job, &spec, call->uri, "<domain/>", &io, &call->error);
    migJobLeave(job);
}

/* Versions 1 and 2: there is no Begin. */
void
flowRunSimple(flowCall *call)
{
    g_autoptr(migCookie) prepared = migCookieParse(call->in, call->inLen, MIG_STEP_PREPARE, &call->error);
    vmmMigSpec spec = { .live = !call->world->scenario->notLive, .pauseBeforeSwitchover = true };
    migCookieIo io = { call->in, call->inLen, NULL, NULL };
    migRecord record = { .side = MIG_SIDE_SOURCE, .phase = MIG_PHASE_IDLE };
    g_autofree char *begin = NULL;
    g_autoptr(migJob) job = NULL;
    int beginLen = 0;

    if (!prepared)
        return;
    record.uuid = prepared->uuid;
    job = newJob(call->daemon, &record, call->daemon);
    migJobSetVersion(job, flowVersion(call->world));
    daemonSetJob(call->daemon, job);
    if (!beginJob(call->daemon, job, &begin, &beginLen, &call->error)) {
        daemonDropJob(call->daemon);
        return;
    }
    migOfferSet(job, migOfferNew(begin, "<domain/>", FLOW_NAME));
    migJobEnter(job);
    call->ok = migSourcePerform(job, &spec, call->uri, "<domain/>", &io, &call->error);
    migJobLeave(job);
}

static bool
persistDef(void *opaque, const char *xml, GError **error)
{
    flowDaemon *d = opaque;

    g_assert_cmpstr(xml, ==, "<domain/>");
    if (!flowEnter(d, "persist", error))
        return false;
    flowLeave(d, "persist");
    if (!d->world->scenario->persistFails)
        return true;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_SYSTEM, "the disk is full");
    return false;
}

void
flowRunFinish(flowCall *call)
{
    g_autoptr(migJob) job = daemonJob(call->daemon);
    migCookieIo io = { call->in, call->inLen, &call->out, &call->outLen };

    if (!job) {
        setNoMigration(call);
        return;
    }
    migJobEnter(job);
    call->ok = migDestFinish(job, call->cancelled, persistDef, call->daemon, &io, &call->error);
    migJobLeave(job);
}

void
flowRunConfirm(flowCall *call)
{
    g_autoptr(migJob) job = daemonJob(call->daemon);

    /* Settled before. */
    if (!job) {
        call->ok = true;
        return;
    }
    migJobEnter(job);
    call->ok = migSourceConfirm(job, call->cancelled, call->in, call->inLen, &call->error);
    migJobLeave(job);
}

/* ---- peer-to-peer ---- */

static bool
peerOpen(void *opaque G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    return true;
}

static bool
peerPrepare(void *opaque, const migParams *params G_GNUC_UNUSED, const char *xml G_GNUC_UNUSED,
            const char *cookieIn, int cookieInLen, char **retCookie, int *retCookieLen,
            char **retUri, GError **error)
{
    flowDaemon *d = opaque;
    g_autoptr(flowCall) call = flowCallWith(d->world, flowRunPrepare, cookieIn, cookieInLen);

    if (!flowCallDo(call, MIG_SIDE_DEST, d) || d->world->scenario->loss == FLOW_LOSE_PREPARE) {
        flowCallTakeError(call, error);
        return false;
    }
    /* libvirt's version 2 of a tunnelled Prepare answers nothing. */
    if (d->world->scenario->tunnel && flowVersion(d->world) == 2)
        return true;
    *retCookie = g_steal_pointer(&call->out);
    *retCookieLen = call->outLen;
    *retUri = g_steal_pointer(&call->outUri);
    return true;
}

static bool
peerIsLost(flowDaemon *d, GError **error)
{
    bool lost;

    g_mutex_lock(&d->world->lock);
    lost = d->world->connLost;
    g_mutex_unlock(&d->world->lock);
    if (lost)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "the connection was lost");
    return lost;
}

static bool
peerFinish(void *opaque, const migParams *params G_GNUC_UNUSED, const char *uri G_GNUC_UNUSED,
           bool cancelled, const char *cookieIn, int cookieInLen, char **retCookie,
           int *retCookieLen, GError **error)
{
    flowDaemon *d = opaque;
    g_autoptr(flowCall) call = flowCallWith(d->world, flowRunFinish, cookieIn, cookieInLen);

    call->cancelled = cancelled;
    if (peerIsLost(d, error))
        return false;
    if (!flowCallDo(call, MIG_SIDE_DEST, d) || d->world->scenario->loss == FLOW_LOSE_FINISH) {
        flowCallTakeError(call, error);
        return false;
    }
    /* Its answer is, too. */
    if (peerIsLost(d, error))
        return false;
    *retCookie = g_steal_pointer(&call->out);
    *retCookieLen = call->outLen;
    return true;
}

static void
peerClose(void *opaque)
{
    flowDaemon *d = opaque;

    flowPost(d->world, MIG_SIDE_DEST, MIG_SIGNAL_LOST);
}

static unsigned
peerVersion(void *opaque)
{
    flowDaemon *d = opaque;

    return flowVersion(d->world);
}

static migConn
peerConn(void *opaque G_GNUC_UNUSED, char **retHost G_GNUC_UNUSED)
{
    return MIG_CONN_UNIX;
}

static bool
peerStream(void *opaque, migTunnelRole role, const char *proof, tunnelStream *ret, GError **error)
{
    return flowTunnelStream(((flowDaemon *)opaque)->world, role, proof, ret, error);
}

static const migPeerOps peerOps = { peerOpen, peerVersion, peerPrepare, peerFinish, peerClose, peerConn, peerStream };

void
flowRunPeer(flowCall *call)
{
    flowDaemon *d = call->daemon;
    migRecord record = { .side = MIG_SIDE_SOURCE, .phase = MIG_PHASE_IDLE };
    g_autoptr(migJob) job = newJob(d, &record, d);
    vmmMigSpec spec = { .live = !d->world->scenario->notLive, .pauseBeforeSwitchover = true };
    migPeerTask task = { .spec = &spec, .xml = "<domain/>", .name = FLOW_NAME, .persistentXml = "<domain/>" };
    g_autofree char *cookie = NULL;

    daemonSetJob(d, job);
    if (!beginJob(d, job, &cookie, &task.cookieLen, &call->error)) {
        daemonDropJob(d);
        return;
    }
    migJobEnter(job);
    task.cookie = cookie;
    call->ok = migPeerRun(job, &peerOps, d, &task, &call->error);
    migJobLeave(job);
}
