/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* save_file.c: images as files: opened, looked into, redefined; and the folder of managed ones */
#include <config.h>

#include "driver/save_priv.h"

#include <sys/stat.h>

#include "virfile.h"
#include "virlog.h"

#include "base/error.h"
#include "base/fd.h"
#include "driver/compat.h"
#include "driver/report.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.save_file");

char *
saveFilePartial(const char *path)
{
    return g_strdup_printf("%s.partial", path);
}

bool
saveFileDirect(int fd, const char *path, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0 && fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0)
        return true;
    if (errno == EINVAL)
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                       _("The file system of '%1$s' cannot be used without the page cache (O_DIRECT); do it without the flag for that (--bypass-cache)."),
                       path);
    else
        virReportSystemError(errno, _("Cannot switch off the page cache for '%1$s'"), path);
    return false;
}

bool
saveFileSyncFolder(const char *path, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path);
    g_auto(baseFd) fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 && fsync(fd) == 0)
        return true;
    baseSetErrno(error, errno, _("Cannot write the folder '%1$s' to disk"), folder);
    return false;
}

/* ---- opening ------------------------------------------------------------------------------------------------ */

int
saveFileOpen(saveFile *file, const char *path, bool write)
{
    /* Not blocking, lest a pipe by that name keeps us for ever. */
    g_auto(baseFd) fd = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
    g_autoptr(GError) error = NULL;
    struct stat st;

    memset(file, 0, sizeof(*file));
    file->fd = -1;
    if (fd < 0 || fstat(fd, &st) < 0) {
        virReportSystemError(errno, _("Cannot open the saved guest '%1$s'"), path);
        return -1;
    }
    if (!S_ISREG(st.st_mode)) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("'%1$s' is no regular file, so it is no saved guest."), path);
        return -1;
    }
    if (!saveImageRead(fd, path, &file->header, &file->layout, &error))
        return reportGError(g_steal_pointer(&error));
    file->path = g_strdup(path);
    file->fd = baseFdSteal(&fd);
    return 0;
}

void
saveFileClear(saveFile *file)
{
    /* One that was never filled is all zeros: its descriptor is nobody's. */
    if (file->path)
        baseFdClose(file->fd);
    saveHeaderClear(&file->header);
    g_clear_pointer(&file->path, g_free);
    file->fd = -1;
}

/* ---- definitions ---------------------------------------------------------------------------------------------- */

static virDomainDef *
fileParseXml(drvState *drv, const char *xml)
{
    return virDomainDefParseString(xml, drv->xmlopt, NULL,
                                   VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE);
}

virDomainDef *
saveFileDef(drvState *drv, const saveFile *file, const char *dxml)
{
    g_autoptr(virDomainDef) def = fileParseXml(drv, file->header.xml);
    g_autoptr(virDomainDef) other = NULL;

    if (!def || domainCheckTargets(def) < 0)
        return NULL;
    if (!dxml)
        return g_steal_pointer(&def);
    if (!(other = fileParseXml(drv, dxml)) || domainCheckAbi(def, other, drv) < 0)
        return NULL;
    return g_steal_pointer(&other);
}

int
saveFileRedefine(drvState *drv, saveFile *file, const char *dxml, saveRunState after)
{
    g_autoptr(virDomainDef) def = saveFileDef(drv, file, dxml);
    g_autoptr(GError) error = NULL;
    char *xml;

    if (!def || !(xml = virDomainDefFormat(def, drv->xmlopt, VIR_DOMAIN_DEF_FORMAT_SECURE | VIR_DOMAIN_DEF_FORMAT_INACTIVE |
                                           VIR_DOMAIN_DEF_FORMAT_MIGRATABLE)))
        return -1;
    g_free(file->header.xml);
    file->header.xml = xml;
    if (after != SAVE_AS_IT_WAS)
        file->header.running = after == SAVE_RUNNING;
    if (!saveImageUpdate(file->fd, file->path, &file->layout, &file->header, &error))
        return reportGError(g_steal_pointer(&error));
    return 0;
}

/* ---- managed images --------------------------------------------------------------------------------------------- */

char *
saveManagedPath(drvState *drv, const virDomainDef *def)
{
    return g_strdup_printf("%s/save/%s.save", drv->libDir, def->name);
}

bool
saveManagedHas(virDomainObj *vm)
{
    g_autofree char *path = saveManagedPath(DRV_DOMAIN(vm)->drv, vm->def);

    vm->hasManagedSave = vm->persistent && g_file_test(path, G_FILE_TEST_EXISTS);
    return vm->hasManagedSave;
}

int
saveManagedRefuse(virDomainObj *vm)
{
    if (!saveManagedHas(vm))
        return 0;
    virReportError(VIR_ERR_OPERATION_INVALID,
                   _("The domain '%1$s' has a managed saved image: start it from that, or remove it first (managedsave-remove)."),
                   vm->def->name);
    return -1;
}

