/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm_stratovirt.c: StratoVirt
 *
 * Theory of operation: its control socket looks like QEMU's but is poorer: one client, one request at a time (control.h
 * keeps to both), errors without class, no statistics of disks or of a guest's memory, and no word about most of what
 * happens: a guest that powers off, a signal and a lost disk all end in nothing but the end of the socket.  Whether that
 * end was orderly, the socket's file tells: an orderly end removes it (vmmTraits.orderlyEndRemovesSocket).
 *
 * It migrates through a socket that it connects to, or listens at from its start; see vmm_stratovirt_guide.c for the rest.
 */
#include <string.h>

#include "base/error.h"
#include "base/fault.h"
#include "remote/json.h"
#include "remote/vmm_priv.h"
#include "remote/vmm_stratovirt_priv.h"

#include "base/gettext.h"

/* What a guest may have; query-machines counts one more. */
#define STRATO_MAX_VCPUS 254

/* ---- small helpers ------------------------------------------------------------------------- */

bool
vmmStratovirtDo(control *ctl, const char *command, JsonObject *arguments, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, command, arguments, -1, 0, error);

    return answer != NULL;
}

static bool
stratoBadAnswer(const char *command, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("The VMM's answer to '%1$s' lacks what was asked for."), command);
    return false;
}

static bool
stratoLacks(const char *what, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED, _("StratoVirt has no means for this: %1$s."), what);
    return false;
}

/* ---- the guest's state --------------------------------------------------------------------- */

static bool
stratoStatus(control *ctl, vmmRunState *ret, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-status", NULL, -1, 0, error);
    const char *status;

    if (!answer)
        return false;
    status = jsonGetString(jsonNodeObject(answer), "status", NULL);
    if (!status)
        return stratoBadAnswer("query-status", error);
    if (g_str_equal(status, "running"))
        *ret = VMM_RUN_RUNNING;
    else if (g_str_equal(status, "paused"))
        *ret = VMM_RUN_PAUSED;
    else
        *ret = VMM_RUN_OTHER;    /* "debug": about to start, or to end */
    return true;
}

/* Version 2.4 refuses, without a word, to bring about what is so already. */
static bool
stratoSetRun(control *ctl, const char *command, vmmRunState wanted, GError **error)
{
    g_autoptr(GError) err = NULL;
    vmmRunState now = VMM_RUN_OTHER;

    if (vmmStratovirtDo(ctl, command, NULL, &err))
        return true;
    if (g_error_matches(err, BASE_ERROR, BASE_ERROR_OPERATION_FAILED) && stratoStatus(ctl, &now, NULL) && now == wanted)
        return true;
    g_propagate_error(error, g_steal_pointer(&err));
    return false;
}

static bool
stratoPause(control *ctl, GError **error)
{
    return stratoSetRun(ctl, "stop", VMM_RUN_PAUSED, error);
}

static bool
stratoResume(control *ctl, GError **error)
{
    g_autoptr(GError) err = NULL;

    if (stratoSetRun(ctl, "cont", VMM_RUN_RUNNING, &err))
        return true;
    /* The class alone: there is no text. */
    if (!g_str_has_suffix(err->message, ": GenericError")) {
        g_propagate_error(error, g_steal_pointer(&err));
        return false;
    }
    g_set_error(error, err->domain, err->code,
                _("%1$s. It gives no reason here, but its log does; often another program has locked an image of the guest."), err->message);
    return false;
}

/* What ends the VMM may end it before the answer is out. */
static bool
stratoLast(control *ctl, const char *command, GError **error)
{
    g_autoptr(GError) err = NULL;

    if (vmmStratovirtDo(ctl, command, NULL, &err) || g_error_matches(err, BASE_ERROR, BASE_ERROR_MONITOR_CLOSED))
        return true;
    g_propagate_error(error, g_steal_pointer(&err));
    return false;
}

static bool
stratoPowerdown(control *ctl, GError **error)
{
    return stratoLast(ctl, "system_powerdown", error);
}

static bool
stratoReset(control *ctl, GError **error)
{
    return vmmStratovirtDo(ctl, "system_reset", NULL, error);
}

static bool
stratoQuit(control *ctl, GError **error)
{
    return stratoLast(ctl, "quit", error);
}

/* ---- migration: over a unix socket --------------------------------------------------------------- */

