/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cookie_sections.c: what a cookie can contain: one row and two functions for each section
 *
 * The other side is another host's daemon and not trusted to be right: every value has a form or a
 * range, since names end up in messages, paths and command lines.
 */
#include "migration/cookie_sections.h"

#include "base/error.h"

#include <string.h>

#include "base/gettext.h"

#define TOKEN_MAX 64
#define TEXT_MAX 255
#define NAME_MAX_BYTES 1024
#define ADDRESS_MAX 64
#define PATH_BYTES 4096
#define DISKS_MAX 256
#define REASONS_MAX 256

#define BEGIN MIG_STEP_BIT(MIG_STEP_BEGIN)
#define PREPARE MIG_STEP_BIT(MIG_STEP_PREPARE)
#define PERFORM MIG_STEP_BIT(MIG_STEP_PERFORM)
#define FINISH MIG_STEP_BIT(MIG_STEP_FINISH)

typedef enum { FORM_UUID, FORM_TOKEN, FORM_TEXT, FORM_NAME, FORM_PATH } valueForm;

static bool
valueFits(valueForm form, const char *value)
{
    size_t len = strlen(value);

    if (len == 0)
        return false;
    switch (form) {
    case FORM_UUID:
        return g_uuid_string_is_valid(value);
    case FORM_TOKEN:
        for (size_t i = 0; i < len; i++) {
            if (!g_ascii_isalnum(value[i]) && !strchr("._-+", value[i]))
                return false;
        }
        return len <= TOKEN_MAX;
    case FORM_TEXT:
    case FORM_NAME:
    case FORM_PATH:
        for (size_t i = 0; i < len; i++) {
            if (g_ascii_iscntrl(value[i]) || (form == FORM_NAME && value[i] == '/'))
                return false;
        }
        return len <= (form == FORM_NAME ? NAME_MAX_BYTES : form == FORM_PATH ? PATH_BYTES : TEXT_MAX);
    }
    return false;
}

static void readerError(const migCookieReader *r, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
readerError(const migCookieReader *r, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(r->error, BASE_ERROR, BASE_ERROR_XML, "%s: %s", r->where, text);
}

static void
setBadValue(const migCookieReader *r, const char *attribute, const char *value)
{
    g_autofree char *shown = g_strndup(value, MIN(strlen(value), TEXT_MAX));
    g_autofree char *escaped = g_strescape(shown, NULL);

    readerError(r, _("attribute '%1$s' has the impossible value '%2$s'."), attribute, escaped);
}

/* *ret stays NULL if the attribute is absent and not @needed. */
static bool
readText(const migCookieReader *r, const char *attribute, valueForm form, bool needed, char **ret)
{
    xmlChar *raw = xmlGetNoNsProp(r->node, BAD_CAST attribute);
    bool fits;

    if (!raw) {
        if (needed)
            readerError(r, _("attribute '%1$s' is missing."), attribute);
        return !needed;
    }
    fits = valueFits(form, (const char *)raw);
    if (fits)
        *ret = form == FORM_UUID ? g_ascii_strdown((const char *)raw, -1)
                                 : g_strdup((const char *)raw);
    else
        setBadValue(r, attribute, (const char *)raw);
    xmlFree(raw);
    return fits;
}

static bool
readNumber(const migCookieReader *r, const char *attribute, uint64_t min, uint64_t max,
           uint64_t *ret)
{
    g_autofree char *text = NULL;
    guint64 value;

    if (!readText(r, attribute, FORM_TOKEN, true, &text))
        return false;
    if (!g_ascii_string_to_unsigned(text, 10, min, max, &value, NULL)) {
        setBadValue(r, attribute, text);
        return false;
    }
    *ret = value;
    return true;
}

static void
writeText(xmlNode *node, const char *attribute, const char *value)
{
    if (value)
        xmlNewProp(node, BAD_CAST attribute, BAD_CAST value);
}

static void
writeNumber(xmlNode *node, const char *attribute, uint64_t value)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, value);

    writeText(node, attribute, text);
}

