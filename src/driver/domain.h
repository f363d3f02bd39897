/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * domain.h: what the driver keeps with each virDomainObj
 *
 * drvDomain lives in vm->privateData; every member is guarded by the domain's lock unless it says otherwise.
 */
#pragma once

#include "internal.h"
#include "domain_conf.h"
#include "virchrdev.h"

#include "driver/state.h"
#include "remote/control.h"
#include "remote/vmm.h"

typedef struct _drvMig drvMig;           /* driver/mig.h */
typedef struct _processWatch processWatch;
typedef struct _drvSave drvSave;         /* driver/save.h */

typedef struct _drvDomain drvDomain;
struct _drvDomain {
    drvState *drv;
    const vmmInfo *vmm;                  /* VMM of the running process; NULL while inactive */
    control *ctl;                        /* NULL while inactive */
    processWatch *watch;                 /* tells the end of the process; NULL while inactive */
    guint64 incarnation;                 /* new for every start: a late event of an older VMM is dropped */
    char *controlPath;                   /* unix socket of the VMM */
    unsigned long long startTime;        /* of the process, as /proc/PID/stat has it: tells a pid that was used again */
    bool tcg;                            /* this process runs without KVM */
    bool shuttingDown;                   /* the VMM said SHUTDOWN; its end is a shutdown, not a crash */
    bool rebootPending;                  /* the coming SHUTDOWN is a reboot we asked for */
    bool beingDestroyed;                 /* our own kill is under way: the watcher keeps out */
    struct _hotplugWait *unplug;         /* whoever waits for a device to go; NULL: nobody */
    bool unplugMissed;                   /* a device may have gone that is still written down, see hotplugCatchUp() */
    struct _virCgroup *cgroup;           /* of the VMM, see throttle.h; NULL: it has never been slowed down */
    unsigned throttlePercent;            /* now */
    bool ownGroup;                       /* it has that group, or may have */
    bool stopping;                       /* processStop() is at work; its end is broadcast */
    bool hooked;                         /* the scripts of its start have begun: those of its end are due */
    pid_t *vcpuPids;
    size_t nvcpuPids;
    unsigned long long balloonKiB;       /* last known; 0 unknown */
    virChrdevs *consoles;                /* never NULL */
    unsigned long long migMaxSpeedMiBs;  /* remembered for the next migration; 0 = unlimited */
    unsigned long long migMaxDowntimeMs; /* 0 = the VMM's default */
    unsigned long long migCacheBytes;    /* of the cache of xbzrle; 0 = the VMM's default */
    drvMig *mig;                         /* migration in progress or kept statistics; NULL: none ever */
    drvSave *save;                       /* being saved or restored; NULL: not */
};

#define DRV_DOMAIN(vm) ((drvDomain *)(vm)->privateData)

extern virDomainXMLPrivateDataCallbacks domainPrivateDataCallbacks;
extern virDomainDefParserConfig domainParserConfigTemplate;  /* .priv is set to the drvState */
extern virXMLNamespace domainXmlNamespace;                   /* of another driver: refuses what is in it */

/* Emit lifecycle event @type/@detail now (the queue delivers it). Domain locked. */
void domainEvent(virDomainObj *vm, int type, int detail);
/* Save status XML (live definition, state, private data) durably: file and folder are synced. Domain locked. */
int domainSaveStatus(virDomainObj *vm);
void domainRemoveStatus(virDomainObj *vm);
/** domainHasDef: 0 if the inactive domain still has the definition @def that was assigned for a start; -1 if somebody has defined it anew. */
int domainHasDef(virDomainObj *vm, const virDomainDef *def);
/** domainDropDef: take @def away again if the domain did not start with it: what is defined persistently stays. */
void domainDropDef(virDomainObj *vm, const virDomainDef *def);
/* Remove from the list unless persistent; domain locked before and after. */
void domainRemoveInactive(virDomainObj *vm);

/**
 * domainControl: take a reference to the control and unlock the domain for a call on the wire.
 * Pair with domainControlDone(), which locks again, drops the reference and says whether the guest is still the
 * same incarnation (false: error set, VIR_ERR_OPERATION_FAILED "ended meanwhile").  A job must be held, unless for
 * queries that tolerate change.
 * Without a control (VMM just gone, or it has none now): NULL with VIR_ERR_OPERATION_INVALID, and the domain is still locked.
 */
control *domainControl(virDomainObj *vm, guint64 *retIncarnation);
bool domainControlDone(virDomainObj *vm, control *ctl, guint64 incarnation);

/**
 * domainPrepareStart: fill in what only a running guest has: device aliases, boot order by <boot dev=>, the CPU that
 * host-model stands for on this host, the number of virtio-mmio slots checked.
 * Call it on the live definition (also an incoming one) right before cmdlineBuild(), which needs the aliases.
 */
int domainPrepareStart(drvState *drv, virDomainDef *def, const vmmInfo *vmm, bool kvm);

/**
 * domainAliasNet: name interface number @index of its definition if it has no name yet.  A VMM that knows it by its name on the other host
 * gets one made of its place, which is the same there whatever has come and gone.
 */
void domainAliasNet(const vmmInfo *vmm, virDomainNetDef *net, size_t index);

/**
 * domainCheckCpu: with check='partial' and KVM, 0 if this host has what the definition names, as far as libvirt knows; the VMM
 * is not asked.  -1 with libvirt's error, which names what is missing.
 */
int domainCheckCpu(drvState *drv, const virDomainDef *def, bool kvm);

/**
 * domainFormatMigratable: the XML of a live definition for another host: nothing of this host's, the versioned machine name
 * and the CPU the guest really has.  @flags: VIR_DOMAIN_DEF_FORMAT_* to add. Caller frees; NULL with error set.
 */
char *domainFormatMigratable(drvState *drv, virDomainDef *def, unsigned int flags);

/** domainExpandCpu: replace <cpu mode='host-model'> by the model and features that it stands for on this host. */
int domainExpandCpu(drvState *drv, virDomainDef *def);

/** domainCheckDiskTarget: 0 if @disk has a target; -1 with VIR_ERR_NO_TARGET. Where definitions are taken without being validated. */
int domainCheckDiskTarget(const virDomainDiskDef *disk);
/** domainCheckTargets: the same for all disks of @def. */
int domainCheckTargets(const virDomainDef *def);
/** domainCheckAbi: 0 if a guest of @src can go on with @dst; -1 with VIR_ERR_CONFIG_UNSUPPORTED naming the difference. */
int domainCheckAbi(virDomainDef *src, virDomainDef *dst, drvState *drv);

/** domainSaveConfig: write the persistent definition durably; @def is vm's persistent one. Domain locked. */
int domainSaveConfig(virDomainObj *vm);
