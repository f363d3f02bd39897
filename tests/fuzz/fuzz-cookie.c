/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A cookie in each of the four steps: what is read can be written, and then read as the same. */
#include "fuzz.h"

#include <libxml/xmlerror.h>

#include "base/error.h"
#include "migration/cookie.h"

static void
cookieStep(const char *text, int len, migStep step)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(migCookie) cookie = migCookieParse(text, len, step, &error);
    g_autoptr(migCookie) again = NULL;
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;
    int firstLen = 0, secondLen = 0;

    if (!cookie) {
        g_assert_nonnull(error);
        g_assert_true(error->domain == BASE_ERROR);
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
        return;
    }
    first = migCookieFormat(cookie, step, &firstLen);
    again = migCookieParse(first, firstLen, step, &error);
    g_assert_no_error(error);
    second = migCookieFormat(again, step, &secondLen);
    g_assert_cmpstr(first, ==, second);
    g_assert_cmpint(firstLen, ==, secondLen);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > G_MAXINT)
        return 0;
    for (int step = MIG_STEP_BEGIN; step <= MIG_STEP_FINISH; step++) {
        g_autofree char *text = g_strndup((const char *)data, size);

        /* With and without the zero byte that libvirt may or may not count. */
        cookieStep((const char *)data, (int)size, (migStep)step);
        cookieStep(text, (int)strlen(text) + 1, (migStep)step);
    }
    return 0;
}

static void
cookieQuiet(void *opaque G_GNUC_UNUSED, const char *format G_GNUC_UNUSED, ...)
{
}

void
fuzzSetUp(void)
{
    xmlSetGenericErrorFunc(NULL, cookieQuiet);
}

void
fuzzSeeds(const char *folder)
{
    static const char *const addresses[] = { "10.0.0.2", "fd00::2", NULL };
    const migCookie cookie = {
        .uuid = (char *)"0a0b0c0d-0001-4002-8003-000000000001",
        .domainUuid = (char *)"c7a5fdbd-edaf-9455-926a-d65c16db1809", .domainName = (char *)"web & <db>",
        .hostName = (char *)"h1.example.org", .hostUuid = (char *)"11111111-2222-4333-8444-555555555555",
        .bootId = (char *)"99999999-8888-4777-a666-555555555555", .instance = (char *)"i-1234",
        .vmmName = (char *)"qemu", .vmmVersion = 10000003, .machine = (char *)"pc-q35-10.0", .arch = (char *)"x86_64",
        .memoryKiB = 262144, .vcpus = 2, .addresses = (char **)addresses, .port = 49152, .hasToken = true,
        .persistentXml = (char *)"<domain/>", .hasStats = true, .statsTotalMs = 1500, .statsBytesMoved = G_MAXUINT64,
        .outcome = (char *)"committed",
    };

    for (int step = MIG_STEP_BEGIN; step <= MIG_STEP_FINISH; step++) {
        int len = 0;
        g_autofree char *text = migCookieFormat(&cookie, (migStep)step, &len);
        g_autofree char *name = g_strdup_printf("made-%d", step);

        fuzzSeed(folder, name, text, (size_t)len);
    }
}
