/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_facts.c: a domain, described in the plain terms that the migration checks judge */
#include <config.h>

#include "driver/mig_priv.h"
#include "driver/process.h"
#include "driver/throttle.h"

#include "virclosecallbacks.h"
#include "virdomainjob.h"
#include "virdomainsnapshotobjlist.h"
#include "virnetdev.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

static GPtrArray *
factsDeviceBlockers(const virDomainDef *def)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    size_t i;

    for (i = 0; i < def->nhostdevs; i++)
        g_ptr_array_add(list, g_strdup_printf(_("host device number %1$zu belongs to this host"), i));
    return list;
}

/* ---- processors ---- */

char *
migHostCpu(void)
{
    static const char *const keys[] = { "vendor_id", "cpu family", "model", "stepping", "flags" };
    g_autoptr(GString) name = g_string_new(NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    size_t i, j;

    if (!g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL))
        return NULL;
    lines = g_strsplit(text, "\n", -1);
    for (i = 0; i < G_N_ELEMENTS(keys); i++) {
        for (j = 0; lines[j] && *lines[j]; j++) {
            g_auto(GStrv) pair = g_strsplit(lines[j], ":", 2);
            g_autofree char *sum = NULL;

            if (!pair[0] || !pair[1] || STRNEQ(g_strstrip(pair[0]), keys[i]))
                continue;
            /* Hundreds of words, of which only the sameness matters. */
            if (STREQ(keys[i], "flags"))
                sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, g_strstrip(pair[1]), -1);
            g_string_append_printf(name, "%s%s %.16s", name->len ? ", " : "", keys[i], sum ? sum : g_strstrip(pair[1]));
            break;
        }
    }
    return name->len ? g_strdup(name->str) : NULL;
}

bool
migSeesHostCpu(const virDomainDef *def)
{
    return def->virtType == VIR_DOMAIN_VIRT_KVM && def->cpu &&
        (def->cpu->mode == VIR_CPU_MODE_HOST_PASSTHROUGH || def->cpu->mode == VIR_CPU_MODE_MAXIMUM);
}

/* ---- what a destination must have ---- */

static void
missingBridge(GPtrArray *list, const char *name)
{
    g_autofree char *path = g_strdup_printf("/sys/class/net/%s/bridge", name);

    if (!g_file_test(path, G_FILE_TEST_IS_DIR))
        g_ptr_array_add(list, g_strdup_printf(_("There is no bridge '%1$s' at the destination."), name));
}

static void
missingNetwork(GPtrArray *list, const char *name)
{
    virConnectPtr conn = virGetConnectNetwork();
    virNetworkPtr net = conn ? virNetworkLookupByName(conn, name) : NULL;

    if (!conn)
        g_ptr_array_add(list, g_strdup_printf(_("Network '%1$s' cannot be looked for at the destination: %2$s."), name,
                                              virGetLastErrorMessage()));
    else if (!net)
        g_ptr_array_add(list, g_strdup_printf(_("There is no network '%1$s' at the destination."), name));
    else if (virNetworkIsActive(net) == 0)
        g_ptr_array_add(list, g_strdup_printf(_("Network '%1$s' is not active at the destination."), name));
    virObjectUnref(net);
    virObjectUnref(conn);
    virResetLastError();
}

static void
missingTap(GPtrArray *list, const virDomainNetDef *net)
{
    if (net->managed_tap == VIR_TRISTATE_BOOL_NO && net->ifname && virNetDevExists(net->ifname) != 1)
        g_ptr_array_add(list, g_strdup_printf(_("There is no network device '%1$s' at the destination."), net->ifname));
}

/* The VMM's user may be another one, so only what is certain is said. */
static void
missingFile(GPtrArray *list, const char *what, const char *path)
{
    if (path && !g_file_test(path, G_FILE_TEST_EXISTS))
        g_ptr_array_add(list, g_strdup_printf(_("There is no %1$s '%2$s' at the destination."), what, path));
}

static void
missingChardev(GPtrArray *list, const virDomainChrDef *chr)
{
    if (chr->source->type == VIR_DOMAIN_CHR_TYPE_DEV || chr->source->type == VIR_DOMAIN_CHR_TYPE_PIPE)
        missingFile(list, _("character device"), chr->source->data.file.path);
}

/* Images that the proof of the storage says nothing about; @all: there is no proof. */
static void
missingImages(GPtrArray *list, const virDomainDef *def, bool all)
{
    size_t i;

    for (i = 0; i < def->ndisks; i++) {
        virStorageSource *src = def->disks[i]->src;
        g_autofree char *what = NULL;

        if (virStorageSourceIsEmpty(src) || !virStorageSourceIsLocalStorage(src) || (!all && !src->readonly))
            continue;
        what = g_strdup_printf(_("image of the disk '%1$s',"), def->disks[i]->dst);
        missingFile(list, what, src->path);
    }
}

static void
missingFiles(GPtrArray *list, const virDomainDef *def)
{
    size_t i;

    missingFile(list, _("kernel"), def->os.kernel);
    missingFile(list, _("initial RAM disk"), def->os.initrd);
    for (i = 0; i < def->nserials; i++)
        missingChardev(list, def->serials[i]);
    for (i = 0; i < def->nconsoles; i++) {
        if (def->consoles[i]->targetType != VIR_DOMAIN_CHR_CONSOLE_TARGET_TYPE_SERIAL)
            missingChardev(list, def->consoles[i]);
    }
    for (i = 0; i < def->nchannels; i++)
        missingChardev(list, def->channels[i]);
    for (i = 0; i < def->nrngs; i++) {
        if (def->rngs[i]->backend == VIR_DOMAIN_RNG_BACKEND_RANDOM)
            missingFile(list, _("random number device"), def->rngs[i]->source.file);
    }
}

