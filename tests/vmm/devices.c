/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * devices.c: devices that come and go, and the memory balloon
 *
 * Theory of operation: what the VMM has are the lists of vm.opt, by 'lock'.  What the "guest" knows of them is in its memory: the sum
 * of the names of all devices that it uses.  It takes notice of a device that comes, and lets go of one that is to go, while it
 * runs; a guest that finds itself among other devices than it knows, on arrival, counts that as damage.
 */
#define _GNU_SOURCE
#include "standin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static GMutex lock;
static GHashTable *netdevs;      /* id -> names of descriptors, "" if none */
static GHashTable *descriptors;  /* name -> descriptor, of getfd */
static uint64_t balloonTarget;   /* bytes; 0: none was ever set */
static uint64_t balloonActual;   /* 0: all memory */
static bool balloonAwake;        /* the guest has its driver */

static bool
refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool
refuse(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    *error = g_error_new_valist(STANDIN_ERROR, 0, format, args);
    va_end(args);
    return false;
}

static const char *
text(JsonObject *object, const char *name)
{
    return object ? json_object_get_string_member_with_default(object, name, NULL) : NULL;
}

/* ---- lists ---------------------------------------------------------------------------------- */

static device *
deviceFind(const char *id)
{
    for (guint i = 0; i < vm.opt.devices->len; i++) {
        device *d = g_ptr_array_index(vm.opt.devices, i);

        if (g_strcmp0(d->id, id) == 0)
            return d;
    }
    return NULL;
}

static drive *
driveFind(const char *id)
{
    for (guint i = 0; i < vm.opt.drives->len; i++) {
        drive *d = g_ptr_array_index(vm.opt.drives, i);

        if (g_strcmp0(d->id, id) == 0)
            return d;
    }
    return NULL;
}

uint64_t
devicesName(const device *d)
{
    g_autofree char *name = g_strdup_printf("%s/%s/%s/%s", d->kind, d->bus ? d->bus : "", d->addr ? d->addr : "", d->id);

    return (uint64_t)g_str_hash(name) << 16;
}

uint64_t
devicesKnown(void)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
    uint64_t sum = 0;

    for (guint i = 0; i < vm.opt.devices->len; i++) {
        const device *d = g_ptr_array_index(vm.opt.devices, i);

        if (d->seen)
            sum += devicesName(d);
    }
    return sum;
}

void
devicesBoot(void)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);

    for (guint i = 0; i < vm.opt.devices->len; i++)
        ((device *)g_ptr_array_index(vm.opt.devices, i))->seen = true;
}

void
netdevAdd(const char *id, const char *names)
{
    if (!netdevs)
        netdevs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    g_hash_table_replace(netdevs, g_strdup(id), g_strdup(names ? names : ""));
}

/* With its device; without one nothing ever does. */
static void
netdevClose(const char *id)
{
    const char *names = netdevs && id ? g_hash_table_lookup(netdevs, id) : NULL;
    g_auto(GStrv) list = g_strsplit(names ? names : "", ":", -1);

    for (size_t i = 0; list[i]; i++) {
        if (descriptors && g_hash_table_contains(descriptors, list[i]))
            close(GPOINTER_TO_INT(g_hash_table_lookup(descriptors, list[i])));
        else if (g_ascii_isdigit(*list[i]))
            close(atoi(list[i]));
    }
}

static bool
netdevIs(const char *id)
{
    return netdevs && id && g_hash_table_contains(netdevs, id);
}

static uint64_t
balloonNow(void)
{
    return balloonActual ? balloonActual : vm.opt.memory;
}

/* ---- what the guest does, in the vCPU's thread ------------------------------------------------ */

static void
balloonWork(void)
{
    JsonObject *data;

    balloonAwake = true;
    if (!balloonTarget || balloonTarget == balloonNow())
        return;
    balloonActual = balloonTarget;
    data = json_object_new();
    json_object_set_int_member(data, "actual", (gint64)balloonActual);
    qmpEvent("BALLOON_CHANGED", data);
}

static void
sayGone(const char *id)
{
    JsonObject *data = json_object_new();
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", id);

    json_object_set_string_member(data, "device", id);
    json_object_set_string_member(data, "path", path);
    qmpEvent("DEVICE_DELETED", data);
}

