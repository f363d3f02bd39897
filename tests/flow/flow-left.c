/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* flow-left.c: what a world has left behind in this process */
#include "flow.h"

/* What a descriptor leads to, or what a thread is called. */
static char *
describeEntry(const char *path, const char *name)
{
    g_autofree char *entry = g_build_filename(path, name, NULL);
    g_autofree char *comm = g_build_filename(entry, "comm", NULL);
    g_autofree char *target = g_file_read_link(entry, NULL);
    g_autofree char *text = NULL;

    if (!target && g_file_get_contents(comm, &text, NULL, NULL))
        target = g_strdup(g_strstrip(text));
    return g_strdup_printf("%s (%s)", name, target ? target : "?");
}

/* Each on a line; NULL when there are @expected of them. */
static char *
unexpectedEntries(const char *path, unsigned expected)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    g_autoptr(GString) list = g_string_new(NULL);
    unsigned count = 0;
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *entry = describeEntry(path, name);

        g_string_append_printf(list, "\n  %s", entry);
        count++;
    }
    return count == expected ? NULL : g_strdup_printf("%u, not %u:%s", count, expected, list->str);
}

unsigned
flowCountEntries(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned count = 0;

    while (g_dir_read_name(dir))
        count++;
    return count;
}

/* Threads that nobody joins (those of handshakes) need a moment more to be gone. */
void
flowExpectEntries(const char *path, unsigned before)
{
    gint64 end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;
    g_autofree char *wrong = NULL;

    while (flowCountEntries(path) != before && g_get_monotonic_time() < end)
        g_usleep(1000);
    if ((wrong = unexpectedEntries(path, before)))
        g_error("%s has %s", path, wrong);
}
