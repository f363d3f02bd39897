/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* params_describe.c: the tables of docs/migration-parameters.rst, made from the rows */
#include "migration/params_rows.h"

#include <string.h>

static const char *
actsText(migActs acts)
{
    switch (acts) {
    case MIG_ACTS_SOURCE: return "source";
    case MIG_ACTS_DEST: return "destination";
    default: return "both";
    }
}

/* "``A``, ``B``" */
static void
describeFlags(GString *out, const char *before, unsigned long mask, const char *between)
{
    bool first = true;

    for (size_t i = 0; i < migFlagRowCount; i++) {
        if (!(migFlagRows[i].bit & mask))
            continue;
        g_string_append_printf(out, "%s``%s``", first ? before : between,
                               migFlagRows[i].name + strlen("VIR_MIGRATE_"));
        first = false;
    }
}

/* Which VMMs have what it takes. */
static void
describeTrait(GString *out, size_t trait)
{
    bool first = true;
    const vmmTraits *traits;

    for (size_t i = 0; trait && (traits = vmmTraitsAt(i)); i++) {
        if (!*(const bool *)((const char *)traits + trait))
            continue;
        g_string_append_printf(out, "%s%s", first ? "; VMM: " : ", ", traits->title);
        first = false;
    }
}

static void
describeRow(GString *out, const char *name, const char *kind, const char *rules,
            const char *refused, const char *text)
{
    g_string_append_printf(out, "   * - ``%s``\n     - %s\n     - %s\n     - %s\n     - %s%s%s\n", name, kind,
                           rules, refused ? "no" : "yes", text, refused ? " " : "", refused ? refused : "");
}

static void
describeTable(GString *out, const char *title, const char *second)
{
    g_string_append_printf(out, "%s\n", title);
    for (size_t i = strlen(title); i > 0; i--)
        g_string_append_c(out, '-');
    g_string_append_printf(out,
                           "\n\n.. list-table::\n   :header-rows: 1\n   :widths: 26 12 20 8 34\n\n"
                           "   * - name\n     - %s\n     - host, rules\n     - supported\n     - meaning\n",
                           second);
}

static void
describeFlag(GString *out, const migFlagRow *row)
{
    g_autofree char *value = g_strdup_printf("0x%lx", row->bit);
    g_autoptr(GString) rules = g_string_new(actsText(row->acts));

    describeFlags(rules, "; needs ", row->requires, " or ");
    describeFlags(rules, "; not with ", row->excludes, ", ");
    describeTrait(rules, row->trait);
    describeRow(out, row->name, value, rules->str, row->refused, row->text);
}

static void
describeParam(GString *out, const migParamRow *row)
{
    g_autoptr(GString) kind = g_string_new(migParamTypeName(row->type));
    g_autoptr(GString) rules = g_string_new(actsText(row->acts));

    if (row->multiple)
        g_string_append(kind, ", several");
    if (row->unit)
        g_string_append_printf(kind, ", %s", row->unit);
    if ((row->type == VIR_TYPED_PARAM_INT || row->type == VIR_TYPED_PARAM_ULLONG) && row->max != G_MAXUINT64)
        g_string_append_printf(kind, ", %" G_GUINT64_FORMAT "–%" G_GUINT64_FORMAT, row->min, row->max);
    describeFlags(rules, "; needs ", row->requires, " or ");
    describeTrait(rules, row->trait);
    describeRow(out, row->name, kind->str, rules->str, row->refused, row->text);
}

char *
migParamsDescribe(void)
{
    GString *out = g_string_new(NULL);

    describeTable(out, "Flags", "value");
    for (size_t i = 0; i < migFlagRowCount; i++)
        describeFlag(out, &migFlagRows[i]);
    g_string_append_c(out, '\n');
    describeTable(out, "Parameters", "type");
    for (size_t i = 0; i < migParamRowCount; i++)
        describeParam(out, &migParamRows[i]);
    return g_string_free(out, FALSE);
}
