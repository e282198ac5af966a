# IEEE single precision for RV32IM: with MULHU, without a count of leading zeros.
#
# Arguments are in a0 and a1, the result is in a0. Only a0 to a6 and t1 change, and nothing lies on
# the stack. Operands outside the ranges named below go, as they came, to the functions in Rust
# (ieee.rs), which take any. steps.rs has the same steps in Rust, by these names.
#
# "A" is the float of larger magnitude, "B" the other; "e" the exponent field; a mantissa has its
# hidden bit.
#
# Addition
#
#     A's e in [32, 247]: the result is then neither subnormal nor infinite
#     d = A's e - B's e. From 26 on the result is A, because B is less than half of the steps below
#     A, which are half as long where A is a power of two; 24 and 25 go to Rust, because shifts
#     count modulo 32. Below, B's e is not 0.
#     whole : rest = (B's mantissa : 0) >> d           32.32 bits, by shifts of 2^8 the mantissa
#     same signs:  P : rest = A + whole : rest         A as the integer of its bits
#     others:      P : rest = A - whole : rest
#     sign and e of P are A's:    round P : rest
#     same signs, e larger:       the mantissa has a bit too many, F = P - (sign : A's e + 1 : 0);
#                                 P - F / 2 is both shifted and rounded half up
#     others, e one smaller:      the mantissa is P's fraction F, without hidden bit. F >= 2^22: shift it and
#                                 rest by one, round. Else d < 2, so that rest has one bit at most,
#                                 and the result is exact: shift until the hidden bit is there.
#
# Rounding to nearest even: the top of rest adds one, but where the rest of rest is 0, only to an odd
# number. A carry out of the fraction is the next e.
#
# Multiplication
#
#     g = e - 64 in [0, 126] for both, G = gA + gB (bit 8 is the product's sign)
#     H : L = 2^8 mantissa of A * 2^8 mantissa of B    H in [2^30, 2^32)
#     H >= 2^31:  G + 1 : H >> 1
#     else:       G : H
#     (H + 64) >> 7 is the mantissa rounded half up, whose hidden bit adds one to G. Where the sum's
#     low 7 bits are 0, what was shifted out and L, computed only then, tell whether it was a tie.

    .option push
    .option arch, +m                # assembly for a whole file does not have the target's

    .section .text.kinglet_soft_float_add, "ax", %progbits
    .global __subsf3
    .global __addsf3
    .type __subsf3, %function
    .type __addsf3, %function

__subsf3:
    lui     a2, 0x80000
    xor     a1, a1, a2

__addsf3:
    xor     a2, a0, a1
    bltz    a2, .Ldifferent
    bgeu    a0, a1, 1f
    xor     a0, a0, a2
    xor     a1, a1, a2
1:  srli    a3, a0, 23              # a0 = A, a1 = B
    srli    a4, a1, 23
    sub     a4, a3, a4              # d
    andi    a5, a3, 255
    addi    a5, a5, -32
    li      a6, 216
    bgeu    a5, a6, .Ladd_special
    li      a6, 24
    bgeu    a4, a6, .Lfar
    slli    a1, a1, 8
    lui     a5, 0x80000
    or      a1, a1, a5              # 2^8 B's mantissa
    addi    a4, a4, 8
    srl     a5, a1, a4              # whole
    neg     a4, a4
    sll     a1, a1, a4              # rest
    add     a0, a0, a5              # P
    srli    a4, a0, 23
    bne     a4, a3, .Lcarry
.Lround:
    bgez    a1, 1f
    slli    a1, a1, 1
    beqz    a1, .Ltie
    addi    a0, a0, 1
1:  ret

.Lcarry:
    addi    a3, a3, 1
    slli    a3, a3, 23
    sub     a3, a0, a3              # F
    srli    a4, a3, 1
    sub     a0, a0, a4
    beqz    a1, 1f
    ret
1:  slli    a3, a3, 31              # F is odd where P is
    beqz    a3, 2f
    andi    a0, a0, -2
2:  ret

.Ldifferent:
    slli    a3, a0, 1
    slli    a4, a1, 1
    bgeu    a3, a4, 1f
    xor     a0, a0, a2
    xor     a1, a1, a2
