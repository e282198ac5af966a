// A compiled grammar in read-only memory.
#if defined(__arm__)
    .syntax unified
#endif
    .section .rodata.kinglet_grammar, "a"
    .global kinglet_grammar_bytes
kinglet_grammar_bytes:
    .incbin KINGLET_GRAMMAR_FILE
    .global kinglet_grammar_end
kinglet_grammar_end:
    .byte 0
#if defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
