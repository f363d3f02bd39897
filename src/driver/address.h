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

/** addrCountMmio: how many virtio-mmio transports of a microvm @def needs. */
size_t addrCountMmio(const virDomainDef *def);
