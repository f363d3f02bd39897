/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* text.h: _() for the helpers, from the project's catalogue; include it last */
#pragma once

#include <libintl.h>

#undef _
#define _(text) dgettext(SV_GETTEXT_DOMAIN, text)
#undef N_
#define N_(text) text
