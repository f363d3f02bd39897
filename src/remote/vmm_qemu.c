/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm_qemu.c: QEMU, but for its migrations, which are in vmm_qemu_migrate.c */
#include <string.h>

#include "base/error.h"
#include "remote/json.h"
#include "remote/vmm_priv.h"
#include "remote/vmm_qemu_priv.h"

#include "base/gettext.h"

/* ---- small helpers ------------------------------------------------------------------------- */

bool
vmmQemuDo(control *ctl, const char *command, JsonObject *arguments, int fd, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, command, arguments, fd, 0, error);

    return answer != NULL;
}

JsonObject *
vmmQemuArgString(const char *name, const char *value)
{
    JsonObject *arguments = json_object_new();

    json_object_set_string_member(arguments, name, value);
    return arguments;
}

JsonObject *
vmmQemuArgInt(const char *name, gint64 value)
{
    JsonObject *arguments = json_object_new();

    json_object_set_int_member(arguments, name, value);
    return arguments;
}

bool
vmmQemuBadAnswer(const char *command, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("The VMM's answer to '%1$s' lacks what was asked for."), command);
    return false;
}

/* ---- the guest's state --------------------------------------------------------------------- */

static const struct { const char *name; vmmRunState state; } qemuRunStates[] = {
    { "running", VMM_RUN_RUNNING },
    { "paused", VMM_RUN_PAUSED },
    { "prelaunch", VMM_RUN_PAUSED },
    { "debug", VMM_RUN_PAUSED },
    { "save-vm", VMM_RUN_PAUSED },
    { "watchdog", VMM_RUN_PAUSED },
    { "finish-migrate", VMM_RUN_PAUSED },    /* frozen for the switch-over, not yet sent */
    { "io-error", VMM_RUN_IO_ERROR },
    { "inmigrate", VMM_RUN_INMIGRATE },
    { "postmigrate", VMM_RUN_POSTMIGRATE },
    { "shutdown", VMM_RUN_SHUTDOWN },
    { "guest-panicked", VMM_RUN_CRASHED },
    { "internal-error", VMM_RUN_CRASHED },
};

static bool
qemuStatus(control *ctl, vmmRunState *ret, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-status", NULL, -1, 0, error);
    const char *status;

    if (!answer)
        return false;
    status = jsonGetString(jsonNodeObject(answer), "status", NULL);
    if (!status)
        return vmmQemuBadAnswer("query-status", error);
    *ret = VMM_RUN_OTHER;
    for (size_t i = 0; i < G_N_ELEMENTS(qemuRunStates); i++) {
        if (g_str_equal(qemuRunStates[i].name, status))
            *ret = qemuRunStates[i].state;
    }
    return true;
}

static bool
qemuPause(control *ctl, GError **error)
{
    return vmmQemuDo(ctl, "stop", NULL, -1, error);
}

static bool
qemuResume(control *ctl, GError **error)
{
    return vmmQemuDo(ctl, "cont", NULL, -1, error);
}

static bool
qemuPowerdown(control *ctl, GError **error)
{
    return vmmQemuDo(ctl, "system_powerdown", NULL, -1, error);
}

static bool
qemuReset(control *ctl, GError **error)
{
    return vmmQemuDo(ctl, "system_reset", NULL, -1, error);
}

static bool
qemuQuit(control *ctl, GError **error)
{
    g_autoptr(GError) err = NULL;

    /* It may be gone before its answer is out. */
    if (vmmQemuDo(ctl, "quit", NULL, -1, &err) ||
        g_error_matches(err, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED))
        return true;
    g_propagate_error(error, g_steal_pointer(&err));
    return false;
}

/* ---- devices ------------------------------------------------------------------------------- */

static bool
qemuBalloonGet(control *ctl, uint64_t *retBytes, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-balloon", NULL, -1, 0, error);
    gint64 actual;

    if (!answer)
        return false;
    actual = jsonGetInt(jsonNodeObject(answer), "actual", -1);
    if (actual < 0)
        return vmmQemuBadAnswer("query-balloon", error);
    *retBytes = (uint64_t)actual;
    return true;
}

static bool
qemuBalloonSet(control *ctl, uint64_t bytes, GError **error)
{
    return vmmQemuDo(ctl, "balloon", vmmQemuArgInt("value", (gint64)MIN(bytes, (uint64_t)G_MAXINT64)),
                  -1, error);
}

