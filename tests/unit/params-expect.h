/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* params-expect.h: typed parameters to try, and what is to become of them; for unit tests */
#pragma once

#include "base/error.h"
#include "migration/params.h"

#include <string.h>

typedef struct {
    virTypedParameterPtr list;
    int count, room;
} typed;

static inline void
typedClear(typed *t)
{
    virTypedParamsFree(t->list, t->count);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(typed, typedClear)

static inline void
addString(typed *t, const char *name, const char *value)
{
    g_assert_cmpint(virTypedParamsAddString(&t->list, &t->count, &t->room, name, value), ==, 0);
}

static inline void
addInt(typed *t, const char *name, int value)
{
    g_assert_cmpint(virTypedParamsAddInt(&t->list, &t->count, &t->room, name, value), ==, 0);
}

static inline void
addULLong(typed *t, const char *name, unsigned long long value)
{
    g_assert_cmpint(virTypedParamsAddULLong(&t->list, &t->count, &t->room, name, value), ==, 0);
}

static inline void
expectOk(migParams *params, migCall call, unsigned long flags, const typed *t)
{
    g_autoptr(GError) error = NULL;
    bool ok = migParamsParse(params, call, flags, t ? t->list : NULL, t ? t->count : 0, &error);

    g_assert_no_error(error);
    g_assert_true(ok);
}

/* Refused in every call, with @code and with each of @words in the message; *params stays as it
 * was. */
static inline void
expectRefused(unsigned long flags, const typed *t, baseErrorCode code, const char *word,
              const char *other)
{
    for (int call = MIG_CALL_BEGIN; call <= MIG_CALL_CONFIRM; call++) {
        g_autoptr(GError) error = NULL;
        migParams params;
        migParams untouched;

        memset(&params, 0x5a, sizeof(params));
        memcpy(&untouched, &params, sizeof(params));
        g_assert_false(migParamsParse(&params, (migCall)call, flags, t ? t->list : NULL,
                                      t ? t->count : 0, &error));
        g_assert_error(error, BASE_ERROR, (int)code);
        g_test_message("%s", error->message);
        g_assert_nonnull(strstr(error->message, word));
        g_assert_nonnull(strstr(error->message, other));
        g_assert_cmpmem(&params, sizeof(params), &untouched, sizeof(params));
    }
}
