/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check.h: reasons why a guest cannot migrate, one row each
 *
 * The driver gathers plain facts; the rows judge them; all failures are reported together.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/cookie.h"
#include "migration/params.h"
#include "remote/vmm.h"

typedef struct {
    const char *domainName, *domainUuid;
    uint64_t memoryKiB;
    uint64_t residentKiB;            /* what its VMM occupies; 0: unknown */
    unsigned vcpus;
    bool active, paused, autodestroy, persistent;
    unsigned snapshots;              /* count */
    const char *job;                 /* name of another job that runs, NULL if none */
    bool diskError;                  /* a disk stopped the guest */
    GPtrArray *deviceBlockers;       /* char*: devices that cannot move, described; may be NULL */
    const vmmInfo *vmm;
    bool tcg;
    const char *machine, *arch;
    char *hostCpu;                   /* what it sees of this host's processor; NULL: nothing */
    GPtrArray *disks;                /* migDisk: those that must be proved; may be NULL */
    GPtrArray *unflushed;            /* char *: targets of disks that the VMM never writes back to; may be NULL */
    const char *channelPath;         /* of the socket for several connections; NULL: unknown */
    const char *throttleTrouble;     /* why this host cannot slow it down, half a sentence; NULL: it can, or need not */
    GPtrArray *texts;                /* char *: what the pointers to const above refer to; NULL: they are the caller's */
} migSourceFacts;

typedef struct {
    const char *hostUuid, *bootId, *instance, *hostName;
    const vmmInfo *vmm;
    const char *machine, *arch;      /* of the definition here */
    bool tcg;
    bool nameTaken;                  /* by another domain */
    bool uuidActive;                 /* this UUID runs or migrates already */
    bool nameDiffers;                /* this UUID is defined under another name */
    const char *existingName;
    bool emulatorMissing;
    const char *emulator;
    uint64_t memoryKiB;              /* of the definition */
    unsigned vcpus, maxVcpus;
    uint64_t hostMemoryKiB;          /* that this host has; 0: unknown */
    uint64_t freeMemoryKiB;          /* available now, with swap; 0: unknown */
    const char *cpuModel;            /* that the definition names; NULL: none */
    const char *cpuTrouble;          /* why this host's processor will not do for it; NULL: it will */
    bool cpuMaximum;                 /* it asks for all that the VMM can offer */
    const char *channel;             /* dry run: which channel the data would take, and why, a whole sentence; NULL: none */
    const char *channelTrouble;      /* dry run: why there is none that may be taken, whole sentences; NULL: there is */
    const char *portTrouble;         /* dry run: why no source could connect, a whole sentence; NULL: one could */
    const char *hostCpu;             /* of this host, as in migSourceFacts */
    const char *channelPath;         /* the same as there, or what it is at least as long as */
    GPtrArray *missing;              /* char *: what the devices need and this host lacks, whole sentences; may be NULL */
    GPtrArray *unproved;             /* char *: of migStorageProve(); may be NULL */
} migDestFacts;

/** migCheckSource: true if nothing is in the way, else one error listing every reason.  If the user
 * could override all of them, the code is BASE_ERROR_UNSAFE; the rows in check_source.c and check_dest.c have the others.
 */
bool migCheckSource(const migSourceFacts *facts, const migParams *params, GError **error);
/** migCheckSourceDry: for a dry run: put the reasons, and that it is one, into @cookie for the destination. */
void migCheckSourceDry(const migSourceFacts *facts, const migParams *params, migCookie *cookie);
/** migCheckDescribe: the tables of docs/migration-checks.rst, made from the rows; caller frees. */
char *migCheckDescribe(void);
/**
 * migCheckDest: @remote is the source's Begin cookie.
 *
 * Of a dry run it is always an error: the reasons of both hosts, or BASE_ERROR_ABORTED with the good news.
 */
bool migCheckDest(const migDestFacts *facts, const migCookie *remote, const migParams *params,
                  GError **error);
