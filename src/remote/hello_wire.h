/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* hello_wire.h: what hello.c and hello_connect.c know of the bytes; for these two only */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HELLO_VERSION 1
#define HELLO_ANSWER_SIZE 16
#define HELLO_MAX_TEXT 1024

/* Wire values: never renumber. */
enum { HELLO_WELCOME = 0, HELLO_REFUSED = 1 };

/* helloReadAnswer: take the fixed part of an answer apart; false if it is none. */
bool helloReadAnswer(const uint8_t *bytes, size_t *retTextLen, bool *retWelcome);
