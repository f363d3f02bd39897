/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run.h: what is the same in every helper; a policy is a row of these functions
 *
 * Threads: the main one reads signals and writes messages; a second does what libvirt is asked to, and calls the policy; a third
 * sits in the call that migrates; a fourth serves libvirt's events. A policy needs no locks.
 */
#pragma once

#include <stdbool.h>

#include "vmmi/config.h"
#include "vmmi/sample.h"
#include "vmmi/schedule.h"

typedef struct _vmmiRun vmmiRun;

typedef struct {
    const char *name;
    /* virDomainMigrateFlags beside VIR_MIGRATE_LIVE and VIR_MIGRATE_PEER2PEER that the policy uses where driver, VMM and configuration let
     * it; those that they do not have are dropped, with a note. */
    unsigned long wishes;
    bool persistent;
    /* Reads its part of the configuration, before anything is touched. */
    bool (*configure)(vmmiRun *run, GError **error);
    /* Once, as soon as the job exists; an error ends the migration, unless it was adopted. May be NULL, as the next. */
    bool (*begin)(vmmiRun *run, GError **error);
    /* At every monitorInterval while the job runs. Errors are noted. */
    bool (*step)(vmmiRun *run, const vmmiSample *sample, GError **error);
} vmmiPolicy;

/* A helper's main(): the exit status, 0 with the completion of a success, else 1. */
int vmmiMain(const vmmiPolicy *policy, int argc, char **argv);

/* For policies. */
const vmmiConfig *vmmiRunConfig(vmmiRun *run);
/* The policy's own data, which live as long as the process. */
void vmmiRunSetState(vmmiRun *run, void *state);
void *vmmiRunState(vmmiRun *run);
/* One more wish; in configure() only. */
void vmmiRunWish(vmmiRun *run, unsigned long flag);
/* Whether the migration was started with this flag. False for one that was adopted, whose flags nobody tells. */
bool vmmiRunHas(vmmiRun *run, unsigned long flag);
bool vmmiRunAdopted(vmmiRun *run);
/* Does it, and remembers it with its reason for the status. */
bool vmmiRunAct(vmmiRun *run, const vmmiAction *action, const char *why, GError **error);
/* A remark for the status, the completion and the log. */
void vmmiRunNote(vmmiRun *run, const char *format, ...) G_GNUC_PRINTF(2, 3);