uint64_t
devicesWork(uint64_t known, void (*say)(const char *what, const device *d))
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
    gint64 now = g_get_monotonic_time();

    balloonWork();
    for (guint i = vm.opt.devices->len; i-- > 0;) {
        device *d = g_ptr_array_index(vm.opt.devices, i);

        if (!d->seen) {
            d->seen = true;
            known += devicesName(d);
            say("comes", d);
        }
        if (d->leaving && !d->blinksUntilUs)
            d->blinksUntilUs = now + vm.unplugMs * 1000LL;
        if (d->leaving && now >= d->blinksUntilUs) {
            known -= devicesName(d);
            say("goes", d);
            netdevClose(d->netdev);
            sayGone(d->id);
            g_ptr_array_remove_index(vm.opt.devices, i);
        }
    }
    return known;
}

/* ---- drives ----------------------------------------------------------------------------------- */

/* Taken at once while the guest runs. */
static bool
driveOpen(drive *d, bool direct, GError **error)
{
    for (guint i = 0; i < vm.opt.drives->len; i++) {
        const drive *other = g_ptr_array_index(vm.opt.drives, i);

        if (g_str_equal(other->file, d->file) && !(other->readonly && d->readonly))
            return refuse(error, "Failed to add drive %s, file can only be shared with read_only. "
                          "Is it used more than once or another process using the same file?", d->file);
    }
    d->fd = open(d->file, (d->readonly ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) | O_CLOEXEC);
    if (d->fd < 0)
        return refuse(error, "Failed to open the file for block %s: %s", d->file, g_strerror(errno));
    return vm.run != RUN_RUNNING || guestLockDisk(d, error);
}

static void
driveFree(drive *d)
{
    if (d->fd >= 0)
        close(d->fd);
    g_free(d->id);
    g_free(d->file);
    g_free(d);
}

bool
cmdBlockdevAdd(JsonObject *arguments, char **ret G_GNUC_UNUSED, GError **error)
{
    static const char *const engines[] = { "off", "native", "iouring", "threads", "Off", "Native", "IoUring", "Threads", NULL };
    JsonObject *file = arguments && json_object_has_member(arguments, "file") ?
        json_object_get_object_member(arguments, "file") : NULL;
    JsonObject *cache = arguments && json_object_has_member(arguments, "cache") ?
        json_object_get_object_member(arguments, "cache") : NULL;
    bool direct = !cache || json_object_get_boolean_member_with_default(cache, "direct", TRUE);
    const char *aio = file ? json_object_get_string_member_with_default(file, "aio", "off") : "off";
    const char *format = text(arguments, "driver");
    const char *id = text(arguments, "node-name");
    drive *d;

    if (!id || !file || !text(file, "filename") || !text(file, "driver"))
        return refuse(error, "missing field `%s`", id ? "file" : "node-name");
    if (!g_strv_contains(engines, aio))
        return refuse(error, "unknown variant `%s`", aio);
    if (!direct)
        aio = "off";
    else if (g_ascii_strcasecmp(aio, "off") == 0)
        return refuse(error, "Invalid parameter aio: low performance expected when use sync io with \"direct\" on");
    if (format && !g_str_equal(format, "raw") && !g_str_equal(format, "qcow2"))
        return refuse(error, "Unsupported format '%s'", format);
    if (!g_file_test(text(file, "filename"), G_FILE_TEST_EXISTS))
        return refuse(error, "Failed to get metadata of %s", text(file, "filename"));
    d = g_new0(drive, 1);
    d->fd = -1;
    d->id = g_strdup(id);
    d->file = g_strdup(text(file, "filename"));
    d->qcow2 = g_strcmp0(format, "qcow2") == 0;
    d->readonly = json_object_get_boolean_member_with_default(arguments, "read-only", FALSE);
    if (!driveOpen(d, direct, error)) {
        driveFree(d);
        return false;
    }
    if (driveFind(id)) {
        driveFree(d);
        return refuse(error, "Drive %s has been added", id);
    }
    g_ptr_array_add(vm.opt.drives, d);
    return true;
}