/* Arguments for a property of the device @alias; the caller's. */
static JsonObject *
qemuArgProperty(const char *alias, const char *property)
{
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", alias);
    JsonObject *arguments = vmmQemuArgString("path", path);

    json_object_set_string_member(arguments, "property", property);
    return arguments;
}

/* What a guest does not tell is -1 of 64 bits. */
static uint64_t
qemuGuestNumber(JsonObject *stats, const char *name)
{
    guint64 value = jsonGetUint(stats, name, UINT64_MAX);

    return value >= (guint64)G_MAXINT64 ? UINT64_MAX : value;
}

static bool
qemuBalloonStats(control *ctl, const char *alias, vmmGuestMemory *ret, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "qom-get", qemuArgProperty(alias, "guest-stats"), -1, 0, error);
    JsonObject *root = jsonNodeObject(answer);
    JsonObject *stats = jsonGetObject(root, "stats");

    if (!answer)
        return false;
    if (!stats)
        return vmmQemuBadAnswer("qom-get", error);
    ret->updatedAt = jsonGetUint(root, "last-update", 0);
    ret->swapIn = qemuGuestNumber(stats, "stat-swap-in");
    ret->swapOut = qemuGuestNumber(stats, "stat-swap-out");
    ret->majorFaults = qemuGuestNumber(stats, "stat-major-faults");
    ret->minorFaults = qemuGuestNumber(stats, "stat-minor-faults");
    ret->unused = qemuGuestNumber(stats, "stat-free-memory");
    ret->available = qemuGuestNumber(stats, "stat-total-memory");
    ret->usable = qemuGuestNumber(stats, "stat-available-memory");
    ret->diskCaches = qemuGuestNumber(stats, "stat-disk-caches");
    ret->hugeAllocs = qemuGuestNumber(stats, "stat-htlb-pgalloc");
    ret->hugeFails = qemuGuestNumber(stats, "stat-htlb-pgfail");
    return true;
}

static bool
qemuBalloonPeriod(control *ctl, const char *alias, unsigned seconds, GError **error)
{
    JsonObject *arguments = qemuArgProperty(alias, "guest-stats-polling-interval");

    json_object_set_int_member(arguments, "value", seconds);
    return vmmQemuDo(ctl, "qom-set", arguments, -1, error);
}

/* A QOM path such as /machine/peripheral/ALIAS/virtio-backend has the device's id as one of its
 * parts. */
static bool
qemuPathNames(const char *path, const char *alias)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);

    return g_strv_contains((const char *const *)parts, alias);
}

/* Drives and nodes are called after their devices, with a prefix of their kind. */
static const char *
qemuStripKind(const char *name)
{
    static const char *const kinds[] = { "drive-", "node-" };

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (g_str_has_prefix(name, kinds[i]))
            return name + strlen(kinds[i]);
    }
    return name;
}

static bool
qemuIsDisk(JsonObject *disk, const char *alias)
{
    return qemuPathNames(jsonGetString(disk, "qdev", ""), alias) ||
           g_str_equal(qemuStripKind(jsonGetString(disk, "device", "")), alias) ||
           g_str_equal(qemuStripKind(jsonGetString(disk, "node-name", "")), alias);
}

static bool
qemuBlockStats(control *ctl, const char *alias, vmmBlockStats *ret, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-blockstats", NULL, -1, 0, error);
    JsonArray *disks = jsonNodeArray(answer);

    if (!answer)
        return false;
    for (guint i = 0; disks && i < json_array_get_length(disks); i++) {
        JsonObject *disk = jsonNodeObject(json_array_get_element(disks, i));
        JsonObject *stats = jsonGetObject(disk, "stats");

        if (!qemuIsDisk(disk, alias) || !stats)
            continue;
        ret->rdReq = jsonGetUint(stats, "rd_operations", UINT64_MAX);
        ret->rdBytes = jsonGetUint(stats, "rd_bytes", UINT64_MAX);
        ret->rdNs = jsonGetUint(stats, "rd_total_time_ns", UINT64_MAX);
        ret->wrReq = jsonGetUint(stats, "wr_operations", UINT64_MAX);
        ret->wrBytes = jsonGetUint(stats, "wr_bytes", UINT64_MAX);
        ret->wrNs = jsonGetUint(stats, "wr_total_time_ns", UINT64_MAX);
        ret->flReq = jsonGetUint(stats, "flush_operations", UINT64_MAX);
        ret->flNs = jsonGetUint(stats, "flush_total_time_ns", UINT64_MAX);
        return true;
    }
    g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("The VMM knows no disk '%1$s'."), alias);
    return false;
}

typedef struct { gint64 index; gint64 thread; } qemuVcpu;

