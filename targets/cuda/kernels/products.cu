// Products of int8 matrices and int16 activations: exact i32 sums of each group of inputs, folded
// into f32 in the order of the groups.
//
//   acc = +0.0
//   for each group, ascending:  acc = acc + float(sum) * scale
//   y = acc * (activation scale * multiplier)
//
// Integers are exact, so that warps and lanes share the inputs of a group in any way; the fold is
// one thread's for each output.
//
// The layout of the model file, [row/16][input/4][16][4], suits the device as it is. Sixteen bytes
// for each lane are eight tiles, 32 inputs of 16 rows, in one read of 512 bytes; and two words for
// each lane are an operand of `mma` whose rows are permuted.
//
// `dense_1` and `dense_8` are for decoding, bound by the bytes of the weights: a block of eight
// warps is a tile of 16 rows, and its warps share the inputs. `dense_mma` and `sparse_mma` are for
// prefill and for many sequences, on the tensor cores. They multiply bytes, so
// q = 256 * high + low with a signed high and an unsigned low byte, two products and one sum.

#include "numbers.h"
#include "params.h"

// Puts y where it belongs.
DEVICE void store(const Output &output, uint64_t token, uint32_t row, float y) {
    const uint64_t at = token * output.rows + row;
    float *out = output.out + at;
    switch (output.store) {
    case ASSIGN:
        *out = y;
        break;
    case ADD:
        *out = *out + y;
        break;
    default:
        *out = *out + sigmoid(output.gate[at]) * y;
    }
}

DEVICE uint32_t minimum(uint32_t a, uint32_t b) { return a < b ? a : b; }

// The product of the list that has row tile `tile`.
DEVICE uint32_t job_of(const ProductParams &p, uint32_t tile) {
    uint32_t job = 0;
    while (job + 1 < p.count && tile >= p.job[job + 1].first_tile) job++;
    return job;
}

constexpr uint32_t WARPS = 8;

// Adds the four sums of each lane, rows 4 * (lane % 4) and up, over the eight lanes that have the
// same rows, and that to `sums`: `[16]`.
DEVICE void add_rows(int32_t *sums, const int32_t v[4]) {
    const uint32_t lane = thread_index() % 32;
    const bool upper = lane & 16, odd = lane & 8;
    int32_t a = upper ? v[2] : v[0], b = upper ? v[3] : v[1];
    a += shuffle_xor(upper ? v[0] : v[2], 16);
    b += shuffle_xor(upper ? v[1] : v[3], 16);
    int32_t sum = odd ? b : a;
    sum += shuffle_xor(odd ? a : b, 8);
    sum += shuffle_xor(sum, 4);
    if (!(lane & 4)) add_shared(sums + 4 * (lane % 4) + (upper ? 2 : 0) + (odd ? 1 : 0), sum);
}