/* Its URIs have no way to write a colon inside a path. */
static bool
stratoMigrateStart(control *ctl, const vmmMigSpec *spec, int fd G_GNUC_UNUSED, GError **error)
{
    JsonObject *arguments;
    g_autofree char *uri = NULL;

    if (FAULT_ERROR(MIGRATE_START, error))
        return false;
    if (!spec->unixPath)
        return stratoLacks(_("sending a guest into a connection of the caller's"), error);
    if (strchr(spec->unixPath, ':')) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("StratoVirt cannot send to the socket '%1$s': it takes no path with a colon."), spec->unixPath);
        return false;
    }
    uri = g_strdup_printf("unix:%s", spec->unixPath);
    arguments = json_object_new();
    json_object_set_string_member(arguments, "uri", uri);
    return vmmStratovirtDo(ctl, "migrate", arguments, error);
}

static bool
stratoMigrateContinue(control *ctl G_GNUC_UNUSED, GError **error)
{
    return stratoLacks(_("waiting before the switch-over"), error);
}

static bool
stratoMigrateCancel(control *ctl, GError **error)
{
    if (FAULT_ERROR(MIGRATE_CANCEL, error))
        return false;
    return vmmStratovirtDo(ctl, "migrate_cancel", NULL, error);
}

static bool
stratoMigrateRelease(control *ctl G_GNUC_UNUSED, GError **error)
{
    return stratoLacks(_("holding a descriptor"), error);
}

static const struct { const char *name; vmmMigState state; } stratoMigStates[] = {
    { "none", VMM_MIG_NONE },
    { "setup", VMM_MIG_SETUP },
    { "active", VMM_MIG_ACTIVE },
    { "completed", VMM_MIG_COMPLETED },
    { "failed", VMM_MIG_FAILED },
    { "canceled", VMM_MIG_CANCELLED },
};

/* The state is all that it tells. */
static bool
stratoMigrateStatus(control *ctl, vmmMigStatus *ret, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-migrate", NULL, -1, 0, error);
    const char *status;

    if (!answer)
        return false;
    status = jsonGetString(jsonNodeObject(answer), "status", "");
    for (size_t i = 0; i < G_N_ELEMENTS(stratoMigStates); i++) {
        if (g_str_equal(stratoMigStates[i].name, status)) {
            *ret = (vmmMigStatus) { .state = stratoMigStates[i].state };
            return true;
        }
    }
    return stratoBadAnswer("query-migrate", error);
}

static bool
stratoMigrateTune(control *ctl G_GNUC_UNUSED, const vmmMigSpec *spec G_GNUC_UNUSED, GError **error)
{
    return stratoLacks(_("a limit of a migration's speed or downtime"), error);
}

static bool
stratoMigrateCache(control *ctl G_GNUC_UNUSED, uint64_t bytes G_GNUC_UNUSED, GError **error)
{
    return stratoLacks(_("a cache of pages that were sent"), error);
}

static bool
stratoIncomingAttach(control *ctl G_GNUC_UNUSED, int fd G_GNUC_UNUSED, GError **error)
{
    return stratoLacks(_("taking a guest from a connection of the caller's"), error);
}

static bool
stratoIncomingListen(control *ctl G_GNUC_UNUSED, const char *path G_GNUC_UNUSED,
                     const vmmMigSpec *spec G_GNUC_UNUSED, GError **error)
{
    return stratoLacks(_("listening for a guest after its start"), error);
}

/* ---- devices ------------------------------------------------------------------------------- */

static bool
stratoBalloonGet(control *ctl, uint64_t *retBytes, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-balloon", NULL, -1, 0, error);
    gint64 actual;

    if (!answer)
        return false;
    actual = jsonGetInt(jsonNodeObject(answer), "actual", -1);
    if (actual < 0)
        return stratoBadAnswer("query-balloon", error);
    *retBytes = (uint64_t)actual;
    return true;
}

static bool
stratoBalloonSet(control *ctl, uint64_t bytes, GError **error)
{
    JsonObject *arguments = json_object_new();
    g_autoptr(GError) err = NULL;

    json_object_set_int_member(arguments, "value", (gint64)MIN(bytes, (uint64_t)G_MAXINT64));
    if (vmmStratovirtDo(ctl, "balloon", arguments, &err))
        return true;
    if (strstr(err->message, "No balloon device has been activated"))
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                            _("The guest's memory balloon does nothing: its driver does not run in the guest, or not yet."));
    else
        g_propagate_error(error, g_steal_pointer(&err));
    return false;
}

