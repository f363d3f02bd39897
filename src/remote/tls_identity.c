/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls_identity.c: who this host is to its peers: certificates from a folder, or a secret
 *
 * The files are read as a whole before GnuTLS sees them, so that a missing file and a broken one
 * are told apart, and this host's own certificate is judged as the other side will judge it: better
 * here and now than there and in the middle of a handshake.
 */
#include "remote/tls_priv.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/error.h"
#include "base/gettext.h"

#define CHAIN_MAX 16
#define NAME_LEN 256
/* Both sides must say and derive the same. */
const char tlsSecretName[] = "stratovirt-migration";
#define SECRET_PURPOSE "stratovirt migration, TLS key 1"

typedef struct {
    const char *ca, *crl, *cert[2], *key[2];     /* [tlsSide] */
} layout;

static const layout layouts[] = {
    { "CA/cacert.pem", "CA/cacrl.pem",
      { "libvirt/clientcert.pem", "libvirt/servercert.pem" },
      { "libvirt/private/clientkey.pem", "libvirt/private/serverkey.pem" } },
    { "ca-cert.pem", "ca-crl.pem",
      { "client-cert.pem", "server-cert.pem" },
      { "client-key.pem", "server-key.pem" } },
};

typedef struct {
    char *path;
    gnutls_datum_t text;         /* NULL data: the file is missing and may be */
} pemFile;

static void
pemFileClear(pemFile *file)
{
    if (file->text.data)
        gnutls_memset(file->text.data, 0, file->text.size);
    g_free(file->text.data);
    g_free(file->path);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(pemFile, pemFileClear)

static bool
pemFileLoad(pemFile *file, const char *dir, const char *name, bool optional, GError **error)
{
    g_autoptr(GError) local = NULL;
    char *text = NULL;
    gsize len = 0;

    file->path = g_build_filename(dir, name, NULL);
    if (g_file_get_contents(file->path, &text, &len, &local)) {
        file->text.data = (unsigned char *)text;
        file->text.size = len;
        return true;
    }
    if (optional && g_error_matches(local, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_CONFIG, _("TLS file '%1$s' cannot be read: %2$s"),
                file->path, local->message);
    return false;
}

static bool
identityBroken(const pemFile *file, int rc, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_CONFIG, _("TLS file '%1$s' cannot be used: %2$s"),
                file->path, gnutls_strerror(rc));
    return false;
}

/* ---- words -------------------------------------------------------------------------------- */

char *
tlsExplain(unsigned status)
{
    static const struct {
        unsigned bit;
        const char *text;
    } rows[] = {
        { GNUTLS_CERT_EXPIRED, N_("It is not valid any more.") },
        { GNUTLS_CERT_NOT_ACTIVATED, N_("It is not valid yet.") },
        { GNUTLS_CERT_REVOKED, N_("It has been revoked by its authority.") },
        { GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED,
          N_("The revocation list is out of date: a newer one should have been fetched.") },
        { GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE,
          N_("The revocation list is dated in the future.") },
        { GNUTLS_CERT_SIGNER_NOT_FOUND, N_("It is of another authority.") },
        { GNUTLS_CERT_SIGNER_NOT_CA, N_("The one who signed it is no authority.") },
        { GNUTLS_CERT_SIGNATURE_FAILURE, N_("Its signature is wrong.") },
        { GNUTLS_CERT_INSECURE_ALGORITHM, N_("Its algorithm is too weak.") },
        { GNUTLS_CERT_UNEXPECTED_OWNER, N_("It is in another name.") },
        { GNUTLS_CERT_PURPOSE_MISMATCH, N_("It is not meant for this use.") },
        { GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE,
          N_("Its authority was not allowed to sign it.") },
    };
    GString *text = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (status & rows[i].bit)
            g_string_append_printf(text, "%s%s", text->len ? " " : "", _(rows[i].text));
    }
    if (text->len == 0)
        g_string_append(text, _("It cannot be verified."));
    return g_string_free(text, FALSE);
}

