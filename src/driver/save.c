/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* save.c: the record of a save or restore, what others see of it, and what a later daemon makes of it */
#include <config.h>

#include "driver/save_priv.h"

#include "domain_event.h"
#include "virfile.h"
#include "virlog.h"
#include "virstring.h"
#include "virtypedparam.h"

#include "base/error.h"
#include "driver/compat.h"
#include "driver/mig_priv.h"
#include "driver/process.h"
#include "driver/report.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.save");

/* How often the VMM's figures are asked for when it says nothing by itself. */
#define SAVE_POLL_US (500 * 1000)

/* ---- the record ------------------------------------------------------------------------------------------ */

void
saveFree(drvSave *save)
{
    if (!save)
        return;
    migStatsClear(&save->stats);
    g_mutex_clear(&save->lock);
    g_cond_clear(&save->cond);
    g_free(save->path);
    g_free(save->id);
    g_free(save);
}

drvSave *
saveNew(virDomainObj *vm, const char *path, const char *id, bool restoring, bool managed)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    drvSave *save = g_new0(drvSave, 1);

    g_mutex_init(&save->lock);
    g_cond_init(&save->cond);
    save->path = g_strdup(path);
    save->id = g_strdup(id);
    save->restoring = restoring;
    save->managed = managed;
    save->live = true;
    save->startedUs = g_get_monotonic_time();
    save->stats.saveOperation = restoring ? VIR_DOMAIN_JOB_OPERATION_RESTORE : VIR_DOMAIN_JOB_OPERATION_SAVE;
    saveFree(priv->save);
    priv->save = save;
    return save;
}

static void
saveTellDone(virDomainObj *vm)
{
    virTypedParameterPtr params = NULL;
    int nparams = 0;
    int type;

    if (migStatsToParams(&migOf(vm)->completed, &params, &nparams, &type) == 0)
        virObjectEventStateQueue(DRV_DOMAIN(vm)->drv->events, virDomainEventJobCompletedNewFromObj(vm, params, nparams));
}

void
saveDrop(virDomainObj *vm, migResult result, const char *errorText)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    drvSave *save = priv->save;
    drvMig *mig = migOf(vm);

    priv->save = NULL;
    save->stats.result = result;
    save->stats.elapsedMs = (uint64_t)(g_get_monotonic_time() - save->startedUs) / 1000;
    g_free(save->stats.errorText);
    save->stats.errorText = g_strdup(errorText);
    migStatsClear(&mig->completed);
    mig->completed = save->stats;
    mig->hasCompleted = true;
    memset(&save->stats, 0, sizeof(save->stats));
    saveFree(save);
    saveTellDone(vm);
}

unsigned
saveWait(drvSave *save)
{
    gint64 end = g_get_monotonic_time() + SAVE_POLL_US;
    unsigned ret;

    g_mutex_lock(&save->lock);
    while (!save->changed && g_cond_wait_until(&save->cond, &save->lock, end))
        ;
    save->changed = false;
    ret = (save->abort ? SAVE_WOKE_ABORT : 0) | (save->copyDone ? SAVE_WOKE_COPY : 0);
    g_mutex_unlock(&save->lock);
    return ret;
}

static void
saveWake(drvSave *save, bool *what)
{
    g_mutex_lock(&save->lock);
    *what = save->changed = true;
    g_cond_signal(&save->cond);
    g_mutex_unlock(&save->lock);
}

void
saveCopyIsDone(void *opaque)
{
    drvSave *save = opaque;

    saveWake(save, &save->copyDone);
}

void
saveIsChanged(void *opaque)
{
    drvSave *save = opaque;

    saveWake(save, &save->changed);
}

bool
saveCopyHasEnded(drvSave *save)
{
    bool ret;

    g_mutex_lock(&save->lock);
    ret = save->copyDone;
    g_mutex_unlock(&save->lock);
    return ret;
}

void
saveNote(drvSave *save, vmmMigStatus *status)
{
    g_mutex_lock(&save->lock);
    vmmMigStatusClear(&save->stats.vmm);
    save->stats.vmm = *status;
    save->stats.left = status->ramRemaining + status->diskRemaining;
    save->stats.setupMs = status->setupMs;
    g_mutex_unlock(&save->lock);
    memset(status, 0, sizeof(*status));
}

/* ---- what others see ------------------------------------------------------------------------------------------ */

bool
saveGetStats(virDomainObj *vm, migStats *ret)
{
    drvSave *save = DRV_DOMAIN(vm)->save;

    if (!save || !save->live)
        return false;
    g_mutex_lock(&save->lock);
    *ret = save->stats;
    /* Texts stay with their owner. */
    ret->errorText = ret->transport = ret->peer = ret->cipher = ret->peerIdentity = NULL;
    ret->vmm.errorText = NULL;
    g_mutex_unlock(&save->lock);
    ret->elapsedMs = (uint64_t)(g_get_monotonic_time() - save->startedUs) / 1000;
    return true;
}

bool
saveAbort(virDomainObj *vm)
{
    drvSave *save = DRV_DOMAIN(vm)->save;

    if (!save || !save->live)
        return false;
    save->aborted = true;
    saveWake(save, &save->abort);
    return true;
}

