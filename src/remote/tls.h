/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls.h: TLS 1.3 on a connected socket, with both sides verified
 *
 * Two ways to know each other: certificates of a common authority (X.509, from a folder of the
 * host), or a key pair made for one migration, whose fingerprint ("pin") each side has been told
 * over a channel that is secure already.  There is no third: a peer that shows neither is refused.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

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
/** tlsIdentityNew: a fresh key pair that never leaves the memory; for peers that know each other's
 * pin. */
tlsIdentity *tlsIdentityNew(GError **error);
/** tlsIdentityPin: SHA-256 of the public key (SubjectPublicKeyInfo), hexadecimal; caller frees. */
char *tlsIdentityPin(const tlsIdentity *identity);
tlsIdentity *tlsIdentityRef(tlsIdentity *identity);
void tlsIdentityUnref(tlsIdentity *identity);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(tlsIdentity, tlsIdentityUnref)

/* What the other side must prove.  Strings are copied. */
typedef struct {
    const char *host;                /* for messages: who it is */
    const char *name;                /* X.509: DNS name or address that the certificate must bear;
                                      * NULL: any certificate of the authority */
    const char *pin;                 /* its pin; then no authority is asked.  Needed with an
                                      * identity of tlsIdentityNew() */
} tlsExpect;

typedef struct _tlsSession tlsSession;

/**
 * tlsSessionNew: TLS on the connected socket @fd, which stays the caller's and becomes
 * non-blocking.
 * @priority: a GnuTLS priority string, NULL: TLS_PRIORITY_DEFAULT; versions below 1.3 are refused
 *     whatever it says
 * Errors: BASE_ERROR_INVALID_ARG (priority, expectation), BASE_ERROR_INTERNAL.
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
/** tlsDescribe: after the handshake: "TLS 1.3, AES-128-GCM, peer CN=h2"; caller frees. */
char *tlsDescribe(const tlsSession *session);
