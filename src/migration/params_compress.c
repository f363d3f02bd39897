/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* params_compress.c: which method compresses, one row each, and what the VMM is told of it */
#include "base/error.h"
#include "migration/params_rows.h"

#include <string.h>

#include "base/gettext.h"

static const struct {
    const char *name;
    migCompress method;
    bool parallel;               /* over several connections, else over one */
    bool relay;                  /* by the relay, so not where there is none */
    const char *tuning;          /* the parameter that makes sense with this method alone */
    const char *refused;
} methodRows[] = {
    { "xbzrle", MIG_COMPRESS_XBZRLE, false, false, VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE, NULL },
    { "zlib", MIG_COMPRESS_ZLIB, true, false, VIR_MIGRATE_PARAM_COMPRESSION_ZLIB_LEVEL, NULL },
    { "zstd", MIG_COMPRESS_ZSTD, true, false, VIR_MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL, NULL },
    { "zstd", MIG_COMPRESS_RELAY_ZSTD, false, true, VIR_MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL, NULL },
    { "lz4", MIG_COMPRESS_RELAY_LZ4, false, true, NULL, NULL },
    { "mt", MIG_COMPRESS_NONE, false, false, NULL,
      N_("VMMs have given up compression with several threads of their own; use 'xbzrle', or 'zlib' or 'zstd' with "
         "VIR_MIGRATE_PARALLEL.") },
};

/* Several connections of the VMM's own: not if the relay is named, see migRelaySpreads(). */
static bool
methodParallel(const migParams *params)
{
    return params->parallel && g_strcmp0(params->transport, "relay") != 0;
}

/* One that goes with @parallel if there is one. */
static size_t
methodFind(const char *name, bool parallel)
{
    size_t found = G_N_ELEMENTS(methodRows);

    for (size_t i = 0; i < G_N_ELEMENTS(methodRows); i++) {
        if (g_str_equal(methodRows[i].name, name) && (found == G_N_ELEMENTS(methodRows) || methodRows[i].parallel == parallel))
            found = i;
    }
    return found;
}

bool
migCompressCheckName(const char *name, char **text, GError **error)
{
    size_t i = methodFind(*text, false);

    if (i == G_N_ELEMENTS(methodRows)) {
        g_autofree char *shown = g_strescape(*text, NULL);

        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration parameter '%1$s' is '%2$s', which is no method of compression; there are 'xbzrle', "
                      "'zstd', 'lz4' and 'zlib'."),
                    name, shown);
        return false;
    }
    if (methodRows[i].refused) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED, _("The method of compression '%1$s' is not supported. %2$s"),
                    *text, _(methodRows[i].refused));
        return false;
    }
    return true;
}

/* The one method that was asked for, or what is best where none was. */
static bool
methodChoose(const migParams *params, size_t *ret, GError **error)
{
    size_t i;

    if (!params->compression) {
        *ret = methodFind(methodParallel(params) ? "zlib" : "xbzrle", methodParallel(params));
        return true;
    }
    i = methodFind(params->compression[0], methodParallel(params));
    if (params->compression[1]) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("Memory is compressed with one method only, but both '%1$s' and '%2$s' were asked for."),
                    params->compression[0], params->compression[1]);
        return false;
    }
    if (methodRows[i].parallel != methodParallel(params)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    methodRows[i].parallel ?
                    _("The method of compression '%1$s' needs the flag '%2$s'.") :
                    _("The method of compression '%1$s' cannot be used with the flag '%2$s'."),
                    methodRows[i].name, "VIR_MIGRATE_PARALLEL");
        return false;
    }
    *ret = i;
    return true;
}

static bool
methodCheckTransport(const migParams *params, size_t method, GError **error)
{
    if (!methodRows[method].relay || g_strcmp0(params->transport, "native") != 0)
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("The method of compression '%1$s' belongs to the relay, so it cannot be used with '%2$s'."), methodRows[method].name,
                MIG_PARAM_TRANSPORT "=native");
    return false;
}

bool
migCompressSettle(migParams *params, GError **error)
{
    size_t chosen;

    if (!params->compressed)
        return true;
    if (!methodChoose(params, &chosen, error) || !methodCheckTransport(params, chosen, error))
        return false;
    for (size_t i = 0; i < G_N_ELEMENTS(methodRows); i++) {
        const char *tuning = methodRows[i].tuning;

        if (!tuning || g_strcmp0(tuning, methodRows[chosen].tuning) == 0 || !migParamIsGiven(params, migParamFindRow(tuning)))
            continue;
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration parameter '%1$s' belongs to the method of compression '%2$s', but '%3$s' is used."),
                    tuning, methodRows[i].name, methodRows[chosen].name);
        return false;
    }
    params->compress = methodRows[chosen].method;
    return true;
}

bool
migParamsCompressRelay(const migParams *params)
{
    return params->compress == MIG_COMPRESS_RELAY_ZSTD || params->compress == MIG_COMPRESS_RELAY_LZ4;
}

bool
migParamsCompressSpread(migParams *params, GError **error)
{
    if (params->compress == MIG_COMPRESS_ZSTD)
        params->compress = MIG_COMPRESS_RELAY_ZSTD;
    if (params->compress != MIG_COMPRESS_ZLIB)
        return true;
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                        _("The VMM sends over one connection, which the relay spreads over several; it compresses with 'zstd' or 'lz4', "
                          "but not with 'zlib'."));
    return false;
}

void
migParamsToSpec(const migParams *params, uint64_t cacheBytes, vmmMigSpec *spec)
{
    spec->live = params->live;
    spec->autoConverge = params->autoConverge;
    spec->autoConvergeInitial = (unsigned)params->autoConvergeInitial;
    spec->autoConvergeIncrement = (unsigned)params->autoConvergeIncrement;
    spec->xbzrleCacheBytes = 0;
    spec->channelCompress = VMM_COMPRESS_NONE;
    spec->compressLevel = 0;
    switch (params->compress) {
    case MIG_COMPRESS_NONE:
    case MIG_COMPRESS_RELAY_ZSTD:
    case MIG_COMPRESS_RELAY_LZ4:
        break;
    case MIG_COMPRESS_XBZRLE:
        spec->xbzrleCacheBytes = params->xbzrleCacheBytes ? params->xbzrleCacheBytes : cacheBytes;
        break;
    case MIG_COMPRESS_ZLIB:
        spec->channelCompress = VMM_COMPRESS_ZLIB;
        spec->compressLevel = (unsigned)params->zlibLevel;
        break;
    case MIG_COMPRESS_ZSTD:
        spec->channelCompress = VMM_COMPRESS_ZSTD;
        spec->compressLevel = (unsigned)params->zstdLevel;
        break;
    }
}
