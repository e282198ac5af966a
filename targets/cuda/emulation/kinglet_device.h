// The portable layer of the kernels, for a C++ compiler: the interface of
// `kernels/cuda/kinglet_device.h`, run on the CPU.
//
// The blocks of a launch run one after the other, in any order. The threads of a block are fibers
// that run until they meet a barrier or an exchange between lanes, and there wait for the others;
// see `emulator.cpp`. Floats are the CPU's, compiled without contraction.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace emulator {

using Body = void (*)(const void *params);

// A kernel by name, for the launcher; its constructor registers it.
struct Kernel {
    const char *name;
    uint32_t max_threads;
    uint32_t params_len;
    Body body;
    Kernel *next;
    Kernel(const char *name, uint32_t max_threads, uint32_t params_len, Body body);
};

// Shared memory by address, so that each block finds garbage in it; its constructor registers it.
struct SharedArray {
    void *memory;
    uint64_t len;
    SharedArray *next;
    SharedArray(void *memory, uint64_t len);
};

// A copy that a thread has not waited for, and which of its groups it is of.
struct Copy {
    void *to;
    const void *from;
    uint32_t group;
};

struct Thread {
    uint32_t index;
    uint32_t group;  // the one that is not committed yet
    uint32_t copies_len;
    Copy copies[32];
};

// The thread that runs, and its block.
extern Thread *current;
extern uint32_t block_index[2];
extern uint32_t threads_of_block;

// Waits for all threads of the block, or of the warp.
void wait_block();
void wait_warp();
// Gives `x` to the warp and returns the value that lane `lane` gave.
uint32_t exchange(uint32_t x, uint32_t lane);
// The values of all lanes.
const uint32_t *exchange_all(uint32_t x);

} // namespace emulator

#define DEVICE inline

#define KERNEL(name, threads, Params, p)                                                            \
    static void name(const Params &p);                                                             \
    static emulator::Kernel name##_kernel(                                                         \
        #name, threads, sizeof(Params),                                                            \
        [](const void *params) { name(*static_cast<const Params *>(params)); });                   \
    static void name(const Params &p)

#define SHARED(type, name, len)                                                                     \
    static type name[len];                                                                         \
    static emulator::SharedArray name##_array(name, sizeof(name))

#define UNROLL

struct alignas(16) Words4 {
    uint32_t word[4];
};
struct alignas(8) Words2 {
    uint32_t word[2];
};

DEVICE uint32_t block_x() { return emulator::block_index[0]; }
DEVICE uint32_t block_y() { return emulator::block_index[1]; }
DEVICE uint32_t thread_index() { return emulator::current->index; }
DEVICE uint32_t block_threads() { return emulator::threads_of_block; }

DEVICE void sync_block() { emulator::wait_block(); }
DEVICE void sync_warp() { emulator::wait_warp(); }

DEVICE uint32_t shuffle_xor(uint32_t x, int mask) {
    return emulator::exchange(x, (thread_index() % 32) ^ uint32_t(mask));
}
DEVICE int32_t shuffle_xor(int32_t x, int mask) { return int32_t(shuffle_xor(uint32_t(x), mask)); }
DEVICE float shuffle_xor(float x, int mask) {
    return std::bit_cast<float>(shuffle_xor(std::bit_cast<uint32_t>(x), mask));
}
DEVICE uint32_t vote(bool x) {
    const uint32_t *lanes = emulator::exchange_all(x);
    uint32_t mask = 0;
    for (uint32_t lane = 0; lane < 32; lane++) mask |= lanes[lane] << lane;
    return mask;
}

DEVICE int population(uint32_t x) { return std::popcount(x); }
DEVICE uint32_t float_bits(float x) { return std::bit_cast<uint32_t>(x); }
DEVICE float bits_float(uint32_t x) { return std::bit_cast<float>(x); }
DEVICE float square_root(float x) { return std::sqrt(x); }

// Byte `i` of a word, signed and unsigned.
DEVICE int32_t signed_byte(uint32_t w, uint32_t i) { return int8_t(w >> (8 * i)); }
DEVICE int32_t unsigned_byte(uint32_t w, uint32_t i) { return uint8_t(w >> (8 * i)); }

