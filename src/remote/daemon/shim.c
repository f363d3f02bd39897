/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * shim.c: libvirt_driver_<slot>.so, by which the distribution's own libvirtd loads our driver
 *
 * Theory of operation
 *
 * The names of the modules that libvirtd loads are compiled into it, and ours is not among them.
 * This file stands in the place of one of them (SHIM_SLOT, by default vbox), exports that module's
 * register function, and behind it loads two modules: the real one of that name when it is
 * installed, so that nothing is lost, and then ours.
 *
 * The daemon takes a negative result of a register function as a reason to end.  Whatever is wrong
 * with our module (it is missing, was built for another libvirt, has no register function, fails to
 * register) must therefore never reach the daemon: it costs one line in the log and nothing else.
 * The real module's result is passed on as it is: that is what the daemon would see without us.
 *
 * The shim uses no symbol of libvirt, so that a new libvirt needs no new shim.
 *
 * Where the modules are looked for:
 * - the real one: in the standard folder, under its name or, when dpkg-divert moved it, with
 *   ".distrib" behind it;
 * - ours: beside the shim as the daemon named it, beside the file that this name leads to, in the
 *   standard folder.
 */
#include <dlfcn.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define SHIM_STRING_(x) #x
#define SHIM_STRING(x) SHIM_STRING_(x)
#define SHIM_OURS "libvirt_driver_stratovirt.so"

typedef int (*shimRegisterFunc)(void);

__attribute__((visibility("default"))) int SHIM_REGISTER(void);

/* One line.  Under systemd stderr is the journal, else it may lead nowhere: syslog gets it too. */
static void
shimLog(const char *path, const char *what, const char *why)
{
    static const char ours[] = "libvirt-driver-stratovirt";

    fprintf(stderr, "%s: module '%s' %s: %s\n", ours, path, what, why);
    if (!getenv("JOURNAL_STREAM"))
        syslog(LOG_DAEMON | LOG_WARNING, "%s: module '%s' %s: %s", ours, path, what, why);
}

static shimRegisterFunc
shimLoad(const char *path, const char *symbol, int scope)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_NODELETE | scope);
    void *address;
    shimRegisterFunc func = NULL;

    if (!module) {
        shimLog(path, "was not loaded", dlerror());
        return NULL;
    }
    address = dlsym(module, symbol);
    if (!address) {
        shimLog(path, "was not used", dlerror());
        return NULL;
    }
    /* ISO C has no cast from object to function pointer. */
    memcpy(&func, &address, sizeof(func));
    return func;
}

static bool
shimIsSameFile(const char *a, const char *b)
{
    struct stat sa;
    struct stat sb;

    return stat(a, &sa) == 0 && stat(b, &sb) == 0 &&
           sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* The module that would be here if the shim were not; 0 when there is none. */
static int
shimRegisterReal(const char *self)
{
    static const char *const paths[] = {
        SHIM_MODULE_DIR "/libvirt_driver_" SHIM_SLOT ".so.distrib",
        SHIM_MODULE_DIR "/libvirt_driver_" SHIM_SLOT ".so",
    };
    size_t i;

    for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        shimRegisterFunc func;

        if (access(paths[i], F_OK) < 0 || shimIsSameFile(paths[i], self))
            continue;
        func = shimLoad(paths[i], SHIM_STRING(SHIM_REGISTER), RTLD_GLOBAL);
        return func ? func() : 0;
    }
    return 0;
}

/* Puts "FOLDER OF file/our module" into @path; false if there is no such file. */
static bool
shimBeside(const char *file, char *path, size_t size)
{
    const char *slash = strrchr(file, '/');
    int dirlen = slash ? (int)(slash - file) : 1;
    int len = snprintf(path, size, "%.*s/" SHIM_OURS, dirlen, slash ? file : ".");

    return len > 0 && (size_t)len < size && access(path, F_OK) == 0;
}

static void
shimRegisterOurs(const char *named, const char *self)
{
    char path[PATH_MAX];
    shimRegisterFunc func;

    if (!shimBeside(named, path, sizeof(path)) &&
        !shimBeside(self, path, sizeof(path)) &&
        !shimBeside(SHIM_MODULE_DIR "/", path, sizeof(path))) {
        shimLog(SHIM_MODULE_DIR "/" SHIM_OURS, "was not loaded", "there is no such file");
        return;
    }
    func = shimLoad(path, "stratovirtRegister", RTLD_LOCAL);
    if (func && func() < 0)
        shimLog(path, "was not used", "stratovirtRegister() failed");
}

/*
 * What the daemon calls when it starts, before any connection.
 * Returns the real module's result, or 0.
 */
int
SHIM_REGISTER(void)
{
    Dl_info info;
    char self[PATH_MAX];
    int ret;

    if (!dladdr(&shimLog, &info) || !info.dli_fname || !realpath(info.dli_fname, self)) {
        shimLog("libvirt_driver_" SHIM_SLOT ".so", "was not used", "its own path is not known");
        return 0;
    }
    ret = shimRegisterReal(self);
    if (ret < 0)
        return ret;
    shimRegisterOurs(info.dli_fname, self);
    return 0;
}
