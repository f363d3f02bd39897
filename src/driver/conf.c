/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Each key of stratovirt.conf is one row of keys[]: its type, where the value goes, the default and the range.
 * A file is checked against the table first, so that a misspelt key is an error and not a silent default.
 */
#include <config.h>

#include "driver/conf.h"

#include <limits.h>

#include "viralloc.h"
#include "virconf.h"
#include "virfile.h"
#include "virutil.h"
#include "viruuid.h"

#include "driver/compat.h"
#include "remote/tls.h"
#include "base/gettext.h"

typedef enum {
    KEY_NUMBER,
    KEY_TEXT,
    KEY_TEXTS,    /* one text or a list of texts */
} keyKind;

typedef struct {
    const char *name;
    keyKind kind;
    size_t offset;
    unsigned min, max, def;             /* KEY_NUMBER */
    const char *defText;                /* KEY_TEXT */
    const char *const *allowed;         /* KEY_TEXT, NULL ended; NULL: anything but an empty text */
} keyRow;

#define OFFSET(member) offsetof(drvConf, member)

static const char *const vmmNames[] = { "qemu", "stratovirt", NULL };
static const char *const stdioHandlers[] = { "logd", "file", NULL };

static const char *const transports[] = { "auto", "native", "relay", NULL };
static const char *const securePolicies[] = { "off", "prefer", "require", NULL };

static const keyRow keys[] = {
    { .name = "qemu_binary", .kind = KEY_TEXT, .offset = OFFSET(qemuBinary) },
    { .name = "stratovirt_binary", .kind = KEY_TEXT, .offset = OFFSET(stratovirtBinary) },
    { .name = "repaired_vmms", .kind = KEY_TEXTS, .offset = OFFSET(repairedVmms) },
    { .name = "incoming_unfiltered", .kind = KEY_NUMBER, .offset = OFFSET(incomingUnfiltered),
      .max = 1, .def = 1 },
    { .name = "default_vmm", .kind = KEY_TEXT, .offset = OFFSET(defaultVmm), .allowed = vmmNames },
    { .name = "migration_host", .kind = KEY_TEXT, .offset = OFFSET(migrationHost) },
    { .name = "migration_address", .kind = KEY_TEXTS, .offset = OFFSET(migrationAddresses) },
    { .name = "migration_listen", .kind = KEY_TEXT, .offset = OFFSET(migrationListen) },
    { .name = "migration_port", .kind = KEY_NUMBER, .offset = OFFSET(migrationPort),
      .min = 1, .max = 65535, .def = 49152 },
    { .name = "max_outgoing", .kind = KEY_NUMBER, .offset = OFFSET(maxOutgoing),
      .min = 1, .max = 1000, .def = 8 },
    { .name = "max_incoming", .kind = KEY_NUMBER, .offset = OFFSET(maxIncoming),
      .min = 1, .max = 1000, .def = 8 },
    { .name = "max_waiting", .kind = KEY_NUMBER, .offset = OFFSET(maxWaiting),
      .max = 1000, .def = 8 },
    { .name = "stdio_handler", .kind = KEY_TEXT, .offset = OFFSET(stdioHandler), .defText = "logd",
      .allowed = stdioHandlers },
    { .name = "host_uuid", .kind = KEY_TEXT, .offset = OFFSET(hostUuid) },
    { .name = "keepalive_interval", .kind = KEY_NUMBER, .offset = OFFSET(keepaliveInterval),
      .max = 3600, .def = 5 },
    { .name = "keepalive_count", .kind = KEY_NUMBER, .offset = OFFSET(keepaliveCount),
      .min = 1, .max = 1000, .def = 5 },
    { .name = "connect_timeout_ms", .kind = KEY_NUMBER, .offset = OFFSET(connectTimeoutMs),
      .min = 10, .max = 3600000, .def = 10000 },
    { .name = "start_timeout_ms", .kind = KEY_NUMBER, .offset = OFFSET(startTimeoutMs),
      .min = 10, .max = 3600000, .def = 30000 },
    { .name = "shutdown_timeout_ms", .kind = KEY_NUMBER, .offset = OFFSET(shutdownTimeoutMs),
      .min = 10, .max = 3600000, .def = 10000 },
    { .name = "link_timeout_ms", .kind = KEY_NUMBER, .offset = OFFSET(linkTimeoutMs),
      .min = 100, .max = 3600000, .def = 10000 },
    { .name = "finish_timeout_ms", .kind = KEY_NUMBER, .offset = OFFSET(finishTimeoutMs),
      .min = 100, .max = 3600000, .def = 60000 },
    { .name = "prepare_lease", .kind = KEY_NUMBER, .offset = OFFSET(prepareLease),
      .min = 5, .max = 86400, .def = 60 },
    { .name = "migrate_transport", .kind = KEY_TEXT, .offset = OFFSET(migrateTransport), .defText = "auto",
      .allowed = transports },
    { .name = "migrate_ack_timeout", .kind = KEY_NUMBER, .offset = OFFSET(migrateAckTimeout),
      .max = 86400, .def = 30 },
    { .name = "migrate_keepalive", .kind = KEY_NUMBER, .offset = OFFSET(migrateKeepalive),
      .max = 3600, .def = 5 },
    { .name = "migrate_stall_timeout", .kind = KEY_NUMBER, .offset = OFFSET(migrateStallTimeout),
      .max = 86400, .def = 120 },
    { .name = "migrate_secure", .kind = KEY_TEXT, .offset = OFFSET(migrateSecure), .defText = "off",
      .allowed = securePolicies },
    { .name = "migrate_tls_dir", .kind = KEY_TEXT, .offset = OFFSET(migrateTlsDir), .defText = "/etc/pki" },
    { .name = "migrate_tls_priority", .kind = KEY_TEXT, .offset = OFFSET(migrateTlsPriority) },
    { .name = "user", .kind = KEY_TEXT, .offset = OFFSET(user) },
    { .name = "group", .kind = KEY_TEXT, .offset = OFFSET(group) },
};

