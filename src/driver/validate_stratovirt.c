/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * validate_stratovirt.c: what a definition for StratoVirt may say
 *
 * A row here promises that cmdline_stratovirt*.c writes the thing, or that it means nothing to a guest of StratoVirt (then
 * the row says so).  docs/domain-xml.rst lists the rows; a test compares.
 */
#include <config.h>

#include "driver/validate.h"

#include "driver/compat.h"
#include "base/gettext.h"

#define CHR_TYPES "type=pty|file|unix|tcp"
#define PCI_ADDRESS "type=pci domain bus slot function multifunction"
#define MMIO_ADDRESS "type=virtio-mmio"

#define MEMORY_MIN_KIB (128ULL * 1024)
#define MEMORY_MAX_KIB (512ULL * 1024 * 1024)
#define IOPS_MAX 1000000
#define QUEUES_MAX 32
#define NET_QUEUES_MAX 16      /* each is a queue for either direction */
#define MICROVM_DISKS 4
#define MICROVM_NETS 2

/* Where a device sits, and its name, if a user gave it one. */
#define ROWS_PLACE(device) \
    { "devices/" device "/alias", "name", NULL, 0 }, \
    { "devices/" device "/address", PCI_ADDRESS, NULL, MACHINE_PCI }, \
    { "devices/" device "/address", MMIO_ADDRESS, NULL, MACHINE_MICROVM }

