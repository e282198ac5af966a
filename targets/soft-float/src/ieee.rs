//! Addition and multiplication of any floats, by integers alone: for the operands that the assembly
//! leaves, and few bytes rather than fast.
//!
//! ```text
//! a finite float is m * 2^(e - 153), its mantissa m below 2^27 with three bits more than the
//! fraction has, the lowest of them set where anything below was not zero
//! pack: shift m until its top is bit 26, or until e = 1; round; the hidden bit adds one to e - 1
//! ```

/// The bits that all NaN come out as.
pub(crate) const NAN: u32 = 0x7FC0_0000;
const SIGN: u32 = 1 << 31;
const INFINITY: u32 = 0x7F80_0000;
/// The hidden bit.
const HIDDEN: u32 = 1 << 23;
/// Bits below those of a fraction: a half, a quarter, and whether there is more.
const GUARD: u32 = 3;

/// The bits of a + b.
pub(crate) fn add(a: u32, b: u32) -> u32 {
    let (large, small) = if a & !SIGN < b & !SIGN { (b, a) } else { (a, b) };
    let subtract = (large ^ small) & SIGN != 0;
    if large & !SIGN >= INFINITY {
        let nan = large & !SIGN > INFINITY || subtract && small & !SIGN == INFINITY;
        return if nan { NAN } else { large };
    }
    let ((e, m), (small_e, small_m)) = (unpack(large), unpack(small));
    let small_m = shift_right(small_m << GUARD, e - small_e);
    let m = m << GUARD;
    let sum = if subtract { m - small_m } else { m + small_m };
    if sum == 0 {
        // -0 only as the sum of two.
        return large & small & SIGN;
    }
    pack(large & SIGN, e.cast_signed(), sum)
}

/// The bits of a * b.
pub(crate) fn mul(a: u32, b: u32) -> u32 {
    let sign = (a ^ b) & SIGN;
    let (a, b) = (a & !SIGN, b & !SIGN);
    let (large, small) = if a < b { (b, a) } else { (a, b) };
    if large >= INFINITY {
        return if large > INFINITY || small == 0 { NAN } else { sign | INFINITY };
    }
    if small == 0 {
        return sign;
    }
    let ((e, m), (small_e, small_m)) = (normal(large), normal(small));
    // Of 47 or 48 bits; below 27 or 28 of them no more than whether there are any.
    let product = u64::from(m) * u64::from(small_m);
    let (high, low) = ((product >> 20) as u32, product as u32 & 0xF_FFFF);
    pack(sign, e + small_e - 127, high | u32::from(low != 0))
}

/// Exponent field and mantissa of a finite float; a subnormal has the field of the smallest normal.
fn unpack(bits: u32) -> (u32, u32) {
    let (e, fraction) = (bits >> 23 & 0xFF, bits & (HIDDEN - 1));
    if e == 0 { (1, fraction) } else { (e, fraction | HIDDEN) }
}

/// [`unpack`] with the hidden bit in each mantissa, by exponents below 1. Not of zero.
fn normal(bits: u32) -> (i32, u32) {
    let (e, mut m) = unpack(bits);
    let mut e = e.cast_signed();
    while m < HIDDEN {
        m <<= 1;
        e -= 1;
    }
    (e, m)
}

/// `m >> by`, the lowest bit set where any of those shifted out was.
fn shift_right(m: u32, by: u32) -> u32 {
    if by > 31 {
        return u32::from(m != 0);
    }
    let shifted = m >> by;
    shifted | u32::from(shifted << by != m)
}

/// The float nearest to `m * 2^(e - 153)`, for an m that is not 0.
fn pack(sign: u32, mut e: i32, mut m: u32) -> u32 {
    while m < HIDDEN << GUARD && e > 1 {
        m <<= 1;
        e -= 1;
    }
    if m >= HIDDEN << (GUARD + 1) {
        m = shift_right(m, 1);
        e += 1;
    }
    if e < 1 {
        m = shift_right(m, (1 - e).cast_unsigned());
        e = 1;
    }
    let field = (e.cast_unsigned() - 1) << 23;
    let (step, below) = (m >> GUARD, m & 7);
    let up = below > 4 || below == 4 && step & 1 != 0;
    // Beyond the largest float lies infinity.
    let bits = field.saturating_add(step + u32::from(up));
    sign | if bits < INFINITY { bits } else { INFINITY }
}
