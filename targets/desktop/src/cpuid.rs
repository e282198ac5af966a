//! The instructions that the CPU has and the operating system lets programs use, without the
//! standard library: the C library links none.
//!
//! Source: Intel SDM, volume 1, sections 13.2 (`OSXSAVE`, `XCR0`), 14.3 and 15.2
//! (how AVX and AVX-512 are detected); volume 2, CPUID for the bits.

use core::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

/// `XCR0`: the system saves XMM and YMM registers.
const YMM: u64 = 1 << 1 | 1 << 2;
/// `XCR0`: and mask registers, and all of ZMM.
const ZMM: u64 = YMM | 1 << 5 | 1 << 6 | 1 << 7;

/// Instructions beyond x86-64, each `true` only where they can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    pub(crate) f16c: bool,
    pub(crate) avx2: bool,
    pub(crate) avx_vnni: bool,
    /// AVX-512 F, BW and VL: whatever has VNNI has them all.
    pub(crate) avx512: bool,
    pub(crate) avx512_vnni: bool,
}

impl Features {
    /// Asks the CPU; a few hundred cycles, or thousands in a virtual machine.
    pub(crate) fn detect() -> Self {
        if cfg!(miri) {
            // Miri has no such instruction, and none of those that it would tell.
            return Self::default();
        }
        let basic = __cpuid(1).ecx;
        let saves = basic & bits(&[26, 27]) == bits(&[26, 27]);
        if __cpuid(0).eax < 7 || !saves {
            return Self::default();
        }
        // SAFETY: XSAVE (26) and OSXSAVE (27) are set, so the instruction is there.
        let state = unsafe { xcr0() };
        let extended = __cpuid_count(7, 0);
        let more = if extended.eax >= 1 { __cpuid_count(7, 1).eax } else { 0 };
        let ymm = state & YMM == YMM && has(basic, 28);
        let zmm = ymm && state & ZMM == ZMM && has(extended.ebx, 16);
        Self {
            f16c: ymm && has(basic, 29),
            avx2: ymm && has(extended.ebx, 5),
            avx_vnni: ymm && has(more, 4),
            avx512: zmm && has(extended.ebx, 30) && has(extended.ebx, 31),
            avx512_vnni: zmm && has(extended.ecx, 11),
        }
    }
}

/// The register that says which registers the system saves.
#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: register 0 is there wherever the instruction is.
    unsafe { _xgetbv(0) }
}

fn has(word: u32, bit: u32) -> bool {
    word >> bit & 1 == 1
}

fn bits(numbers: &[u32]) -> u32 {
    numbers.iter().fold(0, |word, number| word | 1 << number)
}

#[cfg(test)]
mod tests {
    use std::is_x86_feature_detected as std_has;

    use super::Features;

    #[test]
    fn agrees_with_the_standard_library() {
        let expected = Features {
            f16c: std_has!("f16c"),
            avx2: std_has!("avx2"),
            avx_vnni: std_has!("avxvnni"),
            avx512: std_has!("avx512f") && std_has!("avx512bw") && std_has!("avx512vl"),
            avx512_vnni: std_has!("avx512vnni"),
        };
        assert_eq!(Features::detect(), expected);
    }
}
