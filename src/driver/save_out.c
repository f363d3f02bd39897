/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* save_out.c: a guest saved into an image, see save.h */
#include <config.h>

#include "driver/save_priv.h"

#include <sys/stat.h>

#include "virdomainjob.h"
#include "virlog.h"

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/socket.h"
#include "driver/call.h"
#include "driver/compat.h"
#include "driver/hotplug.h"
#include "driver/mig_priv.h"
#include "driver/process.h"
#include "driver/process_load.h"
#include "driver/report.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.save_out");

typedef struct {
    virDomainObj *vm;
    drvDomain *priv;
    drvSave *save;
    const saveArgs *args;
    char *path;
    char *partial;
    baseFd fd;               /* of the partial file */
    bool stopped;            /* by us */
    saveHeader header;
    saveLayout layout;
    saveCopy *copy;
    snapshot *snap;          /* of a VMM that has files instead of a stream */
    uint64_t bytes;
} saveOut;

/* ---- before anything happens ------------------------------------------------------------------------------ */

/* Rather refused than made to wait for a migration. */
static int
outCheckJob(virDomainObj *vm)
{
    if (callCheckActive(vm) < 0)
        return -1;
    if (vm->job->asyncJob == VIR_ASYNC_JOB_NONE)
        return 0;
    virReportError(VIR_ERR_OPERATION_INVALID, _("Domain '%1$s' cannot be saved: it is busy with another job (%2$s)."),
                   vm->def->name, virDomainAsyncJobTypeToString(vm->job->asyncJob));
    return -1;
}

/* The job is held. */
static int
outCheck(virDomainObj *vm, const saveArgs *args)
{
    const drvDomain *priv = DRV_DOMAIN(vm);
    int state = virDomainObjGetState(vm, NULL);
    g_autofree char *blocker = NULL;

    if (callCheckActive(vm) < 0)
        return -1;
    if (state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_PAUSED) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("Domain '%1$s' cannot be saved in the state '%2$s'."), vm->def->name,
                       virDomainStateTypeToString(state));
        return -1;
    }
    if (args->managed && !vm->persistent) {
        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("The transient domain '%1$s' cannot have a managed saved image, which nothing would find again; save it to a file."),
                       vm->def->name);
        return -1;
    }
    if (!priv->vmm || (!priv->vmm->traits->streamFd && !priv->vmm->traits->snapshot)) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED, _("Guests of %1$s cannot be saved by this driver."),
                       priv->vmm ? priv->vmm->traits->title : vm->def->emulator);
        return -1;
    }
    if ((blocker = migBlockersOfSave(vm->def, priv->vmm))) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("Domain '%1$s' cannot be saved without loss: %2$s."), vm->def->name, blocker);
        return -1;
    }
    return 0;
}

/* The definition that goes into the image; caller frees. The lock is dropped: what is missing in @dxml may be asked of an emulator. */
static char *
outXml(virDomainObj *vm, const char *dxml)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;
    g_autoptr(virDomainDef) def = NULL;

    if (!dxml)
        return domainFormatMigratable(drv, vm->def, VIR_DOMAIN_DEF_FORMAT_SECURE);
    virObjectUnlock(vm);
    def = virDomainDefParseString(dxml, drv->xmlopt, NULL,
                                  VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE);
    virObjectLock(vm);
    if (!def || callCheckActive(vm) < 0 || domainCheckAbi(vm->def, def, drv) < 0)
        return NULL;
    return domainFormatMigratable(drv, def, VIR_DOMAIN_DEF_FORMAT_SECURE);
}

static int
outFillHeader(saveOut *out)
{
    virDomainObj *vm = out->vm;
    saveHeader *header = &out->header;
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (!(header->xml = outXml(vm, out->args->dxml)))
        return -1;
    virUUIDFormat(vm->def->uuid, uuid);
    header->id = g_uuid_string_random();
    header->vmm = g_strdup(out->priv->vmm->traits->name);
    header->vmmVersion = out->priv->vmm->version;
    header->running = out->args->after == SAVE_RUNNING;
    header->savedAt = g_get_real_time() / G_USEC_PER_SEC;
    header->name = g_strdup(vm->def->name);
    header->uuid = g_strdup(uuid);
    return 0;
}

