/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* options.c: the command line: one dash, lists of key=value with no key too many */
#include "standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_MIN (128 * MIB)
#define MEMORY_MAX (512 * 1024 * MIB)
#define VCPUS_MAX 254
#define NAME_MAX_BYTES 255
#define SOCKET_MAX_BYTES 108

static bool G_GNUC_PRINTF(1, 2)
wrong(const char *format, ...)
{
    va_list args;

    fputs("Error: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return false;
}

/* ---- key=value lists ------------------------------------------------------------------------ */

/* The first word may stand without a key. */
static GHashTable *
listSplit(const char *text, const char *firstKey)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    GHashTable *table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

    for (size_t i = 0; words[i]; i++) {
        char *equals = strchr(words[i], '=');

        if (equals)
            g_hash_table_replace(table, g_strndup(words[i], equals - words[i]), g_strdup(equals + 1));
        else if (i == 0 && firstKey)
            g_hash_table_replace(table, g_strdup(firstKey), g_strdup(words[i]));
        else
            g_hash_table_replace(table, g_strdup(words[i]), g_strdup(""));
    }
    return table;
}

static bool
listOnly(GHashTable *table, const char *option, const char *keys)
{
    g_auto(GStrv) known = g_strsplit(keys, " ", -1);
    GHashTableIter iter;
    gpointer key;

    g_hash_table_iter_init(&iter, table);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        if (!g_strv_contains((const char *const *)known, key))
            return wrong("unexpected argument '%s' of '-%s' found", (char *)key, option);
    }
    return true;
}

static const char *
get(GHashTable *table, const char *key)
{
    return g_hash_table_lookup(table, key);
}

static bool
boolean(const char *value, bool fallback, bool *ret)
{
    static const char *const yes[] = { "on", "yes", "true", NULL };
    static const char *const no[] = { "off", "no", "false", NULL };

    *ret = fallback;
    if (!value)
        return true;
    if (g_strv_contains(yes, value))
        *ret = true;
    else if (g_strv_contains(no, value))
        *ret = false;
    else
        return wrong("'%s' is neither on nor off", value);
    return true;
}

static bool
checkName(const char *option, const char *name)
{
    if (!name || !*name)
        return wrong("'-%s' needs an id", option);
    return strlen(name) <= NAME_MAX_BYTES || wrong("the id of '-%s' is too long", option);
}

/* ---- the options ---------------------------------------------------------------------------- */

static bool
optMachine(const char *value)
{
    g_autoptr(GHashTable) list = listSplit(value, "type");
    const char *type = get(list, "type");
    bool ignored;

    if (!listOnly(list, "machine", "type accel dump-guest-core mem-share usb gic-version"))
        return false;
    if (get(list, "usb") && (!boolean(get(list, "usb"), false, &ignored) || ignored))
        return wrong("Invalid value for 'usb'");
    vm.opt.machine = g_strdup(type ? type : "microvm");
    if (!g_str_equal(vm.opt.machine, "q35") && !g_str_equal(vm.opt.machine, "microvm") &&
        !g_str_equal(vm.opt.machine, "none"))
        return wrong("Unsupported machine type '%s'", vm.opt.machine);
    return true;
}

static bool
optCpu(const char *value)
{
    g_autoptr(GHashTable) list = listSplit(value, "model");

    return listOnly(list, "cpu", "model pmu sve kvm-steal-time") &&
        (g_strcmp0(get(list, "model"), "host") == 0 || wrong("The only cpu model is 'host'"));
}

static bool
optSmp(const char *value)
{
    g_autoptr(GHashTable) list = listSplit(value, "cpus");
    const char *cpus = get(list, "cpus");

    if (!listOnly(list, "smp", "cpus maxcpus sockets dies clusters cores threads"))
        return false;
    vm.opt.vcpus = cpus ? atoi(cpus) : 1;
    if (vm.opt.vcpus < 1 || vm.opt.vcpus > VCPUS_MAX)
        return wrong("Number of vcpu should be in [1, %d], not %s", VCPUS_MAX, cpus);
    return true;
}

static bool
optMemory(const char *value)
{
    g_autoptr(GHashTable) list = listSplit(value, "size");
    const char *size = get(list, "size");
    char *unit = NULL;

    if (!listOnly(list, "m", "size maxmem") || !size)
        return false;
    vm.opt.memory = g_ascii_strtoull(size, &unit, 10);
    switch (*unit) {
    case 'K':
        vm.opt.memory *= 1024;
        break;
    case '\0':
    case 'M':
        vm.opt.memory *= MIB;
        break;
    case 'G':
        vm.opt.memory *= 1024 * MIB;
        break;
    default:
        return wrong("Invalid unit in '%s'", size);
    }
    if (vm.opt.memory < MEMORY_MIN || vm.opt.memory > MEMORY_MAX)
        return wrong("Memory size %s is not in [128M, 512G]", size);
    return true;
}

