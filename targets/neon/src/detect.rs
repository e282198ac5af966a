//! Instructions that the CPU has beyond NEON.

/// Instructions that not every AArch64 CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    /// `sdot`.
    pub(crate) dotprod: bool,
    /// `smmla`.
    pub(crate) i8mm: bool,
}

impl Features {
    /// Asks the operating system.
    #[cfg(feature = "std")]
    pub(crate) fn detect() -> Self {
        use std::arch::is_aarch64_feature_detected as has;
        Self { dotprod: has!("dotprod"), i8mm: has!("i8mm") }
    }

    /// Asks the system where it is Linux; elsewhere it is what the compiler was
    /// told of the CPU.
    #[cfg(not(feature = "std"))]
    pub(crate) fn detect() -> Self {
        #[cfg(target_os = "linux")]
        return Self::announced();
        #[cfg(not(target_os = "linux"))]
        Self { dotprod: cfg!(target_feature = "dotprod"), i8mm: cfg!(target_feature = "i8mm") }
    }

    /// Linux's answer in the auxiliary vector, `HWCAP_ASIMDDP` and `HWCAP2_I8MM`
    /// of its `asm/hwcap.h`; the C library, which every program in C has, reads it.
    #[cfg(all(target_os = "linux", any(test, not(feature = "std"))))]
    fn announced() -> Self {
        const HWCAP: core::ffi::c_ulong = 16;
        const HWCAP2: core::ffi::c_ulong = 26;
        unsafe extern "C" {
            fn getauxval(kind: core::ffi::c_ulong) -> core::ffi::c_ulong;
        }
        // SAFETY: the function takes any number, and returns 0 for one that it does not know.
        let (words, more) = unsafe { (getauxval(HWCAP), getauxval(HWCAP2)) };
        Self { dotprod: words >> 20 & 1 == 1, i8mm: more >> 13 & 1 == 1 }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::Features;

    #[test]
    fn linux_and_the_standard_library_agree() {
        assert_eq!(Features::announced(), Features::detect());
    }
}
