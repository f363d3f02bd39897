/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pump-rig.h: a pump between two sockets, and programs at their other ends */
#pragma once

#include "remote/pump.h"

#define MIB ((size_t)1024 * 1024)
#define PATIENCE_US (20 * G_USEC_PER_SEC)

typedef enum { UNIX, TCP } kind;

/* outer[0] -- inner[0] =pump= inner[1] -- outer[1] */
typedef struct {
    int outer[2], inner[2];
    pump *p;
    GMutex lock;
    GCond cond;
    guint endings;
    GError *why;
    guint fds;
} rig;

void makePair(kind k, int fds[2]);
void rigMake(rig *r, kind first, kind second);
void rigStart(rig *r, pumpOptions options);
void rigStartEnds(rig *r, pumpOptions options, const pumpEnd *first, const pumpEnd *second);
/* Waits for the end function. */
void rigAwait(rig *r);
/* Frees the pump; nothing may be left of it. */
void rigEnd(rig *r);
/* The same when there are other rigs, which have descriptors of their own: does not look for what is left open. */
void rigFree(rig *r);

/* Pattern bytes in one direction. */
typedef struct {
    int fd;
    size_t len;
    guint32 seed;
    bool finish;
    char *digest;
    size_t got;
    GThread *thread;
} flow;

void flowStart(flow *f, GThreadFunc func);
/* For it: write len bytes; read until the end of the stream. */
gpointer writeFlow(gpointer data);
gpointer readFlow(gpointer data);
/* Joins both: the same bytes. */
void flowsCompare(flow *from, flow *to);

void sendByte(int fd, char byte);
void expectByte(int fd, char byte);
/* What recv() says when something comes. */
ssize_t receiveEnd(int fd, int *retErrno);
/* Write until nothing is taken for a while; returns how much was. */
size_t stuff(int fd);
