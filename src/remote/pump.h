/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pump.h: moves bytes between two stream descriptors, in a thread of its own
 *
 * Bytes that arrive at one end leave at the other, unchanged and in order, in one direction or in
 * both.  What is under way is bounded (about 1 MiB a direction), so a slow receiver slows the sender
 * down.  An end of stream is passed on after the last byte, the other direction goes on.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct _pump pump;

/* As many bytes as a pump takes in at a time: the room for a socket that it reads or writes (base/socket.h). */
#define PUMP_ROOM (1024 * 1024)

#define PUMP_WAIT (-1)
#define PUMP_ERROR (-2)

/*
 * What stands between an end's descriptor and the bytes, such as TLS.  All calls are made by the
 * pump's thread and never block; error texts are whole sentences.
 */
typedef struct {
    /* The number of bytes, 0 when the other side has said that this was all, PUMP_WAIT when nothing
     * comes before POLLIN, PUMP_ERROR with @error set. */
    gssize (*read)(void *channel, void *buffer, gsize len, GError **error);
    /* The number of bytes taken, PUMP_WAIT for POLLOUT (the same bytes are offered again). */
    gssize (*write)(void *channel, const void *buffer, gsize len, GError **error);
    /* Say that this was all: 0, PUMP_WAIT for POLLOUT, PUMP_ERROR. */
    int (*end)(void *channel, GError **error);
    GDestroyNotify free;             /* may be NULL */
} pumpChannelOps;

typedef struct {
    int fd;                          /* a stream socket; in a one-way pump also a pipe */
    const char *name;                /* for messages: "host 'h2'", "the VMM"; copied */
    const pumpChannelOps *ops;       /* NULL: the bytes are the descriptor's own */
    void *channel;
} pumpEnd;

/**
 * pumpEndedFunc: the pump has come to its end, by itself or not; called once, from its thread.
 * @why: NULL: each direction has ended after its last byte was taken.  BASE_ERROR_ABORTED:
 *     pumpCancel().  BASE_ERROR_TIMEOUT: a receiver took nothing for stallMs.  Otherwise
 *     BASE_ERROR_OPERATION_FAILED naming the end and what was wrong there.
 *
 * Both descriptors are closed by then; the counters can still be read.  May call everything but pumpFree().
 */
typedef void (*pumpEndedFunc)(pump *p, const GError *why, void *opaque);

typedef enum {
    PUMP_FORWARD,                    /* from the first end to the second */
    PUMP_BACKWARD,
} pumpDirection;

/*
 * Looks at everything that passes, and decides what goes on: bytes go on by pumpEmit() alone, so a filter may hold them back,
 * swallow them, or say something in either direction that nobody has sent.  All calls are made by the pump's thread and must not
 * block.  Any function may be NULL: then everything goes on (bytes, end), or nothing happens (more, poke).
 */
typedef struct {
    /* @len > 0 bytes have come; they are not kept.  False: it is not the stream that it should be, which ends the pump. */
    bool (*bytes)(void *filter, pump *p, pumpDirection direction, const uint8_t *bytes, size_t len, GError **error);
    /* The stream has ended in this direction, and all that was emitted has gone.  False: not yet; asked again after pumpPoke(). */
    bool (*end)(void *filter, pump *p, pumpDirection direction);
    /* All that was emitted in this direction has gone: emit more of what bytes() was given before, if there is any (*retAny), or could be
     * (then it is asked again).  For those whose few bytes become many.  False: as bytes(). */
    bool (*more)(void *filter, pump *p, pumpDirection direction, bool *retAny, GError **error);
    /* After pumpPoke(). */
    bool (*poke)(void *filter, pump *p, GError **error);
} pumpFilterOps;

/* A speed that several pumps have together; see pumpLimitNew(). */
typedef struct _pumpLimit pumpLimit;

