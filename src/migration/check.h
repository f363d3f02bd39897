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
    unsigned vcpus;
    bool active, paused, autodestroy, persistent;
    unsigned snapshots;              /* count */
    const char *job;                 /* name of another job that runs, NULL if none */
    bool diskError;                  /* a disk stopped the guest */
    GPtrArray *deviceBlockers;       /* char*: devices that cannot move, described; may be NULL */
    const vmmInfo *vmm;
    bool tcg;
    const char *machine, *arch;
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
} migDestFacts;

/** migCheckSource: true if nothing is in the way, else one error listing every reason.  If the user
 * could override all of them, the code is BASE_ERROR_UNSAFE; the rows in check.c have the others.
 */
bool migCheckSource(const migSourceFacts *facts, const migParams *params, GError **error);
/** migCheckDest: @remote is the source's Begin cookie. */
bool migCheckDest(const migDestFacts *facts, const migCookie *remote, const migParams *params,
                  GError **error);
