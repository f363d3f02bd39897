/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmmi/sample.h"

#include <glib.h>

#define DEFAULT_PAGE 4096

static uint64_t
number(virTypedParameterPtr params, int count, const char *name)
{
    unsigned long long value = 0;

    return virTypedParamsGetULLong(params, count, name, &value) == 1 ? value : 0;
}

static void
fill(virTypedParameterPtr params, int count, vmmiSample *sample)
{
    uint64_t page = number(params, count, VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE);
    unsigned long long round;

    sample->elapsedMs = number(params, count, VIR_DOMAIN_JOB_TIME_ELAPSED);
    sample->total = number(params, count, VIR_DOMAIN_JOB_MEMORY_TOTAL);
    sample->processed = number(params, count, VIR_DOMAIN_JOB_MEMORY_PROCESSED);
    sample->remaining = number(params, count, VIR_DOMAIN_JOB_MEMORY_REMAINING);
    if (!sample->total) {
        sample->total = number(params, count, VIR_DOMAIN_JOB_DATA_TOTAL);
        sample->processed = number(params, count, VIR_DOMAIN_JOB_DATA_PROCESSED);
        sample->remaining = number(params, count, VIR_DOMAIN_JOB_DATA_REMAINING);
    }
    sample->bytesPerSecond = number(params, count, VIR_DOMAIN_JOB_MEMORY_BPS);
    sample->dirtyPerSecond = number(params, count, VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE) * (page ? page : DEFAULT_PAGE);
    sample->knowsRounds = virTypedParamsGetULLong(params, count, VIR_DOMAIN_JOB_MEMORY_ITERATION, &round) == 1;
    sample->round = sample->knowsRounds ? round : 0;
    sample->downtimeMs = number(params, count, VIR_DOMAIN_JOB_DOWNTIME);
    virTypedParamsGetInt(params, count, VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE, &sample->throttle);
}

bool
vmmiSampleTake(virDomainPtr domain, vmmiSample *ret)
{
    virTypedParameterPtr params = NULL;
    vmmiSample sample = { 0 };
    int operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
    int count = 0, type = VIR_DOMAIN_JOB_NONE, state, reason;

    if (virDomainGetJobStats(domain, &type, &params, &count, 0) < 0)
        return false;
    virTypedParamsGetInt(params, count, VIR_DOMAIN_JOB_OPERATION, &operation);
    sample.active = (type == VIR_DOMAIN_JOB_BOUNDED || type == VIR_DOMAIN_JOB_UNBOUNDED) &&
        operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT;
    if (sample.active) {
        fill(params, count, &sample);
        sample.postcopy = virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
            (reason == VIR_DOMAIN_PAUSED_POSTCOPY || reason == VIR_DOMAIN_PAUSED_POSTCOPY_FAILED);
    }
    virTypedParamsFree(params, count);
    *ret = sample;
    return true;
}

int
vmmiSampleEnded(virDomainPtr domain)
{
    virTypedParameterPtr params = NULL;
    int count = 0, type = VIR_DOMAIN_JOB_NONE;

    if (virDomainGetJobStats(domain, &type, &params, &count,
                             VIR_DOMAIN_JOB_STATS_COMPLETED | VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED) < 0)
        return VIR_DOMAIN_JOB_NONE;
    virTypedParamsFree(params, count);
    return type;
}

unsigned
vmmiSamplePercent(const vmmiSample *sample)
{
    if (!sample->total)
        return 0;
    if (sample->remaining >= sample->total)
        return 0;
    return MIN(99, (unsigned)(100.0 * (sample->total - sample->remaining) / sample->total));
}

uint64_t
vmmiSampleRestMs(const vmmiSample *sample)
{
    return sample->bytesPerSecond ? (uint64_t)(1000.0 * sample->remaining / sample->bytesPerSecond) : 0;
}
