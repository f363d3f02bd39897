/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * driver-fixture.h: a driver without daemon, files or VMM, for golden tests of definitions
 *
 * The VMM is a QEMU 10.0 that exists nowhere, or one of several such StratoVirts, the host's processor is always the same, so the results are the same
 * everywhere.  Each test program includes this once.
 */
#pragma once

#include <config.h>

#include <stdlib.h>

#include "cpu/cpu.h"
#include "virerror.h"

#include "base/error.h"
#include "driver/cmdline.h"
#include "driver/domain.h"

static vmmInfo fixtureVmm;

#define FIXTURE_STRATO(path, number, machine) \
    { .binary = (char *)path, .version = number, .kvm = true, .maxCpus = 254, \
      .machines = (char *[]) { (char *)"microvm", (char *)machine, NULL }, .aliases = (char *[]) { NULL }, \
      .cpus = (char *[]) { NULL }, .cpuLimits = (char *[]) { NULL } }

/* The StratoVirts, by what a case's <emulator> says. */
static vmmInfo fixtureStratos[] = {
    FIXTURE_STRATO("/opt/vmm/stratovirt", 2005000, "q35"),
    FIXTURE_STRATO("/opt/vmm/stratovirt-2.4", 2004000, "q35"),
    FIXTURE_STRATO("/opt/vmm/stratovirt-arm", 2005000, "virt"),
};

static const vmmInfo *
fixtureProbe(const char *binary, const char *cacheDir G_GNUC_UNUSED, GError **error)
{
    if (g_str_equal(binary, fixtureVmm.binary))
        return &fixtureVmm;
    for (size_t i = 0; i < G_N_ELEMENTS(fixtureStratos); i++) {
        fixtureStratos[i].traits = vmmTraitsByName("stratovirt");
        if (g_str_equal(binary, fixtureStratos[i].binary))
            return &fixtureStratos[i];
    }
    g_set_error(error, BASE_ERROR, BASE_ERROR_CONFIG, "There is no VMM '%s' in this test", binary);
    return NULL;
}

static drvState *
fixtureNew(void)
{
    static const char *const machines[] = { "microvm", "pc-i440fx-10.0", "q35", "pc-q35-10.0", "pc-q35-7.2", NULL };
    static const char *const aliases[] = { "pc=pc-i440fx-10.0", "q35=pc-q35-10.0", NULL };
    static const char *const cpus[] = { "qemu64", "Skylake-Client", "max", "host", NULL };
    drvState *drv = g_new0(drvState, 1);
    virDomainDefParserConfig config = domainParserConfigTemplate;
    virDomainJobObjConfig jobs = { 0 };

    g_assert_cmpint(virInitialize(), ==, 0);
    fixtureVmm = (vmmInfo) {
        .binary = g_strdup("/opt/vmm/qemu-system-x86_64"),
        .traits = vmmTraitsByName("qemu"),
        .version = 10000000,
        .kvm = true,
        .machines = g_strdupv((char **)machines),
        .aliases = g_strdupv((char **)aliases),
        .cpus = g_strdupv((char **)cpus),
        .maxCpus = 255,
        .sandbox = true,
    };
    drv->probe = fixtureProbe;
    drv->libDir = g_strdup("/var/lib/libvirt/stratovirt");
    drv->conf = drvConfLoad(NULL, false);
    drv->conf->qemuBinary = g_strdup(fixtureVmm.binary);
    drv->caps = virCapabilitiesNew(VIR_ARCH_X86_64, false, true);
    drv->caps->host.cpu = virCPUDefNew();
    drv->caps->host.cpu->type = VIR_CPU_TYPE_HOST;
    drv->caps->host.cpu->arch = VIR_ARCH_X86_64;
    drv->caps->host.cpu->model = g_strdup("Skylake-Client");
    drv->caps->host.cpu->vendor = g_strdup("Intel");
    g_assert_cmpint(virMutexInit(&drv->lock), ==, 0);
    config.priv = drv;
    drv->xmlopt = virDomainXMLOptionNew(&config, &domainPrivateDataCallbacks, &domainXmlNamespace, NULL, NULL, &jobs);
    g_assert_nonnull(drv->xmlopt);
    return drv;
}

