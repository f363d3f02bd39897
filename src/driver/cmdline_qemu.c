/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * The whole machine, in the order of qemuParts[]; devices and character devices have files of their own.
 *
 * Two hosts must give the guest the same machine or a migration breaks it, so nothing that the guest sees is left to a
 * default of QEMU's that may differ: the machine has its versioned name, the processor a model, every device its place,
 * and memory a named backend (the name is on the migration stream).
 */
#include <config.h>

#include "driver/cmdline_priv.h"

#include "virutil.h"
#include "viruuid.h"

#include "driver/compat.h"
#include "base/gettext.h"

/* ---- machine ------------------------------------------------------------------------------------------------ */

static const char *
qemuOnOff(bool on)
{
    return on ? "on" : "off";
}

static bool
qemuIsOn(const cmdlineCtx *ctx, virDomainFeature feature)
{
    return ctx->def->features[feature] == VIR_TRISTATE_SWITCH_ON;
}

static const virDomainTimerDef *
qemuTimer(const cmdlineCtx *ctx, virDomainTimerNameType name)
{
    for (size_t i = 0; i < ctx->def->clock.ntimers; i++) {
        if (ctx->def->clock.timers[i]->name == name)
            return ctx->def->clock.timers[i];
    }
    return NULL;
}

/* Name of the guest's memory on the migration stream. */
static const char *
qemuRamName(const cmdlineCtx *ctx)
{
    return ctx->machine == MACHINE_MICROVM ? "microvm.ram" : "pc.ram";
}

static void
qemuAddSwitch(const cmdlineCtx *ctx, GString *text, virDomainFeature feature, const char *property)
{
    if (ctx->def->features[feature] != VIR_TRISTATE_SWITCH_ABSENT)
        g_string_append_printf(text, ",%s=%s", property, qemuOnOff(qemuIsOn(ctx, feature)));
}

/* On microvm a USB controller is a switch of the machine. */
static bool
qemuHasOwnUsb(const cmdlineCtx *ctx)
{
    for (size_t i = 0; ctx->machine == MACHINE_MICROVM && i < ctx->def->ncontrollers; i++) {
        const virDomainControllerDef *controller = ctx->def->controllers[i];

        if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_USB &&
            controller->model != VIR_DOMAIN_CONTROLLER_MODEL_USB_NONE)
            return true;
    }
    return false;
}

static int
qemuPartMachine(cmdlineCtx *ctx)
{
    g_autoptr(GString) text = g_string_new(ctx->def->os.machine);
    const virDomainTimerDef *hpet = qemuTimer(ctx, VIR_DOMAIN_TIMER_NAME_HPET);
    int ioapic = ctx->def->features[VIR_DOMAIN_FEATURE_IOAPIC];

    g_string_append_printf(text, ",usb=%s,dump-guest-core=%s,memory-backend=%s", qemuOnOff(qemuHasOwnUsb(ctx)),
                           qemuOnOff(ctx->def->mem.dump_core == VIR_TRISTATE_SWITCH_ON), qemuRamName(ctx));
    g_string_append_printf(text, ",acpi=%s", qemuOnOff(qemuIsOn(ctx, VIR_DOMAIN_FEATURE_ACPI)));
    if (ctx->def->mem.nosharepages)
        g_string_append(text, ",mem-merge=off");
    if (ctx->machine == MACHINE_MICROVM) {
        /* The serial port comes as a device, like on q35; no PCI; a clock for the guest to read. */
        g_string_append(text, ",pcie=off,rtc=on,isa-serial=off");
    } else {
        qemuAddSwitch(ctx, text, VIR_DOMAIN_FEATURE_VMPORT, "vmport");
        qemuAddSwitch(ctx, text, VIR_DOMAIN_FEATURE_SMM, "smm");
        if (hpet)
            g_string_append_printf(text, ",hpet=%s", qemuOnOff(hpet->present != VIR_TRISTATE_BOOL_NO));
        if (ioapic != VIR_DOMAIN_IOAPIC_NONE)
            g_string_append_printf(text, ",kernel_irqchip=%s", ioapic == VIR_DOMAIN_IOAPIC_QEMU ? "split" : "on");
    }
    cmdlineAdd(ctx, "-machine", "%s", text->str);
    cmdlineAdd(ctx, "-accel", "%s", ctx->env->kvm ? "kvm" : "tcg");
    return 0;
}

