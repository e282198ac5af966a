//! Tests of the emulation and of single kernels, against the core.

use core::ffi::{CStr, c_char, c_int};
use std::ffi::CString;

use kinglet::kernels::activations::Quantized as HostQuantized;
use kinglet::kernels::matrix::{Matrix, SparseMatrix, padded_inputs, padded_rows};
use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::weights::Weights;
use kinglet::kernels::{Kernels, Product, SparseProduct};
use kinglet::num::math;
use kinglet::num::state_dtype::{StateElement, f16};

use crate::device::{Address, Device, Kernel, Launch};
use crate::params::{MAX_PRODUCTS, Output, ProductJob, ProductParams, Quantized, SparseParams};
use crate::{DeviceError, Emulated};

unsafe extern "C" {
    fn kinglet_test_emulation() -> *const c_char;
    fn kinglet_test_math(x: f32, out: *mut [f32; 5]);
    fn kinglet_test_race(kernel: *const c_char) -> c_int;
}

#[test]
fn the_emulation_does_what_the_manual_says() {
    // A launch takes the emulation's lock; this test calls it from C++.
    let _guard = crate::emulated::lock();
    // SAFETY: it returns null or a string that lives as long as the program.
    let wrong = unsafe {
        let wrong = kinglet_test_emulation();
        (!wrong.is_null()).then(|| CStr::from_ptr(wrong))
    };
    assert_eq!(wrong, None);
}

/// `.ci/cuda` runs it under the thread sanitizer, with each kernel, and wants every race found.
#[test]
#[ignore = "a race that the sanitizer must find"]
fn a_planted_race() {
    let kernel = std::env::var("KINGLET_PLANTED_RACE").expect("the name of a kernel");
    let kernel = CString::new(kernel).unwrap();
    let _guard = crate::emulated::lock();
    // SAFETY: the name ends with a zero.
    assert_eq!(unsafe { kinglet_test_race(kernel.as_ptr()) }, 1, "{kernel:?} does not run");
}

#[test]
fn functions_have_the_bits_of_the_core() {
    // A prime stride meets every exponent with fractions of all kinds.
    for bits in (0..=u32::MAX).step_by(3001) {
        let x = f32::from_bits(bits);
        let mut found = [0.0; 5];
        // SAFETY: `found` has five elements.
        unsafe { kinglet_test_math(x, &mut found) };
        let positive = if x < 0.0 { 0.0 } else { x };
        let expected = [
            math::exp(x),
            math::sigmoid(x),
            math::tanh(x),
            positive * positive,
            f16::narrow(x).widen(),
        ];
        for (found, expected) in found.iter().zip(expected) {
            let both_nan = found.is_nan() && expected.is_nan();
            assert!(
                both_nan || found.to_bits() == expected.to_bits(),
                "{x:e}: {found:?} {expected:?}"
            );
        }
    }
}

