/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmmi/args.h"

#include <libvirt/libvirt.h>
#include <string.h>

#include "vmmi/code.h"
#include "vmmi/text.h"

/* 32 hexadecimal digits, with or without hyphens, as libvirt takes them. */
static bool
isUuid(const char *text)
{
    size_t digits = 0;

    for (; *text; text++) {
        if (g_ascii_isxdigit(*text))
            digits++;
        else if (*text != '-' || digits % 2 || digits == 0)
            return false;
    }
    return digits == 2 * VIR_UUID_BUFLEN;
}

bool
vmmiArgsParse(int argc, char **argv, vmmiArgs *ret, GError **error)
{
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;

    *ret = (vmmiArgs) { .name = slash ? slash + 1 : argc > 0 ? argv[0] : "vmmi" };
    if (argc < 4) {
        g_set_error(error, VMMI_ERROR, VMMI_MISSING_PARAMETERS,
                    _("There are %1$d arguments, three are needed: the guest's UUID, the URI of the destination's libvirt "
                      "and the URI for the data."), MAX(argc - 1, 0));
        return false;
    }
    if (!isUuid(argv[1])) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_PARAMETERS, _("'%1$s' is not a UUID."), argv[1]);
        return false;
    }
    if (!*argv[2]) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_PARAMETERS, _("The URI of the destination's libvirt is empty."));
        return false;
    }
    ret->uuid = argv[1];
    ret->destination = argv[2];
    ret->migration = *argv[3] ? argv[3] : NULL;
    ret->config = argc > 4 ? argv[4] : NULL;
    return true;
}
