/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * libvirt parses domain XML and calls the hooks of domainParserConfigTemplate: fill in what was left open, give devices
 * their addresses, refuse what cannot be had.  What is filled in stays in the definition, so that a guest keeps
 * its machine when the VMM is upgraded, and has the same one on another host.
 *
 * Nothing here changes a guest that runs: status files are read back as they were written.
 */
#include <config.h>

#include "driver/domain.h"

#include "virxml.h"

#include "driver/address.h"
#include "driver/cmdline.h"
#include "driver/compat.h"
#include "driver/machine.h"
#include "base/gettext.h"

/* ---- defaults of the whole ------------------------------------------------------------------------------------ */

/* "q35" is another machine with each release of QEMU: replace it by the version it means now. */
static void
parseResolveMachine(virDomainDef *def, const vmmInfo *vmm)
{
    for (size_t i = 0; vmm->aliases && vmm->aliases[i]; i++) {
        const char *equals = strchr(vmm->aliases[i], '=');
        size_t len = equals ? (size_t)(equals - vmm->aliases[i]) : 0;

        if (len > 0 && strlen(def->os.machine) == len && strncmp(def->os.machine, vmm->aliases[i], len) == 0) {
            g_free(def->os.machine);
            def->os.machine = g_strdup(equals + 1);
            return;
        }
    }
}

static void
parseAddDefaultDevices(virDomainDef *def, const vmmInfo *vmm)
{
    /* As libvirt's QEMU driver does: memory statistics need it, and it is the only way to change a guest's memory. */
    if (!def->memballoon && !vmm->traits->balloonHinders) {
        def->memballoon = g_new0(virDomainMemballoonDef, 1);
        def->memballoon->model = VIR_DOMAIN_MEMBALLOON_MODEL_VIRTIO;
    }
    if (machineKindOf(def->os.machine) & MACHINE_PCI)
        virDomainDefMaybeAddController(def, VIR_DOMAIN_CONTROLLER_TYPE_PCI, 0,
                                       VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT);
}

/*
 * Index 0 is that of the machine's own bus.  libvirt numbers controllers without an index in the order of their appearance, after this and before all
 * else of ours: root ports that are there alone would begin at 0, where nothing can be on them.
 */
static int
parseReserveRoot(virDomainDef *def, void *opaque G_GNUC_UNUSED)
{
    virDomainControllerDef *added;
    bool ports = false;
    bool root = false;
    int next = 1;

    for (size_t i = 0; i < def->ncontrollers; i++) {
        virDomainControllerDef *controller = def->controllers[i];

        if (controller->type != VIR_DOMAIN_CONTROLLER_TYPE_PCI)
            continue;
        if (controller->model == VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT && controller->idx == -1)
            controller->idx = 0;
        root = root || controller->idx == 0;
        ports = ports || (controller->model == VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT_PORT && controller->idx == -1);
    }
    if (!ports || root)
        return 0;
    for (size_t i = 0; i < def->ncontrollers; i++) {
        virDomainControllerDef *controller = def->controllers[i];

        if (controller->type != VIR_DOMAIN_CONTROLLER_TYPE_PCI || controller->idx != -1)
            continue;
        while (virDomainControllerFind(def, VIR_DOMAIN_CONTROLLER_TYPE_PCI, next) >= 0)
            next++;
        controller->idx = next;
    }
    /* Among controllers of a kind, they are in the order of their numbers. */
    added = virDomainControllerDefNew(VIR_DOMAIN_CONTROLLER_TYPE_PCI);
    added->idx = 0;
    added->model = VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT;
    virDomainControllerInsert(def, added);
    return 0;
}

/* Made of a template, it needs no place of the user's own. */
static void
parseNameNvram(virDomainDef *def, const drvState *drv)
{
    virDomainLoaderDef *loader = def->os.loader;

    if (!loader || !loader->path || !loader->nvramTemplate || loader->nvram)
        return;
    loader->nvram = virStorageSourceNew();
    loader->nvram->type = VIR_STORAGE_TYPE_FILE;
    loader->nvram->format = VIR_STORAGE_FILE_RAW;
    loader->nvram->path = g_strdup_printf("%s/nvram/%s_VARS.fd", drv->libDir, def->name);
}

