/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* check_dest.c: why a guest cannot come to this host, one row for each reason */
#include "migration/check_priv.h"

#include "migration/relay.h"

#include <string.h>

#include "base/gettext.h"

static char *
versionText(unsigned long version)
{
    return g_strdup_printf("%lu.%lu.%lu", version / 1000000, version / 1000 % 1000, version % 1000);
}

/*
 * Firmware that gives every machine the same UUID is common, and so are cloned disks; so an equal
 * UUID alone proves nothing.  The boot id is the kernel's own and new at every boot, but two
 * daemons on one host, each with a host UUID of its own, are meant to be two hosts: that is how one
 * tests.
 */
static void
judgeSameHost(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const migDestFacts *dest = in->dest;
    const migCookie *remote = in->remote;
    bool sameDaemon = g_strcmp0(dest->instance, remote->instance) == 0;
    bool sameHost = g_strcmp0(dest->hostUuid, remote->hostUuid) == 0 &&
        g_strcmp0(dest->bootId, remote->bootId) == 0;

    if (sameDaemon)
        migCheckAdd(list, code,
                 _("The guest is on this host already: source and destination are the same daemon "
                   "on host '%1$s'."),
                 dest->hostName);
    else if (sameHost)
        migCheckAdd(list, code,
                 _("Source '%1$s' and destination '%2$s' are the same host: both have the UUID "
                   "'%3$s' and the boot id '%4$s'. Two daemons on one host can only be told apart "
                   "when each has its own 'host_uuid' in stratovirt.conf."),
                 remote->hostName, dest->hostName, dest->hostUuid, dest->bootId);
}

static void
judgeUuidActive(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->dest->uuidActive)
        migCheckAdd(list, code,
                 _("A guest with its UUID '%1$s' runs or arrives on host '%2$s' already."),
                 in->remote->domainUuid, in->dest->hostName);
}

static void
judgeName(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const char *name = in->params->destName ? in->params->destName : in->remote->domainName;

    if (in->dest->nameTaken)
        migCheckAdd(list, code, _("Host '%1$s' has another guest named '%2$s'."), in->dest->hostName,
                 name);
    else if (in->dest->nameDiffers)
        migCheckAdd(list, code, _("Host '%1$s' knows this guest under the name '%2$s', not '%3$s'."),
                 in->dest->hostName, in->dest->existingName ? in->dest->existingName : "?", name);
}

static void
judgeEmulator(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->dest->emulatorMissing)
        migCheckAdd(list, code, _("Host '%1$s' has no program '%2$s'."), in->dest->hostName,
                 in->dest->emulator ? in->dest->emulator : "?");
}

static void
judgeVmm(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const vmmInfo *vmm = in->dest->vmm;
    unsigned long changed = vmm ? vmm->traits->streamChanged : 0;

    if (vmm && !g_str_equal(vmm->traits->name, in->remote->vmmName)) {
        migCheckAdd(list, code, _("It runs in '%1$s' on the source and would run in '%2$s' on host '%3$s'; one cannot read the other's state."),
                 in->remote->vmmName, vmm->traits->name, in->dest->hostName);
    } else if (vmm && (vmm->version < changed) != (in->remote->vmmVersion < changed)) {
        g_autofree char *here = versionText(vmm->version);
        g_autofree char *there = versionText(in->remote->vmmVersion);

        migCheckAdd(list, code, _("%1$s is of version %2$s on the source and %3$s on host '%4$s'; one cannot read the other's state."),
                 vmm->traits->title, there, here, in->dest->hostName);
    }
}

static void
judgeVersion(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const vmmInfo *vmm = in->dest->vmm;
    g_autofree char *here = NULL;
    g_autofree char *there = NULL;

    if (!vmm || !g_str_equal(vmm->traits->name, in->remote->vmmName) ||
        vmm->version >= in->remote->vmmVersion)
        return;
    here = versionText(vmm->version);
    there = versionText(in->remote->vmmVersion);
    migCheckAdd(list, code,
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
judgeMachine(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const vmmInfo *vmm = in->dest->vmm;
    const char *here = in->dest->machine ? machineResolve(vmm, in->dest->machine) : "?";
    const char *there = in->remote->machine;

    if (!g_str_equal(here, there) && !(in->dest->machine && g_str_equal(in->dest->machine, there)))
        migCheckAdd(
            list, code,
            _("Its machine is '%1$s' on the source, but '%2$s' in the definition for host '%3$s'."),
            there, here, in->dest->hostName);
    else if (vmm && vmm->machines && !g_strv_contains((const char *const *)vmm->machines, here))
        migCheckAdd(list, code, _("%1$s on host '%2$s' does not know the machine '%3$s'."),
                 vmm->traits->title, in->dest->hostName, here);
}

static void
judgeArch(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (g_strcmp0(in->dest->arch, in->remote->arch) != 0)
        migCheckAdd(list, code,
                 _("Its architecture is '%1$s' on the source, but '%2$s' on host '%3$s'."),
                 in->remote->arch, in->dest->arch ? in->dest->arch : "?", in->dest->hostName);
}

static void
judgeAccelerator(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->dest->tcg != in->remote->tcg)
        migCheckAdd(list, code,
                 _("It runs with %1$s on the source and would run with %2$s on host '%3$s', "
                   "whose processors differ."),
                 in->remote->tcg ? "TCG" : "KVM", in->dest->tcg ? "TCG" : "KVM",
                 in->dest->hostName);
}

static void
judgeMemory(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->dest->memoryKiB != in->remote->memoryKiB)
        migCheckAdd(list, code,
                 _("Its memory is %1$llu KiB on the source, but %2$llu KiB in the definition for "
                   "host '%3$s'."),
                 (unsigned long long)in->remote->memoryKiB, (unsigned long long)in->dest->memoryKiB,
                 in->dest->hostName);
}

