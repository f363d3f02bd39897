/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* direct.c: see direct.h */
#include "base/gettext.h"
#include "base/error.h"
#include "base/fd.h"
#include "base/socket.h"
#include "migration/direct.h"
#include "migration/guide.h"
#include "migration/job_priv.h"
#include "migration/params_rows.h"
#include "migration/source.h"
#include "migration/way.h"
#include "remote/dial.h"
#include "remote/pump.h"

#include <string.h>
#include <unistd.h>

#define LOOK_MS 50
#define LAST_WORD_MS 1000
/* More than the state of all devices. */
#define DEVICES_BYTES (16 << 20)
#define RECALL_MS 10000

struct _migDirect {
    pump *p;
    int vmmEnd, pumpEnd;         /* of the pair, before they are given away; -1 */
    bool limits;                 /* the pump keeps the limit of the speed, not the VMM; constant */
    pumpLimit *limit;            /* lives as long as the job */
};

bool
migDirectIs(migJob *job)
{
    return job->record.direct;
}

/* ---- what cannot be done ---- */

/* A flag or parameter that direct migration does not have, and why. */
static const char *
directWhyNot(const migParams *params, const char **retName)
{
    const struct {
        bool given;
        const char *name, *why;
    } rows[] = {
        { params->offline, "VIR_MIGRATE_OFFLINE", N_("There is no libvirt at the destination that could "
                                                     "keep a definition.") },
        { params->tunnelled, "VIR_MIGRATE_TUNNELLED", N_("There is no libvirt connection to the destination "
                                                         "to tunnel through.") },
        { params->peer2peer, "VIR_MIGRATE_PEER2PEER", N_("There is no libvirt at the destination to talk to.") },
        { params->tls, "VIR_MIGRATE_TLS", N_("The VMM that was started by hand is reached by a plain connection.") },
        { params->persistDest, "VIR_MIGRATE_PERSIST_DEST",
          N_("There is no libvirt at the destination that could keep a definition.") },
        { params->persistXml, VIR_MIGRATE_PARAM_PERSIST_XML,
          N_("There is no libvirt at the destination that could keep a definition.") },
        { params->paused, "VIR_MIGRATE_PAUSED",
          N_("The VMM that was started by hand starts a running guest by itself; suspend the guest before, "
             "or give that VMM its "
             "own option for it.") },
        { params->parallel, "VIR_MIGRATE_PARALLEL", N_("The VMM that was started by hand waits for one connection.") },
        { params->compressed, "VIR_MIGRATE_COMPRESSED",
          N_("The VMM that was started by hand would have to be told of it as well.") },
        { params->dryRun, MIG_PARAM_DRY_RUN, N_("There is no libvirt at the destination that could make its checks.") },
        { params->destName, VIR_MIGRATE_PARAM_DEST_NAME,
          N_("The name of the guest is what the VMM was started with by hand.") },
        { params->destXml, VIR_MIGRATE_PARAM_DEST_XML,
          N_("The definition of the guest is what the VMM was started with by hand.") },
        { params->listenAddress, VIR_MIGRATE_PARAM_LISTEN_ADDRESS,
          N_("Where it listens the VMM was told when it was started by hand.") },
        { !params->live, "VIR_MIGRATE_LIVE",
          N_("Without it the guest would be stopped first and would stay so at the destination, where "
             "nobody starts it.") },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].given) {
            *retName = rows[i].name;
            return _(rows[i].why);
        }
    }
    return NULL;
}

static bool
directCheckUri(const char *text, uri **retUri, GError **error)
{
    g_autoptr(uri) u = NULL;

    if (!text || !*text) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("A direct migration needs the migration URI of the VMM that waits for the guest, such "
                      "as '%1$s' or '%2$s'."),
                    "tcp:HOST:PORT", "unix:PATH");
        return false;
    }
    if (!(u = uriParse(text, error)))
        return false;
    if (u->kind == URI_TCP && (!u->host || !*u->host || !u->port)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("The migration URI '%1$s' of a direct migration must name the host and the port on "
                      "which the VMM waits."),
                    text);
        return false;
    }
    *retUri = g_steal_pointer(&u);
    return true;
}

