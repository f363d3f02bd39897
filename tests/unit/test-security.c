/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-security.c: every cell of the table of channels, against rules that are written another way */
#include "migration/security.h"

#include <string.h>

#include "base/error.h"

typedef void (*cellFunc)(const migSecurityIn *in);

static void
forEachCell(cellFunc func)
{
    migSecurityIn in = { 0 };

    for (in.process = 0; in.process < MIG_PROCESS_LAST; in.process++)
        for (in.conn = 0; in.conn < MIG_CONN_LAST; in.conn++)
            for (in.ask = 0; in.ask < MIG_ASK_LAST; in.ask++)
                for (in.wish = 0; in.wish < MIG_WISH_LAST; in.wish++)
                    for (in.source = 0; in.source < MIG_POLICY_LAST; in.source++)
                        for (in.dest = 0; in.dest < MIG_POLICY_LAST; in.dest++)
                            for (int bits = 0; bits < 4; bits++) {
                                in.certificates = bits & 1;
                                in.relayByDefault = bits & 2;
                                func(&in);
                            }
}

static bool
byLibvirt(const migSecurityIn *in)
{
    return in->process == MIG_PROCESS_MANAGED || in->process == MIG_PROCESS_PEER;
}

static bool
canTls(const migSecurityIn *in)
{
    return byLibvirt(in) && (in->ask == MIG_ASK_ANY || in->ask == MIG_ASK_RELAY) &&
        (in->certificates || in->conn != MIG_CONN_TCP);
}

static bool
canTunnel(const migSecurityIn *in)
{
    return in->process == MIG_PROCESS_TUNNEL && in->ask == MIG_ASK_ANY && in->conn != MIG_CONN_TCP;
}

static bool
canUnix(const migSecurityIn *in)
{
    return in->process == MIG_PROCESS_DIRECT && in->ask == MIG_ASK_UNIX;
}

static bool
needed(const migSecurityIn *in)
{
    return in->wish != MIG_WISH_NONE || in->source == MIG_POLICY_REQUIRE || in->dest == MIG_POLICY_REQUIRE;
}

/* The promise itself. */
static void
cellKeepsItsWord(const migSecurityIn *in)
{
    g_autoptr(GError) error = NULL;
    migSecurityOut out;
    bool ok = migSecurityDecide(in, &out, &error);

    if (!needed(in))
        return;
    if (in->wish == MIG_WISH_TLS)
        g_assert_cmpint(ok, ==, canTls(in) || canTunnel(in));
    else
        g_assert_cmpint(ok, ==, canTls(in) || canTunnel(in) || canUnix(in));
    if (ok) {
        g_assert_true(out.secure);
        return;
    }
    g_assert_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED);
    g_assert_cmpint(out.channel, ==, MIG_CHANNEL_NONE);
    g_assert_nonnull(strstr(error->message, "must be secure on its way, since "));
    g_assert_nonnull(strstr(error->message, "put certificates on both hosts"));
    g_assert_nonnull(strstr(error->message, "VIR_MIGRATE_TUNNELLED"));
    g_assert_nonnull(strstr(error->message, "stratovirt+tls://HOST/system"));
}

static void
cellIsTrue(const migSecurityIn *in)
{
    migSecurityOut out;

    if (!migSecurityDecide(in, &out, NULL))
        return;
    switch (out.channel) {
    case MIG_CHANNEL_TLS:
        g_assert_true(out.secure && canTls(in));
        /* Keys that were told over a connection that anybody can read are nobody's. */
        g_assert_true(out.keys == MIG_KEYS_X509 || in->conn != MIG_CONN_TCP);
        g_assert_true(out.keys != MIG_KEYS_X509 || in->certificates);
        break;
    case MIG_CHANNEL_TUNNEL:
        g_assert_cmpint(out.secure, ==, in->conn != MIG_CONN_TCP);
        g_assert_cmpint(in->process, ==, MIG_PROCESS_TUNNEL);
        break;
    case MIG_CHANNEL_UNIX:
        g_assert_true(out.secure && canUnix(in));
        break;
    case MIG_CHANNEL_NATIVE:
    case MIG_CHANNEL_RELAY:
        g_assert_true(!out.secure && byLibvirt(in));
        break;
    case MIG_CHANNEL_DIRECT:
        g_assert_true(!out.secure && in->process == MIG_PROCESS_DIRECT);
        break;
    default:
        g_assert_not_reached();
    }
}

