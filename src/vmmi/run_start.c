/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* run_start.c: the call that migrates, and what to leave out of it when driver or VMM lack something */
#include "vmmi/run_priv.h"

#include <libvirt/libvirt-stratovirt.h>
#include <libvirt/virterror.h>
#include <string.h>

#include "vmmi/code.h"
#include "vmmi/text.h"

static const struct {
    unsigned long flag;
    const char *key;
    size_t choice;
    bool wish;                  /* policies wish it */
    const char *words[3];       /* by which a refusal names it, in lower case */
} options[] = {
    { VIR_MIGRATE_SECURE, "secure", offsetof(vmmiConfig, secure), false, { NULL } },
    { VIR_MIGRATE_TLS, "tls", offsetof(vmmiConfig, tls), false, { NULL } },
    { VIR_MIGRATE_TUNNELLED, "tunnelled", offsetof(vmmiConfig, tunnelled), false, { NULL } },
    { VIR_MIGRATE_PERSIST_DEST, "persistent", offsetof(vmmiConfig, persistent), false, { NULL } },
    { VIR_MIGRATE_UNDEFINE_SOURCE, "undefine_source", offsetof(vmmiConfig, undefineSource), false, { NULL } },
    { VIR_MIGRATE_POSTCOPY, "postcopy", offsetof(vmmiConfig, postcopy), true, { "postcopy", "post-copy", "userfault" } },
    { VIR_MIGRATE_COMPRESSED, "compressed", offsetof(vmmiConfig, compressed), true, { "compress", "xbzrle" } },
    { VIR_MIGRATE_AUTO_CONVERGE, "auto_converge", offsetof(vmmiConfig, autoConverge), true,
      { "auto-converge", "auto_converge", "autoconverge" } },
};

bool
vmmiStartFlags(vmmiRun *run, GError **error)
{
    const vmmiConfig *config = run->config;
    size_t i;

    run->needs = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER;
    if (run->policy->persistent)
        run->needs |= VIR_MIGRATE_PERSIST_DEST;
    run->wishes |= run->policy->wishes;
    for (i = 0; i < G_N_ELEMENTS(options); i++) {
        vmmiChoice choice = *(const vmmiChoice *)((const char *)config + options[i].choice);

        if (choice != VMMI_DEFAULT)
            run->wishes &= ~options[i].flag;
        if (choice == VMMI_YES)
            run->needs |= options[i].flag;
        if (choice == VMMI_NO)
            run->needs &= ~options[i].flag;
    }
    if (run->needs & VIR_MIGRATE_TUNNELLED && run->needs & VIR_MIGRATE_TLS) {
        g_set_error(error, VMMI_ERROR, VMMI_CONFIGURATION_FAILED,
                    _("The configuration keys 'tunnelled' and 'tls' exclude each other."));
        return false;
    }
    if (run->needs & VIR_MIGRATE_TUNNELLED && run->args.migration) {
        vmmiRunNote(run, _("The migration URI '%1$s' is not used: tunnelled data goes through the libvirt connection."),
                    run->args.migration);
        run->args.migration = NULL;
    }
    return true;
}

bool
vmmiStartLacks(int code)
{
    return code == VIR_ERR_INVALID_ARG || code == VIR_ERR_NO_SUPPORT || code == VIR_ERR_CONFIG_UNSUPPORTED ||
        code == VIR_ERR_ARGUMENT_UNSUPPORTED || code == VIR_ERR_OPERATION_UNSUPPORTED;
}

static bool
names(const char *text, const char *const *words)
{
    g_autofree char *lower = g_ascii_strdown(text, -1);
    size_t i;

    for (i = 0; i < 3 && words[i]; i++) {
        if (strstr(lower, words[i]))
            return true;
    }
    return false;
}

bool
vmmiStartDrop(vmmiRun *run, int code, const char *text)
{
    ssize_t found = -1;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(options); i++) {
        if (!(run->wishes & options[i].flag))
            continue;
        if (names(text, options[i].words)) {
            found = i;
            break;
        }
        /* What is refused without a name: one after the other, those that are least often to be had first. */
        if (found < 0 && vmmiStartLacks(code))
            found = i;
    }
    if (found < 0)
        return false;
    run->wishes &= ~options[found].flag;
    vmmiRunNote(run, _("Without '%1$s', which is not to be had here: %2$s"), options[found].key, text);
    return true;
}

static void
addParameters(vmmiRun *run, virTypedParameterPtr *params, int *count)
{
    int max = 0;

    if (run->args.migration)
        virTypedParamsAddString(params, count, &max, VIR_MIGRATE_PARAM_URI, run->args.migration);
    if (run->config->bandwidthMiBs)
        virTypedParamsAddULLong(params, count, &max, VIR_MIGRATE_PARAM_BANDWIDTH, run->config->bandwidthMiBs);
}

/* What has come of the call: VIR_ERR_OK, or another code of libvirt's; @text may be NULL. */
static void
callEnd(vmmiRun *run, int code, const char *text)
{
    g_mutex_lock(&run->lock);
    run->callDone = true;
    run->callCode = code;
    g_free(run->callText);
    run->callText = g_strdup(text ? text : "");
    g_cond_broadcast(&run->changed);
    g_mutex_unlock(&run->lock);
}

static void *
callThread(void *opaque)
{
    vmmiRun *run = opaque;
    virTypedParameterPtr params = NULL;
    int count = 0, code = VIR_ERR_OK;
    const char *text = NULL;

    addParameters(run, &params, &count);
    if (virDomainMigrateToURI3(run->callDomain, run->args.destination, params, count, run->needs | run->wishes) < 0) {
        virErrorPtr problem = virGetLastError();

        code = problem && problem->code != VIR_ERR_OK ? problem->code : VIR_ERR_INTERNAL_ERROR;
        text = problem ? problem->message : NULL;
    }
    callEnd(run, code, text);
    virTypedParamsFree(params, count);
    return NULL;
}

void
vmmiStartCall(vmmiRun *run)
{
    g_autoptr(GError) error = NULL;
    GThread *thread;

    g_mutex_lock(&run->lock);
    run->callDone = false;
    run->started = true;
    run->seen = false;
    g_mutex_unlock(&run->lock);
    thread = g_thread_try_new("migrate", callThread, run, &error);
    if (thread)
        g_thread_unref(thread);
    else
        callEnd(run, VIR_ERR_SYSTEM_ERROR, error->message);
}
