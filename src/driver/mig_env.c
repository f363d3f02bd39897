/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mig_env.c: what all migrations of this daemon share: identity, addresses, time-outs, ledger */
#include <config.h>

#include "driver/mig_priv.h"
#include "driver/report.h"

#include "virerror.h"
#include "virfile.h"
#include "virlog.h"
#include "virutil.h"
#include "viruuid.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

VIR_LOG_INIT("stratovirt.mig_env");

#define LEDGER_RETAIN_SECONDS (7 * 24 * 60 * 60)

static char *
envBootId(void)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents("/proc/sys/kernel/random/boot_id", &text, NULL, NULL))
        return g_strdup("");
    return g_strdup(g_strstrip(text));
}

/* An identity of this state directory: two daemons on one machine differ in it. */
static char *
envInstance(drvState *drv)
{
    g_autofree char *path = g_strdup_printf("%s/instance", drv->libDir);
    g_autofree char *text = NULL;
    g_autofree char *made = NULL;
    g_autoptr(GError) error = NULL;

    if (g_file_get_contents(path, &text, NULL, NULL) && g_uuid_string_is_valid(g_strstrip(text)))
        return g_steal_pointer(&text);
    made = g_uuid_string_random();
    if (!g_file_set_contents(path, made, -1, &error))
        VIR_WARN("Cannot save the identity of this instance: %s, ignoring", error->message);
    return g_steal_pointer(&made);
}

static GStrv
envAddresses(drvConf *conf, const char *hostName)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    g_auto(GStrv) found = NULL;
    GStrv list = conf->migrationAddresses;
    size_t i;

    if (conf->migrationHost)
        g_strv_builder_add(builder, conf->migrationHost);
    if (!list || !list[0])
        list = found = listenLocalAddresses();
    for (i = 0; list && list[i]; i++)
        g_strv_builder_add(builder, list[i]);
    /* A host without any global address can still be reached by name, or by itself. */
    if (!conf->migrationHost && (!list || !list[0]) && hostName && !STRPREFIX(hostName, "localhost"))
        g_strv_builder_add(builder, hostName);
    return g_strv_builder_end(builder);
}

static void
envSetSecurity(migEnv *env, const drvConf *conf)
{
    g_autoptr(tlsIdentity) identity = NULL;
    g_autoptr(GError) error = NULL;

    migPolicyFromString(conf->migrateSecure, &env->secure);
    env->tlsDir = g_strdup(conf->migrateTlsDir);
    env->tlsPriority = g_strdup(conf->migrateTlsPriority);
    listenerSetTls(env->listen, env->tlsDir, env->tlsPriority);
    /* They are read anew for each migration, so this is no reason not to start. */
    if (env->secure != MIG_POLICY_OFF && !(identity = tlsIdentityFromDir(env->tlsDir, TLS_SERVER, &error)))
        VIR_WARN("Migrations cannot be secured by certificates: %s", error->message);
}

int
migEnvStart(drvState *drv)
{
    g_autoptr(drvConf) conf = stateConf(drv);
    g_autofree char *ledgerDir = g_strdup_printf("%s/migrations", drv->libDir);
    g_autoptr(GError) error = NULL;
    char uuid[VIR_UUID_STRING_BUFLEN];
    migEnv *env = g_new0(migEnv, 1);

    drv->mig = env;
    env->io = drv->ioContext;
    env->listen = drv->listen;
    env->threads = migThreadsNew(env->io);
    if (!(env->hostName = virGetHostname()))
        return -1;
    virUUIDFormat(drv->hostUuid, uuid);
    env->hostUuid = g_strdup(uuid);
    env->bootId = envBootId();
    env->instance = envInstance(drv);
    env->addresses = envAddresses(conf, env->hostName);
    env->listenAddress = g_strdup(conf->migrationListen);
    env->port = conf->migrationPort;
    env->connectTimeoutMs = conf->connectTimeoutMs;
    env->linkTimeoutMs = conf->linkTimeoutMs;
    env->finishTimeoutMs = conf->finishTimeoutMs;
    env->leaseMs = conf->prepareLease * 1000;
    /* "auto" is none of them. */
    if (!migAskFromString(conf->migrateTransport, &env->ask))
        env->ask = MIG_ASK_ANY;
    env->ackTimeoutMs = conf->migrateAckTimeout * 1000;
    env->keepaliveMs = conf->migrateKeepalive * 1000;
    env->stallTimeoutMs = conf->migrateStallTimeout * 1000;
    envSetSecurity(env, conf);
    env->gate = migGateNew(conf->maxOutgoing, conf->maxIncoming, conf->maxWaiting);
    if (!(env->ledger = migLedgerOpen(ledgerDir, LEDGER_RETAIN_SECONDS, &error)))
        return reportGError(g_steal_pointer(&error));
    return 0;
}

int
migEnvServe(drvState *drv)
{
    g_autoptr(GError) error = NULL;

    if (!migDestServeLedger(drv->mig, &error)) {
        /* The next Prepare says it to somebody who can act; guests run on without. */
        VIR_WARN("Questions about earlier migrations cannot be answered: %s", error->message);
    }
    return 0;
}

/* libvirtd waits half a minute for calls in progress, and then ends in the middle of them. */
static int
envGiveUpSending(virDomainObj *vm, void *opaque G_GNUC_UNUSED)
{
    migJob *job;

    virObjectLock(vm);
    job = migOf(vm)->job;
    if (job && migJobPhase(job) == MIG_PHASE_PERFORMING)
        migJobPost(job, MIG_SIGNAL_LOST);
    virObjectUnlock(vm);
    return 0;
}

void
migEnvClose(drvState *drv)
{
    if (!drv->mig)
        return;
    migGateClose(drv->mig->gate);
    virDomainObjListForEach(drv->domains, false, envGiveUpSending, NULL);
}

void
migEnvStop(drvState *drv)
{
    if (drv->mig)
        migThreadsStop(drv->mig->threads);
}

void
migEnvFree(drvState *drv)
{
    migEnv *env = g_steal_pointer(&drv->mig);

    if (!env)
        return;
    migThreadsFree(env->threads);
    migLedgerFree(env->ledger);
    migGateFree(env->gate);
    g_free(env->hostName);
    g_free(env->hostUuid);
    g_free(env->bootId);
    g_free(env->instance);
    g_strfreev(env->addresses);
    g_free(env->listenAddress);
    g_free(env->tlsDir);
    g_free(env->tlsPriority);
    g_free(env);
}
