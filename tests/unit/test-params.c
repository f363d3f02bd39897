/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-params.c: flags and typed parameters: what is taken, what is refused and with which words */
#include <libvirt/libvirt-stratovirt.h>

#include "base/error.h"
#include "migration/params.h"
#include "migration/params_rows.h"

#include "params-expect.h"

#include <libvirt/virterror.h>
#include <string.h>

#define SUPPORTED_FLAGS                                                                            \
    (VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_PERSIST_DEST |                         \
     VIR_MIGRATE_UNDEFINE_SOURCE | VIR_MIGRATE_PAUSED | VIR_MIGRATE_CHANGE_PROTECTION |            \
     VIR_MIGRATE_UNSAFE | VIR_MIGRATE_ABORT_ON_ERROR | VIR_MIGRATE_AUTO_CONVERGE |               \
     VIR_MIGRATE_PARALLEL | VIR_MIGRATE_COMPRESSED | VIR_MIGRATE_TLS | VIR_MIGRATE_SECURE)

/* ---- flags --------------------------------------------------------------------------------- */

static void
testNone(void)
{
    g_auto(migParams) params = { 0 };
    static const migParams none;

    expectOk(&params, MIG_CALL_BEGIN, 0, NULL);
    g_assert_cmpmem(&params, sizeof(params), &none, sizeof(none));
}

/* Is it the place of a "yes" that some VMM has? */
static bool
vmmHas(size_t trait)
{
    const vmmTraits *traits;

    for (size_t i = 0; (traits = vmmTraitsAt(i)); i++) {
        if (*((const char *)traits + trait) == 1)
            return true;
    }
    return false;
}

static void
testFlagRows(void)
{
    unsigned long supported = 0;
    unsigned long all = 0;

    for (size_t i = 0; i < migFlagRowCount; i++) {
        const migFlagRow *row = &migFlagRows[i];

        /* In order, and after libvirt's own those of ours. */
        g_assert_true(row->bit == (row->bit == VIR_MIGRATE_SECURE ? 1UL << 30 : 1UL << i));
        g_assert_true(g_str_has_prefix(row->name, "VIR_MIGRATE_"));
        g_assert_cmpstr(row->text, !=, "");
        /* What is supported has a place to be put in. */
        g_assert_true(row->refused || row->offset != MIG_NO_FIELD);
        /* A host that acts upon it is told. */
        g_assert_true(row->refused || !(row->acts & MIG_ACTS_DEST) || row->send != MIG_SEND_NEVER);
        g_assert_true(row->trait == 0 || vmmHas(row->trait));
        supported |= row->refused ? 0 : row->bit;
        all |= row->bit;
    }
    g_assert_cmphex(supported, ==, SUPPORTED_FLAGS | VIR_MIGRATE_OFFLINE | VIR_MIGRATE_TUNNELLED);
    /* Every flag that libvirt 9.0 to 11.3 define, and ours. */
    g_assert_cmphex(all, ==, 0x1fffff | VIR_MIGRATE_SECURE);
    g_assert_cmpint(VIR_MIGRATE_ZEROCOPY, ==, 1 << 20);
}

static void
testFlags(void)
{
    g_auto(migParams) params = { 0 };

    expectOk(&params, MIG_CALL_PREPARE, SUPPORTED_FLAGS, NULL);
    g_assert_true(params.live && params.peer2peer && params.persistDest && params.undefineSource &&
                  params.paused && params.changeProtection && params.unsafe &&
                  params.abortOnError && params.autoConverge && params.parallel);
    g_assert_true(params.compressed);
    g_assert_true(params.tls && params.secure);
    g_assert_false(params.tunnelled || params.offline);
}

