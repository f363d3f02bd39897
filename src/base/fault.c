/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: one row of state per point.  A point that is not armed costs one atomic read
 * of the once-flag and one of the row's action, so points may stand in hot paths of test builds.
 */
#include "base/fault.h"

#ifdef SV_FAULT_POINTS

# include <signal.h>
# include <string.h>
# include <unistd.h>

# include "base/enumname.h"
# include "base/error.h"

# include "base/gettext.h"

typedef enum {
    FAULT_ACTION_NONE,
    FAULT_ACTION_FAIL,
    FAULT_ACTION_KILL,
    FAULT_ACTION_HANG,
    FAULT_ACTION_DELAY,
    FAULT_ACTION_LAST
} faultAction;

static const char *const faultActionNames[] = { "none", "fail", "kill", "hang", "delay" };
G_STATIC_ASSERT(G_N_ELEMENTS(faultActionNames) == FAULT_ACTION_LAST);

static const char *const faultNames[] = {
# define FAULT_POINT(id, name, meaning) name,
# include "base/fault-points.def"
# undef FAULT_POINT
};
G_STATIC_ASSERT(G_N_ELEMENTS(faultNames) == FAULT_LAST);

typedef struct {
    faultAction action;
    guint64 number;          /* which passage, or milliseconds; 0: not given */
} faultRow;

static faultRow faultRows[FAULT_LAST];
static gint faultPassages[FAULT_LAST];   /* atomic */

static bool
faultParseOne(const char *item, faultRow *rows, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(item, ":", -1);
    guint count = g_strv_length(parts);
    int point = baseEnumValue(faultNames, FAULT_LAST, parts[0]);
    int action = FAULT_ACTION_FAIL;
    guint64 number = 0;

    if (point < 0) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("There is no fault point named '%1$s'."), parts[0] ? parts[0] : "");
        return false;
    }
    if (count > 1)
        action = baseEnumValue(faultActionNames, FAULT_ACTION_LAST, parts[1]);
    if (action <= FAULT_ACTION_NONE) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("There is no fault action named '%1$s'."), parts[1]);
        return false;
    }
    if (count > 3 ||
        (count == 3 && !g_ascii_string_to_unsigned(parts[2], 10, 1, G_MAXINT, &number, NULL))) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The number in the fault '%1$s' is malformed."), item);
        return false;
    }
    rows[point].action = action;
    rows[point].number = number;
    return true;
}

static bool
faultParse(const char *text, GError **error)
{
    faultRow rows[FAULT_LAST] = { 0 };
    g_auto(GStrv) items = NULL;

    if (text && *text)
        items = g_strsplit(text, ",", -1);
    for (char **item = items; item && *item; item++) {
        if (!faultParseOne(*item, rows, error))
            return false;
    }
    memcpy(faultRows, rows, sizeof(rows));
    memset(faultPassages, 0, sizeof(faultPassages));
    return true;
}

static void
faultInit(bool fromEnvironment)
{
    static gsize once = 0;
    g_autoptr(GError) err = NULL;

    if (!g_once_init_enter(&once))
        return;
    if (fromEnvironment && !faultParse(g_getenv("LIBVIRT_STRATOVIRT_FAULT"), &err))
        g_error("LIBVIRT_STRATOVIRT_FAULT: %s", err->message);
    g_once_init_leave(&once, 1);
}

bool
faultArm(const char *text, GError **error)
{
    faultInit(false);
    return faultParse(text, error);
}

bool
faultPass(faultPoint point)
{
    const faultRow *row = &faultRows[point];
    guint64 passage;

    faultInit(true);
    if (G_LIKELY(row->action == FAULT_ACTION_NONE))
        return false;

    passage = (guint64)g_atomic_int_add(&faultPassages[point], 1) + 1;
    switch (row->action) {
    case FAULT_ACTION_FAIL:
        return row->number == 0 || passage == row->number;
    case FAULT_ACTION_KILL:
        if (passage == MAX(row->number, 1))
            raise(SIGKILL);
        return false;
    case FAULT_ACTION_HANG:
        while (passage == MAX(row->number, 1))
            pause();
        return false;
    case FAULT_ACTION_DELAY:
        g_usleep((row->number ? row->number : 1000) * 1000);
        return false;
    case FAULT_ACTION_NONE:
    case FAULT_ACTION_LAST:
        break;
    }
    return false;
}

bool
faultPassError(faultPoint point, GError **error)
{
    if (!faultPass(point))
        return false;
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("The fault '%1$s' was injected here."), faultNames[point]);
    return true;
}

#else

/* ISO C wants a declaration in every source file. */
typedef int faultNotBuilt;

#endif
