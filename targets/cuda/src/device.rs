//! The seam between the engine and a device: memory, copies and launches.
//!
//! [`CudaDevice`](crate::CudaDevice) is a GPU. `Emulated`, under the feature `emulation`, runs the
//! same kernels on the CPU, so that all of the engine is tested without a GPU.

use crate::error::DeviceError;

/// An address in a device's memory; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    /// No memory: an absent tensor.
    pub const NULL: Self = Self(0);

    /// The address `bytes` further on.
    pub(crate) const fn offset(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

/// Bytes of a device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Not in use by anyone.
    pub free: u64,
    /// All.
    pub total: u64,
}

/// Something that has memory and runs the kernels of this crate, in the order of the calls.
pub trait Device {
    /// Launches that were recorded, to be run again with one call.
    type Recording: core::fmt::Debug;

    /// Name of the device, for people.
    fn name(&self) -> &str;

    /// How much memory it has.
    ///
    /// # Errors
    ///
    /// When the driver does not say.
    fn memory(&self) -> Result<DeviceMemory, DeviceError>;

    /// Sets `bytes` bytes aside, which [`allocate`](Self::allocate) then gives: all that an engine
    /// takes, so that it is there or refused before anything is copied.
    ///
    /// # Errors
    ///
    /// When there is not so much memory.
    fn reserve(&mut self, bytes: u64) -> Result<(), DeviceError>;

    /// Gives `bytes` of the bytes that were set aside, aligned to 256; they live as long as the
    /// device.
    ///
    /// # Errors
    ///
    /// When less than that is left.
    fn allocate(&mut self, bytes: u64) -> Result<Address, DeviceError>;

    /// Copies `bytes` to `to`, after all launches before. They may be used again when it returns.
    ///
    /// # Errors
    ///
    /// When the driver refuses.
    ///
    /// # Safety
    ///
    /// `to` and the bytes behind it are inside one allocation of this device.
    unsafe fn write(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Copies from each address to the bytes beside it, after all launches before: together, so
    /// that the device is waited for once.
    ///
    /// # Errors
    ///
    /// When the driver refuses, or a launch before has failed.
    ///
    /// # Safety
    ///
    /// Each address and the bytes behind it are inside one allocation of this device.
    unsafe fn read(&self, parts: &mut [(Address, &mut [u8])]) -> Result<(), DeviceError>;

    /// Runs a kernel.
    ///
    /// # Errors
    ///
    /// When the driver refuses.
    ///
    /// # Safety
    ///
    /// `launch.params` points to the kernel's own struct of `kernels/params.h`, whose addresses
    /// are inside allocations of this device and as long as the kernel's documentation says.
    unsafe fn launch(&self, launch: &Launch) -> Result<(), DeviceError>;

    /// Records the launches of `launches`, which does nothing else to the device, instead of
    /// running them. `None` where the device cannot.
    ///
    /// # Errors
    ///
    /// When the driver refuses; the launches can then be made without a recording.
    fn record(
        &self,
        launches: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<Option<Self::Recording>, DeviceError>;

    /// Runs recorded launches.
    ///
    /// # Errors
    ///
    /// When the driver refuses.
    ///
    /// # Safety
    ///
    /// The memory that they access is still there, as [`launch`](Self::launch) demands.
    unsafe fn replay(&self, recording: &Self::Recording) -> Result<(), DeviceError>;

    /// Bytes per second, read and written ones together, of copies within the memory: the median
    /// of several. Needs no memory that was set aside, and leaves none.
    ///
    /// # Errors
    ///
    /// When the driver refuses.
    fn copy_bandwidth(&self) -> Result<f64, DeviceError>;
}

/// The median of `copies` timed copies of `bytes` bytes, as bytes read and written per second.
pub(crate) fn median_bandwidth(
    bytes: u64,
    copies: usize,
    mut copy: impl FnMut() -> Result<(), DeviceError>,
) -> Result<f64, DeviceError> {
    copy()?;
    let mut rates = Vec::with_capacity(copies);
    for _ in 0..copies {
        let start = std::time::Instant::now();
        copy()?;
        rates.push(2.0 * bytes as f64 / start.elapsed().as_secs_f64().max(1e-9));
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[copies / 2])
}

/// A kernel with the blocks and parameters that it runs with.
#[derive(Debug)]
pub struct Launch {
    /// Which.
    pub kernel: Kernel,
    /// Blocks in two directions, each at least 1.
    pub blocks: [u32; 2],
    /// Threads of a block, a multiple of 32.
    pub threads: u32,
    /// The kernel's parameters.
    pub params: *const core::ffi::c_void,
    /// Bytes of these.
    pub params_len: usize,
}

macro_rules! kernels {
    ($($(#[$meta:meta])* $kernel:ident = $name:literal,)+) => {
        /// The kernels, by their names in `kernels/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is documented where it is written")]
        pub enum Kernel {
            $($kernel,)+
        }

        impl Kernel {
            /// All kernels.
            pub const ALL: &'static [Self] = &[$(Self::$kernel,)+];

            /// The name in the compiled module.
            #[must_use]
            pub const fn name(self) -> &'static core::ffi::CStr {
                match self {
                    $(Self::$kernel => $name,)+
                }
            }
        }
    };
}

kernels! {
    Embed = c"embed",
    LayerNorm = c"layer_norm",
    TokenShiftF32 = c"token_shift_f32",
    TokenShiftF16 = c"token_shift_f16",
    SaveShiftF32 = c"save_shift_f32",
    SaveShiftF16 = c"save_shift_f16",
    Activate = c"activate",
    DeepEmbed = c"deep_embed",
    FindNotFinite = c"find_not_finite",
    Dense1 = c"dense_1",
    Dense8 = c"dense_8",
    DenseMma = c"dense_mma",
    Sparse = c"sparse",
    SparseMma = c"sparse_mma",
    Dense1Int4 = c"dense_1_int4",
    Dense8Int4 = c"dense_8_int4",
    DenseMmaInt4 = c"dense_mma_int4",
    SparseInt4 = c"sparse_int4",
    SparseMmaInt4 = c"sparse_mma_int4",
    Wkv7F32 = c"wkv7_f32",
    Wkv7F16 = c"wkv7_f16",
    Wkv7Of64F32 = c"wkv7_64_f32",
    Wkv7Of64F16 = c"wkv7_64_f16",
    Wkv5F32 = c"wkv5_f32",
    Wkv5F16 = c"wkv5_f16",
    Wkv5Of64F32 = c"wkv5_64_f32",
    Wkv5Of64F16 = c"wkv5_64_f16",
    Wkv4 = c"wkv4",
}