static gint
qemuVcpuCompare(gconstpointer a, gconstpointer b)
{
    const qemuVcpu *left = a, *right = b;

    return left->index < right->index ? -1 : left->index > right->index;
}

static bool
qemuVcpuThreads(control *ctl, pid_t **ret, size_t *retCount, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-cpus-fast", NULL, -1, 0, error);
    JsonArray *list = jsonNodeArray(answer);
    g_autoptr(GArray) vcpus = g_array_new(FALSE, FALSE, sizeof(qemuVcpu));

    if (!answer)
        return false;
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonObject *item = jsonNodeObject(json_array_get_element(list, i));
        qemuVcpu vcpu = {
            .index = jsonGetInt(item, "cpu-index", -1),
            .thread = jsonGetInt(item, "thread-id", -1),
        };

        if (vcpu.index < 0 || vcpu.thread <= 0)
            return vmmQemuBadAnswer("query-cpus-fast", error);
        g_array_append_val(vcpus, vcpu);
    }
    if (!list || vcpus->len == 0)
        return vmmQemuBadAnswer("query-cpus-fast", error);

    g_array_sort(vcpus, qemuVcpuCompare);
    *ret = g_new0(pid_t, vcpus->len);
    for (guint i = 0; i < vcpus->len; i++)
        (*ret)[i] = (pid_t)g_array_index(vcpus, qemuVcpu, i).thread;
    *retCount = vcpus->len;
    return true;
}

static bool
qemuChardevPath(control *ctl, const char *id, char **ret, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-chardev", NULL, -1, 0, error);
    JsonArray *list = jsonNodeArray(answer);

    if (!answer)
        return false;
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonObject *item = jsonNodeObject(json_array_get_element(list, i));
        const char *file = jsonGetString(item, "filename", "");

        if (!g_str_equal(jsonGetString(item, "label", ""), id))
            continue;
        if (g_str_has_prefix(file, "pty:/")) {
            *ret = g_strdup(file + strlen("pty:"));
            return true;
        }
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID,
                    _("The character device '%1$s' is not a pty but '%2$s'."), id, file);
        return false;
    }
    g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("The VMM knows no character device '%1$s'."), id);
    return false;
}

/* ---- events -------------------------------------------------------------------------------- */

/* The alias of the disk an I/O error is about, as well as it is told. */
static char *
qemuDiskAlias(JsonObject *data)
{
    const char *device = jsonGetString(data, "device", "");
    const char *node = jsonGetString(data, "node-name", "");
    g_auto(GStrv) path = g_strsplit(jsonGetString(data, "qom-path", ""), "/", -1);

    /* /machine/peripheral/ALIAS/... */
    if (g_strv_length(path) > 3 && g_str_equal(path[2], "peripheral"))
        return g_strdup(path[3]);
    return g_strdup(qemuStripKind(*device ? device : node));
}

static void
qemuIoError(JsonObject *data, vmmEvent *ret)
{
    ret->deviceAlias = qemuDiskAlias(data);
    ret->ioErrorStops = g_str_equal(jsonGetString(data, "action", ""), "stop");
    if (jsonGetBool(data, "nospace", false))
        ret->reason = g_strdup("enospc");
}

static const struct { const char *name; vmmEventKind kind; } qemuEvents[] = {
    { "STOP", VMM_EVENT_STOP },
    { "RESUME", VMM_EVENT_RESUME },
    { "SHUTDOWN", VMM_EVENT_SHUTDOWN },
    { "RESET", VMM_EVENT_RESET },
    { "POWERDOWN", VMM_EVENT_POWERDOWN },
    { "GUEST_PANICKED", VMM_EVENT_PANIC },
    { "BLOCK_IO_ERROR", VMM_EVENT_IO_ERROR },
    { "BALLOON_CHANGE", VMM_EVENT_BALLOON },
    { "MIGRATION", VMM_EVENT_MIGRATION },
    { "MIGRATION_PASS", VMM_EVENT_MIGRATION_PASS },
    { "DEVICE_DELETED", VMM_EVENT_DEVICE_REMOVED },
    { "DEVICE_UNPLUG_GUEST_ERROR", VMM_EVENT_DEVICE_KEPT },
};

