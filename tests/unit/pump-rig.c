/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

#include "io-thread.h"
#include "pump-rig.h"

static void
onEnded(pump *p, const GError *why, void *opaque)
{
    rig *r = opaque;

    g_assert_nonnull(p);
    g_mutex_lock(&r->lock);
    r->endings++;
    r->why = why ? g_error_copy(why) : NULL;
    g_cond_broadcast(&r->cond);
    g_mutex_unlock(&r->lock);
}

void
makePair(kind k, int fds[2])
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    g_auto(baseFd) listening = -1;

    if (k == UNIX) {
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
        return;
    }
    listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(listening, (struct sockaddr *)&address, sizeof(address)), ==, 0);
    g_assert_cmpint(listen(listening, 1), ==, 0);
    g_assert_cmpint(getsockname(listening, (struct sockaddr *)&address, &len), ==, 0);
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(connect(fds[0], (struct sockaddr *)&address, sizeof(address)), ==, 0);
    fds[1] = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint(fds[1], >=, 0);
}

void
rigMake(rig *r, kind first, kind second)
{
    int pair[2];

    memset(r, 0, sizeof(*r));
    g_mutex_init(&r->lock);
    g_cond_init(&r->cond);
    r->fds = ioCountFds();
    makePair(first, pair);
    r->outer[0] = pair[0];
    r->inner[0] = pair[1];
    makePair(second, pair);
    r->outer[1] = pair[0];
    r->inner[1] = pair[1];
}

void
rigStartEnds(rig *r, pumpOptions options, const pumpEnd *first, const pumpEnd *second)
{
    g_autoptr(GError) error = NULL;

    options.ended = onEnded;
    options.opaque = r;
    r->p = pumpNew(first, second, &options, &error);
    g_assert_no_error(error);
}

void
rigStart(rig *r, pumpOptions options)
{
    rigStartEnds(r, options, &(pumpEnd){ .fd = r->inner[0], .name = "the first end" },
                 &(pumpEnd){ .fd = r->inner[1], .name = "the second end" });
}

void
rigAwait(rig *r)
{
    gint64 until = g_get_monotonic_time() + PATIENCE_US;

    g_mutex_lock(&r->lock);
    while (r->endings == 0)
        g_assert_true(g_cond_wait_until(&r->cond, &r->lock, until));
    g_mutex_unlock(&r->lock);
}

void
rigFree(rig *r)
{
    pumpFree(r->p);
    g_assert_cmpuint(r->endings, ==, 1);
    for (int i = 0; i < 2; i++)
        baseFdClose(r->outer[i]);
    g_clear_error(&r->why);
    g_mutex_clear(&r->lock);
    g_cond_clear(&r->cond);
}

void
rigEnd(rig *r)
{
    rigFree(r);
    g_assert_cmpuint(ioCountFds(), ==, r->fds);
}

/* ---- bytes ---- */

static void
fillPattern(guint32 *state, guint8 *bytes, size_t len)
{
    for (size_t i = 0; i + 4 <= len; i += 4) {
        *state = *state * 1664525u + 1013904223u;
        memcpy(bytes + i, state, 4);
    }
}

gpointer
writeFlow(gpointer data)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_MD5);
    g_autofree guint8 *bytes = g_malloc(MIB);
    flow *f = data;
    guint32 state = f->seed;
    size_t left = f->len;

    while (left > 0) {
        size_t len = MIN(left, MIB), at = 0;

        fillPattern(&state, bytes, MIB);
        g_checksum_update(sum, bytes, (gssize)len);
        while (at < len) {
            ssize_t put = send(f->fd, bytes + at, len - at, MSG_NOSIGNAL);

            g_assert_cmpint(put, >, 0);
            at += (size_t)put;
        }
        left -= len;
    }
    if (f->finish)
        g_assert_cmpint(shutdown(f->fd, SHUT_WR), ==, 0);
    f->digest = g_strdup(g_checksum_get_string(sum));
    return NULL;
}

gpointer
readFlow(gpointer data)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_MD5);
    g_autofree guint8 *bytes = g_malloc(MIB);
    flow *f = data;
    ssize_t got;

    while ((got = recv(f->fd, bytes, MIB, 0)) > 0) {
        g_checksum_update(sum, bytes, got);
        f->got += (size_t)got;
    }
    g_assert_cmpint(got, ==, 0);
    f->digest = g_strdup(g_checksum_get_string(sum));
    return NULL;
}

void
flowStart(flow *f, GThreadFunc func)
{
    f->thread = g_thread_new("flow", func, f);
}

void
flowsCompare(flow *from, flow *to)
{
    g_thread_join(from->thread);
    g_thread_join(to->thread);
    g_assert_cmpuint(to->got, ==, from->len);
    g_assert_cmpstr(from->digest, ==, to->digest);
    g_free(from->digest);
    g_free(to->digest);
}

void
expectByte(int fd, char byte)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char c = 0;

    g_assert_cmpint(poll(&p, 1, PATIENCE_US / 1000), ==, 1);
    g_assert_cmpint(recv(fd, &c, 1, 0), ==, 1);
    g_assert_cmpint(c, ==, byte);
}

ssize_t
receiveEnd(int fd, int *retErrno)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    char c;
    ssize_t got;

    g_assert_cmpint(poll(&p, 1, PATIENCE_US / 1000), ==, 1);
    got = recv(fd, &c, 1, 0);
    *retErrno = errno;
    return got;
}

void
sendByte(int fd, char byte)
{
    g_assert_cmpint(send(fd, &byte, 1, MSG_NOSIGNAL), ==, 1);
}

size_t
stuff(int fd)
{
    g_autofree guint8 *bytes = g_malloc0(64 * 1024);
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    size_t total = 0;

    baseFdSetNonblock(fd, true);
    while (poll(&p, 1, 150) == 1) {
        ssize_t put = send(fd, bytes, 64 * 1024, MSG_NOSIGNAL);

        g_assert_cmpint(put, >, 0);
        total += (size_t)put;
    }
    baseFdSetNonblock(fd, false);
    return total;
}
