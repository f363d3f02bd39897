/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * After a start of the daemon the status files say which guests ran.  For each of them the watch is set up at once, so that
 * it can be destroyed and its end be seen; all else waits for the VMM and runs in a thread of its own, with the
 * domain's job held, so that one VMM that hangs keeps no other guest waiting.
 *
 * What happened meanwhile is made up for: a VMM that is gone becomes a stopped domain with its event, one that was stopped or
 * resumed gets its true state, one whose start was never finished is ended.  The phase of a migration is the
 * business of mig.h, which has the last word.
 */
#include <config.h>

#include "driver/process_priv.h"

#include "virdomainjob.h"
#include "virlog.h"
#include "virthread.h"

#include "driver/compat.h"
#include "driver/hook.h"
#include "driver/hotplug.h"
#include "driver/mig.h"
#include "driver/report.h"
#include "driver/save.h"
#include "driver/throttle.h"
#include "remote/snapshot.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.reconnect");

static GMutex reconnectLock;
static GCond reconnectCond;
static unsigned reconnectThreads;        /* guarded by reconnectLock, as the next */
static bool reconnectStopping;

/* A VMM that is frozen is asked again and again; each attempt waits this long. */
#define RECONNECT_AGAIN_MS 5000
/* A process that has closed its sockets and does not end within this time lives on. */
#define RECONNECT_LINGER_MS 1000

static void
reconnectCount(int by)
{
    g_mutex_lock(&reconnectLock);
    reconnectThreads += by;
    g_cond_broadcast(&reconnectCond);
    g_mutex_unlock(&reconnectLock);
}

void
processReconnectWait(void)
{
    g_mutex_lock(&reconnectLock);
    reconnectStopping = true;
    while (reconnectThreads > 0)
        g_cond_wait(&reconnectCond, &reconnectLock);
    reconnectStopping = false;
    g_mutex_unlock(&reconnectLock);
}

static bool
reconnectShallStop(void)
{
    bool ret;

    g_mutex_lock(&reconnectLock);
    ret = reconnectStopping;
    g_mutex_unlock(&reconnectLock);
    return ret;
}

/* ---- states -------------------------------------------------------------------------------------------- */

static void
reconnectSetPaused(virDomainObj *vm, int reason)
{
    int detail = reason == VIR_DOMAIN_PAUSED_IOERROR ? VIR_DOMAIN_EVENT_SUSPENDED_IOERROR
                                                     : VIR_DOMAIN_EVENT_SUSPENDED_PAUSED;

    if (virDomainObjGetState(vm, NULL) == VIR_DOMAIN_PAUSED)
        return;
    virDomainObjSetState(vm, VIR_DOMAIN_PAUSED, reason);
    domainEvent(vm, VIR_DOMAIN_EVENT_SUSPENDED, detail);
}

