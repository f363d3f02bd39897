/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * validate_qemu.c: what a definition for QEMU may say
 *
 * A row here promises that cmdline_qemu*.c writes the thing, or that it means nothing to a guest without graphics (then
 * the row says so).  docs/domain-xml.rst lists the rows; a test compares.
 */
#include <config.h>

#include "driver/validate.h"

#include "driver/address.h"
#include "driver/compat.h"
#include "base/gettext.h"

/* The kernel gives a tap no more. */
#define NET_QUEUES_MAX 256
#define CHR_TYPES "type=pty|file|unix|tcp|null|dev|pipe"
#define PCI_ADDRESS "type=pci domain bus slot function multifunction"
#define MMIO_ADDRESS "type=virtio-mmio"

/* Where a device sits, and its name, if a user gave it one. */
#define ROWS_PLACE(device) \
    { "devices/" device "/alias", "name", NULL, 0 }, \
    { "devices/" device "/address", PCI_ADDRESS, NULL, MACHINE_Q35 }, \
    { "devices/" device "/address", MMIO_ADDRESS, NULL, MACHINE_MICROVM }

/* What a console, serial port or channel is connected to. */
#define ROWS_CHARDEV(device) \
    { "devices/" device "/source", "path mode=bind|connect host service append=on|off tls=no", NULL, 0 }, \
    { "devices/" device "/source/reconnect", "enabled=yes|no timeout", NULL, 0 }, \
    { "devices/" device "/protocol", "type=raw|telnet", NULL, 0 }, \
    { "devices/" device "/log", "file append=on|off", NULL, 0 }, \
    { "devices/" device "/alias", "name", NULL, 0 }

