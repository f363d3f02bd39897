/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-ledger.c: commit records survive, broken files do not hurt, errors are told */
#include "base/error.h"
#include "migration/ledger.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID_A "11111111-1111-4111-8111-111111111111"
#define UUID_B "22222222-2222-4222-8222-222222222222"
#define WEEK (7 * 24 * 3600)

typedef struct {
    char *dir;
} fixture;

static void
setUp(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *base = g_dir_make_tmp("sv-ledger-XXXXXX", &error);

    g_assert_no_error(error);
    f->dir = g_build_filename(base, "deep", "ledger", NULL);
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
tearDown(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *deep = g_path_get_dirname(f->dir);
    g_autofree char *base = g_path_get_dirname(deep);

    removeTree(base);
    g_free(f->dir);
}

static migLedger *
openLedger(const fixture *f)
{
    g_autoptr(GError) error = NULL;
    migLedger *ledger = migLedgerOpen(f->dir, WEEK, &error);

    g_assert_no_error(error);
    return ledger;
}

static void
writeEntry(migLedger *ledger, const char *uuid, migOutcome outcome)
{
    g_autoptr(GError) error = NULL;
    migLedgerEntry entry = {
        .uuid = (char *)uuid, .domainName = (char *)"a \"quoted\" näme", .outcome = outcome,
        .when = g_get_real_time() / G_USEC_PER_SEC,
    };

    memset(entry.token, 0xa5, sizeof(entry.token));
    g_assert_true(migLedgerWrite(ledger, &entry, &error));
    g_assert_no_error(error);
}

static char *
fileOf(const fixture *f, const char *name)
{
    return g_build_filename(f->dir, name, NULL);
}

static void
testSurvives(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = fileOf(f, UUID_A ".json");
    struct stat st;

    for (int outcome = MIG_OUTCOME_PENDING; outcome <= MIG_OUTCOME_ABSENT; outcome++) {
        g_autoptr(migLedger) ledger = openLedger(f);
        g_autoptr(migLedger) later = NULL;
        g_autoptr(migLedgerEntry) entry = NULL;

        writeEntry(ledger, UUID_A, (migOutcome)outcome);
        later = openLedger(f);
        g_assert_true(migLedgerFind(later, UUID_A, &entry));
        g_assert_cmpint(entry->outcome, ==, outcome);
        g_assert_cmpstr(entry->uuid, ==, UUID_A);
        g_assert_cmpstr(entry->domainName, ==, "a \"quoted\" näme");
        g_assert_null(entry->domainUuid);
        g_assert_cmpint(entry->token[0], ==, 0xa5);
        g_assert_cmpint(entry->token[HELLO_TOKEN_LEN - 1], ==, 0xa5);
    }
    /* The token is a secret. */
    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 077, ==, 0);
}

static void
testFind(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(migLedger) ledger = openLedger(f);
    g_autoptr(migLedgerEntry) entry = NULL;

    g_assert_false(migLedgerFind(ledger, UUID_A, &entry));
    g_assert_false(migLedgerFind(ledger, NULL, &entry));
    g_assert_null(entry);
    writeEntry(ledger, UUID_A, MIG_OUTCOME_PENDING);
    g_assert_true(migLedgerFind(ledger, UUID_A, &entry));
    /* A copy: what happens later does not show in it. */
    writeEntry(ledger, UUID_A, MIG_OUTCOME_COMMITTED);
    g_assert_cmpint(entry->outcome, ==, MIG_OUTCOME_PENDING);
    g_assert_false(migLedgerFind(ledger, UUID_B, &entry));
}

static void
countEntry(const migLedgerEntry *entry, void *opaque)
{
    g_assert_nonnull(entry->uuid);
    (*(unsigned *)opaque)++;
}

static unsigned
countAll(migLedger *ledger)
{
    unsigned count = 0;

    migLedgerForEach(ledger, countEntry, &count);
    return count;
}