typedef struct {
    bool twoWay;
    bool alwaysCopy;                 /* do not try splice() */
    uint64_t bytesPerSecond;         /* first to second; 0: unlimited */
    pumpLimit *limit;                /* to share with others, instead of bytesPerSecond; NULL: one of its own.  Not taken over */
    const pumpFilterOps *filterOps;  /* NULL: none; otherwise static */
    void *filter;                    /* must live until the end function has been called */
    const pumpFilterOps *farFilterOps;   /* a second one, between the first and the second end: what the first emits forward comes to
                                      * it, and what it emits backward to the first.  NULL: none */
    void *farFilter;
    unsigned stallMs;                /* how long a receiver may take nothing of what there is for it; 0: for ever */
    pumpEndedFunc ended;             /* may be NULL */
    void *opaque;
} pumpOptions;

/**
 * pumpNew: start moving bytes between @first and @second.
 *
 * Takes over both descriptors (which become non-blocking) and channels whatever it returns.  When
 * the pump ends before its time, by an error or by pumpCancel(), a TCP connection that has not had
 * all bytes is reset rather than ended, so that the other side cannot take it for complete.
 * Errors: BASE_ERROR_SYSTEM.
 */
pump *pumpNew(const pumpEnd *first, const pumpEnd *second, const pumpOptions *options,
              GError **error);
/** pumpFree: cancel, wait for the thread (and so for the end function).  Not from the end function.  NULL is fine. */
void pumpFree(pump *p);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(pump, pumpFree)

/** pumpCancel: end soon (well within 100 ms), whatever the ends do.  Any thread, any lock, does not wait. */
void pumpCancel(pump *p);
/** pumpSetLimit: a new speed from first to second, bytes/s, 0: unlimited; at once.  Any thread, any lock. */
void pumpSetLimit(pump *p, uint64_t bytesPerSecond);
/** pumpPoke: let the filter's poke() and end() be called soon.  Any thread, any lock, does not wait. */
void pumpPoke(pump *p);
/** pumpEmit: send @bytes on in @direction after all that went before.  In a filter's functions only. */
void pumpEmit(pump *p, pumpDirection direction, const void *bytes, size_t len);

/** pumpLimitNew: bytes/s, 0: unlimited.  pumpSetLimit() of any pump that shares it changes it, and wakes that pump alone. */
pumpLimit *pumpLimitNew(uint64_t bytesPerSecond);
pumpLimit *pumpLimitRef(pumpLimit *limit);
void pumpLimitUnref(pumpLimit *limit);
/** pumpLimitSet: another speed; wakes nobody. */
void pumpLimitSet(pumpLimit *limit, uint64_t bytesPerSecond);
uint64_t pumpLimitRate(const pumpLimit *limit);
/** pumpLimitTake: how many of @want bytes may be sent now; 0: none before *retResumeUs (monotonic).  Any thread. */
size_t pumpLimitTake(pumpLimit *limit, size_t want, gint64 *retResumeUs);
/** pumpLimitGiveBack: so many were not sent after all. */
void pumpLimitGiveBack(pumpLimit *limit, size_t bytes);
/** pumpLimitCharge: so many more were sent than were taken; they are waited for before the next. */
void pumpLimitCharge(pumpLimit *limit, size_t bytes);
/** pumpBytes: how many have been handed to the receiver of that direction.  Any thread; takes no lock. */
uint64_t pumpBytes(const pump *p, pumpDirection direction);
/** pumpFailedAt: in the end function: was it this end's fault that the pump did not last?  @end: 0 or 1. */
bool pumpFailedAt(const pump *p, unsigned end);
/** pumpCopies: do bytes go through user space in that direction (splice() was refused or not asked for)?  Any thread. */
bool pumpCopies(const pump *p, pumpDirection direction);

/**
 * pumpTune: let a TCP connection on @fd fail when the other host is silent, and hold no more than it can send soon.
 * @ackTimeoutMs: how long sent bytes may stay without an acknowledgement; 0: the kernel's own (about 15 minutes)
 * @keepaliveMs: after how long without a byte the other host is asked for a sign of life, and how often again; with five missed
 *     it counts as lost; in whole seconds; 0: it is not asked
 * Anything but TCP, and failures, are ignored.
 */
void pumpTune(int fd, unsigned ackTimeoutMs, unsigned keepaliveMs);