/* ---- migration ---- */

static bool
formatMigration(const migCookie *cookie, xmlNode *node)
{
    writeText(node, "uuid", cookie->uuid);
    writeText(node, "domain-uuid", cookie->domainUuid);
    writeText(node, "domain-name", cookie->domainName);
    return true;
}

static bool
parseMigration(migCookie *cookie, const migCookieReader *r)
{
    bool needed = r->step == MIG_STEP_BEGIN;

    return readText(r, "uuid", FORM_UUID, true, &cookie->uuid) &&
        readText(r, "domain-uuid", FORM_UUID, needed, &cookie->domainUuid) &&
        readText(r, "domain-name", FORM_NAME, needed, &cookie->domainName);
}

/* ---- host ---- */

static bool
formatHost(const migCookie *cookie, xmlNode *node)
{
    writeText(node, "name", cookie->hostName);
    writeText(node, "uuid", cookie->hostUuid);
    writeText(node, "boot-id", cookie->bootId);
    writeText(node, "instance", cookie->instance);
    return true;
}

static bool
parseHost(migCookie *cookie, const migCookieReader *r)
{
    return readText(r, "name", FORM_TEXT, true, &cookie->hostName) &&
        readText(r, "uuid", FORM_UUID, true, &cookie->hostUuid) &&
        readText(r, "boot-id", FORM_TOKEN, true, &cookie->bootId) &&
        readText(r, "instance", FORM_TOKEN, true, &cookie->instance);
}

/* ---- vmm ---- */

static bool
formatVmm(const migCookie *cookie, xmlNode *node)
{
    writeText(node, "name", cookie->vmmName);
    writeNumber(node, "version", cookie->vmmVersion);
    writeText(node, "machine", cookie->machine);
    writeText(node, "arch", cookie->arch);
    writeText(node, "accelerator", cookie->tcg ? "tcg" : "kvm");
    return true;
}

static bool
parseVmm(migCookie *cookie, const migCookieReader *r)
{
    g_autofree char *accelerator = NULL;
    uint64_t version;

    if (!readText(r, "name", FORM_TOKEN, true, &cookie->vmmName) ||
        !readNumber(r, "version", 0, G_MAXUINT32, &version) ||
        !readText(r, "machine", FORM_TOKEN, true, &cookie->machine) ||
        !readText(r, "arch", FORM_TOKEN, true, &cookie->arch) ||
        !readText(r, "accelerator", FORM_TOKEN, true, &accelerator))
        return false;
    if (!g_str_equal(accelerator, "tcg") && !g_str_equal(accelerator, "kvm")) {
        setBadValue(r, "accelerator", accelerator);
        return false;
    }
    cookie->vmmVersion = version;
    cookie->tcg = g_str_equal(accelerator, "tcg");
    return true;
}

/* ---- capacity ---- */

static bool
formatCapacity(const migCookie *cookie, xmlNode *node)
{
    writeNumber(node, "memory-kib", cookie->memoryKiB);
    writeNumber(node, "vcpus", cookie->vcpus);
    if (cookie->residentKiB)
        writeNumber(node, "resident-kib", cookie->residentKiB);
    if (cookie->connections)
        writeNumber(node, "connections", cookie->connections);
    return true;
}

static bool
parseCapacity(migCookie *cookie, const migCookieReader *r)
{
    uint64_t vcpus, connections = 0;

    if (!readNumber(r, "memory-kib", 1, G_MAXINT64 / 1024, &cookie->memoryKiB) ||
        !readNumber(r, "vcpus", 1, G_MAXUINT16, &vcpus) ||
        (xmlHasProp(r->node, BAD_CAST "resident-kib") &&
         !readNumber(r, "resident-kib", 1, G_MAXINT64 / 1024, &cookie->residentKiB)) ||
        (xmlHasProp(r->node, BAD_CAST "connections") && !readNumber(r, "connections", 1, G_MAXUINT16, &connections)))
        return false;
    cookie->vcpus = vcpus;
    cookie->connections = connections;
    return true;
}

