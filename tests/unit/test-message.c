/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/error.h"
#include "remote/json.h"
#include "remote/message.h"

static message
parseGood(const char *text)
{
    g_autoptr(GError) error = NULL;
    message msg;

    messageParse(text, strlen(text), &msg, &error);
    g_assert_no_error(error);
    return msg;
}

static void
testKinds(void)
{
    message msg = parseGood("{\"QMP\":{\"version\":{}}}");

    g_assert_cmpint(msg.kind, ==, MESSAGE_GREETING);
    messageClear(&msg);

    msg = parseGood(" {\"return\": [1], \"id\": \"a\"} ");
    g_assert_cmpint(msg.kind, ==, MESSAGE_RETURN);
    g_assert_cmpstr(msg.id, ==, "a");
    g_assert_nonnull(jsonNodeArray(msg.value));
    messageClear(&msg);

    msg = parseGood("{\"return\": null, \"id\": 7}");    /* not one of our ids */
    g_assert_null(msg.id);
    g_assert_nonnull(msg.value);
    messageClear(&msg);

    msg = parseGood("{\"error\":{\"class\":\"C\",\"desc\":\"d\"},\"id\":\"a\"}");
    g_assert_cmpint(msg.kind, ==, MESSAGE_ERROR);
    g_assert_cmpstr(msg.errorClass, ==, "C");
    g_assert_cmpstr(msg.errorText, ==, "d");
    messageClear(&msg);

    msg = parseGood("{\"error\":{}}");
    g_assert_cmpstr(msg.errorText, ==, "GenericError");
    messageClear(&msg);

    msg = parseGood("{\"error\":{\"class\":\"\",\"desc\":\"\"}}");
    g_assert_cmpstr(msg.errorText, ==, "GenericError");
    messageClear(&msg);

    msg = parseGood("{\"event\":\"STOP\",\"data\":{\"a\":1},"
                    "\"timestamp\":{\"seconds\":2,\"microseconds\":3999}}");
    g_assert_cmpint(msg.kind, ==, MESSAGE_EVENT);
    g_assert_cmpstr(msg.eventName, ==, "STOP");
    g_assert_cmpint(jsonGetInt(msg.eventData, "a", 0), ==, 1);
    g_assert_cmpint(msg.timestampMs, ==, 2003);
    messageClear(&msg);
    messageClear(&msg);
}

static void
testTimestamps(void)
{
    static const char *const bad[] = {
        "", ",\"timestamp\":5", ",\"timestamp\":{\"seconds\":-1,\"microseconds\":0}",
        ",\"timestamp\":{\"seconds\":1}", ",\"timestamp\":{\"seconds\":1,\"microseconds\":1000000}",
        ",\"timestamp\":{\"seconds\":9223372036854775807,\"microseconds\":0}",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strdup_printf("{\"event\":\"A\"%s}", bad[i]);
        message msg = parseGood(text);

        g_assert_cmpint(msg.timestampMs, ==, 0);
        messageClear(&msg);
    }
}

static void
testBad(void)
{
    static const char *const bad[] = {
        "", "x", "null", "1", "\"a\"", "[]", "[{}]", "{}", "{\"a\":1}", "{\"return\":1",
        "{\"return\":1}}", "{\"error\":\"text\"}", "{\"event\":1}", "{\"QMP\":1}",
        "{\"return\":\"\xc3\"}", "{'return':1}x", "{\"return\":1} {\"return\":2}", "{\"return\":1} [1]",
        "\"{\" {\"return\":1}", "1{\"return\":1}", "/* */ {\"return\":1}", "{\"return\": // 1\n 2}",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        message msg;

        if (messageParse(bad[i], strlen(bad[i]), &msg, &error))
            g_error("'%s' was accepted", bad[i]);
        g_assert_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG);
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
    }
}

/* json-glib's parser would run out of stack. */
static void
testDeep(void)
{
    const size_t len = 1000000;
    g_autofree char *deep = g_malloc(len + 1);
    g_autoptr(GError) error = NULL;
    message msg;

    memset(deep, '[', len);
    deep[len] = '\0';
    memcpy(deep, "{\"a\":", 5);
    g_assert_false(messageParse(deep, len, &msg, &error));
    g_assert_nonnull(strstr(error->message, "deeper"));

    /* Brackets in strings are text. */
    memset(deep + 11, '[', 500);
    memcpy(deep, "{\"return\":\"", 11);
    memcpy(deep + 500, "\\\"[[\\\\\"}", 9);
    msg = parseGood(deep);
    messageClear(&msg);
}

static void
testRequest(void)
{
    g_autoptr(JsonObject) arguments = json_object_new();
    g_autofree char *plain = NULL, *full = NULL;
    size_t len = 0;

    plain = messageRequest("stop", NULL, "id-1", &len);
    g_assert_cmpstr(plain, ==, "{\"execute\":\"stop\",\"id\":\"id-1\"}\n");
    g_assert_cmpuint(len, ==, strlen(plain));
    json_object_set_string_member(arguments, "text", "a\"\n\xc3\xa4");
    full = messageRequest("x", arguments, "2", &len);
    g_assert_cmpuint(len, ==, strlen(full));
    g_assert_true(strchr(full, '\n') == full + len - 1);     /* one line */
    g_assert_true(g_str_has_prefix(full, "{\"execute\":\"x\",\"arguments\":{\"text\":\"a\\\"\\n"));
}

static void
testGetters(void)
{
    const char *text = "{\"s\":\"x\",\"i\":-5,\"d\":1.5,\"b\":true,\"o\":{},\"a\":[],\"n\":null}";
    static const char *const names[] = { "s", "i", "d", "b", "o", "a", "n", "absent" };
    g_autoptr(JsonObject) object = jsonParseObject(text, strlen(text), NULL);

    /* Any getter on any type: the fallback, and not a word on stderr (criticals are fatal here). */
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        const char *name = names[i];

        g_assert_cmpstr(jsonGetString(object, name, "f"), ==, i == 0 ? "x" : "f");
        g_assert_cmpint(jsonGetInt(object, name, 9), ==, i == 1 ? -5 : 9);
        g_assert_cmpuint(jsonGetUint(object, name, 9), ==, 9);
        g_assert_cmpfloat(jsonGetDouble(object, name, 9), ==, i == 1 ? -5 : i == 2 ? 1.5 : 9);
        g_assert_cmpint(jsonGetBool(object, name, false), ==, i == 3);
        g_assert_cmpint(jsonGetObject(object, name) != NULL, ==, i == 4);
        g_assert_cmpint(jsonGetArray(object, name) != NULL, ==, i == 5);
    }
    g_assert_cmpint(jsonGetInt(NULL, "i", 9), ==, 9);
    g_assert_null(jsonNodeObject(NULL));
    g_assert_null(jsonNodeArray(NULL));
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/message/kinds", testKinds);
    g_test_add_func("/message/timestamps", testTimestamps);
    g_test_add_func("/message/bad", testBad);
    g_test_add_func("/message/deep", testDeep);
    g_test_add_func("/message/request", testRequest);
    g_test_add_func("/message/getters", testGetters);
    return g_test_run();
}