/* A definition alone: nothing is sent or started, so the flags that are about that make no sense with it. */
static void
testFlagOffline(void)
{
    static const unsigned long senseless[] = {
        VIR_MIGRATE_LIVE, VIR_MIGRATE_PAUSED, VIR_MIGRATE_ABORT_ON_ERROR, VIR_MIGRATE_AUTO_CONVERGE, VIR_MIGRATE_COMPRESSED,
        VIR_MIGRATE_TLS, VIR_MIGRATE_PARALLEL,
    };
    const unsigned long offline = VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST;
    g_auto(migParams) params = { 0 };

    expectOk(&params, MIG_CALL_BEGIN, offline | VIR_MIGRATE_UNDEFINE_SOURCE | VIR_MIGRATE_UNSAFE | VIR_MIGRATE_PEER2PEER,
             NULL);
    g_assert_true(params.offline && params.persistDest && params.undefineSource);
    g_assert_cmphex(migParamsFlags(&params, MIG_CALL_FINISH) & offline, ==, offline);
    expectRefused(VIR_MIGRATE_OFFLINE, NULL, BASE_ERROR_INVALID_ARG, "'VIR_MIGRATE_OFFLINE'", "'VIR_MIGRATE_PERSIST_DEST'");
    for (size_t i = 0; i < G_N_ELEMENTS(senseless); i++)
        expectRefused(offline | senseless[i], NULL, BASE_ERROR_INVALID_ARG, "'VIR_MIGRATE_OFFLINE'", "exclude each other");
}

/* What the destination gets is what libvirt's own client would send it. */
static void
testFlagsBack(void)
{
    g_auto(migParams) params = { 0 };
    unsigned long dest = SUPPORTED_FLAGS & ~(unsigned long)(VIR_MIGRATE_ABORT_ON_ERROR |
                                                           VIR_MIGRATE_AUTO_CONVERGE |
                                                           VIR_MIGRATE_CHANGE_PROTECTION);

    expectOk(&params, MIG_CALL_BEGIN, SUPPORTED_FLAGS, NULL);
    g_assert_cmphex(migParamsFlags(&params, MIG_CALL_PERFORM), ==, SUPPORTED_FLAGS);
    g_assert_cmphex(migParamsFlags(&params, MIG_CALL_PREPARE), ==, dest);
    g_assert_cmphex(migParamsFlags(&params, MIG_CALL_FINISH), ==, dest);
}

static void
testFlagsUnknown(void)
{
    expectRefused(VIR_MIGRATE_LIVE | 1UL << 27, NULL, BASE_ERROR_INVALID_ARG, "0x8000000",
                  "unknown");
    expectRefused(1UL << 40, NULL, BASE_ERROR_INVALID_ARG, "0x10000000000", "unknown");
    /* Told before anything else. */
    expectRefused(VIR_MIGRATE_POSTCOPY | 1UL << 29, NULL, BASE_ERROR_INVALID_ARG, "0x20000000",
                  "unknown");
}

static void
testFlagsRefused(void)
{
    for (size_t i = 0; i < migFlagRowCount; i++) {
        const migFlagRow *row = &migFlagRows[i];
        unsigned long flags = row->bit;

        if (!row->refused)
            continue;
        /* With the company it needs, so that it is refused for itself; a refused companion comes
         * first. */
        for (size_t j = 0; j < migFlagRowCount && row->requires; j++) {
            if (row->requires & migFlagRows[j].bit) {
                flags |= migFlagRows[j].bit;
                break;
            }
        }
        expectRefused(flags, NULL, BASE_ERROR_UNSUPPORTED, "is not supported. ",
                      "This driver does");
        if (flags == row->bit)
            expectRefused(flags, NULL, BASE_ERROR_UNSUPPORTED, row->name, row->refused);
    }
}

static void
testFlagsContradict(void)
{
    expectRefused(VIR_MIGRATE_NON_SHARED_DISK | VIR_MIGRATE_NON_SHARED_INC, NULL,
                  BASE_ERROR_INVALID_ARG, "'VIR_MIGRATE_NON_SHARED_DISK'",
                  "'VIR_MIGRATE_NON_SHARED_INC'");
    expectRefused(VIR_MIGRATE_PEER2PEER | VIR_MIGRATE_TUNNELLED | VIR_MIGRATE_PARALLEL, NULL,
                  BASE_ERROR_INVALID_ARG, "'VIR_MIGRATE_TUNNELLED'", "'VIR_MIGRATE_PARALLEL'");
    expectRefused(VIR_MIGRATE_TUNNELLED, NULL, BASE_ERROR_INVALID_ARG,
                  "'VIR_MIGRATE_TUNNELLED'", "'VIR_MIGRATE_PEER2PEER'");
    expectRefused(VIR_MIGRATE_POSTCOPY_RESUME, NULL, BASE_ERROR_INVALID_ARG,
                  "'VIR_MIGRATE_POSTCOPY_RESUME'", "'VIR_MIGRATE_POSTCOPY'");
    expectRefused(VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_LIVE, NULL,
                  BASE_ERROR_INVALID_ARG, "'VIR_MIGRATE_OFFLINE'", "'VIR_MIGRATE_LIVE'");
    expectRefused(VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES, NULL, BASE_ERROR_INVALID_ARG,
                  "'VIR_MIGRATE_NON_SHARED_DISK'", "'VIR_MIGRATE_NON_SHARED_INC'");
}

