/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check.c: why a guest cannot migrate, one row for each reason
 *
 * All rows are asked, so that the user sees all reasons at once.  Rows that VIR_MIGRATE_UNSAFE
 * overrides are not asked when it is given.
 */
#include "migration/check.h"

#include "base/error.h"
#include "migration/files.h"
#include "migration/relay.h"
#include "remote/uri.h"

#include <string.h>

#include "base/gettext.h"

typedef struct {
    GPtrArray *texts;            /* whole sentences, owned */
    baseErrorCode code;          /* of the first that the user cannot override, else UNSAFE */
} checkList;

typedef struct {
    const migSourceFacts *source;
    const migDestFacts *dest;
    const migCookie *remote;
    const migParams *params;
} checkInput;

typedef struct {
    const char *name;            /* for the documentation and tests */
    baseErrorCode code;          /* BASE_ERROR_UNSAFE: the user may override it */
    void (*judge)(const checkInput *in, baseErrorCode code, checkList *list);
    const char *text;            /* what is so if it passes; for the documentation */
} checkRow;

static void checkAdd(checkList *list, baseErrorCode code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static void
checkAdd(checkList *list, baseErrorCode code, const char *format, ...)
{
    va_list args;

    if (list->texts->len == 0 || list->code == BASE_ERROR_UNSAFE)
        list->code = code;
    va_start(args, format);
    g_ptr_array_add(list->texts, g_strdup_vprintf(format, args));
    va_end(args);
}

static char *
versionText(unsigned long version)
{
    return g_strdup_printf("%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000);
}

/* On both sides: a known defect of this VMM. @files: the guest goes by way of them. */
static void
judgeDefect(const vmmInfo *vmm, bool tcg, bool files, const migParams *params, checkList *list)
{
    const vmmDefect *defect = vmm && !params->offline ? vmmDefectFor(vmm, tcg) : NULL;

    if (defect && (params->live || (defect->needsFiles && !files)) && !(defect->overridable && params->unsafe))
        checkAdd(list, defect->overridable ? BASE_ERROR_UNSAFE : BASE_ERROR_UNSUPPORTED, "%s", _(defect->text));
}

/* ---- source ---- */

static void
judgeActive(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (!in->source->active && !in->params->offline)
        checkAdd(list, code, _("It is not running."));
    if (in->source->active && in->params->offline)
        checkAdd(list, code, _("It is running, but an offline migration moves the definition of a guest that is shut off."));
}

static void
judgeJob(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->source->job)
        checkAdd(list, code, _("Another job, '%1$s', is at work on it."), in->source->job);
}

static void
judgeAutodestroy(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->source->autodestroy)
        checkAdd(list, code, _("It is to be destroyed when the client that started it leaves, "
                               "which only works on this host."));
}

static void
judgeSnapshots(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->source->snapshots)
        checkAdd(list, code, _("It has snapshots (%1$u), which would stay behind."),
                 in->source->snapshots);
}

static void
judgeDiskError(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->source->diskError && in->params->abortOnError)
        checkAdd(list, code,
            _("It is stopped by a disk error, and the migration was to be given up in that case."));
}

static void
judgeDevices(const checkInput *in, baseErrorCode code, checkList *list)
{
    for (guint i = 0; in->source->deviceBlockers && i < in->source->deviceBlockers->len; i++)
        checkAdd(list, code, _("One of its devices cannot move: %1$s."),
                 (const char *)g_ptr_array_index(in->source->deviceBlockers, i));
}

static void
judgeSourceDefect(const checkInput *in, baseErrorCode code G_GNUC_UNUSED, checkList *list)
{
    judgeDefect(in->source->vmm, in->source->tcg, migFilesWanted(in->source->vmm, in->source->tcg, in->params), in->params, list);
}

