/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * Each guest has one log, which its VMM writes to as standard output and error.  Where virtlogd runs the VMM gets a pipe to
 * it and the log is rotated; otherwise it is a plain file, opened for appending.  Each start begins with a header, and what
 * the VMM says after that is quoted when it ends before it was ready.
 */
#include <config.h>

#include "driver/process_priv.h"

#include <sys/stat.h>
#include <unistd.h>

#include "driver/compat.h"
#include "virfile.h"
#include "virlog.h"
#include "virtime.h"
#include "virutil.h"

#include "configmake.h"

#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.log");

/* As much of the VMM's words as fits into an error message. */
#define LOG_TAIL_BYTES 1024
/* With what is not of use. */
#define LOG_READ_BYTES 16384
/* More than a command line and what a VMM says that ends at once. */
#define LOG_WORDS_BYTES 65536
/* Begins what is written at each start. */
#define LOG_HEADER ": starting domain "

char *
processLogPath(drvState *drv, const virDomainDef *def)
{
    return g_strdup_printf("%s/%s.log", drv->logDir, def->name);
}

/* @name is that of the log, or of one that virtlogd has turned over: the same with a dot and a number. */
static bool
processLogIsOneOf(const char *name, const char *log)
{
    const char *rest = STRSKIP(name, log);

    return rest && (!*rest || (rest[0] == '.' && rest[1] && strspn(rest + 1, "0123456789") == strlen(rest + 1)));
}

void
processLogRemove(drvState *drv, const virDomainDef *def)
{
    g_autofree char *log = g_strconcat(def->name, ".log", NULL);
    g_autoptr(GDir) dir = g_dir_open(drv->logDir, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(drv->logDir, name, NULL);

        if (processLogIsOneOf(name, log) && unlink(path) < 0 && errno != ENOENT)
            VIR_WARN("cannot remove the log '%s': %s, ignoring", path, g_strerror(errno));
    }
}

/* Only a virtlogd that is there: a client of it would start one. */
static bool
processLogdIsThere(drvState *drv)
{
    g_autofree char *path = NULL;

    if (drv->embedded)
        return false;
    if (drv->privileged) {
        path = g_strdup(RUNSTATEDIR "/libvirt/virtlogd-sock");
    } else {
        g_autofree char *runtime = virGetUserRuntimeDirectory();

        path = g_strdup_printf("%s/virtlogd-sock", runtime);
    }
    return virFileExists(path);
}

/* A call on the wire: the lock is dropped. False if it has to be a file. */
static bool
processLogOpenLogd(processStarting *start)
{
    virDomainObj *vm = start->vm;
    g_autofree char *name = g_strdup(vm->def->name);
    unsigned char uuid[VIR_UUID_BUFLEN];
    ino_t inode = 0;
    off_t offset = 0;

    memcpy(uuid, vm->def->uuid, sizeof(uuid));
    virObjectUnlock(vm);
    start->logd = virLogManagerNew(start->drv->privileged);
    if (start->logd)
        start->logFd = virLogManagerDomainOpenLogFile(start->logd, "stratovirt", uuid, name,
                                                      start->logPath, 0, &inode, &offset);
    if (start->logd && start->logFd < 0)
        g_clear_pointer(&start->logd, virLogManagerFree);
    virObjectLock(vm);
    if (!start->logd) {
        VIR_WARN("virtlogd does not serve domain '%s' (%s), its log is a plain file", name,
                 virGetLastErrorMessage());
        virResetLastError();
        return false;
    }
    start->logInode = inode;
    start->logOffset = offset;
    return true;
}

