/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_in.c: the destination's calls on a real domain: prepare and finish */
#include <config.h>

#include "driver/call.h"
#include "driver/mig_calls.h"
#include "driver/mig_priv.h"
#include "driver/process.h"
#include "driver/report.h"

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

static int
inCheck(drvState *drv, const virDomainDef *def, const migCookie *remote, const migParams *params,
        const vmmInfo **retVmm)
{
    g_autofree char *existingName = NULL;
    g_autoptr(GError) error = NULL;
    migDestFacts facts = {
        .hostUuid = drv->mig->hostUuid, .bootId = drv->mig->bootId, .instance = drv->mig->instance,
        .hostName = drv->mig->hostName, .machine = def->os.machine,
        .arch = virArchToString(def->os.arch), .tcg = def->virtType == VIR_DOMAIN_VIRT_QEMU,
        .emulator = def->emulator, .memoryKiB = virDomainDefGetMemoryTotal(def),
        .vcpus = virDomainDefGetVcpus(def),
    };

    inFindClashes(drv, def, &facts, &existingName);
    facts.emulatorMissing = !def->emulator || !g_file_test(def->emulator, G_FILE_TEST_IS_EXECUTABLE);
    if (!facts.emulatorMissing) {
        if (!(facts.vmm = stateProbe(drv, def->emulator)))
            return -1;
        facts.maxVcpus = facts.vmm->maxCpus;
    }
    if (!migCheckDest(&facts, remote, params, &error))
        return reportGError(g_steal_pointer(&error));
    *retVmm = facts.vmm;
    return 0;
}

/* Give up a half-made incoming domain. Domain locked; the reference is the caller's. */
static void
inUndo(virDomainObj *vm)
{
    if (virDomainObjIsActive(vm)) {
        processStop(vm, VIR_DOMAIN_SHUTOFF_FAILED);
        domainEvent(vm, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
    }
    migJobDetach(vm);
    virDomainObjRemoveTransientDef(vm);
    domainRemoveInactive(vm);
}

typedef struct {
    virConnectPtr dconn;
    const migCookie *remote;
    const vmmInfo *vmm;
    const migCookieIo *io;
    char **uriOut;
} inPrepare;

/* Domain locked; false with the libvirt error set: the caller undoes. */
static bool
inPrepareJob(virDomainObj *vm, migJob *job, migParams *params, const inPrepare *in)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *machine = g_strdup(vm->def->os.machine);
    migDestFacts facts = {
        .machine = machine, .arch = virArchToString(vm->def->os.arch), .vmm = in->vmm,
        .tcg = vm->def->virtType == VIR_DOMAIN_VIRT_QEMU,
    };
    bool ok;

    virObjectUnlock(vm);
    migJobEnter(job);
    ok = migDestListen(job, in->remote, params, &error);
    virObjectLock(vm);
    if (ok && processStart(vm, in->dconn, PROCESS_START_INCOMING | PROCESS_START_PAUSED,
                           VIR_DOMAIN_RUNNING_MIGRATED) < 0) {
        migDestRelease(job);
        migJobLeave(job);
        return false;
    }
    if (ok) {
        domainEvent(vm, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
        virObjectUnlock(vm);
        ok = migDestPrepare(job, in->remote, &facts, in->io, in->uriOut, &error);
        virObjectLock(vm);
    }
    migJobLeave(job);
    if (!ok)
        reportGError(g_steal_pointer(&error));
    return ok;
}

int
migInPrepare(virConnectPtr dconn, virDomainDef *takenDef, migParams *params, unsigned long flags,
             const migCookieIo *io, char **uriOut)
{
    drvState *drv = dconn->privateData;
    g_autoptr(virDomainDef) def = takenDef;
    g_autoptr(migCookie) remote = NULL;
    g_autoptr(migJob) job = NULL;
    g_autoptr(GError) error = NULL;
    migRecord record = { .side = MIG_SIDE_DEST, .phase = MIG_PHASE_ABSENT };
    inPrepare in = { .dconn = dconn, .io = io, .uriOut = uriOut };
    char uuid[VIR_UUID_STRING_BUFLEN];
    virDomainObj *vm = NULL;
    int ret = -1;

    if (!(remote = migCookieParse(io->in, io->inLen, MIG_STEP_BEGIN, &error)))
        return reportGError(g_steal_pointer(&error));
    virUUIDFormat(def->uuid, uuid);
    if (STRNEQ(uuid, remote->domainUuid)) {
        virReportError(VIR_ERR_INVALID_ARG, _("the migration cookie is about domain '%1$s', the XML about '%2$s'"),
                       remote->domainUuid, uuid);
        return -1;
    }
    in.remote = remote;
    if (inCheck(drv, def, remote, params, &in.vmm) < 0)
        return -1;

    if (!(vm = virDomainObjListAdd(drv->domains, &def, drv->xmlopt,
                                   VIR_DOMAIN_OBJ_LIST_ADD_LIVE | VIR_DOMAIN_OBJ_LIST_ADD_CHECK_LIVE, NULL)))
        return -1;
    record.uuid = remote->uuid;
    if ((job = migJobAttach(vm, &record, flags)) && inPrepareJob(vm, job, params, &in)) {
        migWatchClient(vm, dconn);
        migJobDisown(vm);
        ret = 0;
    } else {
        inUndo(vm);
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

virDomainPtr
migInFinish(virDomainObj *vm, virConnectPtr dconn, const migParams *params, const migCookieIo *io, bool cancelled)
{
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
    migUnwatchClient(vm, dconn);
    vm->job->asyncOwner = virThreadSelfID();
    virObjectUnlock(vm);
    migJobEnter(job);
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
        if (cancelled)
            virReportError(VIR_ERR_MIGRATE_FINISH_OK, NULL);
        else
            reportGError(g_steal_pointer(&error));
    }
    virDomainDefFree(persist.before);
    return dom;
}