/* Also while a device uses it, which loses its locks. */
bool
cmdBlockdevDel(JsonObject *arguments, char **ret G_GNUC_UNUSED, GError **error)
{
    drive *d = driveFind(text(arguments, "node-name"));

    if (!d)
        return refuse(error, "Drive %s not found", text(arguments, "node-name"));
    g_ptr_array_remove(vm.opt.drives, d);
    driveFree(d);
    return true;
}

/* ---- what is behind interfaces ------------------------------------------------------------------ */

bool
cmdGetfd(JsonObject *arguments, char **ret G_GNUC_UNUSED, GError **error)
{
    int fd = qmpTakeFd();

    if (fd < 0)
        return refuse(error, "Invalid SCM message");
    if (!descriptors)
        descriptors = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    /* What had this name stays open. */
    g_hash_table_replace(descriptors, g_strdup(text(arguments, "fdname")), GINT_TO_POINTER(fd));
    return true;
}

static bool
descriptorsAre(const char *names, GError **error)
{
    g_auto(GStrv) list = g_strsplit(names, ":", -1);

    for (size_t i = 0; list[i]; i++) {
        if (!(descriptors && g_hash_table_contains(descriptors, list[i])) && !g_ascii_isdigit(*list[i]))
            return refuse(error, "Failed to parse fd: %s", list[i]);
    }
    return true;
}

bool
cmdNetdevAdd(JsonObject *arguments, char **ret G_GNUC_UNUSED, GError **error)
{
    const char *id = text(arguments, "id");
    const char *fd = text(arguments, "fd");
    const char *fds = text(arguments, "fds");

    if (!id)
        return refuse(error, "missing field `id`");
    if ((fd && fds) || ((fd || fds) && (text(arguments, "ifname") || json_object_has_member(arguments, "queues"))))
        return refuse(error, "fd is conflict with ifname/script/downscript/queues/fds/vhostfds");
    if (!fd && !fds && !text(arguments, "ifname"))
        return refuse(error, "Tap device is missing, use 'ifname' or 'fd' to configure a tap device");
    if ((fd || fds) && !descriptorsAre(fd ? fd : fds, error))
        return false;
    if (netdevIs(id))
        return refuse(error, "Netdev \"%s\" has been added", id);
    netdevAdd(id, fd ? fd : fds);
    return true;
}

bool
cmdNetdevDel(JsonObject *arguments, char **ret G_GNUC_UNUSED, GError **error)
{
    const char *id = text(arguments, "id");

    if (!netdevIs(id))
        return refuse(error, "Netdev %s not found", id);
    g_hash_table_remove(netdevs, id);
    return true;
}

/* ---- devices -------------------------------------------------------------------------------------- */

static bool
portCheck(const char *bus, const char *addr, GError **error)
{
    const device *port = deviceFind(bus);

    if (g_strcmp0(bus, "pcie.0") == 0)
        return refuse(error, "Failed to plug device: No hot plug controller found for bus pcie.0 when plug");
    if (!port || !g_str_equal(port->kind, "pcie-root-port"))
        return refuse(error, "Failed to add device: Bus not found");
    if (strtoul(addr, NULL, 16) != 0 || strchr(addr, '.'))
        return refuse(error, "Failed to plug device: Hotplug unsupported");
    for (guint i = 0; i < vm.opt.devices->len; i++) {
        const device *other = g_ptr_array_index(vm.opt.devices, i);

        if (g_strcmp0(other->bus, bus) == 0)
            return refuse(error, "Failed to add device: slot is in use by %s", other->id);
    }
    return true;
}

static bool
backendCheck(JsonObject *arguments, bool disk, GError **error)
{
    const char *name = text(arguments, disk ? "drive" : "netdev");

    const drive *found = disk ? driveFind(name) : NULL;
    char magic[4];

    if (found && found->qcow2 && (pread(found->fd, magic, sizeof(magic), 0) != sizeof(magic) || memcmp(magic, "QFI\xfb", 4) != 0))
        return refuse(error, "Failed to add virtio pci blk: %s is no qcow2 image", found->file);
    if (found || (!disk && netdevIs(name)))
        return true;
    return refuse(error, "Failed to add virtio pci %s: %s not found", disk ? "blk" : "net", name ? name : "");
}

