/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm_qemu_device.c: devices of QEMU that come and go while the guest runs
 *
 * Theory of operation: what a device is, is written in one place only, where command lines are made.  Here its options become commands:
 * -blockdev has the same JSON in both; -netdev and -device are lists whose values get the types that the commands want.
 */
#include <string.h>

#include "base/error.h"
#include "remote/json.h"
#include "remote/vmm_device.h"
#include "remote/vmm_qemu_priv.h"

#include "base/gettext.h"

/* Of the properties of our devices these are no strings; all others are, "on" and "off" of write-cache included. */
static const char *const deviceNumbers[] = {
    "bootindex", "host_mtu", "logical_block_size", "num-queues", "physical_block_size", "vectors", NULL
};
static const char *const deviceSwitches[] = { "mq", "multifunction", "share-rw", "vhost", NULL };

/* The parts of @text between single commas; two of them are one in a part. */
static GPtrArray *
deviceSplit(const char *text)
{
    GPtrArray *parts = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) part = g_string_new(NULL);

    for (const char *at = text; *at; at++) {
        if (*at == ',' && at[1] == ',') {
            at++;
        } else if (*at == ',') {
            g_ptr_array_add(parts, g_strdup(part->str));
            g_string_truncate(part, 0);
            continue;
        }
        g_string_append_c(part, *at);
    }
    g_ptr_array_add(parts, g_strdup(part->str));
    return parts;
}

static void
deviceSet(JsonObject *object, const char *name, const char *value)
{
    if (g_strv_contains(deviceNumbers, name))
        json_object_set_int_member(object, name, g_ascii_strtoll(value, NULL, 10));
    else if (g_strv_contains(deviceSwitches, name))
        json_object_set_boolean_member(object, name, g_str_equal(value, "on"));
    else
        json_object_set_string_member(object, name, value);
}

/* The list @text as arguments of a command; @first: what the part without a name is called. The caller's. */
static JsonObject *
deviceArguments(const char *text, const char *first)
{
    g_autoptr(GPtrArray) parts = deviceSplit(text);
    JsonObject *object = vmmQemuArgString(first, parts->pdata[0]);

    for (guint i = 1; i < parts->len; i++) {
        char *part = parts->pdata[i];
        char *equals = strchr(part, '=');

        if (!equals)
            continue;
        *equals = '\0';
        deviceSet(object, part, equals + 1);
    }
    return object;
}

/* ---- one option ---------------------------------------------------------------------------- */

static bool
plugBlockdev(control *ctl, const char *value, const vmmPlugFds *fds G_GNUC_UNUSED, GError **error)
{
    g_autoptr(JsonNode) node = json_from_string(value, error);

    return node && vmmQemuDo(ctl, "blockdev-add", json_object_ref(json_node_get_object(node)), -1, error);
}

/* It has them still, or has closed them: either is fine. */
static void
plugClose(control *ctl, const char *names)
{
    g_auto(GStrv) list = g_strsplit(names, ":", -1);

    for (size_t i = 0; list[i]; i++)
        vmmQemuDo(ctl, "closefd", vmmQemuArgString("fdname", list[i]), -1, NULL);
}

/* Hands over all descriptors; their names, as "fd" and "fds" want them. NULL with error set. */
static char *
plugPass(control *ctl, const char *id, const vmmPlugFds *fds, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);

    for (size_t i = 0; i < fds->nfds; i++) {
        g_autofree char *name = i == 0 ? g_strdup_printf("fd-%s", id) : g_strdup_printf("fd-%s-%zu", id, i);

        if (!vmmQemuDo(ctl, "getfd", vmmQemuArgString("fdname", name), fds->fds[i], error)) {
            if (i > 0)
                plugClose(ctl, names->str);
            return NULL;
        }
        g_string_append_printf(names, "%s%s", i ? ":" : "", name);
    }
    return g_string_free(g_steal_pointer(&names), FALSE);
}

