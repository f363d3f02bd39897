/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hello_tls.c: the hello within TLS
 *
 * Theory of operation: the port is the same.  A record in the clear asks for TLS and says which migration it is about by the
 * SHA-256 of the token, so that a stranger costs no handshake and the token is never seen on the wire.  The handshake
 * follows, and then the hello proper with its verdict, both within TLS.  That whoever connects has a certificate is not
 * enough, the token has to come as well; and that he knows the token is not enough where certificates were agreed upon.
 */
#include "remote/hello_tls.h"

#include <errno.h>
#include <poll.h>

#include "base/error.h"
#include "base/gettext.h"

/* Wire values: never renumber. */
enum { HELLO_WIRE_X509 = 1, HELLO_WIRE_TOKEN = 2 };

static tlsIdentity *
helloIdentity(const helloSecurity *security, const uint8_t *token, tlsSide side, GError **error)
{
    if (security->keys == HELLO_KEYS_X509)
        return tlsIdentityFromDir(security->dir, side, error);
    return tlsIdentityFromSecret(token, HELLO_TOKEN_LEN, side, error);
}

static unsigned
helloLeftMs(gint64 deadline)
{
    return (unsigned)(MAX(deadline - g_get_monotonic_time(), 0) / 1000);
}

static bool
helloStart(helloConn *conn, const helloSecurity *security, const helloTls *how, tlsSide side, GError **error)
{
    g_autoptr(tlsIdentity) identity = helloIdentity(security, how->token, side, error);
    const tlsExpect expect = { .host = how->host, .name = security->name };
    g_autoptr(tlsSession) session = NULL;

    if (!identity || !(session = tlsSessionNew(conn->fd, side, identity, &expect, security->priority, error)) ||
        !tlsHandshake(session, how->cancelFd, helloLeftMs(how->deadline), error))
        return false;
    conn->tls = g_steal_pointer(&session);
    return true;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static gssize
helloChannelRead(void *channel, void *buffer, gsize len, GError **error)
{
    G_STATIC_ASSERT(PUMP_WAIT == -1 && PUMP_ERROR == -2);
    return tlsRead(channel, buffer, len, error);
}

static gssize
helloChannelWrite(void *channel, const void *buffer, gsize len, GError **error)
{
    return tlsWrite(channel, buffer, len, error);
}

static int
helloChannelEnd(void *channel, GError **error)
{
    return tlsEnd(channel, error);
}

static void
helloChannelFree(void *channel)
{
    tlsSessionFree(channel);
}

static const pumpChannelOps helloChannelOps = { helloChannelRead, helloChannelWrite, helloChannelEnd, helloChannelFree };

pumpEnd
helloConnEnd(helloConn conn, const char *name)
{
    if (conn.tls)
        tlsForMuch(conn.tls);
    return (pumpEnd){ .fd = conn.fd, .name = name, .ops = conn.tls ? &helloChannelOps : NULL, .channel = conn.tls };
}

/* ---- the two ends ---------------------------------------------------------------------------- */

hello
helloAskTls(const helloSecurity *security, const uint8_t token[HELLO_TOKEN_LEN])
{
    hello ask = { .role = HELLO_TLS };

    ask.index = security->keys == HELLO_KEYS_X509 ? HELLO_WIRE_X509 : HELLO_WIRE_TOKEN;
    helloTokenHash(token, ask.token);
    return ask;
}

helloKeys
helloAskedKeys(const hello *ask)
{
    return ask->index == HELLO_WIRE_X509 ? HELLO_KEYS_X509 : ask->index == HELLO_WIRE_TOKEN ? HELLO_KEYS_TOKEN : 0;
}

bool
helloConnectTls(helloConn *conn, const helloSecurity *security, const helloTls *how, GError **error)
{
    return helloStart(conn, security, how, TLS_CLIENT, error);
}

/* Until there may be something to read; false with the error set. */
static bool
helloAwaitInput(const helloConn *conn, const helloTls *how, GError **error)
{
    struct pollfd fds[] = { { .fd = conn->fd, .events = POLLIN }, { .fd = how->cancelFd, .events = POLLIN } };
    gint64 left = how->deadline - g_get_monotonic_time();
    int ready = 0;

    /* Also somebody who never stops sending, but not what he should, has only so much time. */
    while (left > 0 && (ready = poll(fds, G_N_ELEMENTS(fds), (int)MIN((left + 999) / 1000, G_MAXINT))) < 0 && errno == EINTR)
        left = how->deadline - g_get_monotonic_time();
    if (ready > 0 && !fds[1].revents)
        return true;
    g_set_error(error, BASE_ERROR, ready > 0 ? BASE_ERROR_ABORTED : BASE_ERROR_TIMEOUT, "%s",
                _("The beginning of a migration did not arrive in time."));
    return false;
}

/* The whole record that comes first within TLS. */
static bool
helloTakeRecord(helloConn *conn, const helloTls *how, uint8_t *bytes, GError **error)
{
    size_t have = 0;

    while (have < helloSize()) {
        gssize got = tlsRead(conn->tls, bytes + have, helloSize() - have, error);

        if (got > 0)
            have += (size_t)got;
        if (got == 0)
            g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "%s", _("it went away"));
        if (got == 0 || got == -2 || (got == -1 && !helloAwaitInput(conn, how, error)))
            return false;
    }
    return true;
}

bool
helloAcceptTls(helloConn *conn, const helloSecurity *security, const helloTls *how, hello *ret, GError **error)
{
    g_autofree uint8_t *bytes = g_malloc0(helloSize());
    g_autoptr(GError) local = NULL;

    if (!helloStart(conn, security, how, TLS_SERVER, error) || !helloTakeRecord(conn, how, bytes, error))
        return false;
    if (helloRead(bytes, helloSize(), ret, &local) &&
        (ret->role == HELLO_TLS || !helloTokenEqual(ret->token, how->token)))
        g_set_error(&local, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "%s",
                    _("No migration is expected here with this token, or no longer."));
    if (!local) {
        ret->keys = security->keys;
        return true;
    }
    helloAnswer(conn, local->message, NULL);
    g_propagate_error(error, g_steal_pointer(&local));
    return false;
}
