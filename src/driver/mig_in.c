/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_in.c: the destination's calls on a real domain: prepare and finish */
#include <config.h>

#include "driver/call.h"
#include "driver/hook.h"
#include "driver/mig_calls.h"
#include "driver/mig_in_priv.h"
#include "driver/mig_priv.h"
#include "driver/mig_tunnel.h"
#include "driver/process.h"
#include "driver/report.h"
#include "migration/files.h"
#include "migration/offline.h"
#include "migration/way.h"
#include "remote/uri.h"

#include "datatypes.h"
#include "domain_event.h"
#include "virerror.h"
#include "virlog.h"
#include "viruuid.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

VIR_LOG_INIT("stratovirt.mig_in");

/* ---- prepare ---- */

static void
inFindClashes(drvState *drv, const virDomainDef *def, migDestFacts *facts, char **existingName)
{
    virDomainObj *vm = virDomainObjListFindByUUID(drv->domains, def->uuid);

    if (vm) {
        facts->uuidActive = virDomainObjIsActive(vm) || vm->job->asyncJob != VIR_ASYNC_JOB_NONE;
        facts->nameDiffers = STRNEQ(vm->def->name, def->name);
        *existingName = g_strdup(vm->def->name);
        virDomainObjEndAPI(&vm);
        facts->existingName = *existingName;
        return;
    }
    vm = virDomainObjListFindByName(drv->domains, def->name);
    facts->nameTaken = vm != NULL;
    virDomainObjEndAPI(&vm);
}

static GPtrArray *
inProveDisks(drvState *drv, const virDomainDef *def, const migCookie *remote)
{
    g_autoptr(GPtrArray) disks = migDisksOf(def);
    char uuid[VIR_UUID_STRING_BUFLEN];

    /* What stands for a source that has not spoken yet. */
    if (!remote->instance)
        return NULL;
    virUUIDFormat(def->uuid, uuid);
    return migStorageProve(remote->disks, disks, uuid, drv->mig->hostName, remote->hostName);
}

/* The socket for several connections; the domain has no id yet, so it may become longer by some digits. Caller frees. */
static char *
inChannelPath(drvState *drv, const virDomainDef *def)
{
    g_autofree char *name = virDomainDefGetShortName(def);
    g_autofree char *control = NULL;

    if (!name) {
        virResetLastError();
        return NULL;
    }
    control = g_strdup_printf("%s/domain-%s/control.sock", drv->libDir, *name == '-' ? name + 1 : name);
    return migChannelPath(control);
}

/* Could a source connect?  Nothing stays open.  NULL, or why not; caller frees. */
static char *
inTryPort(drvState *drv, const migParams *params)
{
    const migEnv *env = drv->mig;
    const char *address = params->listenAddress ? params->listenAddress : env->listenAddress;
    g_autoptr(uri) u = NULL;
    g_autoptr(GError) error = NULL;
    unsigned port = env->port;

    if (params->uri && !(u = uriParse(params->uri, &error)))
        return g_strdup(error->message);
    if (u && u->port)
        port = u->port;
    if (!(u && u->host) && (!env->addresses || !env->addresses[0]))
        return g_strdup(_("no address is known; set migration_address in stratovirt.conf or give a migration URI."));
    if (!listenerBind(env->listen, address, port, &error))
        return g_strdup(error->message);
    listenerUnbind(env->listen, address, port);
    return NULL;
}

/* Why the processor here will not do, in libvirt's words, or NULL; caller frees. */
static char *
inCpuTrouble(drvState *drv, const virDomainDef *def)
{
    char *ret;

    if (domainCheckCpu(drv, def, def->virtType == VIR_DOMAIN_VIRT_KVM) == 0)
        return NULL;
    ret = g_strdup(virGetLastErrorMessage());
    virResetLastError();
    return ret;
}