static bool
stratoBalloonStats(control *ctl G_GNUC_UNUSED, const char *alias G_GNUC_UNUSED,
                   vmmGuestMemory *ret G_GNUC_UNUSED, GError **error)
{
    return stratoLacks(_("what the guest does with its memory"), error);
}

static bool
stratoBalloonPeriod(control *ctl G_GNUC_UNUSED, const char *alias G_GNUC_UNUSED,
                    unsigned seconds G_GNUC_UNUSED, GError **error)
{
    return stratoLacks(_("asking the guest for its memory again and again"), error);
}

static bool
stratoBlockStats(control *ctl G_GNUC_UNUSED, const char *alias G_GNUC_UNUSED,
                 vmmBlockStats *ret G_GNUC_UNUSED, GError **error)
{
    return stratoLacks(_("counting what disks read and write"), error);
}

typedef struct { gint64 index; gint64 thread; } stratoVcpu;

static gint
stratoVcpuCompare(gconstpointer a, gconstpointer b)
{
    const stratoVcpu *left = a, *right = b;

    return left->index < right->index ? -1 : left->index > right->index;
}

static bool
stratoVcpuThreads(control *ctl, pid_t **ret, size_t *retCount, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-cpus", NULL, -1, 0, error);
    JsonArray *list = jsonNodeArray(answer);
    g_autoptr(GArray) vcpus = g_array_new(FALSE, FALSE, sizeof(stratoVcpu));

    if (!answer)
        return false;
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonObject *item = jsonNodeObject(json_array_get_element(list, i));
        stratoVcpu vcpu = {
            .index = jsonGetInt(item, "CPU", -1),
            .thread = jsonGetInt(item, "thread_id", -1),
        };

        if (vcpu.index < 0 || vcpu.thread <= 0)
            return stratoBadAnswer("query-cpus", error);
        g_array_append_val(vcpus, vcpu);
    }
    if (vcpus->len == 0)
        return stratoBadAnswer("query-cpus", error);
    g_array_sort(vcpus, stratoVcpuCompare);
    *ret = g_new0(pid_t, vcpus->len);
    for (guint i = 0; i < vcpus->len; i++)
        (*ret)[i] = (pid_t)g_array_index(vcpus, stratoVcpu, i).thread;
    *retCount = vcpus->len;
    return true;
}

/* It lists those that are ptys, and no others. */
static bool
stratoChardevPath(control *ctl, const char *id, char **ret, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-chardev", NULL, -1, 0, error);
    JsonArray *list = jsonNodeArray(answer);

    if (!answer)
        return false;
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonObject *item = jsonNodeObject(json_array_get_element(list, i));
        const char *file = jsonGetString(item, "filename", "");

        if (g_str_equal(jsonGetString(item, "label", ""), id) && g_str_has_prefix(file, "pty:/")) {
            *ret = g_strdup(file + strlen("pty:"));
            return true;
        }
    }
    g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("The VMM knows no pty of the character device '%1$s'."), id);
    return false;
}

/* ---- events -------------------------------------------------------------------------------- */

static const struct { const char *name; vmmEventKind kind; } stratoEvents[] = {
    { "STOP", VMM_EVENT_STOP },
    { "RESUME", VMM_EVENT_RESUME },
    { "SHUTDOWN", VMM_EVENT_SHUTDOWN },
    { "RESET", VMM_EVENT_RESET },
    { "POWERDOWN", VMM_EVENT_POWERDOWN },
    { "BALLOON_CHANGED", VMM_EVENT_BALLOON },
    { "DEVICE_DELETED", VMM_EVENT_DEVICE_REMOVED },
};

static void
stratoTranslateEvent(const char *name, JsonObject *data, vmmEvent *ret)
{
    vmmEvent event = { .kind = VMM_EVENT_NONE };

    for (size_t i = 0; i < G_N_ELEMENTS(stratoEvents); i++) {
        if (g_str_equal(stratoEvents[i].name, name))
            event.kind = stratoEvents[i].kind;
    }
    event.byGuest = jsonGetBool(data, "guest", false);
    if (event.kind == VMM_EVENT_BALLOON)
        event.balloonBytes = jsonGetUint(data, "actual", 0);
    if (event.kind == VMM_EVENT_DEVICE_REMOVED) {
        event.deviceAlias = g_strdup(jsonGetString(data, "device", NULL));
        if (!event.deviceAlias)
            event.kind = VMM_EVENT_NONE;
    }
    *ret = event;
}

