/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* config.h: a helper's configuration: defaults, then what files and messages say, the later above the earlier */
#pragma once

#include <json-glib/json-glib.h>
#include <stdbool.h>

#define VMMI_CONFIG_DIR "/etc/vmmi/conf.d"
/* More than that is no configuration. */
#define VMMI_CONFIG_MAX (1024 * 1024)

/* An option that the policy decides on (DEFAULT), or that the configuration forbids or demands. */
typedef enum { VMMI_DEFAULT, VMMI_NO, VMMI_YES } vmmiChoice;

typedef struct {
    char *connection;
    char *logFile;
    char *username, *passwordFile;
    guint64 verbose;
    guint64 monitorMs;
    /* Extensions of ours; 0: not given. */
    guint64 bandwidthMiBs, maxDowntimeMs;
    vmmiChoice secure, tls, tunnelled, persistent, undefineSource, compressed, autoConverge, postcopy;
    /* Everything merged, for what only one policy knows. */
    JsonObject *all;
} vmmiConfig;

vmmiConfig *vmmiConfigNew(void);
void vmmiConfigFree(vmmiConfig *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(vmmiConfig, vmmiConfigFree)

/* Puts a configuration message above what is there. origin is named in errors, which are VMMI_MALFORMED_CONFIGURATION;
 * the configuration is then untouched. */
bool vmmiConfigMerge(vmmiConfig *config, const char *text, gssize length, const char *origin, GError **error);
/* The same with a file. VMMI_BAD_FILE if it cannot be read; with mayLack an absent one is no error. */
bool vmmiConfigMergeFile(vmmiConfig *config, const char *path, bool mayLack, GError **error);
