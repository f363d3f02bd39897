/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stratovirt_wire.h: StratoVirt's migration stream, read as it passes through a pump
 *
 * The source sends requests, the destination answers each with a status; a round of memory is one request.  Reading along
 * tells what the VMM itself does not: how much, how many rounds, how quickly.  And it gives the switch-over into our hands:
 * the state of the devices, without which the destination cannot run, can be held back, and the source's farewell be
 * answered here, so that the source does not come back once the destination has the state.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "remote/pump.h"

typedef struct _stratoWire stratoWire;

/* How far a stream is; it only grows, but for CANCELLED and FAILED, which are ends. */
typedef enum {
    STRATO_WIRE_BEGIN,           /* nothing, or the greeting and the configuration */
    STRATO_WIRE_MEMORY,          /* rounds of memory */
    STRATO_WIRE_STATE,           /* the source has stopped its guest and sends the state; all or some of it may be held */
    STRATO_WIRE_RELEASED,        /* the destination has been sent the state, or is being */
    STRATO_WIRE_LOADED,          /* the destination has said that it has loaded the state: from now on it runs */
    STRATO_WIRE_COMPLETE,        /* the source has said farewell and been answered */
    STRATO_WIRE_CANCELLED,       /* the source has given up in order */
    STRATO_WIRE_FAILED,          /* the destination has refused something */
} stratoWirePhase;

typedef struct {
    stratoWirePhase phase;
    uint64_t rounds;             /* of memory, those under way count */
    uint64_t memoryTotal;        /* bytes of guest memory in the first round, which has all of it; 0: not known yet */
    uint64_t memorySent;         /* bytes of guest memory in all rounds so far */
    uint64_t roundTotal, roundSent;  /* bytes of this round, or of the last one */
    uint64_t roundUs;            /* how long the round before this one took until it was answered */
    uint64_t dirtyBps;           /* bytes that the guest wrote in a second during that; 0: not known yet */
    uint64_t heldBytes;          /* of the state, not sent on yet */
    gint64 heldSinceUs;          /* monotonic; 0: nothing is held */
} stratoWireStats;

/**
 * stratoWireNew: @hold: keep the state until stratoWireRelease(), and answer the farewell here.
 * It is the filter of one pump whose first end is the source; see stratoWireFilter.
 */
stratoWire *stratoWireNew(bool hold);
/** stratoWireFree: after the end of its pump. NULL is fine. */
void stratoWireFree(stratoWire *wire);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(stratoWire, stratoWireFree)

/** stratoWireSetNotify: @func is told of each new phase, in the pump's thread, which it must not hold up. Before the pump. */
typedef void (*stratoWireFunc)(stratoWirePhase phase, void *opaque);
void stratoWireSetNotify(stratoWire *wire, stratoWireFunc func, void *opaque);

/** stratoWireRelease: what is held goes on, at the next pumpPoke(), and what follows does as it comes. Any thread. */
void stratoWireRelease(stratoWire *wire);
/** stratoWireGetStats: any thread. */
void stratoWireGetStats(stratoWire *wire, stratoWireStats *ret);

/**
 * stratoWireFilter: for pumpOptions.filterOps, with the stratoWire as pumpOptions.filter.
 * A stream that is not StratoVirt's, of the wrong order or beyond StratoVirt's own limits, ends the pump with
 * BASE_ERROR_OPERATION_FAILED.
 */
extern const pumpFilterOps stratoWireFilter;
