/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm_qemu.c: QEMU
 *
 * QEMU never makes or accepts a network connection for a migration here: it gets a connected
 * descriptor under a name (getfd) and the URI "fd:NAME".  Capabilities and parameters outlive a
 * migration that failed, so each start sets all of them, also those it does not want.
 */
#include <string.h>

#include "base/error.h"
#include "base/fault.h"
#include "remote/json.h"
#include "remote/vmm_priv.h"

#include "base/gettext.h"

#define QEMU_FD_NAME "migration"
#define QEMU_FD_URI "fd:" QEMU_FD_NAME

/* QEMU's own default is 128 MiB/s; it has no word for "unlimited". */
#define QEMU_UNLIMITED_BANDWIDTH ((gint64)1 << 50)
#define QEMU_DEFAULT_DOWNTIME_MS 300
#define QEMU_DEFAULT_THROTTLE_INITIAL 20
#define QEMU_DEFAULT_THROTTLE_INCREMENT 10

/* ---- small helpers ------------------------------------------------------------------------- */

/* A command of whose answer only success matters; takes @arguments. */
static bool
qemuDo(control *ctl, const char *command, JsonObject *arguments, int fd, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, command, arguments, fd, 0, error);

    return answer != NULL;
}

static JsonObject *
qemuArgString(const char *name, const char *value)
{
    JsonObject *arguments = json_object_new();

    json_object_set_string_member(arguments, name, value);
    return arguments;
}

static JsonObject *
qemuArgInt(const char *name, gint64 value)
{
    JsonObject *arguments = json_object_new();

    json_object_set_int_member(arguments, name, value);
    return arguments;
}

static bool
qemuBadAnswer(const char *command, GError **error)
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
        return qemuBadAnswer("query-status", error);
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
    return qemuDo(ctl, "stop", NULL, -1, error);
}

static bool
qemuResume(control *ctl, GError **error)
{
    return qemuDo(ctl, "cont", NULL, -1, error);
}

static bool
qemuPowerdown(control *ctl, GError **error)
{
    return qemuDo(ctl, "system_powerdown", NULL, -1, error);
}

static bool
qemuReset(control *ctl, GError **error)
{
    return qemuDo(ctl, "system_reset", NULL, -1, error);
}

static bool
qemuQuit(control *ctl, GError **error)
{
    g_autoptr(GError) err = NULL;

    /* It may be gone before its answer is out. */
    if (qemuDo(ctl, "quit", NULL, -1, &err) ||
        g_error_matches(err, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED))
        return true;
    g_propagate_error(error, g_steal_pointer(&err));
    return false;
}

/* ---- migration ----------------------------------------------------------------------------- */

typedef struct { const char *name; bool on; } qemuCapability;

static bool
qemuSetCapabilities(control *ctl, const qemuCapability *caps, size_t count, GError **error)
{
    JsonArray *array = json_array_new();
    JsonObject *arguments = json_object_new();

    for (size_t i = 0; i < count; i++) {
        JsonObject *cap = json_object_new();

        json_object_set_string_member(cap, "capability", caps[i].name);
        json_object_set_boolean_member(cap, "state", caps[i].on);
        json_array_add_object_element(array, cap);
    }
    json_object_set_array_member(arguments, "capabilities", array);
    return qemuDo(ctl, "migrate-set-capabilities", arguments, -1, error);
}

static void
qemuAddSpeed(JsonObject *parameters, const vmmMigSpec *spec)
{
    gint64 bandwidth = QEMU_UNLIMITED_BANDWIDTH;

    if (spec->maxBandwidth > 0)
        bandwidth = (gint64)MIN(spec->maxBandwidth, (guint64)QEMU_UNLIMITED_BANDWIDTH);
    json_object_set_int_member(parameters, "max-bandwidth", bandwidth);
    json_object_set_int_member(parameters, "downtime-limit",
                               spec->maxDowntimeMs ? (gint64)MIN(spec->maxDowntimeMs, G_MAXINT64)
                                                   : QEMU_DEFAULT_DOWNTIME_MS);
}

static bool
qemuSetParameters(control *ctl, const vmmMigSpec *spec, GError **error)
{
    JsonObject *parameters = json_object_new();

    qemuAddSpeed(parameters, spec);
    json_object_set_int_member(parameters, "cpu-throttle-initial",
                               spec->autoConvergeInitial ? spec->autoConvergeInitial
                                                         : QEMU_DEFAULT_THROTTLE_INITIAL);
    json_object_set_int_member(parameters, "cpu-throttle-increment",
                               spec->autoConvergeIncrement ? spec->autoConvergeIncrement
                                                           : QEMU_DEFAULT_THROTTLE_INCREMENT);
    if (spec->xbzrleCacheBytes > 0) {
        json_object_set_int_member(parameters, "xbzrle-cache-size",
                                   (gint64)MIN(spec->xbzrleCacheBytes, G_MAXINT64));
    }
    return qemuDo(ctl, "migrate-set-parameters", parameters, -1, error);
}

