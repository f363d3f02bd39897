/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm_stratovirt_priv.h: what the files of StratoVirt share; not for others */
#pragma once

#include "remote/vmm.h"

extern const vmmGuideOps vmmStratovirtGuide;
