/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* touri.c: the policy that has none: the migration is started, and comes to its end or does not */
#include "vmmi/run.h"

static const vmmiPolicy touri = { .name = "touri" };

int
main(int argc, char **argv)
{
    return vmmiMain(&touri, argc, argv);
}
