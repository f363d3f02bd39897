/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * message.h: VMMI's messages, one JSON object a line
 *
 * Composing functions take the body over and return a line with its end, for g_free(). Thread-safe.
 */
#pragma once

#include <json-glib/json-glib.h>
#include <stdbool.h>

#define VMMI_VERSION "0.4.1"
#define VMMI_MAJOR "0."

/* What a completion says. Strings are NULL where it has none. */
typedef struct {
    bool success;
    int code;
    char *message;
    char *details;
} vmmiCompletion;

/* Any message: header, time stamp and the body under the type's name. */
char *vmmiMessageCompose(const char *type, JsonObject *body);
/* The completion of a success; body may be NULL. */
char *vmmiMessageSuccess(JsonObject *body);
/* The completion of a failure. The error's text are the details; an error of another domain is VMMI_UNKNOWN. */
char *vmmiMessageFailure(const GError *error);

/* One JSON object with its header: type and version are checked (VMMI_MALFORMED_CONFIGURATION otherwise).
 * Returns the body, with a reference for the caller. timeNeeded: a message without timestamp is an error. */
JsonObject *vmmiMessageParse(const char *text, gssize length, const char *type, bool timeNeeded, GError **error);
/* Where the first JSON object in text ends: its length with what is before it, 0 if it is not complete yet, -1 if what
 * begins there is no object. Looks at braces and strings alone. */
gssize vmmiMessageLength(const char *text, gsize length);
/* A helper's completion. Fills *ret (for vmmiCompletionClear) or says what is wrong with the message. */
bool vmmiCompletionParse(const char *text, vmmiCompletion *ret, GError **error);
void vmmiCompletionClear(vmmiCompletion *completion);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(vmmiCompletion, vmmiCompletionClear)

/* A member, or NULL/fallback if it is absent or of another type. */
JsonObject *vmmiJsonObject(JsonObject *from, const char *name);
const char *vmmiJsonString(JsonObject *from, const char *name);
/* A whole number of at least 0; *present says whether the member exists at all. False if it is something else. */
bool vmmiJsonNumber(JsonObject *from, const char *name, guint64 *ret, bool *present);
