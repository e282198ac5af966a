// Products of matrices of eight or four bits and int16 activations: exact i32 sums of each group of
// inputs, folded into f32 in the order of the groups.
//
//   acc = +0.0
//   for each group, ascending:  acc = acc + float(sum) * scale
//   y = acc * (activation scale * multiplier)
//
// Integers are exact, so that warps and lanes share the inputs of a group in any way; the fold is
// one thread's for each output.
//
// The layout of the model file suits the device as it is: [row/16][input/4][16][4], tiles of 16
// rows by 4 inputs. Of int8, sixteen bytes for each lane are eight tiles, 32 inputs of 16 rows, in
// one read of 512 bytes; and two words for each lane are an operand of `mma` whose rows are
// permuted. Of int4, a byte has a weight of one tile and, in its high half, that of the next: the
// same read is 64 inputs, of which a lane has eight that follow each other, and one word is what
// two of int8 are.
//
// `dense_1` and `dense_8` are for decoding, bound by the bytes of the weights: a block of eight
// warps is a tile of 16 rows, and its warps share the inputs. `dense_mma` and `sparse_mma` are for
// prefill and for many sequences, on the tensor cores. They multiply bytes, so
// q = 256 * high + low with a signed high and an unsigned low byte, two products and one sum.
//
// Each type of weights has kernels of its own, `Int8` or `Int4` of one body: the loads that `Int4`
// keeps in flight would cost `Int8` registers, and thus warps.

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
constexpr uint32_t THREADS = 32 * WARPS;

// ---- types of weights

// A byte each.
struct Int8 {
    static constexpr uint32_t BITS = 8;
    // Rows of an input in sixteen bytes of a sparse matrix, to which they are padded.
    static constexpr uint32_t ROW_PAD = 16;
    // Pieces of 16 bytes of scales in a stage of the tensor cores' ring, and rows whose scales a
    // thread reads: none and its lane's four, because most groups are many stages.
    static constexpr uint32_t SCALE_PIECES = 0, ROWS_OF_SCALES = 4;
    static DEVICE float scale(uint16_t scale) { return scale_to_float(scale); }
    static DEVICE uint32_t block(uint32_t word, uint32_t) { return word; }
};

// Nibbles u = weight + 8, two to a byte: blocks of bytes have one block of weights in their low
// halves and the next in their high ones (`runtime/src/kernels/weights.rs`).
//
// Kernels multiply with sixteen times the weight. Its nibble with the highest bit flipped is the
// weight in two's complement, and in the high half of a byte that is sixteen times as much: two
// words of weights take three operations. At their own size they take seven, and unsigned ones the
// sum of the activations besides. Sums stay exact, at most 128 inputs * 128 * 32767; and the scale
// is a sixteenth, because a power of two changes no bit of a product.
struct Int4 {
    static constexpr uint32_t BITS = 4;
    static constexpr uint32_t ROW_PAD = 32;
    // Of one stage to four are a group: a block would wait for the scales of each.
    static constexpr uint32_t SCALE_PIECES = 16, ROWS_OF_SCALES = 8;
    static DEVICE float scale(uint16_t scale) { return scale_to_float(scale) * 0.0625f; }
    static DEVICE uint32_t high(uint32_t word) { return (word & 0xF0F0F0F0) ^ 0x80808080; }
    static DEVICE uint32_t low(uint32_t word) { return high(word << 4); }
    // Four weights of the first block of a pair, 0, or of the second.
    static DEVICE uint32_t block(uint32_t word, uint32_t second) {
        return high(word << (second ? 0 : 4));
    }
};

// Rows of a sparse matrix with padding.
template <class Type> DEVICE uint32_t padded_lines(uint32_t rows) {
    return (rows + Type::ROW_PAD - 1) / Type::ROW_PAD * Type::ROW_PAD;
}

// ---- dense products of a few tokens

