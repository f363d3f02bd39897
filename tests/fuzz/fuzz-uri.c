/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A migration URI: what is accepted is written in one way, and that way is accepted again. */
#include "fuzz.h"

#include "base/error.h"
#include "remote/uri.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(uri) u = uriParse(text, &error);
    g_autoptr(uri) again = NULL;
    g_autofree char *canonical = NULL;
    g_autofree char *second = NULL;

    if (!u) {
        g_assert_nonnull(error);
        g_assert_true(error->domain == BASE_ERROR);
        g_assert_true(g_utf8_validate(text, -1, NULL) <= g_utf8_validate(error->message, -1, NULL));
        return 0;
    }
    canonical = uriFormat(u);
    again = uriParse(canonical, &error);
    g_assert_no_error(error);
    g_assert_cmpint(u->kind, ==, again->kind);
    g_assert_cmpstr(u->host, ==, again->host);
    g_assert_cmpuint(u->port, ==, again->port);
    g_assert_cmpstr(u->path, ==, again->path);
    second = uriFormat(again);
    g_assert_cmpstr(canonical, ==, second);
    return 0;
}

void
fuzzSetUp(void)
{
}

void
fuzzSeeds(const char *folder)
{
    const uri uris[] = {
        { .kind = URI_TCP, .host = (char *)"host", .port = 49152 },
        { .kind = URI_TCP, .host = (char *)"fd00::1", .port = 65535 },
        { .kind = URI_TCP, .host = (char *)"10.0.0.1" },
        { .kind = URI_UNIX, .path = (char *)"/run/a b" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(uris); i++) {
        g_autofree char *text = uriFormat(&uris[i]);
        g_autofree char *name = g_strdup_printf("made-%zu", i);

        fuzzSeed(folder, name, text, strlen(text));
    }
}
