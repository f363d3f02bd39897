/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cookie.c: a cookie's frame; what is in it is in cookie_sections.c
 *
 * Theory of operation: 'version' is the writer's, 'compatible' the oldest reader's that can still
 * make sense of it.  So a newer daemon may add sections that an older one skips; only what must not
 * be skipped is marked mandatory='yes'.  'step' says where in the migration it was written, so that
 * a cookie handed to the wrong call is told from a damaged one.
 *
 * The text comes through the coordinator, over any network, so the parser gets nothing to expand or
 * to fetch: document types are refused before it sees the text.
 */
#include "migration/cookie.h"

#include "base/error.h"
#include "migration/cookie_sections.h"

#include <libxml/parser.h>
#include <string.h>

#include "base/gettext.h"

#define COOKIE_ROOT "stratovirt-migration"
#define COOKIE_VERSION 1
#define COOKIE_COMPATIBLE 1
#define COOKIE_MAX (1024 * 1024)

static const char *const stepNames[] = {
    [MIG_STEP_BEGIN] = "begin",
    [MIG_STEP_PREPARE] = "prepare",
    [MIG_STEP_PERFORM] = "perform",
    [MIG_STEP_FINISH] = "finish",
};

G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlDoc, xmlFreeDoc)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(xmlParserCtxt, xmlFreeParserCtxt)

void
migCookieFree(migCookie *cookie)
{
    if (!cookie)
        return;
    g_free(cookie->uuid);
    g_free(cookie->domainUuid);
    g_free(cookie->domainName);
    g_free(cookie->hostName);
    g_free(cookie->hostUuid);
    g_free(cookie->bootId);
    g_free(cookie->instance);
    g_free(cookie->vmmName);
    g_free(cookie->machine);
    g_free(cookie->arch);
    g_strfreev(cookie->addresses);
    migWayFactsClear(&cookie->way);
    g_free(cookie->hostCpu);
    g_clear_pointer(&cookie->disks, g_ptr_array_unref);
    g_clear_pointer(&cookie->reasons, g_ptr_array_unref);
    g_free(cookie->reasonsCode);
    g_free(cookie->persistentXml);
    g_free(cookie->outcome);
    g_free(cookie);
}

/* ---- format ---- */

static void
cookieFormatSections(const migCookie *cookie, migStep step, xmlNode *root)
{
    for (size_t i = 0; i < migCookieSectionCount; i++) {
        const migCookieSection *row = &migCookieSections[i];
        xmlNode *node;

        if (!(row->written & MIG_STEP_BIT(step)))
            continue;
        node = xmlNewDocNode(root->doc, NULL, BAD_CAST row->element, NULL);
        if (row->mandatory)
            xmlNewProp(node, BAD_CAST "mandatory", BAD_CAST "yes");
        if (row->format(cookie, node))
            xmlAddChild(root, node);
        else
            xmlFreeNode(node);
    }
}

char *
migCookieFormat(const migCookie *cookie, migStep step, int *retLen)
{
    g_autoptr(xmlDoc) doc = xmlNewDoc(BAD_CAST "1.0");
    xmlNode *root = xmlNewDocNode(doc, NULL, BAD_CAST COOKIE_ROOT, NULL);
    xmlChar *raw = NULL;
    char *text = NULL;
    int len = 0;

    xmlDocSetRootElement(doc, root);
    xmlNewProp(root, BAD_CAST "version", BAD_CAST G_STRINGIFY(COOKIE_VERSION));
    xmlNewProp(root, BAD_CAST "compatible", BAD_CAST G_STRINGIFY(COOKIE_COMPATIBLE));
    xmlNewProp(root, BAD_CAST "step", BAD_CAST stepNames[step]);
    cookieFormatSections(cookie, step, root);

    xmlDocDumpMemoryEnc(doc, &raw, &len, "UTF-8");
    if (raw && len < COOKIE_MAX) {
        text = g_strndup((const char *)raw, len);
        *retLen = len + 1;
    }
    xmlFree(raw);
    return text;
}

/* ---- parse ---- */

static void
setCookieError(GError **error, migStep step, const char *what)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_XML,
                _("The migration cookie of step '%1$s' is not usable: %2$s"), stepNames[step],
                what);
}

static bool
cookieCheckText(const char *text, int len, migStep step, GError **error)
{
    const char *why = NULL;

    if (!text || len <= 0)
        why = _("it is missing; the other host probably runs a different hypervisor driver.");
    else if (len > COOKIE_MAX)
        why = _("it is too long.");
    else if (text[len - 1] != '\0')
        why = _("it is cut off: its end is missing.");
    else if (strlen(text) != (size_t)len - 1)
        why = _("there is a zero byte in it.");
    else if (len == 1)
        why = _("it is empty.");
    else if (!g_utf8_validate(text, -1, NULL))
        why = _("it is not valid UTF-8.");
    else if (strstr(text, "<!DOCTYPE") || strstr(text, "<!ENTITY"))
        why = _("it has a document type, which is never part of one.");
    if (why)
        setCookieError(error, step, why);
    return why == NULL;
}

