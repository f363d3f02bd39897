/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * stratovirt_wire.h: StratoVirt's migration stream, read as it passes through a pump
 *
 * The source sends requests, the destination answers each with a status; a round of memory is one request.  Reading along
 * tells what the VMM itself does not: how much, how many rounds, how quickly.  And it gives the switch-over into our hands:
 * the state of the devices, without which the destination cannot run and with which it runs at once, is held back on both
 * hosts, and the source, which comes back by itself when anything fails, hears nothing more after its farewell.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "remote/pump.h"

typedef struct _stratoWire stratoWire;

/* On which host it reads. */
typedef enum {
    /* The state is kept, and answered here at once, until the farewell that follows shows that it is whole; then nothing goes on
     * before stratoWireRelease(), and the source is never answered again. */
    STRATO_WIRE_SOURCE,
    /* State and farewell, whose length the source has put in the place of a zero, are kept until stratoWireRelease(). */
    STRATO_WIRE_DEST,
} stratoWireSide;

/* How far a stream is; it only grows, but for CANCELLED and FAILED, which are ends. */
typedef enum {
    STRATO_WIRE_BEGIN,           /* nothing, or the greeting and the configuration */
    STRATO_WIRE_MEMORY,          /* rounds of memory */
    STRATO_WIRE_STATE,           /* the source has stopped its guest and sends the state */
    STRATO_WIRE_READY,           /* all of the state is here, and the source waits */
    STRATO_WIRE_RELEASED,        /* it is being sent on */
    STRATO_WIRE_LOADED,          /* the destination's VMM has said that it has loaded it: from now on it runs */
    STRATO_WIRE_COMPLETE,        /* it has answered the farewell as well */
    STRATO_WIRE_CANCELLED,       /* the source has given up in order */
    STRATO_WIRE_FAILED,          /* the destination has refused something */
} stratoWirePhase;

typedef struct {
    stratoWirePhase phase;
    bool begun;                  /* the source has said something */
    uint64_t rounds;             /* of memory, those under way count */
    uint64_t memoryTotal;        /* bytes of guest memory in the first round, which has all of it; 0: not known yet */
    uint64_t memorySent;         /* bytes of guest memory in all rounds so far */
    uint64_t roundTotal, roundSent;  /* bytes of this round, or of the last one */
    uint64_t lastRoundTotal;     /* of the round before this one; 0: there was none */
    uint64_t roundUs;            /* how long that took until it was answered */
    uint64_t dirtyBps;           /* bytes that the guest wrote in a second during that; 0: not known yet */
    uint64_t heldBytes;          /* of the state, not sent on yet */
    gint64 stateAtUs;            /* source: when the state was answered, monotonic; 0: it has not come */
    bool refused;                /* source: the other end has left in good order without having said that it has loaded the state */
} stratoWireStats;

/** stratoWireNew: the filter of one pump whose first end is where the guest comes from; see stratoWireFilter. */
stratoWire *stratoWireNew(stratoWireSide side);
/** stratoWireFree: after the end of its pump. NULL is fine. */
void stratoWireFree(stratoWire *wire);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(stratoWire, stratoWireFree)

/** stratoWireSetNotify: @func is told of each new phase and round, in the pump's thread, which it must not hold up. Before the pump. */
typedef void (*stratoWireFunc)(stratoWirePhase phase, void *opaque);
void stratoWireSetNotify(stratoWire *wire, stratoWireFunc func, void *opaque);

/**
 * stratoWireRelease: what is held goes on, at the next pumpPoke().  Any thread, in phase READY.
 * @measured: with the length of the state, for another filter; else as the VMM at the other end wants it
 */
void stratoWireRelease(stratoWire *wire, bool measured);
/**
 * stratoWireConclude: source: the VMM says by its control socket that its state has been taken, so the state ends before what
 * looks like the farewell, if nothing comes any more.  For states whose records cannot be read; looked at with the next pumpPoke().
 */
void stratoWireConclude(stratoWire *wire);
/** stratoWireGetStats: any thread. */
void stratoWireGetStats(stratoWire *wire, stratoWireStats *ret);

/**
 * stratoWireFilter: for pumpOptions.filterOps, with the stratoWire as pumpOptions.filter.
 * A stream that is not StratoVirt's, of the wrong order or beyond StratoVirt's own limits, ends the pump with
 * BASE_ERROR_OPERATION_FAILED.
 */
extern const pumpFilterOps stratoWireFilter;

/* The same without a pump. */
typedef struct {
    void (*emit)(void *opaque, pumpDirection direction, const void *bytes, size_t len);
    void *opaque;
} stratoWireOut;

/** stratoWireFeed: @len > 0 bytes have come; what goes on is emitted. */
bool stratoWireFeed(stratoWire *wire, pumpDirection direction, const uint8_t *bytes, size_t len, const stratoWireOut *out, GError **error);
/** stratoWireEnd: the stream has ended in this direction, after all that was emitted; false: that is kept back, too. */
bool stratoWireEnd(stratoWire *wire, pumpDirection direction);
/** stratoWirePoke: after stratoWireRelease() or stratoWireConclude(). */
void stratoWirePoke(stratoWire *wire, const stratoWireOut *out);
