/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stratovirt_state.h: what StratoVirt's descriptions of its state say about how long the records are */
#pragma once

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

/**
 * stratoStateSizes: how long a record of each kind is, without its head: uint64_t -> uint64_t, both in bytes of the table's own.
 * @text: the descriptions, JSON objects one behind the other, @len bytes
 *
 * NULL if they do not say it of all kinds, as from StratoVirt 2.5 on, where each record's head says it; or if they are none.
 */
GHashTable *stratoStateSizes(const uint8_t *text, size_t len);
