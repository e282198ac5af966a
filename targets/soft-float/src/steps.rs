//! The steps of the assembly in Rust, by the names of its headers, for tests on any machine: where
//! the instruction sets differ, as [`Isa`] has it. `None` where the assembly goes to [`ieee`].
//!
//! [`ieee`]: crate::ieee

/// What an instruction set does in its own way.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Isa {
    Armv6m,
    Armv7m,
    Riscv32,
}

impl Isa {
    pub(crate) const ALL: [Self; 3] = [Self::Armv6m, Self::Armv7m, Self::Riscv32];
}

/// A shift of Arm by a register: its low byte counts, and 32 or more leave nothing.
fn arm_shift(value: u32, by: u32, shift: impl Fn(u32, u32) -> Option<u32>) -> u32 {
    shift(value, by & 0xFF).unwrap_or(0)
}

fn lsr(value: u32, by: u32) -> u32 {
    arm_shift(value, by, u32::checked_shr)
}

fn lsl(value: u32, by: u32) -> u32 {
    arm_shift(value, by, u32::checked_shl)
}

/// The exponent field.
fn exponent(bits: u32) -> u32 {
    bits >> 23 & 0xFF
}

/// The bits of a + b.
pub(crate) fn add(isa: Isa, a: u32, b: u32) -> Option<u32> {
    let different = ((a ^ b) as i32) < 0;
    let (a, b) = if a << 1 >= b << 1 { (a, b) } else { (b, a) };
    let lowest = if matches!(isa, Isa::Armv6m) { 31 } else { 32 };
    if exponent(a).wrapping_sub(lowest) > 247 - lowest {
        return None;
    }
    let d = exponent(a) - exponent(b);
    let (whole, rest) = match isa {
        Isa::Armv6m => {
            // Twice the mantissa; the field counts modulo 2^8, so that one of 0 wraps.
            let twice = (b << 1).wrapping_sub(exponent(b).wrapping_sub(1) << 24);
            let left = exponent(b).wrapping_sub(exponent(a) - 31);
            let right = 32u32.wrapping_sub(left);
            (lsr(twice, right), lsl(twice, left))
        }
        Isa::Armv7m => {
            let mantissa = b & !0xFF00_0000 | 0x0080_0000;
            (lsr(mantissa, d), lsl(mantissa, 32u32.wrapping_sub(d)))
        }
        Isa::Riscv32 => {
            if d >= 24 {
                return (d >= 26).then_some(a);
            }
            let mantissa = b << 8 | 1 << 31;
            let by = d + 8;
            (mantissa >> by, mantissa << (by.wrapping_neg() & 31))
        }
    };
    if !different {
        let p = a.wrapping_add(whole);
        return Some(if p >> 23 == a >> 23 { round(p, rest) } else { carry(a, p, rest) });
    }
    let (rest, borrow) = 0u32.overflowing_sub(rest);
    let p = a.wrapping_sub(whole).wrapping_sub(u32::from(borrow));
    Some(if p >> 23 == a >> 23 { round(p, rest) } else { cancelled(p, rest) })
}

/// P : rest, with the sign and exponent of the result.
fn round(p: u32, rest: u32) -> u32 {
    let up = rest >> 31;
    let tie = rest == 1 << 31;
    let rounded = p.wrapping_add(up);
    if tie { rounded & !1 } else { rounded }
}

/// The sum whose mantissa has a bit too many.
fn carry(a: u32, p: u32, rest: u32) -> u32 {
    let f = p.wrapping_sub((a >> 23).wrapping_add(1) << 23);
    let rounded = p - (f >> 1);
    let tie = rest == 0 && p & 1 == 1;
    if tie { rounded & !1 } else { rounded }
}

/// The difference whose mantissa has no hidden bit.
fn cancelled(p: u32, rest: u32) -> u32 {
    let f = p << 9;
    if f as i32 >= 0 {
        let mut f = f | rest >> 23;
        if f == 0 {
            return 0;
        }
        let mut sign_and_e = p >> 23;
        while f as i32 >= 0 {
            f <<= 1;
            sign_and_e -= 1;
        }
        return (sign_and_e << 23) + (f << 1 >> 9);
    }
    let p = p.wrapping_add(f >> 9).wrapping_add(rest >> 31).wrapping_sub(0x0080_0000);
    round(p, rest << 1)
}