/* ---- the file ------------------------------------------------------------------------------------------------ */

/* What is there under the final name must be something that may be replaced. */
static int
outCheckTarget(const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("'%1$s' is no regular file: guests are saved to such files only."), path);
        return -1;
    }
    return 0;
}

/*
 * What has been locked must be a partial file of ours, and still the one of that name: a guest that was just being saved may
 * have made an image of it between our opening and our locking.
 */
static int
outCheckPartial(const saveOut *out, int fd, bool made)
{
    struct stat here, there;

    if (fstat(fd, &here) < 0) {
        virReportSystemError(errno, _("Cannot look at the file '%1$s'"), out->partial);
        return -1;
    }
    if (lstat(out->partial, &there) < 0 || here.st_dev != there.st_dev || here.st_ino != there.st_ino) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("Another guest is just being saved to '%1$s'."), out->path);
        return -1;
    }
    /* On a network's file system what we make ourselves may belong to another. */
    if (S_ISREG(here.st_mode) && here.st_nlink == 1 && (made || here.st_uid == geteuid()))
        return 0;
    virReportError(VIR_ERR_OPERATION_INVALID,
                   _("Domain '%1$s' cannot be saved by way of '%2$s': what is there was not left by an earlier attempt (it is no regular file, has another name, too, or belongs to somebody else)."),
                   out->header.name, out->partial);
    return -1;
}

static int
outOpen(saveOut *out)
{
    const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    struct flock all = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    g_auto(baseFd) fd = -1;
    bool made;

    if (outCheckTarget(out->path) < 0)
        return -1;
    fd = open(out->partial, flags | O_CREAT | O_EXCL, 0600);
    made = fd >= 0;
    if (!made && errno == EEXIST)
        fd = open(out->partial, flags);
    if (fd < 0) {
        virReportSystemError(errno, _("Cannot make the file '%1$s' to save domain '%2$s'"), out->partial, out->header.name);
        return -1;
    }
    if (fcntl(fd, F_OFD_SETLK, &all) < 0) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("Another guest is just being saved to '%1$s'."), out->path);
        return -1;
    }
    if (outCheckPartial(out, fd, made) < 0)
        return -1;
    /* From here on it is ours to remove. */
    out->fd = baseFdSteal(&fd);
    if (fchmod(out->fd, 0600) < 0 || ftruncate(out->fd, 0) < 0) {
        virReportSystemError(errno, _("Cannot empty the file '%1$s' and keep others from reading it"), out->partial);
        return -1;
    }
    return 0;
}

/* The lock is dropped: files may be far away. */
static int
outBeginFile(saveOut *out)
{
    g_autofree char *folder = g_path_get_dirname(out->path);
    g_autoptr(GError) error = NULL;
    int ret;

    virObjectUnlock(out->vm);
    if (out->args->managed && g_mkdir_with_parents(folder, 0700) < 0) {
        virReportSystemError(errno, _("Cannot make the folder '%1$s'"), folder);
        ret = -1;
    } else if ((ret = outOpen(out)) == 0) {
        if (!saveImageBegin(out->fd, out->partial, &out->header, &out->layout, &error))
            ret = reportGError(g_steal_pointer(&error));
        else if (out->args->bypassCache && !saveFileDirect(out->fd, out->partial, true))
            ret = -1;
    }
    virObjectLock(out->vm);
    if (ret == 0 && callCheckActive(out->vm) < 0)
        ret = -1;
    return ret;
}

