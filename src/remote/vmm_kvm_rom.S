/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vmm_kvm_rom.S: the firmware of the guest that shows whether KVM works
 *
 * /dev/kvm may be there and start a guest, and yet not do all that an ordinary kernel needs (nested
 * and para-virtual kinds of KVM are like that).  So this image does, once each, what every x86-64
 * kernel does while it boots, and checks the outcome: real mode, protected mode, long mode with
 * paging, exceptions by the interrupt table, a page fault, a second address space, swapgs, user
 * mode by iretq, an exception and a system call from there, SSE, and the timer's interrupt out of
 * hlt.  At the end it writes VMM_KVM_ROM_GOOD to the exit device, or the number of the step that
 * went wrong.
 *
 * It is 64 KiB, mapped below 4 GiB and once more at 0xf0000, where it runs.  Memory it uses:
 *     0x1000 0x2000 0x3000  page tables of address space A     0x4000 0x8000 0x9000  of B
 *     0x5000 interrupt table    0x6000 task state    0x6100 copy of the descriptor table
 *     0x7000 top of the stack   0xb000 counters      0xc000 top of the user stack
 *     2 MiB to 4 MiB: other memory in A (at 4 MiB) than in B (at 6 MiB)
 */

#if defined(__linux__) && defined(__ELF__)
    .section .note.GNU-stack, "", %progbits
#endif

#ifdef __x86_64__

#include "remote/vmm_kvm_rom.h"

#define BASE 0xf0000
#define OFFSET(label) (label - vmmKvmRom)
#define ADDRESS(label) (BASE + OFFSET(label))

#define KERNEL_CODE32 0x08
#define KERNEL_CODE 0x10
#define KERNEL_DATA 0x18
#define USER_BASE 0x20
#define USER_DATA (0x28 | 3)
#define USER_CODE (0x30 | 3)
#define TASK 0x38

#define COUNT_INVALID 0xb000    /* exceptions taken for ud2 */
#define COUNT_FAULT 0xb008      /* page faults at the expected address */
#define COUNT_TICK 0xb010
#define POINTER 0xb100          /* operand of lgdt and lidt */
#define PER_CPU 0xb200
#define USER_SELECTOR 0xb300

#define FAULT_ADDRESS 0x40000000
#define OTHER_MEMORY 0x200000

    .macro finish code
    movb $\code, %al
    outb %al, $VMM_KVM_ROM_PORT
    hlt
    .endm

    /* Go on if equal. */
    .macro expect step
    je 1f
    finish \step
1:
    .endm

    .macro gate vector, handler
    movl $((KERNEL_CODE << 16) + OFFSET(\handler)), 0x5000 + \vector * 16
    movl $((BASE & 0xffff0000) | 0x8e00), 0x5004 + \vector * 16
    .endm

    .macro writeMsr number, high, low
    movl $\number, %ecx
    movl $\high, %edx
    movl $\low, %eax
    wrmsr
    .endm

    .section .rodata.vmmKvmRom, "a", %progbits
    .balign 16
    .globl vmmKvmRom
    .hidden vmmKvmRom
    .type vmmKvmRom, %object
vmmKvmRom:

    .code16
real:
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7000, %sp
    lgdtl %cs:OFFSET(tablePointer)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $KERNEL_CODE32, $ADDRESS(protected)

    .code32
protected:
    movw $KERNEL_DATA, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0x1000, %edi
    movl $((0xc000 - 0x1000) / 4), %ecx
    xorl %eax, %eax
    rep stosl

    movl $0x2007, 0x1000
    movl $0x3007, 0x2000
    movl $0x000087, 0x3000
    movl $0x400087, 0x3008
    movl $0x8007, 0x4000
    movl $0x9007, 0x8000
    movl $0x000087, 0x9000
    movl $0x600087, 0x9008

    /* The local controller, before paging hides it: enabled, and the other controllers come
     * through. */
    movl $0x1ff, 0xfee000f0
    movl $0x700, 0xfee00350

    movl %cr4, %eax
    orl $0x620, %eax                /* PAE, OSFXSR, OSXMMEXCPT */
    movl %eax, %cr4
    movl $0x1000, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx          /* EFER: long mode, system calls */
    rdmsr
    orl $0x101, %eax
    wrmsr
    movl %cr0, %eax
    andl $~0x4, %eax                /* no emulated FPU */
    orl $0x80010002, %eax           /* paging, write protection, FPU */
    movl %eax, %cr0
    ljmpl $KERNEL_CODE, $ADDRESS(long)

    .code64
