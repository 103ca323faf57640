/* A hook of ABI version 1 as earlier packages had it: its sites are 5-byte nops. `hit` passes both. */
#include <stdint.h>

#define EXPORTED __attribute__((visibility("default")))

#define SITE(name, arguments)                                                                      \
    "990: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\n"                                                    \
    ".pushsection .note.stapsdt,\"?\",\"note\"\n"                                                  \
    ".balign 4\n"                                                                                  \
    ".4byte 992f-991f, 994f-993f, 3\n"                                                             \
    "991: .asciz \"stapsdt\"\n"                                                                    \
    "992: .balign 4\n"                                                                             \
    "993: .8byte 990b\n"                                                                           \
    ".8byte _.stapsdt.base\n"                                                                      \
    ".8byte 0\n"                                                                                   \
    ".asciz \"spanprof\"\n"                                                                        \
    ".asciz \"" name "\"\n"                                                                        \
    ".asciz \"" arguments "\"\n"                                                                   \
    "994: .balign 4\n"                                                                             \
    ".popsection\n"                                                                                \
    ".ifndef _.stapsdt.base\n"                                                                     \
    ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                        \
    ".weak _.stapsdt.base\n"                                                                       \
    ".hidden _.stapsdt.base\n"                                                                     \
    "_.stapsdt.base: .space 1\n"                                                                   \
    ".size _.stapsdt.base, 1\n"                                                                    \
    ".popsection\n"                                                                                \
    ".endif\n"

EXPORTED const uint32_t spanprof_abi_v1 = 1;
EXPORTED uint64_t spanprof_process_block;

/* The ids are what the registers happen to hold; there is no name and no process block. */
EXPORTED __attribute__((naked)) void hit(void) {
    __asm__("push %r13\n"
            "xor %r10d, %r10d\n"
            "xor %r13d, %r13d\n"
            ".balign 8\n"
            ".globl span_start_site\n"
            ".type span_start_site, @object\n"
            ".size span_start_site, 5\n"
            "span_start_site:\n"
            SITE("span_start", "8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9 8@%r10 8@%r12 8@%r13")
            ".balign 8\n"
            SITE("span_end", "8@%rdi 8@%rsi 8@%rdx")
            "pop %r13\n"
            "ret\n");
}
