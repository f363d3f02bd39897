/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * params_rows.c: one row for every migration flag and parameter that a released libvirt defines
 *
 * To support one: give its row a field of migParams and take its reason away.
 */
#include "migration/params_rows.h"

#include "base/error.h"
#include "migration/relay.h"
#include "remote/uri.h"

#include <gio/gio.h>
#include <libvirt/libvirt-stratovirt.h>
#include <string.h>

#include "base/gettext.h"

#define FIELD(member) offsetof(migParams, member)
#define TRAIT(member) offsetof(vmmTraits, member)

/* libvirt's own limit for a string in a call */
#define TEXT_MAX (4 * 1024 * 1024)
#define URI_MAX 4096
/* NAME.xml must fit in a file name. */
#define NAME_MAX_BYTES 240
#define HOST_MAX 255
/* A page, and more than any guest can use. */
#define CACHE_MIN 4096
#define CACHE_MAX (UINT64_C(1) << 40)
/* The VMM counts bytes in a signed 64-bit number. */
#define MIBS_MAX ((uint64_t)INT64_MAX >> 20)

#define WHY_STORAGE \
    N_("This driver does not copy disks; put them on storage that both hosts share.")
#define WHY_THREADS \
    N_("This driver does not compress with several threads of their own, which VMMs have given up; use xbzrle, or zlib or " \
       "zstd with VIR_MIGRATE_PARALLEL.")
#define WHY_POSTCOPY \
    N_("This driver does not start a guest before its memory is complete, since a failure would " \
       "then lose it.")

static bool checkName(const char *name, char **text, GError **error);
static bool checkUri(const char *name, char **text, GError **error);
static bool checkAddress(const char *name, char **text, GError **error);
static bool checkTransport(const char *name, char **text, GError **error);

/* Without a guest that runs, nothing is sent, started, copied or slowed down: LIVE, TUNNELLED, PAUSED, NON_SHARED_*, COMPRESSED,
 * ABORT_ON_ERROR, AUTO_CONVERGE, POSTCOPY, TLS, PARALLEL. */
#define OFFLINE_EXCLUDES \
    (1UL << 0 | 1UL << 2 | 1UL << 5 | 1UL << 6 | 1UL << 7 | 1UL << 11 | 1UL << 12 | 1UL << 13 | 1UL << 15 | 1UL << 16 | 1UL << 17)

