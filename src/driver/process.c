/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * A start is a row of steps.  Before the first one the domain is marked active (id, state PAUSED/STARTING_UP), so that
 * nobody redefines it meanwhile and it can be destroyed at any moment; the lock is dropped in steps that wait.  The status
 * file is written before the VMM is spawned: a daemon that dies in between finds the half-started guest and ends it,
 * and a full disk is noticed while there is nothing to undo yet.
 *
 * Undoing is one function, processStop(), which takes away whatever is there; so any step may fail at any place.  A step that drops the
 * lock may find on return that somebody else has done so; nothing of this start is touched after that.
 */
#include <config.h>

#include "driver/process_priv.h"

#include "domain_audit.h"
#include "vircommand.h"
#include "virclosecallbacks.h"
#include "virfile.h"
#include "virlog.h"
#include "virutil.h"

#include "driver/cmdline.h"
#include "driver/compat.h"
#include "driver/hook.h"
#include "driver/mig.h"
#include "driver/report.h"
#include "driver/save.h"
#include "remote/await.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.process");

/* A VMM that has closed its control socket ends within this time, if it ends. */
#define START_LINGER_MS 1000

/* ---- names ------------------------------------------------------------------------------------------ */

char *
processPidPath(drvState *drv, const virDomainDef *def)
{
    return g_strdup_printf("%s/%s.pid", drv->stateDir, def->name);
}

char *
processFolder(virDomainObj *vm)
{
    g_autofree char *name = virDomainDefGetShortName(vm->def);

    if (!name)
        return NULL;
    return g_strdup_printf("%s/domain-%s", DRV_DOMAIN(vm)->drv->libDir, name);
}

guint64
processNextIncarnation(void)
{
    /* Not from 0: a domain that never ran has that. */
    static guint64 last;
    static GMutex lock;
    guint64 ret;

    g_mutex_lock(&lock);
    ret = ++last;
    g_mutex_unlock(&lock);
    return ret;
}

/* ---- the steps of a start ------------------------------------------------------------------------------ */

/* While the lock was dropped a user may have destroyed it, and anything may be there now. */
static bool
startIsCurrent(const processStarting *start)
{
    return virDomainObjIsActive(start->vm) && start->priv->incarnation == start->incarnation;
}

static int
startProbe(processStarting *start)
{
    virDomainObj *vm = start->vm;
    g_autofree char *emulator = g_strdup(vm->def->emulator);
    const vmmInfo *vmm;

    if (!emulator && !(emulator = stateEmulator(start->drv)))
        return -1;
    virObjectUnlock(vm);
    vmm = stateProbe(start->drv, emulator);
    virObjectLock(vm);
    if (!vmm || !startIsCurrent(start))
        return -1;
    start->vmm = start->priv->vmm = vmm;
    return 0;
}

static int
startPrepareDef(processStarting *start)
{
    return domainPrepareStart(start->drv, start->vm->def, start->priv->vmm, !start->priv->tcg);
}

static int
startSaveStatus(processStarting *start)
{
    return domainSaveStatus(start->vm);
}

int
processIdentity(const processStarting *start, uid_t *uid, gid_t *gid)
{
    *uid = (uid_t)-1;
    *gid = (gid_t)-1;
    if (!start->drv->privileged)
        return 0;
    if (start->conf->user && virGetUserID(start->conf->user, uid) < 0)
        return -1;
    if (start->conf->group && virGetGroupID(start->conf->group, gid) < 0)
        return -1;
    return 0;
}

static int
startMakeFolder(processStarting *start)
{
    g_autofree char *folder = processFolder(start->vm);
    uid_t uid;
    gid_t gid;

    if (!folder || processIdentity(start, &uid, &gid) < 0)
        return -1;
    /* Left over from a daemon that was killed: ids begin anew with each daemon. */
    if (virFileDeleteTree(folder) < 0)
        return -1;
    if (g_mkdir(folder, 0700) < 0 || chown(folder, uid, gid) < 0) {
        virReportSystemError(errno, _("Cannot make the folder '%1$s' of domain '%2$s'"), folder,
                             start->vm->def->name);
        return -1;
    }
    g_free(start->priv->controlPath);
    start->priv->controlPath = g_build_filename(folder, "control.sock", NULL);
    return 0;
}