// A tile of 16 rows for T tokens.
template <uint32_t T> DEVICE void dense(const ProductParams &p) {
    // Groups whose sums are kept before they are folded.
    constexpr uint32_t ROUND = 256 / T;
    SHARED(int32_t, sums, ROUND * T * 16);
    const uint32_t thread = thread_index(), warp = thread / 32, lane = thread % 32;
    const auto &job = p.job[job_of(p, block_x())];
    const uint32_t tile = block_x() - job.first_tile, first_token = block_y() * T;
    const uint32_t padded = job.padded_inputs, group = job.group;
    const uint32_t groups = (padded + group - 1) / group;
    const int8_t *weights = job.weights + uint64_t(tile) * padded * 16 + lane * 16;
    const int16_t *q[T];
    UNROLL for (uint32_t t = 0; t < T; t++) {
        const uint64_t token = minimum(first_token + t, p.tokens - 1);
        q[t] = job.input.q + token * padded + lane / 4 * 4;
    }

    float acc = 0.0f;
    for (uint32_t round = 0; round < groups; round += ROUND) {
        const uint32_t round_groups = minimum(ROUND, groups - round);
        for (uint32_t i = thread; i < round_groups * T * 16; i += 32 * WARPS) sums[i] = 0;
        sync_block();

        // Steps of 32 inputs, a run of them for each warp.
        const uint32_t first = round * group / 32;
        const uint32_t last = minimum((round + round_groups) * group, padded) / 32;
        const uint32_t share = (last - first + WARPS - 1) / WARPS;
        uint32_t step = first + warp * share;
        const uint32_t end = minimum(step + share, last);
        while (step < end) {
            const uint32_t of_group = step * 32 / group;
            const uint32_t group_end = minimum((of_group + 1) * group / 32, end);
            int32_t sum[T][4] = {};
            for (; step < group_end; step++) {
                const Words4 w =
                    load_weights(reinterpret_cast<const Words4 *>(weights + uint64_t(step) * 512));
                UNROLL for (uint32_t t = 0; t < T; t++) {
                    const Words2 x = *reinterpret_cast<const Words2 *>(q[t] + step * 32);
                    UNROLL for (uint32_t r = 0; r < 4; r++) {
                        sum[t][r] = dot2_low(x.word[0], w.word[r], sum[t][r]);
                        sum[t][r] = dot2_high(x.word[1], w.word[r], sum[t][r]);
                    }
                }
            }
            UNROLL for (uint32_t t = 0; t < T; t++) {
                add_rows(sums + ((of_group - round) * T + t) * 16, sum[t]);
            }
        }
        sync_block();

        if (thread < T * 16) {
            const uint16_t *scales = job.scales + (uint64_t(tile) * groups + round) * 16;
            for (uint32_t g = 0; g < round_groups; g++) {
                const float scale = scale_to_float(scales[g * 16 + thread % 16]);
                acc = acc + float(sums[g * T * 16 + thread]) * scale;
            }
        }
        sync_block();
    }
    const uint32_t token = first_token + thread / 16, row = tile * 16 + thread % 16;
    if (thread < T * 16 && token < p.tokens && row < job.output.rows) {
        store(job.output, token, row, acc * (job.input.scale[token] * job.multiplier));
    }
}

KERNEL(dense_1, 256, ProductParams, p) { dense<1>(p); }
KERNEL(dense_8, 256, ProductParams, p) { dense<8>(p); }

// ---- tensor cores
//
// A block is 128 rows by 64 tokens, a warp of it 32 rows by 32 tokens. 32 inputs of both operands
// are a stage, and stages go through a ring in shared memory: the next ones are copied while one
// is multiplied. Lane (g, t) takes inputs 8t to 8t + 7 of a stage, and rows 4g to 4g + 3 of its
// warp's: the first two are the fragments' rows g and g + 8, the others those of a second `mma`.
// Products and sums do not depend on which input is where, as long as it is the same in both.

constexpr uint32_t MMA_ROWS = 128;
constexpr uint32_t MMA_TOKENS = 64;
constexpr uint32_t STAGE_INPUTS = 32;
// 48 KB for both operands are what a block may have.
constexpr uint32_t STAGES = 6;
// Pieces of 16 bytes of each operand in a stage, one for each thread to copy.
constexpr uint32_t PIECES = 256;

// Four words of each of the two halves of a lane's inputs, as the fragments of its two `mma`.
struct Fragments {
    uint32_t a[2][4];
    DEVICE Fragments(const uint32_t first[4], const uint32_t second[4]) {
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            a[i / 2][i % 2] = first[i];
            a[i / 2][2 + i % 2] = second[i];
        }
    }
};

// 128 rows of a dense matrix, [row/16][input/4][16][4]. In a stage the sixteen-byte pieces of a
// tile of 16 rows, four rows c of four inputs i each, are [c/2][i%2][c%2][i/2]: the lanes of a
// quarter of a warp read their first four inputs in one line, and their second four in another.
struct TilesOfRows {
    const int8_t *piece;     // what this thread copies of the first stage
    const uint16_t *scales;  // those of this lane's four rows in the first group

