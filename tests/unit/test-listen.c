/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "remote/hello_tls.h"
#include "remote/listen.h"
#include "remote/listen_priv.h"

#include "free-port.h"
#include "io-thread.h"

typedef struct {
    ioThread io;
    listener *l;
    unsigned port;
    guint fds;
    uint8_t token[HELLO_TOKEN_LEN];
    gint accepted, freed;      /* atomic */
    bool forgetFirst;          /* in the callback */
    hello last;
    char *peer;
} fixture;

static void
onAccept(helloConn conn, const hello *h, const char *peer, void *opaque)
{
    int fd = conn.fd;
    fixture *f = opaque;

    g_assert_cmpint(!(fcntl(fd, F_GETFL) & O_NONBLOCK), ==, !conn.tls);
    g_assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    f->last = *h;
    g_free(f->peer);
    f->peer = g_strdup(peer);
    if (f->forgetFirst) {
        listenerForget(f->l, f->token);
        g_assert_cmpint(g_atomic_int_get(&f->freed), ==, 0);   /* not under our feet */
    }
    helloAnswer(&conn, NULL, NULL);
    helloConnClear(&conn);
    g_atomic_int_inc(&f->accepted);
}

static void
onFree(gpointer opaque)
{
    g_atomic_int_inc(&((fixture *)opaque)->freed);
}

static void
setUp(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->fds = ioCountFds();
    ioThreadStart(&f->io);
    f->l = listenerNew(f->io.context);
    f->port = freePort();
    g_assert_true(helloNewToken(f->token, NULL));
    g_assert_true(listenerExpect(f->l, f->token, HELLO_KEYS_PLAIN, onAccept, f, onFree));
}

static void
tearDown(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    gint64 until = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    listenerFree(f->l);
    ioThreadStop(&f->io);
    g_assert_cmpint(f->freed, ==, 1);
    /* Nobody waits for the threads of the handshakes. */
    while (ioCountFds() != f->fds && g_get_monotonic_time() < until)
        g_thread_yield();
    g_assert_cmpuint(ioCountFds(), ==, f->fds);
    g_free(f->peer);
}

static void
doBind(fixture *f, const char *address)
{
    g_autoptr(GError) error = NULL;

    listenerBind(f->l, address, f->port, &error);
    g_assert_no_error(error);
}

static int
rawConnect(unsigned port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    g_auto(baseFd) fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -1;
    return baseFdSteal(&fd);
}

/* helloConnect() in the clear: the descriptor or -1. */
static int
connectTo(const char *host, unsigned port, const hello *h, int cancelFd, unsigned timeoutMs, GError **error)
{
    const helloTarget target = { .host = host, .port = port, .cancelFd = cancelFd, .timeoutMs = timeoutMs };
    helloConn conn = HELLO_CONN_INIT;

    if (!helloConnect(&target, h, &conn, error))
        return -1;
    g_assert_null(conn.tls);
    return conn.fd;
}

/* A good connection to @host is served. */
static void
assertServed(fixture *f, const char *host)
{
    const hello h = { .role = HELLO_DATA, .index = 7 };
    hello mine = h;
    g_autoptr(GError) error = NULL;
    gint before = g_atomic_int_get(&f->accepted);
    g_auto(baseFd) fd = -1;

    memcpy(mine.token, f->token, sizeof(mine.token));
    fd = connectTo(host, f->port, &mine, -1, 5000, &error);
    g_assert_no_error(error);
    g_assert_true(ioWaitFlag(&f->accepted, before + 1));
    g_assert_cmpint(f->last.role, ==, HELLO_DATA);
    g_assert_cmpuint(f->last.index, ==, 7);
    /* Served to the end: the callee closed. */
    g_assert_cmpint(recv(fd, &(char){ 0 }, 1, 0), ==, 0);
}

static void
assertNotServed(fixture *f)
{
    g_autoptr(GError) error = NULL;
    hello h = { .role = HELLO_CONTROL };

    memcpy(h.token, f->token, sizeof(h.token));
    g_assert_cmpint(connectTo("127.0.0.1", f->port, &h, -1, 2000, &error), ==, -1);
}

