/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* way.c: see way.h */
#include "base/gettext.h"
#include "base/error.h"
#include "migration/job_priv.h"
#include "migration/way.h"

#include <string.h>

/* ---- facts ---------------------------------------------------------------------------------- */

static void
ownCertificates(const migJob *job, migWayFacts *ret)
{
    tlsSide side = job->record.side == MIG_SIDE_SOURCE ? TLS_CLIENT : TLS_SERVER;
    g_autoptr(tlsIdentity) identity = NULL;
    g_autoptr(GError) error = NULL;

    if (!job->env->tlsDir) {
        ret->trouble = g_strdup(_("No folder for certificates is set."));
        return;
    }
    identity = tlsIdentityFromDir(job->env->tlsDir, side, &error);
    ret->certificates = identity != NULL;
    if (error)
        ret->trouble = g_strdup(error->message);
}

/* What is configured is for those who have no wish of their own; a tunnel leaves no choice. */
static migAsk
wayAsk(const migJob *job)
{
    migAsk ask;

    if (job->params.transport)
        /* "auto" is none of them. */
        return migAskFromString(job->params.transport, &ask) ? ask : MIG_ASK_ANY;
    /* The configuration is for all VMMs of the host. */
    if (job->relayByDefault && job->env->ask == MIG_ASK_NATIVE)
        return MIG_ASK_ANY;
    if (migRelayNeeded(&job->params) || job->params.tunnelled || job->params.tls || job->params.secure || job->env->secure != MIG_POLICY_OFF)
        return MIG_ASK_ANY;
    return job->env->ask;
}

void
migWayOwn(migJob *job, migWayFacts *ret)
{
    *ret = (migWayFacts){
        .policy = job->env->secure,
        .conn = job->conn,
        .ask = wayAsk(job),
        .relayByDefault = job->relayByDefault,
        .spread = job->spread,
    };
    ownCertificates(job, ret);
}

static migProcess
wayProcess(const migJob *job)
{
    if (job->record.direct)
        return MIG_PROCESS_DIRECT;
    if (job->params.tunnelled)
        return MIG_PROCESS_TUNNEL;
    return job->params.peer2peer ? MIG_PROCESS_PEER : MIG_PROCESS_MANAGED;
}

static migWish
wayWish(const migJob *job)
{
    return job->params.tls ? MIG_WISH_TLS : job->params.secure ? MIG_WISH_SECURE : MIG_WISH_NONE;
}

/* The connection that keys would be told over: as weak as the weaker host says that it is. */
static migConn
wayConn(const migWayFacts *source, const migWayFacts *dest)
{
    return migConnIsSecure(source->conn) ? dest->conn : source->conn;
}

/* "host 'h1': ...; host 'h2': ..."; NULL: both are in order. */
static char *
wayTrouble(const migWayFacts *source, const migWayFacts *dest)
{
    GString *text;

    if (source->certificates && dest->certificates)
        return NULL;
    text = g_string_new(NULL);
    if (!source->certificates)
        g_string_append_printf(text, _("on the source: %1$s"), source->trouble ? source->trouble : _("none are there."));
    if (!dest->certificates) {
        if (text->len)
            g_string_append(text, "; ");
        g_string_append_printf(text, _("on the destination: %1$s"), dest->trouble ? dest->trouble : _("none are there."));
    }
    return g_string_free(text, FALSE);
}

/* ---- the decision --------------------------------------------------------------------------- */

/* How the port's connections are secured.  Of a secure tunnel only questions about the outcome come there, after it has ended; the
 * libvirt connection has told the token to nobody else. */
static migKeys
recordKeys(const migSecurityOut *way)
{
    return way->channel == MIG_CHANNEL_TUNNEL && way->secure ? MIG_KEYS_TOKEN : way->keys;
}