const migFlagRow migFlagRows[] = {
    { 1UL << 0, "VIR_MIGRATE_LIVE", FIELD(live), MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 0, 0, NULL,
      N_("The guest keeps running while its memory is sent; without it the guest is stopped "
         "first.") },
    { 1UL << 1, "VIR_MIGRATE_PEER2PEER", FIELD(peer2peer), MIG_SEND_ALWAYS, MIG_ACTS_SOURCE, 0, 0, NULL,
      N_("The source host coordinates and talks to the destination's libvirt by itself.") },
    { 1UL << 2, "VIR_MIGRATE_TUNNELLED", FIELD(tunnelled), MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 1UL << 17, 1UL << 1, NULL,
      N_("The data goes through the libvirt connection between the hosts.") },
    { 1UL << 3, "VIR_MIGRATE_PERSIST_DEST", FIELD(persistDest), MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 0, 0, NULL,
      N_("The guest is defined on the destination, so that it stays known there when it ends.") },
    { 1UL << 4, "VIR_MIGRATE_UNDEFINE_SOURCE", FIELD(undefineSource), MIG_SEND_ALWAYS, MIG_ACTS_SOURCE, 0, 0, NULL,
      N_("The definition on the source is removed after success.") },
    { 1UL << 5, "VIR_MIGRATE_PAUSED", FIELD(paused), MIG_SEND_ALWAYS, MIG_ACTS_DEST, 0, 0, NULL,
      N_("The guest stays paused on the destination.") },
    { 1UL << 6, "VIR_MIGRATE_NON_SHARED_DISK", MIG_NO_FIELD, MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 1UL << 7, 0,
      WHY_STORAGE, N_("Disks are copied whole.") },
    { 1UL << 7, "VIR_MIGRATE_NON_SHARED_INC", MIG_NO_FIELD, MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 1UL << 6, 0,
      WHY_STORAGE, N_("The top layers of the disks are copied.") },
    { 1UL << 8, "VIR_MIGRATE_CHANGE_PROTECTION", FIELD(changeProtection), MIG_SEND_NEVER, MIG_ACTS_SOURCE, 0, 0,
      NULL,
      N_("The definition cannot change while the guest migrates; this driver always sees to it.") },
    { 1UL << 9, "VIR_MIGRATE_UNSAFE", FIELD(unsafe), MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 0, 0, NULL,
      N_("Migrate although a check says that data may be lost.") },
    { 1UL << 10, "VIR_MIGRATE_OFFLINE", FIELD(offline), MIG_SEND_ALWAYS, MIG_ACTS_BOTH, OFFLINE_EXCLUDES, 1UL << 3,
      NULL, N_("Only the definition of a guest that is shut off is moved.") },
    { 1UL << 11, "VIR_MIGRATE_COMPRESSED", FIELD(compressed), MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 0, 0,
      NULL, N_("Memory is sent compressed: with xbzrle, which sends pages that were sent before as differences, or with "
               "VIR_MIGRATE_PARALLEL by zlib."),
      TRAIT(canXbzrle) },
    { 1UL << 12, "VIR_MIGRATE_ABORT_ON_ERROR", FIELD(abortOnError), MIG_SEND_NEVER, MIG_ACTS_SOURCE, 0, 0, NULL,
      N_("A disk error that stops the guest while it is sent ends the migration.") },
    { 1UL << 13, "VIR_MIGRATE_AUTO_CONVERGE", FIELD(autoConverge), MIG_SEND_NEVER, MIG_ACTS_SOURCE, 0, 0, NULL,
      N_("A guest that writes its memory faster than it can be sent is slowed down."),
      TRAIT(canAutoConverge) },
    { 1UL << 14, "VIR_MIGRATE_RDMA_PIN_ALL", MIG_NO_FIELD, MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 0, 0,
      N_("This driver does not send over RDMA."),
      N_("All memory is pinned before an RDMA migration.") },
    { 1UL << 15, "VIR_MIGRATE_POSTCOPY", MIG_NO_FIELD, MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 0, 0, WHY_POSTCOPY,
      N_("The guest may be started on the destination before its memory is complete.") },
    { 1UL << 16, "VIR_MIGRATE_TLS", FIELD(tls), MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 0, 0, NULL,
      N_("The data is encrypted with TLS: with the hosts' certificates, or else with keys that the hosts agree upon over secure "
         "libvirt connections.") },
    { 1UL << 17, "VIR_MIGRATE_PARALLEL", FIELD(parallel), MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 1UL << 2, 0,
      NULL, N_("Memory is sent over several connections: the VMM's own, or with the transport 'relay', and if the VMM makes but one, one "
               "stream that the relay spreads over them.") },
    { 1UL << 18, "VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES", MIG_NO_FIELD, MIG_SEND_ALWAYS, MIG_ACTS_SOURCE, 0,
      1UL << 6 | 1UL << 7, WHY_STORAGE,
      N_("The guest's disk writes wait until they are on both hosts.") },
    { 1UL << 19, "VIR_MIGRATE_POSTCOPY_RESUME", MIG_NO_FIELD, MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 0, 1UL << 15,
      WHY_POSTCOPY, N_("A post-copy migration whose connection broke is taken up again.") },
    { 1UL << 20, "VIR_MIGRATE_ZEROCOPY", MIG_NO_FIELD, MIG_SEND_ALWAYS, MIG_ACTS_SOURCE, 0, 1UL << 17,
      N_("This driver does not use zero-copy sending."),
      N_("Memory is sent without a copy in the kernel.") },
    { VIR_MIGRATE_SECURE, "VIR_MIGRATE_SECURE", FIELD(secure), MIG_SEND_ALWAYS, MIG_ACTS_BOTH, 0, 0, NULL,
      N_("The guest is migrated only if nobody can read or alter its memory on the way; the driver chooses how.") },
};
const size_t migFlagRowCount = G_N_ELEMENTS(migFlagRows);

#define REFUSED_STRING(name, many, needs, why, text) \
    { name, VIR_TYPED_PARAM_STRING, many, MIG_NO_FIELD, 0, TEXT_MAX, NULL, \
      MIG_SEND_NEVER, MIG_ACTS_BOTH, needs, why, NULL, text }