static xmlDoc *
cookieReadXml(const char *text, int len, migStep step, GError **error)
{
    g_autoptr(xmlParserCtxt) context = NULL;
    g_autoptr(xmlDoc) doc = NULL;
    static gsize initialized;

    if (g_once_init_enter(&initialized)) {
        xmlInitParser();
        g_once_init_leave(&initialized, 1);
    }
    context = xmlNewParserCtxt();
    /* No XML_PARSE_HUGE, so libxml2's own limits hold; no XML_PARSE_NOENT, so nothing is expanded.
     */
    doc = xmlCtxtReadMemory(context, text, len - 1, "cookie", "UTF-8",
                            XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
    if (!doc) {
        const xmlError *last = xmlCtxtGetLastError(context);
        g_autofree char *reason = g_strdup(last && last->message ? last->message : "?");
        g_autofree char *why = NULL;

        why = g_strdup_printf(_("it is not XML: %1$s."), g_strstrip(reason));
        setCookieError(error, step, why);
        return NULL;
    }
    if (doc->intSubset || doc->extSubset) {
        setCookieError(error, step, _("it has a document type, which is never part of one."));
        return NULL;
    }
    return g_steal_pointer(&doc);
}

static bool
cookieReadVersion(xmlNode *root, const char *attribute, guint64 *ret)
{
    xmlChar *raw = xmlGetNoNsProp(root, BAD_CAST attribute);
    bool ok = raw && g_ascii_string_to_unsigned((const char *)raw, 10, 1, G_MAXINT32, ret, NULL);

    xmlFree(raw);
    return ok;
}

static bool
cookieCheckRoot(xmlNode *root, migStep step, GError **error)
{
    g_autofree char *why = NULL;
    guint64 version, compatible;
    xmlChar *raw;

    if (!root || !xmlStrEqual(root->name, BAD_CAST COOKIE_ROOT)) {
        why = g_strdup_printf(
            _("it begins with '%1$.64s', so it was written by a different hypervisor driver."),
            root ? (const char *)root->name : "");
        setCookieError(error, step, why);
        return false;
    }
    if (!cookieReadVersion(root, "version", &version) ||
        !cookieReadVersion(root, "compatible", &compatible)) {
        setCookieError(error, step, _("it does not tell its version."));
        return false;
    }
    if (compatible > COOKIE_VERSION) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("The migration cookie of step '%1$s' needs a reader of version %2$u, but "
                      "this host has "
                      "version %3$d; update the driver on this host."),
                    stepNames[step], (unsigned)compatible, COOKIE_VERSION);
        return false;
    }
    raw = xmlGetNoNsProp(root, BAD_CAST "step");
    if (!xmlStrEqual(raw, BAD_CAST stepNames[step])) {
        why = g_strdup_printf(_("it is of step '%1$.64s'."), raw ? (const char *)raw : "");
        setCookieError(error, step, why);
    }
    xmlFree(raw);
    return why == NULL;
}

static const migCookieSection *
cookieFindSection(const xmlNode *node, size_t *retIndex)
{
    for (size_t i = 0; i < migCookieSectionCount; i++) {
        if (xmlStrEqual(node->name, BAD_CAST migCookieSections[i].element)) {
            *retIndex = i;
            return &migCookieSections[i];
        }
    }
    return NULL;
}

static bool
cookieSkipUnknown(xmlNode *node, migStep step, GError **error)
{
    xmlChar *mandatory = xmlGetNoNsProp(node, BAD_CAST "mandatory");
    bool skip = !xmlStrEqual(mandatory, BAD_CAST "yes");

    if (!skip)
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("The migration cookie of step '%1$s' has a section '%2$.64s' that this host "
                      "does not know "
                      "and must not ignore; update the driver on this host."),
                    stepNames[step], (const char *)node->name);
    xmlFree(mandatory);
    return skip;
}

static bool
cookieReadSection(migCookie *cookie, xmlNode *node, migStep step, uint32_t *seen, GError **error)
{
    migCookieReader reader = { .node = node, .step = step, .error = error };
    g_autofree char *where = NULL;
    const migCookieSection *row;
    size_t index;

    if (!(row = cookieFindSection(node, &index)))
        return cookieSkipUnknown(node, step, error);
    if (!(row->written & MIG_STEP_BIT(step))) {
        where = g_strdup_printf(_("section '%1$s' has no place in it."), row->element);
        setCookieError(error, step, where);
        return false;
    }
    if (*seen & (1U << index)) {
        where = g_strdup_printf(_("section '%1$s' is there twice."), row->element);
        setCookieError(error, step, where);
        return false;
    }
    *seen |= 1U << index;
    where = g_strdup_printf(_("The migration cookie of step '%1$s' is not usable: section '%2$s'"),
                            stepNames[step], row->element);
    reader.where = where;
    return row->parse(cookie, &reader);
}

migCookie *
migCookieParse(const char *text, int len, migStep step, GError **error)
{
    g_autoptr(migCookie) cookie = g_new0(migCookie, 1);
    g_autoptr(xmlDoc) doc = NULL;
    uint32_t seen = 0;
    xmlNode *root;

    /* Nothing is known of it unless it is said. */
    cookie->way.conn = MIG_CONN_TCP;
    if (!cookieCheckText(text, len, step, error) ||
        !(doc = cookieReadXml(text, len, step, error)))
        return NULL;
    root = xmlDocGetRootElement(doc);
    if (!cookieCheckRoot(root, step, error))
        return NULL;
    for (xmlNode *node = root->children; node; node = node->next) {
        if (node->type == XML_ELEMENT_NODE &&
            !cookieReadSection(cookie, node, step, &seen, error))
            return NULL;
    }
    for (size_t i = 0; i < migCookieSectionCount; i++) {
        if ((migCookieSections[i].required & MIG_STEP_BIT(step)) && !(seen & (1U << i))) {
            g_autofree char *why =
                g_strdup_printf(_("section '%1$s' is missing."), migCookieSections[i].element);

            setCookieError(error, step, why);
            return NULL;
        }
    }
    return g_steal_pointer(&cookie);
}
