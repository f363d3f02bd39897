/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_files.c: migHostOps on a real domain, as far as its guest goes by way of files (migration/files.h) */
#include <config.h>

#include "driver/mig_priv.h"

#include "virlog.h"

#include "base/error.h"
#include "base/fd.h"
#include "driver/compat.h"
#include "driver/process_load.h"
#include "driver/report.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.mig_files");

bool
migFilesNeeded(virDomainObj *vm, int fd)
{
    const drvDomain *priv = DRV_DOMAIN(vm);
    bool ret;

    virObjectLock(vm);
    ret = fd >= 0 && priv->vmm && priv->vmm->traits->snapshot && !priv->vmm->traits->streamFd;
    virObjectUnlock(vm);
    return ret;
}

/* A snapshot's thread. */
static void
filesChanged(void *job)
{
    migJobPost(job, MIG_SIGNAL_VMM);
}

snapshot *
migFilesStart(virDomainObj *vm, int fd, control *ctl, GError **error)
{
    const drvDomain *priv = DRV_DOMAIN(vm);
    snapshotSpec spec = { .fd = fd, .hold = true, .changed = filesChanged };
    g_autofree char *parent = NULL;

    virObjectLock(vm);
    if (priv->controlPath && priv->vmm) {
        spec.parent = parent = processLoadParent(vm);
        spec.vmm = priv->vmm->traits;
        spec.memoryBytes = virDomainDefGetMemoryTotal(vm->def) * 1024;
        /* It frees what is made here before it is gone itself. */
        spec.opaque = migOf(vm)->job;
    }
    virObjectUnlock(vm);
    if (spec.opaque)
        return ctl ? snapshotSend(&spec, ctl, error) : snapshotReceive(&spec, error);
    g_set_error(error, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED, _("The VMM of domain '%1$s' is gone."), vm->def->name);
    return NULL;
}

/* The images that the guest writes to, the memory of its firmware included; the caller frees. */
static GPtrArray *
filesWritten(virDomainObj *vm)
{
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);

    virObjectLock(vm);
    for (size_t i = 0; i < vm->def->ndisks; i++) {
        virStorageSource *src = vm->def->disks[i]->src;

        if (!virStorageSourceIsEmpty(src) && virStorageSourceIsLocalStorage(src) && !src->readonly)
            g_ptr_array_add(paths, g_strdup(src->path));
    }
    if (vm->def->os.loader && vm->def->os.loader->nvram && vm->def->os.loader->nvram->path)
        g_ptr_array_add(paths, g_strdup(vm->def->os.loader->nvram->path));
    virObjectUnlock(vm);
    return paths;
}

void
migFilesReleaseDisks(virDomainObj *vm, control *ctl)
{
    g_autoptr(GPtrArray) paths = filesWritten(vm);
    const vmmSnapshotOps *files;

    virObjectLock(vm);
    files = DRV_DOMAIN(vm)->vmm ? DRV_DOMAIN(vm)->vmm->traits->snapshot : NULL;
    virObjectUnlock(vm);
    for (guint i = 0; files && i < paths->len; i++) {
        g_autoptr(GError) error = NULL;
        const char *path = g_ptr_array_index(paths, i);

        if (!files->releaseDisk(ctl, path, &error))
            VIR_WARN("domain '%s': the lock of its VMM on '%s' stays (%s), which may keep the destination from it", vm->def->name, path,
                     error->message);
    }
}

bool
migFilesGuestOffer(virDomainObj *vm, snapshot *snap, GError **error)
{
    bool ok;

    virObjectLock(vm);
    if (!(ok = snap && processLoadOffer(vm, snap) == 0))
        reportToGError(error);
    virObjectUnlock(vm);
    return ok;
}

bool
migFilesGuestLoad(virDomainObj *vm, snapshot *snap, int aheadFd, bool *retUnknown, GError **error)
{
    processLoaded loaded;

    virObjectLock(vm);
    loaded = processLoadRelease(vm, snap, aheadFd);
    if (loaded != PROCESS_LOAD_RUNS)
        reportToGError(error);
    virObjectUnlock(vm);
    *retUnknown = loaded == PROCESS_LOAD_UNKNOWN;
    snapshotFree(snap);
    return loaded == PROCESS_LOAD_RUNS;
}
