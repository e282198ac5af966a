// The recurrences. A block is a head and a run, the tokens of one sequence in their order; thread j
// owns value channel j, the column S[.][j] of the state, and sums over keys run in ascending order.
// Formulas: `runtime/src/rwkv`, v7.rs, wkv.rs and v4.rs.

#include "numbers.h"
#include "params.h"

constexpr float HEAD_NORM_EPS = 64e-5f;
constexpr uint32_t MAX_HEAD_SIZE = 256;

// A column of a head's state. N keys lie in registers, read once and written once for a run.
template <class S, uint32_t N> struct Column {
    S element[N];
    S *memory;

    DEVICE Column(S *head, uint32_t, uint32_t j) : memory(head + j) {
        UNROLL for (uint32_t i = 0; i < N; i++) element[i] = memory[i * N];
    }
    // f(i, element i) for each key, ascending.
    template <class F> DEVICE void for_each(F f) {
        UNROLL for (uint32_t i = 0; i < N; i++) f(i, element[i]);
    }
    DEVICE void write_back() {
        UNROLL for (uint32_t i = 0; i < N; i++) memory[i * N] = element[i];
    }
};

// Of any number of keys, in memory.
template <class S> struct Column<S, 0> {
    S *memory;
    uint32_t n;

    DEVICE Column(S *head, uint32_t n, uint32_t j) : memory(head + j), n(n) {}
    template <class F> DEVICE void for_each(F f) {
        for (uint32_t i = 0; i < n; i++) f(i, memory[i * n]);
    }
    DEVICE void write_back() {}
};

// The state of head block_x() of run block_y().
template <class S> DEVICE S *head_state(const Runs &runs, uint32_t n) {
    const uint64_t sequence = runs.sequence[runs.order[runs.starts[block_y()]]];
    S *state = static_cast<S *>(runs.state) + sequence * runs.state_len + runs.state_at;
    return state + uint64_t(block_x()) * n * n;
}

// y = LN(y) of a head, `[channel]` in shared memory.
DEVICE void head_norm(float *y, uint32_t n, const float *weight, const float *bias) {
    const Moments m = mean_and_rstd(n, HEAD_NORM_EPS, [&](uint32_t i) { return y[i]; });
    const uint32_t j = thread_index();
    if (j < n) y[j] = ((y[j] - m.mean) * m.rstd) * weight[j] + bias[j];
}

// ---- RWKV-7

template <class S, uint32_t N> DEVICE void wkv7(const Wkv7Params &p) {
    constexpr float DECAY = -0.60653066f, MIN_NORM = 1e-12f;
    constexpr uint32_t LEN = N == 0 ? MAX_HEAD_SIZE : N;
    SHARED(float, w, LEN);
    SHARED(float, kk, LEN);
    SHARED(float, b, LEN);
    SHARED(float, k, LEN);
    SHARED(float, r, LEN);
    SHARED(float, y, LEN);
    const uint32_t n = N == 0 ? p.head_size : N, j = thread_index();
    const uint32_t channel = block_x() * n, c = channel + j;
    const bool active = j < n;
    Column<S, N> column(head_state<S>(p.runs, n), n, active ? j : 0);
    const uint32_t end = p.runs.starts[block_y() + 1];
    for (uint32_t i = p.runs.starts[block_y()]; i < end; i++) {
        const uint64_t at = uint64_t(p.runs.order[i]) * p.width + c;
        float a = 0.0f, v = 0.0f;
        if (active) {
            w[j] = exponential(DECAY * sigmoid(p.w0[c] + p.w[at]));
            a = sigmoid(p.a0[c] + p.a[at]);
            kk[j] = p.k[at] * p.k_k[c];
            k[j] = p.k[at] * (1.0f + (a - 1.0f) * p.k_a[c]);
            r[j] = p.r[at];
            v = p.v[at];
            if (p.v0) {
                const float mix = sigmoid(p.v0[c] + p.v_mix[at]);
                v = v + (p.v_first[at] - v) * mix;
            } else {
                p.v_first[at] = v;
            }
        }
        sync_block();
        const float norm = square_root(ordered_sum(n, [&](uint32_t i) { return kk[i] * kk[i]; }));
        const float inverse = 1.0f / (norm < MIN_NORM ? MIN_NORM : norm);
        if (active) {
            kk[j] = kk[j] * inverse;
            b[j] = a * kk[j];
        }
        sync_block();
        if (active) {
            float sum = 0.0f;
            column.for_each([&](uint32_t i, S &s) { sum = sum + s.widen() * kk[i]; });
            const float removed = -sum;
            float out = 0.0f;
            column.for_each([&](uint32_t i, S &s) {
                const float next = (s.widen() * w[i] + removed * b[i]) + v * k[i];
                out = out + next * r[i];
                s = S::narrow(next);
            });
            y[j] = out;
        }
        sync_block();
        head_norm(y, n, p.ln_weight + channel, p.ln_bias + channel);
        const float bonus =
            ordered_sum(n, [&](uint32_t i) { return (r[i] * k[i]) * p.r_k[channel + i]; });
        if (active) p.y[at] = (y[j] + bonus * v) * p.g[at];
        sync_block();
    }
    if (active) column.write_back();
}

