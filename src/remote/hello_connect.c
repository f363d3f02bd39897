/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: everything waits in poll(), for the socket or for the caller's wish to give
 * up, until one deadline.  Only the name look-up cannot be polled; it runs in a thread that
 * outlives a caller who gave up, and the last of the two frees what they share.
 */
#include "remote/hello.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/thread.h"
#include "remote/hello_tls.h"
#include "remote/hello_wire.h"

#include "base/gettext.h"

#define HELLO_DEFAULT_TIMEOUT_MS 30000

typedef struct {
    const hello *h;       /* NULL: connect only */
    const helloTarget *target;
    int cancelFd;
    gint64 deadline;      /* monotonic, us: for the address being tried */
} helloCaller;

typedef enum { HELLO_WAIT_READY, HELLO_WAIT_TIMEOUT, HELLO_WAIT_CANCELLED } helloWaitResult;

static helloWaitResult
helloWait(const helloCaller *caller, int fd, short events)
{
    struct pollfd fds[] = {
        { .fd = fd, .events = events },
        { .fd = caller->cancelFd, .events = POLLIN },   /* -1 is ignored by poll() */
    };

    for (;;) {
        gint64 left = caller->deadline - g_get_monotonic_time();
        int ready = poll(fds, G_N_ELEMENTS(fds), (int)CLAMP((left + 999) / 1000, 0, G_MAXINT));

        if (ready < 0 && errno != EINTR)
            return HELLO_WAIT_TIMEOUT;   /* ENOMEM: as good as any other reason */
        if (ready > 0 && fds[1].revents)
            return HELLO_WAIT_CANCELLED;
        if (ready > 0)
            return HELLO_WAIT_READY;
        if (ready == 0 && left <= 0)
            return HELLO_WAIT_TIMEOUT;
    }
}

/* helloWait() as a GError. */
static bool
helloWaitFor(const helloCaller *caller, int fd, short events, const char *waited, GError **error)
{
    switch (helloWait(caller, fd, events)) {
    case HELLO_WAIT_READY:
        return true;
    case HELLO_WAIT_CANCELLED:
        g_set_error(error, BASE_ERROR, BASE_ERROR_ABORTED, "%s",
                    _("The connection to the other host was cancelled."));
        return false;
    case HELLO_WAIT_TIMEOUT:
        break;
    }
    g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT, "%s", waited);
    return false;
}

/* ---- name look-up -------------------------------------------------------------------------- */

typedef struct {
    gint refs;                 /* atomic */
    char *host;
    char service[8];
    int doneFd;                /* eventfd: result and list are there */
    int result;
    struct addrinfo *list;
} helloLookup;

static void
helloLookupUnref(helloLookup *lookup)
{
    if (!g_atomic_int_dec_and_test(&lookup->refs))
        return;
    if (lookup->list)
        freeaddrinfo(lookup->list);
    baseFdClose(lookup->doneFd);
    g_free(lookup->host);
    g_free(lookup);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(helloLookup, helloLookupUnref)

static int
helloLookupRun(helloLookup *lookup, int flags)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = flags | AI_NUMERICSERV,
    };

    return getaddrinfo(lookup->host, lookup->service, &hints, &lookup->list);
}

static gpointer
helloLookupThread(gpointer opaque)
{
    helloLookup *lookup = opaque;

    lookup->result = helloLookupRun(lookup, AI_ADDRCONFIG);
    eventfd_write(lookup->doneFd, 1);
    helloLookupUnref(lookup);
    return NULL;
}

/* Fills lookup->list. */
static bool
helloResolve(helloLookup *lookup, const helloCaller *caller, GError **error)
{
    g_autoptr(GError) local = NULL;

    /* An address needs no thread, and no time. */
    lookup->result = helloLookupRun(lookup, AI_NUMERICHOST);
    if (lookup->result == EAI_NONAME) {
        lookup->doneFd = eventfd(0, EFD_CLOEXEC);
        if (lookup->doneFd < 0) {
            baseSetErrno(error, errno, _("Cannot make an event descriptor"));
            return false;
        }
        g_atomic_int_inc(&lookup->refs);
        if (!baseThreadStart("lookup", helloLookupThread, lookup, &local)) {
            g_atomic_int_add(&lookup->refs, -1);
            g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, _("A thread for the look-up of a name could not be made: %1$s"),
                        local->message);
            return false;
        }
        if (!helloWaitFor(caller, lookup->doneFd, POLLIN,
                          _("The name of the other host could not be looked up in time."), error))
            return false;
    }
    if (lookup->result == 0)
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("The address of the host '%1$s' cannot be found: %2$s"),
                lookup->host, gai_strerror(lookup->result));
    return false;
}

/* ---- one address --------------------------------------------------------------------------- */

