/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * enumname.h: names of enumerators, both ways, from one table
 *
 * In the header:  BASE_ENUM_DECL(migPhase, migPhase)
 * In the source:  BASE_ENUM_IMPL(migPhase, migPhase, MIG_PHASE_LAST, "idle", "begun", ...)
 * This makes migPhaseToString() and migPhaseFromString().  The names stand in the order of the
 * enumerators, which count from 0; a forgotten name does not compile.  Enumerators are for one
 * program only: what goes on a wire or to a disk is the name.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define BASE_ENUM_DECL(prefix, type) \
    /* Never NULL: a number without a name gives "?". */ \
    const char *prefix##ToString(type value); \
    /* False, and *ret untouched, if @name is NULL or no name of this kind. */ \
    bool prefix##FromString(const char *name, type *ret);

#define BASE_ENUM_IMPL(prefix, type, last, ...) \
    static const char *const prefix##Names[] = { __VA_ARGS__ }; \
    G_STATIC_ASSERT(G_N_ELEMENTS(prefix##Names) == (last)); \
    const char * \
    prefix##ToString(type value) \
    { \
        return baseEnumName(prefix##Names, G_N_ELEMENTS(prefix##Names), (int)value); \
    } \
    bool \
    prefix##FromString(const char *name, type *ret) \
    { \
        int value = baseEnumValue(prefix##Names, G_N_ELEMENTS(prefix##Names), name); \
        if (value < 0) \
            return false; \
        *ret = (type)value; \
        return true; \
    }

/* Helpers of the macros above. */
static inline const char *
baseEnumName(const char *const *names, size_t count, int value)
{
    return value >= 0 && (size_t)value < count ? names[value] : "?";
}

static inline int
baseEnumValue(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; name && i < count; i++) {
        if (g_str_equal(names[i], name))
            return (int)i;
    }
    return -1;
}
