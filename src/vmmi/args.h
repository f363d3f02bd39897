/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* args.h: a helper's four positional arguments */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
    const char *name;        /* the program's own, which names its default configuration */
    const char *uuid;
    const char *destination; /* the URI of the libvirt there */
    const char *migration;   /* the URI of the data, NULL if libvirt is to choose (an empty argument) */
    const char *config;      /* a path, "-" or NULL */
} vmmiArgs;

/* Points into argv. VMMI_MISSING_PARAMETERS for less than three, VMMI_MALFORMED_PARAMETERS for a UUID that is none or an
 * empty destination; what follows the fourth is ignored. name is set in any case. */
bool vmmiArgsParse(int argc, char **argv, vmmiArgs *ret, GError **error);
