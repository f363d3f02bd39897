/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* stratovirt.c: the library libvirt-stratovirt, what the public header declares */
#include <libvirt/libvirt-stratovirt.h>

#include <libvirt/virterror.h>
#include <stdlib.h>

#include "vmmi/client.h"
#include "vmmi/code.h"
#include "vmmi/text.h"

#define EXPORTED __attribute__((visibility("default")))

/* The fields of the proposed libvirt call; virResetError() frees them. */
static void
report(virErrorPtr error, int code, const char *message, const vmmiCompletion *completion)
{
    if (!error)
        return;
    *error = (virError) {
        .code = code,
        .domain = VIR_FROM_DOM,
        .message = g_strdup(message),
        .level = VIR_ERR_ERROR,
        .str1 = g_strdup(completion ? completion->message : message),
        .str2 = g_strdup(completion ? completion->details : NULL),
        .int1 = completion ? completion->code : -1,
        .int2 = -1,
    };
}

EXPORTED int
virStratovirtDomainMigrateWithHelper(virDomainPtr domain, const char *dconnuri, const char *miguri, const char *helper,
                                     const char *helperconf, virErrorPtr error)
{
    char uuid[VIR_UUID_STRING_BUFLEN];
    vmmiClientCall call = { .helper = helper, .uuid = uuid, .destination = dconnuri, .migration = miguri,
                            .config = helperconf, .stdoutFd = -1 };
    g_auto(vmmiCompletion) completion = { 0 };
    g_autoptr(GError) problem = NULL;
    g_autofree char *text = NULL;
    char *uri;

    if (!domain || !dconnuri || !*dconnuri || !helper || virDomainGetUUIDString(domain, uuid) < 0) {
        report(error, VIR_ERR_INVALID_ARG, _("A domain, the destination's URI and the name of a helper are needed."), NULL);
        return -1;
    }
    uri = virConnectGetURI(virDomainGetConnect(domain));
    call.connection = uri;
    if (!vmmiClientRun(&call, &completion, &problem)) {
        report(error, problem->code == VMMI_BAD_FILE ? VIR_ERR_INVALID_ARG : VIR_ERR_INTERNAL_ERROR, problem->message, NULL);
        free(uri);
        return -1;
    }
    free(uri);
    if (completion.success)
        return 0;
    text = g_strdup_printf(_("%1$s: %2$s"), completion.message, completion.details);
    report(error, VIR_ERR_OPERATION_FAILED, text, &completion);
    return -1;
}