int
processLogOpen(processStarting *start)
{
    start->logPath = processLogPath(start->drv, start->vm->def);
    if (STREQ_NULLABLE(start->conf->stdioHandler, "logd") && processLogdIsThere(start->drv) &&
        processLogOpenLogd(start))
        return 0;
    start->logFd = open(start->logPath, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (start->logFd < 0) {
        virReportSystemError(errno, _("Cannot open the log '%1$s' of domain '%2$s'."),
                             start->logPath, start->vm->def->name);
        return -1;
    }
    return 0;
}

void
processLogHeader(processStarting *start, char *const *argv)
{
    const vmmInfo *vmm = start->priv->vmm;
    g_autofree char *now = virTimeStringNow();
    g_autoptr(GString) text = g_string_new(NULL);
    struct stat st;

    g_string_append_printf(text, "%s" LOG_HEADER "'%s' with id %d: %s %lu.%lu.%lu, driver %s\n",
                           now ? now : "", start->vm->def->name, start->vm->def->id,
                           vmm->traits->title, vmm->version / 1000000,
                           vmm->version / 1000 % 1000, vmm->version % 1000, SV_VERSION);
    for (size_t i = 0; argv[i]; i++) {
        g_autofree char *quoted = g_shell_quote(argv[i]);

        g_string_append_printf(text, "%s%s", i == 0 ? "" : argv[i][0] == '-' ? " \\\n" : " ",
                               quoted);
    }
    g_string_append_c(text, '\n');
    if (safewrite(start->logFd, text->str, text->len) < 0)
        VIR_WARN("cannot write to the log of domain '%s': %s", start->vm->def->name,
                 g_strerror(errno));
    if (start->logd)
        start->logOffset += text->len;
    else if (fstat(start->logFd, &st) == 0)
        start->logOffset = st.st_size;
}

/* Of @text, which is taken over and may be NULL, what is not only chatter. */
static char *
processLogReasons(virDomainObj *vm, char *text)
{
    const vmmInfo *vmm = DRV_DOMAIN(vm)->vmm;
    g_autofree char *all = text;
    g_auto(GStrv) lines = NULL;
    g_autoptr(GString) rest = g_string_new(NULL);

    if (!all || !vmm || !vmm->traits->logChatter)
        return g_steal_pointer(&all);
    lines = g_strsplit(all, "\n", -1);
    for (size_t i = 0; lines[i]; i++) {
        if (!strstr(lines[i], vmm->traits->logChatter))
            g_string_append_printf(rest, "%s\n", lines[i]);
    }
    return g_string_free(g_steal_pointer(&rest), FALSE);
}

static char *
processLogRead(processStarting *start)
{
    g_auto(baseFd) fd = -1;
    char buffer[LOG_READ_BYTES];
    gint64 from = start->logOffset;
    struct stat st;
    ssize_t got;

    if (start->logd)
        return virLogManagerDomainReadLogFile(start->logd, start->logPath, start->logInode,
                                              start->logOffset, LOG_READ_BYTES, 0);
    fd = open(start->logPath, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return NULL;
    from = MAX(from, st.st_size - LOG_READ_BYTES);
    got = pread(fd, buffer, LOG_READ_BYTES, from);
    return got > 0 ? g_strndup(buffer, got) : NULL;
}

char *
processLogTail(processStarting *start)
{
    virDomainObj *vm = start->vm;
    char *text = NULL;
    size_t len;

    if (!start->logPath)
        return g_strdup("");
    virObjectUnlock(vm);
    text = processLogRead(start);
    virObjectLock(vm);
    virResetLastError();
    text = processLogReasons(vm, text);
    if (!text)
        return g_strdup("");
    g_strchomp(text);
    len = strlen(text);
    if (len > LOG_TAIL_BYTES)
        memmove(text, text + len - LOG_TAIL_BYTES, LOG_TAIL_BYTES + 1);
    return text;
}

char *
processLogWords(virDomainObj *vm)
{
    g_autofree char *path = processLogPath(DRV_DOMAIN(vm)->drv, vm->def);
    g_auto(baseFd) fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    g_autofree char *buffer = g_malloc0(LOG_WORDS_BYTES + 1);
    struct stat st;
    const char *last;

    if (fd < 0 || fstat(fd, &st) < 0 || pread(fd, buffer, LOG_WORDS_BYTES, MAX(0, st.st_size - LOG_WORDS_BYTES)) < 0)
        return g_strdup("");
    last = g_strrstr(buffer, LOG_HEADER);
    return processLogReasons(vm, g_strdup(last ? last : buffer));
}

void
processLogClose(processStarting *start)
{
    baseFdReplace(&start->logFd, -1);
    g_clear_pointer(&start->logd, virLogManagerFree);
    g_clear_pointer(&start->logPath, g_free);
}