int
migInCheck(drvState *drv, const virDomainDef *def, const migCookie *remote, const migParams *params,
           bool waits, const vmmInfo **retVmm)
{
    g_autofree char *existingName = NULL;
    g_autoptr(GPtrArray) unproved = NULL;
    g_autoptr(GPtrArray) missing = NULL;
    g_autofree char *hostCpu = NULL;
    g_autofree char *cpuTrouble = NULL;
    g_autofree char *portTrouble = NULL;
    g_autofree char *way = NULL;
    g_autoptr(GError) noWay = NULL;
    g_autofree char *channelPath = inChannelPath(drv, def);
    g_autoptr(GError) error = NULL;
    migDestFacts facts = {
        .hostUuid = drv->mig->hostUuid, .bootId = drv->mig->bootId, .instance = drv->mig->instance,
        .hostName = drv->mig->hostName, .machine = def->os.machine,
        .arch = virArchToString(def->os.arch), .tcg = def->virtType == VIR_DOMAIN_VIRT_QEMU,
        .emulator = def->emulator, .memoryKiB = virDomainDefGetMemoryTotal(def),
        .vcpus = virDomainDefGetVcpus(def), .channelPath = channelPath,
    };

    /* In version 2 it is here already when its source speaks. */
    if (!waits)
        inFindClashes(drv, def, &facts, &existingName);
    facts.emulatorMissing = !def->emulator || !g_file_test(def->emulator, G_FILE_TEST_IS_EXECUTABLE);
    if (!facts.emulatorMissing) {
        if (!(facts.vmm = stateProbe(drv, def->emulator)))
            return -1;
        facts.maxVcpus = def->os.machine ? vmmMaxCpus(facts.vmm, def->os.machine) : facts.vmm->maxCpus;
    }
    facts.missing = missing = migDevicesMissing(def, params->unsafe);
    facts.hostCpu = hostCpu = migHostCpu();
    migFactsMemory(&facts);
    facts.cpuModel = def->cpu && def->cpu->mode == VIR_CPU_MODE_CUSTOM ? def->cpu->model : NULL;
    facts.cpuTrouble = cpuTrouble = inCpuTrouble(drv, def);
    facts.cpuMaximum = def->cpu && def->cpu->mode == VIR_CPU_MODE_MAXIMUM;
    if (remote->dryRun || params->dryRun)
        facts.portTrouble = portTrouble = inTryPort(drv, params);
    /* A definition alone goes with the cookies. */
    if ((remote->dryRun || params->dryRun) && !params->offline && remote->hasWay &&
        !migWayForecast(drv->mig, migConnOfCaller(), params, remote, &way, &noWay))
        facts.channelTrouble = noWay->message;
    facts.channel = way;
    facts.unproved = unproved = inProveDisks(drv, def, remote);
    if (!migCheckDest(&facts, remote, params, &error))
        return reportGError(g_steal_pointer(&error));
    *retVmm = facts.vmm;
    return 0;
}