static void
judgeStream(const checkInput *in, baseErrorCode code, checkList *list)
{
    const vmmInfo *vmm = in->source->vmm;

    if (vmm && !vmm->traits->streamFd && !vmm->traits->guide)
        checkAdd(list, code,
                 _("%1$s cannot send into a connection that this driver has made, "
                   "which is the only way that the driver has as yet."),
                 vmm->traits->title);
}

/* Several connections, and a VMM that takes no descriptor, go through a socket beside that of the VMM's control. */
static void
judgeSocketPath(const char *path, const vmmInfo *vmm, bool spreads, const checkInput *in, baseErrorCode code, checkList *list)
{
    bool guided = vmm && vmm->traits->guide;
    /* A stream that is spread leaves the VMM by a descriptor. */
    bool several = migRelayChannels(in->params) > 0 && !spreads;

    if (!path || (!several && !guided))
        return;
    if (strlen(path) > URI_MAX_PATH)
        checkAdd(list, code, _("The data needs the socket '%1$s', but a socket's path can have %2$u bytes only."),
                 path, (unsigned)URI_MAX_PATH);
    if (guided && strchr(path, ':'))
        checkAdd(list, code, _("The data needs the socket '%1$s', but %2$s takes no path with a colon."), path, vmm->traits->title);
}

static void
judgeSourceSocket(const checkInput *in, baseErrorCode code, checkList *list)
{
    const vmmInfo *vmm = in->source->vmm;
    bool spreads = vmm && migRelaySpreads(in->params, vmm->traits->canParallel);

    judgeSocketPath(in->source->channelPath, vmm, spreads, in, code, list);
}

/* By the rows of the flags and parameters. */
static void
judgeLacking(const vmmInfo *vmm, migActs acts, const checkInput *in, baseErrorCode code, checkList *list)
{
    g_autoptr(GPtrArray) names = vmm ? migParamsLacking(in->params, vmm->traits, acts) : NULL;

    for (guint i = 0; names && i < names->len; i++)
        checkAdd(list, code, _("'%1$s' was asked for, but %2$s has no means for it."),
                 (const char *)g_ptr_array_index(names, i), vmm->traits->title);
}

static void
judgeSourceTraits(const checkInput *in, baseErrorCode code, checkList *list)
{
    judgeLacking(in->source->vmm, MIG_ACTS_SOURCE, in, code, list);
    if (in->params->autoConverge && in->source->throttleTrouble)
        checkAdd(list, code, _("'%1$s' was asked for, but %2$s slows no guest down, and neither can this host: %3$s."),
                 "VIR_MIGRATE_AUTO_CONVERGE", in->source->vmm ? in->source->vmm->traits->title : "?", in->source->throttleTrouble);
}

static const checkRow sourceRows[] = {
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

/* ---- destination ---- */

/*
 * Firmware that gives every machine the same UUID is common, and so are cloned disks; so an equal
 * UUID alone proves nothing.  The boot id is the kernel's own and new at every boot, but two
 * daemons on one host, each with a host UUID of its own, are meant to be two hosts: that is how one
 * tests.
 */
static void
judgeSameHost(const checkInput *in, baseErrorCode code, checkList *list)
{
    const migDestFacts *dest = in->dest;
    const migCookie *remote = in->remote;
    bool sameDaemon = g_strcmp0(dest->instance, remote->instance) == 0;
    bool sameHost = g_strcmp0(dest->hostUuid, remote->hostUuid) == 0 &&
        g_strcmp0(dest->bootId, remote->bootId) == 0;

    if (sameDaemon)
        checkAdd(list, code,
                 _("The guest is on this host already: source and destination are the same daemon "
                   "on host '%1$s'."),
                 dest->hostName);
    else if (sameHost)
        checkAdd(list, code,
                 _("Source '%1$s' and destination '%2$s' are the same host: both have the UUID "
                   "'%3$s' and the boot id '%4$s'. Two daemons on one host can only be told apart "
                   "when each has its own 'host_uuid' in stratovirt.conf."),
                 remote->hostName, dest->hostName, dest->hostUuid, dest->bootId);
}

static void
judgeUuidActive(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->dest->uuidActive)
        checkAdd(list, code,
                 _("A guest with its UUID '%1$s' runs or arrives on host '%2$s' already."),
                 in->remote->domainUuid, in->dest->hostName);
}

