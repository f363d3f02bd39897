/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * usage: lab-wire INTERFACE-A INTERFACE-B DELAY-US LOSS-PPM RATE-BYTES-PER-S
 *
 * A cable between two network interfaces that is long, slow or lossy, for kernels without
 * sch_netem. What comes out of one interface is sent into the other one, later.
 *
 * Theory of operation: a packet socket on each interface. Both ask for the header that says what
 * checksum and segmentation work is still to be done (PACKET_VNET_HDR), and hand it on, so that
 * large packets pass as they are. A packet's time of departure is known when it comes in, and
 * never earlier than that of the packet before, so each direction is a plain queue.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PACKET_MAX (10 + 65536 + 64) /* header, the largest packet, link layer */
#define QUEUE_MAX (64 * 1024 * 1024) /* bytes; what comes when it is full is lost */
#define LOOK_NS 200000000

typedef struct packet packet;
struct packet {
    packet *next;
    uint64_t due; /* ns */
    size_t size;
    uint8_t bytes[];
};

typedef struct {
    int in;
    int out;
    unsigned index; /* of the interface behind in */
    bool wasDown;
    packet *first;
    packet **last;
    size_t bytes;
    uint64_t free; /* ns: when the packets so far will have left, at the rate */
} direction;

static uint64_t delayNs;
static uint64_t lossPpm;
static uint64_t rateBps;
static uint64_t randomState;

static uint64_t
clockNs(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static bool
isLost(void)
{
    randomState = randomState * 6364136223846793005ULL + 1442695040888963407ULL;
    return (randomState >> 33) % 1000000 < lossPpm;
}

static int
openInterface(const char *name)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL));
    int one = 1;
    int size = 8 * 1024 * 1024;
    struct sockaddr_ll addr = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETH_P_ALL),
        .sll_ifindex = if_nametoindex(name),
    };

    if (fd < 0 || addr.sll_ifindex == 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)) < 0 ||
        bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        fprintf(stderr, "lab-wire: %s: %s\n", name, strerror(errno));
        exit(1);
    }
    /* More room than the default; what the system refuses is not needed to work. */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    return fd;
}

/* An interface that was only put down comes back; one that is gone ends the cable. The first is said
 * as an error, the second is not said after the first: so, from then on, look now and then. */
static void
endIfGone(const direction *dir)
{
    char name[IF_NAMESIZE];

    if (dir->wasDown && !if_indextoname(dir->index, name))
        exit(0);
}

static void
take(direction *dir)
{
    static uint8_t buffer[PACKET_MAX];
    ssize_t got;

    while ((got = recv(dir->in, buffer, sizeof(buffer), 0)) > 0) {
        uint64_t now = clockNs();
        packet *pkt;

        if (isLost() || dir->bytes + got > QUEUE_MAX)
            continue;
        pkt = malloc(sizeof(*pkt) + got);
        if (!pkt)
            continue;
        if (dir->free < now)
            dir->free = now;
        if (rateBps > 0)
            dir->free += (uint64_t)got * 1000000000 / rateBps;
        pkt->due = dir->free + delayNs;
        pkt->size = got;
        pkt->next = NULL;
        memcpy(pkt->bytes, buffer, got);
        *dir->last = pkt;
        dir->last = &pkt->next;
        dir->bytes += got;
    }
    if (got < 0 && errno == ENETDOWN)
        dir->wasDown = true;
}

static void
give(direction *dir, uint64_t now)
{
    while (dir->first && dir->first->due <= now) {
        packet *pkt = dir->first;

        /* An interface that takes no more, or is down, loses it, as a real one does. */
        (void)!send(dir->out, pkt->bytes, pkt->size, 0);
        dir->first = pkt->next;
        if (!dir->first)
            dir->last = &dir->first;
        dir->bytes -= pkt->size;
        free(pkt);
    }
}

int
main(int argc, char **argv)
{
    direction dirs[2] = { { 0 }, { 0 } };
    struct pollfd fds[2];

    if (argc != 6) {
        fprintf(stderr, "usage: lab-wire A B DELAY-US LOSS-PPM RATE-BYTES-PER-S\n");
        return 2;
    }
    delayNs = strtoull(argv[3], NULL, 10) * 1000;
    lossPpm = strtoull(argv[4], NULL, 10);
    rateBps = strtoull(argv[5], NULL, 10);
    randomState = clockNs() ^ (uint64_t)getpid() << 32;

    dirs[0].in = dirs[1].out = openInterface(argv[1]);
    dirs[1].in = dirs[0].out = openInterface(argv[2]);
    for (int i = 0; i < 2; i++) {
        dirs[i].last = &dirs[i].first;
        dirs[i].index = if_nametoindex(argv[1 + i]);
        fds[i] = (struct pollfd){ .fd = dirs[i].in, .events = POLLIN };
    }
    puts("ready");
    fflush(stdout);
    fclose(stdout);

    while (true) {
        uint64_t now = clockNs();
        uint64_t due = UINT64_MAX;
        struct timespec wait;

        for (int i = 0; i < 2; i++) {
            give(&dirs[i], now);
            endIfGone(&dirs[i]);
            if (dirs[i].wasDown && now + LOOK_NS < due)
                due = now + LOOK_NS;
            if (dirs[i].first && dirs[i].first->due < due)
                due = dirs[i].first->due;
        }
        wait.tv_sec = due == UINT64_MAX ? 3600 : (due - now) / 1000000000;
        wait.tv_nsec = due == UINT64_MAX ? 0 : (due - now) % 1000000000;
        if (ppoll(fds, 2, &wait, NULL) > 0) {
            for (int i = 0; i < 2; i++) {
                if (fds[i].revents)
                    take(&dirs[i]);
            }
        }
    }
}
