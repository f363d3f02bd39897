/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * flow-wire.c: what lies between the hosts, and how one of its connections breaks
 *
 * A listener that the source takes for the destination's migration port.  Each connection to it has a thread that passes
 * everything on in both directions until it is told to break it.  They are numbered in the order in which they are made.
 */
#include "flow-world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

#define PIECE 65536

typedef struct {
    flowWire *wire;
    unsigned number;
    int source, dest;            /* -1: closed */
    int wakeFd;                  /* eventfd: look at what is to be done */
    bool stalled, dropping;      /* dropping: what the source sends goes nowhere */
    bool sourceEnded, destEnded;
    uint64_t forward;            /* bytes of the source that have been passed on */
    GThread *thread;
} wireConn;

struct _flowWire {
    const flowScenario *scenario;
    unsigned port;               /* of the destination */
    int listenFd, stopFd;
    GThread *accepting;
    GMutex lock;
    GCond cond;
    GPtrArray *conns;            /* wireConn */
    bool due;                    /* the connection of the scenario is to be broken */
    bool done;                   /* ... and has been */
    bool over;
};

/* ---- breaking; lock held ---- */

static void
connReset(int *fd)
{
    const struct linger reset = { .l_onoff = 1, .l_linger = 0 };

    if (*fd >= 0)
        setsockopt(*fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    baseFdReplace(fd, -1);
}

static void
connBreak(wireConn *c)
{
    switch (c->wire->scenario->cut) {
    case FLOW_CUT_RESET:
        connReset(&c->source);
        connReset(&c->dest);
        break;
    case FLOW_CUT_CLOSE:
        shutdown(c->source, SHUT_WR);
        shutdown(c->dest, SHUT_WR);
        c->dropping = c->destEnded = true;
        break;
    case FLOW_CUT_HALF:
        shutdown(c->dest, SHUT_WR);
        c->dropping = true;
        break;
    case FLOW_CUT_STALL:
        c->stalled = true;
        break;
    case FLOW_CUT_NONE:
    case FLOW_CUTS:
        break;
    }
    c->wire->done = true;
    g_cond_broadcast(&c->wire->cond);
}

static bool
connIsDue(const wireConn *c)
{
    const flowWire *wire = c->wire;
    const flowScenario *s = wire->scenario;

    if (wire->done || s->cut == FLOW_CUT_NONE || s->connection != c->number)
        return false;
    return wire->due || (!s->cutAt && c->forward > s->cutAfter);
}

/* ---- a connection ---- */

static bool
sendAll(int fd, const uint8_t *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

/* False: the connection is over.  With the lock not held: what one side does not take holds up this connection alone. */
static bool
connPass(wireConn *c, bool forward, uint8_t *buffer)
{
    const int from = forward ? c->source : c->dest, to = forward ? c->dest : c->source;
    const ssize_t n = recv(from, buffer, PIECE, MSG_DONTWAIT);
    bool due;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0) {
        *(forward ? &c->sourceEnded : &c->destEnded) = true;
        shutdown(to, SHUT_WR);
        return !(c->sourceEnded && c->destEnded);
    }
    if (forward) {
        g_mutex_lock(&c->wire->lock);
        c->forward += (uint64_t)n;
        due = connIsDue(c);
        if (due)
            connBreak(c);
        g_mutex_unlock(&c->wire->lock);
        if (due || c->dropping)
            return c->source >= 0;
    }
    return sendAll(to, buffer, (size_t)n);
}

/* False: the connection is over. */
static bool
connStep(wireConn *c, uint8_t *buffer)
{
    struct pollfd fds[] = {
        { .fd = c->wakeFd, .events = POLLIN },
        { .fd = c->stalled || c->sourceEnded ? -1 : c->source, .events = POLLIN },
        { .fd = c->stalled || c->destEnded ? -1 : c->dest, .events = POLLIN },
    };
    eventfd_t ignored;
    bool goOn;

    if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
        return false;
    if (fds[0].revents) {
        eventfd_read(c->wakeFd, &ignored);
        g_mutex_lock(&c->wire->lock);
        if (connIsDue(c))
            connBreak(c);
        goOn = !c->wire->over && c->source >= 0;
        g_mutex_unlock(&c->wire->lock);
        return goOn;
    }
    return (!fds[1].revents || connPass(c, true, buffer)) && (!fds[2].revents || connPass(c, false, buffer));
}

static gpointer
connThread(gpointer data)
{
    g_autofree uint8_t *buffer = g_malloc(PIECE);
    wireConn *c = data;

    while (connStep(c, buffer))
        continue;
    /* A broken one is broken to both sides. */
    g_mutex_lock(&c->wire->lock);
    if (c->sourceEnded && c->destEnded) {
        baseFdReplace(&c->source, -1);
        baseFdReplace(&c->dest, -1);
    } else {
        connReset(&c->source);
        connReset(&c->dest);
    }
    g_mutex_unlock(&c->wire->lock);
    return NULL;
}

static void
connFree(gpointer data)
{
    wireConn *c = data;

    g_thread_join(c->thread);
    baseFdClose(c->source);
    baseFdClose(c->dest);
    baseFdClose(c->wakeFd);
    g_free(c);
}

/* ---- the listener ---- */

static int
wireSocket(unsigned port, bool listens)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int room = PIECE, on = 1;

    if (!listens) {
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
            baseFdReplace(&fd, -1);
        return fd;
    }
    /* Who is not heard any more is to feel it soon. */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    g_assert_cmpint(listen(fd, 16), ==, 0);
    return fd;
}