static const validateRow rows[] = {
    /* ---- what it is called */
    { "name", NULL, "*", 0 },
    { "uuid", NULL, "*", 0 },
    { "title", NULL, "*", 0 },
    { "description", NULL, "*", 0 },
    { "metadata/**", NULL, NULL, 0 },
    { "metadata", NULL, NULL, 0 },

    /* ---- memory and processors */
    { "memory", "unit dumpCore=on|off", "*", 0 },
    { "currentMemory", "unit", "*", 0 },
    { "memoryBacking", NULL, NULL, 0 },
    { "memoryBacking/nosharepages", NULL, NULL, 0 },
    { "memoryBacking/locked", NULL, NULL, 0 },
    { "memoryBacking/source", "type=anonymous|memfd", NULL, 0 },
    { "memoryBacking/access", "mode=private|shared", NULL, 0 },
    { "memoryBacking/allocation", "mode=immediate|ondemand threads", NULL, 0 },
    { "vcpu", "placement=static", "*", MACHINE_MICROVM },
    { "vcpu", "placement=static current", "*", MACHINE_Q35 },
    { "cpu", "mode=custom|host-model|host-passthrough|maximum match=exact check=none|partial|full migratable=on|off",
      NULL, 0 },
    { "cpu/model", "fallback=allow|forbid", "*", 0 },
    { "cpu/vendor", NULL, "*", 0 },
    { "cpu/topology", "sockets dies cores threads", NULL, 0 },
    { "cpu/feature", "policy=force|require|optional|disable|forbid name", NULL, 0 },
    /* The one that libvirt's QEMU driver writes by itself; guests are in no cgroup of their own. */
    { "resource", NULL, NULL, 0 },
    { "resource/partition", NULL, "/machine", 0 },

    /* ---- booting and the machine */
    { "os", NULL, NULL, 0 },
    { "os/type", "arch=x86_64 machine", "hvm", 0 },
    { "os/kernel", NULL, "*", 0 },
    { "os/initrd", NULL, "*", 0 },
    { "os/cmdline", NULL, "*", 0 },
    { "os/boot", "dev=hd|network", NULL, 0 },
    { "os/bootmenu", "enable=no", NULL, 0 },
    { "os/smbios", "mode=emulate", NULL, 0 },
    { "features", NULL, NULL, 0 },
    { "features/acpi", NULL, NULL, 0 },
    /* Every machine of ours has both. */
    { "features/apic", NULL, NULL, 0 },
    { "features/pae", NULL, NULL, 0 },
    { "features/pmu", "state=on|off", NULL, 0 },
    { "features/vmport", "state=on|off", NULL, MACHINE_Q35 },
    /* microvm never has the VMware port. */
    { "features/vmport", "state=off", NULL, MACHINE_MICROVM },
    { "features/smm", "state=on|off", NULL, MACHINE_Q35 },
    { "features/ioapic", "driver=kvm|qemu", NULL, MACHINE_Q35 },
    { "features/kvm", NULL, NULL, 0 },
    { "features/kvm/hidden", "state=on|off", NULL, 0 },
    { "clock", "offset=utc|localtime|absolute start", NULL, 0 },
    { "clock/timer", "name=rtc tickpolicy=delay|catchup present=yes", NULL, 0 },
    { "clock/timer", "name=pit tickpolicy=delay|discard present=yes", NULL, 0 },
    { "clock/timer", "name=hpet present=yes|no", NULL, MACHINE_Q35 },
    { "clock/timer", "name=hpet present=no", NULL, MACHINE_MICROVM },
    { "clock/timer", "name=kvmclock present=yes|no", NULL, 0 },
    { "on_poweroff", NULL, "destroy|restart|preserve", 0 },
    { "on_reboot", NULL, "destroy|restart", 0 },
    { "on_crash", NULL, "destroy|restart|preserve", 0 },
    { "pm", NULL, NULL, 0 },
    { "pm/suspend-to-mem", "enabled=yes|no", NULL, MACHINE_Q35 },
    { "pm/suspend-to-disk", "enabled=yes|no", NULL, MACHINE_Q35 },
    /* microvm has no sleep states. */
    { "pm/suspend-to-mem", "enabled=no", NULL, MACHINE_MICROVM },
    { "pm/suspend-to-disk", "enabled=no", NULL, MACHINE_MICROVM },
    { "seclabel", "type=none model", NULL, 0 },

    /* ---- disks */
    { "devices", NULL, NULL, 0 },
    { "devices/emulator", NULL, "*", 0 },
    { "devices/disk", "type=file|block device=disk snapshot=no|internal|external|manual", NULL, 0 },
    { "devices/disk/driver",
      "name=qemu type=raw|qcow2 cache=none|writethrough|writeback|directsync|unsafe io=native|threads|io_uring "
      "error_policy=stop|report|ignore|enospace rerror_policy=stop|report|ignore "
      "discard=unmap|ignore detect_zeroes=off|on|unmap queues", NULL, 0 },
    { "devices/disk/source", "file dev index", NULL, 0 },
    /* No image is ever relabelled. */
    { "devices/disk/source/seclabel", "model relabel=no", NULL, 0 },
    { "devices/disk/backingStore", NULL, NULL, 0 },
    { "devices/disk/blockio", "logical_block_size physical_block_size", NULL, 0 },
    { "devices/disk/target", "dev bus=virtio", NULL, 0 },
    { "devices/disk/readonly", NULL, NULL, 0 },
    { "devices/disk/shareable", NULL, NULL, 0 },
    { "devices/disk/serial", NULL, "*", 0 },
    { "devices/disk/boot", "order", NULL, 0 },
    ROWS_PLACE("disk"),

    /* ---- controllers */
    { "devices/controller", "type=pci index=0 model=pcie-root", NULL, MACHINE_Q35 },
    { "devices/controller", "type=pci index model=pcie-root-port", NULL, MACHINE_Q35 },
    { "devices/controller", "type=usb index model=none", NULL, 0 },
    /* The machine's own, which has a fixed number of ports; nothing can be plugged into any of ours anyway. */
    { "devices/controller", "type=usb index=0 model=qemu-xhci ports", NULL, MACHINE_MICROVM },
    { "devices/controller",
      "type=usb index model=qemu-xhci|nec-xhci|ich9-ehci1|ich9-uhci1|ich9-uhci2|ich9-uhci3 ports", NULL, MACHINE_Q35 },
    /* Part of the machine. */
    { "devices/controller", "type=sata index=0", NULL, MACHINE_Q35 },
    { "devices/controller", "type=virtio-serial index ports vectors", NULL, 0 },
    { "devices/controller:pci/model", "name=pcie-root-port|ioh3420", NULL, MACHINE_Q35 },
    { "devices/controller:pci/target", "chassis port hotplug=on", NULL, MACHINE_Q35 },
    { "devices/controller:usb/master", "startport", NULL, MACHINE_Q35 },
    ROWS_PLACE("controller"),

    /* ---- interfaces */
    { "devices/interface", "type=ethernet|bridge|network", NULL, 0 },
    { "devices/interface/mac", "address", NULL, 0 },
    { "devices/interface/source", "bridge network portgroup portid", NULL, 0 },
    { "devices/interface/target", "dev managed=yes|no", NULL, 0 },
    { "devices/interface/model", "type=virtio", NULL, 0 },
    { "devices/interface/driver", "name=qemu queues", NULL, MACHINE_Q35 },
    { "devices/interface/mtu", "size", NULL, 0 },
    { "devices/interface/link", "state=up|down", NULL, 0 },
    { "devices/interface/port", "isolated=yes|no", NULL, 0 },
    { "devices/interface/bandwidth", NULL, NULL, 0 },
    { "devices/interface/bandwidth/inbound", "average peak burst floor", NULL, 0 },
    { "devices/interface/bandwidth/outbound", "average peak burst", NULL, 0 },
    { "devices/interface/boot", "order", NULL, 0 },
    ROWS_PLACE("interface"),

    /* ---- consoles, serial ports, channels */
    { "devices/serial", CHR_TYPES, NULL, 0 },
    { "devices/serial/target", "type=isa-serial port", NULL, 0 },
    { "devices/serial/target/model", "name=isa-serial", NULL, 0 },
    ROWS_CHARDEV("serial"),
    { "devices/console", CHR_TYPES, NULL, 0 },
    { "devices/console/target", "type=serial|virtio port", NULL, 0 },
    { "devices/console/address", "type=virtio-serial controller bus=0 port", NULL, 0 },
    ROWS_CHARDEV("console"),
    { "devices/channel", CHR_TYPES, NULL, 0 },
    { "devices/channel/target", "type=virtio name", NULL, 0 },
    { "devices/channel/address", "type=virtio-serial controller bus=0 port", NULL, 0 },
    ROWS_CHARDEV("channel"),

    /* ---- the rest */
    /* Always there on q35; libvirt's QEMU driver writes them for every guest, so microvm takes the words, too: without
     * graphics no key is ever pressed. */
    { "devices/input", "type=mouse|keyboard bus=ps2", NULL, 0 },
    { "devices/input/alias", "name", NULL, 0 },
    { "devices/rng", "model=virtio", NULL, 0 },
    { "devices/rng/rate", "bytes period", NULL, 0 },
    { "devices/rng/backend", "model=random", "*", 0 },
    { "devices/rng/backend", "model=builtin", NULL, 0 },
    ROWS_PLACE("rng"),
    { "devices/memballoon", "model=virtio autodeflate=on|off freePageReporting=on|off", NULL, 0 },
    { "devices/memballoon", "model=none", NULL, 0 },
    { "devices/memballoon/stats", "period", NULL, 0 },
    ROWS_PLACE("memballoon"),
    { "devices/watchdog", "model=itco|i6300esb action=reset|shutdown|poweroff|pause|none|inject-nmi", NULL, MACHINE_Q35 },
    ROWS_PLACE("watchdog"),
    { "devices/panic", "model=isa", NULL, MACHINE_Q35 },
    { "devices/panic/alias", "name", NULL, MACHINE_Q35 },
    { "devices/audio", "id type=none", NULL, 0 },
    { "devices/video", NULL, NULL, 0 },
    { "devices/video/model", "type=none", NULL, 0 },
};

