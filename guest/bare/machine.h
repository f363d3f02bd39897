/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * machine.h: what the bare guest knows of the machine below it: clocks, interrupts, the serial port, the power button.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Interrupts are on afterwards. @khz: of the time-stamp counter. */
void machineInit(uint64_t khz);

/* Time of the guest since machineInit() in microseconds; stands still while the machine does. */
uint64_t machineUs(void);

/* How often machineRest() comes back by itself, in milliseconds, 1 to 50. */
void machineWake(unsigned ms);

/* Halts the processor until the next interrupt. */
void machineRest(void);

/* Has the ACPI power button been pressed? Never, where there is none. */
bool machineButton(void);

/* Puts a line, with its end, into the console's buffer, whole or not at all; what does not fit is counted as dropped. */
void machineSay(const char *line, unsigned len);
uint64_t machineDropped(void);

/* Sends what the serial port has room for. */
void machineFlush(void);

/* Sends all of it, switches the machine off, or resets it where that cannot be. */
void machineOff(void) __attribute__((noreturn));
