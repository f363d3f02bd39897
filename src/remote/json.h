/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * json.h: JSON from a peer that is not trusted
 *
 * json-glib's parser recurses, so the depth is checked before it sees the text; its getters
 * complain on stderr about a member of the wrong type, so these look first.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>

/**
 * jsonParseObject: parse @len bytes of @text, which must be exactly one JSON object in UTF-8,
 * nested no deeper than 64.  The caller unrefs it.  Errors: BASE_ERROR_INVALID_ARG.
 */
JsonObject *jsonParseObject(const char *text, size_t len, GError **error);

/**
 * jsonExcerpt: the first bytes of @text, escaped so that a message can quote them; the caller
 * frees.
 */
char *jsonExcerpt(const char *text, size_t len);

/** jsonFormatObject: compact text on one line, no line end; the caller frees it. */
char *jsonFormatObject(JsonObject *object, size_t *retLen);

/* Members of @object (which may be NULL); @fallback or NULL if absent or of another type.
 * Borrowed. */
const char *jsonGetString(JsonObject *object, const char *name, const char *fallback);
gint64 jsonGetInt(JsonObject *object, const char *name, gint64 fallback);
/* @fallback also if negative. */
guint64 jsonGetUint(JsonObject *object, const char *name, guint64 fallback);
double jsonGetDouble(JsonObject *object, const char *name, double fallback);
bool jsonGetBool(JsonObject *object, const char *name, bool fallback);
JsonObject *jsonGetObject(JsonObject *object, const char *name);
JsonArray *jsonGetArray(JsonObject *object, const char *name);

/* The object or array a node holds, NULL if it holds anything else; @node may be NULL. Borrowed. */
JsonObject *jsonNodeObject(JsonNode *node);
JsonArray *jsonNodeArray(JsonNode *node);
