/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm.h: what a VMM is: a row of traits and a few operations on its control socket
 *
 * No code outside the rows in vmm.c and the files vmm_<name>.c asks which VMM it talks to.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "remote/control.h"
#include "remote/pump.h"

typedef enum {
    VMM_RUN_RUNNING,
    VMM_RUN_PAUSED,          /* stopped by us or a user */
    VMM_RUN_IO_ERROR,        /* stopped by the VMM: disk error */
    VMM_RUN_INMIGRATE,       /* waits for an incoming migration */
    VMM_RUN_POSTMIGRATE,     /* stopped: its state has been sent */
    VMM_RUN_SHUTDOWN,        /* guest has powered off, process still there */
    VMM_RUN_CRASHED,         /* guest panicked */
    VMM_RUN_OTHER,
} vmmRunState;

typedef enum {
    VMM_MIG_NONE,
    VMM_MIG_SETUP,
    VMM_MIG_ACTIVE,
    VMM_MIG_PRE_SWITCHOVER,  /* guest stopped, waits for migrateContinue() */
    VMM_MIG_DEVICE,
    VMM_MIG_COMPLETED,
    VMM_MIG_FAILED,
    VMM_MIG_CANCELLING,
    VMM_MIG_CANCELLED,
} vmmMigState;

/* Figures of one migration as the VMM tells them; bytes, pages, milliseconds, bytes per second. */
typedef struct {
    vmmMigState state;
    char *errorText;                 /* owned; NULL if none */
    uint64_t setupMs, downtimeMs, expectedDowntimeMs, totalMs;
    uint64_t ramTotal, ramTransferred, ramRemaining;
    uint64_t ramDuplicatePages, ramNormalPages, ramNormalBytes;
    uint64_t ramBps, ramDirtyPagesPerSecond, ramIteration, ramPageSize, ramPostcopyRequests;
    uint64_t diskTotal, diskTransferred, diskRemaining;
    uint64_t cpuThrottlePercent;
    /* The cache of pages that were sent before: its size, what was sent as differences, and how often it did not help. */
    uint64_t cacheBytes, cacheSentBytes, cacheSentPages, cacheMisses, cacheOverflows;
} vmmMigStatus;

void vmmMigStatusClear(vmmMigStatus *status);

/* What the VMM's events mean to us. */
typedef enum {
    VMM_EVENT_NONE,          /* of no interest */
    VMM_EVENT_STOP,
    VMM_EVENT_RESUME,
    VMM_EVENT_SHUTDOWN,      /* detail: see vmmEvent.byGuest */
    VMM_EVENT_RESET,
    VMM_EVENT_POWERDOWN,
    VMM_EVENT_PANIC,
    VMM_EVENT_IO_ERROR,
    VMM_EVENT_BALLOON,
    VMM_EVENT_MIGRATION,     /* vmmEvent.migState */
    VMM_EVENT_MIGRATION_PASS,/* vmmEvent.pass */
    VMM_EVENT_DEVICE_REMOVED,/* the guest has let go of vmmEvent.deviceAlias, which is gone */
    VMM_EVENT_DEVICE_KEPT,   /* the guest does not let go of it */
} vmmEventKind;

typedef struct {
    vmmEventKind kind;
    bool byGuest;            /* SHUTDOWN, RESET: the guest asked for it */
    bool ioErrorStops;       /* IO_ERROR: the guest was stopped for it */
    char *deviceAlias;       /* IO_ERROR: "" if unknown; DEVICE_*; owned */
    char *reason;            /* IO_ERROR: "enospc" or NULL; owned */
    uint64_t balloonBytes;
    vmmMigState migState;
    uint64_t pass;
} vmmEvent;

void vmmEventClear(vmmEvent *event);

/* How what goes through channels of memory is compressed. */
typedef enum { VMM_COMPRESS_NONE, VMM_COMPRESS_ZLIB, VMM_COMPRESS_ZSTD } vmmCompress;

