/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <config.h>

#include "driver/hotplug.h"

#include "domain_audit.h"
#include "domain_event.h"
#include "virdomainjob.h"
#include "virlog.h"
#include "virtime.h"
#include "virutil.h"

#include "base/fault.h"
#include "driver/address.h"
#include "driver/call.h"
#include "driver/cmdline.h"
#include "driver/compat.h"
#include "driver/machine.h"
#include "driver/process.h"
#include "driver/report.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.hotplug");

/* Whoever waits; on its stack. */
typedef struct _hotplugWait {
    const char *alias;
    bool gone, kept;
} hotplugWait;

/* ---- definitions ------------------------------------------------------------------------------------------ */

static int
defCheckKind(const virDomainDeviceDef *dev)
{
    /* It has not been validated. */
    if (dev->type == VIR_DOMAIN_DEVICE_DISK)
        return domainCheckDiskTarget(dev->data.disk);
    if (dev->type == VIR_DOMAIN_DEVICE_NET)
        return 0;
    virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                   _("Disks and interfaces can be attached, detached and changed; for a device of the kind '%1$s' change the definition."),
                   virDomainDeviceTypeToString(dev->type));
    return -1;
}

/* @taken is a copy of ours: as text and back, which checks all of it. The lock is dropped. */
static virDomainDef *
defCheck(virDomainObj *vm, virDomainDef *taken)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;
    g_autoptr(virDomainDef) def = taken;
    g_autofree char *xml = NULL;
    virDomainDef *ret = NULL;

    virObjectUnlock(vm);
    xml = virDomainDefFormat(def, drv->xmlopt, VIR_DOMAIN_DEF_FORMAT_INACTIVE | VIR_DOMAIN_DEF_FORMAT_SECURE);
    if (xml)
        ret = virDomainDefParseString(xml, drv->xmlopt, NULL, VIR_DOMAIN_DEF_PARSE_INACTIVE);
    virObjectLock(vm);
    return ret;
}

static virDomainDef *
defCopy(virDomainObj *vm, virDomainDef *def)
{
    return virDomainDefCopy(def, DRV_DOMAIN(vm)->drv->xmlopt, NULL, false);
}

int
hotplugFind(virDomainDef *def, const virDomainDeviceDef *like, virDomainDeviceDef *ret)
{
    int index;

    if (defCheckKind(like) < 0)
        return -1;
    if (like->type == VIR_DOMAIN_DEVICE_NET) {
        if ((index = virDomainNetFindIdx(def, like->data.net)) < 0)
            return -1;
        *ret = (virDomainDeviceDef) { .type = like->type, .data.net = def->nets[index] };
        return 0;
    }
    if ((index = virDomainDiskIndexByName(def, like->data.disk->dst, false)) < 0) {
        virReportError(VIR_ERR_DEVICE_MISSING, _("Domain '%1$s' has no disk with the target '%2$s'."), def->name,
                       like->data.disk->dst);
        return -1;
    }
    *ret = (virDomainDeviceDef) { .type = like->type, .data.disk = def->disks[index] };
    return 0;
}

/* Takes the device. */
static void
defInsert(virDomainDef *def, virDomainDeviceDef *dev)
{
    if (dev->type == VIR_DOMAIN_DEVICE_DISK) {
        virDomainDiskInsert(def, g_steal_pointer(&dev->data.disk));
        return;
    }
    /* It always succeeds. */
    ignore_value(virDomainNetInsert(def, g_steal_pointer(&dev->data.net)));
}

/* One of @def's own; it is the caller's afterwards. */
static void
defTakeOut(virDomainDef *def, const virDomainDeviceDef *dev)
{
    for (size_t i = 0; i < def->ndisks; i++) {
        if (dev->type == VIR_DOMAIN_DEVICE_DISK && def->disks[i] == dev->data.disk) {
            virDomainDiskRemove(def, i);
            return;
        }
    }
    for (size_t i = 0; i < def->nnets; i++) {
        if (dev->type == VIR_DOMAIN_DEVICE_NET && def->nets[i] == dev->data.net) {
            virDomainNetRemove(def, i);
            return;
        }
    }
}

static void
defFreeDevice(virDomainDeviceDef *dev)
{
    if (dev->type == VIR_DOMAIN_DEVICE_DISK)
        g_clear_pointer(&dev->data.disk, virDomainDiskDefFree);
    else if (dev->type == VIR_DOMAIN_DEVICE_NET)
        g_clear_pointer(&dev->data.net, virDomainNetDefFree);
}

