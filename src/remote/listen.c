/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * One lock guards the tables; all input happens in the context's thread, which drops the lock to
 * call whoever expects a token.  Anybody can connect to the port, so what a stranger can take from
 * us is bounded: so many connections without a valid hello at a time, so many bytes each, so many
 * seconds each; the oldest one makes room for a newer one, because ours says its hello at once.
 *
 * TLS handshakes cost processor time and wait for the other side, so each has a thread, started only for somebody who
 * knows at least the hash of a token, and they are bounded in number and time as well.
 *
 * The kernel does not let a wildcard address and a single one listen on the same port, but both
 * kinds of request come, for different migrations at the same time.  A single address is served by
 * a wildcard socket that is there already; the other way round, our own sockets permit the overlap
 * (SO_REUSEPORT) while the wildcard is bound, and only then, so that another program's claim to the
 * port is noticed before and after.
 */
#include "remote/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <glib-unix.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/lock.h"
#define LOG_FOLDER "remote"
#include "base/log.h"
#include "base/thread.h"
#include "remote/hello_tls.h"
#include "remote/listen_priv.h"

#include "base/gettext.h"

#define LISTEN_MAX_PENDING 64
#define LISTEN_HELLO_TIMEOUT_MS 5000
#define LISTEN_RETRY_MS 500            /* after running out of descriptors */
#define LISTEN_MAX_ACCEPTS 16          /* at a time; the context has other users */
#define LISTEN_MAX_HANDSHAKES 32
#define LISTEN_LOG_INTERVAL G_USEC_PER_SEC
#define LISTEN_TELL_INTERVAL (60 * G_USEC_PER_SEC)

/* Who waits for a token.  Held by the table and by a call that is under way. */
typedef struct {
    gint refs;                 /* atomic */
    uint8_t token[HELLO_TOKEN_LEN], hash[HELLO_TOKEN_LEN];
    helloKeys keys;            /* guarded by the listener's lock */
    listenAcceptFunc func;
    void *opaque;
    GDestroyNotify opaqueFree;
} listenExpectation;

typedef struct {
    char *address;             /* as asked for; NULL: all */
    unsigned port;
    unsigned users;
    int fd;
    GSource *source;           /* accepting, or waiting to accept again */
} listenSocket;

typedef struct {
    int fd;
    GSource *input;
    GSource *timer;
    char *peer;
    uint8_t *bytes;            /* helloSize() of them */
    size_t have;
} listenPending;

struct _listener {
    gint refs;                 /* atomic: the owner and each source */
    GMainContext *context;
    GMutex lock;               /* guards everything below */
    GPtrArray *sockets;        /* listenSocket */
    GPtrArray *expectations;   /* listenExpectation */
    GQueue pending;            /* listenPending, oldest first */
    unsigned helloTimeoutMs;
    gint64 lastTold, lastLog;  /* monotonic, us; 0: never */
    unsigned untold, unlogged;
    gint64 lastInsecure;       /* monotonic, us; 0: never */
    char *tlsDir, *tlsPriority;
    int stopFd;                /* eventfd: handshakes are to end; constant */
    unsigned handshakes;       /* threads */
    GCond calm;                /* one less */
    bool closed;
};

/* A TLS handshake under way, and then its result on the way to the context's thread. */
typedef struct {
    listener *l;               /* a reference */
    listenExpectation *expectation;
    helloConn conn;
    helloSecurity security;
    char *dir, *priority;      /* of 'security' */
    char *peer;
    gint64 deadline;           /* monotonic, us */
    hello h;
} listenHandshake;

/* A source's way to find both. */
typedef struct {
    listener *l;
    void *item;                /* listenSocket or listenPending; valid while it has the source */
} listenRef;

static void
listenExpectationUnref(void *opaque)
{
    listenExpectation *expectation = opaque;

    if (!g_atomic_int_dec_and_test(&expectation->refs))
        return;
    if (expectation->opaqueFree)
        expectation->opaqueFree(expectation->opaque);
    g_free(expectation);
}

static void
listenDropSource(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_clear_pointer(source, g_source_unref);
}

