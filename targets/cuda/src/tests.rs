//! Tests of the emulation and of single kernels, against the core.

use core::ffi::{CStr, c_char, c_int};
use std::ffi::CString;

use kinglet::kernels::activations::Quantized as HostQuantized;
use kinglet::kernels::matrix::{
    LINE_BLOCK, Matrix, RowTable, SparseMatrix, TILE, padded_inputs, padded_rows,
    padded_sparse_rows,
};
use kinglet::kernels::scalar::Scalar;
use kinglet::kernels::weights::{WeightType, Weights, pack_int4};
use kinglet::kernels::{Kernels, Product, SparseProduct};
use kinglet::num::math;
use kinglet::num::state_dtype::{StateElement, f16};

use crate::device::{Address, Device, Kernel, Launch};
use crate::params::{
    EmbedParams, MAX_PRODUCTS, Output, Params, ProductJob, ProductParams, Quantized, SparseParams,
};
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

    /// A weight of four bits, the largest ones frequent.
    fn nibble(&mut self) -> i8 {
        match self.below(4) {
            0 => 7,
            1 => -8,
            _ => self.below(16) as i8 - 8,
        }
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

/// How a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stored {
    weights: WeightType,
    sparse: bool,
}

impl Stored {
    /// Every way, dense ones first.
    fn all() -> impl Iterator<Item = Self> {
        let of = |sparse| TYPES.map(|weights| Self { weights, sparse });
        of(false).into_iter().chain(of(true))
    }

    /// Weights in the order of int8 as the bytes of a file.
    fn pack(self, weights: &[i8]) -> Vec<u8> {
        let mut nibbles = vec![0; weights.len() / 2];
        match (self.weights, self.sparse) {
            (WeightType::Int4, false) => pack_int4::<TILE>(weights, &mut nibbles),
            (WeightType::Int4, true) => pack_int4::<LINE_BLOCK>(weights, &mut nibbles),
            _ => return bytemuck::cast_slice(weights).to_vec(),
        }
        nibbles
    }

    fn view(self, bytes: &[u8]) -> Weights<'_> {
        match self.weights {
            WeightType::Int4 => Weights::Int4(bytes),
            _ => Weights::Int8(bytemuck::cast_slice(bytes)),
        }
    }

    /// The kernels of such a matrix.
    fn kernels(self) -> &'static [Kernel] {
        match (self.weights, self.sparse) {
            (WeightType::Int4, false) => {
                &[Kernel::Dense1Int4, Kernel::Dense8Int4, Kernel::DenseMmaInt4]
            }
            (WeightType::Int4, true) => &[Kernel::SparseInt4, Kernel::SparseMmaInt4],
            (_, false) => &[Kernel::Dense1, Kernel::Dense8, Kernel::DenseMma],
            (_, true) => &[Kernel::Sparse, Kernel::SparseMma],
        }
    }
}

const TYPES: [WeightType; 2] = [WeightType::Int8, WeightType::Int4];

/// A matrix and activations of some tokens.
struct Case {
    stored: Stored,
    rows: usize,
    inputs: usize,
    group: usize,
    /// As they lie in a file.
    weights: Vec<u8>,
    scales: Vec<f16>,
    q: Vec<i16>,
    token_scales: Vec<f32>,
}

const MULTIPLIER: f32 = 0.125;

impl Case {
    /// Groups are of 128 inputs where the type has no larger ones.
    fn new(stored: Stored, [rows, inputs, group, tokens]: [usize; 4], zeros: u64) -> Self {
        let mut random = Random((rows * inputs + tokens) as u64);
        let group = group.min(*stored.weights.groups().last().unwrap());
        let padded = padded_inputs(inputs);
        let out = if stored.sparse {
            padded_sparse_rows(stored.weights, rows)
        } else {
            padded_rows(rows)
        };
        let mut weight = || match stored.weights {
            WeightType::Int4 => random.nibble(),
            _ => random.weight(),
        };
        let weights: Vec<_> = (0..out * padded).map(|_| weight()).collect();
        let scales = out * padded.div_ceil(group);
        let scale = |_| f16::from_f32(1e-3 * (1 + random.below(1000)) as f32);
        let scales = (0..scales).map(scale).collect();
        let mut q: Vec<_> = (0..tokens * padded).map(|_| random.activation(zeros)).collect();
        for token in q.chunks_mut(padded) {
            token[inputs..].fill(0);
        }
        let token_scales = (0..tokens).map(|i| 1e-4 * (i + 1) as f32).collect();
        let weights = stored.pack(&weights);
        Self { stored, rows, inputs, group, weights, scales, q, token_scales }
    }