/* Let @command use the descriptor handed over before; it does not stay in the VMM if that fails. */
static bool
qemuUseFd(control *ctl, const char *command, JsonObject *arguments, GError **error)
{
    json_object_set_string_member(arguments, "uri", QEMU_FD_URI);
    if (qemuDo(ctl, command, arguments, -1, error))
        return true;
    /* The first error counts; the VMM may have taken it out of its table already. */
    qemuDo(ctl, "closefd", qemuArgString("fdname", QEMU_FD_NAME), -1, NULL);
    return false;
}

static bool
qemuGiveFd(control *ctl, int fd, GError **error)
{
    return qemuDo(ctl, "getfd", qemuArgString("fdname", QEMU_FD_NAME), fd, error);
}

static bool
qemuMigrateStart(control *ctl, const vmmMigSpec *spec, int fd, GError **error)
{
    const qemuCapability caps[] = {
        { "events", true },
        { "return-path", true },
        { "pause-before-switchover", spec->pauseBeforeSwitchover },
        { "auto-converge", spec->autoConverge },
        { "xbzrle", spec->xbzrleCacheBytes > 0 },
    };

    return !FAULT_ERROR(MIGRATE_START, error) &&
           qemuSetCapabilities(ctl, caps, G_N_ELEMENTS(caps), error) &&
           qemuSetParameters(ctl, spec, error) &&
           qemuGiveFd(ctl, fd, error) &&
           qemuUseFd(ctl, "migrate", json_object_new(), error);
}

static bool
qemuMigrateContinue(control *ctl, GError **error)
{
    if (FAULT_ERROR(MIGRATE_CONTINUE, error))
        return false;
    return qemuDo(ctl, "migrate-continue", qemuArgString("state", "pre-switchover"), -1, error);
}

static bool
qemuMigrateCancel(control *ctl, GError **error)
{
    if (FAULT_ERROR(MIGRATE_CANCEL, error))
        return false;
    return qemuDo(ctl, "migrate_cancel", NULL, -1, error);
}

static bool
qemuMigrateTune(control *ctl, const vmmMigSpec *spec, GError **error)
{
    JsonObject *parameters = json_object_new();

    qemuAddSpeed(parameters, spec);
    return qemuDo(ctl, "migrate-set-parameters", parameters, -1, error);
}

static bool
qemuIncomingAttach(control *ctl, int fd, GError **error)
{
    /* Both sides must agree on the return path; what else the source may use needs nothing here. */
    const qemuCapability caps[] = {
        { "events", true },
        { "return-path", true },
    };

    JsonObject *stay;

    if (FAULT_ERROR(INCOMING_ATTACH, error) ||
        !qemuSetCapabilities(ctl, caps, G_N_ELEMENTS(caps), error) ||
        !qemuGiveFd(ctl, fd, error))
        return false;
    /* Since 9.1 it can be told to stay when the stream is bad, so that it can be asked why. */
    stay = json_object_new();
    json_object_set_string_member(stay, "uri", QEMU_FD_URI);
    json_object_set_boolean_member(stay, "exit-on-error", FALSE);
    if (qemuDo(ctl, "migrate-incoming", stay, -1, NULL))
        return true;
    return qemuUseFd(ctl, "migrate-incoming", json_object_new(), error);
}

static const struct { const char *name; vmmMigState state; } qemuMigStates[] = {
    { "none", VMM_MIG_NONE },
    { "setup", VMM_MIG_SETUP },
    { "wait-unplug", VMM_MIG_SETUP },
    { "active", VMM_MIG_ACTIVE },
    { "postcopy-active", VMM_MIG_ACTIVE },
    { "postcopy-paused", VMM_MIG_ACTIVE },
    { "postcopy-recover", VMM_MIG_ACTIVE },
    { "pre-switchover", VMM_MIG_PRE_SWITCHOVER },
    { "device", VMM_MIG_DEVICE },
    { "completed", VMM_MIG_COMPLETED },
    { "failed", VMM_MIG_FAILED },
    { "failing", VMM_MIG_ACTIVE },
    { "cancelling", VMM_MIG_CANCELLING },
    { "cancelled", VMM_MIG_CANCELLED },
};

/* No status means that there never was a migration; an unknown name is some new stage of one. */
static vmmMigState
qemuMigState(const char *name)
{
    for (size_t i = 0; name && i < G_N_ELEMENTS(qemuMigStates); i++) {
        if (g_str_equal(qemuMigStates[i].name, name))
            return qemuMigStates[i].state;
    }
    return name ? VMM_MIG_ACTIVE : VMM_MIG_NONE;
}