/// The bits of a * b.
pub(crate) fn mul(isa: Isa, a: u32, b: u32) -> Option<u32> {
    match isa {
        Isa::Armv7m => mul_armv7m(a, b),
        _ => mul_sum(isa, a, b),
    }
}

fn mul_armv7m(a: u32, b: u32) -> Option<u32> {
    let (fa, fb) = (a.wrapping_sub(63 << 23), b.wrapping_sub(63 << 23));
    if (((fa | fb) << 1) as i32) < 0 {
        return None;
    }
    let e = (fa >> 23) + (fb >> 23);
    if e & 0xFE == 0 {
        return None;
    }
    let product = u64::from(a << 8 | 1 << 31) * u64::from(b & !0xFF00_0000 | 0x0080_0000);
    let (m, mut rest) = ((product >> 32) as u32, product as u32);
    let mut m = m.wrapping_sub(0x0080_0000);
    if m as i32 <= -1 {
        m = m.wrapping_add(m).wrapping_add(rest >> 31);
        rest <<= 1;
    }
    Some(round(m.wrapping_add(e << 23), rest))
}

/// ARMv6-M and RV32, which have the product in 32 bits and the rest apart.
fn mul_sum(isa: Isa, a: u32, b: u32) -> Option<u32> {
    let (ga, gb) = ((a >> 23).wrapping_sub(64), (b >> 23).wrapping_sub(64));
    if ga & 0xFF > 126 || gb & 0xFF > 126 {
        return None;
    }
    let g = ga.wrapping_add(gb) << 23;
    Some(if matches!(isa, Isa::Armv6m) {
        product_armv6m(g, a, b)
    } else {
        product_riscv32(g, a, b)
    })
}

fn product_armv6m(g: u32, a: u32, b: u32) -> u32 {
    let mantissa = |bits: u32| bits << 9 >> 9 | 1 << 23;
    let (a, b) = (mantissa(a), mantissa(b));
    let q = a.wrapping_mul(b);
    // Neither product nor the sum overflows.
    let t = (a >> 8) * (b >> 8) + (((a >> 8) * (b & 0xFF)) >> 8);
    let h = t + ((q >> 16).wrapping_sub(t) & 0xFFFF);
    let (g, h) = if h >> 31 == 1 { (g.wrapping_add(1 << 23), h) } else { (g, h << 1) };
    let p = g.wrapping_add(h >> 8);
    match (h >> 7 & 1, h << 25) {
        (0, _) => p,
        (_, 0) if q << 16 == 0 => p.wrapping_add(p & 1),
        _ => p.wrapping_add(1),
    }
}

fn product_riscv32(g: u32, a: u32, b: u32) -> u32 {
    let product = u64::from(a << 8 | 1 << 31) * u64::from(b << 8 | 1 << 31);
    let (h, l) = ((product >> 32) as u32, product as u32);
    let (g, shifted, out) =
        if h >> 31 == 1 { (g.wrapping_add(1 << 23), h >> 1, h & 1) } else { (g, h, 0) };
    let half_up = shifted + 64;
    let p = g.wrapping_add(half_up >> 7);
    if half_up & 127 == 0 && l | out == 0 { p & !1 } else { p }
}

/// The bits of the float nearest to an integer.
pub(crate) fn from_i32(value: i32) -> u32 {
    let mut magnitude = value.unsigned_abs();
    if magnitude == 0 {
        return 0;
    }
    let mut e = 157;
    for shift in [16, 8, 4, 1, 1, 1] {
        if magnitude >> (32 - shift) == 0 {
            magnitude <<= shift;
            e -= shift;
        }
    }
    let sign = u32::from(value < 0) << 31;
    round(sign + (e << 23) + (magnitude >> 8), magnitude << 24)
}
