/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "remote/hello.h"

#include "io-thread.h"

static const hello sample = { .role = HELLO_DATA, .index = 258, .token = { 1, 2, 3, [31] = 255 } };

/* ---- bytes --------------------------------------------------------------------------------- */

static void
testRecord(void)
{
    g_autofree uint8_t *bytes = helloWrite(&sample);
    hello back = { 0 };

    g_assert_true(helloRead(bytes, helloSize(), &back, NULL));
    g_assert_cmpint(back.role, ==, HELLO_DATA);
    g_assert_cmpuint(back.index, ==, 258);
    g_assert_true(helloTokenEqual(back.token, sample.token));
    /* Other programs read this, too: it must not change. */
    g_assert_cmpuint(helloSize(), ==, 48);
    g_assert_cmpint(memcmp(bytes, "stratmig\0\1\0\2\1\2\0\0\1\2\3", 19), ==, 0);
    g_assert_cmpuint(bytes[47], ==, 255);
}

static void
testBadRecord(void)
{
    static const struct { size_t at; uint8_t value; int code; } cases[] = {
        { 0, 'S', BASE_ERROR_INVALID_ARG },
        { 7, 0, BASE_ERROR_INVALID_ARG },
        { 9, 2, BASE_ERROR_UNSUPPORTED },
        { 8, 1, BASE_ERROR_UNSUPPORTED },
        { 11, 0, BASE_ERROR_UNSUPPORTED },
        { 11, 5, BASE_ERROR_UNSUPPORTED },
    };
    hello back = { .index = 7 };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree uint8_t *bytes = helloWrite(&sample);
        g_autoptr(GError) error = NULL;

        bytes[cases[i].at] = cases[i].value;
        g_assert_false(helloRead(bytes, helloSize(), &back, &error));
        g_assert_error(error, BASE_ERROR, cases[i].code);
    }
    for (size_t len = 0; len < helloSize(); len++) {
        g_autofree uint8_t *bytes = helloWrite(&sample);

        g_assert_false(helloRead(bytes, len, &back, NULL));
    }
    g_assert_cmpuint(back.index, ==, 7);
}

static void
testTokens(void)
{
    static const char *const bad[] = {
        NULL, "", "00", "0g00000000000000000000000000000000000000000000000000000000000000",
        "000000000000000000000000000000000000000000000000000000000000000",
        "00000000000000000000000000000000000000000000000000000000000000000",
    };
    uint8_t a[HELLO_TOKEN_LEN] = { 0 }, b[HELLO_TOKEN_LEN] = { 0 };
    g_autofree char *hex = NULL;
    g_autofree char *upper = NULL;

    g_assert_true(helloNewToken(a, NULL));
    g_assert_true(helloNewToken(b, NULL));
    g_assert_false(helloTokenEqual(a, b));
    hex = helloTokenToHex(a);
    g_assert_true(helloTokenFromHex(hex, b));
    g_assert_true(helloTokenEqual(a, b));
    upper = g_ascii_strup(hex, -1);
    g_assert_true(helloTokenFromHex(upper, b));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        g_assert_false(helloTokenFromHex(bad[i], b));
    g_assert_true(helloTokenEqual(a, b));
    for (size_t i = 0; i < HELLO_TOKEN_LEN; i++) {
        b[i] ^= 0x80;
        g_assert_false(helloTokenEqual(a, b));
        b[i] ^= 0x80;
    }
}

/* ---- a server that does as it is told ------------------------------------------------------ */

typedef struct {
    int listenFd;
    unsigned port;
    const void *reply;        /* after the record */
    size_t replyLen;
    const char *refusal;      /* or this, by helloAnswer() */
    bool welcome;             /* or a welcome by helloAnswer() */
    bool slowly;              /* one byte at a time */
    bool hold;                /* keep the connection until the peer closes */
    GThread *thread;
    uint8_t record[48];
    gint accepted;
} server;

static void
serverWrite(int fd, const uint8_t *bytes, size_t len, bool slowly)
{
    for (size_t i = 0; i < len; i += slowly ? 1 : len) {
        g_assert_cmpint(send(fd, bytes + i, slowly ? 1 : len, MSG_NOSIGNAL), >, 0);
        if (slowly)
            g_usleep(200);
    }
}