/* Takes @dev; @old, one of @def's own, is freed. A disk goes where its target's name belongs, an interface stays where it is. */
static void
defReplace(virDomainDef *def, virDomainDeviceDef *old, virDomainDeviceDef *dev)
{
    if (dev->type == VIR_DOMAIN_DEVICE_DISK) {
        defTakeOut(def, old);
        defInsert(def, dev);
    }
    for (size_t i = 0; dev->type == VIR_DOMAIN_DEVICE_NET && i < def->nnets; i++) {
        if (def->nets[i] == old->data.net) {
            def->nets[i] = g_steal_pointer(&dev->data.net);
            break;
        }
    }
    defFreeDevice(old);
}

virDomainDef *
hotplugDefAdd(virDomainObj *vm, virDomainDef *def, virDomainDeviceDef *dev)
{
    virDomainDef *copy;

    if (defCheckKind(dev) < 0)
        return NULL;
    if (dev->type == VIR_DOMAIN_DEVICE_DISK && virDomainDiskIndexByName(def, dev->data.disk->dst, true) >= 0) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("Domain '%1$s' has a disk with the target '%2$s' already."), def->name,
                       dev->data.disk->dst);
        return NULL;
    }
    if (!(copy = defCopy(vm, def)))
        return NULL;
    defInsert(copy, dev);
    return defCheck(vm, copy);
}

virDomainDef *
hotplugDefRemove(virDomainObj *vm, virDomainDef *def, const virDomainDeviceDef *dev)
{
    g_autoptr(virDomainDef) copy = defCopy(vm, def);
    virDomainDeviceDef found;

    if (!copy || hotplugFind(copy, dev, &found) < 0)
        return NULL;
    defTakeOut(copy, &found);
    defFreeDevice(&found);
    return defCheck(vm, g_steal_pointer(&copy));
}

virDomainDef *
hotplugDefUpdate(virDomainObj *vm, virDomainDef *def, virDomainDeviceDef *dev)
{
    g_autoptr(virDomainDef) copy = defCopy(vm, def);
    virDomainDeviceInfo *oldInfo, *newInfo;
    virDomainDeviceDef found;

    if (!copy || hotplugFind(copy, dev, &found) < 0)
        return NULL;
    oldInfo = virDomainDeviceGetInfo(&found);
    newInfo = virDomainDeviceGetInfo(dev);
    /* It stays at its place unless it is to have another. */
    if (newInfo->type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_NONE) {
        newInfo->type = oldInfo->type;
        newInfo->addr = oldInfo->addr;
    }
    defReplace(copy, &found, dev);
    return defCheck(vm, g_steal_pointer(&copy));
}

/* ---- what the VMM has ----------------------------------------------------------------------------------------- */

/* The aliases of its devices, at least those of @wanted; NULL with error set: it does not say so. The lock is dropped. */
static GStrv
deviceNames(virDomainObj *vm, const char *const *wanted)
{
    const vmmOps *ops = DRV_DOMAIN(vm)->vmm->traits->ops;
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) present = NULL;
    guint64 incarnation;
    control *ctl;
    bool ok;

    if (!(ctl = domainControl(vm, &incarnation)))
        return NULL;
    ok = ops->deviceList(ctl, wanted, &present, &error);
    if (!domainControlDone(vm, ctl, incarnation))
        return NULL;
    if (!ok) {
        reportGError(g_steal_pointer(&error));
        return NULL;
    }
    return g_steal_pointer(&present);
}

typedef enum { DEVICE_UNKNOWN, DEVICE_ABSENT, DEVICE_PRESENT } deviceSight;

/* No error stays set. The lock is dropped. */
static deviceSight
deviceLook(virDomainObj *vm, const char *alias)
{
    const char *const wanted[] = { alias, NULL };
    g_auto(GStrv) present = virDomainObjIsActive(vm) ? deviceNames(vm, wanted) : NULL;

    if (!present) {
        virResetLastError();
        return DEVICE_UNKNOWN;
    }
    return g_strv_contains((const char *const *)present, alias) ? DEVICE_PRESENT : DEVICE_ABSENT;
}

/* ---- a device comes ------------------------------------------------------------------------------------------- */

