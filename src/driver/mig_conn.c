/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig_conn.c: of what kind a libvirt connection is: may secrets be told over it?
 *
 * Theory of operation: a daemon sees of its client what the server code tells as the identity of a call, also when a proxy daemon
 * stands in between: a user of this host (unix socket, SSH included), the name in a certificate (TLS), or neither.  TLS without client
 * certificates and TCP with SASL look like neither and are taken for what anybody can alter, which errs on the safe side.
 */
#include <config.h>

#include "driver/mig_priv.h"

#include "virerror.h"
#include "viridentity.h"
#include "virlog.h"
#include "virstring.h"
#include "viruri.h"

VIR_LOG_INIT("stratovirt.mig_conn");

migConn
migConnOfCaller(void)
{
    g_autoptr(virIdentity) identity = virIdentityGetCurrent();
    const char *name = NULL;
    uid_t uid;

    /* Without a daemon in between, as in stratovirt:///embed. */
    if (!identity)
        return MIG_CONN_UNIX;
    if (virIdentityGetX509DName(identity, &name) > 0 && name)
        return MIG_CONN_TLS;
    if (virIdentityGetUNIXUserID(identity, &uid) > 0)
        return MIG_CONN_UNIX;
    return MIG_CONN_TCP;
}

/* Does the URI say that the other side is not to be verified? */
static bool
connUnverified(const virURI *uri)
{
    for (size_t i = 0; i < uri->paramsCount; i++) {
        const virURIParam *param = &uri->params[i];

        /* In any case of letters, as libvirt reads them; "auto" takes whatever key an unknown host shows. */
        if (STRCASEEQ(param->name, "no_verify") && STRNEQ_NULLABLE(param->value, "0"))
            return true;
        if (STRCASEEQ(param->name, "known_hosts_verify") && (!param->value || STRCASENEQ(param->value, "normal")))
            return true;
    }
    return false;
}

migConn
migConnOfUri(const char *text, bool secure, char **retHost)
{
    g_autoptr(virURI) uri = text ? virURIParse(text) : NULL;
    const char *transport;

    if (!uri) {
        virResetLastError();
        return MIG_CONN_TCP;
    }
    *retHost = g_strdup(uri->server);
    if (!secure || connUnverified(uri))
        return MIG_CONN_TCP;
    transport = uri->scheme ? strchr(uri->scheme, '+') : NULL;
    if (!transport)
        return uri->server && *uri->server ? MIG_CONN_TLS : MIG_CONN_UNIX;
    if (STREQ(transport, "+unix"))
        return MIG_CONN_UNIX;
    if (strstr(transport, "ssh"))
        return MIG_CONN_SSH;
    /* TCP that libvirt calls secure has SASL's own encryption. */
    return MIG_CONN_TLS;
}

migConn
migConnOfDest(virConnectPtr dconn, char **retHost)
{
    g_autofree char *uri = virConnectGetURI(dconn);
    int secure = virConnectIsSecure(dconn);

    if (secure < 0)
        virResetLastError();
    return migConnOfUri(uri, secure > 0, retHost);
}
