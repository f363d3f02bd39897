/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Addresses of devices beyond what golden files show, and the list of elements in docs/domain-xml.rst. */
#include <config.h>

#include <stdlib.h>

#include "virerror.h"

#include "driver/address.h"
#include "driver/validate.h"

/* ---- addresses ---------------------------------------------------------------------------------------------- */

static virDomainDef *
makeDef(const char *machine, size_t disks, size_t ports)
{
    virDomainDef *def = g_new0(virDomainDef, 1);

    def->os.machine = g_strdup(machine);
    def->disks = g_new0(virDomainDiskDef *, disks);
    for (size_t i = 0; i < disks; i++) {
        def->disks[i] = g_new0(virDomainDiskDef, 1);
        def->disks[i]->bus = VIR_DOMAIN_DISK_BUS_VIRTIO;
    }
    def->ndisks = disks;
    def->controllers = g_new0(virDomainControllerDef *, ports);
    for (size_t i = 0; i < ports; i++) {
        def->controllers[i] = virDomainControllerDefNew(VIR_DOMAIN_CONTROLLER_TYPE_PCI);
        def->controllers[i]->idx = i + 1;
        def->controllers[i]->model = VIR_DOMAIN_CONTROLLER_MODEL_PCIE_ROOT_PORT;
    }
    def->ncontrollers = ports;
    return def;
}

static void
freeDef(virDomainDef *def)
{
    for (size_t i = 0; i < def->ndisks; i++)
        g_free(def->disks[i]);
    for (size_t i = 0; i < def->ncontrollers; i++)
        g_free(def->controllers[i]);
    g_free(def->disks);
    g_free(def->controllers);
    g_free(def->os.machine);
    g_free(def);
}

static void
testBusFull(void)
{
    /* Slots 1 to 30 of bus 0, one of them for the functions of two ports: 29 are left, and then the ports' buses. */
    virDomainDef *def = makeDef("pc-q35-10.0", 31, 2);
    virDomainDef *more = makeDef("pc-q35-10.0", 32, 2);

    g_assert_cmpint(addrAssign(def), ==, 0);
    g_assert_cmpuint(def->disks[28]->info.addr.pci.bus, ==, 0);
    g_assert_cmpuint(def->disks[29]->info.addr.pci.bus, ==, 1);
    g_assert_cmpuint(def->disks[30]->info.addr.pci.bus, ==, 2);
    g_assert_cmpuint(def->disks[30]->info.addr.pci.slot, ==, 0);
    g_assert_cmpint(addrAssign(more), ==, -1);
    g_assert_nonnull(strstr(virGetLastErrorMessage(), "pcie-root-port"));
    virResetLastError();
    freeDef(def);
    freeDef(more);
}

static void
testManyPorts(void)
{
    /* The ninth port needs a second slot; each has its bus and its own number for the guest. */
    virDomainDef *def = makeDef("pc-q35-10.0", 0, 9);

    g_assert_cmpint(addrAssign(def), ==, 0);
    for (size_t i = 0; i < 9; i++) {
        g_assert_cmpuint(def->controllers[i]->info.addr.pci.slot, ==, i < 8 ? 1 : 2);
        g_assert_cmpuint(def->controllers[i]->info.addr.pci.function, ==, i % 8);
        g_assert_cmpint(def->controllers[i]->opts.pciopts.chassis, ==, (int)i + 1);
    }
    g_assert_cmpint(def->controllers[0]->info.addr.pci.multi, ==, VIR_TRISTATE_SWITCH_ON);
    freeDef(def);
}

static void
testGiven(void)
{
    /* A device with an address keeps it and the others go around it, also those before it. */
    virDomainDef *def = makeDef("pc-q35-10.0", 3, 0);

    def->disks[2]->info.type = VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI;
    def->disks[2]->info.addr.pci.slot = 1;
    g_assert_cmpint(addrAssign(def), ==, 0);
    g_assert_cmpuint(def->disks[0]->info.addr.pci.slot, ==, 2);
    g_assert_cmpuint(def->disks[1]->info.addr.pci.slot, ==, 3);
    g_assert_cmpuint(def->disks[2]->info.addr.pci.slot, ==, 1);
    freeDef(def);
}

