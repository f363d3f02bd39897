/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls_bulk.c: many TLS records in one system call, see tls_bulk.h
 *
 * Theory of operation: GnuTLS writes records into 'out' and finds what has arrived in 'in'.  What was taken to be sent is told only
 * when its records have left 'out' whole, so nothing can be left lying here that nobody would send: the caller waits for room and calls again,
 * as with any socket.
 */
#include "remote/tls_bulk.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <glib.h>

/* Of the guest's data in one system call. */
#define PLAIN_BYTES (256 * 1024)
/* That as records, with what each adds, and an alert. */
#define OUT_BYTES (PLAIN_BYTES + 16 * 1024)
#define IN_BYTES (256 * 1024)

struct _tlsBulk {
    gnutls_session_t tls;
    int fd;
    uint8_t *in, *out;           /* NULL until needed: most connections have one direction */
    size_t inStart, inEnd;
    size_t outStart, outEnd;
    size_t plain;                /* of the caller's bytes lie in 'out' as records */
    bool bye;                    /* the last record, too */
    ssize_t later;               /* what the next tlsBulkRecv() is to return; 1: nothing */
};

/* ---- GnuTLS' side --------------------------------------------------------------------------- */

static ssize_t
bulkPull(gnutls_transport_ptr_t opaque, void *buffer, size_t len)
{
    tlsBulk *bulk = opaque;
    size_t n;

    if (bulk->inStart == bulk->inEnd) {
        ssize_t got;

        if (!bulk->in)
            bulk->in = g_malloc(IN_BYTES);
        got = recv(bulk->fd, bulk->in, IN_BYTES, MSG_DONTWAIT);
        if (got <= 0) {
            gnutls_transport_set_errno(bulk->tls, got < 0 ? errno : 0);
            return got;
        }
        bulk->inStart = 0;
        bulk->inEnd = (size_t)got;
    }
    n = MIN(len, bulk->inEnd - bulk->inStart);
    memcpy(buffer, bulk->in + bulk->inStart, n);
    bulk->inStart += n;
    return (ssize_t)n;
}

static ssize_t
bulkPush(gnutls_transport_ptr_t opaque, const giovec_t *pieces, int count)
{
    tlsBulk *bulk = opaque;
    size_t taken = 0;

    for (int i = 0; i < count; i++) {
        size_t n = MIN(pieces[i].iov_len, OUT_BYTES - bulk->outEnd);

        memcpy(bulk->out + bulk->outEnd, pieces[i].iov_base, n);
        bulk->outEnd += n;
        taken += n;
    }
    if (taken > 0)
        return (ssize_t)taken;
    gnutls_transport_set_errno(bulk->tls, EAGAIN);
    return -1;
}

/* There may be a key update to answer while data is received, so bytes can wait here that no tlsBulkSend() has put. */
static int
bulkFlush(tlsBulk *bulk)
{
    while (bulk->outStart < bulk->outEnd) {
        ssize_t n = send(bulk->fd, bulk->out + bulk->outStart, bulk->outEnd - bulk->outStart, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? GNUTLS_E_AGAIN : GNUTLS_E_PUSH_ERROR;
        bulk->outStart += (size_t)n;
    }
    bulk->outStart = bulk->outEnd = 0;
    return 0;
}

/* ---- calls ---------------------------------------------------------------------------------- */

tlsBulk *
tlsBulkNew(gnutls_session_t tls, int fd)
{
    tlsBulk *bulk = g_new0(tlsBulk, 1);

    bulk->tls = tls;
    bulk->fd = fd;
    bulk->later = 1;
    bulk->out = g_malloc(OUT_BYTES);
    gnutls_transport_set_ptr(tls, bulk);
    gnutls_transport_set_pull_function(tls, bulkPull);
    gnutls_transport_set_vec_push_function(tls, bulkPush);
    return bulk;
}

void
tlsBulkFree(tlsBulk *bulk)
{
    if (!bulk)
        return;
    g_free(bulk->in);
    g_free(bulk->out);
    g_free(bulk);
}

ssize_t
tlsBulkSend(tlsBulk *bulk, const void *bytes, size_t len)
{
    const uint8_t *from = bytes;
    size_t most = MIN(len, (size_t)PLAIN_BYTES);
    size_t taken;
    int rc;

    if (bulk->plain == 0) {
        rc = bulkFlush(bulk);
        if (rc < 0)
            return rc;
        while (bulk->plain < most) {
            ssize_t n = gnutls_record_send(bulk->tls, from + bulk->plain, most - bulk->plain);

            if (n < 0)
                return n;
            bulk->plain += (size_t)n;
        }
    }
    rc = bulkFlush(bulk);
    if (rc < 0)
        return rc;
    taken = bulk->plain;
    bulk->plain = 0;
    return (ssize_t)taken;
}

ssize_t
tlsBulkRecv(tlsBulk *bulk, void *buffer, size_t len)
{
    uint8_t *to = buffer;
    ssize_t n = bulk->later;
    size_t have = 0;

    bulk->later = 1;
    if (n <= 0)
        return n;
    while (have < len) {
        n = gnutls_record_recv(bulk->tls, to + have, len - have);
        if (n > 0)
            have += (size_t)n;
        /* Not for a warning: what lies in 'in' does not make the socket readable again. */
        if (n == 0 || n == GNUTLS_E_AGAIN || (n < 0 && gnutls_error_is_fatal((int)n)))
            break;
    }
    if (bulk->outStart < bulk->outEnd && bulk->plain == 0)
        bulkFlush(bulk);
    if (have == 0)
        return n;
    /* GnuTLS tells an error once. */
    if (n == 0 || (n < 0 && gnutls_error_is_fatal((int)n)))
        bulk->later = n;
    return (ssize_t)have;
}

int
tlsBulkEnd(tlsBulk *bulk)
{
    int rc = bulkFlush(bulk);

    if (rc < 0 || bulk->bye)
        return rc;
    rc = gnutls_bye(bulk->tls, GNUTLS_SHUT_WR);
    if (rc < 0)
        return rc;
    bulk->bye = true;
    return bulkFlush(bulk);
}
