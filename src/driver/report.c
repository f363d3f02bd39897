/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <config.h>

#include "driver/report.h"

#include "virerror.h"
#include "virlog.h"

#include "base/error.h"
#include "base/log.h"
#include "driver/compat.h"
#include "base/gettext.h"

/* By baseErrorCode.  The first row with a libvirt code is the one that reportToGError() takes for it. */
static const int errorNumbers[] = {
    [BASE_ERROR_INTERNAL] = VIR_ERR_INTERNAL_ERROR,
    [BASE_ERROR_INVALID_ARG] = VIR_ERR_INVALID_ARG,
    [BASE_ERROR_UNSUPPORTED] = VIR_ERR_ARGUMENT_UNSUPPORTED,
    [BASE_ERROR_CONFIG] = VIR_ERR_CONFIG_UNSUPPORTED,
    [BASE_ERROR_XML] = VIR_ERR_XML_ERROR,
    [BASE_ERROR_OPERATION_INVALID] = VIR_ERR_OPERATION_INVALID,
    [BASE_ERROR_OPERATION_FAILED] = VIR_ERR_OPERATION_FAILED,
    [BASE_ERROR_TIMEOUT] = VIR_ERR_OPERATION_TIMEOUT,
    [BASE_ERROR_ABORTED] = VIR_ERR_OPERATION_ABORTED,
    [BASE_ERROR_UNSAFE] = VIR_ERR_MIGRATE_UNSAFE,
    [BASE_ERROR_NO_DOMAIN] = VIR_ERR_NO_DOMAIN,
    [BASE_ERROR_SYSTEM] = VIR_ERR_SYSTEM_ERROR,
    [BASE_ERROR_MONITOR_CLOSED] = VIR_ERR_OPERATION_FAILED,
    [BASE_ERROR_BUSY] = VIR_ERR_RESOURCE_BUSY,
    [BASE_ERROR_HOOK] = VIR_ERR_HOOK_SCRIPT_FAILED,
};
G_STATIC_ASSERT(G_N_ELEMENTS(errorNumbers) == BASE_ERROR_LAST);

/* libvirt codes that have no row above but a near relative there. */
static const struct {
    int number;
    baseErrorCode code;
} nearCodes[] = {
    { VIR_ERR_NO_SUPPORT, BASE_ERROR_UNSUPPORTED },
    { VIR_ERR_OPERATION_UNSUPPORTED, BASE_ERROR_UNSUPPORTED },
    { VIR_ERR_XML_DETAIL, BASE_ERROR_XML },
    { VIR_ERR_XML_INVALID_SCHEMA, BASE_ERROR_XML },
    { VIR_ERR_INVALID_DOMAIN, BASE_ERROR_INVALID_ARG },
    { VIR_ERR_AGENT_UNRESPONSIVE, BASE_ERROR_TIMEOUT },
    { VIR_ERR_NO_CONNECT, BASE_ERROR_OPERATION_FAILED },
    { VIR_ERR_RPC, BASE_ERROR_OPERATION_FAILED },
    { VIR_ERR_AUTH_FAILED, BASE_ERROR_OPERATION_FAILED },
    { VIR_ERR_ACCESS_DENIED, BASE_ERROR_OPERATION_FAILED },
    { VIR_ERR_DOM_EXIST, BASE_ERROR_OPERATION_FAILED },
};

int
reportGError(GError *error)
{
    int number = VIR_ERR_INTERNAL_ERROR;

    if (!error) {
        virReportError(VIR_ERR_INTERNAL_ERROR, "%s", _("an operation failed without giving a reason"));
        return -1;
    }
    if (error->domain == BASE_ERROR && error->code >= 0 && error->code < BASE_ERROR_LAST)
        number = errorNumbers[error->code];
    virReportError(number, "%s", error->message);
    g_error_free(error);
    return -1;
}

/* *retExact: the code is the same after reportGError(). */
static baseErrorCode
reportNearestCode(int number, bool *retExact)
{
    for (size_t i = 0; i < G_N_ELEMENTS(errorNumbers); i++) {
        *retExact = errorNumbers[i] == number;
        if (*retExact)
            return i;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(nearCodes); i++) {
        if (nearCodes[i].number == number)
            return nearCodes[i].code;
    }
    return BASE_ERROR_INTERNAL;
}

void
reportToGError(GError **error)
{
    virErrorPtr last = virGetLastError();
    baseErrorCode code = BASE_ERROR_INTERNAL;
    const char *text = NULL;
    bool exact = false;

    if (last && last->code != VIR_ERR_OK) {
        code = reportNearestCode(last->code, &exact);
        text = last->message;
        /* libvirt puts the words of the code before the detail; they come back with the code. */
        if (exact && text && last->str2 && *last->str2 && g_str_has_suffix(text, last->str2))
            text = last->str2;
    }
    g_set_error_literal(error, BASE_ERROR, code, text ? text : _("an operation failed without giving a reason"));
    virResetLastError();
}

/* ---- the log ---------------------------------------------------------------------------------- */

static const char *const logDomains[] = { LOG_DOMAINS };

/* One source for each folder, so that libvirt's log_filters can tell them apart: "1:stratovirt-remote". */
static virLogSource logSources[G_N_ELEMENTS(logDomains)];

static void
reportLog(const char *domain G_GNUC_UNUSED, GLogLevelFlags level, const char *message, gpointer opaque)
{
    virLogPriority priority = VIR_LOG_DEBUG;

    if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL))
        priority = VIR_LOG_ERROR;
    else if (level & G_LOG_LEVEL_WARNING)
        priority = VIR_LOG_WARN;
    else if (level & (G_LOG_LEVEL_MESSAGE | G_LOG_LEVEL_INFO))
        priority = VIR_LOG_INFO;
    virLogMessage(opaque, priority, __FILE__, 0, NULL, NULL, "%s", message);
}

void
reportInstallLogSink(void)
{
    static gsize done;

    if (!g_once_init_enter(&done))
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(logDomains); i++) {
        logSources[i] = (virLogSource) { .name = logDomains[i] };
        g_log_set_handler(logDomains[i], G_LOG_LEVEL_MASK | G_LOG_FLAG_FATAL | G_LOG_FLAG_RECURSION,
                          reportLog, &logSources[i]);
    }
    g_once_init_leave(&done, 1);
}