static gpointer
serverRun(gpointer opaque)
{
    server *s = opaque;
    g_auto(baseFd) fd = accept4(s->listenFd, NULL, NULL, SOCK_CLOEXEC);
    char c;

    if (fd < 0)
        return NULL;
    g_atomic_int_set(&s->accepted, 1);
    if (recv(fd, s->record, sizeof(s->record), MSG_WAITALL) != sizeof(s->record))
        return NULL;
    if (s->welcome || s->refusal)
        g_assert_true(helloAnswer(&(helloConn){ .fd = fd }, s->refusal, NULL));
    if (s->replyLen > 0)
        serverWrite(fd, s->reply, s->replyLen, s->slowly);
    if (s->hold)
        g_assert_cmpint(recv(fd, &c, 1, 0), <=, 0);
    return NULL;
}

static void
serverStart(server *s)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);

    s->listenFd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(s->listenFd, (struct sockaddr *)&address, len), ==, 0);
    g_assert_cmpint(listen(s->listenFd, 8), ==, 0);
    g_assert_cmpint(getsockname(s->listenFd, (struct sockaddr *)&address, &len), ==, 0);
    s->port = ntohs(address.sin_port);
    s->thread = g_thread_new("server", serverRun, s);
}

static void
serverStop(server *s)
{
    shutdown(s->listenFd, SHUT_RDWR);
    g_thread_join(s->thread);
    close(s->listenFd);
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

/* ---- connecting ---------------------------------------------------------------------------- */

static int
option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    g_assert_cmpint(getsockopt(fd, level, name, &value, &len), ==, 0);
    return value;
}

static void
testWelcome(void)
{
    /* What follows the answer is the migration's and must not be swallowed. */
    server s = { .welcome = true, .reply = "more", .replyLen = 4, .hold = true };
    g_autoptr(GError) error = NULL;
    g_auto(baseFd) fd = -1;
    char bytes[5] = { 0 };
    hello seen;

    serverStart(&s);
    fd = connectTo("127.0.0.1", s.port, &sample, -1, 5000, &error);
    g_assert_no_error(error);
    g_assert_cmpint(recv(fd, bytes, 4, MSG_WAITALL), ==, 4);
    g_assert_cmpstr(bytes, ==, "more");
    g_assert_true(helloRead(s.record, sizeof(s.record), &seen, NULL));
    g_assert_cmpuint(seen.index, ==, sample.index);
    g_assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    g_assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
    g_assert_cmpint(option(fd, IPPROTO_TCP, TCP_NODELAY), !=, 0);
    g_assert_cmpint(option(fd, SOL_SOCKET, SO_KEEPALIVE), !=, 0);
    g_assert_cmpint(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), ==, 30000);
    baseFdReplace(&fd, -1);
    serverStop(&s);
}

