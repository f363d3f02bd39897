/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * security.c: the table of channels
 *
 * Rows stand in the order in which they are preferred: secure ones first.  Without a wish for
 * security the first plain row that fits is taken, since a cipher costs time.
 */
#include "migration/security.h"

#include "base/error.h"
#include "base/gettext.h"

#define PROCESS(p) (1U << MIG_PROCESS_##p)
#define CONN(c) (1U << MIG_CONN_##c)
#define ASK(a) (1U << MIG_ASK_##a)

#define BY_LIBVIRT (PROCESS(MANAGED) | PROCESS(PEER))
#define CONN_SECURE (CONN(UNIX) | CONN(TLS) | CONN(SSH))
#define CONN_ANY (CONN_SECURE | CONN(TCP))

typedef struct {
    migChannel channel;
    migKeys keys;
    unsigned processes, conns, asks;
    bool needsCertificates;
    bool secure;
    bool tls;                    /* does what VIR_MIGRATE_TLS asks for */
    const char *remedy;          /* how to come by it; NULL: it is no remedy */
} channelRow;

static const channelRow rows[] = {
    /* Named by the URI of a direct migration; said by another host, it would be a lie. */
    { MIG_CHANNEL_UNIX, MIG_KEYS_NONE, PROCESS(DIRECT), CONN_ANY, ASK(UNIX), false, true, false,
      N_("migrate directly to a VMM of the same host over a socket of the kind unix") },
    { MIG_CHANNEL_TUNNEL, MIG_KEYS_NONE, PROCESS(TUNNEL), CONN_SECURE, ASK(ANY), false, true, true,
      N_("tunnel the data (VIR_MIGRATE_TUNNELLED) through a libvirt connection over TLS or SSH") },
    { MIG_CHANNEL_TLS, MIG_KEYS_X509, BY_LIBVIRT, CONN_ANY, ASK(ANY) | ASK(RELAY), true, true, true,
      N_("put certificates on both hosts (migrate_tls_dir in stratovirt.conf)") },
    { MIG_CHANNEL_TLS, MIG_KEYS_TOKEN, BY_LIBVIRT, CONN_SECURE, ASK(ANY) | ASK(RELAY), false, true, true,
      N_("use libvirt connections over TLS or SSH, such as stratovirt+tls://HOST/system") },
    { MIG_CHANNEL_NATIVE, MIG_KEYS_NONE, BY_LIBVIRT, CONN_ANY, ASK(ANY) | ASK(NATIVE), false, false, false, NULL },
    { MIG_CHANNEL_RELAY, MIG_KEYS_NONE, BY_LIBVIRT, CONN_ANY, ASK(ANY) | ASK(RELAY), false, false, false, NULL },
    { MIG_CHANNEL_TUNNEL, MIG_KEYS_NONE, PROCESS(TUNNEL), CONN(TCP), ASK(ANY), false, false, false, NULL },
    { MIG_CHANNEL_DIRECT, MIG_KEYS_NONE, PROCESS(DIRECT), CONN_ANY, ASK(ANY) | ASK(NATIVE) | ASK(RELAY), false, false, false,
      NULL },
};

BASE_ENUM_IMPL(migChannel, migChannel, MIG_CHANNEL_LAST, "none", "native", "relay", "tls", "tunnel", "unix", "direct")
BASE_ENUM_IMPL(migKeys, migKeys, MIG_KEYS_LAST, "none", "x509", "token")
BASE_ENUM_IMPL(migPolicy, migPolicy, MIG_POLICY_LAST, "off", "prefer", "require")
BASE_ENUM_IMPL(migProcess, migProcess, MIG_PROCESS_LAST, "client-managed", "peer-to-peer", "tunnelled", "direct")
BASE_ENUM_IMPL(migConn, migConn, MIG_CONN_LAST, "unix", "tcp", "tls", "ssh")
BASE_ENUM_IMPL(migAsk, migAsk, MIG_ASK_LAST, "any", "native", "relay", "unix")
BASE_ENUM_IMPL(migWish, migWish, MIG_WISH_LAST, "neither", "TLS", "SECURE")

void
migWayFactsClear(migWayFacts *facts)
{
    g_clear_pointer(&facts->trouble, g_free);
}

bool
migConnIsSecure(migConn conn)
{
    return (1U << conn) & CONN_SECURE;
}

/* ---- the decision --------------------------------------------------------------------------- */

static bool
rowFits(const channelRow *row, const migSecurityIn *in)
{
    return (row->processes & 1U << in->process) && (row->conns & 1U << in->conn) &&
        (row->asks & 1U << in->ask) && (in->certificates || !row->needsCertificates);
}

static bool
mustBeSecure(const migSecurityIn *in)
{
    return in->wish != MIG_WISH_NONE || in->source == MIG_POLICY_REQUIRE || in->dest == MIG_POLICY_REQUIRE;
}

static bool
mayBePlain(const migSecurityIn *in)
{
    return in->source == MIG_POLICY_OFF && in->dest == MIG_POLICY_OFF && !mustBeSecure(in);
}

static const channelRow *
findSecure(const migSecurityIn *in)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rowFits(&rows[i], in) && rows[i].secure && (rows[i].tls || in->wish != MIG_WISH_TLS))
            return &rows[i];
    }
    return NULL;
}

