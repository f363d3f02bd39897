/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls_bulk.h: many TLS records in one system call
 *
 * GnuTLS asks the socket for the head and for the body of each record of 16 KiB by itself and sends each by itself, and each of
 * these costs a turn through the network's layers.  Here many go together.
 */
#pragma once

#include <gnutls/gnutls.h>

typedef struct _tlsBulk tlsBulk;

/**
 * tlsBulkNew: from now on the bytes of @tls, whose socket is @fd (non-blocking, stays the caller's), go through buffers.  To be called
 * between the handshake and tlsBulkFree(), which is to come after the session's end.
 */
tlsBulk *tlsBulkNew(gnutls_session_t tls, int fd);
void tlsBulkFree(tlsBulk *bulk);
/**
 * tlsBulkSend: as tlsWrite() has it; takes as much as fits into one system call.
 * Returns the number of bytes whose records the kernel has, GNUTLS_E_AGAIN when it has to wait (then call again with the same bytes),
 * or another of GnuTLS' errors.
 */
ssize_t tlsBulkSend(tlsBulk *bulk, const void *bytes, size_t len);
/** tlsBulkRecv: as gnutls_record_recv(), but more than one record. */
ssize_t tlsBulkRecv(tlsBulk *bulk, void *buffer, size_t len);
/** tlsBulkEnd: as gnutls_bye() with GNUTLS_SHUT_WR. */
int tlsBulkEnd(tlsBulk *bulk);
