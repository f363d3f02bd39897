/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls.h: TLS 1.3 on a connected socket, with both sides verified
 *
 * Two ways to know each other: certificates of a common authority (X.509, from a folder of the
 * host), or a secret of one migration that each side has been told over a channel that is secure
 * already: whoever proves in the handshake that he knows it is the other side.  There is no third: a
 * peer that has neither is refused.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum { TLS_CLIENT, TLS_SERVER } tlsSide;

/* Ciphers that processors do by themselves come first. */
#define TLS_PRIORITY_DEFAULT \
    "NONE:+VERS-TLS1.3:+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AEAD:+SIGN-ALL:+GROUP-ALL" \
    ":+CTYPE-X509"

typedef struct _tlsIdentity tlsIdentity;

/**
 * tlsIdentityFromDir: this host's certificate and the authority that the other side's must be of.
 *
 * @dir: laid out as libvirt's (CA/cacert.pem, CA/cacrl.pem, libvirt/servercert.pem,
 *     libvirt/private/serverkey.pem, likewise clientcert and clientkey) or flat (ca-cert.pem,
 *     ca-crl.pem, server-cert.pem, server-key.pem, client-...); a revocation list may be missing
 *
 * Everything that can be wrong with the files is found here and named with its file: missing,
 * unreadable, not a certificate, not valid yet or no more, not of the authority, not for this use,
 * of another key.  Errors: BASE_ERROR_CONFIG.
 */
tlsIdentity *tlsIdentityFromDir(const char *dir, tlsSide side, GError **error);
/**
 * tlsIdentityFromSecret: a side that knows @secret, which is copied.
 *
 * A pre-shared key with an ephemeral Diffie-Hellman exchange: neither side sends the secret, both prove it, and
 * who learns it later cannot read what was sent.  The key is derived from the secret, so that other uses of
 * it give nothing away.
 */
tlsIdentity *tlsIdentityFromSecret(const uint8_t *secret, gsize len, tlsSide side, GError **error);
tlsIdentity *tlsIdentityRef(tlsIdentity *identity);
void tlsIdentityUnref(tlsIdentity *identity);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(tlsIdentity, tlsIdentityUnref)

/* What the other side must prove.  Strings are copied. */
typedef struct {
    const char *host;                /* for messages: who it is */
    const char *name;                /* X.509: DNS name or address that the certificate must bear;
                                      * NULL: any certificate of the authority.  Without meaning
                                      * for a secret */
} tlsExpect;

/** tlsCheckPriority: is it a GnuTLS priority string that permits TLS 1.3?  BASE_ERROR_INVALID_ARG says what is wrong. */
bool tlsCheckPriority(const char *priority, GError **error);

typedef struct _tlsSession tlsSession;

/**
 * tlsSessionNew: TLS on the connected socket @fd, which stays the caller's and becomes
 * non-blocking.
 * @priority: a GnuTLS priority string, NULL: TLS_PRIORITY_DEFAULT; versions below 1.3 are refused
 *     whatever it says
 * Errors: BASE_ERROR_INVALID_ARG (priority), BASE_ERROR_INTERNAL.
 */
tlsSession *tlsSessionNew(int fd, tlsSide side, tlsIdentity *identity, const tlsExpect *expect,
                          const char *priority, GError **error);
void tlsSessionFree(tlsSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(tlsSession, tlsSessionFree)

/**
 * tlsHandshake: make the connection secure and verify the other side; blocks.
 * @cancelFd: readable means give up (-1: none)
 *
 * In TLS 1.3 a client is through before the server has looked at its certificate, so a refusal may
 * only come with the first tlsRead(): let the first message be the server's.
 * Errors: BASE_ERROR_OPERATION_FAILED with what was expected and what was shown,
 * BASE_ERROR_TIMEOUT, BASE_ERROR_ABORTED.
 */
bool tlsHandshake(tlsSession *session, int cancelFd, unsigned timeoutMs, GError **error);

/**
 * tlsForMuch: after the handshake, once what is to be read and written is a guest's memory: many records go in one system call, for
 * half a MiB of buffers.  tlsPending() does not count those; read until there is nothing.
 */
void tlsForMuch(tlsSession *session);
/**
 * tlsRead: up to @len bytes; never blocks.
 * Returns their number, 0 when the other side has said that this was all, -1 when there is nothing
 * as yet (poll for POLLIN), -2 on an error.  A connection that ends without a word is an error:
 * somebody may have cut it.
 */
gssize tlsRead(tlsSession *session, void *buffer, gsize len, GError **error);
/** tlsWrite: returns the number taken, -1 when it has to wait (poll for POLLOUT, then call again
 * with the same bytes), -2 on an error. */
gssize tlsWrite(tlsSession *session, const void *buffer, gsize len, GError **error);
/** tlsPending: bytes that tlsRead() has without the socket being readable. */
gsize tlsPending(const tlsSession *session);
/** tlsEnd: say that this was all; -1 when it has to wait for POLLOUT, 0 when done, -2 on an
 * error. */
int tlsEnd(tlsSession *session, GError **error);
/** tlsCipher: after the handshake: "TLS 1.3, AES-128-GCM"; caller frees. */
char *tlsCipher(const tlsSession *session);
/** tlsPeer: after the handshake, who the other side is: "certificate of h2" or "knows the token"; caller frees. */
char *tlsPeer(const tlsSession *session);
