/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* domain_prepare.c: a definition on its way to a VMM, or to another host */
#include <config.h>

#include "driver/domain.h"

#include "cpu/cpu.h"
#include "viralloc.h"
#include "virutil.h"

#include "driver/compat.h"
#include "base/gettext.h"

/* ---- aliases -------------------------------------------------------------------------------------------------- */

/* A name given by the user stays. */
static void
aliasSet(virDomainDeviceInfo *info, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

static void
aliasSet(virDomainDeviceInfo *info, const char *fmt, ...)
{
    va_list ap;

    if (info->alias)
        return;
    va_start(ap, fmt);
    info->alias = g_strdup_vprintf(fmt, ap);
    va_end(ap);
}

static void
aliasController(virDomainControllerDef *controller)
{
    int idx = controller->idx;

    switch (controller->type) {
    case VIR_DOMAIN_CONTROLLER_TYPE_PCI:
        if (controller->model == VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT)
            aliasSet(&controller->info, "pcie.%d", idx);
        else
            aliasSet(&controller->info, "pci.%d", idx);
        break;
    case VIR_DOMAIN_CONTROLLER_TYPE_USB:
        /* Companions share the index of their master. */
        if (controller->info.mastertype == VIR_DOMAIN_CONTROLLER_MASTER_USB)
            aliasSet(&controller->info, "usb%d-%s", idx, virDomainControllerModelUSBTypeToString(controller->model));
        else if (idx == 0)
            aliasSet(&controller->info, "usb");
        else
            aliasSet(&controller->info, "usb%d", idx);
        break;
    default:
        aliasSet(&controller->info, "%s%d", virDomainControllerTypeToString(controller->type), idx);
        break;
    }
}

static void
aliasChardevs(virDomainChrDef **all, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        aliasSet(&all[i]->info, "%s%zu", name, i);
}

void
domainAliasNet(const vmmInfo *vmm, virDomainNetDef *net, size_t index)
{
    const virPCIDeviceAddress *place = &net->info.addr.pci;

    if (!vmm->traits->statesById || net->info.type != VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI)
        aliasSet(&net->info, "net%zu", index);
    else if (place->function)
        aliasSet(&net->info, "net-%x-%x-%x", place->bus, place->slot, place->function);
    else
        aliasSet(&net->info, "net-%x-%x", place->bus, place->slot);
}

static void
aliasAll(virDomainDef *def, const vmmInfo *vmm)
{
    for (size_t i = 0; i < def->ncontrollers; i++)
        aliasController(def->controllers[i]);
    for (size_t i = 0; i < def->ndisks; i++)
        aliasSet(&def->disks[i]->info, "virtio-disk%d", virDiskNameToIndex(def->disks[i]->dst));
    for (size_t i = 0; i < def->nnets; i++)
        domainAliasNet(vmm, def->nets[i], i);
    for (size_t i = 0; i < def->nrngs; i++)
        aliasSet(&def->rngs[i]->info, "rng%zu", i);
    for (size_t i = 0; i < def->ninputs; i++)
        aliasSet(&def->inputs[i]->info, "input%zu", i);
    for (size_t i = 0; i < def->npanics; i++)
        aliasSet(&def->panics[i]->info, "panic%zu", i);
    aliasChardevs(def->serials, def->nserials, "serial");
    /* The first console may be a second name of the first serial port. */
    for (size_t i = 0; i < def->nconsoles; i++) {
        if (i == 0 && def->nserials > 0 &&
            def->consoles[0]->targetType == VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_SERIAL)
            aliasSet(&def->consoles[0]->info, "%s", def->serials[0]->info.alias);
        else
            aliasSet(&def->consoles[i]->info, "console%zu", i);
    }
    aliasChardevs(def->channels, def->nchannels, "channel");
    if (def->memballoon)
        aliasSet(&def->memballoon->info, "balloon0");
    if (def->vsock)
        aliasSet(&def->vsock->info, "vsock0");
    if (compatWatchdog(def))
        aliasSet(&compatWatchdog(def)->info, "watchdog0");
}

/* ---- boot order -------------------------------------------------------------------------------------------------- */

/* <boot dev='hd'/> is for the first disk, 'network' for the first interface. Firmware asks only when there is no kernel. */
static void
prepareBootOrder(virDomainDef *def)
{
    unsigned int next = 1;

    for (size_t i = 0; i < def->ndisks; i++)
        def->disks[i]->info.effectiveBootIndex = def->disks[i]->info.bootIndex;
    for (size_t i = 0; i < def->nnets; i++)
        def->nets[i]->info.effectiveBootIndex = def->nets[i]->info.bootIndex;
    for (size_t i = 0; !def->os.kernel && i < def->os.nBootDevs; i++) {
        if (def->os.bootDevs[i] == VIR_DOMAIN_BOOT_DISK && def->ndisks > 0)
            def->disks[0]->info.effectiveBootIndex = next++;
        if (def->os.bootDevs[i] == VIR_DOMAIN_BOOT_NET && def->nnets > 0)
            def->nets[0]->info.effectiveBootIndex = next++;
    }
}

/* ---- processor ---------------------------------------------------------------------------------------------------- */

/* The host's processor without what keeps a guest from moving. */
static virCPUDef *
prepareHostCpu(drvState *drv)
{
    g_autoptr(virCaps) caps = stateCaps(drv, false);

    if (!caps)
        return NULL;
    if (!caps->host.cpu || !caps->host.cpu->model) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("libvirt does not know the host's processor, so <cpu mode='host-model'> has no meaning here"));
        return NULL;
    }
    return virCPUCopyMigratable(caps->host.arch, caps->host.cpu);
}

