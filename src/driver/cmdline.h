/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * cmdline.h: from a definition to a VMM's argument list, one row per device kind
 *
 * cmdline.c has the walk and the refusals common to all; cmdline_<style>.c has the rows of one command line style,
 * chosen by vmmTraits.cmdline.
 */
#pragma once

#include "driver/domain.h"

/* Of one interface: a descriptor for each of its queues. */
typedef struct {
    int *fds;
    size_t count;                /* 0: it has no tap */
} cmdlineTap;

/** cmdlineTapNew: room for those of @net, none of which is there yet (-1). */
void cmdlineTapNew(cmdlineTap *tap, const virDomainNetDef *net);
/** cmdlineTapClear: close what is open. */
void cmdlineTapClear(cmdlineTap *tap);

/* Descriptors and paths that only the start knows. Not owned. */
typedef struct {
    const char *controlPath;     /* unix socket the VMM listens on for control */
    int controlFd;               /* or an already listening socket of that path to inherit; -1: none */
    bool incoming;               /* wait for a migration stream, started later by control */
    const char *incomingUri;     /* VMMs that need the URI on the command line; NULL: deferred */
    bool paused;                 /* do not start the vCPUs */
    bool kvm;                    /* use KVM */
    const cmdlineTap *taps;      /* indexed like def->nets */
    size_t ntaps;
    int vsockFd;                 /* of a vsock whose number the start has found; not -1 then */
    bool standalone;             /* for domxml-to-native: a command line for a person, no descriptors */
} cmdlineEnv;

/** cmdlineBuild: NULL-ended arguments, [0] the binary. NULL with error set. Pure: touches neither files nor @def. */
char **cmdlineBuild(const virDomainDef *def, const vmmInfo *vmm, const cmdlineEnv *env);

/**
 * cmdlineBuildDevice: options and values, NULL ended, of the one device @dev, as vmmOps.devicePlug() takes them.  @def is the definition whose
 * buses it is on; @env->taps has its descriptors alone.  NULL with error set, also for kinds that only a start can add.
 */
char **cmdlineBuildDevice(const virDomainDef *def, const vmmInfo *vmm, const cmdlineEnv *env, const virDomainDeviceDef *dev);

/**
 * cmdlineCheckDef: refuse what cannot be built: every device kind without row and every attribute that would be ignored,
 * each with VIR_ERR_CONFIG_UNSUPPORTED and the element's name and value. Called at define time (validate hook).
 */
int cmdlineCheckDef(const virDomainDef *def, vmmCmdline style);
