/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spread_priv.h: the inside of a spread, for spread.c and spread_io.c */
#pragma once

#include "remote/spread.h"

/* What the thread of a connection does, for the others to see (receiving). */
typedef enum { CONN_READS, CONN_WAITS, CONN_WRITES, CONN_ENDED } connState;

typedef struct {
    spread *owner;
    unsigned index;
    pumpEnd end;
    char *name;
    GMutex lock;                 /* around the channel's functions: two threads use the first one's */
    GThread *thread;
    uint8_t *buffer;             /* BLOCKS_MOST, the thread's */
    blocksWriter *writer;
    blocksReader *reader;
    GError *sinkError;
    bool toldEnd, heardEnd;      /* the thread's; of the first one by the thread of each direction */
    /* Guarded by the owner's lock. */
    connState state;
    uint32_t number;             /* of the block that waits or is written */
} spreadConn;

struct _spread {
    spreadOptions options;
    int vmmFd;
    unsigned count;
    spreadConn *conns;
    GThread *answers;
    uint8_t *answerBuffer;
    int wakeFd;                  /* eventfd */
    atomic_bool cancelled;
    atomic_uint alive;           /* threads */
    atomic_uint_fast64_t bytes[2];

    GMutex vmmLock;              /* sending: whose turn it is to read the VMM's stream */
    bool eof;
    uint32_t taken;              /* the next number */

    GMutex lock;
    GCond cond;
    bool go;                     /* all threads are there */
    bool failed;
    uint32_t next;               /* receiving: whose turn it is */
    unsigned ended;              /* ... connections that have said so */
    bool endKnown;
    uint32_t endNumber;
};

/* ---- spread_io.c; errors: BASE_ERROR_ABORTED when it is time to stop, _TIMEOUT when nothing was taken for too long ---- */

void spreadSetAborted(GError **error);
bool spreadAwaitInput(spread *s, int fd, GError **error);
bool spreadAwaitRoom(spread *s, int fd, const char *name, GError **error);
/* As much as there is, up to @most, and at least something; *retGot 0: it has ended.  *retByVmm: it was the VMM's fault. */
bool spreadVmmRead(spread *s, uint8_t *buffer, size_t most, size_t *retGot, bool *retByVmm, GError **error);
/* All of it; @c: where it came from.  *retByVmm as above. */
bool spreadVmmWrite(spreadConn *c, pumpDirection direction, const uint8_t *bytes, size_t len, bool *retByVmm, GError **error);
/* PUMP_WAIT, PUMP_ERROR, or how many bytes were read; 0: the connection has ended. */
gssize spreadConnTry(spreadConn *c, uint8_t *buffer, size_t len, GError **error);
/* All of it: an end is an error. */
bool spreadConnRead(spreadConn *c, uint8_t *buffer, size_t len, GError **error);
/* All of it.  @metered: it is what the limit is for. */
bool spreadConnWrite(spreadConn *c, const uint8_t *bytes, size_t len, bool metered, GError **error);
