/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * standin.h: a stand-in for StratoVirt
 *
 * Theory of operation: it has StratoVirt's command line, control socket and wire protocol, faults
 * included, and real guest memory, but no virtual machine: in the vCPU's place a thread counts,
 * rewrites and verifies that memory and writes to the disk file, as the project's own guest does
 * (guest/README.md), and reports on the serial port in the same words.  All that the "guest" knows
 * lies in its memory and in the little state that travels apart, so a migration that loses, mixes
 * or doubles something shows.
 *
 * One thread (main) serves the control sockets under the machine's lock, one is the vCPU, one sends
 * when there is a migration.  What a version does differently is a row of quirks.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE 4096
#define MIB (1024 * 1024ULL)

/* How the versions differ, and what tests may switch on. */
typedef struct {
    const char *name;            /* "2.4.0", "2.5.0", "2.5.0-mended" */
    const char *package;         /* what it calls itself */
    unsigned major, minor, micro;
    bool readsToEnd;             /* the destination reads a block until the connection ends, so it never answers */
    bool pausesInName;           /* the vCPU runs on when it is stopped for the switch-over */
    bool needsFlash;             /* q35 only with pflash */
    bool underscores;            /* "max_ports", which is "max-ports" later */
    bool checksRun;              /* what changes nothing fails, without a word: stop, cont, powerdown; and every stop unlocks the disks */
    bool saysAtOnce;             /* an event is written by the thread that raises it, while an answer is written in two pieces */
    bool describesSizes;         /* the records of a state have no lengths; the descriptions before them have */
    bool savesBetter;            /* into files: stops the guest for it, has more behind the memory, and can read that instead of mapping it */
} quirks;

typedef enum { RUN_CREATED, RUN_RUNNING, RUN_PAUSED, RUN_SHUTDOWN } runState;
typedef enum { MIG_NONE, MIG_SETUP, MIG_ACTIVE, MIG_COMPLETED, MIG_FAILED, MIG_CANCELED } migState;

typedef struct {
    char *id, *kind, *bus, *addr;
    char *drive;                 /* of a disk */
    char *netdev;                /* of an interface */
    bool seen;                   /* the guest uses it */
    bool leaving;                /* the guest has been asked to let go of it */
    gint64 blinksUntilUs;        /* then: it has noticed, and does so at this time; 0: it has not */
} device;

typedef struct {
    char *id, *file;
    bool readonly, qcow2;
    bool flash;                  /* of the firmware; locked like the others */
    int fd;
} drive;

/* A console on a pty, beside the serial port: it says the same, and the guest obeys it, too. */
typedef struct {
    char *id;                    /* of its chardev */
    char *path;                  /* of the pty; NULL: not open */
    int fd;
    GString *line;               /* what has come of the next command */
} terminal;

typedef struct {
    char *machine;               /* "q35", "microvm", "none" */
    unsigned vcpus;
    uint64_t memory;             /* bytes */
    bool freeze, flash, daemonize, disableSeccomp;
    char *kernel, *initrd, *append;
    char *incoming;              /* URI, NULL: none */
    char *serial;                /* "pty", "stdio", "file:PATH", "socket:PATH", NULL: none */
    char *serialId;              /* of its chardev */
    GPtrArray *terminals;        /* terminal */
    GPtrArray *qmp;              /* char *: paths of control sockets */
    GPtrArray *devices;          /* device */
    GPtrArray *drives;           /* drive */
} options;

typedef struct {
    const quirks *quirk;
    options opt;
    GMutex lock;                 /* the machine's: run state and migration */
    runState run;
    migState migration;
    gint64 startedUs;
    unsigned timeoutMs;          /* for each answer in a migration */
    unsigned unplugMs;           /* that the guest takes to let go of a device */
    int exitCode;
    GMainLoop *loop;
} machine;

extern machine vm;

/* options.c: false after a message on stderr; the machine's options are then undefined */
bool optionsParse(int argc, char **argv);

/* guest.c */
extern uint8_t *guestRam;
void guestInit(bool fresh);              /* memory and disks; @fresh: fill it, else it comes from a stream */
void guestStartThread(void);
/* Really stop or let run the vCPU; the first returns when it stands still. */
void guestStop(void);
void guestGo(void);
bool guestLockDisks(GError **error);
bool guestLockDisk(const drive *d, GError **error);
void guestUnlockDisks(void);
void guestLogDirty(bool on);
/* Pages written since the last call, as runs; array of dirtyRun. */
typedef struct {
    uint64_t at, len;            /* bytes */
} dirtyRun;
GArray *guestTakeDirty(void);
/* A number among the words of the kernel's command line, "NAME=NUMBER". */
unsigned guestWish(const char *name, unsigned fallback);
/* What travels apart from memory: the vCPU's registers. */
void guestSaveCpu(uint64_t regs[4]);
void guestLoadCpu(const uint64_t regs[4]);
/* The thread of the vCPU with this number. */
pid_t guestThread(unsigned vcpu);
/* What query-chardev says: ptys alone; the caller's. */
char *guestListPtys(void);

/* devices.c: takes a lock of its own, which is the last one taken */
void netdevAdd(const char *id, const char *names);     /* before the start; @names: of descriptors, "a:b" or NULL */
void devicesBoot(void);                  /* the guest finds all there are */
uint64_t devicesName(const device *d);
uint64_t devicesKnown(void);             /* the sum of the names of those that the guest uses */
/* A slice of the running guest: what comes and what goes; @known is what it knows, and the new sum returned. */
uint64_t devicesWork(uint64_t known, void (*say)(const char *what, const device *d));
GPtrArray *devicesCopy(void);            /* of pointers; the caller's */
bool cmdBlockdevAdd(JsonObject *arguments, char **ret, GError **error);
bool cmdBlockdevDel(JsonObject *arguments, char **ret, GError **error);
bool cmdGetfd(JsonObject *arguments, char **ret, GError **error);
bool cmdNetdevAdd(JsonObject *arguments, char **ret, GError **error);
bool cmdNetdevDel(JsonObject *arguments, char **ret, GError **error);
bool cmdDeviceAdd(JsonObject *arguments, char **ret, GError **error);
bool cmdDeviceDel(JsonObject *arguments, char **ret, GError **error);
bool cmdBalloon(JsonObject *arguments, char **ret, GError **error);
bool cmdQueryBalloon(JsonObject *arguments, char **ret, GError **error);

/* qmp.c */
int qmpTakeFd(void);                     /* what came along with the request, the caller's; -1: nothing */
bool qmpListen(GError **error);
void qmpServe(void);                     /* into the main loop */
void qmpEvent(const char *name, JsonObject *data);     /* any thread; takes @data, may be NULL */
void qmpClose(void);                     /* sockets and their files */

/* machine.c: the machine's lock held in all but machineEnd() */
bool machineStop(GError **error);
bool machineCont(GError **error);
const char *machineRunName(void);
const char *machineMigrationName(void);
void machineEnd(int code);               /* the main loop ends */

/* wire.c */
bool wireMigrate(const char *uri, GError **error);     /* lock held; connects, then a thread goes on */
bool wireCancel(GError **error);                       /* lock held */
bool wireIncoming(GError **error);                     /* before the main loop; blocks */

#define STANDIN_ERROR g_quark_from_static_string("standin")
