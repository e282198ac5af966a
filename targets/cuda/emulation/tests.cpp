// Tests of the emulation itself: each function of the portable layer against a naive one, in
// kernels of their own, and the scheduler: a race shows, shared memory starts as garbage. Further
// kernels have races that the race check must find.

#include <vector>

#include "numbers.h"

extern "C" int kinglet_emulate(const char *, uint32_t, uint32_t, uint32_t, const void *, uint32_t,
                               uint32_t);

struct TestParams {
    const uint32_t *in;  // [block][thread][6]
    uint32_t *out;       // [block][thread][8]
};

static uint32_t at(uint32_t thread) { return block_x() * block_threads() + thread; }

KERNEL(test_lanes, 64, TestParams, p) {
    const uint32_t *in = p.in + at(thread_index()) * 6;
    uint32_t *out = p.out + at(thread_index()) * 8;
    out[0] = shuffle_xor(in[0], 1);
    out[1] = shuffle_xor(in[0], 16);
    out[2] = vote(in[0] & 1);
    out[3] = permute_bytes(in[0], in[1], 0x6420);
    out[4] = permute_bytes(in[0], in[1], 0x7531);
    out[5] = uint32_t(dot2_low(in[0], in[1], int32_t(in[2])));
    out[6] = uint32_t(dot2_high(in[0], in[1], int32_t(in[2])));
    out[7] = float_bits(shuffle_xor(bits_float(in[0]), 4));
}

KERNEL(test_mma_signed, 64, TestParams, p) {
    const uint32_t *in = p.in + at(thread_index()) * 6;
    mma_signed(reinterpret_cast<int32_t *>(p.out + at(thread_index()) * 8), in, in + 4);
}

KERNEL(test_mma_unsigned, 64, TestParams, p) {
    const uint32_t *in = p.in + at(thread_index()) * 6;
    mma_unsigned(reinterpret_cast<int32_t *>(p.out + at(thread_index()) * 8), in, in + 4);
}

// Shared memory that none has written; then an exchange through it, with the barrier and, where the
// race check does not watch, without.
KERNEL(test_shared, 64, TestParams, p) {
    SHARED(uint32_t, garbage, 1);
    SHARED(uint32_t, with, 64);
    SHARED(uint32_t, without, 64);
    const uint32_t thread = thread_index();
    uint32_t *out = p.out + at(thread) * 8;
    out[0] = garbage[0];
    sync_block();
    if (thread == 0) garbage[0] = 1;
    with[thread] = thread;
    sync_block();
    without[thread] = thread;
#if defined(__SANITIZE_THREAD__)
    sync_block();
#endif
    out[1] = with[(thread + 33) % 64];
    out[2] = without[(thread + 33) % 64];
}

// A copy that was not waited for, one that was, and one of the group after it.
KERNEL(test_copies, 64, TestParams, p) {
    SHARED(Words4, copied, 2 * 64);
    const uint32_t thread = thread_index(), other = thread ^ 33;
    const Words4 *in = reinterpret_cast<const Words4 *>(p.in);
    uint32_t *out = p.out + at(thread) * 8;
    copy_async(copied + thread, in + thread);
    commit_copies();
    copy_async(copied + 64 + thread, in + 64 + thread);
    commit_copies();
    out[0] = copied[thread].word[0];
    wait_copies<1>();
    sync_block();
    out[1] = copied[other].word[3];
    out[2] = copied[64 + thread].word[0];
    wait_copies<0>();
    sync_block();
    out[3] = copied[64 + other].word[0];
}

// Races for the check to find, and the same things done well. Each result is right in some order.
KERNEL(test_race_none, 64, TestParams, p) {
    SHARED(uint32_t, block, 64);
    SHARED(uint32_t, warp, 64);
    SHARED(int32_t, sum, 1);
    const uint32_t thread = thread_index();
    block[thread] = thread;
    warp[thread] = thread;
    if (thread == 0) sum[0] = 0;
    sync_warp();
    const uint32_t near = warp[thread ^ 1];
    sync_block();
    add_shared(sum, 1);
    p.out[at(thread)] = near + block[63 - thread];
    sync_block();
    p.out[at(thread)] += uint32_t(sum[0]);
}

// A read of what another warp writes, with no barrier between.
KERNEL(test_race_block, 64, TestParams, p) {
    SHARED(uint32_t, x, 64);
    const uint32_t thread = thread_index();
    x[thread] = thread;
    sync_warp();
    p.out[at(thread)] = x[63 - thread];
}