static const keyRow *
keyFind(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (g_str_equal(keys[i].name, name))
            return &keys[i];
    }
    return NULL;
}

static void *
keyMember(drvConf *conf, const keyRow *key)
{
    return (char *)conf + key->offset;
}

static void
confSetDefaults(drvConf *conf)
{
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (keys[i].kind == KEY_NUMBER)
            *(unsigned *)keyMember(conf, &keys[i]) = keys[i].def;
        else if (keys[i].kind == KEY_TEXT)
            *(char **)keyMember(conf, &keys[i]) = g_strdup(keys[i].defText);
    }
}

/* ---- one value ---------------------------------------------------------------------------------- */

static int
confReadNumber(drvConf *conf, const keyRow *key, const virConfValue *value, const char *path)
{
    if ((value->type != VIR_CONF_ULLONG && value->type != VIR_CONF_LLONG) ||
        value->l < (long long)key->min || value->l > (long long)key->max) {
        virReportError(VIR_ERR_CONF_SYNTAX,
                       _("In '%1$s' the value of '%2$s' must be a number from %3$u to %4$u"),
                       path, key->name, key->min, key->max);
        return -1;
    }
    *(unsigned *)keyMember(conf, key) = value->l;
    return 0;
}

static int
confReadText(drvConf *conf, const keyRow *key, const virConfValue *value, const char *path)
{
    char **member = keyMember(conf, key);

    if (value->type != VIR_CONF_STRING || !value->str || !*value->str) {
        virReportError(VIR_ERR_CONF_SYNTAX,
                       _("In '%1$s' the value of '%2$s' must be a text in quotes that is not empty"),
                       path, key->name);
        return -1;
    }
    if (key->allowed && !g_strv_contains(key->allowed, value->str)) {
        g_autofree char *all = g_strjoinv("', '", (char **)key->allowed);

        virReportError(VIR_ERR_CONF_SYNTAX,
                       _("In '%1$s' the value '%2$s' of '%3$s' is unknown; it may be one of '%4$s'"),
                       path, value->str, key->name, all);
        return -1;
    }
    g_free(*member);
    *member = g_strdup(value->str);
    return 0;
}

static int
confReadTexts(drvConf *conf, const keyRow *key, const virConfValue *value, const char *path)
{
    GStrv *member = keyMember(conf, key);
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(g_free);

    if (value->type == VIR_CONF_STRING || value->type == VIR_CONF_LIST) {
        const virConfValue *one = value->type == VIR_CONF_LIST ? value->list : value;

        for (; one; one = value->type == VIR_CONF_LIST ? one->next : NULL) {
            if (one->type != VIR_CONF_STRING || !one->str || !*one->str) {
                g_ptr_array_set_size(all, 0);
                break;
            }
            g_ptr_array_add(all, g_strdup(one->str));
        }
    }
    if (all->len == 0) {
        virReportError(VIR_ERR_CONF_SYNTAX,
                       _("In '%1$s' the value of '%2$s' must be a text in quotes or a list of such texts, none of them empty"),
                       path, key->name);
        return -1;
    }
    g_ptr_array_add(all, NULL);
    g_strfreev(*member);
    *member = (GStrv)g_ptr_array_free(g_steal_pointer(&all), FALSE);
    return 0;
}