/* The text of the refusal that @fd gets before it is closed; NULL if it is just closed. */
static char *
readRefusal(int fd)
{
    char bytes[2048] = { 0 };
    struct timeval limit = { .tv_sec = 5 };
    ssize_t got;

    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    got = recv(fd, bytes, sizeof(bytes) - 1, MSG_WAITALL);
    g_assert_true(got >= 0 || errno == ECONNRESET);
    if (got < 16)
        return NULL;
    g_assert_cmpint(bytes[11], ==, 1);
    return g_strdup(bytes + 16);
}

static void
testServe(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    doBind(f, NULL);
    assertServed(f, "127.0.0.1");
    g_assert_true(g_str_has_prefix(f->peer, "127.0.0.1:"));
    assertServed(f, "127.0.0.1");     /* a token serves several connections */
    if (g_file_test("/proc/net/if_inet6", G_FILE_TEST_EXISTS)) {
        assertServed(f, "::1");
        g_assert_true(g_str_has_prefix(f->peer, "[::1]:"));
    }
}

static void
testUnknownToken(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    hello h = { .role = HELLO_CONTROL };

    doBind(f, "127.0.0.1");
    g_assert_cmpint(connectTo("127.0.0.1", f->port, &h, -1, 5000, &error), ==, -1);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(error->message, "No migration is expected"));
    g_assert_false(listenerExpect(f->l, f->token, HELLO_KEYS_PLAIN, onAccept, NULL, NULL));
    listenerForget(f->l, h.token);            /* not there: nothing happens */
    assertServed(f, "127.0.0.1");
    listenerForget(f->l, f->token);
    g_assert_cmpint(f->freed, ==, 1);
    assertNotServed(f);
    g_assert_cmpint(f->accepted, ==, 1);
}

static void
testForgetInside(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    doBind(f, NULL);
    f->forgetFirst = true;
    assertServed(f, "127.0.0.1");
    g_assert_true(ioWaitFlag(&f->freed, 1));
    assertNotServed(f);
}

static void
testGarbage(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *text = NULL;
    g_auto(baseFd) fd = -1;
    const char request[] = "GET / HTTP/1.1\r\nHost: somewhere.example.org\r\n\r\n  ";

    doBind(f, NULL);
    fd = rawConnect(f->port);
    g_assert_cmpint(send(fd, request, helloSize(), MSG_NOSIGNAL), ==, helloSize());
    text = readRefusal(fd);
    g_assert_nonnull(text);
    g_assert_nonnull(strstr(text, "not the beginning"));
    assertServed(f, "127.0.0.1");
}

static void
testPieces(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    hello h = { .role = HELLO_QUERY };
    g_autofree uint8_t *bytes = NULL;
    g_auto(baseFd) fd = -1;

    doBind(f, NULL);
    memcpy(h.token, f->token, sizeof(h.token));
    bytes = helloWrite(&h);
    fd = rawConnect(f->port);
    for (size_t i = 0; i < helloSize(); i++) {
        g_assert_cmpint(f->accepted, ==, 0);
        g_assert_cmpint(send(fd, bytes + i, 1, MSG_NOSIGNAL), ==, 1);
        ioThreadDrain(&f->io);
    }
    g_assert_true(ioWaitFlag(&f->accepted, 1));
    g_assert_cmpint(f->last.role, ==, HELLO_QUERY);
}

static void
testTruncated(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    doBind(f, NULL);
    for (int i = 0; i < 50; i++) {
        g_auto(baseFd) fd = rawConnect(f->port);

        g_assert_cmpint(send(fd, "stratmig", (size_t)(i % 9), MSG_NOSIGNAL), >=, 0);
    }
    assertServed(f, "127.0.0.1");
    g_assert_cmpint(f->accepted, ==, 1);
}

static void
testSilent(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_auto(baseFd) fd = -1;
    g_autofree char *text = NULL;

    listenerSetHelloTimeout(f->l, 50);
    doBind(f, NULL);
    fd = rawConnect(f->port);
    g_assert_cmpint(send(fd, "strat", 5, MSG_NOSIGNAL), ==, 5);
    text = readRefusal(fd);
    g_assert_nonnull(strstr(text, "in time"));
}

