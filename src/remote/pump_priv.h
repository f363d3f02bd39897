/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pump_priv.h: the inside of a pump, for pump.c and pump_way.c */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "remote/pump.h"

#define PUMP_COPY_BYTES (256 * 1024)
#define PUMP_STAGES 2

typedef struct {
    int fd;
    char *name;
    const pumpChannelOps *ops;
    void *channel;
    bool failed;
    bool quiet;                  /* has hung up: poll() would tell it again and again */
    bool complete;               /* has been given all bytes and the end of the stream */
} pumpSide;

typedef struct {
    const pumpFilterOps *ops;
    void *filter;
} pumpStage;

/* One direction.  The pump's thread only, but for the atomics. */
typedef struct {
    pumpSide *from, *to;
    int pipe[2];                 /* holds the bytes that are spliced; -1: none */
    uint8_t *buffer;             /* of PUMP_COPY_BYTES: holds those that are copied; NULL until needed */
    GByteArray *queue;           /* what the filter has emitted; NULL: there is no filter */
    size_t start, held;          /* in the queue, the buffer, or the pipe (start 0) */
    size_t most;                 /* so many are held at most: with a limit, few, since they are late */
    size_t inPipe;               /* copying: left in the pipe from before */
    size_t offered;              /* the write that has to be made again as it was */
    bool copies;
    bool readable, writable;     /* as far as is known */
    bool full;                   /* the pipe takes no more until something has left it */
    bool eof;
    bool dry;                    /* the filter has said all that it has to say */
    bool endHeld;                /* a filter does not let the end pass */
    unsigned endStages;          /* so many have let it pass */
    bool over;                   /* the end has been passed on, too */
    bool closed;                 /* the receiver has closed its end in good order */
    bool discards;               /* nobody takes the bytes any more */
    gint64 stuckSinceUs;         /* there is something to send and nobody to take it; 0: not so */
    gint64 resumeUs;             /* the limit allows no more before; 0: it does */
    atomic_uint_fast64_t bytes;
    atomic_bool copiesNow;
} pumpWay;

struct _pump {
    pumpSide sides[2];
    pumpStage stages[PUMP_STAGES];   /* in the order of the way forward */
    unsigned stageCount, stageAt;    /* ... and whose function is being called */
    bool stageMore;                  /* one of them has more() */
    GError *stageError;              /* of one that was called by another's pumpEmit() */
    atomic_bool poked;
    pumpWay ways[2];
    unsigned wayCount;
    unsigned stallMs;
    pumpEndedFunc ended;
    void *opaque;
    GThread *thread;
    int wakeFd;                  /* eventfd: cancelled or a new limit */
    atomic_bool cancelled;
    pumpLimit *limit;
    GError *first;               /* a failure that let the other direction go on */
    gint64 graceUs;              /* monotonic: how long; 0: until it has ended */
};

/* ---- pump_stage.c: its filters ---- */

void pumpStagesInit(pump *p, const pumpOptions *options);
/* @len bytes have come: to the first of them. */
bool pumpStagesBytes(pump *p, pumpDirection direction, const uint8_t *bytes, size_t len, GError **error);
bool pumpStagesMore(pump *p, pumpDirection direction, bool *retAny, GError **error);
/* May the end pass?  Sets way->endHeld if not; true as well if there is something to send before. */
bool pumpStagesEnd(pump *p, pumpDirection direction, GError **error);
bool pumpStagesPoke(pump *p, GError **error);

/* ---- pump_way.c: one direction ---- */

bool pumpWayInit(pumpWay *way, pumpSide *from, pumpSide *to, bool copies, GError **error);
/* The bytes go through a filter: instead of what pumpWayFill() has taken in, held is what was emitted. */
void pumpWayUseQueue(pumpWay *way);
void pumpWayQueue(pumpWay *way, const void *bytes, size_t len);
void pumpWayClear(pumpWay *way);
/* Take in what there is and there is room for. True with *retMoved set if that was anything. @got: what a filter has to see of
 * it, in the way's buffer. */
bool pumpWayFill(pumpWay *way, size_t *retGot, bool *retMoved, GError **error);
/* Give away up to @most bytes. On failure the receiver is gone. */
bool pumpWayDrain(pumpWay *way, size_t most, bool *retMoved, GError **error);
/* Everything is given away: pass the end on. */
bool pumpWayFinish(pumpWay *way, bool *retMoved, GError **error);
/* Throw away what is held and whatever comes. */
void pumpWayDiscard(pumpWay *way);

static inline bool
pumpWayWantsInput(const pumpWay *way)
{
    return !way->over && (!way->eof || way->inPipe > 0) && !way->full && way->held < (way->copies ? 1 : way->most);
}

static inline bool
pumpWayWantsOutput(const pumpWay *way)
{
    return !way->over && (way->held > 0 || (way->eof && !way->endHeld));
}
