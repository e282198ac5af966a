//! The DSP extension's instructions, as inline assembly.
//!
//! A *quad* is four rows by four inputs: four words of weights, one per row, and two words of
//! activations, `[q0, q2]` and `[q1, q3]` as `pack` leaves them.
//!
//! ```text
//! ldrd    even, odd, [q]         q0 q2 | q1 q3
//! ldrd    a, b, [w]              a row's four weights in each
//! sxtb16  t, a                   w0 w2, widened
//! sxtb16  a, a, ror #8           w1 w3, widened
//! smlad   s0, t, even, s0        s0 += w0 q0 + w2 q2
//! smlad   s0, a, odd, s0         s0 += w1 q1 + w3 q3
//! ```
//!
//! Four instructions and half a load of weights make the four products of a row. Assembly may
//! have twelve core registers: four sums, two pairs of operands, a temporary and three
//! addresses fill them, so four rows are what fits.
//!
//! Int4 takes *two quads* at once, four rows by eight inputs: four words of weights, one per row,
//! and four words of activations, with a mask that leaves a nibble in each halfword.
//!
//! ```text
//! ldm     r1!, {r8-r11}          q0 q2 | q1 q3 | q4 q6 | q5 q7
//! ldrd    r2, r7, [r0]           a row's eight weights in each
//! and     r3, r6, r2             u0 u2
//! smlad   r4, r3, r8, r4         s0 += u0 q0 + u2 q2
//! and     r3, r6, r2, lsr #8     u1 u3
//! smlad   r4, r3, r9, r4
//! and     r3, r6, r2, lsr #4     u4 u6
//! smlad   r4, r3, r10, r4
//! and     r2, r6, r2, lsr #12    u5 u7
//! smlad   r4, r2, r11, r4
//! ```
//!
//! That is two registers more than assembly may ask for, so that each weight is loaded once: r6 and
//! r7, which the compiler may need for addresses of its frame. The assembly gives them back as they
//! were, and names all its other registers, so that none of its operands is in those two:
//!
//! | registers      |                                                        |
//! |----------------|--------------------------------------------------------|
//! | r0, r1         | addresses of weights and activations                   |
//! | r2, r7         | the weights of two rows                                |
//! | r3             | a temporary                                            |
//! | r4, r5, r12, lr| sums                                                   |
//! | r6             | the mask                                               |
//! | r8 to r11      | activations                                            |
//!
//! It is assembly because stable Rust has no intrinsics for the extension, and no way to see
//! or to switch on the target feature. Functions are `unsafe` where the assembly reads what a
//! slice's type does not show to be there; [`super::Dsp`] checks it.
//!
//! * [`segment`]: eight quads, 32 inputs of four rows.
//! * [`four_rows`]: all segments of a token with a scale to each, f32 accumulators in s16 to
//!   s19. The hard-float ABI alone has the FPU that it needs.
//! * [`segment_int4`], [`four_rows_int4`]: the same for int4, and [`four_rows_int4_groups`] for
//!   groups of several segments, which a model of four bits has where they are as good.
//! * [`listed`]: the active inputs of a sparse product, each with its four weights in a word;
//!   [`listed_low`] and [`listed_high`] for the nibbles of the word's bytes.
//! * [`fold`]: from i32 sums to f32 accumulators.

use core::arch::asm;

use crate::quads::{INT4_WEIGHTS, List, PAIRS, ROWS, WEIGHTS};
#[cfg(target_abi = "eabihf")]
use crate::quads::{Scales, TILE_SCALES, Token};

/// Lets the assembler take the DSP extension, which the ARMv8-M targets leave
/// out: LLVM knows no `.arch_extension` for it, so the M33 stands for it.
#[cfg(armv8m)]
macro_rules! extension {
    () => {
        ".cpu cortex-m33"
    };
}
/// ARMv7E-M is ARMv7-M with the DSP extension.
#[cfg(not(armv8m))]
macro_rules! extension {
    () => {
        ""
    };
}

