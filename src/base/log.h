/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * log.h: a log domain for each folder
 *
 *     #define LOG_FOLDER "remote"
 *     #include "base/log.h"        (in any place among the includes of a source file)
 *
 * The folders below src/driver log with g_debug() only.  The driver installs a handler for exactly
 * these domains, so other users of GLib in the same process keep theirs.
 */
#pragma once

#include <glib.h>

#define LOG_DOMAIN_PREFIX "stratovirt-"
#define LOG_DOMAINS LOG_DOMAIN_PREFIX "base", LOG_DOMAIN_PREFIX "remote", \
                    LOG_DOMAIN_PREFIX "migration"

#ifdef LOG_FOLDER
# undef G_LOG_DOMAIN
# define G_LOG_DOMAIN LOG_DOMAIN_PREFIX LOG_FOLDER
#endif
