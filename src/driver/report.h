/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* report.h: GError of the lower folders -> libvirt error, once, by a table; and the log sink for their g_debug */
#pragma once

#include "internal.h"
#include <glib.h>

/** reportGError: raise the libvirt error for @error (taken and freed); returns -1 so that callers can return it. */
int reportGError(GError *error);
/** reportToGError: the other way: libvirt's last error as a GError of the nearest code; resets the last error. */
void reportToGError(GError **error);
void reportInstallLogSink(void);
