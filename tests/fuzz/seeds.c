/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

void
fuzzSeed(const char *folder, const char *name, const void *data, size_t size)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_autoptr(GError) error = NULL;

    g_file_set_contents(path, data, (gssize)size, &error);
    g_assert_no_error(error);
}
