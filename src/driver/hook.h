/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hook.h: the administrator's scripts at the turning points of a guest's life (docs/hooks.rst)
 *
 * Scripts run with no lock held and have no time limit; the job of the call that runs them is held, so they may ask about
 * their guest and not change it.
 */
#pragma once

#include "driver/domain.h"

typedef enum {
    HOOK_PREPARE,                /* before anything is made for the guest */
    HOOK_START,                  /* before the VMM */
    HOOK_STARTED,                /* the VMM runs */
    HOOK_STOPPED,                /* the VMM has ended */
    HOOK_RELEASE,                /* all that was made for the guest is gone */
    HOOK_MIGRATE,                /* a guest is about to come in: filters its definition */
    HOOK_RECONNECT,              /* found again after a restart of the daemon */
    HOOK_LAST
} hookOp;

/**
 * hookRun: all scripts of @folder in their order, with @xml on standard input.  No lock held.
 * @folder: NULL: there are none
 * @extra: the fourth argument; NULL: "-"
 * @retXml: NULL, or what the scripts made of @xml, for the caller to free; NULL if they left it alone
 * Every script runs, whatever the others did.  Returns -1 with the libvirt error of the first that failed.
 */
int hookRun(const char *folder, const char *name, hookOp op, const char *extra, const char *xml, char **retXml);

/**
 * hookDomain: the same for a domain that is locked, with its live definition; the lock is dropped meanwhile.
 * A job must be held and so must a reference: the caller looks again whether the guest is still what it was.
 */
int hookDomain(virDomainObj *vm, hookOp op, const char *extra);

/**
 * hookFilterIncoming: replace *@def by what the scripts of 'migrate' make of it.  No lock held.
 * @dryRun: nothing will come of it, which the scripts are told
 * -1 with error set if one refuses, or if its XML is none or is of another machine; *@def is untouched then.
 */
int hookFilterIncoming(drvState *drv, virDomainDef **def, bool dryRun);
