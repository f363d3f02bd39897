/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* phase-model.c: the walk through all states and what must hold in each; see phase-model.h */
#include "phase-model-priv.h"

#include <string.h>

/* ---- the table ---- */

const migMove *
findMove(const walk *w, unsigned from, migEvent event)
{
    return w->rows[from][event];
}

bool
phaseFinal(unsigned phase)
{
    return migPhaseInfo((migPhase)phase)->final;
}

void
report(walk *w, uint32_t index, const char *what, const char *detail)
{
    GString *text;
    GPtrArray *trace;

    if (w->ret->violation)
        return;
    text = g_string_new(NULL);
    trace = g_ptr_array_new();
    g_string_append_printf(text, "%s%s%s after:", what, detail ? ": " : "", detail ? detail : "");
    for (uint32_t i = index; i != 0; i = g_array_index(w->parents, uint32_t, i))
        g_ptr_array_add(trace, GUINT_TO_POINTER(i));
    for (guint i = trace->len; i > 0; i--) {
        uint32_t at = GPOINTER_TO_UINT(g_ptr_array_index(trace, i - 1));
        const state *s = &g_array_index(w->states, state, at);

        g_string_append_printf(text, "\n  %-32s source %s%s%s, destination %s%s%s",
                               (const char *)g_ptr_array_index(w->labels, at),
                               migPhaseName(s->sPhase), s->sRuns ? " (runs)" : "",
                               s->sUp ? "" : " (killed)", migPhaseName(s->dPhase),
                               s->dRuns ? " (runs)" : "", s->dUp ? "" : " (killed)");
    }
    g_ptr_array_unref(trace);
    w->ret->violation = g_string_free(text, FALSE);
}

/* ---- states ---- */

static uint32_t *
slotFor(const walk *w, uint64_t key)
{
    size_t at = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (w->slotCount - 1);

    while (w->slots[at] && g_array_index(w->states, state, w->slots[at] - 1).key != key)
        at = (at + 1) & (w->slotCount - 1);
    return &w->slots[at];
}

static void
growSlots(walk *w)
{
    g_free(w->slots);
    w->slotCount = w->slotCount ? w->slotCount * 2 : 1 << 12;
    w->slots = g_new0(uint32_t, w->slotCount);
    for (guint i = 0; i < w->states->len; i++)
        *slotFor(w, g_array_index(w->states, state, i).key) = i + 1;
}

void
addStep(walk *w, const state *next, stepKind kind, const char *label)
{
    uint32_t *slot = slotFor(w, next->key);

    w->ret->steps++;
    if (*slot == 0) {
        g_array_append_val(w->states, *next);
        g_array_append_val(w->parents, w->current);
        g_ptr_array_add(w->labels, (gpointer)label);
        *slot = w->states->len;
        if (w->states->len * 2 > w->slotCount) {
            growSlots(w);
            slot = slotFor(w, next->key);
        }
    }
    if (kind == PROGRESS) {
        edge e = { w->current, *slot - 1 };

        g_array_append_val(w->edges, e);
    }
}

/* ---- what must hold ---- */

static bool
atRest(const walk *w, const state *s)
{
    if (w->input->coord == COORD_DIRECT)
        return directRests(s);
    return s->sUp && s->dUp && !s->sPend && !s->dPend && phaseFinal(s->sPhase) &&
           phaseFinal(s->dPhase) && s->step == STEP_END && s->reqS == REQ_NONE &&
           s->reqD == REQ_NONE && !s->sCall && !s->dCall;
}

static void
checkRest(walk *w, uint32_t index, const state *s)
{
    bool here = s->sPhase == MIG_PHASE_IDLE;
    bool there = s->dPhase == MIG_PHASE_COMMITTED;

    w->ret->rests++;
    if (here && s->sVmm && !s->sRuns)
        report(w, index, "at rest, but the guest is frozen on the source", NULL);
    if (!here && s->sVmm)
        report(w, index, "at rest, but a VMM is left on the source", NULL);
    if (there && s->dVmm && !s->dRuns && !s->dStartFailed)
        report(w, index, "at rest, but the guest is stopped on the destination", NULL);
    if (!there && s->dVmm)
        report(w, index, "at rest, but a VMM is left on the destination", NULL);
    if (!s->vmmDied && here == there)
        report(w, index, here ? "at rest on both hosts" : "at rest on no host", NULL);
}