    DEVICE TilesOfRows(const int8_t *weights, const uint16_t *all_scales, uint32_t rows,
                       uint32_t padded, uint32_t group, uint32_t first_row, uint32_t warp_row) {
        const uint32_t thread = thread_index(), lane = thread % 32;
        const uint32_t last_tile = (rows - 1) / 16, groups = (padded + group - 1) / group;
        const uint64_t tile = minimum(first_row / 16 + thread / 32, last_tile);
        const uint32_t i = lane % 4 * 2 + lane / 8 % 2, c = lane / 16 * 2 + lane / 4 % 2;
        piece = weights + tile * padded * 16 + i * 64 + c * 16;
        const uint64_t lane_tile = minimum((first_row + warp_row) / 16 + lane / 16, last_tile);
        scales = all_scales + lane_tile * groups * 16 + lane / 4 % 4 * 4;
    }
    DEVICE const int8_t *piece_of(uint32_t input) const { return piece + uint64_t(input) * 16; }
    DEVICE const uint16_t *scales_of(uint32_t group) const { return scales + uint64_t(group) * 16; }
    static DEVICE Fragments fragments(const Words4 *stage, uint32_t warp_row) {
        const uint32_t lane = thread_index() % 32;
        const Words4 *rows = stage + warp_row / 16 * 32 + lane / 8 * 16 + lane % 8;
        const Words4 first = rows[0], second = rows[8];
        return Fragments(first.word, second.word);
    }
};

// 128 rows of a sparse matrix, [input][row]. A stage is [input][warp ^ input/8][32 rows]: lanes that
// read inputs of four t at once find them in different banks.
struct RowsOfInputs {
    const int8_t *piece;     // what this thread copies of the first stage
    const uint16_t *scales;  // those of this lane's four rows in the first group
    uint32_t padded_rows;

    DEVICE RowsOfInputs(const SparseParams &p, uint32_t first_row, uint32_t warp_row) {
        padded_rows = (p.output.rows + 15) / 16 * 16;
        const uint32_t thread = thread_index(), input = thread / 8;
        const uint32_t row = first_row + (thread % 8 / 2 ^ input / 8) * 32 + thread % 2 * 16;
        piece = p.weights + uint64_t(input) * padded_rows + minimum(row, padded_rows - 16);
        const uint32_t lane_row = first_row + warp_row + thread % 32 / 4 * 4;
        scales = p.scales + minimum(lane_row, padded_rows - 4);
    }
    DEVICE const int8_t *piece_of(uint32_t input) const {
        return piece + uint64_t(input) * padded_rows;
    }
    DEVICE const uint16_t *scales_of(uint32_t group) const {
        return scales + uint64_t(group) * padded_rows;
    }
    // Words have four rows of an input, and become four inputs of a row.
    static DEVICE void transpose(uint32_t w[4]) {
        const uint32_t a = permute_bytes(w[0], w[1], 0x5140), b = permute_bytes(w[2], w[3], 0x5140);
        const uint32_t c = permute_bytes(w[0], w[1], 0x7362), d = permute_bytes(w[2], w[3], 0x7362);
        w[0] = permute_bytes(a, b, 0x5410);
        w[1] = permute_bytes(a, b, 0x7632);
        w[2] = permute_bytes(c, d, 0x5410);
        w[3] = permute_bytes(c, d, 0x7632);
    }
    static DEVICE Fragments fragments(const Words4 *stage, uint32_t warp_row) {
        const uint32_t lane = thread_index() % 32, g = lane / 4, t = lane % 4;
        const Words4 *rows = stage + t * 8 * 8 + (warp_row / 32 ^ t) * 2 + g / 4;
        uint32_t first[4], second[4];
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            first[i] = rows[i * 8].word[g % 4];
            second[i] = rows[(4 + i) * 8].word[g % 4];
        }
        transpose(first);
        transpose(second);
        return Fragments(first, second);
    }
};

