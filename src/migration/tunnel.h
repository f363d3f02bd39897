/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tunnel.h: a socket carried over a stream of somebody else's connection
 *
 * Theory of operation: a libvirt connection has one reader at each end, which serves everybody: replies, keepalive, events.
 * Whoever does not take what is his stops it all.  So what a VMM has not read yet must never wait inside the
 * connection.  The destination (tunnelSink) takes whatever comes at once and keeps what its VMM has no room for, and the source (tunnelBridge)
 * sends no more than the destination has allowed: a total number of bytes, which grows as the VMM reads.  Memory is bounded by
 * the window, and the source's VMM feels it when the destination's is slow.
 *
 * The other two streams, the link and the way back, carry little and are not metered.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a destination takes before its VMM has read any of it.  A connection by TCP has hardly more on its way (tcp(7), tcp_rmem: 6 MiB),
 * and what waits here has left the processors' caches when it is read. */
#define TUNNEL_WINDOW (8 * 1024 * 1024)
/* What a sender may write ahead. */
#define TUNNEL_ROOM (4 * 1024 * 1024)
/* The same for few bytes. */
#define TUNNEL_ROOM_LINK (256 * 1024)

/* What arrived: any thread; @len 0: nothing more will come. */
typedef void (*tunnelTake)(const void *bytes, size_t len, void *opaque);

/* The stream, as this end of it; calls but abort() come from one thread. */
typedef struct {
    /* Send all of it; may block as long as the connection lives. */
    bool (*send)(void *stream, const void *bytes, size_t len, GError **error);
    /* Say that this was all, and have it confirmed; may block. */
    bool (*finish)(void *stream, GError **error);
    /* End it in any other way. Once, instead of finish() or after a failure of it. */
    void (*abort)(void *stream);
    /* From now on what arrives is given to @take, until finish() or abort().  @opaque is released with @free when no call can come
     * any more, also on failure. */
    bool (*receive)(void *stream, tunnelTake take, void *opaque, GDestroyNotify free, GError **error);
    void (*free)(void *stream);
} tunnelStreamOps;

typedef struct {
    const tunnelStreamOps *ops;  /* NULL: none */
    void *stream;
} tunnelStream;

/* ---- the source's end: a socket joined to a stream by a thread ---- */

typedef struct _tunnelBridge tunnelBridge;

typedef struct {
    const char *name;            /* of the thread; static */
    bool receives;               /* what comes on the stream, or on 'answers', goes into the socket */
    tunnelStream answers;        /* nothing is sent on this one; taken over with the main one */
    bool metered;                /* nothing is sent before tunnelBridgeAllow() */
    unsigned stallMs;            /* metered: how long something may wait to be allowed; 0: for ever */
    /* The stream is broken; not after tunnelBridgeCancel().  Called once, from a thread of the bridge's or of the stream's, must not block. */
    void (*broken)(void *opaque);
    void *opaque;
    GDestroyNotify opaqueFree;   /* may be NULL */
} tunnelBridgeOptions;

/**
 * tunnelBridgeNew: start.  @stream, the options' opaque and @fd, a stream socket, are taken over, also on failure.
 *
 * When the socket's other end is closed and everything is sent, the stream is said to end.  A reference is returned.
 * Errors: BASE_ERROR_SYSTEM, or what receive() says.
 */
tunnelBridge *tunnelBridgeNew(const tunnelStream *stream, int fd, const tunnelBridgeOptions *options, GError **error);
/** tunnelBridgeRefuse: what was made for a bridge that is not to be: end and free it. */
void tunnelBridgeRefuse(const tunnelStream *stream, const tunnelBridgeOptions *options);
tunnelBridge *tunnelBridgeRef(tunnelBridge *bridge);
void tunnelBridgeUnref(tunnelBridge *bridge);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(tunnelBridge, tunnelBridgeUnref)

/** tunnelBridgeAllow: so many bytes in all may have been sent; less than before is ignored. Any thread, any lock. */
void tunnelBridgeAllow(tunnelBridge *bridge, uint64_t total);
/** tunnelBridgeBytes: how many have been given to the stream. Any thread. */
uint64_t tunnelBridgeBytes(tunnelBridge *bridge);
/** tunnelBridgeError: why it broke; NULL: it has not.  Caller frees.  Any thread. */
char *tunnelBridgeError(tunnelBridge *bridge);
/**
 * tunnelBridgeCancel: abort the stream, end the socket.  Does not wait: a thread that is held up in the connection
 * ends when that does.  Any thread, any lock; twice is fine.
 */
void tunnelBridgeCancel(tunnelBridge *bridge);
/** tunnelBridgeAwait: wait until the stream has been ended, up to @ms; false: it has not been. */
bool tunnelBridgeAwait(tunnelBridge *bridge, unsigned ms);

/* ---- the destination's end: what arrives goes into a socket, by and by ---- */

typedef struct _tunnelSink tunnelSink;

typedef struct {
    void (*first)(void *opaque);                     /* the first bytes have come; once */
    void (*allow)(uint64_t total, void *opaque);     /* tell the source; totals may come in any order, the greatest counts */
    GDestroyNotify free;                             /* of opaque; may be NULL */
} tunnelSinkHooks;

/**
 * tunnelSinkNew: @fd, a stream socket, and @opaque are taken over, also on failure; @window: bytes.
 * Hooks run in the thread that calls tunnelSinkPut() and in the sink's own, without a lock of the sink's; none runs once tunnelSinkEnd() has
 * returned, except one that was running already.
 * Errors: BASE_ERROR_SYSTEM.
 */
tunnelSink *tunnelSinkNew(int fd, size_t window, const tunnelSinkHooks *hooks, void *opaque, GError **error);
tunnelSink *tunnelSinkRef(tunnelSink *sink);
void tunnelSinkUnref(tunnelSink *sink);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(tunnelSink, tunnelSinkUnref)

/** tunnelSinkOpen: the source can be told: allow it the first bytes. */
void tunnelSinkOpen(tunnelSink *sink);
/**
 * tunnelSinkPut: take bytes that have arrived; never blocks.
 * Errors: BASE_ERROR_OPERATION_INVALID: more than was allowed (the socket is ended then), BASE_ERROR_OPERATION_FAILED: it is over.
 * A VMM that reads nothing any more is none: it knows better what it has.
 */
bool tunnelSinkPut(tunnelSink *sink, const void *bytes, size_t len, GError **error);
/** tunnelSinkFinish: nothing more comes: the socket ends after the last byte.  Does not wait. */
void tunnelSinkFinish(tunnelSink *sink);
/** tunnelSinkEnd: the socket ends now. Does not wait; twice is fine. */
void tunnelSinkEnd(tunnelSink *sink);
/** tunnelSinkDup: a descriptor of the same socket, to read what the VMM answers; -1 with errno set. */
int tunnelSinkDup(tunnelSink *sink);
/** tunnelSinkBytes: how many have arrived. */
uint64_t tunnelSinkBytes(tunnelSink *sink);

/**
 * tunnelKeepMemory: once in a process: let the allocator keep blocks as large as a message.  Any thread.
 *
 * libvirt allocates each message of a stream anew, and the C library gives so large a block back to the kernel, which has to clear
 * it for the next one: a quarter of the time that the daemons take.  From the release of one larger block the C library of GNU
 * learns that such blocks come again (mallopt(3), M_MMAP_THRESHOLD); with another one this does nothing.
 */
void tunnelKeepMemory(void);
