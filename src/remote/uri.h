/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* uri.h: migration URIs, as stock tools write them */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Bytes that the path of a unix socket can have. */
#define URI_MAX_PATH 107

typedef enum { URI_TCP, URI_UNIX } uriKind;

typedef struct {
    uriKind kind;
    char *host;      /* tcp: name, IPv4 or bare IPv6 address (no brackets); NULL if absent */
    unsigned port;   /* tcp: 1..65535, 0 if absent */
    char *path;      /* unix: absolute */
} uri;

void uriFree(uri *u);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(uri, uriFree)

/**
 * uriParse: accept tcp:HOST:PORT, tcp:HOST, tcp://HOST[:PORT][/], tcp:[V6]:PORT, unix:PATH,
 * unix://PATH.
 *
 * HOST may be empty if a port is given; an IPv6 address with a port needs its brackets.  Paths are
 * taken literally, without decoding of %XX, and must fit a socket address (107 bytes).
 * Anything else is BASE_ERROR_INVALID_ARG (unknown scheme: BASE_ERROR_UNSUPPORTED) and says what
 * was wrong.
 */
uri *uriParse(const char *text, GError **error);
/** uriFormat: canonical text, tcp://HOST:PORT or unix://PATH; the caller frees it. */
char *uriFormat(const uri *u);