static void
checkState(walk *w, uint32_t index)
{
    const state *s = &g_array_index(w->states, state, index);
    bool here = s->sVmm && migPhaseInfo((migPhase)s->sPhase)->mayRun;
    bool there = s->dVmm && migPhaseInfo((migPhase)s->dPhase)->mayRun;

    if (modelIsOffline(w)) {
        w->ret->rests += atRest(w, s);
        offlineHolds(w, index, s);
        return;
    }
    if (w->input->coord == COORD_DIRECT) {
        w->ret->rests += atRest(w, s);
        directHolds(w, index, s);
        return;
    }
    if (s->dRuns && !migPhaseInfo((migPhase)s->dPhase)->mayRun)
        report(w, index, "runs on the destination in a phase in which it may not", NULL);
    if (s->sPhase == MIG_PHASE_GONE && s->dPhase != MIG_PHASE_COMMITTED)
        report(w, index, "given away, but not taken", NULL);
    if (s->sRuns && s->dRuns)
        report(w, index, "two copies run", NULL);
    if (here && there)
        report(w, index, "two copies may run", NULL);
    /* A frozen copy of the source can run again; a waiting one of the destination is worth nothing
     * by itself. */
    if (!s->vmmDied && !there &&
        (!s->sVmm || s->sPhase == MIG_PHASE_GONE || s->sPhase == MIG_PHASE_ENDED))
        report(w, index, "no copy is left", NULL);
    if (atRest(w, s))
        checkRest(w, index, s);
}

/* Every state reaches rest by progress alone: mark backwards from the states at rest. */
static void
checkAllReachRest(walk *w)
{
    guint count = w->states->len;
    g_autofree uint32_t *first = g_new0(uint32_t, count + 1);
    g_autofree uint32_t *before = g_new(uint32_t, w->edges->len + 1);
    g_autofree uint32_t *queue = g_new(uint32_t, count);
    g_autofree bool *reaches = g_new0(bool, count);
    guint head = 0, tail = 0;

    for (guint i = 0; i < w->edges->len; i++)
        first[g_array_index(w->edges, edge, i).to]++;
    for (guint i = 0, sum = 0; i <= count; i++) {
        sum += i < count ? first[i] : 0;
        first[i] = sum;
    }
    for (guint i = 0; i < w->edges->len; i++) {
        edge e = g_array_index(w->edges, edge, i);

        before[--first[e.to]] = e.from;
    }
    for (guint i = 0; i < count; i++) {
        if (atRest(w, &g_array_index(w->states, state, i)))
            reaches[queue[tail++] = i] = true;
    }
    while (head < tail) {
        uint32_t at = queue[head++];

        for (uint32_t i = first[at]; i < first[at + 1]; i++) {
            if (!reaches[before[i]])
                reaches[queue[tail++] = before[i]] = true;
        }
    }
    for (guint i = 0; i < count; i++) {
        if (!reaches[i])
            report(w, i, "never comes to rest", NULL);
    }
}

/* Without faults the guest arrives, whatever the order of things: no detour can be what a row is
 * for. */
static void
checkSucceeds(walk *w)
{
    guint count = w->states->len;
    g_autofree bool *seen = g_new0(bool, count);
    bool again = true;
    bool arrives = false;

    seen[0] = true;
    /* Edges are in the order of discovery, so few rounds are needed. */
    while (again) {
        again = false;
        for (guint i = 0; i < w->edges->len; i++) {
            edge e = g_array_index(w->edges, edge, i);

            if (seen[e.from] && !seen[e.to])
                again = seen[e.to] = true;
        }
    }
    for (guint i = 0; i < count; i++) {
        const state *s = &g_array_index(w->states, state, i);

        if (!seen[i] || !atRest(w, s))
            continue;
        if (s->sPhase != MIG_PHASE_GONE || s->dRuns == modelIsOffline(w) || !s->dVmm)
            report(w, i, "fails without a fault", NULL);
        /* A definition goes from here only if it was to. */
        if (s->sVmm != (w->input->coord == COORD_OFFLINE_COPY))
            report(w, i, "the source's copy is not what was asked for", NULL);
        arrives = true;
    }
    if (!arrives)
        report(w, 0, "never succeeds", NULL);
}

void
modelWalk(const modelInput *input, modelResult *ret)
{
    walk w = { .input = input, .ret = ret };
    state start = { .key = 0 };

    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; i < input->moveCount; i++)
        w.rows[input->moves[i].from][input->moves[i].event] = &input->moves[i];
    w.states = g_array_new(FALSE, FALSE, sizeof(state));
    w.parents = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    w.labels = g_ptr_array_new();
    w.edges = g_array_new(FALSE, FALSE, sizeof(edge));
    growSlots(&w);

    start.sPhase = start.sDisk = migPhaseRest(MIG_SIDE_SOURCE);
    start.dPhase = start.dDisk = migPhaseRest(MIG_SIDE_DEST);
    start.sUp = start.dUp = start.sVmm = 1;
    start.sRuns = !modelIsOffline(&w);
    /* Somebody has started it by hand. */
    start.dVmm = input->coord == COORD_DIRECT;
    start.reqS = start.reqD = REQ_NONE;
    coordGo(&w, &start, coordFirst(input->coord));
    addStep(&w, &start, FAULT_STEP, "start");

    for (uint32_t i = 0; i < w.states->len && !ret->violation; i++) {
        checkState(&w, i);
        if (!ret->violation)
            expand(&w, i);
    }
    if (!ret->violation)
        checkAllReachRest(&w);
    if (!ret->violation)
        checkSucceeds(&w);
    ret->states = w.states->len;

    g_array_unref(w.states);
    g_array_unref(w.parents);
    g_ptr_array_unref(w.labels);
    g_array_unref(w.edges);
    g_free(w.slots);
}
