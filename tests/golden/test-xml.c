/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Golden test: what the driver makes of a definition that users write: defaults and addresses filled in.
 *
 * Each result is parsed and formatted once more and must not change any more, and another host must accept
 * it in the migratable form as the same guest.
 */
#include "driver-fixture.h"

static char *
formatInactive(drvState *drv, virDomainDef *def)
{
    char *xml = virDomainDefFormat(def, drv->xmlopt, VIR_DOMAIN_DEF_FORMAT_INACTIVE | VIR_DOMAIN_DEF_FORMAT_SECURE);

    g_assert_nonnull(xml);
    return xml;
}

static void
checkStable(drvState *drv, const char *xml)
{
    g_autoptr(virDomainDef) def = fixtureParse(drv, xml);
    g_autofree char *again = NULL;

    g_assert_nonnull(def);
    again = formatInactive(drv, def);
    g_assert_cmpstr(again, ==, xml);
}

static void
checkMigratable(drvState *drv, virDomainDef *def)
{
    g_autofree char *xml = NULL;
    g_autoptr(virDomainDef) other = NULL;

    def->id = 7;
    g_assert_cmpint(domainPrepareStart(drv, def, &fixtureVmm, def->virtType == VIR_DOMAIN_VIRT_KVM), ==, 0);
    g_assert_nonnull(xml = domainFormatMigratable(drv, def, 0));
    g_assert_null(strstr(xml, drv->libDir));
    g_assert_nonnull(other = fixtureParse(drv, xml));
    g_assert_cmpint(domainCheckAbi(def, other, drv), ==, 0);
}

static char *
runCase(drvState *drv, const char *name G_GNUC_UNUSED, const char *in)
{
    g_autoptr(virDomainDef) def = fixtureParse(drv, in);
    g_autofree char *xml = NULL;

    if (!def)
        return fixtureError();
    xml = formatInactive(drv, def);
    checkStable(drv, xml);
    checkMigratable(drv, def);
    return g_steal_pointer(&xml);
}

int
main(int argc, char **argv)
{
    return fixtureMain(argc, argv, "xml", runCase);
}
