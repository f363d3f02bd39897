/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <config.h>

#include "driver/throttle.h"

#include "domain_driver.h"
#include "vircgroup.h"
/* Groups by their names, which libvirt itself has for its tests alone. */
#define LIBVIRT_VIRCGROUPPRIV_H_ALLOW
#include "vircgrouppriv.h"
#include "virfile.h"
#include "virlog.h"

#include "driver/compat.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.throttle");

#define THROTTLE_DRIVER "stratovirt"
#define THROTTLE_PARTITION "/machine"
#define THROTTLE_PERIOD_US 100000
#define THROTTLE_CONTROLLERS \
    (1 << VIR_CGROUP_CONTROLLER_CPU | 1 << VIR_CGROUP_CONTROLLER_CPUACCT | 1 << VIR_CGROUP_CONTROLLER_CPUSET)

/* With the process in its name: the same after a restart of the daemon, and of one VMM alone. */
static char *
throttleName(virDomainObj *vm)
{
    return virDomainDriverGenerateMachineName(THROTTLE_DRIVER, NULL, (int)vm->pid, vm->def->name, true);
}

char *
throttleTrouble(virDomainObj *vm)
{
    const drvDomain *priv = DRV_DOMAIN(vm);
    g_autoptr(virCgroup) top = NULL;
    g_autofree char *path = NULL;

    if (!priv->drv->privileged)
        return g_strdup(_("only the system's daemon may use control groups"));
    if (!virCgroupAvailable())
        return g_strdup(_("this host has no control groups"));
    /*
     * That of the machines is asked for from above: with version 2 the daemon's own group has only the controllers that its service
     * has been given.  What is mounted may be hidden by another mount.
     */
    if (virCgroupNew("/", THROTTLE_CONTROLLERS, &top) < 0 || !virCgroupHasController(top, VIR_CGROUP_CONTROLLER_CPU) ||
        virCgroupPathOfController(top, VIR_CGROUP_CONTROLLER_CPU, NULL, &path) < 0 || !virFileExists(path)) {
        virResetLastError();
        return g_strdup(_("the control groups of this host have no controller 'cpu'"));
    }
    if (priv->nvcpuPids == 0)
        return g_strdup(_("the VMM has not told the threads of its processors"));
    return NULL;
}

/* The machine is made with the lock dropped. */
static int
throttleMake(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    guint64 incarnation = priv->incarnation;
    g_autofree char *name = throttleName(vm);
    g_autoptr(virCgroup) group = NULL;
    unsigned char uuid[VIR_UUID_BUFLEN];
    pid_t pid = vm->pid;
    int ret;

    if (priv->cgroup)
        return 0;
    /* Known to later daemons before it is there. */
    priv->ownGroup = true;
    if (domainSaveStatus(vm) < 0)
        return -1;
    memcpy(uuid, vm->def->uuid, sizeof(uuid));
    virObjectUnlock(vm);
    ret = virCgroupNewMachine(name, THROTTLE_DRIVER, uuid, NULL, pid, false, 0, NULL, THROTTLE_PARTITION, THROTTLE_CONTROLLERS, 0,
                              &group);
    virObjectLock(vm);
    if (ret < 0)
        return -1;
    if (!group || !virCgroupHasController(group, VIR_CGROUP_CONTROLLER_CPU)) {
        virReportError(VIR_ERR_OPERATION_UNSUPPORTED, _("Domain '%1$s' cannot have a control group with the controller 'cpu'."),
                       vm->def->name);
        return -1;
    }
    if (!virDomainObjIsActive(vm) || priv->incarnation != incarnation) {
        virCgroupRemove(group);
        virReportError(VIR_ERR_OPERATION_FAILED, _("Domain '%1$s' has ended meanwhile."), name);
        return -1;
    }
    priv->cgroup = g_steal_pointer(&group);
    return 0;
}

/* Of the processor number @index; @tid: of its thread, 0: it is there already. */
static int
throttleOne(virCgroup *group, size_t index, pid_t tid, unsigned percent)
{
    g_autoptr(virCgroup) vcpu = NULL;
    long long quota = percent ? THROTTLE_PERIOD_US * (100 - (long long)percent) / 100 : -1;

    if (virCgroupNewThread(group, VIR_CGROUP_THREAD_VCPU, (int)index, tid != 0, &vcpu) < 0)
        return -1;
    if (tid != 0 && virCgroupAddThread(vcpu, tid) < 0)
        return -1;
    if (percent && virCgroupSetCpuCfsPeriod(vcpu, THROTTLE_PERIOD_US) < 0)
        return -1;
    return virCgroupSetCpuCfsQuota(vcpu, quota);
}

