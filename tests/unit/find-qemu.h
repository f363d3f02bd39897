/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* find-qemu.h: the real VMM, for unit tests that try one where it is installed */
#pragma once

#include <glib.h>

static inline char *
findQemu(void)
{
    const char *root = g_getenv("SV_SOURCE_ROOT");
    g_autofree char *own = g_build_filename(root ? root : ".",
                                            "build/deps/qemu/bin/qemu-system-x86_64", NULL);

    if (g_getenv("SV_TEST_QEMU"))
        return g_strdup(g_getenv("SV_TEST_QEMU"));
    if (g_file_test(own, G_FILE_TEST_IS_EXECUTABLE))
        return g_canonicalize_filename(own, NULL);
    return g_find_program_in_path("qemu-system-x86_64");
}
