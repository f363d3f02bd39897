/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-storage.c: disks that are shared, and all that looks as if they were
 *
 * Two hosts are two folders: a link to a folder is the same file system, a second folder of the same contents is not.
 */
#include "base/error.h"
#include "migration/storage.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UUID "c7a5fdbd-edaf-9455-926a-d65c16db1809"
#define OTHER_UUID "c7a5fdbd-edaf-9455-926a-d65c16db1800"

typedef struct {
    char *root;
    char *here;                  /* folder of the source's images */
    char *same;                  /* the same folder under another path */
    char *copy;                  /* another folder with files of the same names */
    char *image;
    GPtrArray *source;           /* one disk, vda, with its file left */
} fixture;

static char *
putFile(const char *folder, const char *name, const char *text)
{
    char *path = g_build_filename(folder, name, NULL);

    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    return path;
}

static char *
putFolder(const char *root, const char *name)
{
    char *path = g_build_filename(root, name, NULL);

    g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
    return path;
}

static void
setUp(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *copied = NULL;

    f->root = g_dir_make_tmp("sv-storage-XXXXXX", NULL);
    g_assert_nonnull(f->root);
    f->here = putFolder(f->root, "here");
    f->copy = putFolder(f->root, "copy");
    f->same = g_build_filename(f->root, "same", NULL);
    g_assert_cmpint(symlink(f->here, f->same), ==, 0);
    f->image = putFile(f->here, "web.img", "data");
    copied = putFile(f->copy, "web.img", "data");
    f->source = migDiskListNew();
    migDiskListAdd(f->source, "vda", MIG_DISK_FILE, f->image);
    migStorageLeave(f->source, UUID);
}

static void
removeAll(const char *path)
{
    g_autoptr(GDir) dir = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *below = g_build_filename(path, name, NULL);

        removeAll(below);
    }
    g_assert_cmpint(g_remove(path), ==, 0);
}

static void
tearDown(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    migStorageRemove(f->source, UUID);
    g_ptr_array_unref(f->source);
    removeAll(f->root);
    g_free(f->root);
    g_free(f->here);
    g_free(f->same);
    g_free(f->copy);
    g_free(f->image);
}

/* The one file of ours in @folder, NULL if there is none; caller frees. */
static char *
leftIn(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    char *found = NULL;
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        if (!g_str_has_prefix(name, ".stratovirt-"))
            continue;
        g_assert_null(found);
        found = g_build_filename(folder, name, NULL);
    }
    return found;
}

static migDisk *
diskAt(GPtrArray *disks, guint i)
{
    return g_ptr_array_index(disks, i);
}

static GPtrArray *
oneDisk(migDiskKind kind, const char *folder, const char *name)
{
    GPtrArray *disks = migDiskListNew();
    g_autofree char *path = folder ? g_build_filename(folder, name, NULL) : g_strdup(name);

    migDiskListAdd(disks, "vda", kind, path);
    return disks;
}

/* @word NULL: proved; else the only problem has it. */
static void
expectProof(GPtrArray *remote, const GPtrArray *local, const char *word)
{
    g_autoptr(GPtrArray) problems = migStorageProve(remote, local, UUID, "h2", "h1");

    if (!word) {
        if (problems->len)
            g_test_message("%s", (char *)g_ptr_array_index(problems, 0));
        g_assert_cmpuint(problems->len, ==, 0);
        return;
    }
    g_assert_cmpuint(problems->len, ==, 1);
    g_test_message("%s", (char *)g_ptr_array_index(problems, 0));
    g_assert_nonnull(strstr(g_ptr_array_index(problems, 0), word));
    g_assert_nonnull(strstr(g_ptr_array_index(problems, 0), "'vda'"));
}

static void
expectVerify(const GPtrArray *disks, const GPtrArray *answered, bool ok)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(migStorageVerify(disks, answered, UUID, "h2", &error) == ok);
    if (ok) {
        g_assert_no_error(error);
        return;
    }
    g_assert_error(error, BASE_ERROR, BASE_ERROR_UNSAFE);
    g_assert_nonnull(strstr(error->message, "'vda'"));
    g_assert_nonnull(strstr(error->message, "VIR_MIGRATE_UNSAFE"));
}

