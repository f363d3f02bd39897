/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * throttle.h: a running guest gets less of the host's time than it wants, by the host's control groups
 *
 * Theory of operation: the VMM is put into a group of its own (a machine of systemd, where there is one, as libvirt's QEMU driver does
 * it), and each thread of a virtual processor into one below.  Those alone are limited: the threads that send the guest go on as before.
 * The groups are made when they are needed first and stay, without a limit, until the VMM ends.  They can be found by the VMM's process, so a
 * daemon that is killed while a guest is slowed down leaves it so only until the next one has begun.
 *
 * The domain is locked in all of these; but for the first, the lock may be dropped.
 */
#pragma once

#include "driver/domain.h"

/** throttleTrouble: NULL if guests of this daemon can be slowed down, else why not, half a sentence; the caller frees. */
char *throttleTrouble(virDomainObj *vm);
/**
 * throttleSet: keep the guest's processors from @percent (0: none, to 99) of their time.  0, or -1 with the libvirt error set.
 * A job must be held.
 */
int throttleSet(virDomainObj *vm, unsigned percent);
/** throttleReconnect: no limit of an earlier daemon stays. */
void throttleReconnect(virDomainObj *vm);
/** throttleEnd: the VMM has ended: remove what was made for it. */
void throttleEnd(virDomainObj *vm);
