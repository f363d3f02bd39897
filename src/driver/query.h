/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* query.h: figures of a guest for the api_query*.c files. The domain is locked; no job is held. */
#pragma once

#include "driver/domain.h"

#include "virtypedparam.h"

/* What the guest has now, in KiB. */
unsigned long long queryMemoryNow(virDomainObj *vm);

/**
 * queryGuestMemory: what the guest says of its memory, if it is asked to (<stats period=>).  As queryBlock(), but without the VMM's
 * answer there is nothing.
 */
bool queryGuestMemory(virDomainObj *vm, vmmGuestMemory *ret);

/**
 * queryBlock: figures of one disk.  Asks the VMM unless it is in use by others or does not answer soon, and gives the
 * last known figures then.  Drops the lock.  False if there are none; no libvirt error is set.
 */
bool queryBlock(virDomainObj *vm, const virDomainDiskDef *disk, vmmBlockStats *ret);

/* Sizes of a disk's file or device in bytes. 0, or -1 with error set. */
int queryBlockSizes(const virDomainDiskDef *disk, virDomainBlockInfoPtr ret);
