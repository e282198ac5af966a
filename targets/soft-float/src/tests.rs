//! The steps of every instruction set and the functions that take what they leave, against the
//! floats of the machine that the tests run on.

use crate::check::{CHECKSUM, Random, canonical, checksum, edges};
use crate::ieee;
use crate::steps::{self, Isa};

/// What an operation computes of a pair, by the fast steps where they take it and by [`ieee`].
#[track_caller]
fn same(name: &str, a: u32, b: u32, expected: f32, steps: impl Fn(Isa) -> Option<u32>, any: u32) {
    let expected = canonical(expected);
    assert_eq!(any, expected, "{a:#010x} {name} {b:#010x}, in Rust");
    for isa in Isa::ALL {
        let found = steps(isa).unwrap_or(any);
        assert_eq!(found, expected, "{a:#010x} {name} {b:#010x}, steps of {isa:?}");
    }
}

#[track_caller]
fn check(a: u32, b: u32) {
    let (x, y) = (f32::from_bits(a), f32::from_bits(b));
    same("+", a, b, x + y, |isa| steps::add(isa, a, b), ieee::add(a, b));
    same("*", a, b, x * y, |isa| steps::mul(isa, a, b), ieee::mul(a, b));
    let difference = canonical(x - y);
    assert_eq!(ieee::add(a, b ^ 1 << 31), difference, "{a:#010x} - {b:#010x}");
    assert_eq!(steps::from_i32(a.cast_signed()), (a.cast_signed() as f32).to_bits(), "{a:#010x}");
}

#[test]
fn edges_are_those_of_hardware() {
    edges(check);
}

/// Every distance of exponents that tells cases apart, every sign, fractions about ties.
#[test]
fn exponents_apart_are_those_of_hardware() {
    let fractions = [0, 1, 2, 3, 0x3F_FFFF, 0x40_0000, 0x40_0001, 0x55_5555, 0x7F_FFFE, 0x7F_FFFF];
    for e in [1, 2, 24, 25, 26, 31, 32, 33, 62, 63, 64, 127, 189, 190, 191, 192, 247, 248, 254] {
        for d in 0..=40u32.min(e) {
            for a in fractions {
                for b in fractions {
                    for signs in 0..4 {
                        let a = (signs & 1) << 31 | e << 23 | a;
                        let b = (signs >> 1) << 31 | (e - d) << 23 | b;
                        check(a, b);
                        check(b, a);
                    }
                }
            }
        }
    }
}

/// Products about every exponent at which the assembly's ranges end.
#[test]
fn products_at_the_ends_are_those_of_hardware() {
    let fractions = [0, 1, 0x35_04F3, 0x35_04F4, 0x3F_FFFF, 0x40_0000, 0x7F_FFFF];
    let ends = [0, 1, 2, 61, 62, 63, 64, 65, 66, 67, 126, 127, 128, 188, 189, 190, 191, 192, 193];
    let ends = ends.into_iter().chain(250..=255);
    for (ea, eb) in ends.clone().flat_map(|a| ends.clone().map(move |b| (a, b))) {
        for (a, b) in fractions.into_iter().flat_map(|a| fractions.map(|b| (a, b))) {
            check(ea << 23 | a, eb << 23 | b);
            check(1 << 31 | ea << 23 | a, eb << 23 | b);
        }
    }
}

#[test]
fn random_pairs_are_those_of_hardware() {
    let mut random = Random::new(0x2545_F491);
    for _ in 0..3_000_000 {
        let (a, b) = random.pair();
        check(a, b);
    }
}

/// `cargo test --release -p kinglet-soft-float -- --ignored`
#[test]
#[ignore = "a billion pairs take a minute or two"]
fn a_billion_random_pairs_are_those_of_hardware() {
    let mut random = Random::new(0x9E37_79B9);
    for _ in 0..1_000_000_000 {
        let (a, b) = random.pair();
        check(a, b);
    }
}

/// The fast steps take what programs compute with.
#[test]
fn ordinary_operands_do_not_leave_the_steps() {
    for isa in Isa::ALL {
        for (x, y) in [(1.0, 1e-30), (1e-18, -1e18), (0.0, 3e-28), (1e36, 65504.0), (-2.5, 2.5)] {
            let (x, y): (f32, f32) = (x, y);
            let (a, b) = (x.to_bits(), y.to_bits());
            assert!(steps::add(isa, a, b).is_some(), "{isa:?}: {x} + {y}");
        }
        for (x, y) in [(1.0, 1e-18), (1e-18, -1e18), (4e18, 65504.0), (0.3, 0.7)] {
            let (a, b) = (f32::to_bits(x), f32::to_bits(y));
            assert!(steps::mul(isa, a, b).is_some(), "{isa:?}: {x} * {y}");
        }
    }
}

/// The constant that firmware compares with.
#[test]
fn checksum_is_that_of_hardware() {
    assert_eq!(checksum(), CHECKSUM);
}
