//! Tests for kernel sets: the contract of a product written out naively, data made for it, and
//! [`kernel_tests!`](crate::kernel_tests), which every set instantiates.
//!
//! Results are compared with `==` on bits. The sizes are 1, a lane or tile less one, exact and
//! more one, primes, and the largest that the contract allows; weights and activations lie one
//! byte past an aligned address; values are uniform, extreme, or all the largest, so that a sum
//! that wraps is seen.

use std::vec;
use std::vec::Vec;

use half::f16;

use crate::kernels::activations::{MAX_Q, Quantized};
use crate::kernels::matrix::{
    INPUT_PAD, LINE_BLOCK, Matrix, SparseMatrix, TILE, TILE_INPUTS, TILE_ROWS, padded_inputs,
    padded_rows, padded_sparse_rows,
};
use crate::kernels::weights::{INT4_ZEROS, WeightType, Weights, pack_int4};
use crate::kernels::{ChunksOf, Kernels, Phase, Product, Region, SparseProduct};
use crate::{num::math, num::reduce};

/// Instantiates the tests of a kernel set.
///
/// The argument is an `Option<impl Kernels>`: `None` where the machine lacks
/// the instructions, which tests nothing.
///
/// ```
/// mod scalar {
///     kinglet::kernel_tests!(Some(kinglet::kernels::scalar::Scalar));
/// }
/// ```
#[macro_export]
macro_rules! kernel_tests {
    ($kernels:expr) => {
        #[test]
        fn products_have_the_bits_of_the_reference() {
            if let Some(kernels) = $kernels {
                let int8 = $crate::kernels::weights::WeightType::Int8;
                $crate::kernels::testing::check_products(&kernels, int8);
            }
        }

        #[test]
        fn int4_products_have_the_bits_of_the_reference() {
            if let Some(kernels) = $kernels {
                let int4 = $crate::kernels::weights::WeightType::Int4;
                $crate::kernels::testing::check_products(&kernels, int4);
            }
        }

        #[test]
        fn sparse_products_have_the_bits_of_the_reference() {
            if let Some(kernels) = $kernels {
                let int8 = $crate::kernels::weights::WeightType::Int8;
                $crate::kernels::testing::check_sparse_products(&kernels, int8);
            }
        }

        #[test]
        fn int4_sparse_products_have_the_bits_of_the_reference() {
            if let Some(kernels) = $kernels {
                let int4 = $crate::kernels::weights::WeightType::Int4;
                $crate::kernels::testing::check_sparse_products(&kernels, int4);
            }
        }

        #[test]
        fn jobs_are_independent() {
            if let Some(kernels) = $kernels {
                $crate::kernels::testing::check_jobs(&kernels);
            }
        }

        #[test]
        fn float_loops_have_the_bits_of_the_core() {
            if let Some(kernels) = $kernels {
                $crate::kernels::testing::check_float_loops(&kernels);
            }
        }
    };
}

/// Row counts: 1, a tile and a register tile less one, exact and more one,
/// primes, and several blocks with a rest.
pub const ROWS: [usize; 13] = [1, 7, 8, 15, 16, 17, 31, 33, 61, 64, 97, 130, 272];
/// ChunksOf of inputs that cross and end at pages, which kernels may read in other orders.
const SPARSE_ROWS: [usize; 8] = [400, 529, 768, 1000, 1024, 1345, 2048, 4096];
/// More rows than a kernel is likely to take at once.
pub const LARGEST_ROWS: usize = 8213;
/// Input counts of the same kind; 1056 is two of the largest groups and a short one.
pub const INPUTS: [usize; 11] = [1, 4, 31, 32, 33, 61, 100, 257, 512, 608, 1056];
/// Column counts.
pub const TOKENS: [usize; 6] = [1, 2, 3, 7, 8, 64];

/// Which values a problem is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Weights and activations from their whole range.
    Uniform,
    /// Weights of the largest magnitudes, of both signs, with activations of ±32639: where an
    /// intermediate that saturates, or sums in 16 bits, shows.
    Extreme,
    /// All weights and activations the largest: so are the sums of operands without sign.
    Largest,
    /// All weights the least, with the largest activations.
    Least,
}

/// How many activations of a problem are not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// None.
    None,
    /// Of 64 inputs, this many on average; some groups stay empty.
    Of64(u64),
    /// Of 64 inputs, this many on average in every third run of 96 inputs.
    Clustered(u64),
    /// All.
    All,
}

