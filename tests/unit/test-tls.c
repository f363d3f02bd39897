/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <gnutls/gnutls.h>

#include "base/error.h"
#include "base/fd.h"
#include "remote/tls.h"

#include "test-pki.h"

#define HANDSHAKE_MS 10000

/* Authority "mine" and what it signed, authority "other", each in folders as hosts have them. */
typedef struct {
    char *dir;
    pkiPair mine, other;
} world;

static char *
worldPath(const world *w, const char *name)
{
    return g_build_filename(w->dir, name, NULL);
}

/* The flat layout, with one pair for both sides. */
static void
writeHost(const world *w, const char *host, const pkiPair *ca, const pkiPair *signer,
          const pkiWish *wish)
{
    g_autofree char *dir = worldPath(w, host);
    pkiPair pair = pkiMake(signer, wish);

    pkiWriteCert(dir, "ca-cert.pem", ca->cert);
    pkiWriteCert(dir, "server-cert.pem", pair.cert);
    pkiWriteKey(dir, "server-key.pem", pair.key);
    pkiWriteCert(dir, "client-cert.pem", pair.cert);
    pkiWriteKey(dir, "client-key.pem", pair.key);
    pkiFree(&pair);
}

static void
writeLibvirtLayout(const world *w)
{
    g_autofree char *dir = worldPath(w, "libvirt");
    pkiPair server = pkiMake(&w->mine, &(pkiWish){ "h2", .server = true });
    pkiPair client = pkiMake(&w->mine, &(pkiWish){ "h2", .client = true });

    pkiWriteCert(dir, "CA/cacert.pem", w->mine.cert);
    pkiWriteCert(dir, "libvirt/servercert.pem", server.cert);
    pkiWriteKey(dir, "libvirt/private/serverkey.pem", server.key);
    pkiWriteCert(dir, "libvirt/clientcert.pem", client.cert);
    pkiWriteKey(dir, "libvirt/private/clientkey.pem", client.key);
    pkiFree(&server);
    pkiFree(&client);
}

static void
worldSetUp(world *w, gconstpointer data G_GNUC_UNUSED)
{
    pkiWish both = { "h2", true, true, 0, 0, 0 };
    g_autofree char *revoking = NULL;

    w->dir = g_dir_make_tmp("tls-XXXXXX", NULL);
    w->mine = pkiMake(NULL, &(pkiWish){ "mine", .serial = 9 });
    w->other = pkiMake(NULL, &(pkiWish){ "other", .serial = 8 });
    writeHost(w, "h2", &w->mine, &w->mine, &both);
    writeHost(w, "stranger", &w->other, &w->other, &both);
    writeHost(w, "address", &w->mine, &w->mine, &(pkiWish){ "10.1.2.3", true, true, 0, 0, 0 });
    writeHost(w, "server-only", &w->mine, &w->mine, &(pkiWish){ "h2", .server = true });
    writeHost(w, "revoked", &w->mine, &w->mine, &(pkiWish){ "h2", true, true, 0, 0, 66 });
    writeHost(w, "revoking", &w->mine, &w->mine, &both);
    revoking = worldPath(w, "revoking");
    pkiWriteCrl(revoking, "ca-crl.pem", &w->mine, 66);
    writeLibvirtLayout(w);
}

static void
removeTree(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        removeTree(child);
    }
    g_remove(path);
}

static void
worldTearDown(world *w, gconstpointer data G_GNUC_UNUSED)
{
    pkiFree(&w->mine);
    pkiFree(&w->other);
    removeTree(w->dir);
    g_free(w->dir);
}

/* ---- two ends ----------------------------------------------------------------------------- */

typedef struct {
    tlsSide side;
    tlsIdentity *identity;
    tlsExpect expect;
    const char *priority;
    int fd;
    bool ok;
    tlsSession *session;
    GError *error;
} end;

/* Until @n bytes are there; the client learns only from the server's first word that it is welcome. */
static bool
readAll(end *e, char *buffer, gsize n)
{
    gsize have = 0;

    while (have < n) {
        gssize got = tlsRead(e->session, buffer + have, n - have, &e->error);
        struct pollfd p = { e->fd, POLLIN, 0 };

        if (got > 0)
            have += got;
        else if (got == -1)
            poll(&p, 1, HANDSHAKE_MS);
        else
            return false;
    }
    return true;
}

static bool
writeAll(end *e, const char *bytes, gsize n)
{
    gsize done = 0;

    while (done < n) {
        gssize put = tlsWrite(e->session, bytes + done, n - done, &e->error);
        struct pollfd p = { e->fd, POLLOUT, 0 };

        if (put > 0)
            done += put;
        else if (put == -1)
            poll(&p, 1, HANDSHAKE_MS);
        else
            return false;
    }
    return true;
}