/// Whether the core has the DSP extension: ARMv8-M makes it optional. Code without
/// privilege may not ask, and is told no.
#[cfg(armv8m)]
pub(super) fn is_available() -> bool {
    if !privileged() {
        return false;
    }
    /// Instruction Set Attribute Register 3.
    const ID_ISAR3: *const u32 = 0xE000_ED6C as *const u32;
    // SAFETY: the register is there on every ARMv8-M core with the Main
    // extension; reading it has no effect.
    let isar3 = unsafe { ID_ISAR3.read_volatile() };
    // The field for SXTB16, SMLAD and their kin, and its value for all of them.
    isar3 >> 4 & 0xF >= 3
}

/// Whether the registers of the system may be read: in a handler, or in a thread
/// that has not given its privilege away.
#[cfg(armv8m)]
pub(crate) fn privileged() -> bool {
    let (control, exception): (u32, u32);
    // SAFETY: both registers can be read without privilege, with no effect; then
    // IPSR reads as the number of no exception.
    unsafe {
        asm!("mrs {}, CONTROL", out(reg) control, options(nomem, nostack, preserves_flags));
        asm!("mrs {}, IPSR", out(reg) exception, options(nomem, nostack, preserves_flags));
    }
    control & 1 == 0 || exception & 0x1FF != 0
}

/// Whether the core has the DSP extension: it makes ARMv7-M the ARMv7E-M that
/// the compiler's own code needs. The register that tells it is wrong in emulators.
#[cfg(not(armv8m))]
pub(super) fn is_available() -> bool {
    true
}

/// Four rows by four inputs. `$q` is the offset of the activations, `$low` and
/// `$high` those of two rows' weights. `$first` starts a sum or adds to it.
macro_rules! quad {
    ($q:literal, $low:literal, $high:literal) => {
        quad!($q, $low, $high, "smlad", ", {s0}", ", {s1}", ", {s2}", ", {s3}")
    };
    ($q:literal, $low:literal, $high:literal, start) => {
        quad!($q, $low, $high, "smuad", "", "", "", "")
    };
    ($q:literal, $low:literal, $high:literal, $first:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal) => {
        concat!(
            "ldrd {even}, {odd}, [{q}, #",
            $q,
            "]\n",
            "ldrd {a}, {b}, [{w}, #",
            $low,
            "]\n",
            "sxtb16 {t}, {a}\n",
            "sxtb16 {a}, {a}, ror #8\n",
            $first,
            " {s0}, {t}, {even}",
            $s0,
            "\n",
            "sxtb16 {t}, {b}\n",
            "smlad {s0}, {a}, {odd}, {s0}\n",
            "sxtb16 {b}, {b}, ror #8\n",
            $first,
            " {s1}, {t}, {even}",
            $s1,
            "\n",
            "smlad {s1}, {b}, {odd}, {s1}\n",
            "ldrd {a}, {b}, [{w}, #",
            $high,
            "]\n",
            "sxtb16 {t}, {a}\n",
            "sxtb16 {a}, {a}, ror #8\n",
            $first,
            " {s2}, {t}, {even}",
            $s2,
            "\n",
            "sxtb16 {t}, {b}\n",
            "smlad {s2}, {a}, {odd}, {s2}\n",
            "sxtb16 {b}, {b}, ror #8\n",
            $first,
            " {s3}, {t}, {even}",
            $s3,
            "\n",
            "smlad {s3}, {b}, {odd}, {s3}",
        )
    };
}

