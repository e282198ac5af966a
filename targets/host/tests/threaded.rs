//! Any number of threads computes the bits of the core's scalar kernels.

use half::f16;
use kinglet::kernels::activations::Quantized;
use kinglet::kernels::matrix::{
    LINE_BLOCK, Matrix, SparseMatrix, TILE, padded_inputs, padded_rows, padded_sparse_rows,
};
use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::weights::{WeightType, Weights, pack_int4};
use kinglet::kernels::{ChunksOf, Kernels, Phase, Product, Region, SparseProduct};
use kinglet_host::Threaded;
use proptest::prelude::*;

const THREADS: [usize; 4] = [1, 2, 3, 4];

/// A generator of test data (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Weights and a block of tokens for a product, dense or sparse.
struct Data {
    rows: usize,
    inputs: usize,
    tokens: usize,
    weight_type: WeightType,
    /// In the order of int8, with the most rows of padding.
    weights: Vec<i8>,
    /// The same as pairs of blocks, of a dense and of a sparse matrix; none of int8.
    nibbles: [Vec<u8>; 2],
    scales: Vec<f16>,
    q: Vec<i16>,
    sums: Vec<i32>,
    token_scales: Vec<f32>,
}

const GROUP: usize = 64;

impl Data {
    /// `zeros` percent of the values in the tokens are zero; the weights are of either type.
    fn new(rows: usize, inputs: usize, tokens: usize, zeros: u64, random: &mut Random) -> Self {
        let weight_type = [WeightType::Int8, WeightType::Int4][random.below(2) as usize];
        let (out, padded) = (padded_sparse_rows(weight_type, rows), padded_inputs(inputs));
        let (least, values) = match weight_type {
            WeightType::Int4 => (-8, 16),
            _ => (-127, 255),
        };
        let weight = |_| (random.below(values) as i16 + least) as i8;
        let weights: Vec<_> = (0..out * padded).map(weight).collect();
        let nibbles = match weight_type {
            WeightType::Int4 => [nibbles::<TILE>(&weights), nibbles::<LINE_BLOCK>(&weights)],
            _ => Default::default(),
        };
        let scales = (0..out * padded.div_ceil(GROUP))
            .map(|_| f16::from_bits(0x1000 + random.below(0x2000) as u16))
            .collect();
        let mut value = |input| match input < inputs && random.below(100) >= zeros {
            true => random.below(65279) as i32 as i16,
            false => 0,
        };
        let q: Vec<i16> = (0..tokens).flat_map(|_| 0..padded).map(&mut value).collect();
        let sums = q.chunks(32).map(|q| q.iter().map(|&q| i32::from(q)).sum()).collect();
        let token_scales = (0..tokens).map(|token| 1e-4 / (token + 1) as f32).collect();
        Self { rows, inputs, tokens, weight_type, weights, nibbles, scales, q, sums, token_scales }
    }

    fn input(&self) -> Quantized<'_> {
        let Self { inputs, ref q, ref sums, ref token_scales, .. } = *self;
        Quantized::new(inputs, q, sums, token_scales).expect("all of the activations")
    }

    fn matrix(&self) -> Matrix<'_> {
        let Self { rows, inputs, ref scales, .. } = *self;
        let (out, padded) = (padded_rows(rows), padded_inputs(inputs));
        let (weights, scales) =
            (self.view(0, out * padded), &scales[..out * padded.div_ceil(GROUP)]);
        Matrix::new(rows, inputs, GROUP, 0.25, weights, scales).expect("all of a matrix")
    }

    fn sparse(&self) -> SparseMatrix<'_> {
        let Self { rows, inputs, ref weights, ref scales, .. } = *self;
        let weights = self.view(1, weights.len());
        SparseMatrix::new(rows, inputs, GROUP, 0.25, weights, scales).expect("all of a matrix")
    }

    /// The first `len` weights, in pairs of blocks those of layout `layout`.
    fn view(&self, layout: usize, len: usize) -> Weights<'_> {
        match self.weight_type {
            WeightType::Int4 => Weights::Int4(&self.nibbles[layout][..len / 2]),
            _ => Weights::Int8(&self.weights[..len]),
        }
    }

    /// An output that no product leaves as it is.
    fn output(&self) -> Vec<f32> {
        vec![f32::NAN; self.rows * self.tokens]
    }
}

/// The weights in pairs of blocks of `N`.
fn nibbles<const N: usize>(weights: &[i8]) -> Vec<u8> {
    let mut bytes = vec![0; weights.len() / 2];
    pack_int4::<N>(weights, &mut bytes);
    bytes
}

fn products(kernels: &impl Kernels, data: &[Data]) -> Vec<Vec<u32>> {
    let mut outputs: Vec<_> = data.iter().map(Data::output).collect();
    let mut jobs: Vec<_> = data
        .iter()
        .zip(&mut outputs)
        .map(|(data, output)| Product { matrix: data.matrix(), input: data.input(), output })
        .collect();
    kernels.products(&mut jobs);
    outputs.iter().map(|output| bits(output)).collect()
}