typedef struct {
    virDomainObj *vm;
    drvDomain *priv;
    virDomainDeviceDef dev;      /* ours until the guest has it */
    virDomainDeviceInfo *info;
    cmdlineTap tap;              /* of an interface */
    bool asked;                  /* the VMM; whatever it says, it may have the device */
} hotplugComing;

int
hotplugCheckLive(virDomainObj *vm, const virDomainDeviceDef *dev)
{
    const vmmInfo *vmm = DRV_DOMAIN(vm)->vmm;

    if (defCheckKind(dev) < 0)
        return -1;
    if (!vmm->traits->canPlug) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                       _("No device can come or go while domain '%1$s' runs: this driver cannot do that with %2$s."),
                       vm->def->name, vmm->traits->title);
        return -1;
    }
    if (!(machineKindOf(vm->def->os.machine) & MACHINE_PCI)) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                       _("No device can come or go while domain '%1$s' runs: its machine '%2$s' has no place for that."),
                       vm->def->name, vm->def->os.machine);
        return -1;
    }
    return 0;
}

static bool
comingIsAt(const virDomainDeviceInfo *info, const virPCIDeviceAddress *place)
{
    return info->type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI && virPCIDeviceAddressEqual(&info->addr.pci, place);
}

/* The one at @place, out of @def. */
static int
comingTake(hotplugComing *coming, virDomainDef *def, int type, const virPCIDeviceAddress *place)
{
    virDomainDeviceDef dev = { .type = type };

    for (size_t i = 0; type == VIR_DOMAIN_DEVICE_DISK && i < def->ndisks; i++) {
        if (comingIsAt(&def->disks[i]->info, place))
            dev.data.disk = def->disks[i];
    }
    for (size_t i = 0; type == VIR_DOMAIN_DEVICE_NET && i < def->nnets; i++) {
        if (comingIsAt(&def->nets[i]->info, place))
            dev.data.net = def->nets[i];
    }
    if (!dev.data.disk) {
        virReportError(VIR_ERR_INTERNAL_ERROR, _("The device for domain '%1$s' was lost while it was checked"), def->name);
        return -1;
    }
    defTakeOut(def, &dev);
    coming->dev = dev;
    coming->info = virDomainDeviceGetInfo(&coming->dev);
    coming->info->effectiveBootIndex = coming->info->bootIndex;
    return 0;
}

static int
comingSetAlias(hotplugComing *coming)
{
    virDomainDef *def = coming->vm->def;
    virDomainDeviceDef other;

    /* Two names of disks may have one number. */
    if (!coming->info->alias && coming->dev.type == VIR_DOMAIN_DEVICE_DISK)
        coming->info->alias = g_strdup_printf("virtio-disk%d", virDiskNameToIndex(coming->dev.data.disk->dst));
    if (coming->info->alias) {
        if (virDomainDefFindDevice(def, coming->info->alias, &other, false) < 0)
            return 0;
        virReportError(VIR_ERR_OPERATION_INVALID, _("Domain '%1$s' has a device with the alias '%2$s' already."), def->name,
                       coming->info->alias);
        return -1;
    }
    /* One more than there are is free. */
    for (size_t i = 0; i <= def->nnets; i++) {
        domainAliasNet(coming->priv->vmm, coming->dev.data.net, i);
        if (virDomainDefFindDevice(def, coming->info->alias, &other, false) < 0)
            return 0;
        g_clear_pointer(&coming->info->alias, g_free);
    }
    virReportError(VIR_ERR_INTERNAL_ERROR, _("No name is left for another interface of domain '%1$s'"), def->name);
    return -1;
}

/* The host's side; the lock is dropped: a file may be on a host that does not answer. */
static int
comingPrepare(hotplugComing *coming)
{
    virDomainObj *vm = coming->vm;
    const char *path;
    int problem = ENOENT;

    if (coming->dev.type == VIR_DOMAIN_DEVICE_NET)
        return processNetPlug(vm, coming->dev.data.net, &coming->tap);
    if ((path = virDomainDiskGetSource(coming->dev.data.disk))) {
        virObjectUnlock(vm);
        problem = access(path, F_OK) == 0 ? 0 : errno;
        virObjectLock(vm);
    }
    if (callCheckActive(vm) < 0)
        return -1;
    if (problem == 0)
        return 0;
    virReportSystemError(problem, _("Domain '%1$s' cannot have the disk '%2$s': its image '%3$s' cannot be used"), vm->def->name,
                         coming->dev.data.disk->dst, path ? path : "");
    return -1;
}

