/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* caps.h: what host and VMMs can do, in libvirt's words */
#pragma once

#include "driver/state.h"
#include "domain_capabilities.h"

/** capsMake: host capabilities and one guest section for each VMM that answers. NULL with error set. May take seconds. */
virCaps *capsMake(drvState *drv);

/**
 * capsMakeDomain: what a guest of @vmm, @machine and @virtType may have.
 * NULL with error set. Caller unrefs.
 */
virDomainCaps *capsMakeDomain(drvState *drv, const vmmInfo *vmm, const char *machine, virDomainVirtType virtType);

/* What a caller of libvirt's API asks about; NULL: whatever is usual here. */
typedef struct {
    const char *emulator, *arch, *machine, *virtType;
} capsWish;

/** capsMakeWished: capsMakeDomain() of what @wish names. NULL with error set. May take seconds: hold no lock. */
virDomainCaps *capsMakeWished(drvState *drv, const capsWish *wish);
