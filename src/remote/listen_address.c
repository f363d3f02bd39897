/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remote/listen.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "remote/listen_priv.h"

#define LISTEN_ROUTE4 "/proc/net/route"
#define LISTEN_ROUTE6 "/proc/net/ipv6_route"

typedef struct {
    char *text;
    unsigned rank;       /* smaller is better */
    guint order;         /* as the system lists them */
} listenAddress;

static void
listenAddressFree(void *opaque)
{
    listenAddress *address = opaque;

    g_free(address->text);
    g_free(address);
}

/* Column @column (from 0) of a line of words; NULL if it has fewer. */
static const char *
listenWord(char **words, guint column)
{
    for (; *words; words++) {
        if (**words && column-- == 0)
            return *words;
    }
    return NULL;
}

/* Does the routing table @text send everything (@destination in column @at) through @interface
 * (column @where)? */
static bool
listenTableHasDefault(const char *text, guint at, const char *destination, guint where,
                      const char *interface)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    for (char **line = lines; *line; line++) {
        g_auto(GStrv) words = g_strsplit_set(*line, " \t", -1);

        if (g_strcmp0(listenWord(words, at), destination) == 0 &&
            g_strcmp0(listenWord(words, where), interface) == 0)
            return true;
    }
    return false;
}

bool
listenRouteIsDefault(const char *routes4, const char *routes6, const char *interface)
{
    if (routes4 && listenTableHasDefault(routes4, 1, "00000000", 0, interface))
        return true;
    return routes6 && listenTableHasDefault(routes6, 0, "00000000000000000000000000000000", 9,
                                            interface);
}

bool
listenAddressIsGlobal(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        guint32 ip = ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr);

        return ip >> 24 != 127 && ip >> 24 != 0 && ip >> 16 != 0xa9fe && ip >> 28 != 0xe;
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *ip = &((const struct sockaddr_in6 *)address)->sin6_addr;

        return !IN6_IS_ADDR_LOOPBACK(ip) && !IN6_IS_ADDR_UNSPECIFIED(ip) &&
               !IN6_IS_ADDR_LINKLOCAL(ip) && !IN6_IS_ADDR_MULTICAST(ip) &&
               !IN6_IS_ADDR_V4MAPPED(ip);
    }
    return false;
}

static gint
listenAddressCompare(gconstpointer a, gconstpointer b)
{
    const listenAddress *left = *(listenAddress *const *)a;
    const listenAddress *right = *(listenAddress *const *)b;

    if (left->rank != right->rank)
        return left->rank < right->rank ? -1 : 1;
    return left->order < right->order ? -1 : left->order > right->order;
}

/* The address of @entry as text, or NULL if it is of no use to another host. */
static char *
listenAddressText(const struct ifaddrs *entry)
{
    char text[NI_MAXHOST];
    socklen_t len;

    if (!entry->ifa_addr || (entry->ifa_flags & IFF_LOOPBACK) || !(entry->ifa_flags & IFF_UP) ||
        !listenAddressIsGlobal(entry->ifa_addr))
        return NULL;
    len = entry->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                : sizeof(struct sockaddr_in6);
    if (getnameinfo(entry->ifa_addr, len, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0)
        return NULL;
    return g_strdup(text);
}

GStrv
listenLocalAddresses(void)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(listenAddressFree);
    g_autoptr(GPtrArray) ret = g_ptr_array_new();
    g_autofree char *routes4 = NULL;
    g_autofree char *routes6 = NULL;
    struct ifaddrs *list = NULL;

    g_file_get_contents(LISTEN_ROUTE4, &routes4, NULL, NULL);
    g_file_get_contents(LISTEN_ROUTE6, &routes6, NULL, NULL);
    if (getifaddrs(&list) < 0)
        list = NULL;
    for (const struct ifaddrs *entry = list; entry; entry = entry->ifa_next) {
        char *text = listenAddressText(entry);
        listenAddress *address;

        if (!text)
            continue;
        address = g_new0(listenAddress, 1);
        address->text = text;
        address->order = found->len;
        address->rank = (listenRouteIsDefault(routes4, routes6, entry->ifa_name) ? 0 : 2) +
                        (entry->ifa_addr->sa_family == AF_INET ? 0 : 1);
        g_ptr_array_add(found, address);
    }
    if (list)
        freeifaddrs(list);

    g_ptr_array_sort(found, listenAddressCompare);
    for (guint i = 0; i < found->len; i++) {
        listenAddress *address = g_ptr_array_index(found, i);

        g_ptr_array_add(ret, g_steal_pointer(&address->text));
    }
    g_ptr_array_add(ret, NULL);
    return (GStrv)g_ptr_array_free(g_steal_pointer(&ret), FALSE);
}