/* Strangers fill all places; the oldest of them make room. */
static void
testMany(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    int fds[150];
    size_t closed = 0;

    doBind(f, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = rawConnect(f->port);
        g_assert_cmpint(fds[i], >=, 0);
    }
    assertServed(f, "127.0.0.1");
    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        struct pollfd p = { .fd = fds[i], .events = POLLIN };

        if (poll(&p, 1, 0) == 1) {
            g_assert_cmpuint(i, ==, closed);        /* the oldest, without a gap */
            closed++;
        }
        close(fds[i]);
    }
    /* 64 may wait, and the good one needed a place, too. */
    g_assert_cmpuint(closed, ==, G_N_ELEMENTS(fds) - 63);
}

static void
testUsers(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    doBind(f, NULL);
    doBind(f, NULL);
    doBind(f, "127.0.0.1");             /* served by the one that is there */
    listenerUnbind(f->l, NULL, f->port);
    assertServed(f, "127.0.0.1");
    listenerUnbind(f->l, NULL, f->port);
    assertServed(f, "127.0.0.1");
    listenerUnbind(f->l, "127.0.0.1", f->port);
    g_assert_cmpint(rawConnect(f->port), ==, -1);
    listenerUnbind(f->l, "127.0.0.1", f->port);    /* once too often: nothing happens */
    doBind(f, NULL);
    assertServed(f, "127.0.0.1");
}

/* A single address first, then all: both work, and the port stays ours alone. */
static void
testOverlap(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_auto(baseFd) other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons((uint16_t)f->port) };
    const int on = 1;

    doBind(f, "127.0.0.1");
    doBind(f, NULL);
    assertServed(f, "127.0.0.1");
    assertServed(f, "127.0.0.2");
    g_assert_cmpint(setsockopt(other, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), ==, 0);
    g_assert_cmpint(bind(other, (struct sockaddr *)&any, sizeof(any)), ==, -1);
    listenerUnbind(f->l, "127.0.0.1", f->port);
    assertServed(f, "127.0.0.1");
    listenerUnbind(f->l, NULL, f->port);
    g_assert_cmpint(rawConnect(f->port), ==, -1);
}

static void
testTaken(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_auto(baseFd) other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons((uint16_t)f->port) };
    g_autofree char *portText = g_strdup_printf("%u", f->port);
    static const char *const addresses[] = { NULL, "127.0.0.1" };

    g_assert_cmpint(bind(other, (struct sockaddr *)&any, sizeof(any)), ==, 0);
    g_assert_cmpint(listen(other, 1), ==, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(addresses); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_false(listenerBind(f->l, addresses[i], f->port, &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
        g_assert_nonnull(strstr(error->message, "taken by another program"));
        g_assert_nonnull(strstr(error->message, portText));
    }
}

static void
testBadAddress(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const struct { const char *address; int code; const char *text; } cases[] = {
        { "192.0.2.1", BASE_ERROR_OPERATION_FAILED, "not one of this host's" },
        { "somewhere", BASE_ERROR_INVALID_ARG, "somewhere" },
        { "127.0.0.1:5", BASE_ERROR_INVALID_ARG, "127.0.0.1:5" },
        { "256.0.0.1", BASE_ERROR_INVALID_ARG, "256.0.0.1" },
    };
    g_autoptr(GError) error = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_assert_false(listenerBind(f->l, cases[i].address, f->port, &error));
        g_assert_error(error, BASE_ERROR, cases[i].code);
        g_assert_nonnull(strstr(error->message, cases[i].text));
        g_clear_error(&error);
    }
    g_assert_false(listenerBind(f->l, NULL, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    g_clear_error(&error);
    g_assert_false(listenerBind(f->l, NULL, 65536, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
}

/* Out of descriptors for a while: no busy loop, and the connection is served afterwards. */
static void
testDescriptors(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    struct rlimit old, low;
    struct rusage before, after;
    hello h = { .role = HELLO_CONTROL };
    g_autofree uint8_t *bytes = NULL;
    g_auto(baseFd) fd = -1;
    g_autoptr(GArray) fillers = g_array_new(FALSE, FALSE, sizeof(int));
    int filler;

    memcpy(h.token, f->token, sizeof(h.token));
    bytes = helloWrite(&h);
    doBind(f, NULL);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &old), ==, 0);
    low = old;
    low.rlim_cur = 64;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &low), ==, 0);
    while ((filler = dup(fd)) >= 0)
        g_array_append_val(fillers, filler);

    getrusage(RUSAGE_SELF, &before);
    {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)f->port),
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

        g_assert_cmpint(connect(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    }
    g_assert_cmpint(send(fd, bytes, helloSize(), MSG_NOSIGNAL), ==, helloSize());
    g_usleep(200000);
    g_assert_cmpint(f->accepted, ==, 0);
    getrusage(RUSAGE_SELF, &after);
    g_assert_cmpint((after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
                    after.ru_utime.tv_usec - before.ru_utime.tv_usec, <, 100000);

    for (guint i = 0; i < fillers->len; i++)
        close(g_array_index(fillers, int, i));
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &old), ==, 0);
    g_assert_true(ioWaitFlag(&f->accepted, 1));
}