bool
migDirectCheck(const migParams *params, const vmmTraits *traits, uri **retUri, GError **error)
{
    const char *name = NULL;
    const char *why = directWhyNot(params, &name);

    if (why && !params->live && g_str_equal(name, "VIR_MIGRATE_LIVE")) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG, _("A direct migration needs '%1$s'. %2$s"), name, why);
        return false;
    }
    if (why) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                    _("'%1$s' and a direct migration exclude each other. %2$s"),
                    name, why);
        return false;
    }
    if (!traits->guide && (!traits->completedIsProof || !traits->canPauseBeforeSwitchover || !traits->streamFd)) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("%1$s cannot say whether the VMM at the other end has the guest, so it cannot migrate "
                      "without a libvirt there."),
                    traits->title);
        return false;
    }
    return directCheckUri(params->uri, retUri, error);
}

/* ---- the stream ---- */

static void
directPumpEnded(pump *p G_GNUC_UNUSED, const GError *why, void *opaque)
{
    migJob *job = opaque;

    if (!why || g_error_matches(why, BASE_ERROR, BASE_ERROR_ABORTED))
        return;
    g_mutex_lock(&job->lock);
    if (!job->peerError)
        job->peerError = g_strdup(why->message);
    g_mutex_unlock(&job->lock);
    migJobPost(job, MIG_SIGNAL_LINK_LOST);
}

/* A VMM with a guide sends through the relay's half of this host.  Nothing ends the connection early: nobody else could be asked. */
static bool
directConnectGuided(migJob *job, int fd, GError **error)
{
    helloConn conn = HELLO_CONN_INIT;

    conn.fd = fd;
    return migRelayDialOne(job, conn, error);
}

static bool
directConnect(migJob *job, const uri *u, GError **error)
{
    g_autofree char *name = uriFormat(u);
    g_auto(baseFd) fd = dialUri(u, migJobStopFd(job), job->env->connectTimeoutMs, error);
    pumpOptions options = {
        .twoWay = true, .limit = job->direct->limit, .stallMs = job->env->stallTimeoutMs,
        .ended = directPumpEnded, .opaque = job,
    };
    pumpEnd first = { .name = _("the VMM") };
    pumpEnd second = { .name = name };
    int pair[2];

    if (fd < 0)
        return false;
    if (migGuideNeeded(job))
        return directConnectGuided(job, baseFdSteal(&fd), error);
    if (!baseSocketPair(pair, 0, error))
        return false;
    job->dataFd = pair[0];
    /* The VMM gets one of its own, so that it does not see an end when this daemon's is closed. */
    job->direct->pumpEnd = dup(pair[1]);
    first.fd = pair[1];
    second.fd = baseFdSteal(&fd);
    job->direct->p = pumpNew(&first, &second, &options, error);
    return job->direct->p != NULL;
}

void
migDirectDrop(migJob *job)
{
    migDirect *direct = job->direct;

    if (!direct)
        return;
    pumpFree(g_steal_pointer(&direct->p));
    baseFdClose(direct->pumpEnd);
    direct->pumpEnd = -1;
}

bool
migDirectSetSpeed(migJob *job, uint64_t bytesPerSecond)
{
    migDirect *direct = job->direct;

    if (!direct || !direct->limits)
        return false;
    pumpLimitSet(direct->limit, bytesPerSecond);
    return true;
}

char *
migDirectBroken(migJob *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->lock);

    return migDirectIs(job) ? g_strdup(job->peerError) : NULL;
}

uint64_t
migDirectBytes(migJob *job)
{
    return job->direct && job->direct->p ? pumpBytes(job->direct->p, PUMP_FORWARD) : 0;
}

void
migDirectFree(migJob *job)
{
    if (job->direct)
        pumpLimitUnref(job->direct->limit);
    g_clear_pointer(&job->direct, g_free);
}

/* ---- the outcome ---- */