typedef struct {
    drvConf *conf;
    const char *path;
} readCtx;

static int
confReadKey(const char *name, virConfValue *value, void *opaque)
{
    const readCtx *ctx = opaque;
    const keyRow *key = keyFind(name);

    if (!key) {
        g_autoptr(GString) all = g_string_new(NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
            g_string_append_printf(all, "%s%s", i ? ", " : "", keys[i].name);
        virReportError(VIR_ERR_CONF_SYNTAX, _("In '%1$s' the key '%2$s' is unknown; known keys are: %3$s"),
                       ctx->path, name, all->str);
        return -1;
    }
    switch (key->kind) {
    case KEY_NUMBER:
        return confReadNumber(ctx->conf, key, value, ctx->path);
    case KEY_TEXT:
        return confReadText(ctx->conf, key, value, ctx->path);
    case KEY_TEXTS:
        return confReadTexts(ctx->conf, key, value, ctx->path);
    }
    return -1;
}

/* ---- what depends on more than one key ------------------------------------------------------------ */

static int
confCheckIdentity(const drvConf *conf, const char *path, bool privileged)
{
    uid_t uid;
    gid_t gid;

    if (!conf->user && !conf->group)
        return 0;
    if (!privileged) {
        virReportError(VIR_ERR_CONF_SYNTAX,
                       _("In '%1$s' the keys 'user' and 'group' are only for a daemon that runs as root"), path);
        return -1;
    }
    if (conf->user && virGetUserID(conf->user, &uid) < 0)
        return -1;
    if (conf->group && virGetGroupID(conf->group, &gid) < 0)
        return -1;
    return 0;
}

static int
confCheckTls(const drvConf *conf, const char *path)
{
    g_autoptr(GError) error = NULL;

    if (!conf->migrateTlsPriority || tlsCheckPriority(conf->migrateTlsPriority, &error))
        return 0;
    virReportError(VIR_ERR_CONF_SYNTAX, _("In '%1$s' the value of 'migrate_tls_priority' is of no use: %2$s"), path, error->message);
    return -1;
}

static int
confCheck(const drvConf *conf, const char *path, bool privileged)
{
    const struct { const char *key, *value; } files[] = {
        { "qemu_binary", conf->qemuBinary },
        { "stratovirt_binary", conf->stratovirtBinary },
        { "migrate_tls_dir", conf->migrateTlsDir },
    };
    unsigned char uuid[VIR_UUID_BUFLEN];

    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        if (files[i].value && !g_path_is_absolute(files[i].value)) {
            virReportError(VIR_ERR_CONF_SYNTAX, _("In '%1$s' the value '%2$s' of '%3$s' must be an absolute path"),
                           path, files[i].value, files[i].key);
            return -1;
        }
    }
    if (conf->hostUuid && (virUUIDParse(conf->hostUuid, uuid) < 0 || !virUUIDIsValid(uuid))) {
        virReportError(VIR_ERR_CONF_SYNTAX, _("In '%1$s' the value '%2$s' of 'host_uuid' is no UUID that is fit for use"),
                       path, conf->hostUuid);
        return -1;
    }
    return confCheckTls(conf, path) < 0 ? -1 : confCheckIdentity(conf, path, privileged);
}

/* ---- public --------------------------------------------------------------------------------------- */

drvConf *
drvConfLoad(const char *path, bool privileged)
{
    g_autoptr(drvConf) conf = g_new0(drvConf, 1);
    g_autoptr(virConf) file = NULL;
    readCtx ctx = { .conf = conf, .path = path };

    conf->refs = 1;
    confSetDefaults(conf);
    if (!path || !virFileExists(path))
        return g_steal_pointer(&conf);
    if (!(file = virConfReadFile(path, 0)))
        return NULL;
    if (virConfWalk(file, confReadKey, &ctx) < 0 || confCheck(conf, path, privileged) < 0)
        return NULL;
    return g_steal_pointer(&conf);
}

drvConf *
drvConfRef(drvConf *conf)
{
    g_atomic_int_inc(&conf->refs);
    return conf;
}

void
drvConfUnref(drvConf *conf)
{
    if (!conf || !g_atomic_int_dec_and_test(&conf->refs))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (keys[i].kind == KEY_TEXT)
            g_free(*(char **)keyMember(conf, &keys[i]));
        else if (keys[i].kind == KEY_TEXTS)
            g_strfreev(*(GStrv *)keyMember(conf, &keys[i]));
    }
    g_free(conf);
}
