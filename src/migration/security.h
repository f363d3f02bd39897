/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * security.h: which channel a migration's data takes, and whether it may
 *
 * One table, from what is asked for and what there is to the channel or the reason of a refusal.
 * The destination asks it in Prepare, before anything is started; the source asks it again about
 * what the destination has chosen and refuses what it would not have allowed.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "base/enumname.h"

/* Who coordinates; a tunnelled migration is peer-to-peer. */
typedef enum { MIG_PROCESS_MANAGED, MIG_PROCESS_PEER, MIG_PROCESS_TUNNEL, MIG_PROCESS_DIRECT,
               MIG_PROCESS_LAST } migProcess;

/* The libvirt connection that the cookies travel on; client-managed, the weaker one of the client's two. */
typedef enum { MIG_CONN_UNIX, MIG_CONN_TCP, MIG_CONN_TLS, MIG_CONN_SSH, MIG_CONN_LAST } migConn;

/* What the user or the configuration names. */
typedef enum { MIG_ASK_ANY, MIG_ASK_NATIVE, MIG_ASK_RELAY, MIG_ASK_UNIX, MIG_ASK_LAST } migAsk;

/* VIR_MIGRATE_TLS, VIR_MIGRATE_SECURE or neither; with both, TLS says it all. */
typedef enum { MIG_WISH_NONE, MIG_WISH_TLS, MIG_WISH_SECURE, MIG_WISH_LAST } migWish;

/* migrate_secure of stratovirt.conf. */
typedef enum { MIG_POLICY_OFF, MIG_POLICY_PREFER, MIG_POLICY_REQUIRE, MIG_POLICY_LAST } migPolicy;

/* Who carries the bytes. */
typedef enum { MIG_CHANNEL_NONE, MIG_CHANNEL_NATIVE, MIG_CHANNEL_RELAY, MIG_CHANNEL_TLS,
               MIG_CHANNEL_TUNNEL, MIG_CHANNEL_UNIX, MIG_CHANNEL_DIRECT, MIG_CHANNEL_LAST } migChannel;

/* How the two ends of MIG_CHANNEL_TLS know each other. */
typedef enum { MIG_KEYS_NONE, MIG_KEYS_X509, MIG_KEYS_TOKEN, MIG_KEYS_LAST } migKeys;

typedef struct {
    migProcess process;
    migConn conn;
    migAsk ask;
    migWish wish;
    migPolicy source, dest;
    bool certificates;           /* both hosts have certificates that are in order */
    const char *trouble;         /* what is wrong with them, whole sentences; may be NULL */
    bool relayByDefault;         /* the VMM's default channel is the relay, not its own connection */
} migSecurityIn;

/* What one host says of itself and of the libvirt connection as it sees it; see way.h. */
typedef struct {
    migPolicy policy;
    migConn conn;
    migAsk ask;                  /* the source's */
    bool certificates;           /* they are there and in order */
    char *trouble;               /* what is wrong with them; NULL: nothing */
    bool relayByDefault;         /* the source's VMM */
    bool spread;                 /* the source's: one stream goes over several connections, see migRelaySpreads() */
} migWayFacts;

void migWayFactsClear(migWayFacts *facts);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(migWayFacts, migWayFactsClear)

typedef struct {
    migChannel channel;          /* MIG_CHANNEL_NONE: refused */
    migKeys keys;
    bool secure;                 /* guest memory can be neither read nor altered on the way */
} migSecurityOut;

BASE_ENUM_DECL(migProcess, migProcess)
BASE_ENUM_DECL(migConn, migConn)
BASE_ENUM_DECL(migAsk, migAsk)
BASE_ENUM_DECL(migWish, migWish)
BASE_ENUM_DECL(migPolicy, migPolicy)
BASE_ENUM_DECL(migChannel, migChannel)
BASE_ENUM_DECL(migKeys, migKeys)

/** migConnIsSecure: may keys be told over such a libvirt connection? */
bool migConnIsSecure(migConn conn);

/**
 * migSecurityDecide: the best channel that is allowed.
 * False: there is none; BASE_ERROR_UNSUPPORTED names who wants security, what is insecure, and each way to make it secure.
 */
bool migSecurityDecide(const migSecurityIn *in, migSecurityOut *ret, GError **error);
/** migSecurityTable: all decisions as text, for the documentation and tests; caller frees. */
char *migSecurityTable(void);