static bool
optDrive(const char *value)
{
    g_autoptr(GHashTable) list = listSplit(value, NULL);
    const char *format = get(list, "format");
    bool readonly, flash;
    drive *d;

    if (!listOnly(list, "drive",
                  "id file format readonly direct aio media discard detect-zeroes throttling.iops-total "
                  "l2-cache-size refcount-cache-size if unit"))
        return false;
    if (!boolean(get(list, "readonly"), false, &readonly))
        return false;
    if (!get(list, "file") || !g_file_test(get(list, "file"), G_FILE_TEST_EXISTS))
        return wrong("Failed to open file '%s'", get(list, "file") ? get(list, "file") : "");
    flash = g_strcmp0(get(list, "if"), "pflash") == 0;
    vm.opt.flash = vm.opt.flash || flash;
    if (flash && !get(list, "unit"))
        return wrong("pflash needs a unit");
    if (format && !g_str_equal(format, "raw") && !g_str_equal(format, "qcow2"))
        return wrong("Unsupported format '%s'", format);
    if (!flash && !checkName("drive", get(list, "id")))
        return false;
    d = g_new0(drive, 1);
    d->fd = -1;
    d->flash = flash;
    d->id = g_strdup(flash ? "" : get(list, "id"));
    d->file = g_strdup(get(list, "file"));
    d->readonly = readonly;
    g_ptr_array_add(vm.opt.drives, d);
    return true;
}

/* Which keys each kind of device has; those on a PCI bus need bus and addr. */
static const struct {
    const char *kind, *keys;
    bool pci;
} deviceKinds[] = {
    { "virtio-blk-pci", "id drive bus addr serial bootindex iothread num-queues queue-size multifunction", true },
    { "virtio-net-pci", "id netdev bus addr mac mq queue-size vectors iothread multifunction", true },
    { "pcie-root-port", "id port bus addr multifunction chassis", true },
    { "virtio-serial-pci", "id bus addr max-ports max_ports multifunction", true },
    { "virtio-balloon-pci", "id bus addr deflate-on-oom free-page-reporting auto-balloon multifunction", true },
    { "virtio-rng-pci", "id rng max-bytes period bus addr multifunction", true },
    { "vhost-vsock-pci", "id guest-cid vhostfd bus addr multifunction", true },
    { "nec-usb-xhci", "id bus addr", true },
    { "virtconsole", "id chardev nr", false },
    { "virtserialport", "id chardev nr", false },
    { "virtio-blk-device", "id drive serial iothread", false },
    { "virtio-net-device", "id netdev mac iothread", false },
    { "virtio-serial-device", "id", false },
    { "virtio-balloon-device", "id deflate-on-oom free-page-reporting", false },
    { "virtio-rng-device", "id rng", false },
};

static GHashTable *chardevs;     /* id -> what vm.opt.serial wants */

/* What a console or a port is connected to; of a file or socket nothing comes. */
static bool
optPort(const char *id)
{
    const char *what = g_hash_table_lookup(chardevs, id);
    terminal *port;

    if (!what)
        return wrong("Chardev '%s' is not there", id);
    if (g_str_equal(what, "pty")) {
        port = g_new0(terminal, 1);
        port->id = g_strdup(id);
        port->fd = -1;
        port->line = g_string_new(NULL);
        g_ptr_array_add(vm.opt.terminals, port);
    }
    return true;
}

static bool
optDevice(const char *value)
{
    g_autoptr(GHashTable) list = listSplit(value, "driver");
    const char *kind = get(list, "driver");
    device *d;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(deviceKinds) && !g_str_equal(deviceKinds[i].kind, kind); i++)
        continue;
    if (i == G_N_ELEMENTS(deviceKinds))
        return wrong("Unsupported device '%s'", kind);
    g_hash_table_remove(list, "driver");
    if (!listOnly(list, "device", deviceKinds[i].keys) || !checkName("device", get(list, "id")))
        return false;
    if (get(list, vm.quirk->underscores ? "max-ports" : "max_ports"))
        return wrong("device '%s' has no such key in this version", kind);
    if (deviceKinds[i].pci && (!get(list, "bus") || !get(list, "addr")))
        return wrong("device '%s' needs bus and addr", kind);
    d = g_new0(device, 1);
    d->id = g_strdup(get(list, "id"));
    d->kind = g_strdup(deviceKinds[i].kind);
    d->bus = g_strdup(get(list, "bus"));
    d->addr = g_strdup(get(list, "addr"));
    d->drive = g_strdup(get(list, "drive"));
    d->netdev = g_strdup(get(list, "netdev"));
    g_ptr_array_add(vm.opt.devices, d);
    return !get(list, "chardev") || optPort(get(list, "chardev"));
}

