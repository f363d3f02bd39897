/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * listen.h: the one migration port of a host
 *
 * The listener reads the hello of each new connection in its own context (bounded in number, bytes
 * and time), looks the token up and hands the descriptor to whoever registered it.  No token, no
 * service. All functions may be called from any thread, and from within a listenAcceptFunc.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "remote/hello.h"

typedef struct _listener listener;

/**
 * listenAcceptFunc: a connection with a known token arrived.
 * @conn: taken over by the callee
 * @peer: numeric "ADDRESS:PORT" of the other end
 *
 * Runs in the listener's context thread; must not block.  The callee answers the hello itself
 * (helloAnswer).  With TLS, the handshake is over and the other side has proved itself; h->keys says how.
 */
typedef void (*listenAcceptFunc)(helloConn conn, const hello *h, const char *peer, void *opaque);

/** listenerNew: make one without any socket yet; @context is served by a running thread. */
listener *listenerNew(GMainContext *context);
/** listenerSetTls: how this host shows itself where TLS with certificates is asked for; copied.  @priority: NULL: the default. */
void listenerSetTls(listener *l, const char *dir, const char *priority);
/**
 * listenerFree: close everything, forget all tokens.  NULL is fine.
 * A listenAcceptFunc that runs just now is not waited for; its opaque lives until it returns.
 */
void listenerFree(listener *l);

/**
 * listenerBind: listen on @address (numeric; NULL: all, IPv4 and IPv6) and @port, or count one more
 * user of such a socket. A socket for all addresses also serves those who ask for one.
 * Errors: BASE_ERROR_OPERATION_FAILED naming address, port and reason (taken, not ours, ...),
 * BASE_ERROR_INVALID_ARG for what is no address or port at all.
 */
bool listenerBind(listener *l, const char *address, unsigned port, GError **error);
/** listenerUnbind: one user less, with the arguments of listenerBind(). */
void listenerUnbind(listener *l, const char *address, unsigned port);

/**
 * listenerExpect: register @token; listenerForget() when done.
 * @opaqueFree runs on forgetting, or right after a call of @func that is under way then.
 * @keys: the ways in which a connection may be secured; every other one is refused
 * False if the token is registered already (nothing is taken over).
 */
bool listenerExpect(listener *l, const uint8_t token[HELLO_TOKEN_LEN], helloKeys keys,
                    listenAcceptFunc func, void *opaque, GDestroyNotify opaqueFree);
/** listenerNarrow: from now on only in these ways. */
void listenerNarrow(listener *l, const uint8_t token[HELLO_TOKEN_LEN], helloKeys keys);
void listenerForget(listener *l, const uint8_t token[HELLO_TOKEN_LEN]);

/**
 * listenLocalAddresses: numeric global addresses of this host, best first (no loopback, no
 * link-local). Best are those of the interface with a default route; IPv4 comes before IPv6 of the
 * same interface. Never NULL; the caller frees it with g_strfreev().
 */
GStrv listenLocalAddresses(void);
