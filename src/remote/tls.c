/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * tls.c: a TLS session on a socket
 *
 * The other side is judged inside the handshake, so that it hears an alert and not silence.  Why it
 * was refused is kept in words, since GnuTLS itself only says that it was.
 */
#include "remote/tls.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "remote/tls_bulk.h"
#include "remote/tls_priv.h"
#include "base/gettext.h"

struct _tlsSession {
    gnutls_session_t tls;
    tlsSide side;
    int fd;
    tlsIdentity *identity;
    char *host, *name;
    char *refusal;               /* why we refused the other side */
    char *peer;                  /* who it is, after the handshake */
    tlsBulk *bulk;               /* NULL: not for much */
};

/* ---- judging the other side --------------------------------------------------------------- */

static gnutls_x509_crt_t
peerCert(gnutls_session_t tls)
{
    const gnutls_datum_t *chain;
    gnutls_x509_crt_t cert = NULL;
    unsigned count = 0;

    if (gnutls_certificate_type_get(tls) != GNUTLS_CRT_X509)
        return NULL;
    chain = gnutls_certificate_get_peers(tls, &count);
    if (!chain || count == 0 || gnutls_x509_crt_init(&cert) < 0)
        return NULL;
    if (gnutls_x509_crt_import(cert, &chain[0], GNUTLS_X509_FMT_DER) < 0) {
        gnutls_x509_crt_deinit(cert);
        return NULL;
    }
    return cert;
}

static char *
judgeChain(const tlsSession *session, gnutls_x509_crt_t cert)
{
    const char *use = session->side == TLS_CLIENT ? GNUTLS_KP_TLS_WWW_SERVER :
        GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st data[] = {
        { GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)use, 0 },
        { GNUTLS_DT_DNS_HOSTNAME, (unsigned char *)session->name, 0 },
    };
    g_autofree char *names = tlsNames(cert);
    g_autofree char *why = NULL;
    unsigned status = 0;
    int rc = gnutls_certificate_verify_peers(session->tls, data, session->name ? 2 : 1, &status);

    if (rc < 0)
        return g_strdup_printf(_("The certificate of host '%1$s' cannot be verified: %2$s"),
                               session->host, gnutls_strerror(rc));
    if (status == 0)
        return NULL;
    why = tlsExplain(status);
    if (session->name)
        return g_strdup_printf(_("The certificate of host '%1$s' is refused: %2$s It is for "
                                 "'%3$s', '%4$s' was expected, and the authority is '%5$s'."),
                               session->host, why, names, session->name,
                               session->identity->authority);
    return g_strdup_printf(_("The certificate of host '%1$s' is refused: %2$s It is for '%3$s', "
                             "and the authority is '%4$s'."),
                           session->host, why, names, session->identity->authority);
}

/* Called by GnuTLS within the handshake; anything but 0 ends it. */
static int
judgePeer(gnutls_session_t tls)
{
    tlsSession *session = gnutls_session_get_ptr(tls);
    gnutls_x509_crt_t cert = peerCert(tls);

    if (!cert) {
        session->refusal = g_strdup_printf(_("Host '%1$s' showed no certificate."), session->host);
        return GNUTLS_E_CERTIFICATE_ERROR;
    }
    session->refusal = judgeChain(session, cert);
    session->peer = tlsNames(cert);
    gnutls_x509_crt_deinit(cert);
    return session->refusal ? GNUTLS_E_CERTIFICATE_ERROR : 0;
}

int
tlsGiveSecret(gnutls_session_t tls, const char *name, gnutls_datum_t *key)
{
    const tlsSession *session = gnutls_session_get_ptr(tls);

    if (!name || !g_str_equal(name, tlsSecretName))
        return -1;
    /* GnuTLS frees it. */
    key->data = gnutls_malloc(TLS_SECRET_BYTES);
    if (!key->data)
        return -1;
    memcpy(key->data, session->identity->secret, TLS_SECRET_BYTES);
    key->size = TLS_SECRET_BYTES;
    return 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

static bool
priorityBad(const char *priority, const char *at, int rc, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("TLS priority '%1$s' is not understood at '%2$s': %3$s"), priority, at, gnutls_strerror(rc));
    return false;
}

bool
tlsCheckPriority(const char *priority, GError **error)
{
    const unsigned *versions = NULL;
    gnutls_priority_t cache = NULL;
    const char *at = priority;
    int rc = gnutls_priority_init(&cache, priority, &at);
    bool ok = false;
    int count;

    if (rc < 0)
        return priorityBad(priority, at, rc, error);
    count = gnutls_priority_protocol_list(cache, &versions);
    for (int i = 0; i < count; i++)
        ok = ok || versions[i] == GNUTLS_TLS1_3;
    gnutls_priority_deinit(cache);
    if (!ok)
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("TLS priority '%1$s' leaves out TLS 1.3, and no older version is secure enough."), priority);
    return ok;
}