    fn expected(&self) -> Vec<u32> {
        let Self { stored, rows, inputs, group, weights, scales, q, token_scales } = self;
        let sums: Vec<i32> = q.chunks(32).map(|q| q.iter().map(|&q| i32::from(q)).sum()).collect();
        let input = HostQuantized::new(*inputs, q, &sums, token_scales).unwrap();
        let mut output = vec![0.0; rows * token_scales.len()];
        let weights = stored.view(weights);
        if stored.sparse {
            let matrix = SparseMatrix::new(*rows, *inputs, *group, MULTIPLIER, weights, scales);
            let (matrix, output) = (matrix.unwrap(), &mut output);
            Scalar.sparse_product(SparseProduct { matrix, input, output });
        } else {
            let matrix = Matrix::new(*rows, *inputs, *group, MULTIPLIER, weights, scales).unwrap();
            Scalar.products(&mut [Product { matrix, input, output: &mut output }]);
        }
        output.into_iter().map(f32::to_bits).collect()
    }

    /// The product by `kernel`.
    fn found(&self, kernel: Kernel, order: u32) -> Vec<u32> {
        let mut device = Emulated::new(order);
        device.reserve(1 << 30).unwrap();
        let tokens = self.token_scales.len() as u32;
        let weights = place(&mut device, &self.weights);
        let scales = place(&mut device, bytemuck::cast_slice(&self.scales));
        let q = place(&mut device, bytemuck::cast_slice(&self.q));
        let scale = place(&mut device, bytemuck::cast_slice(&self.token_scales));
        let input = Quantized { q, scale };
        let mut output = vec![7.5f32; self.rows * tokens as usize];
        let out = place(&mut device, bytemuck::cast_slice(&output));
        let rows = self.rows as u32;
        let (multiplier, group) = (MULTIPLIER, self.group as u32);
        let padded_inputs = padded_inputs(self.inputs) as u32;
        let stored = Output { out, gate: Address::NULL, store: 0, rows };
        if self.stored.sparse {
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
                Kernel::SparseInt4 => [rows.div_ceil(64), tokens],
                _ => [rows.div_ceil(128), tokens.div_ceil(64)],
            };
            launch(&device, kernel, blocks, &params);
        } else {
            let (tiles, of_block) = match kernel {
                Kernel::Dense1 | Kernel::Dense1Int4 => (1, 1),
                Kernel::Dense8 | Kernel::Dense8Int4 => (1, 8),
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
            launch(&device, kernel, blocks, &params);
        }
        // SAFETY: the output has this many bytes.
        unsafe { device.read(&mut [(out, bytemuck::cast_slice_mut(&mut output))]) }.unwrap();
        output.into_iter().map(f32::to_bits).collect()
    }
}

/// Copies `bytes` to memory of their own.
fn place(device: &mut Emulated, bytes: &[u8]) -> Address {
    let address = device.allocate(bytes.len() as u64).unwrap();
    // SAFETY: the allocation has this many bytes.
    unsafe { device.write(address, bytes) }.unwrap();
    address
}

/// Runs `kernel` in blocks of 256 threads.
fn launch<P: Params>(device: &Emulated, kernel: Kernel, blocks: [u32; 2], params: &P) {
    let (params, params_len) = ((&raw const *params).cast(), size_of::<P>());
    let launch = Launch { kernel, blocks, threads: 256, params, params_len };
    // SAFETY: the parameters are the kernel's, with addresses of this device.
    unsafe { device.launch(&launch) }.unwrap();
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
    for stored in Stored::all().filter(|stored| !stored.sparse) {
        for (order, [rows, inputs, group]) in sizes().into_iter().enumerate() {
            for &tokens in if few() { &[1, 9, 33][..] } else { &[1, 7, 9, 32, 33, 65] } {
                let case = Case::new(stored, [rows, inputs, group, tokens], 1);
                let expected = case.expected();
                // `dense_1` takes tokens one by one: a few are enough.
                let kernels = stored.kernels();
                for &kernel in if tokens < 8 { kernels } else { &kernels[1..] } {
                    let found = case.found(kernel, order as u32);
                    assert!(
                        found == expected,
                        "{kernel:?} {rows} x {inputs}, {group}, {tokens} tokens"
                    );
                }
            }
        }
    }
}

