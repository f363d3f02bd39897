/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ledger.c: commit records on disk
 *
 * Theory of operation: a record is written to a new file, synced, and renamed over the old one, and
 * then the folder is synced; so after a crash the old or the new record is there, never a torn one,
 * and what a call has reported as written is still there.  The table in memory changes only after
 * that, so nobody is told what a crash could undo.
 */
#include "migration/ledger.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/lock.h"
#include "remote/json.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#define LOG_FOLDER "migration"
#include "base/log.h"
#include "base/gettext.h"

#define LEDGER_SUFFIX ".json"
#define LEDGER_NEW ".new"
#define LEDGER_FILE_MAX (64 * 1024)
#define LEDGER_FORMAT 1

struct _migLedger {
    char *dir;
    int dirFd;
    GMutex writeLock;            /* one writer at a time; held while the disk works */
    GMutex lock;                 /* guards 'entries'; a leaf, never held over I/O */
    GHashTable *entries;         /* uuid -> migLedgerEntry, both owned by the entry */
    GHashTable *doubtful;        /* uuid: see migLedgerDoubt() */
};

static const char *const outcomeNames[] = {
    [MIG_OUTCOME_PENDING] = "pending",
    [MIG_OUTCOME_COMMITTED] = "committed",
    [MIG_OUTCOME_ABSENT] = "absent",
    [MIG_OUTCOME_UNKNOWN] = "unknown",
};

const char *
migOutcomeName(migOutcome outcome)
{
    return (unsigned)outcome < G_N_ELEMENTS(outcomeNames) ? outcomeNames[outcome] : "?";
}

bool
migOutcomeFromName(const char *name, migOutcome *ret)
{
    for (size_t i = 0; name && i < G_N_ELEMENTS(outcomeNames); i++) {
        if (g_str_equal(outcomeNames[i], name)) {
            *ret = (migOutcome)i;
            return true;
        }
    }
    return false;
}

void
migLedgerEntryFree(migLedgerEntry *entry)
{
    if (!entry)
        return;
    g_free(entry->uuid);
    g_free(entry->domainUuid);
    g_free(entry->domainName);
    g_free(entry);
}

static migLedgerEntry *
entryCopy(const migLedgerEntry *entry)
{
    migLedgerEntry *copy = g_new0(migLedgerEntry, 1);

    *copy = *entry;
    copy->uuid = g_strdup(entry->uuid);
    copy->domainUuid = g_strdup(entry->domainUuid);
    copy->domainName = g_strdup(entry->domainName);
    return copy;
}

/* ---- one file ---- */

static char *
entryFormat(const migLedgerEntry *entry, size_t *retLen)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autofree char *token = helloTokenToHex(entry->token);

    json_object_set_int_member(object, "format", LEDGER_FORMAT);
    json_object_set_string_member(object, "uuid", entry->uuid);
    if (entry->domainUuid)
        json_object_set_string_member(object, "domain-uuid", entry->domainUuid);
    if (entry->domainName)
        json_object_set_string_member(object, "domain-name", entry->domainName);
    json_object_set_string_member(object, "token", token);
    if (entry->keys)
        json_object_set_string_member(object, "keys", migKeysToString(entry->keys));
    json_object_set_string_member(object, "outcome", migOutcomeName(entry->outcome));
    json_object_set_int_member(object, "when", entry->when);
    return jsonFormatObject(object, retLen);
}

static migLedgerEntry *
entryParse(const char *text, size_t len, const char *uuid, GError **error)
{
    g_autoptr(JsonObject) object = jsonParseObject(text, len, error);
    g_autoptr(migLedgerEntry) entry = g_new0(migLedgerEntry, 1);
    const char *token;

    if (!object)
        return NULL;
    token = jsonGetString(object, "token", NULL);
    if (jsonGetInt(object, "format", 0) != LEDGER_FORMAT ||
        !g_str_equal(jsonGetString(object, "uuid", ""), uuid) ||
        !token || !helloTokenFromHex(token, entry->token) ||
        !migKeysFromString(jsonGetString(object, "keys", "none"), &entry->keys) ||
        !migOutcomeFromName(jsonGetString(object, "outcome", NULL), &entry->outcome)) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                            _("It is not a record of a migration."));
        return NULL;
    }
    entry->uuid = g_strdup(uuid);
    entry->domainUuid = g_strdup(jsonGetString(object, "domain-uuid", NULL));
    entry->domainName = g_strdup(jsonGetString(object, "domain-name", NULL));
    entry->when = jsonGetInt(object, "when", 0);
    return g_steal_pointer(&entry);
}

