//! The numbers contract: what every kernel set, thread count and batch size computes alike, bit
//! for bit, and the functions in f32 that keep it.
//!
//! Integers are exact, so their order does not matter. Floats are not, so theirs is fixed. The
//! contract holds for finite values: a step that meets another one reports it.
//!
//! # Weights
//!
//! A weight is `q * scale * multiplier`.
//!
//! * `q` is an int8 in [-127, 127], symmetric about zero: there is no zero point, and -128 has no
//!   counterpart. Or it is an int4 in [-8, 7], all sixteen values, because one more counts there.
//! * `scale` is an f16 for each output row and group of G inputs, G in {32, 64, 128, 256, 512},
//!   of int4 at most 128: +0 or a positive normal number, because widening one is then an addition to the exponent
//!   ([`f16_scale_to_f32`](crate::kernels::matrix::f16_scale_to_f32)).
//! * `multiplier` is a power of two for a whole matrix, because scales of small weights would
//!   otherwise be subnormal.
//!
//! Norms, mixes, decays and biases stay f32: they are 0.01 % of the bytes.
//!
//! # Activations
//!
//! A token's activations x become int16 where they meet a matrix:
//!
//! ```text
//! m = max |x|                              by integer comparison of the bits
//! m < 2^-100:  every q = 0, scale = 0      because 32639 / m would overflow
//! otherwise:   inverse = 32639 / m
//!              q = round(x * inverse)      ties to even, as x * inverse + 1.5 * 2^23 rounds
//!              scale = m / 32639
//! ```
//!
//! 32639 = 127 * 257, so that q also splits into two signed bytes, q = 256 high + low, for
//! instruction sets that multiply bytes. 16 bits cost decoding nothing, which is bound by the
//! weights' bytes, and RWKV's activations have outliers that 8 bits would flatten.
//!
//! # Products
//!
//! ```text
//! acc = +0.0
//! for each group, ascending:  sum = the exact i32 of weight q times activation q
//!                             acc = acc + f32(sum) * scale
//! y = acc * (activation scale * multiplier)
//! ```
//!
//! The sum fits: 127 * 32639 * 512 < 2^31. Its conversion to f32 rounds once; multiplication and
//! addition round separately. A sparse product skips inputs of zero and groups without an active
//! input, which adds +0.0 to no acc that could be -0.0: it is the same number.
//!
//! # Floats
//!
//! IEEE single precision, round to nearest even, no fused multiply-add, no reassociation,
//! subnormals kept. Loops are vectorised across independent lanes only. Division and square root
//! are exact, the hardware's or a soft one. The functions of [`math`] are written here, because
//! those of a library may change between versions.
//!
//! [`reduce`] sums n values in sixteen lanes: element i is added to lane i mod 16 in ascending
//! order from +0.0, then lanes j and j + 8 are added, then j + 4, j + 2, j + 1. Sixteen f32 are
//! one AVX-512 register, two AVX ones, four of NEON.
//!
//! # The recurrence
//!
//! The state of RWKV-5 to 7 is `[head][key][value]`, value innermost. The lanes of a register are
//! value channels, and sums over key channels run in ascending order: no horizontal sum exists.
//! A state kept in [`f16`](struct@state_dtype::f16) is rounded after every token, inside a batch
//! too, so that the numbers do not depend on how tokens are divided.
//!
//! # Sampling
//!
//! The [`sampler`](crate::sampler) works in a fixed order, ties go to the lower id, and its
//! generator is specified.

pub mod math;
pub mod reduce;
pub mod state_dtype;