static void
listenSocketFree(void *opaque)
{
    listenSocket *sock = opaque;

    listenDropSource(&sock->source);
    /* The context's thread may be polling it and so keep it open for a moment; the port must be
     * free now, and nobody may be let in who would only be thrown out. */
    shutdown(sock->fd, SHUT_RDWR);
    baseFdClose(sock->fd);
    g_free(sock->address);
    g_free(sock);
}

static void
listenPendingFree(listenPending *pending)
{
    listenDropSource(&pending->input);
    listenDropSource(&pending->timer);
    baseFdClose(pending->fd);
    g_free(pending->peer);
    g_free(pending->bytes);
    g_free(pending);
}

static void
listenUnref(listener *l)
{
    if (!g_atomic_int_dec_and_test(&l->refs))
        return;
    g_ptr_array_unref(l->sockets);
    g_ptr_array_unref(l->expectations);
    g_main_context_unref(l->context);
    g_mutex_clear(&l->lock);
    g_cond_clear(&l->calm);
    baseFdClose(l->stopFd);
    g_free(l->tlsDir);
    g_free(l->tlsPriority);
    g_free(l);
}

static void
listenRefFree(void *opaque)
{
    listenRef *ref = opaque;

    listenUnref(ref->l);
    g_free(ref);
}

listener *
listenerNew(GMainContext *context)
{
    listener *l = g_new0(listener, 1);

    l->refs = 1;
    l->context = g_main_context_ref(context);
    g_mutex_init(&l->lock);
    g_cond_init(&l->calm);
    l->stopFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->sockets = g_ptr_array_new_with_free_func(listenSocketFree);
    l->expectations = g_ptr_array_new_with_free_func(listenExpectationUnref);
    g_queue_init(&l->pending);
    l->helloTimeoutMs = LISTEN_HELLO_TIMEOUT_MS;
    return l;
}

void
listenerSetHelloTimeout(listener *l, unsigned timeoutMs)
{
    BASE_LOCK(&l->lock);

    l->helloTimeoutMs = timeoutMs;
}

void
listenerSetTls(listener *l, const char *dir, const char *priority)
{
    BASE_LOCK(&l->lock);

    g_free(l->tlsDir);
    g_free(l->tlsPriority);
    l->tlsDir = g_strdup(dir);
    l->tlsPriority = g_strdup(priority);
}

void
listenerFree(listener *l)
{
    g_autoptr(GPtrArray) expectations = NULL;

    if (!l)
        return;
    g_mutex_lock(&l->lock);
    g_ptr_array_set_size(l->sockets, 0);
    g_queue_clear_full(&l->pending, (GDestroyNotify)listenPendingFree);
    l->closed = true;
    eventfd_write(l->stopFd, 1);
    while (l->handshakes > 0)
        g_cond_wait(&l->calm, &l->lock);
    /* Their owners' functions run without the lock. */
    expectations = g_steal_pointer(&l->expectations);
    l->expectations = g_ptr_array_new_with_free_func(listenExpectationUnref);
    g_mutex_unlock(&l->lock);
    listenUnref(l);
}

/* Attach @source with a reference to @l. */
static GSource *
listenAttach(listener *l, GSource *source, GSourceFunc func, void *item)
{
    listenRef *ref = g_new0(listenRef, 1);

    g_atomic_int_inc(&l->refs);
    ref->l = l;
    ref->item = item;
    g_source_set_callback(source, func, ref, listenRefFree);
    g_source_attach(source, l->context);
    return source;
}

/* ---- connections without a hello yet; lock held -------------------------------------------- */

static void
listenDrop(listener *l, listenPending *pending)
{
    g_queue_remove(&l->pending, pending);
    listenPendingFree(pending);
}

/* Strangers must not be able to fill the log. */
static void
listenLogRefusal(listener *l, const char *peer, const char *why)
{
    gint64 now = g_get_monotonic_time();

    l->untold++;
    if (!l->lastTold || now - l->lastTold >= LISTEN_TELL_INTERVAL) {
        g_message("migration port: refused %s: %s (one of %u since the last such line; there is one a minute at most)",
                  peer, why, l->untold);
        l->lastTold = now;
        l->untold = 0;
    }
    if (now - l->lastLog < LISTEN_LOG_INTERVAL && l->lastLog) {
        l->unlogged++;
        return;
    }
    g_debug("migration port: refused %s: %s (and %u more since the last such line)",
            peer, why, l->unlogged);
    l->lastLog = now;
    l->unlogged = 0;
}

