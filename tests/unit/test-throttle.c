/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-throttle.c: a guest's processors slowed down by control groups of version 1, version 2 and both at once
 *
 * Theory of operation: libvirt finds the host's groups by files of /proc and makes groups by mkdir().  Here these are this program's own
 * (fopen(), access(), mkdir(), rmdir() below), and lead to a folder in which a new group has the files that a kernel gives it.  What a kernel makes
 * of what is written there is not shown, apart from the period that it puts behind a quota.
 */
#include "../golden/driver-fixture.h"

#include <dlfcn.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virdomainobjlist.h"
#include "vircgroup.h"

#include "driver/throttle.h"

#define OVERRIDE __attribute__((visibility("default")))
#define NAME "stratovirt-4711-guest.libvirt-stratovirt"

/* ---- the host that libvirt sees ------------------------------------------------------------------------------- */

static struct {
    char *root;                  /* NULL: the real one */
    const char *controllers;     /* of a new group of version 2 */
    const char *lacks;           /* a group of this name has no file that threads could be written to */
} fake;

static char *
fakePath(const char *path)
{
    static const char *const files[] = { "/proc/mounts", "/proc/cgroups", "/proc/self/cgroup", "/proc/4711/cgroup" };

    for (size_t i = 0; fake.root && i < G_N_ELEMENTS(files); i++) {
        if (g_str_equal(path, files[i])) {
            g_autofree char *name = g_strdelimit(g_strdup(path + 1), "/", '-');

            return g_build_filename(fake.root, name, NULL);
        }
    }
    return g_strdup(path);
}

/* With files of 64 bits this is fopen64(), which is libvirt's. */
OVERRIDE FILE *
fopen(const char *path, const char *mode)
{
    FILE *(*real)(const char *, const char *) = (FILE *(*)(const char *, const char *))dlsym(RTLD_NEXT, "fopen64");
    g_autofree char *other = fakePath(path);

    return real(other, mode);
}

OVERRIDE int
access(const char *path, int mode)
{
    int (*real)(const char *, int) = (int (*)(const char *, int))dlsym(RTLD_NEXT, "access");
    g_autofree char *other = fakePath(path);

    return real(other, mode);
}

static void
put(const char *folder, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);

    /* Nothing of it has to outlive this program; GLib that is not new does not cut what is there. */
    g_unlink(path);
    g_assert_true(g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_NONE, 0644, NULL));
}

static const struct { const char *name, *text; } groupFiles[] = {
    { "cgroup.controllers", NULL }, { "cgroup.subtree_control", "" }, { "cgroup.procs", "" }, { "cgroup.threads", "" },
    { "cgroup.type", "domain" }, { "tasks", "" }, { "cpu.max", "max 100000" },
    { "cpu.cfs_quota_us", "-1" }, { "cpu.cfs_period_us", "100000" },
    { "cpuset.cpus", "0" }, { "cpuset.mems", "0" }, { "cpuset.memory_migrate", "0" },
};

static void
populate(const char *folder, const char *controllers)
{
    bool lacks = fake.lacks && strstr(folder, fake.lacks);

    for (size_t i = 0; i < G_N_ELEMENTS(groupFiles); i++) {
        if (!lacks || (!g_str_equal(groupFiles[i].name, "cgroup.threads") && !g_str_equal(groupFiles[i].name, "tasks")))
            put(folder, groupFiles[i].name, groupFiles[i].text ? groupFiles[i].text : controllers);
    }
}

OVERRIDE int
mkdir(const char *path, mode_t mode)
{
    int (*real)(const char *, mode_t) = (int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir");
    int ret = real(path, mode);

    if (ret == 0 && fake.root && g_str_has_prefix(path, fake.root))
        populate(path, fake.controllers);
    return ret;
}

OVERRIDE int
rmdir(const char *path)
{
    int (*real)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "rmdir");

    for (size_t i = 0; fake.root && g_str_has_prefix(path, fake.root) && i < G_N_ELEMENTS(groupFiles); i++) {
        g_autofree char *file = g_build_filename(path, groupFiles[i].name, NULL);

        unlink(file);
    }
    return real(path);
}

