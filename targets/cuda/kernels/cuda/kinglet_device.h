// The portable layer of the kernels, for nvcc. `emulation/kinglet_device.h` is the same interface
// for a C++ compiler and the CPU; the include path decides, so that no kernel has a condition.
#pragma once

#include <stdint.h>

#define DEVICE __device__ __forceinline__

// A kernel of at most `threads` threads a block. Its one parameter is a struct, passed by value.
#define KERNEL(name, threads, Params, p)                                                            \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Params p)

// An array that the threads of a block share.
#define SHARED(type, name, len) __shared__ type name[len]

#define UNROLL _Pragma("unroll")

// Sixteen bytes that one load moves.
struct alignas(16) Words4 {
    uint32_t word[4];
};
struct alignas(8) Words2 {
    uint32_t word[2];
};

DEVICE uint32_t block_x() { return blockIdx.x; }
DEVICE uint32_t block_y() { return blockIdx.y; }
DEVICE uint32_t thread_index() { return threadIdx.x; }
DEVICE uint32_t block_threads() { return blockDim.x; }

DEVICE void sync_block() { __syncthreads(); }
DEVICE void sync_warp() { __syncwarp(); }

// The value of the thread whose lane differs by `mask`. All 32 threads of the warp call it.
DEVICE int32_t shuffle_xor(int32_t x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
DEVICE uint32_t shuffle_xor(uint32_t x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
DEVICE float shuffle_xor(float x, int mask) { return __shfl_xor_sync(~0u, x, mask); }
// A bit for each lane whose `x` is true. All 32 threads of the warp call it.
DEVICE uint32_t vote(bool x) { return __ballot_sync(~0u, x); }

DEVICE int population(uint32_t x) { return __popc(x); }
DEVICE uint32_t float_bits(float x) { return __float_as_uint(x); }
DEVICE float bits_float(uint32_t x) { return __uint_as_float(x); }
DEVICE float square_root(float x) { return __fsqrt_rn(x); }

// acc + the two int16 of `q` times the low, or high, two int8 of `w`.
DEVICE int32_t dot2_low(uint32_t q, uint32_t w, int32_t acc) {
    return __dp2a_lo(int32_t(q), int32_t(w), acc);
}
DEVICE int32_t dot2_high(uint32_t q, uint32_t w, int32_t acc) {
    return __dp2a_hi(int32_t(q), int32_t(w), acc);
}

// The bytes of b:a that the digits of `selector` name, the last digit first.
DEVICE uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector) {
    return __byte_perm(a, b, selector);
}

DEVICE void add_shared(int32_t *sum, int32_t x) { atomicAdd(sum, x); }
DEVICE void or_global(uint32_t *flags, uint32_t x) { atomicOr(flags, x); }

// Weights that are read once in a step: they pass by the first cache.
DEVICE Words4 load_weights(const Words4 *p) {
    const uint4 x = __ldcs(reinterpret_cast<const uint4 *>(p));
    return Words4{{x.x, x.y, x.z, x.w}};
}
DEVICE uint32_t load_weights(const uint32_t *p) { return __ldcs(p); }

// Copies 16 bytes of global memory to shared memory while the thread goes on. Both are aligned to
// that; `to` has no value until the thread has waited, and others need a barrier after that.
// `commit_copies` makes a group of the copies since the last one, and `wait_copies<N>` waits for
// all of this thread's groups but the last N. Turing copies at once.
#if __CUDA_ARCH__ >= 800
DEVICE void copy_async(Words4 *to, const void *from) {
    const uint32_t shared = uint32_t(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared), "l"(from) : "memory");
}
DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEVICE void wait_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
#else
DEVICE void copy_async(Words4 *to, const void *from) { *to = *static_cast<const Words4 *>(from); }
DEVICE void commit_copies() {}
template <int N> DEVICE void wait_copies() {}
#endif

// The warp's product of two tiles of int8, c[16][8] += a[16][32] b[32][8], in the fragments of
// `mma.m16n8k32` (PTX ISA, "Matrix Fragments for mma.m16n8k32"): with g = lane / 4 and t = lane % 4,
//   a[0] = a[g][4t..]  a[1] = a[g + 8][4t..]  a[2] = a[g][4t + 16..]  a[3] = a[g + 8][4t + 16..]
//   b[0] = b[4t..][g]  b[1] = b[4t + 16..][g]
//   c[0], c[1] = c[g][2t], c[g][2t + 1]       c[2], c[3] = c[g + 8][2t], c[g + 8][2t + 1]
// Turing has m8n8k16 alone, four of which have the same fragments.
#if __CUDA_ARCH__ >= 800
#define KINGLET_MMA(name, b_type)                                                                   \
    DEVICE void name(int32_t c[4], const uint32_t a[4], const uint32_t b[2]) {                     \
        asm("mma.sync.aligned.m16n8k32.row.col.s32.s8." b_type ".s32 "                             \
            "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                                \
            : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                       \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                   \
    }
#else
#define KINGLET_MMA(name, b_type)                                                                   \
    DEVICE void name##_8(int32_t *c, uint32_t a, uint32_t b) {                                     \
        asm("mma.sync.aligned.m8n8k16.row.col.s32.s8." b_type ".s32 {%0,%1}, {%2}, {%3}, {%0,%1};" \
            : "+r"(c[0]), "+r"(c[1])                                                               \
            : "r"(a), "r"(b));                                                                     \
    }                                                                                              \
    DEVICE void name(int32_t c[4], const uint32_t a[4], const uint32_t b[2]) {                     \
        name##_8(c, a[0], b[0]);                                                                   \
        name##_8(c, a[2], b[1]);                                                                   \
        name##_8(c + 2, a[1], b[0]);                                                               \
        name##_8(c + 2, a[3], b[1]);                                                               \
    }
#endif
KINGLET_MMA(mma_signed, "s8")    // b is int8
KINGLET_MMA(mma_unsigned, "u8")  // b is uint8
