//! RWKV-7's recurrence with a state of f32 or f16, by the FPU: [`Wkv7`] has the formulas.
//!
//! ```text
//! for each eight value channels j:
//!     p[j] = sum over the keys i of S[i][j] * kk[i]               p in s0 to s7
//!     for each key i:
//!         t[j] = ((S[i][j] * w[i]) - p[j] * b[i]) + v[j] * k[i]    v in s8 to s15
//!         S[i][j] = t[j]
//!         y[j] = y[j] + t[j] * r[i]                                y in s16 to s23
//! ```
//!
//! Assembly, because twenty-four values of eight channels, four numbers of a key and four temporaries
//! fill the FPU's registers exactly. The compiler keeps some on the stack, and for f16 all,
//! because stable Rust does not let a single-precision FPU's registers be operands. VMLA and VMLS
//! round the product before they add: what the contract asks for, unlike VFMA. To subtract a
//! product is to add the negative one.
//!
//! An f16 state is converted by VCVTB and VCVTT; see [`f16_fpu`]. Results beyond the
//! range of f16 are rare and looked for once a head: a conversion that overflows sets the FPU's
//! flag, and a number that was infinite or NaN before it makes a y that is not finite. Then each
//! element that is not finite becomes the largest of its sign.
//!
//! State and vectors are aligned as words, which VLDM and VSTM need; an f16 state that is not is left
//! to the core.

use core::arch::asm;

use kinglet::kernels::Wkv7;
use kinglet::num::state_dtype::{StateElement, f16};

use crate::f16_fpu;

/// Value channels that are computed together.
const LANES: usize = 8;

/// Advances a head's `state` by one token and writes `y`; the number of its value channels, or 0 where
/// the core has to.
#[inline(always)]
pub(crate) fn wkv7<S: StateElement>(x: &Wkv7<'_>, state: &mut [S], y: &mut [f32]) -> usize {
    let n = y.len();
    let keys = [x.w, x.kk, x.b, x.k, x.v, x.r];
    assert!(keys.iter().all(|x| x.len() == n) && state.len() == n * n, "vectors of one head");
    if n == 0 || !n.is_multiple_of(LANES) {
        return 0;
    }
    if let Some(state) = S::as_f32_mut(state) {
        // SAFETY: there are n keys, each with a row of n channels, and n is a multiple of LANES.
        unsafe { head(x, state.as_mut_ptr(), y, column_f32) };
        return n;
    }
    match S::as_f16_mut(state) {
        Some(state) if state.as_ptr().cast::<u32>().is_aligned() => {
            clear_exceptions();
            // SAFETY: as above. Rows are aligned as words, because the first is and n is even.
            unsafe { head(x, state.as_mut_ptr(), y, column_f16) };
            if overflowed() || y.iter().any(|y| !y.is_finite()) {
                f16_fpu::saturate(state);
            }
            n
        }
        _ => 0,
    }
}

