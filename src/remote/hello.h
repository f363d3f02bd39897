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

#include "remote/pump.h"
#include "remote/tls.h"

#define HELLO_TOKEN_LEN 32

/* Wire values: never renumber. */
typedef enum {
    HELLO_CONTROL = 1,   /* the link of one migration */
    HELLO_DATA = 2,      /* memory stream number 'index' */
    HELLO_QUERY = 3,     /* ask for the outcome of an earlier migration; a link opened later */
    HELLO_TLS = 4,       /* ask for TLS, in which the hello proper follows; its token is the token's SHA-256 */
} helloRole;

/* How a connection is made secure; a set where several are allowed. */
typedef enum {
    HELLO_KEYS_PLAIN = 1 << 0,   /* it is not */
    HELLO_KEYS_X509 = 1 << 1,    /* TLS with certificates on both sides */
    HELLO_KEYS_TOKEN = 1 << 2,   /* TLS in which both sides prove that they know the token */
} helloKeys;

/* What one side brings along for it.  Strings are borrowed. */
typedef struct {
    helloKeys keys;              /* exactly one */
    const char *dir;             /* X509: the folder of the certificates, see tlsIdentityFromDir() */
    const char *name;            /* X509, client: the name that the server's certificate must bear; NULL: any of the authority */
    const char *priority;        /* NULL: TLS_PRIORITY_DEFAULT */
} helloSecurity;

typedef struct {
    helloRole role;
    uint16_t index;
    uint8_t token[HELLO_TOKEN_LEN];
    helloKeys keys;              /* how the connection is secured, as the listener found it; not sent */
} hello;

/** helloNewToken: fill @token from the kernel's random source. */
bool helloNewToken(uint8_t token[HELLO_TOKEN_LEN], GError **error);
char *helloTokenToHex(const uint8_t token[HELLO_TOKEN_LEN]);       /* caller frees */
bool helloTokenFromHex(const char *hex, uint8_t token[HELLO_TOKEN_LEN]);
bool helloTokenEqual(const uint8_t *a, const uint8_t *b);           /* constant time */
/** helloTokenHash: its SHA-256, by which it is known without being told. */
void helloTokenHash(const uint8_t token[HELLO_TOKEN_LEN], uint8_t ret[HELLO_TOKEN_LEN]);

/* A connection on which the hello is done: whoever holds it owns the descriptor and the session. */
typedef struct {
    int fd;                  /* -1: none.  Blocking without TLS, non-blocking with it */
    tlsSession *tls;         /* NULL: the bytes are the descriptor's own; otherwise only tlsRead() and tlsWrite()
                              * may touch it */
} helloConn;

#define HELLO_CONN_INIT { .fd = -1, .tls = NULL }

/** helloConnClear: end the connection, forget the session.  Nothing happens if there is none. */
void helloConnClear(helloConn *conn);
/** helloConnSteal: hand it over; @conn is none afterwards. */
helloConn helloConnSteal(helloConn *conn);
/** helloConnOf: a connection in the clear; takes over @fd. */
helloConn helloConnOf(int fd);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(helloConn, helloConnClear)
/** helloConnFrom: the numeric address of this host's end, as helloTarget.from; NULL: unknown.  Caller frees. */
char *helloConnFrom(const helloConn *conn);
/** helloConnEnd: as the end of a pump, which takes it over; @name is borrowed. */
pumpEnd helloConnEnd(helloConn conn, const char *name);

/* Where to connect to, and how. */
typedef struct {
    const char *host;        /* a name or numeric address, without brackets; all addresses of a name are tried in turn */
    unsigned port;
    int cancelFd;            /* readable means give up (-1: none) */
    unsigned timeoutMs;      /* for name lookup, connect, TLS, hello and verdict together; 0 takes 30 s */
    const helloSecurity *security;   /* NULL or plain: in the clear */
    const char *from;        /* this host's numeric address to come from; NULL, or of another kind than the target's: any */
} helloTarget;

/**
 * helloConnect: connect over TCP and say hello.
 *
 * *ret is a connection (close-on-exec, TCP_NODELAY, keepalive on) that the caller owns; untouched on error.
 * Refused by the peer: BASE_ERROR_OPERATION_FAILED with the peer's text.  Not reached: the same code, or
 * BASE_ERROR_TIMEOUT if nobody answered in time, with what became of each address.  Given up: BASE_ERROR_ABORTED.
 * With TLS also: BASE_ERROR_OPERATION_FAILED with what was expected of the peer and what it showed, BASE_ERROR_CONFIG about
 * this host's own certificates.
 * No lock may be held.
 */
bool helloConnect(const helloTarget *target, const hello *h, helloConn *ret, GError **error);

/** helloConnectPlain: the same without a hello, so to anything that listens there; -1 on error. */
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
bool helloAnswer(const helloConn *conn, const char *why, GError **error);

/**
 * helloTune: the socket options of every migration connection, on either end.  Failures are
 * ignored.
 */
void helloTune(int fd);