// The sums of four rows, `v`, of this lane and of those that differ in the bits FAR and FAR / 2: of
// the row that these bits of the lane choose.
template <uint32_t FAR> DEVICE int32_t sum_of_row(const int32_t v[4]) {
    const uint32_t lane = thread_index() % 32;
    const bool upper = lane & FAR, odd = lane & FAR / 2;
    int32_t a = upper ? v[2] : v[0], b = upper ? v[3] : v[1];
    a += shuffle_xor(upper ? v[0] : v[2], FAR);
    b += shuffle_xor(upper ? v[1] : v[3], FAR);
    return (odd ? b : a) + shuffle_xor(odd ? a : b, FAR / 2);
}

// A tile of 16 rows as a lane reads it, with `BITS` of a weight in steps of 512 bytes. Of each step
// it has rows 4 * (lane % 4) and up, and inputs from lane / 4 * (32 / BITS) on.
template <uint32_t T> struct LaneOfTile {
    const uint8_t *weights;  // sixteen bytes of the first step
    const int16_t *q[T];     // the inputs of each token in the first step
    uint32_t padded;
    uint32_t group;
};

// Steps of 32 inputs, a run of them for each warp, whose sums are kept to the end of a group.
template <uint32_t T>
DEVICE void add_sums(Int8, int32_t *sums, const LaneOfTile<T> &at, uint32_t round,
                     uint32_t round_groups) {
    const uint32_t warp = thread_index() / 32, lane = thread_index() % 32;
    const uint32_t first = round * at.group / 32;
    const uint32_t last = minimum((round + round_groups) * at.group, at.padded) / 32;
    const uint32_t share = (last - first + WARPS - 1) / WARPS;
    uint32_t step = first + warp * share;
    const uint32_t end = minimum(step + share, last);
    while (step < end) {
        const uint32_t of_group = step * 32 / at.group;
        const uint32_t group_end = minimum((of_group + 1) * at.group / 32, end);
        int32_t sum[T][4] = {};
        for (; step < group_end; step++) {
            const Words4 w =
                load_weights(reinterpret_cast<const Words4 *>(at.weights + uint64_t(step) * 512));
            UNROLL for (uint32_t t = 0; t < T; t++) {
                const Words2 x = *reinterpret_cast<const Words2 *>(at.q[t] + step * 32);
                UNROLL for (uint32_t r = 0; r < 4; r++) {
                    sum[t][r] = dot2_low(x.word[0], w.word[r], sum[t][r]);
                    sum[t][r] = dot2_high(x.word[1], w.word[r], sum[t][r]);
                }
            }
        }
        UNROLL for (uint32_t t = 0; t < T; t++) {
            int32_t row = sum_of_row<16>(sum[t]);
            row += shuffle_xor(row, 4);
            const uint32_t to = lane % 4 * 4 + lane / 16 * 2 + lane / 8 % 2;
            if (!(lane & 4)) add_shared(sums + ((of_group - round) * T + t) * 16 + to, row);
        }
    }
}