/* ---- listen ---- */

static bool
formatListen(const migCookie *cookie, xmlNode *node)
{
    g_autofree char *token = helloTokenToHex(cookie->token);

    writeNumber(node, "port", cookie->port);
    if (cookie->askPort)
        writeNumber(node, "ask-port", cookie->askPort);
    if (cookie->hasToken)
        writeText(node, "token", token);
    for (size_t i = 0; cookie->addresses && cookie->addresses[i]; i++)
        writeText(xmlNewChild(node, NULL, BAD_CAST "address", NULL), "host", cookie->addresses[i]);
    return true;
}

static bool
parseAddresses(migCookie *cookie, const migCookieReader *r)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    migCookieReader item = *r;

    for (xmlNode *child = r->node->children; child; child = child->next) {
        char *address = NULL;

        item.node = child;
        if (child->type != XML_ELEMENT_NODE || !xmlStrEqual(child->name, BAD_CAST "address"))
            continue;
        if (list->len == ADDRESS_MAX) {
            readerError(r, _("there are more than %1$d addresses."), ADDRESS_MAX);
            return false;
        }
        if (!readText(&item, "host", FORM_TEXT, true, &address))
            return false;
        g_ptr_array_add(list, address);
    }
    if (list->len == 0) {
        readerError(r, _("there is no address."));
        return false;
    }
    g_ptr_array_add(list, NULL);
    cookie->addresses = (GStrv)g_ptr_array_free(g_steal_pointer(&list), FALSE);
    return true;
}

static bool
parseListen(migCookie *cookie, const migCookieReader *r)
{
    g_autofree char *token = NULL;
    uint64_t port, askPort = 0;

    if (!readNumber(r, "port", 1, G_MAXUINT16, &port) ||
        (xmlHasProp(r->node, BAD_CAST "ask-port") && !readNumber(r, "ask-port", 1, G_MAXUINT16, &askPort)) ||
        !readText(r, "token", FORM_TOKEN, true, &token))
        return false;
    if (!helloTokenFromHex(token, cookie->token)) {
        /* Not shown: it is a secret, even when damaged. */
        readerError(r, _("the token is damaged."));
        return false;
    }
    cookie->port = port;
    cookie->askPort = askPort;
    cookie->hasToken = true;
    return parseAddresses(cookie, r);
}

/* ---- channel ---- */

static bool
formatChannel(const migCookie *cookie, xmlNode *node)
{
    g_autofree char *cut = NULL;
    g_autofree char *trouble = NULL;

    writeText(node, "policy", migPolicyToString(cookie->way.policy));
    writeText(node, "connection", migConnToString(cookie->way.conn));
    writeText(node, "transport", migAskToString(cookie->way.ask));
    writeText(node, "certificates", cookie->way.certificates ? "yes" : "no");
    if (cookie->way.trouble) {
        cut = g_strndup(cookie->way.trouble, TEXT_MAX - 3);
        trouble = g_utf8_make_valid(cut, -1);
        trouble[MIN(strlen(trouble), TEXT_MAX)] = '\0';
        writeText(node, "trouble", trouble);
    }
    if (cookie->way.relayByDefault)
        writeText(node, "relay", "yes");
    if (cookie->way.spread)
        writeText(node, "spread", "yes");
    if (cookie->channel) {
        writeText(node, "chosen", migChannelToString(cookie->channel));
        writeText(node, "keys", migKeysToString(cookie->keys));
    }
    return cookie->hasWay;
}

