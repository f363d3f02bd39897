/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* socket.h: pairs of sockets, of which somebody else, such as a VMM, gets one end */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * baseSocketPair: two connected stream sockets of the unix domain, closed on exec.
 * @room: how many bytes each end may write before the other reads; 0: as many as the system gives
 *
 * Whoever writes much without room for it is put to sleep and woken with every few hundred KiB, and so is who reads.
 * Errors: BASE_ERROR_SYSTEM.
 */
bool baseSocketPair(int pair[2], size_t room, GError **error);

/** baseSocketSetRoom: the same for one end; as far as the system allows, and never an error. */
void baseSocketSetRoom(int fd, uint64_t room);