static void
judgeName(const checkInput *in, baseErrorCode code, checkList *list)
{
    const char *name = in->params->destName ? in->params->destName : in->remote->domainName;

    if (in->dest->nameTaken)
        checkAdd(list, code, _("Host '%1$s' has another guest named '%2$s'."), in->dest->hostName,
                 name);
    else if (in->dest->nameDiffers)
        checkAdd(list, code, _("Host '%1$s' knows this guest under the name '%2$s', not '%3$s'."),
                 in->dest->hostName, in->dest->existingName ? in->dest->existingName : "?", name);
}

static void
judgeEmulator(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->dest->emulatorMissing)
        checkAdd(list, code, _("Host '%1$s' has no program '%2$s'."), in->dest->hostName,
                 in->dest->emulator ? in->dest->emulator : "?");
}

static void
judgeVmm(const checkInput *in, baseErrorCode code, checkList *list)
{
    const vmmInfo *vmm = in->dest->vmm;
    unsigned long changed = vmm ? vmm->traits->streamChanged : 0;

    if (vmm && !g_str_equal(vmm->traits->name, in->remote->vmmName)) {
        checkAdd(list, code, _("It runs in '%1$s' on the source and would run in '%2$s' on host '%3$s'; one cannot read the other's state."),
                 in->remote->vmmName, vmm->traits->name, in->dest->hostName);
    } else if (vmm && (vmm->version < changed) != (in->remote->vmmVersion < changed)) {
        g_autofree char *here = versionText(vmm->version);
        g_autofree char *there = versionText(in->remote->vmmVersion);

        checkAdd(list, code, _("%1$s is of version %2$s on the source and %3$s on host '%4$s'; one cannot read the other's state."),
                 vmm->traits->title, there, here, in->dest->hostName);
    }
}

static void
judgeVersion(const checkInput *in, baseErrorCode code, checkList *list)
{
    const vmmInfo *vmm = in->dest->vmm;
    g_autofree char *here = NULL;
    g_autofree char *there = NULL;

    if (!vmm || !g_str_equal(vmm->traits->name, in->remote->vmmName) ||
        vmm->version >= in->remote->vmmVersion)
        return;
    here = versionText(vmm->version);
    there = versionText(in->remote->vmmVersion);
    checkAdd(list, code,
             _("%1$s is older on host '%2$s' (%3$s) than on the source (%4$s) and may not "
               "understand the guest's state."),
             vmm->traits->title, in->dest->hostName, here, there);
}

/* What an alias such as "q35" stands for, else the name itself. */
static const char *
machineResolve(const vmmInfo *vmm, const char *machine)
{
    size_t len = strlen(machine);

    for (size_t i = 0; vmm && vmm->aliases && vmm->aliases[i]; i++) {
        if (strncmp(vmm->aliases[i], machine, len) == 0 && vmm->aliases[i][len] == '=')
            return vmm->aliases[i] + len + 1;
    }
    return machine;
}

static void
judgeMachine(const checkInput *in, baseErrorCode code, checkList *list)
{
    const vmmInfo *vmm = in->dest->vmm;
    const char *here = in->dest->machine ? machineResolve(vmm, in->dest->machine) : "?";
    const char *there = in->remote->machine;

    if (!g_str_equal(here, there) && !(in->dest->machine && g_str_equal(in->dest->machine, there)))
        checkAdd(
            list, code,
            _("Its machine is '%1$s' on the source, but '%2$s' in the definition for host '%3$s'."),
            there, here, in->dest->hostName);
    else if (vmm && vmm->machines && !g_strv_contains((const char *const *)vmm->machines, here))
        checkAdd(list, code, _("%1$s on host '%2$s' does not know the machine '%3$s'."),
                 vmm->traits->title, in->dest->hostName, here);
}