/* ---- what a row cannot say ------------------------------------------------------------------------------------- */

static int
checkBasics(const virDomainDef *def)
{
    if (def->virtType != VIR_DOMAIN_VIRT_KVM && def->virtType != VIR_DOMAIN_VIRT_QEMU) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The value '%1$s' of the attribute 'type' of <domain> is not supported; it may be 'kvm' or, without KVM, 'qemu'"),
                       virDomainVirtTypeToString(def->virtType));
        return -1;
    }
    if (def->os.type != VIR_DOMAIN_OSTYPE_HVM || def->os.arch != VIR_ARCH_X86_64) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("Guests of the kind '%1$s' with the architecture '%2$s' are not supported; <os><type arch='x86_64'> must be 'hvm'"),
                       virDomainOSTypeToString(def->os.type), virArchToString(def->os.arch));
        return -1;
    }
    if (!(machineKindOf(def->os.machine) & (MACHINE_MICROVM | MACHINE_Q35))) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The machine '%1$s' in <os><type> is not supported; it may be 'microvm', 'q35' or a version of q35 such as 'pc-q35-7.2'"),
                       NULLSTR(def->os.machine));
        return -1;
    }
    return 0;
}

static int
checkBoot(const virDomainDef *def)
{
    if (!def->os.kernel && (def->os.initrd || def->os.cmdline)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("The elements <initrd> and <cmdline> of <os> mean nothing without <kernel>"));
        return -1;
    }
    if (!def->os.kernel && machineKindOf(def->os.machine) == MACHINE_MICROVM) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("A guest of the machine 'microvm' boots only from <os><kernel>, which is missing"));
        return -1;
    }
    if (def->os.kernel && !g_path_is_absolute(def->os.kernel)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("The path '%1$s' in <os><kernel> must be absolute"),
                       def->os.kernel);
        return -1;
    }
    if (def->os.initrd && !g_path_is_absolute(def->os.initrd)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("The path '%1$s' in <os><initrd> must be absolute"),
                       def->os.initrd);
        return -1;
    }
    return 0;
}

