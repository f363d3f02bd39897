/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Asking a binary takes a good part of a second, the KVM probe up to two, so what was learned is
 * kept twice: in this process, and in a small file for the next one.  It is believed as long as the
 * binary's file is the same (path, size, time of change); what was learned of KVM as long as host
 * and permissions are the same, too.
 *
 * Who wants to know about a binary that another thread is asking just now waits for that thread;
 * nobody waits for another binary.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#define LOG_FOLDER "remote"
#include "base/log.h"
#include "remote/vmm_ask.h"

#include "base/gettext.h"

#define VMM_CACHE_GROUP "vmm"
#define VMM_CACHE_FORMAT 2

typedef struct {
    bool busy;               /* a thread is asking */
    char *file;              /* identity of the binary's file when info was made */
    char *kvmHost;
    vmmInfo *info;           /* NULL: not asked yet, or failed */
    GPtrArray *old;          /* earlier infos: callers may hold them for ever */
} vmmEntry;

static GMutex vmmLock;           /* guards vmmEntries and what they hold */
static GCond vmmAsked;           /* busy became false */
static GHashTable *vmmEntries;   /* path -> vmmEntry; entries are never removed */

/* ---- the file for the next process --------------------------------------------------------- */

static char *
vmmCachePath(const char *cacheDir, const char *binary)
{
    g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, binary, -1);

    return g_strdup_printf("%s/vmm-%.16s.cache", cacheDir, sum);
}

/* A list, never NULL. */
static GStrv
vmmCacheList(GKeyFile *keys, const char *name)
{
    GStrv list = g_key_file_get_string_list(keys, VMM_CACHE_GROUP, name, NULL, NULL);

    return list ? list : g_new0(char *, 1);
}

static bool
vmmCacheIs(GKeyFile *keys, const char *name, const char *wanted)
{
    g_autofree char *value = g_key_file_get_string(keys, VMM_CACHE_GROUP, name, NULL);

    return g_strcmp0(value, wanted) == 0;
}

/* *retKvm: its knowledge of KVM is good for @kvmHost. */
static vmmInfo *
vmmCacheLoad(const char *path, const char *binary, const char *file, const char *kvmHost,
             bool *retKvm)
{
    g_autoptr(GKeyFile) keys = g_key_file_new();
    g_autoptr(vmmInfo) info = g_new0(vmmInfo, 1);
    g_autofree char *name = NULL;

    if (!g_key_file_load_from_file(keys, path, G_KEY_FILE_NONE, NULL) ||
        g_key_file_get_integer(keys, VMM_CACHE_GROUP, "format", NULL) != VMM_CACHE_FORMAT ||
        !vmmCacheIs(keys, "binary", binary) || !vmmCacheIs(keys, "file", file))
        return NULL;
    name = g_key_file_get_string(keys, VMM_CACHE_GROUP, "vmm", NULL);
    info->binary = g_strdup(binary);
    info->traits = vmmTraitsByName(name);
    info->version = (unsigned long)g_key_file_get_uint64(keys, VMM_CACHE_GROUP, "version", NULL);
    info->maxCpus = (unsigned)g_key_file_get_uint64(keys, VMM_CACHE_GROUP, "max-cpus", NULL);
    info->machines = vmmCacheList(keys, "machines");
    info->aliases = vmmCacheList(keys, "aliases");
    info->cpus = vmmCacheList(keys, "cpus");
    info->cpuLimits = vmmCacheList(keys, "cpu-limits");
    info->sandbox = g_key_file_get_boolean(keys, VMM_CACHE_GROUP, "sandbox", NULL);
    info->kvm = g_key_file_get_boolean(keys, VMM_CACHE_GROUP, "kvm", NULL);
    if (!info->traits || !info->version || !*info->machines)
        return NULL;
    *retKvm = vmmCacheIs(keys, "kvm-host", kvmHost);
    return g_steal_pointer(&info);
}

static void
vmmCacheSaveList(GKeyFile *keys, const char *name, GStrv list)
{
    g_key_file_set_string_list(keys, VMM_CACHE_GROUP, name, (const char *const *)list,
                               g_strv_length(list));
}

static void
vmmCacheSave(const char *path, const vmmInfo *info, const char *file, const char *kvmHost)
{
    g_autoptr(GKeyFile) keys = g_key_file_new();
    g_autoptr(GError) err = NULL;
    g_autofree char *dir = g_path_get_dirname(path);

    g_key_file_set_integer(keys, VMM_CACHE_GROUP, "format", VMM_CACHE_FORMAT);
    g_key_file_set_string(keys, VMM_CACHE_GROUP, "binary", info->binary);
    g_key_file_set_string(keys, VMM_CACHE_GROUP, "file", file);
    g_key_file_set_string(keys, VMM_CACHE_GROUP, "vmm", info->traits->name);
    g_key_file_set_uint64(keys, VMM_CACHE_GROUP, "version", info->version);
    g_key_file_set_uint64(keys, VMM_CACHE_GROUP, "max-cpus", info->maxCpus);
    vmmCacheSaveList(keys, "machines", info->machines);
    vmmCacheSaveList(keys, "aliases", info->aliases);
    vmmCacheSaveList(keys, "cpus", info->cpus);
    vmmCacheSaveList(keys, "cpu-limits", info->cpuLimits);
    g_key_file_set_boolean(keys, VMM_CACHE_GROUP, "sandbox", info->sandbox);
    g_key_file_set_boolean(keys, VMM_CACHE_GROUP, "kvm", info->kvm);
    g_key_file_set_string(keys, VMM_CACHE_GROUP, "kvm-host", kvmHost);

    /* Replaces the file in one step. */
    if (g_mkdir_with_parents(dir, 0700) < 0 || !g_key_file_save_to_file(keys, path, &err))
        g_debug("cannot save '%s': %s, ignoring", path, err ? err->message : g_strerror(errno));
}