static void
judgeArch(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (g_strcmp0(in->dest->arch, in->remote->arch) != 0)
        checkAdd(list, code,
                 _("Its architecture is '%1$s' on the source, but '%2$s' on host '%3$s'."),
                 in->remote->arch, in->dest->arch ? in->dest->arch : "?", in->dest->hostName);
}

static void
judgeAccelerator(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->dest->tcg != in->remote->tcg)
        checkAdd(list, code,
                 _("It runs with %1$s on the source and would run with %2$s on host '%3$s', "
                   "whose processors differ."),
                 in->remote->tcg ? "TCG" : "KVM", in->dest->tcg ? "TCG" : "KVM",
                 in->dest->hostName);
}

static void
judgeMemory(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->dest->memoryKiB != in->remote->memoryKiB)
        checkAdd(list, code,
                 _("Its memory is %1$llu KiB on the source, but %2$llu KiB in the definition for "
                   "host '%3$s'."),
                 (unsigned long long)in->remote->memoryKiB, (unsigned long long)in->dest->memoryKiB,
                 in->dest->hostName);
}

static void
judgeVcpus(const checkInput *in, baseErrorCode code, checkList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->vcpus != in->remote->vcpus)
        checkAdd(list, code,
                 _("It has %1$u virtual processors on the source, but %2$u in the definition for "
                   "host '%3$s'."),
                 in->remote->vcpus, dest->vcpus, dest->hostName);
    else if (dest->maxVcpus && dest->vcpus > dest->maxVcpus)
        checkAdd(
            list, code,
            _("It has %1$u virtual processors, but host '%2$s' can give a guest at most %3$u."),
            dest->vcpus, dest->hostName, dest->maxVcpus);
}

static void
judgeHostMemory(const checkInput *in, baseErrorCode code, checkList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->hostMemoryKiB && dest->memoryKiB > dest->hostMemoryKiB)
        checkAdd(list, code, _("It needs %1$llu KiB of memory, more than all that host '%2$s' has (%3$llu KiB)."),
                 (unsigned long long)dest->memoryKiB, dest->hostName, (unsigned long long)dest->hostMemoryKiB);
}

/* What it has touched must find room; what is free elsewhere may still be given back by others. */
static void
judgeFreeMemory(const checkInput *in, baseErrorCode code, checkList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->freeMemoryKiB && in->remote->residentKiB > dest->freeMemoryKiB)
        checkAdd(list, code,
                 _("It occupies %1$llu KiB of memory on the source, but only %2$llu KiB of memory and swap are free on host '%3$s'."),
                 (unsigned long long)in->remote->residentKiB, (unsigned long long)dest->freeMemoryKiB, dest->hostName);
}

static void
judgeKvm(const checkInput *in, baseErrorCode code, checkList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->vmm && !dest->tcg && !dest->vmm->kvm)
        checkAdd(list, code, _("It needs KVM, which does not work on host '%1$s' with '%2$s'."), dest->hostName,
                 dest->emulator ? dest->emulator : dest->vmm->traits->title);
}

static void
judgeCpuMaximum(const checkInput *in, baseErrorCode code, checkList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->cpuMaximum && dest->vmm && dest->vmm->version != in->remote->vmmVersion)
        checkAdd(list, code,
                 _("Its processor is all that its VMM can offer, and that differs with the VMM's version, which is another one on "
                   "host '%1$s'."), dest->hostName);
}

static void
judgePort(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->dest->portTrouble)
        checkAdd(list, code, _("Host '%1$s' cannot be reached by the source: %2$s"), in->dest->hostName, in->dest->portTrouble);
}

static void
judgeCpuModel(const checkInput *in, baseErrorCode code, checkList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->cpuModel && dest->vmm && dest->vmm->cpus &&
        !g_strv_contains((const char *const *)dest->vmm->cpus, dest->cpuModel))
        checkAdd(list, code, _("%1$s on host '%2$s' does not know its processor model '%3$s'."),
                 dest->vmm->traits->title, dest->hostName, dest->cpuModel);
}