#[test]
fn a_machine_without_a_driver_is_told_so() {
    match crate::CudaDevice::open(usize::MAX) {
        Err(error @ (DeviceError::NoDriver { .. } | DeviceError::NoDevice { .. })) => {
            assert!(error.to_string().contains("driver"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        ((self.next() >> 32) * n) >> 32
    }

    /// A weight; the largest ones are frequent, because sums must not overflow.
    fn weight(&mut self) -> i8 {
        match self.below(4) {
            0 => 127,
            1 => -127,
            _ => self.below(255) as i8,
        }
        .max(-127)
    }

    /// An activation, of which `zeros` of 8 are zero.
    fn activation(&mut self, zeros: u64) -> i16 {
        match self.below(8) {
            x if x < zeros => 0,
            7 => 32639,
            6 => -32639,
            _ => (self.below(65279) as i32 - 32639) as i16,
        }
    }
}

/// Copies of no bytes, of less than a piece, and of more than all slots hold, several at once.
#[test]
fn copies_keep_their_bytes() {
    let mut device = Emulated::new(0);
    device.reserve(1 << 20).unwrap();
    let mut random = Random(1);
    let lens = [0, 1, 127, 128, 129, 4096, 4097, 16384, 16385, 100_001, 0, 3];
    let written = lens.map(|len| (0..len).map(|_| random.next() as u8).collect::<Vec<_>>());
    let places = written.each_ref().map(|bytes| {
        let place = device.allocate(bytes.len() as u64).unwrap();
        // SAFETY: the allocation has this many bytes.
        unsafe { device.write(place, bytes) }.unwrap();
        place
    });
    for together in [1, 2, 5, lens.len()] {
        let mut found = written.each_ref().map(|bytes| vec![0; bytes.len()]);
        let mut parts: Vec<_> =
            places.into_iter().zip(found.iter_mut().map(Vec::as_mut_slice)).collect();
        for parts in parts.chunks_mut(together) {
            // SAFETY: the allocations are as long.
            unsafe { device.read(parts) }.unwrap();
        }
        assert!(found == written, "{together} together");
    }
}

/// A matrix, dense or sparse, and activations of some tokens.
struct Case {
    rows: usize,
    inputs: usize,
    group: usize,
    weights: Vec<i8>,
    scales: Vec<f16>,
    q: Vec<i16>,
    token_scales: Vec<f32>,
}

const MULTIPLIER: f32 = 0.125;

impl Case {
    fn new([rows, inputs, group, tokens]: [usize; 4], zeros: u64) -> Self {
        let mut random = Random((rows * inputs + tokens) as u64);
        let (out, padded) = (padded_rows(rows), padded_inputs(inputs));
        let weights = (0..out * padded).map(|_| random.weight()).collect();
        let scales = out * padded.div_ceil(group);
        let scale = |_| f16::from_f32(1e-3 * (1 + random.below(1000)) as f32);
        let scales = (0..scales).map(scale).collect();
        let mut q: Vec<_> = (0..tokens * padded).map(|_| random.activation(zeros)).collect();
        for token in q.chunks_mut(padded) {
            token[inputs..].fill(0);
        }
        let token_scales = (0..tokens).map(|i| 1e-4 * (i + 1) as f32).collect();
        Self { rows, inputs, group, weights, scales, q, token_scales }
    }

    fn expected(&self, sparse: bool) -> Vec<u32> {
        let Self { rows, inputs, group, weights, scales, q, token_scales } = self;
        let sums: Vec<i32> = q.chunks(32).map(|q| q.iter().map(|&q| i32::from(q)).sum()).collect();
        let input = HostQuantized::new(*inputs, q, &sums, token_scales).unwrap();
        let mut output = vec![0.0; rows * token_scales.len()];
        if sparse {
            let matrix = SparseMatrix::new(
                *rows,
                *inputs,
                *group,
                MULTIPLIER,
                Weights::Int8(weights),
                scales,
            );
            let (matrix, output) = (matrix.unwrap(), &mut output);
            Scalar.sparse_product(SparseProduct { matrix, input, output });
        } else {
            let matrix =
                Matrix::new(*rows, *inputs, *group, MULTIPLIER, Weights::Int8(weights), scales)
                    .unwrap();
            Scalar.products(&mut [Product { matrix, input, output: &mut output }]);
        }
        output.into_iter().map(f32::to_bits).collect()
    }

    /// The product by `kernel`.
    fn found(&self, kernel: Kernel, order: u32) -> Vec<u32> {
        let mut device = Emulated::new(order);
        device.reserve(1 << 30).unwrap();
        let mut place = |bytes: &[u8]| {
            let address = device.allocate(bytes.len() as u64).unwrap();
            // SAFETY: the allocation has this many bytes.
            unsafe { device.write(address, bytes) }.unwrap();
            address
        };
        let tokens = self.token_scales.len() as u32;
        let weights = place(bytemuck::cast_slice(&self.weights));
        let scales = place(bytemuck::cast_slice(&self.scales));
        let q = place(bytemuck::cast_slice(&self.q));
        let input = Quantized { q, scale: place(bytemuck::cast_slice(&self.token_scales)) };
        let mut output = vec![7.5f32; self.rows * tokens as usize];
        let out = place(bytemuck::cast_slice(&output));
        let rows = self.rows as u32;
        let (multiplier, group) = (MULTIPLIER, self.group as u32);
        let padded_inputs = padded_inputs(self.inputs) as u32;
        let stored = Output { out, gate: Address::NULL, store: 0, rows };
        let launch = |blocks, params: *const core::ffi::c_void, params_len| {
            let launch = Launch { kernel, blocks, threads: 256, params, params_len };
            // SAFETY: the parameters are the kernel's, with addresses of this device.
            unsafe { device.launch(&launch) }.unwrap();
        };
        if matches!(kernel, Kernel::Sparse | Kernel::SparseMma) {
            let params = SparseParams {
                weights,
                scales,
                input,
                output: stored,
                multiplier,
                padded_inputs,
                group,
                tokens,
            };
            let blocks = match kernel {
                Kernel::Sparse => [rows.div_ceil(32), tokens],
                _ => [rows.div_ceil(128), tokens.div_ceil(64)],
            };
            launch(blocks, (&raw const params).cast(), size_of_val(&params));
        } else {
            let (tiles, of_block) = match kernel {
                Kernel::Dense1 => (1, 1),
                Kernel::Dense8 => (1, 8),
                _ => (8, 64),
            };
            let job = |first_tile| ProductJob {
                weights,
                scales,
                input,
                output: stored,
                multiplier,
                padded_inputs,
                group,
                first_tile,
            };
            // Twice the same product, so that the second one's first tile is not 0.
            let each = rows.div_ceil(16).next_multiple_of(tiles);
            let job = core::array::from_fn::<_, MAX_PRODUCTS, _>(|i| job(each * i as u32));
            let params = ProductParams { count: 2, tokens, job };
            let blocks = [2 * each / tiles, tokens.div_ceil(of_block)];
            launch(blocks, (&raw const params).cast(), size_of_val(&params));
        }
        // SAFETY: the output has this many bytes.
        unsafe { device.read(&mut [(out, bytemuck::cast_slice_mut(&mut output))]) }.unwrap();
        output.into_iter().map(f32::to_bits).collect()
    }
}

/// Rows and inputs about a tile, a block and a round; groups of each size, the last one shorter.
const SIZES: [[usize; 3]; 9] = [
    [1, 1, 32],
    [15, 31, 32],
    [16, 32, 64],
    [17, 33, 64],
    [33, 160, 128],
    [127, 257, 256],
    [129, 1000, 512],
    [20, 8300, 32],
    [5, 10_000, 128],
];

/// Whether a sanitizer watches, under which all sizes take minutes.
fn few() -> bool {
    std::env::var_os("KINGLET_CUDA_FEW").is_some()
}

/// [`SIZES`], or a few that differ most: less than a tile, more than one, more groups than a round
/// of eight tokens.
fn sizes() -> Vec<[usize; 3]> {
    if few() { vec![SIZES[0], SIZES[4], [20, 1100, 32]] } else { SIZES.to_vec() }
}

#[test]
fn dense_products_have_the_bits_of_the_core() {
    for (order, [rows, inputs, group]) in sizes().into_iter().enumerate() {
        for &tokens in if few() { &[1, 9, 33][..] } else { &[1, 7, 9, 32, 33, 65] } {
            let case = Case::new([rows, inputs, group, tokens], 1);
            let expected = case.expected(false);
            // `dense_1` takes tokens one by one: a few are enough.
            let kernels: &[Kernel] = match tokens {
                ..8 => &[Kernel::Dense1, Kernel::Dense8, Kernel::DenseMma],
                _ => &[Kernel::Dense8, Kernel::DenseMma],
            };
            for &kernel in kernels {
                let found = case.found(kernel, order as u32);
                assert!(
                    found == expected,
                    "{kernel:?} {rows} x {inputs}, {group}, {tokens} tokens"
                );
            }
        }
    }
}

#[test]
fn sparse_products_have_the_bits_of_the_core() {
    for (order, [rows, inputs, group]) in sizes().into_iter().enumerate() {
        for zeros in [0, 6, 8] {
            let case = Case::new([rows, inputs, group, 3], zeros);
            let expected = case.expected(true);
            for kernel in [Kernel::Sparse, Kernel::SparseMma] {
                let found = case.found(kernel, order as u32);
                assert!(
                    found == expected,
                    "{kernel:?} {rows} x {inputs}, {group}, {zeros} zeros of 8"
                );
            }
        }
        // One token more than a warp of the tensor cores has, and than a block.
        for &tokens in if few() { &[33][..] } else { &[32, 33, 65] } {
            let case = Case::new([rows, inputs, group, tokens], 6);
            let found = case.found(Kernel::SparseMma, order as u32);
            assert!(found == case.expected(true), "{rows} x {inputs}, {group}, {tokens} tokens");
        }
    }
}

/// Every weight and activation is the largest that the contract allows, in the largest group.
#[test]
fn the_largest_sums_do_not_overflow() {
    for (q, weight) in [(32639, 127), (-32639, 127), (32639, -127), (-32639, -127)] {
        let mut case = Case::new([17, 1024, 512, 9], 0);
        case.q.fill(q);
        case.weights.fill(weight);
        for (kernel, sparse) in [
            (Kernel::Dense1, false),
            (Kernel::Dense8, false),
            (Kernel::DenseMma, false),
            (Kernel::Sparse, true),
            (Kernel::SparseMma, true),
        ] {
            assert!(case.found(kernel, 2) == case.expected(sparse), "{kernel:?}, {q} * {weight}");
        }
    }
}
