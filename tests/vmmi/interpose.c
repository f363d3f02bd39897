/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * interpose.c: comes between a helper and libvirt (LD_PRELOAD)
 *
 * With SV_TEST_NO_ABORT no abort succeeds. With SV_TEST_HOLD, the path of a FIFO, the call that migrates waits until the other side
 * has opened and closed it: the opening tells that the call is about to be made.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <unistd.h>

int
virDomainAbortJob(virDomainPtr domain)
{
    int (*next)(virDomainPtr) = (int (*)(virDomainPtr))dlsym(RTLD_NEXT, "virDomainAbortJob");

    return getenv("SV_TEST_NO_ABORT") ? -1 : next(domain);
}

typedef int migrateCall(virDomainPtr, const char *, virTypedParameterPtr, unsigned int, unsigned int);

int
virDomainMigrateToURI3(virDomainPtr domain, const char *destination, virTypedParameterPtr params, unsigned int count, unsigned int flags)
{
    migrateCall *next = (migrateCall *)dlsym(RTLD_NEXT, "virDomainMigrateToURI3");
    const char *path = getenv("SV_TEST_HOLD");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    char byte;

    if (fd >= 0) {
        while (read(fd, &byte, 1) > 0)
            continue;
        close(fd);
    }
    return next(domain, destination, params, count, flags);
}
