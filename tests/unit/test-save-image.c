/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The file that holds a saved guest: written, changed, cut at every place, and every bit of its beginning turned over. */
#include <glib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fd.h"
#include "driver/save_image.h"

#define ID "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
#define UUID "6ba7b811-9dad-11d1-80b4-00c04fd430c8"
#define DATA "the guest's memory"

typedef struct {
    char *path;
    int fd;
    saveLayout layout;
} fixture;

static saveHeader
exampleHeader(void)
{
    saveHeader header = {
        .id = g_strdup(ID), .vmm = g_strdup("qemu"), .vmmVersion = 10000003, .running = true, .savedAt = 1700000000,
        .name = g_strdup("guest <&'\">"), .uuid = g_strdup(UUID),
        .xml = g_strdup("<domain type='kvm'>\n  <name>guest &lt;&amp;</name>\n\t<!-- ]]> -->\n</domain>\n"),
    };

    return header;
}

static void
assertSame(const saveHeader *a, const saveHeader *b)
{
    g_assert_cmpstr(a->id, ==, b->id);
    g_assert_cmpstr(a->vmm, ==, b->vmm);
    g_assert_cmpuint(a->vmmVersion, ==, b->vmmVersion);
    g_assert_cmpint(a->running, ==, b->running);
    g_assert_cmpint(a->complete, ==, b->complete);
    g_assert_cmpuint(a->dataBytes, ==, b->dataBytes);
    g_assert_cmpint(a->savedAt, ==, b->savedAt);
    g_assert_cmpstr(a->name, ==, b->name);
    g_assert_cmpstr(a->uuid, ==, b->uuid);
    g_assert_cmpstr(a->xml, ==, b->xml);
}

static void
setUp(fixture *fix, gconstpointer unused G_GNUC_UNUSED)
{
    GError *error = NULL;

    fix->fd = g_file_open_tmp("save-XXXXXX", &fix->path, &error);
    g_assert_no_error(error);
}

static void
tearDown(fixture *fix, gconstpointer unused G_GNUC_UNUSED)
{
    baseFdClose(fix->fd);
    g_unlink(fix->path);
    g_free(fix->path);
}

/* A complete image. */
static void
writeWhole(fixture *fix)
{
    g_auto(saveHeader) header = exampleHeader();
    GError *error = NULL;

    saveImageBegin(fix->fd, fix->path, &header, &fix->layout, &error);
    g_assert_no_error(error);
    g_assert_cmpint(pwrite(fix->fd, DATA, strlen(DATA), (off_t)fix->layout.dataOffset), ==, strlen(DATA));
    header.complete = true;
    header.dataBytes = strlen(DATA);
    saveImageUpdate(fix->fd, fix->path, &fix->layout, &header, &error);
    g_assert_no_error(error);
}

static void
assertRefused(fixture *fix, int code, const char *text)
{
    g_auto(saveHeader) header = { 0 };
    g_autoptr(GError) error = NULL;
    saveLayout layout;

    g_assert_false(saveImageRead(fix->fd, fix->path, &header, &layout, &error));
    g_assert_error(error, BASE_ERROR, code);
    g_assert_nonnull(strstr(error->message, text));
    g_assert_nonnull(strstr(error->message, fix->path));
}

static void
testText(void)
{
    g_auto(saveHeader) header = exampleHeader();
    g_auto(saveHeader) again = { 0 };
    g_autofree char *text = saveHeaderFormat(&header);
    GError *error = NULL;

    saveHeaderParse(text, strlen(text), &again, &error);
    g_assert_no_error(error);
    assertSame(&header, &again);
}