/// Four rows of int4 by eight inputs. `$low` and `$high` are the offsets of two rows' weights.
/// `$first` starts a sum or adds to it.
macro_rules! two_quads {
    ($low:literal, $high:literal) => {
        two_quads!($low, $high, "smlad", ", r4", ", r5", ", r12", ", lr")
    };
    ($low:literal, $high:literal, start) => {
        two_quads!($low, $high, "smuad", "", "", "", "")
    };
    ($low:literal, $high:literal, $first:literal, $s0:literal, $s1:literal, $s2:literal, $s3:literal) => {
        concat!(
            "ldm r1!, {{r8, r9, r10, r11}}\n",
            "ldrd r2, r7, [r0, #",
            $low,
            "]\n",
            two_quads!(rows, $first, "r4", $s0, "r5", $s1),
            "ldrd r2, r7, [r0, #",
            $high,
            "]\n",
            two_quads!(rows, $first, "r12", $s2, "lr", $s3),
        )
    };
    // Two rows, alternating, so that no sum waits for itself.
    (rows, $first:literal, $a:literal, $sum_a:literal, $b:literal, $sum_b:literal) => {
        concat!(
            "and r3, r6, r2\n",
            $first,
            " ",
            $a,
            ", r3, r8",
            $sum_a,
            "\n",
            "and r3, r6, r7\n",
            $first,
            " ",
            $b,
            ", r3, r8",
            $sum_b,
            "\n",
            two_quads!(pair, "r3", $a, "r2", "8", "r9"),
            two_quads!(pair, "r3", $b, "r7", "8", "r9"),
            two_quads!(pair, "r3", $a, "r2", "4", "r10"),
            two_quads!(pair, "r3", $b, "r7", "4", "r10"),
            two_quads!(pair, "r2", $a, "r2", "12", "r11"),
            two_quads!(pair, "r7", $b, "r7", "12", "r11"),
        )
    };
    // Two inputs of one row.
    (pair, $t:literal, $sum:literal, $w:literal, $shift:literal, $q:literal) => {
        concat!(
            "and ", $t, ", r6, ", $w, ", lsr #", $shift, "\n", "smlad ", $sum, ", ", $t, ", ", $q,
            ", ", $sum, "\n",
        )
    };
}

/// Adds to each sum the products of a segment's inputs with the weights of a row, of the four
/// rows from `row` on.
///
/// # Safety
///
/// `row` is at most 12.
#[inline(always)]
pub(super) unsafe fn segment(
    sums: [i32; ROWS],
    weights: &[u32; WEIGHTS],
    row: usize,
    q: &[u32; PAIRS],
) -> [i32; ROWS] {
    let [mut s0, mut s1, mut s2, mut s3] = sums;
    let weights = weights[row..].as_ptr();
    // SAFETY: reads the words 0 to 15 of `q`, and of `weights` the words 0 to 3 in each sixteen
    // of 128 from `row` on, of which the last is 112 + 12 + 3 by the caller's promise. Both are
    // aligned as words, which LDRD needs.
    unsafe {
        asm!(
            extension!(),
            quad!(0, 0, 8),
            quad!(8, 64, 72),
            quad!(16, 128, 136),
            quad!(24, 192, 200),
            quad!(32, 256, 264),
            quad!(40, 320, 328),
            quad!(48, 384, 392),
            quad!(56, 448, 456),
            w = in(reg) weights,
            q = in(reg) q.as_ptr(),
            s0 = inout(reg) s0,
            s1 = inout(reg) s1,
            s2 = inout(reg) s2,
            s3 = inout(reg) s3,
            even = out(reg) _,
            odd = out(reg) _,
            a = out(reg) _,
            b = out(reg) _,
            t = out(reg) _,
            options(pure, readonly, nostack),
        );
    }
    [s0, s1, s2, s3]
}

/// [`segment`] of int4.
///
/// # Safety
///
/// `row` is at most 12.
#[inline(always)]
pub(super) unsafe fn segment_int4(
    sums: [i32; ROWS],
    weights: &[u32; INT4_WEIGHTS],
    row: usize,
    q: &[u32; PAIRS],
) -> [i32; ROWS] {
    let [mut s0, mut s1, mut s2, mut s3] = sums;
    let weights = weights[row..].as_ptr();
    // SAFETY: reads the words 0 to 15 of `q`, and of `weights` the words 0 to 3 in each sixteen
    // of 64 from `row` on, of which the last is 48 + 12 + 3 by the caller's promise. Both are
    // aligned as words, which LDM and LDRD need. r6 and r7 leave as they came, from the stack.
    unsafe {
        asm!(
            extension!(),
            "push {{r6, r7}}",
            "mov r6, #0x000F000F",
            two_quads!(0, 8),
            two_quads!(64, 72),
            two_quads!(128, 136),
            two_quads!(192, 200),
            "pop {{r6, r7}}",
            in("r0") weights,
            inout("r1") q.as_ptr() => _,
            out("r2") _,
            out("r3") _,
            inout("r4") s0,
            inout("r5") s1,
            inout("r12") s2,
            inout("r14") s3,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            options(pure, readonly),
        );
    }
    [s0, s1, s2, s3]
}

