/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-cookie.c: cookies written, read and refused
 *
 * tests/golden/cookie/STEP-CASE.in is a cookie as it may arrive in that step; the .out beside it is
 * the same cookie as we would write it, or "error: " and the message.  REGENERATE=1 rewrites the
 * .out files.
 */
#include "base/error.h"
#include "migration/cookie.h"
#include "migration/cookie_sections.h"

#include <string.h>

#define NOT_XML "it is not XML: "

static const char *const stepNames[] = { "begin", "prepare", "perform", "finish" };

static migCookie *
newCookie(void)
{
    migCookie *cookie = g_new0(migCookie, 1);

    cookie->uuid = g_strdup("0a0b0c0d-0001-4002-8003-000000000001");
    cookie->domainUuid = g_strdup("c7a5fdbd-edaf-9455-926a-d65c16db1809");
    cookie->domainName = g_strdup("web & <db> 'ä'");
    cookie->hostName = g_strdup("h1.example.org");
    cookie->hostUuid = g_strdup("11111111-2222-4333-8444-555555555555");
    cookie->bootId = g_strdup("99999999-8888-4777-a666-555555555555");
    cookie->instance = g_strdup("i-1234");
    cookie->vmmName = g_strdup("qemu");
    cookie->vmmVersion = 10000003;
    cookie->machine = g_strdup("pc-q35-10.0");
    cookie->arch = g_strdup("x86_64");
    cookie->tcg = true;
    cookie->memoryKiB = 262144;
    cookie->vcpus = 2;
    cookie->addresses = g_strsplit("10.0.0.2,fd00::2,h2", ",", -1);
    cookie->port = 49152;
    cookie->askPort = 49153;
    for (size_t i = 0; i < sizeof(cookie->token); i++)
        cookie->token[i] = i * 7;
    cookie->hasToken = true;
    cookie->persistentXml = g_strdup("<domain type='qemu'>\n  <name>a &amp; b</name>\n</domain>\n");
    cookie->hasStats = true;
    cookie->statsTotalMs = 1500;
    cookie->statsDowntimeMs = 12;
    cookie->statsSetupMs = 3;
    cookie->statsBytesTotal = 268435456;
    cookie->statsBytesMoved = G_MAXUINT64;
    cookie->statsIteration = 4;
    cookie->statsBps = 104857600;
    cookie->statsNormal = 65536;
    cookie->statsConstant = 10;
    cookie->statsPageSize = 4096;
    cookie->outcome = g_strdup("committed");
    cookie->residentKiB = 131072;
    cookie->disks = migDiskListNew();
    {
        migDisk *disk = migDiskListAdd(cookie->disks, "vda", MIG_DISK_NETWORK, "nbd:h:1,//web");

        disk->kind = MIG_DISK_FILE;
        disk->name = g_strdup("web & <1>.img");
        disk->word = g_strdup("0123456789abcdef");
        disk->answer = g_strdup("fedcba9876543210");
        disk->inode = G_MAXUINT64;
        disk->wordInode = 7;
    }
    cookie->dryRun = true;
    cookie->checks = 9;
    cookie->reasonsCode = g_strdup("unsafe");
    cookie->reasons = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(cookie->reasons, g_strdup("It has <snapshots> & more."));
    return cookie;
}

static migCookie *
parseText(const char *text, migStep step, GError **error)
{
    return migCookieParse(text, (int)strlen(text) + 1, step, error);
}

