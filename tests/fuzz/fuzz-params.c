/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Flags and typed parameters of a migration call
 *
 * A line a parameter, "NAME=VALUE", after a line "CALL FLAGS"; a first character of the value may force a type: i, u, l, U, d, b.
 */
#include "fuzz.h"

#include <libvirt/virterror.h>
#include <stdlib.h>

#include "base/error.h"
#include "migration/params.h"
#include "migration/params_rows.h"

#define PARAMS_MAX 64

static bool
paramsAdd(virTypedParameterPtr *list, int *n, int *max, char *line)
{
    char *value = strchr(line, '=');

    if (!value)
        return true;
    *value++ = '\0';
    switch (*value) {
    case 'i':
        return virTypedParamsAddInt(list, n, max, line, (int)strtol(value + 1, NULL, 10)) == 0;
    case 'u':
        return virTypedParamsAddUInt(list, n, max, line, (unsigned)strtoul(value + 1, NULL, 10)) == 0;
    case 'l':
        return virTypedParamsAddLLong(list, n, max, line, strtoll(value + 1, NULL, 10)) == 0;
    case 'U':
        return virTypedParamsAddULLong(list, n, max, line, strtoull(value + 1, NULL, 10)) == 0;
    case 'd':
        return virTypedParamsAddDouble(list, n, max, line, g_ascii_strtod(value + 1, NULL)) == 0;
    case 'b':
        return virTypedParamsAddBoolean(list, n, max, line, value[1] == '1') == 0;
    default:
        return virTypedParamsAddString(list, n, max, line, value) == 0;
    }
}

/* What the destination is sent is what a destination accepts. */
static void
paramsSend(const migParams *params, migCall call)
{
    g_autoptr(GError) error = NULL;
    virTypedParameterPtr list = NULL;
    g_auto(migParams) there = { 0 };
    int n = 0;

    if (!migParamsToTyped(params, call, "<domain/>", "name", &list, &n, &error)) {
        g_assert_nonnull(error);
        return;
    }
    migParamsParse(&there, call, migParamsFlags(params, call), list, n, &error);
    g_assert_no_error(error);
    virTypedParamsFree(list, n);
}

static void
paramsCheck(migCall call, unsigned long flags, virTypedParameterPtr list, int n)
{
    g_auto(migParams) params = { 0 };
    g_autoptr(GError) error = NULL;

    if (migParamsParse(&params, call, flags, list, n, &error)) {
        if (call == MIG_CALL_PERFORM) {
            paramsSend(&params, MIG_CALL_PREPARE);
            paramsSend(&params, MIG_CALL_FINISH);
        }
        return;
    }
    g_assert_nonnull(error);
    g_assert_true(error->domain == BASE_ERROR);
    g_assert_true(error->code == BASE_ERROR_INVALID_ARG || error->code == BASE_ERROR_UNSUPPORTED);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_auto(GStrv) lines = g_strsplit(text, "\n", PARAMS_MAX);
    virTypedParameterPtr list = NULL;
    unsigned long flags = 0;
    int n = 0, max = 0;
    unsigned long call = 0;
    char *rest = NULL;

    if (lines[0]) {
        call = strtoul(lines[0], &rest, 10);
        flags = strtoul(rest, NULL, 0);
        for (char **line = lines + 1; *line; line++) {
            if (!paramsAdd(&list, &n, &max, *line))
                virResetLastError();
        }
    }
    paramsCheck((migCall)(call % (MIG_CALL_CONFIRM + 1)), flags, list, n);
    virTypedParamsFree(list, n);
    return 0;
}

static void
paramsQuiet(void *opaque G_GNUC_UNUSED, virErrorPtr error G_GNUC_UNUSED)
{
}

void
fuzzSetUp(void)
{
    virInitialize();
    virSetErrorFunc(NULL, paramsQuiet);
}

/* Every parameter by its row. */
void
fuzzSeeds(const char *folder)
{
    for (size_t i = 0; i < migParamRowCount; i++) {
        const migParamRow *row = &migParamRows[i];
        const char *letter = row->type == VIR_TYPED_PARAM_STRING ? "" : row->type == VIR_TYPED_PARAM_INT ? "i" :
                             row->type == VIR_TYPED_PARAM_BOOLEAN ? "b" : "U";
        g_autofree char *text = g_strdup_printf("2 0x%lx\n%s=%s1\n", row->requires, row->name, letter);
        g_autofree char *name = g_strdup_printf("made-%zu", i);

        fuzzSeed(folder, name, text, strlen(text));
    }
    for (size_t i = 0; i < migFlagRowCount; i++) {
        g_autofree char *text = g_strdup_printf("2 0x%lx\n", migFlagRows[i].bit | migFlagRows[i].requires);
        g_autofree char *name = g_strdup_printf("made-flag-%zu", i);

        fuzzSeed(folder, name, text, strlen(text));
    }
}
