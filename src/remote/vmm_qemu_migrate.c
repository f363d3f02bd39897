/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm_qemu_migrate.c: QEMU's migrations
 *
 * QEMU never makes or accepts a network connection for a migration here: it gets a connected descriptor under a name
 * (getfd) and the URI "fd:NAME", or, for several connections at once, a unix socket of this host.  Capabilities and
 * parameters outlive a migration, also one that arrived, so each start sets all of them, also those it does not want:
 * nothing is inherited from the migration before.
 */
#include <string.h>

#include "base/error.h"
#include "base/fault.h"
#include "remote/json.h"
#include "remote/vmm_qemu_priv.h"

#include "base/gettext.h"

#define QEMU_FD_NAME "migration"
#define QEMU_HOLD_NAME "migration-hold"
#define QEMU_FD_URI "fd:" QEMU_FD_NAME

/* QEMU's own default is 128 MiB/s; it has no word for "unlimited". */
#define QEMU_UNLIMITED_BANDWIDTH ((gint64)1 << 50)
#define QEMU_DEFAULT_DOWNTIME_MS 300
#define QEMU_DEFAULT_THROTTLE_INITIAL 20
#define QEMU_DEFAULT_THROTTLE_INCREMENT 10

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
    return vmmQemuDo(ctl, "migrate-set-capabilities", arguments, -1, error);
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

/* What both sides must agree on when the memory goes through channels of its own. */
static void
qemuAddChannels(JsonObject *parameters, const vmmMigSpec *spec)
{
    static const char *const methods[] = {
        [VMM_COMPRESS_NONE] = "none", [VMM_COMPRESS_ZLIB] = "zlib", [VMM_COMPRESS_ZSTD] = "zstd",
    };

    if (spec->channels > 0)
        json_object_set_int_member(parameters, "multifd-channels", spec->channels);
    json_object_set_string_member(parameters, "multifd-compression",
                                  methods[spec->channels > 0 ? spec->channelCompress : VMM_COMPRESS_NONE]);
    if (spec->channels > 0 && spec->compressLevel > 0 && spec->channelCompress == VMM_COMPRESS_ZLIB)
        json_object_set_int_member(parameters, "multifd-zlib-level", spec->compressLevel);
    if (spec->channels > 0 && spec->compressLevel > 0 && spec->channelCompress == VMM_COMPRESS_ZSTD)
        json_object_set_int_member(parameters, "multifd-zstd-level", spec->compressLevel);
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
    if (spec->xbzrleCacheBytes > 0)
        json_object_set_int_member(parameters, "xbzrle-cache-size",
                                   (gint64)MIN(spec->xbzrleCacheBytes, (uint64_t)G_MAXINT64));
    qemuAddChannels(parameters, spec);
    return vmmQemuDo(ctl, "migrate-set-parameters", parameters, -1, error);
}

/* Let @command use the descriptor handed over before; it does not stay in the VMM if that fails. */
static bool
qemuUseFd(control *ctl, const char *command, JsonObject *arguments, GError **error)
{
    json_object_set_string_member(arguments, "uri", QEMU_FD_URI);
    if (vmmQemuDo(ctl, command, arguments, -1, error))
        return true;
    /* The first error counts; the VMM may have taken it out of its table already. */
    vmmQemuDo(ctl, "closefd", vmmQemuArgString("fdname", QEMU_FD_NAME), -1, NULL);
    return false;
}

static bool
qemuGiveFd(control *ctl, int fd, GError **error)
{
    return vmmQemuDo(ctl, "getfd", vmmQemuArgString("fdname", QEMU_FD_NAME), fd, error);
}

bool
vmmQemuMigrateStart(control *ctl, const vmmMigSpec *spec, int fd, GError **error)
{
    const qemuCapability caps[] = {
        { "events", true },
        { "return-path", !spec->oneWay },
        { "pause-before-switchover", spec->pauseBeforeSwitchover },
        { "auto-converge", spec->autoConverge },
        { "xbzrle", spec->xbzrleCacheBytes > 0 },
        { "multifd", spec->channels > 0 },
    };
    g_autofree char *uri = NULL;

    if (FAULT_ERROR(MIGRATE_START, error) ||
        !qemuSetCapabilities(ctl, caps, G_N_ELEMENTS(caps), error) ||
        !qemuSetParameters(ctl, spec, error))
        return false;
    if (spec->hold && !vmmQemuDo(ctl, "getfd", vmmQemuArgString("fdname", QEMU_HOLD_NAME), spec->holdFd, error))
        return false;
    if (!spec->unixPath)
        return qemuGiveFd(ctl, fd, error) && qemuUseFd(ctl, "migrate", json_object_new(), error);
    uri = g_strdup_printf("unix:%s", spec->unixPath);
    return vmmQemuDo(ctl, "migrate", vmmQemuArgString("uri", uri), -1, error);
}

