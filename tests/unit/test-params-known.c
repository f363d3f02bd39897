/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-params-known.c: compression, what a VMM lacks, and everything that libvirt defines */
#include "base/error.h"
#include "migration/params.h"
#include "migration/params_rows.h"

#include "params-expect.h"

#include <libvirt/virterror.h>
#include <string.h>

/* ---- compression --------------------------------------------------------------------------- */

static void
testCompress(void)
{
    static const struct {
        bool parallel;
        const char *method;
        migCompress compress;
        uint64_t cache;
        vmmCompress channels;
    } cases[] = {
        { false, NULL, MIG_COMPRESS_XBZRLE, 1 << 20, VMM_COMPRESS_NONE },
        { false, "xbzrle", MIG_COMPRESS_XBZRLE, 1 << 20, VMM_COMPRESS_NONE },
        { true, NULL, MIG_COMPRESS_ZLIB, 0, VMM_COMPRESS_ZLIB },
        { true, "zlib", MIG_COMPRESS_ZLIB, 0, VMM_COMPRESS_ZLIB },
        { true, "zstd", MIG_COMPRESS_ZSTD, 0, VMM_COMPRESS_ZSTD },
        { false, "zstd", MIG_COMPRESS_RELAY_ZSTD, 0, VMM_COMPRESS_NONE },
        { false, "lz4", MIG_COMPRESS_RELAY_LZ4, 0, VMM_COMPRESS_NONE },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        unsigned long flags = VIR_MIGRATE_COMPRESSED | (cases[i].parallel ? VIR_MIGRATE_PARALLEL : 0);
        g_auto(migParams) params = { 0 };
        g_auto(migParams) again = { 0 };
        g_auto(typed) t = { 0 };
        g_auto(typed) prepare = { 0 };
        vmmMigSpec spec = { 0 };

        if (cases[i].method)
            addString(&t, VIR_MIGRATE_PARAM_COMPRESSION, cases[i].method);
        expectOk(&params, MIG_CALL_BEGIN, flags, &t);
        g_assert_cmpint(params.compress, ==, cases[i].compress);
        migParamsToSpec(&params, 1 << 20, &spec);
        g_assert_cmpuint(spec.xbzrleCacheBytes, ==, cases[i].cache);
        g_assert_cmpint(spec.channelCompress, ==, cases[i].channels);

        /* The destination comes to the same end. */
        g_assert_true(migParamsToTyped(&params, MIG_CALL_PREPARE, NULL, NULL, &prepare.list, &prepare.count, NULL));
        expectOk(&again, MIG_CALL_PREPARE, migParamsFlags(&params, MIG_CALL_PREPARE), &prepare);
        g_assert_cmpint(again.compress, ==, cases[i].compress);
    }
}

static void
testCompressTuning(void)
{
    g_auto(migParams) params = { 0 };
    g_auto(migParams) level = { 0 };
    g_auto(typed) cache = { 0 };
    g_auto(typed) zlib = { 0 };
    vmmMigSpec spec = { 0 };

    addULLong(&cache, VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE, 1 << 16);
    expectOk(&params, MIG_CALL_PERFORM, VIR_MIGRATE_COMPRESSED, &cache);
    migParamsToSpec(&params, 1 << 20, &spec);
    g_assert_cmpuint(spec.xbzrleCacheBytes, ==, 1 << 16);
    expectRefused(0, &cache, BASE_ERROR_INVALID_ARG, "'compression.xbzrle.cache'", "'VIR_MIGRATE_COMPRESSED'");
    expectRefused(VIR_MIGRATE_COMPRESSED | VIR_MIGRATE_PARALLEL, &cache, BASE_ERROR_INVALID_ARG, "belongs to", "'zlib'");

    addInt(&zlib, VIR_MIGRATE_PARAM_COMPRESSION_ZLIB_LEVEL, 9);
    expectOk(&level, MIG_CALL_PERFORM, VIR_MIGRATE_COMPRESSED | VIR_MIGRATE_PARALLEL, &zlib);
    migParamsToSpec(&level, 0, &spec);
    g_assert_cmpuint(spec.compressLevel, ==, 9);
    g_assert_cmpuint(spec.xbzrleCacheBytes, ==, 0);
    expectRefused(VIR_MIGRATE_COMPRESSED, &zlib, BASE_ERROR_INVALID_ARG, "belongs to", "'xbzrle'");
}

