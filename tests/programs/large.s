# Constants and data of a large program, in front of those of what is linked behind it.
    .section .rodata
    .fill 40 << 20, 1, 1
    .data
    .fill 24 << 20, 1, 1
    .section .note.GNU-stack,"",@progbits
