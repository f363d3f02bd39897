/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"

GQuark
baseErrorQuark(void)
{
    return g_quark_from_static_string("stratovirt-error");
}

void
baseSetErrno(GError **error, int errnum, const char *fmt, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, fmt);
    text = g_strdup_vprintf(fmt, args);
    va_end(args);
    /* g_strerror, not %m: the formatting above may have changed errno */
    g_set_error(error, BASE_ERROR, BASE_ERROR_SYSTEM, "%s: %s", text, g_strerror(errnum));
}
