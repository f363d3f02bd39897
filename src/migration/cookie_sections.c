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

#define BEGIN MIG_STEP_BIT(MIG_STEP_BEGIN)
#define PREPARE MIG_STEP_BIT(MIG_STEP_PREPARE)
#define PERFORM MIG_STEP_BIT(MIG_STEP_PERFORM)
#define FINISH MIG_STEP_BIT(MIG_STEP_FINISH)

typedef enum { FORM_UUID, FORM_TOKEN, FORM_TEXT, FORM_NAME } valueForm;

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
        for (size_t i = 0; i < len; i++) {
            if (g_ascii_iscntrl(value[i]) || (form == FORM_NAME && value[i] == '/'))
                return false;
        }
        return len <= (form == FORM_NAME ? NAME_MAX_BYTES : TEXT_MAX);
    }
    return false;
}

static void
setBadValue(GError **error, const char *where, const char *attribute, const char *value)
{
    g_autofree char *shown = g_strndup(value, MIN(strlen(value), TEXT_MAX));
    g_autofree char *escaped = g_strescape(shown, NULL);

    g_set_error(error, BASE_ERROR, BASE_ERROR_XML, _("%1$s: attribute '%2$s' has the impossible value '%3$s'."),
                where, attribute, escaped);
}

/* *ret stays NULL if the attribute is absent and not @needed. */
static bool
readText(xmlNode *node, const char *where, const char *attribute, valueForm form, bool needed,
         char **ret, GError **error)
{
    xmlChar *raw = xmlGetNoNsProp(node, BAD_CAST attribute);
    bool fits;

    if (!raw) {
        if (needed)
            g_set_error(error, BASE_ERROR, BASE_ERROR_XML, _("%1$s: attribute '%2$s' is missing."),
                        where, attribute);
        return !needed;
    }
    fits = valueFits(form, (const char *)raw);
    if (fits)
        *ret = form == FORM_UUID ? g_ascii_strdown((const char *)raw, -1) : g_strdup((const char *)raw);
    else
        setBadValue(error, where, attribute, (const char *)raw);
    xmlFree(raw);
    return fits;
}

static bool
readNumber(xmlNode *node, const char *where, const char *attribute, uint64_t min, uint64_t max,
           uint64_t *ret, GError **error)
{
    g_autofree char *text = NULL;
    guint64 value;

    if (!readText(node, where, attribute, FORM_TOKEN, true, &text, error))
        return false;
    if (!g_ascii_string_to_unsigned(text, 10, min, max, &value, NULL)) {
        setBadValue(error, where, attribute, text);
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
parseMigration(migCookie *cookie, xmlNode *node, migStep step, const char *where, GError **error)
{
    bool needed = step == MIG_STEP_BEGIN;

    return readText(node, where, "uuid", FORM_UUID, true, &cookie->uuid, error) &&
        readText(node, where, "domain-uuid", FORM_UUID, needed, &cookie->domainUuid, error) &&
        readText(node, where, "domain-name", FORM_NAME, needed, &cookie->domainName, error);
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
parseHost(migCookie *cookie, xmlNode *node, migStep step G_GNUC_UNUSED, const char *where, GError **error)
{
    return readText(node, where, "name", FORM_TEXT, true, &cookie->hostName, error) &&
        readText(node, where, "uuid", FORM_UUID, true, &cookie->hostUuid, error) &&
        readText(node, where, "boot-id", FORM_TOKEN, true, &cookie->bootId, error) &&
        readText(node, where, "instance", FORM_TOKEN, true, &cookie->instance, error);
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
parseVmm(migCookie *cookie, xmlNode *node, migStep step G_GNUC_UNUSED, const char *where, GError **error)
{
    g_autofree char *accelerator = NULL;
    uint64_t version;

    if (!readText(node, where, "name", FORM_TOKEN, true, &cookie->vmmName, error) ||
        !readNumber(node, where, "version", 0, G_MAXUINT32, &version, error) ||
        !readText(node, where, "machine", FORM_TOKEN, true, &cookie->machine, error) ||
        !readText(node, where, "arch", FORM_TOKEN, true, &cookie->arch, error) ||
        !readText(node, where, "accelerator", FORM_TOKEN, true, &accelerator, error))
        return false;
    if (!g_str_equal(accelerator, "tcg") && !g_str_equal(accelerator, "kvm")) {
        setBadValue(error, where, "accelerator", accelerator);
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
    return true;
}

static bool
parseCapacity(migCookie *cookie, xmlNode *node, migStep step G_GNUC_UNUSED, const char *where, GError **error)
{
    uint64_t vcpus;

    if (!readNumber(node, where, "memory-kib", 1, G_MAXINT64 / 1024, &cookie->memoryKiB, error) ||
        !readNumber(node, where, "vcpus", 1, G_MAXUINT16, &vcpus, error))
        return false;
    cookie->vcpus = vcpus;
    return true;
}

/* ---- listen ---- */

static bool
formatListen(const migCookie *cookie, xmlNode *node)
{
    g_autofree char *token = helloTokenToHex(cookie->token);

    writeNumber(node, "port", cookie->port);
    if (cookie->hasToken)
        writeText(node, "token", token);
    for (size_t i = 0; cookie->addresses && cookie->addresses[i]; i++)
        writeText(xmlNewChild(node, NULL, BAD_CAST "address", NULL), "host", cookie->addresses[i]);
    return true;
}

static bool
parseAddresses(migCookie *cookie, xmlNode *node, const char *where, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);

    for (xmlNode *child = node->children; child; child = child->next) {
        char *address = NULL;

        if (child->type != XML_ELEMENT_NODE || !xmlStrEqual(child->name, BAD_CAST "address"))
            continue;
        if (list->len == ADDRESS_MAX) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_XML, _("%1$s: there are more than %2$d addresses."),
                        where, ADDRESS_MAX);
            return false;
        }
        if (!readText(child, where, "host", FORM_TEXT, true, &address, error))
            return false;
        g_ptr_array_add(list, address);
    }
    if (list->len == 0) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_XML, _("%1$s: there is no address."), where);
        return false;
    }
    g_ptr_array_add(list, NULL);
    cookie->addresses = (GStrv)g_ptr_array_free(g_steal_pointer(&list), FALSE);
    return true;
}