/* Somebody who knew a token's hash and is not who he should be: worth telling an administrator, but not without end. */
static void
listenLogInsecure(listener *l, const char *peer, const char *why)
{
    gint64 now = g_get_monotonic_time();
    BASE_LOCK(&l->lock);

    if (l->closed || (l->lastInsecure && now - l->lastInsecure < LISTEN_LOG_INTERVAL))
        return;
    l->lastInsecure = now;
    g_message("migration port: the connection from %s could not be made secure: %s", peer, why);
}

static void
listenRefuse(listener *l, listenPending *pending, const char *why)
{
    listenLogRefusal(l, pending->peer, why);
    helloAnswer(&(helloConn){ .fd = pending->fd }, why, NULL);
    listenDrop(l, pending);
}

/* Constant time for each, so that nobody can feel the way to a token. */
static listenExpectation *
listenFind(listener *l, const uint8_t *token)
{
    for (guint i = 0; i < l->expectations->len; i++) {
        listenExpectation *expectation = g_ptr_array_index(l->expectations, i);

        if (helloTokenEqual(expectation->token, token))
            return expectation;
    }
    return NULL;
}

/* By the hash of its token. */
static listenExpectation *
listenFindHash(listener *l, const uint8_t *hash)
{
    for (guint i = 0; i < l->expectations->len; i++) {
        listenExpectation *expectation = g_ptr_array_index(l->expectations, i);

        if (helloTokenEqual(expectation->hash, hash))
            return expectation;
    }
    return NULL;
}

/* ---- TLS ------------------------------------------------------------------------------------ */

static void
listenHandshakeFree(void *opaque)
{
    listenHandshake *handshake = opaque;

    helloConnClear(&handshake->conn);
    listenExpectationUnref(handshake->expectation);
    listenUnref(handshake->l);
    g_free(handshake->dir);
    g_free(handshake->priority);
    g_free(handshake->peer);
    g_free(handshake);
}

/* In the context's thread: the other side is who it should be. */
static gboolean
listenHandshakeGood(gpointer opaque)
{
    listenHandshake *handshake = opaque;
    listenExpectation *expectation = handshake->expectation;
    bool wanted;

    g_mutex_lock(&handshake->l->lock);
    wanted = !handshake->l->closed && (expectation->keys & handshake->security.keys) &&
        g_ptr_array_find(handshake->l->expectations, expectation, NULL);
    g_mutex_unlock(&handshake->l->lock);
    if (wanted)
        expectation->func(helloConnSteal(&handshake->conn), &handshake->h, handshake->peer, expectation->opaque);
    else
        helloAnswer(&handshake->conn, _("No migration is expected here with this token, or no longer."), NULL);
    return G_SOURCE_REMOVE;
}

static gpointer
listenHandshakeThread(gpointer opaque)
{
    listenHandshake *handshake = opaque;
    listener *l = handshake->l;
    g_autoptr(GError) err = NULL;
    const helloTls how = {
        .token = handshake->expectation->token,
        .host = handshake->peer,
        .cancelFd = l->stopFd,
        .deadline = handshake->deadline,
    };
    bool ok = helloAcceptTls(&handshake->conn, &handshake->security, &how, &handshake->h, &err);

    g_atomic_int_inc(&l->refs);
    if (ok)
        g_main_context_invoke_full(l->context, G_PRIORITY_DEFAULT, listenHandshakeGood, handshake, listenHandshakeFree);
    else
        listenLogInsecure(l, handshake->peer, err->message);
    if (!ok)
        listenHandshakeFree(handshake);
    g_mutex_lock(&l->lock);
    l->handshakes--;
    g_cond_broadcast(&l->calm);
    g_mutex_unlock(&l->lock);
    listenUnref(l);
    return NULL;
}

