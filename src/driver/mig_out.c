/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_out.c: the source's calls on a real domain: begin, perform, confirm, and all of them peer-to-peer */
#include <config.h>

#include "driver/call.h"
#include "driver/mig_calls.h"
#include "driver/mig_priv.h"
#include "driver/report.h"
#include "migration/offer.h"

#include "virerror.h"
#include "virlog.h"
#include "virthread.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

VIR_LOG_INIT("stratovirt.mig_out");

/* The XML for the destination: the user's, if it describes the same guest, or the live one. */
static char *
outXml(virDomainObj *vm, const migParams *params)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;
    g_autoptr(virDomainDef) def = NULL;

    if (!params->destXml)
        return domainFormatMigratable(drv, vm->def, 0);
    def = virDomainDefParseString(params->destXml, drv->xmlopt, NULL,
                                  VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE);
    if (!def || domainCheckAbi(vm->def, def, drv) < 0)
        return NULL;
    return domainFormatMigratable(drv, def, 0);
}

/* The definition that PERSIST_DEST stores there; *ret NULL when it is not asked for. */
static int
outPersistentXml(virDomainObj *vm, const migParams *params, char **ret)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;
    g_autoptr(virDomainDef) def = NULL;

    *ret = NULL;
    if (!params->persistDest)
        return 0;
    if (params->persistXml) {
        def = virDomainDefParseString(params->persistXml, drv->xmlopt, NULL,
                                      VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE);
        if (!def || domainCheckAbi(vm->def, def, drv) < 0)
            return -1;
        *ret = domainFormatMigratable(drv, def, VIR_DOMAIN_XML_INACTIVE);
    } else {
        *ret = domainFormatMigratable(drv, vm->newDef ? vm->newDef : vm->def, VIR_DOMAIN_XML_INACTIVE);
    }
    return *ret ? 0 : -1;
}

void
migOutSpec(virDomainObj *vm, const migParams *params, vmmMigSpec *spec)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    memset(spec, 0, sizeof(*spec));
    migParamsToSpec(params, priv->migCacheBytes ? priv->migCacheBytes : priv->vmm->traits->xbzrleCacheBytes, spec);
    spec->pauseBeforeSwitchover = priv->vmm->traits->canPauseBeforeSwitchover;
    spec->maxBandwidth = (params->bandwidthGiven ? params->bandwidthMiBs : priv->migMaxSpeedMiBs) * 1024 * 1024;
    spec->maxDowntimeMs = priv->migMaxDowntimeMs;
}

static int
outCheckIdle(virDomainObj *vm)
{
    if (vm->job->asyncJob == VIR_ASYNC_JOB_NONE)
        return 0;
    virReportError(VIR_ERR_OPERATION_INVALID, _("domain '%1$s' is busy with another job: %2$s"),
                   vm->def->name, virDomainAsyncJobTypeToString(vm->job->asyncJob));
    return -1;
}

static bool
outBeginJob(virDomainObj *vm, migJob *job, migSourceFacts *facts, migParams *params, const migCookieIo *io)
{
    /* It may have to wait here, which only makes sense while there is somebody who goes on. Peer-to-peer that is this host. */
    g_autoptr(migCaller) caller = params->peer2peer ? NULL : migCallerWatch(job, DRV_DOMAIN(vm)->drv);
    g_autoptr(GError) error = NULL;
    char uuid[VIR_UUID_STRING_BUFLEN];
    bool ok;

    virUUIDFormat(vm->def->uuid, uuid);
    facts->domainUuid = uuid;
    virObjectUnlock(vm);
    migJobEnter(job);
    ok = migSourceBegin(job, facts, params, io, &error);
    migJobLeave(job);
    virObjectLock(vm);
    if (!ok)
        reportGError(g_steal_pointer(&error));
    return ok;
}

/* How a migration begins: under a name that the destination has given it, in which version of the protocol. */
typedef struct {
    char *uuid;                  /* NULL: a new one */
    unsigned version;
} outStart;