/* What a console or serial port is connected to: its sockets only listen. */
#define ROWS_CHARDEV(device) \
    { "devices/" device "/source", "path mode=bind host service tls=no", NULL, 0 }, \
    { "devices/" device "/protocol", "type=raw", NULL, 0 }, \
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
    { "memoryBacking/hugepages", NULL, NULL, 0 },
    { "memoryBacking/source", "type=anonymous", NULL, 0 },
    { "memoryBacking/access", "mode=private|shared", NULL, 0 },
    { "memoryBacking/allocation", "mode=immediate|ondemand", NULL, 0 },
    { "vcpu", "placement=static", "*", 0 },
    { "iothreads", NULL, "*", 0 },
    { "iothreadids", NULL, NULL, 0 },
    { "iothreadids/iothread", "id", NULL, 0 },
    { "cpu", "mode=host-passthrough check=none migratable=on|off", NULL, 0 },
    { "cpu/topology", "sockets dies cores threads", NULL, 0 },
    { "resource", NULL, NULL, 0 },
    { "resource/partition", NULL, "/machine", 0 },

    /* ---- booting and the machine */
    { "os", NULL, NULL, 0 },
    { "os/type", "arch=x86_64|aarch64 machine", "hvm", 0 },
    { "os/loader", "readonly=yes type=pflash", "*", MACHINE_PCI },
    { "os/nvram", "template", "*", MACHINE_PCI },
    { "os/kernel", NULL, "*", 0 },
    { "os/initrd", NULL, "*", 0 },
    { "os/cmdline", NULL, "*", 0 },
    { "os/boot", "dev=hd|network", NULL, 0 },
    { "os/smbios", "mode=emulate", NULL, 0 },
    { "features", NULL, NULL, 0 },
    { "features/acpi", NULL, NULL, 0 },
    /* Every machine has both. */
    { "features/apic", NULL, NULL, 0 },
    { "features/pae", NULL, NULL, 0 },
    { "features/pmu", "state=on|off", NULL, MACHINE_VIRT },
    /* None has these. */
    { "features/pmu", "state=off", NULL, MACHINE_Q35 | MACHINE_MICROVM },
    { "features/vmport", "state=off", NULL, 0 },
    { "features/gic", "version=3", NULL, MACHINE_VIRT },
    { "clock", "offset=utc", NULL, 0 },
    { "clock/timer", "name=hpet present=no", NULL, 0 },
    /* The VMM ends with its guest. */
    { "on_poweroff", NULL, "destroy", 0 },
    { "on_reboot", NULL, "destroy|restart", 0 },
    /* It never tells of a crash, so nothing of this ever comes about. */
    { "on_crash", NULL, "destroy|restart|preserve", 0 },
    { "pm", NULL, NULL, 0 },
    { "pm/suspend-to-mem", "enabled=no", NULL, 0 },
    { "pm/suspend-to-disk", "enabled=no", NULL, 0 },
    { "seclabel", "type=none model", NULL, 0 },

    /* ---- disks */
    { "devices", NULL, NULL, 0 },
    { "devices/emulator", NULL, "*", 0 },
    { "devices/disk", "type=file|block device=disk snapshot=no|internal|external|manual", NULL, 0 },
    { "devices/disk/driver",
      "name=qemu type=raw|qcow2 cache=none|writeback io=native|threads|io_uring discard=unmap|ignore "
      "detect_zeroes=off|on|unmap queues queue_size iothread", NULL, MACHINE_PCI },
    { "devices/disk/driver",
      "name=qemu type=raw|qcow2 cache=none|writeback io=native|threads|io_uring discard=unmap|ignore "
      "detect_zeroes=off|on|unmap iothread", NULL, MACHINE_MICROVM },
    { "devices/disk/source", "file dev index", NULL, 0 },
    /* No image is ever relabelled. */
    { "devices/disk/source/seclabel", "model relabel=no", NULL, 0 },
    { "devices/disk/backingStore", NULL, NULL, 0 },
    { "devices/disk/target", "dev bus=virtio", NULL, 0 },
    { "devices/disk/iotune", NULL, NULL, 0 },
    { "devices/disk/iotune/total_iops_sec", NULL, "*", 0 },
    { "devices/disk/readonly", NULL, NULL, 0 },
    { "devices/disk/serial", NULL, "*", 0 },
    { "devices/disk/boot", "order", NULL, MACHINE_PCI },
    ROWS_PLACE("disk"),

    /* ---- controllers */
    { "devices/controller", "type=pci index=0 model=pcie-root", NULL, MACHINE_PCI },
    { "devices/controller", "type=pci index model=pcie-root-port", NULL, MACHINE_PCI },
    { "devices/controller", "type=usb index model=none", NULL, 0 },
    { "devices/controller", "type=usb index model=nec-xhci", NULL, MACHINE_PCI },
    { "devices/controller", "type=virtio-serial index=0 ports", NULL, 0 },
    { "devices/controller:pci/model", "name=pcie-root-port", NULL, MACHINE_PCI },
    { "devices/controller:pci/target", "chassis port hotplug=on", NULL, MACHINE_PCI },
    ROWS_PLACE("controller"),

    /* ---- interfaces */
    { "devices/interface", "type=ethernet|bridge|network", NULL, 0 },
    { "devices/interface/mac", "address", NULL, 0 },
    { "devices/interface/source", "bridge network portgroup portid", NULL, 0 },
    { "devices/interface/target", "dev managed=yes|no", NULL, 0 },
    { "devices/interface/model", "type=virtio", NULL, 0 },
    { "devices/interface/driver", "name=qemu queues", NULL, MACHINE_PCI },
    { "devices/interface/link", "state=up|down", NULL, 0 },
    { "devices/interface/port", "isolated=yes|no", NULL, 0 },
    { "devices/interface/bandwidth", NULL, NULL, 0 },
    { "devices/interface/bandwidth/inbound", "average peak burst floor", NULL, 0 },
    { "devices/interface/bandwidth/outbound", "average peak burst", NULL, 0 },
    ROWS_PLACE("interface"),

    /* ---- consoles and serial ports */
    { "devices/serial", CHR_TYPES, NULL, 0 },
    { "devices/serial/target", "type=isa-serial port=0", NULL, MACHINE_Q35 | MACHINE_MICROVM },
    { "devices/serial/target", "type=system-serial port=0", NULL, MACHINE_VIRT },
    { "devices/serial/target/model", "name=isa-serial", NULL, MACHINE_Q35 | MACHINE_MICROVM },
    { "devices/serial/target/model", "name=pl011", NULL, MACHINE_VIRT },
    ROWS_CHARDEV("serial"),
    { "devices/console", CHR_TYPES, NULL, 0 },
    { "devices/console/target", "type=serial|virtio port", NULL, 0 },
    { "devices/console/address", "type=virtio-serial controller=0 bus=0 port", NULL, 0 },
    ROWS_CHARDEV("console"),
    /* Ports have no names, so a guest cannot find one by its name. */
    { "devices/channel", CHR_TYPES, NULL, 0 },
    { "devices/channel/target", "type=virtio", NULL, 0 },
    { "devices/channel/address", "type=virtio-serial controller=0 bus=0 port", NULL, 0 },
    ROWS_CHARDEV("channel"),

    /* ---- the rest */
    /* Without graphics no key is ever pressed; tools write them for every guest. */
    { "devices/input", "type=mouse|keyboard bus=ps2", NULL, 0 },
    { "devices/input/alias", "name", NULL, 0 },
    { "devices/rng", "model=virtio", NULL, 0 },
    { "devices/rng/rate", "bytes period", NULL, 0 },
    { "devices/rng/backend", "model=random", "*", 0 },
    ROWS_PLACE("rng"),
    { "devices/memballoon", "model=virtio autodeflate=on|off freePageReporting=on|off", NULL, 0 },
    { "devices/memballoon", "model=none", NULL, 0 },
    ROWS_PLACE("memballoon"),
    { "devices/vsock", "model=virtio", NULL, MACHINE_PCI },
    { "devices/vsock/cid", "auto=yes|no address", NULL, MACHINE_PCI },
    ROWS_PLACE("vsock"),
    { "devices/audio", "id type=none", NULL, 0 },
    { "devices/video", NULL, NULL, 0 },
    { "devices/video/model", "type=none", NULL, 0 },
};

