/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * storage.c: words beside images, identities of devices
 *
 * Inode numbers of different hosts mean nothing unless the file that was left has the same number
 * on both: then they are the file system's own, and the images' must agree as well.  Otherwise their
 * real names must: in one folder there is only one file of a name.  The name of the file is made from the domain's UUID, so that a daemon that was
 * killed finds and removes what it left without having written it down.
 */
#include "migration/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/enumname.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/gettext.h"

#define WORD_BYTES 16
#define NAME_WORD 12
#define FILE_MAX 1024
/* Both daemons are the same user to a file system that both can write to. */
#define FILE_MODE 0600
/* Devices made of devices made of devices... */
#define DEVICE_DEPTH 8
#define IDENTITY_MAX 200

static const char *const kindNames[] = { "file", "block", "network" };
G_STATIC_ASSERT(G_N_ELEMENTS(kindNames) == MIG_DISK_LAST);

const char *
migDiskKindName(migDiskKind kind)
{
    return baseEnumName(kindNames, G_N_ELEMENTS(kindNames), kind);
}

bool
migDiskKindFromName(const char *name, migDiskKind *ret)
{
    int value = baseEnumValue(kindNames, G_N_ELEMENTS(kindNames), name);

    if (value < 0)
        return false;
    *ret = value;
    return true;
}

/* ---- the list ------------------------------------------------------------------------------- */

static void
diskFree(gpointer data)
{
    migDisk *disk = data;

    g_free(disk->target);
    g_free(disk->source);
    g_free(disk->identity);
    g_free(disk->name);
    g_free(disk->word);
    g_free(disk->answer);
    g_free(disk->why);
    g_free(disk->missing);
    g_free(disk);
}

GPtrArray *
migDiskListNew(void)
{
    return g_ptr_array_new_with_free_func(diskFree);
}

/* What the kernel says of a block device, without the line end; NULL if it says nothing. */
static char *
deviceAttribute(dev_t dev, const char *name)
{
    g_autofree char *path = g_strdup_printf("/sys/dev/block/%u:%u/%s", major(dev), minor(dev), name);
    char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return NULL;
    g_strstrip(text);
    if (*text)
        return text;
    g_free(text);
    return NULL;
}

/*
 * What tells a device from every other one in the world.  Serial numbers are not among it, nor what SCSI calls T10 identifiers:
 * emulators and simple targets hand out the same ones again and again.
 */
typedef struct {
    const char *attributes[4];   /* all must be there; together they are the identity */
    const char *prefixes;        /* what the first may begin with, by spaces; NULL: anything */
} deviceRow;

static const deviceRow deviceRows[] = {
    { { "wwid" }, "naa. eui. uuid. nvme." },
    { { "device/wwid" }, "naa. eui. uuid. nvme." },
    /* Ceph's; without a snapshot, which is "-". */
    { { "device/cluster_fsid", "device/pool_id", "device/image_id", "device/current_snap" }, NULL },
};

static bool
deviceIsUnique(const deviceRow *row, const char *text)
{
    g_auto(GStrv) prefixes = g_strsplit(row->prefixes ? row->prefixes : "", " ", -1);

    for (size_t i = 0; prefixes[i]; i++) {
        if (g_str_has_prefix(text, prefixes[i]))
            return true;
    }
    return row->prefixes == NULL;
}