#define REFUSED_NUMBER(name, type, unit, needs, why, text) \
    { name, type, false, MIG_NO_FIELD, 0, G_MAXUINT64, unit, \
      MIG_SEND_NEVER, MIG_ACTS_BOTH, needs, why, NULL, text }

const migParamRow migParamRows[] = {
    { VIR_MIGRATE_PARAM_URI, VIR_TYPED_PARAM_STRING, false, FIELD(uri), 0, URI_MAX, NULL,
      MIG_SEND_PREPARE, MIG_ACTS_BOTH, 0, NULL, checkUri,
      N_("Where the source sends the data, such as tcp://HOST:PORT.") },
    { VIR_MIGRATE_PARAM_DEST_NAME, VIR_TYPED_PARAM_STRING, false, FIELD(destName), 0,
      NAME_MAX_BYTES, NULL, MIG_SEND_ALWAYS, MIG_ACTS_DEST, 0, NULL, checkName,
      N_("The guest's name on the destination.") },
    { VIR_MIGRATE_PARAM_DEST_XML, VIR_TYPED_PARAM_STRING, false, FIELD(destXml), 0, TEXT_MAX, NULL,
      MIG_SEND_PREPARE, MIG_ACTS_BOTH, 0, NULL, NULL,
      N_("The definition to start on the destination; it must look the same to the guest.") },
    { VIR_MIGRATE_PARAM_PERSIST_XML, VIR_TYPED_PARAM_STRING, false, FIELD(persistXml), 0, TEXT_MAX,
      NULL, MIG_SEND_PREPARE, MIG_ACTS_SOURCE, 1UL << 3, NULL, NULL,
      N_("The definition to keep on the destination.") },
    { VIR_MIGRATE_PARAM_BANDWIDTH, VIR_TYPED_PARAM_ULLONG, false, FIELD(bandwidthMiBs), 0, MIBS_MAX,
      "MiB/s", MIG_SEND_PREPARE, MIG_ACTS_SOURCE, 0, NULL, NULL,
      N_("The greatest speed at which to send, kept by the VMM or by the relay; 0 is the same as leaving it out.") },
    { VIR_MIGRATE_PARAM_GRAPHICS_URI, VIR_TYPED_PARAM_STRING, false, FIELD(graphicsUri), 0, URI_MAX,
      NULL, MIG_SEND_PREPARE, MIG_ACTS_BOTH, 0, NULL, NULL,
      N_("Accepted and without effect: these guests have no graphical display whose clients could "
         "be moved.") },
    { VIR_MIGRATE_PARAM_LISTEN_ADDRESS, VIR_TYPED_PARAM_STRING, false, FIELD(listenAddress), 0,
      HOST_MAX, NULL, MIG_SEND_PREPARE, MIG_ACTS_DEST, 0, NULL, checkAddress,
      N_("The address or name of the destination on which it waits for the data.") },
    { VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL, VIR_TYPED_PARAM_INT, false,
      FIELD(autoConvergeInitial), 1, 99, "%", MIG_SEND_NEVER, MIG_ACTS_SOURCE, 1UL << 13, NULL, NULL,
      N_("How much the guest is slowed down at first.") },
    { VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT, VIR_TYPED_PARAM_INT, false,
      FIELD(autoConvergeIncrement), 1, 99, "%", MIG_SEND_NEVER, MIG_ACTS_SOURCE, 1UL << 13, NULL, NULL,
      N_("How much more the guest is slowed down each time that was not enough.") },
    REFUSED_NUMBER(VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY, VIR_TYPED_PARAM_ULLONG, "MiB/s", 0,
                   WHY_POSTCOPY,
                   N_("The greatest speed after the guest was started on the destination.")),
    REFUSED_NUMBER(
        VIR_MIGRATE_PARAM_BANDWIDTH_AVAIL_SWITCHOVER, VIR_TYPED_PARAM_ULLONG, "B/s", 0,
        N_("This driver measures by itself what the network carries at the switch-over."),
        N_("The speed to expect at the switch-over.")),
    REFUSED_STRING(VIR_MIGRATE_PARAM_MIGRATE_DISKS, true, 0, WHY_STORAGE, N_("The disks to copy.")),
    REFUSED_STRING(VIR_MIGRATE_PARAM_MIGRATE_DISKS_DETECT_ZEROES, true, 0, WHY_STORAGE,
                   N_("The disks whose blocks of zeroes are not copied.")),
    REFUSED_STRING(VIR_MIGRATE_PARAM_MIGRATE_DISKS_TARGET_ZERO, true, 0, WHY_STORAGE,
                   N_("The disks that are known to be full of zeroes on the destination.")),
    REFUSED_NUMBER(VIR_MIGRATE_PARAM_DISKS_PORT, VIR_TYPED_PARAM_INT, NULL, 0, WHY_STORAGE,
                   N_("The port for the copy of the disks.")),
    REFUSED_STRING(VIR_MIGRATE_PARAM_DISKS_URI, false, 0, WHY_STORAGE,
                   N_("Where to the disks are copied.")),
    { VIR_MIGRATE_PARAM_COMPRESSION, VIR_TYPED_PARAM_STRING, true, FIELD(compression), 0, HOST_MAX, NULL,
      MIG_SEND_PREPARE, MIG_ACTS_BOTH, 1UL << 11, NULL, migCompressCheckName,
      N_("The method of compression: 'xbzrle' by the VMM, 'zstd' or 'lz4' by the relay; with VIR_MIGRATE_PARALLEL 'zlib' or 'zstd' by the "
         "VMM, but by the relay 'zstd' or 'lz4' where it spreads one stream.") },
    REFUSED_NUMBER(VIR_MIGRATE_PARAM_COMPRESSION_MT_LEVEL, VIR_TYPED_PARAM_INT, NULL, 1UL << 11, WHY_THREADS,
                   N_("The level of compression with several threads.")),
    REFUSED_NUMBER(VIR_MIGRATE_PARAM_COMPRESSION_MT_THREADS, VIR_TYPED_PARAM_INT, NULL, 1UL << 11, WHY_THREADS,
                   N_("The number of threads that compress.")),
    REFUSED_NUMBER(VIR_MIGRATE_PARAM_COMPRESSION_MT_DTHREADS, VIR_TYPED_PARAM_INT, NULL, 1UL << 11, WHY_THREADS,
                   N_("The number of threads that decompress.")),
    { VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE, VIR_TYPED_PARAM_ULLONG, false, FIELD(xbzrleCacheBytes), CACHE_MIN,
      CACHE_MAX, "B", MIG_SEND_NEVER, MIG_ACTS_SOURCE, 1UL << 11, NULL, NULL,
      N_("The size of the cache of pages that were sent before, a power of two; without it what virsh migrate-compcache "
         "set, else 64 MiB."), 0, migParamsCheckCache },
    { VIR_MIGRATE_PARAM_COMPRESSION_ZLIB_LEVEL, VIR_TYPED_PARAM_INT, false, FIELD(zlibLevel), 1, 9, NULL,
      MIG_SEND_NEVER, MIG_ACTS_SOURCE, 1UL << 11, NULL, NULL, N_("The level of compression with zlib.") },
    { VIR_MIGRATE_PARAM_COMPRESSION_ZSTD_LEVEL, VIR_TYPED_PARAM_INT, false, FIELD(zstdLevel), 1, 20, NULL,
      MIG_SEND_NEVER, MIG_ACTS_SOURCE, 1UL << 11, NULL, NULL, N_("The level of compression with zstd.") },
    { VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS, VIR_TYPED_PARAM_INT, false, FIELD(parallelConnections), 1,
      MIG_PARALLEL_MAX, NULL, MIG_SEND_PREPARE, MIG_ACTS_BOTH, 1UL << 17, NULL, NULL,
      N_("The number of connections, beside the one that leads; 2 if it is left out.") },
    { VIR_MIGRATE_PARAM_TLS_DESTINATION, VIR_TYPED_PARAM_STRING, false, FIELD(tlsDestination), 0, HOST_MAX, NULL,
      MIG_SEND_NEVER, MIG_ACTS_SOURCE, 0, NULL, NULL,
      N_("The name that the destination's certificate must bear; its host name if it is left out.") },
    { MIG_PARAM_DRY_RUN, VIR_TYPED_PARAM_BOOLEAN, false, FIELD(dryRun), 0, 1, NULL, MIG_SEND_PREPARE, MIG_ACTS_BOTH, 0,
      NULL, NULL, N_("All checks of both hosts are made and no guest is touched.") },
    { MIG_PARAM_TRANSPORT, VIR_TYPED_PARAM_STRING, false, FIELD(transport), 0, HOST_MAX, NULL, MIG_SEND_PREPARE, MIG_ACTS_BOTH, 0,
      NULL, checkTransport,
      N_("What carries the data: 'native', from VMM to VMM, 'relay', through the two daemons, or 'auto', which leaves the choice to the "
         "driver.") },
};
const size_t migParamRowCount = G_N_ELEMENTS(migParamRows);

