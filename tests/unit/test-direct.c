/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-direct.c: what a direct migration refuses, and how it connects */
#include "base/error.h"
#include "migration/direct.h"
#include "remote/dial.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <glib/gstdio.h>
#include <unistd.h>

static vmmTraits
goodTraits(void)
{
    vmmTraits traits = {
        .name = "good", .title = "Good", .completedIsProof = true, .canPauseBeforeSwitchover = true, .streamFd = true,
    };

    return traits;
}

static void
expectRefused(const migParams *params, const vmmTraits *traits, const char *word)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(uri) u = NULL;

    g_assert_false(migDirectCheck(params, traits, &u, &error));
    g_assert_null(u);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, word));
}

static void
testCheck(void)
{
    static char address[] = "tcp:192.0.2.1:4444";
    const migParams good = {
        .live = true, .undefineSource = true, .unsafe = true, .autoConverge = true, .uri = address,
    };
    const struct {
        size_t offset;           /* of a bool */
        const char *name;
    } flags[] = {
        { offsetof(migParams, offline), "VIR_MIGRATE_OFFLINE" },
        { offsetof(migParams, tunnelled), "VIR_MIGRATE_TUNNELLED" },
        { offsetof(migParams, peer2peer), "VIR_MIGRATE_PEER2PEER" },
        { offsetof(migParams, tls), "VIR_MIGRATE_TLS" },
        { offsetof(migParams, persistDest), "VIR_MIGRATE_PERSIST_DEST" },
        { offsetof(migParams, paused), "VIR_MIGRATE_PAUSED" },
        { offsetof(migParams, parallel), "VIR_MIGRATE_PARALLEL" },
        { offsetof(migParams, compressed), "VIR_MIGRATE_COMPRESSED" },
    };
    vmmTraits traits = goodTraits();
    g_autoptr(GError) error = NULL;
    g_autoptr(uri) u = NULL;
    migParams params = good;

    g_assert_true(migDirectCheck(&params, &traits, &u, &error));
    g_assert_no_error(error);
    g_assert_cmpstr(u->host, ==, "192.0.2.1");
    g_assert_cmpuint(u->port, ==, 4444);
    for (size_t i = 0; i < G_N_ELEMENTS(flags); i++) {
        params = good;
        *(bool *)(void *)((char *)&params + flags[i].offset) = true;
        expectRefused(&params, &traits, flags[i].name);
    }
    params = good;
    params.live = false;
    expectRefused(&params, &traits, "needs 'VIR_MIGRATE_LIVE'");
    params = good;
    params.destName = address;
    expectRefused(&params, &traits, VIR_MIGRATE_PARAM_DEST_NAME);
    params = good;
    params.destXml = address;
    expectRefused(&params, &traits, VIR_MIGRATE_PARAM_DEST_XML);
}

static void
testUri(void)
{
    static const struct {
        const char *uri, *word;
    } bad[] = {
        { NULL, "needs the migration URI" }, { "", "needs the migration URI" },
        { "tcp:192.0.2.1", "host and the port" },
        { "tcp::4444", "host and the port" }, { "rdma:192.0.2.1:4444", "rdma" }, { "unix:here", "absolute" },
    };
    vmmTraits traits = goodTraits();

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strdup(bad[i].uri);
        migParams params = { .live = true, .uri = text };

        expectRefused(&params, &traits, bad[i].word);
    }
}

/* A VMM whose "completed" proves nothing would leave every outcome open. */
static void
testTraits(void)
{
    static char address[] = "unix:/run/vm.sock";
    static const vmmGuideOps guide;
    migParams params = { .live = true, .uri = address };
    vmmTraits traits = goodTraits();
    g_autoptr(uri) u = NULL;

    traits.completedIsProof = false;
    expectRefused(&params, &traits, "Good cannot say");
    traits = goodTraits();
    traits.canPauseBeforeSwitchover = false;
    expectRefused(&params, &traits, "Good cannot say");
    /* What its VMM cannot say or do, a guide hears and does. */
    traits.guide = &guide;
    g_assert_true(migDirectCheck(&params, &traits, &u, NULL));
}

static void
testDialUnix(void)
{
    g_autofree char *folder = g_dir_make_tmp("dial-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(folder, "s", NULL);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    g_autoptr(GError) error = NULL;
    uri u = { .kind = URI_UNIX, .path = path };
    int server, client;

    g_assert_cmpint(dialUri(&u, -1, 1000, &error), ==, -1);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(error->message, path));
    g_clear_error(&error);

    server = socket(AF_UNIX, SOCK_STREAM, 0);
    g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
    g_assert_cmpint(bind(server, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    g_assert_cmpint(listen(server, 1), ==, 0);
    client = dialUri(&u, -1, 1000, &error);
    g_assert_no_error(error);
    g_assert_cmpint(client, >=, 0);
    close(client);
    close(server);
    g_unlink(path);
    g_rmdir(folder);
}

static void
testDialTcp(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    static char host[] = "127.0.0.1";
    g_autoptr(GError) error = NULL;
    uri u = { .kind = URI_TCP, .host = host };
    char byte = 'x';
    int server, client, accepted;

    server = socket(AF_INET, SOCK_STREAM, 0);
    g_assert_cmpint(bind(server, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    g_assert_cmpint(listen(server, 1), ==, 0);
    g_assert_cmpint(getsockname(server, (struct sockaddr *)&address, &len), ==, 0);
    u.port = ntohs(address.sin_port);
    client = dialUri(&u, -1, 5000, &error);
    g_assert_no_error(error);
    accepted = accept(server, NULL, NULL);
    /* Nothing comes first: what listens there need not be a daemon of ours. */
    g_assert_cmpint(recv(accepted, &byte, 1, MSG_DONTWAIT), ==, -1);
    g_assert_cmpint(send(client, &byte, 1, 0), ==, 1);
    g_assert_cmpint(recv(accepted, &byte, 1, 0), ==, 1);
    close(accepted);
    close(client);
    close(server);
    g_assert_cmpint(dialUri(&u, -1, 5000, &error), ==, -1);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_assert_nonnull(strstr(error->message, host));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/direct/check", testCheck);
    g_test_add_func("/direct/uri", testUri);
    g_test_add_func("/direct/traits", testTraits);
    g_test_add_func("/direct/dial-unix", testDialUnix);
    g_test_add_func("/direct/dial-tcp", testDialTcp);
    return g_test_run();
}
