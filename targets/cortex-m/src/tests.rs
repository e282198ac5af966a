//! Every kernel set against the reference, bit for bit.

use std::vec;
use std::vec::Vec;

use half::f16;
use kinglet::kernels::activations::{MAX_Q, Quantized};
use kinglet::kernels::matrix::{
    INPUT_PAD, Matrix, SparseMatrix, padded_inputs, padded_rows, padded_sparse_rows,
};
use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::weights::{WeightType, Weights};
use kinglet::kernels::{Kernels, Product, SparseProduct};
use proptest::prelude::*;

use crate::{Dsp, Helium, QuadScalar};

mod helium {
    kinglet::kernel_tests!(crate::Helium::new());
}

mod dsp {
    kinglet::kernel_tests!(crate::Dsp::new());
}

mod plain {
    kinglet::kernel_tests!(crate::QuadScalar::new());
}

/// The operands of a product, in memory that may start at any byte.
#[derive(Debug)]
struct Case {
    weight_type: WeightType,
    rows: usize,
    inputs: usize,
    group: usize,
    /// Elements by which each slice starts after the start of its buffer.
    shift: usize,
    /// `shift`, then as many weights and scales as `[input][output]` has, which is padded most.
    weights: Vec<i8>,
    scales: Vec<f16>,
    /// Two tokens.
    q: Vec<i16>,
    sums: Vec<i32>,
}

const TOKENS: usize = 2;
const TOKEN_SCALES: [f32; TOKENS] = [0.001, 3.5];
const MULTIPLIER: f32 = 0.25;

impl Case {
    /// A case in which one activation in `every` is not zero.
    fn new(
        weight_type: WeightType,
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
        let (outputs, padded) = (padded_sparse_rows(weight_type, rows), padded_inputs(inputs));
        let extreme = next(4) == 0;
        let bytes = weight_type.bytes((outputs * padded) as u64) as usize;
        let weights = (0..bytes + shift)
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
        let sums = sums(&q[shift..]);
        Self { weight_type, rows, inputs, group, shift, weights, scales, q, sums }
    }

    fn input<'a>(&'a self, q: &'a [i16]) -> Quantized<'a> {
        Quantized::new(self.inputs, q, &self.sums, &TOKEN_SCALES).expect("all of the activations")
    }

    /// As many weights and scales as a matrix of `outputs` outputs has, padding included.
    fn operands(&self, outputs: usize) -> (Weights<'_>, &[f16]) {
        let padded = padded_inputs(self.inputs);
        let bytes = self.weight_type.bytes((outputs * padded) as u64) as usize;
        let weights = &self.weights[self.shift..][..bytes];
        let weights = match self.weight_type {
            WeightType::Int4 => Weights::Int4(bytemuck::cast_slice(weights)),
            _ => Weights::Int8(weights),
        };
        (weights, &self.scales[self.shift..][..outputs * padded.div_ceil(self.group)])
    }

    fn dense(&self, kernels: &impl Kernels) -> Vec<u32> {
        let (weights, scales) = self.operands(padded_rows(self.rows));
        let matrix = Matrix::new(self.rows, self.inputs, self.group, MULTIPLIER, weights, scales)
            .expect("all of a matrix");
        let mut q = self.q.clone();
        kernels.pack(&mut q[self.shift..]);
        let mut output = vec![f32::NAN; TOKENS * self.rows];
        let input = self.input(&q[self.shift..]);
        kernels.products(&mut [Product { matrix, input, output: &mut output }]);
        output.into_iter().map(f32::to_bits).collect()
    }

    fn sparse(&self, kernels: &impl Kernels) -> Vec<u32> {
        let (weights, scales) = self.operands(padded_sparse_rows(self.weight_type, self.rows));
        let matrix =
            SparseMatrix::new(self.rows, self.inputs, self.group, MULTIPLIER, weights, scales)
                .expect("all of a matrix");
        let mut output = vec![f32::NAN; TOKENS * self.rows];
        let input = self.input(&self.q[self.shift..]);
        kernels.sparse_product(SparseProduct { matrix, input, output: &mut output });
        output.into_iter().map(f32::to_bits).collect()
    }
}

/// The sums over each segment.
fn sums(q: &[i16]) -> Vec<i32> {
    q.chunks(INPUT_PAD).map(|q| q.iter().map(|q| i32::from(*q)).sum()).collect()
}

fn case() -> impl Strategy<Value = Case> {
    let rows = prop_oneof![Just(1), Just(15), Just(16), Just(17), 1..70usize];
    let inputs = prop_oneof![Just(1), Just(31), Just(32), Just(33), Just(128), 1..700usize];
    let groups = [WeightType::Int8, WeightType::Int4]
        .into_iter()
        .flat_map(|weights| weights.groups().iter().map(move |group| (weights, *group)));
    let group = prop::sample::select(groups.collect::<Vec<_>>());
    // Dense ones overflow the list of a sparse product, and odd shifts leave no word aligned.
    let every = prop::sample::select(vec![1, 2, 7, 500]);
    let shift = prop::sample::select(vec![0, 0, 0, 1]);
    (rows, inputs, group, every, shift, any::<u64>()).prop_map(
        |(rows, inputs, (weights, group), every, shift, seed)| {
            Case::new(weights, rows, inputs, group, every, shift, seed)
        },
    )
}

proptest! {
    #[test]
    fn dense_products_are_the_reference(case in case()) {
        let expected = case.dense(&Scalar);
        prop_assert_eq!(&case.dense(&QuadScalar::new().expect("no modes here")), &expected);
        prop_assert_eq!(&case.dense(&Dsp::new().expect("emulated here")), &expected);
        prop_assert_eq!(&case.dense(&Helium::new().expect("emulated here")), &expected);
    }

    #[test]
    fn sparse_products_are_the_reference(case in case()) {
        let expected = case.sparse(&Scalar);
        prop_assert_eq!(&case.sparse(&QuadScalar::new().expect("no modes here")), &expected);
        prop_assert_eq!(&case.sparse(&Dsp::new().expect("emulated here")), &expected);
        prop_assert_eq!(&case.sparse(&Helium::new().expect("emulated here")), &expected);
    }
}

/// The largest sums: their group's weights and activations all at an end. All weights
/// are `weight`, which `byte` stands for.
fn check_largest(weight_type: WeightType, group: usize, weight: f32, byte: i8) {
    let q = vec![MAX_Q as i16; TOKENS * group];
    let case = Case {
        weight_type,
        rows: 16,
        inputs: group,
        group,
        shift: 0,
        weights: vec![byte; 16 * group],
        scales: vec![f16::ONE; 32],
        sums: sums(&q),
        q,
    };
    let exact = weight * 32639.0 * group as f32;
    let expected = (exact * (TOKEN_SCALES[0] * MULTIPLIER)).to_bits();
    assert_eq!(case.dense(&Dsp::new().expect("emulated here"))[0], expected);
    assert_eq!(case.dense(&Helium::new().expect("emulated here"))[0], expected);
    assert_eq!(case.sparse(&Dsp::new().expect("emulated here"))[0], expected);
    assert_eq!(case.sparse(&Helium::new().expect("emulated here"))[0], expected);
}

#[test]
fn the_largest_sum_fits() {
    check_largest(WeightType::Int8, 512, 127.0, 127);
    check_largest(WeightType::Int8, 512, -127.0, -127);
    check_largest(WeightType::Int4, 128, 7.0, -1);
    check_largest(WeightType::Int4, 128, -8.0, 0);
}
