/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* signals_list.h: the signals that helpers serve; without GLib, for launch.c */
#pragma once

#include <signal.h>

#define VMMI_SIGNALS { SIGUSR1, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGTSTP }
