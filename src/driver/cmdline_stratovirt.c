/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * The whole machine of a guest of StratoVirt, in the order of stratoParts[]; devices have a file of their own.
 *
 * StratoVirt refuses every property that it does not know, has no way to write a comma inside a value, and its control
 * socket is one that it makes itself.  Its own check of a migration compares devices by bus, address and type, and finds
 * their state by "type/id", so both sides must get the same ids: they are the aliases.
 */
#include <config.h>

#include "driver/cmdline_priv.h"

#include <sys/un.h>

#include "viruuid.h"

#include "driver/compat.h"
#include "base/gettext.h"

/* A path of a unix socket with its end. */
#define SOCKET_PATH_MAX sizeof(((struct sockaddr_un *)NULL)->sun_path)
/* Where a host has its huge pages of the default size. */
#define HUGEPAGES_PATH "/dev/hugepages"
/* Before this version q35 boots only with a firmware. */
#define DIRECT_BOOT_VERSION 2005000

int
stratoCheckText(const char *text, const char *what)
{
    if (!text || !strchr(text, ','))
        return 0;
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                   _("The %1$s '%2$s' has a comma, which cannot be said on StratoVirt's command line"), what, text);
    return -1;
}

static const char *
stratoOnOff(bool on)
{
    return on ? "on" : "off";
}

/* ---- the machine --------------------------------------------------------------------------------------------- */

static int
stratoPartName(cmdlineCtx *ctx)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (stratoCheckText(ctx->def->name, "name") < 0)
        return -1;
    cmdlineAdd(ctx, "-name", "guest=%s,debug-threads=on", ctx->def->name);
    if (ctx->env->paused)
        cmdlineAdd(ctx, "-S", NULL);
    virUUIDFormat(ctx->def->uuid, uuid);
    cmdlineAdd(ctx, "-uuid", "%s", uuid);
    /* -uuid is taken and forgotten; the guest sees this one. */
    if (ctx->machine != MACHINE_MICROVM)
        cmdlineAdd(ctx, "-smbios", "type=1,uuid=%s", uuid);
    return 0;
}

static int
stratoPartMachine(cmdlineCtx *ctx)
{
    const virDomainMemtune *mem = &ctx->def->mem;
    g_autoptr(GString) text = g_string_new(ctx->def->os.machine);

    g_string_append_printf(text, ",dump-guest-core=%s,mem-share=%s",
                           stratoOnOff(mem->dump_core == VIR_TRISTATE_SWITCH_ON),
                           stratoOnOff(mem->access == VIR_DOMAIN_MEMORY_ACCESS_SHARED));
    if (ctx->machine == MACHINE_VIRT)
        g_string_append(text, ",gic-version=3");
    cmdlineAdd(ctx, "-machine", "%s", text->str);
    cmdlineAdd(ctx, "-accel", "kvm");
    return 0;
}

static int
stratoPartCpu(cmdlineCtx *ctx)
{
    const virCPUDef *cpu = ctx->def->cpu;
    unsigned max = virDomainDefGetVcpusMax(ctx->def);
    int pmu = ctx->def->features[VIR_DOMAIN_FEATURE_PMU];

    if (ctx->machine == MACHINE_VIRT && pmu != VIR_TRISTATE_SWITCH_ABSENT)
        cmdlineAdd(ctx, "-cpu", "host,pmu=%s", stratoOnOff(pmu == VIR_TRISTATE_SWITCH_ON));
    else
        cmdlineAdd(ctx, "-cpu", "host");
    if (cpu && cpu->sockets)
        cmdlineAdd(ctx, "-smp", "%u,maxcpus=%u,sockets=%u,dies=%u,cores=%u,threads=%u", max, max, cpu->sockets,
                   cpu->dies, cpu->cores, cpu->threads);
    else
        cmdlineAdd(ctx, "-smp", "%u,maxcpus=%u,sockets=%u,dies=1,cores=1,threads=1", max, max, max);
    return 0;
}

