/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Golden test: what of a definition stands in the way of migrating the guest, and of saving it. */
#include "driver-fixture.h"

#include "driver/mig_priv.h"

static char *
runCase(drvState *drv, const char *name G_GNUC_UNUSED, const char *in)
{
    g_autoptr(virDomainDef) def = fixtureParse(drv, in);
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *save = NULL;
    const vmmInfo *vmm;

    if (!def)
        return fixtureError();
    vmm = fixtureProbe(def->emulator, NULL, NULL);
    g_assert_nonnull(vmm);
    migBlockersAdd(list, def, vmm);
    for (guint i = 0; i < list->len; i++)
        g_string_append_printf(text, "migrate: %s\n", (char *)list->pdata[i]);
    save = migBlockersOfSave(def, vmm);
    g_string_append_printf(text, "save: %s\n", save ? save : "nothing");
    return g_string_free(g_steal_pointer(&text), FALSE);
}

int
main(int argc, char **argv)
{
    return fixtureMain(argc, argv, "blockers", runCase);
}
