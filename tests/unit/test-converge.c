/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration/converge.h"

#include <glib.h>

static const vmmTraits byHost = { .name = "by-host", .canAutoConverge = true, .convergesByHost = true };
static const vmmTraits byItself = { .name = "by-itself", .canAutoConverge = true };

static void
testOff(void)
{
    const vmmMigSpec wanted = { .autoConverge = true };
    const vmmMigSpec unwanted = { .autoConvergeInitial = 30 };
    const struct { const vmmMigSpec *spec; const vmmTraits *vmm; } cases[] = {
        { &wanted, &byItself }, { &wanted, NULL }, { &unwanted, &byHost },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        migConverge converge;

        migConvergeBegin(&converge, cases[i].spec, cases[i].vmm);
        for (uint64_t pass = 1; pass < 10; pass++)
            g_assert_false(migConvergeNote(&converge, pass, 1000, 1));
        g_assert_cmpuint(converge.percent, ==, 0);
    }
}

/* Once a round, from the second on, while the guest writes more than half of what is sent. */
static void
testRounds(void)
{
    const vmmMigSpec spec = { .autoConverge = true };
    migConverge converge;

    migConvergeBegin(&converge, &spec, &byHost);
    g_assert_false(migConvergeNote(&converge, 1, 100, 100));
    g_assert_false(migConvergeNote(&converge, 2, 50, 100));
    g_assert_false(migConvergeNote(&converge, 2, 90, 100));
    g_assert_false(migConvergeNote(&converge, 3, 90, 0));
    g_assert_true(migConvergeNote(&converge, 4, 51, 100));
    g_assert_cmpuint(converge.percent, ==, MIG_CONVERGE_INITIAL);
    g_assert_false(migConvergeNote(&converge, 4, 90, 100));
    /* Some may pass between two looks. */
    g_assert_true(migConvergeNote(&converge, 7, 90, 100));
    g_assert_cmpuint(converge.percent, ==, MIG_CONVERGE_INITIAL + MIG_CONVERGE_INCREMENT);
    /* It helps, and stays as it is. */
    g_assert_false(migConvergeNote(&converge, 8, 20, 100));
    g_assert_cmpuint(converge.percent, ==, MIG_CONVERGE_INITIAL + MIG_CONVERGE_INCREMENT);
}

static void
testLimits(void)
{
    const vmmMigSpec spec = { .autoConverge = true, .autoConvergeInitial = 70, .autoConvergeIncrement = 25 };
    static const unsigned wanted[] = { 70, 95, 99 };
    migConverge converge;

    migConvergeBegin(&converge, &spec, &byHost);
    for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++) {
        g_assert_true(migConvergeNote(&converge, i + 2, 100, 100));
        g_assert_cmpuint(converge.percent, ==, wanted[i]);
    }
    g_assert_false(migConvergeNote(&converge, 9, 100, 100));
    g_assert_cmpuint(converge.percent, ==, MIG_CONVERGE_MAX);
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/converge/off", testOff);
    g_test_add_func("/converge/rounds", testRounds);
    g_test_add_func("/converge/limits", testLimits);
    return g_test_run();
}