// Steps of 64 inputs, a run of them for each warp. Each half of a warp has 32 inputs, all of one
// group; the last step of a tile may have the first half alone.
//
// The groups that quantizers make are 32 inputs, so that no loop over a group would keep more than
// one read in flight: of one token, a warp reads LOADS steps before it multiplies the first. Of
// eight tokens it has products enough to wait with.
template <uint32_t T>
DEVICE void add_sums(Int4, int32_t *sums, const LaneOfTile<T> &at, uint32_t round,
                     uint32_t round_groups) {
    constexpr uint32_t LOADS = T == 1 ? 4 : 1;
    const uint32_t warp = thread_index() / 32, lane = thread_index() % 32, half = lane / 16;
    const uint32_t first = round * at.group / 64;
    const uint32_t halves = minimum((round + round_groups) * at.group, at.padded) / 32;
    const uint32_t last = (halves + 1) / 2, share = (last - first + WARPS - 1) / WARPS;
    uint32_t step = first + warp * share;
    const uint32_t end = minimum(step + share, last);
    // The logarithm of the halves of a group.
    const uint32_t shift = population(at.group / 32 - 1);
    const uint32_t to = lane % 4 * 4 + lane / 8 % 2 * 2 + lane / 4 % 2;
    for (; step < end; step += LOADS) {
        Words4 packed[LOADS];
        UNROLL for (uint32_t i = 0; i < LOADS; i++) {
            const uint64_t next = step + i;
            const bool is_there = next < end && next * 2 + half < halves;
            const uint8_t *from = at.weights + next * 512;
            packed[i] = is_there ? load_weights(reinterpret_cast<const Words4 *>(from)) : Words4{};
        }
        UNROLL for (uint32_t i = 0; i < LOADS; i++) {
            const uint32_t next = step + i, of_group = (next * 2 + half) >> shift;
            if (next >= end) break;
            const bool is_there = next * 2 + half < halves;
            UNROLL for (uint32_t t = 0; t < T; t++) {
                int32_t sum[4] = {};
                if (is_there) {
                    const Words4 x = *reinterpret_cast<const Words4 *>(at.q[t] + next * 64);
                    UNROLL for (uint32_t r = 0; r < 4; r++) {
                        const uint32_t word = packed[i].word[r];
                        sum[r] = dot2_low(x.word[0], Int4::low(word), sum[r]);
                        sum[r] = dot2_high(x.word[1], Int4::low(word), sum[r]);
                        sum[r] = dot2_low(x.word[2], Int4::high(word), sum[r]);
                        sum[r] = dot2_high(x.word[3], Int4::high(word), sum[r]);
                    }
                }
                const int32_t row = sum_of_row<8>(sum);
                if (is_there) add_shared(sums + ((of_group - round) * T + t) * 16 + to, row);
            }
        }
    }
}

// A tile of 16 rows for T tokens.
template <class Weights, uint32_t T> DEVICE void dense(const ProductParams &p) {
    // Groups whose sums are kept before they are folded, an even number. Their scales are copied
    // while the weights are read: one after the other they would be waited for as long again.
    constexpr uint32_t ROUND = T == 1 ? 128 : 256 / T;
    SHARED(int32_t, sums, ROUND * T * 16);
    SHARED(Words4, scales, ROUND * 2);  // [group][16], of two bytes
    const uint32_t thread = thread_index(), lane = thread % 32;
    const auto &job = p.job[job_of(p, block_x())];
    const uint32_t tile = block_x() - job.first_tile, first_token = block_y() * T;
    const uint32_t padded = job.padded_inputs, group = job.group;
    const uint32_t groups = (padded + group - 1) / group;
    const uint8_t *weights = static_cast<const uint8_t *>(job.weights);
    LaneOfTile<T> at;
    at.weights = weights + uint64_t(tile) * padded * (2 * Weights::BITS) + lane * 16;
    at.padded = padded;
    at.group = group;
    UNROLL for (uint32_t t = 0; t < T; t++) {
        const uint64_t token = minimum(first_token + t, p.tokens - 1);
        at.q[t] = job.input.q + token * padded + lane / 4 * (32 / Weights::BITS);
    }

    float acc = 0.0f;
    for (uint32_t round = 0; round < groups; round += ROUND) {
        const uint32_t round_groups = minimum(ROUND, groups - round);
        for (uint32_t i = thread; i < round_groups * T * 16; i += THREADS) sums[i] = 0;
        if (thread < round_groups * 2) {
            copy_async(scales + thread,
                       job.scales + (uint64_t(tile) * groups + round) * 16 + thread * 8);
        }
        commit_copies();
        sync_block();
        add_sums<T>(Weights(), sums, at, round, round_groups);
        wait_copies<0>();
        sync_block();

        if (thread < T * 16) {
            const uint16_t *scale = reinterpret_cast<const uint16_t *>(scales) + thread % 16;
            for (uint32_t g = 0; g < round_groups; g++) {
                acc = acc + float(sums[g * T * 16 + thread]) * Weights::scale(scale[g * 16]);
            }
        }
        sync_block();
    }
    const uint32_t token = first_token + thread / 16, row = tile * 16 + thread % 16;
    if (thread < T * 16 && token < p.tokens && row < job.output.rows) {
        store(job.output, token, row, acc * (job.input.scale[token] * job.multiplier));
    }
}

