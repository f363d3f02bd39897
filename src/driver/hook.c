/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Theory of operation
 *
 * libvirt's own runner of scripts serves a fixed list of drivers that ours is not on, so this is one of its kind: same folder,
 * arguments, order and meaning.  It differs where scripts of the QEMU driver suffer: the domain is not locked while they
 * run, the folder is looked at each time, and an error says which script failed at what, in the script's own words.
 */
#include <config.h>

#include "driver/hook.h"

#include <sys/wait.h>

#include "vircommand.h"
#include "virfile.h"
#include "virlog.h"

#include "driver/compat.h"
#include "base/gettext.h"

VIR_LOG_INIT("stratovirt.hook");

#define HOOK_NAME "stratovirt"

static const struct {
    const char *name, *sub;
} hookOps[] = {
    [HOOK_PREPARE] = { "prepare", "begin" },
    [HOOK_START] = { "start", "begin" },
    [HOOK_STARTED] = { "started", "begin" },
    [HOOK_STOPPED] = { "stopped", "end" },
    [HOOK_RELEASE] = { "release", "end" },
    [HOOK_MIGRATE] = { "migrate", "begin" },
    [HOOK_RECONNECT] = { "reconnect", "begin" },
};
G_STATIC_ASSERT(G_N_ELEMENTS(hookOps) == HOOK_LAST);

/* ---- which ------------------------------------------------------------------------------------ */