/* ---- what a row cannot say ------------------------------------------------------------------------------------- */

static int
checkBasics(const virDomainDef *def)
{
    machineKind machine = machineKindOf(def->os.machine);
    bool arm = def->os.arch == VIR_ARCH_AARCH64;

    if (def->virtType != VIR_DOMAIN_VIRT_KVM) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The value '%1$s' of the attribute 'type' of <domain> is not supported: StratoVirt runs guests only with KVM, type 'kvm'"),
                       virDomainVirtTypeToString(def->virtType));
        return -1;
    }
    if (def->os.type != VIR_DOMAIN_OSTYPE_HVM || (def->os.arch != VIR_ARCH_X86_64 && !arm)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("Guests of the kind '%1$s' with the architecture '%2$s' are not supported by StratoVirt; <os><type> must be 'hvm' with arch='x86_64' or arch='aarch64'"),
                       virDomainOSTypeToString(def->os.type), virArchToString(def->os.arch));
        return -1;
    }
    if (machine != MACHINE_MICROVM && STRNEQ(def->os.machine, arm ? "virt" : "q35")) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The machine '%1$s' in <os><type> is not supported by StratoVirt; with arch='%2$s' it may be 'microvm' or '%3$s'"),
                       NULLSTR(def->os.machine), virArchToString(def->os.arch), arm ? "virt" : "q35");
        return -1;
    }
    return 0;
}

static int
checkPath(const char *path, const char *element)
{
    if (!path || g_path_is_absolute(path))
        return 0;
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("The path '%1$s' in <os><%2$s> must be absolute"), path, element);
    return -1;
}

static int
checkBoot(const virDomainDef *def)
{
    const virDomainOSDef *os = &def->os;
    const char *nvram = os->loader && os->loader->nvram ? os->loader->nvram->path : NULL;

    if (checkPath(os->kernel, "kernel") < 0 || checkPath(os->initrd, "initrd") < 0 ||
        checkPath(os->loader ? os->loader->path : NULL, "loader") < 0 || checkPath(nvram, "nvram") < 0 ||
        checkPath(os->loader ? os->loader->nvramTemplate : NULL, "nvram template") < 0)
        return -1;
    if (!os->kernel && (os->initrd || os->cmdline)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("The elements <initrd> and <cmdline> of <os> mean nothing without <kernel>"));
        return -1;
    }
    if (!os->kernel && machineKindOf(os->machine) == MACHINE_MICROVM) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("A guest of the machine 'microvm' boots only from <os><kernel>, which is missing"));
        return -1;
    }
    if (!os->kernel && !os->loader) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("A guest of StratoVirt's machine '%1$s' needs <os><kernel> or <os><loader type='pflash'>, and has neither"),
                       os->machine);
        return -1;
    }
    if ((nvram || (os->loader && os->loader->nvramTemplate)) && !os->loader->path) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s", _("The element <nvram> of <os> means nothing without <loader>"));
        return -1;
    }
    return 0;
}

static int
checkMemory(const virDomainDef *def)
{
    unsigned long long kib = virDomainDefGetMemoryTotal(def);

    if (kib < MEMORY_MIN_KIB || kib > MEMORY_MAX_KIB) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The <memory> of a guest of StratoVirt must be from %1$llu to %2$llu KiB, not %3$llu KiB"),
                       MEMORY_MIN_KIB, MEMORY_MAX_KIB, kib);
        return -1;
    }
    if (def->mem.allocation == VIR_DOMAIN_MEMORY_ALLOCATION_IMMEDIATE && def->mem.nhugepages == 0) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("With StratoVirt, <allocation mode='immediate'> in <memoryBacking> is only for <hugepages>"));
        return -1;
    }
    return 0;
}

static int
checkCpu(const virDomainDef *def)
{
    const virCPUDef *cpu = def->cpu;

    if (!cpu || !cpu->sockets ||
        (size_t)cpu->sockets * cpu->dies * cpu->cores * cpu->threads == virDomainDefGetVcpusMax(def))
        return 0;
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("<cpu><topology> makes %1$u processors, but <vcpu> says %2$u"),
                   cpu->sockets * cpu->dies * cpu->cores * cpu->threads, virDomainDefGetVcpusMax(def));
    return -1;
}

/* A disk that goes through the host's cache is read and written in place or by threads. */
static int
checkDiskMode(const virDomainDiskDef *disk)
{
    if (disk->cachemode != VIR_DOMAIN_DISK_CACHE_WRITEBACK || disk->iomode == VIR_DOMAIN_DISK_IO_DEFAULT ||
        disk->iomode == VIR_DOMAIN_DISK_IO_THREADS)
        return 0;
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                   _("The disk '%1$s' has io='%2$s' in <driver>, which needs cache='none'"), disk->dst,
                   virDomainDiskIoTypeToString(disk->iomode));
    return -1;
}