static void
judgeCpuFeatures(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->dest->cpuTrouble)
        checkAdd(list, code, _("The processor of host '%1$s' lacks what its definition names: %2$s."), in->dest->hostName,
                 in->dest->cpuTrouble);
}

/* A guest that was given the host's own processor has looked at what it can do. */
static void
judgeHostCpu(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->remote->hostCpu && g_strcmp0(in->remote->hostCpu, in->dest->hostCpu) != 0)
        checkAdd(list, code,
                 _("It uses the processor of its host as it is, and that of host '%1$s' (%2$s) differs from that of host "
                   "'%3$s' (%4$s)."),
                 in->dest->hostName, in->dest->hostCpu ? in->dest->hostCpu : "?", in->remote->hostName, in->remote->hostCpu);
}

static void
judgeList(GPtrArray *texts, baseErrorCode code, checkList *list)
{
    for (guint i = 0; texts && i < texts->len; i++)
        checkAdd(list, code, "%s", (const char *)g_ptr_array_index(texts, i));
}

static void
judgeMissing(const checkInput *in, baseErrorCode code, checkList *list)
{
    judgeList(in->dest->missing, code, list);
}

static void
judgeChannel(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (in->dest->channelTrouble)
        checkAdd(list, code, "%s", in->dest->channelTrouble);
}

static void
judgeStorage(const checkInput *in, baseErrorCode code, checkList *list)
{
    judgeList(in->dest->unproved, code, list);
}

static void
judgeConnections(const checkInput *in, baseErrorCode code, checkList *list)
{
    unsigned here = migRelayChannels(in->params) + 1;

    if (in->remote->connections && in->remote->connections != here)
        checkAdd(list, code,
                 _("The source sends its state over %1$u connections, but host '%2$s' was told to expect %3$u."),
                 in->remote->connections, in->dest->hostName, here);
}

static void
judgeDestSocket(const checkInput *in, baseErrorCode code, checkList *list)
{
    judgeSocketPath(in->dest->channelPath, in->dest->vmm, in->remote->way.spread, in, code, list);
}

static void
judgeDestTraits(const checkInput *in, baseErrorCode code, checkList *list)
{
    migParams params = *in->params;
    checkInput own = *in;

    /* What the source has decided already; its strings are borrowed. */
    if (in->remote->hasWay && in->remote->way.spread)
        migParamsCompressSpread(&params, NULL);
    own.params = &params;
    judgeLacking(in->dest->vmm, MIG_ACTS_DEST, &own, code, list);
}

static void
judgeDestDefect(const checkInput *in, baseErrorCode code G_GNUC_UNUSED, checkList *list)
{
    judgeDefect(in->dest->vmm, in->dest->tcg, in->remote->files, in->params, list);
}

