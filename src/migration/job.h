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
    MIG_SIGNAL_SLOT      = 1 << 8,   /* its place in the line before the gate has changed */
    MIG_SIGNAL_OFFER     = 1 << 9,   /* versions 1 and 2: the source's offer (destination) or its answer (source) has come */
    MIG_SIGNAL_OUTCOME   = 1 << 10,  /* versions 1 and 2, source: the destination told how it ended */
    MIG_SIGNAL_LEASE     = 1 << 11,  /* nobody has claimed it (destination) or finished it (source) for too long */
} migSignal;

typedef enum { MIG_RESULT_RUNNING, MIG_RESULT_COMPLETED, MIG_RESULT_FAILED, MIG_RESULT_CANCELLED } migResult;

/* Figures for people and programs.  Milliseconds, bytes, bytes per second. */
typedef struct {
    migSide side;
    migPhase phase;
    int saveOperation;           /* no migration at all: VIR_DOMAIN_JOB_OPERATION_SAVE or _RESTORE; else 0 */
    migResult result;
    char *errorText;
    char *transport;             /* "native", ... */
    char *peer;                  /* "h2 (10.0.0.2:49152)" */
    char *cipher;                /* "TLS 1.3, AES-128-GCM"; NULL: none */
    char *peerIdentity;          /* with a cipher: "certificate of h2" */
    uint64_t elapsedMs;
    uint64_t downtimeMs;
    bool downtimeFinal;          /* measured, not expected */
    bool hasControlMs;
    uint64_t controlMs;          /* how long the coordinator took from the end of Perform to the begin of Finish */
    uint64_t wireBytes;          /* a relay: what it has sent; 0: unknown */
    uint64_t left;               /* bytes: the least that ever remained */
    bool hasRemainingMs;
    uint64_t remainingMs;        /* estimated */
    uint64_t setupMs;
    uint64_t maxDowntimeMs;
    unsigned queuePosition;      /* 0: it does not wait; 1: next in line */
    unsigned queueOthers, queueLimit;   /* while it waits: migrations before it, slots */
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
/** migJobVersion: of libvirt's protocol: 1, 2 or 3 (with and without extensible parameters). */
unsigned migJobVersion(migJob *job);
/** migJobSetVersion: source: before the migration begins; 3 if not called. */
void migJobSetVersion(migJob *job, unsigned version);
/** migJobSetConn: before the migration begins (source) or is prepared (destination): of what kind the libvirt connection is that asks
 * for it; one that anybody can alter if not called. */
void migJobSetConn(migJob *job, migConn conn);
/** migJobParams: what the migration was begun or prepared with.  Runner only. */
const migParams *migJobParams(migJob *job);
/** migJobSetHost: runner: give a job that was made without one its domain, or take it away (NULL): then over() is not called. */
void migJobSetHost(migJob *job, void *host, GDestroyNotify hostFree);
/** migJobFiles: destination, prepared: does the guest come by way of files?  Constant. */
bool migJobFiles(const migJob *job);
/** migJobSetVmm: runner: what VMM this side has; for a job that is found again after a restart. */
void migJobSetVmm(migJob *job, const vmmTraits *vmm);
migPhase migJobPhase(migJob *job);

/** migJobEnter: become the runner; waits for another one.  Not with a domain locked. */
void migJobEnter(migJob *job);
/** migJobTryEnter: the same, but false if there is another one. */
bool migJobTryEnter(migJob *job);
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

/**
 * migJobTakeSlot: runner only: wait until one more guest may leave (arrive at) this host.  At once if the job has its slot.
 * The wait ends with the first error: BASE_ERROR_BUSY (too many wait), BASE_ERROR_ABORTED (by a user), BASE_ERROR_OPERATION_FAILED (the
 * coordinator, the link, the VMM or the daemon ended).  Signals that are not about the wait stay posted.
 */
bool migJobTakeSlot(migJob *job, GError **error);
/** migJobJoinLine: the first half of it: BASE_ERROR_BUSY or a slot or a place in the line, without waiting. */
bool migJobJoinLine(migJob *job, GError **error);
/** migJobLeaveSlot: give back the slot or the place in the line, if there is one.  Any thread, any lock but the job's own. */
void migJobLeaveSlot(migJob *job);
/**
 * migJobAskTurn: source, runner, with the link up and its own slot taken: wait until the destination has a slot as well.  For
 * protocols whose Prepare comes before the source's slot can be taken (versions 1 and 2), and therefore must not
 * call migJobTakeSlot(), see gate.h.  Errors as there.
 */
bool migJobAskTurn(migJob *job, GError **error);
/** migJobTurnAsked: destination, any thread: the source asks for it over the link; the answer goes there. */
void migJobTurnAsked(migJob *job);
/** migJobStopFd: readable while a signal that ends every wait (abort, coordinator or VMM gone) is posted; the job's. */
int migJobStopFd(migJob *job);

/** migJobGetStats: a copy; never waits for anything. */
void migJobGetStats(migJob *job, migStats *ret);
/** migJobAbort: post ABORT if the phase allows it; BASE_ERROR_OPERATION_INVALID says why not. */
bool migJobAbort(migJob *job, GError **error);
/** migJobAbortAsked: did a user ask, whatever has become of it? */
bool migJobAbortAsked(migJob *job);
/** migJobSetTuning: new speed (bytes/s) and downtime for the statistics; the VMM has been told already. */
void migJobSetTuning(migJob *job, uint64_t maxDowntimeMs);
/**
 * migJobSetSpeed: source, when the data has begun to go or later: a new limit, bytes/s, 0: none.  Any thread, any lock.
 * True: the relay keeps it, and the VMM is to be told that there is none; false: there is no relay.
 */
bool migJobSetSpeed(migJob *job, uint64_t bytesPerSecond);
/** migJobFinishAdmin: runner only; an administrator's word brought the job to a final phase: end it. */
void migJobFinishAdmin(migJob *job);
/** migJobErrorText: the error that ended the job, for messages; caller frees; NULL if none. */
char *migJobErrorText(migJob *job);
