/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* address.h: which bus and slot each device has */
#pragma once

#include "internal.h"
#include "domain_conf.h"

/**
 * addrAssign: give every device an address that has none, the same for the same definition on every host.
 * -1 with VIR_ERR_XML_ERROR or VIR_ERR_CONFIG_UNSUPPORTED if given addresses clash, do not exist, or no place is left.
 */
int addrAssign(virDomainDef *def);

/**
 * addrPlug: give @info a root port of @def, of which it is no part yet, that nothing is on; or check the address that it has.
 * -1 with VIR_ERR_CONFIG_UNSUPPORTED or VIR_ERR_XML_ERROR if there is none, or it is another's or on no root port.
 */
int addrPlug(const virDomainDef *def, virDomainDeviceInfo *info);
/** addrIsPlugged: whether a device at this address is on a root port, and so may come and go while the guest runs. */
bool addrIsPlugged(const virDomainDeviceInfo *info);
/** addrIsFree: whether nothing of @def is at this address of a root port, which @def has. */
bool addrIsFree(const virDomainDef *def, const virDomainDeviceInfo *info);

/** addrCountMmio: how many virtio-mmio transports of a microvm @def needs. */
size_t addrCountMmio(const virDomainDef *def);