fn sparse_product(kernels: &impl Kernels, data: &Data) -> Vec<u32> {
    let mut output = data.output();
    let job = SparseProduct { matrix: data.sparse(), input: data.input(), output: &mut output };
    kernels.sparse_product(job);
    bits(&output)
}

fn bits(x: &[f32]) -> Vec<u32> {
    assert!(x.iter().all(|x| x.is_finite()), "every element is written");
    x.iter().map(|x| x.to_bits()).collect()
}

/// A layer's products: large ones, small ones, rows that fill no tile.
fn layer(tokens: usize, random: &mut Random) -> Vec<Data> {
    let shapes =
        [(384, 384), (384, 384), (65, 384), (16, 384), (7, 384), (384, 33), (1, 1), (1000, 96)];
    shapes.map(|(rows, inputs)| Data::new(rows, inputs, tokens, 0, random)).into()
}

#[test]
fn products_do_not_depend_on_threads() {
    let mut random = Random(1);
    for tokens in [1, 2, 5] {
        let data = layer(tokens, &mut random);
        let expected = products(&Scalar, &data);
        for threads in THREADS {
            let kernels = Threaded::new(Scalar, threads);
            assert_eq!(kernels.threads(), threads);
            for _ in 0..20 {
                assert!(products(&kernels, &data) == expected, "{threads} threads");
            }
        }
    }
}

#[test]
fn an_observer_sees_every_product_when_it_is_computed() {
    use std::sync::{Arc, Mutex};
    let data = layer(2, &mut Random(9));
    for threads in THREADS {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let observer = Arc::clone(&seen);
        let kernels = Threaded::new(Scalar, threads)
            .observed(move |product| observer.lock().unwrap().push(bits(product.output)));
        let computed = products(&kernels, &data);
        assert!(*seen.lock().unwrap() == computed, "{threads} threads");
    }
}

#[test]
fn more_products_than_a_region_takes() {
    let mut random = Random(2);
    let data: Vec<_> = (0..70).map(|i| Data::new(64 + i, 96, 1, 0, &mut random)).collect();
    let expected = products(&Scalar, &data);
    for threads in THREADS {
        assert!(products(&Threaded::new(Scalar, threads), &data) == expected, "{threads}");
    }
}

#[test]
fn sparse_products_do_not_depend_on_threads() {
    let mut random = Random(3);
    for (rows, inputs, tokens, zeros) in
        [(768, 512, 1, 85), (130, 1024, 3, 50), (63, 4096, 1, 100), (1000, 96, 2, 0)]
    {
        let data = Data::new(rows, inputs, tokens, zeros, &mut random);
        let expected = sparse_product(&Scalar, &data);
        for threads in THREADS {
            let kernels = Threaded::new(Scalar, threads);
            assert!(sparse_product(&kernels, &data) == expected, "{rows}, {threads} threads");
        }
    }
}

fn region(operations: usize) -> Region {
    Region { phase: Phase::Wkv, operations }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_shape(
        shapes in proptest::collection::vec((1usize..400, 1usize..300), 1..9),
        tokens in 1usize..4,
        threads in 1usize..9,
        seed: u64,
    ) {
        let mut random = Random(seed);
        let data: Vec<_> = shapes
            .iter()
            .map(|&(rows, inputs)| Data::new(rows, inputs, tokens, 60, &mut random))
            .collect();
        let kernels = Threaded::new(Scalar, threads);
        prop_assert!(products(&kernels, &data) == products(&Scalar, &data));
        for data in &data {
            prop_assert!(sparse_product(&kernels, data) == sparse_product(&Scalar, data));
        }
    }

    #[test]
    fn parts_cover_the_whole(len in 1usize..200, work in 0usize..1 << 22, threads in 1usize..9) {
        let mut rows = vec![0usize; 3 * len];
        let kernels = Threaded::new(Scalar, threads);
        kernels.for_parts((0..len, ChunksOf::new(&mut rows, 3)), region(work), |(range, rows)| {
            for (i, row) in range.zip(rows.iter()) {
                row.iter_mut().for_each(|x| *x += i + 1);
            }
        });
        prop_assert!(rows.iter().enumerate().all(|(at, x)| *x == at / 3 + 1), "{:?}", rows);
    }
}

#[test]
fn a_kernel_set_inside_a_part() {
    let mut random = Random(4);
    let data = layer(1, &mut random);
    let expected = products(&Scalar, &data);
    let kernels = Threaded::new(Scalar, 3);
    kernels.for_parts(0..4, region(usize::MAX), |range| {
        range.for_each(|_| assert!(products(&kernels, &data) == expected));
    });
}

#[test]
#[should_panic(expected = "part 5")]
fn a_panic_in_a_part_is_the_callers() {
    Threaded::new(Scalar, 4).for_parts(0..8, region(usize::MAX), |range| {
        assert!(!range.contains(&5), "part 5");
    });
}