static void
throttleLift(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    virErrorPtr first;

    virErrorPreserveLast(&first);
    for (size_t i = 0; i < virDomainDefGetVcpusMax(vm->def); i++) {
        if (throttleOne(priv->cgroup, i, 0, 0) < 0)
            VIR_WARN("domain '%s': its processor %zu may still be slowed down: %s", vm->def->name, i, virGetLastErrorMessage());
    }
    virResetLastError();
    virErrorRestore(&first);
}

int
throttleSet(virDomainObj *vm, unsigned percent)
{
    drvDomain *priv = DRV_DOMAIN(vm);

    if (percent == 0) {
        if (priv->cgroup && priv->throttlePercent)
            throttleLift(vm);
        if (priv->throttlePercent)
            VIR_INFO("domain '%s': it is slowed down no more", vm->def->name);
        priv->throttlePercent = 0;
        return 0;
    }
    if (throttleMake(vm) < 0)
        return -1;
    for (size_t i = 0; i < priv->nvcpuPids; i++) {
        if (throttleOne(priv->cgroup, i, priv->vcpuPids[i], percent) < 0) {
            throttleLift(vm);
            priv->throttlePercent = 0;
            return -1;
        }
    }
    priv->throttlePercent = percent;
    VIR_INFO("domain '%s': its processors are slowed down by %u %% so that its migration comes to an end", vm->def->name, percent);
    return 0;
}

void
throttleReconnect(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    guint64 incarnation = priv->incarnation;
    g_autofree char *name = throttleName(vm);
    g_autofree char *domain = g_strdup(vm->def->name);
    g_autoptr(virCgroup) group = NULL;
    pid_t pid = vm->pid;

    if (!priv->ownGroup || priv->cgroup)
        return;
    virObjectUnlock(vm);
    /* None is found if it is in another than its own. */
    if (virCgroupNewDetectMachine(domain, THROTTLE_DRIVER, pid, THROTTLE_CONTROLLERS, name, &group) < 0)
        VIR_WARN("domain '%s': cannot see whether it is slowed down: %s", domain, virGetLastErrorMessage());
    virResetLastError();
    virObjectLock(vm);
    if (!group || !virDomainObjIsActive(vm) || priv->incarnation != incarnation)
        return;
    priv->cgroup = g_steal_pointer(&group);
    throttleLift(vm);
}

/* Of a VMM that ended while no daemon was there; systemd sees to its own. */
static void
throttleSweep(virDomainObj *vm, const char *name)
{
    g_autoptr(virCgroup) parent = NULL;
    g_autoptr(virCgroup) group = NULL;
    g_autofree char *folder = NULL;
    g_autofree char *path = NULL;

    if (virCgroupNewPartition(THROTTLE_PARTITION, false, THROTTLE_CONTROLLERS, &parent) == 0 &&
        virCgroupPathOfController(parent, VIR_CGROUP_CONTROLLER_CPU, NULL, &folder) == 0) {
        path = g_strdup_printf("%s/%s.libvirt-%s", folder, name, THROTTLE_DRIVER);
        if (g_file_test(path, G_FILE_TEST_IS_DIR) && virCgroupNewDomainPartition(parent, THROTTLE_DRIVER, name, &group) == 0)
            virCgroupRemove(group);
        VIR_DEBUG("domain '%s': nothing is left at '%s'", vm->def->name, path);
    }
    virResetLastError();
}

void
throttleEnd(virDomainObj *vm)
{
    drvDomain *priv = DRV_DOMAIN(vm);
    g_autofree char *name = throttleName(vm);
    g_autoptr(virCgroup) group = NULL;

    if (!priv->ownGroup)
        return;
    priv->ownGroup = false;
    if (!priv->cgroup) {
        throttleSweep(vm, name);
        return;
    }
    group = g_steal_pointer(&priv->cgroup);
    priv->throttlePercent = 0;
    virObjectUnlock(vm);
    if (virCgroupTerminateMachine(name) < 0)
        VIR_DEBUG("machine '%s' is gone, or never was one", name);
    virCgroupRemove(group);
    virResetLastError();
    virObjectLock(vm);
}
