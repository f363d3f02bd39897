/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation: that /dev/kvm is there says little, see vmm_kvm_rom.S.  So the VMM runs that
 * tiny guest, once for each binary and boot.  It is started stopped: only the guest's own time is
 * limited, not the VMM's start on a busy host.
 */
#include "remote/vmm_ask.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/fd.h"
#include "remote/vmm_kvm_rom.h"

#include "base/gettext.h"

#define VMM_KVM_DEVICE "/dev/kvm"
#define VMM_KVM_GUEST_TIMEOUT_MS 2000

char *
vmmKvmHost(void)
{
    g_autofree char *boot = NULL;
    struct stat st;

    if (stat(VMM_KVM_DEVICE, &st) < 0)
        return g_strdup("none");
    if (!g_file_get_contents("/proc/sys/kernel/random/boot_id", &boot, NULL, NULL))
        boot = g_strdup("");
    return g_strdup_printf("%s:%lu:%o:%u:%u:%lld:%u", g_strstrip(boot), (unsigned long)st.st_rdev,
                           st.st_mode, st.st_uid, st.st_gid, (long long)st.st_ctime, geteuid());
}

#ifdef __x86_64__

static int
vmmRomFile(GError **error)
{
    g_auto(baseFd) fd = memfd_create("probe-rom", MFD_CLOEXEC);

    if (fd < 0 || write(fd, vmmKvmRom, VMM_KVM_ROM_SIZE) != VMM_KVM_ROM_SIZE) {
        baseSetErrno(error, errno, _("Cannot make a file for the firmware of a test guest"));
        return -1;
    }
    return baseFdSteal(&fd);
}

bool
vmmRomRuns(const char *binary, const char *const *args, GError **error)
{
    g_auto(baseFd) rom = vmmRomFile(error);
    g_autoptr(vmmAsk) ask = NULL;
    g_autoptr(JsonNode) answer = NULL;
    g_autofree char *output = NULL;
    int status = 0;

    if (rom < 0)
        return false;
    ask = vmmAskStart(binary, args, rom, error);
    if (!ask)
        return false;
    answer = controlCall(vmmAskControl(ask), "cont", NULL, -1, VMM_KVM_GUEST_TIMEOUT_MS, NULL);
    /* No answer may mean that the guest has ended the VMM already. */
    if (!vmmChildWait(vmmAskChild(ask), VMM_KVM_GUEST_TIMEOUT_MS, &status, error))
        return false;
    /* What the exit device makes of the guest's number. */
    if (WIFEXITED(status) && WEXITSTATUS(status) == (VMM_KVM_ROM_GOOD << 1 | 1))
        return true;
    output = vmmChildOutput(vmmAskChild(ask));
    g_set_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED,
                _("A test guest did not run to its end on '%1$s' (status %2$d): %3$s"),
                binary, status, output);
    return false;
}

#else

bool
vmmRomRuns(const char *binary, const char *const *args G_GNUC_UNUSED, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                _("There is no test guest for this host's processor to try '%1$s' with."), binary);
    return false;
}

#endif
