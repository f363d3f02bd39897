/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <config.h>

#include "driver/caps.h"

#include "cpu/cpu.h"
#include "virlog.h"

#include "driver/cmdline.h"
#include "driver/compat.h"
#include "driver/machine.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.caps");

/* ---- host ------------------------------------------------------------------------------------------------------- */

/* What cannot be found out about a host is left out: guests run without it. */
static void
capsFillHost(virCaps *caps)
{
    if (!(caps->host.cpu = virCPUProbeHost(caps->host.arch)))
        VIR_WARN("Cannot tell what processor the host has, ignoring: %s", virGetLastErrorMessage());
    caps->host.numa = virCapabilitiesHostNUMANewHost();
    if (virCapabilitiesInitPages(caps) < 0)
        VIR_WARN("Cannot tell what pages the host has, ignoring: %s", virGetLastErrorMessage());
    if (virCapabilitiesInitCaches(caps) < 0)
        VIR_WARN("Cannot tell what caches the host has, ignoring: %s", virGetLastErrorMessage());
    virResetLastError();
}

/* ---- guests ------------------------------------------------------------------------------------------------------- */

/* What @name stands for, or NULL if it is no alias. */
static const char *
capsCanonical(const vmmInfo *vmm, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; vmm->aliases && vmm->aliases[i]; i++) {
        if (strncmp(vmm->aliases[i], name, len) == 0 && vmm->aliases[i][len] == '=')
            return vmm->aliases[i] + len + 1;
    }
    return NULL;
}

static virCapsGuestMachine **
capsMakeMachines(const vmmInfo *vmm, int *count)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    virCapsGuestMachine **machines;

    /* Tools take the first as the default. */
    if (g_strv_contains((const char *const *)vmm->machines, MACHINE_DEFAULT))
        g_ptr_array_add(names, (gpointer)MACHINE_DEFAULT);
    for (size_t i = 0; vmm->machines[i]; i++) {
        if (machineKindOf(vmm->machines[i]) != MACHINE_OTHER && STRNEQ(vmm->machines[i], MACHINE_DEFAULT))
            g_ptr_array_add(names, vmm->machines[i]);
    }
    *count = names->len;
    machines = compatAllocMachines(names);
    for (guint i = 0; i < names->len; i++) {
        machines[i]->canonical = g_strdup(capsCanonical(vmm, machines[i]->name));
        machines[i]->maxCpus = vmmMaxCpus(vmm, machines[i]->name);
    }
    return machines;
}

static void
capsAddGuest(virCaps *caps, const vmmInfo *vmm)
{
    int count = 0;
    virCapsGuestMachine **machines = capsMakeMachines(vmm, &count);
    virCapsGuest *guest = virCapabilitiesAddGuest(caps, VIR_DOMAIN_OSTYPE_HVM, virArchFromHost(), vmm->binary,
                                                  NULL, count, machines);

    if (!vmm->traits->onlyKvm)
        virCapabilitiesAddGuestDomain(guest, VIR_DOMAIN_VIRT_QEMU, NULL, NULL, 0, NULL);
    if (vmm->kvm)
        virCapabilitiesAddGuestDomain(guest, VIR_DOMAIN_VIRT_KVM, NULL, NULL, 0, NULL);
    virCapabilitiesAddGuestFeatureWithToggle(guest, VIR_CAPS_GUEST_FEATURE_TYPE_ACPI, true, true);
    virCapabilitiesAddGuestFeatureWithToggle(guest, VIR_CAPS_GUEST_FEATURE_TYPE_APIC, true, false);
    virCapabilitiesAddGuestFeature(guest, VIR_CAPS_GUEST_FEATURE_TYPE_CPUSELECTION);
    virCapabilitiesAddGuestFeature(guest, VIR_CAPS_GUEST_FEATURE_TYPE_DEVICEBOOT);
}

virCaps *
capsMake(drvState *drv)
{
    /* "offline" is libvirt's old word for migrating at all; without it nothing is said about migration. */
    virCaps *caps = virCapabilitiesNew(virArchFromHost(), true, true);
    g_autofree char *binary = NULL;
    const vmmInfo *vmm;

    memcpy(caps->host.host_uuid, drv->hostUuid, VIR_UUID_BUFLEN);
    virCapabilitiesAddHostMigrateTransport(caps, "tcp");
    capsFillHost(caps);

    /* A host without a VMM still has capabilities, but no guests. */
    if ((binary = stateEmulator(drv)) && (vmm = stateProbe(drv, binary))) {
        capsAddGuest(caps, vmm);
    } else {
        VIR_WARN("No guests can be started here: %s", virGetLastErrorMessage());
        virResetLastError();
    }
    return caps;
}