// The same within a warp.
KERNEL(test_race_warp, 64, TestParams, p) {
    SHARED(uint32_t, x, 64);
    const uint32_t thread = thread_index();
    x[thread] = thread;
    p.out[at(thread)] = x[thread ^ 1];
}

// A barrier before the write, none after it: the next round's write meets this round's read.
KERNEL(test_race_loop, 64, TestParams, p) {
    SHARED(uint32_t, x, 1);
    const uint32_t thread = thread_index();
    uint32_t sum = 0;
    for (uint32_t i = 0; i < 3; i++) {
        if (thread == 0) x[0] = i;
        sync_block();
        sum += x[0];
    }
    p.out[at(thread)] = sum;
}

// Two threads write one word of global memory.
KERNEL(test_race_global, 64, TestParams, p) { p.out[at(thread_index()) / 2] = 7; }

// A place that is copied to while others read it.
KERNEL(test_race_copy, 64, TestParams, p) {
    SHARED(Words4, x, 64);
    const uint32_t thread = thread_index();
    const Words4 *in = reinterpret_cast<const Words4 *>(p.in);
    for (uint32_t i = 0; i < 2; i++) {
        copy_async(x + thread, in + thread);
        commit_copies();
        wait_copies<0>();
        sync_block();
        p.out[at(thread)] = x[63 - thread].word[0];
    }
}

// A sum that is not atomic.
KERNEL(test_race_sum, 64, TestParams, p) {
    SHARED(uint32_t, sum, 1);
    if (thread_index() == 0) sum[0] = 0;
    sync_block();
    sum[0] += 1;
    sync_block();
    p.out[at(thread_index())] = sum[0];
}

namespace {

struct Random {
    uint64_t state = 0x2545F4914F6CDD1D;
    uint32_t next() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return uint32_t(state >> 16);
    }
};

constexpr uint32_t BLOCKS = 3, THREADS = 64;

struct Run {
    std::vector<uint32_t> in, out;
    Run() : in(BLOCKS * THREADS * 6), out(BLOCKS * THREADS * 8) {
        Random random;
        for (uint32_t &x : in) x = random.next();
        for (uint32_t &x : out) x = random.next();
    }
    bool launch(const char *name, uint32_t order) {
        const TestParams params{in.data(), out.data()};
        return kinglet_emulate(name, BLOCKS, 1, THREADS, &params, sizeof params, order) == 0;
    }
};

int32_t int8_of(uint32_t word, uint32_t i) { return int8_t(word >> (8 * i)); }

const char *lanes() {
    for (uint32_t order = 0; order < 4; order++) {
        Run run;
        if (!run.launch("test_lanes", order)) return "test_lanes does not run";
        for (uint32_t i = 0; i < BLOCKS * THREADS; i++) {
            const auto in = [&](uint32_t thread) { return &run.in[thread * 6]; };
            const uint32_t *out = &run.out[i * 8], a = in(i)[0], b = in(i)[1];
            if (out[0] != in(i ^ 1)[0] || out[1] != in(i ^ 16)[0] || out[7] != in(i ^ 4)[0]) {
                return "shuffle_xor";
            }
            for (uint32_t lane = 0; lane < 32; lane++) {
                if ((out[2] >> lane & 1) != (in(i / 32 * 32 + lane)[0] & 1)) return "vote";
            }
            uint8_t bytes[8];
            std::memcpy(bytes, &a, 4);
            std::memcpy(bytes + 4, &b, 4);
            for (uint32_t j = 0; j < 4; j++) {
                if (uint8_t(out[3] >> (8 * j)) != bytes[2 * j]) return "permute_bytes of even ones";
                if (uint8_t(out[4] >> (8 * j)) != bytes[2 * j + 1]) return "permute_bytes of odd ones";
            }
            int64_t low = int32_t(in(i)[2]), high = low;
            for (uint32_t j = 0; j < 2; j++) {
                low += int64_t(int16_t(a >> (16 * j))) * int8_of(b, j);
                high += int64_t(int16_t(a >> (16 * j))) * int8_of(b, j + 2);
            }
            if (out[5] != uint32_t(low) || out[6] != uint32_t(high)) return "dot2";
        }
    }
    return nullptr;
}

