@ IEEE single precision for ARMv7-M and ARMv8-M with its main extension: Thumb-2 with UMULL and CLZ.
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
@     A's e in [32, 247]: the result is then neither subnormal nor infinite, and a B of e = 0 lies so
@     far below A that a false hidden bit and the real one round alike
@     d = A's e - B's e
@     whole : rest = (B's mantissa : 0) >> d           32.32 bits
@     same signs:  P : rest = A + whole : rest         A as the integer of its bits
@     others:      P : rest = A - whole : rest
@     sign and e of P are A's:    round P : rest
@     same signs, e larger:       the mantissa has a bit too many, F = P - (sign : A's e + 1 : 0);
@                                 P - F / 2 is both shifted and rounded half up
@     others, e one smaller:      the mantissa is P's fraction F, without hidden bit. F >= 2^22: shift it and
@                                 rest by one, round. Else d < 2, so that rest has one bit at most,
@                                 and the result is exact: shift by the count of leading zeros.
@
@ Nothing is lost up to d = 32. Beyond, rest is 0 and the result is A, as it is from d = 26 on: B is
@ then less than half of the steps below A, which are half as long where A is a power of two.
@
@ Rounding to nearest even: rest above a half of 2^32 adds one, the carry of a comparison; exactly
@ a half does as well and then clears bit 0. A carry out of the fraction is the next e.
@
@ Multiplication
@
@     f = e - 63 in [0, 127] for both, E = fA + fB >= 2 (bit 8 is the product's sign)
@     M : rest = mantissa of A * mantissa of B * 2^8   M in [2^22, 2^24)
@     M >= 2^23:  E : 0 + M - 2^23
@     else:       E : 0 + 2 (M - 2^23) + top of rest, which takes one from E
@     round

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
    eor     r0, r0, #0x80000000
    b       .Ladd

    .thumb_func
__aeabi_fsub:
    .thumb_func
__subsf3:
    eor     r1, r1, #0x80000000

    .thumb_func
__aeabi_fadd:
    .thumb_func
__addsf3:
.Ladd:
    eors    r12, r0, r1
    bmi     .Ldifferent
    cmp     r0, r1
    bhs     1f
    eor     r0, r0, r12
    eor     r1, r1, r12
1:  ubfx    r2, r0, #23, #8         @ r0 = A, r1 = B, r2 = A's e
    sub     r3, r2, #32
    cmp     r3, #216
    bhs     .Ladd_special
    ubfx    r3, r1, #23, #8
    subs    r2, r2, r3              @ d
    bic     r1, r1, #0xFF000000
    orr     r1, r1, #0x00800000     @ B's mantissa
    rsb     r3, r2, #32             @ shifts by 32 to 255 give 0
    lsl     r3, r1, r3              @ rest
    lsrs    r1, r2                  @ whole
    add     r1, r0                  @ P
    eor     r2, r0, r1
    lsrs    r2, r2, #23
    bne     .Lcarry
.Lround:
    cmp     r3, #0x80000000
    adc     r0, r1, #0
    beq     .Ltie
    bx      lr

.Lcarry:
    lsrs    r0, r0, #23
    adds    r0, #1
    sub     r2, r1, r0, lsl #23     @ F
    sub     r0, r1, r2, lsr #1
    cbz     r3, 1f
    bx      lr
1:  lsls    r1, r1, #31
    bne     .Ltie
    bx      lr

.Ldifferent:
    lsls    r2, r0, #1
    cmp     r2, r1, lsl #1
    bhs     1f
    eor     r0, r0, r12
    eor     r1, r1, r12
1:  ubfx    r2, r0, #23, #8
    sub     r3, r2, #32
    cmp     r3, #216
    bhs     .Ladd_special
    ubfx    r3, r1, #23, #8
    subs    r2, r2, r3              @ d
    bic     r1, r1, #0xFF000000
    orr     r1, r1, #0x00800000
    rsb     r3, r2, #32
    lsl     r3, r1, r3
    lsrs    r1, r2
    rsbs    r3, r3, #0              @ rest, with a borrow unless it is 0
    sbc     r1, r0, r1              @ P
    eor     r2, r0, r1
    lsrs    r2, r2, #23
    bne     .Lcancelled
    cmp     r3, #0x80000000
    adc     r0, r1, #0
    beq     .Ltie
    bx      lr

.Lcancelled:
    lsls    r2, r1, #9              @ F at the top
    bpl     1f
    lsls    r3, r3, #1
    adc     r1, r1, r2, lsr #9      @ sign and e of P, 2 F, the top of rest
    sub     r1, r1, #0x00800000     @ without the hidden bit
    cmp     r3, #0x80000000
    adc     r0, r1, #0
    beq     .Ltie
    bx      lr
1:  orrs    r2, r2, r3, lsr #23     @ 2 F and the top of rest, at the top
    beq     .Lzero
    clz     r3, r2
    lsls    r2, r3
    lsrs    r1, r1, #23
    subs    r1, r1, r3              @ sign and e
    lsls    r2, r2, #1
    lsrs    r2, r2, #9
    add     r0, r2, r1, lsl #23
    bx      lr
.Lzero:
    movs    r0, #0
    bx      lr

.Ltie:
    bic     r0, r0, #1
    bx      lr
.Ladd_special:
    b.w     __kinglet_soft_float_add
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
    sub     r2, r0, #0x1F800000     @ sign and f at the top: 63 << 23
    sub     r3, r1, #0x1F800000
    orr     r12, r2, r3
    lsls    r12, r12, #1            @ the top of either f
    bmi     .Lmul_special
    lsrs    r2, r2, #23
    add     r2, r2, r3, lsr #23     @ E
    tst     r2, #0xFE
    beq     .Lmul_special
    lsls    r0, r0, #8
    orr     r0, r0, #0x80000000     @ 2^8 A's mantissa
    bic     r1, r1, #0xFF000000
    orr     r1, r1, #0x00800000     @ B's mantissa
    umull   r3, r1, r0, r1          @ M in r1, rest in r3
    subs    r1, r1, #0x00800000
    bhs     1f
    lsls    r3, r3, #1
    adcs    r1, r1
1:  cmp     r3, #0x80000000
    adc     r0, r1, r2, lsl #23
    beq     2f
    bx      lr
2:  bic     r0, r0, #1
    bx      lr
.Lmul_special:
    b.w     __kinglet_soft_float_mul
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
    ands    r1, r0, #0x80000000     @ sign
    it      mi
    rsbmi   r0, r0, #0
    clz     r2, r0
    cbz     r0, 2f
    lsls    r0, r2                  @ 2^8 the mantissa
    rsb     r2, r2, #157            @ e - 1: the hidden bit adds the 1
    add     r1, r1, r2, lsl #23
    lsls    r3, r0, #24             @ rest
    cmp     r3, #0x80000000
    adc     r0, r1, r0, lsr #8
    beq     1f
    bx      lr
1:  bic     r0, r0, #1
2:  bx      lr
    .size __aeabi_i2f, . - __aeabi_i2f