void
migInUndo(virDomainObj *vm)
{
    if (processStop(vm, VIR_DOMAIN_SHUTOFF_FAILED))
        domainEvent(vm, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
    migJobDetach(vm);
    virDomainObjRemoveTransientDef(vm);
    domainRemoveInactive(vm);
}

bool
migInStart(virDomainObj *vm, migJob *job, const inPrepare *in, GError **error)
{
    g_autofree char *machine = g_strdup(vm->def->os.machine);
    migDestFacts facts = {
        .machine = machine, .arch = virArchToString(vm->def->os.arch), .vmm = in->vmm,
        .tcg = vm->def->virtType == VIR_DOMAIN_VIRT_QEMU,
    };
    bool ok;

    if (processStart(vm, in->dconn, PROCESS_START_INCOMING | PROCESS_START_PAUSED | (in->remote->files ? PROCESS_START_LATER : 0),
                     VIR_DOMAIN_RUNNING_MIGRATED) < 0) {
        migDestRelease(job);
        /* Then the start failed because the VMM was killed for it. */
        migDestAborted(job, error);
        return false;
    }
    domainEvent(vm, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
    virObjectUnlock(vm);
    ok = migDestPrepare(job, in->remote, &facts, in->io, in->uriOut, error);
    virObjectLock(vm);
    return ok;
}

/* Domain locked; false with the libvirt error set: the caller undoes. */
static bool
inPrepareJob(virDomainObj *vm, migJob *job, migParams *params, const inPrepare *in)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(migCaller) caller = migCallerWatch(job, DRV_DOMAIN(vm)->drv);
    bool ok;

    if (in->version < 3)
        migInExpectOffer(job, vm);
    virObjectUnlock(vm);
    migJobEnter(job);
    /* In version 2 the source asks for the slot, see gate.h. */
    ok = (in->version < 3 || migJobTakeSlot(job, &error)) && migDestListen(job, in->remote, params, &error);
    virObjectLock(vm);
    ok = ok && migInStart(vm, job, in, &error);
    migJobLeave(job);
    if (error)
        reportGError(g_steal_pointer(&error));
    return ok;
}

virDomainDef *
migInParse(drvState *drv, const char *xml, const char *destName)
{
    virDomainDef *def = virDomainDefParseString(xml, drv->xmlopt, NULL, VIR_DOMAIN_DEF_PARSE_INACTIVE |
                                                VIR_DOMAIN_DEF_PARSE_ABI_UPDATE_MIGRATION);

    if (def && destName) {
        g_free(def->name);
        def->name = g_strdup(destName);
    }
    return def;
}

/* Version 2 knows nothing of the source before the offer: in its place what is known, so that the rest can be judged now. */
static migCookie *
inUnknownSource(drvState *drv, const virDomainDef *def, const migParams *params)
{
    const vmmInfo *vmm = def->emulator ? stateProbe(drv, def->emulator) : NULL;
    migCookie *remote = g_new0(migCookie, 1);
    char uuid[VIR_UUID_STRING_BUFLEN];

    virResetLastError();
    virUUIDFormat(def->uuid, uuid);
    remote->uuid = g_uuid_string_random();
    remote->domainUuid = g_strdup(uuid);
    remote->domainName = g_strdup(def->name);
    remote->hostName = g_strdup("?");
    remote->vmmName = g_strdup(vmm ? vmm->traits->name : "?");
    remote->vmmVersion = vmm ? vmm->version : 0;
    remote->machine = g_strdup(def->os.machine);
    remote->arch = g_strdup(virArchToString(def->os.arch));
    remote->tcg = def->virtType == VIR_DOMAIN_VIRT_QEMU;
    remote->files = vmm && migFilesWanted(vmm, remote->tcg, params);
    remote->memoryKiB = virDomainDefGetMemoryTotal(def);
    remote->vcpus = virDomainDefGetVcpus(def);
    return remote;
}

static int
inCheckStream(const migInCall *call, const migParams *params)
{
    if (params->tunnelled == (call->st != NULL))
        return 0;
    if (call->st)
        virReportError(VIR_ERR_INVALID_ARG, "%s", _("a stream came with a migration that is not tunnelled"));
    else
        virReportError(VIR_ERR_INVALID_ARG, "%s", _("no stream came with a migration that is tunnelled"));
    return -1;
}

/* Domain locked; false with the libvirt error set: the caller undoes. */
static bool
inPrepareAll(virDomainObj *vm, migJob *job, migParams *params, const migCookie *remote, const inPrepare *in, virStreamPtr st)
{
    if (params->offline)
        return migOfflinePrepareJob(vm, job, params, remote, in->uriOut);
    if (st)
        migOf(vm)->tunnelConn = in->dconn;
    return inPrepareJob(vm, job, params, in) && (!st || migTunnelTakeStream(job, st) == 0);
}

int
migInPrepare(const migInCall *call, virDomainDef *takenDef, migParams *params, const migCookieIo *io, char **uriOut)
{
    drvState *drv = call->dconn->privateData;
    g_autoptr(virDomainDef) def = takenDef;
    g_autoptr(migCookie) remote = NULL;
    g_autoptr(migJob) job = NULL;
    g_autoptr(GError) error = NULL;
    migRecord record = { .side = MIG_SIDE_DEST, .phase = MIG_PHASE_ABSENT };
    inPrepare in = { .dconn = call->dconn, .version = call->version, .flags = call->flags, .io = io, .uriOut = uriOut };
    char uuid[VIR_UUID_STRING_BUFLEN];
    virDomainObj *vm = NULL;
    int ret = -1;

    if (inCheckStream(call, params) < 0)
        return -1;
    if (call->version >= 3 && !(remote = migCookieParse(io->in, io->inLen, MIG_STEP_BEGIN, &error)))
        return reportGError(g_steal_pointer(&error));
    if (hookFilterIncoming(drv, &def, params->dryRun || (remote && remote->dryRun)) < 0)
        return -1;
    if (!remote)
        remote = inUnknownSource(drv, def, params);
    remote->dryRun = remote->dryRun || params->dryRun;
    virUUIDFormat(def->uuid, uuid);
    if (STRNEQ(uuid, remote->domainUuid)) {
        virReportError(VIR_ERR_INVALID_ARG, _("the migration cookie is about domain '%1$s', the XML about '%2$s'"),
                       remote->domainUuid, uuid);
        return -1;
    }
    in.remote = remote;
    if (migInCheck(drv, def, remote, params, false, &in.vmm) < 0)
        return -1;

    if (!(vm = virDomainObjListAdd(drv->domains, &def, drv->xmlopt,
                                   VIR_DOMAIN_OBJ_LIST_ADD_LIVE | VIR_DOMAIN_OBJ_LIST_ADD_CHECK_LIVE, NULL)))
        return -1;
    record.uuid = remote->uuid;
    if ((job = migJobAttach(vm, &record, call->flags)) &&
        inPrepareAll(vm, job, params, remote, &in, call->st)) {
        migWatchClient(vm, call->dconn);
        migJobDisown(vm);
        ret = 0;
    } else {
        migInUndo(vm);
    }
    virDomainObjEndAPI(&vm);
    return ret;
}

/* ---- finish ---- */

typedef struct {
    virDomainObj *vm;
    drvState *drv;
    bool wanted;
    bool done;                   /* the definition has been stored */
    bool wasPersistent;
    virDomainDef *before;        /* the persistent definition that was there */
} inPersist;

/* Before the commit, so that a full disk is the migration's failure and not a surprise later. */
static bool
inPersistDef(void *opaque, const char *xml, GError **error)
{
    inPersist *persist = opaque;
    virDomainObj *vm = persist->vm;
    drvState *drv = persist->drv;
    g_autoptr(virDomainDef) def = NULL;
    bool ok = false;

    if (!persist->wanted)
        return true;
    if (xml)
        def = virDomainDefParseString(xml, drv->xmlopt, NULL,
                                      VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE);
    if (def && domainCheckTargets(def) < 0)
        g_clear_pointer(&def, virDomainDefFree);
    virObjectLock(vm);
    if (!xml)
        def = virDomainDefCopy(vm->def, drv->xmlopt, NULL, true);
    if (def) {
        g_free(def->name);
        def->name = g_strdup(vm->def->name);
        persist->wasPersistent = vm->persistent;
        ok = virDomainDefSave(def, drv->xmlopt, drv->configDir) == 0;
    }
    if (ok) {
        persist->done = true;
        persist->before = vm->newDef;
        vm->newDef = g_steal_pointer(&def);
        vm->persistent = 1;
        /* Nothing runs with the one that came: what is stored is all that there is. */
        if (!virDomainObjIsActive(vm))
            virDomainObjRemoveTransientDef(vm);
    } else {
        reportToGError(error);
        g_prefix_error(error, "%s", _("The definition could not be stored: "));
    }
    virObjectUnlock(vm);
    return ok;
}

/* The commit failed after all: what was defined here before is defined again. Domain locked. */
static void
inPersistUndo(inPersist *persist)
{
    virDomainObj *vm = persist->vm;
    drvState *drv = persist->drv;

    if (!persist->done)
        return;
    if (persist->wasPersistent) {
        virDomainDef **slot = vm->newDef ? &vm->newDef : &vm->def;

        if (persist->before) {
            virDomainDefFree(*slot);
            *slot = g_steal_pointer(&persist->before);
        }
        if (virDomainDefSave(*slot, drv->xmlopt, drv->configDir) < 0)
            VIR_WARN("Cannot restore the definition of domain '%s', ignoring", vm->def->name);
        return;
    }
    if (virDomainDeleteConfig(drv->configDir, drv->autostartDir, vm) < 0)
        VIR_WARN("Cannot remove the definition of domain '%s', ignoring", vm->def->name);
    vm->persistent = 0;
    if (!virDomainObjIsActive(vm))
        domainRemoveInactive(vm);
}

/* Each version prepares and finishes in its own way; a mixture is a mistake of the coordinator's. */
static int
inCheckVersion(virDomainObj *vm, migJob *job, unsigned version)
{
    if (migJobVersion(job) == version)
        return 0;
    virReportError(VIR_ERR_OPERATION_INVALID,
                   _("the migration of domain '%1$s' was prepared by version %2$u of the migration protocol and cannot be finished by version %3$u"),
                   vm->def->name, migJobVersion(job), version);
    return -1;
}

virDomainPtr
migInFinish(virDomainObj *vm, const migInCall *call, const migParams *params, const migCookieIo *io, bool cancelled)
{
    virConnectPtr dconn = call->dconn;
    g_autoptr(migJob) job = NULL;
    g_autoptr(GError) error = NULL;
    inPersist persist = { .vm = vm, .drv = DRV_DOMAIN(vm)->drv, .wanted = params->persistDest };
    virDomainPtr dom = NULL;
    bool ok;

    if (!(job = migJobOf(vm, MIG_SIDE_DEST))) {
        /* Given up before the coordinator said so; a definition that was here before is still here. */
        if (cancelled)
            virReportError(VIR_ERR_MIGRATE_FINISH_OK, NULL);
        return NULL;
    }
    if (inCheckVersion(vm, job, call->version) < 0)
        return NULL;
    if (!migDestOwnFinish(job, io, &error)) {
        if (cancelled)
            virReportError(VIR_ERR_MIGRATE_FINISH_OK, NULL);
        else
            reportGError(g_steal_pointer(&error));
        return NULL;
    }
    migUnwatchClient(vm, dconn);
    vm->job->asyncOwner = virThreadSelfID();
    virObjectUnlock(vm);
    migJobEnter(job);
    if (migOfflineIs(job) && !cancelled)
        ok = migOfflineFinish(job, inPersistDef, &persist, io, &error);
    else
        ok = migDestFinish(job, cancelled, inPersistDef, &persist, io, &error);
    migJobLeave(job);
    virObjectLock(vm);

    if (ok) {
        if (persist.done)
            domainEvent(vm, VIR_DOMAIN_EVENT_DEFINED, persist.wasPersistent ?
                        VIR_DOMAIN_EVENT_DEFINED_UPDATED : VIR_DOMAIN_EVENT_DEFINED_ADDED);
        dom = virGetDomain(dconn, vm->def->name, vm->def->uuid, vm->def->id);
    } else {
        inPersistUndo(&persist);
        /* Failed, and that cannot be written down yet: it goes on without this call. */
        if (migOf(vm)->job == job)
            migJobDisown(vm);
        if (cancelled)
            virReportError(VIR_ERR_MIGRATE_FINISH_OK, NULL);
        else
            reportGError(g_steal_pointer(&error));
    }
    virDomainDefFree(persist.before);
    return dom;
}