static void
testFreePending(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_auto(baseFd) fd = -1;

    doBind(f, NULL);
    fd = rawConnect(f->port);
    ioThreadDrain(&f->io);
    g_clear_pointer(&f->l, listenerFree);
    g_assert_null(readRefusal(fd));
}

static void
testAddresses(fixture *f G_GNUC_UNUSED, gconstpointer data G_GNUC_UNUSED)
{
    static const struct { const char *text; bool global; } cases[] = {
        { "10.0.0.1", true }, { "192.168.1.1", true }, { "8.8.8.8", true }, { "127.0.0.1", false },
        { "169.254.1.1", false }, { "224.0.0.1", false }, { "0.0.0.0", false },
        { "fd00::1", true }, { "2001:db8::1", true }, { "fe80::1", false }, { "::1", false },
        { "::", false }, { "ff02::1", false }, { "::ffff:10.0.0.1", false },
    };
    g_auto(GStrv) list = listenLocalAddresses();
    const char *routes4 =
        "Iface\tDestination\tGateway\neth1\t00000000\t0102000A\neth2\t0002000A\t00000000\n";
    const char *routes6 =
        "00000000000000000000000000000000 00 00000000000000000000000000000000 00 "
        "fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth3\n";

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        struct sockaddr_in v4 = { .sin_family = AF_INET };
        struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
        const struct sockaddr *address = (struct sockaddr *)&v4;

        if (inet_pton(AF_INET, cases[i].text, &v4.sin_addr) != 1) {
            g_assert_cmpint(inet_pton(AF_INET6, cases[i].text, &v6.sin6_addr), ==, 1);
            address = (struct sockaddr *)&v6;
        }
        g_assert_cmpint(listenAddressIsGlobal(address), ==, cases[i].global);
    }
    g_assert_false(listenAddressIsGlobal(&(struct sockaddr){ .sa_family = AF_UNIX }));

    g_assert_true(listenRouteIsDefault(routes4, routes6, "eth1"));
    g_assert_false(listenRouteIsDefault(routes4, routes6, "eth2"));
    g_assert_true(listenRouteIsDefault(routes4, routes6, "eth3"));
    g_assert_false(listenRouteIsDefault(NULL, NULL, "eth1"));

    for (char **address = list; *address; address++) {
        g_assert_true(g_hostname_is_ip_address(*address));
        g_assert_false(g_str_has_prefix(*address, "127.") || g_str_has_prefix(*address, "fe80"));
    }
}

#define ADD(name, func) g_test_add("/listen/" name, fixture, NULL, setUp, func, tearDown)

/* ---- TLS ------------------------------------------------------------------------------------ */

static void
setUpToken(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    f->fds = ioCountFds();
    ioThreadStart(&f->io);
    f->l = listenerNew(f->io.context);
    f->port = freePort();
    g_assert_true(helloNewToken(f->token, NULL));
    g_assert_true(listenerExpect(f->l, f->token, HELLO_KEYS_TOKEN, onAccept, f, onFree));
}