void
saveAbortAll(drvState *drv)
{
    virDomainObj **vms = NULL;
    size_t nvms = 0;

    virDomainObjListCollectAll(drv->domains, &vms, &nvms);
    for (size_t i = 0; i < nvms; i++) {
        drvSave *save;

        virObjectLock(vms[i]);
        save = DRV_DOMAIN(vms[i])->save;
        if (save && save->live)
            saveWake(save, &save->abort);
        virObjectUnlock(vms[i]);
    }
    virObjectListFreeCount(vms, nvms);
}

bool
saveVmmEvent(virDomainObj *vm)
{
    drvSave *save = DRV_DOMAIN(vm)->save;

    if (!save || !save->live)
        return false;
    saveWake(save, &save->changed);
    return true;
}

/* ---- the status file -------------------------------------------------------------------------------------------- */

int
saveFormatStatus(virBuffer *buf, virDomainObj *vm)
{
    const drvSave *save = DRV_DOMAIN(vm)->save;

    if (!save)
        return 0;
    virBufferAsprintf(buf, "<save id='%s' restoring='%s' managed='%s' wasRunning='%s'", save->id,
                      save->restoring ? "yes" : "no", save->managed ? "yes" : "no", save->wasRunning ? "yes" : "no");
    if (save->committed)
        virBufferAddLit(buf, " committed='yes'");
    if (save->runsAnyway)
        virBufferAddLit(buf, " runsAnyway='yes'");
    virBufferEscapeString(buf, " path='%s'/>\n", save->path);
    return 0;
}

int
saveParseStatus(xmlXPathContextPtr ctxt, virDomainObj *vm)
{
    g_autofree char *path = virXPathString("string(./save/@path)", ctxt);
    g_autofree char *id = virXPathString("string(./save/@id)", ctxt);
    drvSave *save;

    if (!virXPathNode("./save", ctxt))
        return 0;
    if (!path || !id) {
        virReportError(VIR_ERR_XML_ERROR, _("The status file of domain '%1$s' has a malformed record of saving it"), vm->def->name);
        return -1;
    }
    save = saveNew(vm, path, id, virXPathBoolean("boolean(./save[@restoring='yes'])", ctxt) == 1,
                   virXPathBoolean("boolean(./save[@managed='yes'])", ctxt) == 1);
    save->wasRunning = virXPathBoolean("boolean(./save[@wasRunning='yes'])", ctxt) == 1;
    save->committed = virXPathBoolean("boolean(./save[@committed='yes'])", ctxt) == 1;
    save->runsAnyway = virXPathBoolean("boolean(./save[@runsAnyway='yes'])", ctxt) == 1;
    save->live = false;
    return 0;
}

/* ---- a later daemon ------------------------------------------------------------------------------------------------ */

static void
saveForgetRecord(virDomainObj *vm)
{
    g_clear_pointer(&DRV_DOMAIN(vm)->save, saveFree);
}

/* Is the image of this record whole? */
static bool
saveIsWhole(const drvSave *save)
{
    g_auto(saveFile) file = { .fd = -1 };

    if (saveFileOpen(&file, save->path, false) == 0)
        return STREQ(file.header.id, save->id);
    virResetLastError();
    return false;
}

static void
saveRemovePartial(const drvSave *save)
{
    g_autofree char *partial = saveFilePartial(save->path);

    if (unlink(partial) < 0 && errno != ENOENT)
        VIR_WARN("cannot remove '%s': %s, ignoring", partial, g_strerror(errno));
}

static void
saveReconnectStop(virDomainObj *vm, virDomainShutoffReason reason)
{
    if (!processStop(vm, reason))
        return;
    domainEvent(vm, VIR_DOMAIN_EVENT_STOPPED, processStoppedDetail(reason));
    domainRemoveInactive(vm);
}

