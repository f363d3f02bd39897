/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* query_vmm.c: what only the VMM knows, asked without waiting for it; see api_query.c */
#include <config.h>

#include "driver/process.h"
#include "driver/query.h"

#include <sys/stat.h>

#include "storage_source_conf.h"
#include "storage_source.h"

#include "base/fd.h"
#include "driver/compat.h"
#include "base/gettext.h"

/* Longer than this nobody who only looks is made to wait. */
#define QUERY_TIMEOUT_MS 2000

/* Every format has its size within this. */
#define DISK_HEADER_BYTES 4096

unsigned long long
queryMemoryNow(virDomainObj *vm)
{
    const drvDomain *priv = DRV_DOMAIN(vm);

    if (virDomainObjIsActive(vm) && priv->balloonKiB != 0)
        return priv->balloonKiB;
    return vm->def->mem.cur_balloon ? vm->def->mem.cur_balloon
                                    : virDomainDefGetMemoryTotal(vm->def);
}

bool
queryGuestMemory(virDomainObj *vm, vmmGuestMemory *ret)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    const virDomainMemballoonDef *balloon = vm->def->memballoon;
    g_autofree char *alias = NULL;
    const vmmOps *ops;
    guint64 incarnation;
    control *ctl;
    bool ok;

    if (!virDomainDefHasMemballoon(vm->def) || balloon->period <= 0 || !balloon->info.alias ||
        !virDomainObjIsActive(vm) || !priv->vmm || vm->job->active != VIR_JOB_NONE)
        return false;
    ops = priv->vmm->traits->ops;
    alias = g_strdup(balloon->info.alias);
    if ((ctl = domainControl(vm, &incarnation))) {
        controlLimitThread(QUERY_TIMEOUT_MS);
        ok = ops->balloonStats(ctl, alias, ret, NULL);
        controlLimitThread(0);
        ok = domainControlDone(vm, ctl, incarnation) && ok;
    } else {
        ok = false;
    }
    virResetLastError();
    return ok;
}

/* ---- disks: counters ------------------------------------------------------------------------------------------ */

static void
queryBlockAsk(virDomainObj *vm, const char *alias)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    const vmmOps *ops = priv->vmm->traits->ops;
    vmmBlockStats stats;
    guint64 incarnation;
    control *ctl;
    bool ok;

    if (!ops->blockStats || vm->job->active != VIR_JOB_NONE ||
        !(ctl = domainControl(vm, &incarnation)))
        return;
    memset(&stats, 0xff, sizeof(stats));
    controlLimitThread(QUERY_TIMEOUT_MS);
    ok = ops->blockStats(ctl, alias, &stats, NULL);
    controlLimitThread(0);
    if (domainControlDone(vm, ctl, incarnation) && ok)
        processRememberBlock(vm, alias, &stats);
}

bool
queryBlock(virDomainObj *vm, const virDomainDiskDef *disk, vmmBlockStats *ret)
{
    /* The definition may be replaced while the lock is dropped. */
    g_autofree char *alias = g_strdup(disk->info.alias);
    bool found;

    if (!alias || !virDomainObjIsActive(vm) || !DRV_DOMAIN(vm)->vmm)
        return false;
    queryBlockAsk(vm, alias);
    found = processRecallBlock(vm, alias, ret);
    virResetLastError();
    return found;
}

/* ---- disks: sizes ------------------------------------------------------------------------------------------------ */

/* What the guest sees as the size: of formats that have a header it stands there. */
static void
querySizesFromHeader(const virDomainDiskDef *disk, int fd, virDomainBlockInfoPtr ret)
{
    g_autoptr(virStorageSource) src = virStorageSourceCopy(disk->src, false);
    g_autofree char *header = NULL;
    ssize_t got;

    ret->capacity = ret->physical;
    if (!src || disk->src->format == VIR_STORAGE_FILE_RAW ||
        disk->src->format == VIR_STORAGE_FILE_NONE)
        return;
    header = g_malloc0(DISK_HEADER_BYTES);
    got = pread(fd, header, DISK_HEADER_BYTES, 0);
    if (got > 0 && virStorageSourceUpdateCapacity(src, header, got) == 0 && src->capacity)
        ret->capacity = src->capacity;
    virResetLastError();
}

int
queryBlockSizes(const virDomainDiskDef *disk, virDomainBlockInfoPtr ret)
{
    const char *path = virDomainDiskGetSource((virDomainDiskDef *)disk);
    g_auto(baseFd) fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    memset(ret, 0, sizeof(*ret));
    if (fd < 0 || fstat(fd, &st) < 0) {
        virReportSystemError(errno, _("Cannot look at the disk '%1$s'"), path);
        return -1;
    }
    if (S_ISBLK(st.st_mode)) {
        off_t end = lseek(fd, 0, SEEK_END);

        ret->physical = end > 0 ? end : 0;
        ret->allocation = ret->physical;
    } else {
        ret->physical = st.st_size;
        ret->allocation = (unsigned long long)st.st_blocks * 512;
    }
    querySizesFromHeader(disk, fd, ret);
    return 0;
}