// 128 rows by 64 tokens of a product, whose weights are `Weights`.
template <class Weights>
DEVICE void mma_block(const Weights &weights, const Quantized &input, const Output &output,
                      float multiplier, uint32_t padded, uint32_t group, uint32_t first_row,
                      uint32_t first_token, uint32_t tokens) {
    SHARED(Words4, staged_weights, STAGES *PIECES);
    SHARED(Words4, staged_q, STAGES *PIECES);  // [stage][token][input/8]
    const uint32_t thread = thread_index(), lane = thread % 32, g = lane / 4, t = lane % 4;
    const uint32_t warp_row = thread / 32 % 4 * 32, warp_token = thread / 128 * 32;
    // Other warps copy, and have nothing to multiply.
    const bool multiplies =
        first_row + warp_row < output.rows && first_token + warp_token < tokens;
    const uint64_t copied_token = minimum(first_token + thread / 4, tokens - 1);
    const int16_t *q = input.q + copied_token * padded + thread % 4 * 8;
    const uint32_t steps = padded / STAGE_INPUTS;
    auto copy = [&](uint32_t step) {
        if (step < steps) {
            const uint32_t at = step % STAGES * PIECES + thread;
            copy_async(staged_weights + at, weights.piece_of(step * STAGE_INPUTS));
            copy_async(staged_q + at, q + step * STAGE_INPUTS);
        }
        // Also where there is nothing, because waiting counts what was committed.
        commit_copies();
    };
    for (uint32_t step = 0; step < STAGES - 1; step++) copy(step);

    float acc[2][4][4] = {};
    uint32_t step = 0;
    for (uint32_t of_group = 0; step < steps; of_group++) {
        int32_t sum_high[2][4][4] = {}, sum_low[2][4][4] = {};
        const uint32_t end = minimum(step + group / STAGE_INPUTS, steps);
        for (; step < end; step++) {
            // The copies of this stage by all threads; and all have read the stage before, whose
            // place the next copy takes.
            wait_copies<STAGES - 2>();
            sync_block();
            copy(step + STAGES - 1);
            if (!multiplies) continue;
            const uint32_t stage = step % STAGES * PIECES;
            const Fragments w = Weights::fragments(staged_weights + stage, warp_row);
            UNROLL for (uint32_t n = 0; n < 4; n++) {
                const Words4 x = staged_q[stage + (warp_token + n * 8 + g) * 4 + t];
                const uint32_t high[2] = {permute_bytes(x.word[0], x.word[1], 0x7531),
                                          permute_bytes(x.word[2], x.word[3], 0x7531)};
                const uint32_t low[2] = {permute_bytes(x.word[0], x.word[1], 0x6420),
                                         permute_bytes(x.word[2], x.word[3], 0x6420)};
                UNROLL for (uint32_t m = 0; m < 2; m++) {
                    mma_signed(sum_high[m][n], w.a[m], high);
                    mma_unsigned(sum_low[m][n], w.a[m], low);
                }
            }
        }
        const Words2 scales = *reinterpret_cast<const Words2 *>(weights.scales_of(of_group));
        UNROLL for (uint32_t m = 0; m < 2; m++) {
            const float scale[2] = {scale_to_float(uint16_t(scales.word[m])),
                                    scale_to_float(uint16_t(scales.word[m] >> 16))};
            UNROLL for (uint32_t n = 0; n < 4; n++) {
                UNROLL for (uint32_t i = 0; i < 4; i++) {
                    const int32_t sum = sum_high[m][n][i] * 256 + sum_low[m][n][i];
                    acc[m][n][i] = acc[m][n][i] + float(sum) * scale[i / 2];
                }
            }
        }
    }
    if (!multiplies) return;
    UNROLL for (uint32_t n = 0; n < 4; n++) {
        UNROLL for (uint32_t j = 0; j < 2; j++) {
            const uint32_t token = first_token + warp_token + n * 8 + 2 * t + j;
            if (token >= tokens) continue;
            const float scale = input.scale[token] * multiplier;
            UNROLL for (uint32_t r = 0; r < 4; r++) {
                const uint32_t row = first_row + warp_row + 4 * g + r;
                if (row < output.rows) {
                    store(output, token, row, acc[r / 2][n][r % 2 * 2 + j] * scale);
                }
            }
        }
    }
}