static int
parseDomainDefaults(virDomainDef *def, unsigned int parseFlags, void *opaque, void *parseOpaque G_GNUC_UNUSED)
{
    drvState *drv = opaque;
    const vmmInfo *vmm;

    if (parseFlags & VIR_DOMAIN_DEF_PARSE_STATUS)
        return 0;
    if (def->os.arch == VIR_ARCH_NONE)
        def->os.arch = virArchFromHost();
    if (!def->os.machine)
        def->os.machine = g_strdup(def->os.arch == VIR_ARCH_AARCH64 ? MACHINE_DEFAULT_ARM : MACHINE_DEFAULT);
    /* From here on a failure is the host's, not the definition's: one that is on disk already stays, and fails at start. */
    if (!def->emulator && !(def->emulator = stateEmulator(drv)))
        return 1;
    if (!(vmm = stateProbe(drv, def->emulator)))
        return 1;
    parseResolveMachine(def, vmm);
    parseNameNvram(def, drv);
    parseAddDefaultDevices(def, vmm);
    return 0;
}

/* ---- defaults of one device -------------------------------------------------------------------------------------- */

static void
parseDiskDefaults(virDomainDiskDef *disk)
{
    /* Never guessed from the content, which belongs to the guest. */
    if (disk->src && disk->src->format <= VIR_STORAGE_FILE_NONE)
        disk->src->format = VIR_STORAGE_FILE_RAW;
}

static void
parseChrDefaults(virDomainChrDef *chr, const virDomainDef *def)
{
    if (chr->deviceType == VIR_DOMAIN_CHR_DEVICE_TYPE_SERIAL && machineKindOf(def->os.machine) == MACHINE_VIRT) {
        if (chr->targetType == VIR_DOMAIN_CHR_SERIAL_TARGET_TYPE_NONE)
            chr->targetType = VIR_DOMAIN_CHR_SERIAL_TARGET_TYPE_SYSTEM;
        if (chr->targetType == VIR_DOMAIN_CHR_SERIAL_TARGET_TYPE_SYSTEM &&
            chr->targetModel == VIR_DOMAIN_CHR_SERIAL_TARGET_MODEL_NONE)
            chr->targetModel = VIR_DOMAIN_CHR_SERIAL_TARGET_MODEL_PL011;
    } else if (chr->deviceType == VIR_DOMAIN_CHR_DEVICE_TYPE_SERIAL) {
        if (chr->targetType == VIR_DOMAIN_CHR_SERIAL_TARGET_TYPE_NONE)
            chr->targetType = VIR_DOMAIN_CHR_SERIAL_TARGET_TYPE_ISA;
        if (chr->targetType == VIR_DOMAIN_CHR_SERIAL_TARGET_TYPE_ISA &&
            chr->targetModel == VIR_DOMAIN_CHR_SERIAL_TARGET_MODEL_NONE)
            chr->targetModel = VIR_DOMAIN_CHR_SERIAL_TARGET_MODEL_ISA_SERIAL;
    }
    if (chr->deviceType == VIR_DOMAIN_CHR_DEVICE_TYPE_CONSOLE &&
        chr->targetType == VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_NONE)
        chr->targetType = VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_SERIAL;
    /* A channel of libvirt's own naming listens, as those of libvirt's QEMU driver do. */
    if (chr->deviceType == VIR_DOMAIN_CHR_DEVICE_TYPE_CHANNEL && chr->source &&
        chr->source->type == VIR_DOMAIN_CHR_TYPE_UNIX && !chr->source->data.nix.path)
        chr->source->data.nix.listen = true;
}

static void
parseControllerDefaults(virDomainControllerDef *controller)
{
    if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_USB &&
        controller->model == VIR_DOMAIN_CONTROLLER_MODEL_USB_DEFAULT)
        controller->model = VIR_DOMAIN_CONTROLLER_MODEL_USB_QEMU_XHCI;
    if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_PCI &&
        controller->model == VIR_DOMAIN_CONTROLLER_MODEL_PCI_DEFAULT)
        controller->model = controller->idx == 0 ? VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT
                                                 : VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT_PORT;
}

