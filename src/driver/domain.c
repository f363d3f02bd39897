/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* domain.c: the driver's data of a guest, its status file, and the small services around both */
#include <config.h>

#include "driver/domain.h"

#include "domain_event.h"
#include "vircgroup.h"
#include "virfile.h"
#include "virlog.h"
#include "virxml.h"

#include "base/fault.h"
#include "base/fd.h"
#include "driver/compat.h"
#include "driver/mig.h"
#include "driver/process.h"
#include "driver/save.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.domain");

/* ---- private data ------------------------------------------------------------------------------------- */

static void *
domainPrivateAlloc(void *opaque)
{
    drvDomain *priv = g_new0(drvDomain, 1);

    priv->drv = opaque;
    if (!(priv->consoles = virChrdevAlloc())) {
        g_free(priv);
        return NULL;
    }
    return priv;
}

static void
domainPrivateFree(void *opaque)
{
    drvDomain *priv = opaque;

    if (!priv)
        return;
    /* There is one only when the whole driver ends: the VMM goes on, unwatched. */
    processWatchFree(priv->watch);
    if (priv->ctl)
        controlClose(priv->ctl);
    controlUnref(priv->ctl);
    virChrdevFree(priv->consoles);
    migFree(priv->mig);
    saveFree(priv->save);
    g_free(priv->vcpuPids);
    virCgroupFree(priv->cgroup);
    g_free(priv->controlPath);
    g_free(priv);
}

/* ---- the VMM of a guest that this daemon has not started ------------------------------------------------- */

/*
 * The binary may have been replaced since the guest was started, so what runs is told by the status file, not by probing.
 * Like those of vmmProbe(), these stay for ever: one for each version that was met.
 */
static const vmmInfo *
domainRunningVmm(const char *name, const char *binary, unsigned long version)
{
    static GMutex lock;
    static GHashTable *known;
    const vmmTraits *traits = vmmTraitsByName(name);
    g_autofree char *key = g_strdup_printf("%s %lu %s", name, version, binary);
    vmmInfo *info;

    if (!traits) {
        virReportError(VIR_ERR_INTERNAL_ERROR, _("The status file names the unknown VMM '%1$s'"), name);
        return NULL;
    }
    g_mutex_lock(&lock);
    if (!known)
        known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (!(info = g_hash_table_lookup(known, key))) {
        info = g_new0(vmmInfo, 1);
        info->binary = g_strdup(binary);
        info->traits = traits;
        info->version = version;
        info->machines = g_new0(char *, 1);
        info->aliases = g_new0(char *, 1);
        info->cpus = g_new0(char *, 1);
        g_hash_table_insert(known, g_steal_pointer(&key), info);
    }
    g_mutex_unlock(&lock);
    return info;
}

/* ---- status file: our part -------------------------------------------------------------------------------- */

static void
domainFormatVmm(virBuffer *buf, const drvDomain *priv)
{
    if (!priv->vmm)
        return;
    virBufferEscapeString(buf, "<vmm name='%s'", priv->vmm->traits->name);
    virBufferEscapeString(buf, " binary='%s'", priv->vmm->binary);
    virBufferAsprintf(buf, " version='%lu' tcg='%s'/>\n", priv->vmm->version, priv->tcg ? "yes" : "no");
}

static int
domainParseVmm(xmlXPathContextPtr ctxt, drvDomain *priv)
{
    g_autofree char *name = virXPathString("string(./vmm/@name)", ctxt);
    g_autofree char *binary = virXPathString("string(./vmm/@binary)", ctxt);
    unsigned long long version = 0;

    if (!name || !binary || virXPathULongLong("string(./vmm/@version)", ctxt, &version) < 0) {
        virReportError(VIR_ERR_XML_ERROR, "%s", _("The status file does not say which VMM runs"));
        return -1;
    }
    priv->tcg = virXPathBoolean("boolean(./vmm[@tcg='yes'])", ctxt);
    priv->vmm = domainRunningVmm(name, binary, version);
    return priv->vmm ? 0 : -1;
}

