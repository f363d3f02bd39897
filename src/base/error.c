/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/error.h"

#include <string.h>

#include "base/gettext.h"

#define FOREIGN_MAX 1024

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

char *
baseForeignText(const char *text)
{
    g_autofree char *part = NULL;
    g_autofree char *valid = NULL;
    GString *ret;

    if (!text || !*text)
        return g_strdup(_("it gives no reason."));
    part = g_strndup(text, strnlen(text, FOREIGN_MAX));
    valid = g_utf8_make_valid(part, -1);
    ret = g_string_sized_new(strlen(valid));
    for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);

        if (g_unichar_iscntrl(c))
            g_string_append_printf(ret, "\\x%02x", c);
        else
            g_string_append_unichar(ret, c);
    }
    return g_string_free(ret, FALSE);
}
