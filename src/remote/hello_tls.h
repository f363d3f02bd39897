/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hello_tls.h: the two ends of the hello within TLS; for hello_connect.c and listen.c */
#pragma once

#include "remote/hello.h"

typedef struct {
    const uint8_t *token;
    const char *host;            /* the other side, for messages */
    int cancelFd;                /* readable means give up (-1: none) */
    gint64 deadline;             /* monotonic, us */
} helloTls;

/** helloAskTls: the record in the clear that comes first. */
hello helloAskTls(const helloSecurity *security, const uint8_t token[HELLO_TOKEN_LEN]);
/** helloAskedKeys: what such a record asks for; 0: nothing that is known. */
helloKeys helloAskedKeys(const hello *ask);
/** helloConnectTls: the client's handshake, after the answer to that record; conn->tls is set.  Blocks; errors as of tlsHandshake(),
 * BASE_ERROR_CONFIG about certificates of this host. */
bool helloConnectTls(helloConn *conn, const helloSecurity *security, const helloTls *how, GError **error);
/** helloAcceptTls: the server's, and the hello proper; the verdict is left to the caller unless it is a refusal.  Blocks. */
bool helloAcceptTls(helloConn *conn, const helloSecurity *security, const helloTls *how, hello *ret, GError **error);