static void
testRetention(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *path = fileOf(f, UUID_A ".json");
    g_autoptr(GError) error = NULL;
    migLedgerEntry old = { .uuid = (char *)UUID_A, .outcome = MIG_OUTCOME_COMMITTED, .when = 1000 };

    {
        g_autoptr(migLedger) ledger = openLedger(f);

        g_assert_true(migLedgerWrite(ledger, &old, &error));
        writeEntry(ledger, UUID_B, MIG_OUTCOME_COMMITTED);
        g_assert_cmpuint(countAll(ledger), ==, 2);
    }
    {
        g_autoptr(migLedger) ledger = openLedger(f);

        g_assert_cmpuint(countAll(ledger), ==, 1);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    }
}

static void
putFile(const fixture *f, const char *name, const char *text)
{
    g_autofree char *path = fileOf(f, name);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void
testBroken(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{\"format\":2,\"uuid\":\"" UUID_B "\",\"token\":\"00\",\"outcome\":\"committed\"}",
        "{\"format\":1,\"uuid\":\"" UUID_B "\",\"outcome\":\"committed\",\"when\":4000000000}",
        "{\"format\":1,\"uuid\":\"" UUID_B
        "\",\"token\":7,\"outcome\":\"committed\",\"when\":4000000000}",
    };
    g_autofree char *fifo = NULL;

    {
        g_autoptr(migLedger) ledger = openLedger(f);

        writeEntry(ledger, UUID_A, MIG_OUTCOME_COMMITTED);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(migLedger) ledger = NULL;

        putFile(f, UUID_B ".json", texts[i]);
        g_test_expect_message("stratovirt-migration", G_LOG_LEVEL_WARNING,
                              "*" UUID_B ".json' of a migration is not usable*ignoring");
        ledger = openLedger(f);
        g_test_assert_expected_messages();
        g_assert_cmpuint(countAll(ledger), ==, 1);
    }
    /* The record of one migration under the name of another, a file that is none, a name that is
     * none. */
    putFile(f, UUID_B ".json",
            "{\"format\":1,\"uuid\":\"" UUID_A "\",\"token\":"
            "\"0000000000000000000000000000000000000000000000000000000000000000\",\"outcome\":"
            "\"absent\"}");
    putFile(f, "README", "nothing");
    putFile(f, UUID_A ".json.new", "{");
    {
        g_autoptr(migLedger) ledger = NULL;
        g_autofree char *leftover = fileOf(f, UUID_A ".json.new");

        g_test_expect_message("stratovirt-migration", G_LOG_LEVEL_WARNING, "*" UUID_B "*");
        ledger = openLedger(f);
        g_test_assert_expected_messages();
        g_assert_cmpuint(countAll(ledger), ==, 1);
        g_assert_false(g_file_test(leftover, G_FILE_TEST_EXISTS));
    }
    /* Nobody waits for a pipe. */
    fifo = fileOf(f, UUID_B ".json");
    g_assert_cmpint(g_unlink(fifo), ==, 0);
    g_assert_cmpint(mkfifo(fifo, 0600), ==, 0);
    {
        g_autoptr(migLedger) ledger = NULL;

        g_test_expect_message("stratovirt-migration", G_LOG_LEVEL_WARNING, "*" UUID_B "*");
        ledger = openLedger(f);
        g_test_assert_expected_messages();
        g_assert_cmpuint(countAll(ledger), ==, 1);
    }
}

static void
testBadUuid(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const uuids[] = { NULL, "", "../../etc/passwd", "11111111" };
    g_autoptr(migLedger) ledger = openLedger(f);

    for (size_t i = 0; i < G_N_ELEMENTS(uuids); i++) {
        g_autoptr(GError) error = NULL;
        migLedgerEntry entry = { .uuid = (char *)uuids[i] };

        g_assert_false(migLedgerWrite(ledger, &entry, &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_INTERNAL);
    }
    g_assert_cmpuint(countAll(ledger), ==, 0);
}

/* A write that fails changes neither the disk nor what is told. */
static void
testFull(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(migLedger) ledger = openLedger(f);
    g_autoptr(migLedgerEntry) entry = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(migLedger) later = NULL;
    migLedgerEntry next = { .uuid = (char *)UUID_A,
                            .outcome = MIG_OUTCOME_COMMITTED,
                            .when = 4000000000 };
    struct rlimit before, none = { 0, 0 };

    writeEntry(ledger, UUID_A, MIG_OUTCOME_PENDING);
    /* No file may grow: the nearest thing to a full disk that needs no privileges. */
    signal(SIGXFSZ, SIG_IGN);
    g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
    none.rlim_max = before.rlim_max;
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &none), ==, 0);
    g_assert_false(migLedgerWrite(ledger, &next, &error));
    g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_assert_nonnull(strstr(error->message, f->dir));
    g_assert_nonnull(strstr(error->message, UUID_A));

    g_assert_true(migLedgerFind(ledger, UUID_A, &entry));
    g_assert_cmpint(entry->outcome, ==, MIG_OUTCOME_PENDING);
    g_clear_pointer(&entry, migLedgerEntryFree);
    later = openLedger(f);
    g_assert_true(migLedgerFind(later, UUID_A, &entry));
    g_assert_cmpint(entry->outcome, ==, MIG_OUTCOME_PENDING);
}

