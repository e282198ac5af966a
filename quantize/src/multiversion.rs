//! The processor's vector instructions, chosen when the program runs.

/// Defines a function that is compiled once for every processor and, on x86-64, once more
/// for those with AVX2. Its body calls an `#[inline(always)]` function, which is compiled
/// with the instructions of the function that it is inlined into.
///
/// Wider registers change no result: Rust neither reorders floating-point sums nor
/// contracts products into them.
macro_rules! vectorized {
    (
        $(#[$attribute:meta])*
        $vis:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $vis fn $name($($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($argument: $type),*) $(-> $result)? $body

                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $body
        }
    };
}

pub(crate) use vectorized;