/* ---- processors --------------------------------------------------------------------------------------------- */

/* What QEMU takes when nobody says anything; said here, so that it stays the same. */
#define QEMU_DEFAULT_CPU "qemu64"

static void
qemuAddCpuModel(const cmdlineCtx *ctx, GString *text)
{
    const virCPUDef *cpu = ctx->def->cpu;
    const char *migratable = NULL;

    if (!cpu || (cpu->mode == VIR_CPU_MODE_CUSTOM && !cpu->model)) {
        g_string_append(text, QEMU_DEFAULT_CPU);
        return;
    }
    if (cpu->mode == VIR_CPU_MODE_CUSTOM) {
        g_string_append(text, cpu->model);
        return;
    }
    /* host-model has become a model by now. */
    g_string_append(text, cpu->mode == VIR_CPU_MODE_HOST_PASSTHROUGH ? "host" : "max");
    if (ctx->env->kvm && cpu->migratable != VIR_TRISTATE_SWITCH_ABSENT)
        migratable = virTristateSwitchTypeToString(cpu->migratable);
    if (migratable)
        g_string_append_printf(text, ",migratable=%s", migratable);
}

static void
qemuAddCpuFeatures(const cmdlineCtx *ctx, GString *text)
{
    const virDomainTimerDef *kvmclock = qemuTimer(ctx, VIR_DOMAIN_TIMER_NAME_KVMCLOCK);
    const virCPUDef *cpu = ctx->def->cpu;

    for (size_t i = 0; cpu && i < cpu->nfeatures; i++) {
        bool on = cpu->features[i].policy != VIR_CPU_FEATURE_DISABLE &&
                  cpu->features[i].policy != VIR_CPU_FEATURE_FORBID;

        g_string_append_printf(text, ",%s=%s", cpu->features[i].name, qemuOnOff(on));
    }
    if (kvmclock && kvmclock->present != VIR_TRISTATE_BOOL_ABSENT)
        g_string_append_printf(text, ",kvmclock=%s", qemuOnOff(kvmclock->present == VIR_TRISTATE_BOOL_YES));
    qemuAddSwitch(ctx, text, VIR_DOMAIN_FEATURE_PMU, "pmu");
    if (ctx->def->features[VIR_DOMAIN_FEATURE_KVM] == VIR_TRISTATE_SWITCH_ON && ctx->def->kvm_features &&
        ctx->def->kvm_features->features[VIR_DOMAIN_KVM_HIDDEN] == VIR_TRISTATE_SWITCH_ON)
        g_string_append(text, ",kvm=off");
    /* "full": rather no guest than one that lacks something. */
    if (cpu && cpu->check == VIR_CPU_CHECK_FULL)
        g_string_append(text, ",enforce");
}

static int
qemuPartCpu(cmdlineCtx *ctx)
{
    g_autoptr(GString) text = g_string_new(NULL);
    const virCPUDef *cpu = ctx->def->cpu;
    unsigned max = virDomainDefGetVcpusMax(ctx->def);

    qemuAddCpuModel(ctx, text);
    qemuAddCpuFeatures(ctx, text);
    cmdlineAdd(ctx, "-cpu", "%s", text->str);

    g_string_printf(text, "%u,maxcpus=%u", virDomainDefGetVcpus(ctx->def), max);
    if (cpu && cpu->sockets)
        g_string_append_printf(text, ",sockets=%u,dies=%u,cores=%u,threads=%u",
                               cpu->sockets, cpu->dies, cpu->cores, cpu->threads);
    else
        g_string_append_printf(text, ",sockets=%u,dies=1,cores=1,threads=1", max);
    cmdlineAdd(ctx, "-smp", "%s", text->str);
    return 0;
}

/* ---- memory --------------------------------------------------------------------------------------------------- */

