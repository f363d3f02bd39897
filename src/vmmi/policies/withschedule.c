/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* withschedule.c: the policy of the convergence schedule (schedule.h) */
#include "vmmi/run.h"

#include <libvirt/libvirt.h>

#include "vmmi/code.h"
#include "vmmi/message.h"
#include "vmmi/text.h"

static bool
configure(vmmiRun *run, GError **error)
{
    JsonObject *all = vmmiRunConfig(run)->all;
    vmmiSchedule *schedule;

    if (json_object_has_member(all, "schedule") && !vmmiJsonObject(all, "schedule")) {
        g_set_error(error, VMMI_ERROR, VMMI_MALFORMED_CONFIGURATION, _("The configuration key 'schedule' is not an object."));
        return false;
    }
    schedule = vmmiScheduleNew(vmmiJsonObject(all, "schedule"), error);
    if (!schedule)
        return false;
    if (vmmiScheduleWantsPostcopy(schedule))
        vmmiRunWish(run, VIR_MIGRATE_POSTCOPY);
    vmmiRunSetState(run, schedule);
    return true;
}

/* An action whose option was dropped is passed over; the next entry has its turn. */
static bool
act(vmmiRun *run, const vmmiAction *action, const char *why, GError **error)
{
    vmmiSchedule *schedule = vmmiRunState(run);

    if (action->kind == VMMI_ACT_POSTCOPY && !vmmiRunAdopted(run) && !vmmiRunHas(run, VIR_MIGRATE_POSTCOPY)) {
        vmmiRunNote(run, _("The action 'postcopy' of the schedule is passed over, since it is not to be had here."));
        vmmiScheduleThaw(schedule);
        return true;
    }
    if (vmmiRunAct(run, action, why, error))
        return true;
    vmmiScheduleThaw(schedule);
    return false;
}

static bool
begin(vmmiRun *run, GError **error)
{
    const vmmiAction *action;

    while ((action = vmmiScheduleInit(vmmiRunState(run)))) {
        if (!act(run, action, "init", error))
            return false;
    }
    return true;
}

static bool
step(vmmiRun *run, const vmmiSample *sample, GError **error)
{
    g_autofree char *why = NULL;
    const vmmiAction *action = vmmiScheduleStep(vmmiRunState(run), sample, &why);

    return !action || act(run, action, why, error);
}

static const vmmiPolicy withschedule = {
    .name = "withschedule",
    .wishes = VIR_MIGRATE_COMPRESSED | VIR_MIGRATE_AUTO_CONVERGE,
    .persistent = true,
    .configure = configure,
    .begin = begin,
    .step = step,
};

int
main(int argc, char **argv)
{
    return vmmiMain(&withschedule, argc, argv);
}