static char *
outBegin(virDomainObj *vm, migParams *params, unsigned long flags, const outStart *start,
         const migCookieIo *io, migJob **retJob)
{
    g_autoptr(migJob) job = NULL;
    g_autofree char *xml = NULL;
    migRecord record = { .side = MIG_SIDE_SOURCE, .phase = MIG_PHASE_IDLE, .uuid = start->uuid };
    migSourceFacts facts;
    bool ok;

    if (migOfflineCheckState(vm, params) < 0 || outCheckIdle(vm) < 0 ||
        !(xml = params->offline ? migOfflineXml(vm, params) : outXml(vm, params)))
        return NULL;
    migSourceFactsFill(vm, &facts);
    migFactsThrottle(vm, params, &facts);
    if (params->offline)
        migOfflineFacts(vm, &facts);
    if ((job = migJobAttach(vm, &record, flags))) {
        migJobSetVersion(job, start->version);
        /* It may have ended, or been started, while we waited for the job. */
        ok = migOfflineCheckState(vm, params) == 0 && outBeginJob(vm, job, &facts, params, io);
        /* One that ended while it waited has left already, and another may have come. */
        if (!ok && migOf(vm)->job == job)
            migJobDetach(vm);
    } else {
        ok = false;
    }
    migSourceFactsClear(&facts);
    if (!ok)
        return NULL;
    *retJob = g_steal_pointer(&job);
    return g_steal_pointer(&xml);
}

char *
migOutBegin(virDomainObj *vm, migParams *params, unsigned long flags,
            const migCookieIo *io, migJob **retJob)
{
    const outStart start = { .version = 3 };

    return outBegin(vm, params, flags, &start, io, retJob);
}

void
migOutAnnounced(virDomainObj *vm, virConnectPtr conn)
{
    migWatchClient(vm, conn);
    migJobDisown(vm);
}

int
migOutPerform(virDomainObj *vm, virConnectPtr conn, const migParams *params, const migCookieIo *io)
{
    g_autoptr(migJob) job = migJobOf(vm, MIG_SIDE_SOURCE);
    g_autofree char *persistentXml = NULL;
    g_autoptr(GError) error = NULL;
    vmmMigSpec spec;
    bool ok;

    if (!job || callCheckActive(vm) < 0 || outPersistentXml(vm, params, &persistentXml) < 0)
        return -1;
    migOutSpec(vm, params, &spec);
    vm->job->asyncOwner = virThreadSelfID();
    virObjectUnlock(vm);

    /* The client stays watched: when it dies, the transfer is given up. */
    migJobEnter(job);
    ok = migSourcePerform(job, &spec, params->uri, persistentXml, io, &error);
    migJobLeave(job);

    virObjectLock(vm);
    /* Also after a second call, which is refused: the migration waits for what the client says next. */
    if (migOf(vm)->job == job) {
        migWatchClient(vm, conn);
        migJobDisown(vm);
    } else {
        migUnwatchClient(vm, conn);
    }
    return ok ? 0 : reportGError(g_steal_pointer(&error));
}

/* What Perform needs and Begin takes away. */
typedef struct {
    vmmMigSpec spec;
    char *uri, *persistentXml;
} outSimple;