/* The same, read in the stream: the VMM here is frozen and cannot be asked. */
static bool
directGuideWord(migJob *job, bool *retThere)
{
    vmmGuideWord word = job->guide ? job->vmm->guide->word(job->guide) : VMM_WORD_NONE;

    *retThere = word == VMM_WORD_RUNS;
    if (*retThere) {
        g_mutex_lock(&job->lock);
        job->stats.downtimeMs = (uint64_t)MAX(g_get_monotonic_time() / 1000 - job->stoppedAtMs, 0);
        job->stats.downtimeFinal = true;
        g_mutex_unlock(&job->lock);
    }
    return word != VMM_WORD_NONE;
}

/* The VMM's definite word, or false. */
static bool
directWord(migJob *job, bool mayStillContinue, bool *retThere, char **retWhy)
{
    g_autoptr(GError) error = NULL;
    vmmMigStatus status = { 0 };
    bool definite = false;

    if (migGuideNeeded(job))
        return directGuideWord(job, retThere);
    if (!job->ops->vmmStatus(job->host, &status, &error)) {
        g_debug("%s: no status: %s", job->record.uuid, error->message);
        return false;
    }
    switch (status.state) {
    case VMM_MIG_COMPLETED:
        *retThere = definite = true;
        break;
    case VMM_MIG_FAILED:
    case VMM_MIG_CANCELLED:
    case VMM_MIG_NONE:
        *retThere = false;
        definite = true;
        break;
    case VMM_MIG_PRE_SWITCHOVER:
        /* It still waits for leave to send the end, which nobody but this daemon gives. */
        *retThere = false;
        definite = !mayStillContinue;
        break;
    default:
        break;
    }
    *retWhy = definite && !*retThere ? g_strdup(status.errorText) : NULL;
    g_mutex_lock(&job->lock);
    vmmMigStatusClear(&job->stats.vmm);
    job->stats.vmm = status;
    if (status.downtimeMs) {
        job->stats.downtimeMs = status.downtimeMs;
        job->stats.downtimeFinal = true;
    }
    g_mutex_unlock(&job->lock);
    return definite;
}

static bool
directHeard(migJob *job, bool there, const char *why)
{
    bool doubt = job->record.phase == MIG_PHASE_IN_DOUBT;
    g_autoptr(GError) reason = NULL;
    g_autoptr(GError) error = NULL;

    if (!migJobFire(job, !there ? MIG_EVENT_HEARD_ABSENT : doubt ? MIG_EVENT_HEARD_COMMITTED : MIG_EVENT_CONFIRM_OK,
                    &error)) {
        g_warning("%s: %s", job->record.uuid, error->message);
        return false;
    }
    job->ops->doubt(job->host, NULL);
    if (!there)
        g_set_error(&reason, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                    _("The VMM at '%1$s' did not take the guest: %2$s"), job->record.peerHost,
                    why && *why ? why : _("it ended the connection before it had everything."));
    migJobEnd(job, there ? MIG_RESULT_COMPLETED : MIG_RESULT_FAILED, reason);
    return true;
}

void
migDirectLook(migJob *job)
{
    bool doubt = job->record.phase == MIG_PHASE_IN_DOUBT;
    g_autofree char *why = NULL;
    bool there;

    if ((doubt || job->record.phase == MIG_PHASE_SENT) && directWord(job, !doubt, &there, &why))
        directHeard(job, there, why);
}

/* Why nothing can be heard any more; NULL: something still can.  Caller frees. */
static char *
directBroken(migJob *job)
{
    g_autoptr(GMutexLocker) locker = NULL;

    if (job->relay)
        return migRelayError(job->relay, false);
    locker = g_mutex_locker_new(&job->lock);
    return g_strdup(job->peerError);
}