static gpointer
runEnd(gpointer data)
{
    end *e = data;
    char word[6] = "";

    e->session = tlsSessionNew(e->fd, e->side, e->identity, &e->expect, e->priority, &e->error);
    if (e->session && tlsHandshake(e->session, -1, HANDSHAKE_MS, &e->error))
        e->ok = e->side == TLS_SERVER ? writeAll(e, "hello", 6) : readAll(e, word, 6);
    /* The other side may still wait for a word. */
    if (!e->ok)
        shutdown(e->fd, SHUT_RDWR);
    return NULL;
}

static void
connectEnds(end *client, end *server)
{
    int fds[2];
    GThread *thread;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    client->fd = fds[0];
    server->fd = fds[1];
    client->side = TLS_CLIENT;
    server->side = TLS_SERVER;
    thread = g_thread_new("server", runEnd, server);
    runEnd(client);
    g_thread_join(thread);
}

static void
endClear(end *e)
{
    tlsSessionFree(e->session);
    tlsIdentityUnref(e->identity);
    g_clear_error(&e->error);
    baseFdClose(e->fd);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(end, endClear)

static tlsIdentity *
identityOf(const world *w, const char *host, tlsSide side)
{
    g_autofree char *dir = worldPath(w, host);
    g_autoptr(GError) error = NULL;
    tlsIdentity *identity = tlsIdentityFromDir(dir, side, &error);

    g_assert_no_error(error);
    return identity;
}

/* ---- certificates --------------------------------------------------------------------------- */

static void
testCertificates(world *w, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const hosts[] = { "h2", "libvirt" };

    for (size_t i = 0; i < G_N_ELEMENTS(hosts); i++) {
        g_auto(end) client = { .identity = identityOf(w, hosts[i], TLS_CLIENT),
                               .expect = { "h2", "h2" } };
        g_auto(end) server = { .identity = identityOf(w, hosts[i], TLS_SERVER),
                               .expect = { "h1", NULL } };
        g_autofree char *text = NULL;
        g_autofree char *peer = NULL;

        connectEnds(&client, &server);
        g_assert_no_error(client.error);
        g_assert_no_error(server.error);
        text = tlsCipher(client.session);
        g_assert_cmpstr(text, ==, "TLS 1.3, AES-128-GCM");
        peer = tlsPeer(client.session);
        g_assert_cmpstr(peer, ==, "certificate of h2");
    }
}

static void
testAddress(world *w, gconstpointer data G_GNUC_UNUSED)
{
    g_auto(end) client = { .identity = identityOf(w, "h2", TLS_CLIENT),
                           .expect = { "h2", "10.1.2.3" } };
    g_auto(end) server = { .identity = identityOf(w, "address", TLS_SERVER),
                           .expect = { "h1", NULL } };

    connectEnds(&client, &server);
    g_assert_no_error(client.error);
    g_assert_true(client.ok && server.ok);
}

typedef struct {
    const char *client, *server; /* hosts */
    const char *name;            /* that the client expects */
    const char *clientSays, *serverSays;
} refusal;

static const refusal refusals[] = {
    { "h2", "h2", "h3", "It is in another name. It is for 'h2', 'h3' was expected",
      "refused the TLS connection" },
    { "h2", "address", "10.1.2.4", "It is for '10.1.2.3', '10.1.2.4' was expected",
      "refused the TLS connection" },
    { "stranger", "h2", "h2", "It is of another authority.", "refused the TLS connection" },
    { "h2", "stranger", "h2", "It is of another authority.", "refused the TLS connection" },
    /* The list of revoked ones is the server's. */
    { "revoked", "revoking", "h2", "refused the TLS connection", "It has been revoked" },
    { "revoking", "revoked", "h2", "It has been revoked", "refused the TLS connection" },
};

static void
testRefusals(world *w, gconstpointer data G_GNUC_UNUSED)
{
    for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
        const refusal *r = &refusals[i];
        g_auto(end) client = { .identity = identityOf(w, r->client, TLS_CLIENT),
                               .expect = { "dest", r->name } };
        g_auto(end) server = { .identity = identityOf(w, r->server, TLS_SERVER),
                               .expect = { "source", NULL } };

        connectEnds(&client, &server);
        g_test_message("%s | %s", client.error ? client.error->message : "-",
                       server.error ? server.error->message : "-");
        g_assert_false(client.ok);
        g_assert_error(client.error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
        g_assert_error(server.error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
        g_assert_nonnull(strstr(client.error->message, r->clientSays));
        g_assert_nonnull(strstr(server.error->message, r->serverSays));
    }
}

/* ---- files ---------------------------------------------------------------------------------- */

static void
expectBadFiles(const world *w, const char *host, tlsSide side, const char *says)
{
    g_autofree char *dir = worldPath(w, host);
    g_autoptr(GError) error = NULL;

    g_assert_null(tlsIdentityFromDir(dir, side, &error));
    g_test_message("%s", error->message);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_CONFIG);
    g_assert_nonnull(strstr(error->message, says));
}

static void
testFiles(world *w, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *empty = worldPath(w, "empty");
    g_autofree char *garbage = worldPath(w, "garbage");
    g_autofree char *swapped = worldPath(w, "swapped");
    gnutls_datum_t text = { (unsigned char *)gnutls_strdup("no PEM"), 6 };

    g_mkdir(empty, 0700);
    expectBadFiles(w, "empty", TLS_SERVER, "empty/CA/cacert.pem' cannot be read: ");
    expectBadFiles(w, "nowhere", TLS_SERVER, "cannot be read: ");
    expectBadFiles(w, "server-only", TLS_CLIENT, "It is not meant for this use.");

    writeHost(w, "old", &w->mine, &w->mine, &(pkiWish){ "h2", true, true, -20, -10, 0 });
    expectBadFiles(w, "old", TLS_SERVER, "It is not valid any more.");
    writeHost(w, "young", &w->mine, &w->mine, &(pkiWish){ "h2", true, true, 10, 20, 0 });
    expectBadFiles(w, "young", TLS_CLIENT, "It is not valid yet.");
    writeHost(w, "foreign", &w->mine, &w->other, &(pkiWish){ "h2", true, true, 0, 0, 0 });
    expectBadFiles(w, "foreign", TLS_SERVER, "It is of another authority.");

    writeHost(w, "garbage", &w->mine, &w->mine, &(pkiWish){ "h2", true, true, 0, 0, 0 });
    pkiWriteText(garbage, "server-cert.pem", &text);
    expectBadFiles(w, "garbage", TLS_SERVER, "garbage/server-cert.pem' cannot be used: ");
    writeHost(w, "swapped", &w->mine, &w->mine, &(pkiWish){ "h2", true, true, 0, 0, 0 });
    pkiWriteKey(swapped, "server-key.pem", w->mine.key);
    expectBadFiles(w, "swapped", TLS_SERVER, "swapped/server-key.pem' cannot be used: ");
}

/* ---- secrets -------------------------------------------------------------------------------- */

static const uint8_t secretA[32] = { 1, 2, 3 }, secretB[32] = { 1, 2, 4 };

static tlsIdentity *
knowing(const uint8_t *secret, tlsSide side)
{
    g_autoptr(GError) error = NULL;
    tlsIdentity *identity = tlsIdentityFromSecret(secret, 32, side, &error);

    g_assert_no_error(error);
    return identity;
}

static void
testSecret(void)
{
    static const char *const priorities[] = { NULL, "NORMAL", "SECURE192", "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305" };

    for (size_t i = 0; i < G_N_ELEMENTS(priorities); i++) {
        g_auto(end) client = { .identity = knowing(secretA, TLS_CLIENT), .expect = { "h2", NULL }, .priority = priorities[i] };
        g_auto(end) server = { .identity = knowing(secretA, TLS_SERVER), .expect = { "h1", NULL }, .priority = priorities[i] };
        g_autofree char *cipher = NULL;
        g_autofree char *peer = NULL;

        connectEnds(&client, &server);
        g_assert_no_error(client.error);
        g_assert_no_error(server.error);
        g_assert_true(client.ok && server.ok);
        cipher = tlsCipher(client.session);
        peer = tlsPeer(server.session);
        g_test_message("%s", cipher);
        g_assert_true(g_str_has_prefix(cipher, "TLS 1.3, "));
        g_assert_cmpstr(peer, ==, "knows the token");
    }
}

/* Somebody in between does not know it, whichever side he plays. */
static void
testWrongSecret(void)
{
    g_auto(end) client = { .identity = knowing(secretA, TLS_CLIENT), .expect = { "h2", NULL } };
    g_auto(end) server = { .identity = knowing(secretB, TLS_SERVER), .expect = { "h1", NULL } };

    connectEnds(&client, &server);
    g_test_message("%s | %s", client.error ? client.error->message : "-", server.error ? server.error->message : "-");
    g_assert_false(client.ok || server.ok);
    g_assert_error(client.error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_error(server.error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(server.error->message, "does not know the migration's token"));
}

/* A certificate, even one of the authority, is no substitute for the secret, and the other way round. */
static void
testOtherKind(world *w, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const priorities[] = { NULL, "NORMAL" };

    for (size_t i = 0; i < G_N_ELEMENTS(priorities); i++) {
        for (int who = 0; who < 2; who++) {
            g_auto(end) client = { .expect = { "h2", "h2" }, .priority = priorities[i] };
            g_auto(end) server = { .expect = { "h1", NULL }, .priority = priorities[i] };

            client.identity = who ? knowing(secretA, TLS_CLIENT) : identityOf(w, "h2", TLS_CLIENT);
            server.identity = who ? identityOf(w, "h2", TLS_SERVER) : knowing(secretA, TLS_SERVER);
            connectEnds(&client, &server);
            g_test_message("%s | %s", client.error ? client.error->message : "-",
                           server.error ? server.error->message : "-");
            g_assert_false(client.ok || server.ok);
            g_assert_error(client.error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
        }
    }
}

/* ---- versions, time, ends ------------------------------------------------------------------- */

static void
testPriorities(world *w, gconstpointer data G_GNUC_UNUSED)
{
    g_auto(end) client = { .identity = identityOf(w, "h2", TLS_CLIENT), .priority = "NORMAL:-VERS-TLS1.3",
                           .expect = { "h2", "h2" } };
    g_auto(end) server = { .identity = identityOf(w, "h2", TLS_SERVER), .priority = "NORMAL",
                           .expect = { "h1", NULL } };
    g_auto(end) bad = { .identity = identityOf(w, "h2", TLS_SERVER), .fd = -1 };

    connectEnds(&client, &server);
    g_assert_false(client.ok || server.ok);
    g_assert_nonnull(strstr(client.error->message, "TLS 1.3 is needed"));

    g_assert_null(tlsSessionNew(0, TLS_SERVER, bad.identity, &bad.expect, "NORMAL:+RUBBISH", &bad.error));
    g_assert_error(bad.error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    g_assert_nonnull(strstr(bad.error->message, "at '+RUBBISH'"));
    g_clear_error(&bad.error);
    g_assert_true(tlsCheckPriority(TLS_PRIORITY_DEFAULT, NULL));
    g_assert_true(tlsCheckPriority("NORMAL", NULL));
    g_assert_false(tlsCheckPriority("NORMAL:+RUBBISH", NULL));
    g_assert_false(tlsCheckPriority("NORMAL:-VERS-TLS1.3", &bad.error));
    g_assert_nonnull(strstr(bad.error->message, "leaves out TLS 1.3"));
}

static void
testSilence(void)
{
    g_autoptr(tlsIdentity) identity = knowing(secretA, TLS_CLIENT);
    tlsExpect expect = { "h2", NULL };
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        g_autoptr(tlsSession) session = tlsSessionNew(fds[0], TLS_CLIENT, identity, &expect, NULL, NULL);
        g_autoptr(GError) error = NULL;
        g_auto(baseFd) cancel = eventfd(cancelled, EFD_CLOEXEC);
        int code = cancelled ? BASE_ERROR_ABORTED : BASE_ERROR_TIMEOUT;

        g_assert_false(tlsHandshake(session, cancel, cancelled ? HANDSHAKE_MS : 50, &error));
        g_assert_error(error, BASE_ERROR, code);
    }
    close(fds[0]);
    close(fds[1]);
}

static void
forMuch(end *a, end *b, bool much)
{
    if (!much)
        return;
    tlsForMuch(a->session);
    tlsForMuch(b->session);
}

/* The end must be said: a socket that merely closes may have been cut by somebody. */
static void
testEnds(gconstpointer much)
{
    for (int said = 0; said < 2; said++) {
        g_auto(end) client = { .identity = knowing(secretA, TLS_CLIENT) };
        g_auto(end) server = { .identity = knowing(secretA, TLS_SERVER) };
        char byte;
        gssize got;

        connectEnds(&client, &server);
        g_assert_true(client.ok && server.ok);
        forMuch(&client, &server, much);

        g_assert_cmpint(tlsRead(server.session, &byte, 1, &server.error), ==, -1);
        if (said)
            g_assert_cmpint(tlsEnd(client.session, &client.error), ==, 0);
        shutdown(client.fd, SHUT_WR);
        got = tlsRead(server.session, &byte, 1, &server.error);
        g_assert_cmpint(got, ==, said ? 0 : -2);
        if (!said)
            g_assert_nonnull(strstr(server.error->message, "ended without a word"));
    }
}

/* One flipped bit on the way. */
static void
testTampering(gconstpointer much)
{
    g_auto(end) client = { .identity = knowing(secretA, TLS_CLIENT) };
    g_auto(end) server = { .identity = knowing(secretA, TLS_SERVER) };
    unsigned char record[256];
    char byte;
    int way[2];
    ssize_t n;

    connectEnds(&client, &server);
    g_assert_true(client.ok && server.ok);
    forMuch(&client, &server, much);

    g_assert_cmpint(tlsWrite(client.session, "memory", 6, NULL), ==, 6);
    n = recv(server.fd, record, sizeof(record), 0);
    g_assert_cmpint(n, >, 6);
    record[n - 1] ^= 1;
    /* Given to the server by a socket of the test's. */
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, way), ==, 0);
    g_assert_cmpint(send(way[0], record, n, 0), ==, n);
    g_assert_cmpint(dup2(way[1], server.fd), ==, server.fd);
    g_assert_cmpint(tlsRead(server.session, &byte, 1, &server.error), ==, -2);
    close(way[0]);
    close(way[1]);
}

#define MUCH (3 * 1024 * 1024 + 7)

/* One direction of testMuch(): as much as goes without waiting.  Returns whether anything went. */
static bool
moveSome(end *from, end *to, const uint8_t *bytes, uint8_t *arrived, gsize *sent, gsize *got)
{
    gsize before = *sent + *got;
    gssize n = *sent < MUCH ? tlsWrite(from->session, bytes + *sent, MUCH - *sent, &from->error) : 0;

    g_assert_no_error(from->error);
    *sent += n > 0 ? (gsize)n : 0;
    while (*got < MUCH && (n = tlsRead(to->session, arrived + *got, MIN(MUCH - *got, 100000), &to->error)) > 0)
        *got += (gsize)n;
    g_assert_no_error(to->error);
    return *sent + *got > before;
}

/* Both directions at once through sockets that take little at a time, and the end in the same breath as the last bytes. */
static void
testMuch(void)
{
    g_auto(end) client = { .identity = knowing(secretA, TLS_CLIENT) };
    g_auto(end) server = { .identity = knowing(secretA, TLS_SERVER) };
    g_autofree uint8_t *bytes = g_malloc(MUCH), *there = g_malloc0(MUCH), *back = g_malloc0(MUCH);
    gsize sent = 0, got = 0, sentBack = 0, gotBack = 0;
    uint8_t byte;
    gssize n;

    for (gsize i = 0; i < MUCH; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    connectEnds(&client, &server);
    g_assert_true(client.ok && server.ok);
    forMuch(&client, &server, true);
    while (sent < MUCH || got < MUCH || sentBack < MUCH || gotBack < MUCH) {
        bool moved = moveSome(&client, &server, bytes, there, &sent, &got);

        moved = moveSome(&server, &client, bytes, back, &sentBack, &gotBack) || moved;
        g_assert_true(moved);
    }
    g_assert_cmpmem(there, MUCH, bytes, MUCH);
    g_assert_cmpmem(back, MUCH, bytes, MUCH);

    g_assert_cmpint(tlsWrite(client.session, "last", 4, NULL), ==, 4);
    g_assert_cmpint(tlsEnd(client.session, NULL), ==, 0);
    g_assert_cmpint(tlsRead(server.session, there, MUCH, NULL), ==, 4);
    n = tlsRead(server.session, &byte, 1, &server.error);
    g_assert_no_error(server.error);
    g_assert_cmpint(n, ==, 0);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define WITH_FILES(path, func) g_test_add(path, world, NULL, worldSetUp, func, worldTearDown)
    WITH_FILES("/tls/certificates", testCertificates);
    WITH_FILES("/tls/address", testAddress);
    WITH_FILES("/tls/refusals", testRefusals);
    WITH_FILES("/tls/files", testFiles);
    WITH_FILES("/tls/priorities", testPriorities);
    WITH_FILES("/tls/other-kind", testOtherKind);
    g_test_add_func("/tls/secret", testSecret);
    g_test_add_func("/tls/wrong-secret", testWrongSecret);
    g_test_add_func("/tls/silence", testSilence);
    g_test_add_data_func("/tls/ends", NULL, testEnds);
    g_test_add_data_func("/tls/ends-of-much", "much", testEnds);
    g_test_add_data_func("/tls/tampering", NULL, testTampering);
    g_test_add_data_func("/tls/tampering-of-much", "much", testTampering);
    g_test_add_func("/tls/much", testMuch);
    return g_test_run();
}