static bool
checkName(const char *name, char **text, GError **error)
{
    const char *blank = *text + strspn(*text, " ");
    const char *p;

    if (!*blank || g_str_equal(*text, ".") || g_str_equal(*text, "..")) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration parameter '%1$s' is '%2$s', which cannot be a guest's name."),
                    name, *text);
        return false;
    }
    /* The name becomes a file name on the destination. */
    for (p = *text; *p; p++) {
        if (*p == '/' || g_ascii_iscntrl(*p)) {
            g_autofree char *shown = g_strescape(*text, NULL);

            g_set_error(
                error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("The migration parameter '%1$s' is '%2$s', but a guest's name cannot contain "
                  "a slash, a line end or another control character."),
                name, shown);
            return false;
        }
    }
    return true;
}

static bool
checkUri(const char *name, char **text, GError **error)
{
    g_autoptr(uri) parsed = uriParse(*text, error);

    if (!parsed) {
        g_prefix_error(error, _("The migration parameter '%1$s' cannot be used: "), name);
        return false;
    }
    return true;
}

static bool
checkTransport(const char *name, char **text, GError **error)
{
    static const char *const transports[] = { "auto", "native", "relay", NULL };
    g_autofree char *shown = NULL;

    if (g_strv_contains(transports, *text))
        return true;
    shown = g_strescape(*text, NULL);
    g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("The migration parameter '%1$s' is '%2$s', but must be '%3$s', '%4$s' or '%5$s'."), name, shown,
                transports[0], transports[1], transports[2]);
    return false;
}

