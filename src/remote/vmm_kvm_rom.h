/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* vmm_kvm_rom.h: what vmm_kvm.c must know of vmm_kvm_rom.S; also read by the assembler */
#pragma once

#define VMM_KVM_ROM_SIZE 0x10000
#define VMM_KVM_ROM_PORT 0xf4     /* of the exit device */
#define VMM_KVM_ROM_GOOD 42       /* what it writes there */

#if !defined(__ASSEMBLER__) && defined(__x86_64__)
extern const unsigned char vmmKvmRom[VMM_KVM_ROM_SIZE];
#endif
