/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/vmm_priv.h"

static const char *const stratovirtBinaries[] = { "stratovirt", NULL };

static const vmmTraits stratovirtTraits = {
    .name = "stratovirt",
    .title = "StratoVirt",
    .binaries = stratovirtBinaries,
    .minVersion = 2004000,
    .cmdline = VMM_CMDLINE_STRATOVIRT,
    .controlWhileIncoming = false,
    .startsOnArrival = true,
    .exitsAfterMigration = true,
    .streamTwoWay = true,
    .ops = NULL,
};

const vmmRow vmmRowStratovirt = {
    .traits = &stratovirtTraits,
    .versionPrefix = "StratoVirt ",
};
