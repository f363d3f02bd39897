/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * mig_offer.c: the destination of versions 1 and 2: what the source offers over the link
 *
 * Theory of operation: see migration/offer.h.  In version 1 Prepare knows neither name nor definition, so it has no domain to
 * ask an access driver about, and no domain whose close callbacks would tell that the client is gone.  What it reserves keeps the
 * client's connection and identity for the short time until the offer comes or the lease ends; then domain and VMM are made as
 * they would have been in Prepare, by the job's own thread and with the client's rights.
 */
#include <config.h>

#include "driver/hook.h"
#include "driver/mig_calls.h"
#include "driver/mig_in_priv.h"
#include "driver/mig_priv.h"
#include "driver/report.h"
#include "base/error.h"
#include "migration/offer.h"

#include "datatypes.h"
#include "viraccessapicheck.h"
#include "virerror.h"
#include "viridentity.h"
#include "virlog.h"
#include "viruuid.h"
#include "base/gettext.h"

#define VIR_FROM_THIS VIR_FROM_QEMU

VIR_LOG_INIT("stratovirt.mig_offer");

/* A token is cheap, but clients must not be able to take any number of them. */
#define RESERVED_MAX 64

static gint reservedCount;

/* ---- version 2: the VMM waits already ---- */

static bool
offerCheck(drvState *drv, const virDomainDef *def, migJob *job, const migCookie *remote, const vmmInfo **retVmm,
           GError **error)
{
    char uuid[VIR_UUID_STRING_BUFLEN];

    virUUIDFormat(def->uuid, uuid);
    if (STRNEQ(uuid, remote->domainUuid)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("the source offers domain '%1$s', but domain '%2$s' was prepared"), remote->domainUuid, uuid);
        return false;
    }
    if (migJobVersion(job) == 2 && remote->files != migJobFiles(job)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    remote->files ? _("host '%1$s' sends the guest by way of files, since its VMM cannot do it otherwise; version 2 of the migration protocol tells so too late, use version 3")
                                  : _("host '%1$s' sends the guest over a connection, but the VMM here can only start it from files; version 2 of the migration protocol tells so too late, use version 3"),
                    remote->hostName);
        return false;
    }
    if (migInCheck(drv, def, remote, migJobParams(job), migJobVersion(job) == 2, retVmm) == 0)
        return true;
    reportToGError(error);
    return false;
}

static bool
offerJudge2(migJob *job, const migCookie *remote, const migOffer *offer G_GNUC_UNUSED, const migCookieIo *io,
            void *opaque, GError **error)
{
    virDomainObj *vm = opaque;
    drvState *drv = DRV_DOMAIN(vm)->drv;
    g_autoptr(virDomainDef) def = NULL;
    const vmmInfo *vmm = NULL;
    migDestFacts facts = { 0 };

    virObjectLock(vm);
    def = virDomainDefCopy(vm->def, drv->xmlopt, NULL, true);
    virObjectUnlock(vm);
    if (!def) {
        reportToGError(error);
        return false;
    }
    if (!offerCheck(drv, def, job, remote, &vmm, error))
        return false;
    facts.machine = def->os.machine;
    facts.arch = virArchToString(def->os.arch);
    facts.vmm = vmm;
    facts.tcg = def->virtType == VIR_DOMAIN_VIRT_QEMU;
    return migDestAnswer(job, remote, &facts, io, NULL, error);
}

void
migInExpectOffer(migJob *job, virDomainObj *vm)
{
    migOfferExpect(job, 2, offerJudge2, virObjectRef(vm), virObjectUnref);
}

/* ---- version 1: everything comes with the offer ---- */

typedef struct {
    drvState *drv;
    virConnectPtr dconn;         /* a reference, for access checks and to hear when the client goes */
    virIdentity *identity;       /* of the client */
    unsigned long flags;
} inReserved;

static void
reservedFree(void *opaque)
{
    inReserved *reserved = opaque;

    virObjectUnref(reserved->dconn);
    g_clear_object(&reserved->identity);
    g_free(reserved);
    g_atomic_int_add(&reservedCount, -1);
}

