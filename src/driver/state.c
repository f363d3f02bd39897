/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * One drvState serves one daemon, or one embedding process.  stateInitialize() runs in the daemon's start-up, next to other
 * drivers that must not suffer from us: whatever goes wrong leaves this driver inactive, with the reason kept for those
 * who open a connection, and the daemon goes on.  Embedded, the opener is right there and gets the error.
 *
 * Folders are owned through a lock on a pidfile in the state folder, because the distribution's libvirtd and
 * virtstratovirtd may both be running.  Guests outlive all of this: nothing here ends a VMM.
 */
#include <config.h>

#include "driver/state.h"

#include "configmake.h"
#include "domain_driver.h"
#include "domain_event.h"
#include "virclosecallbacks.h"
#include "virfile.h"
#include "virlog.h"
#include "virpidfile.h"
#include "virutil.h"

#include "driver/caps.h"
#include "driver/compat.h"
#include "driver/domain.h"
#include "driver/event.h"
#include "driver/mig.h"
#include "driver/process.h"
#include "driver/report.h"
#include "driver/save.h"
#include "base/thread.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.state");

/* Event work waits for a guest's lock, never for the wire: a few threads serve many guests. */
#define STATE_WORKERS 8

static drvState *theState;     /* NULL while the driver is not active */
static char *inactiveWhy;      /* and then why; NULL before stateInitialize() */

/* ---- folders and configuration ------------------------------------------------------------------ */

static char *
stateConfPath(const drvState *drv)
{
    g_autofree char *userDir = NULL;

    if (drv->embedded)
        return g_build_filename(drv->embeddedRoot, "etc", "stratovirt.conf", NULL);
    if (drv->privileged)
        return g_strdup(SYSCONFDIR "/libvirt/stratovirt.conf");
    userDir = virGetUserConfigDirectory();
    return g_build_filename(userDir, "stratovirt.conf", NULL);
}

static void
stateSetFolders(drvState *drv)
{
    g_autofree char *config = NULL;
    g_autofree char *cache = NULL;
    g_autofree char *run = NULL;

    if (drv->embedded) {
        drv->configDir = g_build_filename(drv->embeddedRoot, "etc", "stratovirt", NULL);
        drv->stateDir = g_build_filename(drv->embeddedRoot, "run", "stratovirt", NULL);
        drv->libDir = g_build_filename(drv->embeddedRoot, "lib", "stratovirt", NULL);
        drv->cacheDir = g_build_filename(drv->embeddedRoot, "cache", "stratovirt", NULL);
        drv->logDir = g_build_filename(drv->embeddedRoot, "log", "stratovirt", NULL);
    } else if (drv->privileged) {
        drv->configDir = g_strdup(SYSCONFDIR "/libvirt/stratovirt");
        drv->stateDir = g_strdup(RUNSTATEDIR "/libvirt/stratovirt");
        drv->libDir = g_strdup(LOCALSTATEDIR "/lib/libvirt/stratovirt");
        drv->cacheDir = g_strdup(LOCALSTATEDIR "/cache/libvirt/stratovirt");
        drv->logDir = g_strdup(LOCALSTATEDIR "/log/libvirt/stratovirt");
    } else {
        config = virGetUserConfigDirectory();
        cache = virGetUserCacheDirectory();
        run = virGetUserRuntimeDirectory();
        drv->configDir = g_build_filename(config, "stratovirt", NULL);
        drv->stateDir = g_build_filename(run, "stratovirt", "run", NULL);
        drv->libDir = g_build_filename(config, "stratovirt", "lib", NULL);
        drv->cacheDir = g_build_filename(cache, "stratovirt", "cache", NULL);
        drv->logDir = g_build_filename(cache, "stratovirt", "log", NULL);
    }
    drv->autostartDir = g_build_filename(drv->configDir, "autostart", NULL);
    /* As with libvirt's own drivers: one folder for system and session, and none for those who embed the driver. */
    drv->hookDir = drv->embedded ? NULL : g_strdup(SYSCONFDIR "/libvirt/hooks");
}