/* How to send. */
typedef struct {
    bool live;               /* false: the caller has stopped the guest before */
    bool pauseBeforeSwitchover;
    bool oneWay;             /* nothing comes back on the stream: it goes to a file */
    uint64_t maxBandwidth;   /* bytes per second; 0 = unlimited */
    uint64_t maxDowntimeMs;  /* 0 = the VMM's default */
    bool autoConverge;
    unsigned autoConvergeInitial, autoConvergeIncrement;  /* percent; 0 = default */
    uint64_t xbzrleCacheBytes; /* 0 = no compression of that kind */
    unsigned channels;       /* of memory, beside the main stream; 0 = everything in the one stream */
    const char *unixPath;    /* with channels: the VMM connects there, once for each and once for the main stream, which
                              * is the first, and there is no descriptor (-1); borrowed */
    vmmCompress channelCompress;  /* both sides must agree */
    unsigned compressLevel;  /* 0 = the VMM's default */
    bool hold;               /* the VMM keeps 'holdFd' until migrateRelease(), also when this process ends */
    int holdFd;              /* the other end of the socket that it sends into; borrowed */
} vmmMigSpec;

typedef struct { uint64_t rdReq, rdBytes, wrReq, wrBytes, flReq, rdNs, wrNs, flNs; } vmmBlockStats;

/* What the guest itself says of its memory, by its balloon; bytes and numbers, UINT64_MAX: it does not say. */
typedef struct {
    uint64_t swapIn, swapOut, majorFaults, minorFaults, unused, available, usable, diskCaches, hugeAllocs, hugeFails;
    uint64_t updatedAt;              /* seconds since 1970, the host's clock; 0: never yet */
} vmmGuestMemory;

/*
 * All operations block until the VMM has answered; see controlCall() for threads, locks and
 * errors.  A VMM that lacks an operation has one that fails with BASE_ERROR_UNSUPPORTED, so none
 * is NULL.
 */