static void
testCompressRefused(void)
{
    static const struct {
        unsigned long flags;
        const char *first, *second;
        baseErrorCode code;
        const char *word, *other;
    } cases[] = {
        { 0, "xbzrle", NULL, BASE_ERROR_INVALID_ARG, "'compression'", "'VIR_MIGRATE_COMPRESSED'" },
        { VIR_MIGRATE_COMPRESSED, "mt", NULL, BASE_ERROR_UNSUPPORTED, "'mt'", "given up" },
        { VIR_MIGRATE_COMPRESSED, "lz\n4", NULL, BASE_ERROR_INVALID_ARG, "'lz\\n4'", "no method" },
        { VIR_MIGRATE_COMPRESSED, "xbzrle", "zstd", BASE_ERROR_INVALID_ARG, "'xbzrle'", "'zstd'" },
        { VIR_MIGRATE_COMPRESSED, "xbzrle", "xbzrle", BASE_ERROR_INVALID_ARG, "one method only", "'xbzrle'" },
        { VIR_MIGRATE_COMPRESSED, "zlib", NULL, BASE_ERROR_INVALID_ARG, "'zlib' needs", "'VIR_MIGRATE_PARALLEL'" },
        { VIR_MIGRATE_COMPRESSED | VIR_MIGRATE_PARALLEL, "lz4", NULL, BASE_ERROR_INVALID_ARG, "'lz4' cannot", "'VIR_MIGRATE_PARALLEL'" },
        { VIR_MIGRATE_COMPRESSED | VIR_MIGRATE_PARALLEL, "xbzrle", NULL, BASE_ERROR_INVALID_ARG, "'xbzrle' cannot",
          "'VIR_MIGRATE_PARALLEL'" },
    };
    static const unsigned long long sizes[] = { 0, 1, 4095, 4097, 12288, (1ULL << 40) + 1, 1ULL << 41, G_MAXUINT64 };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(typed) t = { 0 };

        addString(&t, VIR_MIGRATE_PARAM_COMPRESSION, cases[i].first);
        if (cases[i].second)
            addString(&t, VIR_MIGRATE_PARAM_COMPRESSION, cases[i].second);
        expectRefused(cases[i].flags, &t, cases[i].code, cases[i].word, cases[i].other);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_auto(typed) t = { 0 };

        addULLong(&t, VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE, sizes[i]);
        expectRefused(VIR_MIGRATE_COMPRESSED, &t, BASE_ERROR_INVALID_ARG, "'compression.xbzrle.cache'", "between 4096 and");
    }
}

