/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm_priv.h: what a vmm_<name>.c offers to vmm.c and to the probing; not for others */
#pragma once

#include "remote/vmm.h"

/* Numbers that every probe's command line may rely on. */
#define VMM_PROBE_CONTROL_FD 3      /* connected socket for the control protocol */
#define VMM_PROBE_SOCKET "control.sock"   /* with traits->makesControlSocket instead: its path, from the folder it runs in */
#define VMM_PROBE_ROM_FD 4          /* the image of the KVM probe */

typedef struct {
    const vmmTraits *traits;
    const char *versionPrefix;      /* in -version, what stands before the number */
    /* Arguments after the binary for a VMM without machine that serves VMM_PROBE_CONTROL_FD or VMM_PROBE_SOCKET. */
    const char *const *probeArgs;
    /* Fill machines, aliases, cpus, cpuLimits, maxCpus and sandbox. */
    bool (*inspect)(control *ctl, vmmInfo *info, GError **error);
    /* The same for a stopped guest with KVM whose firmware is VMM_PROBE_ROM_FD, and one with
     * emulation.  Without them a guest with KVM is all there is, and the VMM itself says what is missing. */
    const char *const *kvmArgs;
    const char *const *tcgArgs;
} vmmRow;

extern const vmmRow vmmRowQemu;
extern const vmmRow vmmRowStratovirt;

/* vmmIdentify: which row @text, the output of -version, belongs to. */
const vmmRow *vmmIdentify(const char *text, unsigned long *retVersion);
const vmmRow *vmmRowOf(const vmmTraits *traits);