/* ---- parameters ---------------------------------------------------------------------------- */

static void
testAll(void)
{
    g_auto(migParams) params = { 0 };
    g_auto(typed) t = { 0 };

    addString(&t, VIR_MIGRATE_PARAM_URI, "tcp:h2:49152");
    addString(&t, VIR_MIGRATE_PARAM_DEST_NAME, "neuer name");
    addString(&t, VIR_MIGRATE_PARAM_DEST_XML, "<domain/>");
    addString(&t, VIR_MIGRATE_PARAM_PERSIST_XML, "<domain type='qemu'/>");
    addULLong(&t, VIR_MIGRATE_PARAM_BANDWIDTH, 1000);
    addString(&t, VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "::");
    addString(&t, VIR_MIGRATE_PARAM_GRAPHICS_URI, "vnc://h2:5900");
    addInt(&t, VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL, 20);
    addInt(&t, VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT, 99);
    expectOk(&params, MIG_CALL_BEGIN, VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_AUTO_CONVERGE, &t);
    g_assert_cmpstr(params.uri, ==, "tcp:h2:49152");
    g_assert_cmpstr(params.destName, ==, "neuer name");
    g_assert_cmpstr(params.destXml, ==, "<domain/>");
    g_assert_cmpstr(params.persistXml, ==, "<domain type='qemu'/>");
    g_assert_cmpuint(params.bandwidthMiBs, ==, 1000);
    g_assert_true(params.bandwidthGiven);
    g_assert_cmpstr(params.listenAddress, ==, "::");
    g_assert_cmpint(params.autoConvergeInitial, ==, 20);
    g_assert_cmpint(params.autoConvergeIncrement, ==, 99);
}

static void
testBack(void)
{
    g_auto(migParams) params = { 0 };
    g_auto(migParams) again = { 0 };
    g_auto(typed) in = { 0 };
    g_auto(typed) prepare = { 0 };
    g_auto(typed) finish = { 0 };
    g_autoptr(GError) error = NULL;

    addString(&in, VIR_MIGRATE_PARAM_URI, "tcp://h2");
    addString(&in, VIR_MIGRATE_PARAM_DEST_XML, "<domain>user's</domain>");
    addString(&in, VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "h2");
    addULLong(&in, VIR_MIGRATE_PARAM_BANDWIDTH, 7);
    addInt(&in, VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL, 20);
    expectOk(&params, MIG_CALL_PERFORM, VIR_MIGRATE_AUTO_CONVERGE, &in);

    g_assert_true(migParamsToTyped(&params, MIG_CALL_PREPARE, "<domain>begin's</domain>", "vm2",
                                   &prepare.list, &prepare.count, &error));
    expectOk(&again, MIG_CALL_PREPARE, migParamsFlags(&params, MIG_CALL_PREPARE), &prepare);
    g_assert_cmpstr(again.uri, ==, "tcp://h2");
    g_assert_cmpstr(again.destXml, ==, "<domain>begin's</domain>");
    g_assert_cmpstr(again.destName, ==, "vm2");
    g_assert_cmpstr(again.listenAddress, ==, "h2");
    g_assert_cmpuint(again.bandwidthMiBs, ==, 7);
    g_assert_cmpint(again.autoConvergeInitial, ==, 0);

    g_assert_true(migParamsToTyped(&params, MIG_CALL_FINISH, NULL, "vm2", &finish.list,
                                   &finish.count, &error));
    g_assert_cmpint(finish.count, ==, 1);
    g_assert_cmpstr(finish.list[0].field, ==, VIR_MIGRATE_PARAM_DEST_NAME);
    g_assert_cmpstr(finish.list[0].value.s, ==, "vm2");
}