static int
parseDeviceDefaults(virDomainDeviceDef *dev, const virDomainDef *def, unsigned int parseFlags,
                    void *opaque G_GNUC_UNUSED, void *parseOpaque G_GNUC_UNUSED)
{
    if (parseFlags & VIR_DOMAIN_DEF_PARSE_STATUS)
        return 0;
    switch ((virDomainDeviceType)dev->type) {
    case VIR_DOMAIN_DEVICE_DISK:
        parseDiskDefaults(dev->data.disk);
        break;
    case VIR_DOMAIN_DEVICE_NET:
        if (!virDomainNetGetModelString(dev->data.net))
            dev->data.net->model = VIR_DOMAIN_NET_MODEL_VIRTIO;
        break;
    case VIR_DOMAIN_DEVICE_CHR:
        parseChrDefaults(dev->data.chr, def);
        break;
    case VIR_DOMAIN_DEVICE_CONTROLLER:
        parseControllerDefaults(dev->data.controller);
        break;
    default:
        break;
    }
    return 0;
}

static int
parseAddresses(virDomainDef *def, unsigned int parseFlags, void *opaque G_GNUC_UNUSED,
               void *parseOpaque G_GNUC_UNUSED)
{
    if (parseFlags & VIR_DOMAIN_DEF_PARSE_STATUS)
        return 0;
    return addrAssign(def);
}

/* ---- validation ------------------------------------------------------------------------------------------------------- */

static int
parseValidateVmm(const virDomainDef *def, const vmmInfo *vmm)
{
    if (!g_strv_contains((const char *const *)vmm->machines, def->os.machine)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("The machine '%1$s' is not known to '%2$s'"),
                       def->os.machine, def->emulator);
        return -1;
    }
    if (def->cpu && def->cpu->mode == VIR_CPU_MODE_CUSTOM && def->cpu->model &&
        !g_strv_contains((const char *const *)vmm->cpus, def->cpu->model)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("The processor model '%1$s' in <cpu> is not known to '%2$s'"),
                       def->cpu->model, def->emulator);
        return -1;
    }
    if (virDomainDefGetVcpusMax(def) > vmmMaxCpus(vmm, def->os.machine)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("'%1$s' gives a guest with machine '%2$s' up to %3$u processors, not %4$u"), def->emulator,
                       def->os.machine, vmmMaxCpus(vmm, def->os.machine), virDomainDefGetVcpusMax(def));
        return -1;
    }
    return 0;
}

static int
parseValidate(const virDomainDef *def, void *opaque, void *parseOpaque G_GNUC_UNUSED)
{
    drvState *drv = opaque;
    const vmmInfo *vmm;

    if (!(vmm = stateProbe(drv, def->emulator)) || cmdlineCheckDef(def, vmm->traits->cmdline) < 0)
        return -1;
    return parseValidateVmm(def, vmm);
}

/* ---- other drivers' namespaces ------------------------------------------------------------------------------------------- */

/* libvirt skips what it finds in a namespace that the driver does not claim; <qemu:commandline> must not be lost like that. */
static int
parseRefuseNamespace(xmlXPathContextPtr ctxt, void **data G_GNUC_UNUSED)
{
    g_autofree xmlNodePtr *nodes = NULL;
    int count = virXPathNodeSet("./qemu:*", ctxt, &nodes);

    if (count < 0)
        return -1;
    if (count > 0) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The element <qemu:%1$s> is not supported: it is for libvirt's QEMU driver alone"),
                       (const char *)nodes[0]->name);
        return -1;
    }
    return 0;
}

virXMLNamespace domainXmlNamespace = {
    .parse = parseRefuseNamespace,
    .prefix = "qemu",
    .uri = "http://libvirt.org/schemas/domain/qemu/1.0",
};

virDomainDefParserConfig domainParserConfigTemplate = {
    .domainPostParseBasicCallback = parseReserveRoot,
    .domainPostParseCallback = parseDomainDefaults,
    .devicesPostParseCallback = parseDeviceDefaults,
    .assignAddressesCallback = parseAddresses,
    .domainValidateCallback = parseValidate,
    /* Without these bits the parser refuses some things with words of its own; ours name the reason. */
    .features = VIR_DOMAIN_DEF_FEATURE_MEMORY_HOTPLUG |
                VIR_DOMAIN_DEF_FEATURE_OFFLINE_VCPUPIN |
                VIR_DOMAIN_DEF_FEATURE_INDIVIDUAL_VCPUS |
                VIR_DOMAIN_DEF_FEATURE_USER_ALIAS |
                VIR_DOMAIN_DEF_FEATURE_NET_MODEL_STRING,
    .defArch = VIR_ARCH_NONE,
};