KERNEL(dense_1, 256, ProductParams, p) { dense<Int8, 1>(p); }
KERNEL(dense_8, 256, ProductParams, p) { dense<Int8, 8>(p); }
KERNEL(dense_1_int4, 256, ProductParams, p) { dense<Int4, 1>(p); }
KERNEL(dense_8_int4, 256, ProductParams, p) { dense<Int4, 8>(p); }

// ---- tensor cores
//
// A block is 128 rows by 64 tokens, a warp of it 32 rows by 32 tokens. 32 inputs of both operands
// are a stage, and stages go through a ring in shared memory: the next ones are copied while one
// is multiplied. Lane (g, t) takes inputs 8t to 8t + 7 of a stage, and rows 4g to 4g + 3 of its
// warp's: the first two are the fragments' rows g and g + 8, the others those of a second `mma`.
// Products and sums do not depend on which input is where, as long as it is the same in both.
//
// Weights go through the ring as they lie in the file, int4 packed: a stage of them is half the
// bytes, so that the ring has more stages. `Weights` has:
//
//   PIECES               pieces of 16 bytes of a stage, each copied by one thread
//   piece_of(input)      what this thread copies of the stage that starts there
//   scales_of(group)     the scales that this thread reads
//   fragments(stage, r)  this lane's operands of the rows from r on

constexpr uint32_t MMA_ROWS = 128;
constexpr uint32_t MMA_TOKENS = 64;
constexpr uint32_t STAGE_INPUTS = 32;
// 48 KB are what a block may have, in pieces. Of a stage THREADS are activations.
constexpr uint32_t ALL_PIECES = 3072;

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

// The first row whose scale this thread reads: one of its lane's rows, or of those that it copies.
template <class Type> DEVICE uint32_t first_scale_row(uint32_t warp_row) {
    const uint32_t thread = thread_index();
    return Type::SCALE_PIECES ? thread % Type::SCALE_PIECES * 8 : warp_row + thread % 32 / 4 * 4;
}

// 128 rows of a dense matrix, [row/16][input/4][16][4].
template <class Type> struct TilesOfRows {
    static constexpr uint32_t PIECES = 32 * Type::BITS;
    const uint8_t *piece;    // what this thread copies of the first stage
    const uint16_t *scales;  // those that this thread reads of the first group

    DEVICE TilesOfRows(const void *weights, const uint16_t *all_scales, uint32_t rows,
                       uint32_t padded, uint32_t group, uint32_t first_row, uint32_t warp_row) {
        constexpr uint32_t OF_TILE = PIECES / 8;
        const uint32_t thread = thread_index();
        const uint32_t last_tile = (rows - 1) / 16, groups = (padded + group - 1) / group;
        const uint32_t scale_row = first_scale_row<Type>(warp_row);
        const uint64_t tile = minimum(first_row / 16 + thread / OF_TILE, last_tile);
        piece = static_cast<const uint8_t *>(weights) + tile * padded * (2 * Type::BITS) +
                place(Type(), thread % OF_TILE) * 16;
        const uint64_t scale_tile = minimum((first_row + scale_row) / 16, last_tile);
        scales = all_scales + scale_tile * groups * 16 + scale_row % 16;
    }
    DEVICE const uint8_t *piece_of(uint32_t input) const {
        return piece + uint64_t(input) * (2 * Type::BITS);
    }
    DEVICE const uint16_t *scales_of(uint32_t group) const { return scales + uint64_t(group) * 16; }
    static DEVICE Fragments fragments(const Words4 *stage, uint32_t warp_row) {
        return fragments(Type(), stage + warp_row / 16 * (PIECES / 8), thread_index() % 32);
    }

private:
    // The pieces of a tile of 16 rows, four rows c of four inputs i each, are [c/2][i%2][c%2][i/2]
    // in a stage: the lanes of a quarter of a warp read their first four inputs in one line, and
    // their second four in another.
    static DEVICE uint32_t place(Int8, uint32_t piece) {
        const uint32_t i = piece % 4 * 2 + piece / 8 % 2, c = piece / 16 * 2 + piece / 4 % 2;
        return i * 4 + c;
    }
    static DEVICE Fragments fragments(Int8, const Words4 *stage, uint32_t lane) {
        const Words4 *rows = stage + lane / 8 * 16 + lane % 8;
        const Words4 first = rows[0], second = rows[8];
        return Fragments(first.word, second.word);
    }
    // The pieces of a tile are four rows c of eight inputs i each, [c][i] in a stage, which is the
    // order of the lanes that read them: the first four inputs are in the low nibbles.
    static DEVICE uint32_t place(Int4, uint32_t piece) { return piece % 4 * 4 + piece / 4; }
    static DEVICE Fragments fragments(Int4, const Words4 *stage, uint32_t lane) {
        const Words4 packed = stage[lane];
        uint32_t first[4], second[4];
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            first[i] = Int4::low(packed.word[i]);
            second[i] = Int4::high(packed.word[i]);
        }
        return Fragments(first, second);
    }
};