/* The definition under its final name, if the client may bring it. */
static virDomainDef *
reservedParse(const inReserved *reserved, const migOffer *offer, const char *destName)
{
    g_autoptr(virDomainDef) def = migInParse(reserved->drv, offer->xml, destName);

    if (!def || virDomainMigratePrepareEnsureACL(reserved->dconn, def) < 0)
        return NULL;
    return g_steal_pointer(&def);
}

static bool
reservedStart(migJob *job, const inReserved *reserved, inPrepare *in, virDomainDef **def, GError **error)
{
    drvState *drv = reserved->drv;
    virDomainObj *vm = virDomainObjListAdd(drv->domains, def, drv->xmlopt,
                                           VIR_DOMAIN_OBJ_LIST_ADD_LIVE | VIR_DOMAIN_OBJ_LIST_ADD_CHECK_LIVE, NULL);
    g_autofree char *uri = NULL;
    bool ok;

    if (!vm)
        return false;
    in->uriOut = &uri;
    ok = migJobAdopt(vm, job, reserved->flags) == 0 && migInStart(vm, job, in, error);
    if (ok) {
        migWatchClient(vm, reserved->dconn);
        migJobDisown(vm);
    } else {
        /* The job outlives its domain, to tell the source. */
        migInUndo(vm);
        migJobSetHost(job, NULL, NULL);
    }
    virDomainObjEndAPI(&vm);
    return ok;
}

static bool
reservedMake(migJob *job, const inReserved *reserved, const migCookie *remote, const migOffer *offer,
             const migCookieIo *io, GError **error)
{
    g_autoptr(virDomainDef) def = reservedParse(reserved, offer, migJobParams(job)->destName);
    inPrepare in = { .dconn = reserved->dconn, .version = 1, .flags = reserved->flags, .remote = remote, .io = io };

    return def && hookFilterIncoming(reserved->drv, &def, migJobParams(job)->dryRun) == 0 &&
        offerCheck(reserved->drv, def, job, remote, &in.vmm, error) &&
        reservedStart(job, reserved, &in, &def, error);
}

static bool
offerJudge1(migJob *job, const migCookie *remote, const migOffer *offer, const migCookieIo *io,
            void *opaque, GError **error)
{
    inReserved *reserved = opaque;
    g_autoptr(virIdentity) before = virIdentityGetCurrent();
    g_autoptr(GError) local = NULL;
    bool ok;

    virResetLastError();
    virIdentitySetCurrent(reserved->identity);
    ok = reservedMake(job, reserved, remote, offer, io, &local);
    virIdentitySetCurrent(before);
    if (!ok && !local)
        reportToGError(&local);
    if (local)
        g_propagate_error(error, g_steal_pointer(&local));
    /* From here on the domain's close callback knows the connection. */
    g_clear_pointer(&reserved->dconn, virObjectUnref);
    return ok;
}

int
migInReserve(virConnectPtr dconn, migParams *params, unsigned long flags, const migCookieIo *io, char **uriOut)
{
    drvState *drv = dconn->privateData;
    migRecord record = { .side = MIG_SIDE_DEST, .phase = MIG_PHASE_ABSENT };
    g_autoptr(migJob) job = NULL;
    g_autoptr(GError) error = NULL;
    inReserved *reserved;
    bool ok;

    if (g_atomic_int_add(&reservedCount, 1) >= RESERVED_MAX) {
        g_atomic_int_add(&reservedCount, -1);
        virReportError(VIR_ERR_RESOURCE_BUSY,
                       _("%1$d migrations of version 1 are prepared on this host already and wait for their guests"),
                       RESERVED_MAX);
        return -1;
    }
    reserved = g_new0(inReserved, 1);
    reserved->drv = drv;
    reserved->dconn = virObjectRef(dconn);
    reserved->identity = virIdentityGetCurrent();
    reserved->flags = flags;
    job = migJobNew(drv->mig, &record, &migHostOpsReal, NULL, NULL);
    migOfferExpect(job, 1, offerJudge1, reserved, reservedFree);
    migJobSetConn(job, migConnOfCaller());
    migJobEnter(job);
    ok = migDestListen(job, NULL, params, &error) && migOfferReserve(job, io, uriOut, &error);
    migJobLeave(job);
    return ok ? 0 : reportGError(g_steal_pointer(&error));
}