/// Four rows times one token with a scale to each segment, in one piece: sums
/// of a segment never leave the core registers, those of the row stay in s16 to
/// s19. Its folding is that of [`fold`].
///
/// # Safety
///
/// `weights`, `scales` and `q` are of one length, at least 1, and `quad` is at most 3.
#[cfg(target_abi = "eabihf")]
#[inline(always)]
pub(super) unsafe fn four_rows(
    weights: &[[u32; WEIGHTS]],
    scales: &[[u32; TILE_SCALES]],
    q: &[[u32; PAIRS]],
    quad: usize,
) -> [f32; ROWS] {
    let tokens = q.as_ptr_range();
    let (mut s0, s1, mut s2, s3): (u32, u32, u32, u32);
    // The end address of the token enters in the register of s0, which is free until the first
    // sum, and is parked in s15 before the loop, because the loop uses all twelve core registers
    // that asm may have.
    s0 = tokens.end.addr() as u32;
    // The first accumulators.
    s2 = 0;
    // SAFETY: by the caller's promise there is a segment of all three for each turn of the loop,
    // which ends at that of `q`. A turn reads the 16 words of `q`, those of the 128 of `weights`
    // that are of these rows, and 2 of the 8 of `scales`; `quad` keeps them inside. All are
    // aligned as words, which LDRD and VLDM need.
    unsafe {
        asm!(
            extension!(),
            "vmov s15, {s0}",
            "vmov s16, {s2}",
            "vmov s17, {s2}",
            "vmov s18, {s2}",
            "vmov s19, {s2}",
            "2:",
            quad!(0, 0, 8, start),
            quad!(8, 64, 72),
            quad!(16, 128, 136),
            quad!(24, 192, 200),
            quad!(32, 256, 264),
            quad!(40, 320, 328),
            quad!(48, 384, 392),
            quad!(56, 448, 456),
            "vldm {scales}, {{s4, s5}}",
            "vmov {t}, s15",
            "add {scales}, {scales}, #32",
            "vmov s6, s7, {s0}, {s1}",
            "vmov s8, s9, {s2}, {s3}",
            "vcvtb.f32.f16 s10, s4",
            "vcvtt.f32.f16 s11, s4",
            "vcvtb.f32.f16 s12, s5",
            "vcvtt.f32.f16 s13, s5",
            "vcvt.f32.s32 s6, s6",
            "vcvt.f32.s32 s7, s7",
            "vcvt.f32.s32 s8, s8",
            "vcvt.f32.s32 s9, s9",
            "add {w}, {w}, #512",
            "add {q}, {q}, #64",
            "vmla.f32 s16, s6, s10",
            "vmla.f32 s17, s7, s11",
            "vmla.f32 s18, s8, s12",
            "vmla.f32 s19, s9, s13",
            "cmp {q}, {t}",
            "bne 2b",
            "vmov {s0}, {s1}, s16, s17",
            "vmov {s2}, {s3}, s18, s19",
            w = inout(reg) weights.as_ptr().cast::<u32>().add(quad * ROWS) => _,
            q = inout(reg) tokens.start => _,
            scales = inout(reg) scales.as_ptr().cast::<u32>().add(quad * ROWS / 2) => _,
            s0 = inout(reg) s0,
            s1 = out(reg) s1,
            s2 = inout(reg) s2,
            s3 = out(reg) s3,
            even = out(reg) _,
            odd = out(reg) _,
            a = out(reg) _,
            b = out(reg) _,
            t = out(reg) _,
            out("s4") _, out("s5") _, out("s6") _, out("s7") _, out("s8") _,
            out("s9") _, out("s10") _, out("s11") _, out("s12") _, out("s13") _,
            out("s15") _, out("s16") _, out("s17") _, out("s18") _, out("s19") _,
            options(readonly, nostack),
        );
    }
    [s0, s1, s2, s3].map(f32::from_bits)
}