/* What is written in a step is read again, and what does not belong to it is not in it. */
static void
testRoundTrip(void)
{
    g_autoptr(migCookie) in = newCookie();

    for (int step = MIG_STEP_BEGIN; step <= MIG_STEP_FINISH; step++) {
        g_autoptr(migCookie) out = NULL;
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL;
        int len = -1;

        text = migCookieFormat(in, (migStep)step, &len);
        g_assert_nonnull(text);
        g_assert_cmpint(len, ==, strlen(text) + 1);
        out = migCookieParse(text, len, (migStep)step, &error);
        g_assert_no_error(error);

        g_assert_cmpstr(out->uuid, ==, in->uuid);
        g_assert_cmpstr(out->domainUuid, ==, in->domainUuid);
        g_assert_cmpstr(out->domainName, ==, in->domainName);
        g_assert_cmpstr(out->hostName, ==, in->hostName);
        g_assert_cmpstr(out->hostUuid, ==, in->hostUuid);
        g_assert_cmpstr(out->bootId, ==, in->bootId);
        g_assert_cmpstr(out->instance, ==, in->instance);
        g_assert_cmpstr(out->vmmName, ==, step <= MIG_STEP_PREPARE ? in->vmmName : NULL);
        g_assert_cmpstr(out->machine, ==, step <= MIG_STEP_PREPARE ? in->machine : NULL);
        g_assert_cmpstr(out->arch, ==, step <= MIG_STEP_PREPARE ? in->arch : NULL);
        g_assert_cmpuint(out->vmmVersion, ==, step <= MIG_STEP_PREPARE ? in->vmmVersion : 0);
        g_assert_true(out->tcg == (step <= MIG_STEP_PREPARE));
        g_assert_cmpuint(out->memoryKiB, ==, step == MIG_STEP_BEGIN ? in->memoryKiB : 0);
        g_assert_cmpuint(out->vcpus, ==, step == MIG_STEP_BEGIN ? in->vcpus : 0);
        g_assert_cmpuint(out->residentKiB, ==, step == MIG_STEP_BEGIN ? in->residentKiB : 0);
        g_assert_true((out->disks != NULL) == (step <= MIG_STEP_PREPARE));
        if (out->disks) {
            const migDisk *was = g_ptr_array_index(in->disks, 0);
            const migDisk *is = g_ptr_array_index(out->disks, 0);

            g_assert_cmpuint(out->disks->len, ==, 1);
            g_assert_cmpstr(is->target, ==, was->target);
            g_assert_cmpint(is->kind, ==, was->kind);
            g_assert_cmpstr(is->source, ==, was->source);
            g_assert_cmpstr(is->name, ==, was->name);
            g_assert_cmpstr(is->word, ==, was->word);
            g_assert_cmpstr(is->answer, ==, was->answer);
            g_assert_cmpuint(is->inode, ==, was->inode);
            g_assert_cmpuint(is->wordInode, ==, was->wordInode);
            g_assert_null(is->identity);
            g_assert_null(is->why);
            g_assert_false(is->left);
        }
        g_assert_true(out->dryRun == (step == MIG_STEP_BEGIN));
        if (out->dryRun) {
            g_assert_cmpuint(out->checks, ==, in->checks);
            g_assert_cmpstr(out->reasonsCode, ==, in->reasonsCode);
            g_assert_cmpuint(out->reasons->len, ==, 1);
            g_assert_cmpstr(g_ptr_array_index(out->reasons, 0), ==, g_ptr_array_index(in->reasons, 0));
        }
        g_assert_true(out->hasToken == (step == MIG_STEP_PREPARE));
        if (step == MIG_STEP_PREPARE) {
            g_assert_cmpstrv(out->addresses, in->addresses);
            g_assert_cmpuint(out->port, ==, in->port);
            g_assert_cmpuint(out->askPort, ==, in->askPort);
            g_assert_cmpmem(out->token, sizeof(out->token), in->token, sizeof(in->token));
        }
        g_assert_cmpstr(out->persistentXml, ==,
                        step == MIG_STEP_PERFORM ? in->persistentXml : NULL);
        g_assert_true(out->hasStats == (step >= MIG_STEP_PERFORM));
        if (out->hasStats) {
            g_assert_cmpuint(out->statsTotalMs, ==, in->statsTotalMs);
            g_assert_cmpuint(out->statsDowntimeMs, ==, in->statsDowntimeMs);
            g_assert_cmpuint(out->statsBytesMoved, ==, in->statsBytesMoved);
            g_assert_cmpuint(out->statsPageSize, ==, in->statsPageSize);
        }
        g_assert_cmpstr(out->outcome, ==, step == MIG_STEP_FINISH ? in->outcome : NULL);
    }
}