static void
testNoFolder(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *deep = g_path_get_dirname(f->dir);
    g_autoptr(GError) error = NULL;

    /* A file where the folder should be. */
    g_assert_true(g_file_set_contents(deep, "x", 1, NULL));
    g_assert_null(migLedgerOpen(f->dir, WEEK, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_SYSTEM);
    g_assert_nonnull(strstr(error->message, f->dir));
}

static void
testOutcomeNames(void)
{
    migOutcome outcome = MIG_OUTCOME_ABSENT;

    g_assert_true(migOutcomeFromName("committed", &outcome));
    g_assert_cmpint(outcome, ==, MIG_OUTCOME_COMMITTED);
    g_assert_false(migOutcomeFromName("Committed", &outcome));
    g_assert_false(migOutcomeFromName(NULL, &outcome));
    g_assert_cmpstr(migOutcomeName(MIG_OUTCOME_PENDING), ==, "pending");
    g_assert_cmpstr(migOutcomeName((migOutcome)99), ==, "?");
}

/* ---- many at once -------------------------------------------------------------------------- */

static gpointer
hammer(gpointer data)
{
    migLedger *ledger = data;

    for (int i = 0; i < 20; i++) {
        g_autofree char *uuid = g_uuid_string_random();
        g_autoptr(migLedgerEntry) entry = NULL;

        writeEntry(ledger, uuid, MIG_OUTCOME_PENDING);
        writeEntry(ledger, uuid, MIG_OUTCOME_COMMITTED);
        g_assert_true(migLedgerFind(ledger, uuid, &entry));
        g_assert_cmpint(entry->outcome, ==, MIG_OUTCOME_COMMITTED);
    }
    return NULL;
}

static void
testThreads(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(migLedger) ledger = openLedger(f);
    GThread *threads[4];

    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("hammer", hammer, ledger);
    for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpuint(countAll(ledger), ==, 80);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define CASE(name, func) g_test_add("/ledger/" name, fixture, NULL, setUp, func, tearDown)
    CASE("survives", testSurvives);
    CASE("find", testFind);
    CASE("retention", testRetention);
    CASE("broken", testBroken);
    CASE("bad-uuid", testBadUuid);
    CASE("full", testFull);
    CASE("no-folder", testNoFolder);
    CASE("threads", testThreads);
    g_test_add_func("/ledger/outcome-names", testOutcomeNames);
    return g_test_run();
}