/* ---- layouts -------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *mounts;          /* lines, '@' is the folder of groups */
    const char *self;            /* of /proc/self/cgroup */
    const char *cpu;             /* the folder of the hierarchy with the processor's controller */
    const char *group;           /* that the VMM's process is in, '%s' is its name */
    const char *limit;           /* the file that has the limit */
    const char *none;            /* what it says without one */
    const char *threads;
} layout;

#define V1_MOUNTS "cgroup @/cpu cgroup rw,cpu 0 0\ncgroup @/cpuacct cgroup rw,cpuacct 0 0\ncgroup @/cpuset cgroup rw,cpuset 0 0\n"
#define V1_GROUP "3:cpuset:/machine/%s\n2:cpuacct:/machine/%s\n1:cpu:/machine/%s\n"

static const layout version1 = {
    V1_MOUNTS, "3:cpuset:/\n2:cpuacct:/\n1:cpu:/\n", "cpu", V1_GROUP, "cpu.cfs_quota_us", "-1", "tasks",
};
static const layout version2 = {
    "cgroup2 @ cgroup2 rw 0 0\n", "0::/system.slice/daemon.service\n", "", "0::/machine/%s\n", "cpu.max", "max", "cgroup.threads",
};
/* Systemd's own groups are of version 2, without controllers. */
static const layout hybrid = {
    V1_MOUNTS "cgroup2 @/unified cgroup2 rw 0 0\n", "3:cpuset:/\n2:cpuacct:/\n1:cpu:/\n0::/system.slice/daemon.service\n", "cpu",
    V1_GROUP "0::/system.slice/daemon.service\n", "cpu.cfs_quota_us", "-1", "tasks",
};

typedef struct {
    const layout *l;
    drvState *drv;
    virDomainObjList *list;
    virDomainObj *vm;
    char *groups;
} world;

static void
makeFolder(world *w, const char *folder, const char *controllers)
{
    g_autofree char *path = g_build_filename(w->groups, folder, NULL);

    g_mkdir_with_parents(path, 0755);
    populate(path, controllers);
}

static void
setProc(const char *name, const char *text)
{
    put(fake.root, name, text);
}

static void
makeHost(world *w, const layout *l)
{
    g_auto(GStrv) parts = g_strsplit(l->mounts, "@", -1);
    g_autofree char *mounts = NULL;

    w->l = l;
    fake.root = g_dir_make_tmp("throttle-XXXXXX", NULL);
    fake.controllers = "cpuset cpu\n";
    fake.lacks = NULL;
    w->groups = g_build_filename(fake.root, "groups", NULL);
    mounts = g_strjoinv(w->groups, parts);
    setProc("proc-mounts", mounts);
    setProc("proc-self-cgroup", l->self);
    setProc("proc-cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\n");
    makeFolder(w, "", "cpuset cpu memory\n");
    /* A service has the controllers that it has asked for. */
    makeFolder(w, "system.slice/daemon.service", "memory pids\n");
    makeFolder(w, "unified", "");
    makeFolder(w, "unified/system.slice/daemon.service", "");
    for (size_t i = 0; i < 3; i++)
        makeFolder(w, (const char *[]) { "cpu", "cpuacct", "cpuset" }[i], "");
}

static const char status[] =
    "<domstatus state='running' reason='booted' pid='4711'>"
    "<vmm name='stratovirt' binary='/opt/vmm/stratovirt' version='2005000'/>"
    "<control path='/none/control.sock'/><vcpus><vcpu pid='101'/><vcpu pid='102'/></vcpus>"
    "<domain type='kvm' id='3'><name>guest</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid><memory unit='KiB'>262144</memory>"
    "<vcpu placement='static'>2</vcpu><os><type arch='x86_64' machine='q35'>hvm</type><kernel>/boot/vmlinuz</kernel></os>"
    "<devices><emulator>/opt/vmm/stratovirt</emulator></devices></domain></domstatus>";

