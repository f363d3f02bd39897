/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* code.h: the error codes of VMMI 0.4.1; the number is the contract, the text is for people */
#pragma once

#include <glib.h>

typedef enum {
    VMMI_OK = 0,
    VMMI_UNKNOWN = 1,
    VMMI_OPERATION_FAILED = 2,
    VMMI_BAD_FILE = 3,
    VMMI_CONFIGURATION_FAILED = 4,
    VMMI_MALFORMED_PARAMETERS = 5,
    VMMI_MALFORMED_CONFIGURATION = 6,
    VMMI_MISSING_PARAMETERS = 7,
    VMMI_MIGRATION_FAILED = 8,
    VMMI_MIGRATION_ABORTED = 9,
    VMMI_VM_UNKNOWN = 10,
    VMMI_VM_DISAPPEARED = 11,
    VMMI_DISCONNECTED = 12,
    VMMI_CODE_LAST
} vmmiCode;

/* The domain of every GError of src/vmmi; the code is a vmmiCode. */
#define VMMI_ERROR vmmiErrorQuark()
GQuark vmmiErrorQuark(void);

/* The short text of a code, translated; that of VMMI_UNKNOWN for a number that is none. Never NULL, never empty. */
const char *vmmiCodeText(int code);