/// The dimensions and values of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Type of the weights.
    pub weights: WeightType,
    /// Number of outputs.
    pub rows: usize,
    /// Number of inputs.
    pub inputs: usize,
    /// Number of tokens.
    pub tokens: usize,
    /// Inputs that share a scale.
    pub group: usize,
    /// The values.
    pub fill: Fill,
    /// The zeros.
    pub activity: Activity,
    /// Whether the last token's scale is NaN.
    pub nan: bool,
}

impl Case {
    /// A problem of int8 weights, of uniform values without zeros.
    pub fn new(rows: usize, inputs: usize, tokens: usize, group: usize) -> Self {
        let (fill, activity) = (Fill::Uniform, Activity::All);
        let weights = WeightType::Int8;
        Self { weights, rows, inputs, tokens, group, fill, activity, nan: false }
    }
}

/// A problem in plain order, and in the layouts that kernels read.
#[derive(Clone, Debug)]
pub struct Problem {
    case: Case,
    groups: usize,
    /// `[row][input]`
    weights: Vec<i8>,
    /// `[row][group]`
    scales: Vec<f16>,
    /// `[token][input]`, padded, in natural order.
    q: Vec<i16>,
    sums: Vec<i32>,
    token_scales: Vec<f32>,
    /// One byte, then `[row/16][input/4][16][4]`: no vector load is aligned.
    tiles: Vec<i8>,
    tile_scales: Vec<f16>,
    /// One byte, then `[input][row]`.
    transposed: Vec<i8>,
    transposed_scales: Vec<f16>,
    /// [`Self::tiles`] and [`Self::transposed`] in nibbles, where the weights are int4: one byte,
    /// then pairs of blocks.
    nibbles: [Vec<u8>; 2],
}

/// The multiplier of every problem.
const MULTIPLIER: f32 = 1.0 / 64.0;