static int
startListen(processStarting *start)
{
    uid_t uid;
    gid_t gid;

    if (start->priv->vmm->traits->makesControlSocket)
        return 0;
    start->controlFd = processSocketListen(start->priv->controlPath);
    if (start->controlFd < 0 || processIdentity(start, &uid, &gid) < 0)
        return -1;
    return 0;
}

/* Where a VMM listens from its start that cannot be told later; NULL: it can, or need not.  The caller frees. */
static char *
startIncomingUri(const processStarting *start)
{
    g_autofree char *path = NULL;

    if (start->incomingUri)
        return g_strdup(start->incomingUri);
    if (!(start->flags & PROCESS_START_INCOMING) || start->priv->save || start->priv->vmm->traits->controlWhileIncoming)
        return NULL;
    path = migChannelPath(start->priv->controlPath);
    return g_strdup_printf("unix:%s", path);
}

static char **
startBuildArgv(processStarting *start)
{
    g_autofree char *incomingUri = startIncomingUri(start);
    cmdlineEnv env = {
        .incomingUri = incomingUri,
        .controlPath = start->priv->controlPath,
        .controlFd = start->controlFd,
        .incoming = (start->flags & PROCESS_START_INCOMING) != 0,
        .paused = true,
        .kvm = !start->priv->tcg,
        .taps = start->taps,
        .ntaps = start->ntaps,
        .vsockFd = start->vsockFd,
    };

    return cmdlineBuild(start->vm->def, start->priv->vmm, &env);
}

static virCommand *
startBuildCommand(processStarting *start, char *const *argv)
{
    virCommand *cmd = virCommandNewArgs((const char *const *)argv);
    g_autofree char *pidPath = processPidPath(start->drv, start->vm->def);
    uid_t uid = (uid_t)-1;
    gid_t gid = (gid_t)-1;

    if (processIdentity(start, &uid, &gid) < 0) {
        virCommandFree(cmd);
        return NULL;
    }
    virCommandAddEnvPassCommon(cmd);
    virCommandSetOutputFD(cmd, &start->logFd);
    virCommandSetErrorFD(cmd, &start->logFd);
    virCommandSetPidFile(cmd, pidPath);
    virCommandDaemonize(cmd);
    if (uid != (uid_t)-1 || gid != (gid_t)-1) {
        virCommandClearCaps(cmd);
        virCommandSetUID(cmd, uid);
        virCommandSetGID(cmd, gid);
    }
    if (start->controlFd >= 0)
        virCommandPassFD(cmd, start->controlFd, VIR_COMMAND_PASS_FD_CLOSE_PARENT);
    start->controlFd = -1;
    if (start->vsockFd >= 0)
        virCommandPassFD(cmd, start->vsockFd, VIR_COMMAND_PASS_FD_CLOSE_PARENT);
    start->vsockFd = -1;
    for (size_t i = 0; i < start->ntaps; i++) {
        for (size_t k = 0; k < start->taps[i].count; k++) {
            if (start->taps[i].fds[k] < 0)
                continue;
            virCommandPassFD(cmd, start->taps[i].fds[k], VIR_COMMAND_PASS_FD_CLOSE_PARENT);
            start->taps[i].fds[k] = -1;
        }
    }
    return cmd;
}

static int
startDiedError(processStarting *start)
{
    g_autofree char *tail = processLogTail(start);

    virReportError(VIR_ERR_INTERNAL_ERROR,
                   _("'%1$s' of domain '%2$s' ended before it was ready; its log '%3$s' says: %4$s"),
                   start->vmm->binary, start->vm->def->name, start->logPath,
                   *tail ? tail : _("nothing"));
    return -1;
}

static int
startSpawn(processStarting *start)
{
    g_autofree char *pidPath = processPidPath(start->drv, start->vm->def);
    g_auto(GStrv) argv = startBuildArgv(start);
    g_autoptr(virCommand) cmd = NULL;
    int watching;

    if (!argv || !(cmd = startBuildCommand(start, argv)))
        return -1;
    processLogHeader(start, argv);
    if (virCommandRun(cmd, NULL) < 0)
        return -1;
    watching = processWatchStart(start->vm, pidPath);
    return watching > 0 ? startDiedError(start) : watching;
}