static bool
connectSecure(fixture *f, const uint8_t *token, helloKeys keys, helloConn *conn, GError **error)
{
    const helloSecurity security = { .keys = keys, .dir = "/nonexistent" };
    const helloTarget target = {
        .host = "127.0.0.1", .port = f->port, .cancelFd = -1, .timeoutMs = 5000, .security = &security,
    };
    hello h = { .role = HELLO_DATA, .index = 7 };

    memcpy(h.token, token, sizeof(h.token));
    return helloConnect(&target, &h, conn, error);
}

static void
assertInsecure(fixture *f, const uint8_t *token, helloKeys keys, const char *says)
{
    g_autoptr(GError) error = NULL;
    g_auto(helloConn) conn = HELLO_CONN_INIT;
    gint before = g_atomic_int_get(&f->accepted);

    g_assert_false(connectSecure(f, token, keys, &conn, &error));
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, says));
    g_assert_cmpint(g_atomic_int_get(&f->accepted), ==, before);
}

static void
testTlsToken(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_auto(helloConn) conn = HELLO_CONN_INIT;
    uint8_t other[HELLO_TOKEN_LEN] = { 1 };
    uint8_t hash[HELLO_TOKEN_LEN];

    doBind(f, NULL);
    connectSecure(f, f->token, HELLO_KEYS_TOKEN, &conn, &error);
    g_assert_no_error(error);
    g_assert_nonnull(conn.tls);
    g_assert_true(ioWaitFlag(&f->accepted, 1));
    g_assert_cmpint(f->last.role, ==, HELLO_DATA);
    g_assert_cmpuint(f->last.index, ==, 7);
    g_assert_cmpint(f->last.keys, ==, HELLO_KEYS_TOKEN);

    assertInsecure(f, other, HELLO_KEYS_TOKEN, "No migration is expected");
    assertInsecure(f, f->token, HELLO_KEYS_PLAIN, "must be secured by TLS");
    assertInsecure(f, f->token, HELLO_KEYS_X509, "not to be secured in this way");
    /* Who has only seen the hash go by. */
    helloTokenHash(f->token, hash);
    assertInsecure(f, hash, HELLO_KEYS_TOKEN, "No migration is expected");
    listenerNarrow(f->l, f->token, HELLO_KEYS_X509);
    assertInsecure(f, f->token, HELLO_KEYS_TOKEN, "not to be secured in this way");
}

/* The hash is on the wire: who repeats it gets a handshake, and no further, and not for long. */
static void
testTlsSilence(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    hello ask = { .role = HELLO_TLS, .index = 2 };
    g_autofree uint8_t *record = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(helloConn) conn = HELLO_CONN_INIT;
    int fds[40];
    uint8_t answer[16];
    unsigned served = 0;

    doBind(f, "127.0.0.1");
    listenerSetHelloTimeout(f->l, 500);
    helloTokenHash(f->token, ask.token);
    record = helloWrite(&ask);
    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = rawConnect(f->port);
        g_assert_cmpint(send(fds[i], record, helloSize(), MSG_NOSIGNAL), ==, (ssize_t)helloSize());
        g_assert_cmpint(recv(fds[i], answer, sizeof(answer), MSG_WAITALL), ==, sizeof(answer));
        served += answer[11] == 0;
    }
    g_assert_cmpuint(served, ==, 32);
    for (size_t i = 0; i < G_N_ELEMENTS(fds); i++) {
        char byte[1024];

        /* Thrown out, after an alert or a text at most. */
        while (recv(fds[i], byte, sizeof(byte), 0) > 0)
            continue;
        close(fds[i]);
    }
    g_assert_cmpint(g_atomic_int_get(&f->accepted), ==, 0);
    connectSecure(f, f->token, HELLO_KEYS_TOKEN, &conn, &error);
    g_assert_no_error(error);
}

static void
onSignal(int number G_GNUC_UNUSED)
{
}

