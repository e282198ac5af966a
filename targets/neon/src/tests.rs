use std::arch::asm;
use std::vec;
use std::vec::Vec;

use kinglet::kernels::activations::MAX_Q;
use kinglet::kernels::matrix::TILE_ROWS;
use kinglet::kernels::testing::{Activity, Case, Fill, Problem};
use kinglet::kernels::weights::WeightType;
use kinglet_host::Threaded;
use kinglet_simd::{OutputRows, Scalar, SimdKernels};
use proptest::prelude::*;

use crate::{Dotprod, I8mm, KernelSet, Neon};

mod neon {
    kinglet::kernel_tests!(super::Neon::new().map(|set| super::Threaded::new(set, 1)));
}

mod dotprod {
    kinglet::kernel_tests!(super::Dotprod::new().map(|set| super::Threaded::new(set, 1)));
}

mod i8mm {
    kinglet::kernel_tests!(super::I8mm::new().map(|set| super::Threaded::new(set, 1)));
}

/// The names of the sets that the kernel says the CPU has, from the auxiliary
/// vector: pairs of key and value.
fn announced() -> Vec<&'static str> {
    const HWCAP: (u64, u32) = (16, 20);
    const HWCAP2: (u64, u32) = (26, 13);
    let auxv = std::fs::read("/proc/self/auxv").unwrap();
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let has = |(key, bit): (u64, u32)| {
        auxv.chunks_exact(16)
            .any(|pair| word(&pair[..8]) == key && word(&pair[8..]) >> bit & 1 == 1)
    };
    let mut names = vec!["scalar", "aarch64-neon"];
    if has(HWCAP) {
        names.push("aarch64-dotprod");
        if has(HWCAP2) {
            names.push("aarch64-i8mm");
        }
    }
    names.reverse();
    names
}

/// Whoever emulates a CPU says in `KINGLET_SETS` what it must offer.
#[test]
fn offers_exactly_what_the_cpu_has() {
    let expected = match std::env::var("KINGLET_SETS") {
        Ok(names) => names,
        Err(_) => announced().join(" "),
    };
    let offered: Vec<_> = KernelSet::names().collect();
    assert_eq!(offered.join(" "), expected);
    assert_eq!(KernelSet::best().name(), offered[0]);
    for name in ["aarch64-i8mm", "aarch64-dotprod", "aarch64-neon", "scalar"] {
        let found = KernelSet::by_name(name).map(|set| set.name());
        assert_eq!(found, offered.contains(&name).then_some(name));
    }
    let new = [I8mm::new().is_some(), Dotprod::new().is_some(), Neon::new().is_some()];
    assert_eq!(new.iter().filter(|new| **new).count() + 1, offered.len());
}

/// Runs `f` with bits of the float control register flipped.
fn with_fpcr<R>(flip: u64, f: impl FnOnce() -> R) -> R {
    let before: u64;
    // SAFETY: FPCR belongs to the thread, and is put back before any float is used.
    unsafe {
        asm!("mrs {}, fpcr", out(reg) before);
        asm!("msr fpcr, {}", in(reg) before ^ flip);
    }
    let result = f();
    // SAFETY: as above.
    unsafe { asm!("msr fpcr, {}", in(reg) before) };
    result
}

#[test]
fn refuses_floats_that_break_the_contract() {
    let alternative_halves = 1 << 26;
    let flush_to_zero = 1 << 24;
    for flip in [alternative_halves, flush_to_zero, 1 << 22, 2 << 22, 3 << 22] {
        assert!(with_fpcr(flip, || KernelSet::names().eq(["scalar"])), "{flip:#x}");
        assert_ne!(KernelSet::best().name(), "scalar");
    }
}

#[test]
fn packs_two_signed_bytes() {
    let all: Vec<i16> = (-MAX_Q..=MAX_Q).chain([0]).map(|q| q as i16).collect();
    for set in KernelSet::all() {
        let mut packed = all.clone();
        set.pack(&mut packed);
        if matches!(set, KernelSet::Scalar(_) | KernelSet::Neon(_)) {
            assert_eq!(packed, all);
            continue;
        }
        for (four, packed) in all.chunks_exact(4).zip(packed.chunks_exact(4)) {
            let bytes: Vec<i8> =
                packed.iter().flat_map(|q| q.to_le_bytes()).map(|b| b as i8).collect();
            for (i, q) in four.iter().enumerate() {
                let (high, low) = (i32::from(bytes[i]), i32::from(bytes[4 + i]));
                assert_eq!(256 * high + low, i32::from(*q));
                assert!(high.abs() <= 127);
            }
        }
    }
}

/// A product by `set` in parts, as threads would compute it.
fn in_parts(problem: &Problem, rows: usize, cut: usize, set: &impl SimdKernels) -> [Vec<u32>; 2] {
    let packed = problem.packed(&Threaded::new(Forward(set), 1));
    [false, true].map(|sparse| {
        let mut output = problem.output();
        let (first, rest) = OutputRows::whole(&mut output, rows).split_at(cut);
        for mut part in [rest, first] {
            if sparse {
                let (matrix, input) = (problem.sparse_matrix(), problem.natural());
                set.sparse_product(&matrix, &input, &mut part);
            } else {
                let (matrix, input) = (problem.matrix(), problem.input(&packed));
                set.product(&matrix, &input, &mut part);
            }
        }
        output.iter().map(|y| y.to_bits()).collect()
    })
}

/// A borrowed set as a set.
struct Forward<'a, V>(&'a V);

impl<V: SimdKernels> SimdKernels for Forward<'_, V> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pack(&self, q: &mut [i16]) {
        self.0.pack(q);
    }

    fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        self.0.run(f)
    }

    fn product(
        &self,
        matrix: &kinglet::kernels::matrix::Matrix<'_>,
        input: &kinglet::kernels::activations::Quantized<'_>,
        out: &mut OutputRows<'_>,
    ) {
        self.0.product(matrix, input, out);
    }

    fn sparse_product(
        &self,
        matrix: &kinglet::kernels::matrix::SparseMatrix<'_>,
        input: &kinglet::kernels::activations::Quantized<'_>,
        out: &mut OutputRows<'_>,
    ) {
        self.0.sparse_product(matrix, input, out);
    }
}

fn case() -> impl Strategy<Value = Case> {
    let fill = prop_oneof![Just(Fill::Uniform), Just(Fill::Extreme), Just(Fill::Largest)];
    let activity = prop_oneof![
        Just(Activity::None),
        (1u64..64).prop_map(Activity::Of64),
        (1u64..64).prop_map(Activity::Clustered),
        Just(Activity::All),
    ];
    let group = prop_oneof![
        prop::sample::select(WeightType::Int8.groups()).prop_map(|group| (WeightType::Int8, group)),
        prop::sample::select(WeightType::Int4.groups()).prop_map(|group| (WeightType::Int4, group)),
    ];
    let sizes = (1usize..200, 1usize..1100, 1usize..10, group);
    (sizes, fill, activity).prop_map(
        |((rows, inputs, tokens, (weights, group)), fill, activity)| Case {
            weights,
            fill,
            activity,
            ..Case::new(rows, inputs, tokens, group)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn parts_have_the_bits_of_the_scalar_whole(case in case(), cut in 0usize..13) {
        let problem = Problem::new(case);
        let cut = (cut * TILE_ROWS).min(case.rows / TILE_ROWS * TILE_ROWS);
        let expected = in_parts(&problem, case.rows, 0, &Scalar);
        for set in KernelSet::all() {
            prop_assert_eq!(&in_parts(&problem, case.rows, cut, &set), &expected);
        }
    }
}
