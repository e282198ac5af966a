@ IEEE single precision for ARMv6-M and the baseline of ARMv8-M: Thumb-1, without UMULL and CLZ.
@
@ Arguments are in r0 and r1, the result is in r0. Only r0 to r3, r12 and the flags change, and
@ nothing lies on the stack. Operands outside the ranges named below go, as they came, to the
@ functions in Rust (ieee.rs), which take any. steps.rs has the same steps in Rust, by these names.
@
@ "A" is the float of larger magnitude, "B" the other; "e" the exponent field; a mantissa has its
@ hidden bit.
@
@ Addition
@
@     A's e in [31, 247]: the result is then neither subnormal nor infinite, and a B of e = 0 lies so
@     far below A that a false hidden bit and the real one round alike
@     d = A's e - B's e
@     whole : rest = (B's mantissa : 0) >> d           32.32 bits, by shifts of twice the mantissa
@     same signs:  P : rest = A + whole : rest         A as the integer of its bits
@     others:      P : rest = A - whole : rest
@     sign and e of P are A's:    round P : rest
@     same signs, e larger:       the mantissa has a bit too many, F = P - (sign : A's e + 1 : 0);
@                                 P - F / 2 is both shifted and rounded half up
@     others, e one smaller:      the mantissa is P's fraction F, without hidden bit. F >= 2^22: shift it and
@                                 rest by one, round. Else d < 2, so that rest has one bit at most,
@                                 and the result is exact: shift until the hidden bit is there.
@
@ Nothing is lost up to d = 31. Beyond, the result is A whatever rest is, as it is from d = 26 on: B
@ is then less than half of the steps below A, which are half as long where A is a power of two.
@
@ Rounding to nearest even: the top of rest adds one, but where the rest of rest is 0, only to an odd
@ number. A carry out of the fraction is the next e.
@
@ Multiplication
@
@     g = e - 64 in [0, 126] for both, G = gA + gB (bit 8 is the product's sign)
@     Q = mantissa of A * mantissa of B, of 48 bits. MULS gives its low 32. With A's mantissa a and
@     B's b:
@     T = (a >> 8) * b >> 8 = (a >> 8) * (b >> 8) + ((a >> 8) * (b & 255) >> 8)
@     Q >> 16 is T and at most 2^16 - 1 more, because (a & 255) * b < 2^32 - 2^24,
@     so that its low 16 bits, which are known, tell how much
@     H = Q >> 16 = T + ((Q >> 16) - T & 0xFFFF)
@     H >= 2^31:  G + 1 : H
@     else:       G : 2 H
@     the mantissa is H >> 8, whose hidden bit adds one to G; below it are a half and 7 bits more,
@     and the low 16 bits of Q: round

    .syntax unified
    .thumb

    .section .text.kinglet_soft_float_add, "ax", %progbits
    .p2align 2
    .global __aeabi_frsub
    .global __aeabi_fsub
    .global __subsf3
    .global __aeabi_fadd
    .global __addsf3
    .type __aeabi_frsub, %function
    .type __aeabi_fsub, %function
    .type __subsf3, %function
    .type __aeabi_fadd, %function
    .type __addsf3, %function

    .thumb_func
__aeabi_frsub:
    movs    r2, #1
    lsls    r2, r2, #31
    eors    r0, r2
    b       .Ladd

    .thumb_func
__aeabi_fsub:
    .thumb_func
__subsf3:
    movs    r2, #1
    lsls    r2, r2, #31
    eors    r1, r2

    .thumb_func
__aeabi_fadd:
    .thumb_func
__addsf3:
.Ladd:
    movs    r2, r0
    eors    r2, r1
    bmi     .Ldifferent
    cmp     r0, r1
    bhs     1f
    eors    r0, r2
    eors    r1, r2
1:  lsls    r2, r0, #1              @ r0 = A, r1 = B
    lsrs    r2, r2, #24
    subs    r2, #31                 @ A's e - 31
    cmp     r2, #216
    bhi     .Ladd_special
    lsls    r1, r1, #1
    lsrs    r3, r1, #24             @ B's e
    subs    r2, r3, r2              @ 31 - d
    subs    r3, #1
    lsls    r3, r3, #24
    subs    r1, r1, r3              @ twice B's mantissa
    movs    r3, #32
    subs    r3, r3, r2              @ d + 1
    mov     r12, r1
    lsls    r1, r2                  @ rest; shifts by 32 to 255 give 0
    mov     r2, r12
    lsrs    r2, r3                  @ whole
    movs    r3, r0
    adds    r0, r0, r2              @ P
    eors    r3, r0
    lsrs    r3, r3, #23
    bne     .Lcarry
.Lround:
    lsls    r1, r1, #1
    bcc     1f
    beq     .Ltie
    adds    r0, #1
1:  bx      lr

.Lcarry:
    mov     r12, r0
    lsls    r2, r0, #9
    lsrs    r2, r2, #10
    subs    r0, r0, r2              @ P - F / 2 where e is one larger
    lsrs    r3, r3, #1
    bcs     1f
    movs    r2, #1
    lsls    r2, r2, #22
    subs    r0, r0, r2              @ where it is two larger, F has a bit more
1:  cmp     r1, #0
    beq     2f
    bx      lr
2:  mov     r2, r12
    lsls    r2, r2, #31
    beq     3f
    lsrs    r0, r0, #1
    lsls    r0, r0, #1
3:  bx      lr

.Ladd_special:
    ldr     r2, 1f
    bx      r2
    .p2align 2
1:  .word   __kinglet_soft_float_add

.Ldifferent:
    lsls    r2, r0, #1
    lsls    r3, r1, #1
    cmp     r2, r3
    bhs     1f
    movs    r2, r0
    movs    r0, r1
    movs    r1, r2
    lsls    r2, r0, #1
1:  lsrs    r2, r2, #24
    subs    r2, #31
    cmp     r2, #216
    bhi     .Ladd_special
    lsls    r1, r1, #1
    lsrs    r3, r1, #24
    subs    r2, r3, r2              @ 31 - d
    subs    r3, #1
    lsls    r3, r3, #24
    subs    r1, r1, r3
    movs    r3, #32
    subs    r3, r3, r2              @ d + 1
    mov     r12, r1
    lsls    r1, r2
    mov     r2, r12
    lsrs    r2, r3
    movs    r3, r0
    rsbs    r1, r1, #0              @ rest, with a borrow unless it is 0
    sbcs    r0, r2                  @ P
    eors    r3, r0
    lsrs    r3, r3, #23
    beq     .Lround

    lsls    r2, r0, #9              @ F at the top
    bpl     1f
    lsrs    r2, r2, #9
    lsls    r1, r1, #1
    adcs    r0, r2                  @ sign and e of P, 2 F, the top of rest
    movs    r2, #1
    lsls    r2, r2, #23
    subs    r0, r0, r2              @ without the hidden bit
    b       .Lround
1:  lsrs    r1, r1, #23
    orrs    r2, r1                  @ 2 F and the top of rest, at the top
    beq     3f
    lsrs    r0, r0, #23             @ sign and e
2:  subs    r0, #1
    lsls    r2, r2, #1
    bpl     2b
    lsls    r0, r0, #23
    lsls    r2, r2, #1
    lsrs    r2, r2, #9
    adds    r0, r0, r2
    bx      lr
3:  movs    r0, #0
    bx      lr

.Ltie:
    movs    r1, #1
    ands    r1, r0
    adds    r0, r0, r1
    bx      lr
    .size __aeabi_fadd, . - __aeabi_fadd

    .section .text.kinglet_soft_float_mul, "ax", %progbits
    .p2align 2
    .global __aeabi_fmul
    .global __mulsf3
    .type __aeabi_fmul, %function
    .type __mulsf3, %function

    .thumb_func
__aeabi_fmul:
    .thumb_func
__mulsf3:
    lsrs    r2, r0, #23
    subs    r2, #64                 @ sign and g
    uxtb    r3, r2
    cmp     r3, #126
    bhi     .Lmul_special
    lsrs    r3, r1, #23
    subs    r3, #64
    adds    r2, r2, r3              @ G
    uxtb    r3, r3
    cmp     r3, #126
    bhi     .Lmul_special
    lsls    r2, r2, #23
    mov     r12, r2
    movs    r2, #1
    lsls    r2, r2, #23
    lsls    r0, r0, #9
    lsrs    r0, r0, #9
    orrs    r0, r2                  @ a
    lsls    r1, r1, #9
    lsrs    r1, r1, #9
    orrs    r1, r2                  @ b
    movs    r3, r0
    muls    r3, r1                  @ Q, the low 32 bits
    lsrs    r0, r0, #8
    lsrs    r2, r1, #8
    uxtb    r1, r1
    muls    r2, r0
    muls    r1, r0
    lsrs    r1, r1, #8
    adds    r2, r2, r1              @ T
    lsrs    r1, r3, #16
    subs    r1, r1, r2
    uxth    r1, r1
    adds    r2, r2, r1              @ H
    bmi     1f
    adds    r2, r2, r2
    lsrs    r0, r2, #8
    add     r0, r12
    lsls    r2, r2, #25             @ the half, and what is below it
    bcs     2f
    bx      lr
1:  movs    r1, #1
    lsls    r1, r1, #23
    lsrs    r0, r2, #8
    adds    r0, r0, r1
    add     r0, r12
    lsls    r2, r2, #25
    bcs     2f
    bx      lr
2:  beq     4f
3:  adds    r0, #1
    bx      lr
4:  lsls    r3, r3, #16
    bne     3b
    movs    r1, #1
    ands    r1, r0
    adds    r0, r0, r1
    bx      lr
.Lmul_special:
    ldr     r2, 1f
    bx      r2
    .p2align 2
1:  .word   __kinglet_soft_float_mul
    .size __aeabi_fmul, . - __aeabi_fmul

    .section .text.kinglet_soft_float_i2f, "ax", %progbits
    .p2align 2
    .global __aeabi_i2f
    .global __floatsisf
    .type __aeabi_i2f, %function
    .type __floatsisf, %function

    .thumb_func
__aeabi_i2f:
    .thumb_func
__floatsisf:
    asrs    r1, r0, #31
    eors    r0, r1
    subs    r0, r0, r1              @ magnitude
    beq     7f
    movs    r2, #157                @ e - 1 of a float in [2^31, 2^32)
    lsrs    r3, r0, #16
    bne     1f
    lsls    r0, r0, #16
    subs    r2, #16
1:  lsrs    r3, r0, #24
    bne     2f
    lsls    r0, r0, #8
    subs    r2, #8
2:  lsrs    r3, r0, #28
    bne     3f
    lsls    r0, r0, #4
    subs    r2, #4
3:  cmp     r0, #0
    bmi     5f
4:  subs    r2, #1
    lsls    r0, r0, #1
    bpl     4b
5:  lsls    r1, r1, #31             @ sign
    lsls    r2, r2, #23
    adds    r1, r1, r2
    lsrs    r2, r0, #8
    adds    r1, r1, r2
    lsls    r2, r0, #25             @ the half, and what is below it
    movs    r0, r1
    bcc     7f
    cmp     r2, #0
    beq     6f
    adds    r0, #1
    bx      lr
6:  movs    r1, #1
    ands    r1, r0
    adds    r0, r0, r1
7:  bx      lr
    .size __aeabi_i2f, . - __aeabi_i2f
