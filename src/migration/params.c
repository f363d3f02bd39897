/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * params.c: libvirt's flags and typed parameters to migParams and back, by the rows of
 * params_rows.c
 *
 * Theory of operation: what is malformed is told before what contradicts itself, and that before
 * what is well-formed but not offered.  A client passes one array of parameters to all five calls
 * and libvirt takes some flags away before the calls on the destination, so a rule that ties a
 * parameter to such a flag holds on the source only.
 */
#include "migration/params.h"

#include "base/error.h"
#include "migration/params_rows.h"

#include <string.h>

#include "base/gettext.h"

#define PARAMS_MAX 64

static bool
callIsOnDest(migCall call)
{
    return call == MIG_CALL_PREPARE || call == MIG_CALL_FINISH;
}

static void *
paramsField(const migParams *params, ssize_t offset)
{
    return (char *)params + offset;
}

void
migParamsClear(migParams *params)
{
    for (size_t i = 0; i < migParamRowCount; i++) {
        if (migParamRows[i].type != VIR_TYPED_PARAM_STRING || migParamRows[i].offset == MIG_NO_FIELD)
            continue;
        if (migParamRows[i].multiple)
            g_strfreev(*(GStrv *)paramsField(params, migParamRows[i].offset));
        else
            g_free(*(char **)paramsField(params, migParamRows[i].offset));
    }
    memset(params, 0, sizeof(*params));
}

/* ---- flags ---- */

static unsigned long
flagsKnown(void)
{
    unsigned long known = 0;

    for (size_t i = 0; i < migFlagRowCount; i++)
        known |= migFlagRows[i].bit;
    return known;
}

/* The names of the flags in @mask, "A or B". */
static char *
flagsNames(unsigned long mask)
{
    GString *names = g_string_new(NULL);

    for (size_t i = 0; i < migFlagRowCount; i++) {
        if (migFlagRows[i].bit & mask)
            g_string_append_printf(names, "%s'%s'", names->len ? " / " : "", migFlagRows[i].name);
    }
    return g_string_free(names, FALSE);
}

static bool
flagsCheckTogether(const migFlagRow *row, unsigned long flags, GError **error)
{
    unsigned long clash = flags & row->excludes;

    if (clash) {
        g_autofree char *others = flagsNames(clash);

        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration flags '%1$s' and %2$s exclude each other."), row->name,
                    others);
        return false;
    }
    if (row->requires && !(flags & row->requires)) {
        g_autofree char *others = flagsNames(row->requires);

        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration flag '%1$s' needs %2$s as well."), row->name, others);
        return false;
    }
    return true;
}

static bool
flagsParse(migParams *params, unsigned long flags, GError **error)
{
    unsigned long unknown = flags & ~flagsKnown();

    if (unknown) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration flags 0x%1$lx contain unknown bits: 0x%2$lx."), flags,
                    unknown);
        return false;
    }
    for (size_t i = 0; i < migFlagRowCount; i++) {
        if ((flags & migFlagRows[i].bit) && !flagsCheckTogether(&migFlagRows[i], flags, error))
            return false;
    }
    for (size_t i = 0; i < migFlagRowCount; i++) {
        const migFlagRow *row = &migFlagRows[i];

        if (!(flags & row->bit))
            continue;
        if (row->refused) {
            g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                        _("The migration flag '%1$s' is not supported. %2$s"), row->name,
                        _(row->refused));
            return false;
        }
        *(bool *)paramsField(params, row->offset) = true;
    }
    return true;
}

unsigned long
migParamsFlags(const migParams *params, migCall call)
{
    unsigned long flags = 0;

    for (size_t i = 0; i < migFlagRowCount; i++) {
        const migFlagRow *row = &migFlagRows[i];

        if (row->offset == MIG_NO_FIELD || !*(bool *)paramsField(params, row->offset))
            continue;
        if (!callIsOnDest(call) || row->send != MIG_SEND_NEVER)
            flags |= row->bit;
    }
    return flags;
}

/* ---- typed parameters ---- */

