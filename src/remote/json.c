/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/json.h"

#include <string.h>

#include "base/error.h"

#include "base/gettext.h"

#define JSON_MAX_DEPTH 64

typedef enum { JSON_SANE, JSON_TOO_DEEP, JSON_MORE_THAN_ONE, JSON_NO_OBJECT } jsonShape;

/*
 * What json-glib would not notice in time, or would leak memory over: the stack it needs, several values in a row, and comments,
 * which it knows and JSON does not.  Brackets inside strings do not count.  Says nothing about anything else being well-formed.
 */
static jsonShape
jsonShapeOf(const char *text, size_t len)
{
    unsigned depth = 0;
    bool inString = false;
    bool over = false;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (over && !g_ascii_isspace(c))
            return JSON_MORE_THAN_ONE;
        if (!inString && ((depth == 0 && c != '{' && !g_ascii_isspace(c)) || strchr("/#'", c)))
            return JSON_NO_OBJECT;
        if (inString && c == '\\') {
            i++;
        } else if (c == '"') {
            inString = !inString;
        } else if (!inString && (c == '{' || c == '[')) {
            if (++depth > JSON_MAX_DEPTH)
                return JSON_TOO_DEEP;
        } else if (!inString && (c == '}' || c == ']')) {
            if (depth > 0)
                depth--;
            over = depth == 0;
        }
    }
    return JSON_SANE;
}

char *
jsonExcerpt(const char *text, size_t len)
{
    g_autofree char *part = g_strndup(text, MIN(len, 60));
    g_autofree char *valid = g_utf8_make_valid(part, -1);
    g_autofree char *escaped = g_strescape(valid, "\"");

    return len > 60 ? g_strconcat(escaped, "...", NULL) : g_steal_pointer(&escaped);
}

JsonObject *
jsonParseObject(const char *text, size_t len, GError **error)
{
    g_autoptr(JsonParser) parser = NULL;
    g_autoptr(GError) err = NULL;
    JsonNode *root = NULL;
    g_autofree char *excerpt = NULL;

    switch (jsonShapeOf(text, len)) {
    case JSON_TOO_DEEP:
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("A JSON text is nested deeper than %1$d levels."), JSON_MAX_DEPTH);
        return NULL;
    case JSON_MORE_THAN_ONE:
        excerpt = jsonExcerpt(text, len);
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("'%1$s' goes on after the end of the JSON object."), excerpt);
        return NULL;
    case JSON_NO_OBJECT:
        excerpt = jsonExcerpt(text, len);
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("'%1$s' is not a JSON object."), excerpt);
        return NULL;
    case JSON_SANE:
        break;
    }

    parser = json_parser_new();
    if (json_parser_load_from_data(parser, text, (gssize)len, &err))
        root = json_parser_get_root(parser);
    if (root && JSON_NODE_HOLDS_OBJECT(root))
        return json_node_dup_object(root);

    excerpt = jsonExcerpt(text, len);
    if (err) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("'%1$s' is not JSON: %2$s"), excerpt, err->message);
    } else {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("'%1$s' is not a JSON object."), excerpt);
    }
    return NULL;
}

char *
jsonFormatObject(JsonObject *object, size_t *retLen)
{
    g_autoptr(JsonNode) root = json_node_alloc();
    g_autoptr(JsonGenerator) generator = json_generator_new();
    gsize len = 0;
    char *text;

    json_node_init_object(root, object);
    json_generator_set_root(generator, root);
    text = json_generator_to_data(generator, &len);
    if (retLen)
        *retLen = len;
    return text;
}

static JsonNode *
jsonGetMember(JsonObject *object, const char *name)
{
    return object ? json_object_get_member(object, name) : NULL;
}

/* The scalar @name if its type is @type, else NULL. */
static JsonNode *
jsonGetScalar(JsonObject *object, const char *name, GType type)
{
    JsonNode *node = jsonGetMember(object, name);

    if (!node || !JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != type)
        return NULL;
    return node;
}

const char *
jsonGetString(JsonObject *object, const char *name, const char *fallback)
{
    JsonNode *node = jsonGetScalar(object, name, G_TYPE_STRING);

    return node ? json_node_get_string(node) : fallback;
}

gint64
jsonGetInt(JsonObject *object, const char *name, gint64 fallback)
{
    JsonNode *node = jsonGetScalar(object, name, G_TYPE_INT64);

    return node ? json_node_get_int(node) : fallback;
}

guint64
jsonGetUint(JsonObject *object, const char *name, guint64 fallback)
{
    gint64 value = jsonGetInt(object, name, -1);

    return value < 0 ? fallback : (guint64)value;
}

double
jsonGetDouble(JsonObject *object, const char *name, double fallback)
{
    JsonNode *node = jsonGetScalar(object, name, G_TYPE_DOUBLE);

    if (!node)
        node = jsonGetScalar(object, name, G_TYPE_INT64);   /* "1" is a fine double */
    return node ? json_node_get_double(node) : fallback;
}

bool
jsonGetBool(JsonObject *object, const char *name, bool fallback)
{
    JsonNode *node = jsonGetScalar(object, name, G_TYPE_BOOLEAN);

    return node ? json_node_get_boolean(node) : fallback;
}

JsonObject *
jsonGetObject(JsonObject *object, const char *name)
{
    return jsonNodeObject(jsonGetMember(object, name));
}

JsonArray *
jsonGetArray(JsonObject *object, const char *name)
{
    return jsonNodeArray(jsonGetMember(object, name));
}

JsonObject *
jsonNodeObject(JsonNode *node)
{
    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

JsonArray *
jsonNodeArray(JsonNode *node)
{
    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}
