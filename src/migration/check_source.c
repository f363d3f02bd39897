/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check_source.c: why a guest cannot leave this host, one row for each reason */
#include "migration/check_priv.h"

#include "migration/files.h"
#include "migration/relay.h"

#include "base/gettext.h"

static void
judgeActive(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (!in->source->active && !in->params->offline)
        migCheckAdd(list, code, _("It is not running."));
    if (in->source->active && in->params->offline)
        migCheckAdd(list, code, _("It is running, but an offline migration moves the definition of a guest that is shut off."));
}

static void
judgeJob(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->source->job)
        migCheckAdd(list, code, _("Another job, '%1$s', is at work on it."), in->source->job);
}

static void
judgeAutodestroy(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->source->autodestroy)
        migCheckAdd(list, code, _("It is to be destroyed when the client that started it leaves, "
                               "which only works on this host."));
}

static void
judgeSnapshots(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->source->snapshots)
        migCheckAdd(list, code, _("It has snapshots (%1$u), which would stay behind."),
                 in->source->snapshots);
}

static void
judgeDiskError(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->source->diskError && in->params->abortOnError)
        migCheckAdd(list, code,
            _("It is stopped by a disk error, and the migration was to be given up in that case."));
}

static void
judgeDevices(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    for (guint i = 0; in->source->deviceBlockers && i < in->source->deviceBlockers->len; i++)
        migCheckAdd(list, code, _("One of its devices cannot move: %1$s."),
                 (const char *)g_ptr_array_index(in->source->deviceBlockers, i));
}

/* Without a flush the last writes are in this host's cache when the other host reads. */
static void
judgeCache(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    for (guint i = 0; in->source->unflushed && i < in->source->unflushed->len; i++)
        migCheckAdd(list, code, _("Its disk '%1$s' has %2$s, so nobody says when this host has written to the image; change the disk's cache mode."),
                 (const char *)g_ptr_array_index(in->source->unflushed, i), "cache='unsafe'");
}

static void
judgeSourceDefect(const migCheckInput *in, baseErrorCode code G_GNUC_UNUSED, migCheckList *list)
{
    migCheckDefect(in->source->vmm, in->source->tcg, migFilesWanted(in->source->vmm, in->source->tcg, in->params), in->params, list);
}

static void
judgeStream(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const vmmInfo *vmm = in->source->vmm;

    if (vmm && !vmm->traits->streamFd && !vmm->traits->guide)
        migCheckAdd(list, code,
                 _("%1$s cannot send into a connection that this driver has made, "
                   "which is the only way that the driver has as yet."),
                 vmm->traits->title);
}

static void
judgeSourceSocket(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const vmmInfo *vmm = in->source->vmm;
    bool spreads = vmm && migRelaySpreads(in->params, vmm->traits->canParallel);

    migCheckSocketPath(in->source->channelPath, vmm, spreads, in, code, list);
}

static void
judgeSourceTraits(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    migCheckLacking(in->source->vmm, MIG_ACTS_SOURCE, in, code, list);
    if (in->params->autoConverge && in->source->throttleTrouble)
        migCheckAdd(list, code, _("'%1$s' was asked for, but %2$s slows no guest down, and neither can this host: %3$s."),
                 "VIR_MIGRATE_AUTO_CONVERGE", in->source->vmm ? in->source->vmm->traits->title : "?", in->source->throttleTrouble);
}

const migCheckRow migCheckSourceRows[] = {
    { "active", BASE_ERROR_OPERATION_INVALID, judgeActive,
      "The guest runs; with ``VIR_MIGRATE_OFFLINE``: it does not." },
    { "job", BASE_ERROR_OPERATION_INVALID, judgeJob,
      "No other job is at work on it." },
    { "autodestroy", BASE_ERROR_OPERATION_INVALID, judgeAutodestroy,
      "It is not to be destroyed when the client that started it leaves." },
    { "snapshots", BASE_ERROR_OPERATION_INVALID, judgeSnapshots,
      "It has no snapshots." },
    { "disk-error", BASE_ERROR_OPERATION_INVALID, judgeDiskError,
      "No disk error has stopped it, if ``VIR_MIGRATE_ABORT_ON_ERROR`` is given." },
    { "devices", BASE_ERROR_OPERATION_INVALID, judgeDevices,
      "It has no device that belongs to its host." },
    { "cache", BASE_ERROR_UNSAFE, judgeCache,
      "No disk that it can write to has ``cache='unsafe'``." },
    { "stream", BASE_ERROR_UNSUPPORTED, judgeStream,
      "Its VMM can send into a connection that the driver makes, or through the relay." },
    { "source-socket", BASE_ERROR_UNSUPPORTED, judgeSourceSocket,
      "With ``VIR_MIGRATE_PARALLEL`` of a VMM that makes several connections, and always with StratoVirt: the folder of its VMM is not too deep for the path of a socket." },
    { "source-traits", BASE_ERROR_UNSUPPORTED, judgeSourceTraits,
      "Its VMM has the means for every flag and parameter that concerns the source; for ``VIR_MIGRATE_AUTO_CONVERGE`` with StratoVirt this host does: "
      "control groups with the controller ``cpu``, which the daemon may use." },
    /* Its rows in vmm.c say whether the user may override it. */
    { "source-defect", BASE_ERROR_UNSUPPORTED, judgeSourceDefect,
      "Its VMM has no known defect that matters (some can be overridden)." },
};

const size_t migCheckSourceCount = G_N_ELEMENTS(migCheckSourceRows);