// 128 rows of a sparse matrix, [input][row]: 32 rows of an input are two pieces of int8 or one of
// int4. A stage is [input][warp ^ input/8][32 rows]: lanes that read inputs of four t at once find
// them in different banks.
template <class Type> struct RowsOfInputs {
    static constexpr uint32_t PIECES = 32 * Type::BITS;
    // Pieces of 32 rows.
    static constexpr uint32_t OF_WARP = Type::BITS / 4;
    const uint8_t *piece;    // what this thread copies of the first stage
    const uint16_t *scales;  // those of this lane's four rows in the first group
    uint32_t padded_rows;

    DEVICE RowsOfInputs(const SparseParams &p, uint32_t first_row, uint32_t warp_row) {
        padded_rows = padded_lines<Type>(p.output.rows);
        const uint32_t thread = thread_index(), input = thread / Type::BITS;
        const uint32_t block = thread % Type::BITS / OF_WARP ^ input / 8;
        const uint32_t row = first_row + block * 32 + thread % OF_WARP * Type::ROW_PAD;
        piece = static_cast<const uint8_t *>(p.weights) + uint64_t(input) * line() +
                minimum(row, padded_rows - Type::ROW_PAD) * Type::BITS / 8;
        const uint32_t scale_row = first_row + first_scale_row<Type>(warp_row);
        scales = p.scales + minimum(scale_row, padded_rows - Type::ROWS_OF_SCALES);
    }
    // Bytes of an input.
    DEVICE uint32_t line() const { return padded_rows * Type::BITS / 8; }
    DEVICE const uint8_t *piece_of(uint32_t input) const {
        return piece + uint64_t(input) * line();
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
        const Words4 *rows = stage + (t * 8 * 4 + (warp_row / 32 ^ t)) * OF_WARP + g / 4 % OF_WARP;
        uint32_t first[4], second[4];
        // Of int4, rows from 16 on are the second block of a pair.
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            first[i] = Type::block(rows[i * Type::BITS].word[g % 4], g / 4);
            second[i] = Type::block(rows[(4 + i) * Type::BITS].word[g % 4], g / 4);
        }
        transpose(first);
        transpose(second);
        return Fragments(first, second);
    }
};