long:
    /* The descriptor table must be writable: ltr marks the task busy. */
    movl $ADDRESS(table), %esi
    movl $0x6100, %edi
    movl $(tableEnd - table), %ecx
    rep movsb
    movw $(tableEnd - table - 1), POINTER
    movq $0x6100, POINTER + 2
    lgdt POINTER
    movq $0x7000, 0x6004            /* the stack for entries from user mode */
    movw $104, 0x6066
    movw $TASK, %ax
    ltr %ax
    movw $KERNEL_DATA, %ax
    movw %ax, %ss
    movl $0x7000, %esp

    gate 6, onInvalid
    gate 14, onFault
    gate 32, onTick
    movw $(256 * 16 - 1), POINTER
    movq $0x5000, POINTER + 2
    lidt POINTER

    ud2
    cmpl $1, COUNT_INVALID
    expect 1

    movl $FAULT_ADDRESS, %ebx
    movq (%rbx), %rax               /* three bytes, as onFault knows */
    cmpl $1, COUNT_FAULT
    expect 2

    movl $0x11, OTHER_MEMORY
    movl $0x4000, %eax
    movq %rax, %cr3
    movl $0x22, OTHER_MEMORY
    movl $0x1000, %eax
    movq %rax, %cr3
    cmpl $0x11, OTHER_MEMORY
    expect 3

    writeMsr 0xc0000102, 0, PER_CPU
    swapgs
    movl $7, %gs:0
    swapgs
    cmpl $7, PER_CPU
    expect 4

    movl $5, PER_CPU
    movd PER_CPU, %xmm0
    paddd %xmm0, %xmm0
    movd %xmm0, %eax
    cmpl $10, %eax
    expect 5

    /* To user mode and back by a system call. */
    writeMsr 0xc0000081, ((USER_BASE << 16) | KERNEL_CODE), 0
    writeMsr 0xc0000082, 0, ADDRESS(onCall)
    writeMsr 0xc0000084, 0, 0x200
    pushq $USER_DATA
    pushq $0xc000
    pushq $0x2
    pushq $USER_CODE
    pushq $ADDRESS(user)
    iretq
user:
    movl $USER_SELECTOR, %ebx
    movw %cs, (%rbx)
    ud2
    syscall

onCall:
    movl $0x7000, %esp
    cmpw $USER_CODE, USER_SELECTOR
    expect 6
    cmpl $2, COUNT_INVALID
    expect 7

    /* Interrupt controllers: vectors from 32, only the timer; the timer: about 1 kHz. */
    movb $0x11, %al
    outb %al, $0x20
    outb %al, $0xa0
    movb $0x20, %al
    outb %al, $0x21
    movb $0x28, %al
    outb %al, $0xa1
    movb $0x04, %al
    outb %al, $0x21
    movb $0x02, %al
    outb %al, $0xa1
    movb $0x01, %al
    outb %al, $0x21
    outb %al, $0xa1
    movb $0xfe, %al
    outb %al, $0x21
    movb $0xff, %al
    outb %al, $0xa1
    movb $0x34, %al
    outb %al, $0x43
    movb $0xa9, %al
    outb %al, $0x40
    movb $0x04, %al
    outb %al, $0x40
waitTick:
    sti
    hlt
    cli
    cmpl $3, COUNT_TICK
    jb waitTick

    finish VMM_KVM_ROM_GOOD
forever:
    hlt
    jmp forever

onInvalid:
    incl COUNT_INVALID
    addq $2, (%rsp)
    iretq

onFault:
    movq %cr2, %rax
    cmpq $FAULT_ADDRESS, %rax
    expect 8
    incl COUNT_FAULT
    addq $8, %rsp                   /* the error code */
    addq $3, (%rsp)
    iretq

onTick:
    pushq %rax
    incl COUNT_TICK
    movb $0x20, %al
    outb %al, $0x20
    popq %rax
    iretq

    .balign 16
table:
    .quad 0
    .quad 0x00cf9a000000ffff        /* kernel, 32 bits */
    .quad 0x00af9a000000ffff        /* kernel */
    .quad 0x00cf92000000ffff        /* its data */
    .quad 0x00cffa000000ffff        /* user, 32 bits */
    .quad 0x00cff2000000ffff        /* user data */
    .quad 0x00affa000000ffff        /* user */
    .quad 0x0000890060000067        /* task state at 0x6000 */
    .quad 0
tableEnd:
tablePointer:
    .word tableEnd - table - 1
    .long ADDRESS(table)

    /* Where the processor begins. */
    .org OFFSET(vmmKvmRom) + VMM_KVM_ROM_SIZE - 16
    .code16
    ljmpw $0xf000, $OFFSET(real)
    .org OFFSET(vmmKvmRom) + VMM_KVM_ROM_SIZE
    .size vmmKvmRom, VMM_KVM_ROM_SIZE

#endif
