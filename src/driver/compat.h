/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* compat.h: every difference between libvirt releases, in one place (9.0 and 11.3 are known) */
#pragma once

#include "internal.h"
#include "virerror.h"

/*
 * Errors of ours carry QEMU's domain: there is no value for a driver from outside, and the library lets a destination's
 * error through to the user of virDomainMigrate only if both ends' errors are of this domain.
 */
#define VIR_FROM_THIS VIR_FROM_QEMU

/* 9.0 has an argument that nobody sets, 11.3 has lost it. */
#if LIBVIR_VERSION_NUMBER >= 10000000
# define compatPidFileAcquire(dir, name) virPidFileAcquire(dir, name, getpid())
#else
# define compatPidFileAcquire(dir, name) virPidFileAcquire(dir, name, false, getpid())
#endif
