/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * process_load.h: a guest that its VMM loads from files (remote/snapshot.h), started with processStart() and LATER
 *
 * The domain is locked, a job is held, the lock is dropped while waiting.
 */
#pragma once

#include "driver/process.h"
#include "remote/snapshot.h"

/** processLoadParent: the folder for a snapshot of an active guest; the caller frees. */
char *processLoadParent(virDomainObj *vm);

/**
 * processLoadOffer: start the VMM and give it all of what has been received in @snap but its last byte, so that nothing more than this
 * keeps the guest from running.  -1 with the libvirt error set: it has not run and cannot, once processStop() has been called.
 */
int processLoadOffer(virDomainObj *vm, snapshot *snap);

/** processLoadAhead: have the guest stopped in its first moments: a descriptor for processLoadRelease(); -1 with the libvirt error set. */
int processLoadAhead(virDomainObj *vm);

typedef enum {
    PROCESS_LOAD_RUNS,           /* loaded, and the control socket is open */
    PROCESS_LOAD_NEVER_RAN,      /* the VMM has ended, or ends, without */
    PROCESS_LOAD_UNKNOWN,        /* the VMM is no use any more, and its guest may have run */
} processLoaded;

/**
 * processLoadRelease: let the VMM have it: the guest runs.  @aheadFd: of processLoadAhead(), or -1; taken over.
 * All but RUNS: the libvirt error is set.
 */
processLoaded processLoadRelease(virDomainObj *vm, snapshot *snap, int aheadFd);