typedef struct {
    bool (*status)(control *ctl, vmmRunState *ret, GError **error);
    bool (*pause)(control *ctl, GError **error);
    bool (*resume)(control *ctl, GError **error);
    bool (*powerdown)(control *ctl, GError **error);     /* ask the guest (ACPI) */
    bool (*reset)(control *ctl, GError **error);
    bool (*quit)(control *ctl, GError **error);          /* the VMM ends at once */
    /* Start sending into @fd (a connected socket; duplicated by passing, stays the caller's).
     * Returns when the VMM has begun; how it goes on, MIGRATION events and migrateStatus tell. */
    bool (*migrateStart)(control *ctl, const vmmMigSpec *spec, int fd, GError **error);
    bool (*migrateContinue)(control *ctl, GError **error);
    bool (*migrateCancel)(control *ctl, GError **error);
    /* Let go of what migrateStart() was told to hold; fails if there is nothing. */
    bool (*migrateRelease)(control *ctl, GError **error);
    bool (*migrateStatus)(control *ctl, vmmMigStatus *ret, GError **error);
    bool (*migrateTune)(control *ctl, const vmmMigSpec *spec, GError **error); /* speed, downtime */
    /* The size of the cache that xbzrleCacheBytes made, also while sending. */
    bool (*migrateCache)(control *ctl, uint64_t bytes, GError **error);
    /* Let a VMM started to wait for a stream read it from @fd (passed, stays the caller's). */
    bool (*incomingAttach)(control *ctl, int fd, GError **error);
    /* The same, but the VMM itself listens on a unix socket that it makes at @path, for as many connections as the
     * source's @spec has channels, and one. On return it can be connected to. */
    bool (*incomingListen)(control *ctl, const char *path, const vmmMigSpec *spec, GError **error);
    /* Balloon: bytes the guest has now; set: target bytes. */
    bool (*balloonGet)(control *ctl, uint64_t *retBytes, GError **error);
    bool (*balloonSet)(control *ctl, uint64_t bytes, GError **error);
    /* What the guest of the balloon with this alias said last, and how often, in seconds, it is asked (0: never). */
    bool (*balloonStats)(control *ctl, const char *alias, vmmGuestMemory *ret, GError **error);
    bool (*balloonPeriod)(control *ctl, const char *alias, unsigned seconds, GError **error);
    /* Of the disk with this alias; unknown members stay UINT64_MAX. */
    bool (*blockStats)(control *ctl, const char *alias, vmmBlockStats *ret, GError **error);
    /* Thread ids of the vCPUs, in order; *ret newly allocated. */
    bool (*vcpuThreads)(control *ctl, pid_t **ret, size_t *retCount, GError **error);
    /* The pty behind a character device started as "pty", e.g. "/dev/pts/3"; caller frees *ret. */
    bool (*chardevPath)(control *ctl, const char *id, char **ret, GError **error);
    /* Add the device that @args describe as on a command line: options and their values in turn, NULL ended, what is behind it first.
     * @fds are what "fd=" or "fds=" in them mean, in that order (passed, stay the caller's). What was made is gone again on failure. */
    bool (*devicePlug)(control *ctl, const char *const *args, const int *fds, size_t nfds, GError **error);
    /* Ask the guest to let go of the device with this alias. An event tells when it has; it may never. */
    bool (*deviceUnplug)(control *ctl, const char *alias, GError **error);
    /* Remove what is left behind the device of @args, which is gone. */
    bool (*deviceForget)(control *ctl, const char *const *args, GError **error);
    /* The aliases of the devices that there are, at least those of @wanted (NULL ended); *ret newly allocated. */
    bool (*deviceList)(control *ctl, const char *const *wanted, GStrv *ret, GError **error);
    /* Map an event; kind NONE if it means nothing to us. Caller clears *ret. */
    void (*translateEvent)(const char *name, JsonObject *data, vmmEvent *ret);
} vmmOps;

/* What the VMM at the other end has said itself of the guest that it was sent. */
typedef enum {
    VMM_WORD_NONE,                   /* nothing yet, or nothing that proves anything */
    VMM_WORD_RUNS,                   /* it has loaded the guest and lets it run */
    VMM_WORD_ABSENT,                 /* it has refused the state, or left in good order without having loaded it: it has no guest */
} vmmGuideWord;

/*
 * Who reads along in the stream of a VMM that neither waits before its switch-over nor tells how far it is, and whose guest runs on
 * arrival: the stream goes through a pump on both hosts, and each has a guide as its filter, which keeps the end back.
 * Locks of their own; nothing waits.
 */
typedef struct {
    const pumpFilterOps *filter;     /* with what create() returns */
    /* @source: of the host that the guest leaves.  @changed: look again; called in the pump's thread, must not block. */
    void *(*create)(bool source, void (*changed)(void *opaque), void *opaque);
    GDestroyNotify free;
    /* Source, once the state is PRE_SWITCHOVER: let the end go on at the next pumpPoke().  @toDaemon: to another guide. */
    void (*release)(void *guide, bool toDaemon);
    /* @ret: as the VMM told it; figures and the true state are filled in.  DEVICE: the guest stands still.  PRE_SWITCHOVER: the end is
     * here, whole, and kept back.  COMPLETED: the other VMM said that it has loaded the guest. */
    void (*look)(void *guide, vmmMigStatus *ret);
    /*
     * Destination, state PRE_SWITCHOVER, when the pump is gone: give the VMM, whose connection @fd is and stays the caller's, the end, and
     * hear it until it has said that its guest runs.  Called again, it only hears.  Blocks.
     * Errors: BASE_ERROR_OPERATION_FAILED (its connection has ended and there is nothing left to hear, or it refuses the state),
     * BASE_ERROR_TIMEOUT.
     */
    bool (*land)(void *guide, int fd, unsigned timeoutMs, GError **error);
    bool (*isLoaded)(void *guide);
    /* Source, after release() to a VMM: the proof of where the guest is, if there is one. */
    vmmGuideWord (*word)(void *guide);
    /* Source, state PRE_SWITCHOVER, any thread: the VMM cannot have given up waiting, and let its guest run, by now. */
    bool (*stillWaits)(void *guide);
    /* Destination, before release(), with a connection to the control socket, which is not served yet: have the guest stopped before anything
     * else. */
    bool (*stopAhead)(int fd, GError **error);
    /* After the guest was loaded: wait until that has been obeyed; blocks. */
    bool (*awaitStopped)(int fd, unsigned timeoutMs, GError **error);
} vmmGuideOps;

