/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* engine.c: with libFuzzer, 'fuzz-NAME --seeds FOLDER' writes the seeds and ends */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzzSetUp();
    if (*argc == 3 && strcmp((*argv)[1], "--seeds") == 0) {
        fuzzSeeds((*argv)[2]);
        exit(EXIT_SUCCESS);
    }
    return 0;
}
