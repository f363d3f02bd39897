/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * What each thing a VMM says means for the domain.  Everything here runs in a worker thread with the domain locked.
 * States are changed under the lock alone; what needs the VMM or ends it (resetting, stopping) takes a job first.
 */
#include <config.h>

#include "driver/event.h"
#include "driver/hotplug.h"
#include "driver/mig.h"
#include "driver/process.h"
#include "driver/report.h"
#include "driver/save.h"

#include "domain_event.h"
#include "virdomainjob.h"
#include "virlog.h"

#include "driver/compat.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.event");

/* A dead guest must be cleared up however long others hold the job: this many waits of 30 s. */
#define EVENT_END_TRIES 20
/* Time for a VMM to end by itself after its guest has powered off and it was told to. */
#define EVENT_QUIT_MS 5000
/* A process that has closed its sockets and does not end within this time lives on. */
#define EVENT_LINGER_MS 1000

static void
eventSend(virDomainObj *vm, virObjectEvent *event)
{
    virObjectEventStateQueue(DRV_DOMAIN(vm)->drv->events, event);
}

static bool
eventStillCurrent(virDomainObj *vm, guint64 incarnation)
{
    return virDomainObjIsActive(vm) && DRV_DOMAIN(vm)->incarnation == incarnation;
}

/* Stop the guest for @reason with its event; the DESTROY job is held. */
static void
eventStop(virDomainObj *vm, virDomainShutoffReason reason)
{
    if (processStop(vm, reason))
        domainEvent(vm, VIR_DOMAIN_EVENT_STOPPED, processStoppedDetail(reason));
    domainRemoveInactive(vm);
}

/* ---- STOP and RESUME ------------------------------------------------------------------------ */

/* Nobody of us asked for it.  Believe it only if the VMM still says so: events may be old. */
static void
eventHandleRunState(virDomainObj *vm, eventSource *source, bool running, guint64 seq)
{
    guint64 incarnation = DRV_DOMAIN(vm)->incarnation;
    virDomainState state = virDomainObjGetState(vm, NULL);
    vmmRunState now;

    if (eventIsOwn(source, seq))
        return;
    if (running ? state != VIR_DOMAIN_PAUSED : state != VIR_DOMAIN_RUNNING)
        return;
    if (processRefreshStatus(vm, &now) < 0 || !eventStillCurrent(vm, incarnation) ||
        eventIsOwn(source, seq))
        return;
    state = virDomainObjGetState(vm, NULL);
    if (running && now == VMM_RUN_RUNNING && state == VIR_DOMAIN_PAUSED) {
        virDomainObjSetState(vm, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED);
        domainEvent(vm, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
    } else if (!running && state == VIR_DOMAIN_RUNNING && now == VMM_RUN_PAUSED) {
        virDomainObjSetState(vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_UNKNOWN);
        domainEvent(vm, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    } else {
        return;
    }
    domainSaveStatus(vm);
}

/* ---- the guest powers off, reboots, panics ---------------------------------------------------- */

static void
eventEndGuest(virDomainObj *vm, virDomainShutoffReason reason)
{
    guint64 incarnation = DRV_DOMAIN(vm)->incarnation;

    if (virDomainObjBeginJob(vm, VIR_JOB_DESTROY) < 0)
        return;
    if (eventStillCurrent(vm, incarnation)) {
        /* A gentle end first: the VMM may still have caches to write. */
        DRV_DOMAIN(vm)->beingDestroyed = true;
        processTerminate(vm, EVENT_QUIT_MS);
        eventStop(vm, reason);
    }
    virDomainObjEndJob(vm);
}

/* Start again what has powered off or panicked, in the same VMM. */
static void
eventRestartGuest(virDomainObj *vm, virDomainShutoffReason otherwise)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    guint64 incarnation = priv->incarnation;
    g_autoptr(GError) error = NULL;
    const vmmOps *ops;
    control *ctl;
    guint64 held;
    bool ok;

    if (virDomainObjBeginJob(vm, VIR_JOB_MODIFY) < 0)
        return;
    if (!eventStillCurrent(vm, incarnation)) {
        virDomainObjEndJob(vm);
        return;
    }
    priv->rebootPending = false;
    priv->shuttingDown = false;
    ops = priv->vmm->traits->ops;
    ctl = domainControl(vm, &held);
    ok = ctl && ops->reset(ctl, &error);
    if (ctl && !domainControlDone(vm, ctl, held))
        ok = false;
    if (ok && processResume(vm, VIR_DOMAIN_RUNNING_BOOTED) < 0)
        ok = false;
    virDomainObjEndJob(vm);
    if (ok || !eventStillCurrent(vm, incarnation))
        return;
    VIR_WARN("domain '%s' cannot be restarted after it ended, stopping it: %s", vm->def->name,
             error ? error->message : virGetLastErrorMessage());
    eventEndGuest(vm, otherwise);
}

static void
eventTellShutdown(virDomainObj *vm, const vmmEvent *event)
{
    /* After a restart of the daemon it may be known already. */
    if (virDomainObjGetState(vm, NULL) == VIR_DOMAIN_SHUTDOWN)
        return;
    DRV_DOMAIN(vm)->shuttingDown = true;
    virDomainObjSetState(vm, VIR_DOMAIN_SHUTDOWN, VIR_DOMAIN_SHUTDOWN_UNKNOWN);
    domainEvent(vm, VIR_DOMAIN_EVENT_SHUTDOWN,
                event->byGuest ? VIR_DOMAIN_EVENT_SHUTDOWN_GUEST
                               : VIR_DOMAIN_EVENT_SHUTDOWN_HOST);
    domainSaveStatus(vm);
}

static void
eventHandleShutdown(virDomainObj *vm, const vmmEvent *event)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    if (priv->beingDestroyed)
        return;
    if (priv->rebootPending) {
        eventRestartGuest(vm, VIR_DOMAIN_SHUTOFF_SHUTDOWN);
        return;
    }
    eventTellShutdown(vm, event);
    switch (vm->def->onPoweroff) {
    case VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE:
        break;
    case VIR_DOMAIN_LIFECYCLE_ACTION_RESTART:
    case VIR_DOMAIN_LIFECYCLE_ACTION_RESTART_RENAME:
        eventRestartGuest(vm, VIR_DOMAIN_SHUTOFF_SHUTDOWN);
        break;
    default:
        eventEndGuest(vm, VIR_DOMAIN_SHUTOFF_SHUTDOWN);
        break;
    }
}

