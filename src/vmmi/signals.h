/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* signals.h: what a manager asks for by signals, as events of a descriptor */
#pragma once

typedef enum {
    VMMI_SIGNAL_NONE,
    VMMI_SIGNAL_STATUS,    /* SIGUSR1 */
    VMMI_SIGNAL_LEAVE,     /* SIGTERM, SIGHUP: end, the migration goes on */
    VMMI_SIGNAL_ABORT,     /* SIGINT, SIGQUIT, SIGTSTP (a process cannot catch the SIGSTOP of the specification) */
} vmmiSignal;

/* Blocks these signals for this thread and all that it starts later, and returns the descriptor that reports them, or -1. */
int vmmiSignalsOpen(void);
/* The next one; VMMI_SIGNAL_NONE if there is none (never blocks). */
vmmiSignal vmmiSignalsNext(int fd);
