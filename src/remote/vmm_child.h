/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm_child.h: a short-lived process that is asked something
 *
 * It runs in a process group of its own, dies with the calling thread, has nothing open but what it
 * is given and /dev/null as input, and cannot write more than a little.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
    char *name;        /* for messages */
    const char *folder;/* to run in; NULL: the caller's; borrowed until it has been started */
    GPid pid;          /* 0: none, or reaped */
    int pidFd;
    int outputFd;      /* file with all it wrote to stdout and stderr */
} vmmChild;

#define VMM_CHILD_INIT { .name = NULL, .folder = NULL, .pid = 0, .pidFd = -1, .outputFd = -1 }

/**
 * vmmChildStart: run argv[0], a path.
 * @fds: become the descriptors 3, 4, ... of the child; stay the caller's
 */
bool vmmChildStart(vmmChild *child, const char *const *argv, const int *fds, size_t fdCount,
                   GError **error);

/**
 * vmmChildWait: wait until it ends; *retStatus as of waitpid().
 * BASE_ERROR_TIMEOUT after @timeoutMs; it runs on then.
 */
bool vmmChildWait(vmmChild *child, unsigned timeoutMs, int *retStatus, GError **error);

/**
 * vmmChildOutput: what it has written so far, in UTF-8, without white space at the ends; caller
 * frees.
 */
char *vmmChildOutput(const vmmChild *child);

/** vmmChildClear: kill what is left of it and its group, reap, free.  Returns quickly. */
void vmmChildClear(vmmChild *child);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(vmmChild, vmmChildClear)
