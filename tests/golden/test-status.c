/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Golden test: a guest's status file is read by a daemon that has just started, and written again.
 *
 * The machine that runs must come back as it is, so nothing of the definition may be filled in or refused on the way.
 */
#include "driver-fixture.h"

#include <glib/gstdio.h>

#include "virdomainobjlist.h"

static char *
formatOne(drvState *drv, virDomainObj *vm, const char *file)
{
    char *text = NULL;

    g_assert_cmpint(domainSaveStatus(vm), ==, 0);
    g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
    domainRemoveStatus(vm);
    g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));
    g_assert_true(DRV_DOMAIN(vm)->drv == drv);
    return text;
}

static char *
runCase(drvState *drv, const char *name G_GNUC_UNUSED, const char *in)
{
    g_autofree char *folder = g_dir_make_tmp("status-XXXXXX", NULL);
    g_autofree char *file = g_build_filename(folder, "guest.xml", NULL);
    virDomainObjList *list = virDomainObjListNew();
    virDomainObj *vm;
    char *text;

    drv->stateDir = folder;
    g_assert_true(g_file_set_contents(file, in, -1, NULL));
    g_assert_cmpint(virDomainObjListLoadAllConfigs(list, folder, NULL, true, drv->xmlopt, NULL, NULL), ==, 0);
    vm = virDomainObjListFindByName(list, "guest");
    if (vm) {
        text = formatOne(drv, vm, file);
        virDomainObjEndAPI(&vm);
    } else {
        text = fixtureError();
        g_unlink(file);
    }
    virObjectUnref(list);
    g_rmdir(folder);
    drv->stateDir = NULL;
    return text;
}

int
main(int argc, char **argv)
{
    return fixtureMain(argc, argv, "status", runCase);
}
