/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* lock.h: hold a GMutex until the end of the enclosing block */
#pragma once

#include <glib.h>

/* One a block; clang wants to hear that the variable is there for its end only. */
#define BASE_LOCK(mutex) \
    G_GNUC_UNUSED g_autoptr(GMutexLocker) baseLocker = g_mutex_locker_new(mutex)