static int
hookCompare(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
hookAddFolder(GPtrArray *scripts, const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    g_autoptr(GPtrArray) found = g_ptr_array_new();
    const char *name;

    while (dir && (name = g_dir_read_name(dir)))
        g_ptr_array_add(found, g_build_filename(folder, name, NULL));
    g_ptr_array_sort(found, hookCompare);
    for (guint i = 0; i < found->len; i++)
        g_ptr_array_add(scripts, found->pdata[i]);
}

/* In the order in which they run; never NULL. */
static GPtrArray *
hookScripts(const char *folder)
{
    GPtrArray *scripts = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *more = NULL;

    if (!folder)
        return scripts;
    more = g_build_filename(folder, HOOK_NAME ".d", NULL);
    g_ptr_array_add(scripts, g_build_filename(folder, HOOK_NAME, NULL));
    hookAddFolder(scripts, more);
    for (guint i = 0; i < scripts->len;) {
        const char *path = scripts->pdata[i];

        if (virFileIsExecutable(path)) {
            i++;
            continue;
        }
        if (g_file_test(path, G_FILE_TEST_EXISTS))
            VIR_WARN("the hook script '%s' is not executable and does not run", path);
        g_ptr_array_remove_index(scripts, i);
    }
    return scripts;
}

/* ---- one -------------------------------------------------------------------------------------- */

/* Why a script failed, as its user would say it; caller frees. */
static char *
hookReason(int ran, int status, const char *words)
{
    g_autofree char *said = g_strstrip(g_strdup(words ? words : ""));

    if (ran < 0)
        return g_strdup(virGetLastErrorMessage());
    if (*said)
        return g_steal_pointer(&said);
    if (WIFSIGNALED(status))
        return g_strdup_printf(_("it was ended by signal %1$d and said nothing"), WTERMSIG(status));
    return g_strdup_printf(_("it ended with status %1$d and said nothing"), WEXITSTATUS(status));
}

static int
hookRunScript(const char *path, const char *const *words, const char *xml, char **output)
{
    g_autoptr(virCommand) cmd = virCommandNewArgList(path, words[0], words[1], words[2], words[3], NULL);
    g_autofree char *said = NULL;
    g_autofree char *reason = NULL;
    int status = 0;
    int ran;

    VIR_DEBUG("running '%s %s %s %s %s'", path, words[0], words[1], words[2], words[3]);
    virCommandAddEnvPassCommon(cmd);
    virCommandSetInputBuffer(cmd, xml);
    virCommandSetErrorBuffer(cmd, &said);
    if (output)
        virCommandSetOutputBuffer(cmd, output);
    virCommandRawStatus(cmd);
    ran = virCommandRun(cmd, &status);
    if (ran == 0 && status == 0) {
        if (said && *said)
            VIR_INFO("the hook script '%s' says for '%s' of domain '%s': %s", path, words[1], words[0], said);
        return 0;
    }
    reason = hookReason(ran, status, said);
    virReportError(VIR_ERR_HOOK_SCRIPT_FAILED, _("'%1$s' refuses '%2$s' of domain '%3$s': %4$s"),
                   path, words[1], words[0], reason);
    return -1;
}

/* ---- all -------------------------------------------------------------------------------------- */

static bool
hookIsEmpty(const char *text)
{
    return !text || text[strspn(text, " \t\r\n")] == '\0';
}

static int
hookRunAll(GPtrArray *scripts, const char *const *words, const char *xml, char **retXml)
{
    g_autofree char *made = NULL;
    virErrorPtr first = NULL;
    int ret = 0;

    for (guint i = 0; i < scripts->len; i++) {
        g_autofree char *output = NULL;

        if (hookRunScript(scripts->pdata[i], words, made ? made : xml, retXml ? &output : NULL) < 0) {
            ret = -1;
            if (first)
                VIR_WARN("%s", virGetLastErrorMessage());
            else
                virErrorPreserveLast(&first);
        } else if (!hookIsEmpty(output)) {
            g_free(made);
            made = g_steal_pointer(&output);
        }
    }
    if (ret < 0)
        virErrorRestore(&first);
    else if (retXml)
        *retXml = g_steal_pointer(&made);
    return ret;
}

int
hookRun(const char *folder, const char *name, hookOp op, const char *extra, const char *xml, char **retXml)
{
    g_autoptr(GPtrArray) scripts = hookScripts(folder);
    const char *words[] = { name, hookOps[op].name, hookOps[op].sub, extra ? extra : "-" };

    return hookRunAll(scripts, words, xml, retXml);
}

int
hookDomain(virDomainObj *vm, hookOp op, const char *extra)
{
    drvState *drv = DRV_DOMAIN(vm)->drv;
    g_autoptr(GPtrArray) scripts = hookScripts(drv->hookDir);
    g_autofree char *name = NULL;
    g_autofree char *xml = NULL;
    const char *words[] = { NULL, hookOps[op].name, hookOps[op].sub, extra ? extra : "-" };
    int ret;

    if (scripts->len == 0)
        return 0;
    if (!(xml = virDomainDefFormat(vm->def, drv->xmlopt, 0)))
        return -1;
    words[0] = name = g_strdup(vm->def->name);
    virObjectUnlock(vm);
    ret = hookRunAll(scripts, words, xml, NULL);
    virObjectLock(vm);
    return ret;
}

/* ---- the filter of what comes in ---------------------------------------------------------------- */

static virDomainDef *
hookParse(drvState *drv, virDomainDef *before, const char *xml)
{
    g_autoptr(virDomainDef) def = virDomainDefParseString(xml, drv->xmlopt, NULL, VIR_DOMAIN_DEF_PARSE_INACTIVE |
                                                          VIR_DOMAIN_DEF_PARSE_ABI_UPDATE_MIGRATION);

    if (!def || domainCheckAbi(before, def, drv) < 0)
        return NULL;
    return g_steal_pointer(&def);
}

int
hookFilterIncoming(drvState *drv, virDomainDef **def, bool dryRun)
{
    g_autoptr(GPtrArray) scripts = hookScripts(drv->hookDir);
    const char *words[] = { (*def)->name, hookOps[HOOK_MIGRATE].name, hookOps[HOOK_MIGRATE].sub, dryRun ? "dry-run" : "-" };
    g_autofree char *xml = NULL;
    g_autofree char *made = NULL;
    virDomainDef *after;

    if (scripts->len == 0)
        return 0;
    if (!(xml = virDomainDefFormat(*def, drv->xmlopt, VIR_DOMAIN_DEF_FORMAT_SECURE | VIR_DOMAIN_DEF_FORMAT_MIGRATABLE)) ||
        hookRunAll(scripts, words, xml, &made) < 0)
        return -1;
    if (!made)
        return 0;
    if (!(after = hookParse(drv, *def, made))) {
        g_autofree char *why = g_strdup(virGetLastErrorMessage());

        virReportError(VIR_ERR_HOOK_SCRIPT_FAILED,
                       _("what the scripts '%1$s/%2$s' made of the definition of domain '%3$s' cannot be used: %4$s"),
                       drv->hookDir, HOOK_NAME, (*def)->name, why);
        return -1;
    }
    virDomainDefFree(*def);
    *def = after;
    return 0;
}