int
domainExpandCpu(drvState *drv, virDomainDef *def)
{
    g_autoptr(virCPUDef) host = NULL;

    if (!def->cpu || def->cpu->mode != VIR_CPU_MODE_HOST_MODEL)
        return 0;
    /* TCG makes its own processor; the nearest to "all that this host can do" is all that TCG can do. */
    if (def->virtType == VIR_DOMAIN_VIRT_QEMU) {
        def->cpu->mode = VIR_CPU_MODE_MAXIMUM;
        return 0;
    }
    if (!(host = prepareHostCpu(drv)))
        return -1;
    return compatCpuUpdate(def->os.arch, def->cpu, host);
}

int
domainCheckCpu(drvState *drv, const virDomainDef *def, bool kvm)
{
    g_autoptr(virCaps) caps = NULL;

    if (!kvm || !def->cpu || !def->cpu->model || def->cpu->mode != VIR_CPU_MODE_CUSTOM ||
        def->cpu->check != VIR_CPU_CHECK_PARTIAL)
        return 0;
    if (!(caps = stateCaps(drv, false)))
        return -1;
    return virCPUCompare(def->os.arch, caps->host.cpu, def->cpu, true) == VIR_CPU_COMPARE_ERROR ? -1 : 0;
}

/* ---- channels -------------------------------------------------------------------------------------------------------- */

/* A channel without path gets one in the folder of this run, which is made before the VMM starts and goes away with it. */
static int
prepareChannels(const drvState *drv, virDomainDef *def)
{
    g_autofree char *name = NULL;

    for (size_t i = 0; i < def->nchannels; i++) {
        virDomainChrSourceDef *source = def->channels[i]->source;

        if (source->type != VIR_DOMAIN_CHR_TYPE_UNIX || source->data.nix.path)
            continue;
        if (!name && !(name = virDomainDefGetShortName(def)))
            return -1;
        source->data.nix.path = g_strdup_printf("%s/domain-%s/%s.sock", drv->libDir, name,
                                                def->channels[i]->info.alias);
        source->data.nix.listen = true;
    }
    return 0;
}

static void
prepareDropPaths(const drvState *drv, virDomainDef *def)
{
    for (size_t i = 0; i < def->nchannels; i++) {
        virDomainChrSourceDef *source = def->channels[i]->source;

        if (source->type == VIR_DOMAIN_CHR_TYPE_UNIX && source->data.nix.path &&
            STRPREFIX(source->data.nix.path, drv->libDir))
            VIR_FREE(source->data.nix.path);
    }
}

/* ---- public ------------------------------------------------------------------------------------------------------------ */

int
domainPrepareStart(drvState *drv, virDomainDef *def, const vmmInfo *vmm, bool kvm)
{
    aliasAll(def, vmm);
    prepareBootOrder(def);
    if (domainCheckCpu(drv, def, kvm) < 0 || domainExpandCpu(drv, def) < 0)
        return -1;
    return prepareChannels(drv, def);
}

/* What of @def another host may see; caller frees. */
static virDomainDef *
prepareCopyMigratable(drvState *drv, virDomainDef *def)
{
    virDomainDef *copy = virDomainDefCopy(def, drv->xmlopt, NULL, true);

    if (copy)
        prepareDropPaths(drv, copy);
    return copy;
}

char *
domainFormatMigratable(drvState *drv, virDomainDef *def, unsigned int flags)
{
    g_autoptr(virDomainDef) copy = prepareCopyMigratable(drv, def);

    if (!copy)
        return NULL;
    return virDomainDefFormat(copy, drv->xmlopt,
                              flags | VIR_DOMAIN_DEF_FORMAT_INACTIVE | VIR_DOMAIN_DEF_FORMAT_MIGRATABLE);
}

int
domainCheckDiskTarget(const virDomainDiskDef *disk)
{
    const char *path = virDomainDiskGetSource((virDomainDiskDef *)disk);

    if (disk->dst)
        return 0;
    virReportError(VIR_ERR_NO_TARGET, path ? "%s" : NULL, path);
    return -1;
}

int
domainCheckTargets(const virDomainDef *def)
{
    for (size_t i = 0; i < def->ndisks; i++) {
        if (domainCheckDiskTarget(def->disks[i]) < 0)
            return -1;
    }
    return 0;
}

/* libvirt does not look at them, but a guest finds as many as it had. */
static int
abiCheckQueues(const virDomainDef *src, const virDomainDef *dst)
{
    for (size_t i = 0; i < MIN(src->nnets, dst->nnets); i++) {
        if (src->nets[i]->driver.virtio.queues == dst->nets[i]->driver.virtio.queues)
            continue;
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("Target interface %1$zu has %2$u queues, the source has %3$u"), i + 1,
                       MAX(dst->nets[i]->driver.virtio.queues, 1), MAX(src->nets[i]->driver.virtio.queues, 1));
        return -1;
    }
    return 0;
}

int
domainCheckAbi(virDomainDef *src, virDomainDef *dst, drvState *drv)
{
    g_autoptr(virDomainDef) from = NULL;
    g_autoptr(virDomainDef) to = NULL;

    if (domainCheckTargets(src) < 0 || domainCheckTargets(dst) < 0)
        return -1;
    from = prepareCopyMigratable(drv, src);
    to = prepareCopyMigratable(drv, dst);
    if (!from || !to)
        return -1;
    /* Volatile: what one of the two has only because it runs, such as the present size of the balloon. */
    if (!virDomainDefCheckABIStabilityFlags(from, to, drv->xmlopt, VIR_DOMAIN_DEF_ABI_CHECK_SKIP_VOLATILE))
        return -1;
    return abiCheckQueues(from, to);
}
