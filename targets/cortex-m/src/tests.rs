//! Every kernel set against the reference, bit for bit.

use std::vec;
use std::vec::Vec;

use half::f16;
use kinglet::kernels::activations::{MAX_Q, Quantized};
use kinglet::kernels::matrix::{INPUT_PAD, Matrix, SparseMatrix, padded_inputs, padded_rows};
use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::weights::Weights;
use kinglet::kernels::{Kernels, Product, SparseProduct};
use proptest::prelude::*;

use crate::{Dsp, QuadScalar};

mod dsp {
    kinglet::kernel_tests!(crate::Dsp::new());
}

mod plain {
    kinglet::kernel_tests!(crate::QuadScalar::new());
}

/// The operands of a product, in memory that may start at any byte.
#[derive(Debug)]
struct Case {
    rows: usize,
    inputs: usize,
    group: usize,
    /// Elements by which each slice starts after the start of its buffer.
    shift: usize,
    /// `[output][input]` or `[input][output]`, both padded; `shift` more.
    weights: Vec<i8>,
    scales: Vec<f16>,
    /// Two tokens.
    q: Vec<i16>,
}

const TOKENS: usize = 2;
const TOKEN_SCALES: [f32; TOKENS] = [0.001, 3.5];
const MULTIPLIER: f32 = 0.25;

impl Case {
    /// A case in which one activation in `every` is not zero.
    fn new(
        rows: usize,
        inputs: usize,
        group: usize,
        every: usize,
        shift: usize,
        seed: u64,
    ) -> Self {
        let mut seed = seed.wrapping_mul(2).wrapping_add(1);
        let mut next = |bound: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % bound
        };
        let (outputs, padded) = (padded_rows(rows), padded_inputs(inputs));
        let extreme = next(4) == 0;
        let weights = (0..outputs * padded + shift)
            .map(|_| {
                if extreme { [-127, 127][next(2) as usize] } else { (next(255) as i32 - 127) as i8 }
            })
            .collect();
        let scales = (0..outputs * padded.div_ceil(group) + shift)
            .map(|_| {
                f16::from_bits([0, 0x0400, 0x7BFF, 0x3C00 + next(512) as u16][next(4) as usize])
            })
            .collect();
        let mut q = vec![0; TOKENS * padded + shift];
        for token in q[shift..].chunks_mut(padded) {
            for q in &mut token[..inputs] {
                let wide = 2 * MAX_Q as u64 + 1;
                let value = (next(wide) as i64 - i64::from(MAX_Q)) as i16;
                let value = if extreme { [-MAX_Q, MAX_Q][next(2) as usize] as i16 } else { value };
                *q = if next(every as u64) == 0 { value } else { 0 };
            }
        }
        Self { rows, inputs, group, shift, weights, scales, q }
    }

    fn input<'a>(&self, q: &'a [i16]) -> Quantized<'a> {
        /// The kernels of this crate do not read the sums.
        static SUMS: [i32; TOKENS * 1024 / INPUT_PAD] = [0; _];
        let sums = &SUMS[..TOKENS * padded_inputs(self.inputs) / INPUT_PAD];
        Quantized::new(self.inputs, q, sums, &TOKEN_SCALES).expect("all of the activations")
    }

    fn dense(&self, kernels: &impl Kernels) -> Vec<u32> {
        let (weights, scales) = (&self.weights[self.shift..], &self.scales[self.shift..]);
        let matrix = Matrix::new(
            self.rows,
            self.inputs,
            self.group,
            MULTIPLIER,
            Weights::Int8(weights),
            scales,
        )
        .expect("all of a matrix");
        let mut q = self.q.clone();
        kernels.pack(&mut q[self.shift..]);
        let mut output = vec![f32::NAN; TOKENS * self.rows];
        let input = self.input(&q[self.shift..]);
        kernels.products(&mut [Product { matrix, input, output: &mut output }]);
        output.into_iter().map(f32::to_bits).collect()
    }

    fn sparse(&self, kernels: &impl Kernels) -> Vec<u32> {
        let (weights, scales) = (&self.weights[self.shift..], &self.scales[self.shift..]);
        let matrix = SparseMatrix::new(
            self.rows,
            self.inputs,
            self.group,
            MULTIPLIER,
            Weights::Int8(weights),
            scales,
        )
        .expect("all of a matrix");
        let mut output = vec![f32::NAN; TOKENS * self.rows];
        let input = self.input(&self.q[self.shift..]);
        kernels.sparse_product(SparseProduct { matrix, input, output: &mut output });
        output.into_iter().map(f32::to_bits).collect()
    }
}

fn case() -> impl Strategy<Value = Case> {
    let rows = prop_oneof![Just(1), Just(15), Just(16), Just(17), 1..70usize];
    let inputs = prop_oneof![Just(1), Just(31), Just(32), Just(33), Just(128), 1..700usize];
    let group = prop::sample::select(vec![32, 64, 128, 256, 512]);
    // Dense ones overflow the list of a sparse product, and odd shifts leave no word aligned.
    let every = prop::sample::select(vec![1, 2, 7, 500]);
    let shift = prop::sample::select(vec![0, 0, 0, 1]);
    (rows, inputs, group, every, shift, any::<u64>()).prop_map(
        |(rows, inputs, group, every, shift, seed)| {
            Case::new(rows, inputs, group, every, shift, seed)
        },
    )
}

proptest! {
    #[test]
    fn dense_products_are_the_reference(case in case()) {
        let expected = case.dense(&Scalar);
        prop_assert_eq!(&case.dense(&QuadScalar::new().expect("no modes here")), &expected);
        prop_assert_eq!(&case.dense(&Dsp::new().expect("emulated here")), &expected);
    }

    #[test]
    fn sparse_products_are_the_reference(case in case()) {
        let expected = case.sparse(&Scalar);
        prop_assert_eq!(&case.sparse(&QuadScalar::new().expect("no modes here")), &expected);
        prop_assert_eq!(&case.sparse(&Dsp::new().expect("emulated here")), &expected);
    }
}

/// The largest sums: their group's weights and activations all at an end.
#[test]
fn the_largest_sum_fits() {
    for sign in [1, -1] {
        let case = Case {
            rows: 16,
            inputs: 512,
            group: 512,
            shift: 0,
            weights: vec![127 * sign; 16 * 512],
            scales: vec![f16::ONE; 16],
            q: vec![MAX_Q as i16; TOKENS * 512],
        };
        let exact = f32::from(sign) * 127.0 * 32639.0 * 512.0;
        let expected = (exact * (TOKEN_SCALES[0] * MULTIPLIER)).to_bits();
        assert_eq!(case.dense(&Dsp::new().expect("emulated here"))[0], expected);
        assert_eq!(case.sparse(&Dsp::new().expect("emulated here"))[0], expected);
    }
}