/* A whole record in the clear has asked for it. */
static void
listenStartTls(listener *l, listenPending *pending, const hello *ask)
{
    listenExpectation *expectation = listenFindHash(l, ask->token);
    helloKeys keys = helloAskedKeys(ask);
    listenHandshake *handshake;

    if (!expectation) {
        listenRefuse(l, pending, _("No migration is expected here with this token, or no longer."));
        return;
    }
    if (!(expectation->keys & keys)) {
        listenRefuse(l, pending, expectation->keys & HELLO_KEYS_X509
                     ? _("This migration must be secured by certificates.")
                     : _("This migration is not to be secured in this way."));
        return;
    }
    if (l->handshakes >= LISTEN_MAX_HANDSHAKES) {
        listenRefuse(l, pending, _("Too many connections are being made secure."));
        return;
    }
    if (!helloAnswer(&(helloConn){ .fd = pending->fd }, NULL, NULL)) {
        listenDrop(l, pending);
        return;
    }
    handshake = g_new0(listenHandshake, 1);
    g_atomic_int_inc(&l->refs);
    g_atomic_int_inc(&expectation->refs);
    handshake->l = l;
    handshake->expectation = expectation;
    handshake->conn = helloConnOf(baseFdSteal(&pending->fd));
    handshake->dir = g_strdup(l->tlsDir);
    handshake->priority = g_strdup(l->tlsPriority);
    handshake->security = (helloSecurity){ .keys = keys, .dir = handshake->dir, .priority = handshake->priority };
    handshake->peer = g_steal_pointer(&pending->peer);
    handshake->deadline = g_get_monotonic_time() + (gint64)l->helloTimeoutMs * 1000;
    listenDrop(l, pending);
    if (baseThreadStart("handshake", listenHandshakeThread, handshake, NULL))
        l->handshakes++;
    else
        listenHandshakeFree(handshake);
}

/* ---- whole records; lock held --------------------------------------------------------------- */

/* Drops the lock for the callee. */
static void
listenComplete(listener *l, listenPending *pending)
{
    g_autoptr(GError) err = NULL;
    g_autofree char *peer = NULL;
    listenExpectation *expectation;
    hello h;
    int fd;

    if (!helloRead(pending->bytes, helloSize(), &h, &err)) {
        listenRefuse(l, pending, err->message);
        return;
    }
    if (h.role == HELLO_TLS) {
        listenStartTls(l, pending, &h);
        return;
    }
    expectation = listenFind(l, h.token);
    if (!expectation) {
        listenRefuse(l, pending, _("No migration is expected here with this token, or no longer."));
        return;
    }
    if (!(expectation->keys & HELLO_KEYS_PLAIN)) {
        listenRefuse(l, pending, _("This migration must be secured by TLS."));
        return;
    }
    if (!baseFdSetNonblock(pending->fd, false)) {
        listenRefuse(l, pending, g_strerror(errno));
        return;
    }
    fd = baseFdSteal(&pending->fd);
    peer = g_steal_pointer(&pending->peer);
    /* The source of a descriptor goes before the descriptor may be closed elsewhere. */
    listenDrop(l, pending);

    g_atomic_int_inc(&expectation->refs);
    g_mutex_unlock(&l->lock);
    expectation->func(helloConnOf(fd), &h, peer, expectation->opaque);
    listenExpectationUnref(expectation);
    g_mutex_lock(&l->lock);
}

