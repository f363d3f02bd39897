/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * launch.c: what is started as a helper; it takes the place of the policy of its own name in the folder 'policies' beside it
 *
 * The libraries of a policy take tens of milliseconds to load. A signal that comes meanwhile would end the process without a
 * completion, so this program, which has none of them, blocks the signals first: they wait until the policy serves them.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmmi/signals_list.h"

static void
blockSignals(void)
{
    static const int which[] = VMMI_SIGNALS;
    sigset_t set;
    size_t i;

    sigemptyset(&set);
    for (i = 0; i < sizeof(which) / sizeof(which[0]); i++)
        sigaddset(&set, which[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

int
main(int argc, char **argv)
{
    char own[PATH_MAX], policy[PATH_MAX + 16];
    ssize_t length;
    char *slash;

    (void)argc;
    blockSignals();
    length = readlink("/proc/self/exe", own, sizeof(own) - 1);
    if (length > 0) {
        own[length] = '\0';
        slash = strrchr(own, '/');
        *slash = '\0';
        snprintf(policy, sizeof(policy), "%s/policies/%s", own, slash + 1);
        execv(policy, argv);
    }
    fprintf(stderr, "{\"vmmiVersion\": \"0.4.1\", \"contentType\": \"completion\", \"timestamp\": %lld, \"completion\": "
            "{\"result\": \"error\", \"error\": {\"code\": 2, \"message\": \"Operation failed\", "
            "\"details\": \"The program of the helper's policy cannot be run: %s\"}}}\n", (long long)time(NULL), strerror(errno));
    return 1;
}