// 128 rows by 64 tokens. Its blocks count tiles of 16 rows by eights: `first_tile` is a multiple of
// 8 here.
KERNEL(dense_mma, 256, ProductParams, p) {
    constexpr uint32_t TILES = MMA_ROWS / 16;
    const uint32_t warp_row = thread_index() / 32 % 4 * 32;
    const auto &job = p.job[job_of(p, block_x() * TILES)];
    const uint32_t first_row = (block_x() * TILES - job.first_tile) * 16;
    const TilesOfRows weights(job.weights, job.scales, job.output.rows, job.padded_inputs,
                              job.group, first_row, warp_row);
    mma_block(weights, job.input, job.output, job.multiplier, job.padded_inputs, job.group,
              first_row, block_y() * MMA_TOKENS, p.tokens);
}

// ---- a product whose activations are mostly zero

// 32 rows of one token. A warp takes every eighth group: it lists the inputs that are not zero, and
// its lanes read 32 bytes, a sector, of four of them at once. Inputs of zero are not read.
KERNEL(sparse, 256, SparseParams, p) {
    constexpr uint32_t ROUND = 64;
    SHARED(int32_t, sums, ROUND * 32);
    SHARED(uint32_t, listed, WARPS * 32);
    const uint32_t thread = thread_index(), warp = thread / 32, lane = thread % 32;
    const uint32_t first_row = block_x() * 32, row = first_row + lane % 8 * 4;
    const uint64_t token = block_y();
    const uint32_t padded_rows = (p.output.rows + 15) / 16 * 16;
    const uint32_t groups = (p.padded_inputs + p.group - 1) / p.group;
    const int16_t *q = p.input.q + token * p.padded_inputs;
    uint32_t *list = listed + warp * 32;

    float acc = 0.0f;
    for (uint32_t round = 0; round < groups; round += ROUND) {
        const uint32_t round_groups = minimum(ROUND, groups - round);
        for (uint32_t g = round + warp; g < round + round_groups; g += WARPS) {
            int32_t sum[4] = {};
            const uint32_t end = minimum((g + 1) * p.group, p.padded_inputs);
            for (uint32_t input = g * p.group; input < end; input += 32) {
                const int32_t value = q[input + lane];
                const uint32_t mask = vote(value != 0);
                const uint32_t count = population(mask);
                if (value != 0) {
                    // The value and its input's place among these 32, in one word.
                    const uint32_t place = population(mask & ((1u << lane) - 1));
                    list[place] = uint32_t(value) << 16 | lane;
                }
                sync_warp();
                if (row < padded_rows) {
                    for (uint32_t i = lane / 8; i < count; i += 4) {
                        const int32_t x = int32_t(list[i]) >> 16;
                        const uint64_t of_input = input + (list[i] & 31);
                        const uint32_t w = load_weights(reinterpret_cast<const uint32_t *>(
                            p.weights + of_input * padded_rows + row));
                        UNROLL for (uint32_t r = 0; r < 4; r++) {
                            sum[r] += x * int8_t(w >> (8 * r));
                        }
                    }
                }
                sync_warp();
            }
            UNROLL for (uint32_t r = 0; r < 4; r++) {
                sum[r] += shuffle_xor(sum[r], 8);
                sum[r] += shuffle_xor(sum[r], 16);
                if (lane < 8) sums[(g - round) * 32 + lane * 4 + r] = sum[r];
            }
        }
        sync_block();
        if (thread < 32 && first_row + thread < padded_rows) {
            const uint16_t *scales = p.scales + uint64_t(round) * padded_rows + first_row + thread;
            for (uint32_t g = 0; g < round_groups; g++) {
                const float scale = scale_to_float(scales[uint64_t(g) * padded_rows]);
                acc = acc + float(sums[g * 32 + thread]) * scale;
            }
        }
        sync_block();
    }
    if (thread < 32 && first_row + thread < p.output.rows) {
        const float y = acc * (p.input.scale[token] * p.multiplier);
        store(p.output, token, first_row + thread, y);
    }
}

// 128 rows by 64 tokens. Of so many tokens hardly an input is zero in all.
KERNEL(sparse_mma, 256, SparseParams, p) {
    const uint32_t first_row = block_x() * MMA_ROWS, warp_row = thread_index() / 32 % 4 * 32;
    const RowsOfInputs weights(p, first_row, warp_row);
    mma_block(weights, p.input, p.output, p.multiplier, p.padded_inputs, p.group, first_row,
              block_y() * MMA_TOKENS, p.tokens);
}
