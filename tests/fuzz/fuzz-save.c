/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The beginning of a saved guest's file, and the header in it by itself, past the checksum that no mutation gets right. */
#include "fuzz.h"

#include <libxml/xmlerror.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "driver/save_image.h"

static void
saveHeaderTwice(const char *data, size_t size)
{
    g_auto(saveHeader) header = { 0 };
    g_auto(saveHeader) again = { 0 };
    g_autoptr(GError) error = NULL;
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;

    if (!saveHeaderParse(data, size, &header, &error)) {
        g_assert_error(error, BASE_ERROR, BASE_ERROR_XML);
        return;
    }
    first = saveHeaderFormat(&header);
    saveHeaderParse(first, strlen(first), &again, &error);
    g_assert_no_error(error);
    second = saveHeaderFormat(&again);
    g_assert_cmpstr(first, ==, second);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const saveImageBytes bytes = { .data = data, .len = size, .fileBytes = size + 1000, .path = "image" };
    g_auto(saveHeader) header = { 0 };
    g_autoptr(GError) error = NULL;
    saveLayout layout;

    if (saveImageParse(&bytes, &header, &layout, &error)) {
        g_assert_true(header.complete);
        g_assert_cmpuint(layout.dataOffset, <=, size + 1000);
    } else {
        g_assert_true(error->domain == BASE_ERROR);
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
    }
    saveHeaderTwice((const char *)data, size);
    return 0;
}

static void
saveQuiet(void *opaque G_GNUC_UNUSED, const char *format G_GNUC_UNUSED, ...)
{
}

void
fuzzSetUp(void)
{
    xmlSetGenericErrorFunc(NULL, saveQuiet);
}

/* A text by itself, and a file with it that is whole. */
void
fuzzSeeds(const char *folder)
{
    char id[] = "6ba7b810-9dad-11d1-80b4-00c04fd430c8", vmm[] = "qemu", name[] = "guest", xml[] = "<domain>\r\n&amp;</domain>";
    saveHeader header = { .id = id, .vmm = vmm, .vmmVersion = 1, .running = true, .name = name, .uuid = id, .xml = xml };
    g_autofree char *text = saveHeaderFormat(&header);
    g_autofree char *path = g_build_filename(folder, "image", NULL);
    g_auto(baseFd) fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    g_autoptr(GError) error = NULL;
    saveLayout layout;

    fuzzSeed(folder, "header", text, strlen(text));
    saveImageBegin(fd, path, &header, &layout, &error);
    g_assert_no_error(error);
    header.complete = true;
    saveImageUpdate(fd, path, &layout, &header, &error);
    g_assert_no_error(error);
}