static void
eventHandleReset(virDomainObj *vm, const vmmEvent *event)
{
    if (event->byGuest && vm->def->onReboot == VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY) {
        eventEndGuest(vm, VIR_DOMAIN_SHUTOFF_SHUTDOWN);
        return;
    }
    eventSend(vm, virDomainEventRebootNewFromObj(vm));
    domainSaveStatus(vm);
}

static void
eventHandlePanic(virDomainObj *vm)
{
    virDomainObjSetState(vm, VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_PANICKED);
    domainEvent(vm, VIR_DOMAIN_EVENT_CRASHED, VIR_DOMAIN_EVENT_CRASHED_PANICKED);
    domainSaveStatus(vm);
    switch (vm->def->onCrash) {
    case VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE:
        break;
    case VIR_DOMAIN_LIFECYCLE_ACTION_RESTART:
    case VIR_DOMAIN_LIFECYCLE_ACTION_RESTART_RENAME:
    case VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_RESTART:
        eventRestartGuest(vm, VIR_DOMAIN_SHUTOFF_CRASHED);
        break;
    default:
        eventEndGuest(vm, VIR_DOMAIN_SHUTOFF_CRASHED);
        break;
    }
}

/* ---- devices ------------------------------------------------------------------------------------- */

static void
eventHandleIoError(virDomainObj *vm, const vmmEvent *event)
{
    const char *alias = event->deviceAlias ? event->deviceAlias : "";
    const char *path = "";
    int action = event->ioErrorStops ? VIR_DOMAIN_EVENT_IO_ERROR_PAUSE
                                     : VIR_DOMAIN_EVENT_IO_ERROR_REPORT;
    const char *reason = event->reason ? event->reason : "";

    for (size_t i = 0; i < vm->def->ndisks; i++) {
        virDomainDiskDef *disk = vm->def->disks[i];

        if (disk->info.alias && STREQ(disk->info.alias, alias))
            path = virDomainDiskGetSource(disk);
    }
    if (!path)
        path = "";
    eventSend(vm, virDomainEventIOErrorNewFromObj(vm, path, alias, action));
    eventSend(vm, virDomainEventIOErrorReasonNewFromObj(vm, path, alias, action, reason));
    if (!event->ioErrorStops || virDomainObjGetState(vm, NULL) != VIR_DOMAIN_RUNNING)
        return;
    virDomainObjSetState(vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_IOERROR);
    domainEvent(vm, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_IOERROR);
    domainSaveStatus(vm);
}

static void
eventHandleBalloon(virDomainObj *vm, const vmmEvent *event)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    priv->balloonKiB = event->balloonBytes / 1024;
    vm->def->mem.cur_balloon = priv->balloonKiB;
    eventSend(vm, virDomainEventBalloonChangeNewFromObj(vm, priv->balloonKiB));
    domainSaveStatus(vm);
}