static void
fixtureFree(drvState *drv)
{
    virObjectUnref(drv->xmlopt);
    virObjectUnref(drv->caps);
    drvConfUnref(drv->conf);
    virMutexDestroy(&drv->lock);
    g_free(drv->libDir);
    g_free(drv);
    g_free(fixtureVmm.binary);
    g_strfreev(fixtureVmm.machines);
    g_strfreev(fixtureVmm.aliases);
    g_strfreev(fixtureVmm.cpus);
}

/* What a user defines. NULL with the libvirt error set. */
static G_GNUC_UNUSED virDomainDef *
fixtureParse(drvState *drv, const char *xml)
{
    return virDomainDefParseString(xml, drv->xmlopt, NULL,
                                   VIR_DOMAIN_DEF_PARSE_INACTIVE | VIR_DOMAIN_DEF_PARSE_ABI_UPDATE);
}

/* The last libvirt error, as it goes into an .out file. */
static G_GNUC_UNUSED char *
fixtureError(void)
{
    virErrorPtr last = virGetLastError();
    char *text = g_strdup_printf("error %d: %s\n", last ? last->code : 0, last ? last->message : "none");

    virResetLastError();
    return text;
}

/* ---- cases ------------------------------------------------------------------------------------------------ */

typedef char *(*fixtureRun)(drvState *drv, const char *name, const char *in);

typedef struct {
    drvState *drv;
    char *name, *inPath, *outPath;
    fixtureRun run;
} fixtureCase;

static void
fixtureRunCase(gconstpointer opaque)
{
    const fixtureCase *c = opaque;
    g_autofree char *in = NULL;
    g_autofree char *wanted = NULL;
    g_autofree char *got = NULL;
    g_autoptr(GError) error = NULL;

    g_assert_true(g_file_get_contents(c->inPath, &in, NULL, NULL));
    got = c->run(c->drv, c->name, in);
    if (getenv("REGENERATE")) {
        g_file_set_contents(c->outPath, got, -1, &error);
        g_assert_no_error(error);
        return;
    }
    g_file_get_contents(c->outPath, &wanted, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(got, ==, wanted);
}

/* Run @run on every CASE.in of the folder argv[1]; its result is compared with CASE.out. */
static G_GNUC_UNUSED int
fixtureMain(int argc, char **argv, const char *object, fixtureRun run)
{
    drvState *drv;
    g_autoptr(GDir) dir = NULL;
    g_autoptr(GPtrArray) cases = g_ptr_array_new();
    const char *entry;
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(argc, ==, 2);
    g_assert_nonnull(dir = g_dir_open(argv[1], 0, NULL));
    drv = fixtureNew();
    while ((entry = g_dir_read_name(dir))) {
        fixtureCase *c;
        g_autofree char *path = NULL;

        if (!g_str_has_suffix(entry, ".in"))
            continue;
        c = g_new0(fixtureCase, 1);
        c->drv = drv;
        c->run = run;
        c->name = g_strndup(entry, strlen(entry) - 3);
        c->inPath = g_build_filename(argv[1], entry, NULL);
        c->outPath = g_strdup_printf("%s/%s.out", argv[1], c->name);
        path = g_strdup_printf("/%s/%s", object, c->name);
        g_test_add_data_func(path, c, fixtureRunCase);
        g_ptr_array_add(cases, c);
    }
    g_assert_cmpuint(cases->len, >, 0);
    ret = g_test_run();
    for (guint i = 0; i < cases->len; i++) {
        fixtureCase *c = cases->pdata[i];

        g_free(c->name);
        g_free(c->inPath);
        g_free(c->outPath);
        g_free(c);
    }
    fixtureFree(drv);
    return ret;
}
