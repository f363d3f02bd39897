/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig.c: the seam between a domain's everyday life and its migrations, see mig.h
 */
#include <config.h>

#include "driver/mig_calls.h"
#include "driver/mig_priv.h"
#include "driver/process.h"
#include "driver/report.h"

#include "viralloc.h"
#include "virclosecallbacks.h"
#include "virerror.h"
#include "virlog.h"
#include "virstring.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

VIR_LOG_INIT("stratovirt.mig");

/* libvirt calls these three without asking whether they are there. */
static void *
migJobDataNew(void)
{
    return NULL;
}

static void *
migJobDataCopy(void *data G_GNUC_UNUSED)
{
    return NULL;
}

static void
migJobDataFree(void *data G_GNUC_UNUSED)
{
}

virDomainJobObjConfig migJobObjConfig = {
    .jobDataPrivateCb = {
        .allocPrivateData = migJobDataNew,
        .copyPrivateData = migJobDataCopy,
        .freePrivateData = migJobDataFree,
    },
};

drvMig *
migOf(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    if (!priv->mig)
        priv->mig = g_new0(drvMig, 1);
    return priv->mig;
}

void
migFree(drvMig *mig)
{
    if (!mig)
        return;
    migJobUnref(mig->job);
    migRecordClear(&mig->record);
    migStatsClear(&mig->completed);
    g_free(mig->doubt);
    g_free(mig);
}

/* ---- taking and leaving ---- */

/* Take libvirt's async job for a migration. Domain locked, the lock may be dropped. */
static int
migTakeAsyncJob(virDomainObj *vm, bool out, unsigned long apiFlags)
{
    if (virDomainObjBeginAsyncJob(vm, out ? VIR_ASYNC_JOB_MIGRATION_OUT : VIR_ASYNC_JOB_MIGRATION_IN,
                                  out ? VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT :
                                  VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN, apiFlags) < 0)
        return -1;
    /* A user may stop the guest to end a migration that does not converge; on the destination he is told at once why not. */
    vm->job->mask = VIR_JOB_DEFAULT_MASK | JOB_MASK(VIR_JOB_MIGRATION_OP) |
        JOB_MASK(VIR_JOB_MODIFY_MIGRATION_SAFE) | JOB_MASK(VIR_JOB_SUSPEND);
    migOf(vm)->asyncJob = true;
    return 0;
}

migJob *
migJobAttach(virDomainObj *vm, const migRecord *record, unsigned long apiFlags)
{
    drvMig *mig;

    if (migTakeAsyncJob(vm, record->side == MIG_SIDE_SOURCE, apiFlags) < 0)
        return NULL;
    mig = migOf(vm);
    mig->job = migJobNew(DRV_DOMAIN(vm)->drv->mig, record, &migHostOpsReal, migHostNew(vm), migHostFree);
    migJobSetConn(mig->job, migConnOfCaller());
    return migJobRef(mig->job);
}

int
migJobAdopt(virDomainObj *vm, migJob *job, unsigned long apiFlags)
{
    if (migTakeAsyncJob(vm, false, apiFlags) < 0)
        return -1;
    migJobSetHost(job, migHostNew(vm), migHostFree);
    migOf(vm)->job = migJobRef(job);
    return 0;
}

void
migJobDetach(virDomainObj *vm)
{
    drvMig *mig = migOf(vm);

    if (mig->job)
        migJobLeaveSlot(mig->job);
    g_clear_pointer(&mig->job, migJobUnref);
    migRecordClear(&mig->record);
    memset(&mig->record, 0, sizeof(mig->record));
    mig->handedOver = false;
    memset(&mig->tuning, 0, sizeof(mig->tuning));
    mig->coordinator = NULL;
    mig->tunnelConn = NULL;
    if (mig->asyncJob) {
        mig->asyncJob = false;
        virDomainObjEndAsyncJob(vm);
    }
}

