/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* machine.h: the kinds of machine a guest can be; inline facts only */
#pragma once

#include "internal.h"
#include "domain_conf.h"

typedef enum {
    MACHINE_MICROVM = 1 << 0,   /* virtio-mmio, an ISA serial port, nothing else */
    MACHINE_Q35     = 1 << 1,   /* PCI Express */
    MACHINE_VIRT    = 1 << 2,   /* PCI Express, of aarch64 */
    MACHINE_OTHER   = 0,        /* none of ours */
    MACHINE_PCI     = MACHINE_Q35 | MACHINE_VIRT,
    MACHINE_ANY     = MACHINE_MICROVM | MACHINE_PCI,
} machineKind;

/* q35 unless a definition says something else: it is what tools that know only QEMU's usual machines count on. */
#define MACHINE_DEFAULT "q35"

#define MACHINE_DEFAULT_ARM "virt"

static inline machineKind
machineKindOf(const char *name)
{
    if (STREQ_NULLABLE(name, "microvm"))
        return MACHINE_MICROVM;
    if (STREQ_NULLABLE(name, "q35") || (name && STRPREFIX(name, "pc-q35-")))
        return MACHINE_Q35;
    if (STREQ_NULLABLE(name, "virt"))
        return MACHINE_VIRT;
    return MACHINE_OTHER;
}
