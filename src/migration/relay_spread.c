/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* relay_spread.c: a relay whose VMM has one stream and which has several connections for it; see relay.c */
#include "migration/relay_priv.h"

#include "base/error.h"
#include "base/fd.h"
#include "base/socket.h"

#include "base/gettext.h"

static void
relaySpreadBroken(unsigned index, bool byVmm, const GError *why, void *opaque)
{
    migRelay *relay = opaque;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);

    relayBreak(relay, &relay->streams[index], why->message, byVmm);
}

bool
relaySpreadReady(migRelay *relay, GError **error)
{
    const spreadOptions options = {
        .sends = relay->spreadSends, .method = relay->options.method, .level = relay->options.level, .limit = relay->limit,
        .stallMs = relay->options.stallMs, .complete = relay->filterPump && relay->spreadSends ? &relay->vmmComplete : NULL,
        .broken = relaySpreadBroken, .opaque = relay,
    };
    g_autofree pumpEnd *ends = NULL;
    unsigned added = 0;

    while (added < relay->count && relay->streams[added].added)
        added++;
    if (relay->spreadFd < 0 || relay->shut || added < relay->count)
        return true;
    ends = g_new0(pumpEnd, relay->count);
    for (unsigned i = 0; i < relay->count; i++)
        ends[i] = helloConnEnd(helloConnSteal(&relay->streams[i].conn), relay->peer);
    relay->spread = spreadNew(baseFdSteal(&relay->spreadFd), ends, relay->count, &options, error);
    return relay->spread != NULL;
}

static void
relayFilterEnded(pump *p, const GError *why, void *opaque)
{
    migRelay *relay = opaque;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&relay->lock);

    if (why && !g_error_matches(why, BASE_ERROR, BASE_ERROR_ABORTED))
        relayBreak(relay, &relay->streams[0], why->message, pumpFailedAt(p, relay->spreadSends ? 0 : 1));
}

/* What spreads must know a whole stream from one that the filter has cut: this one stands last and sees the end pass. */
static bool
markEnd(void *filter, pump *p G_GNUC_UNUSED, pumpDirection direction)
{
    migRelay *relay = filter;

    if (direction == PUMP_FORWARD)
        atomic_store(&relay->vmmComplete, true);
    return true;
}

static const pumpFilterOps markOps = { .end = markEnd };

bool
relaySpreadFilter(migRelay *relay, bool sends, GError **error)
{
    const pumpOptions options = {
        .twoWay = true, .filterOps = relay->options.filterOps, .filter = relay->options.filter,
        .farFilterOps = &markOps, .farFilter = relay, .ended = relayFilterEnded, .opaque = relay,
    };
    pumpEnd vmm = { .fd = relay->spreadFd, .name = _("the VMM") };
    pumpEnd inner = { .name = _("the connections") };
    int pair[2];

    if (!relay->options.filterOps)
        return true;
    if (!baseSocketPair(pair, PUMP_ROOM, error))
        return false;
    inner.fd = pair[0];
    relay->vmmFd = vmm.fd;
    relay->spreadFd = pair[1];
    relay->filterPump = pumpNew(sends ? &vmm : &inner, sends ? &inner : &vmm, &options, error);
    return relay->filterPump != NULL;
}

void
relaySpreadEnd(migRelay *relay)
{
    spread *spreads;
    pump *filter;

    g_mutex_lock(&relay->lock);
    spreads = g_steal_pointer(&relay->spread);
    filter = g_steal_pointer(&relay->filterPump);
    for (pumpDirection d = PUMP_FORWARD; spreads && d <= PUMP_BACKWARD; d++)
        relay->bytes[d] += spreadBytes(spreads, d);
    baseFdReplace(&relay->spreadFd, -1);
    g_mutex_unlock(&relay->lock);
    pumpFree(filter);
    spreadFree(spreads);
}