void
eventHandleVmm(virDomainObj *vm, eventSource *source, const vmmEvent *event, guint64 seq)
{
    switch (event->kind) {
    case VMM_EVENT_STOP:
    case VMM_EVENT_RESUME:
        if (!migVmmEvent(vm, event))
            eventHandleRunState(vm, source, event->kind == VMM_EVENT_RESUME, seq);
        break;
    case VMM_EVENT_MIGRATION:
    case VMM_EVENT_MIGRATION_PASS:
        if (!saveVmmEvent(vm))
            migVmmEvent(vm, event);
        break;
    case VMM_EVENT_IO_ERROR:
        eventHandleIoError(vm, event);
        migVmmEvent(vm, event);
        break;
    case VMM_EVENT_SHUTDOWN:
        eventHandleShutdown(vm, event);
        break;
    case VMM_EVENT_RESET:
        eventHandleReset(vm, event);
        break;
    case VMM_EVENT_PANIC:
        eventHandlePanic(vm);
        break;
    case VMM_EVENT_BALLOON:
        eventHandleBalloon(vm, event);
        break;
    case VMM_EVENT_DEVICE_REMOVED:
    case VMM_EVENT_DEVICE_KEPT:
        hotplugHandleEvent(vm, event);
        break;
    case VMM_EVENT_POWERDOWN:
    case VMM_EVENT_NONE:
        break;
    }
}

/* ---- the end of the process, or of the control socket ------------------------------------------------ */

static virDomainShutoffReason
eventReasonOfEnd(virDomainObj *vm)
{
    const drvDomain *priv = DRV_DOMAIN(vm);
    int reason = migVmmGone(vm);

    if (reason >= 0)
        return reason;
    /* Killed by somebody who still waits for the job, and will find the work done. */
    if (priv->beingDestroyed)
        return VIR_DOMAIN_SHUTOFF_DESTROYED;
    if (priv->shuttingDown)
        return VIR_DOMAIN_SHUTOFF_SHUTDOWN;
    if (!processEndedOrderly(vm))
        return VIR_DOMAIN_SHUTOFF_CRASHED;
    /* The guest has powered off, or a signal ended it: its VMM says neither. */
    domainEvent(vm, VIR_DOMAIN_EVENT_SHUTDOWN, VIR_DOMAIN_EVENT_SHUTDOWN_FINISHED);
    return VIR_DOMAIN_SHUTOFF_SHUTDOWN;
}

void
eventHandleEnd(virDomainObj *vm, eventSource *source G_GNUC_UNUSED)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    guint64 incarnation = priv->incarnation;
    unsigned tries = EVENT_END_TRIES;
    virDomainShutoffReason reason;

    while (virDomainObjBeginJob(vm, VIR_JOB_DESTROY) < 0) {
        if (!eventStillCurrent(vm, incarnation))
            return;
        if (tries-- == 0) {
            VIR_ERROR(_("the process of domain '%1$s' has ended, but the domain stays busy"),
                      vm->def->name);
            return;
        }
    }
    /* A destroy that found it dead first, or a start that failed for it, has done all that. */
    if (!eventStillCurrent(vm, incarnation)) {
        virDomainObjEndJob(vm);
        return;
    }
    /* It ended before the migration that an earlier life of the daemon left could be settled: now, as of one found dead. */
    migReconnect(vm, false);
    if (!eventStillCurrent(vm, incarnation)) {
        virDomainObjEndJob(vm);
        return;
    }
    reason = eventReasonOfEnd(vm);
    if (reason == VIR_DOMAIN_SHUTOFF_CRASHED)
        VIR_WARN("the process of domain '%s' has ended by itself, see its log", vm->def->name);
    /* A VMM that dies is the host's failure, not the guest's crash. */
    if (processStop(vm, reason))
        domainEvent(vm, VIR_DOMAIN_EVENT_STOPPED,
                    reason == VIR_DOMAIN_SHUTOFF_CRASHED ? VIR_DOMAIN_EVENT_STOPPED_FAILED
                                                         : processStoppedDetail(reason));
    domainRemoveInactive(vm);
    virDomainObjEndJob(vm);
}

/* The VMM lives but its control socket ended: one attempt to open it anew. */
void
eventHandleControlLost(virDomainObj *vm, eventSource *source G_GNUC_UNUSED)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    guint64 incarnation = priv->incarnation;

    /* Usually it ends because the process does: that is told by its own event, a moment later, for which no job may
     * keep us. */
    if (priv->beingDestroyed || processWaitEnd(vm, EVENT_LINGER_MS) ||
        !eventStillCurrent(vm, incarnation) ||
        virDomainObjBeginJob(vm, VIR_JOB_MODIFY_MIGRATION_SAFE) < 0)
        return;
    if (eventStillCurrent(vm, incarnation) && !processHasEnded(vm)) {
        g_autoptr(drvConf) conf = stateConf(priv->drv);

        VIR_WARN("the control socket of domain '%s' ended, opening it again", vm->def->name);
        if (processOpenControl(vm, conf->startTimeoutMs) < 0)
            VIR_ERROR(_("domain '%1$s' cannot be controlled any more: %2$s"), vm->def->name,
                      virGetLastErrorMessage());
        else
            hotplugReconnect(vm);
    }
    virDomainObjEndJob(vm);
}
