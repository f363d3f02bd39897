/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cookie.h: what the two daemons tell each other through the coordinator
 *
 * An XML element <stratovirt-migration version='1' compatible='1'> with one child per section; each
 * section is one row of the table in cookie_sections.c (element, since, which step writes it,
 * required by the reader in that step, format, parse). Unknown elements are skipped unless marked
 * mandatory='yes' by the sender.  Text is NUL-terminated on the wire, at most 1 MiB.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "migration/security.h"
#include "migration/storage.h"
#include "remote/hello.h"

typedef enum {
    MIG_STEP_BEGIN,      /* source -> destination (Prepare) */
    MIG_STEP_PREPARE,    /* destination -> source (Perform) */
    MIG_STEP_PERFORM,    /* source -> destination (Finish) */
    MIG_STEP_FINISH,     /* destination -> source (Confirm) */
} migStep;

typedef struct {
    /* section <migration>: always */
    char *uuid;                  /* of this migration, canonical text */
    char *domainUuid;
    char *domainName;            /* name on the source */
    /* section <host>: always; of the writer */
    char *hostName;
    char *hostUuid;
    char *bootId;                /* the kernel's: equal only on the very same running host */
    char *instance;              /* random, made anew by each driver instance's state directory */
    /* section <vmm>: begin and prepare; of the writer */
    char *vmmName;
    unsigned long vmmVersion;
    char *machine;
    char *arch;
    bool tcg;
    /* section <capacity>: begin */
    uint64_t memoryKiB;
    uint64_t residentKiB;        /* that its VMM occupies; 0: unknown */
    unsigned vcpus;
    unsigned connections;        /* that carry the stream; 0: unknown */
    /* section <listen>: prepare */
    GStrv addresses;             /* candidates in order of preference, numeric or names */
    unsigned port;
    unsigned askPort;            /* where the outcome can be asked as well; 0: nowhere else */
    uint8_t token[HELLO_TOKEN_LEN];
    bool hasToken;
    /* section <channel>: begin and prepare: what the writer has and wants for the way of the data; without it: nothing of it */
    migWayFacts way;
    bool hasWay;
    migChannel channel;          /* prepare: what the destination has decided; MIG_CHANNEL_NONE: not yet */
    migKeys keys;
    /* section <files>: begin: the guest goes by way of its VMM's files, see files.h */
    bool files;
    /* section <cpu>: begin */
    char *hostCpu;               /* what the guest sees of the source's processor; NULL: nothing */
    /* section <storage>: begin: the source's disks; prepare: the same with the destination's answers; NULL: none to prove */
    GPtrArray *disks;            /* migDisk, a reference */
    /* section <dry-run>: begin: nothing is to be started; what stands in the way on the source */
    bool dryRun;
    GPtrArray *reasons;          /* char *, whole sentences */
    char *reasonsCode;           /* the worst of them, a name of check.c; NULL: there are none */
    unsigned checks;             /* that the source made */
    /* section <persistent>: perform: definition for PERSIST_DEST */
    char *persistentXml;
    /* section <statistics>: perform and finish; milliseconds, bytes */
    bool hasStats;
    uint64_t statsTotalMs, statsDowntimeMs, statsSetupMs, statsBytesTotal, statsBytesMoved,
        statsIteration, statsBps, statsNormal, statsConstant, statsPageSize;
    /* section <outcome>: finish */
    char *outcome;               /* "committed" */
} migCookie;

/* The cookies of one call as libvirt hands them over and wants them back; lengths include the final
 * NUL. */
typedef struct {
    const char *in;
    int inLen;
    char **out;                  /* the caller frees what is put there */
    int *outLen;
} migCookieIo;

void migCookieFree(migCookie *cookie);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(migCookie, migCookieFree)

/** migCookieFormat: the text for @step, and its length including the final NUL; caller frees. */
char *migCookieFormat(const migCookie *cookie, migStep step, int *retLen);
/**
 * migCookieParse: the other way.  @len as libvirt gave it.  Refuses (BASE_ERROR_XML /
 * BASE_ERROR_UNSUPPORTED) a missing or empty cookie, one without final NUL, too long, not XML, with
 * a DOCTYPE or entities, foreign root, incompatible version, unknown mandatory section, missing
 * required section or value out of range; the message names the step and the section.  No network,
 * no external entities.
 */
migCookie *migCookieParse(const char *text, int len, migStep step, GError **error);
