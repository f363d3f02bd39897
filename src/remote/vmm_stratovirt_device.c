/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm_stratovirt_device.c: devices of StratoVirt that come and go while the guest runs
 *
 * Theory of operation: the options of a command line become commands.  StratoVirt's commands are no copies of its options: keys
 * have other names, some values other types, and a key that is not known is an error; so what an option says is a table.
 *
 * It lists no devices.  But a device_add looks first of all whether it has a device of that id, and only then what it is to be:
 * asked for a driver that does not exist, it tells whether the id is there, and changes nothing.  And that must be known: what is behind a
 * device may be removed while it is in use, which takes the locks away from its image, and a device_del of what is not there ends
 * a VMM into which its guest has migrated.
 */
#include <string.h>

#include "base/error.h"
#include "remote/json.h"
#include "remote/vmm_device.h"
#include "remote/vmm_stratovirt_priv.h"

#include "base/gettext.h"

#define NO_DRIVER "none-such"

/* ---- is it there? -------------------------------------------------------------------------- */

typedef enum { DEVICE_UNKNOWN, DEVICE_ABSENT, DEVICE_PRESENT } deviceSight;

static JsonObject *
deviceArg(const char *name, const char *value)
{
    JsonObject *object = json_object_new();

    json_object_set_string_member(object, name, value);
    return object;
}

/* UNKNOWN with the error set. */
static deviceSight
deviceLook(control *ctl, const char *alias, GError **error)
{
    JsonObject *arguments = deviceArg("id", alias);
    g_autofree char *present = g_strdup_printf("Device id %s existed", alias);
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(GError) err = NULL;

    json_object_set_string_member(arguments, "driver", NO_DRIVER);
    answer = controlCall(ctl, "device_add", arguments, -1, 0, &err);
    if (answer) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The VMM's answer to '%1$s' lacks what was asked for."), "device_add");
        return DEVICE_UNKNOWN;
    }
    if (g_error_matches(err, BASE_ERROR, BASE_ERROR_OPERATION_FAILED)) {
        if (strstr(err->message, present))
            return DEVICE_PRESENT;
        if (strstr(err->message, "Driver " NO_DRIVER " is not support"))
            return DEVICE_ABSENT;
    }
    g_propagate_error(error, g_steal_pointer(&err));
    return DEVICE_UNKNOWN;
}

/* ---- an option as arguments ---------------------------------------------------------------- */

typedef enum { VALUE_STRING, VALUE_NUMBER, VALUE_SWITCH, VALUE_AIO } valueType;

/* What a key of an option is called in a command: "a.b": member b of the object a; NULL: nowhere. */
typedef struct {
    const char *key, *member;
    valueType type;
} deviceKey;

static const deviceKey driveKeys[] = {
    { "id", "node-name", VALUE_STRING },
    { "file", "file.filename", VALUE_STRING },
    { "aio", "file.aio", VALUE_AIO },
    { "direct", "cache.direct", VALUE_SWITCH },
    { "format", "driver", VALUE_STRING },
    { "readonly", "read-only", VALUE_SWITCH },
    { "discard", "discard", VALUE_STRING },
    { "detect-zeroes", "detect-zeroes", VALUE_STRING },
    /* Its name has a dot. */
    { "throttling.iops-total", "throttling.iops-total", VALUE_NUMBER },
    { "if", NULL, VALUE_STRING },
};

static const deviceKey netdevKeys[] = {
    { "", "type", VALUE_STRING },
    { "id", "id", VALUE_STRING },
    { "ifname", "ifname", VALUE_STRING },
    { "fd", "fd", VALUE_STRING },
    { "fds", "fds", VALUE_STRING },
    { "queues", NULL, VALUE_STRING },
};

static const deviceKey deviceKeys[] = {
    { "", "driver", VALUE_STRING },
    { "id", "id", VALUE_STRING },
    { "bus", "bus", VALUE_STRING },
    { "addr", "addr", VALUE_STRING },
    { "multifunction", "multifunction", VALUE_SWITCH },
    { "drive", "drive", VALUE_STRING },
    { "serial", "serial", VALUE_STRING },
    { "iothread", "iothread", VALUE_STRING },
    { "num-queues", "num-queues", VALUE_NUMBER },
    { "queue-size", "queue-size", VALUE_NUMBER },
    { "bootindex", "boot_index", VALUE_NUMBER },
    { "netdev", "netdev", VALUE_STRING },
    { "mac", "mac", VALUE_STRING },
    { "mq", "mq", VALUE_STRING },            /* see plugCheckQueues() */
};

static void
argumentSet(JsonObject *object, const char *member, valueType type, const char *value)
{
    switch (type) {
    case VALUE_NUMBER:
        json_object_set_int_member(object, member, g_ascii_strtoll(value, NULL, 10));
        break;
    case VALUE_SWITCH:
        json_object_set_boolean_member(object, member, g_str_equal(value, "on"));
        break;
    case VALUE_AIO:
        json_object_set_string_member(object, member, g_str_equal(value, "io_uring") ? "iouring" : value);
        break;
    case VALUE_STRING:
        json_object_set_string_member(object, member, value);
        break;
    }
}

