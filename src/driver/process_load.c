/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* process_load.c: see process_load.h */
#include <config.h>

#include "driver/process_load.h"

#include "virlog.h"

#include "base/error.h"
#include "base/fault.h"
#include "base/fd.h"
#include "driver/compat.h"
#include "driver/process_priv.h"
#include "driver/report.h"
#include "remote/await.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.load");

/* A VMM reads its guest's memory before it looks at the state, no slower than this. */
#define LOAD_BYTES_PER_MS (32 * 1024)
/* A VMM that has closed its sockets ends within this time, if it ends. */
#define LOAD_LINGER_MS 2000

char *
processLoadParent(virDomainObj *vm)
{
    return g_path_get_dirname(DRV_DOMAIN(vm)->controlPath);
}

static unsigned
loadTimeout(virDomainObj *vm)
{
    g_autoptr(drvConf) conf = stateConf(DRV_DOMAIN(vm)->drv);
    guint64 ms = virDomainDefGetMemoryTotal(vm->def) * 1024 / LOAD_BYTES_PER_MS;

    return (unsigned)MIN(conf->startTimeoutMs + ms, G_MAXINT);
}

/* Why it has ended, in its own words if it has any. */
static int
loadDied(virDomainObj *vm, const GError *error)
{
    g_autofree char *words = NULL;
    const char *text;

    if (!processWaitEnd(vm, LOAD_LINGER_MS) || !virDomainObjIsActive(vm)) {
        virReportError(VIR_ERR_OPERATION_FAILED, "%s", error->message);
        return -1;
    }
    words = g_strchomp(processLogWords(vm));
    /* Behind the header and the command line. */
    text = strstr(words, "\n");
    while (text && (text[1] == '-' || g_str_has_prefix(text + 1, "'") || g_str_has_prefix(text + 1, "/")))
        text = strchr(text + 1, '\n');
    virReportError(VIR_ERR_OPERATION_FAILED, _("%1$s The log of domain '%2$s' says: %3$s"), error->message, vm->def->name,
                   text && text[1] ? text + 1 : _("nothing"));
    return -1;
}

int
processLoadOffer(virDomainObj *vm, snapshot *snap)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    guint64 incarnation = priv->incarnation;
    unsigned timeoutMs = loadTimeout(vm);
    g_autoptr(GError) error = NULL;
    g_autofree char *uri = NULL;
    g_auto(baseFd) pidfd = -1;
    bool ok;

    if (FAULT_ERROR(SNAPSHOT_LOAD, &error) || !(uri = snapshotIncoming(snap, priv->vmm ? priv->vmm->version : 0, &error)))
        return reportGError(g_steal_pointer(&error));
    if (processStartLater(vm, uri) < 0)
        return -1;
    pidfd = processWatchFd(vm);
    virObjectUnlock(vm);
    ok = snapshotOffer(snap, pidfd, timeoutMs, &error);
    virObjectLock(vm);
    if (!virDomainObjIsActive(vm) || priv->incarnation != incarnation) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("Domain '%1$s' ended meanwhile."), vm->def->name);
        return -1;
    }
    return ok ? 0 : loadDied(vm, error);
}

int
processLoadAhead(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    const vmmGuideOps *guide = priv->vmm ? priv->vmm->traits->guide : NULL;
    unsigned timeoutMs = loadTimeout(vm);
    g_autofree char *path = g_strdup(priv->controlPath);
    g_autoptr(GError) error = NULL;
    g_auto(baseFd) pidfd = processWatchFd(vm);
    g_auto(baseFd) fd = -1;

    if (!guide || !path) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("Domain '%1$s' ended meanwhile."), vm->def->name);
        return -1;
    }
    virObjectUnlock(vm);
    fd = awaitSocket(path, pidfd, timeoutMs, &error);
    if (fd >= 0)
        guide->stopAhead(fd, &error);
    virObjectLock(vm);
    return error ? reportGError(g_steal_pointer(&error)) : baseFdSteal(&fd);
}

static void
loadAwaitStopped(virDomainObj *vm, int aheadFd)
{
    const vmmGuideOps *guide = DRV_DOMAIN(vm)->vmm->traits->guide;
    unsigned timeoutMs = loadTimeout(vm);
    g_autoptr(GError) error = NULL;

    virObjectUnlock(vm);
    if (!guide->awaitStopped(aheadFd, timeoutMs, &error))
        VIR_DEBUG("not stopped ahead: %s", error->message);
    virObjectLock(vm);
}

processLoaded
processLoadRelease(virDomainObj *vm, snapshot *snap, int takenFd)
{
    g_auto(baseFd) aheadFd = takenFd;
    g_autoptr(GError) error = NULL;
    bool ended;

    if (!virDomainObjIsActive(vm) || !DRV_DOMAIN(vm)->vmm) {
        virReportError(VIR_ERR_OPERATION_FAILED, _("Domain '%1$s' ended meanwhile."), vm->def->name);
        return PROCESS_LOAD_NEVER_RAN;
    }
    if (!snapshotRelease(snap, &error)) {
        reportGError(g_steal_pointer(&error));
        return PROCESS_LOAD_NEVER_RAN;
    }
    if (aheadFd >= 0)
        loadAwaitStopped(vm, aheadFd);
    /* One client at a time. */
    baseFdReplace(&aheadFd, -1);
    if (processOpenControl(vm, loadTimeout(vm)) == 0)
        return PROCESS_LOAD_RUNS;
    ended = !virDomainObjIsActive(vm) || processWaitEnd(vm, LOAD_LINGER_MS);
    if (!virDomainObjIsActive(vm) || !ended)
        return PROCESS_LOAD_UNKNOWN;
    if (snapshotIsTaken(snap) && !processNeverRan(vm))
        return PROCESS_LOAD_UNKNOWN;
    error = g_error_new_literal(BASE_ERROR, BASE_ERROR_MONITOR_CLOSED, _("The VMM could not start the guest that it was given."));
    loadDied(vm, error);
    return PROCESS_LOAD_NEVER_RAN;
}
