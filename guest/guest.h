/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest that proves a migration: parameters, console, workload.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "frozen.h"

/* What the kernel command line asked for; see README.md. */
typedef struct {
    unsigned memMiB;     /* memory to fill and verify */
    unsigned dirtyMiBps; /* memory to rewrite per second */
    unsigned tickMs;     /* time between two counts */
    unsigned printMs;    /* time between two tick lines */
    unsigned reportMs;   /* time between two reports */
    unsigned dutyPercent; /* of a processor, for verifying and rewriting memory */
    unsigned passMs;      /* from one beginning of verifying to the next, at least */
    unsigned corruptS;   /* alter a byte of memory after so many seconds; 0: never */
    char disk[64];       /* block device to write to, empty for none */
    char also[128];      /* more consoles, comma separated names below /dev */
} guestParams;

extern guestParams params;

/* Monotonic time of the guest in microseconds. */
uint64_t nowUs(void);

/* Starts a detached thread; exits the program when that fails. priority > 0: real time. */
void threadStart(void *(*run)(void *), void *arg, int priority);

/* Reads the value of "name=" from the command line into *ret; leaves it alone when absent. */
void paramNumber(const char *cmdline, const char *name, unsigned *ret);
void paramString(const char *cmdline, const char *name, char *ret, unsigned size);

/* Opens the consoles and starts to obey lines read from them. */
void consoleInit(void);

/* Queues one line for every console. Never blocks: a console that nobody reads loses lines,
 * which dropped counts. */
void consoleLine(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t consoleDropped(void);

/* Waits up to two seconds for queued lines to leave. */
void consoleDrain(void);

/* Sets all workload threads going. */
void workloadStart(void);

/* Prints the SV-REPORT line now. */
void workloadReport(void);

/* Changes the dirty rate, in MiB/s. */
void workloadSetDirty(unsigned mibps);

/* Alters one byte of memory: whoever watches the reports must notice. */
void workloadCorrupt(void);

/* Disk and real-time-clock halves of the workload. */
typedef struct {
    uint64_t writes;   /* records written and read back */
    uint64_t bad;      /* records that were not what was written */
    uint64_t lost;     /* writes of ours that the disk has forgotten */
    uint64_t repeated; /* records newer than our memory: this guest ran twice */
} diskResult;

void diskStart(uint64_t (*count)(void));
diskResult diskGet(void);

/* Returns when the disk is idle; it stays so. Only once, before the machine ends. */
void diskStop(void);

void rtcStart(void);
frozenResult rtcGet(void);

/* Ends the machine: RB_POWER_OFF or RB_AUTOBOOT from <sys/reboot.h>. */
void machineEnd(int how) __attribute__((noreturn));