bool
vmmQemuMigrateContinue(control *ctl, GError **error)
{
    if (FAULT_ERROR(MIGRATE_CONTINUE, error))
        return false;
    return vmmQemuDo(ctl, "migrate-continue", vmmQemuArgString("state", "pre-switchover"), -1, error);
}

bool
vmmQemuMigrateCancel(control *ctl, GError **error)
{
    if (FAULT_ERROR(MIGRATE_CANCEL, error))
        return false;
    return vmmQemuDo(ctl, "migrate_cancel", NULL, -1, error);
}

bool
vmmQemuMigrateRelease(control *ctl, GError **error)
{
    return vmmQemuDo(ctl, "closefd", vmmQemuArgString("fdname", QEMU_HOLD_NAME), -1, error);
}

bool
vmmQemuMigrateTune(control *ctl, const vmmMigSpec *spec, GError **error)
{
    JsonObject *parameters = json_object_new();

    qemuAddSpeed(parameters, spec);
    return vmmQemuDo(ctl, "migrate-set-parameters", parameters, -1, error);
}

bool
vmmQemuMigrateCache(control *ctl, uint64_t bytes, GError **error)
{
    return vmmQemuDo(ctl, "migrate-set-parameters",
                     vmmQemuArgInt("xbzrle-cache-size", (gint64)MIN(bytes, (uint64_t)G_MAXINT64)), -1, error);
}

/* Both sides must agree on the return path and on channels; what else the source may use needs nothing here. */
static bool
qemuIncomingPrepare(control *ctl, const vmmMigSpec *spec, GError **error)
{
    const qemuCapability caps[] = {
        { "events", true },
        { "return-path", true },
        { "multifd", spec->channels > 0 },
    };
    JsonObject *parameters;

    if (FAULT_ERROR(INCOMING_ATTACH, error) || !qemuSetCapabilities(ctl, caps, G_N_ELEMENTS(caps), error))
        return false;
    if (spec->channels == 0)
        return true;
    parameters = json_object_new();
    qemuAddChannels(parameters, spec);
    return vmmQemuDo(ctl, "migrate-set-parameters", parameters, -1, error);
}

/* Since 9.1 it can be told to stay when the stream is bad, so that it can be asked why. */
static bool
qemuIncomingStay(control *ctl, const char *uri)
{
    JsonObject *stay = vmmQemuArgString("uri", uri);

    json_object_set_boolean_member(stay, "exit-on-error", FALSE);
    return vmmQemuDo(ctl, "migrate-incoming", stay, -1, NULL);
}

bool
vmmQemuIncomingAttach(control *ctl, int fd, GError **error)
{
    const vmmMigSpec plain = { .channels = 0 };

    return qemuIncomingPrepare(ctl, &plain, error) && qemuGiveFd(ctl, fd, error) &&
        (qemuIncomingStay(ctl, QEMU_FD_URI) ||
         qemuUseFd(ctl, "migrate-incoming", json_object_new(), error));
}

bool
vmmQemuIncomingListen(control *ctl, const char *path, const vmmMigSpec *spec, GError **error)
{
    g_autofree char *uri = g_strdup_printf("unix:%s", path);

    return qemuIncomingPrepare(ctl, spec, error) &&
        (qemuIncomingStay(ctl, uri) ||
         vmmQemuDo(ctl, "migrate-incoming", vmmQemuArgString("uri", uri), -1, error));
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
vmmMigState
vmmQemuMigState(const char *name)
{
    for (size_t i = 0; name && i < G_N_ELEMENTS(qemuMigStates); i++) {
        if (g_str_equal(qemuMigStates[i].name, name))
            return qemuMigStates[i].state;
    }
    return name ? VMM_MIG_ACTIVE : VMM_MIG_NONE;
}

bool
vmmQemuMigrateStatus(control *ctl, vmmMigStatus *ret, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "query-migrate", NULL, -1, 0, error);
    JsonObject *root = jsonNodeObject(answer);
    JsonObject *ram = jsonGetObject(root, "ram");
    JsonObject *disk = jsonGetObject(root, "disk");
    JsonObject *cache = jsonGetObject(root, "xbzrle-cache");
    vmmMigStatus status = { 0 };

    if (!answer)
        return false;
    if (!root)
        return vmmQemuBadAnswer("query-migrate", error);

    status.state = vmmQemuMigState(jsonGetString(root, "status", NULL));
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

    status.cacheBytes = jsonGetUint(cache, "cache-size", 0);
    status.cacheSentBytes = jsonGetUint(cache, "bytes", 0);
    status.cacheSentPages = jsonGetUint(cache, "pages", 0);
    status.cacheMisses = jsonGetUint(cache, "cache-miss", 0);
    status.cacheOverflows = jsonGetUint(cache, "overflow", 0);
    *ret = status;
    return true;
}