// 128 rows by 64 tokens of a product, whose weights are `Weights`, of type `Type`.
template <class Type, class Weights>
DEVICE void mma_block(const Weights &weights, const Quantized &input, const Output &output,
                      float multiplier, uint32_t padded, uint32_t group, uint32_t first_row,
                      uint32_t first_token, uint32_t tokens) {
    // A stage: weights, activations [token][input/8], and scales [row] where it has them.
    constexpr uint32_t Q_AT = Weights::PIECES, SCALES_AT = Q_AT + THREADS;
    constexpr uint32_t STAGE = SCALES_AT + Type::SCALE_PIECES, STAGES = ALL_PIECES / STAGE;
    SHARED(Words4, ring, STAGES * STAGE);
    const uint32_t thread = thread_index(), lane = thread % 32, g = lane / 4, t = lane % 4;
    const uint32_t warp_row = thread / 32 % 4 * 32, warp_token = thread / 128 * 32;
    // Other warps copy, and have nothing to multiply.
    const bool multiplies =
        first_row + warp_row < output.rows && first_token + warp_token < tokens;
    const uint64_t copied_token = minimum(first_token + thread / 4, tokens - 1);
    const int16_t *q = input.q + copied_token * padded + thread % 4 * 8;
    const uint32_t steps = padded / STAGE_INPUTS, steps_of_group = group / STAGE_INPUTS;
    // The last threads have no weights to copy where they have scales.
    const bool copies_weights = Q_AT == THREADS || thread < Q_AT;
    const bool copies_scales = Type::SCALE_PIECES && thread >= THREADS - Type::SCALE_PIECES;
    const uint32_t shift = population(steps_of_group - 1);
    auto copy = [&](uint32_t step) {
        if (step < steps) {
            Words4 *stage = ring + step % STAGES * STAGE + thread;
            const uint32_t input = step * STAGE_INPUTS;
            if (copies_weights) copy_async(stage, weights.piece_of(input));
            copy_async(stage + Q_AT, q + input);
            if (copies_scales) {
                copy_async(stage + STAGE - THREADS, weights.scales_of(step >> shift));
            }
        }
        // Also where there is nothing, because waiting counts what was committed.
        commit_copies();
    };
    for (uint32_t step = 0; step < STAGES - 1; step++) copy(step);

    float acc[2][4][4] = {};
    uint32_t step = 0;
    for (uint32_t of_group = 0; step < steps; of_group++) {
        int32_t sum_high[2][4][4] = {}, sum_low[2][4][4] = {};
        const uint32_t end = minimum(step + steps_of_group, steps);
        for (; step < end; step++) {
            // The copies of this stage by all threads; and all have read the stage before, whose
            // place the next copy takes.
            wait_copies<STAGES - 2>();
            sync_block();
            copy(step + STAGES - 1);
            if (!multiplies) continue;
            const Words4 *stage = ring + step % STAGES * STAGE;
            const Fragments w = Weights::fragments(stage, warp_row);
            UNROLL for (uint32_t n = 0; n < 4; n++) {
                const Words4 x = stage[Q_AT + (warp_token + n * 8 + g) * 4 + t];
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
        // The last stage of the group stays until all threads have left it.
        const Words4 *staged = ring + (step - 1) % STAGES * STAGE + SCALES_AT;
        const Words2 scales = Type::SCALE_PIECES
                                  ? reinterpret_cast<const Words2 *>(staged)[warp_row / 4 + g]
                                  : *reinterpret_cast<const Words2 *>(weights.scales_of(of_group));
        UNROLL for (uint32_t m = 0; m < 2; m++) {
            const float scale[2] = {Type::scale(uint16_t(scales.word[m])),
                                    Type::scale(uint16_t(scales.word[m] >> 16))};
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
template <class Type> DEVICE void dense_mma_block(const ProductParams &p) {
    constexpr uint32_t TILES = MMA_ROWS / 16;
    const uint32_t warp_row = thread_index() / 32 % 4 * 32;
    const auto &job = p.job[job_of(p, block_x() * TILES)];
    const uint32_t first_row = (block_x() * TILES - job.first_tile) * 16;
    const TilesOfRows<Type> weights(job.weights, job.scales, job.output.rows, job.padded_inputs,
                                    job.group, first_row, warp_row);
    mma_block<Type>(weights, job.input, job.output, job.multiplier, job.padded_inputs, job.group,
                    first_row, block_y() * MMA_TOKENS, p.tokens);
}

KERNEL(dense_mma, 256, ProductParams, p) { dense_mma_block<Int8>(p); }
KERNEL(dense_mma_int4, 256, ProductParams, p) { dense_mma_block<Int4>(p); }

// ---- a product whose activations are mostly zero

// Rows of one token whose weights for an input are 32 bytes, a sector: 32 of int8, 64 of int4. A
// warp takes every eighth group: it lists the inputs that are not zero, and its lanes read the
// sectors of four of them at once. Inputs of zero are not read.
template <class Type> DEVICE void sparse_block(const SparseParams &p) {
    constexpr uint32_t ROUND = 64;
    constexpr uint32_t ROWS = 256 / Type::BITS, LANE_ROWS = ROWS / 8;
    SHARED(int32_t, sums, ROUND * ROWS);
    SHARED(uint32_t, listed, WARPS * 32);
    const uint32_t thread = thread_index(), warp = thread / 32, lane = thread % 32;
    const uint32_t first_row = block_x() * ROWS;
    const uint64_t token = block_y();
    const uint32_t padded_rows = padded_lines<Type>(p.output.rows);
    // This lane's word of the bytes of an input.
    const uint32_t line = padded_rows * Type::BITS / 8, word_at = block_x() * 32 + lane % 8 * 4;
    const uint32_t groups = (p.padded_inputs + p.group - 1) / p.group;
    const int16_t *q = p.input.q + token * p.padded_inputs;
    uint32_t *list = listed + warp * 32;

    float acc = 0.0f;
    for (uint32_t round = 0; round < groups; round += ROUND) {
        const uint32_t round_groups = minimum(ROUND, groups - round);
        for (uint32_t g = round + warp; g < round + round_groups; g += WARPS) {
            int32_t sum[LANE_ROWS] = {};
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
                if (word_at < line) {
                    for (uint32_t i = lane / 8; i < count; i += 4) {
                        const int32_t x = int32_t(list[i]) >> 16;
                        const uint64_t of_input = input + (list[i] & 31);
                        const uint8_t *all = static_cast<const uint8_t *>(p.weights);
                        const uint32_t word = load_weights(reinterpret_cast<const uint32_t *>(
                            all + of_input * line + word_at));
                        UNROLL for (uint32_t r = 0; r < LANE_ROWS; r++) {
                            sum[r] += x * int8_t(Type::block(word, r / 4) >> (8 * (r % 4)));
                        }
                    }
                }
                sync_warp();
            }
            UNROLL for (uint32_t r = 0; r < LANE_ROWS; r++) {
                sum[r] += shuffle_xor(sum[r], 8);
                sum[r] += shuffle_xor(sum[r], 16);
                const uint32_t pair = lane / 4 * (Type::ROW_PAD - 16);
                const uint32_t row = pair + lane * 4 + r / 4 * 16 + r % 4;
                if (lane < 8) sums[(g - round) * ROWS + row] = sum[r];
            }
        }
        sync_block();
        if (thread < ROWS && first_row + thread < padded_rows) {
            const uint16_t *scales = p.scales + uint64_t(round) * padded_rows + first_row + thread;
            for (uint32_t g = 0; g < round_groups; g++) {
                const float scale = Type::scale(scales[uint64_t(g) * padded_rows]);
                acc = acc + float(sums[g * ROWS + thread]) * scale;
            }
        }
        sync_block();
    }
    if (thread < ROWS && first_row + thread < p.output.rows) {
        const float y = acc * (p.input.scale[token] * p.multiplier);
        store(p.output, token, first_row + thread, y);
    }
}

KERNEL(sparse, 256, SparseParams, p) { sparse_block<Int8>(p); }
KERNEL(sparse_int4, 256, SparseParams, p) { sparse_block<Int4>(p); }

// 128 rows by 64 tokens. Of so many tokens hardly an input is zero in all.
template <class Type> DEVICE void sparse_mma_block(const SparseParams &p) {
    const uint32_t first_row = block_x() * MMA_ROWS, warp_row = thread_index() / 32 % 4 * 32;
    const RowsOfInputs<Type> weights(p, first_row, warp_row);
    mma_block<Type>(weights, p.input, p.output, p.multiplier, p.padded_inputs, p.group, first_row,
                    block_y() * MMA_TOKENS, p.tokens);
}

KERNEL(sparse_mma, 256, SparseParams, p) { sparse_mma_block<Int8>(p); }
KERNEL(sparse_mma_int4, 256, SparseParams, p) { sparse_mma_block<Int4>(p); }
