/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * output.h: where a helper's messages and its log go
 *
 * Nobody else may write to the helper's stdout and stderr: vmmiOutputOpen() moves both away and leaves /dev/null, or later the
 * log, in their places, for libraries and child processes.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Once, before any thread. Also fills the places of standard streams that are closed, and ignores SIGPIPE. */
void vmmiOutputOpen(void);
/* A status message on stdout. Never blocks: it is dropped if nobody reads. */
void vmmiOutputStatus(const char *line);
/* The completion on stderr; waits a few seconds for a reader. The first call counts, others are ignored. */
void vmmiOutputCompletion(const char *line);
/* Appends to this file from now on (made with mode 0640). VMMI_BAD_FILE. */
bool vmmiOutputLogTo(const char *path, GError **error);
/* A line of the log, if there is one. Thread-safe. */
void vmmiLog(const char *format, ...) G_GNUC_PRINTF(1, 2);
