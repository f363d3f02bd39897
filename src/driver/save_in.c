/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* save_in.c: a guest started from an image, see save.h */
#include <config.h>

#include "driver/save_priv.h"

#include "virlog.h"

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/socket.h"
#include "driver/call.h"
#include "driver/compat.h"
#include "driver/process.h"
#include "driver/process_load.h"
#include "driver/report.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.save_in");

typedef struct {
    virDomainObj *vm;
    drvDomain *priv;
    drvSave *save;
    saveFile *file;
    bool direct;
    saveCopy *copy;
    snapshot *snap;              /* of a VMM that has files instead of a stream */
} saveIn;

/* The VMM that would run it is the one that saved it; *@how to start it.  The lock is dropped. */
static int
inCheck(saveIn *in, unsigned *how)
{
    const saveHeader *header = &in->file->header;
    g_autofree char *emulator = g_strdup(in->vm->def->emulator);
    const vmmInfo *vmm;

    if (!emulator && !(emulator = stateEmulator(in->priv->drv)))
        return -1;
    virObjectUnlock(in->vm);
    vmm = stateProbe(in->priv->drv, emulator);
    virObjectLock(in->vm);
    if (!vmm)
        return -1;
    if (STRNEQ(vmm->traits->name, header->vmm) || (!vmm->traits->streamFd && !vmm->traits->snapshot)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The guest in '%1$s' was saved by '%2$s', and '%3$s', which is '%4$s', cannot restore it."),
                       in->file->path, header->vmm, emulator, vmm->traits->name);
        return -1;
    }
    if (vmm->version < header->vmmVersion)
        VIR_WARN("domain '%s' was saved by version %llu of %s, which is later than '%s' is", in->vm->def->name,
                 (unsigned long long)header->vmmVersion, header->vmm, emulator);
    if (in->direct && !saveFileDirect(in->file->fd, in->file->path, true))
        return -1;
    *how |= vmm->traits->streamFd ? 0 : PROCESS_START_LATER;
    return 0;
}

static bool
inHasFiles(const saveIn *in)
{
    return in->priv->vmm && !in->priv->vmm->traits->streamFd;
}

/* Of a VMM that is not there yet: make its files. */
static int
inAttachFiles(saveIn *in, int fd)
{
    g_autofree char *parent = processLoadParent(in->vm);
    const snapshotSpec spec = {
        .vmm = in->priv->vmm->traits, .parent = parent, .fd = fd, .memoryBytes = virDomainDefGetMemoryTotal(in->vm->def) * 1024,
        .changed = saveIsChanged, .opaque = in->save,
    };
    g_autoptr(GError) error = NULL;

    in->snap = snapshotReceive(&spec, &error);
    return error ? reportGError(g_steal_pointer(&error)) : 0;
}

/* Hand the stream to the VMM. */
static int
inAttach(saveIn *in)
{
    const vmmOps *ops = in->priv->vmm->traits->ops;
    saveCopySpec spec = {
        .toFile = false, .file = in->file->fd, .offset = in->file->layout.dataOffset, .length = in->file->header.dataBytes,
        .direct = in->direct, .path = in->file->path, .done = saveCopyIsDone, .opaque = in->save,
    };
    g_autoptr(GError) error = NULL;
    g_auto(baseFd) vmmEnd = -1;
    guint64 incarnation;
    control *ctl;
    int pair[2];

    if (!baseSocketPair(pair, 0, &error))
        return reportGError(g_steal_pointer(&error));
    vmmEnd = pair[0];
    spec.sock = pair[1];
    if (!(in->copy = saveCopyStart(&spec, &error)))
        return reportGError(g_steal_pointer(&error));
    if (inHasFiles(in))
        return inAttachFiles(in, vmmEnd);
    if (!(ctl = domainControl(in->vm, &incarnation)))
        return -1;
    ops->incomingAttach(ctl, vmmEnd, &error);
    if (!domainControlDone(in->vm, ctl, incarnation))
        return -1;
    return error ? reportGError(g_steal_pointer(&error)) : 0;
}