GPtrArray *
migDevicesMissing(const virDomainDef *def, bool unproved)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    size_t i;

    missingFiles(list, def);
    missingImages(list, def, unproved);

    for (i = 0; i < def->nnets; i++) {
        const virDomainNetDef *net = def->nets[i];

        if (net->type == VIR_DOMAIN_NET_TYPE_BRIDGE)
            missingBridge(list, net->data.bridge.brname);
        else if (net->type == VIR_DOMAIN_NET_TYPE_NETWORK)
            missingNetwork(list, net->data.network.name);
        else if (net->type == VIR_DOMAIN_NET_TYPE_ETHERNET)
            missingTap(list, net);
    }
    return list;
}

/* ---- memory ---- */

/* "NAME:   123 kB" in a file of /proc; 0: not there. */
static uint64_t
procNumber(const char *path, const char *name)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    size_t i;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return 0;
    lines = g_strsplit(text, "\n", -1);
    for (i = 0; lines[i]; i++) {
        if (g_str_has_prefix(lines[i], name) && lines[i][strlen(name)] == ':')
            return g_ascii_strtoull(lines[i] + strlen(name) + 1, NULL, 10);
    }
    return 0;
}

void
migFactsMemory(migDestFacts *facts)
{
    static const char meminfo[] = "/proc/meminfo";
    uint64_t available = procNumber(meminfo, "MemAvailable");

    facts->hostMemoryKiB = procNumber(meminfo, "MemTotal");
    facts->freeMemoryKiB = available ? available + procNumber(meminfo, "SwapFree") : 0;
}

static uint64_t
factsResident(virDomainObj *vm)
{
    g_autofree char *path = g_strdup_printf("/proc/%lld/status", (long long)vm->pid);

    return vm->pid > 0 ? procNumber(path, "VmRSS") : 0;
}

/* The definition may be replaced while the domain's lock is not held. */
static const char *
factsKeep(migSourceFacts *facts, const char *text)
{
    char *copy = g_strdup(text);

    if (copy)
        g_ptr_array_add(facts->texts, copy);
    return copy;
}

char *
migChannelPath(const char *controlPath)
{
    g_autofree char *folder = controlPath ? g_path_get_dirname(controlPath) : NULL;

    return folder ? g_build_filename(folder, "migrate.sock", NULL) : NULL;
}

void
migFactsThrottle(virDomainObj *vm, const migParams *params, migSourceFacts *facts)
{
    const vmmInfo *vmm = DRV_DOMAIN(vm)->vmm;
    g_autofree char *trouble = NULL;

    if (!params->autoConverge || !vmm || !vmm->traits->convergesByHost)
        return;
    trouble = throttleTrouble(vm);
    facts->throttleTrouble = factsKeep(facts, trouble);
}

/* With cache='unsafe' the VMM never asks its host to write anything back, not even when it stops the guest. */
static GPtrArray *
factsUnflushed(const virDomainDef *def)
{
    GPtrArray *targets = g_ptr_array_new_with_free_func(g_free);

    for (size_t i = 0; i < def->ndisks; i++) {
        const virDomainDiskDef *disk = def->disks[i];

        if (disk->cachemode == VIR_DOMAIN_DISK_CACHE_UNSAFE && !disk->src->readonly)
            g_ptr_array_add(targets, g_strdup(disk->dst));
    }
    return targets;
}

void
migSourceFactsFill(virDomainObj *vm, migSourceFacts *ret)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    g_autofree char *channelPath = migChannelPath(priv->controlPath);
    int reason = 0;
    int state = virDomainObjGetState(vm, &reason);

    memset(ret, 0, sizeof(*ret));
    ret->texts = g_ptr_array_new_with_free_func(g_free);
    ret->domainName = factsKeep(ret, vm->def->name);
    ret->memoryKiB = virDomainDefGetMemoryTotal(vm->def);
    ret->vcpus = virDomainDefGetVcpus(vm->def);
    ret->active = virDomainObjIsActive(vm);
    ret->paused = state != VIR_DOMAIN_RUNNING;
    ret->persistent = vm->persistent;
    ret->autodestroy = virCloseCallbacksDomainIsRegistered(vm, NULL, processAutoDestroy);
    ret->snapshots = vm->snapshots ? virDomainSnapshotObjListNum(vm->snapshots, NULL, 0) : 0;
    ret->job = vm->job->asyncJob != VIR_ASYNC_JOB_NONE ?
        virDomainAsyncJobTypeToString(vm->job->asyncJob) : NULL;
    ret->diskError = state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_IOERROR;
    ret->deviceBlockers = factsDeviceBlockers(vm->def);
    migBlockersAdd(ret->deviceBlockers, vm->def, priv->vmm);
    ret->vmm = priv->vmm;
    ret->tcg = priv->tcg;
    ret->machine = factsKeep(ret, vm->def->os.machine);
    ret->channelPath = factsKeep(ret, channelPath);
    ret->arch = virArchToString(vm->def->os.arch);
    ret->disks = migDisksOf(vm->def);
    ret->unflushed = factsUnflushed(vm->def);
    ret->residentKiB = factsResident(vm);
    ret->hostCpu = migSeesHostCpu(vm->def) ? migHostCpu() : NULL;
}

void
migSourceFactsClear(migSourceFacts *facts)
{
    g_clear_pointer(&facts->deviceBlockers, g_ptr_array_unref);
    g_clear_pointer(&facts->disks, g_ptr_array_unref);
    g_clear_pointer(&facts->unflushed, g_ptr_array_unref);
    g_clear_pointer(&facts->hostCpu, g_free);
    g_clear_pointer(&facts->texts, g_ptr_array_unref);
}