/* ---- what a guest may have -------------------------------------------------------------------------------------------- */

/* A host's features have no policy, and libvirt leaves those of a guest without one out of the XML. */
static void
capsRequireFeatures(virCPUDef *cpu)
{
    for (size_t i = 0; i < cpu->nfeatures; i++) {
        if (cpu->features[i].policy == -1)
            cpu->features[i].policy = VIR_CPU_FEATURE_REQUIRE;
    }
}

static void
capsFillCpu(virDomainCaps *caps, drvState *drv, const vmmInfo *vmm)
{
    bool kvm = caps->virttype == VIR_DOMAIN_VIRT_KVM;
    g_autoptr(virCaps) hostCaps = NULL;

    caps->cpu.hostPassthrough = kvm;
    if (vmm->traits->onlyKvm)
        return;
    caps->cpu.hostPassthroughMigratable.report = kvm;
    caps->cpu.maximum = true;
    caps->cpu.maximumMigratable.report = kvm;
    if (kvm) {
        VIR_DOMAIN_CAPS_ENUM_SET(caps->cpu.hostPassthroughMigratable, VIR_TRISTATE_SWITCH_ON, VIR_TRISTATE_SWITCH_OFF);
        VIR_DOMAIN_CAPS_ENUM_SET(caps->cpu.maximumMigratable, VIR_TRISTATE_SWITCH_ON, VIR_TRISTATE_SWITCH_OFF);
        hostCaps = stateCaps(drv, false);
    }
    if (hostCaps && hostCaps->host.cpu && hostCaps->host.cpu->model) {
        caps->cpu.hostModel = virCPUCopyMigratable(hostCaps->host.arch, hostCaps->host.cpu);
        if (caps->cpu.hostModel) {
            caps->cpu.hostModel->mode = VIR_CPU_MODE_HOST_MODEL;
            caps->cpu.hostModel->type = VIR_CPU_TYPE_GUEST;
            capsRequireFeatures(caps->cpu.hostModel);
        }
    }
    caps->cpu.custom = virDomainCapsCPUModelsNew(g_strv_length(vmm->cpus));
    for (size_t i = 0; vmm->cpus[i]; i++)
        compatAddCpuModel(caps->cpu.custom, vmm->cpus[i]);
}

static void
capsFillDevices(virDomainCaps *caps)
{
    caps->os.supported = VIR_TRISTATE_BOOL_YES;
    caps->os.loader.supported = VIR_TRISTATE_BOOL_NO;

    caps->memoryBacking.supported = VIR_TRISTATE_BOOL_YES;
    caps->memoryBacking.sourceType.report = true;
    VIR_DOMAIN_CAPS_ENUM_SET(caps->memoryBacking.sourceType, VIR_DOMAIN_MEMORY_SOURCE_ANONYMOUS,
                             VIR_DOMAIN_MEMORY_SOURCE_MEMFD);

    caps->disk.supported = VIR_TRISTATE_BOOL_YES;
    caps->disk.diskDevice.report = true;
    caps->disk.bus.report = true;
    caps->disk.model.report = true;
    VIR_DOMAIN_CAPS_ENUM_SET(caps->disk.diskDevice, VIR_DOMAIN_DISK_DEVICE_DISK);
    VIR_DOMAIN_CAPS_ENUM_SET(caps->disk.bus, VIR_DOMAIN_DISK_BUS_VIRTIO);
    VIR_DOMAIN_CAPS_ENUM_SET(caps->disk.model, VIR_DOMAIN_DISK_MODEL_VIRTIO);

    caps->rng.supported = VIR_TRISTATE_BOOL_YES;
    caps->rng.model.report = true;
    caps->rng.backendModel.report = true;
    VIR_DOMAIN_CAPS_ENUM_SET(caps->rng.model, VIR_DOMAIN_RNG_MODEL_VIRTIO);
    VIR_DOMAIN_CAPS_ENUM_SET(caps->rng.backendModel, VIR_DOMAIN_RNG_BACKEND_RANDOM, VIR_DOMAIN_RNG_BACKEND_BUILTIN);

    caps->channel.supported = VIR_TRISTATE_BOOL_YES;
    caps->channel.type.report = true;
    VIR_DOMAIN_CAPS_ENUM_SET(caps->channel.type, VIR_DOMAIN_CHR_TYPE_PTY, VIR_DOMAIN_CHR_TYPE_FILE,
                             VIR_DOMAIN_CHR_TYPE_UNIX, VIR_DOMAIN_CHR_TYPE_TCP, VIR_DOMAIN_CHR_TYPE_NULL,
                             VIR_DOMAIN_CHR_TYPE_DEV, VIR_DOMAIN_CHR_TYPE_PIPE);

    caps->graphics.supported = VIR_TRISTATE_BOOL_NO;
    caps->video.supported = VIR_TRISTATE_BOOL_NO;
    caps->hostdev.supported = VIR_TRISTATE_BOOL_NO;
    caps->filesystem.supported = VIR_TRISTATE_BOOL_NO;
    caps->tpm.supported = VIR_TRISTATE_BOOL_NO;
    caps->redirdev.supported = VIR_TRISTATE_BOOL_NO;
    caps->gic.supported = VIR_TRISTATE_BOOL_NO;
    for (size_t i = 0; i < VIR_DOMAIN_CAPS_FEATURE_LAST; i++)
        caps->features[i] = VIR_TRISTATE_BOOL_NO;
}