/* Everything is in the file: let it count. No lock. */
static bool
outPublish(saveOut *out, GError **error)
{
    out->header.complete = true;
    out->header.dataBytes = out->bytes;
    if (out->args->bypassCache && !saveFileDirect(out->fd, out->partial, false)) {
        reportToGError(error);
        return false;
    }
    if (!saveImageUpdate(out->fd, out->partial, &out->layout, &out->header, error))
        return false;
    if (rename(out->partial, out->path) < 0) {
        baseSetErrno(error, errno, _("Cannot rename '%1$s' to '%2$s'"), out->partial, out->path);
        return false;
    }
    return true;
}

static int
outEndFile(saveOut *out)
{
    g_autoptr(GError) error = NULL;
    bool ok;

    virObjectUnlock(out->vm);
    ok = outPublish(out, &error);
    if (ok && !saveFileSyncFolder(out->path, &error)) {
        /* Not sure to be there after a crash of the host: then the guest must not be ended. */
        unlink(out->path);
        ok = false;
    }
    virObjectLock(out->vm);
    return ok ? 0 : reportGError(g_steal_pointer(&error));
}

/* ---- the guest ------------------------------------------------------------------------------------------------- */

static int
outStop(saveOut *out)
{
    virDomainObj *vm = out->vm;
    int ret;

    out->save->wasRunning = virDomainObjGetState(vm, NULL) == VIR_DOMAIN_RUNNING;
    if (out->args->after == SAVE_AS_IT_WAS)
        out->header.running = out->save->wasRunning;
    /* Written down before it is stopped: a later daemon lets it run on. */
    if (domainSaveStatus(vm) < 0)
        return -1;
    if (!out->save->wasRunning)
        return 0;
    /* Also if that fails: the VMM may have obeyed, and only its answer or the status file be missing. */
    out->stopped = true;
    ret = processPause(vm, VIR_DOMAIN_PAUSED_SAVE);
    if (virDomainObjGetState(vm, NULL) == VIR_DOMAIN_PAUSED)
        domainEvent(vm, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    return ret;
}

/* The VMM's end of the socket pair is given to it, or to what makes a stream of its files. */
static int
outGiveVmm(saveOut *out, int fd)
{
    virDomainObj *vm = out->vm;
    const vmmTraits *traits = out->priv->vmm->traits;
    const vmmMigSpec spec = { .oneWay = true };
    g_autofree char *parent = processLoadParent(vm);
    const snapshotSpec files = {
        .vmm = traits, .parent = parent, .fd = fd, .memoryBytes = virDomainDefGetMemoryTotal(vm->def) * 1024,
        .changed = saveIsChanged, .opaque = out->save,
    };
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;

    if (!(ctl = domainControl(vm, &incarnation)))
        return -1;
    if (traits->streamFd)
        traits->ops->migrateStart(ctl, &spec, fd, &error);
    else
        out->snap = snapshotSend(&files, ctl, &error);
    if (!domainControlDone(vm, ctl, incarnation))
        return -1;
    return error ? reportGError(g_steal_pointer(&error)) : 0;
}

static int
outSend(saveOut *out)
{
    saveCopySpec copy = {
        .toFile = true, .file = out->fd, .offset = out->layout.dataOffset, .direct = out->args->bypassCache,
        .path = out->partial, .done = saveCopyIsDone, .opaque = out->save,
    };
    g_autoptr(GError) error = NULL;
    g_auto(baseFd) vmmEnd = -1;
    int pair[2];

    if (!baseSocketPair(pair, 0, &error))
        return reportGError(g_steal_pointer(&error));
    vmmEnd = pair[0];
    copy.sock = pair[1];
    if (!(out->copy = saveCopyStart(&copy, &error)))
        return reportGError(g_steal_pointer(&error));
    return outGiveVmm(out, vmmEnd);
}

static int
outNote(saveOut *out, vmmMigStatus *status, vmmMigState *retState, char **retWhy)
{
    *retState = status->state;
    g_free(*retWhy);
    *retWhy = g_strdup(status->errorText);
    saveNote(out->save, status);
    return 0;
}

/* Ask the VMM for its figures, and tell it to stop if @cancel. */
static int
outLook(saveOut *out, bool cancel, vmmMigState *retState, char **retWhy)
{
    const vmmOps *ops;
    vmmMigStatus status = { 0 };
    g_autoptr(GError) error = NULL;
    guint64 incarnation;
    control *ctl;

    /* Somebody may have destroyed it while we waited; there is no VMM then. */
    if (callCheckActive(out->vm) < 0)
        return -1;
    if (out->snap) {
        if (cancel)
            snapshotCancel(out->snap);
        snapshotLook(out->snap, &status);
        return outNote(out, &status, retState, retWhy);
    }
    ops = out->priv->vmm->traits->ops;
    if (!(ctl = domainControl(out->vm, &incarnation)))
        return -1;
    if (cancel && !ops->migrateCancel(ctl, &error)) {
        VIR_WARN("cannot cancel: %s, ignoring", error->message);
        g_clear_error(&error);
    }
    ops->migrateStatus(ctl, &status, &error);
    if (!domainControlDone(out->vm, ctl, incarnation)) {
        vmmMigStatusClear(&status);
        return -1;
    }
    if (error)
        return reportGError(g_steal_pointer(&error));
    return outNote(out, &status, retState, retWhy);
}

static bool
outIsFinal(vmmMigState state)
{
    return state == VMM_MIG_COMPLETED || state == VMM_MIG_FAILED || state == VMM_MIG_CANCELLED;
}

/* Until the VMM has ended sending, in whichever way. */
static int
outWait(saveOut *out, vmmMigState *retState, char **retWhy)
{
    bool cancelled = false;
    unsigned woke;

    do {
        bool cancel;

        virObjectUnlock(out->vm);
        woke = saveWait(out->save);
        virObjectLock(out->vm);
        cancel = (woke & SAVE_WOKE_ABORT) && !cancelled;
        if (outLook(out, cancel, retState, retWhy) < 0)
            return -1;
        cancelled = cancelled || cancel;
    } while (!outIsFinal(*retState) || (*retState == VMM_MIG_COMPLETED && !(woke & SAVE_WOKE_COPY)));
    return 0;
}

/* The lock is dropped while the thread is waited for. */
static int
outEndCopy(saveOut *out, bool stop, GError **error)
{
    saveCopy *copy = g_steal_pointer(&out->copy);
    bool ok;

    if (!copy)
        return 0;
    if (stop)
        saveCopyStop(copy);
    virObjectUnlock(out->vm);
    ok = saveCopyEnd(copy, &out->bytes, error);
    virObjectLock(out->vm);
    return ok ? 0 : -1;
}

static int
outTransfer(saveOut *out)
{
    vmmMigState state = VMM_MIG_NONE;
    g_autofree char *why = NULL;
    g_autoptr(GError) error = NULL;

    if (outSend(out) < 0 || outWait(out, &state, &why) < 0)
        return -1;
    if (out->save->abort) {
        virReportError(VIR_ERR_OPERATION_ABORTED,
                       out->save->aborted ? _("Saving domain '%1$s' to '%2$s' was cancelled by a user.")
                                          : _("Saving domain '%1$s' to '%2$s' was given up because the daemon ends."),
                       out->header.name, out->path);
        return -1;
    }
    /* What went wrong with the file is why the VMM could not go on. */
    if (outEndCopy(out, state != VMM_MIG_COMPLETED, &error) < 0)
        return reportGError(g_steal_pointer(&error));
    if (state != VMM_MIG_COMPLETED) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("The VMM of domain '%1$s' could not save it to '%2$s': %3$s"),
                       out->header.name, out->path, why ? why : _("it does not say why"));
        return -1;
    }
    return virDomainObjIsActive(out->vm) ? 0 : callCheckActive(out->vm);
}

