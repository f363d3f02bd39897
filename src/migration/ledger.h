/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ledger.h: the destination's durable memory of migrations: the commit record
 *
 * One small file for each migration in a folder on durable storage.  "pending" is written in
 * Prepare, "committed" before the guest may run, "absent" when no copy can start any more, "unknown" when nobody can find out
 * whether the guest has run, which is no answer; after a restart pending counts as absent.  A source that asks later gets the answer from here. Files and
 * folder are synced before a call returns.  Entries older than the retention time are dropped when
 * the ledger is opened.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "migration/security.h"
#include "remote/hello.h"

typedef struct _migLedger migLedger;

typedef enum { MIG_OUTCOME_PENDING, MIG_OUTCOME_COMMITTED, MIG_OUTCOME_ABSENT, MIG_OUTCOME_UNKNOWN } migOutcome;
const char *migOutcomeName(migOutcome outcome);
bool migOutcomeFromName(const char *name, migOutcome *ret);

typedef struct {
    char *uuid, *domainUuid, *domainName;
    uint8_t token[HELLO_TOKEN_LEN];
    migKeys keys;                    /* how questions must be secured */
    migOutcome outcome;
    gint64 when;                     /* seconds since the epoch */
} migLedgerEntry;

/** migLedgerOpen: read @dir (made if missing); @retainSeconds. Broken files are skipped with a
 * warning, never fatal. */
migLedger *migLedgerOpen(const char *dir, gint64 retainSeconds, GError **error);
void migLedgerFree(migLedger *ledger);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(migLedger, migLedgerFree)
bool migLedgerWrite(migLedger *ledger, const migLedgerEntry *entry, GError **error);
/** migLedgerFind: by migration UUID; *ret is a copy (migLedgerEntryFree). */
bool migLedgerFind(migLedger *ledger, const char *uuid, migLedgerEntry **ret);
/** migLedgerDoubt: after a restart: whether what the entry says will stand is only being found out (@doubt), or is known now.  Any thread. */
void migLedgerDoubt(migLedger *ledger, const char *uuid, bool doubt);
/** migLedgerStands: is it not being found out? */
bool migLedgerStands(migLedger *ledger, const char *uuid);
void migLedgerEntryFree(migLedgerEntry *entry);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(migLedgerEntry, migLedgerEntryFree)
/** migLedgerForEach: @func is called without lock on copies. */
void migLedgerForEach(migLedger *ledger, void (*func)(const migLedgerEntry *entry, void *opaque),
                      void *opaque);
