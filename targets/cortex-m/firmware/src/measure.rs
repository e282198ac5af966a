//! A kernel set that measures another one, by phase of the forward pass.

use core::sync::atomic::{AtomicU32, Ordering};

use kinglet::kernels::{Kernels, Phase, Product, Region, SparseProduct, Split, Wkv7};
use kinglet::num::state_dtype::{StateElement, f16};

use crate::clock::Clock;

/// What a token's ticks are counted for.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum Part {
    /// Products with dense inputs.
    Dense,
    /// Products with inputs that are mostly zero.
    Sparse,
    /// The recurrence of all heads, with its gates and norms.
    Wkv,
    /// Norms, token shift, activations, quantization.
    Vectors,
}

impl Part {
    pub(crate) const ALL: [Self; 4] = [Self::Dense, Self::Sparse, Self::Wkv, Self::Vectors];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense products",
            Self::Sparse => "sparse products",
            Self::Wkv => "recurrence",
            Self::Vectors => "vectors",
        }
    }
}

/// Measures `kernels`.
#[derive(Debug)]
pub(crate) struct Measured<K> {
    kernels: K,
    clock: Clock,
    /// Ticks since the last [`take`](Self::take), by [`Part`].
    ticks: [AtomicU32; Part::ALL.len()],
}

impl<K: Kernels> Measured<K> {
    pub(crate) fn new(kernels: K, clock: Clock) -> Self {
        Self { kernels, clock, ticks: [const { AtomicU32::new(0) }; _] }
    }

    /// Ticks of each phase since this was last called.
    pub(crate) fn take(&self) -> [u32; Part::ALL.len()] {
        self.ticks.each_ref().map(|ticks| {
            let value = ticks.load(Ordering::Relaxed);
            ticks.store(0, Ordering::Relaxed);
            value
        })
    }

    #[inline(always)]
    fn measure(&self, part: Part, f: impl FnOnce()) {
        let start = self.clock.now();
        f();
        #[cfg(feature = "two-cores")]
        crate::cores::end_call(&self.clock);
        let ticks = &self.ticks[part as usize];
        // One thread: a load and a store do for cores without atomic addition.
        ticks.store(ticks.load(Ordering::Relaxed) + self.clock.since(start), Ordering::Relaxed);
    }
}

impl<K: Kernels> Kernels for Measured<K> {
    const COMPUTES_WKV7: bool = K::COMPUTES_WKV7;

    fn name(&self) -> &'static str {
        self.kernels.name()
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        self.kernels.pack(q);
    }

    fn products(&self, jobs: &mut [Product<'_>]) {
        self.measure(Part::Dense, || self.kernels.products(jobs));
    }

    fn sparse_product(&self, job: SparseProduct<'_>) {
        self.measure(Part::Sparse, || self.kernels.sparse_product(job));
    }

    #[inline(always)]
    fn widen_f16<const C: usize>(&self, elements: &[f16; C]) -> [f32; C] {
        self.kernels.widen_f16(elements)
    }

    #[inline(always)]
    fn narrow_f16<const C: usize>(&self, values: &[f32; C], out: &mut [f16; C]) {
        self.kernels.narrow_f16(values, out);
    }

    #[inline(always)]
    fn wkv7<S: StateElement>(&self, head: &Wkv7<'_>, state: &mut [S], y: &mut [f32]) -> usize {
        self.kernels.wkv7(head, state, y)
    }

    #[inline(always)]
    fn for_parts<S: Split>(&self, whole: S, region: Region, f: impl Fn(S) + Sync) {
        let part = if region.phase == Phase::Wkv { Part::Wkv } else { Part::Vectors };
        self.measure(part, || self.kernels.for_parts(whole, region, f));
    }
}
