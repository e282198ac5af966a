// Floats as the numbers contract wants them: elementary functions, sums in the one order, f16.
//
// Operation by operation what `runtime/src/num` does. nvcc must not fuse: `-fmad=false`, with
// division and square root rounded correctly and subnormals kept, and `.ci/cuda` finds no other
// instruction in the PTX.
#pragma once

#include "kinglet_device.h"

// ---- runtime/src/num/math.rs

constexpr float EXP_LOWEST = -87.33654f;
constexpr float EXP_HIGHEST = 88.72283f;
constexpr float TANH_LOWEST = -32.0f;
constexpr float LOG2_E = 1.44269504088896340736f;
constexpr float LN_2_HIGH = 355.0f / 512.0f;
constexpr float LN_2_LOW = -2.1219444e-4f;
constexpr float EXP_ROUND = 12583039.0f;

struct ExpParts {
    float em1;
    uint32_t scale;
};

DEVICE ExpParts exp_parts(float x) {
    const float rounded = x * LOG2_E + EXP_ROUND;
    const float n = rounded - EXP_ROUND;
    const float r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    float q = 0.0013821304f;
    q = q * r + 0.008368669f;
    q = q * r + 0.04166826f;
    q = q * r + 0.16666521f;
    q = q * r + 0.49999994f;
    return ExpParts{r + (r * r) * q, float_bits(rounded) << 23};
}

DEVICE float magnitude(float x) { return bits_float(float_bits(x) & 0x7FFFFFFF); }

DEVICE float exp_of_nonpositive(float x) {
    const float inside = x < EXP_LOWEST ? EXP_LOWEST : x;
    const ExpParts e = exp_parts(inside);
    const float y = (1.0f + e.em1) * bits_float(e.scale);
    return x < EXP_LOWEST ? 0.0f : y;
}

DEVICE float exponential(float x) {
    const float inside = x < EXP_LOWEST ? EXP_LOWEST : x;
    const ExpParts e = exp_parts(inside);
    const uint32_t bits = float_bits(1.0f + e.em1) + e.scale - float_bits(1.0f);
    const float y = x <= EXP_HIGHEST ? bits_float(bits) : x + bits_float(0x7F800000);
    return x < EXP_LOWEST ? 0.0f : y;
}

DEVICE float sigmoid(float x) {
    const float t = exp_of_nonpositive(-magnitude(x));
    const float numerator = x < 0.0f ? t : 1.0f;
    return numerator / (1.0f + t);
}

DEVICE float hyperbolic_tangent(float x) {
    float a = magnitude(x);
    a = a < bits_float(0x00800000) ? 0.0f : a;
    float y = -2.0f * a;
    y = y < TANH_LOWEST ? TANH_LOWEST : y;
    const ExpParts e = exp_parts(y);
    const float scale = bits_float(e.scale);
    const float m = e.em1 * scale + (scale - 1.0f);
    const float result = m / (2.0f + m);
    return bits_float((float_bits(result) & 0x7FFFFFFF) | (float_bits(x) & 0x80000000));
}

// What a token leaves of the state, in RWKV-5 and 6: exp(-exp(x)).
DEVICE float decay(float x) { return exponential(-exponential(x)); }

// max(x, 0)^2; NaN stays NaN.
DEVICE float relu_squared(float x) {
    const float positive = x < 0.0f ? 0.0f : x;
    return positive * positive;
}

// An f16 scale, +0 or a positive normal number.
DEVICE float scale_to_float(uint16_t scale) {
    const uint32_t bits = scale;
    return bits_float(bits == 0 ? 0 : (bits << 13) + 0x38000000);
}

// ---- runtime/src/num/state_dtype.rs

// A state kept in f32.
struct StateF32 {
    float value;
    static DEVICE StateF32 narrow(float x) { return StateF32{x}; }
    DEVICE float widen() const { return value; }
};