/* ---- all of it ---------------------------------------------------------------------------------------------------- */

static void
outResume(virDomainObj *vm)
{
    bool paused = virDomainObjGetState(vm, NULL) == VIR_DOMAIN_PAUSED;

    /* One that runs, but could not be written down, is written down below. */
    if (processResume(vm, VIR_DOMAIN_RUNNING_SAVE_CANCELED) < 0 && virDomainObjGetState(vm, NULL) != VIR_DOMAIN_RUNNING)
        VIR_ERROR(_("domain '%1$s' could not be resumed after saving it failed; resume it by hand: %2$s"),
                  vm->def->name, virGetLastErrorMessage());
    else if (paused)
        domainEvent(vm, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
}

/* Back to where it was; the first error stays. */
static void
outUndo(saveOut *out)
{
    virDomainObj *vm = out->vm;
    vmmMigState state;
    g_autofree char *why = NULL;
    virErrorPtr saved;

    virErrorPreserveLast(&saved);
    if (out->copy && virDomainObjIsActive(vm))
        outLook(out, true, &state, &why);
    outEndCopy(out, true, NULL);
    g_clear_pointer(&out->snap, snapshotFree);
    if (out->fd >= 0 && unlink(out->partial) < 0 && errno != ENOENT)
        VIR_WARN("cannot remove '%s': %s, ignoring", out->partial, g_strerror(errno));
    if (out->save)
        saveDrop(vm, saved && saved->code == VIR_ERR_OPERATION_ABORTED ? MIG_RESULT_CANCELLED : MIG_RESULT_FAILED,
                 saved ? saved->message : NULL);
    if (out->stopped && virDomainObjIsActive(vm))
        outResume(vm);
    if (virDomainObjIsActive(vm) && domainSaveStatus(vm) < 0)
        VIR_WARN("Cannot save status of domain '%s', ignoring", vm->def->name);
    virErrorRestore(&saved);
}

/* The image is whole: end the guest. */
static int
outFinish(saveOut *out)
{
    virDomainObj *vm = out->vm;

    if (FAULT(SAVE_STOP))
        VIR_WARN("domain '%s': fault point before the end of a saved guest", vm->def->name);
    g_clear_pointer(&out->snap, snapshotFree);
    saveDrop(vm, MIG_RESULT_COMPLETED, NULL);
    if (processStop(vm, VIR_DOMAIN_SHUTOFF_SAVED))
        domainEvent(vm, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_SAVED);
    if (out->args->managed)
        saveManagedHas(vm);
    return 0;
}

/* The async job is held. */
static int
outRun(saveOut *out)
{
    /* It may be another one, or in another state, than when the job was asked for. */
    if (outCheck(out->vm, out->args) < 0 || outFillHeader(out) < 0)
        return -1;
    if (outBeginFile(out) < 0) {
        outUndo(out);
        return -1;
    }
    out->save = saveNew(out->vm, out->path, out->header.id, false, out->args->managed);
    if (outStop(out) < 0 || outTransfer(out) < 0 || outEndFile(out) < 0) {
        outUndo(out);
        return -1;
    }
    return outFinish(out);
}

int
saveDomain(virDomainObj *vm, const saveArgs *args)
{
    saveOut out = { .vm = vm, .priv = DRV_DOMAIN(vm), .args = args, .fd = -1 };
    int ret = -1;

    if (outCheckJob(vm) < 0)
        return -1;
    out.path = args->managed ? saveManagedPath(out.priv->drv, vm->def) : g_strdup(args->path);
    out.partial = saveFilePartial(out.path);
    if (virDomainObjBeginAsyncJob(vm, VIR_ASYNC_JOB_SAVE, VIR_DOMAIN_JOB_OPERATION_SAVE, 0) == 0) {
        ret = outRun(&out);
        hotplugCatchUp(vm);
        virDomainObjEndAsyncJob(vm);
        /* Also if it has ended meanwhile by itself. */
        if (!virDomainObjIsActive(vm))
            domainRemoveInactive(vm);
    }
    baseFdClose(out.fd);
    saveHeaderClear(&out.header);
    g_free(out.path);
    g_free(out.partial);
    return ret;
}
