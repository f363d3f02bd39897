/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* tls_priv.h: what tls.c and tls_identity.c share */
#pragma once

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "remote/tls.h"

#define TLS_PIN_BYTES 32

struct _tlsIdentity {
    gint refs;
    gnutls_certificate_credentials_t cred;
    char *pin;
    char *authority;             /* file of the authority, for messages; NULL: known by pin only */
};

/** tlsKeyId: the pin of a certificate's key, hexadecimal; NULL if it cannot be computed. */
char *tlsKeyId(gnutls_x509_crt_t cert);
/** tlsExplain: what is wrong with a certificate, in words: one or more sentences without
 * surrounding blanks. */
char *tlsExplain(unsigned status);
/** tlsNames: the names in a certificate, "h2, 10.0.0.2"; caller frees. */
char *tlsNames(gnutls_x509_crt_t cert);