#[test]
fn sparse_products_have_the_bits_of_the_core() {
    for stored in Stored::all().filter(|stored| stored.sparse) {
        for (order, [rows, inputs, group]) in sizes().into_iter().enumerate() {
            let check = |tokens, zeros, kernels: &[Kernel]| {
                let case = Case::new(stored, [rows, inputs, group, tokens], zeros);
                let expected = case.expected();
                for &kernel in kernels {
                    let found = case.found(kernel, order as u32);
                    assert!(
                        found == expected,
                        "{kernel:?} {rows} x {inputs}, {group}, {tokens} tokens, {zeros} zeros of 8"
                    );
                }
            };
            for zeros in [0, 6, 8] {
                check(3, zeros, stored.kernels());
            }
            // One token more than a warp of the tensor cores has, and than a block.
            for &tokens in if few() { &[33][..] } else { &[32, 33, 65] } {
                check(tokens, 6, &stored.kernels()[1..]);
            }
        }
    }
}

/// Every weight and activation is the largest that the contract allows, in the largest group; of
/// int4 the largest of i16, beyond the contract.
#[test]
fn the_largest_sums_do_not_overflow() {
    for stored in Stored::all() {
        let (qs, weights, group) = match stored.weights {
            WeightType::Int4 => ([i16::MAX, -i16::MAX], [7, -8], 128),
            _ => ([32639, -32639], [127, -127], 512),
        };
        for (q, weight) in qs.into_iter().flat_map(|q| weights.map(|weight| (q, weight))) {
            let mut case = Case::new(stored, [17, 2 * group, group, 9], 0);
            case.q.fill(q);
            let all = case.weights.len() * if group == 128 { 2 } else { 1 };
            case.weights = stored.pack(&vec![weight; all]);
            for &kernel in stored.kernels() {
                assert!(case.found(kernel, 2) == case.expected(), "{kernel:?}, {q} * {weight}");
            }
        }
    }
}

/// Rows of a table, whose last block of weights is cut short.
#[test]
fn rows_of_a_table_have_the_bits_of_the_core() {
    let ids = [2u32, 0, 4, 2];
    for (width, weights) in [1, 50, 300].into_iter().flat_map(|n| TYPES.map(|w| (n, w))) {
        let stored = Stored { weights, sparse: true };
        // Lines of a sparse matrix are packed as rows of a table are.
        let case = Case::new(stored, [padded_inputs(width), 5, 32, 1], 0);
        let padded = padded_inputs(width);
        let len = 5 * padded / if weights == WeightType::Int4 { 2 } else { 1 };
        let (bytes, scales) = (&case.weights[..len], &case.scales[..5 * padded / 32]);
        let table = RowTable::new(5, width, stored.view(bytes), scales).unwrap();
        let mut expected = vec![0.0; ids.len() * width];
        for (id, row) in ids.iter().zip(expected.chunks_mut(width)) {
            table.read(*id as usize, row);
        }
        let mut device = Emulated::new(3);
        device.reserve(1 << 20).unwrap();
        let mut found = vec![7.5f32; expected.len()];
        let params = EmbedParams {
            tokens: place(&mut device, bytemuck::cast_slice(&ids)),
            weights: place(&mut device, bytes),
            scales: place(&mut device, bytemuck::cast_slice(scales)),
            x: place(&mut device, bytemuck::cast_slice(&found)),
            width: width as u32,
            is_int4: u32::from(weights == WeightType::Int4),
        };
        launch(&device, Kernel::Embed, [ids.len() as u32, 1], &params);
        // SAFETY: the output has this many bytes.
        unsafe { device.read(&mut [(params.x, bytemuck::cast_slice_mut(&mut found))]) }.unwrap();
        let bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert!(bits(found) == bits(expected), "{weights:?}, {width}");
    }
}