migJob *
migJobOf(virDomainObj *vm, migSide side)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;

    if (mig && !mig->job && mig->hasCompleted && mig->completed.side == side && !mig->completed.saveOperation && mig->completed.errorText) {
        /* The coordinator is in the middle of it, and has not heard yet. */
        virReportError(mig->completed.result == MIG_RESULT_CANCELLED ? VIR_ERR_OPERATION_ABORTED : VIR_ERR_OPERATION_INVALID,
                       _("the migration of domain '%1$s' is over: %2$s"), vm->def->name, mig->completed.errorText);
        return NULL;
    }
    if (!mig || !mig->job || mig->record.side != side) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       side == MIG_SIDE_SOURCE ?
                       _("domain '%1$s' is not being migrated away") :
                       _("domain '%1$s' is not being migrated to this host"),
                       vm->def->name);
        return NULL;
    }
    return migJobRef(mig->job);
}

void
migJobDisown(virDomainObj *vm)
{
    vm->job->asyncOwner = 0;
}

/* Runs with the domain locked, so the job is only told. */
static void
migClientGone(virDomainObj *vm, virConnectPtr conn G_GNUC_UNUSED)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;

    if (mig && mig->job)
        migJobPost(mig->job, MIG_SIGNAL_LOST);
}

void
migWatchClient(virDomainObj *vm, virConnectPtr conn)
{
    if (!virCloseCallbacksDomainIsRegistered(vm, conn, migClientGone))
        virCloseCallbacksDomainAdd(vm, conn, migClientGone);
}

void
migUnwatchClient(virDomainObj *vm, virConnectPtr conn)
{
    virCloseCallbacksDomainRemove(vm, conn, migClientGone);
}

void
migUnwatchClients(virDomainObj *vm)
{
    /* Without a connection: of all connections. */
    virCloseCallbacksDomainRemove(vm, NULL, migClientGone);
}

/* ---- status XML ---- */

static void
migFormatAddresses(virBuffer *buf, const migRecord *record)
{
    size_t i;

    for (i = 0; record->peerAddresses && record->peerAddresses[i]; i++)
        virBufferEscapeString(buf, "<address value='%s'/>\n", record->peerAddresses[i]);
}

int
migFormatStatus(virBuffer *buf, virDomainObj *vm)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;
    g_autofree char *token = NULL;
    const migRecord *record;

    if (!mig || !mig->record.uuid)
        return 0;
    record = &mig->record;
    virBufferAsprintf(buf, "<migration uuid='%s' side='%s' phase='%s' started='%lld'",
                      record->uuid, record->side == MIG_SIDE_SOURCE ? "source" : "destination",
                      migPhaseName(record->phase), (long long)record->startedMs);
    if (record->direct)
        virBufferAddLit(buf, " direct='yes'");
    if (record->start != MIG_START_NONE)
        virBufferAsprintf(buf, " start='%s'", record->start == MIG_START_PENDING ? "pending" : "released");
    virBufferAsprintf(buf, " wasRunning='%s' startPaused='%s' undefine='%s'>\n",
                      record->wasRunning ? "yes" : "no", record->startPaused ? "yes" : "no",
                      record->undefineSource ? "yes" : "no");
    virBufferAdjustIndent(buf, 2);
    virBufferAddLit(buf, "<peer");
    virBufferEscapeString(buf, " host='%s'", record->peerHost);
    if (record->peerPort)
        virBufferAsprintf(buf, " port='%u'", record->peerPort);
    if (record->peerAskPort)
        virBufferAsprintf(buf, " askPort='%u'", record->peerAskPort);
    virBufferEscapeString(buf, " migration='%s'", record->peerUuid);
    if (record->hasToken) {
        token = helloTokenToHex(record->token);
        virBufferAsprintf(buf, " token='%s'", token);
    }
    if (record->keys)
        virBufferAsprintf(buf, " keys='%s'", migKeysToString(record->keys));
    virBufferEscapeString(buf, " tlsName='%s'", record->tlsName);
    virBufferAddLit(buf, ">\n");
    virBufferAdjustIndent(buf, 2);
    migFormatAddresses(buf, record);
    virBufferAdjustIndent(buf, -2);
    virBufferAddLit(buf, "</peer>\n");
    virBufferAdjustIndent(buf, -2);
    virBufferAddLit(buf, "</migration>\n");
    return 0;
}

static bool
migParseYes(xmlNodePtr node, const char *name)
{
    g_autofree char *value = virXMLPropString(node, name);

    return value && STREQ(value, "yes");
}

