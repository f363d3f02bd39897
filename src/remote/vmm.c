/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/vmm.h"

#include <string.h>

#include "base/lock.h"
#include "remote/vmm_priv.h"

#include "base/gettext.h"

/* In the order in which people will want them tried. */
static const vmmRow *const vmmRows[] = { &vmmRowQemu, &vmmRowStratovirt };

static const vmmDefect vmmDefects[] = {
    {
        .vmm = "qemu",
        .fromVersion = 0,
        /* Observed: 7.2 corrupts in 4 of 4 migrations, 10.0.2 in 0 of 5.  Nobody has looked for the
         * release in between that repaired it. */
        .fixedVersion = 10000000,
        .tcgOnly = true,
        .overridable = true,
        .text = N_("QEMU before version 10 without KVM was observed to corrupt the memory of "
                   "guests that write to it while they are migrated live; use QEMU 10 or newer, "
                   "KVM, or a migration that is not live."),
    },
    {
        .vmm = "stratovirt",
        .fromVersion = 2005000,
        .fixedVersion = G_MAXULONG,      /* no release yet */
        .needsFiles = true,
        .text = N_("StratoVirt 2.5 cannot migrate guests live: its destination waits for the end of the stream before it "
                   "answers, and its source lets the guest run on while its state is sent; migrate without --live, which stops the guest and "
                   "moves it by way of files, or use StratoVirt 2.4, or one in which both are repaired and which 'repaired_vmms' in "
                   "stratovirt.conf names."),
    },
};

const vmmTraits *
vmmTraitsByName(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(vmmRows); i++) {
        if (g_strcmp0(vmmRows[i]->traits->name, name) == 0)
            return vmmRows[i]->traits;
    }
    return NULL;
}

const vmmTraits *
vmmTraitsAt(size_t index)
{
    return index < G_N_ELEMENTS(vmmRows) ? vmmRows[index]->traits : NULL;
}

const vmmRow *
vmmRowOf(const vmmTraits *traits)
{
    for (size_t i = 0; i < G_N_ELEMENTS(vmmRows); i++) {
        if (vmmRows[i]->traits == traits)
            return vmmRows[i];
    }
    return NULL;
}

/* "7.2.22 (Debian ...)" to 7002022; 0 if it does not begin with two numbers. */
static unsigned long
vmmParseVersion(const char *text)
{
    guint64 part[3] = { 0 };
    size_t count = 0;

    while (count < G_N_ELEMENTS(part) && g_ascii_isdigit(*text)) {
        char *end = NULL;

        part[count++] = g_ascii_strtoull(text, &end, 10);
        text = *end == '.' ? end + 1 : "";
    }
    if (count < 2 || part[0] > 1000 || part[1] > 999 || part[2] > 999)
        return 0;
    return (unsigned long)(part[0] * 1000000 + part[1] * 1000 + part[2]);
}

const vmmRow *
vmmIdentify(const char *text, unsigned long *retVersion)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 20);

    for (size_t i = 0; i < G_N_ELEMENTS(vmmRows); i++) {
        const char *prefix = vmmRows[i]->versionPrefix;

        for (char **line = lines; *line; line++) {
            unsigned long version;

            if (!g_str_has_prefix(*line, prefix))
                continue;
            text = *line + strlen(prefix);
            version = vmmParseVersion(*text == ' ' || *text == '-' ? text + 1 : text);
            if (version == 0)
                continue;
            *retVersion = version;
            return vmmRows[i];
        }
    }
    return NULL;
}

static GMutex vmmRepairedLock;
static GStrv vmmRepaired;            /* by the lock */

void
vmmSetRepaired(const char *const *binaries)
{
    BASE_LOCK(&vmmRepairedLock);

    g_strfreev(vmmRepaired);
    vmmRepaired = g_strdupv((char **)binaries);
}

static bool
vmmIsRepaired(const char *binary)
{
    BASE_LOCK(&vmmRepairedLock);

    return vmmRepaired && binary && g_strv_contains((const char *const *)vmmRepaired, binary);
}

const vmmDefect *
vmmDefectFor(const vmmInfo *info, bool tcg)
{
    if (vmmIsRepaired(info->binary))
        return NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(vmmDefects); i++) {
        const vmmDefect *defect = &vmmDefects[i];

        if (g_str_equal(defect->vmm, info->traits->name) &&
            info->version >= defect->fromVersion && info->version < defect->fixedVersion &&
            (tcg || !defect->tcgOnly))
            return defect;
    }
    return NULL;
}

unsigned
vmmMaxCpus(const vmmInfo *info, const char *machine)
{
    size_t len = strlen(machine);

    for (size_t i = 0; info->cpuLimits && info->cpuLimits[i]; i++) {
        const char *limit = info->cpuLimits[i];

        if (strncmp(limit, machine, len) == 0 && limit[len] == '=')
            return (unsigned)CLAMP(g_ascii_strtoull(limit + len + 1, NULL, 10), 1, G_MAXINT);
    }
    return info->maxCpus;
}

void
vmmInfoFree(vmmInfo *info)
{
    if (!info)
        return;
    g_free(info->binary);
    g_strfreev(info->machines);
    g_strfreev(info->aliases);
    g_strfreev(info->cpus);
    g_strfreev(info->cpuLimits);
    g_free(info);
}

void
vmmMigStatusClear(vmmMigStatus *status)
{
    g_clear_pointer(&status->errorText, g_free);
}

void
vmmEventClear(vmmEvent *event)
{
    g_clear_pointer(&event->deviceAlias, g_free);
    g_clear_pointer(&event->reason, g_free);
}