/* From the address that is named, or else from any. */
static void
testFrom(void)
{
    static const struct { const char *from, *wanted; } rows[] = {
        { "127.0.0.2", "127.0.0.2" }, { NULL, "127.0.0.1" }, { "::1", "127.0.0.1" }, { "192.0.2.1", NULL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        server s = { .welcome = true, .hold = true };
        g_auto(helloConn) conn = HELLO_CONN_INIT;
        g_autoptr(GError) error = NULL;
        g_autofree char *from = NULL;
        helloTarget target = { .host = "127.0.0.1", .cancelFd = -1, .timeoutMs = 5000, .from = rows[i].from };

        serverStart(&s);
        target.port = s.port;
        if (rows[i].wanted) {
            g_assert_true(helloConnect(&target, &sample, &conn, &error));
            from = helloConnFrom(&conn);
            g_assert_cmpstr(from, ==, rows[i].wanted);
        } else {
            g_assert_false(helloConnect(&target, &sample, &conn, &error));
            g_assert_nonnull(strstr(error->message, rows[i].from));
        }
        helloConnClear(&conn);
        serverStop(&s);
    }
}

static void
testName(void)
{
    server s = { .welcome = true, .hold = true };
    g_autoptr(GError) error = NULL;
    g_auto(baseFd) fd = -1;

    /* May give ::1 first, where nobody listens. */
    serverStart(&s);
    fd = connectTo("localhost", s.port, &sample, -1, 5000, &error);
    g_assert_no_error(error);
    baseFdReplace(&fd, -1);
    serverStop(&s);
}

static void
expectFailure(server *s, unsigned timeoutMs, int code, const char *text)
{
    g_autoptr(GError) error = NULL;

    serverStart(s);
    g_assert_cmpint(connectTo("127.0.0.1", s->port, &sample, -1, timeoutMs, &error), ==, -1);
    g_assert_error(error, BASE_ERROR, code);
    if (!strstr(error->message, text))
        g_error("expected '%s' in '%s'", text, error->message);
    serverStop(s);
}

static void
testRefused(void)
{
    expectFailure(&(server){ .refusal = "no such migration" }, 5000, BASE_ERROR_OPERATION_FAILED,
                  "refused the connection to its migration port");
    expectFailure(&(server){ .refusal = "no such migration" }, 5000, BASE_ERROR_OPERATION_FAILED,
                  "no such migration");
    expectFailure(&(server){ .refusal = "" }, 5000, BASE_ERROR_OPERATION_FAILED, "refused");
}

static void
testLongRefusal(void)
{
    g_autoptr(GString) text = g_string_new("x");
    server s = { 0 };
    g_autoptr(GError) error = NULL;

    while (text->len < 3000)
        g_string_append(text, "\xc3\xa4");
    s.refusal = text->str;
    serverStart(&s);
    g_assert_cmpint(connectTo("127.0.0.1", s.port, &sample, -1, 5000, &error), ==, -1);
    g_assert_true(g_utf8_validate(error->message, -1, NULL));
    g_assert_true(g_str_has_suffix(error->message, "\xc3\xa4"));    /* cut between characters */
    g_assert_null(strstr(error->message, "\xef\xbf\xbd"));
    serverStop(&s);
}

static void
testForeign(void)
{
    static const uint8_t tooLong[16] = { 's', 't', 'r', 'a', 't', 'a', 'n',
                                         's', 0,   1,   0,   1,   255, 255 };
    static const uint8_t verdict[16] = { 's', 't', 'r', 'a', 't', 'a', 'n', 's', 0, 1, 0, 2 };
    static const uint8_t badText[18] = { 's', 't', 'r', 'a', 't', 'a', 'n', 's', 0, 1, 0, 1, 0, 2,
                                         [16] = 0xff, 0xfe };

    expectFailure(&(server){ .reply = "HTTP/1.1 400 Bad Request", .replyLen = 24 }, 5000,
                  BASE_ERROR_OPERATION_FAILED, "not this driver's");
    expectFailure(&(server){ .reply = tooLong, .replyLen = 16 }, 5000,
                  BASE_ERROR_OPERATION_FAILED, "not this driver's");
    expectFailure(&(server){ .reply = verdict, .replyLen = 16 }, 5000,
                  BASE_ERROR_OPERATION_FAILED, "not this driver's");
    expectFailure(&(server){ .reply = "stratans", .replyLen = 8 }, 5000,
                  BASE_ERROR_OPERATION_FAILED, "without an answer");
    expectFailure(&(server){ .replyLen = 0 }, 5000, BASE_ERROR_OPERATION_FAILED,
                  "without an answer");
    expectFailure(&(server){ .reply = badText, .replyLen = 18 }, 5000,
                  BASE_ERROR_OPERATION_FAILED, "\xef\xbf\xbd\xef\xbf\xbd");
}

static void
testSilent(void)
{
    expectFailure(&(server){ .hold = true }, 60, BASE_ERROR_TIMEOUT, "no answer in time");
    expectFailure(&(server){ .hold = true, .reply = "strat", .replyLen = 5 }, 60,
                  BASE_ERROR_TIMEOUT, "no answer in time");
}

static void
testSlow(void)
{
    static const uint8_t welcome[16] = { 's', 't', 'r', 'a', 't', 'a', 'n', 's', 0, 1 };
    server s = { .reply = welcome, .replyLen = sizeof(welcome), .slowly = true, .hold = true };
    g_autoptr(GError) error = NULL;
    g_auto(baseFd) fd = -1;

    serverStart(&s);
    fd = connectTo("127.0.0.1", s.port, &sample, -1, 5000, &error);
    g_assert_no_error(error);
    baseFdReplace(&fd, -1);
    serverStop(&s);
}

static void
testUnreachable(void)
{
    server s = { 0 };
    g_autoptr(GError) error = NULL;

    serverStart(&s);
    serverStop(&s);
    g_assert_cmpint(connectTo("127.0.0.1", s.port, &sample, -1, 5000, &error), ==, -1);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(error->message, "127.0.0.1: Connection refused"));
}

