/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A guest's status file, with the record of its migration, as a daemon reads it that has just started. */
#include "../golden/driver-fixture.h"

#include <glib/gstdio.h>
#include <unistd.h>

#include "driver/mig.h"
#include "fuzz.h"
#include "virlog.h"

static drvState *statusDriver;
static char *statusPath;

static char *
statusFormat(virDomainObj *vm)
{
    g_auto(virBuffer) buf = VIR_BUFFER_INITIALIZER;

    g_assert_cmpint(migFormatStatus(&buf, vm), ==, 0);
    return virBufferContentAndReset(&buf);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *record = NULL;
    virDomainObj *vm;

    g_file_set_contents_full(statusPath, (const char *)data, (gssize)size, G_FILE_SET_CONTENTS_NONE, 0600, &error);
    g_assert_no_error(error);
    vm = virDomainObjParseFile(statusPath, statusDriver->xmlopt, VIR_DOMAIN_DEF_PARSE_STATUS |
                               VIR_DOMAIN_DEF_PARSE_ACTUAL_NET | VIR_DOMAIN_DEF_PARSE_PCI_ORIG_STATES |
                               VIR_DOMAIN_DEF_PARSE_SKIP_VALIDATE | VIR_DOMAIN_DEF_PARSE_ALLOW_POST_PARSE_FAIL);
    if (!vm) {
        g_assert_nonnull(virGetLastError());
        virResetLastError();
        return 0;
    }
    record = statusFormat(vm);
    virDomainObjEndAPI(&vm);
    virResetLastError();
    return 0;
}

static void
statusQuiet(void *opaque G_GNUC_UNUSED, virErrorPtr error G_GNUC_UNUSED)
{
}

static void
statusRemove(void)
{
    g_unlink(statusPath);
}

void
fuzzSetUp(void)
{
    statusDriver = fixtureNew();
    virSetErrorFunc(NULL, statusQuiet);
    virLogSetOutputs("4:file:/dev/null");
    /* In memory where there is such a place. */
    statusPath = g_strdup_printf("%s/sv-fuzz-status-%d.xml", g_file_test("/dev/shm", G_FILE_TEST_IS_DIR) ? "/dev/shm" : g_get_tmp_dir(),
                                 (int)getpid());
    atexit(statusRemove);
}

/* Those of the golden tests are the seeds: they are whole files. */
void
fuzzSeeds(const char *folder G_GNUC_UNUSED)
{
}
