//! The elementary functions against `f64`, in ULP, and their exact bits.

use std::hint::black_box;
use std::thread;

use kinglet::num::math::{exp, sigmoid, softplus, tanh};
use proptest::prelude::*;

/// A function under test with its `f64` reference and its documented bound.
struct Case {
    name: &'static str,
    function: fn(f32) -> f32,
    reference: fn(f64) -> f64,
    /// Largest error that the function's documentation allows, in ULP.
    bound: f64,
    /// Whether a zero result has the sign of the argument; otherwise it is `+0`.
    signed_zero: bool,
}

static EXP: Case =
    Case { name: "exp", function: exp, reference: f64::exp, bound: 1.0, signed_zero: false };

static SIGMOID: Case = Case {
    name: "sigmoid",
    function: sigmoid,
    reference: |x| 1.0 / (1.0 + (-x).exp()),
    bound: 2.41,
    signed_zero: false,
};

static TANH: Case =
    Case { name: "tanh", function: tanh, reference: f64::tanh, bound: 2.5, signed_zero: true };

static SOFTPLUS: Case = Case {
    name: "softplus",
    function: softplus,
    reference: |x| x.max(0.0) + (-x.abs()).exp().ln_1p(),
    bound: 2.05,
    signed_zero: false,
};

static CASES: [&Case; 4] = [&EXP, &SIGMOID, &TANH, &SOFTPLUS];

/// One unit in the last place of an `f32` in the binade of `value`, which must be normal as `f32`.
fn ulp(value: f64) -> f64 {
    let exponent = value.to_bits() & f64::INFINITY.to_bits();
    f64::from_bits(exponent - (u64::from(f32::MANTISSA_DIGITS - 1) << (f64::MANTISSA_DIGITS - 1)))
}

impl Case {
    /// Error of the function at `x` in ULP; infinite where a special result is not the exact one.
    fn error(&self, x: f32) -> f64 {
        let got = (self.function)(x);
        let want = (self.reference)(f64::from(x));
        let exactly = |expected: f32| {
            if got.to_bits() == expected.to_bits() { 0.0 } else { f64::INFINITY }
        };
        if want.is_nan() {
            return if got.is_nan() { 0.0 } else { f64::INFINITY };
        }
        // The rounding of a result to `f32` happens before the flush to zero.
        let rounded = want as f32;
        if rounded.abs() < f32::MIN_POSITIVE {
            return exactly(if self.signed_zero { 0.0_f32.copysign(x) } else { 0.0 });
        }
        if rounded.is_infinite() || got.is_infinite() {
            return exactly(rounded);
        }
        let error = (f64::from(got) - want).abs() / ulp(want);
        // A NaN must count as the worst error, not as none.
        if error.is_nan() { f64::INFINITY } else { error }
    }

    /// Largest error over `arguments`, and the argument that has it.
    fn worst(&self, arguments: impl Iterator<Item = f32>) -> (f64, f32) {
        arguments
            .map(|x| (self.error(x), x))
            .fold((0.0, 0.0), |worst, next| if next.0 > worst.0 { next } else { worst })
    }

    fn assert_bound(&self, arguments: impl Iterator<Item = f32>) {
        let (error, x) = self.worst(arguments);
        assert!(
            error <= self.bound,
            "{}({x:e} = {:#010x}) = {:e}, {error} ULP from {:e}, bound {}",
            self.name,
            x.to_bits(),
            (self.function)(x),
            (self.reference)(f64::from(x)),
            self.bound,
        );
    }
}

/// The floats within `reach` steps of `x`, by bit pattern.
fn around(x: f32, reach: i32) -> impl Iterator<Item = f32> {
    (-reach..=reach).map(move |step| f32::from_bits(x.to_bits().wrapping_add_signed(step)))
}

/// Both signs of `x`.
fn both(x: f32) -> [f32; 2] {
    [x, -x]
}

#[test]
fn bounds_hold_over_a_dense_stride() {
    for case in CASES {
        case.assert_bound((0..=u32::MAX).step_by(1021).map(f32::from_bits));
    }
}