static void
namesAdd(GString *names, const char *name)
{
    g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
}

char *
tlsNames(gnutls_x509_crt_t cert)
{
    g_autoptr(GString) names = g_string_new(NULL);
    char name[NAME_LEN];
    char address[INET6_ADDRSTRLEN];
    size_t len = sizeof(name);

    for (unsigned i = 0;; i++, len = sizeof(name)) {
        int kind = gnutls_x509_crt_get_subject_alt_name(cert, i, name, &len, NULL);

        if (kind < 0)
            break;
        if (kind == GNUTLS_SAN_DNSNAME)
            namesAdd(names, name);
        else if (kind == GNUTLS_SAN_IPADDRESS && (len == 4 || len == 16) &&
                 inet_ntop(len == 4 ? AF_INET : AF_INET6, name, address, sizeof(address)))
            namesAdd(names, address);
    }
    len = sizeof(name);
    if (names->len == 0 &&
        gnutls_x509_crt_get_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &len) >= 0)
        namesAdd(names, name);
    /* They may be those of a certificate that nobody has verified yet. */
    return names->len ? baseForeignText(names->str) : g_strdup("");
}

/* ---- from a folder ------------------------------------------------------------------------ */

/* Judge this host's own certificate as the other side will. */
static bool
identityJudge(const pemFile *ca, const pemFile *crl, const pemFile *cert, tlsSide side,
              GError **error)
{
    const char *use = side == TLS_SERVER ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st purpose = { GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)use, 0 };
    gnutls_x509_crt_t chain[CHAIN_MAX];
    gnutls_x509_trust_list_t trust = NULL;
    unsigned count = CHAIN_MAX;
    unsigned status = 0;
    int rc = gnutls_x509_crt_list_import(chain, &count, &cert->text, GNUTLS_X509_FMT_PEM, 0);

    if (rc < 0)
        return identityBroken(cert, rc, error);
    rc = gnutls_x509_trust_list_init(&trust, 0);
    if (rc == 0)
        rc = gnutls_x509_trust_list_add_trust_mem(trust, &ca->text,
                                                  crl->text.data ? &crl->text : NULL,
                                                  GNUTLS_X509_FMT_PEM, 0, 0);
    if (rc >= 0)
        rc = gnutls_x509_trust_list_verify_crt2(trust, chain, count, &purpose, 1, 0, &status, NULL);
    gnutls_x509_trust_list_deinit(trust, 1);
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(chain[i]);

    if (rc < 0)
        return identityBroken(cert, rc, error);
    if (status) {
        g_autofree char *why = tlsExplain(status);

        g_set_error(error, BASE_ERROR, BASE_ERROR_CONFIG,
                    _("TLS certificate '%1$s', judged by authority '%2$s', is of no use: %3$s"),
                    cert->path, ca->path, why);
        return false;
    }
    return true;
}

static bool
identityLoad(tlsIdentity *identity, const char *dir, const layout *l, tlsSide side, GError **error)
{
    g_auto(pemFile) ca = { 0 };
    g_auto(pemFile) crl = { 0 };
    g_auto(pemFile) cert = { 0 };
    g_auto(pemFile) key = { 0 };
    int rc;

    if (!pemFileLoad(&ca, dir, l->ca, false, error) || !pemFileLoad(&crl, dir, l->crl, true, error) ||
        !pemFileLoad(&cert, dir, l->cert[side], false, error) ||
        !pemFileLoad(&key, dir, l->key[side], false, error))
        return false;
    rc = gnutls_certificate_set_x509_trust_mem(identity->cred, &ca.text, GNUTLS_X509_FMT_PEM);
    if (rc <= 0)
        return identityBroken(&ca, rc ? rc : GNUTLS_E_NO_CERTIFICATE_FOUND, error);
    if (crl.text.data) {
        rc = gnutls_certificate_set_x509_crl_mem(identity->cred, &crl.text, GNUTLS_X509_FMT_PEM);
        if (rc < 0)
            return identityBroken(&crl, rc, error);
    }
    if (!identityJudge(&ca, &crl, &cert, side, error))
        return false;
    rc = gnutls_certificate_set_x509_key_mem(identity->cred, &cert.text, &key.text,
                                             GNUTLS_X509_FMT_PEM);
    if (rc < 0)
        return identityBroken(&key, rc, error);
    identity->authority = g_strdup(ca.path);
    return true;
}