static void
domainFormatVcpus(virBuffer *buf, const drvDomain *priv)
{
    if (!priv->nvcpuPids)
        return;
    virBufferAddLit(buf, "<vcpus>\n");
    virBufferAdjustIndent(buf, 2);
    for (size_t i = 0; i < priv->nvcpuPids; i++)
        virBufferAsprintf(buf, "<vcpu pid='%lld'/>\n", (long long)priv->vcpuPids[i]);
    virBufferAdjustIndent(buf, -2);
    virBufferAddLit(buf, "</vcpus>\n");
}

static int
domainParseVcpus(xmlXPathContextPtr ctxt, drvDomain *priv)
{
    g_autofree xmlNodePtr *nodes = NULL;
    int count = virXPathNodeSet("./vcpus/vcpu", ctxt, &nodes);

    if (count < 0)
        return -1;
    priv->vcpuPids = g_new0(pid_t, count);
    for (int i = 0; i < count; i++) {
        int pid = 0;

        if (virXMLPropInt(nodes[i], "pid", 10, VIR_XML_PROP_REQUIRED | VIR_XML_PROP_NONNEGATIVE, &pid, 0) < 0)
            return -1;
        priv->vcpuPids[i] = pid;
    }
    priv->nvcpuPids = count;
    return 0;
}

/* Yes/no members that a later daemon must know. */
static const struct {
    const char *name;
    size_t offset;
} statusFlags[] = {
    { "shuttingDown", offsetof(drvDomain, shuttingDown) },
    { "rebootPending", offsetof(drvDomain, rebootPending) },
    { "ownGroup", offsetof(drvDomain, ownGroup) },
};

/* Numbers, unsigned long long; 0 is not written. */
static const struct {
    const char *name;
    size_t offset;
} statusNumbers[] = {
    { "startTime", offsetof(drvDomain, startTime) },
    { "balloon", offsetof(drvDomain, balloonKiB) },
    { "migrationMaxSpeed", offsetof(drvDomain, migMaxSpeedMiBs) },
    { "migrationMaxDowntime", offsetof(drvDomain, migMaxDowntimeMs) },
    { "migrationCache", offsetof(drvDomain, migCacheBytes) },
};

static int
domainPrivateFormat(virBuffer *buf, virDomainObj *vm)
{
    const drvDomain *priv = DRV_DOMAIN(vm);

    domainFormatVmm(buf, priv);
    virBufferEscapeString(buf, "<control path='%s'/>\n", priv->controlPath);
    for (size_t i = 0; i < G_N_ELEMENTS(statusNumbers); i++) {
        const unsigned long long *value = (const void *)((const char *)priv + statusNumbers[i].offset);

        if (*value)
            virBufferAsprintf(buf, "<%s>%llu</%s>\n", statusNumbers[i].name, *value, statusNumbers[i].name);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(statusFlags); i++) {
        const bool *value = (const void *)((const char *)priv + statusFlags[i].offset);

        if (*value)
            virBufferAsprintf(buf, "<%s/>\n", statusFlags[i].name);
    }
    domainFormatVcpus(buf, priv);
    if (saveFormatStatus(buf, vm) < 0)
        return -1;
    return migFormatStatus(buf, vm);
}

static int
domainParseNumbers(xmlXPathContextPtr ctxt, drvDomain *priv)
{
    for (size_t i = 0; i < G_N_ELEMENTS(statusNumbers); i++) {
        g_autofree char *path = g_strdup_printf("string(./%s)", statusNumbers[i].name);

        if (virXPathULongLong(path, ctxt, (void *)((char *)priv + statusNumbers[i].offset)) == -2) {
            virReportError(VIR_ERR_XML_ERROR, _("The value of '%1$s' in the status file is no number"),
                           statusNumbers[i].name);
            return -1;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(statusFlags); i++) {
        g_autofree char *path = g_strdup_printf("boolean(./%s)", statusFlags[i].name);

        *(bool *)(void *)((char *)priv + statusFlags[i].offset) = virXPathBoolean(path, ctxt) == 1;
    }
    return 0;
}

static int
domainPrivateParse(xmlXPathContextPtr ctxt, virDomainObj *vm, virDomainDefParserConfig *config G_GNUC_UNUSED)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    priv->controlPath = virXPathString("string(./control/@path)", ctxt);
    if (domainParseVmm(ctxt, priv) < 0 || domainParseNumbers(ctxt, priv) < 0 || domainParseVcpus(ctxt, priv) < 0 ||
        saveParseStatus(ctxt, vm) < 0)
        return -1;
    return migParseStatus(ctxt, vm);
}