// A state kept in f16, rounded to nearest even and saturated.
struct StateF16 {
    uint16_t bits;
    static DEVICE StateF16 narrow(float x) {
        constexpr uint32_t LARGEST = 0x477FE000, SMALLEST_NORMAL = 0x38800000;
        const uint32_t bits = float_bits(x);
        uint32_t size = bits & 0x7FFFFFFF;
        size = size < LARGEST ? size : LARGEST;
        uint32_t power = size & 0x7F800000;
        power = power > SMALLEST_NORMAL ? power : SMALLEST_NORMAL;
        const uint32_t magic = power + (13u << 23);
        const uint32_t steps = float_bits(bits_float(size) + bits_float(magic)) - magic;
        const uint32_t narrow = ((power - SMALLEST_NORMAL) >> 13) + steps;
        return StateF16{uint16_t((bits >> 16 & 0x8000) | narrow)};
    }
    DEVICE float widen() const {
        const uint32_t wide = (bits & 0x8000u) << 16 | (bits & 0x7FFFu) << 13;
        return bits_float(wide) * bits_float((127 + 112) << 23);
    }
};

// ---- runtime/src/num/reduce.rs

// The sum of f(0) to f(n - 1) in the one order: sixteen lanes of the first warp, then halves. All
// threads of the block call it and get it.
template <class F> DEVICE float ordered_sum(uint32_t n, F f) {
    SHARED(float, total, 1);
    const uint32_t lane = thread_index();
    if (lane < 32) {
        float sum = 0.0f;
        if (lane < 16) {
            for (uint32_t i = lane; i < n; i += 16) sum = sum + f(i);
        }
        for (int half = 8; half > 0; half /= 2) sum = sum + shuffle_xor(sum, half);
        if (lane == 0) total[0] = sum;
    }
    sync_block();
    const float sum = total[0];
    sync_block();
    return sum;
}

struct Moments {
    float mean;
    float rstd;
};

// Mean of x(0) to x(n - 1) and 1 / sqrt(variance + eps), the variance being a second pass.
template <class F> DEVICE Moments mean_and_rstd(uint32_t n, float eps, F x) {
    const float len = float(n);
    const float mean = ordered_sum(n, x) / len;
    const float variance = ordered_sum(n, [&](uint32_t i) {
                               const float d = x(i) - mean;
                               return d * d;
                           }) / len;
    return Moments{mean, 1.0f / square_root(variance + eps)};
}

// ---- runtime/src/kernels/activations.rs

// The largest of all threads' `x`.
DEVICE uint32_t block_max(uint32_t x) {
    SHARED(uint32_t, warps, 32);
    for (int mask = 16; mask > 0; mask /= 2) {
        const uint32_t other = shuffle_xor(x, mask);
        x = x > other ? x : other;
    }
    const uint32_t warp = thread_index() / 32, count = block_threads() / 32;
    if (thread_index() % 32 == 0) warps[warp] = x;
    sync_block();
    uint32_t largest = 0;
    for (uint32_t i = 0; i < count; i++) largest = largest > warps[i] ? largest : warps[i];
    sync_block();
    return largest;
}

// Quantizes x(0) to x(n - 1) to int16 with one scale, and pads with zeros to a multiple of 32.
template <class F> DEVICE void quantize(uint32_t n, F x, int16_t *q, float *scale) {
    const uint32_t padded = (n + 31) / 32 * 32, thread = thread_index(), step = block_threads();
    uint32_t largest = 0;
    for (uint32_t i = thread; i < n; i += step) {
        const uint32_t size = float_bits(x(i)) & 0x7FFFFFFF;
        largest = largest > size ? largest : size;
    }
    largest = block_max(largest);
    constexpr uint32_t TINY = (127 - 100) << 23, INFINITE = 0x7F800000;
    const bool zero = largest < TINY || largest >= INFINITE;
    const float m = bits_float(largest);
    const float inverse = 32639.0f / m;
    for (uint32_t i = thread; i < padded; i += step) {
        int16_t value = 0;
        if (i < n && !zero) {
            const float t = x(i) * inverse + 12582912.0f;
            value = int16_t(float_bits(t) - 0x4B400000u);
        }
        q[i] = value;
    }
    if (thread == 0) {
        const float zero_or_nan = largest < TINY ? 0.0f : bits_float(0x7FC00000);
        *scale = zero ? zero_or_nan : m / 32639.0f;
    }
}