static bool
wayDecide(migJob *job, const migWayFacts *source, const migWayFacts *dest, GError **error)
{
    g_autofree char *trouble = wayTrouble(source, dest);
    const migSecurityIn in = {
        .process = wayProcess(job),
        .conn = wayConn(source, dest),
        /* The source's word: it knows the user's wish. */
        .ask = source->ask,
        .wish = wayWish(job),
        .source = source->policy,
        .dest = dest->policy,
        .certificates = source->certificates && dest->certificates,
        .trouble = trouble,
        .relayByDefault = source->relayByDefault || migRelayNeeded(&job->params),
    };

    if (in.ask == MIG_ASK_NATIVE && source->relayByDefault) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                            _("The transport 'native' was asked for, but the VMM of the source can only send through the relay, which has its switch-over in hand."));
        return false;
    }
    if (!migSecurityDecide(&in, &job->way, error))
        return false;
    g_mutex_lock(&job->lock);
    job->record.keys = recordKeys(&job->way);
    g_free(job->stats.transport);
    job->stats.transport = migRelayTitle(job);
    g_mutex_unlock(&job->lock);
    g_message("%s: the data takes the channel '%s'%s%s%s (%s, libvirt connection %s, wish %s, migrate_secure %s here and %s there)",
              job->record.uuid, migChannelToString(job->way.channel), job->way.keys ? " with " : "",
              job->way.keys ? migKeysToString(job->way.keys) : "", job->way.secure ? ", which is secure" : "",
              migProcessToString(in.process), migConnToString(in.conn), migWishToString(in.wish),
              migPolicyToString(job->record.side == MIG_SIDE_SOURCE ? source->policy : dest->policy),
              migPolicyToString(job->record.side == MIG_SIDE_SOURCE ? dest->policy : source->policy));
    if (trouble && job->way.channel == MIG_CHANNEL_TLS)
        g_message("%s: certificates are not used: %s", job->record.uuid, trouble);
    return true;
}

static helloKeys
keysOf(const migSecurityOut *way)
{
    migKeys keys = recordKeys(way);

    return keys == MIG_KEYS_NONE ? HELLO_KEYS_PLAIN : keys == MIG_KEYS_X509 ? HELLO_KEYS_X509 : HELLO_KEYS_TOKEN;
}

/* Nothing is known of the source yet: which ways might the whole story end with? */
static bool
wayForesee(migJob *job, const migWayFacts *own, GError **error)
{
    migWayFacts source = { .policy = MIG_POLICY_OFF, .conn = own->conn, .certificates = true };
    bool need = own->policy == MIG_POLICY_REQUIRE || wayWish(job) != MIG_WISH_NONE;

    if (need && !wayDecide(job, &source, own, error))
        return false;
    job->keys = need ? 0 : HELLO_KEYS_PLAIN;
    if (own->certificates)
        job->keys |= HELLO_KEYS_X509;
    if (migConnIsSecure(own->conn))
        job->keys |= HELLO_KEYS_TOKEN;
    return true;
}

bool
migWayChoose(migJob *job, const migCookie *remote, GError **error)
{
    g_auto(migWayFacts) own = { 0 };
    helloKeys keys, arrived;

    migWayOwn(job, &own);
    if (!remote)
        return wayForesee(job, &own, error);
    if (!migRelayAgree(job, remote->way.spread, error) || !wayDecide(job, &remote->way, &own, error))
        return false;
    keys = keysOf(&job->way);
    job->keys = keys;
    /* Versions 1 and 2 had left more open.  Closed first, so that nothing else can arrive behind the look at what has. */
    if (job->record.hasToken)
        listenerNarrow(job->env->listen, job->record.token, keys);
    g_mutex_lock(&job->lock);
    arrived = job->arrivedKeys;
    g_mutex_unlock(&job->lock);
    if (arrived && arrived != keys) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The source has connected in another way than '%1$s', which was to be taken."),
                    migChannelToString(job->way.channel));
        return false;
    }
    return true;
}

/* The job has nothing but what the decision needs; the strings of its parameters are borrowed. */
static bool
wayForecast(migJob *job, const migCookie *remote, char **ret, GError **error)
{
    g_auto(migWayFacts) own = { 0 };

    migWayOwn(job, &own);
    if (!migRelayAgree(job, remote->way.spread, error) || !wayDecide(job, &remote->way, &own, error))
        return false;
    *ret = g_strdup_printf(job->way.secure ?
                           _("The data would take the channel '%1$s', which is secure (the libvirt connection is '%2$s', asked for is '%3$s', "
                             "migrate_secure is '%4$s' on the source and '%5$s' on the destination).") :
                           _("The data would take the channel '%1$s', which is not secure (the libvirt connection is '%2$s', asked for is '%3$s', "
                             "migrate_secure is '%4$s' on the source and '%5$s' on the destination)."),
                           job->stats.transport, migConnToString(wayConn(&remote->way, &own)), migWishToString(wayWish(job)),
                           migPolicyToString(remote->way.policy), migPolicyToString(own.policy));
    return true;
}