/// Takes 8 times the sum of activations in r7 off the sums of int4.
#[cfg(target_abi = "eabihf")]
macro_rules! correct {
    () => {
        "sub r4, r4, r7, lsl #3
        sub r5, r5, r7, lsl #3
        sub r12, r12, r7, lsl #3
        sub lr, lr, r7, lsl #3"
    };
}

/// From the sums of int4 to the f32 accumulators, with the scales in s4 and s5: that of [`fold`].
#[cfg(target_abi = "eabihf")]
macro_rules! accumulate {
    () => {
        "vmov s6, s7, r4, r5
        vmov s8, s9, r12, lr
        vcvtb.f32.f16 s10, s4
        vcvtt.f32.f16 s11, s4
        vcvtb.f32.f16 s12, s5
        vcvtt.f32.f16 s13, s5
        vcvt.f32.s32 s6, s6
        vcvt.f32.s32 s7, s7
        vcvt.f32.s32 s8, s8
        vcvt.f32.s32 s9, s9
        vmla.f32 s16, s6, s10
        vmla.f32 s17, s7, s11
        vmla.f32 s18, s8, s12
        vmla.f32 s19, s9, s13"
    };
}

/// [`four_rows`] of int4: the products of stored weights, less 8 times the sum of the segment's
/// activations. r6, r7, and the addresses of scales and of those sums, wait in s0 to s3.
///
/// # Safety
///
/// `weights`, `scales` and both slices of `token` are of one length, at least 1, and `quad` is at
/// most 3.
#[cfg(target_abi = "eabihf")]
#[inline(always)]
pub(super) unsafe fn four_rows_int4(
    weights: &[[u32; INT4_WEIGHTS]],
    scales: &[[u32; TILE_SCALES]],
    token: Token<'_>,
    quad: usize,
) -> [f32; ROWS] {
    let tokens = token.q.as_ptr_range();
    let (mut s0, s1, mut s2, s3): (u32, u32, u32, u32);
    // The end address of the token, which s15 keeps, as in `four_rows`.
    s0 = tokens.end.addr() as u32;
    // The first accumulators.
    s2 = 0;
    // SAFETY: by the caller's promise there is a segment of all four for each turn of the loop,
    // which ends at that of `q`. A turn reads the 16 words of `q`, its sum, those of the 64 of
    // `weights` that are of these rows, and 2 of the 8 of `scales`; `quad` keeps them inside. All
    // are aligned as words, which LDM, LDRD and VLDM need. r6 and r7 leave as they came.
    unsafe {
        asm!(
            extension!(),
            "vmov s0, s1, r6, r7",
            "vmov s2, s3, r3, r2",
            "vmov s15, r4",
            "vmov s16, r12",
            "vmov s17, r12",
            "vmov s18, r12",
            "vmov s19, r12",
            "mov r6, #0x000F000F",
            "2:",
            two_quads!(0, 8, start),
            two_quads!(64, 72),
            two_quads!(128, 136),
            two_quads!(192, 200),
            "vmov r3, r2, s2, s3",
            "vldm r3, {{s4, s5}}",
            "ldr r7, [r2], #4",
            "add r3, r3, #32",
            correct!(),
            "vmov s2, s3, r3, r2",
            accumulate!(),
            "vmov r3, s15",
            "add r0, r0, #256",
            "cmp r1, r3",
            "bne 2b",
            "vmov r4, r5, s16, s17",
            "vmov r12, lr, s18, s19",
            "vmov r6, r7, s0, s1",
            inout("r0") weights.as_ptr().cast::<u32>().add(quad * ROWS) => _,
            inout("r1") tokens.start => _,
            inout("r2") token.sums.as_ptr() => _,
            inout("r3") scales.as_ptr().cast::<u32>().add(quad * ROWS / 2) => _,
            inout("r4") s0,
            out("r5") s1,
            inout("r12") s2,
            out("r14") s3,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _,
            out("s5") _, out("s6") _, out("s7") _, out("s8") _, out("s9") _,
            out("s10") _, out("s11") _, out("s12") _, out("s13") _, out("s15") _,
            out("s16") _, out("s17") _, out("s18") _, out("s19") _,
            options(readonly, nostack),
        );
    }
    [s0, s1, s2, s3].map(f32::from_bits)
}

