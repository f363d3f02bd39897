/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check.c: why a guest cannot migrate: the rows are asked, and what they say is reported
 *
 * All rows are asked, so that the user sees all reasons at once.  Rows that VIR_MIGRATE_UNSAFE
 * overrides are not asked when it is given.
 */
#include "migration/check_priv.h"

#include "migration/relay.h"
#include "remote/uri.h"

#include <string.h>

#include "base/gettext.h"

void
migCheckAdd(migCheckList *list, baseErrorCode code, const char *format, ...)
{
    va_list args;

    if (list->texts->len == 0 || list->code == BASE_ERROR_UNSAFE)
        list->code = code;
    va_start(args, format);
    g_ptr_array_add(list->texts, g_strdup_vprintf(format, args));
    va_end(args);
}

/* ---- what both sides ask ---- */

void
migCheckDefect(const vmmInfo *vmm, bool tcg, bool files, const migParams *params, migCheckList *list)
{
    const vmmDefect *defect = vmm && !params->offline ? vmmDefectFor(vmm, tcg) : NULL;

    if (defect && (params->live || (defect->needsFiles && !files)) && !(defect->overridable && params->unsafe))
        migCheckAdd(list, defect->overridable ? BASE_ERROR_UNSAFE : BASE_ERROR_UNSUPPORTED, "%s", _(defect->text));
}

void
migCheckSocketPath(const char *path, const vmmInfo *vmm, bool spreads, const migCheckInput *in, baseErrorCode code,
                   migCheckList *list)
{
    bool guided = vmm && vmm->traits->guide;
    /* A stream that is spread leaves the VMM by a descriptor. */
    bool several = migRelayChannels(in->params) > 0 && !spreads;

    if (!path || (!several && !guided))
        return;
    if (strlen(path) > URI_MAX_PATH)
        migCheckAdd(list, code, _("The data needs the socket '%1$s', but a socket's path can have %2$u bytes only."),
                 path, (unsigned)URI_MAX_PATH);
    if (guided && strchr(path, ':'))
        migCheckAdd(list, code, _("The data needs the socket '%1$s', but %2$s takes no path with a colon."), path, vmm->traits->title);
}

void
migCheckLacking(const vmmInfo *vmm, migActs acts, const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    g_autoptr(GPtrArray) names = vmm ? migParamsLacking(in->params, vmm->traits, acts) : NULL;

    for (guint i = 0; names && i < names->len; i++)
        migCheckAdd(list, code, _("'%1$s' was asked for, but %2$s has no means for it."),
                 (const char *)g_ptr_array_index(names, i), vmm->traits->title);
}

/* ---- asking and reporting ---- */

static char *
checkJoin(const migCheckList *list)
{
    GString *text = g_string_new(NULL);

    if (list->texts->len == 1)
        return g_string_free(g_string_append(text, g_ptr_array_index(list->texts, 0)), FALSE);
    for (guint i = 0; i < list->texts->len; i++)
        g_string_append_printf(text, "%s(%u) %s", i ? " " : "", i + 1,
                               (const char *)g_ptr_array_index(list->texts, i));
    return g_string_free(text, FALSE);
}

/* The rows that concern the definition of a guest that is shut off; all others are about a guest that runs. */
static const char *const offlineRows[] = {
    "active", "job", "snapshots", "same-host", "uuid-active", "name", "emulator", "arch", NULL
};

static bool
checkConcerns(const migCheckRow *row, const migParams *params)
{
    if (params->offline && !g_strv_contains(offlineRows, row->name))
        return false;
    return row->code != BASE_ERROR_UNSAFE || !params->unsafe;
}

static unsigned
checkAsk(const migCheckRow *rows, size_t count, const migCheckInput *in, migCheckList *list)
{
    unsigned asked = 0;

    for (size_t i = 0; i < count; i++) {
        if (!checkConcerns(&rows[i], in->params))
            continue;
        rows[i].judge(in, rows[i].code, list);
        asked++;
    }
    return asked;
}

static bool
checkReport(const migCheckList *list, const char *domainName, GError **error)
{
    g_autofree char *reasons = NULL;

    if (list->texts->len == 0)
        return true;
    reasons = checkJoin(list);
    if (list->code == BASE_ERROR_UNSAFE)
        g_set_error(error, BASE_ERROR, list->code,
                    _("Guest '%1$s' cannot migrate safely: %2$s To migrate nevertheless, add the "
                      "flag '%3$s'."),
                    domainName, reasons, "VIR_MIGRATE_UNSAFE");
    else
        g_set_error(error, BASE_ERROR, list->code, _("Guest '%1$s' cannot migrate: %2$s"),
                    domainName, reasons);
    return false;
}

bool
migCheckSource(const migSourceFacts *facts, const migParams *params, GError **error)
{
    migCheckInput in = { .source = facts, .params = params };
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    migCheckList list = { texts, BASE_ERROR_INTERNAL };

    checkAsk(migCheckSourceRows, migCheckSourceCount, &in, &list);
    return checkReport(&list, facts->domainName, error);
}

/* Names by which the worst of the source's reasons is told in the cookie. */
static const struct {
    const char *name;
    baseErrorCode code;
} codeNames[] = {
    { "operation-invalid", BASE_ERROR_OPERATION_INVALID },
    { "unsupported", BASE_ERROR_UNSUPPORTED },
    { "unsafe", BASE_ERROR_UNSAFE },
};

static const char *
checkCodeName(baseErrorCode code)
{
    for (size_t i = 0; i < G_N_ELEMENTS(codeNames); i++) {
        if (codeNames[i].code == code)
            return codeNames[i].name;
    }
    return codeNames[0].name;
}