/* Each thread that serves a TLS connection gets a signal while it waits; false: there is none. */
static bool
interruptHandshakes(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/task", 0, NULL);
    const char *name;
    bool found = false;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_strdup_printf("/proc/self/task/%s/comm", name);
        g_autofree char *comm = NULL;

        if (!g_file_get_contents(path, &comm, NULL, NULL) || !g_str_equal(g_strchomp(comm), "handshake"))
            continue;
        found = syscall(SYS_tgkill, getpid(), atoi(name), SIGUSR1) == 0 || found;
    }
    return found;
}

/* The record within TLS arrives in pieces, and whoever waits for them is interrupted all the time. */
static void
testTlsPieces(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    const struct sigaction action = { .sa_handler = onSignal };   /* without SA_RESTART */
    const helloSecurity security = { .keys = HELLO_KEYS_TOKEN };
    const helloTls how = {
        .token = f->token, .host = "127.0.0.1", .cancelFd = -1,
        .deadline = g_get_monotonic_time() + 10 * G_USEC_PER_SEC,
    };
    const hello ask = helloAskTls(&security, f->token);
    hello h = { .role = HELLO_DATA, .index = 3 };
    g_autofree uint8_t *asked = helloWrite(&ask);
    g_autofree uint8_t *record = NULL;
    g_autoptr(GError) error = NULL;
    g_auto(helloConn) conn = HELLO_CONN_INIT;
    uint8_t answer[16];

    g_assert_cmpint(sigaction(SIGUSR1, &action, NULL), ==, 0);
    doBind(f, "127.0.0.1");
    memcpy(h.token, f->token, sizeof(h.token));
    record = helloWrite(&h);
    conn.fd = rawConnect(f->port);
    g_assert_cmpint(send(conn.fd, asked, helloSize(), MSG_NOSIGNAL), ==, (ssize_t)helloSize());
    g_assert_cmpint(recv(conn.fd, answer, sizeof(answer), MSG_WAITALL), ==, sizeof(answer));
    g_assert_true(baseFdSetNonblock(conn.fd, true));
    g_assert_true(helloConnectTls(&conn, &security, &how, &error));
    g_assert_no_error(error);
    for (size_t i = 0; i < helloSize(); i += 8) {
        for (int n = 0; n < 20; n++) {
            g_assert_true(interruptHandshakes());
            g_usleep(500);
        }
        g_assert_cmpint(tlsWrite(conn.tls, record + i, 8, &error), ==, 8);
    }
    g_assert_true(ioWaitFlag(&f->accepted, 1));
    g_assert_cmpuint(f->last.index, ==, 3);
}

/* It ends while somebody is in the middle of a handshake. */
static void
testTlsFree(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    hello ask = { .role = HELLO_TLS, .index = 2 };
    g_autofree uint8_t *record = NULL;
    g_auto(baseFd) fd = -1;
    uint8_t answer[16];

    doBind(f, "127.0.0.1");
    helloTokenHash(f->token, ask.token);
    record = helloWrite(&ask);
    fd = rawConnect(f->port);
    g_assert_cmpint(send(fd, record, helloSize(), MSG_NOSIGNAL), ==, (ssize_t)helloSize());
    g_assert_cmpint(recv(fd, answer, sizeof(answer), MSG_WAITALL), ==, sizeof(answer));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ioWarmUp();
    ADD("serve", testServe);
    ADD("unknown-token", testUnknownToken);
    ADD("forget-inside", testForgetInside);
    ADD("garbage", testGarbage);
    ADD("pieces", testPieces);
    ADD("truncated", testTruncated);
    ADD("silent", testSilent);
    ADD("many", testMany);
    ADD("users", testUsers);
    ADD("overlap", testOverlap);
    ADD("taken", testTaken);
    ADD("bad-address", testBadAddress);
    ADD("descriptors", testDescriptors);
    ADD("free-pending", testFreePending);
    ADD("addresses", testAddresses);
    g_test_add("/listen/tls/token", fixture, NULL, setUpToken, testTlsToken, tearDown);
    g_test_add("/listen/tls/silence", fixture, NULL, setUpToken, testTlsSilence, tearDown);
    g_test_add("/listen/tls/pieces", fixture, NULL, setUpToken, testTlsPieces, tearDown);
    g_test_add("/listen/tls/free", fixture, NULL, setUpToken, testTlsFree, tearDown);
    return g_test_run();
}