static char *
deviceByRow(dev_t dev, const deviceRow *row)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(row->attributes) && row->attributes[i]; i++) {
        g_autofree char *value = deviceAttribute(dev, row->attributes[i]);

        if (!value || (i == 0 && !deviceIsUnique(row, value)))
            return NULL;
        g_string_append_printf(text, "%s%s=%s", i ? "," : "", row->attributes[i], value);
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static char *deviceIdentity(dev_t dev, unsigned depth);

static bool
deviceNumber(const char *text, dev_t *ret)
{
    unsigned high, low;

    if (!text || sscanf(text, "%u:%u", &high, &low) != 2)
        return false;
    *ret = makedev(high, low);
    return true;
}

/*
 * Of what is made from other devices (LVM, multipath, software RAID): the name of the whole and all that it is made of.  The name
 * alone is not enough, since hosts that were cloned have volumes of the same name on disks of their own.
 */
static char *
deviceComposed(dev_t dev, const char *kind, const char *name, unsigned depth)
{
    g_autofree char *path = g_strdup_printf("/sys/dev/block/%u:%u/slaves", major(dev), minor(dev));
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GString) text = g_string_new(NULL);
    GList *parts = NULL;
    const char *slave;

    while (dir && (slave = g_dir_read_name(dir))) {
        g_autofree char *numberPath = g_build_filename(path, slave, "dev", NULL);
        g_autofree char *number = NULL;
        char *identity;
        dev_t below;

        if (!g_file_get_contents(numberPath, &number, NULL, NULL) || !deviceNumber(number, &below) ||
            !(identity = deviceIdentity(below, depth + 1)))
            return NULL;
        /* The paths of a multipath device are one disk, and each host may have another number of them. */
        g_hash_table_add(seen, identity);
    }
    if (g_hash_table_size(seen) == 0)
        return NULL;
    parts = g_list_sort(g_hash_table_get_keys(seen), (GCompareFunc)strcmp);
    g_string_printf(text, "%s=%s", kind, name);
    for (GList *part = parts; part; part = part->next)
        g_string_append_printf(text, ";%s", (const char *)part->data);
    g_list_free(parts);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static char *
devicePartition(dev_t dev, const char *number, unsigned depth)
{
    g_autofree char *text = deviceAttribute(dev, "../dev");
    g_autofree char *whole = NULL;
    dev_t parent;

    if (!deviceNumber(text, &parent) || !(whole = deviceIdentity(parent, depth + 1)))
        return NULL;
    return g_strdup_printf("%s,partition=%s", whole, number);
}

/* NULL: nothing by which another host would know it. */
static char *
deviceIdentity(dev_t dev, unsigned depth)
{
    g_autofree char *partition = deviceAttribute(dev, "partition");
    g_autofree char *volume = deviceAttribute(dev, "dm/uuid");
    g_autofree char *array = deviceAttribute(dev, "md/uuid");

    if (depth > DEVICE_DEPTH)
        return NULL;
    if (partition)
        return devicePartition(dev, partition, depth);
    if (volume || array)
        return deviceComposed(dev, volume ? "dm" : "md", volume ? volume : array, depth);
    for (size_t i = 0; i < G_N_ELEMENTS(deviceRows); i++) {
        char *identity = deviceByRow(dev, &deviceRows[i]);

        if (identity)
            return identity;
    }
    return NULL;
}

/* Which part of its file a loop device shows; NULL: all of it. */
static char *
loopPart(dev_t dev)
{
    g_autofree char *offset = deviceAttribute(dev, "loop/offset");
    g_autofree char *size = deviceAttribute(dev, "loop/sizelimit");

    if ((!offset || g_str_equal(offset, "0")) && (!size || g_str_equal(size, "0")))
        return NULL;
    return g_strdup_printf("offset=%s,sizelimit=%s", offset ? offset : "0", size ? size : "0");
}

/* Of many disks it is long, and only its sameness matters. Takes @text over. */
static char *
identityShort(char *text)
{
    g_autofree char *owned = text;

    if (!owned || strlen(owned) <= IDENTITY_MAX)
        return g_steal_pointer(&owned);
    return g_compute_checksum_for_string(G_CHECKSUM_SHA256, owned, -1);
}

static void
diskLookAtDevice(migDisk *disk, dev_t dev, unsigned depth)
{
    char *backing = deviceAttribute(dev, "loop/backing_file");
    struct stat sb;

    if (!backing) {
        disk->identity = identityShort(deviceIdentity(dev, depth));
        return;
    }
    g_free(disk->source);
    disk->source = backing;
    if (stat(backing, &sb) == 0 && S_ISBLK(sb.st_mode) && depth < DEVICE_DEPTH) {
        diskLookAtDevice(disk, sb.st_rdev, depth + 1);
        return;
    }
    disk->kind = MIG_DISK_FILE;
    disk->identity = loopPart(dev);
}

migDisk *
migDiskListAdd(GPtrArray *disks, const char *target, migDiskKind kind, const char *source)
{
    migDisk *disk = g_new0(migDisk, 1);
    struct stat sb;

    disk->target = g_strdup(target);
    disk->kind = kind;
    disk->source = g_strdup(source);
    if (kind != MIG_DISK_NETWORK && stat(source, &sb) < 0) {
        disk->missing = g_strdup(g_strerror(errno));
    } else if (kind != MIG_DISK_NETWORK) {
        /* As it is, whatever the definition calls it. */
        disk->kind = S_ISBLK(sb.st_mode) ? MIG_DISK_BLOCK : MIG_DISK_FILE;
        if (disk->kind == MIG_DISK_BLOCK)
            diskLookAtDevice(disk, sb.st_rdev, 0);
    }
    g_ptr_array_add(disks, disk);
    return disk;
}

/* ---- the file beside an image --------------------------------------------------------------- */

/* The folder that the image really is in; NULL with errno if the image is not there. */
static char *
folderOf(const migDisk *disk)
{
    char real[PATH_MAX];

    return realpath(disk->source, real) ? g_path_get_dirname(real) : NULL;
}

/* What it is really called there. */
static char *
nameOf(const migDisk *disk)
{
    char real[PATH_MAX];

    return g_path_get_basename(realpath(disk->source, real) ? real : disk->source);
}

/* What all such files of one disk begin with. */
static char *
namePrefix(const migDisk *disk, const char *uuid)
{
    return g_strdup_printf(".stratovirt-%s-%s-", uuid, disk->target);
}

/* A new name each time, since network file systems remember for a while what was not there.  NULL with errno if the image is
 * not there. */
static char *
besideImage(const migDisk *disk, const char *uuid, const char *word)
{
    g_autofree char *dir = folderOf(disk);
    g_autofree char *prefix = namePrefix(disk, uuid);
    g_autofree char *name = g_strdup_printf("%s%.*s", prefix, NAME_WORD, word);

    return dir ? g_build_filename(dir, name, NULL) : NULL;
}

static char *
newWord(void)
{
    GString *word = g_string_new(NULL);

    for (int i = 0; i < WORD_BYTES / 4; i++)
        g_string_append_printf(word, "%08x", g_random_int());
    return g_string_free(word, FALSE);
}

static bool
putLine(int fd, const char *kind, const char *word)
{
    g_autofree char *line = g_strdup_printf("%s %s\n", kind, word);
    ssize_t len = strlen(line);

    ssize_t written = write(fd, line, len);

    if (written == len)
        return fsync(fd) == 0;
    if (written >= 0)
        errno = ENOSPC;
    return false;
}

/* Is "KIND WORD" one of its lines? */
static bool
hasLine(int fd, const char *kind, const char *word)
{
    g_autofree char *line = g_strdup_printf("%s %s", kind, word);
    g_auto(GStrv) lines = NULL;
    char text[FILE_MAX + 1];
    ssize_t n = pread(fd, text, FILE_MAX, 0);

    if (n < 0)
        return false;
    text[n] = '\0';
    lines = g_strsplit(text, "\n", -1);
    return g_strv_contains((const char *const *)lines, line);
}

static void
leaveOne(migDisk *disk, const char *uuid)
{
    g_autofree char *word = newWord();
    g_autofree char *path = besideImage(disk, uuid, word);
    g_auto(baseFd) fd = path ? open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE) : -1;
    struct stat image, beside;

    if (fd < 0 || !putLine(fd, "source", word) || fstat(fd, &beside) < 0 || stat(disk->source, &image) < 0) {
        disk->why = g_strdup(g_strerror(errno));
        if (fd >= 0)
            unlink(path);
        return;
    }
    disk->left = true;
    disk->word = g_steal_pointer(&word);
    disk->inode = image.st_ino;
    disk->name = nameOf(disk);
    disk->wordInode = beside.st_ino;
}

