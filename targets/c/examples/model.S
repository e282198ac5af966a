// The model file in read-only memory, aligned as the library needs it.
#if defined(__arm__)
    .syntax unified
#endif
    .section .rodata.kinglet_model, "a"
    .balign 64
    .global kinglet_model_bytes
kinglet_model_bytes:
    .incbin KINGLET_MODEL_FILE
    .global kinglet_model_end
kinglet_model_end:
    .byte 0
#if defined(__linux__)
    .section .note.GNU-stack, "", %progbits
#endif