static bool
parseYes(const migCookieReader *r, const char *attribute, bool needed, bool *ret)
{
    g_autofree char *text = NULL;

    if (!readText(r, attribute, FORM_TOKEN, needed, &text))
        return false;
    if (text && !g_str_equal(text, "yes") && !g_str_equal(text, "no")) {
        setBadValue(r, attribute, text);
        return false;
    }
    *ret = text && g_str_equal(text, "yes");
    return true;
}

static bool
parseChosen(migCookie *cookie, const migCookieReader *r)
{
    g_autofree char *chosen = NULL;
    g_autofree char *keys = NULL;

    if (!readText(r, "chosen", FORM_TOKEN, false, &chosen) || !readText(r, "keys", FORM_TOKEN, chosen != NULL, &keys))
        return false;
    if (chosen && !migChannelFromString(chosen, &cookie->channel)) {
        setBadValue(r, "chosen", chosen);
        return false;
    }
    if (keys && !migKeysFromString(keys, &cookie->keys)) {
        setBadValue(r, "keys", keys);
        return false;
    }
    return true;
}

static bool
parseChannel(migCookie *cookie, const migCookieReader *r)
{
    g_autofree char *policy = NULL;
    g_autofree char *conn = NULL;
    g_autofree char *ask = NULL;

    if (!readText(r, "policy", FORM_TOKEN, true, &policy) || !readText(r, "connection", FORM_TOKEN, true, &conn) ||
        !readText(r, "transport", FORM_TOKEN, true, &ask) ||
        !readText(r, "trouble", FORM_TEXT, false, &cookie->way.trouble) ||
        !parseYes(r, "certificates", true, &cookie->way.certificates) ||
        !parseYes(r, "relay", false, &cookie->way.relayByDefault) || !parseYes(r, "spread", false, &cookie->way.spread))
        return false;
    if (!migPolicyFromString(policy, &cookie->way.policy)) {
        setBadValue(r, "policy", policy);
        return false;
    }
    if (!migConnFromString(conn, &cookie->way.conn)) {
        setBadValue(r, "connection", conn);
        return false;
    }
    if (!migAskFromString(ask, &cookie->way.ask)) {
        setBadValue(r, "transport", ask);
        return false;
    }
    cookie->hasWay = true;
    return parseChosen(cookie, r);
}

/* ---- cpu ---- */

static bool
formatCpu(const migCookie *cookie, xmlNode *node)
{
    writeText(node, "host", cookie->hostCpu);
    return cookie->hostCpu != NULL;
}

static bool
parseCpu(migCookie *cookie, const migCookieReader *r)
{
    return readText(r, "host", FORM_TEXT, true, &cookie->hostCpu);
}

/* ---- storage ---- */

static bool
formatStorage(const migCookie *cookie, xmlNode *node)
{
    for (guint i = 0; cookie->disks && i < cookie->disks->len; i++) {
        const migDisk *disk = g_ptr_array_index(cookie->disks, i);
        xmlNode *child = xmlNewChild(node, NULL, BAD_CAST "disk", NULL);

        writeText(child, "target", disk->target);
        writeText(child, "kind", migDiskKindName(disk->kind));
        writeText(child, "source", disk->source);
        writeText(child, "identity", disk->identity);
        writeText(child, "word", disk->word);
        writeText(child, "answer", disk->answer);
        writeText(child, "name", disk->name);
        writeText(child, "why", disk->why);
        writeNumber(child, "inode", disk->inode);
        writeNumber(child, "word-inode", disk->wordInode);
    }
    return cookie->disks && cookie->disks->len > 0;
}

