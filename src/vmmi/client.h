/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* client.h: the manager's side: starts a helper, waits for it, reads its completion */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "vmmi/message.h"

/* What a manager asks for. */
typedef struct {
    const char *folder;         /* where helpers are; NULL: the installed ones */
    const char *helper;         /* a name in there */
    const char *uuid, *destination, *migration;
    const char *connection;     /* given to the helper if its configuration has none */
    const char *config;         /* a configuration message, or NULL */
    int stdoutFd;               /* where status messages go, -1: nowhere */
    /* Told the helper's process id once it runs, and 0 before it is reaped; may be NULL. */
    void (*onProcess)(pid_t pid);
} vmmiClientCall;

/* The folder of the helpers: that of the environment (VMMI_HELPER_DIR, not in set-user-ID programs) or the installed one. */
const char *vmmiClientFolder(void);
/* The real path of a helper, for g_free(). VMMI_BAD_FILE unless it is an executable file of its own in the folder itself. */
char *vmmiClientFind(const char *folder, const char *helper, GError **error);
/* The configuration message for the helper, for g_free(). VMMI_MALFORMED_CONFIGURATION. */
char *vmmiClientConfig(const char *config, const char *connection, GError **error);
/* Runs it to its end. False if the helper could not be run, or did not end as helpers do (VMMI_ERROR); else *ret is its completion. */
bool vmmiClientRun(const vmmiClientCall *call, vmmiCompletion *ret, GError **error);
