/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm-fixture.h: a control socket whose VMM is played (fake-qmp.h), for tests of a VMM's operations */
#pragma once

#include "remote/vmm.h"

#include "fake-qmp.h"
#include "io-thread.h"

typedef struct {
    ioThread io;
    fakeQmp fake;
    control *ctl;
    int pair[2];
    const vmmOps *ops;
} fixture;

static void
setUp(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    ioThreadStart(&f->io);
    f->ctl = controlNew(f->io.context, "guest", NULL, NULL, NULL);
    f->ops = vmmTraitsByName("qemu")->ops;
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->pair), ==, 0);
}

static void
tearDown(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    controlUnref(f->ctl);
    ioThreadStop(&f->io);
    close(f->pair[0]);
    close(f->pair[1]);
}

#define PLAY(f, ...) \
    static const fakeStep steps[] = { FAKE_HANDSHAKE, __VA_ARGS__ }; \
    fakeQmpStart(&(f)->fake, steps, G_N_ELEMENTS(steps)); \
    g_assert_true(controlOpenFd((f)->ctl, (f)->fake.clientFd, 5000, NULL))

#define FAKE_RETURN(value) { FAKE_SEND, "{\"return\":" value ",\"id\":\"$ID\"}\r\n" }
#define FAKE_REFUSE \
    { FAKE_SEND, "{\"error\":{\"class\":\"GenericError\",\"desc\":\"not now\"},\"id\":\"$ID\"}\r\n" }