static bool
parseDisk(const migCookieReader *r, migDisk *disk)
{
    g_autofree char *kind = NULL;

    if (!readText(r, "target", FORM_TOKEN, true, &disk->target) || !readText(r, "kind", FORM_TOKEN, true, &kind) ||
        !readText(r, "source", FORM_PATH, true, &disk->source) || !readText(r, "identity", FORM_TEXT, false, &disk->identity) ||
        !readText(r, "word", FORM_TOKEN, false, &disk->word) || !readText(r, "answer", FORM_TOKEN, false, &disk->answer) ||
        !readText(r, "name", FORM_NAME, false, &disk->name) ||
        !readText(r, "why", FORM_TEXT, false, &disk->why) || !readNumber(r, "inode", 0, G_MAXUINT64, &disk->inode) ||
        !readNumber(r, "word-inode", 0, G_MAXUINT64, &disk->wordInode))
        return false;
    if (!migDiskKindFromName(kind, &disk->kind)) {
        setBadValue(r, "kind", kind);
        return false;
    }
    return true;
}

static bool
parseStorage(migCookie *cookie, const migCookieReader *r)
{
    g_autoptr(GPtrArray) disks = migDiskListNew();
    migCookieReader item = *r;

    for (xmlNode *child = r->node->children; child; child = child->next) {
        migDisk *disk;

        item.node = child;
        if (child->type != XML_ELEMENT_NODE || !xmlStrEqual(child->name, BAD_CAST "disk"))
            continue;
        if (disks->len == DISKS_MAX) {
            readerError(r, _("there are more than %1$d disks."), DISKS_MAX);
            return false;
        }
        disk = g_new0(migDisk, 1);
        g_ptr_array_add(disks, disk);
        if (!parseDisk(&item, disk))
            return false;
    }
    cookie->disks = g_steal_pointer(&disks);
    return true;
}

/* ---- dry run ---- */

static bool
formatDryRun(const migCookie *cookie, xmlNode *node)
{
    writeNumber(node, "checks", cookie->checks);
    writeText(node, "code", cookie->reasonsCode);
    for (guint i = 0; cookie->reasons && i < cookie->reasons->len; i++)
        xmlNewTextChild(node, NULL, BAD_CAST "reason", g_ptr_array_index(cookie->reasons, i));
    return cookie->dryRun;
}

static bool
parseDryRun(migCookie *cookie, const migCookieReader *r)
{
    uint64_t checks;

    if (!readNumber(r, "checks", 0, G_MAXUINT16, &checks) ||
        !readText(r, "code", FORM_TOKEN, false, &cookie->reasonsCode))
        return false;
    cookie->checks = checks;
    cookie->dryRun = true;
    cookie->reasons = g_ptr_array_new_with_free_func(g_free);
    for (xmlNode *child = r->node->children; child; child = child->next) {
        xmlChar *text;

        if (child->type != XML_ELEMENT_NODE || !xmlStrEqual(child->name, BAD_CAST "reason"))
            continue;
        if (cookie->reasons->len == REASONS_MAX) {
            readerError(r, _("there are more than %1$d reasons."), REASONS_MAX);
            return false;
        }
        text = xmlNodeGetContent(child);
        g_ptr_array_add(cookie->reasons, g_strdup(text ? (const char *)text : ""));
        xmlFree(text);
    }
    return true;
}

/* ---- persistent ---- */

static bool
formatPersistent(const migCookie *cookie, xmlNode *node)
{
    if (!cookie->persistentXml)
        return false;
    xmlNodeAddContent(node, BAD_CAST cookie->persistentXml);
    return true;
}

static bool
parsePersistent(migCookie *cookie, const migCookieReader *r)
{
    xmlChar *raw = xmlNodeGetContent(r->node);
    bool filled = raw && *raw;

    if (filled)
        cookie->persistentXml = g_strdup((const char *)raw);
    else
        readerError(r, _("it is empty."));
    xmlFree(raw);
    return filled;
}

/* ---- statistics ---- */

