/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmmi/code.h"

#include "vmmi/text.h"

GQuark
vmmiErrorQuark(void)
{
    return g_quark_from_static_string("vmmi-error");
}

static const char *const texts[VMMI_CODE_LAST] = {
    [VMMI_OK] = N_("No error"),
    [VMMI_UNKNOWN] = N_("Unexpected error"),
    [VMMI_OPERATION_FAILED] = N_("Operation failed"),
    [VMMI_BAD_FILE] = N_("File cannot be used"),
    [VMMI_CONFIGURATION_FAILED] = N_("Configuration cannot be applied"),
    [VMMI_MALFORMED_PARAMETERS] = N_("Malformed parameters"),
    [VMMI_MALFORMED_CONFIGURATION] = N_("Malformed configuration"),
    [VMMI_MISSING_PARAMETERS] = N_("Missing parameters"),
    [VMMI_MIGRATION_FAILED] = N_("Migration failed"),
    [VMMI_MIGRATION_ABORTED] = N_("Migration aborted"),
    [VMMI_VM_UNKNOWN] = N_("Virtual machine unknown"),
    [VMMI_VM_DISAPPEARED] = N_("Virtual machine disappeared"),
    [VMMI_DISCONNECTED] = N_("No connection to libvirt"),
};

const char *
vmmiCodeText(int code)
{
    if (code < 0 || code >= VMMI_CODE_LAST)
        code = VMMI_UNKNOWN;
    return _(texts[code]);
}