static void
testShared(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) local = oneDisk(MIG_DISK_FILE, f->same, "web.img");
    g_autofree char *left = leftIn(f->here);
    g_autofree char *after = NULL;
    struct stat sb;

    g_assert_nonnull(left);
    g_assert_cmpint(lstat(left, &sb), ==, 0);
    g_assert_cmphex(sb.st_mode & 0777, ==, 0600);
    g_assert_null(diskAt(f->source, 0)->why);
    expectVerify(f->source, f->source, false);
    expectProof(f->source, local, NULL);
    expectVerify(f->source, f->source, true);
    migStorageRemove(f->source, UUID);
    migStorageRemove(f->source, UUID);
    after = leftIn(f->here);
    g_assert_null(after);
    expectVerify(f->source, f->source, false);
}

/* An image under the name of a link. */
static void
testLinkedImage(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) local = NULL;
    g_autofree char *link = g_build_filename(f->copy, "linked", NULL);

    g_assert_cmpint(symlink(f->image, link), ==, 0);
    local = oneDisk(MIG_DISK_FILE, f->copy, "linked");
    expectProof(f->source, local, NULL);
    /* File systems whose numbers differ between hosts: then by the real name. */
    diskAt(f->source, 0)->wordInode = G_MAXUINT64;
    diskAt(f->source, 0)->inode += 1000;
    expectProof(f->source, local, NULL);
}

static void
testCopy(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) local = oneDisk(MIG_DISK_FILE, f->copy, "web.img");
    g_autofree char *left = leftIn(f->here);
    g_autofree char *name = g_path_get_basename(left);
    g_autofree char *forged = NULL;

    expectProof(f->source, local, "storage that both hosts share");
    g_assert_null(diskAt(f->source, 0)->answer);
    /* A file of the same name that says something else; its folder was copied a little earlier. */
    forged = putFile(f->copy, name, "source 00000000000000000000000000000000\n");
    expectProof(f->source, local, "storage that both hosts share");
    g_clear_pointer(&forged, g_free);
    /* One that was copied with its word is found, but the answer does not come to the source. */
    forged = putFile(f->copy, name, "");
    {
        g_autofree char *line = g_strdup_printf("source %s\n", diskAt(f->source, 0)->word);

        g_assert_true(g_file_set_contents(forged, line, -1, NULL));
    }
    /* No file has this number, while any other may be that of the file above. */
    diskAt(f->source, 0)->wordInode = 0;
    expectProof(f->source, local, NULL);
    expectVerify(f->source, f->source, false);
}

static void
testOtherImage(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *other = putFile(f->here, "mail.img", "data");
    g_autoptr(GPtrArray) local = oneDisk(MIG_DISK_FILE, f->here, "mail.img");
    g_autoptr(GPtrArray) missing = oneDisk(MIG_DISK_FILE, f->here, "none.img");

    expectProof(f->source, local, "different files in the same folder");
    diskAt(f->source, 0)->wordInode = G_MAXUINT64;
    expectProof(f->source, local, "different files in the same folder");
    expectProof(f->source, missing, "No such file");
}

/* What lies there under the name may be anything: it is neither followed nor waited for. */
static void
testNoFile(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) local = oneDisk(MIG_DISK_FILE, f->same, "web.img");
    g_autofree char *left = leftIn(f->here);
    g_autofree char *target = putFile(f->root, "target", "");
    g_autofree char *text = NULL;
    g_autofree char *line = g_strdup_printf("source %s\n", diskAt(f->source, 0)->word);

    g_assert_cmpint(g_remove(left), ==, 0);
    g_assert_cmpint(mkfifo(left, 0600), ==, 0);
    expectProof(f->source, local, "may not write beside");
    g_assert_cmpint(g_remove(left), ==, 0);
    g_assert_true(g_file_set_contents(target, line, -1, NULL));
    g_assert_cmpint(symlink(target, left), ==, 0);
    expectProof(f->source, local, "may not write beside");
    g_assert_true(g_file_get_contents(target, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, line);
    expectVerify(f->source, f->source, false);
}

/* The source cannot write beside its own image. */
static void
testUnwritable(fixture *f G_GNUC_UNUSED, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) disks = oneDisk(MIG_DISK_FILE, NULL, "/proc/version");

    migStorageLeave(disks, UUID);
    g_assert_nonnull(diskAt(disks, 0)->why);
    g_assert_false(diskAt(disks, 0)->left);
    expectProof(disks, disks, "could leave no file");
}