const char *
migParamTypeName(int type)
{
    switch (type) {
    case VIR_TYPED_PARAM_INT: return "int";
    case VIR_TYPED_PARAM_UINT: return "uint";
    case VIR_TYPED_PARAM_LLONG: return "llong";
    case VIR_TYPED_PARAM_ULLONG: return "ullong";
    case VIR_TYPED_PARAM_DOUBLE: return "double";
    case VIR_TYPED_PARAM_BOOLEAN: return "boolean";
    case VIR_TYPED_PARAM_STRING: return "string";
    default: return "?";
    }
}

const migParamRow *
migParamFindRow(const char *name)
{
    for (size_t i = 0; i < migParamRowCount; i++) {
        if (g_str_equal(migParamRows[i].name, name))
            return &migParamRows[i];
    }
    return NULL;
}

/* Name, type and number of times of one entry; its row, or NULL with an error. */
static const migParamRow *
paramCheckForm(virTypedParameterPtr param, uint64_t *seen, GError **error)
{
    const migParamRow *row;
    uint64_t bit;

    G_STATIC_ASSERT(sizeof(param->field) == VIR_TYPED_PARAM_FIELD_LENGTH);
    if (strnlen(param->field, sizeof(param->field)) == sizeof(param->field)) {
        g_set_error_literal(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                            _("A migration parameter has a name without an end."));
        return NULL;
    }
    if (!(row = migParamFindRow(param->field))) {
        g_autofree char *shown = g_strescape(param->field, NULL);

        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration parameter '%1$s' is unknown."), shown);
        return NULL;
    }
    if (param->type != row->type) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration parameter '%1$s' must be of type '%2$s', not '%3$s'."),
                    row->name, migParamTypeName(row->type), migParamTypeName(param->type));
        return NULL;
    }
    bit = UINT64_C(1) << (row - migParamRows);
    if ((*seen & bit) && !row->multiple) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration parameter '%1$s' is given more than once."), row->name);
        return NULL;
    }
    *seen |= bit;
    return row;
}

static bool
paramCheckText(const migParamRow *row, const char *text, GError **error)
{
    if (!text || !*text) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration parameter '%1$s' is empty."), row->name);
        return false;
    }
    if (strnlen(text, row->max + 1) > row->max) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration parameter '%1$s' is longer than %2$llu bytes."),
                    row->name, (unsigned long long)row->max);
        return false;
    }
    if (!g_utf8_validate(text, -1, NULL)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration parameter '%1$s' is not valid UTF-8."), row->name);
        return false;
    }
    return true;
}

static bool
paramCheckNumber(const migParamRow *row, virTypedParameterPtr param, GError **error)
{
    bool isInt = param->type == VIR_TYPED_PARAM_INT;
    g_autofree char *shown = NULL;

    if (isInt ? param->value.i >= 0 && (uint64_t)param->value.i >= row->min &&
                (uint64_t)param->value.i <= row->max
              : param->value.ul >= row->min && param->value.ul <= row->max)
        return true;
    shown =
        isInt ? g_strdup_printf("%d", param->value.i) : g_strdup_printf("%llu", param->value.ul);
    g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("The migration parameter '%1$s' is %2$s, but must be between %3$llu and %4$llu."),
                row->name, shown, (unsigned long long)row->min, (unsigned long long)row->max);
    return false;
}

static bool
paramCheckValue(const migParamRow *row, virTypedParameterPtr param, GError **error)
{
    if (param->type == VIR_TYPED_PARAM_BOOLEAN)
        return true;
    if (param->type == VIR_TYPED_PARAM_STRING)
        return paramCheckText(row, param->value.s, error);
    return paramCheckNumber(row, param, error) &&
        (!row->checkNumber || row->checkNumber(row->name, param->value.ul, error));
}

static bool
paramCheckOffer(const migParamRow *row, migCall call, unsigned long flags, GError **error)
{
    bool flagMissing = row->requires && !(flags & row->requires);

    for (size_t i = 0; flagMissing && i < migFlagRowCount; i++) {
        if (migFlagRows[i].bit == row->requires && migFlagRows[i].send == MIG_SEND_NEVER &&
            callIsOnDest(call))
            flagMissing = false;
    }
    if (flagMissing) {
        g_autofree char *name = flagsNames(row->requires);

        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration parameter '%1$s' needs the flag %2$s."), row->name, name);
        return false;
    }
    if (row->refused) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("The migration parameter '%1$s' is not supported. %2$s"), row->name,
                    _(row->refused));
        return false;
    }
    return true;
}