static const checkRow destRows[] = {
    { "same-host", BASE_ERROR_OPERATION_INVALID, judgeSameHost,
      "Source and destination are two daemons on two hosts, or at least each has a ``host_uuid`` of its own." },
    { "uuid-active", BASE_ERROR_OPERATION_INVALID, judgeUuidActive,
      "No guest of its UUID runs or arrives there." },
    { "name", BASE_ERROR_OPERATION_FAILED, judgeName,
      "No other guest there has its name, and its own definition there, if there is one, does." },
    { "emulator", BASE_ERROR_CONFIG, judgeEmulator,
      "Its VMM's program is there and can be run." },
    { "vmm", BASE_ERROR_CONFIG, judgeVmm,
      "It is the same VMM on both hosts, of versions that can read each other's state." },
    { "arch", BASE_ERROR_CONFIG, judgeArch,
      "It is the same architecture." },
    { "machine", BASE_ERROR_CONFIG, judgeMachine,
      "It is the same machine, and the VMM there knows it." },
    { "memory", BASE_ERROR_CONFIG, judgeMemory,
      "It has as much memory in the definition for the destination as on the source." },
    { "vcpus", BASE_ERROR_CONFIG, judgeVcpus,
      "It has as many virtual processors, and the machine there can have that many." },
    { "version", BASE_ERROR_UNSAFE, judgeVersion,
      "The VMM there is not older." },
    { "accelerator", BASE_ERROR_UNSAFE, judgeAccelerator,
      "KVM, or TCG, on both hosts." },
    { "kvm", BASE_ERROR_CONFIG, judgeKvm,
      "KVM works there, if the guest needs it." },
    { "host-memory", BASE_ERROR_UNSAFE, judgeHostMemory,
      "The host has more memory than the guest can have." },
    { "free-memory", BASE_ERROR_UNSAFE, judgeFreeMemory,
      "The memory and swap that are free there are enough for what the guest's VMM occupies on the source." },
    { "cpu-model", BASE_ERROR_CONFIG, judgeCpuModel,
      "The VMM there knows the guest's processor model." },
    { "cpu-features", BASE_ERROR_CONFIG, judgeCpuFeatures,
      "Under KVM with ``check='partial'``, the host there has what the guest's definition names." },
    { "cpu-maximum", BASE_ERROR_UNSAFE, judgeCpuMaximum,
      "``<cpu mode='maximum'>`` means the same on both hosts: the VMMs are of one version." },
    { "host-cpu", BASE_ERROR_UNSAFE, judgeHostCpu,
      "A guest that sees its host's processor as it is would see the same one there." },
    { "devices-here", BASE_ERROR_CONFIG, judgeMissing,
      "What the devices need is there: networks (active), bridges, network and other devices, kernel, read-only images." },
    { "port", BASE_ERROR_OPERATION_FAILED, judgePort,
      "The migration port can be opened (asked in a dry run; otherwise it is opened)." },
    { "channel", BASE_ERROR_UNSUPPORTED, judgeChannel,
      "There is a channel for the data that is as secure as it has to be (asked in a dry run; otherwise decided afterwards)." },
    { "storage", BASE_ERROR_UNSAFE, judgeStorage,
      "Every disk that the guest can write to is proved to be the same one on both hosts, see above." },
    { "connections", BASE_ERROR_INVALID_ARG, judgeConnections,
      "Both hosts were told the same number of connections." },
    { "dest-socket", BASE_ERROR_UNSUPPORTED, judgeDestSocket,
      "Likewise: the folder of the VMM there is not too deep for the path of a socket." },
    { "dest-traits", BASE_ERROR_UNSUPPORTED, judgeDestTraits,
      "The VMM there has the means for every flag and parameter that concerns the destination." },
    { "dest-defect", BASE_ERROR_UNSUPPORTED, judgeDestDefect,
      "The VMM there has no known defect that matters (some can be overridden)." },
};

/* ---- both ---- */

static char *
checkJoin(const checkList *list)
{
    GString *text = g_string_new(NULL);

    if (list->texts->len == 1)
        return g_string_free(g_string_append(text, g_ptr_array_index(list->texts, 0)), FALSE);
    for (guint i = 0; i < list->texts->len; i++)
        g_string_append_printf(text, "%s(%u) %s", i ? " " : "", i + 1,
                               (const char *)g_ptr_array_index(list->texts, i));
    return g_string_free(text, FALSE);
}

/* The rows that concern the definition of a guest that is shut off; all others are about a guest that runs. */
static const char *const offlineRows[] = {
    "active", "job", "snapshots", "same-host", "uuid-active", "name", "emulator", "arch", NULL
};

static bool
checkConcerns(const checkRow *row, const migParams *params)
{
    if (params->offline && !g_strv_contains(offlineRows, row->name))
        return false;
    return row->code != BASE_ERROR_UNSAFE || !params->unsafe;
}

