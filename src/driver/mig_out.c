/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_out.c: the source's calls on a real domain: begin, perform, confirm, and all of them peer-to-peer */
#include <config.h>

#include "driver/call.h"
#include "driver/mig_calls.h"
#include "driver/mig_priv.h"
#include "driver/report.h"

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

static void
outSpec(virDomainObj *vm, const migParams *params, vmmMigSpec *spec)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    memset(spec, 0, sizeof(*spec));
    spec->live = params->live;
    spec->pauseBeforeSwitchover = priv->vmm->traits->canPauseBeforeSwitchover;
    spec->maxBandwidth = (params->bandwidthGiven ? params->bandwidthMiBs : priv->migMaxSpeedMiBs) * 1024 * 1024;
    spec->maxDowntimeMs = priv->migMaxDowntimeMs;
    spec->autoConverge = params->autoConverge;
    spec->autoConvergeInitial = params->autoConvergeInitial;
    spec->autoConvergeIncrement = params->autoConvergeIncrement;
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

char *
migOutBegin(virDomainObj *vm, migParams *params, unsigned long flags,
            const migCookieIo *io, migJob **retJob)
{
    g_autoptr(migJob) job = NULL;
    g_autofree char *xml = NULL;
    migRecord record = { .side = MIG_SIDE_SOURCE, .phase = MIG_PHASE_IDLE };
    migSourceFacts facts;
    bool ok;

    if (callCheckActive(vm) < 0 || outCheckIdle(vm) < 0 || !(xml = outXml(vm, params)))
        return NULL;
    migSourceFactsFill(vm, &facts);
    if ((job = migJobAttach(vm, &record, flags))) {
        ok = virDomainObjIsActive(vm) && outBeginJob(vm, job, &facts, params, io);
        if (!ok)
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
    outSpec(vm, params, &spec);
    vm->job->asyncOwner = virThreadSelfID();
    virObjectUnlock(vm);

    /* The client stays watched: when it dies, the transfer is given up. */
    migJobEnter(job);
    ok = migSourcePerform(job, &spec, params->uri, persistentXml, io, &error);
    migJobLeave(job);

    virObjectLock(vm);
    if (ok) {
        migWatchClient(vm, conn);
        migJobDisown(vm);
        return 0;
    }
    migUnwatchClient(vm, conn);
    return reportGError(g_steal_pointer(&error));
}

int
migOutConfirm(virDomainObj *vm, virConnectPtr conn, bool cancelled, const char *cookie, int cookieLen)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;
    g_autoptr(migJob) job = NULL;
    g_autoptr(GError) error = NULL;
    bool ok;

    migUnwatchClient(vm, conn);
    /* A failed Perform has settled everything; so may the link have done. */
    if (!mig || !mig->job)
        return 0;
    if (!(job = migJobOf(vm, MIG_SIDE_SOURCE)))
        return -1;
    virObjectUnlock(vm);
    migJobEnter(job);
    ok = migSourceConfirm(job, cancelled, cookie, cookieLen, &error);
    migJobLeave(job);
    virObjectLock(vm);
    return ok ? 0 : reportGError(g_steal_pointer(&error));
}

int
migOutPeer(virDomainObj *vm, const char *dconnuri, migParams *params, unsigned long flags)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;
    g_autofree char *persistentXml = NULL;
    g_autofree char *destName = NULL;
    g_autofree char *cookie = NULL;
    g_autofree char *xml = NULL;
    g_autoptr(migJob) job = NULL;
    g_autoptr(GError) error = NULL;
    vmmMigSpec spec;
    migPeerTask task = { .spec = &spec };
    void *peer;
    migCookieIo io = { NULL, 0, &cookie, &task.cookieLen };
    bool ok;

    if (callCheckActive(vm) < 0 || outPersistentXml(vm, params, &persistentXml) < 0)
        return -1;
    outSpec(vm, params, &spec);
    destName = g_strdup(params->destName ? params->destName : vm->def->name);
    if (!(xml = migOutBegin(vm, params, flags, &io, &job)))
        return -1;
    virObjectUnlock(vm);

    task.xml = xml;
    task.persistentXml = persistentXml;
    task.cookie = cookie;
    peer = migPeerNew(job, dconnuri, drv, destName);
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