static void
judgeVcpus(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->vcpus != in->remote->vcpus)
        migCheckAdd(list, code,
                 _("It has %1$u virtual processors on the source, but %2$u in the definition for "
                   "host '%3$s'."),
                 in->remote->vcpus, dest->vcpus, dest->hostName);
    else if (dest->maxVcpus && dest->vcpus > dest->maxVcpus)
        migCheckAdd(
            list, code,
            _("It has %1$u virtual processors, but host '%2$s' can give a guest at most %3$u."),
            dest->vcpus, dest->hostName, dest->maxVcpus);
}

static void
judgeHostMemory(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->hostMemoryKiB && dest->memoryKiB > dest->hostMemoryKiB)
        migCheckAdd(list, code, _("It needs %1$llu KiB of memory, more than all that host '%2$s' has (%3$llu KiB)."),
                 (unsigned long long)dest->memoryKiB, dest->hostName, (unsigned long long)dest->hostMemoryKiB);
}

/* What it has touched must find room; what is free elsewhere may still be given back by others. */
static void
judgeFreeMemory(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->freeMemoryKiB && in->remote->residentKiB > dest->freeMemoryKiB)
        migCheckAdd(list, code,
                 _("It occupies %1$llu KiB of memory on the source, but only %2$llu KiB of memory and swap are free on host '%3$s'."),
                 (unsigned long long)in->remote->residentKiB, (unsigned long long)dest->freeMemoryKiB, dest->hostName);
}

static void
judgeKvm(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->vmm && !dest->tcg && !dest->vmm->kvm)
        migCheckAdd(list, code, _("It needs KVM, which does not work on host '%1$s' with '%2$s'."), dest->hostName,
                 dest->emulator ? dest->emulator : dest->vmm->traits->title);
}

static void
judgeCpuMaximum(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->cpuMaximum && dest->vmm && dest->vmm->version != in->remote->vmmVersion)
        migCheckAdd(list, code,
                 _("Its processor is all that its VMM can offer, and that differs with the VMM's version, which is another one on "
                   "host '%1$s'."), dest->hostName);
}

static void
judgePort(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->dest->portTrouble)
        migCheckAdd(list, code, _("Host '%1$s' cannot be reached by the source: %2$s"), in->dest->hostName, in->dest->portTrouble);
}

static void
judgeCpuModel(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    const migDestFacts *dest = in->dest;

    if (dest->cpuModel && dest->vmm && dest->vmm->cpus &&
        !g_strv_contains((const char *const *)dest->vmm->cpus, dest->cpuModel))
        migCheckAdd(list, code, _("%1$s on host '%2$s' does not know its processor model '%3$s'."),
                 dest->vmm->traits->title, dest->hostName, dest->cpuModel);
}

static void
judgeCpuFeatures(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->dest->cpuTrouble)
        migCheckAdd(list, code, _("The processor of host '%1$s' lacks what its definition names: %2$s."), in->dest->hostName,
                 in->dest->cpuTrouble);
}

/* A guest that was given the host's own processor has looked at what it can do. */
static void
judgeHostCpu(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->remote->hostCpu && g_strcmp0(in->remote->hostCpu, in->dest->hostCpu) != 0)
        migCheckAdd(list, code,
                 _("It uses the processor of its host as it is, and that of host '%1$s' (%2$s) differs from that of host "
                   "'%3$s' (%4$s)."),
                 in->dest->hostName, in->dest->hostCpu ? in->dest->hostCpu : "?", in->remote->hostName, in->remote->hostCpu);
}

static void
judgeList(GPtrArray *texts, baseErrorCode code, migCheckList *list)
{
    for (guint i = 0; texts && i < texts->len; i++)
        migCheckAdd(list, code, "%s", (const char *)g_ptr_array_index(texts, i));
}

static void
judgeMissing(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    judgeList(in->dest->missing, code, list);
}

static void
judgeChannel(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    if (in->dest->channelTrouble)
        migCheckAdd(list, code, "%s", in->dest->channelTrouble);
}

static void
judgeStorage(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    judgeList(in->dest->unproved, code, list);
}

static void
judgeConnections(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    unsigned here = migRelayChannels(in->params) + 1;

    if (in->remote->connections && in->remote->connections != here)
        migCheckAdd(list, code,
                 _("The source sends its state over %1$u connections, but host '%2$s' was told to expect %3$u."),
                 in->remote->connections, in->dest->hostName, here);
}

static void
judgeDestSocket(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    migCheckSocketPath(in->dest->channelPath, in->dest->vmm, in->remote->way.spread, in, code, list);
}

static void
judgeDestTraits(const migCheckInput *in, baseErrorCode code, migCheckList *list)
{
    migParams params = *in->params;
    migCheckInput own = *in;

    /* What the source has decided already; its strings are borrowed. */
    if (in->remote->hasWay && in->remote->way.spread)
        migParamsCompressSpread(&params, NULL);
    own.params = &params;
    migCheckLacking(in->dest->vmm, MIG_ACTS_DEST, &own, code, list);
}

static void
judgeDestDefect(const migCheckInput *in, baseErrorCode code G_GNUC_UNUSED, migCheckList *list)
{
    migCheckDefect(in->dest->vmm, in->dest->tcg, in->remote->files, in->params, list);
}

const migCheckRow migCheckDestRows[] = {
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

const size_t migCheckDestCount = G_N_ELEMENTS(migCheckDestRows);