static void
setUp(world *w, gconstpointer data)
{
    memset(w, 0, sizeof(*w));
    makeHost(w, data);
    w->drv = fixtureNew();
    w->drv->privileged = true;
    w->drv->stateDir = g_build_filename(fake.root, "state", NULL);
    g_mkdir_with_parents(w->drv->stateDir, 0755);
    put(w->drv->stateDir, "guest.xml", status);
    w->list = virDomainObjListNew();
    g_assert_cmpint(virDomainObjListLoadAllConfigs(w->list, w->drv->stateDir, NULL, true, w->drv->xmlopt, NULL, NULL), ==, 0);
    w->vm = virDomainObjListFindByName(w->list, "guest");
    if (!w->vm)
        g_error("%s", virGetLastErrorMessage());
    g_assert_cmpuint(DRV_DOMAIN(w->vm)->nvcpuPids, ==, 2);
}

static void
removeAll(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);

        if (g_file_test(path, G_FILE_TEST_IS_DIR))
            removeAll(path);
        else
            g_unlink(path);
    }
    g_rmdir(folder);
}

static void
tearDown(world *w, gconstpointer data G_GNUC_UNUSED)
{
    virDomainObjEndAPI(&w->vm);
    virObjectUnref(w->list);
    g_free(w->drv->stateDir);
    fixtureFree(w->drv);
    removeAll(fake.root);
    g_clear_pointer(&fake.root, g_free);
    g_free(w->groups);
}

/* ---- what is seen --------------------------------------------------------------------------------------------- */

static char *
pathOf(world *w, const char *folder, const char *file)
{
    return g_build_filename(w->groups, w->l->cpu, "machine", NAME, folder, file, NULL);
}

static void
check(world *w, const char *folder, const char *file, const char *wanted)
{
    g_autofree char *path = pathOf(w, folder, file);
    g_autofree char *text = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        g_error("there is no '%s'", path);
    g_assert_cmpstr(text, ==, wanted);
}

/* The kernel's part: the quota that was written, and the period behind it. */
static void
checkLimits(world *w, const char *wanted)
{
    for (size_t i = 0; i < 2; i++) {
        g_autofree char *folder = g_strdup_printf("vcpu%zu", i);
        g_autofree char *path = pathOf(w, folder, "cpu.max");
        g_autofree char *both = g_strdup_printf("%s 100000", wanted);

        check(w, folder, w->l->limit, wanted);
        g_unlink(path);
        g_assert_true(g_file_set_contents_full(path, both, -1, G_FILE_SET_CONTENTS_NONE, 0644, NULL));
    }
}

static bool
groupIsThere(world *w)
{
    g_autofree char *path = pathOf(w, "", "");

    return g_file_test(path, G_FILE_TEST_IS_DIR);
}

static void
noError(int ret)
{
    if (ret < 0)
        g_error("%s", virGetLastErrorMessage());
}

static void
slowDown(world *w)
{
    noError(throttleSet(w->vm, 20));
    check(w, "", "cgroup.procs", w->l == &version2 ? "4711" : "");
    check(w, "", "tasks", w->l == &version2 ? "" : "4711");
    check(w, "vcpu0", w->l->threads, "101");
    check(w, "vcpu1", w->l->threads, "102");
    checkLimits(w, "80000");
    g_assert_cmpuint(DRV_DOMAIN(w->vm)->throttlePercent, ==, 20);
}

/* ---- tests ---------------------------------------------------------------------------------------------------- */

/* Slower, slower still, and as before; the groups go with the VMM. */
static void
testSlower(world *w, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *why = throttleTrouble(w->vm);

    g_assert_cmpstr(why, ==, NULL);
    slowDown(w);
    noError(throttleSet(w->vm, 99));
    checkLimits(w, "1000");
    if (w->l == &version2)
        check(w, "vcpu1", "cgroup.type", "threaded");
    noError(throttleSet(w->vm, 0));
    checkLimits(w, w->l->none);
    g_assert_cmpuint(DRV_DOMAIN(w->vm)->throttlePercent, ==, 0);
    throttleEnd(w->vm);
    g_assert_false(groupIsThere(w));
    g_assert_false(DRV_DOMAIN(w->vm)->ownGroup);
}

