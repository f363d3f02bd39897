/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow-stranger.c: somebody who has come to know a migration's token, on another address than the source's */
#include "flow-world.h"

#include "remote/link.h"

#include <string.h>

#define ADDRESS "127.0.0.2"
#define PATIENCE_MS 1000

static bool
strangerConnect(unsigned port, const hello *h, bool secure, helloConn *ret)
{
    const helloSecurity security = { .keys = secure ? HELLO_KEYS_TOKEN : HELLO_KEYS_PLAIN };
    const helloTarget target = {
        .host = "127.0.0.1", .port = port, .cancelFd = -1, .timeoutMs = PATIENCE_MS, .security = &security, .from = ADDRESS,
    };
    g_autoptr(GError) error = NULL;

    if (helloConnect(&target, h, ret, &error))
        return true;
    g_test_message("the stranger hears: %s", error->message);
    return false;
}

/* A definite answer would end a migration that goes well. */
static void
strangerAsk(GMainContext *io, helloConn conn, const char *uuid)
{
    static const linkHandlers handlers = { NULL, NULL };
    g_autoptr(migLink) link = linkNew(io, conn, 0, PATIENCE_MS, &handlers, NULL, NULL);
    g_autoptr(JsonObject) reply = NULL;
    JsonObject *body = json_object_new();

    json_object_set_string_member(body, "uuid", uuid);
    reply = linkRequest(link, "resolve", body, PATIENCE_MS, NULL);
    linkClose(link);
}

void
flowStranger(flowDaemon *d)
{
    static const helloRole roles[] = { HELLO_DATA, HELLO_CONTROL, HELLO_QUERY };
    flowWorld *w = d->world;
    const migRecord *record = &w->records[w->saved[MIG_SIDE_DEST] ? MIG_SIDE_DEST : MIG_SIDE_SOURCE];
    g_autofree char *uuid = g_strdup(record->uuid);
    const bool known = record->hasToken, secure = record->keys == MIG_KEYS_TOKEN;
    unsigned welcome = 0;
    hello h = { .index = 0 };

    memcpy(h.token, record->token, sizeof(h.token));
    g_mutex_unlock(&w->lock);
    for (size_t i = 0; known && i < G_N_ELEMENTS(roles); i++) {
        g_auto(helloConn) conn = HELLO_CONN_INIT;

        h.role = roles[i];
        if (!strangerConnect(w->ownPort ? w->ownPort : w->port, &h, secure, &conn))
            continue;
        welcome++;
        if (h.role == HELLO_QUERY)
            strangerAsk(d->env.io, helloConnSteal(&conn), uuid);
    }
    g_mutex_lock(&w->lock);
    w->ret->strangers += welcome;
}
