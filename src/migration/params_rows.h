/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* params_rows.h: the rows of flags and typed parameters, for params.c, params_rows.c and their
 * tests */
#pragma once

#include "migration/params.h"

#include <stddef.h>
#include <sys/types.h>

/* Bits and names that libvirt 9.0 lacks or that keep their value for ever; by value, so that one
 * source serves every libvirt. */
#ifndef VIR_MIGRATE_PARAM_COMPRESSION_ZLIB_LEVEL
# define VIR_MIGRATE_PARAM_COMPRESSION_ZLIB_LEVEL "compression.zlib.level"
#endif
#ifndef VIR_MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL
# define VIR_MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL "compression.zstd.level"
#endif
#ifndef VIR_MIGRATE_PARAM_MIGRATE_DISKS_DETECT_ZEROES
# define VIR_MIGRATE_PARAM_MIGRATE_DISKS_DETECT_ZEROES "migrate_disks_detect_zeroes"
#endif
#ifndef VIR_MIGRATE_PARAM_MIGRATE_DISKS_TARGET_ZERO
# define VIR_MIGRATE_PARAM_MIGRATE_DISKS_TARGET_ZERO "migrate_disks_target_zero"
#endif
#ifndef VIR_MIGRATE_PARAM_BANDWIDTH_AVAIL_SWITCHOVER
# define VIR_MIGRATE_PARAM_BANDWIDTH_AVAIL_SWITCHOVER "bandwidth.avail.switchover"
#endif

#define MIG_NO_FIELD (-1)
/* Ours: virsh reaches it through a query of the connection's URI. */
#define MIG_PARAM_DRY_RUN "stratovirt.dry_run"
#define MIG_PARAM_TRANSPORT "stratovirt.transport"

/* What a flag or parameter of migParams has to do with a call on the destination. */
typedef enum {
    MIG_SEND_NEVER,          /* concerns the source alone */
    MIG_SEND_PREPARE,        /* the destination must know it in Prepare */
    MIG_SEND_ALWAYS,         /* in Prepare and in Finish */
} migSend;

typedef struct {
    unsigned long bit;
    const char *name;
    ssize_t offset;              /* of a bool in migParams, or MIG_NO_FIELD */
    migSend send;
    migActs acts;                /* which host acts upon it; both are given it */
    unsigned long excludes;      /* none of these may be given with it */
    unsigned long requires;      /* one of these must be given with it; 0: none */
    const char *refused;         /* a sentence saying why it is not offered; NULL: supported */
    const char *text;
    size_t trait;                /* of a bool in vmmTraits that the VMM must have; 0: none */
} migFlagRow;

typedef struct {
    const char *name;
    int type;                    /* VIR_TYPED_PARAM_STRING, _INT, _ULLONG or _BOOLEAN */
    bool multiple;               /* libvirt allows it more than once; only strings */
    ssize_t offset;              /* char * (multiple: GStrv), int, uint64_t or bool in migParams, or MIG_NO_FIELD */
    uint64_t min, max;           /* of a number; of a string, max is its greatest length in bytes */
    const char *unit;
    migSend send;
    migActs acts;                /* which host acts upon it; both are given it */
    unsigned long requires;      /* a flag that must be given with it; 0: none */
    const char *refused;
    /* A string's own rule; *text may be replaced by a canonical form.  NULL: any text. */
    bool (*check)(const char *name, char **text, GError **error);
    const char *text;
    size_t trait;                /* of a bool in vmmTraits that the VMM must have; 0: none */
    bool (*checkNumber)(const char *name, uint64_t value, GError **error);   /* beside the range; NULL: any */
} migParamRow;

extern const migFlagRow migFlagRows[];
extern const size_t migFlagRowCount;
extern const migParamRow migParamRows[];
extern const size_t migParamRowCount;

/* params.c: the row of a parameter, NULL if there is none; and whether it was given, which 0 and "no" are not. */
const migParamRow *migParamFindRow(const char *name);
bool migParamIsGiven(const migParams *params, const migParamRow *row);

/* params_compress.c: is it a method's name, and offered? */
bool migCompressCheckName(const char *name, char **text, GError **error);
/* All are known: choose the method. */
bool migCompressSettle(migParams *params, GError **error);
const char *migParamTypeName(int type);
