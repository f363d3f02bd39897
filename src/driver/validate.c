/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * "Nothing is ever ignored" cannot be kept by looking at members of libvirt's structures one by one: there are hundreds, and
 * each release has more.  So the question is turned around: the definition is formatted as XML again, and every
 * element and attribute of that text must be one that a table of ours knows.  What a later libvirt learns to
 * parse is refused here until somebody has written the code for it and a row.
 *
 * The text is the inactive form, without what only a running guest has.
 */
#include <config.h>

#include "driver/validate.h"

#include "virxml.h"

#include "driver/compat.h"
#include "base/gettext.h"

typedef struct {
    const validateRow *rows;
    size_t count;
    machineKind machine;
    const char *machineName;
} validateCtx;

/* Why the nearest row does not fit. */
typedef struct {
    int score;                /* the more had fitted, the nearer */
    const char *attr;         /* the attribute that did not; NULL: the text */
    char *allowed;            /* "a|b", or NULL if there may be none at all */
} validateMiss;

/* ---- rows ------------------------------------------------------------------------------------------------------ */

/* Is @word one of the words of @list, which @separator stands between? */
static bool
validateIsListed(const char *list, char separator, const char *word)
{
    size_t len = strlen(word);

    for (const char *at = list; at; at = strchr(at, separator) ? strchr(at, separator) + 1 : NULL) {
        if (strncmp(at, word, len) == 0 && (at[len] == separator || at[len] == '\0'))
            return true;
    }
    return false;
}

/* The values that @row lets the attribute @name have: "" is any, NULL: there may be no such attribute. Caller frees. */
static char *
validateAttrValues(const validateRow *row, const char *name)
{
    g_auto(GStrv) specs = g_strsplit(row->attrs ? row->attrs : "", " ", -1);

    for (size_t i = 0; specs[i]; i++) {
        char *values = strchr(specs[i], '=');

        if (values)
            *values++ = '\0';
        if (STREQ(specs[i], name))
            return g_strdup(values ? values : "");
    }
    return NULL;
}

static bool
validatePartFits(const char *part, xmlNodePtr node)
{
    const char *colon = strchr(part, ':');
    size_t len = colon ? (size_t)(colon - part) : strlen(part);
    g_autofree char *type = NULL;

    if (strlen((const char *)node->name) != len || strncmp((const char *)node->name, part, len) != 0)
        return false;
    if (!colon)
        return true;
    type = virXMLPropString(node, "type");
    return STREQ_NULLABLE(type, colon + 1);
}

/* @nodes: from below <domain> to the element. */
static bool
validatePathFits(const validateRow *row, GPtrArray *nodes)
{
    g_auto(GStrv) parts = g_strsplit(row->path, "/", -1);
    size_t count = *row->path ? g_strv_length(parts) : 0;

    if (count > 0 && STREQ(parts[count - 1], "**")) {
        if (nodes->len < count)
            return false;
        count--;
    } else if (nodes->len != count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!validatePartFits(parts[i], nodes->pdata[i]))
            return false;
    }
    return true;
}

/* ---- one element -------------------------------------------------------------------------------------------------- */

static char *
validateOwnText(xmlNodePtr node)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (xmlNodePtr child = node->children; child; child = child->next) {
        if (child->type == XML_TEXT_NODE || child->type == XML_CDATA_SECTION_NODE)
            g_string_append(text, (const char *)child->content);
    }
    g_strstrip(text->str);
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* Alternatives that fail at the same attribute are told together. */
static void
validateNoteMiss(validateMiss *miss, int score, const char *attr, const char *allowed)
{
    char *all = NULL;

    if (score < miss->score)
        return;
    if (score == miss->score && miss->allowed && allowed && STREQ_NULLABLE(miss->attr, attr) &&
        STRNEQ(miss->allowed, allowed))
        all = g_strdup_printf("%s|%s", miss->allowed, allowed);
    else if (score == miss->score && miss->allowed && !allowed)
        return;
    else
        all = g_strdup(allowed);
    g_free(miss->allowed);
    *miss = (validateMiss) { .score = score, .attr = attr, .allowed = all };
}

/* The path fits already. */
static bool
validateRowFits(const validateRow *row, xmlNodePtr node, validateMiss *miss)
{
    g_autofree char *text = validateOwnText(node);
    int score = 0;

    if (g_str_has_suffix(row->path, "**"))
        return true;
    for (xmlAttrPtr attr = node->properties; attr; attr = attr->next) {
        const char *name = (const char *)attr->name;
        g_autofree char *values = validateAttrValues(row, name);
        g_autofree char *value = virXMLPropString(node, name);

        if (!values || (*values && !validateIsListed(values, '|', value))) {
            validateNoteMiss(miss, score, name, values);
            return false;
        }
        score++;
    }
    if (*text && (!row->text || (STRNEQ(row->text, "*") && !validateIsListed(row->text, '|', text)))) {
        validateNoteMiss(miss, score, NULL, row->text);
        return false;
    }
    return true;
}

