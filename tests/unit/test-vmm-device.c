/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* test-vmm-device.c: what QEMU is told when devices come and go */
#include "base/error.h"
#include "remote/vmm.h"

#include "vmm-fixture.h"

static const char *const diskArgs[] = {
    "-blockdev", "{\"driver\":\"file\",\"node-name\":\"d-storage\",\"filename\":\"/a,b\"}",
    "-blockdev", "{\"driver\":\"raw\",\"node-name\":\"d-format\",\"file\":\"d-storage\"}",
    "-device", "virtio-blk-pci,id=d,bus=pci.1,addr=0x0,drive=d-format,write-cache=on,share-rw=on,serial=007,,x=1,num-queues=2", NULL
};

#define EXPECT_DISK \
    { FAKE_EXPECT, "\"blockdev-add\",\"arguments\":{\"driver\":\"file\",\"node-name\":\"d-storage\",\"filename\":\"/a,b\"}" }, FAKE_OK, \
    { FAKE_EXPECT, "\"blockdev-add\",\"arguments\":{\"driver\":\"raw\",\"node-name\":\"d-format\"" }, FAKE_OK, \
    { FAKE_EXPECT, "\"device_add\",\"arguments\":{\"driver\":\"virtio-blk-pci\",\"id\":\"d\",\"bus\":\"pci.1\",\"addr\":\"0x0\"," \
                   "\"drive\":\"d-format\",\"write-cache\":\"on\",\"share-rw\":true,\"serial\":\"007,x=1\",\"num-queues\":2}" }
#define EXPECT_FORGET_DISK \
    { FAKE_EXPECT, "\"blockdev-del\",\"arguments\":{\"node-name\":\"d-format\"}" }, FAKE_OK, \
    { FAKE_EXPECT, "\"blockdev-del\",\"arguments\":{\"node-name\":\"d-storage\"}" }

static void
testDisk(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    g_autoptr(GError) error = NULL;

    PLAY(f, EXPECT_DISK, FAKE_OK,
         { FAKE_EXPECT, "\"device_del\",\"arguments\":{\"id\":\"d\"}" }, FAKE_OK,
         EXPECT_FORGET_DISK, FAKE_OK,
         /* What was made goes again, the last one first, and the error is that of the device. */
         EXPECT_DISK, FAKE_REFUSE, EXPECT_FORGET_DISK, FAKE_OK,
         /* All are tried. */
         EXPECT_FORGET_DISK, FAKE_REFUSE);
    g_assert_true(f->ops->devicePlug(f->ctl, diskArgs, NULL, 0, NULL));
    g_assert_true(f->ops->deviceUnplug(f->ctl, "d", NULL));
    g_assert_true(f->ops->deviceForget(f->ctl, diskArgs, NULL));
    g_assert_false(f->ops->devicePlug(f->ctl, diskArgs, NULL, 0, &error));
    g_assert_nonnull(strstr(error->message, "not now"));
    g_clear_error(&error);
    g_assert_false(f->ops->deviceForget(f->ctl, diskArgs, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    fakeQmpJoin(&f->fake);
}

static const char *const netArgs[] = {
    "-netdev", "tap,id=hostnet1,fd=27,vhost=off",
    "-device", "virtio-net-pci,id=net1,bus=pci.2,addr=0x0,netdev=hostnet1,mac=52:54:00:00:00:01,host_mtu=1400,romfile=", NULL
};

#define EXPECT_NETDEV \
    { FAKE_EXPECT, "\"getfd\",\"arguments\":{\"fdname\":\"fd-hostnet1\"}" }, FAKE_OK, \
    { FAKE_EXPECT, "\"netdev_add\",\"arguments\":{\"type\":\"tap\",\"id\":\"hostnet1\",\"fd\":\"fd-hostnet1\",\"vhost\":false}" }

static void
testNet(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    PLAY(f, EXPECT_NETDEV, FAKE_OK,
         { FAKE_EXPECT, "\"mac\":\"52:54:00:00:00:01\",\"host_mtu\":1400,\"romfile\":\"\"}" }, FAKE_OK,
         { FAKE_EXPECT, "\"netdev_del\",\"arguments\":{\"id\":\"hostnet1\"}" }, FAKE_OK,
         /* The VMM does not keep a descriptor that it could not use. */
         EXPECT_NETDEV, FAKE_REFUSE, { FAKE_EXPECT, "\"closefd\",\"arguments\":{\"fdname\":\"fd-hostnet1\"}" }, FAKE_OK,
         /* Its refusal may be no more than a late answer. */
         { FAKE_EXPECT, "\"netdev_del\",\"arguments\":{\"id\":\"hostnet1\"}" }, FAKE_REFUSE);
    g_assert_true(f->ops->devicePlug(f->ctl, netArgs, f->pair, 1, NULL));
    g_assert_true(f->ops->deviceForget(f->ctl, netArgs, NULL));
    g_assert_false(f->ops->devicePlug(f->ctl, netArgs, f->pair, 1, NULL));
    fakeQmpJoin(&f->fake);
    g_assert_cmpint(f->fake.passedFd, >=, 0);
}

static void
testOthers(fixture *f, gconstpointer data G_GNUC_UNUSED)
{
    static const char *const strange[] = { "-chardev", "null,id=x", NULL };
    g_autoptr(GError) error = NULL;
    static const char *const wanted[] = { "net1", NULL };
    g_auto(GStrv) names = NULL;

    PLAY(f, { FAKE_EXPECT, "\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}" },
         FAKE_RETURN("[{\"name\":\"type\",\"type\":\"string\"},{\"name\":\"net1\",\"type\":\"child<virtio-net-pci>\"},{}]"),
         { FAKE_EXPECT, "qom-list" }, FAKE_RETURN("{}"));
    g_assert_true(f->ops->deviceList(f->ctl, wanted, &names, NULL));
    g_assert_true(g_strv_contains((const char *const *)names, "net1"));
    g_assert_false(f->ops->deviceList(f->ctl, wanted, &names, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_OPERATION_FAILED);
    g_clear_error(&error);
    g_assert_false(f->ops->devicePlug(f->ctl, strange, NULL, 0, &error));
    g_assert_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED);
    fakeQmpJoin(&f->fake);
}

static void
checkEvent(const char *name, const char *text, vmmEventKind kind, const char *alias)
{
    g_autoptr(JsonNode) node = json_from_string(text, NULL);
    vmmEvent event = { 0 };

    vmmTraitsByName("qemu")->ops->translateEvent(name, json_node_get_object(node), &event);
    g_assert_cmpint(event.kind, ==, kind);
    g_assert_cmpstr(event.deviceAlias, ==, alias);
    vmmEventClear(&event);
}

static void
testEvents(void)
{
    checkEvent("DEVICE_DELETED", "{\"device\":\"net1\",\"path\":\"/machine/peripheral/net1\"}", VMM_EVENT_DEVICE_REMOVED, "net1");
    checkEvent("DEVICE_UNPLUG_GUEST_ERROR", "{\"device\":\"net1\",\"path\":\"/x\"}", VMM_EVENT_DEVICE_KEPT, "net1");
    /* A part of the device. */
    checkEvent("DEVICE_DELETED", "{\"path\":\"/machine/peripheral/net1/virtio-backend\"}", VMM_EVENT_NONE, NULL);
}

#define ADD(name, func) g_test_add("/vmm-device/" name, fixture, NULL, setUp, func, tearDown)

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("disk", testDisk);
    ADD("net", testNet);
    ADD("others", testOthers);
    g_test_add_func("/vmm-device/events", testEvents);
    return g_test_run();
}