static int
sessionSetCredentials(tlsSession *session)
{
    const tlsIdentity *identity = session->identity;

    if (identity->cred)
        return gnutls_credentials_set(session->tls, GNUTLS_CRD_CERTIFICATE, identity->cred);
    return gnutls_credentials_set(session->tls, GNUTLS_CRD_PSK,
                                  session->side == TLS_CLIENT ? (void *)identity->pskClient : (void *)identity->pskServer);
}

static bool
sessionSetUp(tlsSession *session, const char *priority, GError **error)
{
    /* A key exchange that the administrator's string need not know of; it is used by those alone who have a secret. */
    g_autofree char *all = g_strconcat(priority, session->identity->cred ? "" : ":+ECDHE-PSK:+DHE-PSK:-PSK", NULL);
    const char *at = all;
    int rc = gnutls_priority_set_direct(session->tls, all, &at);

    if (rc < 0)
        return priorityBad(priority, at, rc, error);
    rc = sessionSetCredentials(session);
    if (rc < 0) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INTERNAL, _("TLS cannot be used: %1$s"),
                    gnutls_strerror(rc));
        return false;
    }
    if (!baseFdSetNonblock(session->fd, true)) {
        baseSetErrno(error, errno, _("The socket cannot be made non-blocking"));
        return false;
    }
    gnutls_session_set_ptr(session->tls, session);
    if (session->identity->cred) {
        if (session->side == TLS_SERVER)
            gnutls_certificate_server_set_request(session->tls, GNUTLS_CERT_REQUIRE);
        gnutls_session_set_verify_function(session->tls, judgePeer);
    }
    gnutls_transport_set_int(session->tls, session->fd);
    return true;
}

tlsSession *
tlsSessionNew(int fd, tlsSide side, tlsIdentity *identity, const tlsExpect *expect,
              const char *priority, GError **error)
{
    g_autoptr(tlsSession) session = g_new0(tlsSession, 1);
    unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS;
    int rc;

    session->side = side;
    session->fd = fd;
    session->identity = tlsIdentityRef(identity);
    session->host = g_strdup(expect->host ? expect->host : "?");
    session->name = g_strdup(expect->name);
    rc = gnutls_init(&session->tls, flags | (side == TLS_SERVER ? GNUTLS_SERVER : GNUTLS_CLIENT));
    if (rc < 0) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INTERNAL, _("TLS cannot be used: %1$s"),
                    gnutls_strerror(rc));
        return NULL;
    }
    if (!sessionSetUp(session, priority ? priority : TLS_PRIORITY_DEFAULT, error))
        return NULL;
    return g_steal_pointer(&session);
}

void
tlsSessionFree(tlsSession *session)
{
    if (!session)
        return;
    if (session->tls)
        gnutls_deinit(session->tls);
    tlsBulkFree(session->bulk);
    tlsIdentityUnref(session->identity);
    g_free(session->host);
    g_free(session->name);
    g_free(session->refusal);
    g_free(session->peer);
    g_free(session);
}

/* ---- errors --------------------------------------------------------------------------------- */

/* How GnuTLS says that a proof by secret failed. */
static bool
sessionNoSecret(int rc)
{
    return rc == GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER || rc == GNUTLS_E_DECRYPTION_FAILED ||
        rc == GNUTLS_E_INSUFFICIENT_CREDENTIALS || rc == GNUTLS_E_NO_CIPHER_SUITES ||
        rc == GNUTLS_E_ERROR_IN_FINISHED_PACKET;
}

/* It has, or wants, another version than the only one here. */
static bool
sessionOtherVersion(const tlsSession *session, int rc)
{
    return rc == GNUTLS_E_UNSUPPORTED_VERSION_PACKET ||
        (rc == GNUTLS_E_FATAL_ALERT_RECEIVED && gnutls_alert_get(session->tls) == GNUTLS_A_PROTOCOL_VERSION);
}

static void
sessionSetError(tlsSession *session, int rc, GError **error)
{
    const char *alert = NULL;

    if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
        alert = gnutls_alert_get_name(gnutls_alert_get(session->tls));
    if (session->refusal)
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED, session->refusal);
    else if (sessionOtherVersion(session, rc))
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("Host '%1$s' does not speak TLS 1.3, which is needed."), session->host);
    else if (alert)
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("Host '%1$s' refused the TLS connection: %2$s. Its log says more."),
                    session->host, alert);
    else if (!session->identity->cred && sessionNoSecret(rc))
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("Host '%1$s' does not know the migration's token, or somebody is in between."), session->host);
    else if (rc == GNUTLS_E_PREMATURE_TERMINATION)
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The TLS connection to host '%1$s' was cut: it ended without a word."),
                    session->host);
    else
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The TLS connection to host '%1$s' failed: %2$s"), session->host,
                    gnutls_strerror(rc));
}