/* ---- probing ------------------------------------------------------------------------------- */

static gint
stratoCompareNames(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool
stratoInspect(control *ctl, vmmInfo *info, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-machines", NULL, -1, 0, error);
    JsonArray *list = jsonNodeArray(answer);
    GPtrArray *machines;

    if (!answer)
        return false;
    if (!list)
        return stratoBadAnswer("query-machines", error);
    machines = g_ptr_array_new();
    for (guint i = 0; i < json_array_get_length(list); i++) {
        const char *name = jsonGetString(jsonNodeObject(json_array_get_element(list, i)), "name", NULL);

        if (name)
            g_ptr_array_add(machines, g_strdup(name));
    }
    g_ptr_array_sort(machines, stratoCompareNames);
    g_ptr_array_add(machines, NULL);
    info->machines = (GStrv)g_ptr_array_free(machines, FALSE);
    info->aliases = g_new0(char *, 1);
    info->cpus = g_new0(char *, 1);      /* the host's alone */
    info->cpuLimits = g_new0(char *, 1);
    info->maxCpus = STRATO_MAX_VCPUS;
    return true;
}

static const char *const stratovirtProbeArgs[] = {
    "-machine", "none", "-qmp", "unix:" VMM_PROBE_SOCKET ",server,nowait", NULL
};

/* ---- the row ------------------------------------------------------------------------------- */

static const vmmOps stratovirtOps = {
    .status = stratoStatus,
    .pause = stratoPause,
    .resume = stratoResume,
    .powerdown = stratoPowerdown,
    .reset = stratoReset,
    .quit = stratoQuit,
    .migrateStart = stratoMigrateStart,
    .migrateContinue = stratoMigrateContinue,
    .migrateCancel = stratoMigrateCancel,
    .migrateRelease = stratoMigrateRelease,
    .migrateStatus = stratoMigrateStatus,
    .migrateTune = stratoMigrateTune,
    .migrateCache = stratoMigrateCache,
    .incomingAttach = stratoIncomingAttach,
    .incomingListen = stratoIncomingListen,
    .balloonGet = stratoBalloonGet,
    .balloonSet = stratoBalloonSet,
    .balloonStats = stratoBalloonStats,
    .balloonPeriod = stratoBalloonPeriod,
    .blockStats = stratoBlockStats,
    .vcpuThreads = stratoVcpuThreads,
    .chardevPath = stratoChardevPath,
    .devicePlug = vmmStratovirtDevicePlug,
    .deviceUnplug = vmmStratovirtDeviceUnplug,
    .deviceForget = vmmStratovirtDeviceForget,
    .deviceList = vmmStratovirtDeviceList,
    .translateEvent = stratoTranslateEvent,
};

static const char *const stratovirtBinaries[] = { "stratovirt", NULL };

static const vmmTraits stratovirtTraits = {
    .name = "stratovirt",
    .title = "StratoVirt",
    .binaries = stratovirtBinaries,
    .minVersion = 2004000,
    .cmdline = VMM_CMDLINE_STRATOVIRT,
    .onlyKvm = true,
    .makesControlSocket = true,
    .serialChardev = "serial_chardev",
    .logChatter = "]:INFO: ",
    .orderlyEndRemovesSocket = true,
    .endsWithGuest = true,
    .balloonHinders = true,
    .controlWhileIncoming = false,
    .startsOnArrival = true,
    .exitsAfterMigration = true,
    .streamTwoWay = true,
    .streamChanged = 2005000,
    .resumesByItself = true,
    .statesById = true,
    .balloonNeedsGuest = true,
    .canAutoConverge = true,
    .convergesByHost = true,
    .canPlug = true,
    .unplugMs = 10000,               /* the button is pressed, which a guest believes after five seconds */
    .incomingUnfiltered = true,
    .guide = &vmmStratovirtGuide,
    .snapshot = &vmmStratovirtSnapshot,
    .ops = &stratovirtOps,
};

const vmmRow vmmRowStratovirt = {
    .traits = &stratovirtTraits,
    .versionPrefix = "StratoVirt",
    .probeArgs = stratovirtProbeArgs,
    .inspect = stratoInspect,
};