/* What nobody can remove shall at least start no guest. */
static bool
managedSpoil(const char *path)
{
    g_auto(saveFile) file = { .fd = -1 };

    if (saveFileOpen(&file, path, true) < 0)
        return false;
    file.header.complete = false;
    return saveImageUpdate(file.fd, path, &file.layout, &file.header, NULL);
}

int
saveManagedRemove(virDomainObj *vm)
{
    g_autofree char *path = saveManagedPath(DRV_DOMAIN(vm)->drv, vm->def);
    g_autoptr(GError) error = NULL;

    if (unlink(path) == 0) {
        vm->hasManagedSave = false;
        /* Or it might be there again after a crash of the host. */
        return saveFileSyncFolder(path, &error) ? 0 : reportGError(g_steal_pointer(&error));
    }
    if (errno == ENOENT) {
        vm->hasManagedSave = false;
        return 0;
    }
    baseSetErrno(&error, errno, _("Cannot remove the managed saved image '%1$s' of domain '%2$s'"), path, vm->def->name);
    if (managedSpoil(path))
        g_prefix_error(&error, "%s", _("The image was marked as incomplete, so that it cannot be used: "));
    virResetLastError();
    return reportGError(g_steal_pointer(&error));
}

void
saveManagedFindAll(drvState *drv)
{
    virDomainObj **vms = NULL;
    size_t nvms = 0;

    virDomainObjListCollectAll(drv->domains, &vms, &nvms);
    for (size_t i = 0; i < nvms; i++) {
        virObjectLock(vms[i]);
        saveManagedHas(vms[i]);
        virObjectUnlock(vms[i]);
    }
    virObjectListFreeCount(vms, nvms);
}

/* What cannot be used says how to go on without it. */
static void
managedError(virDomainObj *vm)
{
    g_autofree char *text = g_strdup(virGetLastErrorMessage());

    if (!saveManagedHas(vm)) {
        virReportError(VIR_ERR_OPERATION_FAILED,
                       _("Domain '%1$s' ended when it was to go on from its managed saved image: %2$s It may have run for a moment, so the image was removed."),
                       vm->def->name, text);
        return;
    }
    virReportError(VIR_ERR_OPERATION_FAILED,
                   _("Domain '%1$s' cannot be started from its managed saved image: %2$s The image is kept; to boot without what it holds, start with --force-boot or remove it (managedsave-remove)."),
                   vm->def->name, text);
}

int
saveManagedStart(virDomainObj *vm, virConnectPtr conn, unsigned int startFlags)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;
    g_autofree char *path = saveManagedPath(drv, vm->def);
    g_auto(saveFile) file = { .fd = -1 };
    g_autoptr(virDomainDef) def = NULL;
    saveRestoreArgs args = {
        .paused = (startFlags & VIR_DOMAIN_START_PAUSED) != 0,
        .bypassCache = (startFlags & VIR_DOMAIN_START_BYPASS_CACHE) != 0,
        .autoDestroy = (startFlags & VIR_DOMAIN_START_AUTODESTROY) != 0,
        .managed = true,
    };
    char uuid[VIR_UUID_STRING_BUFLEN];

    virUUIDFormat(vm->def->uuid, uuid);
    virObjectUnlock(vm);
    if (saveFileOpen(&file, path, false) == 0)
        def = saveFileDef(drv, &file, NULL);
    virObjectLock(vm);
    if (!def) {
        managedError(vm);
        return -1;
    }
    if (STRNEQ(file.header.uuid, uuid) || STRNEQ(def->name, vm->def->name)) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("'%1$s' holds the domain '%2$s' with UUID %3$s."), path, def->name,
                       file.header.uuid);
        managedError(vm);
        return -1;
    }
    args.def = def;
    virDomainObjAssignDef(vm, &def, true, NULL);
    if (saveRestore(vm, conn, &file, &args) == 0)
        return 0;
    domainDropDef(vm, args.def);
    managedError(vm);
    return -1;
}

void
saveManagedForgetBegin(virDomainObj *vm)
{
    g_autofree char *path = saveManagedPath(DRV_DOMAIN(vm)->drv, vm->def);
    g_autofree char *id = g_uuid_string_random();

    saveNew(vm, path, id, true, true)->live = false;
}

void
saveManagedForgetEnd(virDomainObj *vm, bool started)
{
    if (started && saveManagedRemove(vm) < 0)
        VIR_ERROR("%s", virGetLastErrorMessage());
    g_clear_pointer(&DRV_DOMAIN(vm)->save, saveFree);
    if (virDomainObjIsActive(vm) && domainSaveStatus(vm) < 0)
        VIR_WARN("Cannot save status of domain '%s', ignoring", vm->def->name);
}