/* ---- handshake ------------------------------------------------------------------------------ */

static bool
handshakeWait(tlsSession *session, int cancelFd, gint64 until, GError **error)
{
    struct pollfd fds[] = {
        { .fd = session->fd, .events = gnutls_record_get_direction(session->tls) ? POLLOUT : POLLIN },
        { .fd = cancelFd, .events = POLLIN },
    };
    gint64 left = (until - g_get_monotonic_time()) / 1000;
    int n;

    if (left <= 0) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_TIMEOUT,
                    _("Host '%1$s' did not complete the TLS handshake in time."), session->host);
        return false;
    }
    n = poll(fds, G_N_ELEMENTS(fds), left);
    if (n < 0 && errno != EINTR) {
        baseSetErrno(error, errno, _("Waiting for the TLS handshake failed"));
        return false;
    }
    if (n > 0 && fds[1].revents) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_ABORTED, _("The TLS handshake was given up."));
        return false;
    }
    return true;
}

/* A session is never good because nobody looked: with a secret it was used, with certificates one was judged. */
static bool
handshakeProved(tlsSession *session, GError **error)
{
    gnutls_kx_algorithm_t kx = gnutls_kx_get(session->tls);
    bool bySecret = kx == GNUTLS_KX_ECDHE_PSK || kx == GNUTLS_KX_DHE_PSK;

    if (session->identity->cred ? !bySecret && session->peer : bySecret)
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("Host '%1$s' has not proved who it is."), session->host);
    return false;
}

bool
tlsHandshake(tlsSession *session, int cancelFd, unsigned timeoutMs, GError **error)
{
    gint64 until = g_get_monotonic_time() + (gint64)timeoutMs * 1000;
    int rc;

    while ((rc = gnutls_handshake(session->tls)) < 0) {
        if (gnutls_error_is_fatal(rc)) {
            /* Tell the other side why before the socket ends. */
            gnutls_alert_send_appropriate(session->tls, rc);
            sessionSetError(session, rc, error);
            return false;
        }
        /* A peer can keep it busy with warnings, but not for longer than it has. */
        if ((rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED || (rc < 0 && g_get_monotonic_time() >= until)) &&
            !handshakeWait(session, cancelFd, until, error))
            return false;
    }
    /* Whatever the administrator's priority string permits. */
    if (gnutls_protocol_get_version(session->tls) != GNUTLS_TLS1_3) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("Host '%1$s' speaks %2$s only; TLS 1.3 is needed."), session->host,
                    gnutls_protocol_get_name(gnutls_protocol_get_version(session->tls)));
        return false;
    }
    return handshakeProved(session, error);
}

char *
tlsCipher(const tlsSession *session)
{
    return g_strdup_printf("TLS 1.3, %s", gnutls_cipher_get_name(gnutls_cipher_get(session->tls)));
}

char *
tlsPeer(const tlsSession *session)
{
    if (!session->identity->cred)
        return g_strdup("knows the token");
    return g_strdup_printf("certificate of %s", session->peer ? session->peer : "?");
}

/* ---- bytes ---------------------------------------------------------------------------------- */

void
tlsForMuch(tlsSession *session)
{
    if (!session->bulk)
        session->bulk = tlsBulkNew(session->tls, session->fd);
}

gssize
tlsRead(tlsSession *session, void *buffer, gsize len, GError **error)
{
    gssize n = session->bulk ? tlsBulkRecv(session->bulk, buffer, len) : gnutls_record_recv(session->tls, buffer, len);

    if (n >= 0)
        return n;
    if (!gnutls_error_is_fatal(n))
        return -1;
    sessionSetError(session, n, error);
    return -2;
}

gssize
tlsWrite(tlsSession *session, const void *buffer, gsize len, GError **error)
{
    gssize n = session->bulk ? tlsBulkSend(session->bulk, buffer, len) : gnutls_record_send(session->tls, buffer, len);

    if (n >= 0)
        return n;
    if (!gnutls_error_is_fatal(n))
        return -1;
    sessionSetError(session, n, error);
    return -2;
}

gsize
tlsPending(const tlsSession *session)
{
    return gnutls_record_check_pending(session->tls);
}

int
tlsEnd(tlsSession *session, GError **error)
{
    int rc = session->bulk ? tlsBulkEnd(session->bulk) : gnutls_bye(session->tls, GNUTLS_SHUT_WR);

    if (rc == 0)
        return 0;
    if (!gnutls_error_is_fatal(rc))
        return -1;
    sessionSetError(session, rc, error);
    return -2;
}