static void
wireTake(flowWire *wire, int fd)
{
    int dest = wireSocket(wire->port, false);
    wireConn *c;

    /* Nobody listens there: told as that. */
    if (dest < 0) {
        connReset(&fd);
        return;
    }
    c = g_new0(wireConn, 1);
    c->wire = wire;
    c->source = fd;
    c->dest = dest;
    c->wakeFd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    g_mutex_lock(&wire->lock);
    c->number = wire->conns->len;
    c->thread = g_thread_new("wire", connThread, c);
    g_ptr_array_add(wire->conns, c);
    g_mutex_unlock(&wire->lock);
}

static gpointer
wireThread(gpointer data)
{
    flowWire *wire = data;

    for (;;) {
        struct pollfd fds[] = { { .fd = wire->stopFd, .events = POLLIN }, { .fd = wire->listenFd, .events = POLLIN } };
        int fd;

        if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR)
            break;
        if (fds[0].revents)
            break;
        if (fds[1].revents && (fd = accept4(wire->listenFd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
            wireTake(wire, fd);
    }
    return NULL;
}

flowWire *
flowWireNew(const flowScenario *scenario, unsigned port, unsigned destPort)
{
    flowWire *wire = g_new0(flowWire, 1);

    wire->scenario = scenario;
    wire->port = destPort;
    wire->conns = g_ptr_array_new_with_free_func(connFree);
    g_mutex_init(&wire->lock);
    g_cond_init(&wire->cond);
    wire->stopFd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    wire->listenFd = wireSocket(port, true);
    wire->accepting = g_thread_new("wire", wireThread, wire);
    return wire;
}

bool
flowWireFree(flowWire *wire)
{
    bool done;

    if (!wire)
        return false;
    eventfd_write(wire->stopFd, 1);
    g_thread_join(wire->accepting);
    g_mutex_lock(&wire->lock);
    wire->over = true;
    done = wire->done;
    for (guint i = 0; i < wire->conns->len; i++) {
        wireConn *c = g_ptr_array_index(wire->conns, i);

        eventfd_write(c->wakeFd, 1);
        /* It may be held up by one of its ends. */
        shutdown(c->source, SHUT_RDWR);
        shutdown(c->dest, SHUT_RDWR);
    }
    g_mutex_unlock(&wire->lock);
    g_ptr_array_unref(wire->conns);
    baseFdClose(wire->listenFd);
    baseFdClose(wire->stopFd);
    g_mutex_clear(&wire->lock);
    g_cond_clear(&wire->cond);
    g_free(wire);
    return done;
}

void
flowWirePoint(flowWire *wire, const char *passage)
{
    if (!wire || !wire->scenario->cutAt || !g_str_equal(wire->scenario->cutAt, passage))
        return;
    g_mutex_lock(&wire->lock);
    wire->due = true;
    if (wire->scenario->connection < wire->conns->len) {
        wireConn *c = g_ptr_array_index(wire->conns, wire->scenario->connection);

        eventfd_write(c->wakeFd, 1);
        /* It is broken when the point is passed; one that has ended before is as good. */
        while (!wire->done && g_cond_wait_until(&wire->cond, &wire->lock, g_get_monotonic_time() + G_USEC_PER_SEC))
            continue;
    }
    g_mutex_unlock(&wire->lock);
}