/* The lock is dropped. */
static int
comingPlug(hotplugComing *coming, const virDomainDeviceDef *dev)
{
    const vmmOps *ops = coming->priv->vmm->traits->ops;
    cmdlineEnv env = { .controlFd = -1, .taps = &coming->tap, .ntaps = 1 };
    g_auto(GStrv) args = cmdlineBuildDevice(coming->vm->def, coming->priv->vmm, &env, dev);
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;

    if (FAULT(DEVICE_PLUG)) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("Fault point of a device that comes to '%1$s'."), coming->vm->def->name);
        return -1;
    }
    if (!args || !(ctl = domainControl(coming->vm, &incarnation)))
        return -1;
    coming->asked = true;
    ops->devicePlug(ctl, (const char *const *)args, coming->tap.fds, coming->tap.count, &error);
    if (!domainControlDone(coming->vm, ctl, incarnation))
        return -1;
    return error ? reportGError(g_steal_pointer(&error)) : 0;
}

static void
hotplugAudit(virDomainObj *vm, const virDomainDeviceDef *dev, bool comes, bool ok)
{
    if (dev->type == VIR_DOMAIN_DEVICE_DISK)
        virDomainAuditDisk(vm, comes ? NULL : dev->data.disk->src, comes ? dev->data.disk->src : NULL,
                           comes ? "attach" : "detach", ok);
    else
        virDomainAuditNet(vm, comes ? NULL : dev->data.net, comes ? dev->data.net : NULL, comes ? "attach" : "detach", ok);
}

static void
hotplugSaveStatus(virDomainObj *vm)
{
    if (domainSaveStatus(vm) < 0)
        VIR_WARN("Cannot save status of domain '%s': %s, ignoring", vm->def->name, virGetLastErrorMessage());
    virResetLastError();
}

/* Out of the definition again. */
static void
comingTakeBack(hotplugComing *coming, const virDomainDeviceDef *dev)
{
    virDomainObj *vm = coming->vm;

    defTakeOut(vm->def, dev);
    coming->dev = *dev;
    if (dev->type == VIR_DOMAIN_DEVICE_NET)
        processNetUnplug(vm, dev->data.net);
    hotplugSaveStatus(vm);
}

/* The first error stays. What the VMM may have stays written down until it says that it has not. */
static void
comingUndo(hotplugComing *coming, const virDomainDeviceDef *dev, const char *alias)
{
    virDomainObj *vm = coming->vm;
    bool absent;
    virErrorPtr first;

    virErrorPreserveLast(&first);
    absent = !coming->asked || deviceLook(vm, alias) == DEVICE_ABSENT;
    /* With its end all has been given back. */
    if (virDomainObjIsActive(vm)) {
        hotplugAudit(vm, dev, true, false);
        if (absent) {
            comingTakeBack(coming, dev);
        } else {
            VIR_WARN("domain '%s': it may have the device '%s' although that could not be attached", vm->def->name, alias);
            coming->priv->unplugMissed = true;
        }
    }
    virErrorRestore(&first);
}

/* It is written down before it comes: a daemon that dies in between finds out, as after the end of any device, that it is not there. */
static int
comingArrive(hotplugComing *coming)
{
    virDomainObj *vm = coming->vm;
    virDomainDeviceDef dev;
    g_autofree char *alias = NULL;

    if (comingSetAlias(coming) < 0 || comingPrepare(coming) < 0)
        return -1;
    alias = g_strdup(coming->info->alias);
    dev = coming->dev;
    defInsert(vm->def, &coming->dev);
    if (domainSaveStatus(vm) < 0 || comingPlug(coming, &dev) < 0) {
        comingUndo(coming, &dev, alias);
        return -1;
    }
    hotplugAudit(vm, &dev, true, true);
    virObjectEventStateQueue(coming->priv->drv->events, virDomainEventDeviceAddedNewFromObj(vm, alias));
    return 0;
}

int
hotplugAttach(virDomainObj *vm, virDomainDeviceDef *dev)
{
    hotplugComing coming = { .vm = vm, .priv = DRV_DOMAIN(vm) };
    virDomainDeviceInfo *info = virDomainDeviceGetInfo(dev);
    g_autoptr(virDomainDef) checked = NULL;
    virPCIDeviceAddress place;
    int ret;

    if (hotplugCheckLive(vm, dev) < 0 || addrPlug(vm->def, info) < 0)
        return -1;
    place = info->addr.pci;
    if (!(checked = hotplugDefAdd(vm, vm->def, dev)) || callCheckActive(vm) < 0)
        return -1;
    if (comingTake(&coming, checked, dev->type, &place) < 0)
        return -1;
    ret = comingArrive(&coming);
    cmdlineTapClear(&coming.tap);
    defFreeDevice(&coming.dev);
    return ret;
}

