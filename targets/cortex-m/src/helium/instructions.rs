//! Helium's instructions, as inline assembly.
//!
//! [`tile`] computes sixteen rows, a *segment* of 32 inputs at a time: eight tiles of 4 inputs.
//!
//! ```text
//! vld20.32, vld21.32 {q3, q4}, [q]     the even and the odd activations of 16 inputs; {q5, q6} of 16 more
//! for each row:
//!     vldrw.u32   q0, [q7, #row]       16 weights: a word in each of four tiles, whose addresses q7 has
//!     vmovlb.s8   q1, q0               w0 w2 | w4 w6 | ..., widened
//!     vmovlt.s8   q0, q0               w1 w3 | w5 w7 | ...
//!     vmlava.s16  r0, q1, q3           r0 += w0 q0 + w2 q2 + ...
//!     vmlava.s16  r0, q0, q4           r0 += w1 q1 + w3 q3 + ...
//!     the same of 16 more inputs: [q7, #256 + row], q5, q6
//! ```
//!
//! Ten instructions make the 32 products of a row. The gathering load has four accesses of a word for
//! sixteen weights. A vector of bytes that lie together has four rows in it, and no instruction
//! adds up its products row by row: to widen them to 32 bits, each row in a lane, and add products
//! there takes 22.
//!
//! Int4 has the eight weights of a row and eight inputs in a word, so that one load takes a segment of a
//! row. VLD4 parts its activations as VLD2 does those of int8:
//!
//! ```text
//! vld40.32 to vld43.32 {q3, q4, q5, q6}, [q]     q0 q2 | q1 q3 | q4 q6 | q5 q7 of each 8 inputs
//! for each row:
//!     vldrw.u32   q0, [q7, #row]       32 weights: a word in each of four blocks
//!     vmovlb.u8   q1, q0               the even bytes, and of these
//!     vbic.i16    q1, #0xF0            u0 u2 | u8 u10 | ...
//!     vmlava.s16  r0, q1, q3
//!     vmovlt.u8   q2, q0               the odd bytes
//!     vbic.i16    q2, #0xF0            u1 u3 | u9 u11 | ...
//!     vmlava.s16  r0, q2, q4
//!     vshr.u8     q0, q0, #4
//!     vmovlb.u8   q1, q0               u4 u6 | u12 u14 | ...
//!     vmlava.s16  r0, q1, q5
//!     vmovlt.u8   q2, q0               u5 u7 | u13 u15 | ...
//!     vmlava.s16  r0, q2, q6
//! ```
//!
//! Sums and f32 accumulators of the rows wait in memory, because the scalar registers of the FPU are
//! the vectors'. Folding is that of [`Dsp`](crate::Dsp): VMLA rounds the product before it adds.
//!
//! [`listed`]: of an active input of a sparse product, VLDRB widens four rows' weights to 32 bits, and
//! VMLA multiplies them with its value and adds. [`listed_low`] and [`listed_high`] take the nibbles
//! of the bytes.
//!
//! It is assembly because stable Rust has no intrinsics for Helium. A vector has no name as a clobber
//! there: the four scalars in each stand for it.

use core::arch::asm;
use core::mem::{MaybeUninit, offset_of};

use kinglet::kernels::matrix::TILE_ROWS;

use crate::dsp::privileged;
use crate::quads::{INT4_WEIGHTS, List, TILE_SCALES, Token, WEIGHTS};

/// Lets the assembler take Helium, which the target leaves out.
macro_rules! extension {
    () => {
        ".cpu cortex-m55"
    };
}

/// Whether the core has vectors of integers. Code without privilege may not ask, and is told no.
pub(super) fn is_available() -> bool {
    if !privileged() {
        return false;
    }
    /// Media and VFP Feature Register 1.
    const MVFR1: *const u32 = 0xE000_EF44 as *const u32;
    // SAFETY: the register is there on every ARMv8-M core with an FPU, which code for this ABI
    // needs; reading it has no effect.
    let mvfr1 = unsafe { MVFR1.read_volatile() };
    mvfr1 >> 8 & 0xF >= 1
}

/// What the assembly of [`tile`] finds by one register.
#[repr(C)]
struct Frame {
    /// Sums of a group.
    sums: MaybeUninit<[i32; TILE_ROWS]>,
    /// The token's scale.
    scale: f32,
    /// Addresses of the first four tiles.
    tiles: [u32; 4],
}

/// Two rows times a segment. Their sums are at `$sums`, and what the instructions of a row of the
/// type of weights want to know of each is in brackets.
macro_rules! two_rows {
    ($row:ident, $sums:literal, [$($a:literal)+], [$($b:literal)+]) => {
        concat!(
            "ldrd r0, r2, [{sums}, #", $sums, "]\n",
            $row!("r0", $($a),+),
            $row!("r2", $($b),+),
            "strd r0, r2, [{sums}, #", $sums, "]\n",
        )
    };
}

