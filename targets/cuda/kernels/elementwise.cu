// The steps between products: embedding, norms, token shift, activations. A block is a token of
// the batch, or a token and one of several outputs.

#include "numbers.h"
#include "params.h"

// Weight `at` of a table, [id][width] with rows padded to 32. Of int4, sixteen bytes are 32
// weights, the first half of them in the low nibbles. A table is read a row for each token, too
// little for kernels of each type.
DEVICE float table_weight(const void *weights, uint64_t at, bool is_int4) {
    if (!is_int4) return float(static_cast<const int8_t *>(weights)[at]);
    const uint32_t byte = static_cast<const uint8_t *>(weights)[at / 32 * 16 + at % 16];
    return float(int32_t(byte >> (at / 16 % 2 * 4) & 15) - 8);
}

// x = emb[token]
KERNEL(embed, 256, EmbedParams, p) {
    const uint32_t padded = (p.width + 31) / 32 * 32;
    const uint64_t id = p.tokens[block_x()];
    for (uint32_t i = thread_index(); i < p.width; i += block_threads()) {
        const float scale = scale_to_float(p.scales[id * (padded / 32) + i / 32]);
        const float weight = table_weight(p.weights, id * padded + i, p.is_int4);
        p.x[uint64_t(block_x()) * p.width + i] = weight * scale;
    }
}

// out = LN(x)
KERNEL(layer_norm, 256, NormParams, p) {
    const uint64_t row = p.rows ? p.rows[block_x()] : block_x();
    const float *x = p.x + row * p.width;
    float *out = p.out + uint64_t(block_x()) * p.width;
    const Moments m = mean_and_rstd(p.width, p.eps, [&](uint32_t i) { return x[i]; });
    for (uint32_t i = thread_index(); i < p.width; i += block_threads()) {
        out[i] = ((x[i] - m.mean) * m.rstd) * p.weight[i] + p.bias[i];
    }
}

// n_c = lerp of a token's input n and its predecessor's p, as the state keeps p, quantized. A block
// is a token and one c.
template <class S> DEVICE void token_shift(const ShiftParams &p) {
    const uint32_t token = block_x(), width = p.width;
    const auto &shift = p.shift[block_y()];
    const float *n = p.normed + uint64_t(token) * width;
    const int32_t before = p.previous[token];
    const float *in_batch = p.normed + uint64_t(before < 0 ? 0 : before) * width;
    const S *in_state =
        static_cast<const S *>(p.state) + p.sequence[token] * p.state_len + p.state_at;
    const float *correction = shift.correction ? shift.correction + uint64_t(token) * width : nullptr;
    auto mixed = [&](uint32_t i) {
        const float previous = before < 0 ? in_state[i].widen() : S::narrow(in_batch[i]).widen();
        const float share = correction ? shift.share[i] + correction[i] : shift.share[i];
        return p.share_of_current ? previous + (n[i] - previous) * share
                                  : n[i] + (previous - n[i]) * share;
    };
    const uint32_t padded = (width + 31) / 32 * 32;
    quantize(width, mixed, shift.out.q + uint64_t(token) * padded, shift.out.scale + token);
}

KERNEL(token_shift_f32, 256, ShiftParams, p) { token_shift<StateF32>(p); }
KERNEL(token_shift_f16, 256, ShiftParams, p) { token_shift<StateF16>(p); }

// Keeps the last input of each run for the next batch: of the time mix and of the channel mix.
template <class S> DEVICE void save_shift(const SaveShiftParams &p) {
    const uint32_t last = p.order[p.starts[block_x() + 1] - 1], mix = block_y();
    S *state = static_cast<S *>(p.state) + p.sequence[last] * p.state_len + p.state_at[mix];
    for (uint32_t i = thread_index(); i < p.width; i += block_threads()) {
        state[i] = S::narrow(p.normed[mix][uint64_t(last) * p.width + i]);
    }
}

KERNEL(save_shift_f32, 256, SaveShiftParams, p) { save_shift<StateF32>(p); }
KERNEL(save_shift_f16, 256, SaveShiftParams, p) { save_shift<StateF16>(p); }

DEVICE float activated(uint32_t activation, float x) {
    switch (activation) {
    case TANH:
        return hyperbolic_tangent(x);
    case SIGMOID:
        return sigmoid(x);
    case RELU_SQUARED:
        return relu_squared(x);
    default:
        return x;
    }
}

// Quantizes f(x), of RWKV-7a times (factor + offset). A block is a token and one job.
KERNEL(activate, 256, ActivateParams, p) {
    const auto &job = p.job[block_y()];
    const uint64_t token = block_x();
    const float *x = job.x + token * job.stride;
    const float *factor = job.factor ? job.factor + token * job.inputs : nullptr;
    auto value = [&](uint32_t i) {
        const float y = activated(job.activation, x[i]);
        return factor ? y * (factor[i] + job.offset[i]) : y;
    };
    const uint32_t padded = (job.inputs + 31) / 32 * 32;
    quantize(job.inputs, value, job.out.q + token * padded, job.out.scale + token);
}

// e'[j] = sum over i ascending of e[i] * E[i][j], E being the matrix of the token's id.
KERNEL(deep_embed, 256, DeepEmbedParams, p) {
    const uint32_t len = p.rank * p.rank, padded = (len + 31) / 32 * 32;
    const uint64_t token = block_x(), id = p.tokens[token];
    const uint16_t *scales = p.scales + id * (padded / 32);
    for (uint32_t j = thread_index(); j < p.rank; j += block_threads()) {
        float sum = 0.0f;
        for (uint32_t i = 0; i < p.rank; i++) {
            const uint32_t at = i * p.rank + j;
            const float weight = table_weight(p.weights, id * padded + at, p.is_int4);
            const float x = weight * scale_to_float(scales[at / 32]);
            sum = sum + p.e[token * p.rank + i] * x;
        }
        p.out[token * p.rank + j] = sum;
    }
}

// Whether a value is NaN or infinite.
KERNEL(find_not_finite, 256, FiniteParams, p) {
    uint32_t largest = 0;
    const uint64_t first = uint64_t(block_x()) * 4096;
    const uint64_t end = first + 4096 < p.len ? first + 4096 : p.len;
    for (uint64_t i = first + thread_index(); i < end; i += block_threads()) {
        const uint32_t size = float_bits(p.x[i]) & 0x7FFFFFFF;
        largest = largest > size ? largest : size;
    }
    if (largest >= 0x7F800000) or_global(p.flag, 1);
}