static int
migParsePeer(xmlXPathContextPtr ctxt, migRecord *record)
{
    g_autofree char *token = virXPathString("string(./migration/peer/@token)", ctxt);
    g_autofree char *secured = virXPathString("string(./migration/peer/@keys)", ctxt);
    g_autofree xmlNodePtr *nodes = NULL;
    int n = virXPathNodeSet("./migration/peer/address", ctxt, &nodes);
    int i;

    if (n < 0)
        return -1;
    record->peerHost = virXPathString("string(./migration/peer/@host)", ctxt);
    record->peerUuid = virXPathString("string(./migration/peer/@migration)", ctxt);
    record->tlsName = virXPathString("string(./migration/peer/@tlsName)", ctxt);
    if (secured && !migKeysFromString(secured, &record->keys))
        return -1;
    if (virXPathUInt("string(./migration/peer/@port)", ctxt, &record->peerPort) == -2 ||
        virXPathUInt("string(./migration/peer/@askPort)", ctxt, &record->peerAskPort) == -2)
        return -1;
    if (token) {
        record->hasToken = helloTokenFromHex(token, record->token);
        if (!record->hasToken)
            return -1;
    }
    record->peerAddresses = g_new0(char *, n + 1);
    for (i = 0; i < n; i++)
        record->peerAddresses[i] = virXMLPropString(nodes[i], "value");
    return 0;
}

int
migParseStatus(xmlXPathContextPtr ctxt, virDomainObj *vm)
{
    xmlNodePtr node = virXPathNode("./migration", ctxt);
    g_autofree char *side = NULL;
    g_autofree char *phase = NULL;
    g_autofree char *start = NULL;
    long long started = 0;
    migRecord *record;

    if (!node)
        return 0;
    record = &migOf(vm)->record;
    side = virXMLPropString(node, "side");
    phase = virXMLPropString(node, "phase");
    record->uuid = virXMLPropString(node, "uuid");
    if (!record->uuid || !side || !phase || !migPhaseFromName(phase, &record->phase) ||
        migParsePeer(ctxt, record) < 0) {
        virReportError(VIR_ERR_INTERNAL_ERROR,
                       _("the status file of domain '%1$s' has a malformed migration record"),
                       vm->def->name);
        return -1;
    }
    record->side = migPhaseInfo(record->phase)->side;
    record->wasRunning = migParseYes(node, "wasRunning");
    record->startPaused = migParseYes(node, "startPaused");
    record->undefineSource = migParseYes(node, "undefine");
    record->direct = migParseYes(node, "direct");
    start = virXMLPropString(node, "start");
    record->start = !start ? MIG_START_NONE : STREQ(start, "pending") ? MIG_START_PENDING : MIG_START_RELEASED;
    if (virXPathLongLong("string(./migration/@started)", ctxt, &started) == 0)
        record->startedMs = started;
    return 0;
}

/* ---- the VMM speaks ---- */

bool
migVmmEvent(virDomainObj *vm, const vmmEvent *event)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;
    int reason;

    if (!mig || !mig->job)
        return false;
    switch (event->kind) {
    case VMM_EVENT_MIGRATION:
    case VMM_EVENT_MIGRATION_PASS:
        migJobPost(mig->job, MIG_SIGNAL_VMM);
        return true;
    case VMM_EVENT_IO_ERROR:
        if (event->ioErrorStops)
            migJobPost(mig->job, MIG_SIGNAL_IO_ERROR);
        return false;
    case VMM_EVENT_STOP:
        /* The stop of the switch-over is the migration's; guestFrozen() shows it.  A user's is his own: the API
         * has set the state before the event comes. */
        return virDomainObjGetState(vm, &reason) == VIR_DOMAIN_RUNNING || reason == VIR_DOMAIN_PAUSED_MIGRATION;
    case VMM_EVENT_RESUME:
        mig->resumed = true;
        virDomainObjBroadcast(vm);
        return true;
    default:
        return false;
    }
}

int
migVmmGone(virDomainObj *vm)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;

    if (!mig || !mig->job)
        return -1;
    migJobPost(mig->job, MIG_SIGNAL_VMM_GONE);
    return mig->record.side == MIG_SIDE_DEST ? VIR_DOMAIN_SHUTOFF_FAILED : -1;
}

/* ---- administrators ---- */