/* Let it run on; *@now follows. */
static void
saveReconnectRun(virDomainObj *vm, virDomainRunningReason reason, vmmRunState *now)
{
    if (processResume(vm, reason) == 0) {
        domainEvent(vm, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
        *now = VMM_RUN_RUNNING;
        return;
    }
    VIR_ERROR(_("domain '%1$s' could not be resumed after the daemon ended while it was being saved or restored; resume it by hand: %2$s"),
              vm->def->name, virGetLastErrorMessage());
    virResetLastError();
}

/* Its daemon died while it was being saved, and the image is not whole: it runs on. */
static void
saveReconnectResume(virDomainObj *vm, vmmRunState *now)
{
    const vmmOps *ops = DRV_DOMAIN(vm)->vmm->traits->ops;
    bool resume = DRV_DOMAIN(vm)->save->wasRunning && *now != VMM_RUN_RUNNING && *now != VMM_RUN_SHUTDOWN &&
                  *now != VMM_RUN_CRASHED;
    guint64 incarnation;
    control *ctl;

    saveRemovePartial(DRV_DOMAIN(vm)->save);
    saveForgetRecord(vm);
    if (!(ctl = domainControl(vm, &incarnation)))
        return;
    /* It has failed by itself, most likely. */
    ops->migrateCancel(ctl, NULL);
    if (domainControlDone(vm, ctl, incarnation) && resume)
        saveReconnectRun(vm, VIR_DOMAIN_RUNNING_SAVE_CANCELED, now);
}

/* Was the daemon that died past the point where the VMM becomes the guest? */
static bool
saveIsCommitted(virDomainObj *vm, vmmRunState now)
{
    switch (now) {
    case VMM_RUN_RUNNING:
    case VMM_RUN_IO_ERROR:
    case VMM_RUN_SHUTDOWN:
    case VMM_RUN_CRASHED:
        return true;
    case VMM_RUN_INMIGRATE:
        return false;
    case VMM_RUN_PAUSED:
    case VMM_RUN_POSTMIGRATE:
    case VMM_RUN_OTHER:
        break;
    }
    return DRV_DOMAIN(vm)->save->committed || virDomainObjGetState(vm, NULL) == VIR_DOMAIN_RUNNING;
}

/* Its daemon died while it was being started from an image, or instead of from one. */
static void
saveReconnectRestoring(virDomainObj *vm, vmmRunState *now)
{
    const drvSave *save = DRV_DOMAIN(vm)->save;
    bool ran = *now != VMM_RUN_PAUSED && *now != VMM_RUN_OTHER && *now != VMM_RUN_POSTMIGRATE;
    bool run = save->wasRunning;

    if (!saveIsCommitted(vm, *now)) {
        saveForgetRecord(vm);
        saveReconnectStop(vm, VIR_DOMAIN_SHUTOFF_FAILED);
        return;
    }
    if (save->managed && saveManagedRemove(vm) < 0)
        VIR_ERROR(_("domain '%1$s' runs, and its image must not be used again: %2$s"), vm->def->name, virGetLastErrorMessage());
    saveForgetRecord(vm);
    if (!ran && run && virDomainObjGetState(vm, NULL) != VIR_DOMAIN_RUNNING)
        saveReconnectRun(vm, VIR_DOMAIN_RUNNING_RESTORED, now);
    else if (ran && virDomainObjGetState(vm, NULL) != VIR_DOMAIN_RUNNING)
        virDomainObjSetState(vm, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_RESTORED);
    else if (!ran && !run)
        virDomainObjSetState(vm, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);
    saveManagedHas(vm);
}

bool
saveReconnect(virDomainObj *vm, vmmRunState *now)
{
    const drvSave *save = DRV_DOMAIN(vm)->save;

    if (!save)
        return true;
    if (save->restoring) {
        saveReconnectRestoring(vm, now);
    } else if (*now != VMM_RUN_RUNNING && saveIsWhole(save)) {
        /* One that runs has a life after its image. */
        saveForgetRecord(vm);
        saveManagedHas(vm);
        saveReconnectStop(vm, VIR_DOMAIN_SHUTOFF_SAVED);
    } else {
        saveReconnectResume(vm, now);
    }
    return virDomainObjIsActive(vm);
}

/* ---- the point where the VMM becomes the guest ------------------------------------------------------------------- */

int
saveCommit(virDomainObj *vm, bool run)
{
    drvSave *save = DRV_DOMAIN(vm)->save;

    if (!save || !save->restoring)
        return 0;
    save->committed = true;
    save->wasRunning = run;
    if (domainSaveStatus(vm) == 0)
        return 0;
    save->committed = false;
    return -1;
}

void
saveCommitFailed(virDomainObj *vm)
{
    drvSave *save = DRV_DOMAIN(vm)->save;
    virErrorPtr first;
    vmmRunState now;

    if (!save || !save->committed || virDomainObjGetState(vm, NULL) == VIR_DOMAIN_RUNNING)
        return;
    virErrorPreserveLast(&first);
    if (virDomainObjIsActive(vm) && processRefreshStatus(vm, &now) == 0 && now == VMM_RUN_PAUSED)
        save->committed = false;
    virErrorRestore(&first);
}

bool
saveSpend(virDomainObj *vm)
{
    const drvSave *save = DRV_DOMAIN(vm)->save;

    if (!save->managed || !((save->committed && (save->wasRunning || save->runsAnyway)) || virDomainObjGetState(vm, NULL) == VIR_DOMAIN_RUNNING))
        return false;
    if (saveManagedRemove(vm) < 0)
        VIR_ERROR(_("the guest of domain '%1$s' may have run, and its image must not be used again: %2$s"), vm->def->name,
                  virGetLastErrorMessage());
    return true;
}

void
saveNeverRan(virDomainObj *vm)
{
    drvSave *save = DRV_DOMAIN(vm)->save;

    if (save && !save->live && save->restoring && save->committed && processNeverRan(vm))
        save->committed = false;
}

void
saveEnded(virDomainObj *vm)
{
    const drvSave *save = DRV_DOMAIN(vm)->save;

    if (!save || save->live)
        return;
    if (save->restoring)
        saveSpend(vm);
    else
        saveRemovePartial(save);
    saveForgetRecord(vm);
}
