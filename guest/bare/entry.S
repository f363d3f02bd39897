/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a VMM enters a kernel by the PVH boot protocol: 32 bits, no paging, the address of its start_info in %ebx.
 * From here to bareMain() in 64 bits, with the first 4 GiB mapped as they are.
 */
    .section .note.Xen, "a", @note
    .long 4, 4, 18                  /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .long bareEntry

    .bss
    .balign 4096
tables:
    .skip 4096                      /* level 4 */
    .skip 4096                      /* level 3 */
    .skip 4 * 4096                  /* level 2, 2 MiB a page */
    .skip 16384
stackTop:

    .section .rodata
    .balign 8
gdt:
    .quad 0
    .quad 0x00af9a000000ffff        /* 8: code, 64 bits */
    .quad 0x00cf92000000ffff        /* 16: data */
gdtEnd:
gdtAt:
    .word gdtEnd - gdt - 1
    .long gdt

    .text
    .code32
    .global bareEntry
bareEntry:
    cli
    cld
    movl $stackTop, %esp
    movl $tables + 0x2000, %edi
    movl $0x83, %eax                /* present, writable, large */
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    loop 1b
    movl $tables + 0x2003, %eax
    movl $tables + 0x1000, %edi
    movl $4, %ecx
2:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x1000, %eax
    loop 2b
    movl $tables + 0x1003, tables
    movl $tables, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax                 /* PAE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx          /* EFER */
    rdmsr
    orl $0x100, %eax                /* long mode */
    wrmsr
    movl %cr0, %eax
    orl $0x80000001, %eax           /* paging */
    movl %eax, %cr0
    lgdt gdtAt
    ljmp $8, $wide
    .code64
wide:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %ebx, %edi
    call bareMain
3:  hlt
    jmp 3b

    .section .note.GNU-stack, "", @progbits