static void
qemuTranslateEvent(const char *name, JsonObject *data, vmmEvent *ret)
{
    vmmEvent event = { .kind = VMM_EVENT_NONE };

    for (size_t i = 0; i < G_N_ELEMENTS(qemuEvents); i++) {
        if (g_str_equal(qemuEvents[i].name, name))
            event.kind = qemuEvents[i].kind;
    }
    event.byGuest = jsonGetBool(data, "guest", false);
    if (event.kind == VMM_EVENT_IO_ERROR)
        qemuIoError(data, &event);
    if (event.kind == VMM_EVENT_DEVICE_REMOVED || event.kind == VMM_EVENT_DEVICE_KEPT) {
        event.deviceAlias = g_strdup(jsonGetString(data, "device", NULL));
        /* A part of one, which has no name. */
        if (!event.deviceAlias)
            event.kind = VMM_EVENT_NONE;
    }
    if (event.kind == VMM_EVENT_BALLOON)
        event.balloonBytes = jsonGetUint(data, "actual", 0);
    if (event.kind == VMM_EVENT_MIGRATION)
        event.migState = vmmQemuMigState(jsonGetString(data, "status", NULL));
    if (event.kind == VMM_EVENT_MIGRATION_PASS)
        event.pass = jsonGetUint(data, "pass", 0);
    *ret = event;
}

/* ---- probing ------------------------------------------------------------------------------- */

