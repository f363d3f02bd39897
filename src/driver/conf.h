/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* conf.h: stratovirt.conf; every key is one row of a table in conf.c (name, type, default, range) */
#pragma once

#include "internal.h"
#include "virobject.h"
#include <glib.h>

typedef struct _drvConf drvConf;
struct _drvConf {
    gint refs;
    char *qemuBinary;            /* NULL: look in PATH */
    char *stratovirtBinary;
    GStrv repairedVmms;          /* paths of programs whose known defects have been repaired; NULL: none */
    unsigned incomingUnfiltered; /* 0: no guest may arrive in a VMM whose filter of system calls must be off for that */
    char *defaultVmm;            /* "qemu" or "stratovirt"; NULL: what is installed */
    char *migrationHost;         /* name or address told to sources first; NULL: none */
    GStrv migrationAddresses;    /* what Prepare offers; NULL: all global addresses of the host */
    char *migrationListen;       /* address the migration port binds; NULL: all */
    unsigned migrationPort;      /* default 49152 */
    unsigned maxOutgoing, maxIncoming;
    unsigned maxWaiting;         /* calls that wait for one of those, both directions together */
    char *stdioHandler;          /* "logd" or "file" */
    char *hostUuid;              /* override for hosts with equal firmware UUIDs; NULL: the firmware's */
    unsigned keepaliveInterval;  /* seconds; peer-to-peer connections; 0 = off */
    unsigned keepaliveCount;
    unsigned connectTimeoutMs;   /* data and link connections */
    unsigned startTimeoutMs;     /* from spawn to an answering control socket */
    unsigned shutdownTimeoutMs;  /* graceful destroy: SIGTERM before SIGKILL */
    unsigned linkTimeoutMs;      /* silence after which a link counts as lost */
    unsigned finishTimeoutMs;    /* how long Finish waits for the rest of the stream */
    unsigned prepareLease;       /* seconds; how long a prepared destination waits for its source */
    char *migrateTransport;      /* "auto", "native" or "relay": what carries a guest's data */
    unsigned migrateAckTimeout, migrateKeepalive, migrateStallTimeout;   /* seconds, 0: the kernel's, none, never */
    char *migrateSecure;         /* "off", "prefer" or "require": must a guest's memory be secure on its way? */
    char *migrateTlsDir;         /* certificates of migrations, as libvirt lays them out */
    char *migrateTlsPriority;    /* GnuTLS; NULL: the default */
    char *user, *group;          /* VMM's identity under a privileged daemon; NULL: the daemon's own */
};

/**
 * drvConfLoad: defaults, then @path if it exists.
 * Unknown keys, wrong types and values out of range are errors that name file, key and what is allowed.
 */
drvConf *drvConfLoad(const char *path, bool privileged);
drvConf *drvConfRef(drvConf *conf);
void drvConfUnref(drvConf *conf);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(drvConf, drvConfUnref)
