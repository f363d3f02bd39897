/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-pki.h: an authority of the moment and certificates of any kind, good and bad, as files */
#pragma once

#include <glib.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

typedef struct {
    gnutls_x509_crt_t cert;
    gnutls_x509_privkey_t key;
} pkiPair;

typedef struct {
    const char *name;            /* DNS name or, if it looks like one, an address; NULL: none */
    bool server, client;         /* what it may be used for */
    int fromDays, toDays;        /* validity, relative to now; both 0: a good one */
    unsigned char serial;        /* 0: 1 */
} pkiWish;

#define PKI_DAY (24 * 60 * 60)

static inline void
pkiOk(int rc)
{
    if (rc < 0)
        g_error("GnuTLS: %s", gnutls_strerror(rc));
}

static inline void
pkiName(gnutls_x509_crt_t cert, const char *name)
{
    unsigned char four[4];
    guint a, b, c, d;

    pkiOk(gnutls_x509_crt_set_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, name, strlen(name)));
    if (sscanf(name, "%u.%u.%u.%u", &a, &b, &c, &d) == 4) {
        four[0] = a, four[1] = b, four[2] = c, four[3] = d;
        pkiOk(gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_IPADDRESS, four, 4, 0));
    } else {
        pkiOk(gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_DNSNAME, name, strlen(name), 0));
    }
}

/* @issuer NULL: an authority, signed by itself. */
static inline pkiPair
pkiMake(const pkiPair *issuer, const pkiWish *wish)
{
    pkiPair pair = { 0 };
    unsigned char serial = wish->serial ? wish->serial : 1;
    time_t now = time(NULL);
    bool given = wish->fromDays || wish->toDays;

    pkiOk(gnutls_x509_privkey_init(&pair.key));
    pkiOk(gnutls_x509_privkey_generate(pair.key, GNUTLS_PK_ECDSA,
                                       GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    pkiOk(gnutls_x509_crt_init(&pair.cert));
    pkiOk(gnutls_x509_crt_set_version(pair.cert, 3));
    pkiOk(gnutls_x509_crt_set_key(pair.cert, pair.key));
    pkiOk(gnutls_x509_crt_set_serial(pair.cert, &serial, 1));
    pkiOk(gnutls_x509_crt_set_activation_time(pair.cert, now + (given ? wish->fromDays : -1) * PKI_DAY));
    pkiOk(gnutls_x509_crt_set_expiration_time(pair.cert, now + (given ? wish->toDays : 30) * PKI_DAY));
    if (wish->name)
        pkiName(pair.cert, wish->name);
    pkiOk(gnutls_x509_crt_set_ca_status(pair.cert, issuer == NULL));
    pkiOk(gnutls_x509_crt_set_key_usage(pair.cert, issuer ? GNUTLS_KEY_DIGITAL_SIGNATURE :
                                        GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN));
    if (wish->server)
        pkiOk(gnutls_x509_crt_set_key_purpose_oid(pair.cert, GNUTLS_KP_TLS_WWW_SERVER, 0));
    if (wish->client)
        pkiOk(gnutls_x509_crt_set_key_purpose_oid(pair.cert, GNUTLS_KP_TLS_WWW_CLIENT, 0));
    pkiOk(gnutls_x509_crt_sign2(pair.cert, issuer ? issuer->cert : pair.cert,
                                issuer ? issuer->key : pair.key, GNUTLS_DIG_SHA256, 0));
    return pair;
}

static inline void
pkiFree(pkiPair *pair)
{
    gnutls_x509_crt_deinit(pair->cert);
    gnutls_x509_privkey_deinit(pair->key);
}

static inline void
pkiWriteText(const char *dir, const char *name, gnutls_datum_t *text)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    g_autoptr(GError) error = NULL;

    g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
    g_file_set_contents(path, (const char *)text->data, text->size, &error);
    g_assert_no_error(error);
    gnutls_free(text->data);
}

static inline void
pkiWriteCert(const char *dir, const char *name, gnutls_x509_crt_t cert)
{
    gnutls_datum_t text;

    pkiOk(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &text));
    pkiWriteText(dir, name, &text);
}

static inline void
pkiWriteKey(const char *dir, const char *name, gnutls_x509_privkey_t key)
{
    gnutls_datum_t text;

    pkiOk(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &text));
    pkiWriteText(dir, name, &text);
}

/* A list that revokes one serial number. */
static inline void
pkiWriteCrl(const char *dir, const char *name, const pkiPair *issuer, unsigned char serial)
{
    gnutls_x509_crl_t crl;
    gnutls_datum_t text;
    unsigned char number = 1;
    time_t now = time(NULL);

    pkiOk(gnutls_x509_crl_init(&crl));
    pkiOk(gnutls_x509_crl_set_version(crl, 2));
    pkiOk(gnutls_x509_crl_set_number(crl, &number, 1));
    pkiOk(gnutls_x509_crl_set_this_update(crl, now - PKI_DAY));
    pkiOk(gnutls_x509_crl_set_next_update(crl, now + PKI_DAY));
    pkiOk(gnutls_x509_crl_set_crt_serial(crl, &serial, 1, now - PKI_DAY));
    pkiOk(gnutls_x509_crl_sign2(crl, issuer->cert, issuer->key, GNUTLS_DIG_SHA256, 0));
    pkiOk(gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &text));
    gnutls_x509_crl_deinit(crl);
    pkiWriteText(dir, name, &text);
}