/* Nothing to say about a section: it is left out. */
static void
testOptional(void)
{
    g_autoptr(migCookie) in = newCookie();
    g_autoptr(migCookie) out = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    int len;

    g_clear_pointer(&in->persistentXml, g_free);
    g_clear_pointer(&in->domainUuid, g_free);
    g_clear_pointer(&in->domainName, g_free);
    in->hasStats = false;
    text = migCookieFormat(in, MIG_STEP_PERFORM, &len);
    g_assert_null(strstr(text, "<persistent"));
    g_assert_null(strstr(text, "<statistics"));
    out = migCookieParse(text, len, MIG_STEP_PERFORM, &error);
    g_assert_no_error(error);
    g_assert_null(out->persistentXml);
    g_assert_null(out->domainName);
    g_assert_false(out->hasStats);
}

/* ---- whole files --------------------------------------------------------------------------- */

static void
runGolden(gconstpointer data)
{
    g_autofree char *in = g_strconcat(data, ".in", NULL);
    g_autofree char *out = g_strconcat(data, ".out", NULL);
    g_autofree char *base = g_path_get_basename(data);
    g_autofree char *text = NULL;
    g_autofree char *want = NULL;
    g_autofree char *got = NULL;
    g_autoptr(migCookie) cookie = NULL;
    g_autoptr(GError) error = NULL;
    int step;
    int len;

    for (step = MIG_STEP_BEGIN; step <= MIG_STEP_FINISH && !g_str_has_prefix(base, stepNames[step]);
         step++)
        continue;
    g_assert_cmpint(step, <=, MIG_STEP_FINISH);
    g_assert_true(g_file_get_contents(in, &text, NULL, NULL));
    cookie = parseText(text, (migStep)step, &error);
    if (cookie) {
        g_assert_no_error(error);
        got = migCookieFormat(cookie, (migStep)step, &len);
    } else {
        char *parser = strstr(error->message, NOT_XML);

        /* What follows are the words of libxml2, which change with its version. */
        if (parser)
            strcpy(parser + strlen(NOT_XML), "...");
        got = g_strdup_printf("error: %s\n", error->message);
    }
    if (g_getenv("REGENERATE"))
        g_assert_true(g_file_set_contents(out, got, -1, NULL));
    g_assert_true(g_file_get_contents(out, &want, NULL, NULL));
    g_assert_cmpstr(got, ==, want);
}

static void
addGolden(void)
{
    const char *root = g_getenv("SV_SOURCE_ROOT");
    g_autofree char *path = g_build_filename(root ? root : "../..", "tests/golden/cookie", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &error);
    const char *name;

    g_assert_no_error(error);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *stem = NULL;
        g_autofree char *test = NULL;

        if (!g_str_has_suffix(name, ".in"))
            continue;
        stem = g_strndup(name, strlen(name) - strlen(".in"));
        test = g_strconcat("/cookie/golden/", stem, NULL);
        g_test_add_data_func_full(test, g_build_filename(path, stem, NULL), runGolden, g_free);
    }
}

/* ---- what no file can show ----------------------------------------------------------------- */

static void
expectRefused(const char *text, int len, int code, const char *word)
{
    g_autoptr(GError) error = NULL;

    g_assert_null(migCookieParse(text, len, MIG_STEP_BEGIN, &error));
    g_assert_error(error, BASE_ERROR, code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, "'begin'"));
    g_assert_nonnull(strstr(error->message, word));
}

