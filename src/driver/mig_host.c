/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig_host.c: migHostOps on a real domain
 *
 * Called by the job's runner without any lock.  Each operation locks the domain for what it reads or
 * writes there and lets go of it before it talks to the VMM.
 */
#include <config.h>

#include "driver/compat.h"
#include "driver/mig_priv.h"
#include "driver/process.h"
#include "driver/report.h"
#include "driver/throttle.h"
#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "remote/await.h"

#include "domain_event.h"
#include "viralloc.h"
#include "virclosecallbacks.h"
#include "virerror.h"
#include "virlog.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.mig_host");

typedef struct {
    virDomainObj *vm;            /* a reference */
    drvState *drv;
    int aheadFd;                 /* destination: a control connection on which the VMM has been told to stop; -1 */
    snapshot *snap;              /* of a guest that goes by way of files; the runner's */
} migHost;

void *
migHostNew(virDomainObj *vm)
{
    migHost *host = g_new0(migHost, 1);

    host->vm = virObjectRef(vm);
    host->drv = DRV_DOMAIN(vm)->drv;
    host->aheadFd = -1;
    return host;
}

void
migHostFree(void *opaque)
{
    migHost *host = opaque;

    baseFdReplace(&host->aheadFd, -1);
    snapshotFree(host->snap);
    virObjectUnref(host->vm);
    g_free(host);
}

static bool
hostSave(void *opaque, const migRecord *record, GError **error)
{
    migHost *host = opaque;
    virDomainObj *vm = host->vm;
    migRecord old;
    drvMig *mig;
    bool ok = true;

    virObjectLock(vm);
    mig = migOf(vm);
    old = mig->record;
    migRecordCopy(&mig->record, record);
    if (virDomainObjIsActive(vm) && domainSaveStatus(vm) < 0) {
        ok = false;
        reportToGError(error);
        migRecordClear(&mig->record);
        mig->record = old;
    } else {
        migRecordClear(&old);
    }
    virObjectUnlock(vm);
    return ok;
}

/* The control and the traits of a living VMM; false with an error when it is gone. */
static control *
hostControl(migHost *host, const vmmOps **retOps, GError **error)
{
    drvDomain *priv = DRV_DOMAIN(host->vm);
    control *ctl = NULL;

    virObjectLock(host->vm);
    if (priv->ctl && priv->vmm) {
        ctl = controlRef(priv->ctl);
        *retOps = priv->vmm->traits->ops;
    } else {
        g_set_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED,
                    _("The VMM of domain '%1$s' is gone."), host->vm->def->name);
    }
    virObjectUnlock(host->vm);
    return ctl;
}

