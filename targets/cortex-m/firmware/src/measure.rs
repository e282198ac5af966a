//! A kernel set that measures another one, by phase of the forward pass.

use core::sync::atomic::{AtomicU32, Ordering};

use kinglet::kernels::{Kernels, Product, SparseProduct, Split};
use kinglet::format::shape::Shape;

use crate::clock::Clock;

/// A phase of the forward pass.
#[derive(Clone, Copy, Debug)]
#[repr(usize)]
pub(crate) enum Phase {
    /// Products with dense inputs.
    Dense,
    /// Products with inputs that are mostly zero.
    Sparse,
    /// The recurrence of all heads, with its gates and norms.
    Heads,
    /// Norms, token shift, activations, quantization.
    Vectors,
}

impl Phase {
    pub(crate) const ALL: [Self; 4] = [Self::Dense, Self::Sparse, Self::Heads, Self::Vectors];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense products",
            Self::Sparse => "sparse products",
            Self::Heads => "recurrence",
            Self::Vectors => "vectors",
        }
    }
}

/// Measures `kernels`.
#[derive(Debug)]
pub(crate) struct Measured<K> {
    kernels: K,
    clock: Clock,
    /// Float operations that only the recurrence reaches.
    heads_work: usize,
    /// Ticks since the last [`take`](Self::take), by [`Phase`].
    ticks: [AtomicU32; Phase::ALL.len()],
}

impl<K: Kernels> Measured<K> {
    pub(crate) fn new(kernels: K, clock: Clock, shape: &Shape) -> Self {
        // Each of the state's elements takes several operations.
        let heads_work = shape.width * shape.head_size;
        Self { kernels, clock, heads_work, ticks: [const { AtomicU32::new(0) }; _] }
    }

    /// Ticks of each phase since this was last called.
    pub(crate) fn take(&self) -> [u32; Phase::ALL.len()] {
        self.ticks.each_ref().map(|ticks| {
            let value = ticks.load(Ordering::Relaxed);
            ticks.store(0, Ordering::Relaxed);
            value
        })
    }

    #[inline(always)]
    fn measure(&self, phase: Phase, f: impl FnOnce()) {
        let start = self.clock.now();
        f();
        let ticks = &self.ticks[phase as usize];
        // One thread: a load and a store do for cores without atomic addition.
        ticks.store(ticks.load(Ordering::Relaxed) + self.clock.since(start), Ordering::Relaxed);
    }
}

impl<K: Kernels> Kernels for Measured<K> {
    fn name(&self) -> &'static str {
        self.kernels.name()
    }

    #[inline(always)]
    fn pack(&self, q: &mut [i16]) {
        self.kernels.pack(q);
    }

    fn products(&self, jobs: &mut [Product<'_>]) {
        self.measure(Phase::Dense, || self.kernels.products(jobs));
    }

    fn sparse_product(&self, job: SparseProduct<'_>) {
        self.measure(Phase::Sparse, || self.kernels.sparse_product(job));
    }

    #[inline(always)]
    fn for_parts<S: Split>(&self, whole: S, work: usize, f: impl Fn(S) + Sync) {
        let phase = if work >= self.heads_work { Phase::Heads } else { Phase::Vectors };
        self.measure(phase, || self.kernels.for_parts(whole, work, f));
    }
}
