/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* process_control.c: a running VMM spoken to: the socket opened, vCPUs and ptys looked up, guest paused and resumed */
#include <config.h>

#include "driver/process_priv.h"

#include "virlog.h"

#include "driver/compat.h"
#include "driver/report.h"
#include "remote/await.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.control");

/* ---- what only the VMM knows ------------------------------------------------------------------------ */

static int
controlLookUpVcpus(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    const vmmOps *ops = priv->vmm->traits->ops;
    g_autoptr(GError) error = NULL;
    g_autofree pid_t *pids = NULL;
    size_t count = 0;
    guint64 incarnation;
    control *ctl;

    if (!ops->vcpuThreads)
        return 0;
    if (!(ctl = domainControl(vm, &incarnation)))
        return -1;
    ops->vcpuThreads(ctl, &pids, &count, &error);
    if (!domainControlDone(vm, ctl, incarnation))
        return -1;
    if (error)
        return reportGError(g_steal_pointer(&error));
    g_free(priv->vcpuPids);
    priv->vcpuPids = g_steal_pointer(&pids);
    priv->nvcpuPids = count;
    return 0;
}

typedef struct {
    virDomainObj *vm;
} ptyLookUp;

/* One character device: find the pty that the VMM has made for it. */
static int
controlLookUpPty(virDomainDef *def G_GNUC_UNUSED, virDomainChrDef *chr, void *opaque)
{
    ptyLookUp *look = opaque;
    virDomainObj *vm = look->vm;
    const vmmTraits *traits = DRV_DOMAIN(vm)->vmm->traits;
    const vmmOps *ops = traits->ops;
    g_autoptr(GError) error = NULL;
    g_autofree char *path = NULL;
    g_autofree char *id = NULL;
    guint64 incarnation;
    control *ctl;

    if (chr->source->type != VIR_DOMAIN_CHR_TYPE_PTY || !chr->info.alias || !ops->chardevPath)
        return 0;
    if (traits->serialChardev && chr->deviceType == VIR_DOMAIN_CHR_DEVICE_TYPE_SERIAL)
        id = g_strdup(traits->serialChardev);
    else
        id = g_strdup_printf("char%s", chr->info.alias);
    if (!(ctl = domainControl(vm, &incarnation)))
        return -1;
    ops->chardevPath(ctl, id, &path, &error);
    /* The live definition keeps its devices as long as this start lasts. */
    if (!domainControlDone(vm, ctl, incarnation))
        return -1;
    if (error)
        return reportGError(g_steal_pointer(&error));
    g_free(chr->source->data.file.path);
    chr->source->data.file.path = g_steal_pointer(&path);
    return 0;
}

/* The first console of a guest may be another name of its first serial port. */
static void
controlCopyConsole(virDomainDef *def)
{
    virDomainChrDef *console;

    if (def->nconsoles == 0 || def->nserials == 0)
        return;
    console = def->consoles[0];
    if (console->targetType != VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_SERIAL)
        return;
    g_free(console->info.alias);
    console->info.alias = g_strdup(def->serials[0]->info.alias);
    virDomainChrSourceDefCopy(console->source, def->serials[0]->source);
}

static int
controlLookUp(virDomainObj *vm)
{
    ptyLookUp look = { .vm = vm };

    if (controlLookUpVcpus(vm) < 0 ||
        virDomainChrDefForeach(vm->def, true, controlLookUpPty, &look) < 0)
        return -1;
    controlCopyConsole(vm->def);
    return 0;
}

/* A VMM that makes its socket itself has done so at some time after its start. Drops the lock for that. */
static int
controlReach(virDomainObj *vm, unsigned timeoutMs)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    g_autofree char *path = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(baseFd) pidfd = -1;
    int fd;

    if (!priv->vmm->traits->makesControlSocket)
        return processSocketConnect(priv->controlPath);
    path = g_strdup(priv->controlPath);
    pidfd = processWatchFd(vm);
    virObjectUnlock(vm);
    fd = awaitSocket(path, pidfd, timeoutMs, &error);
    virObjectLock(vm);
    return fd < 0 ? reportGError(g_steal_pointer(&error)) : fd;
}