static int
inAsk(saveIn *in, vmmMigStatus *status)
{
    const vmmOps *ops = in->priv->vmm->traits->ops;
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;

    if (!(ctl = domainControl(in->vm, &incarnation)))
        return -1;
    ops->migrateStatus(ctl, status, &error);
    if (!domainControlDone(in->vm, ctl, incarnation))
        return -1;
    return error ? reportGError(g_steal_pointer(&error)) : 0;
}

/* 1: loaded, or all of it is in its files; 0: not yet; -1: never. */
static int
inLook(saveIn *in, vmmMigStatus *status)
{
    /* It may have ended while we waited. */
    if (callCheckActive(in->vm) < 0)
        return -1;
    if (in->snap)
        snapshotLook(in->snap, status);
    else if (inAsk(in, status) < 0)
        return -1;
    if (status->state == VMM_MIG_FAILED || status->state == VMM_MIG_CANCELLED) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("The VMM of domain '%1$s' cannot load the state in '%2$s': %3$s"),
                       in->vm->def->name, in->file->path, status->errorText ? status->errorText : _("it does not say why"));
        return -1;
    }
    return status->state == VMM_MIG_COMPLETED ? 1 : 0;
}

static int
inWait(saveIn *in)
{
    int ret = 0;

    while (ret == 0) {
        vmmMigStatus status = { 0 };
        unsigned woke;

        virObjectUnlock(in->vm);
        woke = saveWait(in->save);
        virObjectLock(in->vm);
        if (woke & SAVE_WOKE_ABORT) {
            virReportError(VIR_ERR_OPERATION_ABORTED, _("Restoring domain '%1$s' from '%2$s' was given up; the image is kept."),
                           in->vm->def->name, in->file->path);
            return -1;
        }
        ret = inLook(in, &status);
        if (ret >= 0)
            saveNote(in->save, &status);
        vmmMigStatusClear(&status);
    }
    return ret < 0 ? -1 : 0;
}

/* The lock is dropped while its thread is waited for. -1: an error of its own. */
static int
inEndCopy(saveIn *in, bool failed)
{
    g_autoptr(GError) error = NULL;
    bool ok;

    if (!in->copy)
        return 0;
    if (failed)
        saveCopyStop(in->copy);
    virObjectUnlock(in->vm);
    ok = saveCopyEnd(in->copy, NULL, &error);
    virObjectLock(in->vm);
    in->copy = NULL;
    /* A VMM that reads no more tells itself how that ended; a file that cannot be read is why the VMM could not load it. */
    if (ok || failed || g_error_matches(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED))
        return 0;
    return reportGError(g_steal_pointer(&error));
}

/* The guest runs as soon as its VMM has everything, also one that is to be paused. */
static int
inRelease(saveIn *in, bool paused, int aheadFd)
{
    virDomainObj *vm = in->vm;
    vmmRunState now = VMM_RUN_OTHER;

    switch (processLoadRelease(vm, in->snap, aheadFd)) {
    case PROCESS_LOAD_RUNS:
        break;
    case PROCESS_LOAD_NEVER_RAN:
        in->save->committed = false;
        return -1;
    case PROCESS_LOAD_UNKNOWN:
        return -1;
    }
    g_clear_pointer(&in->snap, snapshotFree);
    if (!paused)
        virDomainObjSetState(vm, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_RESTORED);
    else if (processRefreshStatus(vm, &now) == 0 && now == VMM_RUN_RUNNING && processPause(vm, VIR_DOMAIN_PAUSED_USER) < 0)
        VIR_WARN("domain '%s' was restored and cannot be stopped: %s", vm->def->name, virGetLastErrorMessage());
    virResetLastError();
    return 0;
}

/* Written down that it is about to run: let it. */
static int
inLetRun(saveIn *in, bool paused, int *aheadFd)
{
    virDomainObj *vm = in->vm;

    if (in->snap)
        return inRelease(in, paused, baseFdSteal(aheadFd));
    if (paused || processResume(vm, VIR_DOMAIN_RUNNING_RESTORED) == 0)
        return 0;
    /* It runs, if only that could not be written down: saveRestore() tries again. */
    if (virDomainObjGetState(vm, NULL) != VIR_DOMAIN_RUNNING) {
        saveCommitFailed(vm);
        return -1;
    }
    VIR_WARN("domain '%s' runs, but: %s, ignoring", vm->def->name, virGetLastErrorMessage());
    virResetLastError();
    return 0;
}