/*
 * How a VMM saves its guest to two files and starts from them, see snapshot.h.  Blocking as vmmOps are; paths have no end that matters.
 */
typedef struct {
    const char *stateName, *memoryName;  /* of the files in their folder; the state is written first, and read last */
    /* Save the guest, which stands still and goes on doing so; for as long as it takes.  Nothing else is answered meanwhile. */
    bool (*save)(control *ctl, const char *folder, GError **error);
    /* What to say on the command line to start from there; the guest runs as soon as it has been loaded.  The caller frees.
     * Errors: BASE_ERROR_UNSUPPORTED (a path that cannot be said). */
    char *(*incomingUri)(const char *folder, unsigned long version, GError **error);
    /* Of a VMM that was started so and has ended: do its last @words say that its guest never ran? */
    bool (*neverRan)(const char *words);
    /* Of a guest that stands still and goes to another host: let go of the lock on the image @path, which the VMM there needs. */
    bool (*releaseDisk)(control *ctl, const char *path, GError **error);
} vmmSnapshotOps;

typedef enum { VMM_CMDLINE_QEMU, VMM_CMDLINE_STRATOVIRT } vmmCmdline;

/* A known defect of some versions: migrating live is refused unless UNSAFE (or always). */
typedef struct {
    const char *vmm;
    unsigned long fromVersion, fixedVersion;  /* [from, fixed), major*1000000+minor*1000+micro */
    bool tcgOnly;
    bool overridable;                /* by VIR_MIGRATE_UNSAFE */
    bool needsFiles;                 /* a guest that is stopped for it can only go by way of files (vmmTraits.snapshot) */
    const char *text;                /* whole sentence, N_() marked, says why and the remedy */
} vmmDefect;