/// All columns of a head.
///
/// # Safety
///
/// The vectors have as many elements as y, which is a multiple of [`LANES`], and `state` is the
/// square of so many. `column` may be called where they are.
#[inline(always)]
unsafe fn head<S>(
    x: &Wkv7<'_>,
    state: *mut S,
    y: &mut [f32],
    column: unsafe fn(&Wkv7<'_>, *mut S, *const f32, *mut f32),
) {
    for at in (0..y.len()).step_by(LANES) {
        // SAFETY: eight elements of a row, of v and of y start at `at`.
        unsafe { column(x, state.add(at), x.v.as_ptr().add(at), y.as_mut_ptr().add(at)) };
    }
}

/// `op` of lanes, a line each: a register, an operand, and the last one of all.
macro_rules! lanes {
    ($op:literal, $last:literal, $($d:literal $a:literal),+) => {
        concat!($($op, " ", $d, ", ", $a, ", ", $last, "\n"),+)
    };
}

/// Four lanes of f32 by one key: `$p`, `$v` and `$y` are their registers.
macro_rules! four_f32 {
    ($p0:literal $p1:literal $p2:literal $p3:literal, $v0:literal $v1:literal $v2:literal $v3:literal,
     $y0:literal $y1:literal $y2:literal $y3:literal) => {
        concat!(
            "vldmia {s}, {{s28-s31}}\n",
            lanes!("vmul.f32", "s24", "s28" "s28", "s29" "s29", "s30" "s30", "s31" "s31"),
            lanes!("vmls.f32", "s25", "s28" $p0, "s29" $p1, "s30" $p2, "s31" $p3),
            lanes!("vmla.f32", "s26", "s28" $v0, "s29" $v1, "s30" $v2, "s31" $v3),
            "vstmia {s}!, {{s28-s31}}\n",
            lanes!("vmla.f32", "s27", $y0 "s28", $y1 "s29", $y2 "s30", $y3 "s31"),
        )
    };
}

/// Two lanes of f16, the halves of `$word`, by one key.
macro_rules! two_f16 {
    ($word:literal, $p0:literal $p1:literal, $v0:literal $v1:literal, $y0:literal $y1:literal) => {
        concat!(
            "vcvtb.f32.f16 s28, ", $word, "\n",
            "vcvtt.f32.f16 s29, ", $word, "\n",
            lanes!("vmul.f32", "s24", "s28" "s28", "s29" "s29"),
            lanes!("vmls.f32", "s25", "s28" $p0, "s29" $p1),
            lanes!("vmla.f32", "s26", "s28" $v0, "s29" $v1),
            "vcvtb.f16.f32 ", $word, ", s28\n",
            "vcvtt.f16.f32 ", $word, ", s29\n",
            lanes!("vmla.f32", "s27", $y0 "s28", $y1 "s29"),
        )
    };
}

/// A function that computes a column of eight value channels, from the loads of eight elements at
/// `{t}` into s8 to s15, and a key's step of those at `{s}`, which it moves past them.
macro_rules! column {
    ($(#[$doc:meta])* $name:ident, $element:ty, $load:expr, $step:expr) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// The vectors have one length, at least 1. From `state` on lie as many rows of so many
        /// elements, of which eight can be read and written, aligned as words; so they can at `v`
        /// and at `y`.
        #[inline(always)]
        unsafe fn $name(x: &Wkv7<'_>, state: *mut $element, v: *const f32, y: *mut f32) {
            let n = x.kk.len();
            // SAFETY: reads a number of each key of five vectors, and in each of n rows the eight
            // elements, which it writes too: there by the caller's promise, as are v and y.
            unsafe {
                asm!(
                    "movs {t}, #0",
                    "vmov d0, {t}, {t}",
                    "vmov d1, {t}, {t}",
                    "vmov d2, {t}, {t}",
                    "vmov d3, {t}, {t}",
                    "vmov d8, {t}, {t}",
                    "vmov d9, {t}, {t}",
                    "vmov d10, {t}, {t}",
                    "vmov d11, {t}, {t}",
                    "mov {t}, {s}",
                    "mov {left}, {n}",
                    "2:",
                    $load,
                    "vldmia {kk}!, {{s28}}",
                    lanes!("vmla.f32", "s28", "s0" "s8", "s1" "s9", "s2" "s10", "s3" "s11",
                        "s4" "s12", "s5" "s13", "s6" "s14", "s7" "s15"),
                    "add {t}, {t}, {row}",
                    "subs {left}, {left}, #1",
                    "bne 2b",
                    "vldmia {v}, {{s8-s15}}",
                    "sub {row}, {row}, {eight}",
                    "3:",
                    "vldmia {w}!, {{s24}}",
                    "vldmia {b}!, {{s25}}",
                    "vldmia {k}!, {{s26}}",
                    "vldmia {r}!, {{s27}}",
                    $step,
                    "add {s}, {s}, {row}",
                    "subs {n}, {n}, #1",
                    "bne 3b",
                    "vstmia {y}, {{s16-s23}}",
                    s = inout(reg) state => _,
                    n = inout(reg) n => _,
                    row = inout(reg) n * size_of::<$element>() => _,
                    kk = inout(reg) x.kk.as_ptr() => _,
                    w = inout(reg) x.w.as_ptr() => _,
                    b = inout(reg) x.b.as_ptr() => _,
                    k = inout(reg) x.k.as_ptr() => _,
                    r = inout(reg) x.r.as_ptr() => _,
                    v = in(reg) v,
                    y = in(reg) y,
                    eight = const LANES * size_of::<$element>(),
                    t = out(reg) _,
                    left = out(reg) _,
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

column! {
    /// Eight value channels of an f32 state.
    column_f32, f32,
    "vldmia {t}, {{s8-s15}}",
    concat!(
        four_f32!("s0" "s1" "s2" "s3", "s8" "s9" "s10" "s11", "s16" "s17" "s18" "s19"),
        four_f32!("s4" "s5" "s6" "s7", "s12" "s13" "s14" "s15", "s20" "s21" "s22" "s23"),
    )
}

column! {
    /// Eight value channels of an f16 state.
    column_f16, f16,
    "vldmia {t}, {{s24-s27}}
    vcvtb.f32.f16 s8, s24
    vcvtt.f32.f16 s9, s24
    vcvtb.f32.f16 s10, s25
    vcvtt.f32.f16 s11, s25
    vcvtb.f32.f16 s12, s26
    vcvtt.f32.f16 s13, s26
    vcvtb.f32.f16 s14, s27
    vcvtt.f32.f16 s15, s27",
    concat!(
        "vldmia {s}, {{s30, s31}}\n",
        two_f16!("s30", "s0" "s1", "s8" "s9", "s16" "s17"),
        two_f16!("s31", "s2" "s3", "s10" "s11", "s18" "s19"),
        "vstmia {s}!, {{s30, s31}}\n",
        "vldmia {s}, {{s30, s31}}\n",
        two_f16!("s30", "s4" "s5", "s12" "s13", "s20" "s21"),
        two_f16!("s31", "s6" "s7", "s14" "s15", "s22" "s23"),
        "vstmia {s}!, {{s30, s31}}",
    )
}

/// The flag of FPSCR that a conversion to f16 sets where the result is infinite.
const OVERFLOW: u32 = 1 << 2;

/// Clears [`OVERFLOW`].
#[inline(always)]
fn clear_exceptions() {
    // SAFETY: clears a flag that tells of operations before; the modes stay.
    unsafe {
        asm!(
            "vmrs {t}, fpscr",
            "bic {t}, {t}, #{flag}",
            "vmsr fpscr, {t}",
            t = out(reg) _,
            flag = const OVERFLOW,
            options(nomem, nostack),
        );
    }
}

/// Whether a result was beyond its type's range since [`clear_exceptions`].
#[inline(always)]
fn overflowed() -> bool {
    let status: u32;
    // SAFETY: reads a register. Not `nomem`, so that it stays behind the stores of the state.
    unsafe { asm!("vmrs {}, fpscr", out(reg) status, options(nostack, preserves_flags)) };
    status & OVERFLOW != 0
}
