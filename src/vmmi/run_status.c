/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* run_status.c: a run as JSON; a line must fit in a pipe at once, so that lists and texts are kept short */
#include "vmmi/run_priv.h"

#define SHOWN 5
#define TEXT_SHOWN 240

static JsonArray *
lastOf(GPtrArray *list)
{
    JsonArray *array = json_array_new();
    guint i;

    for (i = list->len > SHOWN ? list->len - SHOWN : 0; i < list->len; i++) {
        g_autofree char *valid = g_utf8_make_valid(list->pdata[i], -1);
        g_autofree char *text = g_utf8_strlen(valid, -1) > TEXT_SHOWN ? g_utf8_substring(valid, 0, TEXT_SHOWN) : g_strdup(valid);

        json_array_add_string_element(array, text);
    }
    return array;
}

JsonObject *
vmmiRunStatus(vmmiRun *run)
{
    JsonObject *status = json_object_new();

    g_mutex_lock(&run->lock);
    json_object_set_string_member(status, "policy", run->policy->name);
    json_object_set_string_member(status, "phase", run->phase);
    json_object_set_boolean_member(status, "adopted", run->adopted);
    json_object_set_int_member(status, "progress", vmmiSamplePercent(&run->sample));
    json_object_set_int_member(status, "iteration", run->sample.round);
    json_object_set_int_member(status, "elapsed", run->sample.elapsedMs);
    json_object_set_int_member(status, "speed", run->sample.bytesPerSecond);
    json_object_set_int_member(status, "dirtyRate", run->sample.dirtyPerSecond);
    json_object_set_int_member(status, "dataTotal", run->sample.total);
    json_object_set_int_member(status, "dataProcessed", run->sample.processed);
    json_object_set_int_member(status, "dataRemaining", run->sample.remaining);
    json_object_set_int_member(status, "timeRemaining", vmmiSampleRestMs(&run->sample));
    json_object_set_int_member(status, "throttle", run->sample.throttle);
    json_object_set_int_member(status, "downtimeLimit", run->downtimeLimitMs);
    json_object_set_array_member(status, "decisions", lastOf(run->decisions));
    json_object_set_array_member(status, "notes", lastOf(run->notes));
    g_mutex_unlock(&run->lock);
    return status;
}

JsonObject *
vmmiRunSuccess(vmmiRun *run, bool left)
{
    JsonObject *success = json_object_new();

    g_mutex_lock(&run->lock);
    json_object_set_boolean_member(success, "adopted", run->adopted);
    json_object_set_boolean_member(success, "underWay", left);
    json_object_set_array_member(success, "decisions", lastOf(run->decisions));
    json_object_set_array_member(success, "notes", lastOf(run->notes));
    g_mutex_unlock(&run->lock);
    return success;
}