virDomainXMLPrivateDataCallbacks domainPrivateDataCallbacks = {
    .alloc = domainPrivateAlloc,
    .free = domainPrivateFree,
    .format = domainPrivateFormat,
    .parse = domainPrivateParse,
};

/* ---- files ---------------------------------------------------------------------------------------------- */

/* A renamed file is safe only when its folder is on the disk, too. */
static int
domainSyncFolder(const char *path)
{
    g_auto(baseFd) fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0) {
        virReportSystemError(errno, _("Cannot write the folder '%1$s' to disk"), path);
        return -1;
    }
    return 0;
}

int
domainSaveStatus(virDomainObj *vm)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;

    if (FAULT(STATUS_SAVE)) {
        virReportSystemError(ENOSPC, _("Cannot write the status file of '%1$s'"), vm->def->name);
        return -1;
    }
    if (virDomainObjSave(vm, drv->xmlopt, drv->stateDir) < 0)
        return -1;
    return domainSyncFolder(drv->stateDir);
}

void
domainRemoveStatus(virDomainObj *vm)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;
    g_autofree char *path = virDomainConfigFile(drv->stateDir, vm->def->name);

    if (path && unlink(path) < 0 && errno != ENOENT)
        VIR_WARN("%s: cannot remove the status file '%s': %s, ignoring", vm->def->name, path, g_strerror(errno));
}

int
domainSaveConfig(virDomainObj *vm)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;

    if (virDomainDefSave(vm->newDef ? vm->newDef : vm->def, drv->xmlopt, drv->configDir) < 0)
        return -1;
    return domainSyncFolder(drv->configDir);
}

/* ---- list and events ---------------------------------------------------------------------------------------- */

void
domainRemoveInactive(virDomainObj *vm)
{
    /* Once only: another domain may have the name and the UUID by now. */
    if (!vm->persistent && !vm->removing && !virDomainObjIsActive(vm) && !migStatusKept(vm))
        virDomainObjListRemove(DRV_DOMAIN(vm)->drv->domains, vm);
}

int
domainHasDef(virDomainObj *vm, const virDomainDef *def)
{
    if (vm->def == def)
        return 0;
    virReportError(VIR_ERR_OPERATION_FAILED,
                   _("Domain '%1$s' was defined anew while it was about to be started; it was not started."), vm->def->name);
    return -1;
}

void
domainDropDef(virDomainObj *vm, const virDomainDef *def)
{
    if (virDomainObjIsActive(vm))
        return;
    if (vm->def == def)
        virDomainObjRemoveTransientDef(vm);
    else
        /* What was kept for after the start is older than what has been defined since. */
        g_clear_pointer(&vm->newDef, virDomainDefFree);
}

void
domainEvent(virDomainObj *vm, int type, int detail)
{
    virObjectEventStateQueue(DRV_DOMAIN(vm)->drv->events, virDomainEventLifecycleNewFromObj(vm, type, detail));
}

/* ---- the control socket without the lock ---------------------------------------------------------------------- */

control *
domainControl(virDomainObj *vm, guint64 *retIncarnation)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    control *ctl;

    if (!priv->ctl) {
        virReportError(VIR_ERR_OPERATION_INVALID, _("The VMM of the domain '%1$s' cannot be talked to now"),
                       vm->def->name);
        return NULL;
    }
    ctl = controlRef(priv->ctl);
    *retIncarnation = priv->incarnation;
    virObjectUnlock(vm);
    return ctl;
}

bool
domainControlDone(virDomainObj *vm, control *ctl, guint64 incarnation)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    controlUnref(ctl);
    virObjectLock(vm);
    if (virDomainObjIsActive(vm) && priv->incarnation == incarnation)
        return true;
    virReportError(VIR_ERR_OPERATION_FAILED, _("The domain '%1$s' ended meanwhile"), vm->def->name);
    return false;
}
