/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * process_nvram.c: what a firmware remembers: a file that is made of a template before the first start
 *
 * It is written beside its place and put there whole, and never over one that is there: a start that is cut short leaves either nothing or all of it.
 */
#include <config.h>

#include "driver/process_priv.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "virfile.h"
#include "virlog.h"

#include "driver/compat.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.nvram");

#define NVRAM_BLOCK (64 * 1024)

typedef struct {
    char *path, *template, *domain;
    uid_t uid;                   /* whose it is; -1: the daemon's */
    gid_t gid;
} nvramWork;

static void
nvramWorkClear(nvramWork *work)
{
    g_free(work->path);
    g_free(work->template);
    g_free(work->domain);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(nvramWork, nvramWorkClear)

static int
nvramFail(const nvramWork *work, int error)
{
    virReportSystemError(error, _("The file '%1$s' for the firmware of domain '%2$s' cannot be made of '%3$s'"), work->path,
                         work->domain, work->template);
    return -1;
}

/* 0, or -1 with errno set. */
static int
nvramCopyBytes(int from, int to)
{
    g_autofree char *block = g_malloc(NVRAM_BLOCK);
    ssize_t got;

    while ((got = saferead(from, block, NVRAM_BLOCK)) > 0) {
        if (safewrite(to, block, (size_t)got) != got)
            return -1;
    }
    return got < 0 ? -1 : fsync(to);
}

static int
nvramWrite(const nvramWork *work, int to, const char *temporary)
{
    g_auto(baseFd) from = open(work->template, O_RDONLY | O_CLOEXEC);

    if (from < 0 || nvramCopyBytes(from, to) < 0 || fchown(to, work->uid, work->gid) < 0)
        return nvramFail(work, errno);
    /* Somebody else may have made it meanwhile: then that one counts. */
    if (link(temporary, work->path) < 0 && errno != EEXIST &&
        (virFileExists(work->path) || rename(temporary, work->path) < 0))
        return nvramFail(work, errno);
    VIR_INFO("domain '%s': '%s' was made of '%s'", work->domain, work->path, work->template);
    return 0;
}

static int
nvramMake(const nvramWork *work)
{
    g_autofree char *folder = g_path_get_dirname(work->path);
    g_autofree char *temporary = g_strdup_printf("%s.new-XXXXXX", work->path);
    g_auto(baseFd) to = -1;
    int ret;

    if (virFileExists(work->path))
        return 0;
    if (!work->template) {
        virReportError(VIR_ERR_OPERATION_FAILED,
                       _("Cannot start domain '%1$s': its <nvram> '%2$s' is not there, and it names no template to make it of"),
                       work->domain, work->path);
        return -1;
    }
    /* The VMM must be able to go through it. */
    if (g_mkdir_with_parents(folder, 0711) < 0 || (to = g_mkstemp_full(temporary, O_RDWR | O_CLOEXEC, 0600)) < 0)
        return nvramFail(work, errno);
    ret = nvramWrite(work, to, temporary);
    unlink(temporary);
    return ret;
}

int
processNvramPrepare(processStarting *start)
{
    virDomainObj *vm = start->vm;
    const virDomainLoaderDef *loader = vm->def->os.loader;
    g_auto(nvramWork) work = { 0 };
    int ret;

    if (!loader || !loader->path || !loader->nvram || !loader->nvram->path)
        return 0;
    if (processIdentity(start, &work.uid, &work.gid) < 0)
        return -1;
    work.path = g_strdup(loader->nvram->path);
    work.template = g_strdup(loader->nvramTemplate);
    work.domain = g_strdup(vm->def->name);
    virObjectUnlock(vm);
    ret = nvramMake(&work);
    virObjectLock(vm);
    return ret;
}