static int
checkDisk(const virDomainDef *def, const virDomainDiskDef *disk)
{
    if (!disk->src->path || !g_path_is_absolute(disk->src->path)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The disk '%1$s' needs a <source> with an absolute path, not '%2$s'"),
                       disk->dst, NULLSTR(disk->src->path));
        return -1;
    }
    if (checkDiskMode(disk) < 0)
        return -1;
    if (disk->blkdeviotune.total_iops_sec > IOPS_MAX) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The disk '%1$s' has %2$llu in <total_iops_sec>; StratoVirt limits to %3$d at most"), disk->dst,
                       disk->blkdeviotune.total_iops_sec, IOPS_MAX);
        return -1;
    }
    if (disk->queues > QUEUES_MAX) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The disk '%1$s' has %2$u queues in <driver>; a disk of StratoVirt has %3$d at most"), disk->dst,
                       disk->queues, QUEUES_MAX);
        return -1;
    }
    if (disk->iothread && !virDomainIOThreadIDFind(def, disk->iothread)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The disk '%1$s' names the iothread %2$u, which <iothreads> does not have"), disk->dst,
                       disk->iothread);
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
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                   _("The interface '%1$s' has %2$u queues in <driver>; an interface of StratoVirt has %3$d at most"),
                   virMacAddrFormat(&net->mac, mac), net->driver.virtio.queues, NET_QUEUES_MAX);
    return -1;
}

static int
checkListens(const virDomainChrDef *chr, const char *kind)
{
    const virDomainChrSourceDef *source = chr->source;

    if ((source->type == VIR_DOMAIN_CHR_TYPE_TCP &&
         (!source->data.tcp.listen || !source->data.tcp.host || !source->data.tcp.service)) ||
        (source->type == VIR_DOMAIN_CHR_TYPE_UNIX && !source->data.nix.listen)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("A <%1$s type='%2$s'> of StratoVirt only listens: it needs <source mode='bind'> with where to"), kind,
                       virDomainChrTypeToString(source->type));
        return -1;
    }
    return 0;
}

static int
checkChardevs(const virDomainDef *def)
{
    if (def->nserials > 1) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("A guest of StratoVirt has one <serial>, not %1$zu"), def->nserials);
        return -1;
    }
    if (machineKindOf(def->os.machine) == MACHINE_MICROVM && def->nchannels > 0) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                       _("The element <channel> is not supported by guests of StratoVirt's machine 'microvm'"));
        return -1;
    }
    for (size_t i = 0; i < def->nserials; i++) {
        if (checkListens(def->serials[i], "serial") < 0)
            return -1;
    }
    for (size_t i = 0; i < def->nconsoles; i++) {
        if (i > 0 && def->consoles[i]->targetType != VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_VIRTIO) {
            virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                           _("Only the first <console> can have <target type='serial'>; the others are of the type 'virtio'"));
            return -1;
        }
        if (checkListens(def->consoles[i], "console") < 0)
            return -1;
    }
    for (size_t i = 0; i < def->nchannels; i++) {
        if (checkListens(def->channels[i], "channel") < 0)
            return -1;
    }
    return 0;
}

static int
checkMicrovm(const virDomainDef *def)
{
    if (machineKindOf(def->os.machine) != MACHINE_MICROVM)
        return 0;
    if (def->ndisks <= MICROVM_DISKS && def->nnets <= MICROVM_NETS)
        return 0;
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                   _("A guest of StratoVirt's machine 'microvm' has up to %1$d disks and %2$d interfaces, not %3$zu and %4$zu"),
                   MICROVM_DISKS, MICROVM_NETS, def->ndisks, def->nnets);
    return -1;
}

/* ---- public -------------------------------------------------------------------------------------------------------- */

const validateRow *
validateStratovirtRows(size_t *retCount)
{
    *retCount = G_N_ELEMENTS(rows);
    return rows;
}

int
validateStratovirt(const virDomainDef *def)
{
    if (checkBasics(def) < 0 ||
        validateRows(def, rows, G_N_ELEMENTS(rows)) < 0 ||
        checkBoot(def) < 0 || checkMemory(def) < 0 || checkCpu(def) < 0 || checkChardevs(def) < 0)
        return -1;
    for (size_t i = 0; i < def->ndisks; i++) {
        if (checkDisk(def, def->disks[i]) < 0)
            return -1;
    }
    for (size_t i = 0; i < def->nnets; i++) {
        if (checkNet(def->nets[i]) < 0)
            return -1;
    }
    return checkMicrovm(def);
}