static int
checkCpu(const virDomainDef *def)
{
    const virCPUDef *cpu = def->cpu;
    bool kvm = def->virtType == VIR_DOMAIN_VIRT_KVM;

    if (!kvm && def->features[VIR_DOMAIN_FEATURE_IOAPIC] != VIR_DOMAIN_IOAPIC_NONE) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("The element <ioapic> of <features> is only for <domain type='kvm'>"));
        return -1;
    }
    if (!cpu)
        return 0;
    if (!kvm && cpu->mode == VIR_CPU_MODE_HOST_PASSTHROUGH) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("<cpu mode='host-passthrough'> is only for <domain type='kvm'>; without KVM there is 'maximum'"));
        return -1;
    }
    if (cpu->sockets &&
        (size_t)cpu->sockets * cpu->dies * cpu->cores * cpu->threads != virDomainDefGetVcpusMax(def)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("<cpu><topology> makes %1$u processors, but <vcpu> says %2$u"),
                       cpu->sockets * cpu->dies * cpu->cores * cpu->threads, virDomainDefGetVcpusMax(def));
        return -1;
    }
    return 0;
}

static int
checkDisk(const virDomainDiskDef *disk)
{
    bool direct = disk->cachemode == VIR_DOMAIN_DISK_CACHE_DISABLE ||
                  disk->cachemode == VIR_DOMAIN_DISK_CACHE_DIRECTSYNC;

    if (!disk->src->path || !g_path_is_absolute(disk->src->path)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The disk '%1$s' needs a <source> with an absolute path, not '%2$s'"),
                       disk->dst, NULLSTR(disk->src->path));
        return -1;
    }
    if (disk->iomode == VIR_DOMAIN_DISK_IO_NATIVE && !direct) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The disk '%1$s' has io='native' in <driver>, which needs cache='none' or cache='directsync'"),
                       disk->dst);
        return -1;
    }
    if (disk->src->readonly && disk->detect_zeroes > VIR_DOMAIN_DISK_DETECT_ZEROES_OFF) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The disk '%1$s' is read-only, so detect_zeroes in <driver> means nothing"), disk->dst);
        return -1;
    }
    return 0;
}