char *
migDirectDoubt(migJob *job)
{
    g_autofree char *broken = directBroken(job);
    const char *why = broken ? broken : _("it gives no answer");

    if (job->guide && job->vmm->guide->isLoaded(job->guide))
        why = _("it has taken the guest's state, but has not said that it lets it run");
    return g_strdup_printf(_("It is not known whether the guest runs in the VMM at '%1$s' (%2$s), so it "
                             "stays stopped here. Nobody "
                             "can be asked, since no libvirt is there. Look there: if the guest does not "
                             "run in that VMM, end that "
                             "VMM and resume the guest here; if it runs there, destroy it here."),
                           job->record.peerHost ? job->record.peerHost : "?", why);
}

void
migDirectRecall(migJob *job)
{
    gint64 until = g_get_monotonic_time() + RECALL_MS * 1000;
    g_autoptr(GError) error = NULL;

    /* See migGuideRecall(). */
    if (migGuideNeeded(job))
        return;
    if (job->direct && job->direct->p)
        pumpCancel(job->direct->p);
    while (g_get_monotonic_time() < until) {
        vmmMigStatus status = { 0 };
        vmmMigState state;

        if (!job->ops->vmmStatus(job->host, &status, NULL))
            break;
        state = status.state;
        vmmMigStatusClear(&status);
        if (state == VMM_MIG_COMPLETED || state == VMM_MIG_FAILED || state == VMM_MIG_CANCELLED ||
            state == VMM_MIG_NONE)
            break;
        if (state != VMM_MIG_CANCELLING && !job->ops->vmmCancel(job->host, &error)) {
            g_warning("%s: %s", job->record.uuid, error->message);
            break;
        }
        if (!migThreadsPause(job->env->threads, LOOK_MS))
            break;
    }
    if (!job->ops->vmmRelease(job->host, NULL))
        g_debug("%s: the VMM held nothing", job->record.uuid);
}

/*
 * If this daemon is killed now, nobody reads what the VMM sends, and a VMM that waits for that serves its control
 * socket no more.  So the pair gets room for all that is left, as far as the system allows.
 */
static void
directMakeRoom(migJob *job)
{
    baseSocketSetRoom(job->dataFd, job->stats.vmm.ramRemaining + DEVICES_BYTES);
}

/* Is there anything that could still be heard?  @signals: of this look. */
static bool
directIsDeaf(migJob *job, unsigned signals, gint64 *until)
{
    g_autofree char *broken = job->relay ? directBroken(job) : NULL;

    /* What came before the break may be an orderly end, which the VMM is about to notice. */
    if (signals & MIG_SIGNAL_LINK_LOST)
        *until = g_get_monotonic_time() + LAST_WORD_MS * 1000;
    return broken || g_get_monotonic_time() >= *until || !migThreadsPause(job->env->threads, 0);
}

/* Everything but the end is sent and 'sent' is saved: now it may go, and the other VMM may start the guest. */
static void
directAwaitWord(migJob *job)
{
    gint64 patience = (gint64)job->env->finishTimeoutMs * 1000;
    gint64 until = g_get_monotonic_time() + patience;
    g_autoptr(GError) error = NULL;
    uint64_t sent = 0;
    bool lost = false;

    /* A guide has let the end go with the move to 'sent'. */
    if (!job->guide && !job->ops->vmmContinue(job->host, &error)) {
        g_warning("%s: %s", job->record.uuid, error->message);
        lost = true;
    }
    while (job->record.phase == MIG_PHASE_SENT) {
        unsigned signals = lost ? 0 : migJobWait(job, LOOK_MS);
        uint64_t now = job->relay ? migRelayBytes(job->relay, PUMP_FORWARD) : pumpBytes(job->direct->p, PUMP_FORWARD);

        g_clear_error(&error);
        if (signals & MIG_SIGNAL_VMM_GONE) {
            if (!migJobFire(job, MIG_EVENT_VMM_GONE, &error))
                g_warning("%s: %s", job->record.uuid, error->message);
            g_set_error_literal(&error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                                _("The VMM here ended before the other one had said that it has the guest."));
            migJobEnd(job, MIG_RESULT_FAILED, error);
            return;
        }
        migDirectLook(job);
        if (now != sent)
            until = g_get_monotonic_time() + patience;
        sent = now;
        lost = lost || directIsDeaf(job, signals, &until);
        if (lost && job->record.phase == MIG_PHASE_SENT && !migJobFire(job, MIG_EVENT_LOST, &error)) {
            g_warning("%s: %s", job->record.uuid, error->message);
            return;
        }
    }
    /* What it says now counts: it may be that it never got leave to send the end. */
    if (job->record.phase == MIG_PHASE_IN_DOUBT)
        migSourceSettle(job);
}