static const struct {
    const char *attribute;
    size_t offset;
} statistics[] = {
    { "total-ms", G_STRUCT_OFFSET(migCookie, statsTotalMs) },
    { "downtime-ms", G_STRUCT_OFFSET(migCookie, statsDowntimeMs) },
    { "setup-ms", G_STRUCT_OFFSET(migCookie, statsSetupMs) },
    { "bytes-total", G_STRUCT_OFFSET(migCookie, statsBytesTotal) },
    { "bytes-moved", G_STRUCT_OFFSET(migCookie, statsBytesMoved) },
    { "iteration", G_STRUCT_OFFSET(migCookie, statsIteration) },
    { "bytes-per-second", G_STRUCT_OFFSET(migCookie, statsBps) },
    { "pages-normal", G_STRUCT_OFFSET(migCookie, statsNormal) },
    { "pages-constant", G_STRUCT_OFFSET(migCookie, statsConstant) },
    { "page-size", G_STRUCT_OFFSET(migCookie, statsPageSize) },
};

static bool
formatStatistics(const migCookie *cookie, xmlNode *node)
{
    for (size_t i = 0; cookie->hasStats && i < G_N_ELEMENTS(statistics); i++)
        writeNumber(node, statistics[i].attribute,
                    G_STRUCT_MEMBER(uint64_t, cookie, statistics[i].offset));
    return cookie->hasStats;
}

static bool
parseStatistics(migCookie *cookie, const migCookieReader *r)
{
    for (size_t i = 0; i < G_N_ELEMENTS(statistics); i++) {
        /* A figure that the writer does not know stays 0. */
        if (xmlHasProp(r->node, BAD_CAST statistics[i].attribute) &&
            !readNumber(r, statistics[i].attribute, 0, G_MAXUINT64,
                        &G_STRUCT_MEMBER(uint64_t, cookie, statistics[i].offset)))
            return false;
    }
    cookie->hasStats = true;
    return true;
}

/* ---- files ---- */

static bool
formatFiles(const migCookie *cookie, xmlNode *node G_GNUC_UNUSED)
{
    return cookie->files;
}

static bool
parseFiles(migCookie *cookie, const migCookieReader *r G_GNUC_UNUSED)
{
    cookie->files = true;
    return true;
}

/* ---- outcome ---- */

static bool
formatOutcome(const migCookie *cookie, xmlNode *node)
{
    writeText(node, "value", cookie->outcome);
    return true;
}

static bool
parseOutcome(migCookie *cookie, const migCookieReader *r)
{
    return readText(r, "value", FORM_TOKEN, true, &cookie->outcome);
}

const migCookieSection migCookieSections[] = {
    { "migration", 1, BEGIN | PREPARE | PERFORM | FINISH, BEGIN | PREPARE | PERFORM | FINISH, true,
      formatMigration, parseMigration },
    { "host", 1, BEGIN | PREPARE | PERFORM | FINISH, BEGIN | PREPARE | PERFORM | FINISH, true,
      formatHost, parseHost },
    { "vmm", 1, BEGIN | PREPARE, BEGIN | PREPARE, true, formatVmm, parseVmm },
    { "capacity", 1, BEGIN, BEGIN, false, formatCapacity, parseCapacity },
    { "listen", 1, PREPARE, PREPARE, true, formatListen, parseListen },
    { "channel", 1, BEGIN | PREPARE, 0, false, formatChannel, parseChannel },
    { "files", 1, BEGIN, 0, true, formatFiles, parseFiles },
    { "cpu", 1, BEGIN, 0, true, formatCpu, parseCpu },
    { "storage", 1, BEGIN | PREPARE, 0, true, formatStorage, parseStorage },
    { "dry-run", 1, BEGIN, 0, true, formatDryRun, parseDryRun },
    { "persistent", 1, PERFORM, 0, true, formatPersistent, parsePersistent },
    { "statistics", 1, PERFORM | FINISH, 0, false, formatStatistics, parseStatistics },
    { "outcome", 1, FINISH, FINISH, true, formatOutcome, parseOutcome },
};
const size_t migCookieSectionCount = G_N_ELEMENTS(migCookieSections);