void
migStorageLeave(GPtrArray *disks, const char *uuid)
{
    for (guint i = 0; i < disks->len; i++) {
        migDisk *disk = g_ptr_array_index(disks, i);

        if (disk->kind == MIG_DISK_FILE)
            leaveOne(disk, uuid);
    }
}

void
migStorageRemove(GPtrArray *disks, const char *uuid)
{
    for (guint i = 0; disks && i < disks->len; i++) {
        migDisk *disk = g_ptr_array_index(disks, i);
        g_autofree char *path = disk->left ? besideImage(disk, uuid, disk->word) : NULL;

        if (path && unlink(path) < 0 && errno != ENOENT)
            g_warning("file '%s' cannot be removed: %s, ignoring", path, g_strerror(errno));
        disk->left = false;
    }
}

static void
sweepOne(const migDisk *disk, const char *uuid)
{
    g_autofree char *folder = folderOf(disk);
    g_autofree char *prefix = namePrefix(disk, uuid);
    g_autoptr(GDir) dir = folder ? g_dir_open(folder, 0, NULL) : NULL;
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_str_has_prefix(name, prefix) ? g_build_filename(folder, name, NULL) : NULL;

        if (path && unlink(path) == 0)
            g_message("removed '%s', which a migration that was cut short had left", path);
    }
}

