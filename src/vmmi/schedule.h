/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* schedule.h: the convergence schedule: what to do at once, and what when the migration does not come to its end */
#pragma once

#include <json-glib/json-glib.h>
#include <stdbool.h>

#include "vmmi/sample.h"

typedef enum { VMMI_ACT_SET_DOWNTIME, VMMI_ACT_POSTCOPY, VMMI_ACT_ABORT } vmmiActKind;

typedef struct {
    vmmiActKind kind;
    uint64_t downtimeMs;
} vmmiAction;

typedef struct _vmmiSchedule vmmiSchedule;

/* From a configuration's object 'schedule' (NULL: nothing ever happens). VMMI_MALFORMED_CONFIGURATION names the entry. */
vmmiSchedule *vmmiScheduleNew(JsonObject *from, GError **error);
void vmmiScheduleFree(vmmiSchedule *schedule);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(vmmiSchedule, vmmiScheduleFree)

bool vmmiScheduleWantsPostcopy(const vmmiSchedule *schedule);
/* The next action of 'init' that was not given out yet, or NULL. */
const vmmiAction *vmmiScheduleInit(vmmiSchedule *schedule);
/*
 * Takes a sample of a running migration. Returns the action that is due, at most one, or NULL; nothing is due while an iteration
 * lasts, so that each action has one to show its effect, and any more after post-copy or abort was given out. Iterations are the VMM's rounds since the first one seen, or, if it does not count them, samples
 * with more data remaining than in the one before. *why says what made it due, for g_free().
 */
const vmmiAction *vmmiScheduleStep(vmmiSchedule *schedule, const vmmiSample *sample, char **why);

/* The post-copy or abort that was given out could not be done: the schedule goes on. */
void vmmiScheduleThaw(vmmiSchedule *schedule);

const char *vmmiActName(vmmiActKind kind);
