/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sample.h: one look at a migration, from libvirt's job statistics */
#pragma once

#include <libvirt/libvirt.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    bool active;             /* a job that migrates the guest away runs */
    bool postcopy;
    bool knowsRounds;        /* the VMM counts its rounds over the memory */
    uint64_t elapsedMs;
    uint64_t total, processed, remaining;
    uint64_t bytesPerSecond, dirtyPerSecond;
    uint64_t round;
    uint64_t downtimeMs;     /* what the VMM expects or measured; 0 if it does not say */
    int throttle;            /* percent by which the VMM slows the guest down */
} vmmiSample;

/* Asks libvirt. False if it cannot tell (its last error is then set); *ret is untouched. */
bool vmmiSampleTake(virDomainPtr domain, vmmiSample *ret);
/* The type (virDomainJobType) with which the last job ended; VIR_DOMAIN_JOB_NONE if that is not known. */
int vmmiSampleEnded(virDomainPtr domain);

/* 0..100; 100 only for a finished one. */
unsigned vmmiSamplePercent(const vmmiSample *sample);
/* Milliseconds that the rest takes at the present speed, if nothing more is written; 0 if there is no speed. */
uint64_t vmmiSampleRestMs(const vmmiSample *sample);
