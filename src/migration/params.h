/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * params.h: libvirt's migration flags and typed parameters, turned once into a plain struct
 *
 * Each flag and each parameter is one row in params_rows.c; validation, the documentation page and the
 * tests come from the rows.  Below the API entry points nobody sees a flags word.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <libvirt/libvirt.h>

#include "remote/vmm.h"

/* How memory is compressed. */
typedef enum {
    MIG_COMPRESS_NONE, MIG_COMPRESS_XBZRLE, MIG_COMPRESS_ZLIB, MIG_COMPRESS_ZSTD,
    MIG_COMPRESS_RELAY_ZSTD, MIG_COMPRESS_RELAY_LZ4,     /* not by the VMM but on the way */
} migCompress;

typedef struct {
    /* flags */
    bool live, peer2peer, tunnelled, persistDest, undefineSource, paused;
    bool changeProtection, unsafe, offline, compressed, abortOnError, autoConverge;
    bool tls, parallel, secure;
    /* typed parameters; strings owned */
    char *uri, *destName, *destXml, *persistXml, *graphicsUri, *listenAddress, *tlsDestination, *transport;
    uint64_t bandwidthMiBs;         /* 0 = not given: unlimited or what was set before */
    bool bandwidthGiven;
    int autoConvergeInitial, autoConvergeIncrement;      /* percent, 0 = not given */
    GStrv compression;              /* the methods' names as given; owned */
    uint64_t xbzrleCacheBytes;      /* 0 = not given */
    int zlibLevel, zstdLevel;       /* 0 = not given */
    int parallelConnections;
    bool dryRun;
    /* what follows from the above */
    migCompress compress;
} migParams;

/* Which host acts upon a flag or parameter. */
typedef enum { MIG_ACTS_SOURCE = 1, MIG_ACTS_DEST = 2, MIG_ACTS_BOTH = 3 } migActs;

typedef enum {
    MIG_CALL_BEGIN, MIG_CALL_PREPARE, MIG_CALL_PERFORM, MIG_CALL_FINISH, MIG_CALL_CONFIRM,
} migCall;

void migParamsClear(migParams *params);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(migParams, migParamsClear)

/**
 * migParamsParse: decode and check everything before any side effect.
 *
 * @flags: all bits that libvirt may hand over for @call, on that side; the destination is given
 * every
 *     flag but ABORT_ON_ERROR and AUTO_CONVERGE
 * @params, @nparams: may be NULL/0; unknown names, wrong types, duplicates and values out of range
 *     are refused by name
 * Errors: BASE_ERROR_INVALID_ARG (malformed, contradictory), BASE_ERROR_UNSUPPORTED (known but not
 * offered, with the reason); *ret is untouched then.
 */
bool migParamsParse(migParams *ret, migCall call, unsigned long flags,
                    virTypedParameterPtr params, int nparams, GError **error);
/** migParamsToTyped: parameters for the remote Prepare (with @destXml) / Finish of a peer-to-peer
 * migration; caller frees with virTypedParamsFree. */
bool migParamsToTyped(const migParams *params, migCall call, const char *destXml,
                      const char *destName, virTypedParameterPtr *ret, int *nret, GError **error);
/** migParamsFlags: the flags word for @call on the other side (destination: without ABORT_ON_ERROR
 * and AUTO_CONVERGE). */
unsigned long migParamsFlags(const migParams *params, migCall call);
/**
 * migParamsLacking: what was asked for and @traits' VMM has no means for, as far as the host @acts acts upon it.
 * Names of flags and parameters, not owned; the array is the caller's.
 */
GPtrArray *migParamsLacking(const migParams *params, const vmmTraits *traits, migActs acts);
/**
 * migParamsToSpec: put what concerns the VMM into *spec: live, auto-converge, compression.
 * @cacheBytes: of the cache of xbzrle when the parameters say nothing
 */
void migParamsToSpec(const migParams *params, uint64_t cacheBytes, vmmMigSpec *spec);
/** migParamsCompressRelay: is it the relay that compresses? */
bool migParamsCompressRelay(const migParams *params);
/** migParamsCompressSpread: the VMM makes one connection although several were asked for, so the relay compresses;
 * BASE_ERROR_UNSUPPORTED: that method it does not have. */
bool migParamsCompressSpread(migParams *params, GError **error);
/** migParamsCheckCache: can a cache for xbzrle have this size? Errors: BASE_ERROR_INVALID_ARG, which calls it @name. */
bool migParamsCheckCache(const char *name, uint64_t bytes, GError **error);
/** migParamsDescribe: the tables of the documentation page, made from the rows; caller frees. */
char *migParamsDescribe(void);