static char *
validatePathText(GPtrArray *nodes)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (guint i = 0; i < nodes->len; i++) {
        xmlNodePtr node = nodes->pdata[i];
        g_autofree char *type = virXMLPropString(node, "type");

        g_string_append_printf(text, "%s<%s", i ? "/" : "", (const char *)node->name);
        if (type)
            g_string_append_printf(text, " type='%s'", type);
        g_string_append_c(text, '>');
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void
validateRefuseAttr(const validateCtx *ctx, const char *path, const validateMiss *miss, const char *value,
                   const char *allowed)
{
    if (allowed)
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The value '%1$s' of the attribute '%2$s' of %3$s is not supported by guests of the machine '%4$s'; it may be '%5$s'"),
                       value, miss->attr, path, ctx->machineName, allowed);
    else
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The attribute '%1$s', which is '%2$s', of %3$s is not supported by guests of the machine '%4$s'"),
                       miss->attr, value, path, ctx->machineName);
}

static void
validateRefuseText(const validateCtx *ctx, const char *path, const char *value, const char *allowed)
{
    if (allowed)
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The value '%1$s' of %2$s is not supported by guests of the machine '%3$s'; it may be '%4$s'"),
                       value, path, ctx->machineName, allowed);
    else
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED, _("The text '%1$s' in %2$s has no meaning there"), value, path);
}

static int
validateRefuse(const validateCtx *ctx, GPtrArray *nodes, const validateMiss *miss)
{
    xmlNodePtr node = nodes->pdata[nodes->len - 1];
    g_autofree char *path = validatePathText(nodes);
    g_auto(GStrv) list = g_strsplit(miss->allowed ? miss->allowed : "", "|", -1);
    g_autofree char *allowed = miss->allowed ? g_strjoinv("', '", list) : NULL;
    g_autofree char *value = miss->attr ? virXMLPropString(node, miss->attr) : validateOwnText(node);

    if (miss->score < 0)
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The element %1$s is not supported by guests of the machine '%2$s'"),
                       path, ctx->machineName);
    else if (miss->attr)
        validateRefuseAttr(ctx, path, miss, value, allowed);
    else
        validateRefuseText(ctx, path, value, allowed);
    return -1;
}

static int
validateOne(const validateCtx *ctx, GPtrArray *nodes)
{
    xmlNodePtr node = nodes->pdata[nodes->len - 1];
    validateMiss miss = { .score = -1 };
    int ret;

    for (size_t i = 0; i < ctx->count; i++) {
        const validateRow *row = &ctx->rows[i];

        if ((row->machines && !(row->machines & ctx->machine)) || !validatePathFits(row, nodes))
            continue;
        if (validateRowFits(row, node, &miss)) {
            g_free(miss.allowed);
            return 0;
        }
    }
    ret = validateRefuse(ctx, nodes, &miss);
    g_free(miss.allowed);
    return ret;
}

static int
validateBelow(const validateCtx *ctx, xmlNodePtr parent, GPtrArray *nodes)
{
    for (xmlNodePtr child = parent->children; child; child = child->next) {
        int ret;

        if (child->type != XML_ELEMENT_NODE)
            continue;
        g_ptr_array_add(nodes, child);
        ret = validateOne(ctx, nodes);
        if (ret == 0)
            ret = validateBelow(ctx, child, nodes);
        g_ptr_array_set_size(nodes, nodes->len - 1);
        if (ret < 0)
            return -1;
    }
    return 0;
}

/* ---- public ---------------------------------------------------------------------------------------------------------- */

int
validateRows(const virDomainDef *def, const validateRow *rows, size_t count)
{
    validateCtx ctx = {
        .rows = rows, .count = count,
        .machine = machineKindOf(def->os.machine),
        .machineName = def->os.machine,
    };
    /* Formatting does not change it, but libvirt does not say so. */
    g_autofree char *xml = virDomainDefFormat((virDomainDef *)def, NULL,
                                              VIR_DOMAIN_DEF_FORMAT_INACTIVE | VIR_DOMAIN_DEF_FORMAT_SECURE);
    g_autoptr(xmlDoc) doc = NULL;
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    if (!xml || !(doc = virXMLParseStringCtxt(xml, _("(domain definition)"), NULL)))
        return -1;
    return validateBelow(&ctx, xmlDocGetRootElement(doc), nodes);
}
