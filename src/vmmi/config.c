/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmmi/config.h"

#include <string.h>

#include "vmmi/code.h"
#include "vmmi/message.h"
#include "vmmi/text.h"

#define DEFAULT_CONNECTION "qemu:///system"
#define DEFAULT_MONITOR_MS 1000
/* An hour between two looks is none. */
#define MONITOR_MAX_S 3600
/* Downtimes are milliseconds in a signed 64-bit number of microseconds in some VMMs; speeds are MiB in bytes. */
#define NUMBER_MAX ((guint64)G_MAXINT64 >> 20)

typedef enum { KEY_STRING, KEY_NUMBER, KEY_CHOICE } keyKind;

#define FIELD(member) offsetof(vmmiConfig, member)
static const struct {
    const char *name;
    keyKind kind;
    size_t offset;
} keys[] = {
    { "connection", KEY_STRING, FIELD(connection) },
    { "logFilePath", KEY_STRING, FIELD(logFile) },
    { "verbose", KEY_NUMBER, FIELD(verbose) },
    { "bandwidth", KEY_NUMBER, FIELD(bandwidthMiBs) },
    { "max_downtime", KEY_NUMBER, FIELD(maxDowntimeMs) },
    { "secure", KEY_CHOICE, FIELD(secure) },
    { "tls", KEY_CHOICE, FIELD(tls) },
    { "tunnelled", KEY_CHOICE, FIELD(tunnelled) },
    { "persistent", KEY_CHOICE, FIELD(persistent) },
    { "undefine_source", KEY_CHOICE, FIELD(undefineSource) },
    { "compressed", KEY_CHOICE, FIELD(compressed) },
    { "auto_converge", KEY_CHOICE, FIELD(autoConverge) },
    { "postcopy", KEY_CHOICE, FIELD(postcopy) },
};

vmmiConfig *
vmmiConfigNew(void)
{
    vmmiConfig *config = g_new0(vmmiConfig, 1);

    config->connection = g_strdup(DEFAULT_CONNECTION);
    config->verbose = 1;
    config->monitorMs = DEFAULT_MONITOR_MS;
    config->all = json_object_new();
    return config;
}

static void
configClear(vmmiConfig *config)
{
    g_free(config->connection);
    g_free(config->logFile);
    g_free(config->username);
    g_free(config->passwordFile);
    json_object_unref(config->all);
}

void
vmmiConfigFree(vmmiConfig *config)
{
    if (!config)
        return;
    configClear(config);
    g_free(config);
}

static bool
wrong(const char *name, const char *wanted, GError **error)
{
    g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION,
                _("The configuration key '%1$s' must be %2$s."), name, wanted);
    return false;
}

static bool
takeString(JsonObject *from, const char *name, char **field, GError **error)
{
    const char *text = vmmiJsonString(from, name);

    if (!json_object_has_member(from, name))
        return true;
    if (!text || !*text)
        return wrong(name, _("a string that is not empty"), error);
    g_free(*field);
    *field = g_strdup(text);
    return true;
}

static bool
takeNumber(JsonObject *from, const char *name, guint64 *field, GError **error)
{
    guint64 number = 0;
    bool present;

    /* 'verbose' is a number that others may write as true or false. */
    if (json_object_has_member(from, name) && g_str_equal(name, "verbose") &&
        json_node_get_value_type(json_object_get_member(from, name)) == G_TYPE_BOOLEAN) {
        *field = json_object_get_boolean_member(from, name);
        return true;
    }
    if (!vmmiJsonNumber(from, name, &number, &present) || number > NUMBER_MAX)
        return wrong(name, _("a whole number that is not negative"), error);
    if (present)
        *field = number;
    return true;
}

static bool
takeChoice(JsonObject *from, const char *name, vmmiChoice *field, GError **error)
{
    JsonNode *node = json_object_get_member(from, name);

    if (!node)
        return true;
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_BOOLEAN)
        return wrong(name, _("true or false"), error);
    *field = json_node_get_boolean(node) ? VMMI_YES : VMMI_NO;
    return true;
}

/* Seconds; a fraction is an extension. */
static bool
takeInterval(JsonObject *from, vmmiConfig *config, GError **error)
{
    JsonNode *node = json_object_get_member(from, "monitorInterval");
    GType type = node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_value_type(node) : G_TYPE_INVALID;
    double seconds;

    if (!node)
        return true;
    if (type != G_TYPE_INT64 && type != G_TYPE_DOUBLE)
        return wrong("monitorInterval", _("a number of seconds"), error);
    seconds = json_node_get_double(node);
    if (!(seconds >= 0.05 && seconds <= MONITOR_MAX_S))
        return wrong("monitorInterval", _("a number of seconds from 0.05 to 3600"), error);
    config->monitorMs = seconds * 1000;
    return true;
}

static bool
takeCredentials(JsonObject *from, vmmiConfig *config, GError **error)
{
    JsonObject *credentials = vmmiJsonObject(from, "connectionCredentials");

    if (!json_object_has_member(from, "connectionCredentials"))
        return true;
    if (!credentials)
        return wrong("connectionCredentials", _("an object"), error);
    return takeString(credentials, "username", &config->username, error) &&
        takeString(credentials, "passwordFile", &config->passwordFile, error);
}

static bool
takeAll(vmmiConfig *config, JsonObject *from, GError **error)
{
    g_autoptr(GList) names = json_object_get_members(from);
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(keys); i++) {
        void *field = (char *)config + keys[i].offset;

        if (keys[i].kind == KEY_STRING ? !takeString(from, keys[i].name, field, error) :
            keys[i].kind == KEY_NUMBER ? !takeNumber(from, keys[i].name, field, error) :
            !takeChoice(from, keys[i].name, field, error))
            return false;
    }
    if (!takeInterval(from, config, error) || !takeCredentials(from, config, error))
        return false;
    for (GList *l = names; l; l = l->next)
        json_object_set_member(config->all, l->data, json_node_copy(json_object_get_member(from, l->data)));
    return true;
}

/* A copy, so that a configuration that is wrong in its last key changes nothing. */
static vmmiConfig
configCopy(const vmmiConfig *config)
{
    g_autoptr(GList) names = json_object_get_members(config->all);
    vmmiConfig copy = *config;

    copy.connection = g_strdup(config->connection);
    copy.logFile = g_strdup(config->logFile);
    copy.username = g_strdup(config->username);
    copy.passwordFile = g_strdup(config->passwordFile);
    copy.all = json_object_new();
    for (GList *l = names; l; l = l->next)
        json_object_set_member(copy.all, l->data, json_node_copy(json_object_get_member(config->all, l->data)));
    return copy;
}

bool
vmmiConfigMerge(vmmiConfig *config, const char *text, gssize length, const char *origin, GError **error)
{
    g_autoptr(JsonObject) body = vmmiMessageParse(text, length, "configuration", false, error);
    vmmiConfig merged = configCopy(config);

    if (!body || !takeAll(&merged, body, error)) {
        configClear(&merged);
        g_prefix_error(error, _("The configuration from '%1$s' cannot be used: "), origin);
        return false;
    }
    configClear(config);
    *config = merged;
    return true;
}

bool
vmmiConfigMergeFile(vmmiConfig *config, const char *path, bool mayLack, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autofree char *text = NULL;
    gsize length;

    if (!g_file_get_contents(path, &text, &length, &problem)) {
        if (mayLack && g_error_matches(problem, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return true;
        g_set_error(error, VMMI_ERROR, VMMI_BAD_FILE, _("The configuration cannot be read: %1$s"), problem->message);
        return false;
    }
    return vmmiConfigMerge(config, text, length, path, error);
}