/* What belongs to the relay needs one; the level is for zstd wherever it is done. */
static void
testCompressRelay(void)
{
    g_auto(typed) native = { 0 };
    g_auto(typed) relay = { 0 };
    g_auto(typed) lz4 = { 0 };
    g_auto(typed) spreads = { 0 };
    g_auto(migParams) params = { 0 };
    g_auto(migParams) spreading = { 0 };
    g_autoptr(GError) error = NULL;

    addString(&native, VIR_MIGRATE_PARAM_COMPRESSION, "lz4");
    addString(&native, MIG_PARAM_TRANSPORT, "native");
    expectRefused(VIR_MIGRATE_COMPRESSED, &native, BASE_ERROR_INVALID_ARG, "'lz4' belongs to", "native");
    addString(&relay, VIR_MIGRATE_PARAM_COMPRESSION, "zstd");
    addString(&relay, MIG_PARAM_TRANSPORT, "relay");
    addInt(&relay, VIR_MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL, 7);
    expectOk(&params, MIG_CALL_PERFORM, VIR_MIGRATE_COMPRESSED, &relay);
    g_assert_true(migParamsCompressRelay(&params));
    g_assert_cmpint(params.zstdLevel, ==, 7);
    addString(&lz4, VIR_MIGRATE_PARAM_COMPRESSION, "lz4");
    addInt(&lz4, VIR_MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL, 7);
    expectRefused(VIR_MIGRATE_COMPRESSED, &lz4, BASE_ERROR_INVALID_ARG, "belongs to", "'lz4'");
    /* What spreads one stream over several connections compresses it as well. */
    addString(&spreads, VIR_MIGRATE_PARAM_COMPRESSION, "lz4");
    addString(&spreads, MIG_PARAM_TRANSPORT, "relay");
    expectOk(&spreading, MIG_CALL_PERFORM, VIR_MIGRATE_COMPRESSED | VIR_MIGRATE_PARALLEL, &spreads);
    g_assert_cmpint(spreading.compress, ==, MIG_COMPRESS_RELAY_LZ4);
    g_assert_true(migParamsCompressSpread(&spreading, &error));
    spreading.compress = MIG_COMPRESS_ZSTD;
    g_assert_true(migParamsCompressSpread(&spreading, &error));
    g_assert_cmpint(spreading.compress, ==, MIG_COMPRESS_RELAY_ZSTD);
    spreading.compress = MIG_COMPRESS_ZLIB;
    g_assert_false(migParamsCompressSpread(&spreading, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED);
}

static void
testParallelNative(void)
{
    g_auto(typed) t = { 0 };

    addString(&t, MIG_PARAM_TRANSPORT, "native");
    expectRefused(VIR_MIGRATE_PARALLEL, &t, BASE_ERROR_INVALID_ARG, "'native'", "'VIR_MIGRATE_PARALLEL'");
}

static void
testDryRun(void)
{
    g_auto(migParams) params = { 0 };
    g_auto(migParams) again = { 0 };
    g_auto(typed) t = { 0 };
    g_auto(typed) prepare = { 0 };

    g_assert_cmpint(virTypedParamsAddBoolean(&t.list, &t.count, &t.room, MIG_PARAM_DRY_RUN, 1), ==, 0);
    expectOk(&params, MIG_CALL_BEGIN, 0, &t);
    g_assert_true(params.dryRun);
    g_assert_true(migParamsToTyped(&params, MIG_CALL_PREPARE, NULL, NULL, &prepare.list, &prepare.count, NULL));
    expectOk(&again, MIG_CALL_PREPARE, 0, &prepare);
    g_assert_true(again.dryRun);
}

/* ---- what the VMM lacks -------------------------------------------------------------------- */

static void
testLacking(void)
{
    const vmmTraits none = { .name = "none" };
    const vmmTraits all = { .name = "all", .canAutoConverge = true, .canXbzrle = true, .canParallel = true,
                            .canLimitSpeed = true };
    g_auto(migParams) params = { 0 };
    g_auto(typed) t = { 0 };
    g_autoptr(GPtrArray) source = NULL;
    g_autoptr(GPtrArray) dest = NULL;
    g_autoptr(GPtrArray) nothing = NULL;

    addULLong(&t, VIR_MIGRATE_PARAM_BANDWIDTH, 1);
    expectOk(&params, MIG_CALL_BEGIN, VIR_MIGRATE_LIVE | VIR_MIGRATE_AUTO_CONVERGE | VIR_MIGRATE_PARALLEL, &t);
    source = migParamsLacking(&params, &none, MIG_ACTS_SOURCE);
    /* Of the others the relay makes up for them. */
    g_assert_cmpuint(source->len, ==, 1);
    g_assert_cmpstr(source->pdata[0], ==, "VIR_MIGRATE_AUTO_CONVERGE");
    params.compressed = true;
    params.compress = MIG_COMPRESS_XBZRLE;
    dest = migParamsLacking(&params, &none, MIG_ACTS_DEST);
    g_assert_cmpuint(dest->len, ==, 1);
    g_assert_cmpstr(dest->pdata[0], ==, "VIR_MIGRATE_COMPRESSED");
    params.compress = MIG_COMPRESS_RELAY_ZSTD;
    g_ptr_array_unref(dest);
    dest = migParamsLacking(&params, &none, MIG_ACTS_DEST);
    g_assert_cmpuint(dest->len, ==, 0);
    nothing = migParamsLacking(&params, &all, MIG_ACTS_BOTH);
    g_assert_cmpuint(nothing->len, ==, 0);
}

/* ---- everything that libvirt defines ------------------------------------------------------- */

/* Of libvirt 11.3, in the order of its header. */
static const char *const params113[] = {
    "migrate_uri", "destination_name", "destination_xml", "persistent_xml", "bandwidth", "bandwidth.postcopy",
    "bandwidth.avail.switchover", "graphics_uri", "listen_address", "migrate_disks", "migrate_disks_detect_zeroes",
    "migrate_disks_target_zero", "disks_port", "disks_uri", "compression", "compression.mt.level",
    "compression.mt.threads", "compression.mt.dthreads", "compression.xbzrle.cache", "compression.zlib.level",
    "compression.zstd.level", "auto_converge.initial", "auto_converge.increment", "parallel.connections",
    "tls.destination",
};

static void
testKnown(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(params113); i++)
        g_assert_nonnull(migParamFindRow(params113[i]));
}