static unsigned
checkAsk(const checkRow *rows, size_t count, const checkInput *in, checkList *list)
{
    unsigned asked = 0;

    for (size_t i = 0; i < count; i++) {
        if (!checkConcerns(&rows[i], in->params))
            continue;
        rows[i].judge(in, rows[i].code, list);
        asked++;
    }
    return asked;
}

static bool
checkReport(const checkList *list, const char *domainName, GError **error)
{
    g_autofree char *reasons = NULL;

    if (list->texts->len == 0)
        return true;
    reasons = checkJoin(list);
    if (list->code == BASE_ERROR_UNSAFE)
        g_set_error(error, BASE_ERROR, list->code,
                    _("Guest '%1$s' cannot migrate safely: %2$s To migrate nevertheless, add the "
                      "flag '%3$s'."),
                    domainName, reasons, "VIR_MIGRATE_UNSAFE");
    else
        g_set_error(error, BASE_ERROR, list->code, _("Guest '%1$s' cannot migrate: %2$s"),
                    domainName, reasons);
    return false;
}

bool
migCheckSource(const migSourceFacts *facts, const migParams *params, GError **error)
{
    checkInput in = { .source = facts, .params = params };
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    checkList list = { texts, BASE_ERROR_INTERNAL };

    checkAsk(sourceRows, G_N_ELEMENTS(sourceRows), &in, &list);
    return checkReport(&list, facts->domainName, error);
}

/* Names by which the worst of the source's reasons is told in the cookie. */
static const struct {
    const char *name;
    baseErrorCode code;
} codeNames[] = {
    { "operation-invalid", BASE_ERROR_OPERATION_INVALID },
    { "unsupported", BASE_ERROR_UNSUPPORTED },
    { "unsafe", BASE_ERROR_UNSAFE },
};

static const char *
checkCodeName(baseErrorCode code)
{
    for (size_t i = 0; i < G_N_ELEMENTS(codeNames); i++) {
        if (codeNames[i].code == code)
            return codeNames[i].name;
    }
    return codeNames[0].name;
}

static baseErrorCode
checkCodeOf(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(codeNames); i++) {
        if (g_strcmp0(codeNames[i].name, name) == 0)
            return codeNames[i].code;
    }
    return BASE_ERROR_OPERATION_INVALID;
}

void
migCheckSourceDry(const migSourceFacts *facts, const migParams *params, migCookie *cookie)
{
    checkInput in = { .source = facts, .params = params };
    checkList list = { g_ptr_array_new_with_free_func(g_free), BASE_ERROR_INTERNAL };

    cookie->dryRun = true;
    cookie->checks = checkAsk(sourceRows, G_N_ELEMENTS(sourceRows), &in, &list);
    cookie->reasonsCode = list.texts->len ? g_strdup(checkCodeName(list.code)) : NULL;
    cookie->reasons = list.texts;
}

