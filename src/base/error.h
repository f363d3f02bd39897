/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * error.h: the one GError domain of base, remote and migration
 *
 * The folders below src/driver report errors by GError.  src/driver/report.c turns each
 * into a libvirt error exactly once; the codes say which libvirt error number it becomes.
 */
#pragma once

#include <glib.h>

#define BASE_ERROR (baseErrorQuark())

typedef enum {
    BASE_ERROR_INTERNAL,            /* a fault of ours: VIR_ERR_INTERNAL_ERROR */
    BASE_ERROR_INVALID_ARG,         /* the caller's value is wrong: VIR_ERR_INVALID_ARG */
    BASE_ERROR_UNSUPPORTED,         /* known, but not here: VIR_ERR_ARGUMENT_UNSUPPORTED */
    BASE_ERROR_CONFIG,              /* the definition cannot be had: VIR_ERR_CONFIG_UNSUPPORTED */
    BASE_ERROR_XML,                 /* malformed XML or cookie: VIR_ERR_XML_ERROR */
    BASE_ERROR_OPERATION_INVALID,   /* not in this state: VIR_ERR_OPERATION_INVALID */
    BASE_ERROR_OPERATION_FAILED,    /* tried and failed: VIR_ERR_OPERATION_FAILED */
    BASE_ERROR_TIMEOUT,             /* no answer in time: VIR_ERR_OPERATION_TIMEOUT */
    BASE_ERROR_ABORTED,             /* cancelled by a user: VIR_ERR_OPERATION_ABORTED */
    BASE_ERROR_UNSAFE,              /* would risk data: VIR_ERR_MIGRATE_UNSAFE */
    BASE_ERROR_NO_DOMAIN,           /* no such domain: VIR_ERR_NO_DOMAIN */
    BASE_ERROR_SYSTEM,              /* a system call failed: VIR_ERR_SYSTEM_ERROR */
    BASE_ERROR_MONITOR_CLOSED,      /* the VMM's control socket ended: VIR_ERR_OPERATION_FAILED */
    BASE_ERROR_BUSY,                /* a limit is reached; later it may work: VIR_ERR_RESOURCE_BUSY */
    BASE_ERROR_HOOK,                /* a script of the administrator refused: VIR_ERR_HOOK_SCRIPT_FAILED */
    BASE_ERROR_LAST
} baseErrorCode;

GQuark baseErrorQuark(void);

/**
 * baseSetErrno: set an error of code BASE_ERROR_SYSTEM, "TEXT: strerror(errnum)".
 * @error: where to store it; may be NULL
 * @errnum: a positive errno value
 * @fmt: what failed, on what
 */
void baseSetErrno(GError **error, int errnum, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/**
 * baseForeignText: what another host or program says, fit for a message or a log: valid UTF-8 in one line,
 * control characters escaped, at most 1024 bytes of it.
 * @text: NULL or empty: a phrase that says so
 *
 * Caller frees.
 */
char *baseForeignText(const char *text);