static int
inRun(saveIn *in, bool paused)
{
    virDomainObj *vm = in->vm;
    g_auto(baseFd) aheadFd = -1;

    if (FAULT(RESTORE_RUN)) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("Fault point at the end of restoring '%1$s'."), vm->def->name);
        return -1;
    }
    if (!virDomainObjIsActive(vm)) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("Domain '%1$s' ended while it was being restored."), vm->def->name);
        return -1;
    }
    if (in->snap && paused && (aheadFd = processLoadAhead(vm)) < 0)
        return -1;
    if (paused)
        virDomainObjSetState(vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);
    in->save->runsAnyway = in->snap != NULL;
    if (saveCommit(vm, !paused) < 0)
        return -1;
    if (FAULT(RESTORE_COMMITTED))
        VIR_WARN("domain '%s': fault point before a restored guest runs", vm->def->name);
    if (inLetRun(in, paused, &aheadFd) < 0)
        return -1;
    domainEvent(vm, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_RESTORED);
    if (paused)
        domainEvent(vm, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_RESTORED);
    return 0;
}

static int
inSteps(saveIn *in, virConnectPtr conn, const saveRestoreArgs *args)
{
    unsigned int how = PROCESS_START_INCOMING | (args->autoDestroy ? PROCESS_START_AUTODESTROY : 0);
    bool paused = args->paused || (!args->running && !in->file->header.running);

    if (inCheck(in, &how) < 0 || domainHasDef(in->vm, args->def) < 0 || processStart(in->vm, conn, how, VIR_DOMAIN_RUNNING_RESTORED) < 0)
        return -1;
    if (inAttach(in) < 0)
        return -1;
    if (inWait(in) < 0) {
        if (saveCopyHasEnded(in->save))
            inEndCopy(in, false);
        return -1;
    }
    if (inEndCopy(in, false) < 0 || (in->snap && processLoadOffer(in->vm, in->snap) < 0))
        return -1;
    return inRun(in, paused);
}

/* The first error stays. */
static void
inUndo(saveIn *in)
{
    virErrorPtr saved;

    virErrorPreserveLast(&saved);
    /* First the image: its guest may have run. */
    saveSpend(in->vm);
    if (virDomainObjIsActive(in->vm))
        processStop(in->vm, VIR_DOMAIN_SHUTOFF_FAILED);
    inEndCopy(in, true);
    g_clear_pointer(&in->snap, snapshotFree);
    saveDrop(in->vm, saved && saved->code == VIR_ERR_OPERATION_ABORTED ? MIG_RESULT_CANCELLED : MIG_RESULT_FAILED,
             saved ? saved->message : NULL);
    virErrorRestore(&saved);
}

int
saveRestore(virDomainObj *vm, virConnectPtr conn, saveFile *file, const saveRestoreArgs *args)
{
    saveIn in = { .vm = vm, .priv = DRV_DOMAIN(vm), .file = file, .direct = args->bypassCache };

    in.save = saveNew(vm, file->path, file->header.id, true, args->managed);
    if (inSteps(&in, conn, args) < 0) {
        inUndo(&in);
        return -1;
    }
    /* It has a life of its own now: the image must not be used once more. */
    if (args->managed && saveManagedRemove(vm) < 0)
        VIR_ERROR(_("domain '%1$s' runs, and its image must not be used again: %2$s"), vm->def->name, virGetLastErrorMessage());
    if (FAULT(RESTORE_UNLINKED))
        VIR_WARN("domain '%s': fault point after the removal of its image", vm->def->name);
    saveDrop(vm, MIG_RESULT_COMPLETED, NULL);
    if (domainSaveStatus(vm) < 0)
        VIR_WARN("Cannot save status of domain '%s', ignoring", vm->def->name);
    virResetLastError();
    return 0;
}
