/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bytes of the hello, all numbers big endian.
 *
 *     caller, 48 bytes                     answer, 16 bytes and the text
 *      0  8  "stratmig"                     0  8  "stratans"
 *      8  2  version, 1                     8  2  version, 1
 *     10  2  role, see helloRole           10  2  verdict: 0 welcome, 1 refused
 *     12  2  index of a data stream        12  2  length of the text, at most 1024
 *     14  2  0                             14  2  0
 *     16 32  token                         16  n  the reason in UTF-8, nothing when welcome
 *
 * With role 4 the token is the SHA-256 of the migration's, and the index says which TLS is meant: 1 with certificates,
 * 2 with the token.  After a welcome the TLS handshake follows, and within TLS the same once more with another role.
 * The caller sends nothing more before the answer, and the answer is followed by the migration's
 * own bytes, so both sides read exactly these lengths.
 */
#include "remote/hello.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"
#include "remote/hello_wire.h"

#include "base/gettext.h"

#define HELLO_SIZE 48

static const char helloMagic[8] = { 's', 't', 'r', 'a', 't', 'm', 'i', 'g' };
static const char helloAnswerMagic[8] = { 's', 't', 'r', 'a', 't', 'a', 'n', 's' };

bool
helloNewToken(uint8_t token[HELLO_TOKEN_LEN], GError **error)
{
    size_t have = 0;

    while (have < HELLO_TOKEN_LEN) {
        ssize_t got = getrandom(token + have, HELLO_TOKEN_LEN - have, 0);

        if (got < 0 && errno != EINTR) {
            baseSetErrno(error, errno, _("Cannot get random bytes for a migration's token"));
            return false;
        }
        if (got > 0)
            have += (size_t)got;
    }
    return true;
}

char *
helloTokenToHex(const uint8_t token[HELLO_TOKEN_LEN])
{
    GString *text = g_string_sized_new(2 * HELLO_TOKEN_LEN);

    for (size_t i = 0; i < HELLO_TOKEN_LEN; i++)
        g_string_append_printf(text, "%02x", token[i]);
    return g_string_free(text, FALSE);
}

bool
helloTokenFromHex(const char *hex, uint8_t token[HELLO_TOKEN_LEN])
{
    uint8_t bytes[HELLO_TOKEN_LEN];

    if (!hex || strlen(hex) != 2 * HELLO_TOKEN_LEN)
        return false;
    for (size_t i = 0; i < HELLO_TOKEN_LEN; i++) {
        int high = g_ascii_xdigit_value(hex[2 * i]);
        int low = g_ascii_xdigit_value(hex[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(token, bytes, sizeof(bytes));
    return true;
}

bool
helloTokenEqual(const uint8_t *a, const uint8_t *b)
{
    volatile uint8_t difference = 0;

    for (size_t i = 0; i < HELLO_TOKEN_LEN; i++)
        difference |= a[i] ^ b[i];
    return difference == 0;
}

void
helloTokenHash(const uint8_t token[HELLO_TOKEN_LEN], uint8_t ret[HELLO_TOKEN_LEN])
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize len = HELLO_TOKEN_LEN;

    g_checksum_update(sum, token, HELLO_TOKEN_LEN);
    g_checksum_get_digest(sum, ret, &len);
}

static void
helloPut16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint16_t
helloGet16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

size_t
helloSize(void)
{
    return HELLO_SIZE;
}

uint8_t *
helloWrite(const hello *h)
{
    uint8_t *bytes = g_malloc0(HELLO_SIZE);

    memcpy(bytes, helloMagic, sizeof(helloMagic));
    helloPut16(bytes + 8, HELLO_VERSION);
    helloPut16(bytes + 10, (uint16_t)h->role);
    helloPut16(bytes + 12, h->index);
    memcpy(bytes + 16, h->token, HELLO_TOKEN_LEN);
    return bytes;
}

bool
helloRead(const uint8_t *bytes, size_t len, hello *ret, GError **error)
{
    uint16_t role;

    if (len != HELLO_SIZE || memcmp(bytes, helloMagic, sizeof(helloMagic)) != 0) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG, "%s",
                    _("What arrived on the migration port is not the beginning of a migration."));
        return false;
    }
    if (helloGet16(bytes + 8) != HELLO_VERSION) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("The other host speaks version %1$u of the migration protocol, "
                      "this one version %2$u."), helloGet16(bytes + 8), HELLO_VERSION);
        return false;
    }
    role = helloGet16(bytes + 10);
    if (role < HELLO_CONTROL || role > HELLO_TLS) {
        g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                    _("A connection of the unknown kind %1$u arrived on the migration port."),
                    role);
        return false;
    }
    ret->role = (helloRole)role;
    ret->index = helloGet16(bytes + 12);
    memcpy(ret->token, bytes + 16, HELLO_TOKEN_LEN);
    ret->keys = HELLO_KEYS_PLAIN;
    return true;
}