static bool
ledgerWriteAll(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, text, len);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return false;
        text += done;
        len -= done;
    }
    return true;
}

static bool
ledgerWriteFile(migLedger *ledger, const char *name, const char *text, bool committed, GError **error)
{
    g_autofree char *newName = g_strconcat(name, LEDGER_NEW, NULL);
    g_auto(baseFd) fd =
        openat(ledger->dirFd, newName, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
               S_IRUSR | S_IWUSR);
    int saved = 0;

    if (fd < 0 || !ledgerWriteAll(fd, text, strlen(text)) || fsync(fd) < 0 ||
        renameat(ledger->dirFd, newName, ledger->dirFd, name) < 0) {
        saved = errno;
    } else if (fsync(ledger->dirFd) < 0) {
        saved = errno;
        /* The caller acts as if it had not been written, so a commit must not be read after a restart; no record is no answer. */
        if (committed)
            unlinkat(ledger->dirFd, name, 0);
    }
    if (saved) {
        unlinkat(ledger->dirFd, newName, 0);
        baseSetErrno(error, saved, _("The record '%1$s/%2$s' of a migration could not be written"),
                     ledger->dir, name);
        return false;
    }
    return true;
}

/* ---- opening ---- */

static bool
ledgerReadFile(migLedger *ledger, const char *name, char **retText, size_t *retLen, GError **error)
{
    g_autofree char *text = g_malloc(LEDGER_FILE_MAX + 1);
    g_auto(baseFd) fd = openat(ledger->dirFd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    size_t len = 0;
    ssize_t got = -1;

    while (fd >= 0 && len <= LEDGER_FILE_MAX) {
        got = read(fd, text + len, LEDGER_FILE_MAX + 1 - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += got;
    }
    if (got < 0) {
        baseSetErrno(error, errno, _("The file '%1$s/%2$s' could not be read"), ledger->dir, name);
        return false;
    }
    if (len > LEDGER_FILE_MAX) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The file '%1$s/%2$s' is too large."), ledger->dir, name);
        return false;
    }
    *retText = g_steal_pointer(&text);
    *retLen = len;
    return true;
}

static void
ledgerLoadFile(migLedger *ledger, const char *name, gint64 oldest)
{
    g_autofree char *uuid = g_strndup(name, strlen(name) - strlen(LEDGER_SUFFIX));
    g_autoptr(migLedgerEntry) entry = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;
    size_t len;

    if (!g_uuid_string_is_valid(uuid) || !ledgerReadFile(ledger, name, &text, &len, &error) ||
        !(entry = entryParse(text, len, uuid, &error))) {
        g_warning("The record '%s/%s' of a migration is not usable: %s, ignoring", ledger->dir,
                  name, error ? error->message : "not the name of one");
        return;
    }
    if (entry->when < oldest) {
        if (unlinkat(ledger->dirFd, name, 0) < 0)
            g_warning("The old record '%s/%s' could not be removed: %s, ignoring", ledger->dir,
                      name, g_strerror(errno));
        return;
    }
    g_hash_table_replace(ledger->entries, entry->uuid, entry);
    g_steal_pointer(&entry);
}

static bool
ledgerLoad(migLedger *ledger, gint64 oldest, GError **error)
{
    g_autoptr(GDir) dir = g_dir_open(ledger->dir, 0, error);
    const char *name;

    if (!dir)
        return false;
    while ((name = g_dir_read_name(dir))) {
        /* A writer that was killed; the record it meant to replace stands. */
        if (g_str_has_suffix(name, LEDGER_NEW))
            unlinkat(ledger->dirFd, name, 0);
        else if (g_str_has_suffix(name, LEDGER_SUFFIX))
            ledgerLoadFile(ledger, name, oldest);
    }
    return true;
}

migLedger *
migLedgerOpen(const char *dir, gint64 retainSeconds, GError **error)
{
    g_autoptr(migLedger) ledger = g_new0(migLedger, 1);

    ledger->dir = g_strdup(dir);
    ledger->dirFd = -1;
    g_mutex_init(&ledger->writeLock);
    g_mutex_init(&ledger->lock);
    ledger->doubtful = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    ledger->entries =
        g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)migLedgerEntryFree);

    if (g_mkdir_with_parents(dir, S_IRWXU) < 0) {
        baseSetErrno(error, errno,
                     _("The folder '%1$s' for records of migrations could not be made"), dir);
        return NULL;
    }
    ledger->dirFd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ledger->dirFd < 0) {
        baseSetErrno(error, errno,
                     _("The folder '%1$s' for records of migrations could not be opened"), dir);
        return NULL;
    }
    if (!ledgerLoad(ledger, g_get_real_time() / G_USEC_PER_SEC - retainSeconds, error))
        return NULL;
    return g_steal_pointer(&ledger);
}

