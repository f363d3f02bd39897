/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/message.h"

#include <string.h>

#include "base/error.h"
#include "remote/json.h"

#include "base/gettext.h"

/* VMMs say -1 if their clock fails. */
static gint64
messageTimestamp(JsonObject *root)
{
    JsonObject *stamp = jsonGetObject(root, "timestamp");
    gint64 seconds = jsonGetInt(stamp, "seconds", -1);
    gint64 micros = jsonGetInt(stamp, "microseconds", -1);

    if (seconds < 0 || seconds > G_MAXINT64 / 1000 - 1 || micros < 0 || micros >= G_USEC_PER_SEC)
        return 0;
    return seconds * 1000 + micros / 1000;
}

static void
messageParseError(JsonObject *problem, message *ret)
{
    const char *class = jsonGetString(problem, "class", "");
    const char *text = jsonGetString(problem, "desc", "");

    ret->kind = MESSAGE_ERROR;
    ret->errorClass = g_strdup(*class ? class : "GenericError");
    /* StratoVirt may leave the description empty */
    ret->errorText = g_strdup(*text ? text : ret->errorClass);
}

static void
messageParseEvent(JsonObject *root, message *ret)
{
    JsonObject *data = jsonGetObject(root, "data");

    ret->kind = MESSAGE_EVENT;
    ret->eventName = g_strdup(jsonGetString(root, "event", NULL));
    ret->eventData = data ? json_object_ref(data) : NULL;
    ret->timestampMs = messageTimestamp(root);
}

bool
messageParse(const char *line, size_t len, message *ret, GError **error)
{
    g_autoptr(JsonObject) root = jsonParseObject(line, len, error);
    message msg = { 0 };

    if (!root)
        return false;

    if (json_object_has_member(root, "return")) {
        msg.kind = MESSAGE_RETURN;
        msg.value = json_node_copy(json_object_get_member(root, "return"));
        msg.id = g_strdup(jsonGetString(root, "id", NULL));
    } else if (jsonGetObject(root, "error")) {
        messageParseError(jsonGetObject(root, "error"), &msg);
        msg.id = g_strdup(jsonGetString(root, "id", NULL));
    } else if (jsonGetString(root, "event", NULL)) {
        messageParseEvent(root, &msg);
    } else if (jsonGetObject(root, "QMP")) {
        msg.kind = MESSAGE_GREETING;
    } else {
        g_autofree char *excerpt = jsonExcerpt(line, len);

        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("'%1$s' is neither a greeting nor an answer, error or event."), excerpt);
        return false;
    }
    *ret = msg;
    return true;
}

void
messageClear(message *msg)
{
    g_clear_pointer(&msg->id, g_free);
    g_clear_pointer(&msg->value, json_node_unref);
    g_clear_pointer(&msg->errorClass, g_free);
    g_clear_pointer(&msg->errorText, g_free);
    g_clear_pointer(&msg->eventName, g_free);
    g_clear_pointer(&msg->eventData, json_object_unref);
}

char *
messageRequest(const char *command, JsonObject *arguments, const char *id, size_t *retLen)
{
    g_autoptr(JsonObject) root = json_object_new();
    g_autofree char *text = NULL;
    char *line;

    json_object_set_string_member(root, "execute", command);
    if (arguments)
        json_object_set_object_member(root, "arguments", json_object_ref(arguments));
    json_object_set_string_member(root, "id", id);
    text = jsonFormatObject(root, NULL);
    line = g_strconcat(text, "\n", NULL);
    *retLen = strlen(line);
    return line;
}