/// A well-mixed number for each of a sequence (the finaliser of SplitMix64).
fn mix(stream: u64, index: usize) -> u64 {
    let mut z = (stream << 40 ^ index as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

fn weight(weights: WeightType, fill: Fill, index: usize) -> i8 {
    let random = mix(1, index);
    let (least, largest) = match weights {
        WeightType::Int8 => (-127, 127),
        WeightType::Int4 => (-8, 7),
    };
    match fill {
        Fill::Uniform => ((random % (largest - least + 1) as u64) as i32 + least) as i8,
        Fill::Extreme => [largest, least][random as usize % 2] as i8,
        Fill::Largest => largest as i8,
        Fill::Least => least as i8,
    }
}

fn activation(case: &Case, token: usize, input: usize) -> i16 {
    let index = token * case.inputs + input;
    let often = |of_64| mix(2, index) % 64 < of_64;
    let active = match case.activity {
        Activity::None => false,
        Activity::Of64(of_64) => often(of_64),
        Activity::Clustered(of_64) => input / 96 % 3 == 1 && often(of_64),
        Activity::All => true,
    };
    let random = mix(3, index);
    let value = match case.fill {
        Fill::Uniform => (random % (2 * MAX_Q as u64 + 1)) as i32 - MAX_Q,
        Fill::Extreme => [MAX_Q, -MAX_Q][random as usize % 2],
        Fill::Largest | Fill::Least => MAX_Q,
    };
    if active { value as i16 } else { 0 }
}

/// A scale that the contract allows: normal, now and then zero.
fn scale(index: usize) -> f16 {
    let random = mix(4, index) as u16;
    let exponent = 1 + random % 16;
    f16::from_bits(if random.is_multiple_of(61) { 0 } else { exponent << 10 | random >> 6 & 0x3FF })
}

/// One byte, then these weights in pairs of blocks of `N`.
fn nibbles<const N: usize>(weights: &[i8]) -> Vec<u8> {
    let mut bytes = vec![INT4_ZEROS; 1 + weights.len() / 2];
    pack_int4::<N>(weights, &mut bytes[1..]);
    bytes
}

impl Problem {
    /// Makes the values of a case; the same for the same case.
    pub fn new(case: Case) -> Self {
        let Case { rows, inputs, tokens, group, .. } = case;
        let (padded, stride) = (padded_inputs(inputs), padded_sparse_rows(case.weights, rows));
        let groups = padded.div_ceil(group);
        let weights = (0..rows * inputs).map(|i| weight(case.weights, case.fill, i)).collect();
        let scales = (0..rows * groups).map(scale).collect();
        let mut q = vec![0; tokens * padded];
        for (token, q) in q.chunks_exact_mut(padded).enumerate() {
            for (input, q) in q[..inputs].iter_mut().enumerate() {
                *q = activation(&case, token, input);
            }
        }
        let sums = q.chunks_exact(INPUT_PAD).map(|q| q.iter().map(|&q| i32::from(q)).sum());
        let sums = sums.collect();
        let mut token_scales: Vec<f32> =
            (0..tokens).map(|c| 1e-3 + (mix(5, c) % 1000) as f32 * 1e-5).collect();
        if case.nan {
            token_scales[tokens - 1] = f32::NAN;
        }
        let mut problem = Self {
            case,
            groups,
            weights,
            scales,
            q,
            sums,
            token_scales,
            tiles: vec![0; 1 + padded_rows(rows) * padded],
            tile_scales: vec![f16::ZERO; padded_rows(rows) * groups],
            transposed: vec![0; 1 + stride * padded],
            transposed_scales: vec![f16::ZERO; stride * groups],
            nibbles: [Vec::new(), Vec::new()],
        };
        problem.lay_out();
        if case.weights == WeightType::Int4 {
            problem.nibbles = [
                nibbles::<TILE>(&problem.tiles[1..]),
                nibbles::<LINE_BLOCK>(&problem.transposed[1..]),
            ];
        }
        problem
    }

    fn lay_out(&mut self) {
        let Case { weights, rows, inputs, .. } = self.case;
        let (padded, stride) = (padded_inputs(inputs), padded_sparse_rows(weights, rows));
        for row in 0..rows {
            let (tile, lane) = (row / TILE_ROWS, row % TILE_ROWS);
            for input in 0..inputs {
                let w = self.weights[row * inputs + input];
                let at = tile * TILE_ROWS * padded
                    + input / TILE_INPUTS * TILE
                    + lane * TILE_INPUTS
                    + input % TILE_INPUTS;
                self.tiles[1 + at] = w;
                self.transposed[1 + input * stride + row] = w;
            }
            for group in 0..self.groups {
                let scale = self.scales[row * self.groups + group];
                self.tile_scales[(tile * self.groups + group) * TILE_ROWS + lane] = scale;
                self.transposed_scales[group * stride + row] = scale;
            }
        }
    }

    /// Weights in the order of int8, after one byte, as those of the case's type.
    fn view<'a>(&self, int8: &'a [i8], int4: &'a [u8]) -> Weights<'a> {
        match self.case.weights {
            WeightType::Int8 => Weights::Int8(&int8[1..]),
            WeightType::Int4 => Weights::Int4(&int4[1..]),
        }
    }

    /// The weights in tiles.
    pub fn matrix(&self) -> Matrix<'_> {
        let Case { rows, inputs, group, .. } = self.case;
        let scales = &self.tile_scales[..];
        let weights = self.view(&self.tiles, &self.nibbles[0]);
        Matrix::new(rows, inputs, group, MULTIPLIER, weights, scales).expect("all of a matrix")
    }

    /// The weights by input.
    pub fn sparse_matrix(&self) -> SparseMatrix<'_> {
        let Case { rows, inputs, group, .. } = self.case;
        let scales = &self.transposed_scales[..];
        let weights = self.view(&self.transposed, &self.nibbles[1]);
        SparseMatrix::new(rows, inputs, group, MULTIPLIER, weights, scales)
            .expect("all of a matrix")
    }

    /// The activations in natural order.
    pub fn natural(&self) -> Quantized<'_> {
        self.input(&self.q)
    }

    /// The values of [`natural`](Self::natural), packed for `kernels`.
    pub fn packed<K: Kernels>(&self, kernels: &K) -> Vec<i16> {
        let mut q = self.q.clone();
        for token in q.chunks_exact_mut(padded_inputs(self.case.inputs)) {
            kernels.pack(token);
        }
        q
    }

    /// The activations with the values `q`.
    pub fn input<'a>(&'a self, q: &'a [i16]) -> Quantized<'a> {
        Quantized::new(self.case.inputs, q, &self.sums, &self.token_scales)
            .expect("all of the activations")
    }

    /// An output to be overwritten, full of what must not stay: `[token][row]`.
    pub fn output(&self) -> Vec<f32> {
        vec![f32::from_bits(0x7FC0_DEAD); self.case.rows * self.case.tokens]
    }

    /// The product as the contract defines it, one number at a time: `[token][row]`.
    ///
    /// # Panics
    ///
    /// When a group's sum does not fit an i32: the contract excludes it.
    pub fn reference(&self) -> Vec<f32> {
        let Case { rows, inputs, tokens, group, .. } = self.case;
        let padded = padded_inputs(inputs);
        let mut output = Vec::with_capacity(rows * tokens);
        for token in 0..tokens {
            let q = &self.q[token * padded..][..inputs];
            for row in 0..rows {
                let weights = &self.weights[row * inputs..][..inputs];
                let mut acc = 0.0f32;
                for (g, (w, q)) in weights.chunks(group).zip(q.chunks(group)).enumerate() {
                    let sum: i64 =
                        w.iter().zip(q).map(|(w, q)| i64::from(*w) * i64::from(*q)).sum();
                    let Ok(sum) = i32::try_from(sum) else { panic!("a sum beyond i32") };
                    let product = sum as f32 * self.scales[row * self.groups + g].to_f32();
                    acc += product;
                }
                output.push(acc * (self.token_scales[token] * MULTIPLIER));
            }
        }
        output
    }
}

