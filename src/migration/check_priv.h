/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check_priv.h: what check.c shares with the rows of the source (check_source.c) and of the destination (check_dest.c) */
#pragma once

#include "base/error.h"
#include "migration/check.h"

typedef struct {
    GPtrArray *texts;            /* whole sentences, owned */
    baseErrorCode code;          /* of the first that the user cannot override, else UNSAFE */
} migCheckList;

typedef struct {
    const migSourceFacts *source;
    const migDestFacts *dest;
    const migCookie *remote;
    const migParams *params;
} migCheckInput;

typedef struct {
    const char *name;            /* for the documentation and tests */
    baseErrorCode code;          /* BASE_ERROR_UNSAFE: the user may override it */
    void (*judge)(const migCheckInput *in, baseErrorCode code, migCheckList *list);
    const char *text;            /* what is so if it passes; for the documentation */
} migCheckRow;

/* All that are asked, in this order. */
extern const migCheckRow migCheckSourceRows[], migCheckDestRows[];
extern const size_t migCheckSourceCount, migCheckDestCount;

/** migCheckAdd: one more reason, a whole sentence; @code: of the row, or BASE_ERROR_UNSAFE. */
void migCheckAdd(migCheckList *list, baseErrorCode code, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* What both sides ask. */

/** migCheckDefect: a known defect of this VMM (may be NULL). @files: the guest goes by way of them. */
void migCheckDefect(const vmmInfo *vmm, bool tcg, bool files, const migParams *params, migCheckList *list);
/** migCheckSocketPath: several connections, and a VMM that takes no descriptor, go through a socket beside that of the VMM's control. */
void migCheckSocketPath(const char *path, const vmmInfo *vmm, bool spreads, const migCheckInput *in, baseErrorCode code,
                        migCheckList *list);
/** migCheckLacking: by the rows of the flags and parameters. */
void migCheckLacking(const vmmInfo *vmm, migActs acts, const migCheckInput *in, baseErrorCode code, migCheckList *list);