/* Let @fd come from the address that the caller has named. */
static bool
helloBind(int fd, int family, const helloCaller *caller, GError **error)
{
    const struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST };
    const int on = 1;
    struct addrinfo *list = NULL;
    int rc;

    if (!caller->target->from || getaddrinfo(caller->target->from, NULL, &hints, &list) != 0)
        return true;
    /* The port is chosen when it is known whereto. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    rc = bind(fd, list->ai_addr, list->ai_addrlen);
    if (rc < 0)
        baseSetErrno(error, errno, _("Cannot connect from the address '%1$s'"), caller->target->from);
    freeaddrinfo(list);
    return rc == 0;
}

/* A connected non-blocking socket. */
static int
helloConnectAddress(const struct addrinfo *address, const helloCaller *caller, GError **error)
{
    g_auto(baseFd) fd = -1;
    int problem = 0;
    socklen_t len = sizeof(problem);

    fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        baseSetErrno(error, errno, _("Cannot make a socket"));
        return -1;
    }
    if (!helloBind(fd, address->ai_family, caller, error))
        return -1;
    helloTune(fd);
    if (connect(fd, address->ai_addr, address->ai_addrlen) < 0) {
        if (errno != EINPROGRESS) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, "%s", g_strerror(errno));
            return -1;
        }
        if (!helloWaitFor(caller, fd, POLLOUT, _("no answer in time"), error))
            return -1;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &len) < 0)
            problem = errno;
    }
    if (problem) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, "%s", g_strerror(problem));
        return -1;
    }
    return baseFdSteal(&fd);
}

/* As tlsRead() has it: -1 when nothing is there as yet, -2 with an error. */
static gssize
helloReadSome(const helloConn *conn, uint8_t *bytes, size_t len, GError **error)
{
    ssize_t got;

    if (conn->tls)
        return tlsRead(conn->tls, bytes, len, error);
    do {
        got = recv(conn->fd, bytes, len, 0);
    } while (got < 0 && errno == EINTR);
    if (got >= 0 || errno == EAGAIN)
        return got;
    g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, "%s", g_strerror(errno));
    return -2;
}

static bool
helloReceive(const helloConn *conn, const helloCaller *caller, uint8_t *bytes, size_t len, GError **error)
{
    size_t have = 0;

    while (have < len) {
        gssize got = helloReadSome(conn, bytes + have, len - have, error);

        if (got > 0) {
            have += (size_t)got;
        } else if (got == 0) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "%s",
                        _("the connection was closed without an answer"));
            return false;
        } else if (got == -2 ||
                   !helloWaitFor(caller, conn->fd, POLLIN, _("connected, but no answer in time"), error)) {
            return false;
        }
    }
    return true;
}

static bool
helloSend(const helloConn *conn, const helloCaller *caller, const hello *h, GError **error)
{
    g_autofree uint8_t *record = helloWrite(h);
    gssize sent;

    if (conn->tls) {
        /* The other side may not have taken what the handshake sent it. */
        while ((sent = tlsWrite(conn->tls, record, helloSize(), error)) == -1) {
            if (!helloWaitFor(caller, conn->fd, POLLOUT, _("connected, but no answer in time"), error))
                return false;
        }
        return sent >= 0;
    }
    /* A fresh socket takes these few bytes at once. */
    sent = send(conn->fd, record, helloSize(), MSG_NOSIGNAL);
    if (sent == (gssize)helloSize())
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, "%s", g_strerror(sent < 0 ? errno : EAGAIN));
    return false;
}

/* Nobody else needs to be asked: the right host has spoken. */
typedef enum { HELLO_NOT_FINAL, HELLO_REFUSES, HELLO_INSECURE } helloFinal;

static bool
helloGreet(const helloConn *conn, const helloCaller *caller, const hello *h, helloFinal *retFinal, GError **error)
{
    uint8_t answer[HELLO_ANSWER_SIZE];
    char text[HELLO_MAX_TEXT + 1] = { 0 };
    g_autofree char *valid = NULL;
    size_t textLen = 0;
    bool welcome = false;

    if (!helloSend(conn, caller, h, error) || FAULT_ERROR(HELLO_VERDICT, error) ||
        !helloReceive(conn, caller, answer, sizeof(answer), error))
        return false;
    if (!helloReadAnswer(answer, &textLen, &welcome)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "%s",
                    _("what answers there is not this driver's migration port"));
        return false;
    }
    if (!helloReceive(conn, caller, (uint8_t *)text, textLen, error))
        return false;
    if (welcome)
        return true;
    valid = baseForeignText(text);
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "%s", valid);
    *retFinal = HELLO_REFUSES;
    return false;
}

static bool
helloGoTls(helloConn *conn, const helloCaller *caller, helloFinal *retFinal, GError **error)
{
    const helloSecurity *security = caller->target->security;
    const hello ask = helloAskTls(security, caller->h->token);
    const helloTls how = {
        .token = caller->h->token,
        .host = caller->target->host,
        .cancelFd = caller->cancelFd,
        .deadline = caller->deadline,
    };

    if (!helloGreet(conn, caller, &ask, retFinal, error))
        return false;
    /* It knows of the migration, so there is no other host to try. */
    *retFinal = HELLO_INSECURE;
    return helloConnectTls(conn, security, &how, error) && helloGreet(conn, caller, caller->h, retFinal, error);
}