static void
outSimpleClear(outSimple *simple)
{
    g_free(simple->uri);
    g_free(simple->persistentXml);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(outSimple, outSimpleClear)

/* Versions 1 and 2: begun and performed by one call; what it ends with is found in the job. Domain locked. */
static int
outSimpleRun(virDomainObj *vm, virConnectPtr conn, migJob *job, const outSimple *simple, const migCookieIo *io)
{
    /* Nobody but this client goes on. */
    g_autoptr(migCaller) caller = migCallerWatch(job, DRV_DOMAIN(vm)->drv);
    g_autoptr(GError) error = NULL;
    bool ok;

    virObjectUnlock(vm);
    migJobEnter(job);
    ok = migSourcePerform(job, &simple->spec, simple->uri, simple->persistentXml, io, &error);
    migJobLeave(job);
    virObjectLock(vm);
    /* Sent, and the client is to say Finish to the destination; or in doubt. */
    if (migOf(vm)->job == job) {
        if (ok)
            migWatchClient(vm, conn);
        migJobDisown(vm);
    }
    return ok ? 0 : reportGError(g_steal_pointer(&error));
}

int
migOutSimple(virDomainObj *vm, virConnectPtr conn, migParams *params, unsigned long flags, const migCookieIo *io)
{
    g_autoptr(migCookie) prepared = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(migJob) job = NULL;
    g_auto(outSimple) simple = { .uri = g_strdup(params->uri) };
    g_autofree char *cookie = NULL;
    g_autofree char *xml = NULL;
    outStart start = { .version = 2 };
    int cookieLen = 0;
    migCookieIo begin = { NULL, 0, &cookie, &cookieLen };

    if (params->offline) {
        virReportError(VIR_ERR_ARGUMENT_UNSUPPORTED, "%s",
                       _("versions 1 and 2 of the migration protocol cannot migrate a domain that is shut off"));
        return -1;
    }
    if (!(prepared = migCookieParse(io->in, io->inLen, MIG_STEP_PREPARE, &error)))
        return reportGError(g_steal_pointer(&error));
    if (callCheckActive(vm) < 0 || outPersistentXml(vm, params, &simple.persistentXml) < 0)
        return -1;
    migOutSpec(vm, params, &simple.spec);
    /* The destination has named it. */
    start.uuid = prepared->uuid;
    if (!(xml = outBegin(vm, params, flags, &start, &begin, &job)))
        return -1;
    migOfferSet(job, migOfferNew(cookie, xml, vm->def->name));
    return outSimpleRun(vm, conn, job, &simple, io);
}

/* Begun and performed by a call of version 1 or 2: there is nothing to confirm. */
static int
outCheckVersion(virDomainObj *vm, migJob *job)
{
    if (migJobVersion(job) >= 3)
        return 0;
    virReportError(VIR_ERR_OPERATION_INVALID,
                   _("the migration of domain '%1$s' was performed by version 1 or 2 of the migration protocol, which has no Confirm"),
                   vm->def->name);
    return -1;
}

int
migOutConfirm(virDomainObj *vm, virConnectPtr conn, bool cancelled, const char *cookie, int cookieLen)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;
    g_autoptr(migJob) job = NULL;
    g_autoptr(GError) error = NULL;
    bool ok;

    /* A failed Perform has settled everything; so may the link have done. */
    if (!mig || !mig->job)
        return 0;
    if (!(job = migJobOf(vm, MIG_SIDE_SOURCE)) || outCheckVersion(vm, job) < 0)
        return -1;
    virObjectUnlock(vm);
    migJobEnter(job);
    ok = migSourceConfirm(job, cancelled, cookie, cookieLen, &error);
    migJobLeave(job);
    virObjectLock(vm);
    /* Its word got lost here: if it goes without another one, the migration is given up or the destination is asked. */
    if (migOf(vm)->job == job)
        migWatchClient(vm, conn);
    return ok ? 0 : reportGError(g_steal_pointer(&error));
}

int
migOutPeer(virDomainObj *vm, virConnectPtr conn, const char *dconnuri, migParams *params, unsigned long flags)
{
    g_autofree char *persistentXml = NULL;
    g_autofree char *destName = NULL;
    g_autofree char *name = NULL;
    g_autofree char *cookie = NULL;
    g_autofree char *xml = NULL;
    g_autoptr(migJob) job = NULL;
    g_autoptr(GError) error = NULL;
    vmmMigSpec spec;
    migPeerTask task = { .spec = &spec };
    void *peer;
    migCookieIo io = { NULL, 0, &cookie, &task.cookieLen };
    bool ok;

    if (migOfflineCheckState(vm, params) < 0)
        return -1;
    if (!params->offline) {
        if (outPersistentXml(vm, params, &persistentXml) < 0)
            return -1;
        migOutSpec(vm, params, &spec);
    }
    name = g_strdup(vm->def->name);
    destName = g_strdup(params->destName ? params->destName : name);
    if (!(xml = migOutBegin(vm, params, flags, &io, &job)))
        return -1;
    virObjectUnlock(vm);

    task.xml = xml;
    task.name = name;
    task.persistentXml = persistentXml;
    task.cookie = cookie;
    peer = migPeerNew(job, conn, dconnuri, destName);
    migJobEnter(job);
    ok = migPeerRun(job, &migPeerOpsReal, peer, &task, &error);
    migJobLeave(job);
    migPeerFree(peer);

    virObjectLock(vm);
    /* Still there only when in doubt. */
    if (DRV_DOMAIN(vm)->mig && DRV_DOMAIN(vm)->mig->job)
        migJobDisown(vm);
    return ok ? 0 : reportGError(g_steal_pointer(&error));
}