static void
testRefused(void)
{
    static const struct {
        virPCIDeviceAddress addr;
        const char *words;
    } cases[] = {
        { { .domain = 1, .slot = 1 }, "domain 0" },
        { { .bus = 1, .slot = 1 }, "slot 0 only" },
        { { .bus = 9 }, "no controller" },
        { { .slot = 32 }, "32 slots" },
        { { .slot = 1, .function = 8 }, "8 functions" },
        { { .slot = 31 }, "another device" },
        { { .function = 3, .slot = 0, .bus = 0, .domain = 0 }, NULL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        virDomainDef *def = makeDef("pc-q35-10.0", 1, 1);

        def->disks[0]->info.type = VIR_DOMAIN_DEVICE_ADDRESS_TYPE_PCI;
        def->disks[0]->info.addr.pci = cases[i].addr;
        /* An address of zeros is none: one is found. */
        g_assert_cmpint(addrAssign(def), ==, cases[i].words ? -1 : 0);
        if (cases[i].words && !strstr(virGetLastErrorMessage(), cases[i].words))
            g_error("'%s' does not say '%s'", virGetLastErrorMessage(), cases[i].words);
        virResetLastError();
        freeDef(def);
    }
}

static void
testMmio(void)
{
    virDomainDef *def = makeDef("microvm", 3, 0);

    g_assert_cmpint(addrAssign(def), ==, 0);
    for (size_t i = 0; i < 3; i++)
        g_assert_cmpint(def->disks[i]->info.type, ==, VIR_DOMAIN_DEVICE_ADDRESS_TYPE_VIRTIO_MMIO);
    g_assert_cmpuint(addrCountMmio(def), ==, 3);
    freeDef(def);
}

/* ---- the page ------------------------------------------------------------------------------------------------- */

#define BEGIN ".. elements: written by REGENERATE=1 from src/driver/%s\n\n"
#define END "\n.. end of elements\n"

static char *
describeRows(const validateRow *rows, size_t count)
{
    static const struct { unsigned machine; const char *name; } machines[] = {
        { MACHINE_Q35, "q35" }, { MACHINE_MICROVM, "microvm" }, { MACHINE_VIRT, "virt" },
    };
    g_autoptr(GString) text = g_string_new(NULL);

    for (size_t i = 0; i < count; i++) {
        g_string_append_printf(text, "* ``%s``", rows[i].path);
        if (rows[i].attrs)
            g_string_append_printf(text, " ``%s``", rows[i].attrs);
        if (rows[i].text)
            g_string_append_printf(text, " | ``%s``", rows[i].text);
        for (size_t k = 0; k < G_N_ELEMENTS(machines); k++) {
            if (rows[i].machines & machines[k].machine)
                g_string_append_printf(text, " [%s]", machines[k].name);
        }
        g_string_append_c(text, '\n');
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

/* One list of the page; with REGENERATE it is written anew. */
static void
checkList(const char *path, const char *source, const validateRow *list, size_t count)
{
    g_autofree char *rows = describeRows(list, count);
    g_autofree char *first = g_strdup_printf(BEGIN, source);
    g_autofree char *page = NULL;
    g_autofree char *listed = NULL;
    char *begin, *end;

    g_assert_true(g_file_get_contents(path, &page, NULL, NULL));
    g_assert_nonnull(begin = strstr(page, first));
    begin += strlen(first);
    g_assert_nonnull(end = strstr(begin - 1, END));
    if (getenv("REGENERATE")) {
        g_autofree char *anew = g_strdup_printf("%.*s%s%s", (int)(begin - page), page, rows, end);

        g_assert_true(g_file_set_contents(path, anew, -1, NULL));
        return;
    }
    listed = g_strndup(begin, MAX(end - begin, 0));
    g_assert_cmpstr(listed, ==, rows);
}

static void
testPage(void)
{
    const char *top = getenv("SV_SOURCE_ROOT");
    g_autofree char *path = NULL;
    const validateRow *rows;
    size_t count;

    if (!top) {
        g_test_skip("SV_SOURCE_ROOT is not set");
        return;
    }
    path = g_build_filename(top, "docs", "domain-xml.rst", NULL);
    rows = validateQemuRows(&count);
    checkList(path, "validate_qemu.c", rows, count);
    rows = validateStratovirtRows(&count);
    checkList(path, "validate_stratovirt.c", rows, count);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(virErrorInitialize(), ==, 0);
    virSetErrorFunc(NULL, NULL);
    g_test_add_func("/domain/address/bus-full", testBusFull);
    g_test_add_func("/domain/address/many-ports", testManyPorts);
    g_test_add_func("/domain/address/given", testGiven);
    g_test_add_func("/domain/address/refused", testRefused);
    g_test_add_func("/domain/address/mmio", testMmio);
    g_test_add_func("/domain/page", testPage);
    return g_test_run();
}