static int
stateMakeFolders(const drvState *drv)
{
    /* A VMM of another user must get through libDir to its own folder there, and no further. */
    const struct { const char *path; mode_t mode; } folders[] = {
        { drv->configDir, 0700 },
        { drv->autostartDir, 0700 },
        { drv->stateDir, 0755 },
        { drv->libDir, 0711 },
        { drv->cacheDir, 0711 },
        { drv->logDir, 0700 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(folders); i++) {
        if (g_mkdir_with_parents(folders[i].path, folders[i].mode) < 0) {
            virReportSystemError(errno, _("Cannot make the folder '%1$s'"), folders[i].path);
            return -1;
        }
    }
    return 0;
}

static int
stateLock(drvState *drv)
{
    drv->instanceLockFd = compatPidFileAcquire(drv->stateDir, "driver");
    if (drv->instanceLockFd < 0) {
        g_autofree char *why = g_strdup(virGetLastErrorMessage());

        virReportError(VIR_ERR_OPERATION_INVALID,
                       _("Another process serves the StratoVirt guests in '%1$s': end it, or connect to it (%2$s)"),
                       drv->stateDir, why);
        return -1;
    }
    return 0;
}

static int
stateSetHostUuid(drvState *drv)
{
    if (drv->conf->hostUuid)
        return virUUIDParse(drv->conf->hostUuid, drv->hostUuid);
    return virGetHostUUID(drv->hostUuid);
}

/* ---- parts ---------------------------------------------------------------------------------------- */

static gpointer
stateIoThread(gpointer opaque)
{
    drvState *drv = opaque;

    g_main_context_push_thread_default(drv->ioContext);
    g_main_loop_run(drv->ioLoop);
    g_main_context_pop_thread_default(drv->ioContext);
    return NULL;
}

static int
stateStartIo(drvState *drv)
{
    g_autoptr(GError) error = NULL;

    drv->ioContext = g_main_context_new();
    drv->ioLoop = g_main_loop_new(drv->ioContext, FALSE);
    drv->listen = listenerNew(drv->ioContext);
    drv->ioThread = baseThreadNew("stratovirt-io", stateIoThread, drv, &error);
    if (drv->ioThread)
        return 0;
    g_prefix_error(&error, _("The driver for StratoVirt cannot serve its guests: "));
    return reportGError(g_steal_pointer(&error));
}

static gboolean
stateQuitLoop(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

static void
stateStopIo(drvState *drv)
{
    if (!drv->ioLoop)
        return;
    if (drv->ioThread) {
        /* Through the context, so that it also ends a loop that has not begun to run. */
        g_main_context_invoke(drv->ioContext, stateQuitLoop, drv->ioLoop);
        g_thread_join(drv->ioThread);
    }
    g_main_loop_unref(drv->ioLoop);
    g_main_context_unref(drv->ioContext);
}

static int
stateMakeXmlopt(drvState *drv)
{
    /* Both are copied by value into the new object. */
    virDomainDefParserConfig config = domainParserConfigTemplate;

    config.priv = drv;
    drv->xmlopt = virDomainXMLOptionNew(&config, &domainPrivateDataCallbacks, &domainXmlNamespace,
                                        NULL, NULL, &migJobObjConfig);
    if (!drv->xmlopt)
        return -1;
    virDomainXMLOptionSetCloseCallbackAlloc(drv->xmlopt, virCloseCallbacksDomainAlloc);
    return 0;
}

static int
stateMakeParts(drvState *drv)
{
    g_autoptr(virIdentity) identity = virIdentityGetCurrent();

    if (!(drv->domains = virDomainObjListNew()) ||
        !(drv->events = virObjectEventStateNew()) ||
        stateMakeXmlopt(drv) < 0 ||
        stateStartIo(drv) < 0)
        return -1;
    drv->workers = virThreadPoolNewFull(0, STATE_WORKERS, 0, eventWorker, "stratovirt-event", identity, drv);
    return drv->workers ? 0 : -1;
}

static int
stateNoteOneId(virDomainObj *vm, void *opaque)
{
    virObjectLock(vm);
    if (vm->def->id > 0)
        stateNoteId(opaque, vm->def->id);
    virObjectUnlock(vm);
    return 0;
}

static int
stateLoadDomains(drvState *drv)
{
    /* Guests that run first: their ids must be known before anything is started. */
    if (virDomainObjListLoadAllConfigs(drv->domains, drv->stateDir, NULL, true, drv->xmlopt, NULL, NULL) < 0)
        return -1;
    virDomainObjListForEach(drv->domains, false, stateNoteOneId, drv);
    if (virDomainObjListLoadAllConfigs(drv->domains, drv->configDir, drv->autostartDir, false,
                                       drv->xmlopt, NULL, NULL) < 0)
        return -1;
    saveManagedFindAll(drv);
    return 0;
}

static void
stateAutostart(drvState *drv)
{
    bool first = false;

    /* An embedding process comes and goes many times a boot, and who runs it starts what is wanted. */
    if (drv->embedded)
        return;
    if (virDriverShouldAutostart(drv->stateDir, &first) < 0) {
        VIR_WARN("Cannot tell whether guests have been started since boot, starting none: %s",
                 virGetLastErrorMessage());
        virResetLastError();
        return;
    }
    if (first)
        processAutostartAll(drv);
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void
stateFree(drvState *drv)
{
    if (!drv)
        return;
    /* No more work is done, but the I/O thread may offer some to its end. */
    if (drv->workers)
        virThreadPoolDrain(drv->workers);
    processReconnectWait();
    migEnvStop(drv);
    /* The last reference to a guest closes its control socket, which needs the I/O thread. */
    virObjectUnref(drv->domains);
    listenerFree(drv->listen);
    stateStopIo(drv);
    migEnvFree(drv);
    virThreadPoolFree(drv->workers);
    virObjectUnref(drv->events);
    virObjectUnref(drv->xmlopt);
    virObjectUnref(drv->caps);
    if (drv->instanceLockFd >= 0)
        virPidFileRelease(drv->stateDir, "driver", drv->instanceLockFd);
    drvConfUnref(drv->conf);
    g_free(drv->embeddedRoot);
    g_free(drv->configDir);
    g_free(drv->autostartDir);
    g_free(drv->stateDir);
    g_free(drv->libDir);
    g_free(drv->cacheDir);
    g_free(drv->logDir);
    g_free(drv->hookDir);
    virMutexDestroy(&drv->lock);
    g_free(drv);
}

static drvState *
stateNew(bool privileged, const char *root, virStateInhibitCallback callback, void *opaque)
{
    drvState *drv = g_new0(drvState, 1);

    drv->privileged = privileged;
    drv->embedded = root != NULL;
    drv->embeddedRoot = g_strdup(root);
    drv->inhibit = callback;
    drv->inhibitOpaque = opaque;
    drv->instanceLockFd = -1;
    drv->probe = vmmProbe;
    if (virMutexInit(&drv->lock) < 0)
        abort();   /* out of memory for a few words */
    stateSetFolders(drv);
    return drv;
}

static int
stateFill(drvState *drv)
{
    g_autofree char *path = stateConfPath(drv);

    if (!(drv->conf = drvConfLoad(path, drv->privileged)))
        return -1;
    vmmSetRepaired((const char *const *)drv->conf->repairedVmms);
    if (stateMakeFolders(drv) < 0 ||
        stateLock(drv) < 0 ||
        stateSetHostUuid(drv) < 0 ||
        stateMakeParts(drv) < 0 ||
        migEnvStart(drv) < 0)
        return -1;
    return stateLoadDomains(drv);
}

virDrvStateInitResult
stateInitialize(bool privileged, const char *root, bool monolithic G_GNUC_UNUSED,
                virStateInhibitCallback callback, void *opaque)
{
    drvState *drv = stateNew(privileged, root, callback, opaque);

    reportInstallLogSink();
    g_clear_pointer(&inactiveWhy, g_free);
    if (stateFill(drv) < 0) {
        inactiveWhy = g_strdup(virGetLastErrorMessage());
        stateFree(drv);
        if (root)
            return VIR_DRV_STATE_INIT_ERROR;
        VIR_ERROR("The StratoVirt driver stays inactive: %s", inactiveWhy);
        virResetLastError();
        return VIR_DRV_STATE_INIT_COMPLETE;
    }
    theState = drv;
    processReconnectAll(drv);
    migEnvServe(drv);
    stateAutostart(drv);
    return VIR_DRV_STATE_INIT_COMPLETE;
}

static void
stateNotifyLoaded(virDomainObj *vm, int isNew, void *opaque)
{
    drvState *drv = opaque;
    int detail = isNew ? VIR_DOMAIN_EVENT_DEFINED_ADDED : VIR_DOMAIN_EVENT_DEFINED_UPDATED;

    virObjectEventStateQueue(drv->events,
                             virDomainEventLifecycleNewFromObj(vm, VIR_DOMAIN_EVENT_DEFINED, detail));
}

int
stateReload(void)
{
    drvState *drv = theState;
    g_autofree char *path = NULL;
    drvConf *conf;

    if (!drv)
        return 0;
    path = stateConfPath(drv);
    if ((conf = drvConfLoad(path, drv->privileged))) {
        virMutexLock(&drv->lock);
        drvConfUnref(drv->conf);
        drv->conf = conf;
        vmmSetRepaired((const char *const *)conf->repairedVmms);
        virObjectUnref(drv->caps);
        drv->caps = NULL;
        virMutexUnlock(&drv->lock);
    } else {
        VIR_ERROR("The old configuration stays in force: %s", virGetLastErrorMessage());
        virResetLastError();
    }
    return virDomainObjListLoadAllConfigs(drv->domains, drv->configDir, drv->autostartDir, false,
                                          drv->xmlopt, stateNotifyLoaded, drv);
}

int
stateShutdownPrepare(void)
{
    if (theState) {
        migEnvClose(theState);
        saveAbortAll(theState);
        virThreadPoolStop(theState->workers);
    }
    return 0;
}

int
stateShutdownWait(void)
{
    if (theState)
        virThreadPoolDrain(theState->workers);
    return 0;
}

int
stateCleanup(void)
{
    drvState *drv = theState;

    theState = NULL;
    stateFree(drv);
    g_clear_pointer(&inactiveWhy, g_free);
    return 0;
}

drvState *
stateGet(const char **retWhy)
{
    if (!theState && retWhy)
        *retWhy = inactiveWhy ? inactiveWhy : _("it has not been initialized");
    return theState;
}

/* ---- small services ----------------------------------------------------------------------------------- */

drvConf *
stateConf(drvState *drv)
{
    drvConf *conf;

    virMutexLock(&drv->lock);
    conf = drvConfRef(drv->conf);
    virMutexUnlock(&drv->lock);
    return conf;
}

virCaps *
stateCaps(drvState *drv, bool refresh)
{
    virCaps *caps = NULL;

    virMutexLock(&drv->lock);
    if (!refresh && drv->caps)
        caps = virObjectRef(drv->caps);
    virMutexUnlock(&drv->lock);
    if (caps || !(caps = capsMake(drv)))
        return caps;

    /* Two threads may have made one each: both are right, the later stays. */
    virMutexLock(&drv->lock);
    virObjectUnref(drv->caps);
    drv->caps = virObjectRef(caps);
    virMutexUnlock(&drv->lock);
    return caps;
}

int
stateNextId(drvState *drv)
{
    return g_atomic_int_add(&drv->lastId, 1) + 1;
}

void
stateNoteId(drvState *drv, int id)
{
    gint last = g_atomic_int_get(&drv->lastId);

    while (id > last && !g_atomic_int_compare_and_exchange(&drv->lastId, last, id))
        last = g_atomic_int_get(&drv->lastId);
}

void
stateGuestStarted(drvState *drv)
{
    if (g_atomic_int_add(&drv->activeGuests, 1) == 0 && drv->inhibit)
        drv->inhibit(true, drv->inhibitOpaque);
}

void
stateGuestStopped(drvState *drv)
{
    if (g_atomic_int_dec_and_test(&drv->activeGuests) && drv->inhibit)
        drv->inhibit(false, drv->inhibitOpaque);
}

char *
stateEmulator(drvState *drv)
{
    g_autoptr(drvConf) conf = stateConf(drv);
    /* In the order of preference. */
    const struct { const char *vmm, *binary; } candidates[] = {
        { "qemu", conf->qemuBinary },
        { "stratovirt", conf->stratovirtBinary },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(candidates); i++) {
        const vmmTraits *traits = vmmTraitsByName(candidates[i].vmm);

        if (!traits || (conf->defaultVmm && !g_str_equal(conf->defaultVmm, candidates[i].vmm)))
            continue;
        if (candidates[i].binary)
            return g_strdup(candidates[i].binary);
        for (size_t k = 0; traits->binaries[k]; k++) {
            char *path = virFindFileInPath(traits->binaries[k]);

            if (path)
                return path;
        }
    }
    virReportError(VIR_ERR_CONFIG_UNSUPPORTED, "%s",
                   _("No known VMM is installed: install QEMU or StratoVirt, or name its binary in stratovirt.conf"));
    return NULL;
}

const vmmInfo *
stateProbe(drvState *drv, const char *binary)
{
    GError *error = NULL;
    const vmmInfo *info = drv->probe(binary, drv->cacheDir, &error);

    if (!info)
        reportGError(error);
    return info;
}