static void
forget(world *w)
{
    drvDomain *priv = DRV_DOMAIN(w->vm);

    virCgroupFree(priv->cgroup);
    priv->cgroup = NULL;
    priv->throttlePercent = 0;
}

/* A daemon that was killed left a limit: the next one finds the group by the VMM's process. */
static void
testReconnect(world *w, gconstpointer data G_GNUC_UNUSED)
{
    g_auto(GStrv) parts = g_strsplit(w->l->group, "%s", -1);
    g_autofree char *group = g_strjoinv(NAME, parts);

    slowDown(w);
    forget(w);
    setProc("proc-4711-cgroup", group);
    throttleReconnect(w->vm);
    g_assert_nonnull(DRV_DOMAIN(w->vm)->cgroup);
    checkLimits(w, w->l->none);
    throttleEnd(w->vm);
    g_assert_false(groupIsThere(w));
}

/* The VMM ended while no daemon was there. */
static void
testSweep(world *w, gconstpointer data G_GNUC_UNUSED)
{
    slowDown(w);
    forget(w);
    throttleEnd(w->vm);
    g_assert_false(groupIsThere(w));
}

/* One of the threads cannot be had: no other is slowed down either. */
static void
testHalf(world *w, gconstpointer data G_GNUC_UNUSED)
{
    fake.lacks = "vcpu1";
    g_assert_cmpint(throttleSet(w->vm, 30), ==, -1);
    g_assert_nonnull(virGetLastError());
    virResetLastError();
    check(w, "vcpu0", w->l->limit, w->l->none);
    g_assert_cmpuint(DRV_DOMAIN(w->vm)->throttlePercent, ==, 0);
    fake.lacks = NULL;
    throttleEnd(w->vm);
    g_assert_false(groupIsThere(w));
}

static void
expectTrouble(world *w, const char *wanted)
{
    g_autofree char *why = throttleTrouble(w->vm);

    if (!why || !strstr(why, wanted))
        g_error("'%s' does not say '%s'", why, wanted);
    g_assert_null(virGetLastError());
}

/* What stands in the way, in half a sentence. */
static void
testTrouble(world *w, gconstpointer data G_GNUC_UNUSED)
{
    drvDomain *priv = DRV_DOMAIN(w->vm);
    g_autofree char *cpu = g_build_filename(w->groups, w->l->cpu, NULL);

    priv->nvcpuPids = 0;
    expectTrouble(w, "threads of its processors");
    priv->nvcpuPids = 2;
    w->drv->privileged = false;
    expectTrouble(w, "system's daemon");
    w->drv->privileged = true;
    if (w->l == &version2)
        put(w->groups, "cgroup.controllers", "memory pids\n");
    else
        removeAll(cpu);
    expectTrouble(w, "no controller 'cpu'");
    setProc("proc-mounts", "");
    expectTrouble(w, "no control groups");
}

int
main(int argc, char **argv)
{
    static const struct { const char *name; const layout *l; } layouts[] = { { "v1", &version1 }, { "v2", &version2 }, { "hybrid", &hybrid } };

    g_test_init(&argc, &argv, NULL);
    g_assert_cmpint(virErrorInitialize(), ==, 0);
    virSetErrorFunc(NULL, NULL);
    /* Where systemd is it must not hear of this. */
    g_setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/none/such/bus", TRUE);
    for (size_t i = 0; i < G_N_ELEMENTS(layouts); i++) {
#define ADD(test, function) do { \
        g_autofree char *path = g_strdup_printf("/throttle/%s/" test, layouts[i].name); \
        g_test_add(path, world, layouts[i].l, setUp, function, tearDown); \
    } while (0)
        ADD("slower", testSlower);
        ADD("reconnect", testReconnect);
        ADD("sweep", testSweep);
        ADD("half", testHalf);
        ADD("trouble", testTrouble);
    }
    return g_test_run();
}