static void
testWhole(fixture *fix, gconstpointer unused G_GNUC_UNUSED)
{
    g_auto(saveHeader) want = exampleHeader();
    g_auto(saveHeader) header = { 0 };
    saveLayout layout;
    GError *error = NULL;

    writeWhole(fix);
    saveImageRead(fix->fd, fix->path, &header, &layout, &error);
    g_assert_no_error(error);
    want.complete = true;
    want.dataBytes = strlen(DATA);
    assertSame(&header, &want);
    g_assert_cmpuint(layout.dataOffset % SAVE_IMAGE_ALIGN, ==, 0);
    g_assert_cmpuint(layout.generation, ==, 2);
    /* More than the stream does not matter: with O_DIRECT there may be. */
    g_assert_cmpint(ftruncate(fix->fd, (off_t)layout.dataOffset + 4096), ==, 0);
    saveHeaderClear(&header);
    g_assert_true(saveImageRead(fix->fd, fix->path, &header, &layout, NULL));
}

static void
testPartial(fixture *fix, gconstpointer unused G_GNUC_UNUSED)
{
    g_auto(saveHeader) header = exampleHeader();
    saveLayout layout;

    assertRefused(fix, BASE_ERROR_OPERATION_FAILED, "no image");
    g_assert_true(saveImageBegin(fix->fd, fix->path, &header, &layout, NULL));
    /* The second slot is not there yet, and that is no damage. */
    assertRefused(fix, BASE_ERROR_OPERATION_FAILED, "incomplete");
}