/// Asserts that two outputs have the same bits; NaNs may differ in theirs.
#[track_caller]
fn assert_bits(found: &[f32], expected: &[f32], what: &impl core::fmt::Debug) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let equal = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
        assert!(equal, "{found:e} instead of {expected:e} at {i} of {what:?}");
    }
}

fn check_product<K: Kernels>(kernels: &K, case: Case) {
    let problem = Problem::new(case);
    let packed = problem.packed(kernels);
    let mut output = problem.output();
    let input = problem.input(&packed);
    kernels.products(&mut [Product { matrix: problem.matrix(), input, output: &mut output }]);
    assert_bits(&output, &problem.reference(), &case);
}

fn check_sparse_product<K: Kernels>(kernels: &K, case: Case) {
    let problem = Problem::new(case);
    let mut output = problem.output();
    let (matrix, input) = (problem.sparse_matrix(), problem.natural());
    kernels.sparse_product(SparseProduct { matrix, input, output: &mut output });
    assert_bits(&output, &problem.reference(), &case);
}

/// Every combination of sizes whose reference is cheap enough; `thin` keeps one of so many.
fn for_cases(weights: WeightType, thin: usize, mut f: impl FnMut(Case)) {
    let mut count = 0usize;
    for rows in ROWS {
        for inputs in INPUTS {
            for &group in weights.groups() {
                for tokens in TOKENS {
                    count += 1;
                    if count.is_multiple_of(thin) || tokens == 1 {
                        let nan = count.is_multiple_of(5);
                        f(Case { weights, nan, ..Case::new(rows, inputs, tokens, group) });
                    }
                }
            }
        }
    }
}

/// Compares dense products with the reference.
///
/// # Panics
///
/// When an output differs.
pub fn check_products<K: Kernels>(kernels: &K, weights: WeightType) {
    for_cases(weights, 3, |case| check_product(kernels, case));
    for tokens in [1, 7] {
        check_product(kernels, Case { weights, ..Case::new(LARGEST_ROWS, 96, tokens, 64) });
    }
    for fill in [Fill::Extreme, Fill::Largest, Fill::Least] {
        for tokens in TOKENS {
            for &group in weights.groups() {
                let case = Case::new(97, 1056, tokens, group);
                check_product(kernels, Case { weights, fill, ..case });
            }
        }
    }
}

/// Compares sparse products with the reference, for inputs with none, some and
/// all activations zero.
///
/// # Panics
///
/// When an output differs.
pub fn check_sparse_products<K: Kernels>(kernels: &K, weights: WeightType) {
    let activities = [
        Activity::None,
        Activity::Of64(1),
        Activity::Of64(8),
        Activity::Of64(32),
        Activity::Clustered(20),
        Activity::All,
    ];
    for activity in activities {
        for_cases(weights, 11, |case| check_sparse_product(kernels, Case { activity, ..case }));
        let check = |case| check_sparse_product(kernels, Case { weights, activity, ..case });
        for tokens in [1, 2, 8] {
            check(Case::new(LARGEST_ROWS, 96, tokens, 64));
        }
        for rows in SPARSE_ROWS {
            check(Case::new(rows, 160, 1, 128));
        }
        for tokens in [8, 70, 130] {
            check(Case::new(100, 96, tokens, 64));
        }
        for fill in [Fill::Extreme, Fill::Largest, Fill::Least] {
            for tokens in [1, 3, 64] {
                for &group in weights.groups() {
                    check(Case { fill, ..Case::new(97, 1056, tokens, group) });
                }
            }
        }
    }
}