static int
controlConnect(virDomainObj *vm, unsigned timeoutMs)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    guint64 incarnation = priv->incarnation;
    g_autoptr(control) ctl = NULL;
    g_autoptr(GError) error = NULL;
    int fd;

    if ((fd = controlReach(vm, timeoutMs)) < 0)
        return -1;
    if (!virDomainObjIsActive(vm) || priv->incarnation != incarnation) {
        baseFdClose(fd);
        virReportError(VIR_ERR_OPERATION_FAILED, _("Domain '%1$s' ended meanwhile."), vm->def->name);
        return -1;
    }
    ctl = controlNew(priv->drv->ioContext, vm->def->name, &eventControlHandlers,
                     eventSourceRef(processEventSource(vm)), eventSourceFree);
    virObjectUnlock(vm);
    controlOpenFd(ctl, fd, timeoutMs, &error);
    virObjectLock(vm);
    if (error)
        return reportGError(g_steal_pointer(&error));
    if (!virDomainObjIsActive(vm) || priv->incarnation != incarnation) {
        controlClose(ctl);
        virReportError(VIR_ERR_OPERATION_FAILED, _("Domain '%1$s' ended meanwhile."),
                       vm->def->name);
        return -1;
    }
    if (priv->ctl)
        controlClose(priv->ctl);
    g_clear_pointer(&priv->ctl, controlUnref);
    priv->ctl = g_steal_pointer(&ctl);
    return 0;
}

int
processOpenControl(virDomainObj *vm, unsigned timeoutMs)
{
    if (controlConnect(vm, timeoutMs) < 0)
        return -1;
    return controlLookUp(vm);
}

int
processRefreshStatus(virDomainObj *vm, vmmRunState *ret)
{
    const drvDomain *priv = DRV_DOMAIN(vm);
    g_autoptr(GError) error = NULL;
    const vmmOps *ops;
    guint64 incarnation;
    control *ctl;
    bool ok;

    if (!priv->vmm) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("The VMM of the domain '%1$s' cannot be talked to now"), vm->def->name);
        return -1;
    }
    ops = priv->vmm->traits->ops;
    if (!(ctl = domainControl(vm, &incarnation)))
        return -1;
    ok = ops->status(ctl, ret, &error);
    if (!domainControlDone(vm, ctl, incarnation))
        return -1;
    return ok ? 0 : reportGError(g_steal_pointer(&error));
}

/* ---- pause and resume ------------------------------------------------------------------------------------ */

static int
controlSetRunning(virDomainObj *vm, bool (*op)(control *ctl, GError **error), int state, int reason)
{
    g_autoptr(GError) error = NULL;
    eventSource *source = processEventSource(vm);
    guint64 incarnation;
    control *ctl;
    bool ok;

    if (source)
        eventSourceRef(source);
    if (!(ctl = domainControl(vm, &incarnation))) {
        g_clear_pointer(&source, eventSourceFree);
        return -1;
    }
    eventOwnBegin(source);
    ok = op(ctl, &error);
    eventOwnEnd(source);
    eventSourceFree(source);
    if (!domainControlDone(vm, ctl, incarnation))
        return -1;
    if (!ok)
        return reportGError(g_steal_pointer(&error));
    virDomainObjSetState(vm, state, reason);
    return domainSaveStatus(vm);
}

int
processPause(virDomainObj *vm, virDomainPausedReason reason)
{
    return controlSetRunning(vm, DRV_DOMAIN(vm)->vmm->traits->ops->pause, VIR_DOMAIN_PAUSED,
                             reason);
}

int
processResume(virDomainObj *vm, virDomainRunningReason reason)
{
    return controlSetRunning(vm, DRV_DOMAIN(vm)->vmm->traits->ops->resume, VIR_DOMAIN_RUNNING,
                             reason);
}
