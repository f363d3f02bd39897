/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * fault.h: named places where tests make things go wrong
 *
 * The environment variable LIBVIRT_STRATOVIRT_FAULT holds a comma separated list of
 *     NAME[:ACTION[:N]]
 * with names from fault-points.def and the actions
 *     fail    the code at that place behaves as if the thing had failed (the default);
 *             with N only the Nth passage does
 *     kill    the process kills itself with SIGKILL, at the Nth passage (default 1)
 *     hang    the thread stops there for ever, at the Nth passage (default 1)
 *     delay   every passage takes N milliseconds (default 1000)
 * LIBVIRT_STRATOVIRT_FAULT_FILE names a file with such a list that may come, change (by rename) and go
 * while the process runs: each passage looks at it, and a delay ends when it has changed.  As long
 * as there is one it replaces the list of the environment.  Each passage of an armed point appends its
 * name as a line to the file of that name with '.passed' after it.
 * A text that is not of this form ends the process at the first fault point, with a message: a test
 * with a misspelt fault must not pass.
 *
 * Only builds with the option fault_points (which defines SV_FAULT_POINTS) have any of this; in
 * others FAULT() is the constant false and the compiler drops what depends on it.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
#define FAULT_POINT(id, name, meaning) FAULT_##id,
#include "base/fault-points.def"
#undef FAULT_POINT
    FAULT_LAST
} faultPoint;

#ifdef SV_FAULT_POINTS
/* True if the thing at this place shall fail now. */
# define FAULT(id) faultPass(FAULT_##id)
/* The same, and sets *error. */
# define FAULT_ERROR(id, error) faultPassError(FAULT_##id, error)

bool faultPass(faultPoint point);
bool faultPassError(faultPoint point, GError **error);

/**
 * faultArm: replace what the environment said by @text (NULL or empty: nothing); resets all counts.
 * Errors: BASE_ERROR_INVALID_ARG, and what was armed before stays.  For tests, while no other
 * thread passes a fault point.
 */
bool faultArm(const char *text, GError **error);
#else
# define FAULT(id) (false)
# define FAULT_ERROR(id, error) (false)
#endif