/* One kind of VMM.  Rows are static and stay for ever. */
typedef struct {
    const char *name;                /* "qemu", "stratovirt" */
    const char *title;               /* for people: "QEMU" */
    const char *const *binaries;     /* base names to look for in PATH, NULL ended */
    unsigned long minVersion;
    vmmCmdline cmdline;
    bool onlyKvm;                    /* no guests without KVM, and only with the host's processor */
    bool makesControlSocket;         /* binds its control socket's path itself: it inherits no listening one */
    const char *serialChardev;       /* what it calls the character device of the serial port; NULL: "char" and the port's alias */
    const char *logChatter;          /* what every line of its log has that tells no reason of anything; NULL: there are no such lines */
    bool orderlyEndRemovesSocket;    /* and at any end but a crash removes its file: all that tells of some ends */
    bool endsWithGuest;              /* a guest that powers off cannot be started again in the same process */
    bool balloonHinders;             /* a balloon keeps a guest from migrating: none unless a definition wants it */
    bool controlWhileIncoming;       /* control socket is served before the stream arrives */
    bool startsOnArrival;            /* cannot be told to stay stopped */
    bool exitsAfterMigration;        /* the source ends by itself on success */
    bool completedIsProof;           /* a source says "completed" when the other VMM has said that it has loaded the guest */
    bool streamTwoWay;               /* needs answers from the destination */
    unsigned long streamChanged;     /* versions before this one and the others cannot read each other's state; 0: they can */
    bool canLimitSpeed, canSetDowntime, canReportProgress, canPauseBeforeSwitchover;
    bool canCountBlocks;             /* what disks read and write */
    bool statesById;                 /* finds the state of a device by its id, which must be the same on the other host */
    bool balloonNeedsGuest;          /* a balloon takes no orders before its driver in the guest runs */
    bool canPlug;                    /* devices can be plugged into root ports while the guest runs */
    unsigned unplugMs;               /* with canPlug: a guest that minds its hot-plug controller lets go within this time */
    bool canAutoConverge, canXbzrle, canParallel;
    bool convergesByHost;            /* with canAutoConverge: it slows no guest down itself, the driver does by the host's control groups */
    uint64_t xbzrleCacheBytes;       /* with canXbzrle: the cache's size unless told otherwise */
    bool streamFd;                   /* takes a passed descriptor as its stream; else connects to, or from its start listens at, a
                                      * unix socket */
    bool resumesByItself;            /* a source whose stream fails lets its guest run, whoever stopped it: so it must be frozen */
    bool incomingUnfiltered;         /* on x86 a guest can only arrive with the VMM's filter of system calls switched off */
    const vmmGuideOps *guide;        /* NULL: it needs none */
    const vmmSnapshotOps *snapshot;  /* NULL: its stream does for files, too */
    const vmmOps *ops;               /* NULL: known by name only, vmmProbe() refuses it */
} vmmTraits;

/* What probing one binary found. */
typedef struct {
    char *binary;                    /* absolute path */
    const vmmTraits *traits;
    unsigned long version;           /* major*1000000 + minor*1000 + micro */
    bool kvm;                        /* KVM really runs a guest with this binary */
    GStrv machines;                  /* names it knows, e.g. "microvm","q35","pc-q35-10.0" */
    GStrv aliases;                   /* "q35=pc-q35-10.0": alias and what it stands for */
    GStrv cpus;                      /* CPU models it knows */
    GStrv cpuLimits;                 /* "microvm=288": machine, alias or not, and how many processors it can have */
    unsigned maxCpus;                /* the most of the machines that we run guests on */
    bool sandbox;                    /* can be told to give up system calls that it does not need */
} vmmInfo;

void vmmInfoFree(vmmInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(vmmInfo, vmmInfoFree)

const vmmTraits *vmmTraitsByName(const char *name);      /* NULL if unknown */
const vmmTraits *vmmTraitsAt(size_t index);              /* all of them; NULL after the last */
/** vmmMaxCpus: how many processors a guest of @machine can have; maxCpus if the VMM does not say. */
unsigned vmmMaxCpus(const vmmInfo *info, const char *machine);
/** vmmSetRepaired: programs, by path, whose known defects have been repaired though their version does not tell; NULL: none. Any thread. */
void vmmSetRepaired(const char *const *binaries);
/**
 * vmmDefectFor: the first known defect that forbids live migration, or NULL.  @tcg: the guest does
 * not use KVM.
 */
const vmmDefect *vmmDefectFor(const vmmInfo *info, bool tcg);

/**
 * vmmProbe: ask a binary what it is, by its own means (-version, -machine none and QMP).
 *
 * @cacheDir: result is cached there by path, mtime and size; may be NULL
 * Results are cached in the process as well; thread safe; may take seconds; hold no lock.
 * The returned info belongs to the cache and stays valid for ever, also when the binary changes:
 * then the next call returns another one.  A binary that hangs is killed.
 * Errors: BASE_ERROR_INVALID_ARG (no absolute path), BASE_ERROR_SYSTEM (missing, not executable),
 * BASE_ERROR_UNSUPPORTED (unknown VMM, too old), BASE_ERROR_OPERATION_FAILED, BASE_ERROR_TIMEOUT.
 */
const vmmInfo *vmmProbe(const char *binary, const char *cacheDir, GError **error);