static bool
qemuMigrateStatus(control *ctl, vmmMigStatus *ret, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-migrate", NULL, -1, 0, error);
    JsonObject *root = jsonNodeObject(answer);
    JsonObject *ram = jsonGetObject(root, "ram");
    JsonObject *disk = jsonGetObject(root, "disk");
    vmmMigStatus status = { 0 };

    if (!answer)
        return false;
    if (!root)
        return qemuBadAnswer("query-migrate", error);

    status.state = qemuMigState(jsonGetString(root, "status", NULL));
    status.errorText = g_strdup(jsonGetString(root, "error-desc", NULL));
    status.setupMs = jsonGetUint(root, "setup-time", 0);
    status.downtimeMs = jsonGetUint(root, "downtime", 0);
    status.expectedDowntimeMs = jsonGetUint(root, "expected-downtime", 0);
    status.totalMs = jsonGetUint(root, "total-time", 0);
    status.cpuThrottlePercent = jsonGetUint(root, "cpu-throttle-percentage", 0);

    status.ramTotal = jsonGetUint(ram, "total", 0);
    status.ramTransferred = jsonGetUint(ram, "transferred", 0);
    status.ramRemaining = jsonGetUint(ram, "remaining", 0);
    status.ramDuplicatePages = jsonGetUint(ram, "duplicate", 0);
    status.ramNormalPages = jsonGetUint(ram, "normal", 0);
    status.ramNormalBytes = jsonGetUint(ram, "normal-bytes", 0);
    /* Megabits, of 10^6. */
    status.ramBps = (uint64_t)CLAMP(jsonGetDouble(ram, "mbps", 0) * 1e6 / 8, 0, 1e18);
    status.ramDirtyPagesPerSecond = jsonGetUint(ram, "dirty-pages-rate", 0);
    status.ramIteration = jsonGetUint(ram, "dirty-sync-count", 0);
    status.ramPageSize = jsonGetUint(ram, "page-size", 0);
    status.ramPostcopyRequests = jsonGetUint(ram, "postcopy-requests", 0);

    status.diskTotal = jsonGetUint(disk, "total", 0);
    status.diskTransferred = jsonGetUint(disk, "transferred", 0);
    status.diskRemaining = jsonGetUint(disk, "remaining", 0);
    *ret = status;
    return true;
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
        return qemuBadAnswer("query-balloon", error);
    *retBytes = (uint64_t)actual;
    return true;
}

static bool
qemuBalloonSet(control *ctl, uint64_t bytes, GError **error)
{
    return qemuDo(ctl, "balloon", qemuArgInt("value", (gint64)MIN(bytes, (uint64_t)G_MAXINT64)),
                  -1, error);
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
            return qemuBadAnswer("query-cpus-fast", error);
        g_array_append_val(vcpus, vcpu);
    }
    if (!list || vcpus->len == 0)
        return qemuBadAnswer("query-cpus-fast", error);

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
    if (event.kind == VMM_EVENT_BALLOON)
        event.balloonBytes = jsonGetUint(data, "actual", 0);
    if (event.kind == VMM_EVENT_MIGRATION)
        event.migState = qemuMigState(jsonGetString(data, "status", NULL));
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

static bool
qemuInspectMachines(control *ctl, vmmInfo *info, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-machines", NULL, -1, 0, error);
    JsonArray *list = jsonNodeArray(answer);
    GPtrArray *machines, *aliases;

    if (!answer)
        return false;
    if (!list)
        return qemuBadAnswer("query-machines", error);

    machines = g_ptr_array_new();
    aliases = g_ptr_array_new();
    for (guint i = 0; i < json_array_get_length(list); i++) {
        JsonObject *item = jsonNodeObject(json_array_get_element(list, i));
        const char *name = jsonGetString(item, "name", NULL);
        const char *alias = jsonGetString(item, "alias", NULL);

        if (!name)
            continue;
        g_ptr_array_add(machines, g_strdup(name));
        if (alias) {
            g_ptr_array_add(machines, g_strdup(alias));
            g_ptr_array_add(aliases, g_strdup_printf("%s=%s", alias, name));
        }
        /* Those we run guests on. */
        if (g_str_equal(name, "microvm") || g_str_has_prefix(name, "pc-q35-")) {
            gint64 cpus = jsonGetInt(item, "cpu-max", 0);

            info->maxCpus = MAX(info->maxCpus, (unsigned)CLAMP(cpus, 0, G_MAXINT));
        }
    }
    info->machines = qemuSorted(machines);
    info->aliases = qemuSorted(aliases);
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
        return qemuBadAnswer("query-cpu-definitions", error);

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

static bool
qemuInspect(control *ctl, vmmInfo *info, GError **error)
{
    return qemuInspectMachines(ctl, info, error) && qemuInspectCpus(ctl, info, error);
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
    .migrateStart = qemuMigrateStart,
    .migrateContinue = qemuMigrateContinue,
    .migrateCancel = qemuMigrateCancel,
    .migrateStatus = qemuMigrateStatus,
    .migrateTune = qemuMigrateTune,
    .incomingAttach = qemuIncomingAttach,
    .balloonGet = qemuBalloonGet,
    .balloonSet = qemuBalloonSet,
    .blockStats = qemuBlockStats,
    .vcpuThreads = qemuVcpuThreads,
    .chardevPath = qemuChardevPath,
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
    .streamTwoWay = false,
    .canLimitSpeed = true,
    .canSetDowntime = true,
    .canReportProgress = true,
    .canPauseBeforeSwitchover = true,
    .canAutoConverge = true,
    .canXbzrle = true,
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