static gint
qemuCompareNames(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Makes @names, which is used up, a sorted list. */
static GStrv
qemuSorted(GPtrArray *names)
{
    g_ptr_array_sort(names, qemuCompareNames);
    g_ptr_array_add(names, NULL);
    return (GStrv)g_ptr_array_free(names, FALSE);
}

/* One machine and, if it has one, its other name. */
static void
qemuAddMachine(JsonObject *item, const char *name, GPtrArray *machines, GPtrArray *aliases, GPtrArray *limits)
{
    const char *alias = jsonGetString(item, "alias", NULL);
    gint64 cpus = jsonGetInt(item, "cpu-max", 0);

    g_ptr_array_add(machines, g_strdup(name));
    if (cpus > 0)
        g_ptr_array_add(limits, g_strdup_printf("%s=%" G_GINT64_FORMAT, name, cpus));
    if (!alias)
        return;
    g_ptr_array_add(machines, g_strdup(alias));
    g_ptr_array_add(aliases, g_strdup_printf("%s=%s", alias, name));
    if (cpus > 0)
        g_ptr_array_add(limits, g_strdup_printf("%s=%" G_GINT64_FORMAT, alias, cpus));
}

static bool
qemuInspectMachines(control *ctl, vmmInfo *info, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-machines", NULL, -1, 0, error);
    JsonArray *list = jsonNodeArray(answer);
    GPtrArray *machines, *aliases, *limits;

    if (!answer)
        return false;
    if (!list)
        return vmmQemuBadAnswer("query-machines", error);

    machines = g_ptr_array_new();
    aliases = g_ptr_array_new();
    limits = g_ptr_array_new();
    for (guint i = 0; i < json_array_get_length(list); i++) {
        JsonObject *item = jsonNodeObject(json_array_get_element(list, i));
        const char *name = jsonGetString(item, "name", NULL);

        if (!name)
            continue;
        qemuAddMachine(item, name, machines, aliases, limits);
        /* Those we run guests on. */
        if (g_str_equal(name, "microvm") || g_str_has_prefix(name, "pc-q35-")) {
            gint64 cpus = jsonGetInt(item, "cpu-max", 0);

            info->maxCpus = MAX(info->maxCpus, (unsigned)CLAMP(cpus, 0, G_MAXINT));
        }
    }
    info->machines = qemuSorted(machines);
    info->aliases = qemuSorted(aliases);
    info->cpuLimits = qemuSorted(limits);
    return true;
}

static bool
qemuInspectCpus(control *ctl, vmmInfo *info, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-cpu-definitions", NULL, -1, 0, error);
    JsonArray *list = jsonNodeArray(answer);
    GPtrArray *cpus;

    if (!answer)
        return false;
    if (!list)
        return vmmQemuBadAnswer("query-cpu-definitions", error);

    cpus = g_ptr_array_new();
    for (guint i = 0; i < json_array_get_length(list); i++) {
        JsonObject *item = jsonNodeObject(json_array_get_element(list, i));
        const char *name = jsonGetString(item, "name", NULL);

        if (name)
            g_ptr_array_add(cpus, g_strdup(name));
    }
    info->cpus = qemuSorted(cpus);
    return true;
}

/* The option exists only in binaries that were built with what it takes. */
static bool
qemuInspectOptions(control *ctl, vmmInfo *info, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-command-line-options", NULL, -1, 0, error);
    JsonArray *list = jsonNodeArray(answer);

    if (!answer)
        return false;
    if (!list)
        return vmmQemuBadAnswer("query-command-line-options", error);
    for (guint i = 0; i < json_array_get_length(list); i++) {
        JsonObject *item = jsonNodeObject(json_array_get_element(list, i));

        if (g_str_equal(jsonGetString(item, "option", ""), "sandbox"))
            info->sandbox = true;
    }
    return true;
}

static bool
qemuInspect(control *ctl, vmmInfo *info, GError **error)
{
    return qemuInspectMachines(ctl, info, error) && qemuInspectCpus(ctl, info, error) &&
        qemuInspectOptions(ctl, info, error);
}

#define QEMU_PROBE_COMMON \
    "-no-user-config", "-nodefaults", "-display", "none", \
    "-chardev", "socket,id=control,fd=" G_STRINGIFY(VMM_PROBE_CONTROL_FD), \
    "-mon", "chardev=control,mode=control"

/* The guest ends the VMM by writing to the exit device. */
#define QEMU_PROBE_GUEST \
    "-S", "-m", "16", "-smp", "1", "-bios", "/dev/fd/" G_STRINGIFY(VMM_PROBE_ROM_FD), \
    "-device", "isa-debug-exit,iobase=0xf4,iosize=4"

static const char *const qemuProbeArgs[] = {
    QEMU_PROBE_COMMON, "-machine", "none", NULL
};
static const char *const qemuKvmArgs[] = {
    QEMU_PROBE_COMMON, QEMU_PROBE_GUEST, "-machine", "q35,accel=kvm", NULL
};
static const char *const qemuTcgArgs[] = {
    QEMU_PROBE_COMMON, QEMU_PROBE_GUEST, "-machine", "q35,accel=tcg", NULL
};

/* ---- the row ------------------------------------------------------------------------------- */

static const vmmOps qemuOps = {
    .status = qemuStatus,
    .pause = qemuPause,
    .resume = qemuResume,
    .powerdown = qemuPowerdown,
    .reset = qemuReset,
    .quit = qemuQuit,
    .migrateStart = vmmQemuMigrateStart,
    .migrateContinue = vmmQemuMigrateContinue,
    .migrateCancel = vmmQemuMigrateCancel,
    .migrateRelease = vmmQemuMigrateRelease,
    .migrateStatus = vmmQemuMigrateStatus,
    .migrateTune = vmmQemuMigrateTune,
    .migrateCache = vmmQemuMigrateCache,
    .incomingAttach = vmmQemuIncomingAttach,
    .incomingListen = vmmQemuIncomingListen,
    .balloonGet = qemuBalloonGet,
    .balloonSet = qemuBalloonSet,
    .balloonStats = qemuBalloonStats,
    .balloonPeriod = qemuBalloonPeriod,
    .blockStats = qemuBlockStats,
    .vcpuThreads = qemuVcpuThreads,
    .chardevPath = qemuChardevPath,
    .devicePlug = vmmQemuDevicePlug,
    .deviceUnplug = vmmQemuDeviceUnplug,
    .deviceForget = vmmQemuDeviceForget,
    .deviceList = vmmQemuDeviceList,
    .translateEvent = qemuTranslateEvent,
};

static const char *const qemuBinaries[] = { "qemu-system-x86_64", "qemu-kvm", NULL };

static const vmmTraits qemuTraits = {
    .name = "qemu",
    .title = "QEMU",
    .binaries = qemuBinaries,
    .minVersion = 6002000,
    .cmdline = VMM_CMDLINE_QEMU,
    .controlWhileIncoming = true,
    .startsOnArrival = false,
    .exitsAfterMigration = false,
    .completedIsProof = true,        /* the return path, see vmmQemuMigrateStart() */
    .streamTwoWay = false,
    .canLimitSpeed = true,
    .canSetDowntime = true,
    .canReportProgress = true,
    .canPauseBeforeSwitchover = true,
    .canCountBlocks = true,
    .canPlug = true,
    .unplugMs = 5000,
    .canAutoConverge = true,
    .canXbzrle = true,
    .canParallel = true,
    .xbzrleCacheBytes = UINT64_C(64) << 20,
    .streamFd = true,
    .ops = &qemuOps,
};

const vmmRow vmmRowQemu = {
    .traits = &qemuTraits,
    .versionPrefix = "QEMU emulator version ",
    .probeArgs = qemuProbeArgs,
    .inspect = qemuInspect,
    .kvmArgs = qemuKvmArgs,
    .tcgArgs = qemuTcgArgs,
};
