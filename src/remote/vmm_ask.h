/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm_ask.h: start a VMM only to ask it something; for the probing */
#pragma once

#include "remote/vmm_child.h"
#include "remote/vmm_priv.h"

typedef struct _vmmAsk vmmAsk;

/**
 * vmmAskStart: start @binary with @args and open its control socket.
 * @romFd: becomes VMM_PROBE_ROM_FD, -1: none; stays the caller's
 * Errors tell what the VMM wrote.  vmmAskEnd() ends everything.
 */
vmmAsk *vmmAskStart(const char *binary, const char *const *args, int romFd, GError **error);
/**
 * vmmAskStartNamed: the same for a VMM that makes its own control socket, VMM_PROBE_SOCKET, in a
 * folder made for this, in which it is started and which goes away with it.
 */
vmmAsk *vmmAskStartNamed(const char *binary, const char *const *args, GError **error);
void vmmAskEnd(vmmAsk *ask);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(vmmAsk, vmmAskEnd)

control *vmmAskControl(vmmAsk *ask);     /* borrowed */
vmmChild *vmmAskChild(vmmAsk *ask);      /* borrowed */

/** vmmAskVersion: run @binary with -version; *ret is one of our rows. */
bool vmmAskVersion(const char *binary, const vmmRow **ret, unsigned long *retVersion,
                   GError **error);

/**
 * vmmRomRuns: does the guest of vmm_kvm_rom.S run to its end on @binary with @args (kvmArgs or
 * tcgArgs)? False with *error set says why not.  Takes up to 2 s if the guest hangs.
 */
bool vmmRomRuns(const char *binary, const char *const *args, GError **error);

/** vmmKvmHost: all that the outcome of a KVM probe depends on besides the binary; caller frees. */
char *vmmKvmHost(void);
