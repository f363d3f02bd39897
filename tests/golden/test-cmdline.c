/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Golden test: from a definition, as users write it, to the VMM's command line, or to the error that refuses it.
 *
 * The name of a case chooses how it is started: "…-incoming" waits for a migration, "…-native" is what
 * domxml-to-native shows.
 */
#include "driver-fixture.h"

static char *
joinArgs(char **argv)
{
    g_autoptr(GString) text = g_string_new(NULL);

    /* An option and its value on one line. */
    for (size_t i = 0; argv[i]; i++)
        g_string_append_printf(text, "%s%s", i == 0 ? "" : argv[i][0] == '-' ? "\n" : " ", argv[i]);
    g_string_append_c(text, '\n');
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static char *
runCase(drvState *drv, const char *name, const char *in)
{
    int fds[] = { 30, 31, 32, 33, 34, 35, 36, 37 };
    cmdlineTap taps[4] = { 0 };
    size_t next = 0;
    g_autoptr(virDomainDef) def = fixtureParse(drv, in);
    cmdlineEnv env = {
        .controlPath = "/var/lib/libvirt/stratovirt/domain-7-guest/control.sock",
        .controlFd = 20,
        .paused = true,
        .incoming = g_str_has_suffix(name, "-incoming"),
        .vsockFd = 40,
        .taps = taps,
        .ntaps = G_N_ELEMENTS(taps),
    };
    g_auto(GStrv) argv = NULL;
    const vmmInfo *vmm;

    if (!def)
        return fixtureError();
    vmm = fixtureProbe(def->emulator, NULL, NULL);
    g_assert_nonnull(vmm);
    if (!vmm->traits->controlWhileIncoming && env.incoming)
        env.incomingUri = "unix:/run/stream.sock";
    def->id = 7;
    if (def->vsock && def->vsock->auto_cid == VIR_TRISTATE_BOOL_YES)
        def->vsock->guest_cid = 5;
    for (size_t i = 0; i < def->nnets && i < G_N_ELEMENTS(taps); i++) {
        taps[i] = (cmdlineTap) { .fds = fds + next, .count = MAX(def->nets[i]->driver.virtio.queues, 1) };
        next += taps[i].count;
        g_assert_cmpuint(next, <=, G_N_ELEMENTS(fds));
    }
    env.kvm = def->virtType == VIR_DOMAIN_VIRT_KVM;
    if (g_str_has_suffix(name, "-native")) {
        env.standalone = true;
        env.paused = false;
        env.controlFd = -1;
    }
    if (domainPrepareStart(drv, def, vmm, env.kvm) < 0 || !(argv = cmdlineBuild(def, vmm, &env)))
        return fixtureError();
    return joinArgs(argv);
}

int
main(int argc, char **argv)
{
    return fixtureMain(argc, argv, "cmdline", runCase);
}
