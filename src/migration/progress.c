/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * progress.c: speed, time left and percentage of a migration
 *
 * Theory of operation: the speed is measured over a window of a few seconds: long enough for the
 * VMM's own burstiness to vanish, short enough to follow a network that changes.  While 'remaining'
 * bytes are sent, the guest makes 'dirty' bytes a second dirty again, and these must be sent too,
 * and so on; the sum of that series is remaining / (speed - dirty).
 */
#include "migration/progress.h"
#include "remote/json.h"

#include <string.h>

#define WINDOW_MS 5000
#define WINDOW_LEAST_MS 200
#define SPACING_MS (WINDOW_MS / (MIG_PROGRESS_SAMPLES - 2))

static void
progressAddSample(migProgress *progress, gint64 nowMs, uint64_t transferred)
{
    migProgressSample *samples = progress->samples;
    unsigned drop = 0;

    if (progress->count > 0) {
        const migProgressSample *last = &samples[progress->count - 1];

        /* A new start, or a clock that went backwards: what was measured before says nothing. */
        if (transferred < last->transferred || nowMs < last->atMs)
            progress->count = 0;
        else if (nowMs == last->atMs)
            progress->count--;
        /* Asked so often that the window would not fit: the latest replaces the one before. */
        else if (progress->count > 1 && last->atMs - last[-1].atMs < SPACING_MS)
            progress->count--;
    }
    /* Of the samples older than the window one is kept, to measure from. */
    while (drop + 1 < progress->count && nowMs - samples[drop + 1].atMs >= WINDOW_MS)
        drop++;
    if (progress->count - drop == MIG_PROGRESS_SAMPLES)
        drop++;
    memmove(samples, samples + drop, (progress->count - drop) * sizeof(*samples));
    progress->count -= drop;
    samples[progress->count].atMs = nowMs;
    samples[progress->count].transferred = transferred;
    progress->count++;
}

void
migProgressAdd(migProgress *progress, gint64 nowMs, const vmmMigStatus *status)
{
    uint64_t total = status->ramTotal + status->diskTotal;
    uint64_t remaining = status->ramRemaining + status->diskRemaining;

    progressAddSample(progress, nowMs, status->ramTransferred + status->diskTransferred);
    if (progress->total != total || remaining < progress->left)
        progress->left = remaining;
    progress->total = total;
    progress->remaining = remaining;
    progress->vmmSpeed = status->ramBps;
    progress->dirty = status->ramDirtyPagesPerSecond * status->ramPageSize;
    progress->iteration = status->ramIteration;
    progress->completed = status->state == VMM_MIG_COMPLETED;

    if (progress->completed) {
        progress->percent = 100;
    } else if (total > 0) {
        uint64_t done = total - MIN(remaining, total);
        unsigned percent = (unsigned)((double)done * 100.0 / (double)total);

        progress->percent = MAX(progress->percent, MIN(percent, 99));
    }
}

uint64_t
migProgressSpeed(const migProgress *progress)
{
    const migProgressSample *first = &progress->samples[0];
    const migProgressSample *last;

    if (progress->count < 2)
        return progress->vmmSpeed;
    last = &progress->samples[progress->count - 1];
    if (last->atMs - first->atMs < WINDOW_LEAST_MS)
        return progress->vmmSpeed;
    return (uint64_t)((double)(last->transferred - first->transferred) * 1000.0 /
                      (double)(last->atMs - first->atMs));
}

bool
migProgressConverges(const migProgress *progress)
{
    uint64_t speed = migProgressSpeed(progress);

    return progress->completed || speed == 0 || progress->dirty < speed;
}

bool
migProgressRemaining(const migProgress *progress, uint64_t *retMs)
{
    uint64_t speed = migProgressSpeed(progress);

    if (progress->completed) {
        *retMs = 0;
        return true;
    }
    if (progress->total == 0 || speed == 0 || progress->dirty >= speed)
        return false;
    *retMs = (uint64_t)((double)progress->remaining * 1000.0 / (double)(speed - progress->dirty));
    return true;
}

unsigned
migProgressPercent(const migProgress *progress)
{
    return progress->percent;
}

/* What goes over the link; the names are part of it. */
static const struct {
    const char *name;
    size_t offset;               /* of a uint64_t in vmmMigStatus */
} wireRows[] = {
    { "total", G_STRUCT_OFFSET(vmmMigStatus, ramTotal) },
    { "transferred", G_STRUCT_OFFSET(vmmMigStatus, ramTransferred) },
    { "remaining", G_STRUCT_OFFSET(vmmMigStatus, ramRemaining) },
    { "constant-pages", G_STRUCT_OFFSET(vmmMigStatus, ramDuplicatePages) },
    { "normal-pages", G_STRUCT_OFFSET(vmmMigStatus, ramNormalPages) },
    { "normal-bytes", G_STRUCT_OFFSET(vmmMigStatus, ramNormalBytes) },
    { "iteration", G_STRUCT_OFFSET(vmmMigStatus, ramIteration) },
    { "bps", G_STRUCT_OFFSET(vmmMigStatus, ramBps) },
    { "dirty-pages-per-second", G_STRUCT_OFFSET(vmmMigStatus, ramDirtyPagesPerSecond) },
    { "page-size", G_STRUCT_OFFSET(vmmMigStatus, ramPageSize) },
    { "disk-total", G_STRUCT_OFFSET(vmmMigStatus, diskTotal) },
    { "disk-transferred", G_STRUCT_OFFSET(vmmMigStatus, diskTransferred) },
    { "disk-remaining", G_STRUCT_OFFSET(vmmMigStatus, diskRemaining) },
    { "setup-ms", G_STRUCT_OFFSET(vmmMigStatus, setupMs) },
    { "expected-downtime-ms", G_STRUCT_OFFSET(vmmMigStatus, expectedDowntimeMs) },
    { "throttle-percent", G_STRUCT_OFFSET(vmmMigStatus, cpuThrottlePercent) },
    { "cache-bytes", G_STRUCT_OFFSET(vmmMigStatus, cacheBytes) },
    { "cache-sent-bytes", G_STRUCT_OFFSET(vmmMigStatus, cacheSentBytes) },
    { "cache-sent-pages", G_STRUCT_OFFSET(vmmMigStatus, cacheSentPages) },
    { "cache-misses", G_STRUCT_OFFSET(vmmMigStatus, cacheMisses) },
    { "cache-overflows", G_STRUCT_OFFSET(vmmMigStatus, cacheOverflows) },
};

JsonObject *
migProgressToJson(const vmmMigStatus *status)
{
    JsonObject *body = json_object_new();
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(wireRows); i++) {
        const uint64_t *value = G_STRUCT_MEMBER_P(status, wireRows[i].offset);

        json_object_set_int_member(body, wireRows[i].name, (gint64)MIN(*value, (uint64_t)G_MAXINT64));
    }
    return body;
}

void
migProgressFromJson(JsonObject *body, vmmMigStatus *status)
{
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(wireRows); i++) {
        uint64_t *value = G_STRUCT_MEMBER_P(status, wireRows[i].offset);
        gint64 told = jsonGetInt(body, wireRows[i].name, -1);

        if (told >= 0)
            *value = (uint64_t)told;
    }
}