/// [`four_rows_int4`] with `group` segments to a scale. Beside what waits there, the end of the group
/// is in s14 and the bytes of its activations in s20.
///
/// # Safety
///
/// `weights` and both slices of `token` are of one length, at least 1, `scales` of one for each
/// `group` of them, `group` is at least 1, and `quad` is at most 3.
#[cfg(target_abi = "eabihf")]
#[inline(always)]
pub(super) unsafe fn four_rows_int4_groups(
    weights: &[[u32; INT4_WEIGHTS]],
    scales: &[[u32; TILE_SCALES]],
    token: Token<'_>,
    quad: usize,
    group: usize,
) -> [f32; ROWS] {
    let tokens = token.q.as_ptr_range();
    let (mut s0, mut s1, mut s2, mut s3): (u32, u32, u32, u32);
    s0 = tokens.end.addr() as u32;
    s1 = (group * size_of::<[u32; PAIRS]>()) as u32;
    // The first accumulators.
    s2 = 0;
    // The end of the first group; the last may be shorter than others.
    s3 = s0.min(tokens.start.addr() as u32 + s1);
    // SAFETY: as in `four_rows_int4`, where each turn of the inner loop reads of `weights`, `q` and
    // its sums, each of the outer one of `scales`, and a group ends at the token's end at the latest.
    unsafe {
        asm!(
            extension!(),
            "vmov s0, s1, r6, r7",
            "vmov s2, s3, r3, r2",
            "vmov s14, s15, lr, r4",
            "vmov s20, r5",
            "vmov s16, r12",
            "vmov s17, r12",
            "vmov s18, r12",
            "vmov s19, r12",
            "mov r6, #0x000F000F",
            "2:",
            "mov r4, #0",
            "mov r5, #0",
            "mov r12, #0",
            "mov lr, #0",
            "3:",
            two_quads!(0, 8),
            two_quads!(64, 72),
            two_quads!(128, 136),
            two_quads!(192, 200),
            "vmov r2, s3",
            "ldr r7, [r2], #4",
            "vmov r3, s14",
            "add r0, r0, #256",
            "vmov s3, r2",
            correct!(),
            "cmp r1, r3",
            "bne 3b",
            "vmov r3, s2",
            "vldm r3, {{s4, s5}}",
            "add r3, r3, #32",
            "vmov s2, r3",
            accumulate!(),
            "vmov r3, r2, s14, s15",
            "vmov r7, s20",
            "add r3, r3, r7",
            "cmp r3, r2",
            "it hi",
            "movhi r3, r2",
            "vmov s14, r3",
            "cmp r1, r2",
            "bne 2b",
            "vmov r4, r5, s16, s17",
            "vmov r12, lr, s18, s19",
            "vmov r6, r7, s0, s1",
            inout("r0") weights.as_ptr().cast::<u32>().add(quad * ROWS) => _,
            inout("r1") tokens.start => _,
            inout("r2") token.sums.as_ptr() => _,
            inout("r3") scales.as_ptr().cast::<u32>().add(quad * ROWS / 2) => _,
            inout("r4") s0,
            inout("r5") s1,
            inout("r12") s2,
            inout("r14") s3,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _,
            out("s5") _, out("s6") _, out("s7") _, out("s8") _, out("s9") _,
            out("s10") _, out("s11") _, out("s12") _, out("s13") _, out("s14") _,
            out("s15") _, out("s16") _, out("s17") _, out("s18") _, out("s19") _,
            out("s20") _,
            options(readonly, nostack),
        );
    }
    [s0, s1, s2, s3].map(f32::from_bits)
}

