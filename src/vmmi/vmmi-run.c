/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmmi-run.c: migrates a guest by a helper, from the command line */
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "vmmi/client.h"
#include "vmmi/code.h"
#include "vmmi/text.h"

static volatile sig_atomic_t helperPid;
static volatile sig_atomic_t early;    /* a signal from before there was a helper */

/* The helper decides what they mean. */
static void
passOn(int number)
{
    if (helperPid > 0)
        kill(helperPid, number);
    else
        early = number;
}

static void
onProcess(pid_t pid)
{
    helperPid = pid;
    if (pid > 0 && early)
        kill(pid, early);
    early = 0;
}

static void
catchSignals(void)
{
    static const int which[] = { SIGUSR1, SIGTERM, SIGINT, SIGQUIT, SIGHUP };
    struct sigaction action = { .sa_handler = passOn, .sa_flags = SA_RESTART };
    size_t i;

    sigemptyset(&action.sa_mask);
    for (i = 0; i < G_N_ELEMENTS(which); i++)
        sigaction(which[i], &action, NULL);
}

static void
silent(void *opaque G_GNUC_UNUSED, virErrorPtr error G_GNUC_UNUSED)
{
}

static virDomainPtr
findDomain(virConnectPtr conn, const char *name)
{
    virDomainPtr domain = virDomainLookupByUUIDString(conn, name);

    return domain ? domain : virDomainLookupByName(conn, name);
}

/* 0 success, 1 the helper says that it failed, 2 it could not be run or did not end as helpers do. */
static int
run(vmmiClientCall *call, const char *connection, const char *name)
{
    g_auto(vmmiCompletion) completion = { 0 };
    g_autoptr(GError) error = NULL;
    char uuid[VIR_UUID_STRING_BUFLEN];
    virConnectPtr conn = virConnectOpen(connection);
    virDomainPtr domain = conn ? findDomain(conn, name) : NULL;
    char *uri;

    if (!domain || virDomainGetUUIDString(domain, uuid) < 0) {
        fprintf(stderr, "vmmi-run: %s\n", virGetLastErrorMessage());
        if (conn)
            virConnectClose(conn);
        return 2;
    }
    uri = virConnectGetURI(conn);
    virDomainFree(domain);
    virConnectClose(conn);
    call->uuid = uuid;
    call->connection = uri;
    catchSignals();
    if (!vmmiClientRun(call, &completion, &error)) {
        fprintf(stderr, "vmmi-run: %s\n", error->message);
        free(uri);
        return 2;
    }
    free(uri);
    if (completion.success)
        return 0;
    fprintf(stderr, "vmmi-run: %s (%d): %s\n", completion.message, completion.code, completion.details);
    return 1;
}

int
main(int argc, char **argv)
{
    g_autofree char *connection = NULL;
    g_autofree char *folder = NULL;
    g_autofree char *file = NULL;
    g_autofree char *config = NULL;
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("HELPER DOMAIN DESTINATION-URI [MIGRATION-URI]");
    const GOptionEntry entries[] = {
        { "connect", 'c', 0, G_OPTION_ARG_STRING, &connection, "The connection to the guest's host", "URI" },
        { "config", 'f', 0, G_OPTION_ARG_FILENAME, &file, "A file with a configuration message", "FILE" },
        { "helper-dir", 0, 0, G_OPTION_ARG_FILENAME, &folder, "Where the helpers are", "DIR" },
        { NULL }
    };
    vmmiClientCall call = { .stdoutFd = STDOUT_FILENO, .onProcess = onProcess };

    setlocale(LC_ALL, "");
    virSetErrorFunc(NULL, silent);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || argc < 4 || argc > 5 ||
        (file && !g_file_get_contents(file, &config, NULL, &error))) {
        fprintf(stderr, "vmmi-run: %s\n", error ? error->message :
                "HELPER, DOMAIN and DESTINATION-URI are needed; vmmi-run --help tells more");
        return 2;
    }
    call.folder = folder;
    call.helper = argv[1];
    call.destination = argv[3];
    call.migration = argc > 4 ? argv[4] : NULL;
    call.config = config;
    return run(&call, connection, argv[2]);
}
