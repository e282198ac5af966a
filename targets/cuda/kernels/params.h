// Parameters of the kernels, `src/params.rs` field by field. All pointers are to device memory.
//
// Shapes are outermost first. `tokens` are those of a batch, `runs` its sequences: a run is the
// tokens of one sequence in their order, `order[starts[run]]` to `order[starts[run + 1] - 1]`.
// Weights are int8, or int4 in this order with blocks of weights in pairs: two to a byte, those of
// the first block in the low nibbles. A block is 64 weights in a dense matrix, a tile, and 16 in
// others.
#pragma once

#include <stdint.h>

constexpr uint32_t MAX_SHIFTS = 6;
constexpr uint32_t MAX_ACTIVATIONS = 5;
constexpr uint32_t MAX_PRODUCTS = 7;

// Quantized activations: x = float(q) * scale.
struct Quantized {
    int16_t *q;    // [token][input], inputs padded to 32
    float *scale;  // [token]
};

struct EmbedParams {
    const uint32_t *tokens;  // [token]
    const void *weights;     // [id][width], rows padded to 32
    const uint16_t *scales;  // [id][width/32]
    float *x;                // [token][width]
    uint32_t width;
    uint32_t is_int4;
};

struct NormParams {
    const float *x;        // [row][width]
    const uint32_t *rows;  // [token]: which row, or null: the token's own
    const float *weight;   // [width]
    const float *bias;     // [width]
    float *out;            // [token][width]
    uint32_t width;
    float eps;
};

struct ShiftParams {
    const float *normed;        // [token][width]
    const int32_t *previous;    // [token]: the one before in its sequence, or -1
    const uint32_t *sequence;   // [token]
    const void *state;          // [sequence][state_len]
    uint64_t state_len;
    uint64_t state_at;          // where the token shift's [width] is in it
    uint32_t width;
    uint32_t share_of_current;  // 1: p + (n - p) * x, otherwise n + (p - n) * x
    struct {
        const float *share;       // [width]
        const float *correction;  // [token][width], added to it, or null
        Quantized out;
    } shift[MAX_SHIFTS];
};

struct SaveShiftParams {
    const float *normed[2];    // [token][width]
    const uint32_t *order;     // [token]
    const uint32_t *starts;    // [run + 1]
    const uint32_t *sequence;  // [token]
    void *state;
    uint64_t state_len;
    uint64_t state_at[2];
    uint32_t width;
    uint32_t reserved;
};

enum Activation : uint32_t { IDENTITY = 0, TANH = 1, SIGMOID = 2, RELU_SQUARED = 3 };

struct ActivateParams {
    struct {
        const float *x;  // [token][stride]
        uint32_t stride;
        uint32_t inputs;
        uint32_t activation;
        uint32_t reserved;
        const float *factor;  // [token][inputs], or null: activated values times (factor + offset)
        const float *offset;  // [inputs]
        Quantized out;
    } job[MAX_ACTIVATIONS];
};

enum Store : uint32_t { ASSIGN = 0, ADD = 1, ADD_GATED = 2 };

// What becomes of a product y: out = y, out += y, or out += sigmoid(gate) * y.
struct Output {
    float *out;         // [token][row]
    const float *gate;  // [token][row]
    uint32_t store;
    uint32_t rows;
};

struct ProductParams {
    uint32_t count;
    uint32_t tokens;
    struct {
        const void *weights;     // [row/16][input/4][16][4]
        const uint16_t *scales;  // [row/16][input/group][16]
        Quantized input;
        Output output;
        float multiplier;
        uint32_t padded_inputs;
        uint32_t group;
        uint32_t first_tile;  // tiles of 16 rows before this product's
    } job[MAX_PRODUCTS];
};

struct SparseParams {
    const void *weights;     // [input][row], rows padded to 16, of int4 to 32
    const uint16_t *scales;  // [input/group][row]
    Quantized input;
    Output output;
    float multiplier;
    uint32_t padded_inputs;
    uint32_t group;
    uint32_t tokens;
};

// The runs of a batch and where their states are.
struct Runs {
    const uint32_t *order;     // [token]
    const uint32_t *starts;    // [run + 1]
    const uint32_t *sequence;  // [token]
    void *state;               // [sequence][state_len]
    uint64_t state_len;
    uint64_t state_at;  // where the layer's wkv state is in it
};

struct Wkv7Params {
    Runs runs;
    const float *r, *k, *v, *w, *a, *v_mix, *g;  // [token][width]
    const float *w0, *a0, *v0;                   // [width]; v0 is null in layer 0
    const float *k_k, *k_a, *r_k, *ln_weight, *ln_bias;
    float *v_first;  // [token][width], written by layer 0
    float *y;        // [token][width]
    uint32_t width;
    uint32_t head_size;
};

struct Wkv5Params {
    Runs runs;
    const float *r, *k, *v;   // [token][width]
    const float *gate;        // [token][width], or null
    const float *decay;       // [width]
    const float *correction;  // [token][width], added to it, or null
    const float *bonus;       // [width]
    const float *ln_weight, *ln_bias;
    float *y;  // [token][width]
    uint32_t width;
    uint32_t head_size;
    uint32_t bonus_is_logarithm;
    uint32_t reserved;
};

struct Wkv4Params {
    Runs runs;
    const float *r, *k, *v;                // [token][width]
    const float *time_decay, *time_first;  // [width]
    float *y;                              // [token][width]
    uint32_t width;
    uint32_t reserved;
};

struct DeepEmbedParams {
    const uint32_t *tokens;  // [token]
    const void *weights;     // [id][rank rank], rows padded to 32
    const uint16_t *scales;  // [id][rank rank / 32]
    const float *e;          // [token][rank]
    float *out;              // [token][rank]
    uint32_t rank;
    uint32_t is_int4;
};

struct FiniteParams {
    const float *x;
    uint64_t len;
    uint32_t *flag;  // set to 1 where a value is not finite
};
