/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: everything waits in poll(), for the socket or for the caller's wish to give
 * up, until one deadline.  Only the name look-up cannot be polled; it runs in a thread that
 * outlives a caller who gave up, and the last of the two frees what they share.
 */
#include "remote/hello.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "remote/hello_wire.h"

#include "base/gettext.h"

#define HELLO_DEFAULT_TIMEOUT_MS 30000

typedef struct {
    const hello *h;       /* NULL: connect only */
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
    g_autoptr(GThread) thread = NULL;

    /* An address needs no thread, and no time. */
    lookup->result = helloLookupRun(lookup, AI_NUMERICHOST);
    if (lookup->result == EAI_NONAME) {
        lookup->doneFd = eventfd(0, EFD_CLOEXEC);
        if (lookup->doneFd < 0) {
            baseSetErrno(error, errno, _("Cannot make an event descriptor"));
            return false;
        }
        g_atomic_int_inc(&lookup->refs);
        thread = g_thread_try_new("lookup", helloLookupThread, lookup, error);
        if (!thread) {
            g_atomic_int_add(&lookup->refs, -1);
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

static bool
helloReceive(int fd, const helloCaller *caller, uint8_t *bytes, size_t len, GError **error)
{
    size_t have = 0;

    while (have < len) {
        ssize_t got = recv(fd, bytes + have, len - have, 0);

        if (got > 0) {
            have += (size_t)got;
        } else if (got == 0) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "%s",
                        _("the connection was closed without an answer"));
            return false;
        } else if (errno == EAGAIN) {
            if (!helloWaitFor(caller, fd, POLLIN, _("connected, but no answer in time"), error))
                return false;
        } else if (errno != EINTR) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, "%s", g_strerror(errno));
            return false;
        }
    }
    return true;
}

/* *retFinal: nobody else needs to be asked, the right host has spoken. */
static bool
helloGreet(int fd, const helloCaller *caller, bool *retFinal, GError **error)
{
    g_autofree uint8_t *record = helloWrite(caller->h);
    uint8_t answer[HELLO_ANSWER_SIZE];
    char text[HELLO_MAX_TEXT + 1] = { 0 };
    g_autofree char *valid = NULL;
    size_t textLen = 0;
    bool welcome = false;

    /* A fresh socket takes these few bytes at once. */
    if (send(fd, record, helloSize(), MSG_NOSIGNAL) != (ssize_t)helloSize()) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, "%s", g_strerror(errno));
        return false;
    }
    if (FAULT_ERROR(HELLO_VERDICT, error) ||
        !helloReceive(fd, caller, answer, sizeof(answer), error))
        return false;
    if (!helloReadAnswer(answer, &textLen, &welcome)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "%s",
                    _("what answers there is not this driver's migration port"));
        return false;
    }
    if (!helloReceive(fd, caller, (uint8_t *)text, textLen, error))
        return false;
    if (welcome)
        return true;
    valid = baseForeignText(text);
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, "%s", valid);
    *retFinal = true;
    return false;
}

static int
helloTry(const struct addrinfo *address, const helloCaller *caller, bool *retFinal, GError **error)
{
    g_auto(baseFd) fd = helloConnectAddress(address, caller, error);

    if (fd < 0 || (caller->h && !helloGreet(fd, caller, retFinal, error)))
        return -1;
    if (!baseFdSetNonblock(fd, false)) {
        baseSetErrno(error, errno, _("Cannot make a socket blocking"));
        return -1;
    }
    return baseFdSteal(&fd);
}

/* ---- all addresses ------------------------------------------------------------------------- */

static void
helloNote(GString *tried, const struct addrinfo *address, const GError *err)
{
    char name[NI_MAXHOST] = "?";

    getnameinfo(address->ai_addr, address->ai_addrlen, name, sizeof(name), NULL, 0, NI_NUMERICHOST);
    g_string_append_printf(tried, "%s%s: %s", tried->len ? "; " : "", name, err->message);
}

static int
helloTryAll(const struct addrinfo *list, const char *host, unsigned port, helloCaller *caller,
            GError **error)
{
    g_autoptr(GString) tried = g_string_new(NULL);
    const gint64 deadline = caller->deadline;
    bool timeouts = true;
    unsigned left = 0;

    for (const struct addrinfo *address = list; address; address = address->ai_next)
        left++;
    for (const struct addrinfo *address = list; address; address = address->ai_next, left--) {
        g_autoptr(GError) err = NULL;
        gint64 now = g_get_monotonic_time();
        bool final = false;
        int fd;

        /* A silent address must not use up the time of the others. */
        caller->deadline = now + MAX(deadline - now, 0) / left;
        fd = helloTry(address, caller, &final, &err);
        if (fd >= 0)
            return fd;
        if (g_error_matches(err, BASE_ERROR, BASE_ERROR_ABORTED)) {
            g_propagate_error(error, g_steal_pointer(&err));
            return -1;
        }
        if (final) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                        _("The host '%1$s' refused the connection to its migration port %2$u: "
                          "%3$s"), host, port, err->message);
            return -1;
        }
        timeouts = timeouts && g_error_matches(err, BASE_ERROR, BASE_ERROR_TIMEOUT);
        helloNote(tried, address, err);
    }
    g_set_error(error, BASE_ERROR, timeouts ? BASE_ERROR_TIMEOUT : BASE_ERROR_OPERATION_FAILED,
                _("The migration port %1$u of the host '%2$s' cannot be reached (%3$s)."),
                port, host, tried->str);
    return -1;
}

int
helloConnectPlain(const char *host, unsigned port, int cancelFd, unsigned timeoutMs, GError **error)
{
    return helloConnect(host, port, NULL, cancelFd, timeoutMs, error);
}

int
helloConnect(const char *host, unsigned port, const hello *h, int cancelFd,
             unsigned timeoutMs, GError **error)
{
    g_autoptr(helloLookup) lookup = g_new0(helloLookup, 1);
    helloCaller caller = {
        .h = h,
        .cancelFd = cancelFd,
        .deadline = g_get_monotonic_time() +
                    (gint64)(timeoutMs ? timeoutMs : HELLO_DEFAULT_TIMEOUT_MS) * 1000,
    };

    lookup->refs = 1;
    lookup->doneFd = -1;
    lookup->host = g_strdup(host);
    g_snprintf(lookup->service, sizeof(lookup->service), "%u", port);

    if (port < 1 || port > 65535 || !host || !*host) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("'%1$s' and port %2$u do not name a migration port."),
                    host ? host : "", port);
        return -1;
    }
    if (FAULT_ERROR(HELLO_CONNECT, error) || !helloResolve(lookup, &caller, error))
        return -1;
    return helloTryAll(lookup->list, host, port, &caller, error);
}
