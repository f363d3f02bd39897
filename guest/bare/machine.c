/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The machine below the bare guest, see machine.h.  Ports and bits: the data sheets of 8259A, 8254 and 16550A, and ACPI 6.5, 4.8.3.
 */
#include "machine.h"

#include <stddef.h>
#include <sys/io.h>

#define PIC_MASTER 0x20
#define PIC_SLAVE 0xa0
#define PIC_END 0x20
#define PIT_CHANNEL_0 0x40
#define PIT_COMMAND 0x43
#define PIT_HZ 1193182
#define UART 0x3f8
#define UART_LINE_STATUS (UART + 5)
#define UART_EMPTY 0x20
#define UART_FIFO 16
/* Where the firmware of Intel's 82801 leaves the fixed ACPI registers. */
#define PM_STATUS 0x600
#define PM_ENABLE 0x602
#define PM_CONTROL 0x604
#define PM_POWER_BUTTON 0x100
#define PM_SLEEP 0x2000
#define RESET_CONTROL 0xcf9
#define RESET_NOW 6

#define VECTOR_TIMER 32
#define VECTORS 48
#define CODE_SEGMENT 8
#define GATE_INTERRUPT 0x8e00

#define CONSOLE_ROOM 16384

typedef struct __attribute__((packed)) {
    uint16_t low;
    uint16_t segment;
    uint16_t type;
    uint16_t middle;
    uint32_t high;
    uint32_t zero;
} gate;

struct interruptFrame;

static gate gates[VECTORS];
static uint64_t tscStart, tscKhz;
static bool button;
static char room[CONSOLE_ROOM];
static unsigned start, used;
static uint64_t dropped;

static uint64_t
tscRead(void)
{
    uint32_t low, high;

    __asm__ volatile ("rdtsc" : "=a" (low), "=d" (high));
    return (uint64_t)high << 32 | low;
}

/* ---- interrupts ---- */

__attribute__((interrupt)) static void
onTimer(struct interruptFrame *frame)
{
    (void)frame;
    outb(PIC_END, PIC_MASTER);
}

/* The others are masked, but for what a controller reports by mistake. */
__attribute__((interrupt)) static void
onNothing(struct interruptFrame *frame)
{
    (void)frame;
}

/* An exception: nothing can be trusted any more. */
__attribute__((interrupt)) static void
onFault(struct interruptFrame *frame)
{
    static const char text[] = "SV-FATAL the guest's processor took an exception\n";

    (void)frame;
    machineSay(text, sizeof(text) - 1);
    machineOff();
}

static void
gateSet(unsigned vector, void (*handler)(struct interruptFrame *))
{
    uint64_t at = (uint64_t)handler;

    gates[vector] = (gate){ (uint16_t)at, CODE_SEGMENT, GATE_INTERRUPT, (uint16_t)(at >> 16), (uint32_t)(at >> 32), 0 };
}

static void
interruptsOn(void)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } at = { sizeof(gates) - 1, (uint64_t)gates };

    for (unsigned vector = 0; vector < VECTORS; vector++)
        gateSet(vector, vector < VECTOR_TIMER ? onFault : vector == VECTOR_TIMER ? onTimer : onNothing);
    __asm__ volatile ("lidt %0" : : "m" (at));
    outb(0x11, PIC_MASTER);
    outb(0x11, PIC_SLAVE);
    outb(VECTOR_TIMER, PIC_MASTER + 1);
    outb(VECTOR_TIMER + 8, PIC_SLAVE + 1);
    outb(4, PIC_MASTER + 1);
    outb(2, PIC_SLAVE + 1);
    outb(1, PIC_MASTER + 1);
    outb(1, PIC_SLAVE + 1);
    outb(0xfe, PIC_MASTER + 1); /* the timer alone */
    outb(0xff, PIC_SLAVE + 1);
    __asm__ volatile ("sti");
}

void
machineInit(uint64_t khz)
{
    tscKhz = khz;
    tscStart = tscRead();
    outb(1, UART + 2); /* FIFO */
    outw(PM_POWER_BUTTON, PM_ENABLE);
    button = inw(PM_ENABLE) == PM_POWER_BUTTON;
    interruptsOn();
    machineWake(10);
}

/* ---- clocks ---- */

uint64_t
machineUs(void)
{
    return (tscRead() - tscStart) * 1000 / tscKhz;
}

void
machineWake(unsigned ms)
{
    static unsigned is;
    unsigned divisor = PIT_HZ * ms / 1000;

    if (ms == is)
        return;
    is = ms;
    outb(0x34, PIT_COMMAND); /* channel 0, rate generator */
    outb((unsigned char)divisor, PIT_CHANNEL_0);
    outb((unsigned char)(divisor >> 8), PIT_CHANNEL_0);
}

void
machineRest(void)
{
    __asm__ volatile ("hlt" : : : "memory");
}

bool
machineButton(void)
{
    return button && inw(PM_STATUS) & PM_POWER_BUTTON;
}

/* ---- console ---- */

void
machineSay(const char *line, unsigned len)
{
    if (used + len > CONSOLE_ROOM) {
        dropped++;
        return;
    }
    for (unsigned i = 0; i < len; i++)
        room[(start + used++) % CONSOLE_ROOM] = line[i];
    machineFlush();
}

uint64_t
machineDropped(void)
{
    return dropped;
}

void
machineFlush(void)
{
    while (used > 0 && inb(UART_LINE_STATUS) & UART_EMPTY) {
        for (unsigned i = 0; i < UART_FIFO && used > 0; i++) {
            outb((unsigned char)room[start], UART);
            start = (start + 1) % CONSOLE_ROOM;
            used--;
        }
    }
}

void
machineOff(void)
{
    uint64_t until = machineUs() + 2000000;

    while (used > 0 && machineUs() < until)
        machineFlush();
    if (button)
        outw(PM_SLEEP, PM_CONTROL);
    outb(RESET_NOW, RESET_CONTROL);
    while (true)
        machineRest();
}
