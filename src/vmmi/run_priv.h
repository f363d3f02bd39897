/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* run_priv.h: a run, for the files run*.c */
#pragma once

#include "vmmi/args.h"
#include "vmmi/run.h"

struct _vmmiRun {
    const vmmiPolicy *policy;
    vmmiArgs args;
    vmmiConfig *config;
    void *state;
    /* Of the worker alone. */
    virConnectPtr conn;
    virDomainPtr domain;
    /* The same guest by a connection of its own, for the thread in the call that migrates: in the client of libvirt 9.0 calls of two
     * threads by one connection can miss each other and wait for the next keep-alive. */
    virDomainPtr callDomain;
    bool ran;                   /* the guest ran when it was found */
    unsigned long needs;        /* flags that the configuration demands */
    unsigned long wishes;       /* flags that may be dropped, and were not */
    bool begun;                 /* the policy's begin() was called */
    GError *problem;            /* why we aborted it ourselves */
    gint64 abortSince;          /* monotonic, 0: no abort is wanted */
    bool abortSent;
    gint64 nextStep;

    GMutex lock;
    GCond changed;
    /* Under lock. */
    const char *phase;
    bool started;               /* the call that migrates was made, or a migration adopted */
    bool seen;                  /* its job was seen */
    bool adopted;
    bool interrupt;             /* the manager wants it aborted */
    bool lost;                  /* the connection */
    bool stoppedMigrated, stoppedOther;
    bool callDone;
    int callCode;               /* virErrorNumber; VIR_ERR_OK: success */
    char *callText;
    vmmiSample sample;
    uint64_t downtimeLimitMs;
    GPtrArray *decisions, *notes;   /* of char* */
    bool finished;
    GError *result;             /* NULL with finished: success */

    int doneFd;                 /* eventfd: finished */
};

/* run_work.c: the worker thread: opens, finds, adopts or starts, watches until the end; sets result. */
void *vmmiRunWork(void *opaque);
void vmmiRunPhase(vmmiRun *run, const char *phase);

/* run_start.c */
/* Flags from policy and configuration. VMMI_CONFIGURATION_FAILED if they contradict each other. */
bool vmmiStartFlags(vmmiRun *run, GError **error);
/* Starts the thread that calls virDomainMigrateToURI3(); callDone tells when it came back. */
void vmmiStartCall(vmmiRun *run);
/* After a call that failed with this error before anything was sent: drops one wish that may be the cause. False if there is none. */
bool vmmiStartDrop(vmmiRun *run, int code, const char *text);
/* True if the error says that driver or VMM lack something. */
bool vmmiStartLacks(int code);

/* run_status.c: the body of a status message, and of a success */
JsonObject *vmmiRunStatus(vmmiRun *run);
JsonObject *vmmiRunSuccess(vmmiRun *run, bool left);
