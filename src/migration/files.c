/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* files.c: see files.h */
#include "migration/files.h"

#include "base/fault.h"
#include "migration/guide.h"
#include "migration/job_priv.h"

#include "base/gettext.h"

bool
migFilesWanted(const vmmInfo *vmm, bool tcg, const migParams *params)
{
    const vmmDefect *defect = !vmm || params->live || params->offline ? NULL : vmmDefectFor(vmm, tcg);

    return defect && defect->needsFiles && vmm->traits->snapshot;
}

bool
migFilesOffer(migJob *job, GError **error)
{
    return !job->files || job->ops->guestOffer(job->host, error);
}

bool
migFilesLand(migJob *job, GError **error)
{
    g_autoptr(GError) local = NULL;

    if (FAULT_ERROR(GUIDE_LAND, error) || (job->record.startPaused && !job->ops->guestExpect(job->host, error)))
        return false;
    if (!migGuideSaveStart(job, MIG_START_RELEASED, error)) {
        g_prefix_error(error, _("It cannot be saved that the guest is about to be started: "));
        return false;
    }
    if (!job->ops->guestLoad(job->host, &job->landUnknown, error))
        return false;
    (void)FAULT(GUIDE_LANDED);
    if (!migGuideSaveStart(job, MIG_START_NONE, &local))
        g_warning("%s: it cannot be saved that the guest has been started: %s, ignoring", job->record.uuid, local->message);
    return true;
}
