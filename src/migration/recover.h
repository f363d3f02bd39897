/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* recover.h: what becomes of a saved phase after a restart of the daemon */
#pragma once

#include "migration/job.h"

/**
 * migRecover: fire RESTART on a job made from a saved record and see it to rest (in doubt: a thread asks on).
 * The caller has become the runner (migJobTryEnter) before anybody else could see the job, so that nothing that happens now
 * is served on the saved phase, which the ledger may know better; it is not any more when this returns.
 * @vmmAlive: the VMM answers
 */
void migRecover(migJob *job, bool vmmAlive);