/* A client passes one array to all calls, but libvirt takes the flag away before those on the
 * destination. */
static void
testFlagTaken(void)
{
    g_auto(migParams) params = { 0 };
    g_auto(typed) t = { 0 };
    g_autoptr(GError) error = NULL;

    addInt(&t, VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL, 20);
    expectOk(&params, MIG_CALL_PREPARE, 0, &t);
    expectOk(&params, MIG_CALL_FINISH, 0, &t);
    g_assert_false(migParamsParse(&params, MIG_CALL_BEGIN, 0, t.list, t.count, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    g_assert_nonnull(strstr(error->message, "VIR_MIGRATE_AUTO_CONVERGE"));
}

static void
testPersistXml(void)
{
    g_auto(typed) t = { 0 };

    addString(&t, VIR_MIGRATE_PARAM_PERSIST_XML, "<domain/>");
    expectRefused(VIR_MIGRATE_LIVE, &t, BASE_ERROR_INVALID_ARG, "persistent_xml",
                  "VIR_MIGRATE_PERSIST_DEST");
}

static void
testForm(void)
{
    g_auto(typed) unknown = { 0 };
    g_auto(typed) twice = { 0 };
    g_auto(typed) type = { 0 };
    g_auto(typed) number = { 0 };
    g_auto(typed) endless = { 0 };
    g_auto(typed) null = { 0 };
    g_autoptr(GError) error = NULL;
    migParams params = { 0 };

    addString(&unknown, "colour", "green");
    expectRefused(0, &unknown, BASE_ERROR_INVALID_ARG, "'colour'", "unknown");
    addString(&twice, VIR_MIGRATE_PARAM_DEST_NAME, "a");
    addString(&twice, VIR_MIGRATE_PARAM_DEST_NAME, "a");
    expectRefused(0, &twice, BASE_ERROR_INVALID_ARG, "destination_name", "more than once");
    addString(&type, VIR_MIGRATE_PARAM_BANDWIDTH, "10");
    expectRefused(0, &type, BASE_ERROR_INVALID_ARG, "'bandwidth'", "'ullong', not 'string'");
    addInt(&number, VIR_MIGRATE_PARAM_BANDWIDTH, 10);
    expectRefused(0, &number, BASE_ERROR_INVALID_ARG, "'bandwidth'", "'ullong', not 'int'");
    addString(&endless, VIR_MIGRATE_PARAM_DEST_NAME, "a");
    memset(endless.list[0].field, 'x', sizeof(endless.list[0].field));
    expectRefused(0, &endless, BASE_ERROR_INVALID_ARG, "name", "without an end");
    addString(&null, VIR_MIGRATE_PARAM_DEST_NAME, "a");
    g_clear_pointer(&null.list[0].value.s, free);
    expectRefused(0, &null, BASE_ERROR_INVALID_ARG, "destination_name", "empty");

    g_assert_false(migParamsParse(&params, MIG_CALL_BEGIN, 0, NULL, 1, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    g_clear_error(&error);
    g_assert_false(migParamsParse(&params, MIG_CALL_BEGIN, 0, NULL, -1, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    g_clear_error(&error);
    g_assert_false(migParamsParse(&params, MIG_CALL_BEGIN, 0, unknown.list, 100000, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
}

static void
testTexts(void)
{
    static const struct {
        const char *name, *value, *word;
    } cases[] = {
        { VIR_MIGRATE_PARAM_URI, "", "empty" },
        { VIR_MIGRATE_PARAM_URI, "tcp:", "migrate_uri" },
        { VIR_MIGRATE_PARAM_URI, "tcp://h2:99999", "migrate_uri" },
        { VIR_MIGRATE_PARAM_DEST_NAME, "", "empty" },
        { VIR_MIGRATE_PARAM_DEST_NAME, "   ", "cannot be a guest's name" },
        { VIR_MIGRATE_PARAM_DEST_NAME, "..", "cannot be a guest's name" },
        { VIR_MIGRATE_PARAM_DEST_NAME, "a/b", "slash" },
        { VIR_MIGRATE_PARAM_DEST_NAME, "a\nb", "a\\nb" },
        { VIR_MIGRATE_PARAM_DEST_NAME, "a\x7f", "control" },
        { VIR_MIGRATE_PARAM_DEST_NAME, "\xff", "UTF-8" },
        { VIR_MIGRATE_PARAM_DEST_XML, "", "empty" },
        { VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "", "empty" },
        { VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "10.0.0", "neither" },
        { VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "10.0.0.256", "neither" },
        { VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "h2:49152", "neither" },
        { VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "[h2]", "neither" },
        { VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "[::1", "neither" },
        { VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "a b", "neither" },
        { VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "-h2", "neither" },
        { VIR_MIGRATE_PARAM_LISTEN_ADDRESS, "h2..net", "neither" },
        { VIR_MIGRATE_PARAM_GRAPHICS_URI, "", "empty" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(typed) t = { 0 };

        addString(&t, cases[i].name, cases[i].value);
        expectRefused(0, &t, BASE_ERROR_INVALID_ARG, cases[i].name, cases[i].word);
    }
}

static void
testTooLong(void)
{
    static const char *const names[] = {
        VIR_MIGRATE_PARAM_URI, VIR_MIGRATE_PARAM_DEST_NAME, VIR_MIGRATE_PARAM_LISTEN_ADDRESS,
        VIR_MIGRATE_PARAM_GRAPHICS_URI,
    };
    g_autofree char *text = g_strnfill(5000, 'x');

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_auto(typed) t = { 0 };

        addString(&t, names[i], text);
        expectRefused(0, &t, BASE_ERROR_INVALID_ARG, names[i], "longer than");
    }
}

static void
testRefusedUri(void)
{
    g_auto(typed) t = { 0 };

    addString(&t, VIR_MIGRATE_PARAM_URI, "rdma://h2");
    expectRefused(0, &t, BASE_ERROR_UNSUPPORTED, "migrate_uri", "rdma");
}

static void
testAddresses(void)
{
    static const struct {
        const char *given, *taken;
    } cases[] = {
        { "0.0.0.0", "0.0.0.0" },
        { "192.168.1.2", "192.168.1.2" },
        { "::1", "::1" },
        { "[fe80::1]", "fe80::1" },
        { "h2", "h2" },
        { "h2.example.org", "h2.example.org" },
        { "h2.example.org.", "h2.example.org." },
        { "2host", "2host" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(migParams) params = { 0 };
        g_auto(typed) t = { 0 };

        addString(&t, VIR_MIGRATE_PARAM_LISTEN_ADDRESS, cases[i].given);
        expectOk(&params, MIG_CALL_PREPARE, 0, &t);
        g_assert_cmpstr(params.listenAddress, ==, cases[i].taken);
    }
}

static void
testBandwidth(void)
{
    static const struct {
        unsigned long long value;
        bool ok, given;
    } cases[] = {
        /* virDomainMigrateToURI() always passes it, 0 for a caller who has no wish. */
        { 0, true, false }, { 1, true, true }, { 8796093022207ULL, true, true },
        { 8796093022208ULL, false, false }, { G_MAXUINT64, false, false },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(migParams) params = { 0 };
        g_auto(typed) t = { 0 };

        addULLong(&t, VIR_MIGRATE_PARAM_BANDWIDTH, cases[i].value);
        if (cases[i].ok) {
            expectOk(&params, MIG_CALL_PERFORM, 0, &t);
            g_assert_cmpuint(params.bandwidthMiBs, ==, cases[i].value);
            g_assert_true(params.bandwidthGiven == cases[i].given);
        } else {
            expectRefused(0, &t, BASE_ERROR_INVALID_ARG, "'bandwidth'",
                          "between 0 and 8796093022207");
        }
    }
}

static void
testPercentages(void)
{
    static const int values[] = { -1, 0, 100, G_MAXINT, G_MININT };

    for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
        g_auto(typed) t = { 0 };
        g_autofree char *shown = g_strdup_printf(" %d,", values[i]);

        addInt(&t, VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL, values[i]);
        expectRefused(VIR_MIGRATE_AUTO_CONVERGE, &t, BASE_ERROR_INVALID_ARG, "between 1 and 99",
                      shown);
    }
}

/* Each parameter that is not offered is refused by name and with a reason. */
static void
testParamRows(void)
{
    g_assert_cmpuint(migParamRowCount, <=, 64);
    for (size_t i = 0; i < migParamRowCount; i++) {
        const migParamRow *row = &migParamRows[i];
        g_auto(typed) t = { 0 };

        g_assert_true(strlen(row->name) < VIR_TYPED_PARAM_FIELD_LENGTH);
        g_assert_cmpstr(row->text, !=, "");
        g_assert_true(row->refused || row->offset != MIG_NO_FIELD);
        g_assert_true(!row->multiple || row->type == VIR_TYPED_PARAM_STRING);
        g_assert_true(row->refused || !(row->acts & MIG_ACTS_DEST) || row->send != MIG_SEND_NEVER);
        g_assert_true(row->trait == 0 || vmmHas(row->trait));
        if (!row->refused)
            continue;
        if (row->type == VIR_TYPED_PARAM_STRING)
            addString(&t, row->name, "x");
        else if (row->type == VIR_TYPED_PARAM_INT)
            addInt(&t, row->name, 1);
        else
            addULLong(&t, row->name, 1);
        /* Given more than once where libvirt allows that, it is still the refusal that is told. */
        if (row->multiple)
            addString(&t, row->name, "y");
        if (row->requires)
            expectRefused(0, &t, BASE_ERROR_INVALID_ARG, row->name, "needs the flag");
        else
            expectRefused(0, &t, BASE_ERROR_UNSUPPORTED, row->name, row->refused);
    }
}

/* The documentation is what the rows say. */
static void
testDescribe(void)
{
    static const char mark[] = "writes them anew.\n\n";
    const char *root = g_getenv("SV_SOURCE_ROOT");
    g_autofree char *path =
        g_build_filename(root ? root : "../..", "docs/migration-parameters.rst", NULL);
    g_autofree char *text = migParamsDescribe();
    g_autofree char *page = NULL;
    g_autoptr(GError) error = NULL;
    char *tables;

    for (size_t i = 0; i < migFlagRowCount; i++)
        g_assert_nonnull(strstr(text, migFlagRows[i].name));
    for (size_t i = 0; i < migParamRowCount; i++)
        g_assert_nonnull(strstr(text, migParamRows[i].text));

    g_assert_true(g_file_get_contents(path, &page, NULL, &error));
    g_assert_no_error(error);
    tables = strstr(page, mark);
    g_assert_nonnull(tables);
    tables += strlen(mark);
    if (g_getenv("REGENERATE")) {
        g_autofree char *next = g_strdup_printf("%.*s%s", (int)(tables - page), page, text);

        g_assert_true(g_file_set_contents(path, next, -1, NULL));
    } else {
        g_assert_cmpstr(tables, ==, text);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* The typed parameters' functions reset libvirt's last error, which must exist. */
    g_assert_cmpint(virInitialize(), ==, 0);
    g_test_add_func("/params/none", testNone);
    g_test_add_func("/params/flag-rows", testFlagRows);
    g_test_add_func("/params/flags", testFlags);
    g_test_add_func("/params/flag-offline", testFlagOffline);
    g_test_add_func("/params/flags-back", testFlagsBack);
    g_test_add_func("/params/flags-unknown", testFlagsUnknown);
    g_test_add_func("/params/flags-refused", testFlagsRefused);
    g_test_add_func("/params/flags-contradict", testFlagsContradict);
    g_test_add_func("/params/all", testAll);
    g_test_add_func("/params/back", testBack);
    g_test_add_func("/params/flag-taken", testFlagTaken);
    g_test_add_func("/params/persist-xml", testPersistXml);
    g_test_add_func("/params/form", testForm);
    g_test_add_func("/params/texts", testTexts);
    g_test_add_func("/params/too-long", testTooLong);
    g_test_add_func("/params/refused-uri", testRefusedUri);
    g_test_add_func("/params/addresses", testAddresses);
    g_test_add_func("/params/bandwidth", testBandwidth);
    g_test_add_func("/params/percentages", testPercentages);
    g_test_add_func("/params/rows", testParamRows);
    g_test_add_func("/params/describe", testDescribe);
    return g_test_run();
}