static bool
isHostName(const char *text)
{
    const char *label = text;

    for (const char *p = text;; p++) {
        if (*p == '.' || *p == '\0') {
            if (p == label || p - label > 63 || *label == '-' || p[-1] == '-')
                return false;
            /* A name may end with the root's dot. */
            if (*p == '\0' || p[1] == '\0')
                return true;
            label = p + 1;
        } else if (!g_ascii_isalnum(*p) && *p != '-' && *p != '_') {
            return false;
        }
    }
}

/* Nothing but digits and dots is a mistyped address, not a name. */
static bool
looksNumeric(const char *text)
{
    return text[strspn(text, "0123456789.")] == '\0';
}

static bool
checkAddress(const char *name, char **text, GError **error)
{
    size_t len = strlen(*text);

    if (len > 2 && (*text)[0] == '[' && (*text)[len - 1] == ']') {
        g_autofree char *inner = g_strndup(*text + 1, len - 2);

        if (strchr(inner, ':') && g_hostname_is_ip_address(inner)) {
            g_free(*text);
            *text = g_steal_pointer(&inner);
            return true;
        }
    } else if (g_hostname_is_ip_address(*text) || (!looksNumeric(*text) && isHostName(*text))) {
        return true;
    }
    g_set_error(
        error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
        _("The migration parameter '%1$s' is '%2$s', which is neither an address nor a host name."),
        name, *text);
    return false;
}

bool
migParamsCheckCache(const char *name, uint64_t bytes, GError **error)
{
    if (bytes >= CACHE_MIN && bytes <= CACHE_MAX && (bytes & (bytes - 1)) == 0)
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("'%1$s' is %2$llu bytes, but must be a power of two between %3$llu and %4$llu."), name,
                (unsigned long long)bytes, (unsigned long long)CACHE_MIN, (unsigned long long)CACHE_MAX);
    return false;
}