// The fragments of the PTX manual gathered into matrices, and a product of three loops.
const char *mma(const char *name, bool is_signed) {
    Run run;
    const std::vector<uint32_t> before = run.out;
    if (!run.launch(name, 2)) return "mma does not run";
    for (uint32_t warp = 0; warp < BLOCKS * THREADS / 32; warp++) {
        int32_t a[16][32], b[32][8];
        int64_t c[16][8] = {};
        for (uint32_t lane = 0; lane < 32; lane++) {
            const uint32_t *in = &run.in[(warp * 32 + lane) * 6];
            const uint32_t g = lane / 4, t = lane % 4;
            for (uint32_t i = 0; i < 16; i++) {
                const uint32_t row = (i / 4) % 2 == 0 ? g : g + 8;
                const uint32_t column = t * 4 + i % 4 + (i < 8 ? 0 : 16);
                a[row][column] = int8_of(in[i / 4], i % 4);
            }
            for (uint32_t i = 0; i < 8; i++) {
                const uint32_t byte = in[4 + i / 4] >> (8 * (i % 4));
                const int32_t value = is_signed ? int32_t(int8_t(byte)) : int32_t(uint8_t(byte));
                b[t * 4 + i % 4 + (i < 4 ? 0 : 16)][g] = value;
            }
        }
        for (uint32_t row = 0; row < 16; row++) {
            for (uint32_t column = 0; column < 8; column++) {
                for (uint32_t k = 0; k < 32; k++) c[row][column] += a[row][k] * b[k][column];
            }
        }
        for (uint32_t lane = 0; lane < 32; lane++) {
            for (uint32_t i = 0; i < 4; i++) {
                const uint32_t row = lane / 4 + (i < 2 ? 0 : 8), column = lane % 4 * 2 + i % 2;
                const uint64_t word = (warp * 32 + lane) * 8 + i;
                if (run.out[word] != before[word] + uint32_t(c[row][column])) return name;
            }
        }
    }
    return nullptr;
}

const char *shared() {
    bool race_shows = false;
    for (uint32_t order = 0; order < 4; order++) {
        Run run;
        if (!run.launch("test_shared", order)) return "test_shared does not run";
        for (uint32_t i = 0; i < BLOCKS * THREADS; i++) {
            const uint32_t *out = &run.out[i * 8], other = (i + 33) % 64;
            if (out[0] != 0xFFFFFFFF) return "shared memory of the block before";
            if (out[1] != other) return "sync_block";
            race_shows |= out[2] != other;
        }
    }
#if defined(__SANITIZE_THREAD__)
    return nullptr;
#else
    return race_shows ? nullptr : "a race that no order shows";
#endif
}

const char *copies() {
    Run run;
    if (!run.launch("test_copies", 3)) return "test_copies does not run";
    for (uint32_t i = 0; i < BLOCKS * THREADS; i++) {
        const uint32_t *out = &run.out[i * 8], thread = i % 64, other = thread ^ 33;
        if (out[0] != 0xFFFFFFFF || out[2] != 0xFFFFFFFF) return "a copy before it was waited for";
        if (out[1] != run.in[other * 4 + 3] || out[3] != run.in[(64 + other) * 4]) return "copies";
    }
    return nullptr;
}

} // namespace

// Runs a kernel of this file, for the race check to watch; whether there is one of this name.
extern "C" int kinglet_test_race(const char *name) {
    Run run;
    return run.launch(name, 0);
}

// Null, or what is wrong.
extern "C" const char *kinglet_test_emulation() {
    if (const char *wrong = lanes()) return wrong;
    if (const char *wrong = mma("test_mma_signed", true)) return wrong;
    if (const char *wrong = mma("test_mma_unsigned", false)) return wrong;
    if (const char *wrong = shared()) return wrong;
    if (const char *wrong = copies()) return wrong;
    struct {
        uint32_t word;
    } short_params{};
    if (kinglet_emulate("nothing", 1, 1, 32, &short_params, 4, 0) != 1) return "an unknown kernel";
    if (kinglet_emulate("test_shared", 1, 1, 32, &short_params, 4, 0) != 2) return "short parameters";
    return nullptr;
}

// exp, sigmoid, tanh, relu squared and the value of an f16 state, of x.
extern "C" void kinglet_test_math(float x, float out[5]) {
    out[0] = exponential(x);
    out[1] = sigmoid(x);
    out[2] = hyperbolic_tangent(x);
    out[3] = relu_squared(x);
    out[4] = StateF16::narrow(x).widen();
}