static bool
optNetdev(const char *value)
{
    g_autoptr(GHashTable) list = listSplit(value, "type");

    if (!listOnly(list, "netdev", "type id ifname fd fds queues vhost vhostfd vhostfds chardev") ||
        !checkName("netdev", get(list, "id")))
        return false;
    netdevAdd(get(list, "id"), get(list, "fds") ? get(list, "fds") : get(list, "fd"));
    return true;
}

/* "server" and "nowait" are bare words here, and both are needed. */
static bool
serverSocket(GHashTable *list, const char *option)
{
    const char *path = get(list, "path");

    if (g_strcmp0(get(list, "server"), "") != 0 || g_strcmp0(get(list, "nowait"), "") != 0)
        return wrong("'-%s' socket: 'server' and 'nowait' are needed", option);
    return !path || strlen(path) <= SOCKET_MAX_BYTES || wrong("socket path is too long");
}

static bool
charFrom(GHashTable *list, const char *option, char **ret)
{
    const char *kind = get(list, "backend");

    if (g_str_equal(kind, "pty") || g_str_equal(kind, "stdio")) {
        *ret = g_strdup(kind);
    } else if (g_str_equal(kind, "file") && get(list, "path")) {
        *ret = g_strconcat("file:", get(list, "path"), NULL);
    } else if (g_str_equal(kind, "socket")) {
        if (!serverSocket(list, option))
            return false;
        *ret = g_strconcat("socket:", get(list, "path") ? get(list, "path") : "", NULL);
    } else {
        return wrong("'-%s': unknown backend '%s'", option, kind);
    }
    return true;
}

static bool
optChardev(const char *value)
{
    g_autoptr(GHashTable) list = listSplit(value, "backend");
    char *what = NULL;

    if (!listOnly(list, "chardev", "backend id path host port server nowait") ||
        !checkName("chardev", get(list, "id")) || !charFrom(list, "chardev", &what))
        return false;
    g_hash_table_replace(chardevs, g_strdup(get(list, "id")), what);
    return true;
}

static bool
optSerial(const char *value)
{
    g_autoptr(GHashTable) list = NULL;

    if (vm.opt.serial)
        return wrong("There can be only one serial port");
    /* It is looked at before any -chardev, wherever that stands. */
    if (g_str_has_prefix(value, "chardev:"))
        return wrong("Chardev \"%s\" not found or is in use", value + strlen("chardev:"));
    list = listSplit(value, "backend");
    vm.opt.serialId = g_strdup("serial_chardev");
    return listOnly(list, "serial", "backend path host port server nowait") && charFrom(list, "serial", &vm.opt.serial);
}

static bool
optQmp(const char *value)
{
    g_autoptr(GHashTable) list = listSplit(value, "uri");
    const char *uri = get(list, "uri");

    if (!listOnly(list, "qmp", "uri server nowait iothread") || !serverSocket(list, "qmp"))
        return false;
    if (!uri || !g_str_has_prefix(uri, "unix:"))
        return wrong("'-qmp': invalid uri '%s'", uri ? uri : "");
    g_ptr_array_add(vm.opt.qmp, g_strdup(uri + strlen("unix:")));
    return true;
}

static bool
optMon(const char *value)
{
    g_autoptr(GHashTable) list = listSplit(value, NULL);
    const char *id = get(list, "chardev");
    const char *what = id ? g_hash_table_lookup(chardevs, id) : NULL;

    if (!listOnly(list, "mon", "chardev id mode"))
        return false;
    if (!what || !g_str_has_prefix(what, "socket:"))
        return wrong("'-mon': no socket chardev '%s'", id ? id : "");
    g_ptr_array_add(vm.opt.qmp, g_strdup(what + strlen("socket:")));
    return true;
}

static bool
optFile(char **ret, const char *value)
{
    *ret = g_strdup(value);
    return g_file_test(value, G_FILE_TEST_IS_REGULAR) || wrong("'%s' is not a regular file", value);
}

