/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm_device.c: see vmm_device.h */
#include "remote/vmm_device.h"

#include "base/error.h"

#include "base/gettext.h"

static const vmmDeviceOption *
deviceRow(const vmmDeviceOption *rows, const char *option)
{
    for (; rows->option; rows++) {
        if (g_str_equal(rows->option, option))
            return rows;
    }
    return NULL;
}

bool
vmmDevicePlugOne(const vmmDeviceOption *rows, const char *title, control *ctl, const char *const *arg, const vmmPlugFds *fds,
                 GError **error)
{
    const vmmDeviceOption *row = deviceRow(rows, arg[0]);

    if (row)
        return row->plug(ctl, arg[1], fds, error);
    g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED, _("%1$s has no command for the option '%2$s'."), title, arg[0]);
    return false;
}

bool
vmmDeviceForget(const vmmDeviceOption *rows, control *ctl, const char *const *args, size_t count, GError **error)
{
    g_autoptr(GError) first = NULL;

    for (size_t i = count; i-- > 0;) {
        const vmmDeviceOption *row = deviceRow(rows, args[2 * i]);

        if (row && row->forget)
            row->forget(ctl, args[2 * i + 1], first ? NULL : &first);
    }
    if (!first)
        return true;
    g_propagate_error(error, g_steal_pointer(&first));
    return false;
}
