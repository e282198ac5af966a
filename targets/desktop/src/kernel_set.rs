//! The kernel sets of x86-64 under one type, chosen at run time.

#[cfg(target_arch = "x86_64")]
use crate::sets::{Avx2, Avx512Vnni, AvxVnni};

#[cfg(target_arch = "x86_64")]
kinglet_simd::kernel_set! {
    /// A kernel set of this machine.
    ///
    /// ```
    /// use kinglet_desktop::KernelSet;
    /// use kinglet_simd::SimdKernels;
    ///
    /// assert!(KernelSet::names().any(|name| name == KernelSet::best().name()));
    /// assert_eq!(KernelSet::by_name("scalar").map(|set| set.name()), Some("scalar"));
    /// assert!(KernelSet::by_name("abacus").is_none());
    /// ```
    pub enum KernelSet {
        /// AVX-512 VNNI.
        Avx512Vnni(Avx512Vnni),
        /// AVX-VNNI.
        AvxVnni(AvxVnni),
        /// AVX2.
        Avx2(Avx2),
    }
}

#[cfg(not(target_arch = "x86_64"))]
kinglet_simd::kernel_set! {
    /// A kernel set of this machine, which is no x86-64: the core's reference alone.
    pub enum KernelSet {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use kinglet_host::Threaded;
    use kinglet_simd::SimdKernels;

    kinglet::kernel_tests!(Some(Threaded::new(KernelSet::best(), 3)));

    #[test]
    fn every_set_is_found_by_its_name() {
        for name in KernelSet::names() {
            assert_eq!(KernelSet::by_name(name).map(|set| set.name()), Some(name));
        }
    }
}