virDomainCaps *
capsMakeDomain(drvState *drv, const vmmInfo *vmm, const char *machine, virDomainVirtType virtType)
{
    const char *name = machine ? machine : MACHINE_DEFAULT;
    const char *canonical = capsCanonical(vmm, name);
    virDomainCaps *caps;

    if (machineKindOf(name) == MACHINE_OTHER || !g_strv_contains((const char *const *)vmm->machines, name)) {
        virReportError(VIR_ERR_INVALID_ARG, _("'%1$s' has no machine '%2$s' that guests can be"), vmm->binary, name);
        return NULL;
    }
    if (!(caps = virDomainCapsNew(vmm->binary, canonical ? canonical : name, virArchFromHost(), virtType)))
        return NULL;
    caps->maxvcpus = vmmMaxCpus(vmm, name);
    capsFillCpu(caps, drv, vmm);
    capsFillDevices(caps);
    return caps;
}

/* ---- as a caller names it -------------------------------------------------------------------------------------------- */

static int
capsCheckArch(const char *arch)
{
    if (arch && virArchFromString(arch) != virArchFromHost()) {
        virReportError(VIR_ERR_INVALID_ARG, _("Guests here are of the architecture '%1$s', not '%2$s'"),
                       virArchToString(virArchFromHost()), arch);
        return -1;
    }
    return 0;
}

/* KVM if it works, TCG if not, when the caller does not care. */
static int
capsVirtType(const char *name, const vmmInfo *vmm)
{
    int type;

    if (!name)
        return vmm->kvm ? VIR_DOMAIN_VIRT_KVM : VIR_DOMAIN_VIRT_QEMU;
    type = virDomainVirtTypeFromString(name);
    if (type != VIR_DOMAIN_VIRT_KVM && type != VIR_DOMAIN_VIRT_QEMU) {
        virReportError(VIR_ERR_INVALID_ARG, _("Guests are of type 'kvm' or 'qemu', not '%1$s'"), name);
        return -1;
    }
    if (type != VIR_DOMAIN_VIRT_KVM && vmm->traits->onlyKvm) {
        virReportError(VIR_ERR_INVALID_ARG, _("%1$s runs guests only of type 'kvm', not '%2$s'"), vmm->traits->title,
                       name);
        return -1;
    }
    if (type == VIR_DOMAIN_VIRT_KVM && !vmm->kvm) {
        virReportError(VIR_ERR_INVALID_ARG, _("KVM does not work on this host with '%1$s'"), vmm->binary);
        return -1;
    }
    return type;
}

virDomainCaps *
capsMakeWished(drvState *drv, const capsWish *wish)
{
    g_autofree char *binary = NULL;
    const vmmInfo *vmm;
    int type;

    if (capsCheckArch(wish->arch) < 0)
        return NULL;
    binary = wish->emulator ? g_strdup(wish->emulator) : stateEmulator(drv);
    if (!binary || !(vmm = stateProbe(drv, binary)) || (type = capsVirtType(wish->virtType, vmm)) < 0)
        return NULL;
    return capsMakeDomain(drv, vmm, wish->machine, type);
}
