/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* adaptive.c: the policy that predicts the downtime (predict.h) and gives the guest as little of it as will do */
#include "vmmi/run.h"

#include <libvirt/libvirt.h>
#include <string.h>

#include "vmmi/code.h"
#include "vmmi/message.h"
#include "vmmi/predict.h"
#include "vmmi/text.h"

#define START_MS 300
#define MAX_MS 2000
#define DEADLINE_S 600
#define STEP 2.0
#define PATIENCE 3

static bool
wrong(const char *name, GError **error)
{
    g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION, _("The configuration key 'adaptive.%1$s' is wrong."), name);
    return false;
}

static bool
takeNumber(JsonObject *from, const char *name, uint64_t most, uint64_t *field, GError **error)
{
    guint64 number = *field;
    bool present;

    if (!vmmiJsonNumber(from, name, &number, &present) || number < 1 || number > most)
        return wrong(name, error);
    *field = number;
    return true;
}

static bool
takeOptions(JsonObject *from, vmmiPredictOptions *options, GError **error)
{
    uint64_t deadline = DEADLINE_S;
    const char *end = vmmiJsonString(from, "at_deadline");
    JsonNode *step = from ? json_object_get_member(from, "step") : NULL;

    if (!takeNumber(from, "start_downtime", G_MAXINT32, &options->startMs, error) ||
        !takeNumber(from, "max_downtime", G_MAXINT32, &options->maxMs, error) ||
        !takeNumber(from, "patience", G_MAXINT32, &options->patience, error) ||
        !takeNumber(from, "deadline", G_MAXINT32, &deadline, error))
        return false;
    options->deadlineMs = deadline * 1000;
    if (step) {
        options->step = JSON_NODE_HOLDS_VALUE(step) ? json_node_get_double(step) : 0;
        if (!(options->step > 1 && options->step <= 100))
            return wrong("step", error);
    }
    if (from && json_object_has_member(from, "at_deadline")) {
        if (g_strcmp0(end, "abort") != 0 && g_strcmp0(end, "stop") != 0)
            return wrong("at_deadline", error);
        options->end = g_str_equal(end, "stop") ? VMMI_END_STOP : VMMI_END_ABORT;
    }
    options->startMs = MIN(options->startMs, options->maxMs);
    return true;
}

static bool
configure(vmmiRun *run, GError **error)
{
    const vmmiConfig *config = vmmiRunConfig(run);
    vmmiPredictOptions options = { .startMs = START_MS, .maxMs = config->maxDowntimeMs ? config->maxDowntimeMs : MAX_MS,
                                   .step = STEP, .patience = PATIENCE, .end = VMMI_END_ABORT };
    vmmiPredict *predict;

    if (json_object_has_member(config->all, "adaptive") && !vmmiJsonObject(config->all, "adaptive")) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION, _("The configuration key 'adaptive' is not an object."));
        return false;
    }
    if (!takeOptions(vmmiJsonObject(config->all, "adaptive"), &options, error))
        return false;
    predict = g_new0(vmmiPredict, 1);
    vmmiPredictInit(predict, &options);
    vmmiRunSetState(run, predict);
    return true;
}

static bool
begin(vmmiRun *run, GError **error G_GNUC_UNUSED)
{
    vmmiPredict *predict = vmmiRunState(run);
    vmmiAction first = { .kind = VMMI_ACT_SET_DOWNTIME, .downtimeMs = predict->limitMs };
    g_autoptr(GError) problem = NULL;

    /* Of a migration that was adopted nobody tells whether it may switch: it is tried when it is needed. */
    predict->options.postcopy = vmmiRunAdopted(run) ? vmmiRunConfig(run)->postcopy != VMMI_NO :
        vmmiRunHas(run, VIR_MIGRATE_POSTCOPY);
    /* A VMM without a limit has nothing to raise; the deadline is left. */
    if (!vmmiRunAct(run, &first, _("the limit at the begin"), &problem))
        vmmiRunNote(run, "%s", problem->message);
    return true;
}

static bool
step(vmmiRun *run, const vmmiSample *sample, GError **error)
{
    vmmiPredict *predict = vmmiRunState(run);
    g_autofree char *why = NULL;
    vmmiAction action;

    if (!vmmiPredictStep(predict, sample, &action, &why) || vmmiRunAct(run, &action, why, error))
        return true;
    if (action.kind == VMMI_ACT_POSTCOPY) {
        vmmiPredictNoPostcopy(predict);
    } else if (predict->over) {
        /* The deadline has passed, and the guest cannot be made to stop. */
        vmmiAction last = { .kind = VMMI_ACT_ABORT };

        vmmiRunAct(run, &last, why, NULL);
    }
    return false;
}

static const vmmiPolicy adaptive = {
    .name = "adaptive",
    .wishes = VIR_MIGRATE_AUTO_CONVERGE | VIR_MIGRATE_POSTCOPY,
    .configure = configure,
    .begin = begin,
    .step = step,
};

int
main(int argc, char **argv)
{
    return vmmiMain(&adaptive, argc, argv);
}
