//! Conversions between f16 and f32 by the FPU: VCVTB and VCVTT, a lower and an upper half.
//!
//! They round as the contract does, to nearest even and with subnormals, in the modes that
//! [`fp_mode_is_ieee`](crate::fpu::fp_mode_is_ieee) asks for. Only beyond the range of f16 the
//! contract differs: there a state keeps 65504, so that it is always finite.
//!
//! Values travel through memory, four at a time, because stable Rust does not let a
//! single-precision FPU's registers be operands. More at a time would take more registers from
//! the sums of the loop around.

use core::arch::asm;
use core::mem::MaybeUninit;

use kinglet::num::state_dtype::{StateElement, f16};

/// Values that are converted together.
const LANES: usize = 4;
/// The carry out of an exponent of ones, that of infinities and NaN, in either half of a word.
const OVERFLOW: u32 = 0x8000_8000;

/// The elements as f32.
#[inline(always)]
pub(crate) fn widen<const C: usize>(elements: &[f16; C]) -> [f32; C] {
    // Zeros would be written first: the compiler does not know that the assembly writes all.
    let mut out = MaybeUninit::<[f32; C]>::uninit();
    let start = out.as_mut_ptr().cast::<f32>();
    let (fours, rest) = elements.as_chunks::<LANES>();
    for (i, four) in fours.iter().enumerate() {
        // SAFETY: `fours` and `rest` are the C elements, and so many can be written from `start`.
        unsafe { widen_four(four, start.add(LANES * i)) };
    }
    for (i, element) in rest.iter().enumerate() {
        // SAFETY: as above.
        unsafe { start.add(LANES * fours.len() + i).write(element.widen()) };
    }
    // SAFETY: all C were written.
    unsafe { out.assume_init() }
}

/// `out = values`, rounded.
#[inline(always)]
pub(crate) fn narrow<const C: usize>(values: &[f32; C], out: &mut [f16; C]) {
    let (fours, rest) = values.as_chunks::<LANES>();
    let (out_fours, out_rest) = out.as_chunks_mut::<LANES>();
    let pairs = fours.iter().zip(out_fours);
    let exponents = pairs.fold(0, |all, (values, out)| all | narrow_four(values, out));
    f16::narrow_all(rest, out_rest);
    if exponents & OVERFLOW != 0 {
        saturate(out);
    }
}

/// # Safety
///
/// Four values can be written to `out`.
#[inline(always)]
unsafe fn widen_four(elements: &[f16; LANES], out: *mut f32) {
    // SAFETY: reads the 8 bytes of `elements` by LDR, which needs no alignment, and writes the 16
    // of `out`, which are there by the caller's promise and aligned as words, as VSTM needs.
    unsafe {
        asm!(
            "ldr {a}, [{elements}]",
            "ldr {b}, [{elements}, #4]",
            "vmov s2, s3, {a}, {b}",
            "vcvtb.f32.f16 s0, s2",
            "vcvtt.f32.f16 s1, s2",
            "vcvtb.f32.f16 s2, s3",
            "vcvtt.f32.f16 s3, s3",
            "vstm {out}, {{s0, s1, s2, s3}}",
            elements = in(reg) elements.as_ptr(),
            out = in(reg) out,
            a = out(reg) _,
            b = out(reg) _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _,
            options(nostack, preserves_flags),
        );
    }
}

/// Also gives [`OVERFLOW`] in the half of a result that is not finite.
#[inline(always)]
fn narrow_four(values: &[f32; LANES], out: &mut [f16; LANES]) -> u32 {
    let exponents: u32;
    // SAFETY: reads the 16 bytes of `values`, which are aligned as words, as VLDM needs, and
    // writes the 8 of `out` by STR, which needs no alignment.
    unsafe {
        asm!(
            "vldm {values}, {{s0, s1, s2, s3}}",
            "vcvtb.f16.f32 s0, s0",
            "vcvtt.f16.f32 s0, s1",
            "vcvtb.f16.f32 s1, s2",
            "vcvtt.f16.f32 s1, s3",
            "vmov {a}, {b}, s0, s1",
            "str {a}, [{out}]",
            "str {b}, [{out}, #4]",
            // An exponent of ones carries into the place of the sign, which is cleared before.
            "bic {a}, {a}, #0x80008000",
            "bic {b}, {b}, #0x80008000",
            "add {a}, {a}, #0x04000400",
            "add {b}, {b}, #0x04000400",
            "orr {a}, {a}, {b}",
            values = in(reg) values.as_ptr(),
            out = in(reg) out.as_mut_ptr(),
            a = out(reg) exponents,
            b = out(reg) _,
            out("s0") _, out("s1") _, out("s2") _, out("s3") _,
            options(nostack, preserves_flags),
        );
    }
    exponents
}

/// Makes elements that a conversion left infinite or NaN the largest of their sign, as the contract
/// has it: a conversion keeps the sign, of NaN too.
#[cold]
#[inline(never)]
pub(crate) fn saturate(elements: &mut [f16]) {
    for element in elements.iter_mut().filter(|element| !element.is_finite()) {
        *element = f16::MAX.copysign(*element);
    }
}
