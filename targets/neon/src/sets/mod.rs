//! The kernel sets: types whose values prove the instructions, and `KernelSet` over them.

mod dotprod;
mod i8mm;
mod neon;

pub use dotprod::Dotprod;
pub use i8mm::I8mm;
pub use neon::Neon;

kinglet_simd::kernel_set! {
    /// A kernel set of this machine.
    ///
    /// ```
    /// use kinglet_neon::KernelSet;
    /// use kinglet_simd::SimdKernels;
    ///
    /// assert!(KernelSet::names().any(|name| name == KernelSet::best().name()));
    /// assert_eq!(KernelSet::by_name("scalar").map(|set| set.name()), Some("scalar"));
    /// assert!(KernelSet::by_name("abacus").is_none());
    /// ```
    pub enum KernelSet {
        /// `smmla`, and `sdot` for a single token.
        I8mm(I8mm),
        /// `sdot`.
        Dotprod(Dotprod),
        /// NEON.
        Neon(Neon),
    }
}