static baseErrorCode
checkCodeOf(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(codeNames); i++) {
        if (g_strcmp0(codeNames[i].name, name) == 0)
            return codeNames[i].code;
    }
    return BASE_ERROR_OPERATION_INVALID;
}

void
migCheckSourceDry(const migSourceFacts *facts, const migParams *params, migCookie *cookie)
{
    migCheckInput in = { .source = facts, .params = params };
    migCheckList list = { g_ptr_array_new_with_free_func(g_free), BASE_ERROR_INTERNAL };

    cookie->dryRun = true;
    cookie->checks = checkAsk(migCheckSourceRows, migCheckSourceCount, &in, &list);
    cookie->reasonsCode = list.texts->len ? g_strdup(checkCodeName(list.code)) : NULL;
    cookie->reasons = list.texts;
}

/* The source's reasons come first, as they would have without a dry run. */
static bool
checkDryRun(const migCheckInput *in, const migCheckList *dest, unsigned asked, GError **error)
{
    const migCookie *remote = in->remote;
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    migCheckList all = { texts, checkCodeOf(remote->reasonsCode) };
    g_autofree char *reasons = NULL;

    for (guint i = 0; remote->reasons && i < remote->reasons->len; i++)
        g_ptr_array_add(texts, g_strdup(g_ptr_array_index(remote->reasons, i)));
    /* As everywhere, the first that nobody can override gives the code. */
    if (dest->texts->len && (texts->len == 0 || all.code == BASE_ERROR_UNSAFE))
        all.code = dest->code;
    for (guint i = 0; i < dest->texts->len; i++) {
        const char *text = g_ptr_array_index(dest->texts, i);

        /* What is true of both hosts is told once. */
        if (!g_ptr_array_find_with_equal_func(texts, text, g_str_equal, NULL))
            g_ptr_array_add(texts, g_strdup(text));
    }
    if (texts->len == 0) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_ABORTED,
                    _("Dry run: guest '%1$s' can migrate from host '%2$s' to host '%3$s'. %4$u checks were made on the "
                      "source and %5$u on the destination; nothing was started.%6$s%7$s"),
                    remote->domainName, remote->hostName, in->dest->hostName, remote->checks, asked, in->dest->channel ? " " : "",
                    in->dest->channel ? in->dest->channel : "");
        return false;
    }
    reasons = checkJoin(&all);
    if (all.code == BASE_ERROR_UNSAFE)
        g_set_error(error, BASE_ERROR, all.code,
                    _("Dry run: guest '%1$s' cannot migrate safely from host '%2$s' to host '%3$s': %4$s To migrate "
                      "nevertheless, add the flag '%5$s'."),
                    remote->domainName, remote->hostName, in->dest->hostName, reasons, "VIR_MIGRATE_UNSAFE");
    else
        g_set_error(error, BASE_ERROR, all.code,
                    _("Dry run: guest '%1$s' cannot migrate from host '%2$s' to host '%3$s': %4$s"), remote->domainName,
                    remote->hostName, in->dest->hostName, reasons);
    return false;
}

bool
migCheckDest(const migDestFacts *facts, const migCookie *remote, const migParams *params,
             GError **error)
{
    migCheckInput in = { .dest = facts, .remote = remote, .params = params };
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    migCheckList list = { texts, BASE_ERROR_INTERNAL };
    unsigned asked = checkAsk(migCheckDestRows, migCheckDestCount, &in, &list);

    if (remote->dryRun || params->dryRun)
        return checkDryRun(&in, &list, asked, error);
    return checkReport(&list, remote->domainName, error);
}

/* ---- documentation ---- */

/* The error that a client sees, see base/error.h. */
static const char *
describeCode(baseErrorCode code)
{
    switch (code) {
    case BASE_ERROR_INVALID_ARG:
        return "VIR_ERR_INVALID_ARG";
    case BASE_ERROR_OPERATION_INVALID:
        return "VIR_ERR_OPERATION_INVALID";
    case BASE_ERROR_OPERATION_FAILED:
        return "VIR_ERR_OPERATION_FAILED";
    case BASE_ERROR_CONFIG:
        return "VIR_ERR_CONFIG_UNSUPPORTED";
    case BASE_ERROR_UNSUPPORTED:
        return "VIR_ERR_ARGUMENT_UNSUPPORTED";
    case BASE_ERROR_UNSAFE:
        return "VIR_ERR_MIGRATE_UNSAFE";
    default:
        return "VIR_ERR_INTERNAL_ERROR";
    }
}

static void
describeRows(GString *out, const char *title, const migCheckRow *rows, size_t count)
{
    g_string_append_printf(out, "%s\n", title);
    for (size_t i = strlen(title); i > 0; i--)
        g_string_append_c(out, '-');
    g_string_append(out, "\n\n.. list-table::\n   :header-rows: 1\n   :widths: 14 44 22 10 10\n\n"
                    "   * - check\n     - passes if\n     - else\n     - ``UNSAFE`` overrides\n     - for ``OFFLINE``, too\n");
    for (size_t i = 0; i < count; i++)
        g_string_append_printf(out, "   * - %s\n     - %s\n     - ``%s``\n     - %s\n     - %s\n", rows[i].name,
                               rows[i].text, describeCode(rows[i].code), rows[i].code == BASE_ERROR_UNSAFE ? "yes" : "no",
                               g_strv_contains(offlineRows, rows[i].name) ? "yes" : "no");
    g_string_append_c(out, '\n');
}

char *
migCheckDescribe(void)
{
    GString *out = g_string_new(NULL);

    describeRows(out, "On the source", migCheckSourceRows, migCheckSourceCount);
    describeRows(out, "On the destination", migCheckDestRows, migCheckDestCount);
    g_string_truncate(out, out->len - 1);
    return g_string_free(out, FALSE);
}
