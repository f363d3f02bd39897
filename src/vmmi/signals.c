/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vmmi/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include "vmmi/signals_list.h"

int
vmmiSignalsOpen(void)
{
    static const int which[] = VMMI_SIGNALS;
    sigset_t set;
    size_t i;

    sigemptyset(&set);
    for (i = 0; i < sizeof(which) / sizeof(which[0]); i++) {
        /* A parent may have them ignored (nohup): an ignored signal never becomes pending. */
        signal(which[i], SIG_DFL);
        sigaddset(&set, which[i]);
    }
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -1;
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

vmmiSignal
vmmiSignalsNext(int fd)
{
    struct signalfd_siginfo info;

    if (read(fd, &info, sizeof(info)) != sizeof(info))
        return VMMI_SIGNAL_NONE;
    switch (info.ssi_signo) {
    case SIGUSR1:
        return VMMI_SIGNAL_STATUS;
    case SIGTERM:
    case SIGHUP:
        return VMMI_SIGNAL_LEAVE;
    default:
        return VMMI_SIGNAL_ABORT;
    }
}
