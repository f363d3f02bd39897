/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/uri.h"

#include <string.h>
#include <sys/un.h>

#include "base/error.h"

#include "base/gettext.h"

G_STATIC_ASSERT(URI_MAX_PATH == sizeof(((struct sockaddr_un *)0)->sun_path) - 1);

void
uriFree(uri *u)
{
    if (!u)
        return;
    g_free(u->host);
    g_free(u->path);
    g_free(u);
}

/* @why: a whole sentence, translated */
static bool
uriBad(const char *text, const char *why, GError **error)
{
    g_set_error(error, BASE_ERROR, BASE_ERROR_INVALID_ARG,
                _("The migration URI '%1$s' is malformed: %2$s"), text, why);
    return false;
}

static bool
uriParsePort(const char *digits, uri *u, const char *text, GError **error)
{
    guint64 port;

    if (!g_ascii_string_to_unsigned(digits, 10, 1, 65535, &port, NULL))
        return uriBad(text, _("the port must be a number from 1 to 65535."), error);
    u->port = (unsigned)port;
    return true;
}

static bool
uriCheckHost(const char *host, bool bracketed, const char *text, GError **error)
{
    const char *allowed = bracketed ? "%:.-_" : ".-_";
    g_autofree char *address = NULL;

    for (const char *c = host; *c; c++) {
        if (!g_ascii_isalnum(*c) && !strchr(allowed, *c))
            return uriBad(text, _("a host name or address cannot have this form."), error);
    }
    if (!bracketed)
        return true;
    address = g_strndup(host, strcspn(host, "%"));
    if (!strchr(address, ':') || !g_hostname_is_ip_address(address))
        return uriBad(text, _("there is no IPv6 address between the brackets."), error);
    return true;
}

/* @rest: what follows "tcp:" and slashes */
static bool
uriParseTcp(const char *rest, uri *u, const char *text, GError **error)
{
    bool bracketed = *rest == '[';
    const char *hostEnd = bracketed ? strchr(rest, ']') : rest + strcspn(rest, ":");
    const char *after;

    if (!hostEnd)
        return uriBad(text, _("the bracket is not closed."), error);
    after = bracketed ? hostEnd + 1 : hostEnd;
    if (bracketed)
        rest++;
    if (hostEnd > rest)
        u->host = g_strndup(rest, (size_t)(hostEnd - rest));

    if (!bracketed && *after == ':' && strchr(after + 1, ':'))
        return uriBad(text, _("an IPv6 address must stand in brackets."), error);
    if (*after != '\0' && *after != ':')
        return uriBad(text, _("only a port may follow the brackets."), error);
    if (bracketed && !u->host)
        return uriBad(text, _("there is no IPv6 address between the brackets."), error);
    if (u->host && !uriCheckHost(u->host, bracketed, text, error))
        return false;
    if (*after == ':' && !uriParsePort(after + 1, u, text, error))
        return false;
    if (!u->host && !u->port)
        return uriBad(text, _("it names neither a host nor a port."), error);
    return true;
}

static bool
uriParseUnix(const char *path, uri *u, const char *text, GError **error)
{
    if (*path != '/')
        return uriBad(text, _("the path of the socket must be absolute."), error);
    if (strlen(path) > URI_MAX_PATH)
        return uriBad(text, _("the path of the socket is longer than 107 bytes."), error);
    u->path = g_strdup(path);
    return true;
}

static bool
uriParseInto(const char *text, uri *u, GError **error)
{
    const char *rest;

    for (const char *c = text; *c; c++) {
        if (g_ascii_isspace(*c) || g_ascii_iscntrl(*c))
            return uriBad(text, _("it contains white space or control characters."), error);
    }

    if (g_str_has_prefix(text, "tcp:")) {
        g_autofree char *authority = NULL;

        u->kind = URI_TCP;
        rest = text + strlen("tcp:");
        if (g_str_has_prefix(rest, "//"))
            rest += 2;
        authority = g_strdup(rest);
        if (rest > text + strlen("tcp:") && g_str_has_suffix(authority, "/"))
            authority[strlen(authority) - 1] = '\0';
        return uriParseTcp(authority, u, text, error);
    }
    if (g_str_has_prefix(text, "unix:")) {
        u->kind = URI_UNIX;
        rest = text + strlen("unix:");
        if (g_str_has_prefix(rest, "//"))
            rest += 2;
        return uriParseUnix(rest, u, text, error);
    }

    if (!strchr(text, ':'))
        return uriBad(text, _("it must begin with 'tcp:' or 'unix:'."), error);
    g_set_error(error, BASE_ERROR, BASE_ERROR_UNSUPPORTED,
                _("The scheme of the migration URI '%1$s' is not supported; "
                  "there are 'tcp:' and 'unix:'."), text);
    return false;
}

uri *
uriParse(const char *text, GError **error)
{
    g_autoptr(uri) u = g_new0(uri, 1);

    if (!uriParseInto(text, u, error))
        return NULL;
    return g_steal_pointer(&u);
}

char *
uriFormat(const uri *u)
{
    g_autofree char *port = u->port ? g_strdup_printf(":%u", u->port) : g_strdup("");
    const char *host = u->host ? u->host : "";

    if (u->kind == URI_UNIX)
        return g_strconcat("unix://", u->path, NULL);
    if (strchr(host, ':'))
        return g_strconcat("tcp://[", host, "]", port, NULL);
    return g_strconcat("tcp://", host, port, NULL);
}
