/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * job.h: one migration on one side
 *
 * Theory of operation: a job is moved by one thread at a time, its runner: an API call between
 * migJobEnter() and migJobLeave(), or, when something happens while no call is running, a thread made
 * for the occasion.  Everybody else only posts signals, which needs nothing but the job's leaf lock
 * and may be done with a domain locked or from the I/O thread.  Only the runner fires events, so
 * phases change one after the other, each saved before its action runs.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "migration/ops.h"
#include "migration/phase.h"
#include "remote/link.h"

typedef struct _migJob migJob;

/* Things that happen to a job from outside; a set. */
typedef enum {
    MIG_SIGNAL_ABORT     = 1 << 0,   /* a user asked to stop */
    MIG_SIGNAL_LOST      = 1 << 1,   /* the coordinator's connection is gone */
    MIG_SIGNAL_LINK_LOST = 1 << 2,
    MIG_SIGNAL_VMM       = 1 << 3,   /* the VMM's migration state may have changed */
    MIG_SIGNAL_VMM_GONE  = 1 << 4,
    MIG_SIGNAL_RESOLVE   = 1 << 5,   /* somebody waits for the outcome */
    MIG_SIGNAL_PEER_ERROR = 1 << 6,  /* the other side told an error */
    MIG_SIGNAL_IO_ERROR  = 1 << 7,   /* a disk error stopped the guest */
} migSignal;

typedef enum { MIG_RESULT_RUNNING, MIG_RESULT_COMPLETED, MIG_RESULT_FAILED, MIG_RESULT_CANCELLED } migResult;

/* Figures for people and programs.  Milliseconds, bytes, bytes per second. */
typedef struct {
    migSide side;
    migPhase phase;
    migResult result;
    char *errorText;
    char *transport;             /* "native", ... */
    char *peer;                  /* "h2 (10.0.0.2:49152)" */
    uint64_t elapsedMs;
    uint64_t downtimeMs;
    bool downtimeFinal;          /* measured, not expected */
    bool hasRemainingMs;
    uint64_t remainingMs;        /* estimated */
    uint64_t setupMs;
    uint64_t maxDowntimeMs;
    vmmMigStatus vmm;
} migStats;

void migStatsClear(migStats *stats);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(migStats, migStatsClear)

/**
 * migJobNew: a job at rest (idle or absent).
 * @record: copied; uuid NULL makes a new one; phase is taken as it is (recovery hands in a saved one)
 * @env: must outlive the job; @host is released with @hostFree when the last reference goes
 */
migJob *migJobNew(const migEnv *env, const migRecord *record, const migHostOps *ops,
                  void *host, GDestroyNotify hostFree);
migJob *migJobRef(migJob *job);
void migJobUnref(migJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(migJob, migJobUnref)

const char *migJobUuid(migJob *job);
migPhase migJobPhase(migJob *job);

/** migJobEnter: become the runner; waits for another one.  Not with a domain locked. */
void migJobEnter(migJob *job);
/** migJobLeave: stop being it; signals that came meanwhile are served by a thread of their own. */
void migJobLeave(migJob *job);

/**
 * migJobFire: the one place where a phase changes.  Runner only.
 *
 * Finds the row, saves the new phase, runs the row's action.  False if there is no row or if a phase that must not be
 * entered unsaved could not be saved: then the phase has not changed and no action was run.
 */
bool migJobFire(migJob *job, migEvent event, GError **error);

/** migJobPost: tell the job that something happened.  Any thread, any lock, never blocks. */
void migJobPost(migJob *job, migSignal signal);
/** migJobWait: runner only; wait up to @ms for signals and take them (0 on time-out). */
unsigned migJobWait(migJob *job, unsigned ms);
/** migJobServe: act on signals while no call is in progress; given by source.c and dest.c. */
void migJobServe(migJob *job, unsigned signals);

/** migJobGetStats: a copy; never waits for anything. */
void migJobGetStats(migJob *job, migStats *ret);
/** migJobAbort: post ABORT if the phase allows it; BASE_ERROR_OPERATION_INVALID says why not. */
bool migJobAbort(migJob *job, GError **error);
/** migJobSetTuning: new speed (bytes/s) and downtime for the statistics; the VMM has been told already. */
void migJobSetTuning(migJob *job, uint64_t maxDowntimeMs);
/** migJobFinishAdmin: runner only; an administrator's word brought the job to a final phase: end it. */
void migJobFinishAdmin(migJob *job);
/** migJobErrorText: the error that ended the job, for messages; caller frees; NULL if none. */
char *migJobErrorText(migJob *job);
