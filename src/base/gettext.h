/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * gettext.h: _() looks texts up in our own catalogue
 *
 * Include it last, in .c files only.  libvirt's internal.h defines _() too, for its catalogue,
 * which knows none of our texts; so this file replaces that definition, and has no include guard so
 * that the last inclusion wins.  tests/lint checks the order.
 */
#include <libintl.h>

#undef _
#define _(text) dgettext(SV_GETTEXT_DOMAIN, text)

/* Marks a text where a call is not possible, as in tables; look it up with _() when it is used. */
#undef N_
#define N_(text) text