static bool
optKernel(const char *value)
{
    return optFile(&vm.opt.kernel, value);
}

static bool
optInitrd(const char *value)
{
    return optFile(&vm.opt.initrd, value);
}

static bool
optAppend(const char *value)
{
    vm.opt.append = g_strdup(value);
    return true;
}

static bool
optIncoming(const char *value)
{
    vm.opt.incoming = g_strdup(value);
    return true;
}

static bool
optIgnored(const char *value G_GNUC_UNUSED)
{
    return true;
}

static bool
optFreeze(const char *value G_GNUC_UNUSED)
{
    return vm.opt.freeze = true;
}

static bool
optNoSeccomp(const char *value G_GNUC_UNUSED)
{
    return vm.opt.disableSeccomp = true;
}

static const struct {
    const char *name;
    bool hasValue;
    bool (*take)(const char *value);
} rows[] = {
    { "machine", true, optMachine }, { "accel", true, optIgnored }, { "cpu", true, optCpu },
    { "smp", true, optSmp }, { "m", true, optMemory }, { "kernel", true, optKernel },
    { "initrd", true, optInitrd }, { "append", true, optAppend }, { "drive", true, optDrive },
    { "device", true, optDevice }, { "netdev", true, optNetdev }, { "chardev", true, optChardev },
    { "serial", true, optSerial }, { "qmp", true, optQmp }, { "mon", true, optMon },
    { "incoming", true, optIncoming }, { "name", true, optIgnored }, { "uuid", true, optIgnored },
    { "object", true, optIgnored }, { "global", true, optIgnored }, { "smbios", true, optIgnored },
    { "numa", true, optIgnored }, { "mem-path", true, optIgnored }, { "mem-prealloc", false, optIgnored },
    { "S", false, optFreeze }, { "freeze", false, optFreeze }, { "disable-seccomp", false, optNoSeccomp },
    { "no-shutdown", false, optIgnored }, { "no-user-config", false, optIgnored },
    { "nodefaults", false, optIgnored }, { "sandbox", true, optIgnored }, { "msg", true, optIgnored },
    { "rtc", true, optIgnored }, { "boot", true, optIgnored }, { "nographic", false, optIgnored },
    { "overcommit", true, optIgnored }, { "usb", false, optIgnored }, { "display", true, optIgnored },
};

/* What must be there, and what must go together. */
static bool
optionsCheck(void)
{
    bool none = g_str_equal(vm.opt.machine, "none");
    unsigned disks = 0;

    if (vm.opt.qmp->len == 0)
        return wrong("A control socket is needed");
    if (none)
        return true;
    for (guint i = 0; i < vm.opt.drives->len; i++)
        disks += !((const drive *)g_ptr_array_index(vm.opt.drives, i))->flash;
    if (!vm.opt.initrd && disks == 0 && g_hash_table_size(chardevs) == 0)
        return wrong("Before run a guest, at least an initrd, a drive or a chardev is needed");
    if (g_str_equal(vm.opt.machine, "microvm") && !vm.opt.kernel)
        return wrong("kernel file is required for microvm machine type");
    if (g_str_equal(vm.opt.machine, "q35") && !vm.opt.flash && (!vm.opt.kernel || vm.quirk->needsFlash))
        return wrong("q35 needs a pflash%s", vm.quirk->needsFlash ? "" : " or a kernel");
    /* listen(2) is not on the list of allowed system calls. */
    if (vm.opt.incoming && !vm.opt.disableSeccomp)
        return wrong("Bad system call: 50");
    return true;
}

bool
optionsParse(int argc, char **argv)
{
    chardevs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    vm.opt.machine = g_strdup("microvm");
    vm.opt.vcpus = 1;
    vm.opt.memory = 256 * MIB;
    vm.opt.qmp = g_ptr_array_new();
    vm.opt.terminals = g_ptr_array_new();
    vm.opt.devices = g_ptr_array_new();
    vm.opt.drives = g_ptr_array_new();
    for (int at = 1; at < argc; at++) {
        const char *name = argv[at];
        size_t i;

        for (i = 0; i < G_N_ELEMENTS(rows); i++) {
            if (name[0] == '-' && g_str_equal(rows[i].name, name + 1))
                break;
        }
        if (i == G_N_ELEMENTS(rows))
            return wrong("unexpected argument '%s' found", name);
        if (rows[i].hasValue && at + 1 == argc)
            return wrong("'%s' needs a value", name);
        if (!rows[i].take(rows[i].hasValue ? argv[++at] : NULL))
            return false;
    }
    return optionsCheck();
}