/* What happened while nobody listened, from what the VMM says now. */
static void
reconnectSetState(virDomainObj *vm, vmmRunState now)
{
    int state = virDomainObjGetState(vm, NULL);

    switch (now) {
    case VMM_RUN_RUNNING:
        if (state == VIR_DOMAIN_RUNNING)
            break;
        virDomainObjSetState(vm, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED);
        domainEvent(vm, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
        break;
    case VMM_RUN_PAUSED:
    case VMM_RUN_OTHER:
        reconnectSetPaused(vm, VIR_DOMAIN_PAUSED_UNKNOWN);
        break;
    case VMM_RUN_IO_ERROR:
        reconnectSetPaused(vm, VIR_DOMAIN_PAUSED_IOERROR);
        break;
    case VMM_RUN_CRASHED:
    case VMM_RUN_SHUTDOWN:
        /* The event that was missed is made up below, where the domain's wishes for it are known. */
    case VMM_RUN_INMIGRATE:
    case VMM_RUN_POSTMIGRATE:
        break;
    }
}

/* Events that came while no daemon listened, as if they came now. Job not held. */
static void
reconnectCatchUp(virDomainObj *vm, vmmRunState now)
{
    vmmEvent event = { .kind = VMM_EVENT_NONE };

    if (!virDomainObjIsActive(vm))
        return;
    if (now == VMM_RUN_SHUTDOWN) {
        event.kind = VMM_EVENT_SHUTDOWN;
        event.byGuest = true;
    } else if (now == VMM_RUN_CRASHED && virDomainObjGetState(vm, NULL) != VIR_DOMAIN_CRASHED) {
        event.kind = VMM_EVENT_PANIC;
    }
    if (event.kind != VMM_EVENT_NONE)
        eventHandleVmm(vm, processEventSource(vm), &event, 0);
}

/* ---- ends ---------------------------------------------------------------------------------------------- */

static void
reconnectStop(virDomainObj *vm, virDomainShutoffReason reason, int detail)
{
    if (!virDomainObjIsActive(vm))
        return;
    if (!processStop(vm, reason))
        return;
    domainEvent(vm, VIR_DOMAIN_EVENT_STOPPED, detail);
    domainRemoveInactive(vm);
}

static bool
reconnectIsStarting(virDomainObj *vm)
{
    int reason;

    return virDomainObjGetState(vm, &reason) == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_STARTING_UP;
}

/* The VMM has ended while no daemon was there, or before it could answer. */
static void
reconnectDead(virDomainObj *vm)
{
    bool shutDown = DRV_DOMAIN(vm)->shuttingDown || (!reconnectIsStarting(vm) && processEndedOrderly(vm));
    /* Killed by somebody who waits for the job that we hold. */
    bool destroyed = DRV_DOMAIN(vm)->beingDestroyed;

    saveNeverRan(vm);
    migReconnect(vm, false);
    if (destroyed)
        reconnectStop(vm, VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED);
    else if (shutDown)
        reconnectStop(vm, VIR_DOMAIN_SHUTOFF_SHUTDOWN, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN);
    else
        reconnectStop(vm, VIR_DOMAIN_SHUTOFF_CRASHED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
}

/* ---- one guest ------------------------------------------------------------------------------------------- */

/* A script that refuses its guest ends it: that is what libvirt's hooks promise. The job is held. */
static void
reconnectHook(virDomainObj *vm)
{
    if (!virDomainObjIsActive(vm) || hookDomain(vm, HOOK_RECONNECT, NULL) == 0)
        return;
    VIR_ERROR(_("domain '%1$s' is ended: %2$s"), vm->def->name, virGetLastErrorMessage());
    reconnectStop(vm, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
}

/* The control socket is open and the job held. -1 with the libvirt error set. */
static int
reconnectRefresh(virDomainObj *vm, vmmRunState *ret)
{
    int state, reason;

    if (processRefreshStatus(vm, ret) < 0)
        return -1;
    if (!saveReconnect(vm, ret))
        return 0;
    /* Started for a migration of which nothing had been written down: no stream will ever come. */
    if (*ret == VMM_RUN_INMIGRATE && !migIsKnown(vm)) {
        reconnectStop(vm, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
        return 0;
    }
    state = virDomainObjGetState(vm, &reason);
    /* A guest of a migration gets its state from the phase. */
    if (state != VIR_DOMAIN_PAUSED || reason != VIR_DOMAIN_PAUSED_MIGRATION)
        reconnectSetState(vm, *ret);
    processNetNotify(vm);
    hotplugReconnect(vm);
    migReconnect(vm, true);
    if (virDomainObjIsActive(vm))
        domainSaveStatus(vm);
    reconnectHook(vm);
    return 0;
}

/* The job is held. False if the VMM lives and does not answer. */
static bool
reconnectAlive(virDomainObj *vm, vmmRunState *now)
{
    g_autoptr(drvConf) conf = stateConf(DRV_DOMAIN(vm)->drv);

    if (migKeepsSilent(vm)) {
        processNetNotify(vm);
        migReconnect(vm, true);
        if (virDomainObjIsActive(vm))
            domainSaveStatus(vm);
        reconnectHook(vm);
        return true;
    }
    if (migMayBeFrozen(vm))
        processThaw(vm);
    if (processOpenControl(vm, conf->startTimeoutMs) == 0 && reconnectRefresh(vm, now) == 0)
        return true;
    if (!virDomainObjIsActive(vm))
        return true;
    /* The socket ends a moment before the process does. */
    if (processWaitEnd(vm, RECONNECT_LINGER_MS)) {
        if (virDomainObjIsActive(vm))
            reconnectDead(vm);
        return true;
    }
    VIR_WARN("domain '%s' does not answer after the restart of the daemon (%s); only destroying it is possible until it does",
             vm->def->name, virGetLastErrorMessage());
    return false;
}

/* No job is held while we wait for the VMM, so that all calls know at once where they stand. */
static void
reconnectLater(virDomainObj *vm, guint64 incarnation, vmmRunState *now)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    while (!reconnectShallStop() && virDomainObjIsActive(vm) && priv->incarnation == incarnation &&
           !processHasEnded(vm)) {
        if (processOpenControl(vm, RECONNECT_AGAIN_MS) < 0) {
            /* A socket that ends at once must not make us spin. */
            if (virGetLastErrorCode() != VIR_ERR_OPERATION_TIMEOUT &&
                processWaitEnd(vm, RECONNECT_AGAIN_MS))
                return;
            continue;
        }
        if (virDomainObjBeginJob(vm, VIR_JOB_MODIFY) < 0)
            continue;
        if (virDomainObjIsActive(vm) && priv->incarnation == incarnation)
            reconnectRefresh(vm, now);
        virDomainObjEndJob(vm);
        return;
    }
}

static void
reconnectThread(void *opaque)
{
    virDomainObj *vm = opaque;
    drvDomain *priv;
    guint64 incarnation;
    vmmRunState now = VMM_RUN_OTHER;
    bool answered = true;

    virObjectLock(vm);
    priv = DRV_DOMAIN(vm);
    incarnation = priv->incarnation;
    if (priv->watch)
        throttleReconnect(vm);
    if (!priv->watch)
        reconnectDead(vm);
    else if (reconnectIsStarting(vm))
        reconnectStop(vm, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
    else
        answered = reconnectAlive(vm, &now);
    virDomainObjEndJob(vm);
    if (!answered)
        reconnectLater(vm, incarnation, &now);
    if (priv->incarnation == incarnation)
        reconnectCatchUp(vm, now);
    virDomainObjEndAPI(&vm);
    virResetLastError();
    reconnectCount(-1);
}

/* The VMM's traits are needed to watch it; false if even they cannot be had. */
static bool
reconnectPrepare(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    g_autofree char *pidPath = processPidPath(priv->drv, vm->def);
    g_autofree char *folder = processFolder(vm);

    priv->incarnation = processNextIncarnation();
    priv->beingDestroyed = false;
    priv->hooked = true;
    priv->tcg = vm->def->virtType == VIR_DOMAIN_VIRT_QEMU;
    if (!priv->controlPath && folder)
        priv->controlPath = g_build_filename(folder, "control.sock", NULL);
    if (!priv->vmm)
        priv->vmm = stateProbe(priv->drv, vm->def->emulator);
    if (!priv->vmm) {
        VIR_ERROR(_("domain '%1$s' is running, but its emulator '%2$s' cannot be asked what it is: %3$s"),
                  vm->def->name, vm->def->emulator, virGetLastErrorMessage());
        return false;
    }
    if (folder && priv->vmm->traits->snapshot)
        snapshotSweep(folder, priv->vmm->traits->snapshot);
    if (processWatchStart(vm, pidPath) < 0) {
        VIR_ERROR("%s", virGetLastErrorMessage());
        return false;
    }
    return true;
}

static void
reconnectOne(virDomainObj *vm)
{
    drvDomain *priv;
    virThread thread;

    virObjectLock(vm);
    priv = DRV_DOMAIN(vm);
    if (!virDomainObjIsActive(vm)) {
        virObjectUnlock(vm);
        return;
    }
    stateGuestStarted(priv->drv);
    migReconnectSoon(vm);
    if (virDomainObjBeginJob(vm, VIR_JOB_MODIFY) < 0) {
        virObjectUnlock(vm);
        return;
    }
    if (!reconnectPrepare(vm)) {
        virDomainObjEndJob(vm);
        virObjectUnlock(vm);
        return;
    }
    virObjectRef(vm);
    virObjectUnlock(vm);
    reconnectCount(1);
    if (virThreadCreateFull(&thread, false, reconnectThread, "stratovirt-reconnect", false, vm) < 0)
        reconnectThread(vm);
}

void
processReconnectAll(drvState *drv)
{
    virDomainObj **vms = NULL;
    size_t nvms = 0;

    /* A copy of the list: a guest that is gone is taken off it while we go through. */
    virDomainObjListCollectAll(drv->domains, &vms, &nvms);
    for (size_t i = 0; i < nvms; i++)
        reconnectOne(vms[i]);
    virObjectListFreeCount(vms, nvms);
}