/* @wait: for whoever moves the migration just now; else 0 if there is somebody. */
static int
migAdminFire(virDomainObj *vm, migEvent event, bool wait)
{
    g_autoptr(migJob) job = migJobRef(DRV_DOMAIN(vm)->mig->job);
    g_autoptr(GError) error = NULL;
    bool ok;

    if (!wait && !migJobTryEnter(job))
        return 0;
    virObjectUnlock(vm);
    if (wait)
        migJobEnter(job);
    ok = migJobFire(job, event, &error);
    if (ok && migPhaseInfo(migJobPhase(job))->final)
        migJobFinishAdmin(job);
    migJobLeave(job);
    virObjectLock(vm);
    if (ok)
        return 1;
    return reportGError(g_steal_pointer(&error));
}

int
migAdminResume(virDomainObj *vm)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;

    if (!mig || !mig->job)
        return 0;
    if (migPhaseMove(mig->record.phase, MIG_EVENT_ADMIN_RESUME)) {
        VIR_WARN("domain '%s' is resumed by an administrator although its migration to host '%s' is in doubt",
                 vm->def->name, NULLSTR(mig->record.peerHost));
        return migAdminFire(vm, MIG_EVENT_ADMIN_RESUME, true);
    }
    /* It may have captured the state already, which nobody is told before it is complete. */
    if (DRV_DOMAIN(vm)->vmm && DRV_DOMAIN(vm)->vmm->traits->guide &&
        (mig->record.phase == MIG_PHASE_PERFORMING || mig->record.phase == MIG_PHASE_ABORTING)) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("domain '%1$s' cannot be resumed while its VMM sends it, since it would run on after its state has been taken; abort the migration first, or resume the domain afterwards"),
                       vm->def->name);
        return -1;
    }
    /* A user suspended it while it was sent, and thinks better of it. */
    if (migPhaseInfo(mig->record.phase)->mayRun && !mig->handedOver && !migDestStartFailed(mig->job))
        return 0;
    virReportError(VIR_ERR_OPERATION_INVALID,
                   _("domain '%1$s' cannot be resumed: its migration is in phase '%2$s' (%3$s)"),
                   vm->def->name, migPhaseName(mig->record.phase), _(migPhaseInfo(mig->record.phase)->meaning));
    return -1;
}

void
migNoteCoordinator(virDomainObj *vm, virConnectPtr conn)
{
    drvMig *mig = migOf(vm);

    /* A second one is about to be refused. */
    if (!mig->job || !mig->coordinator)
        mig->coordinator = conn;
}

virDomainPausedReason
migSuspendReason(virDomainObj *vm, virConnectPtr conn)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;

    return mig && mig->job && mig->coordinator == conn ? VIR_DOMAIN_PAUSED_MIGRATION : VIR_DOMAIN_PAUSED_USER;
}

int
migAdminSuspend(virDomainObj *vm)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;

    if (!mig || !mig->job)
        return 0;
    /* From now on it counts when the VMM lets the guest run by itself. */
    mig->resumed = false;
    if (mig->record.side == MIG_SIDE_SOURCE || migPhaseInfo(mig->record.phase)->mayRun)
        return 0;
    virReportError(VIR_ERR_OPERATION_INVALID,
                   _("domain '%1$s' is arriving and does not run here yet; suspend it on the source, from where it then arrives suspended"),
                   vm->def->name);
    return -1;
}

/*
 * Everything sent, or in doubt: the table knows what an administrator's end means then.  In every other phase, and while somebody
 * moves the migration, the caller goes on to end the VMM, of which the job hears as of every other end.
 */
int
migAdminDestroy(virDomainObj *vm)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;

    if (!mig || !mig->job)
        return 0;
    VIR_WARN("domain '%s' is destroyed in migration phase '%s'",
             vm->def->name, migPhaseName(mig->record.phase));
    if (migPhaseMove(mig->record.phase, MIG_EVENT_ADMIN_DESTROY))
        return migAdminFire(vm, MIG_EVENT_ADMIN_DESTROY, false);
    return 0;
}