void
migLedgerFree(migLedger *ledger)
{
    if (!ledger)
        return;
    g_hash_table_unref(ledger->entries);
    g_hash_table_unref(ledger->doubtful);
    baseFdClose(ledger->dirFd);
    g_mutex_clear(&ledger->writeLock);
    g_mutex_clear(&ledger->lock);
    g_free(ledger->dir);
    g_free(ledger);
}

/* ---- use ---- */

bool
migLedgerWrite(migLedger *ledger, const migLedgerEntry *entry, GError **error)
{
    g_autoptr(migLedgerEntry) copy = entryCopy(entry);
    g_autofree char *text = NULL;
    g_autofree char *name = NULL;
    size_t len;

    /* The name of the file is made of it. */
    if (!entry->uuid || !g_uuid_string_is_valid(entry->uuid)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INTERNAL,
                    _("'%1$s' is not the UUID of a migration."), entry->uuid ? entry->uuid : "");
        return false;
    }
    text = entryFormat(entry, &len);
    name = g_strconcat(entry->uuid, LEDGER_SUFFIX, NULL);

    {
        BASE_LOCK(&ledger->writeLock);

        if (!ledgerWriteFile(ledger, name, text, entry->outcome == MIG_OUTCOME_COMMITTED, error))
            return false;
        g_mutex_lock(&ledger->lock);
        g_hash_table_replace(ledger->entries, copy->uuid, copy);
        g_steal_pointer(&copy);
        g_mutex_unlock(&ledger->lock);
    }
    return true;
}

bool
migLedgerFind(migLedger *ledger, const char *uuid, migLedgerEntry **ret)
{
    BASE_LOCK(&ledger->lock);
    migLedgerEntry *entry = uuid ? g_hash_table_lookup(ledger->entries, uuid) : NULL;

    if (entry)
        *ret = entryCopy(entry);
    return entry != NULL;
}

void
migLedgerForEach(migLedger *ledger, void (*func)(const migLedgerEntry *entry, void *opaque),
                 void *opaque)
{
    g_autoptr(GPtrArray) copies =
        g_ptr_array_new_with_free_func((GDestroyNotify)migLedgerEntryFree);
    GHashTableIter iter;
    gpointer value;

    g_mutex_lock(&ledger->lock);
    g_hash_table_iter_init(&iter, ledger->entries);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        g_ptr_array_add(copies, entryCopy(value));
    g_mutex_unlock(&ledger->lock);

    for (guint i = 0; i < copies->len; i++)
        func(g_ptr_array_index(copies, i), opaque);
}

void
migLedgerDoubt(migLedger *ledger, const char *uuid, bool doubt)
{
    BASE_LOCK(&ledger->lock);

    if (doubt)
        g_hash_table_add(ledger->doubtful, g_strdup(uuid));
    else
        g_hash_table_remove(ledger->doubtful, uuid);
}

bool
migLedgerStands(migLedger *ledger, const char *uuid)
{
    BASE_LOCK(&ledger->lock);

    return !g_hash_table_contains(ledger->doubtful, uuid);
}