bool
migWayForecast(const migEnv *env, migConn conn, const migParams *params, const migCookie *remote, char **ret, GError **error)
{
    const migRecord record = { .side = MIG_SIDE_DEST, .phase = MIG_PHASE_ABSENT, .uuid = remote->uuid };
    g_autoptr(migJob) job = migJobNew(env, &record, NULL, NULL, NULL);
    bool ok;

    job->conn = conn;
    job->params = *params;
    ok = wayForecast(job, remote, ret, error);
    memset(&job->params, 0, sizeof(job->params));
    return ok;
}

bool
migWayVerify(migJob *job, const migCookie *cookie, GError **error)
{
    g_auto(migWayFacts) own = { 0 };

    migWayOwn(job, &own);
    if (!wayDecide(job, &own, &cookie->way, error))
        return false;
    /* In versions 1 and 2 it could not decide yet. */
    if (job->version >= 3 && cookie->channel &&
        (cookie->channel != job->way.channel || cookie->keys != job->way.keys)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("Host '%1$s' has chosen the channel '%2$s' for the data, but by what both hosts say it has to be '%3$s': "
                      "somebody may have altered what they told each other."),
                    cookie->hostName, migChannelToString(cookie->channel), migChannelToString(job->way.channel));
        return false;
    }
    if (job->way.keys == MIG_KEYS_X509) {
        /* A name that came over a connection which anybody can alter proves nothing; the one by which this host connected does. */
        const char *name = job->params.tlsDestination ? job->params.tlsDestination :
            job->connHost && !migConnIsSecure(job->conn) ? job->connHost : cookie->hostName;

        g_mutex_lock(&job->lock);
        g_free(job->record.tlsName);
        job->record.tlsName = g_strdup(name);
        g_mutex_unlock(&job->lock);
    }
    return true;
}

bool
migWayLocal(migJob *job, bool unixSocket, GError **error)
{
    const migWayFacts own = {
        .policy = job->env->secure,
        .ask = unixSocket ? MIG_ASK_UNIX : MIG_ASK_ANY,
    };

    return wayDecide(job, &own, &own, error);
}

/* ---- connections ---------------------------------------------------------------------------- */

helloKeys
migWayKeys(migJob *job)
{
    return job->keys;
}

void
migWayArrived(migJob *job, helloKeys keys)
{
    g_mutex_lock(&job->lock);
    job->arrivedKeys = keys;
    g_mutex_unlock(&job->lock);
    listenerNarrow(job->env->listen, job->record.token, keys);
}

const helloSecurity *
migWaySecurity(const migJob *job, helloSecurity *ret)
{
    if (job->record.keys == MIG_KEYS_NONE)
        return NULL;
    *ret = (helloSecurity){
        .keys = job->record.keys == MIG_KEYS_X509 ? HELLO_KEYS_X509 : HELLO_KEYS_TOKEN,
        .dir = job->env->tlsDir,
        .name = job->record.tlsName,
        .priority = job->env->tlsPriority,
    };
    return ret;
}

void
migWayNote(migJob *job, const helloConn *conn)
{
    g_autofree char *cipher = conn->tls ? tlsCipher(conn->tls) : NULL;
    g_autofree char *identity = conn->tls ? tlsPeer(conn->tls) : NULL;

    if (!cipher)
        return;
    g_message("%s: data over %s, other side: %s", job->record.uuid, cipher, identity);
    g_mutex_lock(&job->lock);
    g_free(job->stats.cipher);
    g_free(job->stats.peerIdentity);
    job->stats.cipher = g_steal_pointer(&cipher);
    job->stats.peerIdentity = g_steal_pointer(&identity);
    g_mutex_unlock(&job->lock);
}

void
migWayTell(migJob *job, char *peer)
{
    g_autofree char *transport = NULL;
    bool first;

    g_mutex_lock(&job->lock);
    first = !job->stats.peer;
    if (first)
        job->stats.peer = g_strdup(peer);
    transport = g_strdup(job->stats.transport);
    g_mutex_unlock(&job->lock);
    if (first)
        g_message("%s: the data %s '%s' by the transport '%s'", job->record.uuid,
                  job->record.side == MIG_SIDE_SOURCE ? "goes to" : "comes from", peer, transport ? transport : "?");
    g_free(peer);
}