/// A row of int8, whose weights in the first four tiles and in the last four are at `$low` and
/// `$high`. Loads, moves and multiplications alternate, because a core overlaps those that differ.
macro_rules! int8_row {
    ($sum:literal, $low:literal, $high:literal) => {
        concat!(
            "vldrw.u32 q0, [q7, #",
            $low,
            "]\n",
            "vmovlb.s8 q1, q0\n",
            "vmlava.s16 ",
            $sum,
            ", q1, q3\n",
            "vldrw.u32 q2, [q7, #",
            $high,
            "]\n",
            "vmovlt.s8 q0, q0\n",
            "vmlava.s16 ",
            $sum,
            ", q0, q4\n",
            "vmovlb.s8 q1, q2\n",
            "vmlava.s16 ",
            $sum,
            ", q1, q5\n",
            "vmovlt.s8 q2, q2\n",
            "vmlava.s16 ",
            $sum,
            ", q2, q6\n",
        )
    };
}

/// A row of int4, whose weights in all four blocks are at `$at`.
macro_rules! int4_row {
    ($sum:literal, $at:literal) => {
        concat!(
            "vldrw.u32 q0, [q7, #",
            $at,
            "]\n",
            "vmovlb.u8 q1, q0\n",
            "vbic.i16 q1, #0xF0\n",
            "vmlava.s16 ",
            $sum,
            ", q1, q3\n",
            "vmovlt.u8 q2, q0\n",
            "vbic.i16 q2, #0xF0\n",
            "vmlava.s16 ",
            $sum,
            ", q2, q4\n",
            "vshr.u8 q0, q0, #4\n",
            "vmovlb.u8 q1, q0\n",
            "vmlava.s16 ",
            $sum,
            ", q1, q5\n",
            "vmovlt.u8 q2, q0\n",
            "vmlava.s16 ",
            $sum,
            ", q2, q6\n",
        )
    };
}

/// Folds the sums of eight rows, and moves past them and their scales.
macro_rules! fold {
    () => {
        "vldmia {sums}!, {{s0-s7}}
        vldmia {y}, {{s8-s15}}
        vldmia {scales}!, {{s16-s19}}
        vcvtb.f32.f16 s20, s16
        vcvtt.f32.f16 s21, s16
        vcvtb.f32.f16 s22, s17
        vcvtt.f32.f16 s23, s17
        vcvtb.f32.f16 s24, s18
        vcvtt.f32.f16 s25, s18
        vcvtb.f32.f16 s26, s19
        vcvtt.f32.f16 s27, s19
        vcvt.f32.s32 s0, s0
        vcvt.f32.s32 s1, s1
        vcvt.f32.s32 s2, s2
        vcvt.f32.s32 s3, s3
        vcvt.f32.s32 s4, s4
        vcvt.f32.s32 s5, s5
        vcvt.f32.s32 s6, s6
        vcvt.f32.s32 s7, s7
        vmla.f32 s8, s0, s20
        vmla.f32 s9, s1, s21
        vmla.f32 s10, s2, s22
        vmla.f32 s11, s3, s23
        vmla.f32 s12, s4, s24
        vmla.f32 s13, s5, s25
        vmla.f32 s14, s6, s26
        vmla.f32 s15, s7, s27
        vstmia {y}!, {{s8-s15}}"
    };
}

/// Multiplies eight accumulators with the token's scale, and moves past them.
macro_rules! scale {
    () => {
        "vldmia {y}, {{s0-s7}}
        vmul.f32 s0, s0, s8
        vmul.f32 s1, s1, s8
        vmul.f32 s2, s2, s8
        vmul.f32 s3, s3, s8
        vmul.f32 s4, s4, s8
        vmul.f32 s5, s5, s8
        vmul.f32 s6, s6, s8
        vmul.f32 s7, s7, s8
        vstmia {y}!, {{s0-s7}}"
    };
}