/* What is taken when nobody asks for more: the VMM's own way, or the only one. */
static const channelRow *
findPlain(const migSecurityIn *in)
{
    const channelRow *found = NULL;

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (!rowFits(&rows[i], in) || rows[i].channel == MIG_CHANNEL_TLS)
            continue;
        if (!found || (in->relayByDefault && rows[i].channel == MIG_CHANNEL_RELAY))
            found = &rows[i];
    }
    return found;
}

/* ---- the refusal ---------------------------------------------------------------------------- */

static char *
whoWants(const migSecurityIn *in)
{
    if (in->wish == MIG_WISH_TLS)
        return g_strdup(_("VIR_MIGRATE_TLS was given"));
    if (in->wish == MIG_WISH_SECURE)
        return g_strdup(_("VIR_MIGRATE_SECURE was given"));
    if (in->source == MIG_POLICY_REQUIRE)
        return g_strdup(_("the source host requires it (migrate_secure in its stratovirt.conf)"));
    return g_strdup(_("the destination host requires it (migrate_secure in its stratovirt.conf)"));
}

static char *
whatIsInsecure(const migSecurityIn *in)
{
    if (in->process == MIG_PROCESS_DIRECT)
        return g_strdup(_("a direct migration goes from VMM to VMM as it is"));
    if (in->process == MIG_PROCESS_TUNNEL)
        return g_strdup(_("the tunnel is a libvirt connection over plain TCP"));
    if (in->ask == MIG_ASK_NATIVE)
        return g_strdup(_("the native transport that was named is plain TCP"));
    if (in->ask == MIG_ASK_UNIX)
        return g_strdup(in->process == MIG_PROCESS_DIRECT ? _("a socket of the kind unix was named, which is not TLS") :
                        _("a socket of the kind unix leads to no other daemon"));
    if (in->conn != MIG_CONN_TCP)
        return g_strdup(_("the hosts have no certificates"));
    if (in->trouble)
        return g_strdup_printf(_("the hosts have no certificates that are in order (%1$s), and the libvirt connection over plain TCP "
                                 "cannot carry keys"), in->trouble);
    return g_strdup(_("the hosts have no certificates, and the libvirt connection over plain TCP cannot carry keys"));
}

/* Each secure row that something else than the request itself stands in the way of. */
static char *
remedies(const migSecurityIn *in)
{
    GString *text = g_string_new(NULL);
    unsigned n = 0;

    if (in->ask != MIG_ASK_ANY && in->process != MIG_PROCESS_DIRECT)
        g_string_append_printf(text, "(%u) %s", ++n, _("name no transport and let the driver choose"));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (!rows[i].remedy || (in->wish == MIG_WISH_TLS && !rows[i].tls))
            continue;
        g_string_append_printf(text, "%s(%u) %s", n ? "; " : "", n + 1, _(rows[i].remedy));
        n++;
    }
    return g_string_free(text, FALSE);
}

bool
migSecurityDecide(const migSecurityIn *in, migSecurityOut *ret, GError **error)
{
    const channelRow *row = mayBePlain(in) ? findPlain(in) : findSecure(in);
    g_autofree char *who = NULL;
    g_autofree char *what = NULL;
    g_autofree char *ways = NULL;

    *ret = (migSecurityOut){ MIG_CHANNEL_NONE, MIG_KEYS_NONE, false };
    if (!row && !mustBeSecure(in))
        row = findPlain(in);
    if (row) {
        *ret = (migSecurityOut){ row->channel, row->keys, row->secure };
        return true;
    }
    if (!mustBeSecure(in)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("The transport '%1$s' cannot be used in a migration that is %2$s."),
                    migAskToString(in->ask), migProcessToString(in->process));
        return false;
    }
    who = whoWants(in);
    what = whatIsInsecure(in);
    ways = remedies(in);
    g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                _("The data of the guest must be secure on its way, since %1$s, but it would not be: %2$s. "
                  "Any of these would make it so: %3$s."),
                who, what, ways);
    return false;
}

/* ---- for people ----------------------------------------------------------------------------- */

static void
tableRow(GString *text, const migSecurityIn *in)
{
    migSecurityOut out;
    g_autoptr(GError) ignored = NULL;
    bool ok = migSecurityDecide(in, &out, &ignored);

    g_string_append_printf(text, "%-14s  %-4s  %-6s  %-7s  %-7s  %-12s  %s",
                           migProcessToString(in->process), migConnToString(in->conn),
                           migAskToString(in->ask), migWishToString(in->wish),
                           migPolicyToString(in->source), in->certificates ? "certificates" : "-",
                           ok ? migChannelToString(out.channel) : "refused");
    g_string_append_printf(text, "%s%s%s\n", out.keys ? " " : "",
                           out.keys ? migKeysToString(out.keys) : "", out.secure ? ", secure" : "");
}

char *
migSecurityTable(void)
{
    GString *text = g_string_new(NULL);
    migSecurityIn in = { 0 };

    for (in.process = 0; in.process < MIG_PROCESS_LAST; in.process++)
        for (in.conn = 0; in.conn < MIG_CONN_LAST; in.conn++)
            for (in.ask = 0; in.ask < MIG_ASK_LAST; in.ask++)
                for (in.wish = 0; in.wish < MIG_WISH_LAST; in.wish++)
                    for (in.source = 0; in.source < MIG_POLICY_LAST; in.source++)
                        for (int certificates = 0; certificates < 2; certificates++) {
                            in.certificates = certificates;
                            tableRow(text, &in);
                        }
    return g_string_free(text, FALSE);
}
