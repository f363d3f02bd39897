/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm_stratovirt_snapshot.c: StratoVirt's files
 *
 * "migrate file:FOLDER" writes FOLDER/state and then FOLDER/memory, each once from its beginning to its end, so fifos will do.  Started
 * with "-incoming file:FOLDER" it opens the memory first, and seeks in it or maps it; then it reads the state from its beginning to its
 * end, and runs.  From 2.5 on it can be told to read the memory rather than map it, without which it boots no kernel itself.
 */
#include "remote/vmm_stratovirt_priv.h"

#include <string.h>

#include "base/error.h"
#include "remote/json.h"

#include "base/gettext.h"

/* There is no end of it that could be known: it takes as long as whoever reads the fifos. */
#define SAVE_TIMEOUT_MS (7 * 24 * 3600 * 1000U)
#define READS_MEMORY_VERSION 2005000
#define RELEASE_NODE "sv-release"

static bool
filesCheckPath(const char *folder, GError **error)
{
    if (!strpbrk(folder, ":,"))
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                _("StratoVirt cannot save or load guests in the folder '%1$s': it takes no path with a colon or comma."), folder);
    return false;
}

static bool
filesSave(control *ctl, const char *folder, GError **error)
{
    JsonObject *arguments;
    g_autoptr(JsonNode) answer = NULL;
    g_autofree char *uri = NULL;

    if (!filesCheckPath(folder, error))
        return false;
    uri = g_strdup_printf("file:%s", folder);
    arguments = json_object_new();
    json_object_set_string_member(arguments, "uri", uri);
    answer = controlCall(ctl, "migrate", arguments, -1, SAVE_TIMEOUT_MS, error);
    return answer != NULL;
}

static char *
filesIncomingUri(const char *folder, unsigned long version, GError **error)
{
    if (!filesCheckPath(folder, error))
        return NULL;
    return g_strdup_printf(version >= READS_MEMORY_VERSION ? "file:%s,mapped=false" : "file:%s", folder);
}

/* What it says last when it ends before it has started its vCPUs. */
static bool
filesNeverRan(const char *words)
{
    return strstr(words, "Failed to start migration") || strstr(words, "Failed to restore snapshot");
}

/*
 * Its locks are the process's (POSIX), and from 2.5 on it keeps them while the guest stands still.  Such locks go when the process closes the
 * file, whichever descriptor of it: so it is made to open it once more, by another name since it wants each but once, and to close it.
 */
static bool
filesReleaseDisk(control *ctl, const char *path, GError **error)
{
    JsonObject *arguments = json_object_new();
    JsonObject *file = json_object_new();
    JsonObject *cache = json_object_new();
    g_autoptr(JsonNode) added = NULL;
    g_autoptr(JsonNode) removed = NULL;
    g_autofree char *other = g_strconcat("/.", path, NULL);

    json_object_set_string_member(file, "driver", "file");
    json_object_set_string_member(file, "filename", other);
    json_object_set_boolean_member(cache, "direct", FALSE);
    json_object_set_string_member(arguments, "node-name", RELEASE_NODE);
    json_object_set_string_member(arguments, "driver", "raw");
    json_object_set_boolean_member(arguments, "read-only", TRUE);
    json_object_set_object_member(arguments, "file", file);
    json_object_set_object_member(arguments, "cache", cache);
    if (!(added = controlCall(ctl, "blockdev-add", arguments, -1, 0, error)))
        return false;
    arguments = json_object_new();
    json_object_set_string_member(arguments, "node-name", RELEASE_NODE);
    removed = controlCall(ctl, "blockdev-del", arguments, -1, 0, error);
    return removed != NULL;
}

const vmmSnapshotOps vmmStratovirtSnapshot = {
    .stateName = "state",
    .memoryName = "memory",
    .save = filesSave,
    .incomingUri = filesIncomingUri,
    .neverRan = filesNeverRan,
    .releaseDisk = filesReleaseDisk,
};