// PTX ISA, "dp2a": sums wrap.
DEVICE int32_t dot2(uint32_t q, uint32_t w, uint32_t first, int32_t acc) {
    const int32_t low = int16_t(q) * signed_byte(w, first);
    const int32_t high = int16_t(q >> 16) * signed_byte(w, first + 1);
    return int32_t(uint32_t(acc) + uint32_t(low) + uint32_t(high));
}
DEVICE int32_t dot2_low(uint32_t q, uint32_t w, int32_t acc) { return dot2(q, w, 0, acc); }
DEVICE int32_t dot2_high(uint32_t q, uint32_t w, int32_t acc) { return dot2(q, w, 2, acc); }

// PTX ISA, "prmt", default mode: bit 3 of a selector, which copies signs, is not used here.
DEVICE uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selector) {
    const uint64_t bytes = uint64_t(b) << 32 | a;
    uint32_t out = 0;
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t from = selector >> (4 * i) & 7;
        out |= uint32_t(uint8_t(bytes >> (8 * from))) << (8 * i);
    }
    return out;
}

// Atomic, which the race check wants to see.
DEVICE void add_shared(int32_t *sum, int32_t x) { __atomic_fetch_add(sum, x, __ATOMIC_RELAXED); }
DEVICE void or_global(uint32_t *flags, uint32_t x) { __atomic_fetch_or(flags, x, __ATOMIC_RELAXED); }

// From the call on the target is garbage, and what was copied is there once it was waited for: a
// read too early shows, and the race check sees a write at both ends.
DEVICE void copy_async(Words4 *to, const void *from) {
    emulator::Thread &thread = *emulator::current;
    if (thread.copies_len == 32) std::abort();
    std::memset(to, 0xFF, sizeof *to);
    thread.copies[thread.copies_len++] = emulator::Copy{to, from, thread.group};
}
DEVICE void commit_copies() { emulator::current->group++; }
template <int N> DEVICE void wait_copies() {
    emulator::Thread &thread = *emulator::current;
    uint32_t left = 0;
    for (uint32_t i = 0; i < thread.copies_len; i++) {
        const emulator::Copy copy = thread.copies[i];
        if (copy.group + N < thread.group) {
            std::memcpy(copy.to, copy.from, sizeof(Words4));
        } else {
            thread.copies[left++] = copy;
        }
    }
    thread.copies_len = left;
}

template <class T> DEVICE T load_weights(const T *p) { return *p; }

// PTX ISA, "Matrix Fragments for mma.m16n8k32": each lane gives its fragments of a and b to the
// warp and sums its own four of c. `b_byte` reads a byte of b.
template <class B>
DEVICE void mma(int32_t c[4], const uint32_t a[4], const uint32_t b[2], B b_byte) {
    const uint32_t lane = thread_index() % 32, g = lane / 4, t = lane % 4;
    uint32_t lanes_a[4][32], lanes_b[2][32];
    for (uint32_t i = 0; i < 4; i++) std::memcpy(lanes_a[i], emulator::exchange_all(a[i]), 128);
    for (uint32_t i = 0; i < 2; i++) std::memcpy(lanes_b[i], emulator::exchange_all(b[i]), 128);
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t row = g + i / 2 * 8, column = 2 * t + i % 2;
        uint32_t sum = uint32_t(c[i]);
        for (uint32_t k = 0; k < 32; k++) {
            const uint32_t a_fragment = row / 8 + k / 16 * 2, a_lane = row % 8 * 4 + k % 16 / 4;
            const uint32_t b_lane = column * 4 + k % 16 / 4;
            const int32_t x = signed_byte(lanes_a[a_fragment][a_lane], k % 4);
            sum += uint32_t(x * b_byte(lanes_b[k / 16][b_lane], k % 4));
        }
        c[i] = int32_t(sum);
    }
}
DEVICE void mma_signed(int32_t c[4], const uint32_t a[4], const uint32_t b[2]) {
    mma(c, a, b, signed_byte);
}
DEVICE void mma_unsigned(int32_t c[4], const uint32_t a[4], const uint32_t b[2]) {
    mma(c, a, b, unsigned_byte);
}