static bool
paramStoreText(const migParamRow *row, const char *value, void *field, GError **error)
{
    g_autofree char *text = g_strdup(value);
    GStrv *list = field;
    guint count;

    if (row->check && !row->check(row->name, &text, error))
        return false;
    if (!row->multiple) {
        *(char **)field = g_steal_pointer(&text);
        return true;
    }
    count = *list ? g_strv_length(*list) : 0;
    *list = g_renew(char *, *list, count + 2);
    (*list)[count] = g_steal_pointer(&text);
    (*list)[count + 1] = NULL;
    return true;
}

static bool
paramStore(migParams *params, const migParamRow *row, virTypedParameterPtr param, GError **error)
{
    void *field = paramsField(params, row->offset);

    switch (row->type) {
    case VIR_TYPED_PARAM_INT:
        *(int *)field = param->value.i;
        return true;
    case VIR_TYPED_PARAM_ULLONG:
        *(uint64_t *)field = param->value.ul;
        return true;
    case VIR_TYPED_PARAM_BOOLEAN:
        *(bool *)field = param->value.b != 0;
        return true;
    default:
        return paramStoreText(row, param->value.s, field, error);
    }
}

bool
migParamIsGiven(const migParams *params, const migParamRow *row)
{
    const void *field;

    if (row->offset == MIG_NO_FIELD)
        return false;
    field = paramsField(params, row->offset);
    switch (row->type) {
    case VIR_TYPED_PARAM_INT:
        return *(const int *)field != 0;
    case VIR_TYPED_PARAM_ULLONG:
        return *(const uint64_t *)field != 0;
    case VIR_TYPED_PARAM_BOOLEAN:
        return *(const bool *)field;
    default:
        return *(void *const *)field != NULL;
    }
}

static bool
paramsParse(migParams *ret, migCall call, unsigned long flags,
            virTypedParameterPtr params, int nparams, GError **error)
{
    const migParamRow *rows[PARAMS_MAX];
    uint64_t seen = 0;

    if (nparams < 0 || nparams > PARAMS_MAX || (nparams > 0 && !params)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The number of migration parameters is %1$d, which cannot be."), nparams);
        return false;
    }
    for (int i = 0; i < nparams; i++) {
        if (!(rows[i] = paramCheckForm(&params[i], &seen, error)) ||
            !paramCheckValue(rows[i], &params[i], error))
            return false;
    }
    for (int i = 0; i < nparams; i++) {
        if (!paramCheckOffer(rows[i], call, flags, error) ||
            !paramStore(ret, rows[i], &params[i], error))
            return false;
    }
    return true;
}

/* A VMM that makes several connections makes them to the relay. */
static bool
paramsCheckTransport(const migParams *params, GError **error)
{
    if (!params->parallel || g_strcmp0(params->transport, "native") != 0)
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("The migration parameter '%1$s' cannot be '%2$s' with the flag '%3$s', since several connections go through the relay."),
                MIG_PARAM_TRANSPORT, params->transport, "VIR_MIGRATE_PARALLEL");
    return false;
}

bool
migParamsParse(migParams *ret, migCall call, unsigned long flags,
               virTypedParameterPtr params, int nparams, GError **error)
{
    g_auto(migParams) parsed = { 0 };

    G_STATIC_ASSERT(sizeof(uint64_t) == sizeof(unsigned long long));
    g_assert(migParamRowCount <= 64);
    if (!flagsParse(&parsed, flags, error) ||
        !paramsParse(&parsed, call, flags, params, nparams, error) ||
        !migCompressSettle(&parsed, error) || !paramsCheckTransport(&parsed, error))
        return false;
    parsed.bandwidthGiven = parsed.bandwidthMiBs > 0;
    *ret = parsed;
    memset(&parsed, 0, sizeof(parsed));
    return true;
}

