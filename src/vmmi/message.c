/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmmi/message.h"

#include <string.h>

#include "vmmi/code.h"
#include "vmmi/text.h"

/* Order is told by time stamps, over both streams: a clock that is set back must not turn it round. */
static gint64
nowSeconds(void)
{
    static GMutex lock;
    static gint64 last;
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;

    g_mutex_lock(&lock);
    last = MAX(last, now);
    now = last;
    g_mutex_unlock(&lock);
    return now;
}

char *
vmmiMessageCompose(const char *type, JsonObject *body)
{
    g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
    JsonObject *root = json_object_new();
    g_autofree char *text = NULL;

    json_object_set_string_member(root, "vmmiVersion", VMMI_VERSION);
    json_object_set_string_member(root, "contentType", type);
    json_object_set_int_member(root, "timestamp", nowSeconds());
    json_object_set_object_member(root, type, body);
    json_node_take_object(node, root);
    text = json_to_string(node, FALSE);
    return g_strconcat(text, "\n", NULL);
}

char *
vmmiMessageSuccess(JsonObject *body)
{
    JsonObject *completion = json_object_new();

    json_object_set_string_member(completion, "result", "success");
    json_object_set_object_member(completion, "success", body ? body : json_object_new());
    return vmmiMessageCompose("completion", completion);
}

char *
vmmiMessageFailure(const GError *error)
{
    JsonObject *completion = json_object_new();
    JsonObject *problem = json_object_new();
    int code = error && error->domain == VMMI_ERROR ? error->code : VMMI_UNKNOWN;
    g_autofree char *details = error && error->message ? g_utf8_make_valid(error->message, -1) : NULL;

    json_object_set_int_member(problem, "code", code);
    json_object_set_string_member(problem, "message", vmmiCodeText(code));
    json_object_set_string_member(problem, "details", details && *details ? details : vmmiCodeText(code));
    json_object_set_string_member(completion, "result", "error");
    json_object_set_object_member(completion, "error", problem);
    return vmmiMessageCompose("completion", completion);
}

JsonObject *
vmmiJsonObject(JsonObject *from, const char *name)
{
    JsonNode *node = from ? json_object_get_member(from, name) : NULL;

    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

const char *
vmmiJsonString(JsonObject *from, const char *name)
{
    JsonNode *node = from ? json_object_get_member(from, name) : NULL;

    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING ?
        json_node_get_string(node) : NULL;
}

bool
vmmiJsonNumber(JsonObject *from, const char *name, guint64 *ret, bool *present)
{
    JsonNode *node = from ? json_object_get_member(from, name) : NULL;

    *present = !!node;
    if (!node)
        return true;
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64 || json_node_get_int(node) < 0)
        return false;
    *ret = json_node_get_int(node);
    return true;
}

gssize
vmmiMessageLength(const char *text, gsize length)
{
    gsize i = 0;
    int depth = 0;
    bool quoted = false;

    while (i < length && strchr(" \t\r\n", text[i]) && text[i])
        i++;
    if (i < length && text[i] != '{')
        return -1;
    for (; i < length; i++) {
        if (quoted) {
            if (text[i] == '\\')
                i++;
            else if (text[i] == '"')
                quoted = false;
            continue;
        }
        if (text[i] == '"')
            quoted = true;
        else if (text[i] == '{' || text[i] == '[')
            depth++;
        else if ((text[i] == '}' || text[i] == ']') && --depth == 0)
            return i + 1;
    }
    return 0;
}

static bool
checkHeader(JsonObject *root, const char *type, bool timeNeeded, GError **error)
{
    const char *found = vmmiJsonString(root, "contentType");
    const char *version = vmmiJsonString(root, "vmmiVersion");
    guint64 stamp;
    bool present;

    if (g_strcmp0(found, type) != 0) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION,
                    _("The message's contentType is '%1$s', not '%2$s'."), found ? found : "", type);
        return false;
    }
    if (!version || !g_str_has_prefix(version, VMMI_MAJOR)) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION,
                    _("The message's vmmiVersion is '%1$s'; this is an implementation of '%2$s'."), version ? version : "",
                    VMMI_VERSION);
        return false;
    }
    if (!vmmiJsonNumber(root, "timestamp", &stamp, &present) || (timeNeeded && !present)) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION,
                    _("The message's 'timestamp' is no number of seconds."));
        return false;
    }
    if (!vmmiJsonObject(root, type)) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION,
                    _("The message has no object '%1$s'."), type);
        return false;
    }
    return true;
}

JsonObject *
vmmiMessageParse(const char *text, gssize length, const char *type, bool timeNeeded, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    g_autoptr(GError) problem = NULL;
    JsonNode *root;

    if (!json_parser_load_from_data(parser, text, length, &problem)) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION, _("The message is not JSON: %1$s"), problem->message);
        return NULL;
    }
    root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION, _("The message is not a JSON object."));
        return NULL;
    }
    if (!checkHeader(json_node_get_object(root), type, timeNeeded, error))
        return NULL;
    return json_object_ref(vmmiJsonObject(json_node_get_object(root), type));
}

bool
vmmiCompletionParse(const char *text, vmmiCompletion *ret, GError **error)
{
    g_autoptr(JsonObject) body = vmmiMessageParse(text, -1, "completion", true, error);
    const char *result = vmmiJsonString(body, "result");
    JsonObject *problem;
    guint64 code = 0;
    bool present = false;

    if (!body)
        return false;
    if (g_strcmp0(result, "success") == 0 && vmmiJsonObject(body, "success")) {
        *ret = (vmmiCompletion) { .success = true };
        return true;
    }
    problem = vmmiJsonObject(body, "error");
    if (g_strcmp0(result, "error") != 0 || !problem) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION,
                    _("The completion's result is '%1$s' and has no object of that name."), result ? result : "");
        return false;
    }
    if (!vmmiJsonNumber(problem, "code", &code, &present) || !present || code > G_MAXINT ||
        !vmmiJsonString(problem, "message") || !vmmiJsonString(problem, "details")) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION,
                    _("The completion's error lacks its code, message or details."));
        return false;
    }
    *ret = (vmmiCompletion) {
        .code = code,
        .message = g_strdup(vmmiJsonString(problem, "message")),
        .details = g_strdup(vmmiJsonString(problem, "details")),
    };
    return true;
}

void
vmmiCompletionClear(vmmiCompletion *completion)
{
    g_clear_pointer(&completion->message, g_free);
    g_clear_pointer(&completion->details, g_free);
}
