/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * link.h: the control connection of one migration
 *
 * Both daemons hold one end.  Frames are a 4-byte big-endian length (at most 4 MiB) and a JSON
 * object {"type":..., "id":..., "body":{...}}.  It carries the lease heartbeat, errors, progress
 * and the outcome. A side that hears nothing for timeoutMs calls lost(); heartbeats go out every
 * heartbeatMs. The types "heartbeat", "reply" and "bye" are the link's own.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <json-glib/json-glib.h>

#include "remote/hello.h"

typedef struct _migLink migLink;

typedef struct {
    /* A request or notice arrived; runs in the context's thread, must not block.
     * @body is never NULL and borrowed.  For a request (@wantsReply) the callee answers with
     * linkReply(), now or later, from any thread. */
    void (*message)(migLink *link, const char *type, JsonObject *body,
                    bool wantsReply, guint64 id, void *opaque);
    /* The link is dead: EOF, error, silence or nonsense; once; @why never NULL.
     * Runs in the context's thread, after all messages that arrived before. */
    void (*lost)(migLink *link, const GError *why, void *opaque);
} linkHandlers;

/**
 * linkNew: take over @conn (a socket on which the hello is done) and serve it in @context.
 * @heartbeatMs: 0 takes a quarter of the other, at most 2000; @timeoutMs: 0 takes 10000
 * One reference is returned.  @opaqueFree runs when the last reference is gone.
 * Handlers may run before linkNew() has returned; they get the link as an argument.
 */
migLink *linkNew(GMainContext *context, helloConn conn, unsigned heartbeatMs, unsigned timeoutMs,
                 const linkHandlers *handlers, void *opaque, GDestroyNotify opaqueFree);
migLink *linkRef(migLink *link);
/** linkUnref: the last one also closes the link.  NULL is fine. */
void linkUnref(migLink *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(migLink, linkUnref)

/**
 * linkNotify: queue a one-way message; never blocks; takes @body (may be NULL).
 * Nothing happens if the link is dead.  False: the message is longer than a frame can be, and was dropped.
 */
bool linkNotify(migLink *link, const char *type, JsonObject *body);
/**
 * linkRequest: send and wait for the reply (caller unrefs). Not from the context's thread. Takes
 * @body.
 * @timeoutMs: 0 takes 30 s
 * Errors: BASE_ERROR_OPERATION_FAILED (the other side's own text, or the link is dead),
 * BASE_ERROR_TIMEOUT.
 */
JsonObject *linkRequest(migLink *link, const char *type, JsonObject *body, unsigned timeoutMs,
                        GError **error);
/**
 * linkReply: answer request @id; takes @body; with @errorText the requester gets
 * BASE_ERROR_OPERATION_FAILED.
 */
void linkReply(migLink *link, guint64 id, JsonObject *body, const char *errorText);
bool linkIsAlive(migLink *link);
/**
 * linkClose: flush what is queued (briefly), end the connection, no lost() any more. Idempotent,
 * never blocks.  A handler that runs just now in the context's thread is not waited for.  The
 * link's own references last until the other side has taken everything, at most a second.
 */
void linkClose(migLink *link);
