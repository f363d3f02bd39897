/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * progress.h: how fast a migration goes and how long it will take, from what the VMM says now and
 * then
 *
 * Pure arithmetic: no clock, no locks.  An all-zero migProgress is one without samples.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "remote/vmm.h"

#define MIG_PROGRESS_SAMPLES 16

typedef struct {
    gint64 atMs;                 /* monotonic, milliseconds */
    uint64_t transferred;        /* bytes sent since the start */
} migProgressSample;

typedef struct {
    migProgressSample samples[MIG_PROGRESS_SAMPLES];   /* oldest first */
    unsigned count;
    uint64_t total, remaining;   /* bytes, of the latest sample */
    uint64_t left;               /* bytes: the least that ever remained, so that it only becomes less */
    uint64_t vmmSpeed;           /* bytes/s the VMM itself claims; 0: nothing */
    uint64_t dirty;              /* bytes/s the guest writes anew; 0: none or unknown */
    uint64_t iteration;
    unsigned percent;            /* the most ever reached */
    bool completed;
} migProgress;

/** migProgressAdd: note one sample taken at @nowMs. */
void migProgressAdd(migProgress *progress, gint64 nowMs, const vmmMigStatus *status);

/**
 * migProgressToJson, migProgressFromJson: the figures that the source tells the destination now and then, so that
 * both show the same.  The first returns a new object, the second leaves alone what the object does not have.
 */
JsonObject *migProgressToJson(const vmmMigStatus *status);
void migProgressFromJson(JsonObject *body, vmmMigStatus *status);

/** migProgressSpeed: bytes per second over the last seconds; 0 while unknown. */
uint64_t migProgressSpeed(const migProgress *progress);

/**
 * migProgressRemaining: milliseconds until everything is sent, if it goes on like this.
 *
 * False, and *retMs untouched, while that is unknown and when the guest writes its memory at least
 * as fast as it can be sent, so that it will never end.
 */
bool migProgressRemaining(const migProgress *progress, uint64_t *retMs);

/** migProgressConverges: false if enough is known to say that it will not end by itself. */
bool migProgressConverges(const migProgress *progress);

/** migProgressPercent: 0 to 100, never less than before; 100 only when the VMM says that it has
 * completed. */
unsigned migProgressPercent(const migProgress *progress);