/// Compares products that are given together.
///
/// # Panics
///
/// When an output differs.
pub fn check_jobs<K: Kernels>(kernels: &K) {
    let types = [WeightType::Int8, WeightType::Int4];
    let problems =
        [(33, 64, 0), (1, 100, 1), (257, 257, 1), (64, 32, 0)].map(|(rows, inputs, weights)| {
            let weights = types[weights];
            Problem::new(Case { weights, ..Case::new(rows, inputs, 5, 64) })
        });
    let packed = problems.each_ref().map(|problem| problem.packed(kernels));
    let mut outputs = problems.each_ref().map(Problem::output);
    let mut jobs = Vec::new();
    for ((problem, packed), output) in problems.iter().zip(&packed).zip(&mut outputs) {
        jobs.push(Product { matrix: problem.matrix(), input: problem.input(packed), output });
    }
    kernels.products(&mut jobs);
    for (problem, output) in problems.iter().zip(&outputs) {
        assert_bits(output, &problem.reference(), &problem.case);
    }
}

/// A float loop of the core's kind over a row: norm, elementary functions.
///
/// Targets run it with their vector instructions switched on, and without.
#[inline(always)]
pub fn float_loop(x: &mut [f32]) {
    let (mean, rstd) = reduce::mean_and_rstd(x, 1e-5);
    for x in x.iter_mut() {
        let y = (*x - mean) * rstd;
        *x = math::exp(y) * math::sigmoid(*x) + math::tanh(y) * math::softplus(*x);
    }
}

/// A region that is worth splitting between any number of threads.
const LARGE: Region = Region { phase: Phase::Wkv, operations: usize::MAX };

/// Runs float loops through [`Kernels::for_parts`] and outside of it: a fused
/// multiply-add, another order or flushed subnormals would show.
///
/// # Panics
///
/// When a value differs.
pub fn check_float_loops<K: Kernels>(kernels: &K) {
    for row in [1, 16, 61, 128] {
        let data = (0..row * 37).map(|i| (mix(6, i) % 20_001) as f32 * 1e-3 - 10.0);
        let mut expected: Vec<f32> = data.collect();
        // Subnormal in, subnormal out.
        let mut tiny = [f32::from_bits(3), f32::MIN_POSITIVE / 2.0, -f32::from_bits(0x7F_FFFF)];
        let (mut found, mut found_tiny) = (expected.clone(), tiny);
        expected.chunks_exact_mut(row).for_each(float_loop);
        kernels.for_parts(
            ChunksOf::new(&mut found, row),
            LARGE,
            #[inline(always)]
            |rows| rows.iter().for_each(float_loop),
        );
        assert_bits(&found, &expected, &row);
        let halve = |x: &mut f32| *x = *x * 0.5 + *x;
        tiny.iter_mut().for_each(halve);
        kernels.for_parts(
            ChunksOf::new(&mut found_tiny, 3),
            LARGE,
            #[inline(always)]
            |rows| rows.iter().flatten().for_each(halve),
        );
        assert_bits(&found_tiny, &tiny, &"subnormals");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::scalar::Scalar;

    crate::kernel_tests!(Some(Scalar));

    #[test]
    fn the_views_agree_with_the_plain_weights() {
        for weights in [WeightType::Int8, WeightType::Int4] {
            let problem = Problem::new(Case { weights, ..Case::new(33, 100, 1, 64) });
            let (matrix, sparse) = (problem.matrix(), problem.sparse_matrix());
            for row in 0..33 {
                for input in 0..100 {
                    let scale =
                        problem.scales[row * problem.groups + input / 64].to_f32() * MULTIPLIER;
                    let expected = f32::from(problem.weights[row * 100 + input]) * scale;
                    assert_eq!(matrix.weight(row, input), expected);
                    assert_eq!(sparse.weight(row, input), expected);
                }
            }
        }
    }

    #[test]
    fn the_values_cover_their_range() {
        for (weights, range) in [(WeightType::Int8, -127..=127), (WeightType::Int4, -8..=7)] {
            let values: Vec<i8> = (0..10_000).map(|i| weight(weights, Fill::Uniform, i)).collect();
            let ends = (values.iter().min(), values.iter().max());
            assert_eq!(ends, (Some(range.start()), Some(range.end())));
        }
        let case = Case { activity: Activity::Of64(8), ..Case::new(1, 10_000, 1, 32) };
        let active = (0..10_000).filter(|&i| activation(&case, 0, i) != 0).count();
        assert!((1000..1500).contains(&active), "{active}");
    }
}
