/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A line from a VMM's control socket. */
#include "fuzz.h"

#include "base/error.h"
#include "remote/message.h"

static void
messageCheck(const message *msg)
{
    switch (msg->kind) {
    case MESSAGE_GREETING:
        break;
    case MESSAGE_RETURN:
        g_assert_nonnull(msg->value);
        break;
    case MESSAGE_ERROR:
        g_assert_nonnull(msg->errorClass);
        g_assert_true(msg->errorText && *msg->errorText);
        break;
    case MESSAGE_EVENT:
        g_assert_nonnull(msg->eventName);
        break;
    default:
        g_assert_not_reached();
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    message msg = { 0 };
    g_autoptr(GError) error = NULL;

    if (messageParse((const char *)data, size, &msg, &error)) {
        messageCheck(&msg);
        messageClear(&msg);
    } else {
        g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
    }
    return 0;
}

void
fuzzSetUp(void)
{
}

/* Requests are no answers, but of their kind; seeds/message has the others. */
void
fuzzSeeds(const char *folder)
{
    g_autoptr(JsonObject) arguments = json_object_new();
    g_autofree char *text = NULL;
    size_t len = 0;

    json_object_set_string_member(arguments, "uri", "fd:1");
    json_object_set_boolean_member(arguments, "detach", TRUE);
    text = messageRequest("migrate", arguments, "sv-1", &len);
    fuzzSeed(folder, "made", text, len);
}