static void
testCut(fixture *fix, gconstpointer unused G_GNUC_UNUSED)
{
    struct stat st;

    writeWhole(fix);
    g_assert_cmpint(fstat(fix->fd, &st), ==, 0);
    g_assert_cmpint(ftruncate(fix->fd, st.st_size - 1), ==, 0);
    assertRefused(fix, BASE_ERROR_OPERATION_FAILED, "cut short");
    for (off_t size = (off_t)fix->layout.dataOffset; size >= 0; size -= 4096) {
        g_autoptr(GError) error = NULL;
        g_auto(saveHeader) header = { 0 };
        saveLayout layout;

        g_assert_cmpint(ftruncate(fix->fd, size), ==, 0);
        g_assert_false(saveImageRead(fix->fd, fix->path, &header, &layout, &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    }
}

/* Whatever single byte is wrong: the image is refused, or the header before is in force, which is not complete. */
static void
testDamage(fixture *fix, gconstpointer unused G_GNUC_UNUSED)
{
    g_autofree uint8_t *data = NULL;
    size_t used = SAVE_IMAGE_ALIGN + 48 + 400;

    writeWhole(fix);
    data = g_malloc0(fix->layout.dataOffset);
    g_assert_cmpint(pread(fix->fd, data, fix->layout.dataOffset, 0), ==, (gssize)fix->layout.dataOffset);
    for (size_t i = 0; i < used; i += (i == 23 ? SAVE_IMAGE_ALIGN - 23 : 1)) {
        g_autoptr(GError) error = NULL;
        g_auto(saveHeader) header = { 0 };
        const saveImageBytes bytes = {
            .data = data, .len = fix->layout.dataOffset, .fileBytes = fix->layout.dataOffset + 100, .path = "file",
        };
        saveLayout layout;

        data[i] ^= 0x10;
        g_assert_false(saveImageParse(&bytes, &header, &layout, &error));
        g_assert_true(error->domain == BASE_ERROR);
        data[i] ^= 0x10;
    }
}

static void
testForeign(fixture *fix, gconstpointer unused G_GNUC_UNUSED)
{
    static const struct { const char *magic, *text; } rows[] = {
        { "LibvirtQemudSave", "QEMU driver" }, { "LibvirtQemudPart", "QEMU driver" }, { "libvirt-xml\n \n \r", "Xen" },
        { "QEVM0000", "stream of QEMU" }, { "QFI\xfb....", "qcow2" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_assert_cmpint(ftruncate(fix->fd, 0), ==, 0);
        g_assert_cmpint(pwrite(fix->fd, rows[i].magic, strlen(rows[i].magic), 0), >, 0);
        assertRefused(fix, BASE_ERROR_CONFIG, rows[i].text);
    }
}

/* A header that is changed again and again; one that is too large; and a write that is cut short. */
static void
testUpdate(fixture *fix, gconstpointer unused G_GNUC_UNUSED)
{
    g_auto(saveHeader) header = { 0 };
    g_auto(saveHeader) after = { 0 };
    g_autofree char *large = g_strnfill(100000, 'x');
    g_autoptr(GError) error = NULL;
    saveLayout layout;
    uint64_t offset;

    writeWhole(fix);
    g_assert_true(saveImageRead(fix->fd, fix->path, &header, &layout, NULL));
    for (unsigned i = 3; i < 9; i++) {
        g_free(header.xml);
        header.xml = g_strdup_printf("<domain>%u</domain>", i);
        g_assert_true(saveImageUpdate(fix->fd, fix->path, &layout, &header, NULL));
        g_assert_true(saveImageRead(fix->fd, fix->path, &after, &layout, NULL));
        g_assert_cmpuint(layout.generation, ==, i);
        assertSame(&header, &after);
        saveHeaderClear(&after);
    }
    g_free(header.xml);
    header.xml = g_steal_pointer(&large);
    g_assert_false(saveImageUpdate(fix->fd, fix->path, &layout, &header, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_CONFIG);
    g_assert_cmpuint(layout.generation, ==, 8);
    /* As if the ninth had been cut short: the eighth counts. */
    offset = SAVE_IMAGE_ALIGN + (9 % 2) * layout.slotBytes;
    g_assert_cmpint(pwrite(fix->fd, "\0\0\0\0\0\0\0\7torn", 12, (off_t)offset), ==, 12);
    g_assert_true(saveImageRead(fix->fd, fix->path, &after, &layout, NULL));
    g_assert_cmpuint(layout.generation, ==, 8);
    g_assert_cmpstr(after.xml, ==, "<domain>8</domain>");
}

static void
testBadText(void)
{
    static const struct { const char *from, *to, *names; } rows[] = {
        { "<save id", "<xave id", "save" }, { ID, "none", "'id'" }, { "<vmm name='qemu'", "<vmm", "'vmm'" },
        { "version='10000003'", "version='-1'", "'vmm'" }, { "running='yes'", "running='maybe'", "'state'" },
        { "<data bytes='0'", "<data bytes='99999999999999999999'", "'data'" }, { "<saved at", "<saved when", "'saved'" },
        { UUID, "6ba7", "'domain'" }, { "<domain name=", "<domain nome=", "'domain'" },
    };
    g_auto(saveHeader) header = exampleHeader();
    g_autofree char *text = saveHeaderFormat(&header);

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_auto(GStrv) parts = g_strsplit(text, rows[i].from, 2);
        g_autofree char *bad = g_strjoinv(rows[i].to, parts);
        g_auto(saveHeader) got = { 0 };
        g_autoptr(GError) error = NULL;

        if (g_str_has_prefix(rows[i].from, "<save id")) {
            char *end = g_strrstr(bad, "</save>");

            memcpy(end, "</xave>", 7);
        }
        g_assert_cmpuint(g_strv_length(parts), ==, 2);
        g_assert_false(saveHeaderParse(bad, strlen(bad), &got, &error));
        g_assert_error(error, BASE_ERROR, BASE_ERROR_XML);
        g_assert_nonnull(strstr(error->message, rows[i].names));
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/save-image/text", testText);
    g_test_add_func("/save-image/bad-text", testBadText);
#define FILE_TEST(name, run) g_test_add("/save-image/" name, fixture, NULL, setUp, run, tearDown)
    FILE_TEST("whole", testWhole);
    FILE_TEST("partial", testPartial);
    FILE_TEST("cut", testCut);
    FILE_TEST("damage", testDamage);
    FILE_TEST("foreign", testForeign);
    FILE_TEST("update", testUpdate);
    return g_test_run();
}
