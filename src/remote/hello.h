/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hello.h: the first bytes on every connection to the migration port
 *
 * A fixed-size record of magic, version, role, index and a one-time token that Prepare's cookie
 * gave to the source.  The destination answers with a verdict and, when it refuses, its reason.
 * All numbers big endian; the layout is in hello.c.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define HELLO_TOKEN_LEN 32

/* Wire values: never renumber. */
typedef enum {
    HELLO_CONTROL = 1,   /* the link of one migration */
    HELLO_DATA = 2,      /* memory stream number 'index' */
    HELLO_QUERY = 3,     /* ask for the outcome of an earlier migration; a link opened later */
} helloRole;

typedef struct {
    helloRole role;
    uint16_t index;
    uint8_t token[HELLO_TOKEN_LEN];
} hello;

/** helloNewToken: fill @token from the kernel's random source. */
bool helloNewToken(uint8_t token[HELLO_TOKEN_LEN], GError **error);
char *helloTokenToHex(const uint8_t token[HELLO_TOKEN_LEN]);       /* caller frees */
bool helloTokenFromHex(const char *hex, uint8_t token[HELLO_TOKEN_LEN]);
bool helloTokenEqual(const uint8_t *a, const uint8_t *b);           /* constant time */

/**
 * helloConnect: connect to @host:@port over TCP and say hello.
 *
 * @host: a name or numeric address, without brackets; all addresses of a name are tried in turn
 * @cancelFd: readable means give up (-1: none)
 * @timeoutMs: for name lookup, connect, hello and verdict together; 0 takes 30 s
 *
 * Returns a connected blocking socket (close-on-exec, TCP_NODELAY, keepalive on) that the caller
 * owns, -1 on error. Refused by the peer: BASE_ERROR_OPERATION_FAILED with the peer's text.  Not
 * reached: the same code, or BASE_ERROR_TIMEOUT if nobody answered in time, with what became of
 * each address.  Given up: BASE_ERROR_ABORTED.  No lock may be held.
 */
int helloConnect(const char *host, unsigned port, const hello *h, int cancelFd,
                 unsigned timeoutMs, GError **error);

/** helloConnectPlain: the same without a hello, so to anything that listens there. */
int helloConnectPlain(const char *host, unsigned port, int cancelFd, unsigned timeoutMs, GError **error);

/** helloRead: parse a whole record of helloSize() bytes; no I/O. */
bool helloRead(const uint8_t *bytes, size_t len, hello *ret, GError **error);
size_t helloSize(void);
/** helloWrite: the helloSize() bytes of @h; the caller frees them. */
uint8_t *helloWrite(const hello *h);
/**
 * helloAnswer: send the verdict, @why NULL means welcome.  Small, so it never blocks a fresh
 * socket. At most the first 1024 bytes of @why go over.
 */
bool helloAnswer(int fd, const char *why, GError **error);

/**
 * helloTune: the socket options of every migration connection, on either end.  Failures are
 * ignored.
 */
void helloTune(int fd);