static int
stratoPartMemory(cmdlineCtx *ctx)
{
    const virDomainMemtune *mem = &ctx->def->mem;

    cmdlineAdd(ctx, "-m", "%lluK", (unsigned long long)virDomainDefGetMemoryTotal(ctx->def));
    if (mem->nhugepages > 0) {
        cmdlineAdd(ctx, "-mem-path", HUGEPAGES_PATH);
        if (mem->allocation == VIR_DOMAIN_MEMORY_ALLOCATION_IMMEDIATE)
            cmdlineAdd(ctx, "-mem-prealloc", NULL);
    }
    return 0;
}

static int
stratoPartControl(cmdlineCtx *ctx)
{
    const char *path = ctx->env->controlPath;

    if (stratoCheckText(path, "path of the control socket") < 0)
        return -1;
    if (strlen(path) >= SOCKET_PATH_MAX) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("The path '%1$s' is too long for the control socket that StratoVirt makes: %2$zu bytes at most"),
                       path, SOCKET_PATH_MAX - 1);
        return -1;
    }
    cmdlineAdd(ctx, "-qmp", "unix:%s,server,nowait", path);
    return 0;
}

/* Both halves of a firmware are flash: the code, which is only read, and what it remembers. */
static int
stratoFlash(cmdlineCtx *ctx)
{
    const virDomainLoaderDef *loader = ctx->def->os.loader;
    const char *nvram = loader && loader->nvram ? loader->nvram->path : NULL;

    if (!loader || !loader->path)
        return 0;
    if (stratoCheckText(loader->path, "path of <loader>") < 0 || stratoCheckText(nvram, "path of <nvram>") < 0)
        return -1;
    cmdlineAdd(ctx, "-drive", "file=%s,if=pflash,unit=0,readonly=true", loader->path);
    if (nvram)
        cmdlineAdd(ctx, "-drive", "file=%s,if=pflash,unit=1", nvram);
    return 0;
}

static int
stratoPartBoot(cmdlineCtx *ctx)
{
    const virDomainOSDef *os = &ctx->def->os;

    if (ctx->machine == MACHINE_Q35 && !os->loader && ctx->vmm->version < DIRECT_BOOT_VERSION) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("A guest of the machine 'q35' needs <os><loader type='pflash'> with StratoVirt %1$lu.%2$lu; from 2.5 on it boots a <kernel> without"),
                       ctx->vmm->version / 1000000, ctx->vmm->version / 1000 % 1000);
        return -1;
    }
    if (stratoFlash(ctx) < 0)
        return -1;
    if (os->kernel)
        cmdlineAdd(ctx, "-kernel", "%s", os->kernel);
    if (os->initrd)
        cmdlineAdd(ctx, "-initrd", "%s", os->initrd);
    if (os->cmdline)
        cmdlineAdd(ctx, "-append", "%s", os->cmdline);
    return 0;
}

static int
stratoPartIncoming(cmdlineCtx *ctx)
{
    if (!ctx->env->incomingUri) {
        if (!ctx->env->incoming)
            return 0;
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED, "%s",
                       _("StratoVirt must be told at its start where a guest comes from, which this driver cannot do yet"));
        return -1;
    }
    cmdlineAdd(ctx, "-incoming", "%s", ctx->env->incomingUri);
    /* On x86 its own filter of system calls lacks listen(), without which nothing can arrive. */
    if (ctx->def->os.arch == VIR_ARCH_X86_64)
        cmdlineAdd(ctx, "-disable-seccomp", NULL);
    return 0;
}

static int (*const stratoParts[])(cmdlineCtx *ctx) = {
    stratoPartName,
    stratoPartMachine,
    stratoPartCpu,
    stratoPartMemory,
    stratoPartControl,
    stratoPartBoot,
    stratoBuildDevices,
    stratoPartIncoming,
};

int
stratoBuild(cmdlineCtx *ctx)
{
    for (size_t i = 0; i < G_N_ELEMENTS(stratoParts); i++) {
        if (stratoParts[i](ctx) < 0)
            return -1;
    }
    return 0;
}
