//! The kernel set of an engine that C drives: the fastest of the target.
//!
//! | target                          | kernels                                        |
//! |---------------------------------|------------------------------------------------|
//! | x86-64 with a system            | AVX-512 VNNI, AVX-VNNI, AVX2, chosen when run  |
//! | AArch64 with a system           | i8mm, dot product, NEON, chosen when run       |
//! | Cortex-M4, M7, M33, M55         | DSP instructions                               |
//! | other bare metal                | plain loops for cores with few registers       |
//! | others                          | the core's scalar reference                    |
//!
//! All compute the same numbers, on the thread that calls.

use core::ffi::c_char;

use kinglet::kernels::Kernels;

pub(crate) use target::{KernelSet, best};

#[cfg(all(not(target_os = "none"), any(target_arch = "x86_64", target_arch = "aarch64")))]
mod target {
    #[cfg(target_arch = "x86_64")]
    use kinglet_desktop::KernelSet as SimdSet;
    #[cfg(target_arch = "aarch64")]
    use kinglet_neon::KernelSet as SimdSet;
    use kinglet_simd::OneThread;

    /// A set that this machine has; one of them is the scalar reference.
    pub(crate) type KernelSet = OneThread<SimdSet>;

    /// The fastest that this machine has.
    pub(crate) fn best() -> KernelSet {
        OneThread(SimdSet::best())
    }
}

#[cfg(target_os = "none")]
mod target {
    use kinglet::kernels::scalar::Scalar;
    use kinglet::kernels::{Kernels, Product, Region, SparseProduct, Split, Wkv7};
    use kinglet::num::state_dtype::{StateElement, f16};
    use kinglet_cortex_m::Best;

    /// The kernel sets for bare metal.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum KernelSet {
        /// The set made for the core.
        Best(Best),
        /// The reference, for a core without the instructions.
        Scalar(Scalar),
    }

    /// The fastest that this core has.
    pub(crate) fn best() -> KernelSet {
        Best::new().map_or(KernelSet::Scalar(Scalar), KernelSet::Best)
    }

    /// Calls a method of whichever set it is.
    macro_rules! either {
        ($set:expr, $kernels:ident => $call:expr) => {
            match $set {
                KernelSet::Best($kernels) => $call,
                KernelSet::Scalar($kernels) => $call,
            }
        };
    }

    impl Kernels for KernelSet {
        const COMPUTES_WKV7: bool = Best::COMPUTES_WKV7;

        fn name(&self) -> &'static str {
            either!(self, kernels => kernels.name())
        }

        #[inline(always)]
        fn pack(&self, q: &mut [i16]) {
            either!(self, kernels => kernels.pack(q));
        }

        fn products(&self, jobs: &mut [Product<'_>]) {
            either!(self, kernels => kernels.products(jobs));
        }

        fn sparse_product(&self, job: SparseProduct<'_>) {
            either!(self, kernels => kernels.sparse_product(job));
        }

        #[inline(always)]
        fn widen_f16<const C: usize>(&self, elements: &[f16; C]) -> [f32; C] {
            either!(self, kernels => kernels.widen_f16(elements))
        }

        #[inline(always)]
        fn narrow_f16<const C: usize>(&self, values: &[f32; C], out: &mut [f16; C]) {
            either!(self, kernels => kernels.narrow_f16(values, out));
        }

        #[inline(always)]
        fn wkv7<S: StateElement>(&self, head: &Wkv7<'_>, state: &mut [S], y: &mut [f32]) -> usize {
            either!(self, kernels => kernels.wkv7(head, state, y))
        }

        /// The float loops are the same for both: one thread, no vectors.
        #[inline(always)]
        fn for_parts<S: Split>(&self, whole: S, _region: Region, f: impl Fn(S) + Sync) {
            f(whole);
        }
    }
}

#[cfg(not(any(target_os = "none", target_arch = "x86_64", target_arch = "aarch64")))]
mod target {
    pub(crate) use kinglet::kernels::scalar::Scalar as KernelSet;

    /// The only one.
    pub(crate) fn best() -> KernelSet {
        KernelSet
    }
}

/// Bytes of the longest name and its NUL.
const NAME_SIZE: usize = 32;

/// The name of a kernel set as C reads it, with NUL at the end.
///
/// A copy, because the sets' own names are Rust strings without NUL.
#[derive(Debug)]
pub(crate) struct KernelName([u8; NAME_SIZE]);

impl KernelName {
    /// The name of a set, cut where it does not fit.
    pub(crate) fn of(kernels: &impl Kernels) -> Self {
        let mut name = [0; NAME_SIZE];
        let (text, _nul) = name.split_at_mut(NAME_SIZE - 1);
        text.iter_mut().zip(kernels.name().bytes()).for_each(|(to, byte)| *to = byte);
        Self(name)
    }

    /// The name, at the same address as long as the value is not moved.
    pub(crate) fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr().cast()
    }
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use std::ffi::CStr;

    #[cfg(target_arch = "x86_64")]
    use kinglet_desktop::KernelSet;
    #[cfg(target_arch = "aarch64")]
    use kinglet_neon::KernelSet;
    use kinglet_simd::OneThread;

    use super::*;

    #[test]
    fn c_reads_the_name_of_every_set() {
        for (set, name) in KernelSet::all().zip(KernelSet::names()) {
            let copy = KernelName::of(&OneThread(set));
            assert_eq!(CStr::from_bytes_until_nul(&copy.0).unwrap().to_str(), Ok(name));
        }
    }
}