/* Domain locked, a migration runs. */
static char *
migQueueMessage(drvMig *mig)
{
    g_auto(migStats) stats = { 0 };
    bool out;

    migJobGetStats(mig->job, &stats);
    if (stats.queuePosition == 0)
        return NULL;
    out = stats.side == MIG_SIDE_SOURCE;
    return g_strdup_printf(out ?
                           _("The migration waits for %1$u other migrations; %2$u guests may leave this host at the same time ('%3$s' in stratovirt.conf)") :
                           _("The migration waits for %1$u other migrations; %2$u guests may arrive at this host at the same time ('%3$s' in stratovirt.conf)"),
                           stats.queueOthers, stats.queueLimit, migGateKey(out ? MIG_GATE_OUT : MIG_GATE_IN));
}

char *
migMessage(virDomainObj *vm)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;

    if (!mig || mig->doubt || !mig->job)
        return mig ? g_strdup(mig->doubt) : NULL;
    return migQueueMessage(mig);
}

/* ---- after a restart of the daemon ---- */

bool
migIsKnown(virDomainObj *vm)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;

    return mig && mig->record.uuid;
}

void
migReconnectSoon(virDomainObj *vm)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;

    if (mig && mig->record.uuid && mig->record.start != MIG_START_NONE)
        migLedgerDoubt(DRV_DOMAIN(vm)->drv->mig->ledger, mig->record.uuid, true);
}

/* Frozen for good, or waiting for a stream that will never come. */
bool
migKeepsSilent(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    g_autoptr(migLedgerEntry) entry = NULL;
    const migRecord *record;

    if (!priv->mig || !priv->mig->record.uuid || !priv->vmm)
        return false;
    record = &priv->mig->record;
    if (record->side == MIG_SIDE_SOURCE)
        return priv->vmm->traits->resumesByItself && !migPhaseInfo(record->phase)->mayRun;
    /* The ledger is written first. */
    return !priv->vmm->traits->controlWhileIncoming && record->phase != MIG_PHASE_COMMITTED &&
        !(migLedgerFind(priv->drv->mig->ledger, record->uuid, &entry) && entry->outcome == MIG_OUTCOME_COMMITTED);
}

bool
migMayBeFrozen(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    const drvMig *mig = priv->mig;

    return mig && mig->record.uuid && !mig->job && mig->record.side == MIG_SIDE_SOURCE && priv->vmm &&
        priv->vmm->traits->resumesByItself && migPhaseInfo(mig->record.phase)->mayRun;
}

bool
migKeepStatus(virDomainObj *vm)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;

    if (!mig || !mig->job || mig->record.side != MIG_SIDE_DEST || mig->record.start == MIG_START_NONE)
        return false;
    mig->statusKept = true;
    return true;
}

bool
migStatusKept(virDomainObj *vm)
{
    const drvMig *mig = DRV_DOMAIN(vm)->mig;

    return mig && mig->statusKept;
}

void
migReconnect(virDomainObj *vm, bool alive)
{
    drvMig *mig = DRV_DOMAIN(vm)->mig;
    g_autoptr(migJob) job = NULL;
    migRecord record;

    if (!mig || !mig->record.uuid || mig->job)
        return;
    /* The caller's job would keep the migration's own out; it gets one back that every migration lets in. */
    virDomainObjEndJob(vm);
    /* Later the guest may be elsewhere, and what lies beside its disks another host's. */
    if (mig->record.side == MIG_SIDE_SOURCE && migPhaseInfo(mig->record.phase)->mayRun)
        migDisksSweep(vm);
    migRecordCopy(&record, &mig->record);
    job = migJobAttach(vm, &record, 0);
    migRecordClear(&record);
    if (job) {
        migJobTryEnter(job);
        if (DRV_DOMAIN(vm)->vmm)
            migJobSetVmm(job, DRV_DOMAIN(vm)->vmm->traits);
        virObjectUnlock(vm);
        migRecover(job, alive);
        virObjectLock(vm);
        migJobDisown(vm);
    } else {
        VIR_ERROR(_("cannot recover the migration of domain '%1$s': %2$s"),
                  vm->def->name, virGetLastErrorMessage());
    }
    if (virDomainObjBeginJob(vm, VIR_JOB_QUERY) < 0) {
        /* One that belongs elsewhere is removed by now, and nobody else comes for it. */
        if (!vm->removing)
            VIR_WARN("domain '%s' is busy: %s, ignoring", vm->def->name, virGetLastErrorMessage());
        virResetLastError();
    }
}
