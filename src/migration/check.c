/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * check.c: why a guest cannot migrate, one row for each reason
 *
 * All rows are asked, so that the user sees all reasons at once.  Rows that VIR_MIGRATE_UNSAFE
 * overrides are not asked when it is given.
 */
#include "migration/check.h"

#include "base/error.h"

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

/* On both sides: a known defect of this VMM. */
static void
judgeDefect(const vmmInfo *vmm, bool tcg, const migParams *params, checkList *list)
{
    const vmmDefect *defect = vmm && params->live ? vmmDefectFor(vmm, tcg) : NULL;

    if (defect && !(defect->overridable && params->unsafe))
        checkAdd(list, defect->overridable ? BASE_ERROR_UNSAFE : BASE_ERROR_UNSUPPORTED, "%s",
                 _(defect->text));
}

/* ---- source ---- */

static void
judgeActive(const checkInput *in, baseErrorCode code, checkList *list)
{
    if (!in->source->active)
        checkAdd(list, code, _("It is not running."));
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
        checkAdd(
            list, code,
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
    judgeDefect(in->source->vmm, in->source->tcg, in->params, list);
}

static void
judgeStream(const checkInput *in, baseErrorCode code, checkList *list)
{
    const vmmInfo *vmm = in->source->vmm;

    if (vmm && !vmm->traits->streamFd)
        checkAdd(list, code,
                 _("%1$s cannot send into a connection that this driver has made, "
                   "which is the only way that the driver has as yet."),
                 vmm->traits->title);
}

static void
judgeAutoConverge(const checkInput *in, baseErrorCode code, checkList *list)
{
    const vmmInfo *vmm = in->source->vmm;

    if (vmm && in->params->autoConverge && !vmm->traits->canAutoConverge)
        checkAdd(list, code, _("'%1$s' was asked for, but %2$s cannot slow a guest down."),
                 "VIR_MIGRATE_AUTO_CONVERGE", vmm->traits->title);
}

static void
judgeBandwidth(const checkInput *in, baseErrorCode code, checkList *list)
{
    const vmmInfo *vmm = in->source->vmm;

    if (vmm && in->params->bandwidthGiven && !vmm->traits->canLimitSpeed)
        checkAdd(list, code, _("'%1$s' was given, but %2$s cannot limit its speed."),
                 VIR_MIGRATE_PARAM_BANDWIDTH, vmm->traits->title);
}

static const checkRow sourceRows[] = {
    { "active", BASE_ERROR_OPERATION_INVALID, judgeActive },
    { "job", BASE_ERROR_OPERATION_INVALID, judgeJob },
    { "autodestroy", BASE_ERROR_OPERATION_INVALID, judgeAutodestroy },
    { "snapshots", BASE_ERROR_OPERATION_INVALID, judgeSnapshots },
    { "disk-error", BASE_ERROR_OPERATION_INVALID, judgeDiskError },
    { "devices", BASE_ERROR_OPERATION_INVALID, judgeDevices },
    { "stream", BASE_ERROR_UNSUPPORTED, judgeStream },
    { "auto-converge", BASE_ERROR_UNSUPPORTED, judgeAutoConverge },
    { "bandwidth", BASE_ERROR_UNSUPPORTED, judgeBandwidth },
    /* Its rows in vmm.c say whether the user may override it. */
    { "source-defect", BASE_ERROR_UNSUPPORTED, judgeSourceDefect },
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

    if (vmm && !g_str_equal(vmm->traits->name, in->remote->vmmName))
        checkAdd(list, code,
                 _("It runs in '%1$s' on the source and would run in '%2$s' on host '%3$s'; "
                   "one cannot read the other's state."),
                 in->remote->vmmName, vmm->traits->name, in->dest->hostName);
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
judgeDestDefect(const checkInput *in, baseErrorCode code G_GNUC_UNUSED, checkList *list)
{
    judgeDefect(in->dest->vmm, in->dest->tcg, in->params, list);
}

static const checkRow destRows[] = {
    { "same-host", BASE_ERROR_OPERATION_INVALID, judgeSameHost },
    { "uuid-active", BASE_ERROR_OPERATION_INVALID, judgeUuidActive },
    { "name", BASE_ERROR_OPERATION_FAILED, judgeName },
    { "emulator", BASE_ERROR_CONFIG, judgeEmulator },
    { "vmm", BASE_ERROR_CONFIG, judgeVmm },
    { "arch", BASE_ERROR_CONFIG, judgeArch },
    { "machine", BASE_ERROR_CONFIG, judgeMachine },
    { "memory", BASE_ERROR_CONFIG, judgeMemory },
    { "vcpus", BASE_ERROR_CONFIG, judgeVcpus },
    { "version", BASE_ERROR_UNSAFE, judgeVersion },
    { "accelerator", BASE_ERROR_UNSAFE, judgeAccelerator },
    { "dest-defect", BASE_ERROR_UNSUPPORTED, judgeDestDefect },
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

static bool
checkRows(const checkRow *rows, size_t count, const checkInput *in, const char *domainName,
          GError **error)
{
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    checkList list = { texts, BASE_ERROR_INTERNAL };
    g_autofree char *reasons = NULL;

    for (size_t i = 0; i < count; i++) {
        if (rows[i].code != BASE_ERROR_UNSAFE || !in->params->unsafe)
            rows[i].judge(in, rows[i].code, &list);
    }
    if (texts->len == 0)
        return true;
    reasons = checkJoin(&list);
    if (list.code == BASE_ERROR_UNSAFE)
        g_set_error(error, BASE_ERROR, list.code,
                    _("Guest '%1$s' cannot migrate safely: %2$s To migrate nevertheless, add the "
                      "flag '%3$s'."),
                    domainName, reasons, "VIR_MIGRATE_UNSAFE");
    else
        g_set_error(error, BASE_ERROR, list.code, _("Guest '%1$s' cannot migrate: %2$s"),
                    domainName, reasons);
    return false;
}

bool
migCheckSource(const migSourceFacts *facts, const migParams *params, GError **error)
{
    checkInput in = { .source = facts, .params = params };

    return checkRows(sourceRows, G_N_ELEMENTS(sourceRows), &in, facts->domainName, error);
}

bool
migCheckDest(const migDestFacts *facts, const migCookie *remote, const migParams *params,
             GError **error)
{
    checkInput in = { .dest = facts, .remote = remote, .params = params };

    return checkRows(destRows, G_N_ELEMENTS(destRows), &in, remote->domainName, error);
}