/// A function that adds the products of listed inputs to the sums of four rows. `$even` makes
/// halfwords of the first and third weight of `a`, `$odd` of the second and fourth.
macro_rules! listed {
    ($(#[$doc:meta])* $name:ident, $even:literal, $odd:literal $(, $mask:ident = $value:literal)?) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Four bytes can be read at the last entry's offset, which is the largest.
        #[inline(always)]
        pub(super) unsafe fn $name(
            sums: [i32; ROWS],
            list: List<'_>,
            weights: &[u8],
        ) -> [i32; ROWS] {
            let entries = list.entries().as_ptr_range();
            let [mut s0, mut s1, mut s2, mut s3] = sums;
            if entries.is_empty() {
                return sums;
            }
            // SAFETY: reads the entries, of which there is one at least, and the four bytes of
            // each: by the caller's promise those of the last entry, and so those of all, are
            // readable. LDR needs no alignment, and the entries have that of LDRD.
            unsafe {
                asm!(
                    extension!(),
                    "2:",
                    "ldrd {a}, {q}, [{entry}], #8",
                    "ldr {a}, [{w}, {a}]",
                    "cmp {entry}, {end}",
                    $even,
                    $odd,
                    "smlabb {s0}, {t}, {q}, {s0}",
                    "smlatb {s2}, {t}, {q}, {s2}",
                    "smlabb {s1}, {a}, {q}, {s1}",
                    "smlatb {s3}, {a}, {q}, {s3}",
                    "bne 2b",
                    entry = inout(reg) entries.start => _,
                    end = in(reg) entries.end,
                    w = in(reg) weights.as_ptr(),
                    s0 = inout(reg) s0,
                    s1 = inout(reg) s1,
                    s2 = inout(reg) s2,
                    s3 = inout(reg) s3,
                    a = out(reg) _,
                    q = out(reg) _,
                    t = out(reg) _,
                    $($mask = in(reg) $value,)?
                    options(pure, readonly, nostack),
                );
            }
            [s0, s1, s2, s3]
        }
    };
}

listed! {
    /// Adds the products of listed inputs to the sums of four rows.
    listed, "sxtb16 {t}, {a}", "sxtb16 {a}, {a}, ror #8"
}

listed! {
    /// [`listed`] of the low nibbles.
    listed_low, "and {t}, {mask}, {a}", "and {a}, {mask}, {a}, lsr #8", mask = 0x000F_000F
}

listed! {
    /// [`listed`] of the high nibbles.
    listed_high, "and {t}, {mask}, {a}, lsr #4", "and {a}, {mask}, {a}, lsr #12", mask = 0x000F_000F
}

/// `acc + f32(sum) * scale`, for each row. The FPU's conversion of an f16 is
/// exact, and its VMLA rounds the product before it adds: what the contract
/// asks for, unlike VFMA.
#[cfg(target_abi = "eabihf")]
#[inline(always)]
pub(super) fn fold(acc: &mut [f32; ROWS], sums: [i32; ROWS], scales: &Scales) {
    let [s0, s1, s2, s3] = sums;
    // SAFETY: reads the scales, reads and writes `acc`, both aligned as words.
    // The sums travel in core registers because stable Rust does not let a
    // single-precision FPU's registers be operands.
    unsafe {
        asm!(
            "vldm {scales}, {{s4, s5}}",
            "vmov s6, s7, {s0}, {s1}",
            "vmov s8, s9, {s2}, {s3}",
            "vldm {acc}, {{s0, s1, s2, s3}}",
            "vcvtb.f32.f16 s10, s4",
            "vcvtt.f32.f16 s11, s4",
            "vcvtb.f32.f16 s12, s5",
            "vcvtt.f32.f16 s13, s5",
            "vcvt.f32.s32 s6, s6",
            "vcvt.f32.s32 s7, s7",
            "vcvt.f32.s32 s8, s8",
            "vcvt.f32.s32 s9, s9",
            "vmla.f32 s0, s6, s10",
            "vmla.f32 s1, s7, s11",
            "vmla.f32 s2, s8, s12",
            "vmla.f32 s3, s9, s13",
            "vstm {acc}, {{s0, s1, s2, s3}}",
            acc = in(reg) acc.as_mut_ptr(),
            scales = in(reg) scales.as_ptr(),
            s0 = in(reg) s0,
            s1 = in(reg) s1,
            s2 = in(reg) s2,
            s3 = in(reg) s3,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _,
            out("s5") _, out("s6") _, out("s7") _, out("s8") _, out("s9") _,
            out("s10") _, out("s11") _, out("s12") _, out("s13") _,
            options(nostack, preserves_flags),
        );
    }
}