static tlsIdentity *
identityAlloc(GError **error)
{
    tlsIdentity *identity = g_new0(tlsIdentity, 1);
    int rc = gnutls_certificate_allocate_credentials(&identity->cred);

    identity->refs = 1;
    if (rc == 0)
        return identity;
    g_set_error(error, BASE_ERROR, BASE_ERROR_INTERNAL, _("TLS cannot be used: %1$s"),
                gnutls_strerror(rc));
    g_free(identity);
    return NULL;
}

tlsIdentity *
tlsIdentityFromDir(const char *dir, tlsSide side, GError **error)
{
    g_autoptr(tlsIdentity) identity = identityAlloc(error);
    const layout *l = &layouts[0];

    if (!identity)
        return NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(layouts); i++) {
        g_autofree char *ca = g_build_filename(dir, layouts[i].ca, NULL);

        if (g_file_test(ca, G_FILE_TEST_EXISTS)) {
            l = &layouts[i];
            break;
        }
    }
    return identityLoad(identity, dir, l, side, error) ? g_steal_pointer(&identity) : NULL;
}

/* ---- from a secret ------------------------------------------------------------------------ */

static int
identitySetSecret(tlsIdentity *identity, const gnutls_datum_t *key, tlsSide side)
{
    int rc;

    if (side == TLS_CLIENT) {
        rc = gnutls_psk_allocate_client_credentials(&identity->pskClient);
        return rc < 0 ? rc : gnutls_psk_set_client_credentials(identity->pskClient, tlsSecretName, key, GNUTLS_PSK_KEY_RAW);
    }
    rc = gnutls_psk_allocate_server_credentials(&identity->pskServer);
    if (rc < 0)
        return rc;
    memcpy(identity->secret, key->data, sizeof(identity->secret));
    gnutls_psk_set_server_credentials_function(identity->pskServer, tlsGiveSecret);
    return 0;
}

tlsIdentity *
tlsIdentityFromSecret(const uint8_t *secret, gsize len, tlsSide side, GError **error)
{
    g_autoptr(tlsIdentity) identity = g_new0(tlsIdentity, 1);
    unsigned char bytes[TLS_SECRET_BYTES];
    const gnutls_datum_t key = { bytes, sizeof(bytes) };
    int rc;

    identity->refs = 1;
    rc = gnutls_hmac_fast(GNUTLS_MAC_SHA256, secret, len, SECRET_PURPOSE, strlen(SECRET_PURPOSE), bytes);
    if (rc >= 0)
        rc = identitySetSecret(identity, &key, side);
    gnutls_memset(bytes, 0, sizeof(bytes));
    if (rc >= 0)
        return g_steal_pointer(&identity);
    g_set_error(error, BASE_ERROR, BASE_ERROR_INTERNAL, _("TLS cannot be used: %1$s"), gnutls_strerror(rc));
    return NULL;
}

tlsIdentity *
tlsIdentityRef(tlsIdentity *identity)
{
    g_atomic_int_inc(&identity->refs);
    return identity;
}

void
tlsIdentityUnref(tlsIdentity *identity)
{
    if (!identity || !g_atomic_int_dec_and_test(&identity->refs))
        return;
    if (identity->cred)
        gnutls_certificate_free_credentials(identity->cred);
    if (identity->pskClient)
        gnutls_psk_free_client_credentials(identity->pskClient);
    if (identity->pskServer)
        gnutls_psk_free_server_credentials(identity->pskServer);
    gnutls_memset(identity->secret, 0, sizeof(identity->secret));
    g_free(identity->authority);
    g_free(identity);
}
