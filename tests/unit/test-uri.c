/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/error.h"
#include "remote/uri.h"

#define LONG10 "/123456789"
#define LONG100 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10 LONG10

static void
testGood(void)
{
    static const struct {
        const char *text;
        uriKind kind;
        const char *host;
        unsigned port;
        const char *path;
        const char *canonical;
    } cases[] = {
        { "tcp:10.0.0.1:49152", URI_TCP, "10.0.0.1", 49152, NULL, "tcp://10.0.0.1:49152" },
        { "tcp://10.0.0.1:49152", URI_TCP, "10.0.0.1", 49152, NULL, "tcp://10.0.0.1:49152" },
        { "tcp://h1:1/", URI_TCP, "h1", 1, NULL, "tcp://h1:1" },
        { "tcp:h1", URI_TCP, "h1", 0, NULL, "tcp://h1" },
        { "tcp://h1.example.org", URI_TCP, "h1.example.org", 0, NULL, "tcp://h1.example.org" },
        { "tcp://h1/", URI_TCP, "h1", 0, NULL, "tcp://h1" },
        { "tcp:[fd00::1]:65535", URI_TCP, "fd00::1", 65535, NULL, "tcp://[fd00::1]:65535" },
        { "tcp://[fe80::1%eth0]", URI_TCP, "fe80::1%eth0", 0, NULL, "tcp://[fe80::1%eth0]" },
        { "tcp::49152", URI_TCP, NULL, 49152, NULL, "tcp://:49152" },
        { "tcp://:49152", URI_TCP, NULL, 49152, NULL, "tcp://:49152" },
        { "unix:/a/b", URI_UNIX, NULL, 0, "/a/b", "unix:///a/b" },
        { "unix:///a/b", URI_UNIX, NULL, 0, "/a/b", "unix:///a/b" },
        { "unix:/a%20b:c", URI_UNIX, NULL, 0, "/a%20b:c", "unix:///a%20b:c" },
        { "unix:" LONG100 "/123456", URI_UNIX, NULL, 0, LONG100 "/123456",
          "unix://" LONG100 "/123456" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(uri) u = uriParse(cases[i].text, &error);
        g_autofree char *text = NULL;
        g_autoptr(uri) again = NULL;

        g_assert_no_error(error);
        g_assert_cmpint(u->kind, ==, cases[i].kind);
        g_assert_cmpstr(u->host, ==, cases[i].host);
        g_assert_cmpuint(u->port, ==, cases[i].port);
        g_assert_cmpstr(u->path, ==, cases[i].path);
        text = uriFormat(u);
        g_assert_cmpstr(text, ==, cases[i].canonical);
        again = uriParse(text, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(again->host, ==, u->host);
        g_assert_cmpuint(again->port, ==, u->port);
    }
}

static void
testBad(void)
{
    static const struct { const char *text; int code; const char *why; } cases[] = {
        { "", BASE_ERROR_INVALID_ARG, "must begin" },
        { "h1", BASE_ERROR_INVALID_ARG, "must begin" },
        { "h1:49152", BASE_ERROR_UNSUPPORTED, "scheme" },
        { "rdma://h1:1", BASE_ERROR_UNSUPPORTED, "scheme" },
        { "TCP:h1:1", BASE_ERROR_UNSUPPORTED, "scheme" },
        { "tcp:", BASE_ERROR_INVALID_ARG, "neither" },
        { "tcp://", BASE_ERROR_INVALID_ARG, "neither" },
        { "tcp:///", BASE_ERROR_INVALID_ARG, "neither" },
        { "tcp:h1:", BASE_ERROR_INVALID_ARG, "port" },
        { "tcp:h1:0", BASE_ERROR_INVALID_ARG, "port" },
        { "tcp:h1:65536", BASE_ERROR_INVALID_ARG, "port" },
        { "tcp:h1:-1", BASE_ERROR_INVALID_ARG, "port" },
        { "tcp:h1:1x", BASE_ERROR_INVALID_ARG, "port" },
        { "tcp:h1:+1", BASE_ERROR_INVALID_ARG, "port" },
        { "tcp:h1:99999999999999999999", BASE_ERROR_INVALID_ARG, "port" },
        { "tcp:fd00::1:49152", BASE_ERROR_INVALID_ARG, "brackets" },
        { "tcp:[fd00::1", BASE_ERROR_INVALID_ARG, "not closed" },
        { "tcp:[fd00::1]x", BASE_ERROR_INVALID_ARG, "follow" },
        { "tcp:[]:1", BASE_ERROR_INVALID_ARG, "no IPv6" },
        { "tcp:[10.0.0.1]:1", BASE_ERROR_INVALID_ARG, "no IPv6" },
        { "tcp:[g::1]:1", BASE_ERROR_INVALID_ARG, "no IPv6" },
        { "tcp://user@h1:1", BASE_ERROR_INVALID_ARG, "form" },
        { "tcp://h1/path", BASE_ERROR_INVALID_ARG, "form" },
        { "tcp://h1:1/path", BASE_ERROR_INVALID_ARG, "port" },
        { "tcp://h1?x=1", BASE_ERROR_INVALID_ARG, "form" },
        { "tcp:h 1:1", BASE_ERROR_INVALID_ARG, "white space" },
        { "tcp:h1:1\n", BASE_ERROR_INVALID_ARG, "white space" },
        { "unix:", BASE_ERROR_INVALID_ARG, "absolute" },
        { "unix:a/b", BASE_ERROR_INVALID_ARG, "absolute" },
        { "unix://a/b", BASE_ERROR_INVALID_ARG, "absolute" },
        { "unix:" LONG100 "/1234567", BASE_ERROR_INVALID_ARG, "longer" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;

        g_assert_null(uriParse(cases[i].text, &error));
        if (!g_error_matches(error, BASE_ERROR, cases[i].code) ||
            !strstr(error->message, cases[i].why))
            g_error("'%s': %s", cases[i].text, error->message);
        g_assert_nonnull(strstr(error->message, cases[i].text));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/uri/good", testGood);
    g_test_add_func("/uri/bad", testBad);
    return g_test_run();
}