void
migStorageSweep(const GPtrArray *disks, const char *uuid)
{
    for (guint i = 0; i < disks->len; i++) {
        const migDisk *disk = g_ptr_array_index(disks, i);

        if (disk->kind == MIG_DISK_FILE)
            sweepOne(disk, uuid);
    }
}

/* ---- the proof ------------------------------------------------------------------------------ */

typedef struct {
    const char *localHost, *remoteHost, *uuid;
    GPtrArray *problems;
} proof;

static void problem(const proof *p, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
problem(const proof *p, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_ptr_array_add(p->problems, g_strdup_vprintf(format, args));
    va_end(args);
}

static const migDisk *
findDisk(const GPtrArray *disks, const char *target)
{
    for (guint i = 0; disks && i < disks->len; i++) {
        const migDisk *disk = g_ptr_array_index(disks, i);

        if (g_str_equal(disk->target, target))
            return disk;
    }
    return NULL;
}

static void
proveImage(const proof *p, const migDisk *remote, const migDisk *local, int fd)
{
    g_autofree char *here = nameOf(local);
    struct stat image, beside;

    if (g_strcmp0(local->identity, remote->identity) != 0) {
        problem(p, _("Disk '%1$s' is another part of '%2$s' on host '%3$s' (%4$s) than on host '%5$s' (%6$s)."), local->target,
                local->source, p->localHost, local->identity ? local->identity : _("all"), p->remoteHost,
                remote->identity ? remote->identity : _("all"));
        return;
    }
    if (stat(local->source, &image) < 0 || fstat(fd, &beside) < 0) {
        problem(p, _("Disk '%1$s': '%2$s' on host '%3$s' cannot be looked at: %4$s."), local->target, local->source,
                p->localHost, g_strerror(errno));
        return;
    }
    if (beside.st_ino == remote->wordInode ? image.st_ino == remote->inode : g_strcmp0(here, remote->name) == 0)
        return;
    problem(p, _("Disk '%1$s': '%2$s' on host '%3$s' and '%4$s' on host '%5$s' are different files in the same folder."),
            local->target, local->source, p->localHost, remote->source, p->remoteHost);
}

/* -1 with errno.  What the source names may be anything: never wait for it, never follow it. */
static int
openAnswer(const char *path)
{
    g_auto(baseFd) fd = open(path, O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat sb;

    if (fd < 0 || fstat(fd, &sb) < 0)
        return -1;
    if (!S_ISREG(sb.st_mode)) {
        errno = EINVAL;
        return -1;
    }
    return baseFdSteal(&fd);
}

static void
proveFile(const proof *p, migDisk *remote, const migDisk *local)
{
    g_autofree char *path = NULL;
    g_auto(baseFd) fd = -1;

    if (!remote->word) {
        problem(p, _("Disk '%1$s': host '%2$s' could leave no file beside '%3$s' by which host '%4$s' would know it: %5$s."),
                remote->target, p->remoteHost, remote->source, p->localHost, remote->why ? remote->why : "?");
        return;
    }
    if (!(path = besideImage(local, p->uuid, remote->word))) {
        problem(p, _("Disk '%1$s': host '%2$s' has no '%3$s': %4$s. Put it on storage that both hosts share."),
                local->target, p->localHost, local->source, g_strerror(errno));
        return;
    }
    fd = openAnswer(path);
    if (fd < 0 && errno != ENOENT) {
        problem(p, _("Disk '%1$s': host '%2$s' may not write beside '%3$s': %4$s."), local->target, p->localHost,
                local->source, g_strerror(errno));
        return;
    }
    if (fd < 0 || !hasLine(fd, "source", remote->word)) {
        problem(p, _("Disk '%1$s': '%2$s' on host '%3$s' is not on the storage that '%4$s' on host '%5$s' is on. Put it "
                     "on storage that both hosts share."),
                local->target, local->source, p->localHost, remote->source, p->remoteHost);
        return;
    }
    proveImage(p, remote, local, fd);
    g_free(remote->answer);
    remote->answer = newWord();
    if (!putLine(fd, "destination", remote->answer))
        problem(p, _("Disk '%1$s': host '%2$s' cannot write beside '%3$s': %4$s."), local->target, p->localHost,
                local->source, g_strerror(errno));
}

static void
proveOne(const proof *p, migDisk *remote, const migDisk *local)
{
    if (!local) {
        problem(p, _("Disk '%1$s' (%2$s) of host '%3$s' is not in the definition for host '%4$s'."), remote->target,
                remote->source, p->remoteHost, p->localHost);
    } else if (local->missing) {
        problem(p, _("Disk '%1$s': host '%2$s' has no '%3$s': %4$s. Put it on storage that both hosts share."),
                local->target, p->localHost, local->source, local->missing);
    } else if (local->kind != remote->kind) {
        problem(p, _("Disk '%1$s' is of the kind '%2$s' on host '%3$s' and '%4$s' on host '%5$s'."), remote->target,
                migDiskKindName(remote->kind), p->remoteHost, migDiskKindName(local->kind), p->localHost);
    } else if (remote->kind == MIG_DISK_FILE) {
        proveFile(p, remote, local);
    } else if (remote->kind == MIG_DISK_NETWORK) {
        if (!g_str_equal(remote->source, local->source))
            problem(p, _("Disk '%1$s' is '%2$s' on host '%3$s' and '%4$s' on host '%5$s'."), remote->target, remote->source,
                    p->remoteHost, local->source, p->localHost);
    } else if (!remote->identity || !local->identity) {
        problem(p, _("Disk '%1$s': the block device '%2$s' on host '%3$s' has nothing by which another host would know it."),
                remote->target, remote->identity ? local->source : remote->source,
                remote->identity ? p->localHost : p->remoteHost);
    } else if (!g_str_equal(remote->identity, local->identity)) {
        problem(p, _("Disk '%1$s': the block device '%2$s' on host '%3$s' (%4$s) is another one than '%5$s' on host '%6$s' (%7$s)."),
                remote->target, remote->source, p->remoteHost, remote->identity, local->source, p->localHost, local->identity);
    }
}

GPtrArray *
migStorageProve(GPtrArray *remote, const GPtrArray *local, const char *uuid,
                const char *localHost, const char *remoteHost)
{
    proof p = { localHost, remoteHost, uuid, g_ptr_array_new_with_free_func(g_free) };

    for (guint i = 0; remote && i < remote->len; i++) {
        migDisk *disk = g_ptr_array_index(remote, i);

        proveOne(&p, disk, findDisk(local, disk->target));
    }
    for (guint i = 0; local && i < local->len; i++) {
        const migDisk *disk = g_ptr_array_index(local, i);

        if (!findDisk(remote, disk->target))
            problem(&p, _("Disk '%1$s' (%2$s) of the definition for host '%3$s' is not one that the guest writes to on host '%4$s'."),
                    disk->target, disk->source, localHost, remoteHost);
    }
    return p.problems;
}

bool
migStorageVerify(const GPtrArray *disks, const GPtrArray *answered, const char *uuid,
                 const char *remoteHost, GError **error)
{
    for (guint i = 0; disks && i < disks->len; i++) {
        const migDisk *disk = g_ptr_array_index(disks, i);
        const migDisk *theirs = findDisk(answered, disk->target);
        g_autofree char *path = disk->left ? besideImage(disk, uuid, disk->word) : NULL;
        g_auto(baseFd) fd = path ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;

        if (disk->kind != MIG_DISK_FILE || (fd >= 0 && theirs && theirs->answer && hasLine(fd, "destination", theirs->answer)))
            continue;
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSAFE,
                    _("Disk '%1$s': what host '%2$s' says to have written beside '%3$s' is not there, so it may have another "
                      "copy of it. To migrate nevertheless, add the flag '%4$s'."),
                    disk->target, remoteHost, disk->source, "VIR_MIGRATE_UNSAFE");
        return false;
    }
    return true;
}