/* It answers only when its guest has arrived; whoever sends that must find it listening. */
static int
startAwaitIncoming(processStarting *start)
{
    virDomainObj *vm = start->vm;
    g_autofree char *path = migChannelPath(start->priv->controlPath);
    g_autoptr(GError) error = NULL;
    g_auto(baseFd) pidfd = processWatchFd(vm);
    bool ok;

    virObjectUnlock(vm);
    ok = awaitListening(path, pidfd, start->conf->startTimeoutMs, &error);
    virObjectLock(vm);
    if (ok)
        return 0;
    return processWaitEnd(vm, START_LINGER_MS) ? startDiedError(start) : reportGError(g_steal_pointer(&error));
}

/* What is started wants a console and statistics from its first moment. */
static int
startOpenControl(processStarting *start)
{
    int ret;

    if ((start->flags & PROCESS_START_INCOMING) &&
        !start->priv->vmm->traits->controlWhileIncoming)
        return start->incomingUri ? 0 : startAwaitIncoming(start);
    ret = processOpenControl(start->vm, start->conf->startTimeoutMs);
    /* The end of the socket may be seen before that of the process: hence the moment's patience. */
    if (ret < 0 && virGetLastErrorCode() != VIR_ERR_OPERATION_TIMEOUT &&
        processWaitEnd(start->vm, START_LINGER_MS))
        return startDiedError(start);
    return ret;
}

static int
startSetBalloon(processStarting *start)
{
    virDomainDef *def = start->vm->def;
    unsigned long long current = def->mem.cur_balloon;
    unsigned long long total = virDomainDefGetMemoryTotal(def);
    const vmmOps *ops = start->vmm->traits->ops;
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;

    start->priv->balloonKiB = total;
    if ((start->flags & PROCESS_START_INCOMING) || current == 0 || current >= total ||
        !virDomainDefHasMemballoon(def) || !ops->balloonSet)
        return 0;
    if (start->vmm->traits->balloonNeedsGuest) {
        VIR_WARN("domain '%s' begins with all its %llu KiB of memory: the balloon of %s takes orders (setmem) only from when its driver runs in the guest",
                 def->name, total, start->vmm->traits->title);
        return 0;
    }
    if (!(ctl = domainControl(start->vm, &incarnation)))
        return -1;
    ops->balloonSet(ctl, current * 1024, &error);
    if (!domainControlDone(start->vm, ctl, incarnation))
        return -1;
    return error ? reportGError(g_steal_pointer(&error)) : 0;
}

static int
startRun(processStarting *start)
{
    if (start->flags & PROCESS_START_INCOMING) {
        virDomainObjSetState(start->vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION);
        return domainSaveStatus(start->vm);
    }
    if (start->flags & PROCESS_START_PAUSED) {
        virDomainObjSetState(start->vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);
        return domainSaveStatus(start->vm);
    }
    /* An image that is given up with this start. */
    if (saveCommit(start->vm, true) < 0)
        return -1;
    if (processResume(start->vm, start->runReason) == 0)
        return 0;
    saveCommitFailed(start->vm);
    return -1;
}

/* ---- the administrator's scripts ---- */

static int
startHookPrepare(processStarting *start)
{
    /* Also if it fails: it may have done half of its work. */
    start->priv->hooked = true;
    return hookDomain(start->vm, HOOK_PREPARE, NULL);
}

static int
startHookStart(processStarting *start)
{
    return hookDomain(start->vm, HOOK_START, NULL);
}

static int
startHookStarted(processStarting *start)
{
    return hookDomain(start->vm, HOOK_STARTED, NULL);
}

typedef struct {
    const char *name;
    int (*run)(processStarting *start);
} startStep;

/* What needs no VMM. */
static const startStep startFirst[] = {
    { "probe", startProbe },
    { "check", processCheck },
    { "definition", startPrepareDef },
    { "folder", startMakeFolder },
    { "status", startSaveStatus },
    { "hook prepare", startHookPrepare },
    { "files", processCheckFiles },
    { "nvram", processNvramPrepare },
    { NULL, NULL }
};

static const startStep startSecond[] = {
    { "network", processNetPrepare },
    { "vsock", processVsockPrepare },
    { "log", processLogOpen },
    { "hook start", startHookStart },
    { "listen", startListen },
    { "spawn", startSpawn },
    { "status", startSaveStatus },
    { "control", startOpenControl },
    { "balloon", startSetBalloon },
    { "run", startRun },
    { "hook started", startHookStarted },
    { NULL, NULL }
};

/* Instead, when the VMM comes later. */
static const startStep startWaiting[] = {
    { "run", startRun },
    { NULL, NULL }
};