/* The id is looked at before anything else. */
bool
cmdDeviceAdd(JsonObject *arguments, char **ret G_GNUC_UNUSED, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
    const char *id = text(arguments, "id");
    const char *kind = text(arguments, "driver");
    const char *bus = text(arguments, "bus");
    const char *addr = text(arguments, "addr");
    bool disk = g_strcmp0(kind, "virtio-blk-pci") == 0;
    device *d;

    if (!id || !kind)
        return refuse(error, "missing field `%s`", id ? "driver" : "id");
    if (deviceFind(id))
        return refuse(error, "Device id %s existed", id);
    if (!disk && !g_str_equal(kind, "virtio-net-pci"))
        return refuse(error, "Failed to add device: Driver %s is not support", kind);
    if (!bus || !addr)
        return refuse(error, "Failed to add device: bus and addr are needed");
    /* It says it twice to its own parser. */
    if (!disk && text(arguments, "mq") && g_str_equal(vm.quirk->name, "2.4.0"))
        return refuse(error, "Failed to add virtio pci net: Input field 'virtio-net' in mq is offered more than once.");
    if (!backendCheck(arguments, disk, error) || !portCheck(bus, addr, error))
        return false;
    d = g_new0(device, 1);
    d->id = g_strdup(id);
    d->kind = g_strdup(kind);
    d->bus = g_strdup(bus);
    d->addr = g_strdup(addr);
    d->drive = g_strdup(text(arguments, "drive"));
    d->netdev = g_strdup(text(arguments, "netdev"));
    g_ptr_array_add(vm.opt.devices, d);
    return true;
}

bool
cmdDeviceDel(JsonObject *arguments, char **ret G_GNUC_UNUSED, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
    const char *id = text(arguments, "id");
    device *d = deviceFind(id);

    if (!d) {
        /* The controller of processors that it looks into was never made. */
        if (vm.opt.incoming)
            _exit(1);
        return refuse(error, "Failed to detach device: id %s not found", id);
    }
    if (g_strcmp0(d->bus, "pcie.0") == 0 || !d->bus)
        return refuse(error, "No hot plug controller found for bus %s when unplug request", d->bus ? d->bus : "");
    if (d->blinksUntilUs)
        return refuse(error, "Guest is still on the fly of another (un)plugging");
    d->leaving = true;
    return true;
}

/* ---- balloon --------------------------------------------------------------------------------------- */

static bool
balloonIs(GError **error, bool awake)
{
    for (guint i = 0; i < vm.opt.devices->len; i++) {
        const device *d = g_ptr_array_index(vm.opt.devices, i);

        if (g_str_has_prefix(d->kind, "virtio-balloon") && (balloonAwake || !awake))
            return true;
    }
    g_set_error_literal(error, STANDIN_ERROR, 1, "No balloon device has been activated");
    return false;
}

bool
cmdQueryBalloon(JsonObject *arguments G_GNUC_UNUSED, char **ret, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);

    if (!balloonIs(error, false))
        return false;
    *ret = g_strdup_printf("{\"actual\":%llu}", (unsigned long long)balloonNow());
    return true;
}

/* What it was is told at once, what it becomes when the guest has seen to it. */
bool
cmdBalloon(JsonObject *arguments, char **ret G_GNUC_UNUSED, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
    JsonObject *data;

    if (!balloonIs(error, true))
        return false;
    balloonTarget = MIN((uint64_t)json_object_get_int_member_with_default(arguments, "value", 0), vm.opt.memory);
    data = json_object_new();
    json_object_set_int_member(data, "actual", (gint64)balloonNow());
    qmpEvent("BALLOON_CHANGED", data);
    return true;
}

/* ---- on the way to another host ---------------------------------------------------------------------- */

GPtrArray *
devicesCopy(void)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);
    GPtrArray *list = g_ptr_array_new();

    for (guint i = 0; i < vm.opt.devices->len; i++)
        g_ptr_array_add(list, g_ptr_array_index(vm.opt.devices, i));
    return list;
}