/* The object in @object called by the first @len bytes of @name; made if it is not there. */
static JsonObject *
argumentGroup(JsonObject *object, const char *name, size_t len)
{
    g_autofree char *group = g_strndup(name, len);

    if (!json_object_has_member(object, group))
        json_object_set_object_member(object, group, json_object_new());
    return json_object_get_object_member(object, group);
}

/* One "key=value"; false: there is no way to say that. */
static bool
argumentAdd(JsonObject *object, const deviceKey *keys, size_t nkeys, const char *key, const char *value)
{
    for (size_t i = 0; i < nkeys; i++) {
        const char *member = keys[i].member;
        const char *dot;

        if (!g_str_equal(keys[i].key, key))
            continue;
        dot = member && !g_str_equal(member, key) ? strchr(member, '.') : NULL;
        if (dot)
            argumentSet(argumentGroup(object, member, (size_t)(dot - member)), dot + 1, keys[i].type, value);
        else if (member)
            argumentSet(object, member, keys[i].type, value);
        return true;
    }
    return false;
}

/* The list @text, which has no comma in a value; the caller's. NULL with error set. */
static JsonObject *
argumentsMake(const char *text, const deviceKey *keys, size_t nkeys, GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    g_autoptr(JsonObject) object = json_object_new();

    for (size_t i = 0; words[i]; i++) {
        char *equals = strchr(words[i], '=');

        if (equals)
            *equals = '\0';
        if (!argumentAdd(object, keys, nkeys, equals ? words[i] : "", equals ? equals + 1 : words[i])) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                        _("StratoVirt has no way to say '%1$s' of a device that comes while the guest runs."), words[i]);
            return NULL;
        }
    }
    return g_steal_pointer(&object);
}

/* ---- one option ------------------------------------------------------------------------------ */

/* Without the host's cache it would go without a thread, whatever it is told: the guest would wait for every access. */
static bool
plugCheckDrive(JsonObject *arguments, GError **error)
{
    JsonObject *file = jsonGetObject(arguments, "file");
    const char *aio = jsonGetString(file, "aio", "off");

    json_object_set_string_member(file, "driver", "file");
    if (jsonGetBool(jsonGetObject(arguments, "cache"), "direct", true) || g_str_equal(aio, "off"))
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                _("A disk of StratoVirt that comes while the guest runs cannot have io='%1$s' with cache='writeback': leave io= out, or use cache='none'."),
                aio);
    return false;
}

static bool
forgetDrive(control *ctl, const char *value, GError **error)
{
    g_autoptr(JsonObject) arguments = argumentsMake(value, driveKeys, G_N_ELEMENTS(driveKeys), error);

    return arguments &&
        vmmStratovirtDo(ctl, "blockdev-del", deviceArg("node-name", jsonGetString(arguments, "node-name", "")), error);
}

static bool
plugDrive(control *ctl, const char *value, const vmmPlugFds *fds G_GNUC_UNUSED, GError **error)
{
    g_autoptr(JsonObject) arguments = argumentsMake(value, driveKeys, G_N_ELEMENTS(driveKeys), error);

    if (!arguments || !plugCheckDrive(arguments, error))
        return false;
    if (vmmStratovirtDo(ctl, "blockdev-add", json_object_ref(arguments), NULL))
        return true;
    /* It may be left over: of a device that is known not to be there. */
    forgetDrive(ctl, value, NULL);
    return vmmStratovirtDo(ctl, "blockdev-add", json_object_ref(arguments), error);
}

static bool
forgetNetdev(control *ctl, const char *value, GError **error)
{
    g_autoptr(JsonObject) arguments = argumentsMake(value, netdevKeys, G_N_ELEMENTS(netdevKeys), error);

    return arguments && vmmStratovirtDo(ctl, "netdev_del", deviceArg("id", jsonGetString(arguments, "id", "")), error);
}

/* Hands over all descriptors; their names, as "fd" and "fds" want them. NULL with error set. */
static char *
plugPass(control *ctl, const char *id, const vmmPlugFds *fds, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (size_t i = 0; i < fds->nfds; i++) {
        g_autofree char *name = g_strdup_printf("fd-%s-%zu", id, i);
        g_autoptr(JsonNode) answer = controlCall(ctl, "getfd", deviceArg("fdname", name), fds->fds[i], 0, error);

        if (!answer)
            return NULL;
        g_string_append_printf(names, "%s%s", i ? ":" : "", name);
    }
    return g_string_free(g_steal_pointer(&names), FALSE);
}

