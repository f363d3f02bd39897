/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/enumname.h"

typedef enum { COLOUR_RED, COLOUR_GREEN, COLOUR_LAST } colour;

BASE_ENUM_DECL(colour, colour)
BASE_ENUM_IMPL(colour, colour, COLOUR_LAST, "red", "green")

static void
testBothWays(void)
{
    for (int i = 0; i < COLOUR_LAST; i++) {
        colour back = COLOUR_LAST;

        g_assert_true(colourFromString(colourToString((colour)i), &back));
        g_assert_cmpint(back, ==, i);
    }
    g_assert_cmpstr(colourToString(COLOUR_GREEN), ==, "green");
}

static void
testUnknown(void)
{
    static const char *const names[] = { NULL, "", "gree", "greener", "Red", "?" };
    colour value = COLOUR_GREEN;

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_assert_false(colourFromString(names[i], &value));
        g_assert_cmpint(value, ==, COLOUR_GREEN);
    }
    g_assert_cmpstr(colourToString(COLOUR_LAST), ==, "?");
    g_assert_cmpstr(colourToString((colour)-1), ==, "?");
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/enumname/both-ways", testBothWays);
    g_test_add_func("/enumname/unknown", testUnknown);
    return g_test_run();
}