static unsigned
countFlagsOf(const char *header)
{
    g_autoptr(GRegex) regex = g_regex_new("(VIR_MIGRATE_[A-Z0-9_]+)\\s*=\\s*\\(1 << ([0-9]+)\\)", 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    unsigned count = 0;

    for (g_regex_match(regex, header, 0, &match); g_match_info_matches(match); g_match_info_next(match, NULL)) {
        g_autofree char *name = g_match_info_fetch(match, 1);
        g_autofree char *bit = g_match_info_fetch(match, 2);
        guint64 index = g_ascii_strtoull(bit, NULL, 10);

        g_assert_cmpuint(index, <, migFlagRowCount);
        g_assert_cmpstr(migFlagRows[index].name, ==, name);
        count++;
    }
    return count;
}

static unsigned
countParamsOf(const char *header)
{
    g_autoptr(GRegex) regex = g_regex_new("# *define +VIR_MIGRATE_PARAM_[A-Z0-9_]+ +\"([^\"]+)\"", 0, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    unsigned count = 0;

    for (g_regex_match(regex, header, 0, &match); g_match_info_matches(match); g_match_info_next(match, NULL)) {
        g_autofree char *name = g_match_info_fetch(match, 1);

        if (!migParamFindRow(name))
            g_error("libvirt's migration parameter '%s' has no row", name);
        count++;
    }
    return count;
}

/* The header that this is built with has nothing that has no row: works, or is refused with a reason. */
static void
testHeader(void)
{
    static const char *const places[] = {
        "/usr/include/libvirt/libvirt-domain.h", "/usr/local/include/libvirt/libvirt-domain.h",
    };
    g_autofree char *header = NULL;

    for (size_t i = 0; !header && i < G_N_ELEMENTS(places); i++)
        g_file_get_contents(places[i], &header, NULL, NULL);
    if (!header) {
        g_test_skip("libvirt's header is elsewhere");
        return;
    }
    g_assert_cmpuint(countFlagsOf(header), >=, 21);
    g_assert_cmpuint(countParamsOf(header), >=, 20);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    /* The typed parameters' functions reset libvirt's last error, which must exist. */
    g_assert_cmpint(virInitialize(), ==, 0);
    g_test_add_func("/params/compress", testCompress);
    g_test_add_func("/params/compress-tuning", testCompressTuning);
    g_test_add_func("/params/compress-refused", testCompressRefused);
    g_test_add_func("/params/compress-relay", testCompressRelay);
    g_test_add_func("/params/parallel-native", testParallelNative);
    g_test_add_func("/params/dry-run", testDryRun);
    g_test_add_func("/params/lacking", testLacking);
    g_test_add_func("/params/known", testKnown);
    g_test_add_func("/params/header", testHeader);
    return g_test_run();
}