static bool
parseListen(migCookie *cookie, xmlNode *node, migStep step G_GNUC_UNUSED, const char *where, GError **error)
{
    g_autofree char *token = NULL;
    uint64_t port;

    if (!readNumber(node, where, "port", 1, G_MAXUINT16, &port, error) ||
        !readText(node, where, "token", FORM_TOKEN, true, &token, error))
        return false;
    if (!helloTokenFromHex(token, cookie->token)) {
        /* Not shown: it is a secret, even when damaged. */
        g_set_error(error, BASE_ERROR, BASE_ERROR_XML, _("%1$s: the token is damaged."), where);
        return false;
    }
    cookie->port = port;
    cookie->hasToken = true;
    return parseAddresses(cookie, node, where, error);
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
parsePersistent(migCookie *cookie, xmlNode *node, migStep step G_GNUC_UNUSED, const char *where, GError **error)
{
    xmlChar *raw = xmlNodeGetContent(node);
    bool filled = raw && *raw;

    if (filled)
        cookie->persistentXml = g_strdup((const char *)raw);
    else
        g_set_error(error, BASE_ERROR, BASE_ERROR_XML, _("%1$s: it is empty."), where);
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
parseStatistics(migCookie *cookie, xmlNode *node, migStep step G_GNUC_UNUSED, const char *where, GError **error)
{
    for (size_t i = 0; i < G_N_ELEMENTS(statistics); i++) {
        /* A figure that the writer does not know stays 0. */
        if (xmlHasProp(node, BAD_CAST statistics[i].attribute) &&
            !readNumber(node, where, statistics[i].attribute, 0, G_MAXUINT64,
                        &G_STRUCT_MEMBER(uint64_t, cookie, statistics[i].offset), error))
            return false;
    }
    cookie->hasStats = true;
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
parseOutcome(migCookie *cookie, xmlNode *node, migStep step G_GNUC_UNUSED, const char *where, GError **error)
{
    return readText(node, where, "value", FORM_TOKEN, true, &cookie->outcome, error);
}

const migCookieSection migCookieSections[] = {
    { "migration", 1, BEGIN | PREPARE | PERFORM | FINISH, BEGIN | PREPARE | PERFORM | FINISH, true,
      formatMigration, parseMigration },
    { "host", 1, BEGIN | PREPARE | PERFORM | FINISH, BEGIN | PREPARE | PERFORM | FINISH, true,
      formatHost, parseHost },
    { "vmm", 1, BEGIN | PREPARE, BEGIN | PREPARE, true, formatVmm, parseVmm },
    { "capacity", 1, BEGIN, BEGIN, false, formatCapacity, parseCapacity },
    { "listen", 1, PREPARE, PREPARE, true, formatListen, parseListen },
    { "persistent", 1, PERFORM, 0, true, formatPersistent, parsePersistent },
    { "statistics", 1, PERFORM | FINISH, 0, false, formatStatistics, parseStatistics },
    { "outcome", 1, FINISH, FINISH, true, formatOutcome, parseOutcome },
};
const size_t migCookieSectionCount = G_N_ELEMENTS(migCookieSections);