/// Every argument there is, and the largest error printed. The four tests take minutes:
/// `cargo test --release -p kinglet --test math -- --ignored --nocapture`
#[expect(clippy::print_stdout, reason = "the measured error is what the run is for")]
fn bound_holds_for_every_argument(case: &'static Case) {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let shares: Vec<_> = (0..threads)
        .map(|first| (first as u64..1 << 32).step_by(threads))
        .map(|share| {
            thread::spawn(move || case.worst(share.map(|bits| f32::from_bits(bits as u32))))
        })
        .collect();
    let (error, x) = shares
        .into_iter()
        .map(|share| share.join().expect("a share of the arguments"))
        .fold((0.0, 0.0), |worst, next| if next.0 > worst.0 { next } else { worst });
    println!("{}: {error:.4} ULP at {x:e} ({:#010x})", case.name, x.to_bits());
    case.assert_bound(std::iter::once(x));
}

#[test]
#[ignore = "all 2^32 arguments take minutes"]
fn exp_keeps_its_bound_for_every_argument() {
    bound_holds_for_every_argument(&EXP);
}

#[test]
#[ignore = "all 2^32 arguments take minutes"]
fn sigmoid_keeps_its_bound_for_every_argument() {
    bound_holds_for_every_argument(&SIGMOID);
}

#[test]
#[ignore = "all 2^32 arguments take minutes"]
fn tanh_keeps_its_bound_for_every_argument() {
    bound_holds_for_every_argument(&TANH);
}

#[test]
#[ignore = "all 2^32 arguments take minutes"]
fn softplus_keeps_its_bound_for_every_argument() {
    bound_holds_for_every_argument(&SOFTPLUS);
}

#[test]
fn bounds_hold_at_every_power_of_two() {
    let powers = (0..=255_u32).map(|exponent| f32::from_bits(exponent << 23));
    let arguments: Vec<f32> =
        powers.flat_map(both).flat_map(|x| around(x, 64)).filter(|x| !x.is_nan()).collect();
    for case in CASES {
        case.assert_bound(arguments.iter().copied());
    }
}

/// The reduction rounds x / ln 2 to an integer: its seams are at the odd multiples of ln(2) / 2,
/// and at half of them for `tanh`.
#[test]
fn bounds_hold_at_every_seam_of_the_reduction() {
    let seams = (-300..=300).map(|k| (f64::from(k) + 0.5) * std::f64::consts::LN_2);
    let arguments: Vec<f32> = seams
        .flat_map(|seam| [seam as f32, (seam / 2.0) as f32])
        .flat_map(|x| around(x, 200))
        .collect();
    for case in CASES {
        case.assert_bound(arguments.iter().copied());
    }
}

/// The ends of the ranges: where results leave the normal numbers, where `tanh` becomes 1, where
/// the terms beside 1 or x are absorbed, and where arguments are clamped.
#[test]
fn bounds_hold_at_the_ends_of_the_ranges() {
    let ends = [
        f32::from_bits(0x42B1_7217),
        f32::from_bits(0xC2AE_AC4F),
        9.010_913,
        16.0,
        16.635_532,
        17.328_68,
        103.972_08,
    ];
    let arguments: Vec<f32> =
        ends.into_iter().flat_map(both).flat_map(|x| around(x, 20_000)).collect();
    for case in CASES {
        case.assert_bound(arguments.iter().copied());
    }
}

#[test]
fn exp_ends_where_it_says() {
    let highest = f32::from_bits(0x42B1_7217);
    assert!(exp(highest).is_finite());
    assert_eq!(exp(highest.next_up()), f32::INFINITY);
    let lowest = f32::from_bits(0xC2AE_AC4F);
    assert!(exp(lowest).is_normal());
    assert_eq!(exp(lowest.next_down()).to_bits(), 0);
    assert!(sigmoid(lowest).is_normal() && softplus(lowest).is_normal());
    assert_eq!(sigmoid(lowest.next_down()).to_bits(), 0);
    assert_eq!(softplus(lowest.next_down()).to_bits(), 0);
}