static bool
helloIsSecure(const helloTarget *target)
{
    return target->security && target->security->keys != HELLO_KEYS_PLAIN;
}

static bool
helloTry(const struct addrinfo *address, const helloCaller *caller, helloConn *ret, helloFinal *retFinal, GError **error)
{
    g_auto(helloConn) conn = HELLO_CONN_INIT;

    conn.fd = helloConnectAddress(address, caller, error);
    if (conn.fd < 0)
        return false;
    if (caller->h && helloIsSecure(caller->target)) {
        if (!helloGoTls(&conn, caller, retFinal, error))
            return false;
    } else if (caller->h && !helloGreet(&conn, caller, caller->h, retFinal, error)) {
        return false;
    }
    if (!conn.tls && !baseFdSetNonblock(conn.fd, false)) {
        baseSetErrno(error, errno, _("Cannot make a socket blocking"));
        return false;
    }
    *ret = helloConnSteal(&conn);
    return true;
}

/* ---- all addresses ------------------------------------------------------------------------- */

static void
helloNote(GString *tried, const struct addrinfo *address, const GError *err)
{
    char name[NI_MAXHOST] = "?";

    getnameinfo(address->ai_addr, address->ai_addrlen, name, sizeof(name), NULL, 0, NI_NUMERICHOST);
    g_string_append_printf(tried, "%s%s: %s", tried->len ? "; " : "", name, err->message);
}

static bool
helloTryAll(const struct addrinfo *list, helloCaller *caller, helloConn *ret, GError **error)
{
    const char *host = caller->target->host;
    unsigned port = caller->target->port;
    g_autoptr(GString) tried = g_string_new(NULL);
    const gint64 deadline = caller->deadline;
    bool timeouts = true;
    unsigned left = 0;

    for (const struct addrinfo *address = list; address; address = address->ai_next)
        left++;
    for (const struct addrinfo *address = list; address; address = address->ai_next, left--) {
        g_autoptr(GError) err = NULL;
        gint64 now = g_get_monotonic_time();
        helloFinal final = HELLO_NOT_FINAL;

        /* A silent address must not use up the time of the others. */
        caller->deadline = now + MAX(deadline - now, 0) / left;
        if (helloTry(address, caller, ret, &final, &err))
            return true;
        if (g_error_matches(err, BASE_ERROR, BASE_ERROR_ABORTED)) {
            g_propagate_error(error, g_steal_pointer(&err));
            return false;
        }
        if (final == HELLO_INSECURE) {
            g_propagate_error(error, g_steal_pointer(&err));
            g_prefix_error(error, _("The connection to the migration port %1$u of the host '%2$s' could not be made secure: "),
                           port, host);
            return false;
        }
        if (final) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                        _("The host '%1$s' refused the connection to its migration port %2$u: "
                          "%3$s"), host, port, err->message);
            return false;
        }
        timeouts = timeouts && g_error_matches(err, BASE_ERROR, BASE_ERROR_TIMEOUT);
        helloNote(tried, address, err);
    }
    g_set_error(error, BASE_ERROR, timeouts ? BASE_ERROR_TIMEOUT : BASE_ERROR_OPERATION_FAILED,
                _("The migration port %1$u of the host '%2$s' cannot be reached (%3$s)."),
                port, host, tried->str);
    return false;
}

int
helloConnectPlain(const char *host, unsigned port, int cancelFd, unsigned timeoutMs, GError **error)
{
    const helloTarget target = { .host = host, .port = port, .cancelFd = cancelFd, .timeoutMs = timeoutMs };
    helloConn conn = HELLO_CONN_INIT;

    return helloConnect(&target, NULL, &conn, error) ? conn.fd : -1;
}

bool
helloConnect(const helloTarget *target, const hello *h, helloConn *ret, GError **error)
{
    const char *host = target->host;
    g_autoptr(helloLookup) lookup = g_new0(helloLookup, 1);
    helloCaller caller = {
        .h = h,
        .target = target,
        .cancelFd = target->cancelFd,
        .deadline = g_get_monotonic_time() +
                    (gint64)(target->timeoutMs ? target->timeoutMs : HELLO_DEFAULT_TIMEOUT_MS) * 1000,
    };

    lookup->refs = 1;
    lookup->doneFd = -1;
    lookup->host = g_strdup(host);
    g_snprintf(lookup->service, sizeof(lookup->service), "%u", target->port);

    if (target->port < 1 || target->port > 65535 || !host || !*host) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("'%1$s' and port %2$u do not name a migration port."),
                    host ? host : "", target->port);
        return false;
    }
    if (FAULT_ERROR(HELLO_CONNECT, error) || !helloResolve(lookup, &caller, error))
        return false;
    return helloTryAll(lookup->list, &caller, ret, error);
}