static void
testBytes(void)
{
    g_autoptr(migCookie) in = newCookie();
    g_autofree char *text = NULL;
    g_autofree char *big = NULL;
    g_autofree char *zero = NULL;
    int len;

    text = migCookieFormat(in, MIG_STEP_BEGIN, &len);
    expectRefused(NULL, 0, BASE_ERROR_XML, "missing");
    expectRefused(NULL, 10, BASE_ERROR_XML, "missing");
    expectRefused(text, 0, BASE_ERROR_XML, "missing");
    expectRefused(text, -1, BASE_ERROR_XML, "missing");
    expectRefused("", 1, BASE_ERROR_XML, "empty");
    expectRefused(text, len - 1, BASE_ERROR_XML, "cut off");
    expectRefused("\xff", 2, BASE_ERROR_XML, "UTF-8");

    zero = g_memdup2(text, len);
    zero[len / 2] = '\0';
    expectRefused(zero, len, BASE_ERROR_XML, "zero byte");

    big = g_strnfill(1024 * 1024 + 1, ' ');
    memcpy(big, text, len - 1);
    expectRefused(big, 1024 * 1024 + 2, BASE_ERROR_XML, "too long");
    /* As long as may be: only spaces follow, so it is a good one. */
    big[1024 * 1024 - 1] = '\0';
    {
        g_autoptr(GError) error = NULL;
        g_autoptr(migCookie) cookie = migCookieParse(big, 1024 * 1024, MIG_STEP_BEGIN, &error);

        g_assert_no_error(error);
        g_assert_nonnull(cookie);
    }
}

/* Cut at every length, with the final zero byte in place: always an error, never a crash. */
static void
testTruncated(void)
{
    g_autoptr(migCookie) in = newCookie();

    for (int step = MIG_STEP_BEGIN; step <= MIG_STEP_FINISH; step++) {
        g_autofree char *text = NULL;
        int len;

        text = migCookieFormat(in, (migStep)step, &len);
        /* The last byte before the zero is a line end, which nobody misses. */
        for (int cut = len - 3; cut >= 0; cut--) {
            g_autoptr(GError) error = NULL;

            text[cut] = '\0';
            g_assert_null(migCookieParse(text, cut + 1, (migStep)step, &error));
            g_assert_error(error, BASE_ERROR, BASE_ERROR_XML);
        }
    }
}

/* Each byte replaced in turn: read or refused, never more than that. */
static void
testDamaged(void)
{
    static const char replacements[] = { '<', '>', '"', '&', '\0', 'x', '9', '\xff' };
    g_autoptr(migCookie) in = newCookie();

    for (int step = MIG_STEP_BEGIN; step <= MIG_STEP_FINISH; step++) {
        g_autofree char *text = NULL;
        int len;

        text = migCookieFormat(in, (migStep)step, &len);
        for (int at = 0; at < len; at++) {
            char was = text[at];

            for (size_t i = 0; i < sizeof(replacements); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(migCookie) cookie = NULL;

                text[at] = replacements[i];
                cookie = migCookieParse(text, len, (migStep)step, &error);
                g_assert_true((cookie != NULL) == (error == NULL));
            }
            text[at] = was;
        }
    }
}

static void
testTooLongToWrite(void)
{
    g_autoptr(migCookie) in = newCookie();
    int len = 77;

    g_free(in->persistentXml);
    in->persistentXml = g_strnfill(1024 * 1024, 'x');
    g_assert_null(migCookieFormat(in, MIG_STEP_PERFORM, &len));
    g_assert_cmpint(len, ==, 77);
}

/* What a step needs is also written in it. */
static void
testRows(void)
{
    g_assert_cmpuint(migCookieSectionCount, <=, 32);
    for (size_t i = 0; i < migCookieSectionCount; i++) {
        g_assert_cmphex(migCookieSections[i].required & ~migCookieSections[i].written, ==, 0);
        g_assert_cmpuint(migCookieSections[i].since, >=, 1);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cookie/round-trip", testRoundTrip);
    g_test_add_func("/cookie/optional", testOptional);
    addGolden();
    g_test_add_func("/cookie/bytes", testBytes);
    g_test_add_func("/cookie/truncated", testTruncated);
    g_test_add_func("/cookie/damaged", testDamaged);
    g_test_add_func("/cookie/too-long-to-write", testTooLongToWrite);
    g_test_add_func("/cookie/rows", testRows);
    return g_test_run();
}