/* The source's reasons come first, as they would have without a dry run. */
static bool
checkDryRun(const checkInput *in, const checkList *dest, unsigned asked, GError **error)
{
    const migCookie *remote = in->remote;
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    checkList all = { texts, checkCodeOf(remote->reasonsCode) };
    g_autofree char *reasons = NULL;

    for (guint i = 0; remote->reasons && i < remote->reasons->len; i++)
        g_ptr_array_add(texts, g_strdup(g_ptr_array_index(remote->reasons, i)));
    /* As everywhere, the first that nobody can override gives the code. */
    if (dest->texts->len && (texts->len == 0 || all.code == BASE_ERROR_UNSAFE))
        all.code = dest->code;
    for (guint i = 0; i < dest->texts->len; i++) {
        const char *text = g_ptr_array_index(dest->texts, i);

        /* What is true of both hosts is told once. */
        if (!g_ptr_array_find_with_equal_func(texts, text, g_str_equal, NULL))
            g_ptr_array_add(texts, g_strdup(text));
    }
    if (texts->len == 0) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_ABORTED,
                    _("Dry run: guest '%1$s' can migrate from host '%2$s' to host '%3$s'. %4$u checks were made on the "
                      "source and %5$u on the destination; nothing was started.%6$s%7$s"),
                    remote->domainName, remote->hostName, in->dest->hostName, remote->checks, asked, in->dest->channel ? " " : "",
                    in->dest->channel ? in->dest->channel : "");
        return false;
    }
    reasons = checkJoin(&all);
    if (all.code == BASE_ERROR_UNSAFE)
        g_set_error(error, BASE_ERROR, all.code,
                    _("Dry run: guest '%1$s' cannot migrate safely from host '%2$s' to host '%3$s': %4$s To migrate "
                      "nevertheless, add the flag '%5$s'."),
                    remote->domainName, remote->hostName, in->dest->hostName, reasons, "VIR_MIGRATE_UNSAFE");
    else
        g_set_error(error, BASE_ERROR, all.code,
                    _("Dry run: guest '%1$s' cannot migrate from host '%2$s' to host '%3$s': %4$s"), remote->domainName,
                    remote->hostName, in->dest->hostName, reasons);
    return false;
}

bool
migCheckDest(const migDestFacts *facts, const migCookie *remote, const migParams *params,
             GError **error)
{
    checkInput in = { .dest = facts, .remote = remote, .params = params };
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    checkList list = { texts, BASE_ERROR_INTERNAL };
    unsigned asked = checkAsk(destRows, G_N_ELEMENTS(destRows), &in, &list);

    if (remote->dryRun || params->dryRun)
        return checkDryRun(&in, &list, asked, error);
    return checkReport(&list, remote->domainName, error);
}

/* ---- documentation ---- */

/* The error that a client sees, see base/error.h. */
static const char *
describeCode(baseErrorCode code)
{
    switch (code) {
    case BASE_ERROR_INVALID_ARG:
        return "VIR_ERR_INVALID_ARG";
    case BASE_ERROR_OPERATION_INVALID:
        return "VIR_ERR_OPERATION_INVALID";
    case BASE_ERROR_OPERATION_FAILED:
        return "VIR_ERR_OPERATION_FAILED";
    case BASE_ERROR_CONFIG:
        return "VIR_ERR_CONFIG_UNSUPPORTED";
    case BASE_ERROR_UNSUPPORTED:
        return "VIR_ERR_ARGUMENT_UNSUPPORTED";
    case BASE_ERROR_UNSAFE:
        return "VIR_ERR_MIGRATE_UNSAFE";
    default:
        return "VIR_ERR_INTERNAL_ERROR";
    }
}

static void
describeRows(GString *out, const char *title, const checkRow *rows, size_t count)
{
    g_string_append_printf(out, "%s\n", title);
    for (size_t i = strlen(title); i > 0; i--)
        g_string_append_c(out, '-');
    g_string_append(out, "\n\n.. list-table::\n   :header-rows: 1\n   :widths: 14 44 22 10 10\n\n"
                    "   * - check\n     - passes if\n     - else\n     - ``UNSAFE`` overrides\n     - for ``OFFLINE``, too\n");
    for (size_t i = 0; i < count; i++)
        g_string_append_printf(out, "   * - %s\n     - %s\n     - ``%s``\n     - %s\n     - %s\n", rows[i].name,
                               rows[i].text, describeCode(rows[i].code), rows[i].code == BASE_ERROR_UNSAFE ? "yes" : "no",
                               g_strv_contains(offlineRows, rows[i].name) ? "yes" : "no");
    g_string_append_c(out, '\n');
}

char *
migCheckDescribe(void)
{
    GString *out = g_string_new(NULL);

    describeRows(out, "On the source", sourceRows, G_N_ELEMENTS(sourceRows));
    describeRows(out, "On the destination", destRows, G_N_ELEMENTS(destRows));
    g_string_truncate(out, out->len - 1);
    return g_string_free(out, FALSE);
}