#define HOST_CALL(op, ...) \
    const vmmOps *ops = NULL; \
    g_autoptr(control) ctl = hostControl(opaque, &ops, error); \
    return ctl && ops->op(ctl, ##__VA_ARGS__, error)

/* What a user has set while the migration waited or connected. */
static vmmMigSpec
hostTuned(migHost *host, const vmmMigSpec *spec)
{
    vmmMigSpec ret = *spec;
    migTuning *tuning;
    migJob *job;

    virObjectLock(host->vm);
    tuning = &migOf(host->vm)->tuning;
    if (!tuning->speedSet)
        tuning->bandwidth = spec->maxBandwidth;
    if (!tuning->downtimeSet)
        tuning->downtimeMs = spec->maxDowntimeMs;
    tuning->sending = true;
    migOf(host->vm)->resumed = false;
    /* A relay holds the speed down better, and can do so for any VMM. */
    job = migOf(host->vm)->job;
    ret.maxBandwidth = job && migJobSetSpeed(job, tuning->bandwidth) ? 0 : tuning->bandwidth;
    ret.maxDowntimeMs = tuning->downtimeMs;
    if (tuning->cacheSet && ret.xbzrleCacheBytes > 0)
        ret.xbzrleCacheBytes = tuning->cacheBytes;
    virObjectUnlock(host->vm);
    return ret;
}

/* @ctl NULL: receive. */
static bool
hostFilesStart(migHost *host, int fd, control *ctl, GError **error)
{
    g_clear_pointer(&host->snap, snapshotFree);
    host->snap = migFilesStart(host->vm, fd, ctl, error);
    return host->snap != NULL;
}

static bool
hostVmmSend(void *opaque, const vmmMigSpec *spec, int fd, GError **error)
{
    vmmMigSpec tuned = hostTuned(opaque, spec);
    migHost *host = opaque;
    const vmmOps *ops = NULL;
    g_autoptr(control) ctl = hostControl(opaque, &ops, error);

    if (!ctl)
        return false;
    if (migFilesNeeded(host->vm, fd))
        return hostFilesStart(host, fd, ctl, error);
    return ops->migrateStart(ctl, &tuned, fd, error);
}

static bool
hostVmmContinue(void *opaque, GError **error)
{
    migHost *host = opaque;
    const vmmOps *ops = NULL;
    g_autoptr(control) ctl = hostControl(opaque, &ops, error);

    if (!ctl)
        return false;
    if (!host->snap)
        return ops->migrateContinue(ctl, error);
    if (FAULT_ERROR(MIGRATE_CONTINUE, error))
        return false;
    migFilesReleaseDisks(host->vm, ctl);
    return snapshotContinue(host->snap, error);
}

static bool
hostVmmCancel(void *opaque, GError **error)
{
    migHost *host = opaque;

    if (host->snap) {
        snapshotCancel(host->snap);
        return !FAULT_ERROR(MIGRATE_CANCEL, error);
    }
    /* A frozen one hears nothing. */
    virObjectLock(host->vm);
    if (virDomainObjIsActive(host->vm) && DRV_DOMAIN(host->vm)->vmm && DRV_DOMAIN(host->vm)->vmm->traits->resumesByItself)
        processThaw(host->vm);
    virObjectUnlock(host->vm);
    {
        HOST_CALL(migrateCancel);
    }
}

static bool
hostVmmRelease(void *opaque, GError **error)
{
    HOST_CALL(migrateRelease);
}

static bool
hostVmmStatus(void *opaque, vmmMigStatus *ret, GError **error)
{
    migHost *host = opaque;

    if (host->snap) {
        snapshotLook(host->snap, ret);
        return true;
    }
    {
        HOST_CALL(migrateStatus, ret);
    }
}

static bool
hostVmmAttach(void *opaque, int fd, GError **error)
{
    migHost *host = opaque;

    if (migFilesNeeded(host->vm, fd))
        return hostFilesStart(host, fd, NULL, error);
    {
        HOST_CALL(incomingAttach, fd);
    }
}

static bool
hostVmmListen(void *opaque, const char *path, const vmmMigSpec *spec, GError **error)
{
    HOST_CALL(incomingListen, path, spec);
}

static char *
hostChannelPath(void *opaque, GError **error)
{
    migHost *host = opaque;
    char *path;

    virObjectLock(host->vm);
    path = migChannelPath(DRV_DOMAIN(host->vm)->controlPath);
    if (!path)
        g_set_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED,
                    _("The VMM of domain '%1$s' is gone."), host->vm->def->name);
    virObjectUnlock(host->vm);
    return path;
}

/* ---- the guest of the source ---- */

/*
 * Domain locked.  A user's suspend or resume that is on its way to the VMM is let through before anything goes on, so that none can
 * arrive when the guest may have been started elsewhere; later ones find it handed over and are refused.
 */
static void
hostHandOver(virDomainObj *vm)
{
    drvMig *mig = migOf(vm);
    bool sending = mig->record.phase == MIG_PHASE_PERFORMING || mig->record.phase == MIG_PHASE_ABORTING;
    bool held;

    mig->handedOver = true;
    if (!sending)
        return;
    held = virDomainObjBeginJob(vm, VIR_JOB_MIGRATION_OP) == 0;
    if (held)
        virDomainObjEndJob(vm);
    else
        VIR_WARN("domain '%s' is busy while it is handed over: %s, ignoring", vm->def->name, virGetLastErrorMessage());
    virResetLastError();
}

