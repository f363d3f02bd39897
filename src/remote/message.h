/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * message.h: the syntax of the control protocol (QMP); no I/O
 *
 * One JSON object a line.  The VMM greets with "QMP"; requests have "execute", optional "arguments"
 * and a string "id"; each gets one "return" or "error"; events come at any time.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>

typedef enum {
    MESSAGE_GREETING,
    MESSAGE_RETURN,
    MESSAGE_ERROR,
    MESSAGE_EVENT,
} messageKind;

typedef struct {
    messageKind kind;
    char *id;              /* RETURN, ERROR: as sent back; NULL if none or not a string */
    JsonNode *value;       /* RETURN: never NULL */
    char *errorClass;      /* ERROR: never NULL */
    char *errorText;       /* ERROR: never NULL, never empty */
    char *eventName;       /* EVENT */
    JsonObject *eventData; /* EVENT: may be NULL */
    gint64 timestampMs;    /* EVENT: the VMM's clock, ms since the epoch; 0 if it sent none */
} message;

/**
 * messageParse: one line, without its line end.
 * On success the caller clears *ret with messageClear().  Errors: BASE_ERROR_INVALID_ARG.
 */
bool messageParse(const char *line, size_t len, message *ret, GError **error);
void messageClear(message *msg);

/**
 * messageRequest: the text of a command, with its line end.
 * @arguments: may be NULL; a reference is taken only for the call
 */
char *messageRequest(const char *command, JsonObject *arguments, const char *id, size_t *retLen);
