/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stream of a guest that goes by way of files, as another host would send it. */
#include "fuzz.h"

#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "remote/snapshot.h"

#define LIMIT_US (20 * G_USEC_PER_SEC)

static char *
snapshotUri(const char *folder, unsigned long version G_GNUC_UNUSED, GError **error G_GNUC_UNUSED)
{
    return g_strdup(folder);
}

static const vmmSnapshotOps snapshotOps = { .stateName = "state", .memoryName = "memory", .incomingUri = snapshotUri };
static const vmmTraits snapshotTraits = { .name = "fuzz", .snapshot = &snapshotOps };

static char *parent;
static GMutex lock;
static GCond cond;
static unsigned changes;

static void
snapshotChanged(void *opaque G_GNUC_UNUSED)
{
    g_mutex_lock(&lock);
    changes++;
    g_cond_signal(&cond);
    g_mutex_unlock(&lock);
}

static void
snapshotAwaitChange(unsigned seen, gint64 end)
{
    g_mutex_lock(&lock);
    while (changes == seen)
        g_assert_true(g_cond_wait_until(&cond, &lock, end));
    g_mutex_unlock(&lock);
}

static unsigned
snapshotCountChanges(void)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&lock);

    return changes;
}

/* It always comes to an end, and one that is no success has a reason. */
static vmmMigState
snapshotAwait(snapshot *snap, uint64_t *retMemory)
{
    gint64 end = g_get_monotonic_time() + LIMIT_US;
    vmmMigStatus status = { 0 };
    vmmMigState state;

    for (;;) {
        unsigned seen = snapshotCountChanges();

        snapshotLook(snap, &status);
        if (status.state == VMM_MIG_COMPLETED || status.state == VMM_MIG_FAILED)
            break;
        vmmMigStatusClear(&status);
        snapshotAwaitChange(seen, end);
    }
    state = status.state;
    *retMemory = status.ramTransferred;
    g_assert_true(state == VMM_MIG_COMPLETED || (status.errorText && g_utf8_validate(status.errorText, -1, NULL)));
    vmmMigStatusClear(&status);
    return state;
}

/* What the VMM would be started from. */
static void
snapshotCheck(snapshot *snap, uint64_t memory)
{
    g_autofree char *folder = snapshotIncoming(snap, 0, NULL);
    g_autofree char *path = g_build_filename(folder, "memory", NULL);
    GStatBuf st;

    g_assert_cmpint(g_stat(path, &st), ==, 0);
    g_assert_cmpuint((uint64_t)st.st_size, ==, memory);
    g_assert_cmpuint(memory, >, 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int pair[2];
    uint64_t memory = 0;
    snapshotSpec spec = { .vmm = &snapshotTraits, .parent = parent, .memoryBytes = 4096, .changed = snapshotChanged };
    g_autoptr(GError) error = NULL;
    snapshot *snap;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
    spec.fd = pair[1];
    snap = snapshotReceive(&spec, &error);
    g_assert_no_error(error);
    baseFdClose(pair[1]);
    while (size > 0) {
        /* Whoever has read enough to refuse it hangs up. */
        ssize_t n = send(pair[0], data, size, MSG_NOSIGNAL);

        if (n <= 0)
            break;
        data += n;
        size -= (size_t)n;
    }
    shutdown(pair[0], SHUT_WR);
    if (snapshotAwait(snap, &memory) == VMM_MIG_COMPLETED)
        snapshotCheck(snap, memory);
    snapshotFree(snap);
    baseFdClose(pair[0]);
    return 0;
}

static void
snapshotTidy(void)
{
    gint64 end = g_get_monotonic_time() + LIMIT_US;

    /* Its threads end by themselves. */
    while (g_rmdir(parent) < 0 && g_get_monotonic_time() < end)
        g_usleep(1000);
    g_free(parent);
}

void
fuzzSetUp(void)
{
    parent = g_dir_make_tmp("fuzz-snapshot-XXXXXX", NULL);
    g_assert_nonnull(parent);
    atexit(snapshotTidy);
}

/* ---- seeds ------------------------------------------------------------------------------------------------------ */

static void
seedBlock(GByteArray *to, uint32_t kind, uint32_t len, const void *bytes, size_t count)
{
    guint32 head[2] = { GUINT32_TO_BE(kind), GUINT32_TO_BE(len) };

    g_byte_array_append(to, (const guint8 *)head, sizeof(head));
    g_byte_array_append(to, bytes, (guint)count);
}

/* Made by hand, since only a VMM makes the sender write. */
void
fuzzSeeds(const char *folder)
{
    static const guint8 bytes[64] = { 1, 2, 3 };
    g_autoptr(GByteArray) out = g_byte_array_new();
    guint64 sums[2] = { GUINT64_TO_BE(sizeof(bytes)), GUINT64_TO_BE(sizeof(bytes) + 4096) };

    g_byte_array_append(out, (const guint8 *)SNAPSHOT_MAGIC, (guint)strlen(SNAPSHOT_MAGIC));
    seedBlock(out, 1, sizeof(bytes), bytes, sizeof(bytes));
    seedBlock(out, 2, sizeof(bytes), bytes, sizeof(bytes));
    seedBlock(out, 3, 4096, NULL, 0);
    seedBlock(out, 4, sizeof(sums), sums, sizeof(sums));
    fuzzSeed(folder, "whole", out->data, out->len);
}