static int
checkNet(const virDomainNetDef *net)
{
    char mac[VIR_MAC_STRING_BUFLEN];

    if (net->driver.virtio.queues <= NET_QUEUES_MAX)
        return 0;
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("The interface '%1$s' has %2$u queues in <driver>; it may have %3$d at most"),
                   virMacAddrFormat(&net->mac, mac), net->driver.virtio.queues, NET_QUEUES_MAX);
    return -1;
}

static int
checkSource(const virDomainChrSourceDef *source, const char *kind)
{
    if (source->type == VIR_DOMAIN_CHR_TYPE_TCP && (!source->data.tcp.host || !source->data.tcp.service)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("A <%1$s type='tcp'> needs host and service in <source>"), kind);
        return -1;
    }
    if ((source->type == VIR_DOMAIN_CHR_TYPE_TCP && source->data.tcp.listen &&
         source->data.tcp.reconnect.enabled != VIR_TRISTATE_BOOL_ABSENT) ||
        (source->type == VIR_DOMAIN_CHR_TYPE_UNIX && source->data.nix.listen &&
         source->data.nix.reconnect.enabled != VIR_TRISTATE_BOOL_ABSENT)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The <reconnect> of a <%1$s> is only for a <source mode='connect'>"), kind);
        return -1;
    }
    return 0;
}

static int
checkChardevs(const virDomainDef *def)
{
    /* The first console may be the first serial port under another name. */
    for (size_t i = 1; i < def->nconsoles; i++) {
        if (def->consoles[i]->targetType != VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_VIRTIO) {
            virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                           _("Only the first <console> can have <target type='serial'>; the others are of the type 'virtio'"));
            return -1;
        }
    }
    if (def->nserials > 4) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("A guest has up to 4 ISA serial ports, not %1$zu"), def->nserials);
        return -1;
    }
    for (size_t i = 0; i < def->nserials; i++) {
        if (checkSource(def->serials[i]->source, "serial") < 0)
            return -1;
    }
    for (size_t i = 0; i < def->nconsoles; i++) {
        if (checkSource(def->consoles[i]->source, "console") < 0)
            return -1;
    }
    for (size_t i = 0; i < def->nchannels; i++) {
        if (checkSource(def->channels[i]->source, "channel") < 0)
            return -1;
    }
    return 0;
}

/* microvm has a transport for each pin of its interrupt controllers: KVM has one of these, TCG two. */
static int
checkMmio(const virDomainDef *def)
{
    size_t count = addrCountMmio(def);
    size_t max = def->virtType == VIR_DOMAIN_VIRT_KVM ? 8 : 24;

    if (machineKindOf(def->os.machine) != MACHINE_MICROVM || count <= max)
        return 0;
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                   _("A guest of the machine 'microvm' has up to %1$zu virtio devices, but there are %2$zu (controllers and <memballoon> count)"),
                   max, count);
    return -1;
}

const validateRow *
validateQemuRows(size_t *retCount)
{
    *retCount = G_N_ELEMENTS(rows);
    return rows;
}

int
validateQemu(const virDomainDef *def)
{
    if (checkBasics(def) < 0 ||
        validateRows(def, rows, G_N_ELEMENTS(rows)) < 0 ||
        checkBoot(def) < 0 || checkCpu(def) < 0 || checkChardevs(def) < 0)
        return -1;
    for (size_t i = 0; i < def->ndisks; i++) {
        if (checkDisk(def->disks[i]) < 0)
            return -1;
    }
    for (size_t i = 0; i < def->nnets; i++) {
        if (checkNet(def->nets[i]) < 0)
            return -1;
    }
    return checkMmio(def);
}