static bool
hostGuestFrozen(void *opaque)
{
    migHost *host = opaque;
    virDomainObj *vm = host->vm;
    int state, reason;
    bool ran;

    virObjectLock(vm);
    hostHandOver(vm);
    state = virDomainObjGetState(vm, &reason);
    ran = state == VIR_DOMAIN_RUNNING || (state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_MIGRATION);
    if (state == VIR_DOMAIN_RUNNING) {
        virDomainObjSetState(vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION);
        domainEvent(vm, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
        if (domainSaveStatus(vm) < 0)
            VIR_WARN("Cannot save status of domain '%s', ignoring", vm->def->name);
    }
    virObjectUnlock(vm);
    return ran;
}

static bool
hostGuestStop(void *opaque, GError **error)
{
    migHost *host = opaque;
    bool ok = true;

    virObjectLock(host->vm);
    if (virDomainObjGetState(host->vm, NULL) == VIR_DOMAIN_RUNNING) {
        if (processPause(host->vm, VIR_DOMAIN_PAUSED_MIGRATION) < 0) {
            reportToGError(error);
            ok = false;
        } else {
            domainEvent(host->vm, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
        }
    }
    virObjectUnlock(host->vm);
    return ok;
}

/* Its VMM may have been frozen for the switch-over, perhaps by an earlier life of this daemon, which could not speak to it since. */
static void
hostThaw(migHost *host)
{
    virDomainObj *vm = host->vm;
    drvDomain *priv = DRV_DOMAIN(vm);
    g_autoptr(drvConf) conf = stateConf(priv->drv);

    virObjectLock(vm);
    if (virDomainObjIsActive(vm) && priv->vmm && priv->vmm->traits->resumesByItself) {
        (void)FAULT(GUEST_THAW);
        processThaw(vm);
        if (!priv->ctl && processOpenControl(vm, conf->startTimeoutMs) < 0)
            VIR_WARN("domain '%s' does not answer after its migration: %s", vm->def->name, virGetLastErrorMessage());
    }
    virObjectUnlock(vm);
}

static bool
hostGuestFreeze(void *opaque, GError **error)
{
    migHost *host = opaque;
    bool ok = false;

    virObjectLock(host->vm);
    migOf(host->vm)->resumed = false;
    if (!virDomainObjIsActive(host->vm)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED,
                    _("The VMM of domain '%1$s' is gone."), host->vm->def->name);
    } else {
        ok = processFreeze(host->vm) == 0;
        if (!ok)
            reportToGError(error);
    }
    virObjectUnlock(host->vm);
    return ok;
}

/* How long a VMM may take to notice that its stream has ended, and to let its guest run. */
#define KEEP_WAIT_MS 3000

/* The guest was stopped by a user: if its VMM has let it run for a moment, it is stopped again. */
static void
hostGuestKeep(void *opaque)
{
    migHost *host = opaque;
    virDomainObj *vm = host->vm;
    drvDomain *priv = DRV_DOMAIN(vm);
    unsigned long long until = g_get_real_time() / 1000 + KEEP_WAIT_MS;
    int reason = VIR_DOMAIN_PAUSED_USER;

    if (!priv->vmm || !priv->vmm->traits->resumesByItself)
        return;
    hostThaw(host);
    virObjectLock(vm);
    while (virDomainObjIsActive(vm) && !migOf(vm)->resumed && virDomainObjWaitUntil(vm, until) == 0)
        continue;
    virDomainObjGetState(vm, &reason);
    if (virDomainObjIsActive(vm) && processPause(vm, reason) < 0)
        VIR_ERROR(_("domain '%1$s' could not be stopped again after its migration was given up: %2$s"), vm->def->name,
                  virGetLastErrorMessage());
    virResetLastError();
    virObjectUnlock(vm);
}

/* Does the VMM itself say that the guest runs?  The recorded state may be that of before a restart. */
static bool
hostVmmRuns(migHost *host)
{
    g_autoptr(GError) error = NULL;
    const vmmOps *ops = NULL;
    g_autoptr(control) ctl = hostControl(host, &ops, &error);
    vmmRunState state;

    return ctl && ops->status(ctl, &state, &error) && state == VMM_RUN_RUNNING;
}

/* Domain locked. */
static bool
hostResumeLocked(virDomainObj *vm, GError **error)
{
    if (processResume(vm, VIR_DOMAIN_RUNNING_MIGRATION_CANCELED) == 0) {
        domainEvent(vm, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
        return true;
    }
    reportToGError(error);
    VIR_ERROR(_("domain '%1$s' could not be resumed after its migration was given up; resume it by hand"),
              vm->def->name);
    return false;
}

/* Only a guest that the migration stopped is let go; one that a user stopped meanwhile stays stopped, or is stopped again. */
static bool
hostGuestResume(void *opaque, GError **error)
{
    migHost *host = opaque;
    virDomainObj *vm = host->vm;
    bool keep = false;
    bool ok = true;
    int reason;
    int state;
    bool runs;

    hostThaw(host);
    runs = hostVmmRuns(host);
    virObjectLock(vm);
    state = virDomainObjGetState(vm, &reason);
    if (virDomainObjIsActive(vm) &&
        ((state == VIR_DOMAIN_RUNNING && !runs) ||
         (state == VIR_DOMAIN_PAUSED &&
          (reason == VIR_DOMAIN_PAUSED_MIGRATION || reason == VIR_DOMAIN_PAUSED_UNKNOWN ||
           reason == COMPAT_PAUSED_IN_DOUBT))))
        ok = hostResumeLocked(vm, error);
    else
        keep = virDomainObjIsActive(vm) && state == VIR_DOMAIN_PAUSED;
    virObjectUnlock(vm);
    if (keep)
        hostGuestKeep(host);
    return ok;
}

static void
hostIteration(void *opaque, uint64_t pass)
{
    migHost *host = opaque;

    virObjectLock(host->vm);
    virObjectEventStateQueue(host->drv->events,
                             virDomainEventMigrationIterationNewFromObj(host->vm, pass));
    virObjectUnlock(host->vm);
}

static bool
hostThrottle(void *opaque, unsigned percent, GError **error)
{
    migHost *host = opaque;
    bool ok;

    virObjectLock(host->vm);
    ok = !virDomainObjIsActive(host->vm) || throttleSet(host->vm, percent) == 0;
    if (!ok)
        reportToGError(error);
    virObjectUnlock(host->vm);
    return ok;
}

/* ---- ending a copy ---- */

/* How long the kernel may take to end a process that was killed. */
#define END_WAIT_MS 30000

static void
hostEndVmm(migHost *host, virDomainShutoffReason reason, int detail)
{
    virDomainObj *vm = host->vm;

    virObjectLock(vm);
    /* DESTROY is the job that may always join a migration; it keeps a user's destroy out meanwhile. */
    if (virDomainObjIsActive(vm)) {
        if (virDomainObjBeginJob(vm, VIR_JOB_DESTROY) == 0) {
            if (processStop(vm, reason))
                domainEvent(vm, VIR_DOMAIN_EVENT_STOPPED, detail);
            virDomainObjEndJob(vm);
        } else if (virDomainObjIsActive(vm)) {
            VIR_WARN("domain '%s' is busy, so only its process is ended: %s", vm->def->name, virGetLastErrorMessage());
            virResetLastError();
            /* Where this is called for, no copy may run here.  What is left is cleared up when its end is seen. */
            processKill(vm);
            if (!processWaitEnd(vm, END_WAIT_MS))
                VIR_ERROR(_("process %1$lld of domain '%2$s' was killed, but the kernel has not ended it yet"),
                          (long long)vm->pid, vm->def->name);
        }
    }
    virObjectUnlock(vm);
}

static void
hostUndefine(migHost *host)
{
    virDomainObj *vm = host->vm;

    virObjectLock(vm);
    if (vm->persistent) {
        if (virDomainDeleteConfig(host->drv->configDir, host->drv->autostartDir, vm) < 0)
            VIR_WARN("Cannot remove the definition of domain '%s': %s, ignoring",
                     vm->def->name, virGetLastErrorMessage());
        vm->persistent = 0;
        domainEvent(vm, VIR_DOMAIN_EVENT_UNDEFINED, VIR_DOMAIN_EVENT_UNDEFINED_REMOVED);
    }
    virObjectUnlock(vm);
}

static void
hostEndSource(void *opaque)
{
    migHost *host = opaque;
    bool undefine, gone;

    virObjectLock(host->vm);
    /* Only what is known to run on the destination may lose its definition here. */
    gone = migOf(host->vm)->record.phase == MIG_PHASE_GONE;
    undefine = gone && migOf(host->vm)->record.undefineSource;
    virObjectUnlock(host->vm);
    /* Otherwise an administrator ended it. */
    if (gone)
        hostEndVmm(host, VIR_DOMAIN_SHUTOFF_MIGRATED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    else
        hostEndVmm(host, VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED);
    if (undefine)
        hostUndefine(host);
}

static void
hostEndIncoming(void *opaque, const char *why)
{
    migHost *host = opaque;

    VIR_INFO("incoming migration of domain '%s' given up: %s", host->vm->def->name, NULLSTR(why));
    hostEndVmm(host, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
    /* A definition that came alone makes place for the one that was here before. */
    virObjectLock(host->vm);
    if (!virDomainObjIsActive(host->vm))
        virDomainObjRemoveTransientDef(host->vm);
    virObjectUnlock(host->vm);
}

/* Domain locked. */
static void
hostSetPaused(virDomainObj *vm, virDomainPausedReason reason)
{
    virDomainObjSetState(vm, VIR_DOMAIN_PAUSED, reason);
    if (domainSaveStatus(vm) < 0)
        VIR_WARN("Cannot save status of domain '%s', ignoring", vm->def->name);
}

static void
hostDoubt(void *opaque, const char *why)
{
    migHost *host = opaque;
    virDomainObj *vm = host->vm;
    drvMig *mig;
    int reason;

    virObjectLock(vm);
    mig = migOf(vm);
    g_free(mig->doubt);
    mig->doubt = g_strdup(why);
    if (why) {
        VIR_ERROR(_("domain '%1$s': %2$s"), vm->def->name, why);
        if (virDomainObjIsActive(vm)) {
            hostSetPaused(vm, COMPAT_PAUSED_IN_DOUBT);
            domainEvent(vm, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR);
        }
    } else if (virDomainObjIsActive(vm) && virDomainObjGetState(vm, &reason) == VIR_DOMAIN_PAUSED &&
               reason == COMPAT_PAUSED_IN_DOUBT) {
        /* It is its own master again, and stays as a user had put it. */
        hostSetPaused(vm, mig->record.wasRunning ? VIR_DOMAIN_PAUSED_MIGRATION : VIR_DOMAIN_PAUSED_USER);
    }
    virObjectUnlock(vm);
}

/* ---- the guest of the destination ---- */

/* The VMM does not answer yet, but takes a connection, and what comes over it is the first that it will do. */
static bool
hostGuestExpect(void *opaque, GError **error)
{
    migHost *host = opaque;
    drvDomain *priv = DRV_DOMAIN(host->vm);
    g_autoptr(drvConf) conf = stateConf(host->drv);
    g_autofree char *path = NULL;
    const vmmGuideOps *guide;

    virObjectLock(host->vm);
    path = g_strdup(priv->controlPath);
    guide = priv->vmm ? priv->vmm->traits->guide : NULL;
    virObjectUnlock(host->vm);
    if (!path || !guide) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED, _("The VMM of domain '%1$s' is gone."), host->vm->def->name);
        return false;
    }
    baseFdReplace(&host->aheadFd, awaitSocket(path, -1, conf->startTimeoutMs, error));
    return host->aheadFd >= 0 && guide->stopAhead(host->aheadFd, error);
}

/* Has it been told ahead, and obeyed? */
static bool
hostAwaitStopped(migHost *host)
{
    drvDomain *priv = DRV_DOMAIN(host->vm);
    g_autoptr(drvConf) conf = stateConf(host->drv);
    const vmmGuideOps *guide;
    g_autoptr(GError) error = NULL;

    virObjectLock(host->vm);
    guide = priv->vmm ? priv->vmm->traits->guide : NULL;
    virObjectUnlock(host->vm);
    if (!guide || host->aheadFd < 0)
        return false;
    if (guide->awaitStopped(host->aheadFd, conf->startTimeoutMs, &error))
        return true;
    VIR_WARN("domain '%s': %s It is told again.", host->vm->def->name, error->message);
    return false;
}

/*
 * Domain locked.  The guest runs since its VMM has it, so nothing can be refused any more; and the VMM, which has not spoken before,
 * does now.
 */
static void
hostGuestLanded(migHost *host, bool paused, bool stopped)
{
    virDomainObj *vm = host->vm;
    g_autoptr(drvConf) conf = stateConf(host->drv);

    /* One client at a time. */
    baseFdReplace(&host->aheadFd, -1);
    if (!DRV_DOMAIN(vm)->ctl && processOpenControl(vm, conf->startTimeoutMs) < 0)
        VIR_ERROR(_("domain '%1$s' has arrived and runs, but its VMM does not answer: %2$s"), vm->def->name,
                  virGetLastErrorMessage());
    else if (paused && !stopped && processPause(vm, VIR_DOMAIN_PAUSED_USER) < 0)
        VIR_ERROR(_("domain '%1$s' has arrived and could not be stopped: %2$s"), vm->def->name, virGetLastErrorMessage());
    virResetLastError();
    if (paused || virDomainObjGetState(vm, NULL) == VIR_DOMAIN_RUNNING)
        return;
    virDomainObjSetState(vm, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_MIGRATED);
    domainEvent(vm, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
    if (domainSaveStatus(vm) < 0)
        VIR_WARN("Cannot save status of domain '%s', ignoring", vm->def->name);
}

static bool
hostGuestOffer(void *opaque, GError **error)
{
    migHost *host = opaque;

    return migFilesGuestOffer(host->vm, host->snap, error);
}

static bool
hostGuestLoad(void *opaque, bool *retUnknown, GError **error)
{
    migHost *host = opaque;

    return migFilesGuestLoad(host->vm, g_steal_pointer(&host->snap), baseFdSteal(&host->aheadFd), retUnknown, error);
}

static bool
hostGuestNeverRan(void *opaque)
{
    migHost *host = opaque;
    bool ret;

    virObjectLock(host->vm);
    ret = processNeverRan(host->vm);
    virObjectUnlock(host->vm);
    return ret;
}

static bool
hostGuestStart(void *opaque, bool paused, GError **error)
{
    migHost *host = opaque;
    virDomainObj *vm = host->vm;
    drvDomain *priv = DRV_DOMAIN(vm);
    bool stopped, ok = true;

    stopped = hostAwaitStopped(host);
    virObjectLock(vm);
    if (virDomainObjIsActive(vm) && priv->vmm && priv->vmm->traits->startsOnArrival)
        hostGuestLanded(host, paused, stopped);
    if (!virDomainObjIsActive(vm)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED,
                    _("The VMM of domain '%1$s' is gone."), vm->def->name);
        ok = false;
    } else if (paused) {
        virDomainObjSetState(vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);
        domainEvent(vm, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    } else if (virDomainObjGetState(vm, NULL) != VIR_DOMAIN_RUNNING) {
        if (processResume(vm, VIR_DOMAIN_RUNNING_MIGRATED) < 0) {
            reportToGError(error);
            ok = false;
        } else {
            domainEvent(vm, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
        }
    }
    virObjectUnlock(vm);
    return ok;
}

/* ---- the end ---- */

static void
hostReportDone(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    virTypedParameterPtr params = NULL;
    int nparams = 0;
    int type;

    if (migStatsToParams(&priv->mig->completed, &params, &nparams, &type) < 0)
        return;
    /* The event takes the parameters over. */
    virObjectEventStateQueue(priv->drv->events,
                             virDomainEventJobCompletedNewFromObj(vm, params, nparams));
}

static void
hostOver(void *opaque, migPhase phase)
{
    migHost *host = opaque;
    virDomainObj *vm = host->vm;
    g_autoptr(migJob) job = NULL;
    bool dryRun;
    drvMig *mig;

    virObjectLock(vm);
    mig = migOf(vm);
    dryRun = mig->job && migJobParams(mig->job)->dryRun;
    if (mig->job)
        job = migJobRef(mig->job);
    if (job && !dryRun) {
        migStatsClear(&mig->completed);
        migJobGetStats(job, &mig->completed);
        mig->hasCompleted = true;
    }
    g_clear_pointer(&mig->doubt, g_free);
    /* Of a dry run nothing is to be seen. */
    if (!dryRun)
        hostReportDone(vm);
    migUnwatchClients(vm);
    migJobDetach(vm);
    g_clear_pointer(&host->snap, snapshotFree);
    VIR_INFO("domain '%s': migration over in phase '%s'", vm->def->name, migPhaseName(phase));
    if (mig->statusKept && !virDomainObjIsActive(vm))
        domainRemoveStatus(vm);
    mig->statusKept = false;
    if (virDomainObjIsActive(vm)) {
        if (domainSaveStatus(vm) < 0)
            VIR_WARN("Cannot save status of domain '%s', ignoring", vm->def->name);
    } else {
        domainRemoveInactive(vm);
    }
    virObjectUnlock(vm);
}

const migHostOps migHostOpsReal = {
    .save = hostSave,
    .vmmSend = hostVmmSend,
    .vmmContinue = hostVmmContinue,
    .vmmCancel = hostVmmCancel,
    .vmmRelease = hostVmmRelease,
    .guestStop = hostGuestStop,
    .guestResume = hostGuestResume,
    .guestFreeze = hostGuestFreeze,
    .guestKeep = hostGuestKeep,
    .guestFrozen = hostGuestFrozen,
    .iteration = hostIteration,
    .throttle = hostThrottle,
    .endSource = hostEndSource,
    .doubt = hostDoubt,
    .vmmAttach = hostVmmAttach,
    .vmmListen = hostVmmListen,
    .channelPath = hostChannelPath,
    .guestExpect = hostGuestExpect,
    .guestOffer = hostGuestOffer,
    .guestLoad = hostGuestLoad,
    .guestNeverRan = hostGuestNeverRan,
    .guestStart = hostGuestStart,
    .endIncoming = hostEndIncoming,
    .vmmStatus = hostVmmStatus,
    .over = hostOver,
};
