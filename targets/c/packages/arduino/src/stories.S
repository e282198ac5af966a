// The model in read-only memory, in a section of its own: a program that does not name it has no
// byte of it. The folder of this file is among the compiler's -I.
    .section .rodata.kinglet_stories, "a"
    .balign 64
    .global kinglet_stories
kinglet_stories:
    .incbin "stories.kinglet"
