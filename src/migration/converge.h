/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * converge.h: how much a guest is slowed down that writes its memory nearly as fast as it is sent
 *
 * For VMMs that cannot slow down their guests themselves (vmmTraits.convergesByHost).  Pure arithmetic: no clock, no locks.
 *
 * Theory of operation: such a VMM makes a limited number of rounds, and then the guest stands still for all that is left.  So there is
 * no waiting for a second sign: each round in which the guest writes more than half of what was sent takes more of its time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "remote/vmm.h"

#define MIG_CONVERGE_INITIAL 20
#define MIG_CONVERGE_INCREMENT 10
#define MIG_CONVERGE_MAX 99

/* All zero: nothing is slowed down. */
typedef struct {
    bool on;
    unsigned initial, increment; /* percent */
    unsigned percent;            /* of its time that the guest is kept from; 0: none */
    uint64_t pass;
} migConverge;

/** migConvergeBegin: if @spec asks for it and @vmm (may be NULL) leaves it to the host. */
void migConvergeBegin(migConverge *converge, const vmmMigSpec *spec, const vmmTraits *vmm);
/**
 * migConvergeNote: round @pass (from 1) is under way, the guest writes @dirty and the stream takes @speed bytes per second; 0: unknown.
 * True: percent has changed.
 */
bool migConvergeNote(migConverge *converge, uint64_t pass, uint64_t dirty, uint64_t speed);
