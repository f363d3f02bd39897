/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * api_cpu.c: processors: comparing them with this host, and what several have in common
 *
 * "Host" calls speak of the hardware, "hypervisor" calls of what a VMM gives a guest.  With TCG a guest's processor is made by the
 * program alone: which models it knows is asked, but there is no list of features to compare a definition with.
 */
#include <config.h>

#include "driver/api.h"

#include "cpu/cpu.h"
#include "datatypes.h"
#include "viraccessapicheck.h"

#include "driver/caps.h"
#include "driver/compat.h"
#include "base/gettext.h"

#define COMPARE_FLAGS (VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE | VIR_CONNECT_COMPARE_CPU_VALIDATE_XML)
#define BASELINE_FLAGS (VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES | VIR_CONNECT_BASELINE_CPU_MIGRATABLE)

static int
cpuCompare(virArch arch, virCPUDef *with, const char *xml, unsigned flags)
{
    return virCPUCompareXML(arch, with, xml, (flags & VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE) != 0,
                            (flags & VIR_CONNECT_COMPARE_CPU_VALIDATE_XML) != 0);
}

int
drvConnectCompareCPU(virConnectPtr conn, const char *xml, unsigned int flags)
{
    g_autoptr(virCaps) caps = NULL;

    virCheckFlags(COMPARE_FLAGS, VIR_CPU_COMPARE_ERROR);

    if (virConnectCompareCPUEnsureACL(conn) < 0 || !(caps = stateCaps(conn->privateData, false)))
        return VIR_CPU_COMPARE_ERROR;
    if (!caps->host.cpu) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED, "%s", _("The processor of this host could not be identified"));
        return VIR_CPU_COMPARE_ERROR;
    }
    return cpuCompare(caps->host.arch, caps->host.cpu, xml, flags);
}

/* Some of a host's features are of no use to a guest, and QEMU does not know their names. */
static bool
cpuIsForGuests(const char *name, virCPUFeaturePolicy policy G_GNUC_UNUSED, void *opaque G_GNUC_UNUSED)
{
    static const char *const hostOnly[] = { "cmt", "mbm_total", "mbm_local", NULL };

    return !g_strv_contains(hostOnly, name);
}

/* Takes @cpu over. */
static char *
cpuFormat(virCPUDef *cpu, virArch arch, unsigned flags)
{
    g_autoptr(virCPUDef) owned = cpu;

    if (!owned || ((flags & VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES) && virCPUExpandFeatures(arch, owned) < 0))
        return NULL;
    return virCPUDefFormat(owned, NULL);
}

/* libvirt takes every entry for one of the first one's kind, whatever it says. A guest's definition need not name any. */
static bool
cpuCheckArchs(virCPUDef **cpus, unsigned count, virArch arch)
{
    for (unsigned i = 0; i < count; i++) {
        virArch own = cpus[i]->arch;

        if (own == VIR_ARCH_NONE || own == arch || (ARCH_IS_X86(own) && ARCH_IS_X86(arch)))
            continue;
        virReportError(VIR_ERR_INVALID_ARG, _("Processor %1$u of the list is of the architecture '%2$s', not '%3$s'"),
                       i + 1, virArchToString(own), virArchToString(arch));
        return false;
    }
    return true;
}

static virCPUDef *
cpuBaselineOf(virCPUDef **cpus, unsigned count, unsigned flags)
{
    g_autoptr(virCPUDef) baseline = NULL;
    g_autoptr(virCPUDef) ret = NULL;

    if (!cpuCheckArchs(cpus, count, cpus[0]->arch) ||
        !(baseline = virCPUBaseline(VIR_ARCH_NONE, cpus, count, NULL, NULL,
                                    (flags & VIR_CONNECT_BASELINE_CPU_MIGRATABLE) != 0)) ||
        !(ret = virCPUDefCopyWithoutModel(baseline)) ||
        virCPUDefCopyModelFilter(ret, baseline, false, cpuIsForGuests, NULL) < 0)
        return NULL;
    return g_steal_pointer(&ret);
}

char *
drvConnectBaselineCPU(virConnectPtr conn, const char **xmls, unsigned int count, unsigned int flags)
{
    virCPUDef **cpus;
    char *ret;

    virCheckFlags(BASELINE_FLAGS, NULL);

    if (virConnectBaselineCPUEnsureACL(conn) < 0 || !(cpus = virCPUDefListParse(xmls, count, VIR_CPU_TYPE_HOST)))
        return NULL;
    ret = cpuFormat(cpuBaselineOf(cpus, count, flags), cpus[0]->arch, flags);
    virCPUDefListFree(cpus);
    return ret;
}

int
drvConnectCompareHypervisorCPU(virConnectPtr conn, const char *emulator, const char *arch, const char *machine,
                               const char *virttype, const char *xml, unsigned int flags)
{
    const capsWish wish = { emulator, arch, machine, virttype };
    g_autoptr(virDomainCaps) caps = NULL;

    virCheckFlags(COMPARE_FLAGS, VIR_CPU_COMPARE_ERROR);

    if (virConnectCompareHypervisorCPUEnsureACL(conn) < 0 || !(caps = capsMakeWished(conn->privateData, &wish)))
        return VIR_CPU_COMPARE_ERROR;
    if (!caps->cpu.hostModel) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED,
                       _("'%1$s' does not tell what processor it gives a guest of type '%2$s', so there is nothing to compare with"),
                       caps->path, virDomainVirtTypeToString(caps->virttype));
        return VIR_CPU_COMPARE_ERROR;
    }
    return cpuCompare(caps->arch, caps->cpu.hostModel, xml, flags);
}

char *
drvConnectBaselineHypervisorCPU(virConnectPtr conn, const char *emulator, const char *arch, const char *machine,
                                const char *virttype, const char **xmls, unsigned int count, unsigned int flags)
{
    const capsWish wish = { emulator, arch, machine, virttype };
    g_autoptr(virDomainCaps) caps = NULL;
    virCPUDef **cpus;
    virCPUDef *cpu = NULL;

    virCheckFlags(BASELINE_FLAGS, NULL);

    if (virConnectBaselineHypervisorCPUEnsureACL(conn) < 0 || !(caps = capsMakeWished(conn->privateData, &wish)) ||
        !(cpus = virCPUDefListParse(xmls, count, VIR_CPU_TYPE_AUTO)))
        return NULL;
    if (cpuCheckArchs(cpus, count, caps->arch))
        cpu = virCPUBaseline(caps->arch, cpus, count, caps->cpu.custom, NULL,
                             (flags & VIR_CONNECT_BASELINE_CPU_MIGRATABLE) != 0);
    virCPUDefListFree(cpus);
    /* The guest gets this very model or does not start. */
    if (cpu)
        cpu->fallback = VIR_CPU_FALLBACK_FORBID;
    return cpuFormat(cpu, caps->arch, flags);
}