#[test]
fn special_arguments_have_exact_results() {
    const INF: f32 = f32::INFINITY;
    let subnormal = f32::from_bits(0x007F_FFFF);
    // [argument, exp, sigmoid, tanh, softplus]
    let table = [
        [0.0, 1.0, 0.5, 0.0, std::f32::consts::LN_2],
        [-0.0, 1.0, 0.5, -0.0, std::f32::consts::LN_2],
        [INF, INF, 1.0, 1.0, INF],
        [-INF, 0.0, 0.0, -1.0, 0.0],
        [f32::MAX, INF, 1.0, 1.0, f32::MAX],
        [f32::MIN, 0.0, 0.0, -1.0, 0.0],
        [f32::MIN_POSITIVE, 1.0, 0.5, f32::MIN_POSITIVE, std::f32::consts::LN_2],
        [-f32::MIN_POSITIVE, 1.0, 0.5, -f32::MIN_POSITIVE, std::f32::consts::LN_2],
        [subnormal, 1.0, 0.5, 0.0, std::f32::consts::LN_2],
        [-subnormal, 1.0, 0.5, -0.0, std::f32::consts::LN_2],
    ];
    for [x, results @ ..] in table {
        for (case, want) in CASES.iter().zip(results) {
            let got = (case.function)(x);
            assert_eq!(got.to_bits(), want.to_bits(), "{}({x:e}) = {got:e}", case.name);
        }
    }
}

#[test]
fn a_nan_stays_a_nan() {
    let payloads = [0x7F80_0001, 0x7FA0_0000, 0x7FC0_0000, 0x7FC0_01FF, 0x7FFF_FFFF];
    for bits in payloads.into_iter().flat_map(|bits: u32| [bits, bits | 1 << 31]) {
        for case in CASES {
            let got = (case.function)(black_box(f32::from_bits(bits)));
            assert!(got.is_nan(), "{}({bits:#010x}) = {got:e}", case.name);
        }
    }
}

/// Arguments of the pinned bits: every 65,521st pattern but the NaNs, then [-100, 100] in steps of
/// 2^-8, where the functions vary.
fn grid() -> Vec<f32> {
    let patterns = (0..=u32::MAX).step_by(65_521).map(f32::from_bits).filter(|x| !x.is_nan());
    patterns.chain((-25_600..=25_600).map(|k| k as f32 / 256.0)).collect()
}

/// FNV-1a, 64 bits, over the little-endian bytes of `values`.
fn fnv(values: &[f32]) -> u64 {
    values
        .iter()
        .flat_map(|value| value.to_bits().to_le_bytes())
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        })
}

/// The function applied to a slice in place, a loop that vectorises.
fn sweep(function: impl Fn(f32) -> f32) -> Vec<f32> {
    let mut values = grid();
    for value in black_box(&mut values).iter_mut() {
        *value = function(*value);
    }
    values
}

/// The bits are part of what a model computes: a change of any of these values changes every
/// logit, on this target only or on all of them.
#[test]
fn bits_are_pinned() {
    let got = [fnv(&sweep(exp)), fnv(&sweep(sigmoid)), fnv(&sweep(tanh)), fnv(&sweep(softplus))];
    let want = [
        0x76c6_21b2_a635_cf55,
        0xc343_c349_653b_7c7b,
        0xc17a_2197_3eb8_530c,
        0xfa0f_5acb_2a98_b4a0,
    ];
    assert_eq!(got, want, "{got:#018x?}");
}

/// One argument at a time, out of the optimiser's sight, against the vectorised loop.
#[test]
fn a_lane_has_the_bits_of_the_scalar() {
    let vectors = [sweep(exp), sweep(sigmoid), sweep(tanh), sweep(softplus)];
    for (case, vector) in CASES.iter().zip(vectors) {
        for (x, lane) in grid().into_iter().zip(vector) {
            let scalar = black_box(case.function)(black_box(x));
            assert_eq!(lane.to_bits(), scalar.to_bits(), "{}({x:e})", case.name);
        }
    }
}

proptest! {
    #[test]
    fn tanh_of_a_tiny_argument_is_the_argument(
        bits in f32::MIN_POSITIVE.to_bits()..=2.0_f32.powi(-27).to_bits(),
    ) {
        let x = f32::from_bits(bits);
        prop_assert_eq!(tanh(x).to_bits(), bits);
    }

    #[test]
    fn tanh_is_odd_bit_for_bit(bits in any::<u32>()) {
        let x = f32::from_bits(bits);
        prop_assume!(!x.is_nan());
        prop_assert_eq!(tanh(-x).to_bits(), (-tanh(x)).to_bits());
    }

    #[test]
    fn sigmoids_of_opposite_arguments_sum_to_one(x in -120.0_f32..120.0) {
        let sum = f64::from(sigmoid(x)) + f64::from(sigmoid(-x));
        prop_assert!((sum - 1.0).abs() <= 2.0 * f64::from(f32::EPSILON), "{} at {}", sum, x);
    }
}