/// A function that computes a tile. `$start` puts what each sum of a group starts at into the lanes of
/// q0, `$load` the activations of a segment into q3 to q6, `$rows` does a segment of all rows.
macro_rules! tile {
    ($(#[$doc:meta])* $name:ident, $words:ident, $token:ident, $start:expr, $load:expr, $rows:expr
     $(, $operand:ident = $value:expr)?) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// `weights`, the token's segments and, for int4, their sums are of one length, at least 1,
        /// `scales` of one for each `group` of them, and `group` is at least 1. Sixteen values can be
        /// written at `y`.
        #[inline(always)]
        pub(super) unsafe fn $name(
            weights: &[[u32; $words]],
            scales: &[[u32; TILE_SCALES]],
            $token: Token<'_>,
            group: usize,
            scale: f32,
            y: *mut f32,
        ) {
            let start = weights.as_ptr().addr() as u32;
            let row = size_of::<[u32; TILE_ROWS]>() as u32;
            let tiles = [0, 1, 2, 3].map(|tile| start + tile * row);
            let mut frame = Frame { sums: MaybeUninit::uninit(), scale, tiles };
            // SAFETY: by the caller's promise there is a segment of weights for each of the token,
            // and scales for each group, of which the last may be shorter. A turn of the inner
            // loop reads the weights and the 16 words of the segment, one of the outer loop 8 words
            // of scales and the sums of a group's segments. Both read and write the sums of rows
            // and the 16 of `y`. All are aligned as words, which the loads need.
            unsafe {
                asm!(
                    extension!(),
                    "vldrw.u32 q7, [{sums}, #{tiles}]",
                    "vmov.i32 q0, #0",
                    "vstrw.32 q0, [{y}]",
                    "vstrw.32 q0, [{y}, #16]",
                    "vstrw.32 q0, [{y}, #32]",
                    "vstrw.32 q0, [{y}, #48]",
                    "2:",
                    "cmp {group}, {segments}",
                    "it hi",
                    "movhi {group}, {segments}",
                    "sub {segments}, {segments}, {group}",
                    $start,
                    "vstrw.32 q0, [{sums}]",
                    "vstrw.32 q0, [{sums}, #16]",
                    "vstrw.32 q0, [{sums}, #32]",
                    "vstrw.32 q0, [{sums}, #48]",
                    "dls lr, {group}",
                    "3:",
                    $load,
                    $rows,
                    "vadd.i32 q7, q7, {bytes}",
                    "le lr, 3b",
                    fold!(),
                    fold!(),
                    "sub {sums}, {sums}, #64",
                    "sub {y}, {y}, #64",
                    "cmp {segments}, #0",
                    "bne 2b",
                    "vldr s8, [{sums}, #{scale}]",
                    scale!(),
                    scale!(),
                    sums = inout(reg) &raw mut frame => _,
                    y = inout(reg) y => _,
                    q = inout(reg) $token.q.as_ptr() => _,
                    scales = inout(reg) scales.as_ptr() => _,
                    segments = inout(reg) $token.q.len() => _,
                    group = inout(reg) group => _,
                    $($operand = inout(reg) $value => _,)?
                    bytes = in(reg) size_of::<[u32; $words]>(),
                    tiles = const offset_of!(Frame, tiles),
                    scale = const offset_of!(Frame, scale),
                    out("r0") _, out("r2") _, out("lr") _,
                    out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
                    out("s6") _, out("s7") _, out("s8") _, out("s9") _, out("s10") _, out("s11") _,
                    out("s12") _, out("s13") _, out("s14") _, out("s15") _, out("s16") _,
                    out("s17") _, out("s18") _, out("s19") _, out("s20") _, out("s21") _,
                    out("s22") _, out("s23") _, out("s24") _, out("s25") _, out("s26") _,
                    out("s27") _, out("s28") _, out("s29") _, out("s30") _, out("s31") _,
                    options(nostack),
                );
            }
        }
    };
}

tile! {
    /// Sixteen rows of int8 times one token, with the token's scale and `group` segments to one of
    /// `scales`.
    tile, WEIGHTS, token,
    "vmov.i32 q0, #0",
    "vld20.32 {{q3, q4}}, [{q}]
    vld21.32 {{q3, q4}}, [{q}]!
    vld20.32 {{q5, q6}}, [{q}]
    vld21.32 {{q5, q6}}, [{q}]!",
    concat!(
        two_rows!(int8_row, 0, [0 256], [4 260]),
        two_rows!(int8_row, 8, [8 264], [12 268]),
        two_rows!(int8_row, 16, [16 272], [20 276]),
        two_rows!(int8_row, 24, [24 280], [28 284]),
        two_rows!(int8_row, 32, [32 288], [36 292]),
        two_rows!(int8_row, 40, [40 296], [44 300]),
        two_rows!(int8_row, 48, [48 304], [52 308]),
        two_rows!(int8_row, 56, [56 312], [60 316]),
    )
}