static gboolean
listenReadable(gint fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer opaque)
{
    listenRef *ref = opaque;
    listenPending *pending = ref->item;
    ssize_t got;
    BASE_LOCK(&ref->l->lock);

    if (g_source_is_destroyed(g_main_current_source()))
        return G_SOURCE_REMOVE;

    got = recv(pending->fd, pending->bytes + pending->have, helloSize() - pending->have, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    if (got <= 0) {
        listenLogRefusal(ref->l, pending->peer, "it went away");
        listenDrop(ref->l, pending);
        return G_SOURCE_REMOVE;
    }
    pending->have += (size_t)got;
    if (pending->have < helloSize())
        return G_SOURCE_CONTINUE;
    listenComplete(ref->l, pending);
    return G_SOURCE_REMOVE;
}

static gboolean
listenTimedOut(gpointer opaque)
{
    listenRef *ref = opaque;
    BASE_LOCK(&ref->l->lock);

    if (!g_source_is_destroyed(g_main_current_source()))
        listenRefuse(ref->l, ref->item, _("The beginning of a migration did not arrive in time."));
    return G_SOURCE_REMOVE;
}

static char *
listenPeerName(const struct sockaddr_storage *address, socklen_t len)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getnameinfo((const struct sockaddr *)address, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return g_strdup("?");
    /* Shown to people: no IPv6 prefix before an IPv4 address. */
    if (g_str_has_prefix(host, "::ffff:") && strchr(host, '.'))
        return g_strdup_printf("%s:%s", host + strlen("::ffff:"), port);
    return g_strdup_printf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static void
listenAdd(listener *l, int fd, char *peer)
{
    listenPending *pending = g_new0(listenPending, 1);

    while (g_queue_get_length(&l->pending) >= LISTEN_MAX_PENDING)
        listenRefuse(l, g_queue_peek_head(&l->pending), _("Too many connections are waiting."));

    helloTune(fd);
    pending->fd = fd;
    pending->peer = peer;
    pending->bytes = g_malloc0(helloSize());
    g_queue_push_tail(&l->pending, pending);
    pending->input = listenAttach(l, g_unix_fd_source_new(fd, G_IO_IN),
                                  G_SOURCE_FUNC(listenReadable), pending);
    pending->timer = listenAttach(l, g_timeout_source_new(l->helloTimeoutMs),
                                  listenTimedOut, pending);
}

/* ---- listening sockets; lock held ---------------------------------------------------------- */

static gboolean listenAcceptable(gint fd, GIOCondition condition, gpointer opaque);

static void
listenStartAccepting(listener *l, listenSocket *sock)
{
    listenDropSource(&sock->source);
    sock->source = listenAttach(l, g_unix_fd_source_new(sock->fd, G_IO_IN),
                                G_SOURCE_FUNC(listenAcceptable), sock);
}

static gboolean
listenAcceptAgain(gpointer opaque)
{
    listenRef *ref = opaque;
    BASE_LOCK(&ref->l->lock);

    if (!g_source_is_destroyed(g_main_current_source()))
        listenStartAccepting(ref->l, ref->item);
    return G_SOURCE_REMOVE;
}

static gboolean
listenAcceptable(gint fd G_GNUC_UNUSED, GIOCondition condition G_GNUC_UNUSED, gpointer opaque)
{
    listenRef *ref = opaque;
    listenSocket *sock = ref->item;
    BASE_LOCK(&ref->l->lock);

    if (g_source_is_destroyed(g_main_current_source()))
        return G_SOURCE_REMOVE;
    for (unsigned i = 0; i < LISTEN_MAX_ACCEPTS; i++) {
        struct sockaddr_storage address;
        socklen_t len = sizeof(address);
        int conn = accept4(sock->fd, (struct sockaddr *)&address, &len,
                           SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (conn >= 0 && FAULT(LISTEN_ACCEPT)) {
            baseFdClose(conn);
        } else if (conn >= 0) {
            listenAdd(ref->l, conn, listenPeerName(&address, len));
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The connection stays in the backlog and would wake us for ever. */
            g_debug("migration port: cannot accept: %s, waiting", g_strerror(errno));
            listenDropSource(&sock->source);
            sock->source = listenAttach(ref->l, g_timeout_source_new(LISTEN_RETRY_MS),
                                        listenAcceptAgain, sock);
            return G_SOURCE_REMOVE;
        } else if (errno == EAGAIN) {
            break;
        }
        /* Other errors are those of the connection that was, such as ECONNABORTED. */
    }
    return G_SOURCE_CONTINUE;
}

/* Whether our own sockets on @port tolerate another one. */
static bool
listenSetOverlap(listener *l, unsigned port, int on)
{
    bool any = false;

    for (guint i = 0; i < l->sockets->len; i++) {
        listenSocket *sock = g_ptr_array_index(l->sockets, i);

        if (sock->port != port)
            continue;
        setsockopt(sock->fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
        any = true;
    }
    return any;
}

/* All addresses: one socket for both families, or IPv4 alone where the kernel has no IPv6. */
static int
listenOpenAll(listener *l, unsigned port, GError **error)
{
    const struct sockaddr_in6 any6 = {
        .sin6_family = AF_INET6,
        .sin6_port = htons((uint16_t)port),
        .sin6_addr = IN6ADDR_ANY_INIT,
    };
    const struct sockaddr_in any4 = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_ANY),
    };
    bool overlap = listenSetOverlap(l, port, 1);
    int fd = listenOpen((const struct sockaddr *)&any6, sizeof(any6), overlap);

    if (fd < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
        fd = listenOpen((const struct sockaddr *)&any4, sizeof(any4), overlap);
    if (fd < 0)
        listenBindError(NULL, port, errno, error);
    if (overlap)
        listenSetOverlap(l, port, 0);
    return fd;
}

/* NULL and "any" addresses are the same thing. */
static const char *
listenNormalize(const char *address)
{
    if (!address || !*address || g_str_equal(address, "0.0.0.0") || g_str_equal(address, "::"))
        return NULL;
    return address;
}

/* The socket that serves @address; one of its own is preferred to a wildcard one. */
static listenSocket *
listenFindSocket(listener *l, const char *address, unsigned port)
{
    listenSocket *wildcard = NULL;

    for (guint i = 0; i < l->sockets->len; i++) {
        listenSocket *sock = g_ptr_array_index(l->sockets, i);

        if (sock->port != port)
            continue;
        if (g_strcmp0(sock->address, address) == 0)
            return sock;
        if (!sock->address)
            wildcard = sock;
    }
    return wildcard;
}

/* ---- what others call ---------------------------------------------------------------------- */

bool
listenerBind(listener *l, const char *address, unsigned port, GError **error)
{
    const char *wanted = listenNormalize(address);
    listenSocket *sock;
    int fd;
    BASE_LOCK(&l->lock);

    if (port < 1 || port > 65535) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("%1$u is not a port to listen on."), port);
        return false;
    }
    if (FAULT_ERROR(LISTEN_BIND, error))
        return false;
    sock = listenFindSocket(l, wanted, port);
    if (sock) {
        sock->users++;
        return true;
    }
    fd = wanted ? listenOpenOne(wanted, port, error) : listenOpenAll(l, port, error);
    if (fd < 0)
        return false;
    sock = g_new0(listenSocket, 1);
    sock->address = g_strdup(wanted);
    sock->port = port;
    sock->users = 1;
    sock->fd = fd;
    g_ptr_array_add(l->sockets, sock);
    listenStartAccepting(l, sock);
    return true;
}

void
listenerUnbind(listener *l, const char *address, unsigned port)
{
    listenSocket *sock;
    BASE_LOCK(&l->lock);

    sock = listenFindSocket(l, listenNormalize(address), port);
    if (sock && --sock->users == 0)
        g_ptr_array_remove_fast(l->sockets, sock);
}

bool
listenerExpect(listener *l, const uint8_t token[HELLO_TOKEN_LEN], helloKeys keys,
               listenAcceptFunc func, void *opaque, GDestroyNotify opaqueFree)
{
    listenExpectation *expectation;
    BASE_LOCK(&l->lock);

    if (listenFind(l, token))
        return false;
    expectation = g_new0(listenExpectation, 1);
    expectation->refs = 1;
    memcpy(expectation->token, token, HELLO_TOKEN_LEN);
    helloTokenHash(token, expectation->hash);
    expectation->keys = keys;
    expectation->func = func;
    expectation->opaque = opaque;
    expectation->opaqueFree = opaqueFree;
    g_ptr_array_add(l->expectations, expectation);
    return true;
}

void
listenerNarrow(listener *l, const uint8_t token[HELLO_TOKEN_LEN], helloKeys keys)
{
    listenExpectation *expectation;
    BASE_LOCK(&l->lock);

    expectation = listenFind(l, token);
    if (expectation)
        expectation->keys &= keys;
}

void
listenerForget(listener *l, const uint8_t token[HELLO_TOKEN_LEN])
{
    listenExpectation *expectation;

    g_mutex_lock(&l->lock);
    expectation = listenFind(l, token);
    if (expectation) {
        /* The owner's function may want our lock. */
        g_atomic_int_inc(&expectation->refs);
        g_ptr_array_remove_fast(l->expectations, expectation);
    }
    g_mutex_unlock(&l->lock);
    if (expectation)
        listenExpectationUnref(expectation);
}