static void
cellWithoutNeed(const migSecurityIn *in)
{
    bool preferred = in->source == MIG_POLICY_PREFER || in->dest == MIG_POLICY_PREFER;
    bool can = canTls(in) || canTunnel(in) || canUnix(in);
    migSecurityOut out;
    bool ok;

    if (needed(in))
        return;
    ok = migSecurityDecide(in, &out, NULL);
    /* A tunnel has no choice of transports, and a unix socket leads to no other daemon. */
    g_assert_cmpint(ok, ==, in->ask == MIG_ASK_ANY ||
                    (in->process != MIG_PROCESS_TUNNEL && (in->ask != MIG_ASK_UNIX || in->process == MIG_PROCESS_DIRECT)));
    if (!ok)
        return;
    if (preferred)
        g_assert_cmpint(out.secure, ==, can);
    else if (byLibvirt(in) && in->ask == MIG_ASK_ANY)
        g_assert_cmpint(out.channel, ==, in->relayByDefault ? MIG_CHANNEL_RELAY : MIG_CHANNEL_NATIVE);
    else if (byLibvirt(in) && in->ask == MIG_ASK_NATIVE)
        g_assert_cmpint(out.channel, ==, MIG_CHANNEL_NATIVE);
    else if (byLibvirt(in) && in->ask == MIG_ASK_RELAY)
        g_assert_cmpint(out.channel, ==, MIG_CHANNEL_RELAY);
}

static void
testWord(void)
{
    forEachCell(cellKeepsItsWord);
}

static void
testTruth(void)
{
    forEachCell(cellIsTrue);
}

static void
testWithoutNeed(void)
{
    forEachCell(cellWithoutNeed);
}

static void
testTexts(void)
{
    static const struct {
        migSecurityIn in;
        const char *says;
    } cases[] = {
        { { MIG_PROCESS_PEER, MIG_CONN_TCP, .wish = MIG_WISH_SECURE },
          "since VIR_MIGRATE_SECURE was given, but it would not be: the hosts have no certificates" },
        { { MIG_PROCESS_TUNNEL, MIG_CONN_TCP, .source = MIG_POLICY_REQUIRE },
          "since the source host requires it (migrate_secure in its stratovirt.conf), but it would not "
          "be: the tunnel is a libvirt connection over plain TCP" },
        { { MIG_PROCESS_MANAGED, MIG_CONN_TLS, MIG_ASK_NATIVE, .dest = MIG_POLICY_REQUIRE },
          "since the destination host requires it" },
        { { MIG_PROCESS_MANAGED, MIG_CONN_TLS, MIG_ASK_NATIVE, .wish = MIG_WISH_SECURE },
          "(1) name no transport and let the driver choose" },
        { { MIG_PROCESS_DIRECT, MIG_CONN_UNIX, .wish = MIG_WISH_SECURE },
          "a direct migration goes from VMM to VMM as it is" },
        { { MIG_PROCESS_MANAGED, MIG_CONN_TLS, MIG_ASK_UNIX, .wish = MIG_WISH_SECURE },
          "a socket of the kind unix leads to no other daemon" },
        { { MIG_PROCESS_PEER, MIG_CONN_TLS, .ask = MIG_ASK_UNIX },
          "The transport 'unix' cannot be used in a migration that is peer-to-peer." },
        { { MIG_PROCESS_TUNNEL, MIG_CONN_TLS, .ask = MIG_ASK_NATIVE },
          "The transport 'native' cannot be used in a migration that is tunnelled." },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        migSecurityOut out;

        g_assert_false(migSecurityDecide(&cases[i].in, &out, &error));
        g_test_message("%s", error->message);
        g_assert_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED);
        g_assert_nonnull(strstr(error->message, cases[i].says));
    }
}

/* Every line of the page's table is one of ours. */
static void
testPage(void)
{
    const char *root = g_getenv("SV_SOURCE_ROOT");
    g_autofree char *path = g_build_filename(root ? root : "../..", "docs/security.rst", NULL);
    g_autofree char *table = migSecurityTable();
    g_autofree char *page = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned rows = 0;

    g_assert_true(g_file_get_contents(path, &page, NULL, NULL));
    lines = g_strsplit(page, "\n", -1);
    for (size_t i = 0; lines[i]; i++) {
        const char *line = lines[i] + strspn(lines[i], " ");
        g_autofree char *row = g_strconcat(line, "\n", NULL);

        if (line == lines[i] || !(strstr(line, "  off  ") || strstr(line, "  prefer  ") || strstr(line, "  require  ")))
            continue;
        if (!strstr(table, row))
            g_error("docs/security.rst has a row that the table has not: %s", line);
        rows++;
    }
    g_assert_cmpuint(rows, >=, 20);
}

int
main(int argc, char **argv)
{
    g_autofree char *table = NULL;

    /* For people and for the test that listens to the wire. */
    if (argc > 1 && g_str_equal(argv[1], "--table")) {
        table = migSecurityTable();
        g_print("%s", table);
        return 0;
    }
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/security/keeps-its-word", testWord);
    g_test_add_func("/security/truth", testTruth);
    g_test_add_func("/security/without-need", testWithoutNeed);
    g_test_add_func("/security/texts", testTexts);
    g_test_add_func("/security/page", testPage);
    return g_test_run();
}