static bool
plugNetdev(control *ctl, const char *value, const vmmPlugFds *fds, GError **error)
{
    JsonObject *arguments = deviceArguments(value, "type");
    const char *key = json_object_has_member(arguments, "fds") ? "fds" : "fd";
    g_autofree char *names = NULL;

    if (json_object_has_member(arguments, key)) {
        if (!(names = plugPass(ctl, jsonGetString(arguments, "id", ""), fds, error))) {
            json_object_unref(arguments);
            return false;
        }
        json_object_set_string_member(arguments, key, names);
    }
    if (vmmQemuDo(ctl, "netdev_add", arguments, -1, error))
        return true;
    if (names)
        plugClose(ctl, names);
    return false;
}

static bool
plugDevice(control *ctl, const char *value, const vmmPlugFds *fds G_GNUC_UNUSED, GError **error)
{
    return vmmQemuDo(ctl, "device_add", deviceArguments(value, "driver"), -1, error);
}

static bool
forgetBlockdev(control *ctl, const char *value, GError **error)
{
    g_autoptr(JsonNode) node = json_from_string(value, error);

    return node && vmmQemuDo(ctl, "blockdev-del",
                             vmmQemuArgString("node-name", jsonGetString(jsonNodeObject(node), "node-name", "")), -1, error);
}

static bool
forgetNetdev(control *ctl, const char *value, GError **error)
{
    g_autoptr(JsonObject) arguments = deviceArguments(value, "type");

    return vmmQemuDo(ctl, "netdev_del", vmmQemuArgString("id", jsonGetString(arguments, "id", "")), -1, error);
}

static const vmmDeviceOption deviceOptions[] = {
    { "-blockdev", plugBlockdev, forgetBlockdev },
    { "-netdev", plugNetdev, forgetNetdev },
    { "-device", plugDevice, NULL },
    { NULL, NULL, NULL },
};

/* ---- all of a device ------------------------------------------------------------------------ */

bool
vmmQemuDevicePlug(control *ctl, const char *const *args, const int *fds, size_t nfds, GError **error)
{
    const vmmPlugFds passed = { .fds = fds, .nfds = nfds };

    for (size_t i = 0; args[2 * i]; i++) {
        if (!vmmDevicePlugOne(deviceOptions, "QEMU", ctl, args + 2 * i, &passed, error)) {
            /* The one that failed too: it may have been done after the time for the answer was up. */
            vmmDeviceForget(deviceOptions, ctl, args, i + 1, NULL);
            return false;
        }
    }
    return true;
}

bool
vmmQemuDeviceUnplug(control *ctl, const char *alias, GError **error)
{
    return vmmQemuDo(ctl, "device_del", vmmQemuArgString("id", alias), -1, error);
}

bool
vmmQemuDeviceForget(control *ctl, const char *const *args, GError **error)
{
    return vmmDeviceForget(deviceOptions, ctl, args, g_strv_length((char **)args) / 2, error);
}

bool
vmmQemuDeviceList(control *ctl, const char *const *wanted G_GNUC_UNUSED, GStrv *ret, GError **error)
{
    g_autoptr(JsonNode) answer = controlCall(ctl, "qom-list", vmmQemuArgString("path", "/machine/peripheral"), -1, 0, error);
    JsonArray *list = jsonNodeArray(answer);
    GPtrArray *names;

    if (!answer)
        return false;
    if (!list)
        return vmmQemuBadAnswer("qom-list", error);
    names = g_ptr_array_new();
    for (guint i = 0; i < json_array_get_length(list); i++) {
        const char *name = jsonGetString(jsonNodeObject(json_array_get_element(list, i)), "name", NULL);

        if (name)
            g_ptr_array_add(names, g_strdup(name));
    }
    g_ptr_array_add(names, NULL);
    *ret = (GStrv)g_ptr_array_free(names, FALSE);
    return true;
}
