/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tls_priv.h: what tls.c and tls_identity.c share */
#pragma once

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "remote/tls.h"

#define TLS_SECRET_BYTES 32

struct _tlsIdentity {
    gint refs;
    gnutls_certificate_credentials_t cred;   /* NULL: known by a secret */
    gnutls_psk_client_credentials_t pskClient;
    gnutls_psk_server_credentials_t pskServer;
    unsigned char secret[TLS_SECRET_BYTES];  /* of a server: the derived key */
    char *authority;             /* file of the authority, for messages; NULL: known by a secret */
};

/** tlsSecretName: by which the client calls the secret. */
extern const char tlsSecretName[];
/** tlsGiveSecret: GnuTLS asks a server for the key of @name. */
int tlsGiveSecret(gnutls_session_t tls, const char *name, gnutls_datum_t *key);
/** tlsExplain: what is wrong with a certificate, in words: one or more sentences without
 * surrounding blanks. */
char *tlsExplain(unsigned status);
/** tlsNames: the names in a certificate, "h2, 10.0.0.2"; caller frees. */
char *tlsNames(gnutls_x509_crt_t cert);