static int
qemuPartMemory(cmdlineCtx *ctx)
{
    const virDomainMemtune *mem = &ctx->def->mem;
    unsigned long long kib = virDomainDefGetMemoryTotal(ctx->def);
    JsonObject *ram = json_object_new();
    bool memfd = mem->source == VIR_DOMAIN_MEMORY_SOURCE_MEMFD || mem->access == VIR_DOMAIN_MEMORY_ACCESS_SHARED;

    json_object_set_string_member(ram, "qom-type", memfd ? "memory-backend-memfd" : "memory-backend-ram");
    json_object_set_string_member(ram, "id", qemuRamName(ctx));
    json_object_set_int_member(ram, "size", kib * 1024);
    if (memfd)
        json_object_set_boolean_member(ram, "share", mem->access == VIR_DOMAIN_MEMORY_ACCESS_SHARED);
    if (mem->allocation == VIR_DOMAIN_MEMORY_ALLOCATION_IMMEDIATE)
        json_object_set_boolean_member(ram, "prealloc", TRUE);
    if (mem->allocation_threads)
        json_object_set_int_member(ram, "prealloc-threads", mem->allocation_threads);
    cmdlineAdd(ctx, "-m", "size=%lluk", kib);
    cmdlineAddJson(ctx, "-object", ram);
    if (mem->locked)
        cmdlineAdd(ctx, "-overcommit", "mem-lock=on");
    return 0;
}

/* ---- identity, control, clock ----------------------------------------------------------------------------------- */

static int
qemuPartName(cmdlineCtx *ctx)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    g_autofree char *name = cmdlineEscape(ctx->def->name);

    cmdlineAdd(ctx, "-name", "guest=%s,debug-threads=on", name);
    if (ctx->env->paused)
        cmdlineAdd(ctx, "-S", NULL);
    virUUIDFormat(ctx->def->uuid, uuid);
    cmdlineAdd(ctx, "-uuid", "%s", uuid);
    /* Nothing from the host's configuration files, no default devices, no window. */
    cmdlineAdd(ctx, "-no-user-config", NULL);
    cmdlineAdd(ctx, "-nodefaults", NULL);
    cmdlineAdd(ctx, "-display", "none");
    return 0;
}

static int
qemuPartControl(cmdlineCtx *ctx)
{
    if (ctx->env->controlFd >= 0) {
        cmdlineAdd(ctx, "-chardev", "socket,id=charmonitor,fd=%d,server=on,wait=off", ctx->env->controlFd);
    } else {
        g_autofree char *path = cmdlineEscape(ctx->env->controlPath);

        cmdlineAdd(ctx, "-chardev", "socket,id=charmonitor,path=%s,server=on,wait=off", path);
    }
    cmdlineAdd(ctx, "-mon", "chardev=charmonitor,id=monitor,mode=control");
    /* A guest that powers off is ours to end: the driver may want to start it again.  A person's VMM just ends. */
    if (!ctx->env->standalone)
        cmdlineAdd(ctx, "-no-shutdown", NULL);
    return 0;
}

static int
qemuPartClock(cmdlineCtx *ctx)
{
    const virDomainClockDef *clock = &ctx->def->clock;
    const virDomainTimerDef *rtc = qemuTimer(ctx, VIR_DOMAIN_TIMER_NAME_RTC);
    const virDomainTimerDef *pit = qemuTimer(ctx, VIR_DOMAIN_TIMER_NAME_PIT);
    g_autofree char *base = NULL;

    if (clock->offset == VIR_DOMAIN_CLOCK_OFFSET_ABSOLUTE) {
        g_autoptr(GDateTime) start = g_date_time_new_from_unix_utc(clock->data.starttime);

        if (!start) {
            virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("The start %1$llu of <clock> is no date"),
                           clock->data.starttime);
            return -1;
        }
        base = g_date_time_format(start, "%Y-%m-%dT%H:%M:%S");
    } else {
        base = g_strdup(clock->offset == VIR_DOMAIN_CLOCK_OFFSET_LOCALTIME ? "localtime" : "utc");
    }
    cmdlineAdd(ctx, "-rtc", "base=%s%s", base,
               rtc && rtc->tickpolicy == VIR_DOMAIN_TIMER_TICKPOLICY_CATCHUP ? ",driftfix=slew" : "");
    /* Only KVM's own timer has a choice; TCG's delays always. */
    if (pit && ctx->env->kvm && pit->tickpolicy == VIR_DOMAIN_TIMER_TICKPOLICY_DELAY)
        cmdlineAdd(ctx, "-global", "kvm-pit.lost_tick_policy=delay");
    if (pit && ctx->env->kvm && pit->tickpolicy == VIR_DOMAIN_TIMER_TICKPOLICY_DISCARD)
        cmdlineAdd(ctx, "-global", "kvm-pit.lost_tick_policy=discard");
    return 0;
}