KERNEL(wkv7_f32, 256, Wkv7Params, p) { wkv7<StateF32, 0>(p); }
KERNEL(wkv7_f16, 256, Wkv7Params, p) { wkv7<StateF16, 0>(p); }
KERNEL(wkv7_64_f32, 64, Wkv7Params, p) { wkv7<StateF32, 64>(p); }
KERNEL(wkv7_64_f16, 64, Wkv7Params, p) { wkv7<StateF16, 64>(p); }

// ---- RWKV-5 and 6

template <class S, uint32_t N> DEVICE void wkv5(const Wkv5Params &p) {
    constexpr uint32_t LEN = N == 0 ? MAX_HEAD_SIZE : N;
    SHARED(float, w, LEN);
    SHARED(float, u, LEN);
    SHARED(float, k, LEN);
    SHARED(float, r, LEN);
    SHARED(float, y, LEN);
    const uint32_t n = N == 0 ? p.head_size : N, j = thread_index();
    const uint32_t channel = block_x() * n, c = channel + j;
    const bool active = j < n;
    Column<S, N> column(head_state<S>(p.runs, n), n, active ? j : 0);
    if (active) u[j] = p.bonus_is_logarithm ? exponential(p.bonus[c]) : p.bonus[c];
    const uint32_t end = p.runs.starts[block_y() + 1];
    for (uint32_t i = p.runs.starts[block_y()]; i < end; i++) {
        const uint64_t at = uint64_t(p.runs.order[i]) * p.width + c;
        float v = 0.0f;
        if (active) {
            w[j] = decay(p.correction ? p.decay[c] + p.correction[at] : p.decay[c]);
            k[j] = p.k[at];
            r[j] = p.r[at];
            v = p.v[at];
        }
        sync_block();
        float out = 0.0f;
        if (active) {
            column.for_each([&](uint32_t i, S &s) {
                const float old = s.widen();
                out = out + old * r[i];
                s = S::narrow(old * w[i] + k[i] * v);
            });
        }
        const float bonus = ordered_sum(n, [&](uint32_t i) { return (r[i] * u[i]) * k[i]; });
        if (active) y[j] = out + bonus * v;
        sync_block();
        head_norm(y, n, p.ln_weight + channel, p.ln_bias + channel);
        if (active) {
            const float g = p.gate ? p.gate[at] : 0.0f;
            p.y[at] = p.gate ? y[j] * (g * sigmoid(g)) : y[j];
        }
        sync_block();
    }
    if (active) column.write_back();
}

KERNEL(wkv5_f32, 256, Wkv5Params, p) { wkv5<StateF32, 0>(p); }
KERNEL(wkv5_f16, 256, Wkv5Params, p) { wkv5<StateF16, 0>(p); }
KERNEL(wkv5_64_f32, 64, Wkv5Params, p) { wkv5<StateF32, 64>(p); }
KERNEL(wkv5_64_f16, 64, Wkv5Params, p) { wkv5<StateF16, 64>(p); }

// ---- RWKV-4

DEVICE float larger(float a, float b) { return a > b ? a : b; }

// A thread is a channel.
KERNEL(wkv4, 128, Wkv4Params, p) {
    const uint32_t c = block_x() * block_threads() + thread_index();
    if (c >= p.width) return;
    const uint64_t sequence = p.runs.sequence[p.runs.order[p.runs.starts[block_y()]]];
    float *state = static_cast<float *>(p.runs.state) + sequence * p.runs.state_len + p.runs.state_at;
    float aa = state[c], bb = state[p.width + c], pp = state[2 * p.width + c];
    const float decay = exponential(p.time_decay[c]), first = p.time_first[c];
    const uint32_t end = p.runs.starts[block_y() + 1];
    for (uint32_t i = p.runs.starts[block_y()]; i < end; i++) {
        const uint64_t at = uint64_t(p.runs.order[i]) * p.width + c;
        const float k = p.k[at], v = p.v[at];
        float t = first + k;
        float q = larger(pp, t);
        float a = exponential(pp - q), b = exponential(t - q);
        p.y[at] = sigmoid(p.r[at]) * ((a * aa + b * v) / (a * bb + b));

        t = pp - decay;
        q = larger(t, k);
        a = exponential(t - q);
        b = exponential(k - q);
        aa = a * aa + b * v;
        bb = a * bb + b;
        pp = q;
    }
    state[c] = aa;
    state[p.width + c] = bb;
    state[2 * p.width + c] = pp;
}
