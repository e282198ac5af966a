//! The seam under the CPU engine: what a target's instructions do for the core.
//!
//! A kernel set computes products of matrices of int8 and int4 with quantized activations, and
//! runs the core's float loops over parts that it may give to several threads.
//! The numbers do not depend on the set: integer sums are exact, and the float
//! operations stand in the core, in one order.
//!
//! * [`Kernels`]: the trait of a set; [`Product`] and [`Region`] are its units of work
//! * [`matrix`], [`weights`], [`activations`]: how weights and activations lie in memory
//! * [`scalar`]: the set in plain Rust, which runs anywhere and defines the numbers

pub mod activations;
pub(crate) mod bounded;
pub mod matrix;
mod partition;
pub mod scalar;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod weights;

pub use self::partition::{ChunksOf, Split};
use crate::kernels::activations::Quantized;
use crate::kernels::matrix::{Matrix, SparseMatrix};
use crate::num::state_dtype::{StateElement, f16};

/// A product of a matrix with each token of a batch.
///
/// `output[token][row] = acc * (scale[token] * multiplier)`, where over the
/// groups in ascending order, from +0.0, `acc = acc + f32(sum) * scale[row][group]`
/// and `sum` is the exact i32 sum of weight times q over the group's inputs.
#[derive(Debug)]
pub struct Product<'a> {
    /// The weights.
    pub matrix: Matrix<'a>,
    /// The activations; as many inputs as the matrix has.
    pub input: Quantized<'a>,
    /// `[token][row]`
    pub output: &'a mut [f32],
}

/// A product of a sparse matrix with each token of a batch: the same numbers
/// as [`Product`], read from another layout.
#[derive(Debug)]
pub struct SparseProduct<'a> {
    /// The weights.
    pub matrix: SparseMatrix<'a>,
    /// The activations, in natural order: [`Kernels::pack`] has not seen them.
    pub input: Quantized<'a>,
    /// `[token][row]`
    pub output: &'a mut [f32],
}

/// A parallel region of the core's float loops: what it computes, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Region {
    /// The step of the forward pass, for profilers.
    pub phase: Phase,
    /// About the number of float operations, by which a kernel set chooses between how many
    /// threads to split it.
    pub operations: usize,
}

/// A step of the forward pass outside of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Phase {
    /// Reading the embedding, or a table of DeepEmbed.
    Embedding,
    /// LayerNorm.
    Norm,
    /// Token shift, and quantizing its results.
    TokenShift,
    /// Activation functions, and quantizing their results.
    Activation,
    /// The recurrence of all heads, with its decays, gates and norms.
    Wkv,
    /// Adding to the residual stream.
    Residual,
}

/// Vectors of the recurrence of RWKV-7, of one head and token: `[channel]` each.
///
/// With S the head's state, `[key][value]`, keys i, value channels j, and parentheses as the
/// operations are computed in f32:
///
/// ```text
/// p[j]    = -(sum over i ascending of S[i][j] * kk[i])
/// S[i][j] = (S[i][j] * w[i] + p[j] * b[i]) + v[j] * k[i]
/// y[j]    = sum over i ascending of S[i][j] * r[i]          before S is rounded to its type
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Wkv7<'a> {
    /// Decay.
    pub w: &'a [f32],
    /// The key that is removed, of norm 1.
    pub kk: &'a [f32],
    /// What is removed of it: `kk` times the learning rate.
    pub b: &'a [f32],
    /// The key that is added.
    pub k: &'a [f32],
    /// The value that is added.
    pub v: &'a [f32],
    /// Receptance, which reads the new state.
    pub r: &'a [f32],
}

/// A kernel set.
pub trait Kernels: Sync {
    /// Whether [`wkv7`](Self::wkv7) computes nearly all heads, so that the core's own code for those
    /// that are left is made small, not fast.
    const COMPUTES_WKV7: bool = false;

    /// The name by which users choose and report it.
    fn name(&self) -> &'static str;

    /// Rearranges quantized values within each four, in place, to the order
    /// that [`products`](Self::products) wants to read them in.
    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        let _ = q;
    }

    /// Computes independent products, as one parallel region.
    fn products(&self, products: &mut [Product<'_>]);

    /// Computes a product with an input that is mostly zero.
    fn sparse_product(&self, product: SparseProduct<'_>);

    /// Runs `f` over `whole`, in one piece or split into several that may run
    /// at the same time.
    ///
    /// A set compiles `f` with its target's vector instructions where `f` is
    /// inlined, so callers mark the closure `#[inline(always)]`.
    fn for_parts<S: Split>(&self, whole: S, region: Region, f: impl Fn(S) + Sync);

    /// [`for_parts`](Self::for_parts) of the heads of the recurrence, for whose parts `f` computes
    /// in calls of [`once`](Self::once) alone.
    #[inline(always)]
    fn for_heads<S: Split>(&self, whole: S, region: Region, f: impl Fn(S) + Sync) {
        self.for_parts(whole, region, f);
    }

    /// Runs `f`, which is not split. All that the forward pass writes, it writes in this call and
    /// those above: a set may leave out calls that were done before.
    #[inline(always)]
    fn once(&self, region: Region, f: impl FnOnce()) {
        let _ = region;
        f();
    }

    /// Elements of a state as f32: [`StateElement::widen`] of each, by instructions where a target
    /// has them for it.
    #[inline(always)]
    fn widen_f16<const C: usize>(&self, elements: &[f16; C]) -> [f32; C] {
        elements.map(StateElement::widen)
    }

    /// `out = values`, rounded: [`StateElement::narrow`] of each, of the same bits for any value,
    /// infinities and NaN too.
    #[inline(always)]
    fn narrow_f16<const C: usize>(&self, values: &[f32; C], out: &mut [f16; C]) {
        *out = values.map(StateElement::narrow);
    }

    /// Advances the first value channels of a head's `state`, `[key][value]`, by a token, and writes
    /// theirs of `y`, `[value]`, as [`Wkv7`] says; their number, all or 0. The core does the others.
    #[inline(always)]
    fn wkv7<S: StateElement>(&self, _head: &Wkv7<'_>, _state: &mut [S], _y: &mut [f32]) -> usize {
        0
    }

    /// Asks for values that are read soon, a few cache lines at a time, so that
    /// memory is not idle while this thread computes. Changes no result; does
    /// nothing where memory is as fast as the processor.
    #[inline(always)]
    fn prefetch(&self, _values: &[f32]) {}
}
