/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig_blockers.c: what of a definition its VMM cannot migrate, one row each
 *
 * StratoVirt stops at nothing: what it has no state for it leaves behind without a word, so all of that is refused here.  It saves
 * guests into files in the same way.
 */
#include <config.h>

#include "driver/machine.h"
#include "driver/mig_priv.h"

#include "base/gettext.h"

typedef struct {
    vmmCmdline cmdline;              /* of which VMM */
    bool (*has)(const virDomainDef *def);
    bool saved;                      /* does not stand in the way of saving it */
    const char *text;                /* what it is and why, after "One of its devices cannot move: " */
} blockerRow;

static bool
hasHostDevice(const virDomainDef *def)
{
    return def->nhostdevs > 0;
}

static bool
hasMicrovm(const virDomainDef *def)
{
    return machineKindOf(def->os.machine) == MACHINE_MICROVM;
}

static bool
hasBalloon(const virDomainDef *def)
{
    return virDomainDefHasMemballoon(def);
}

static bool
hasVsock(const virDomainDef *def)
{
    return def->vsock != NULL;
}

static bool
hasVhost(const virDomainDef *def)
{
    for (size_t i = 0; i < def->nnets; i++) {
        if (def->nets[i]->type == VIR_DOMAIN_NET_TYPE_VHOSTUSER ||
            def->nets[i]->driver.virtio.name == VIR_DOMAIN_NET_DRIVER_TYPE_VHOST)
            return true;
    }
    return false;
}

static bool
hasSharedMemory(const virDomainDef *def)
{
    return def->mem.access == VIR_DOMAIN_MEMORY_ACCESS_SHARED;
}

static bool
hasHugePages(const virDomainDef *def)
{
    return def->mem.nhugepages > 0;
}

static bool
hasPmu(const virDomainDef *def)
{
    return def->features[VIR_DOMAIN_FEATURE_PMU] == VIR_TRISTATE_SWITCH_ON;
}

static const blockerRow blockerRows[] = {
    { VMM_CMDLINE_STRATOVIRT, hasMicrovm, true, N_("the machine 'microvm' of StratoVirt can be saved into files only") },
    { VMM_CMDLINE_STRATOVIRT, hasHostDevice, false, N_("StratoVirt sends nothing of a host device") },
    { VMM_CMDLINE_STRATOVIRT, hasBalloon, true, N_("StratoVirt does not migrate a memory balloon (<memballoon model='none'/> leaves it out)") },
    { VMM_CMDLINE_STRATOVIRT, hasVsock, false, N_("StratoVirt does not migrate a vsock, whose state is in the host's kernel") },
    { VMM_CMDLINE_STRATOVIRT, hasVhost, false, N_("StratoVirt does not migrate an interface whose state vhost has") },
    { VMM_CMDLINE_STRATOVIRT, hasSharedMemory, false, N_("StratoVirt does not migrate memory that is shared with other processes") },
    { VMM_CMDLINE_STRATOVIRT, hasHugePages, false, N_("StratoVirt does not migrate memory that is a file, as huge pages are") },
    { VMM_CMDLINE_STRATOVIRT, hasPmu, false, N_("StratoVirt does not migrate a performance monitoring unit") },
};

void
migBlockersAdd(GPtrArray *list, const virDomainDef *def, const vmmInfo *vmm)
{
    for (size_t i = 0; vmm && i < G_N_ELEMENTS(blockerRows); i++) {
        if (blockerRows[i].cmdline == vmm->traits->cmdline && blockerRows[i].has(def))
            g_ptr_array_add(list, g_strdup(_(blockerRows[i].text)));
    }
}

char *
migBlockersOfSave(const virDomainDef *def, const vmmInfo *vmm)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (size_t i = 0; i < G_N_ELEMENTS(blockerRows); i++) {
        if (!blockerRows[i].saved && blockerRows[i].cmdline == vmm->traits->cmdline && blockerRows[i].has(def))
            g_string_append_printf(text, "%s%s", text->len ? "; " : "", _(blockerRows[i].text));
    }
    return text->len ? g_strdup(text->str) : NULL;
}