typedef struct {
    virTypedParameterPtr list;
    int count, room;
} typedList;

static bool
typedAddText(typedList *to, const migParamRow *row, const char *text)
{
    return virTypedParamsAddString(&to->list, &to->count, &to->room, row->name, text) == 0;
}

static bool
typedAddList(typedList *to, const migParamRow *row, GStrv texts)
{
    for (size_t i = 0; texts && texts[i]; i++) {
        if (!typedAddText(to, row, texts[i]))
            return false;
    }
    return true;
}

/* One that was given, but for strings: @text is what to send, NULL for nothing. */
static bool
typedAdd(typedList *to, const migParamRow *row, const void *field, const char *text)
{
    switch (row->type) {
    case VIR_TYPED_PARAM_INT:
        return virTypedParamsAddInt(&to->list, &to->count, &to->room, row->name, *(const int *)field) == 0;
    case VIR_TYPED_PARAM_ULLONG:
        return virTypedParamsAddULLong(&to->list, &to->count, &to->room, row->name,
                                       *(const uint64_t *)field) == 0;
    case VIR_TYPED_PARAM_BOOLEAN:
        return virTypedParamsAddBoolean(&to->list, &to->count, &to->room, row->name, *(const bool *)field) == 0;
    default:
        return row->multiple ? typedAddList(to, row, *(const GStrv *)field) : !text || typedAddText(to, row, text);
    }
}

bool
migParamsToTyped(const migParams *params, migCall call, const char *destXml, const char *destName,
                 virTypedParameterPtr *ret, int *nret, GError **error)
{
    migSend least = callIsOnDest(call) ?
        (call == MIG_CALL_PREPARE ? MIG_SEND_PREPARE : MIG_SEND_ALWAYS) : MIG_SEND_NEVER;
    typedList to = { NULL, 0, 0 };

    for (size_t i = 0; i < migParamRowCount; i++) {
        const migParamRow *row = &migParamRows[i];
        const void *field;
        const char *text = NULL;

        if (row->offset == MIG_NO_FIELD || row->send < least)
            continue;
        field = paramsField(params, row->offset);
        if (row->type == VIR_TYPED_PARAM_STRING && !row->multiple)
            text = *(char *const *)field;
        else if (!migParamIsGiven(params, row))
            continue;
        if (row->offset == (ssize_t)offsetof(migParams, destXml) && destXml)
            text = destXml;
        if (row->offset == (ssize_t)offsetof(migParams, destName) && destName)
            text = destName;
        if (!typedAdd(&to, row, field, text)) {
            virTypedParamsFree(to.list, to.count);
            g_set_error(
                error, BASE_ERROR, BASE_ERROR_INTERNAL,
                _("The migration parameter '%1$s' could not be prepared for the other host."),
                row->name);
            return false;
        }
    }
    *ret = to.list;
    *nret = to.count;
    return true;
}

/* ---- the VMM ---- */

static bool
traitIsThere(const vmmTraits *traits, size_t trait)
{
    return trait == 0 || *(const bool *)((const char *)traits + trait);
}

/* The VMM has nothing to do with it. */
static bool
relayDoes(const migParams *params, const migFlagRow *row)
{
    return row->bit == VIR_MIGRATE_COMPRESSED && migParamsCompressRelay(params);
}

GPtrArray *
migParamsLacking(const migParams *params, const vmmTraits *traits, migActs acts)
{
    GPtrArray *names = g_ptr_array_new();

    for (size_t i = 0; i < migFlagRowCount; i++) {
        const migFlagRow *row = &migFlagRows[i];

        if ((row->acts & acts) && row->offset != MIG_NO_FIELD &&
            *(const bool *)paramsField(params, row->offset) && !traitIsThere(traits, row->trait) && !relayDoes(params, row))
            g_ptr_array_add(names, (char *)row->name);
    }
    for (size_t i = 0; i < migParamRowCount; i++) {
        const migParamRow *row = &migParamRows[i];

        if ((row->acts & acts) && migParamIsGiven(params, row) && !traitIsThere(traits, row->trait))
            g_ptr_array_add(names, (char *)row->name);
    }
    return names;
}