/* ---- a device goes ------------------------------------------------------------------------------------------------ */

/* What is behind it; the lock is dropped. False: the guest has ended meanwhile. */
static bool
goneForget(virDomainObj *vm, const virDomainDeviceDef *dev)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    const vmmOps *ops = priv->vmm->traits->ops;
    cmdlineEnv env = { .controlFd = -1, .standalone = true };
    g_auto(GStrv) args = cmdlineBuildDevice(vm->def, priv->vmm, &env, dev);
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;

    if (!args || !(ctl = domainControl(vm, &incarnation)))
        return true;
    if (!ops->deviceForget(ctl, (const char *const *)args, &error))
        VIR_WARN("domain '%s': what is behind a device that is gone stays: %s", vm->def->name, error->message);
    return domainControlDone(vm, ctl, incarnation);
}

/* The guest has let go of it. The job is held. */
static void
hotplugGone(virDomainObj *vm, const char *alias)
{
    g_autofree char *name = g_strdup(alias);
    virDomainDeviceDef dev;

    if (virDomainDefFindDevice(vm->def, name, &dev, false) < 0 || defCheckKind(&dev) < 0 || !goneForget(vm, &dev)) {
        virResetLastError();
        return;
    }
    hotplugAudit(vm, &dev, false, true);
    if (dev.type == VIR_DOMAIN_DEVICE_NET)
        processNetUnplug(vm, dev.data.net);
    defTakeOut(vm->def, &dev);
    defFreeDevice(&dev);
    hotplugSaveStatus(vm);
    virObjectEventStateQueue(DRV_DOMAIN(vm)->drv->events, virDomainEventDeviceRemovedNewFromObj(vm, name));
}

static int
unplugAsk(virDomainObj *vm, const char *alias)
{
    const vmmOps *ops = DRV_DOMAIN(vm)->vmm->traits->ops;
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;

    if (!(ctl = domainControl(vm, &incarnation)))
        return -1;
    ops->deviceUnplug(ctl, alias, &error);
    if (!domainControlDone(vm, ctl, incarnation))
        return -1;
    return error ? reportGError(g_steal_pointer(&error)) : 0;
}

static void
unplugWait(virDomainObj *vm, const hotplugWait *wait)
{
    guint64 incarnation = DRV_DOMAIN(vm)->incarnation;
    unsigned long long until;

    if (virTimeMillisNow(&until) < 0)
        return;
    until += DRV_DOMAIN(vm)->vmm->traits->unplugMs;
    while (!wait->gone && !wait->kept && virDomainObjIsActive(vm) && DRV_DOMAIN(vm)->incarnation == incarnation &&
           virDomainObjWaitUntil(vm, until) == 0)
        ;
}

/* It would not be asked; perhaps because it was asked before and has done it. The error stays. */
static bool
unplugIsDone(virDomainObj *vm, const char *alias)
{
    virErrorPtr first;
    bool done;

    virErrorPreserveLast(&first);
    done = deviceLook(vm, alias) == DEVICE_ABSENT;
    virErrorRestore(&first);
    return done;
}

int
hotplugDetach(virDomainObj *vm, const virDomainDeviceDef *dev)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    const virDomainDeviceInfo *info = virDomainDeviceGetInfo(dev);
    g_autofree char *alias = g_strdup(info->alias);
    hotplugWait wait = { .alias = alias };
    int ret;

    if (hotplugCheckLive(vm, dev) < 0)
        return -1;
    if (!addrIsPlugged(info)) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                       _("The device '%1$s' of domain '%2$s' cannot go while it runs: only those on root ports can."), alias,
                       vm->def->name);
        return -1;
    }
    priv->unplug = &wait;
    ret = unplugAsk(vm, alias);
    /* One that stands still lets go of nothing. */
    if (ret == 0 && virDomainObjGetState(vm, NULL) == VIR_DOMAIN_RUNNING)
        unplugWait(vm, &wait);
    else if (ret < 0)
        wait.gone = unplugIsDone(vm, alias) || wait.gone;
    if (priv->unplug == &wait)
        priv->unplug = NULL;
    /* Also if it was refused because the guest was just doing it. */
    if (wait.gone && virDomainObjIsActive(vm)) {
        virResetLastError();
        hotplugGone(vm, alias);
        return 0;
    }
    if (ret < 0 || callCheckActive(vm) < 0)
        return -1;
    if (wait.kept) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("The guest of domain '%1$s' does not let go of the device '%2$s'."),
                       vm->def->name, alias);
        return -1;
    }
    VIR_INFO("domain '%s': the guest has not let go of the device '%s' yet", vm->def->name, alias);
    return 0;
}