static int
startRunSteps(processStarting *start, const startStep *steps)
{
    for (size_t i = 0; steps[i].name; i++) {
        int ret;

        VIR_DEBUG("start of domain '%s': %s", start->vm->def->name, steps[i].name);
        ret = steps[i].run(start);

        /* Whatever failed for it: this is why. */
        if (start->priv->beingDestroyed || !startIsCurrent(start)) {
            virReportError(VIR_ERR_OPERATION_ABORTED,
                           _("Domain '%1$s' was destroyed while it was being started."),
                           start->vm->def->name);
            return -1;
        }
        if (ret < 0)
            return -1;
    }
    return 0;
}

static void
startClear(processStarting *start)
{
    for (size_t i = 0; i < start->ntaps; i++)
        cmdlineTapClear(&start->taps[i]);
    g_free(start->taps);
    baseFdClose(start->controlFd);
    baseFdClose(start->vsockFd);
    processLogClose(start);
    drvConfUnref(start->conf);
}

int
processStart(virDomainObj *vm, virConnectPtr conn, unsigned int flags,
             virDomainRunningReason runReason)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    drvState *drv = priv->drv;
    processStarting start = {
        .vm = vm, .priv = priv, .drv = drv, .conf = stateConf(drv), .conn = conn,
        .flags = flags, .runReason = runReason, .controlFd = -1, .vsockFd = -1, .logFd = -1,
    };
    virErrorPtr error = NULL;
    int ret;

    if (virDomainObjIsActive(vm)) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("Domain '%1$s' is already running."),
                       vm->def->name);
        startClear(&start);
        return -1;
    }
    /* What comes from elsewhere would write to the disks that the image counts on. */
    if ((flags & PROCESS_START_INCOMING) && !priv->save && saveManagedHas(vm)) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("Domain '%1$s' has a managed saved image on this host: start it from that, or remove it first (managedsave-remove)."),
                       vm->def->name);
        startClear(&start);
        return -1;
    }
    if (virDomainObjSetDefTransient(drv->xmlopt, vm, NULL) < 0) {
        startClear(&start);
        return -1;
    }
    vm->def->id = stateNextId(drv);
    start.incarnation = priv->incarnation = processNextIncarnation();
    priv->shuttingDown = priv->rebootPending = priv->beingDestroyed = priv->unplugMissed = false;
    virDomainObjSetState(vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_STARTING_UP);
    stateGuestStarted(drv);
    ret = startRunSteps(&start, startFirst);
    if (ret == 0)
        ret = startRunSteps(&start, flags & PROCESS_START_LATER ? startWaiting : startSecond);
    if (ret < 0) {
        virErrorPreserveLast(&error);
        if (startIsCurrent(&start))
            processStop(vm, VIR_DOMAIN_SHUTOFF_FAILED);
        virErrorRestore(&error);
    } else if (conn && (flags & PROCESS_START_AUTODESTROY)) {
        virCloseCallbacksDomainAdd(vm, conn, processAutoDestroy);
    }
    virDomainAuditStart(vm, "booted", ret == 0);
    startClear(&start);
    return ret;
}

int
processStartLater(virDomainObj *vm, const char *incomingUri)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    processStarting start = {
        .vm = vm, .priv = priv, .drv = priv->drv, .conf = stateConf(priv->drv), .vmm = priv->vmm,
        .flags = PROCESS_START_INCOMING, .runReason = VIR_DOMAIN_RUNNING_RESTORED, .incarnation = priv->incarnation,
        .incomingUri = incomingUri, .controlFd = -1, .logFd = -1, .vsockFd = -1,
    };
    int ret;

    if (virDomainObjIsActive(vm) && priv->vmm) {
        ret = startRunSteps(&start, startSecond);
    } else {
        virReportError(VIR_ERR_OPERATION_FAILED, _("Domain '%1$s' ended meanwhile."), vm->def->name);
        ret = -1;
    }
    startClear(&start);
    return ret;
}

bool
processNeverRan(virDomainObj *vm)
{
    const drvDomain *priv = DRV_DOMAIN(vm);
    g_autofree char *words = NULL;

    if (!priv->vmm || !priv->vmm->traits->snapshot || !processHasEnded(vm))
        return false;
    words = processLogWords(vm);
    return priv->vmm->traits->snapshot->neverRan(words);
}