1:  srli    a3, a0, 23
    srli    a4, a1, 23
    sub     a4, a3, a4
    andi    a4, a4, 255             # d, without the difference of the signs
    andi    a5, a3, 255
    addi    a5, a5, -32
    li      a6, 216
    bgeu    a5, a6, .Ladd_special
    li      a6, 24
    bgeu    a4, a6, .Lfar
    slli    a1, a1, 8
    lui     a5, 0x80000
    or      a1, a1, a5
    addi    a4, a4, 8
    srl     a5, a1, a4
    neg     a4, a4
    sll     a1, a1, a4
    sub     a0, a0, a5
    snez    a5, a1
    sub     a0, a0, a5              # P, with the borrow of rest
    neg     a1, a1                  # rest
    srli    a4, a0, 23
    beq     a4, a3, .Lround

    slli    a2, a0, 9               # F at the top
    bgez    a2, 1f
    srli    a2, a2, 9
    add     a0, a0, a2
    srli    a2, a1, 31
    add     a0, a0, a2              # sign and e of P, 2 F, the top of rest
    lui     a2, 0x800
    sub     a0, a0, a2              # without the hidden bit
    slli    a1, a1, 1
    j       .Lround
1:  srli    a1, a1, 23
    or      a2, a2, a1              # 2 F and the top of rest, at the top
    beqz    a2, 3f
2:  addi    a4, a4, -1              # sign and e
    slli    a2, a2, 1
    bgez    a2, 2b
    slli    a4, a4, 23
    slli    a2, a2, 1
    srli    a2, a2, 9
    add     a0, a4, a2
    ret
3:  li      a0, 0
    ret

.Ltie:
    andi    a1, a0, 1
    add     a0, a0, a1
    ret
.Lfar:
    li      a6, 26
    bltu    a4, a6, .Ladd_special
    ret
.Ladd_special:
    tail    __kinglet_soft_float_add
    .size __addsf3, . - __addsf3

    .section .text.kinglet_soft_float_mul, "ax", %progbits
    .global __mulsf3
    .type __mulsf3, %function

__mulsf3:
    srli    a2, a0, 23
    srli    a3, a1, 23
    addi    a2, a2, -64             # sign and g
    addi    a3, a3, -64
    andi    a4, a2, 255
    andi    a5, a3, 255
    li      a6, 127
    bgeu    a4, a6, .Lmul_special
    bgeu    a5, a6, .Lmul_special
    add     a2, a2, a3
    slli    a2, a2, 23              # G
    lui     a4, 0x80000
    slli    a0, a0, 8
    or      a0, a0, a4
    slli    a1, a1, 8
    or      a1, a1, a4
    mulhu   a3, a0, a1              # H
    bltz    a3, 1f
    addi    a4, a3, 64
    andi    a5, a4, 127
    beqz    a5, 2f
    srli    a4, a4, 7
    add     a0, a2, a4
    ret
1:  srli    a4, a3, 1
    addi    a4, a4, 64
    lui     a5, 0x800
    add     a2, a2, a5
    andi    a5, a4, 127
    beqz    a5, 3f
    srli    a4, a4, 7
    add     a0, a2, a4
    ret
2:  mul     a5, a0, a1              # L
    j       4f
3:  mul     a5, a0, a1
    andi    a3, a3, 1
    or      a5, a5, a3
4:  srli    a4, a4, 7
    add     a0, a2, a4
    bnez    a5, 5f
    andi    a0, a0, -2
5:  ret
.Lmul_special:
    tail    __kinglet_soft_float_mul
    .size __mulsf3, . - __mulsf3

    .section .text.kinglet_soft_float_i2f, "ax", %progbits
    .global __floatsisf
    .type __floatsisf, %function

__floatsisf:
    beqz    a0, 6f
    srai    a1, a0, 31
    xor     a0, a0, a1
    sub     a0, a0, a1              # magnitude
    li      a2, 157                 # e - 1 of a float in [2^31, 2^32)
    srli    a3, a0, 16
    bnez    a3, 1f
    slli    a0, a0, 16
    addi    a2, a2, -16
1:  srli    a3, a0, 24
    bnez    a3, 2f
    slli    a0, a0, 8
    addi    a2, a2, -8
2:  srli    a3, a0, 28
    bnez    a3, 3f
    slli    a0, a0, 4
    addi    a2, a2, -4
3:  bltz    a0, 5f
4:  addi    a2, a2, -1
    slli    a0, a0, 1
    bgez    a0, 4b
5:  slli    a1, a1, 31              # sign
    slli    a2, a2, 23
    add     a1, a1, a2
    srli    a2, a0, 8
    slli    a3, a0, 24              # rest
    add     a0, a1, a2
    bgez    a3, 6f
    slli    a3, a3, 1
    beqz    a3, 7f
    addi    a0, a0, 1
6:  ret
7:  andi    a1, a0, 1
    add     a0, a0, a1
    ret
    .size __floatsisf, . - __floatsisf

    .option pop
