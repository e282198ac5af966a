//! Parameters of the kernels: `kernels/params.h` field by field, where shapes stand. The emulation
//! refuses a struct of another length.

use crate::device::{Address, Kernel};

/// The parameters of a kernel.
pub(crate) trait Params {}

macro_rules! params {
    ($($name:ident { $($field:ident: $type:ty,)+ })+) => {
        $(
            #[derive(Clone, Copy, Debug)]
            #[repr(C)]
            pub(crate) struct $name {
                $(pub(crate) $field: $type,)+
            }

            impl Params for $name {}
        )+
    };
}

pub(crate) const MAX_SHIFTS: usize = 6;
pub(crate) const MAX_ACTIVATIONS: usize = 5;
pub(crate) const MAX_PRODUCTS: usize = 7;

params! {
    Quantized { q: Address, scale: Address, }

    EmbedParams {
        tokens: Address, weights: Address, scales: Address, x: Address, width: u32, is_int4: u32,
    }

    NormParams {
        x: Address, rows: Address, weight: Address, bias: Address, out: Address,
        width: u32, eps: f32,
    }

    Shift { share: Address, correction: Address, out: Quantized, }

    ShiftParams {
        normed: Address, previous: Address, sequence: Address, state: Address,
        state_len: u64, state_at: u64, width: u32, share_of_current: u32,
        shift: [Shift; MAX_SHIFTS],
    }

    SaveShiftParams {
        normed: [Address; 2], order: Address, starts: Address, sequence: Address, state: Address,
        state_len: u64, state_at: [u64; 2], width: u32, reserved: u32,
    }

    ActivateJob {
        x: Address, stride: u32, inputs: u32, activation: u32, reserved: u32,
        factor: Address, offset: Address, out: Quantized,
    }

    ActivateParams { job: [ActivateJob; MAX_ACTIVATIONS], }

    Output { out: Address, gate: Address, store: u32, rows: u32, }

    ProductJob {
        weights: Address, scales: Address, input: Quantized, output: Output,
        multiplier: f32, padded_inputs: u32, group: u32, first_tile: u32,
    }

    ProductParams { count: u32, tokens: u32, job: [ProductJob; MAX_PRODUCTS], }

    SparseParams {
        weights: Address, scales: Address, input: Quantized, output: Output,
        multiplier: f32, padded_inputs: u32, group: u32, tokens: u32,
    }

    Runs {
        order: Address, starts: Address, sequence: Address, state: Address,
        state_len: u64, state_at: u64,
    }

    Wkv7Params {
        runs: Runs,
        r: Address, k: Address, v: Address, w: Address, a: Address, v_mix: Address, g: Address,
        w0: Address, a0: Address, v0: Address, k_k: Address, k_a: Address, r_k: Address,
        ln_weight: Address, ln_bias: Address, v_first: Address, y: Address,
        width: u32, head_size: u32,
    }

    Wkv5Params {
        runs: Runs, r: Address, k: Address, v: Address, gate: Address, decay: Address,
        correction: Address, bonus: Address, ln_weight: Address, ln_bias: Address, y: Address,
        width: u32, head_size: u32, bonus_is_logarithm: u32, reserved: u32,
    }

    Wkv4Params {
        runs: Runs, r: Address, k: Address, v: Address, time_decay: Address, time_first: Address,
        y: Address, width: u32, reserved: u32,
    }

    DeepEmbedParams {
        tokens: Address, weights: Address, scales: Address, e: Address, out: Address,
        rank: u32, is_int4: u32,
    }

    FiniteParams { x: Address, len: u64, flag: Address, }
}

/// The function of an [`ActivateJob`].
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(crate) enum Activation {
    Identity = 0,
    Tanh = 1,
    Sigmoid = 2,
    ReluSquared = 3,
}

/// The kernels that multiply with weights of one type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProductKernels {
    pub(crate) dense_1: Kernel,
    pub(crate) dense_8: Kernel,
    pub(crate) dense_mma: Kernel,
    pub(crate) sparse: Kernel,
    pub(crate) sparse_mma: Kernel,
    /// Rows of a block of `sparse`, 32 bytes of an input.
    pub(crate) sparse_rows: u32,
}

impl ProductKernels {
    const INT8: Self = Self {
        dense_1: Kernel::Dense1,
        dense_8: Kernel::Dense8,
        dense_mma: Kernel::DenseMma,
        sparse: Kernel::Sparse,
        sparse_mma: Kernel::SparseMma,
        sparse_rows: 32,
    };
    const INT4: Self = Self {
        dense_1: Kernel::Dense1Int4,
        dense_8: Kernel::Dense8Int4,
        dense_mma: Kernel::DenseMmaInt4,
        sparse: Kernel::SparseInt4,
        sparse_mma: Kernel::SparseMmaInt4,
        sparse_rows: 64,
    };

    pub(crate) const fn of(is_int4: bool) -> &'static Self {
        if is_int4 { &Self::INT4 } else { &Self::INT8 }
    }
}

/// The kernels that keep states in one type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateKernels {
    pub(crate) token_shift: Kernel,
    pub(crate) save_shift: Kernel,
    pub(crate) wkv7: [Kernel; 2],
    pub(crate) wkv5: [Kernel; 2],
}

impl StateKernels {
    pub(crate) const F32: Self = Self {
        token_shift: Kernel::TokenShiftF32,
        save_shift: Kernel::SaveShiftF32,
        wkv7: [Kernel::Wkv7F32, Kernel::Wkv7Of64F32],
        wkv5: [Kernel::Wkv5F32, Kernel::Wkv5Of64F32],
    };
    pub(crate) const F16: Self = Self {
        token_shift: Kernel::TokenShiftF16,
        save_shift: Kernel::SaveShiftF16,
        wkv7: [Kernel::Wkv7F16, Kernel::Wkv7Of64F16],
        wkv5: [Kernel::Wkv5F16, Kernel::Wkv5Of64F16],
    };
}
