/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * process_check.c: what must be so before a start touches anything, one function a question
 *
 * A VMM would refuse all this too, but in its own words and after half of the work.
 */
#include <config.h>

#include "driver/process_priv.h"

#include "storage_source_conf.h"

#include "virlog.h"

#include "driver/compat.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.check");

/* Whether we can tell what the VMM's user may do. */
static bool
checkIsOwnUser(const processStarting *start)
{
    return !start->conf->user && !start->conf->group;
}

static int
checkFile(const processStarting *start, const char *path, bool write, const char *what)
{
    int mode = write ? R_OK | W_OK : R_OK;
    struct stat st;

    if (!path)
        return 0;
    if (stat(path, &st) < 0) {
        virReportSystemError(errno, _("Cannot start domain '%1$s': its %2$s '%3$s' cannot be used"),
                             start->vm->def->name, what, path);
        return -1;
    }
    if (S_ISDIR(st.st_mode)) {
        virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                       _("Cannot start domain '%1$s': its %2$s '%3$s' is a folder."),
                       start->vm->def->name, what, path);
        return -1;
    }
    if (checkIsOwnUser(start) && access(path, mode) < 0) {
        virReportSystemError(errno, _("Cannot start domain '%1$s': its %2$s '%3$s' cannot be opened"),
                             start->vm->def->name, what, path);
        return -1;
    }
    return 0;
}

static int
checkBoot(const processStarting *start)
{
    const virDomainOSDef *os = &start->vm->def->os;

    if (checkFile(start, os->kernel, false, "kernel") < 0 ||
        checkFile(start, os->initrd, false, "initrd") < 0)
        return -1;
    return checkFile(start, os->dtb, false, "device tree");
}

static int
checkDisks(const processStarting *start)
{
    const virDomainDef *def = start->vm->def;

    for (size_t i = 0; i < def->ndisks; i++) {
        const virDomainDiskDef *disk = def->disks[i];
        virStorageSource *src = disk->src;
        g_autofree char *what = g_strdup_printf("disk %s", disk->dst);

        if (virStorageSourceIsEmpty(src) || !virStorageSourceIsLocalStorage(src))
            continue;
        if (checkFile(start, virDomainDiskGetSource(disk), !src->readonly, what) < 0)
            return -1;
    }
    return 0;
}

static int
checkAccel(const processStarting *start)
{
    const virDomainDef *def = start->vm->def;
    const vmmInfo *vmm = start->priv->vmm;

    start->priv->tcg = def->virtType == VIR_DOMAIN_VIRT_QEMU;
    if (start->priv->tcg || vmm->kvm)
        return 0;
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                   _("Cannot start domain '%1$s': it is of type 'kvm', but KVM does not run guests on this host with '%2$s' (/dev/kvm is missing, not accessible or does not work); type 'qemu' is emulated."),
                   def->name, vmm->binary);
    return -1;
}

static int
checkVcpus(const processStarting *start)
{
    const virDomainDef *def = start->vm->def;
    const vmmInfo *vmm = start->priv->vmm;

    if (!vmm->maxCpus || virDomainDefGetVcpusMax(def) <= vmmMaxCpus(vmm, def->os.machine))
        return 0;
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED,
                   _("Cannot start domain '%1$s': it has %2$u virtual CPUs, '%3$s' can give it %4$u."),
                   def->name, virDomainDefGetVcpusMax(def), vmm->binary,
                   vmmMaxCpus(vmm, def->os.machine));
    return -1;
}

/* A guest that arrives brings data of another host into a process that nothing confines then. */
static int
checkFilter(const processStarting *start)
{
    const vmmTraits *traits = start->priv->vmm->traits;

    if (!(start->flags & PROCESS_START_INCOMING) || !traits->incomingUnfiltered || start->vm->def->os.arch != VIR_ARCH_X86_64)
        return 0;
    if (!start->conf->incomingUnfiltered) {
        virReportError(VIR_ERR_OPERATION_DENIED,
                       _("Domain '%1$s' cannot arrive on this host: on x86 %2$s would have to run without its filter of system calls, which 'incoming_unfiltered' in stratovirt.conf forbids."),
                       start->vm->def->name, traits->title);
        return -1;
    }
    VIR_WARN("domain '%s' arrives in a %s without its filter of system calls (-disable-seccomp), and stays without until it is started anew",
             start->vm->def->name, traits->title);
    return 0;
}

int
processCheck(processStarting *start)
{
    return checkAccel(start) < 0 || checkVcpus(start) < 0 || checkFilter(start) < 0 ? -1 : 0;
}

int
processCheckFiles(processStarting *start)
{
    return checkBoot(start) < 0 || checkDisks(start) < 0 ? -1 : 0;
}