static void
testBadArguments(void)
{
    static const struct { const char *host; unsigned port; } cases[] = {
        { "", 1 }, { NULL, 1 }, { "127.0.0.1", 0 }, { "127.0.0.1", 65536 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(connectTo(cases[i].host, cases[i].port, &sample, -1, 50, &error), ==,
                        -1);
        g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    }
}

static void
testNoName(void)
{
    g_autoptr(GError) error = NULL;
    gint64 start = g_get_monotonic_time();

    /* Whether the resolver says no or says nothing depends on this host's network. */
    g_assert_cmpint(connectTo("does-not-exist.invalid", 1, &sample, -1, 300, &error), ==, -1);
    g_assert_true(g_error_matches(error, BASE_ERROR, BASE_ERROR_TIMEOUT) ||
                  g_error_matches(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED));
    g_assert_cmpint(g_get_monotonic_time() - start, <, 2 * G_USEC_PER_SEC);
}

typedef struct { server *s; int fd; } canceller;

static gpointer
cancelWhenAccepted(gpointer opaque)
{
    canceller *c = opaque;

    g_assert_true(ioWaitFlag(&c->s->accepted, 1));
    eventfd_write(c->fd, 1);
    return NULL;
}

static void
testCancel(void)
{
    server s = { .hold = true };
    g_auto(baseFd) cancelFd = eventfd(0, EFD_CLOEXEC);
    canceller c = { &s, cancelFd };
    g_autoptr(GError) error = NULL;
    GThread *thread;

    serverStart(&s);
    thread = g_thread_new("canceller", cancelWhenAccepted, &c);
    g_assert_cmpint(connectTo("127.0.0.1", s.port, &sample, cancelFd, 5000, &error), ==, -1);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_ABORTED);
    g_thread_join(thread);
    serverStop(&s);
    /* Cancelled before it began. */
    g_clear_error(&error);
    g_assert_cmpint(connectTo("does-not-exist.invalid", 1, &sample, cancelFd, 5000, &error), ==,
                    -1);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_ABORTED);
}

static void
testAnswerClosed(void)
{
    g_autoptr(GError) error = NULL;
    int pair[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    close(pair[1]);
    g_assert_false(helloAnswer(&(helloConn){ .fd = pair[0] }, "no", &error));      /* and no SIGPIPE */
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    close(pair[0]);
}

/* Each test, and no descriptor more or less afterwards. */
static void
withoutLeak(gconstpointer func)
{
    guint fds = ioCountFds();
    gint64 end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    ((void (*)(void))func)();
    /* A look-up that was given up ends in its own time. */
    while (ioCountFds() != fds && g_get_monotonic_time() < end)
        g_usleep(1000);
    g_assert_cmpuint(ioCountFds(), ==, fds);
}

#define ADD(name, func) g_test_add_data_func("/hello/" name, (gconstpointer)func, withoutLeak)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ioWarmUp();
    ADD("record", testRecord);
    ADD("bad-record", testBadRecord);
    ADD("tokens", testTokens);
    ADD("welcome", testWelcome);
    ADD("from", testFrom);
    ADD("name", testName);
    ADD("refused", testRefused);
    ADD("long-refusal", testLongRefusal);
    ADD("foreign", testForeign);
    ADD("silent", testSilent);
    ADD("slow", testSlow);
    ADD("unreachable", testUnreachable);
    ADD("bad-arguments", testBadArguments);
    ADD("no-name", testNoName);
    ADD("cancel", testCancel);
    ADD("answer-closed", testAnswerClosed);
    return g_test_run();
}
