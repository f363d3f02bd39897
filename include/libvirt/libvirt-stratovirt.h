/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt-stratovirt.h: what the stratovirt driver offers beyond libvirt.h
 *
 * Include it after or instead of libvirt/libvirt.h.  Only functions need the library libvirt-stratovirt (pkg-config knows it).
 */
#ifndef LIBVIRT_STRATOVIRT_H
#define LIBVIRT_STRATOVIRT_H

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * VIR_MIGRATE_SECURE: a flag of virDomainMigrate3(), virDomainMigrateToURI3() and their elder sisters
 *
 * Migrate only if the guest's memory can be neither read nor altered on its way between the hosts.  The driver chooses
 * a channel that is secure; if there is none, nothing is started and the call fails with VIR_ERR_ARGUMENT_UNSUPPORTED,
 * whose text says what is insecure and each way to make it secure.  VIR_MIGRATE_TLS is narrower: it
 * demands TLS.  See docs/security.rst of the driver.
 *
 * The value is in a range that libvirt's own flags have not reached; a driver that does not know it refuses the migration.
 */
#define VIR_MIGRATE_SECURE (1U << 30)

/**
 * virStratovirtDomainMigrateWithHelper:
 * @domain: a running domain, of any driver
 * @dconnuri: the URI of the destination's libvirt, as the source host sees it
 * @miguri: the URI for the data, or NULL to let libvirt choose
 * @helper: the name of a VMMI helper such as "withschedule", in the folder of the helpers and without any '/'
 * @helperconf: a VMMI configuration message as JSON text, or NULL; a key "connection" that it lacks is the URI of @domain's connection
 * @error: filled on failure if not NULL; the caller frees its strings with virResetError()
 *
 * Migrates the domain by a policy that is a process of its own (VMMI 0.4.1, see docs/vmmi.rst), and waits for its end, however long
 * it takes. Meanwhile virDomainGetJobStats() watches and virDomainAbortJob() aborts the migration, on the same connection or another.
 *
 * Returns 0 if the helper reports success and ends with status 0, else -1: with VIR_ERR_OPERATION_FAILED if the helper reports an error
 * (str1 its message, str2 its details, int1 its code of VMMI, int2 -1); with VIR_ERR_INVALID_ARG if there is no such helper; and with
 * VIR_ERR_INTERNAL_ERROR if it cannot be told how the migration ended, since the helper was killed or has not said it.
 */
int virStratovirtDomainMigrateWithHelper(virDomainPtr domain,
                                         const char *dconnuri,
                                         const char *miguri,
                                         const char *helper,
                                         const char *helperconf,
                                         virErrorPtr error);

#ifdef __cplusplus
}
#endif

#endif /* LIBVIRT_STRATOVIRT_H */