/* It never closes a descriptor that it could not use; the next one of that name takes its place. */
static bool
plugNetdev(control *ctl, const char *value, const vmmPlugFds *fds, GError **error)
{
    g_autoptr(JsonObject) arguments = argumentsMake(value, netdevKeys, G_N_ELEMENTS(netdevKeys), error);
    const char *key;
    g_autofree char *names = NULL;

    if (!arguments)
        return false;
    /* As in plugDrive(); before it has the descriptors. */
    forgetNetdev(ctl, value, NULL);
    key = json_object_has_member(arguments, "fds") ? "fds" : "fd";
    if (json_object_has_member(arguments, key)) {
        if (!(names = plugPass(ctl, jsonGetString(arguments, "id", ""), fds, error)))
            return false;
        json_object_set_string_member(arguments, key, names);
    }
    return vmmStratovirtDo(ctl, "netdev_add", json_object_ref(arguments), error);
}

static bool
plugDevice(control *ctl, const char *value, const vmmPlugFds *fds G_GNUC_UNUSED, GError **error)
{
    JsonObject *arguments = argumentsMake(value, deviceKeys, G_N_ELEMENTS(deviceKeys), error);

    return arguments && vmmStratovirtDo(ctl, "device_add", arguments, error);
}

static const vmmDeviceOption deviceOptions[] = {
    { "-drive", plugDrive, forgetDrive },
    { "-netdev", plugNetdev, forgetNetdev },
    { "-device", plugDevice, NULL },
    { NULL, NULL, NULL },
};

/* ---- all of a device ------------------------------------------------------------------------ */

/* What makes a device of the command's arguments says "mq" twice, and its own parser does not take that (seen with 2.4.0). */
static bool
plugCheckQueues(JsonObject *arguments, GError **error)
{
    if (!json_object_has_member(arguments, "mq"))
        return true;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                        _("An interface of StratoVirt that comes while the guest runs has one queue; several have only those that are there from the start."));
    return false;
}

/* The id of the device that is to come; NULL with error set. The caller's. */
static char *
deviceAlias(const char *const *args, GError **error)
{
    for (size_t i = 0; args[i] && args[i + 1]; i += 2) {
        g_autoptr(JsonObject) arguments = NULL;

        if (!g_str_equal(args[i], "-device"))
            continue;
        if (!(arguments = argumentsMake(args[i + 1], deviceKeys, G_N_ELEMENTS(deviceKeys), error)) ||
            !plugCheckQueues(arguments, error))
            return NULL;
        return g_strdup(jsonGetString(arguments, "id", ""));
    }
    g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED, _("StratoVirt has no command for the option '%1$s'."),
                args[0] ? args[0] : "");
    return NULL;
}

bool
vmmStratovirtDevicePlug(control *ctl, const char *const *args, const int *fds, size_t nfds, GError **error)
{
    const vmmPlugFds passed = { .fds = fds, .nfds = nfds };
    g_autofree char *alias = deviceAlias(args, error);
    deviceSight sight;

    if (!alias || (sight = deviceLook(ctl, alias, error)) == DEVICE_UNKNOWN)
        return false;
    if (sight == DEVICE_PRESENT) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID, _("The VMM has a device '%1$s' already."), alias);
        return false;
    }
    for (size_t i = 0; args[2 * i]; i++) {
        if (vmmDevicePlugOne(deviceOptions, "StratoVirt", ctl, args + 2 * i, &passed, error))
            continue;
        /* Its refusal may be no more than a late answer. */
        if (deviceLook(ctl, alias, NULL) == DEVICE_ABSENT)
            vmmDeviceForget(deviceOptions, ctl, args, i + 1, NULL);
        return false;
    }
    return true;
}

bool
vmmStratovirtDeviceUnplug(control *ctl, const char *alias, GError **error)
{
    deviceSight sight = deviceLook(ctl, alias, error);

    if (sight == DEVICE_PRESENT)
        return vmmStratovirtDo(ctl, "device_del", deviceArg("id", alias), error);
    if (sight == DEVICE_ABSENT)
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID, _("The VMM has no device '%1$s'."), alias);
    return false;
}

bool
vmmStratovirtDeviceForget(control *ctl, const char *const *args, GError **error)
{
    return vmmDeviceForget(deviceOptions, ctl, args, g_strv_length((char **)args) / 2, error);
}

bool
vmmStratovirtDeviceList(control *ctl, const char *const *wanted, GStrv *ret, GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

    for (size_t i = 0; wanted[i]; i++) {
        deviceSight sight = deviceLook(ctl, wanted[i], error);

        if (sight == DEVICE_UNKNOWN)
            return false;
        if (sight == DEVICE_PRESENT)
            g_ptr_array_add(names, g_strdup(wanted[i]));
    }
    g_ptr_array_add(names, NULL);
    *ret = (GStrv)g_ptr_array_free(g_steal_pointer(&names), FALSE);
    return true;
}