/* ---- asking -------------------------------------------------------------------------------- */

/* "SIZE:MTIME:INODE" of the binary's file. */
static char *
vmmFileIdentity(const char *binary, GError **error)
{
    struct stat st;

    if (!binary || !g_path_is_absolute(binary)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The path of the VMM '%1$s' is not absolute."), binary ? binary : "");
        return NULL;
    }
    if (stat(binary, &st) < 0 || access(binary, X_OK) < 0) {
        baseSetErrno(error, errno, _("The VMM '%1$s' cannot be used"), binary);
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The VMM '%1$s' is not a file that can be executed."), binary);
        return NULL;
    }
    return g_strdup_printf("%lld:%lld.%09ld:%llu", (long long)st.st_size,
                           (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                           (unsigned long long)st.st_ino);
}

static bool
vmmCheckRow(const vmmRow *row, const char *binary, unsigned long version, GError **error)
{
    const vmmTraits *traits = row->traits;

    if (!traits->ops) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("'%1$s' is %2$s, which this version of the driver cannot run yet."),
                    binary, traits->title);
        return false;
    }
    if (version < traits->minVersion) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("'%1$s' is %2$s %3$lu.%4$lu, but at least version %5$lu.%6$lu is needed."),
                    binary, traits->title, version / 1000000, version / 1000 % 1000,
                    traits->minVersion / 1000000, traits->minVersion / 1000 % 1000);
        return false;
    }
    return true;
}

static vmmInfo *
vmmAskInfo(const char *binary, GError **error)
{
    g_autoptr(vmmInfo) info = g_new0(vmmInfo, 1);
    g_autoptr(vmmAsk) ask = NULL;
    const vmmRow *row = NULL;

    if (FAULT_ERROR(VMM_PROBE, error) ||
        !vmmAskVersion(binary, &row, &info->version, error) ||
        !vmmCheckRow(row, binary, info->version, error))
        return NULL;
    info->binary = g_strdup(binary);
    info->traits = row->traits;
    ask = row->traits->makesControlSocket ? vmmAskStartNamed(binary, row->probeArgs, error)
                                          : vmmAskStart(binary, row->probeArgs, -1, error);
    if (!ask || !row->inspect(vmmAskControl(ask), info, error))
        return NULL;
    return g_steal_pointer(&info);
}

static bool
vmmAskKvm(const vmmInfo *info)
{
    g_autoptr(GError) err = NULL;
    g_auto(baseFd) fd = -1;
    bool works;

    if (!vmmRowOf(info->traits)->kvmArgs)
        return true;
    fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    works = fd >= 0 && vmmRomRuns(info->binary, vmmRowOf(info->traits)->kvmArgs, &err);

    g_debug("KVM %s with '%s'%s%s", works ? "works" : "does not work", info->binary,
            err ? ": " : "", err ? err->message : "");
    return works;
}

/* No lock held. */
static vmmInfo *
vmmLearn(const char *binary, const char *cacheDir, const char *file, const char *kvmHost,
         GError **error)
{
    g_autofree char *path = cacheDir ? vmmCachePath(cacheDir, binary) : NULL;
    g_autoptr(vmmInfo) info = NULL;
    bool kvmKnown = false;

    if (path)
        info = vmmCacheLoad(path, binary, file, kvmHost, &kvmKnown);
    if (info && kvmKnown)
        return g_steal_pointer(&info);
    if (!info)
        info = vmmAskInfo(binary, error);
    if (!info)
        return NULL;
    info->kvm = vmmAskKvm(info);
    if (path)
        vmmCacheSave(path, info, file, kvmHost);
    return g_steal_pointer(&info);
}

/* Lock held. */
static vmmEntry *
vmmFindEntry(const char *binary)
{
    vmmEntry *entry;

    if (!vmmEntries)
        vmmEntries = g_hash_table_new(g_str_hash, g_str_equal);
    entry = g_hash_table_lookup(vmmEntries, binary);
    if (!entry) {
        entry = g_new0(vmmEntry, 1);
        entry->old = g_ptr_array_new();
        g_hash_table_insert(vmmEntries, g_strdup(binary), entry);
    }
    return entry;
}

const vmmInfo *
vmmProbe(const char *binary, const char *cacheDir, GError **error)
{
    g_autofree char *file = vmmFileIdentity(binary, error);
    g_autofree char *kvmHost = NULL;
    const vmmInfo *ret;
    vmmEntry *entry;
    vmmInfo *info;

    if (!file)
        return NULL;
    kvmHost = vmmKvmHost();

    g_mutex_lock(&vmmLock);
    entry = vmmFindEntry(binary);
    while (entry->busy)
        g_cond_wait(&vmmAsked, &vmmLock);
    if (entry->info && g_str_equal(entry->file, file) && g_str_equal(entry->kvmHost, kvmHost)) {
        ret = entry->info;
        g_mutex_unlock(&vmmLock);
        return ret;
    }
    entry->busy = true;
    g_mutex_unlock(&vmmLock);

    info = vmmLearn(binary, cacheDir, file, kvmHost, error);

    g_mutex_lock(&vmmLock);
    entry->busy = false;
    if (info) {
        if (entry->info)
            g_ptr_array_add(entry->old, entry->info);
        entry->info = info;
        g_free(entry->file);
        entry->file = g_steal_pointer(&file);
        g_free(entry->kvmHost);
        entry->kvmHost = g_steal_pointer(&kvmHost);
    }
    g_cond_broadcast(&vmmAsked);
    g_mutex_unlock(&vmmLock);
    return info;
}