static int
qemuPartPm(cmdlineCtx *ctx)
{
    if (ctx->machine != MACHINE_Q35)
        return 0;
    if (ctx->def->pm.s3)
        cmdlineAdd(ctx, "-global", "ICH9-LPC.disable_s3=%d", ctx->def->pm.s3 == VIR_TRISTATE_BOOL_NO);
    if (ctx->def->pm.s4)
        cmdlineAdd(ctx, "-global", "ICH9-LPC.disable_s4=%d", ctx->def->pm.s4 == VIR_TRISTATE_BOOL_NO);
    return 0;
}

static int
qemuPartBoot(cmdlineCtx *ctx)
{
    const virDomainOSDef *os = &ctx->def->os;

    if (ctx->machine == MACHINE_Q35)
        cmdlineAdd(ctx, "-boot", "strict=on");
    if (os->kernel)
        cmdlineAdd(ctx, "-kernel", "%s", os->kernel);
    if (os->initrd)
        cmdlineAdd(ctx, "-initrd", "%s", os->initrd);
    if (os->cmdline)
        cmdlineAdd(ctx, "-append", "%s", os->cmdline);
    return 0;
}

static int
qemuPartEnd(cmdlineCtx *ctx)
{
    if (ctx->vmm->sandbox)
        cmdlineAdd(ctx, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    cmdlineAdd(ctx, "-msg", "timestamp=on");
    if (ctx->env->incomingUri)
        cmdlineAdd(ctx, "-incoming", "%s", ctx->env->incomingUri);
    else if (ctx->env->incoming)
        cmdlineAdd(ctx, "-incoming", "defer");
    return 0;
}

static int (*const qemuParts[])(cmdlineCtx *ctx) = {
    qemuPartName,
    qemuPartMachine,
    qemuPartCpu,
    qemuPartMemory,
    qemuPartControl,
    qemuPartClock,
    qemuPartPm,
    qemuPartBoot,
    qemuBuildDevices,
    qemuBuildChardevs,
    qemuPartEnd,
};

int
qemuBuild(cmdlineCtx *ctx)
{
    for (size_t i = 0; i < G_N_ELEMENTS(qemuParts); i++) {
        if (qemuParts[i](ctx) < 0)
            return -1;
    }
    return 0;
}

/* ---- places ------------------------------------------------------------------------------------------------------- */

/* The bus that a PCI controller makes has the name of the controller. */
static const char *
qemuBusName(const virDomainDef *def, unsigned int bus)
{
    for (size_t i = 0; bus > 0 && i < def->ncontrollers; i++) {
        const virDomainControllerDef *controller = def->controllers[i];

        if (controller->type == VIR_DOMAIN_CONTROLLER_TYPE_PCI && (unsigned int)controller->idx == bus)
            return controller->info.alias;
    }
    return "pcie.0";
}

char *
qemuDevicePlace(const cmdlineCtx *ctx, const char *driver, const virDomainDeviceInfo *info)
{
    const virPCIDeviceAddress *pci = &info->addr.pci;
    g_autoptr(GString) text = g_string_new(driver);

    g_string_append_printf(text, ",id=%s", info->alias);
    if ((ctx->machine & MACHINE_PCI) && info->type == VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI) {
        g_string_append_printf(text, ",bus=%s", qemuBusName(ctx->def, pci->bus));
        if (pci->multi == VIR_TRISTATE_SWITCH_ON)
            g_string_append(text, ",multifunction=on");
        g_string_append_printf(text, ",addr=0x%x", pci->slot);
        if (pci->function)
            g_string_append_printf(text, ".0x%x", pci->function);
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

char *
qemuVirtioPlace(const cmdlineCtx *ctx, const char *driver, const virDomainDeviceInfo *info)
{
    g_autofree char *full = g_strdup_printf("%s-%s", driver, ctx->machine == MACHINE_MICROVM ? "device" : "pci");

    return qemuDevicePlace(ctx, full, info);
}