/* ---- all of it ---- */

static bool
directBegin(migJob *job, const migSourceFacts *facts, migParams *params, GError **error)
{
    if (!migCheckSource(facts, params, error))
        return false;
    job->direct = g_new0(migDirect, 1);
    job->direct->vmmEnd = job->direct->pumpEnd = -1;
    job->direct->limit = pumpLimitNew(0);
    /* Parameters of ours do not come with libvirt's call for direct migrations, so what is configured tells. */
    job->direct->limits = !facts->vmm->traits->canLimitSpeed || job->env->ask == MIG_ASK_RELAY;
    migGuideSet(job, facts->vmm->traits);
    g_mutex_lock(&job->lock);
    job->record.direct = true;
    job->record.wasRunning = !facts->paused;
    job->record.undefineSource = params->undefineSource;
    g_free(job->record.peerHost);
    job->record.peerHost = g_strdup(params->uri);
    g_free(job->stats.peer);
    job->stats.peer = g_strdup(params->uri);
    g_free(job->stats.transport);
    job->stats.transport = g_strdup("direct");
    g_mutex_unlock(&job->lock);
    migParamsClear(&job->params);
    job->params = *params;
    memset(params, 0, sizeof(*params));
    return migJobJoinLine(job, error) && migJobFire(job, MIG_EVENT_BEGIN, error);
}

static bool
directEnded(migJob *job, GError **error)
{
    g_autofree char *text = NULL;

    switch (job->record.phase) {
    case MIG_PHASE_GONE:
        return true;
    case MIG_PHASE_IN_DOUBT:
        text = migDirectDoubt(job);
        break;
    default:
        text = migJobErrorText(job);
        break;
    }
    g_set_error_literal(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                        text ? text : _("The direct migration failed."));
    return false;
}

/* A VMM that starts whatever arrives would let it run, and nobody is there who could keep it from that. */
static bool
directMayRun(const migSourceFacts *facts, GError **error)
{
    const vmmTraits *traits = facts->vmm->traits;

    if (!facts->paused || !traits->startsOnArrival)
        return true;
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_INVALID,
                _("The guest is suspended, and %1$s starts every guest that arrives, so it would run at the destination. Resume it "
                  "before a direct migration."),
                traits->title);
    return false;
}

/* Is its way as secure as it has to be?  Nothing has happened yet. */
static bool
directMayBe(migJob *job, const uri *u, const migParams *params, GError **error)
{
    job->record.direct = true;
    job->params.secure = params->secure;
    return migWayLocal(job, u->kind == URI_UNIX, error);
}

bool
migDirectRun(migJob *job, const migSourceFacts *facts, migParams *params, const vmmMigSpec *spec, GError **error)
{
    g_autoptr(uri) u = NULL;
    vmmMigSpec own = *spec;

    if (!migDirectCheck(params, facts->vmm->traits, &u, error) || !directMayRun(facts, error) || !directMayBe(job, u, params, error) ||
        !directBegin(job, facts, params, error))
        return false;
    if (!migJobTakeSlot(job, error) || !migJobFire(job, MIG_EVENT_PERFORM, error) || !directConnect(job, u, error)) {
        migSourceFailed(job, error);
        return false;
    }
    own.hold = !job->guide;
    own.holdFd = job->direct->pumpEnd;
    if (!migSourceSend(job, &own, error))
        return false;
    if (!job->guide) {
        directMakeRoom(job);
        close(job->dataFd);
        job->dataFd = -1;
    }
    directAwaitWord(job);
    return directEnded(job, error);
}