/* ---- what the VMM says ---------------------------------------------------------------------------------------------- */

void
hotplugHandleEvent(virDomainObj *vm, const vmmEvent *event)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    guint64 incarnation = priv->incarnation;
    hotplugWait *wait = priv->unplug;
    virDomainDeviceDef dev;

    if (event->kind == VMM_EVENT_DEVICE_KEPT && virDomainDefFindDevice(vm->def, event->deviceAlias, &dev, false) == 0)
        virObjectEventStateQueue(priv->drv->events, virDomainEventDeviceRemovalFailedNewFromObj(vm, event->deviceAlias));
    if (wait && STREQ(wait->alias, event->deviceAlias)) {
        wait->gone = wait->gone || event->kind == VMM_EVENT_DEVICE_REMOVED;
        wait->kept = event->kind == VMM_EVENT_DEVICE_KEPT;
        virDomainObjBroadcast(vm);
        return;
    }
    if (event->kind == VMM_EVENT_DEVICE_KEPT || virDomainDefFindDevice(vm->def, event->deviceAlias, &dev, false) < 0)
        return;
    /* This keeps all other events of the guest waiting: never for the end of a long job. */
    if ((vm->job->asyncJob != VIR_ASYNC_JOB_NONE && !(vm->job->mask & JOB_MASK(VIR_JOB_MODIFY_MIGRATION_SAFE))) ||
        virDomainObjBeginJob(vm, VIR_JOB_MODIFY_MIGRATION_SAFE) < 0) {
        VIR_INFO("domain '%s': the guest has let go of the device '%s', which cannot be noted yet: it is busy", vm->def->name,
                 event->deviceAlias);
        virResetLastError();
        priv->unplugMissed = priv->incarnation == incarnation;
        return;
    }
    if (virDomainObjIsActive(vm) && priv->incarnation == incarnation)
        hotplugGone(vm, event->deviceAlias);
    virDomainObjEndJob(vm);
}

/* Aliases of what may have gone; NULL: nothing. */
static GStrv
reconnectCandidates(const virDomainDef *def)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

    for (size_t i = 0; i < def->ndisks; i++) {
        if (addrIsPlugged(&def->disks[i]->info))
            g_ptr_array_add(names, g_strdup(def->disks[i]->info.alias));
    }
    for (size_t i = 0; i < def->nnets; i++) {
        if (addrIsPlugged(&def->nets[i]->info))
            g_ptr_array_add(names, g_strdup(def->nets[i]->info.alias));
    }
    if (names->len == 0)
        return NULL;
    g_ptr_array_add(names, NULL);
    return (GStrv)g_ptr_array_free(g_steal_pointer(&names), FALSE);
}

void
hotplugReconnect(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    g_auto(GStrv) names = priv->vmm->traits->canPlug ? reconnectCandidates(vm->def) : NULL;
    g_auto(GStrv) present = NULL;

    priv->unplugMissed = false;
    if (!names)
        return;
    if (!(present = deviceNames(vm, (const char *const *)names))) {
        VIR_WARN("domain '%s': cannot see which devices there are: %s, ignoring", vm->def->name, virGetLastErrorMessage());
        virResetLastError();
        priv->unplugMissed = virDomainObjIsActive(vm);
        return;
    }
    for (size_t i = 0; names[i] && virDomainObjIsActive(vm); i++) {
        if (!g_strv_contains((const char *const *)present, names[i]))
            hotplugGone(vm, names[i]);
    }
}

void
hotplugCatchUp(virDomainObj *vm)
{
    const drvDomain *priv = DRV_DOMAIN(vm);
    virErrorPtr first;

    if (!priv->unplugMissed || !priv->vmm || !virDomainObjIsActive(vm))
        return;
    virErrorPreserveLast(&first);
    hotplugReconnect(vm);
    virErrorRestore(&first);
}