static void
testLists(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) none = migDiskListNew();
    g_autoptr(GPtrArray) local = oneDisk(MIG_DISK_FILE, f->same, "web.img");
    g_autoptr(GPtrArray) network = oneDisk(MIG_DISK_NETWORK, NULL, "rbd:a:1,/pool/web");
    g_autoptr(GPtrArray) other = oneDisk(MIG_DISK_NETWORK, NULL, "rbd:a:1,/pool/mail");

    expectProof(f->source, none, "is not in the definition");
    expectProof(none, local, "is not one that the guest writes to");
    expectProof(NULL, local, "is not one that the guest writes to");
    expectProof(NULL, none, NULL);
    expectProof(f->source, network, "of the kind 'file' on host 'h1' and 'network'");
    expectProof(network, network, NULL);
    expectProof(network, other, "/pool/mail");
    expectVerify(network, NULL, true);
}

static void
testDevices(fixture *f G_GNUC_UNUSED, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) a = oneDisk(MIG_DISK_BLOCK, NULL, "/dev/does-not-exist");
    g_autoptr(GPtrArray) b = oneDisk(MIG_DISK_BLOCK, NULL, "/dev/does-not-exist-either");

    expectProof(a, b, "has no '/dev/does-not-exist-either'");
    g_clear_pointer(&diskAt(b, 0)->missing, g_free);
    expectProof(a, b, "nothing by which another host would know it");
    diskAt(a, 0)->identity = g_strdup("wwid=naa.1");
    expectProof(a, b, "'/dev/does-not-exist-either' on host 'h2' has nothing");
    diskAt(b, 0)->identity = g_strdup("wwid=naa.2");
    expectProof(a, b, "naa.2");
    g_clear_pointer(&diskAt(b, 0)->identity, g_free);
    diskAt(b, 0)->identity = g_strdup("wwid=naa.1");
    expectProof(a, b, NULL);
    expectVerify(a, b, true);
}

/* Loop devices of different parts of one file. */
static void
testParts(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) local = oneDisk(MIG_DISK_FILE, f->same, "web.img");

    diskAt(local, 0)->identity = g_strdup("offset=512,sizelimit=0");
    expectProof(f->source, local, "another part");
    diskAt(f->source, 0)->identity = g_strdup("offset=512,sizelimit=0");
    expectProof(f->source, local, NULL);
}

/* After a restart: what this guest's migration left goes, all else stays. */
static void
testSweep(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GPtrArray) fresh = oneDisk(MIG_DISK_FILE, f->here, "web.img");
    g_autofree char *other = putFile(f->here, ".stratovirt-" OTHER_UUID "-vda-0123", "x");
    g_autofree char *longer = putFile(f->here, ".stratovirt-" UUID "-vdaa-0123", "x");
    g_autofree char *again = putFile(f->here, ".stratovirt-" UUID "-vda-0123", "x");

    migStorageSweep(fresh, UUID);
    g_assert_false(g_file_test(again, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_test(other, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_test(longer, G_FILE_TEST_EXISTS));
    g_assert_true(g_file_test(f->image, G_FILE_TEST_EXISTS));
    g_assert_cmpint(g_remove(longer) | g_remove(other), ==, 0);
    g_assert_null(leftIn(f->here));
}

static void
testKinds(fixture *f G_GNUC_UNUSED, gconstpointer data G_GNUC_UNUSED)
{
    for (int kind = 0; kind < MIG_DISK_LAST; kind++) {
        migDiskKind back;

        g_assert_true(migDiskKindFromName(migDiskKindName(kind), &back));
        g_assert_cmpint(back, ==, kind);
    }
    g_assert_false(migDiskKindFromName("floppy", NULL));
}

int
main(int argc, char **argv)
{
    static const struct {
        const char *path;
        void (*run)(fixture *f, gconstpointer data);
    } tests[] = {
        { "/storage/shared", testShared },
        { "/storage/linked-image", testLinkedImage },
        { "/storage/copy", testCopy },
        { "/storage/other-image", testOtherImage },
        { "/storage/no-file", testNoFile },
        { "/storage/unwritable", testUnwritable },
        { "/storage/lists", testLists },
        { "/storage/devices", testDevices },
        { "/storage/parts", testParts },
        { "/storage/sweep", testSweep },
        { "/storage/kinds", testKinds },
    };

    g_test_init(&argc, &argv, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
        g_test_add(tests[i].path, fixture, NULL, setUp, tests[i].run, tearDown);
    return g_test_run();
}