/* Whole characters only. */
static size_t
helloTextLength(const char *text)
{
    size_t len = strlen(text);

    if (len <= HELLO_MAX_TEXT)
        return len;
    len = HELLO_MAX_TEXT;
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    return len;
}

void
helloConnClear(helloConn *conn)
{
    g_clear_pointer(&conn->tls, tlsSessionFree);
    baseFdReplace(&conn->fd, -1);
}

helloConn
helloConnSteal(helloConn *conn)
{
    helloConn ret = *conn;

    *conn = (helloConn)HELLO_CONN_INIT;
    return ret;
}

helloConn
helloConnOf(int fd)
{
    return (helloConn){ .fd = fd };
}

char *
helloConnFrom(const helloConn *conn)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    char text[NI_MAXHOST];

    if (getsockname(conn->fd, (struct sockaddr *)&address, &len) < 0 || address.ss_family == AF_UNIX ||
        getnameinfo((struct sockaddr *)&address, len, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0)
        return NULL;
    return g_strdup(text);
}

static gssize
helloSendAnswer(const helloConn *conn, const uint8_t *bytes, size_t len, GError **error)
{
    ssize_t sent;

    if (conn->tls)
        return tlsWrite(conn->tls, bytes, len, error);
    do {
        sent = send(conn->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0)
        baseSetErrno(error, errno, _("Cannot answer on the migration port"));
    return sent;
}

bool
helloAnswer(const helloConn *conn, const char *why, GError **error)
{
    uint8_t bytes[HELLO_ANSWER_SIZE + HELLO_MAX_TEXT] = { 0 };
    size_t textLen = why ? helloTextLength(why) : 0;
    size_t len = HELLO_ANSWER_SIZE + textLen;
    g_autoptr(GError) local = NULL;

    memcpy(bytes, helloAnswerMagic, sizeof(helloAnswerMagic));
    helloPut16(bytes + 8, HELLO_VERSION);
    helloPut16(bytes + 10, why ? HELLO_REFUSED : HELLO_WELCOME);
    helloPut16(bytes + 12, (uint16_t)textLen);
    if (why)
        memcpy(bytes + HELLO_ANSWER_SIZE, why, textLen);

    if (helloSendAnswer(conn, bytes, len, &local) == (gssize)len)
        return true;
    if (local)
        g_propagate_error(error, g_steal_pointer(&local));
    else
        baseSetErrno(error, EAGAIN, _("Cannot answer on the migration port"));
    return false;
}

bool
helloReadAnswer(const uint8_t *bytes, size_t *retTextLen, bool *retWelcome)
{
    uint16_t textLen = helloGet16(bytes + 12);
    uint16_t verdict = helloGet16(bytes + 10);

    if (memcmp(bytes, helloAnswerMagic, sizeof(helloAnswerMagic)) != 0 ||
        verdict > HELLO_REFUSED || textLen > HELLO_MAX_TEXT)
        return false;
    *retTextLen = textLen;
    *retWelcome = verdict == HELLO_WELCOME;
    return true;
}

void
helloTune(int fd)
{
    const struct { int level, name, value; } options[] = {
        { IPPROTO_TCP, TCP_NODELAY, 1 },
        { SOL_SOCKET, SO_KEEPALIVE, 1 },
        { IPPROTO_TCP, TCP_KEEPIDLE, 5 },          /* s */
        { IPPROTO_TCP, TCP_KEEPINTVL, 5 },         /* s */
        { IPPROTO_TCP, TCP_KEEPCNT, 5 },
        { IPPROTO_TCP, TCP_USER_TIMEOUT, 30000 },  /* ms without an acknowledgement */
    };

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}
