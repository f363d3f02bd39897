/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm_device.h: a device that comes or goes while the guest runs, option by option; each VMM has a table of its own (vmm_NAME_device.c) */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "remote/control.h"

/* Borrowed. */
typedef struct {
    const int *fds;
    size_t nfds;
} vmmPlugFds;

/* What takes the place of an option of the command line; the last row has no option. */
typedef struct {
    const char *option;
    bool (*plug)(control *ctl, const char *value, const vmmPlugFds *fds, GError **error);
    bool (*forget)(control *ctl, const char *value, GError **error);   /* NULL: gone already */
} vmmDeviceOption;

/**
 * vmmDevicePlugOne: @arg: an option and its value.  @title: the VMM's name.
 * Errors: BASE_ERROR_UNSUPPORTED, if it is not in @rows; otherwise those of its row.
 */
bool vmmDevicePlugOne(const vmmDeviceOption *rows, const char *title, control *ctl, const char *const *arg, const vmmPlugFds *fds,
                      GError **error);
/** vmmDeviceForget: the first @count options of @args, the last one first; goes on after an error, the first one counts. */
bool vmmDeviceForget(const vmmDeviceOption *rows, control *ctl, const char *const *args, size_t count, GError **error);
