/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Stopping must work on anything: a VMM that hangs, that is half started, that is dead already.  So nothing here asks the
 * VMM; a signal through the pidfd ends it, and every other thing is taken away if it is there.  While we wait the domain is
 * still active and marked beingDestroyed, which keeps the handlers of its events out, and stopping, which makes others wait who want
 * the same: a start that fails and a user's destroy may meet, since the job of an incoming migration lets the latter in.
 */
#include <config.h>

#include "driver/process_priv.h"

#include <signal.h>

#include "domain_audit.h"
#include "virclosecallbacks.h"
#include "virdomainjob.h"
#include "virfile.h"
#include "virlog.h"

#include "driver/compat.h"
#include "driver/hook.h"
#include "driver/mig.h"
#include "driver/save.h"
#include "driver/throttle.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.stop");

/* A process that has been sent SIGKILL runs no more of its own code; longer than this only the kernel is busy with it. */
#define STOP_KILL_WAIT_MS 30000

int
processStoppedDetail(virDomainShutoffReason reason)
{
    switch (reason) {
    case VIR_DOMAIN_SHUTOFF_SHUTDOWN:
        return VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN;
    case VIR_DOMAIN_SHUTOFF_DESTROYED:
        return VIR_DOMAIN_EVENT_STOPPED_DESTROYED;
    case VIR_DOMAIN_SHUTOFF_CRASHED:
        return VIR_DOMAIN_EVENT_STOPPED_CRASHED;
    case VIR_DOMAIN_SHUTOFF_MIGRATED:
        return VIR_DOMAIN_EVENT_STOPPED_MIGRATED;
    case VIR_DOMAIN_SHUTOFF_SAVED:
        return VIR_DOMAIN_EVENT_STOPPED_SAVED;
    case VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT:
        return VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT;
    default:
        return VIR_DOMAIN_EVENT_STOPPED_FAILED;
    }
}

void
processKill(virDomainObj *vm)
{
    DRV_DOMAIN(vm)->beingDestroyed = true;
    processSignal(vm, SIGKILL);
}

bool
processTerminate(virDomainObj *vm, unsigned timeoutMs)
{
    processSignal(vm, SIGTERM);
    return processWaitEnd(vm, timeoutMs);
}

static void
stopProcess(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    g_autofree char *pidPath = processPidPath(priv->drv, vm->def);

    /* Unwatched while there may be a process: when spawning was cut short, or descriptors had run out. */
    if (!priv->watch && priv->vmm && processWatchStart(vm, pidPath) < 0)
        VIR_ERROR(_("cannot make sure that the process of domain '%1$s' has ended: %2$s"),
                  vm->def->name, virGetLastErrorMessage());
    if (!priv->watch)
        return;
    processKill(vm);
    if (!processWaitEnd(vm, STOP_KILL_WAIT_MS))
        VIR_ERROR(_("process %1$lld of domain '%2$s' was killed, but the kernel has not ended it yet"),
                  (long long)vm->pid, vm->def->name);
}

static void
stopRemoveFiles(virDomainObj *vm)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;
    g_autofree char *folder = processFolder(vm);
    g_autofree char *pidPath = processPidPath(drv, vm->def);

    if (folder && virFileDeleteTree(folder) < 0)
        VIR_WARN("cannot remove '%s': %s, ignoring", folder, virGetLastErrorMessage());
    if (unlink(pidPath) < 0 && errno != ENOENT)
        VIR_WARN("cannot remove '%s': %s, ignoring", pidPath, g_strerror(errno));
}

static void
stopForgetProcess(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    if (priv->ctl)
        controlClose(priv->ctl);
    g_clear_pointer(&priv->ctl, controlUnref);
    g_clear_pointer(&priv->watch, processWatchFree);
    g_clear_pointer(&priv->vcpuPids, g_free);
    priv->nvcpuPids = 0;
    priv->balloonKiB = 0;
    priv->vmm = NULL;
    priv->tcg = false;
    priv->startTime = 0;
    vm->pid = 0;
}

/* Nothing can be refused any more. */
static void
stopHook(virDomainObj *vm, hookOp op, virDomainShutoffReason reason)
{
    if (DRV_DOMAIN(vm)->hooked && hookDomain(vm, op, virDomainShutoffReasonTypeToString(reason)) < 0)
        VIR_WARN("%s, ignoring", virGetLastErrorMessage());
}

/* Somebody else ends it: until that is done. */
static void
stopWait(virDomainObj *vm)
{
    const drvDomain *priv = DRV_DOMAIN(vm);
    guint64 incarnation = priv->incarnation;

    while (priv->stopping && priv->incarnation == incarnation && virDomainObjWait(vm) == 0)
        ;
}

bool
processStop(virDomainObj *vm, virDomainShutoffReason reason)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    virErrorPtr error = NULL;

    if (!virDomainObjIsActive(vm))
        return false;
    virErrorPreserveLast(&error);
    if (priv->stopping) {
        stopWait(vm);
        virErrorRestore(&error);
        return false;
    }
    priv->stopping = priv->beingDestroyed = true;
    /* Whoever ends it: a migration that waits for this VMM must hear of it. */
    migVmmGone(vm);
    stopProcess(vm);
    stopHook(vm, HOOK_STOPPED, reason);
    throttleEnd(vm);
    stopForgetProcess(vm);
    processNetRelease(vm);
    stopRemoveFiles(vm);
    /* Before the status file goes: a daemon that dies meanwhile runs the script again rather than never. */
    stopHook(vm, HOOK_RELEASE, reason);
    priv->hooked = false;
    saveEnded(vm);
    if (!migKeepStatus(vm))
        domainRemoveStatus(vm);
    g_clear_pointer(&priv->controlPath, g_free);
    virCloseCallbacksDomainRemove(vm, NULL, processAutoDestroy);
    if (reason != VIR_DOMAIN_SHUTOFF_FAILED)
        virDomainAuditStop(vm, reason == VIR_DOMAIN_SHUTOFF_SHUTDOWN ? "shutdown" : "destroyed");
    vm->def->id = -1;
    virDomainObjSetState(vm, VIR_DOMAIN_SHUTOFF, reason);
    virDomainObjRemoveTransientDef(vm);
    priv->shuttingDown = priv->rebootPending = priv->beingDestroyed = priv->stopping = priv->unplugMissed = false;
    virDomainObjBroadcast(vm);
    stateGuestStopped(priv->drv);
    virErrorRestore(&error);
    return true;
}

void
processAutoDestroy(virDomainObj *vm, virConnectPtr conn G_GNUC_UNUSED)
{
    guint64 incarnation = DRV_DOMAIN(vm)->incarnation;

    if (!virDomainObjIsActive(vm))
        return;
    if (migAdminDestroy(vm) != 0 || !virDomainObjIsActive(vm))
        return;
    processKill(vm);
    if (virDomainObjBeginJob(vm, VIR_JOB_DESTROY) < 0) {
        VIR_WARN("domain '%s' of a closed connection stays busy: %s", vm->def->name,
                 virGetLastErrorMessage());
        return;
    }
    if (virDomainObjIsActive(vm) && DRV_DOMAIN(vm)->incarnation == incarnation &&
        processStop(vm, VIR_DOMAIN_SHUTOFF_DESTROYED)) {
        domainEvent(vm, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED);
        domainRemoveInactive(vm);
    }
    virDomainObjEndJob(vm);
}