tile! {
    /// [`tile`] of int4: its sums start at -8 times the sum of the group's activations.
    tile_int4, INT4_WEIGHTS, token,
    "mov r0, #0
    mov lr, {group}
    4:
    ldr r2, [{token_sums}], #4
    sub r0, r0, r2, lsl #3
    subs lr, lr, #1
    bne 4b
    vdup.32 q0, r0",
    "vld40.32 {{q3, q4, q5, q6}}, [{q}]
    vld41.32 {{q3, q4, q5, q6}}, [{q}]
    vld42.32 {{q3, q4, q5, q6}}, [{q}]
    vld43.32 {{q3, q4, q5, q6}}, [{q}]!",
    concat!(
        two_rows!(int4_row, 0, [0], [4]),
        two_rows!(int4_row, 8, [8], [12]),
        two_rows!(int4_row, 16, [16], [20]),
        two_rows!(int4_row, 24, [24], [28]),
        two_rows!(int4_row, 32, [32], [36]),
        two_rows!(int4_row, 40, [40], [44]),
        two_rows!(int4_row, 48, [48], [52]),
        two_rows!(int4_row, 56, [56], [60]),
    ),
    token_sums = token.sums.as_ptr()
}

/// Bytes that are weights.
macro_rules! whole_bytes {
    ($q:literal) => {
        ""
    };
}

/// Those in the low nibbles.
macro_rules! low_nibbles {
    ($q:literal) => {
        concat!("vbic.i32 ", $q, ", #0xF0")
    };
}

/// Those in the high nibbles.
macro_rules! high_nibbles {
    ($q:literal) => {
        concat!("vshr.u32 ", $q, ", ", $q, ", #4")
    };
}

/// A function that adds the products of listed inputs to the sums of sixteen rows, which start at
/// `start`. `$load` widens four bytes to the lanes of a vector, and `$take` leaves of each the weight.
macro_rules! listed {
    ($(#[$doc:meta])* $name:ident, $load:literal, $take:ident) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Sixteen bytes can be read at the last entry's offset, which is the largest.
        #[inline(always)]
        pub(super) unsafe fn $name(start: i32, list: List<'_>, weights: &[u8]) -> [i32; TILE_ROWS] {
            let mut sums = [start; TILE_ROWS];
            let entries = list.entries().as_ptr_range();
            if entries.is_empty() {
                return sums;
            }
            // SAFETY: reads the entries, of which there is one at least, and the sixteen bytes of
            // each: by the caller's promise those of the last entry, and so those of all, are
            // readable. Writes the sums. Entries and sums are aligned as words.
            unsafe {
                asm!(
                    extension!(),
                    "vdup.32 q0, {q}",
                    "vmov q1, q0",
                    "vmov q2, q0",
                    "vmov q3, q0",
                    "2:",
                    "ldrd {a}, {q}, [{entry}], #8",
                    "add {a}, {a}, {w}",
                    concat!($load, " q4, [{a}]"),
                    $take!("q4"),
                    "vmla.s32 q0, q4, {q}",
                    concat!($load, " q5, [{a}, #4]"),
                    $take!("q5"),
                    "vmla.s32 q1, q5, {q}",
                    concat!($load, " q6, [{a}, #8]"),
                    $take!("q6"),
                    "vmla.s32 q2, q6, {q}",
                    concat!($load, " q7, [{a}, #12]"),
                    $take!("q7"),
                    "vmla.s32 q3, q7, {q}",
                    "cmp {entry}, {end}",
                    "bne 2b",
                    "vstrw.32 q0, [{sums}]",
                    "vstrw.32 q1, [{sums}, #16]",
                    "vstrw.32 q2, [{sums}, #32]",
                    "vstrw.32 q3, [{sums}, #48]",
                    entry = inout(reg) entries.start => _,
                    end = in(reg) entries.end,
                    w = in(reg) weights.as_ptr(),
                    sums = in(reg) sums.as_mut_ptr(),
                    a = out(reg) _,
                    q = inout(reg) start => _,
                    out("s0") _, out("s1") _, out("s2") _, out("s3") _, out("s4") _, out("s5") _,
                    out("s6") _, out("s7") _, out("s8") _, out("s9") _, out("s10") _, out("s11") _,
                    out("s12") _, out("s13") _, out("s14") _, out("s15") _, out("s16") _,
                    out("s17") _, out("s18") _, out("s19") _, out("s20") _, out("s21") _,
                    out("s22") _, out("s23") _, out("s24") _, out("s25") _, out("s26") _,
                    out("s27") _, out("s28") _, out("s29") _, out("s30") _, out("s31") _,
                    options(nostack),
                );
            }
            sums
        }
    };
}

listed! {
    /// Adds the products of listed inputs to the sums of sixteen rows, which start at `start`.
    listed, "vldrb.s32", whole_bytes
}

listed! {
    /// [`listed`] of the low nibbles.
    listed_low, "vldrb.u32", low_nibbles
}

listed! {
    /// [`listed`] of the high nibbles.
    listed_high, "vldrb.u32", high_nibbles
}
