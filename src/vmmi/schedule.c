/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmmi/schedule.h"

#include "vmmi/code.h"
#include "vmmi/message.h"
#include "vmmi/text.h"

typedef struct {
    vmmiAction action;
    gint64 limit;
} entry;

struct _vmmiSchedule {
    GArray *init, *stalling;    /* of entry */
    guint nextInit, nextStalling;
    bool frozen;
    bool begun;
    uint64_t firstRound;
    uint64_t lastRemaining;
    uint64_t rises;
    uint64_t iterations;        /* at the sample before */
};

static const struct {
    const char *name;
    guint params;
} acts[] = {
    [VMMI_ACT_SET_DOWNTIME] = { "setDowntime", 1 },
    [VMMI_ACT_POSTCOPY] = { "postcopy", 0 },
    [VMMI_ACT_ABORT] = { "abort", 0 },
};

const char *
vmmiActName(vmmiActKind kind)
{
    return acts[kind].name;
}

static bool
parseDowntime(JsonArray *params, uint64_t *ret)
{
    JsonNode *node = json_array_get_element(params, 0);
    const char *text = NULL;

    if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING)
        text = json_node_get_string(node);
    return text && g_ascii_string_to_unsigned(text, 10, 1, G_MAXINT32, ret, NULL);
}

static bool
parseAction(JsonObject *from, vmmiAction *ret)
{
    const char *name = vmmiJsonString(from, "name");
    JsonNode *node = from ? json_object_get_member(from, "params") : NULL;
    JsonArray *params = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    guint count = params ? json_array_get_length(params) : 0;
    size_t i;

    if (node && !params)
        return false;
    for (i = 0; i < G_N_ELEMENTS(acts); i++) {
        if (g_strcmp0(name, acts[i].name) != 0)
            continue;
        *ret = (vmmiAction) { .kind = i };
        return count == acts[i].params && (i != VMMI_ACT_SET_DOWNTIME || parseDowntime(params, &ret->downtimeMs));
    }
    return false;
}

static bool
parseEntry(JsonNode *node, bool stalling, entry *ret)
{
    JsonObject *from = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    JsonNode *limit;

    if (!from)
        return false;
    *ret = (entry) { .limit = -1 };
    if (!stalling)
        return parseAction(from, &ret->action);
    limit = json_object_get_member(from, "limit");
    if (!limit || !JSON_NODE_HOLDS_VALUE(limit) || json_node_get_value_type(limit) != G_TYPE_INT64)
        return false;
    ret->limit = json_node_get_int(limit);
    return ret->limit >= -1 && parseAction(vmmiJsonObject(from, "action"), &ret->action);
}

static GArray *
parseList(JsonObject *from, const char *name, GError **error)
{
    g_autoptr(GArray) list = g_array_new(FALSE, FALSE, sizeof(entry));
    JsonNode *node = from ? json_object_get_member(from, name) : NULL;
    JsonArray *array;
    guint i;

    if (!node)
        return g_steal_pointer(&list);
    if (!JSON_NODE_HOLDS_ARRAY(node)) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION, _("The schedule's '%1$s' is not a list."), name);
        return NULL;
    }
    array = json_node_get_array(node);
    for (i = 0; i < json_array_get_length(array); i++) {
        entry one;

        if (!parseEntry(json_array_get_element(array, i), g_str_equal(name, "stalling"), &one)) {
            g_autofree char *text = json_to_string(json_array_get_element(array, i), FALSE);

            g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION,
                        _("Entry %1$u of the schedule's '%2$s' is no action: %3$s"), i + 1, name, text);
            return NULL;
        }
        g_array_append_val(list, one);
    }
    return g_steal_pointer(&list);
}

vmmiSchedule *
vmmiScheduleNew(JsonObject *from, GError **error)
{
    g_autoptr(vmmiSchedule) schedule = g_new0(vmmiSchedule, 1);

    schedule->init = parseList(from, "init", error);
    if (schedule->init)
        schedule->stalling = parseList(from, "stalling", error);
    return schedule->stalling ? g_steal_pointer(&schedule) : NULL;
}

void
vmmiScheduleFree(vmmiSchedule *schedule)
{
    if (!schedule)
        return;
    g_clear_pointer(&schedule->init, g_array_unref);
    g_clear_pointer(&schedule->stalling, g_array_unref);
    g_free(schedule);
}

static bool
listHas(GArray *list, vmmiActKind kind)
{
    guint i;

    for (i = 0; i < list->len; i++) {
        if (g_array_index(list, entry, i).action.kind == kind)
            return true;
    }
    return false;
}

bool
vmmiScheduleWantsPostcopy(const vmmiSchedule *schedule)
{
    return listHas(schedule->init, VMMI_ACT_POSTCOPY) || listHas(schedule->stalling, VMMI_ACT_POSTCOPY);
}

void
vmmiScheduleThaw(vmmiSchedule *schedule)
{
    schedule->frozen = false;
}

/* After these two there is nothing left to decide; to abort what has been switched over would lose the guest. */
static const vmmiAction *
give(vmmiSchedule *schedule, GArray *list, guint *next)
{
    const vmmiAction *action = &g_array_index(list, entry, (*next)++).action;

    if (action->kind != VMMI_ACT_SET_DOWNTIME)
        schedule->frozen = true;
    return action;
}

const vmmiAction *
vmmiScheduleInit(vmmiSchedule *schedule)
{
    if (schedule->frozen || schedule->nextInit >= schedule->init->len)
        return NULL;
    return give(schedule, schedule->init, &schedule->nextInit);
}

const vmmiAction *
vmmiScheduleStep(vmmiSchedule *schedule, const vmmiSample *sample, char **why)
{
    uint64_t iterations;
    gint64 limit;
    bool fresh;

    /* A job that has not begun to send says 0 of everything, which is no low mark. */
    if (!sample->active || !sample->total)
        return NULL;
    if (sample->postcopy)
        schedule->frozen = true;
    if (!schedule->begun)
        schedule->firstRound = sample->round;
    else if (sample->remaining > schedule->lastRemaining)
        schedule->rises++;
    schedule->begun = true;
    schedule->lastRemaining = sample->remaining;
    iterations = sample->knowsRounds ? sample->round - MIN(sample->round, schedule->firstRound) : schedule->rises;
    fresh = iterations > schedule->iterations;
    schedule->iterations = iterations;
    if (!fresh || schedule->frozen || schedule->nextStalling >= schedule->stalling->len)
        return NULL;
    limit = g_array_index(schedule->stalling, entry, schedule->nextStalling).limit;
    if (limit >= 0 && (uint64_t)limit >= iterations)
        return NULL;
    *why = g_strdup_printf(_("%1$llu iterations are more than %2$lld, %3$llu bytes remain"), (unsigned long long)iterations,
                           (long long)limit, (unsigned long long)sample->remaining);
    return give(schedule, schedule->stalling, &schedule->nextStalling);
}
