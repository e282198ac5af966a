/* Kinglet: RWKV language models on int8 weights, from a microcontroller to a desktop.

   No function allocates, and there is no global state: what a function needs is
   handed to it, and different handles may be used on different threads. A handle
   is memory of the caller (`static KingletEngine engine;`), prepared by its
   kinglet_..._init or kinglet_model_open. Sizes are in bytes where a parameter is
   named `size`, in elements where it is named `count` or `capacity`.

   Null pointers, wrong alignment, short buffers and handles that were never
   prepared (in memory that does not hold one by chance) are refused. So are buffers
   and handles of one call that overlap each other or what a handle was made of,
   unless both are only read. It is the caller's part that a pointer points to as
   many bytes as the size beside it says, and that model, state, workspace,
   counts and stop strings live, and stay untouched, as long as the handle made from
   them is used.

   Written by cbindgen from targets/c/src; not to be edited. */

#ifndef KINGLET_H
#define KINGLET_H

#include <stddef.h>
#include <stdint.h>

/* The version of this header; kinglet_version tells the library's. */
#define KINGLET_VERSION_MAJOR 0
#define KINGLET_VERSION_MINOR 1
#define KINGLET_VERSION_PATCH 0

/* Whether the version is this one or a later: for #if. */
#define KINGLET_VERSION_AT_LEAST(major, minor, patch) \
    (KINGLET_VERSION_MAJOR > (major) || \
     (KINGLET_VERSION_MAJOR == (major) && \
      (KINGLET_VERSION_MINOR > (minor) || \
       (KINGLET_VERSION_MINOR == (minor) && KINGLET_VERSION_PATCH >= (patch)))))

/* The address of a model file is a multiple of this. */
#define KINGLET_MODEL_ALIGN 64

/* The addresses of states, workspaces, logits, counts and state files are
   multiples of this. */
#define KINGLET_BUFFER_ALIGN 4

/* The most tokens that an engine computes together. */
#define KINGLET_MAX_BATCH 256

/* "No token", where a state is saved or restored. */
#define KINGLET_NO_TOKEN UINT32_MAX

/* "No stop string", where a text has not ended at one. */
#define KINGLET_NO_STOP UINT32_MAX

/* Bytes of a state file before the state: what kinglet_state_load_begin is given. */
#define KINGLET_STATE_HEADER_SIZE 64

/* The result of a function: 0 is success. Unless its description says
   otherwise, a function that fails has changed nothing. */
enum KingletStatus
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif /* defined(__cplusplus) || __STDC_VERSION__ >= 202311L */
 {
  /* Done. */
  KINGLET_STATUS_OK = 0,
  /* A pointer is null. */
  KINGLET_STATUS_NULL_POINTER = 1,
  /* An address is not the multiple that it must be. */
  KINGLET_STATUS_MISALIGNED = 2,
  /* A buffer has fewer bytes than are needed. */
  KINGLET_STATUS_BUFFER_TOO_SMALL = 3,
  /* A length is impossible: it reaches beyond the address space. */
  KINGLET_STATUS_LENGTH = 4,
  /* Two buffers or handles of one call overlap, and not both are only read. */
  KINGLET_STATUS_OVERLAP = 5,
  /* The handle was not initialised, or its initialisation failed. */
  KINGLET_STATUS_INVALID_HANDLE = 6,
  /* The bytes are no model file. */
  KINGLET_STATUS_NOT_A_MODEL = 7,
  /* The model is of a newer format or architecture than this library knows. */
  KINGLET_STATUS_MODEL_VERSION = 8,
  /* The model file is damaged or cut short. */
  KINGLET_STATUS_MODEL_DAMAGED = 9,
  /* The model has no tokenizer. */
  KINGLET_STATUS_NO_TOKENIZER = 10,
  /* The model's tokenizer is damaged or of a kind that this library does not know. */
  KINGLET_STATUS_TOKENIZER = 11,
  /* The vocabulary has no token for a byte of the text, or of a grammar's texts. */
  KINGLET_STATUS_UNENCODABLE = 12,
  /* A token id is outside the vocabulary. */
  KINGLET_STATUS_TOKEN = 13,
  /* A batch is 0 or larger than KINGLET_MAX_BATCH. */
  KINGLET_STATUS_BATCH = 14,
  /* A value is not finite: the weights, the state or the logits are damaged. */
  KINGLET_STATUS_NON_FINITE = 15,
  /* A sampler option is outside its range. */
  KINGLET_STATUS_OPTIONS = 16,
  /* A penalty is on, but the sampler has no counts, or too few. */
  KINGLET_STATUS_COUNTS = 17,
  /* No token is left to draw: all are banned or have a logit of minus infinity. */
  KINGLET_STATUS_NO_CANDIDATE = 18,
  /* Too many tokens are banned at one time. */
  KINGLET_STATUS_TOO_MANY_BANS = 19,
  /* The bytes are no state file. */
  KINGLET_STATUS_NOT_A_STATE = 20,
  /* The state file is of a newer format. */
  KINGLET_STATUS_STATE_VERSION = 21,
  /* The state file is damaged or cut short. */
  KINGLET_STATUS_STATE_DAMAGED = 22,
  /* The state belongs to a model with other weights. */
  KINGLET_STATUS_STATE_OF_OTHER_MODEL = 23,
  /* The state was saved by an engine that keeps its state in the other type, f32 or f16. */
  KINGLET_STATUS_STATE_TYPE = 24,
  /* The model is of an architecture whose state cannot be kept in f16: RWKV-4. */
  KINGLET_STATUS_F16_STATE = 25,
  /* The library was built without the model's architecture. */
  KINGLET_STATUS_ARCHITECTURE = 26,
  /* The library was built without the model's kind of tokenizer. */
  KINGLET_STATUS_TOKENIZER_KIND = 27,
  /* Something that this library has no name for. */
  KINGLET_STATUS_OTHER = 28,
  /* The piece is done, and there are more: call again. */
  KINGLET_STATUS_MORE = 29,
  /* The hook asked to stop. */
  KINGLET_STATUS_CANCELLED = 30,
  /* What is done in pieces has not come to its end, or the engine went on in between. */
  KINGLET_STATUS_UNFINISHED = 31,
  /* The bytes are no compiled grammar. */
  KINGLET_STATUS_NOT_A_GRAMMAR = 32,
  /* The compiled grammar has a layout that this library does not know. */
  KINGLET_STATUS_GRAMMAR_VERSION = 33,
  /* The compiled grammar is damaged or cut short. */
  KINGLET_STATUS_GRAMMAR_DAMAGED = 34,
  /* No text of the grammar is within the limits. */
  KINGLET_STATUS_GRAMMAR_LIMITS = 35,
  /* The grammar does not allow the token here. */
  KINGLET_STATUS_NOT_ALLOWED = 36
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum KingletStatus KingletStatus;
#else
typedef int32_t KingletStatus;
#endif /* __STDC_VERSION__ >= 202311L */
#endif /* __cplusplus */

/* An open model: a view of the model file's bytes. Its contents are private.
   It may be copied, and may be gone while engines made from it are used. */
typedef struct KingletModel {
  uint64_t opaque[96];
} KingletModel;

/* Shape, vocabulary and identity of a model. */
typedef struct KingletModelInfo {
  /* Generation of the recurrence: 7 is RWKV-7. */
  uint32_t architecture;
  /* Number of layers. */
  uint32_t layers;
  /* Width of the residual stream. */
  uint32_t width;
  /* Channels per head. */
  uint32_t head_size;
  /* Hidden width of the channel mix. */
  uint32_t ffn;
  /* Number of token ids; logits have this length. */
  uint32_t vocab;
  /* Ids that may be drawn are below this: the tokenizer's, or all without one. */
  uint32_t drawable;
  /* Bytes of the longest token; 0 without a tokenizer. */
  uint32_t max_token_size;
  /* The id that starts and ends every text, or KINGLET_NO_TOKEN. */
  uint32_t end_of_text;
  /* SHA-256 of architecture, shape and weights. */
  uint8_t content_hash[32];
} KingletModelInfo;

/* One sequence of tokens on its way through a model. Its contents are private;
   it is not to be copied. */
typedef struct KingletEngine {
  uint64_t opaque[96];
} KingletEngine;

/* Called after each layer with the number of layers that are done, and the pointer
   that was given along with it: to feed a watchdog, say. Returns 0 to go on, anything
   else to stop. The engine is not to be used by it. */
typedef int32_t (*KingletHook)(void *context, size_t layers);

/* A check of a model that is done in pieces. Its contents are private; it may be
   copied. */
typedef struct KingletVerifier {
  uint64_t opaque[64];
} KingletVerifier;

/* A state file that is written in pieces. Its contents are private. */
typedef struct KingletStateWriter {
  uint64_t opaque[56];
} KingletStateWriter;

/* A state file that is loaded in pieces. Its contents are private. */
typedef struct KingletStateLoader {
  uint64_t opaque[40];
} KingletStateLoader;

/* A sampler, which draws tokens from logits. Its contents are private; it may be
   copied when it has no counts and no draw is under way. */
typedef struct KingletSampler {
  uint64_t opaque[124];
} KingletSampler;

/* Options of a sampler: the changes to the logits before it draws. */
typedef struct KingletSamplerOptions {
  /* Spread of the choice; 0 always takes the most probable token, 1 leaves
     the probabilities as they are. */
  float temperature;
  /* Keeps this many of the most probable tokens; 0 keeps all. */
  uint32_t top_k;
  /* Keeps the most probable tokens that together have this probability; 1 keeps all. */
  float top_p;
  /* Keeps tokens that have this share of the largest probability; 0 keeps all. */
  float min_p;
  /* Taken off the logit of every token that was accepted before; 0 is off. */
  float presence;
  /* Taken off for each time that a token was accepted before; 0 is off. */
  float frequency;
  /* Share of those counts that remains after each token, 0 to 1. */
  float penalty_decay;
} KingletSamplerOptions;

/* A compiled grammar: a view of its table's bytes. Its contents are private. It may be
   copied, and may be gone while samplers that hold to it are used. */
typedef struct KingletGrammar {
  uint64_t opaque[16];
} KingletGrammar;

/* A text stream, which joins the bytes of tokens to text and ends it at a stop
   string. Its contents are private; it may be copied. */
typedef struct KingletText {
  uint64_t opaque[16];
} KingletText;

/* A string at which a text ends: `size` bytes at `text`, which need not be UTF-8
   nor end with NUL. An empty one is never found, and its `text` may be null. */
typedef struct KingletStop {
  /* Its bytes. */
  const char *text;
  /* How many they are. */
  size_t size;
} KingletStop;

/* A function of the caller that takes `size` bytes of text: whole UTF-8
   characters, without NUL at the end. It returns normally: no `longjmp`, no C++
   exception. */
typedef void (*KingletWrite)(void *context, const char *text, size_t size);

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/* The description of a KingletStatus in English, a string that always lives;
   of any other number, that it is unknown. */
const char *kinglet_error_string(int32_t status);

/* The version of this library, such as "0.1.0": a string that always lives. */
const char *kinglet_version(void);

/* The id that ends a turn of a conversation, where the checkpoint's file named one, or
   KINGLET_NO_TOKEN; also when `model` is not an open model. A text ends at it as at the
   end of a text. */
uint32_t kinglet_model_end_of_turn(const struct KingletModel *model);

/* Opens a model file of `size` bytes at `bytes`, a multiple of
   KINGLET_MODEL_ALIGN. The bytes are read in place, in flash or in a memory
   map; they stay there, unchanged, as long as anything made from the model is
   used. Checks header and directory and reads no weights. */
KingletStatus kinglet_model_open(struct KingletModel *model, const uint8_t *bytes, size_t size);

/* Checks the checksums and bounds of all weights: reads the whole file. For
   the start of a firmware, or after a download. */
KingletStatus kinglet_model_verify(const struct KingletModel *model);

/* Writes what the model is to `info`. */
KingletStatus kinglet_model_info(const struct KingletModel *model, struct KingletModelInfo *info);

/* Bytes of the state of one sequence, whatever its length. 0 when `model` is
   not an open model, as with all functions that return a size. */
size_t kinglet_state_size(const struct KingletModel *model);

/* As kinglet_state_size, for kinglet_engine_init_f16: half of it. 0 where the
   state cannot be kept in f16, with RWKV-4. */
size_t kinglet_state_size_f16(const struct KingletModel *model);

/* Bytes of the workspace of an engine that computes up to `batch` tokens
   together; 0 when `batch` is 0 or larger than KINGLET_MAX_BATCH. */
size_t kinglet_workspace_size(const struct KingletModel *model, size_t batch);

/* Bytes of the logits of one token: a float for each id of the vocabulary. */
size_t kinglet_logits_size(const struct KingletModel *model);

/* Bytes of the counts that a sampler with penalties needs. */
size_t kinglet_counts_size(const struct KingletModel *model);

/* Bytes of a state file. */
size_t kinglet_state_file_size(const struct KingletModel *model);

/* Bytes of a state file of an engine with an f16 state; 0 as
   kinglet_state_size_f16. */
size_t kinglet_state_file_size_f16(const struct KingletModel *model);

/* Writes the tokens of a text of `size` bytes, which need not be UTF-8 nor end
   with NUL, to `tokens`, which has room for `capacity` of them, and how many
   they are to `count`. When there is less room, the first `capacity` are
   written, `count` is that of all, and the status is BUFFER_TOO_SMALL; so a
   `capacity` of 0 asks for the number. After UNENCODABLE, `count` is that of
   the tokens before the byte. */
KingletStatus kinglet_encode(const struct KingletModel *model,
                             const uint8_t *text,
                             size_t size,
                             uint32_t *tokens,
                             size_t capacity,
                             size_t *count);

/* Points `bytes` to the bytes that a token stands for, inside the model file,
   and writes their number to `size`. A token that stands for none, such as the
   end of a text, has `size` 0. The bytes are not always whole characters:
   kinglet_text_push joins them to text. */
KingletStatus kinglet_decode(const struct KingletModel *model,
                             uint32_t token,
                             const uint8_t **bytes,
                             size_t *size);

/* Makes an engine over a model, at the start of a sequence. It computes up to
   `batch` tokens of a prompt together: 1 needs the smallest workspace, 32 is
   good for a desktop; the numbers are the same.

   `state` and `workspace` are buffers of at least kinglet_state_size and
   kinglet_workspace_size bytes, apart from each other, whatever is in them. They
   are the engine's as long as it is used: nothing else reads or writes them. */
KingletStatus kinglet_engine_init(struct KingletEngine *engine,
                                  const struct KingletModel *model,
                                  size_t batch,
                                  void *state,
                                  size_t state_size,
                                  void *workspace,
                                  size_t workspace_size);

/* As kinglet_engine_init, with a state of kinglet_state_size_f16 bytes: half the
   memory. After every token each element is rounded to f16, which makes other
   numbers than an f32 state, and the same ones on every machine and in batches of
   any size. Not for RWKV-4: F16_STATE.

   All other functions serve both kinds of engine. The state files of one, of
   kinglet_state_file_size_f16 bytes, are refused by the other: STATE_TYPE. */
KingletStatus kinglet_engine_init_f16(struct KingletEngine *engine,
                                      const struct KingletModel *model,
                                      size_t batch,
                                      void *state,
                                      size_t state_size,
                                      void *workspace,
                                      size_t workspace_size);

/* Puts the engine back to the start of a sequence. */
KingletStatus kinglet_engine_reset(struct KingletEngine *engine);

/* The name of the kernels that the engine computes with, such as "dsp" or
   "x86-64-avx2": the fastest for this machine. The numbers do not depend on it.
   Null when `engine` is none. The text lies in the engine's handle. */
const char *kinglet_engine_kernels(const struct KingletEngine *engine);

/* Writes the state file of the sequence to `file`, at least
   kinglet_state_file_size bytes at a multiple of KINGLET_BUFFER_ALIGN. `next` is
   a token that the sequence has reached but the engine has not been fed, or
   KINGLET_NO_TOKEN. After NON_FINITE, `file` is no state file; after any other
   failure it is as it was. */
KingletStatus kinglet_state_save(const struct KingletEngine *engine,
                                 uint32_t next,
                                 uint8_t *file,
                                 size_t size);

/* Takes the sequence up where it was saved, and writes the token to feed next,
   or KINGLET_NO_TOKEN, to `next`, which may be null. The file lies at a multiple
   of KINGLET_BUFFER_ALIGN and is not needed afterwards. Sections after the state,
   which the program `kinglet` writes for itself, are checked and passed over. When
   the file is refused, the sequence stands where it stood. */
KingletStatus kinglet_state_restore(struct KingletEngine *engine,
                                    const uint8_t *file,
                                    size_t size,
                                    uint32_t *next);

/* Proves that this build computes the same bits as every other: resets the
   engine, feeds token (7919 i + 1) mod vocab for i from 0 to `count` - 1, writes
   the CRC-32 of all logits, as little-endian floats, to `digest`, and resets the
   engine again. `kinglet digest` prints the number to compare with, of 64 tokens;
   for an f16 state `kinglet digest --state-type f16`, after "f16:". */
KingletStatus kinglet_engine_digest(struct KingletEngine *engine,
                                    size_t count,
                                    float *logits,
                                    size_t logits_size,
                                    uint32_t *digest);

/* Feeds a token and writes the logits after it, a float for each id of the
   vocabulary. `logits` may be null where none are wanted. After NON_FINITE the
   state is unspecified: reset it, or restore one. */
KingletStatus kinglet_engine_step(struct KingletEngine *engine,
                                  uint32_t token,
                                  float *logits,
                                  size_t logits_size);

/* Feeds `count` tokens, computed together in batches, and writes the logits
   after the last of them: the same numbers as step by step. No tokens change
   nothing. After NON_FINITE the state is unspecified: reset it, or restore one. */
KingletStatus kinglet_engine_prefill(struct KingletEngine *engine,
                                     const uint32_t *tokens,
                                     size_t count,
                                     float *logits,
                                     size_t logits_size);

/* As kinglet_engine_step; after each layer it calls `hook`, which may be null, with
   `context`. When that stops, the result is CANCELLED and the state is unspecified:
   reset it, or restore one. */
KingletStatus kinglet_engine_step_with(struct KingletEngine *engine,
                                       uint32_t token,
                                       float *logits,
                                       size_t logits_size,
                                       KingletHook hook,
                                       void *context);

/* As kinglet_engine_prefill, with a hook as kinglet_engine_step_with has one: it is
   called after each layer of each batch. */
KingletStatus kinglet_engine_prefill_with(struct KingletEngine *engine,
                                          const uint32_t *tokens,
                                          size_t count,
                                          float *logits,
                                          size_t logits_size,
                                          KingletHook hook,
                                          void *context);

/* Begins to feed a token, for a program that has other things to do meanwhile: nothing
   is computed before kinglet_step_poll, which computes a piece at a time. `logits` may
   be null where none are wanted; otherwise the buffer is the engine's until the step
   is done.

   For an engine with an f32 state; the other one is refused: STATE_TYPE. A step that
   was begun before and is not done is refused as well: UNFINISHED. */
KingletStatus kinglet_step_begin(struct KingletEngine *engine,
                                 uint32_t token,
                                 float *logits,
                                 size_t logits_size);

/* kinglet_step_begin for an engine with an f16 state. */
KingletStatus kinglet_step_begin_f16(struct KingletEngine *engine,
                                     uint32_t token,
                                     float *logits,
                                     size_t logits_size);

/* Computes a piece of the step that was begun: about `budget` multiply-accumulates of
   matrices, float operations counted like them, and at least 16 rows of a matrix or
   some channels of a head. MORE until the step is done, then OK: the logits are there,
   the same ones as from kinglet_engine_step. With a budget of 20000 and the model that
   comes with Kinglet a piece takes less than 100,000 instructions of a Cortex-M4.

   A step that is not done is given up by kinglet_engine_reset, or by restoring a state;
   until then no other function advances or saves the engine: UNFINISHED. Without a step
   this is INVALID_HANDLE. After NON_FINITE the step is over and the state unspecified. */
KingletStatus kinglet_step_poll(struct KingletEngine *engine, size_t budget);

/* Begins to check a model as kinglet_model_verify does, in pieces: see
   kinglet_model_verify_poll. The model's handle is not needed afterwards. */
KingletStatus kinglet_model_verify_begin(struct KingletVerifier *verifier,
                                         const struct KingletModel *model);

/* Checks about `size` bytes of the model more: 4096 take a Cortex-M4 some 20,000
   instructions. MORE while there is something left, OK when all of it is whole. */
KingletStatus kinglet_model_verify_poll(struct KingletVerifier *verifier, size_t size);

/* Begins to write the state file of the sequence in pieces, without another copy of
   the state: check it to the end by kinglet_state_write_check, then read it in any
   order by kinglet_state_write_read. `next` is as in kinglet_state_save. `snapshot`
   is null, or what kinglet_sampler_snapshot wrote: it goes into the file, and stays
   where it is until that is written.

   Until then the engine stands still: any step ends the job with UNFINISHED. */
KingletStatus kinglet_state_write_begin(struct KingletStateWriter *writer,
                                        const struct KingletEngine *engine,
                                        uint32_t next,
                                        const uint8_t *snapshot,
                                        size_t snapshot_size);

/* Bytes of the file that a writer was begun for; 0 when it is none. */
size_t kinglet_state_write_size(const struct KingletStateWriter *writer);

/* Checks about `size` bytes of the file more, which must be done to the end before
   it is read: 4096 take a Cortex-M4 some 25,000 instructions. MORE while there is
   something left, then OK. NON_FINITE when the state cannot be saved. */
KingletStatus kinglet_state_write_check(struct KingletStateWriter *writer,
                                        const struct KingletEngine *engine,
                                        size_t size);

/* Copies the bytes of the file from `offset` on to `buffer`, as many as there are and
   it has room for, and writes their number to `read`: 0 beyond the end. Pages may be
   read and written in any order; when the first one is written last, there is no
   file before all of it is there. UNFINISHED before the file has been checked. */
KingletStatus kinglet_state_write_read(const struct KingletStateWriter *writer,
                                       const struct KingletEngine *engine,
                                       size_t offset,
                                       uint8_t *buffer,
                                       size_t size,
                                       size_t *read);

/* Begins to load a state file of `file_size` bytes in pieces. `header` is its first
   KINGLET_STATE_HEADER_SIZE bytes, and is not needed afterwards; give the others to
   kinglet_state_load_next. When the header is refused, nothing has changed.

   `room` is null, or a buffer for the sampler's snapshot, of 8 bytes more than
   kinglet_sampler_snapshot_size can be: the loader's until kinglet_state_load_end.
   Other sections are checked and passed over. */
KingletStatus kinglet_state_load_begin(struct KingletStateLoader *loader,
                                       const struct KingletEngine *engine,
                                       const uint8_t *header,
                                       size_t file_size,
                                       uint8_t *room,
                                       size_t room_size);

/* Takes in the bytes of the file that follow, any number: 4096 take a Cortex-M4 some
   30,000 instructions. MORE while the file has more, OK with the last of them. From
   the first piece on until that, the engine refuses to go on or to be saved:
   UNFINISHED; kinglet_engine_reset and kinglet_state_restore give the load up. When
   the file is refused, the sequence is at its start. */
KingletStatus kinglet_state_load_next(struct KingletStateLoader *loader,
                                      struct KingletEngine *engine,
                                      const uint8_t *bytes,
                                      size_t size);

/* Writes the token to feed next, or KINGLET_NO_TOKEN, to `next`, and lets the sampler
   go on where it was, if the file has its snapshot and there was room for it; both
   may be null. UNFINISHED before the whole file has been loaded. */
KingletStatus kinglet_state_load_end(const struct KingletStateLoader *loader,
                                     uint32_t *next,
                                     struct KingletSampler *sampler);

/* The options for a model of all purposes, which the RWKV-7 G1 release recommends:
   temperature 1, top-p 0.5, top-k 100, no penalties. With a model at hand, take
   kinglet_sampler_defaults_for. */
struct KingletSamplerOptions kinglet_sampler_defaults(void);

/* The options that a model is best used with: those that its file states, or those
   of its kind. The program `kinglet` begins with the same ones, so that the same
   seed gives the same text. Those of kinglet_sampler_defaults when `model` is not an
   open model. */
struct KingletSamplerOptions kinglet_sampler_defaults_for(const struct KingletModel *model);

/* Makes a sampler. The same options, seed and logits give the same tokens on
   every machine. `counts` is null, or a buffer of kinglet_counts_size bytes that
   penalties need: the sampler's as long as it is used. */
KingletStatus kinglet_sampler_init(struct KingletSampler *sampler,
                                   struct KingletSamplerOptions options,
                                   uint64_t seed,
                                   float *counts,
                                   size_t counts_size);

/* Changes the options; generator, bans and counts stay. */
KingletStatus kinglet_sampler_set_options(struct KingletSampler *sampler,
                                          struct KingletSamplerOptions options);

/* Forgets all counts and seeds the generator anew; options and bans stay. A text of a
   grammar begins anew. */
KingletStatus kinglet_sampler_restart(struct KingletSampler *sampler, uint64_t seed);

/* Draws a token from the first `count` logits and leaves unspecified numbers in
   their place; give KingletModelInfo.drawable. The token is not counted before it
   is accepted. With a grammar it is one that may come next, the same as if the logits of
   all others were minus infinity. */
KingletStatus kinglet_sampler_sample(struct KingletSampler *sampler,
                                     float *logits,
                                     size_t count,
                                     uint32_t *token);

/* Begins what kinglet_sampler_sample does in one call, to be done in pieces of
   bounded time by kinglet_sampler_sample_poll, with the same token. From now until
   it is done the logits are the draw's. A draw may be given up at any time, and
   every other call with this sampler gives it up: then nothing was drawn, and the
   logits are unspecified. */
KingletStatus kinglet_sampler_sample_begin(struct KingletSampler *sampler,
                                           float *logits,
                                           size_t count);

/* Does a piece of the draw that was begun, and writes the token when it is drawn;
   KINGLET_STATUS_MORE when `budget` is spent before that: call again.

   A unit of the budget is about a visit to a logit, of which a draw needs some 30 to
   80 for each logit, and the mask of a grammar, in polls of its own, some 5. 10000 units are at most 200000 instructions of a Cortex-M4, and
   2000000 of a core without an FPU. When the token is drawn, or cannot be, the draw is
   over, and another poll is refused as KINGLET_STATUS_INVALID_HANDLE. */
KingletStatus kinglet_sampler_sample_poll(struct KingletSampler *sampler,
                                          size_t budget,
                                          uint32_t *token);

/* Counts a generated token, for the penalties; without counts that does nothing.
   With a model, tokens of digits and blanks pay the presence penalty only, as in
   RWKV's own programs; `model` may be null.

   With a grammar the text goes on by the token, or ends by one that ends texts:
   kinglet_sampler_is_over. NOT_ALLOWED when it may not come next, and nothing changes. */
KingletStatus kinglet_sampler_accept(struct KingletSampler *sampler,
                                     const struct KingletModel *model,
                                     uint32_t token);

/* Excludes a token from being drawn; at most 32 at one time. */
KingletStatus kinglet_sampler_ban(struct KingletSampler *sampler, uint32_t token);

/* Allows a token again. */
KingletStatus kinglet_sampler_unban(struct KingletSampler *sampler, uint32_t token);

/* Bytes of the sampler's snapshot as it stands: 8, and 8 for each token that was
   counted. 0 when `sampler` is none. */
size_t kinglet_sampler_snapshot_size(const struct KingletSampler *sampler);

/* Writes where the sampler stands, its generator and counts, to the front of
   `snapshot`, which has `size` bytes, at least kinglet_sampler_snapshot_size: what a
   saved text goes on with as if it had not stopped. Options, bans and a grammar with the
   place in its text are not in it. */
KingletStatus kinglet_sampler_snapshot(const struct KingletSampler *sampler,
                                       uint8_t *snapshot,
                                       size_t size);

/* Lets the sampler go on from a snapshot of `size` bytes. Counts of tokens that it does
   not count are left out. STATE_DAMAGED when it is none; the sampler is then as it was.
   The place in a grammar's text stays: inside one, set the grammar, accept the tokens that
   the text has so far, and restore then. */
KingletStatus kinglet_sampler_restore(struct KingletSampler *sampler,
                                      const uint8_t *snapshot,
                                      size_t size);

/* Opens a grammar: the table of `size` bytes at `bytes`, of any alignment, that
   `kinglet grammar` or the crate kinglet-grammar compiled. It is read in place, in flash
   or in a memory map, and stays there, unchanged, as long as anything made from the
   grammar is used. Checks the whole table, in time in proportion to its size, and proves
   that no text comes to a dead end. */
KingletStatus kinglet_grammar_open(struct KingletGrammar *grammar,
                                   const uint8_t *bytes,
                                   size_t size);

/* Holds the sampler to a grammar from now on: a text begins, and the tokens that are
   drawn are of it alone, until it is over. Accept each token, so that the sampler knows
   how far it has come. The text ends with the end of text of `model`, or its end of turn,
   and neither is drawn before it is complete; KingletModelInfo.drawable logits are drawn
   from as before. Options, bans, counts and generator stay.

   The text has at most `max_bytes` bytes and `max_tokens` tokens; 0 is no limit. It is
   complete within a limit, and not cut: a text that needs more is not begun.
   GRAMMAR_LIMITS when none is so short. UNENCODABLE when a byte that the grammar has is
   no token of the model.

   A null `grammar` lets the sampler draw all tokens again; then `model` may be null, too. */
KingletStatus kinglet_sampler_set_grammar(struct KingletSampler *sampler,
                                          const struct KingletGrammar *grammar,
                                          const struct KingletModel *model,
                                          uint32_t max_bytes,
                                          uint32_t max_tokens);

/* Whether the sampler's text is complete, so that it may end here: 1 or 0. 0 when the
   sampler is none or is held to no grammar. */
int32_t kinglet_sampler_may_end(const struct KingletSampler *sampler);

/* Whether the sampler's text is complete and nothing may follow, or has ended, so that
   there is nothing to draw: 1 or 0. 0 when the sampler is none or is held to no grammar. */
int32_t kinglet_sampler_is_over(const struct KingletSampler *sampler);

/* Makes a stream at the start of a text. */
KingletStatus kinglet_text_init(struct KingletText *text);

/* As kinglet_text_init, for a text that ends before the first of `count` stop
   strings at `stops`, such as "\n\n" or "User:". They may be cut anywhere by
   tokens: bytes that may still become one of them are held back. The strings and
   their array live, and stay untouched, as long as the stream is used. */
KingletStatus kinglet_text_init_with_stops(struct KingletText *text,
                                           const struct KingletStop *stops,
                                           size_t count);

/* Takes the next bytes, and calls `write` with the text that is now complete,
   any number of times. A character's bytes wait for its last one; what is not
   UTF-8 becomes U+FFFD. The stop string that ends a text is not written, and
   nothing that comes after it: ask kinglet_text_stop after each token. */
KingletStatus kinglet_text_push(struct KingletText *text,
                                const uint8_t *bytes,
                                size_t size,
                                KingletWrite write,
                                void *context);

/* The index of the stop string that ended the text, or KINGLET_NO_STOP as long as
   none has, and when `text` is no stream. */
uint32_t kinglet_text_stop(const struct KingletText *text);

/* Ends the text: calls `write` with what was held back, as it became no stop
   string, and with U+FFFD if the text ended inside a character. The stream is then
   at the start of another, with the same stop strings. */
KingletStatus kinglet_text_finish(struct KingletText *text, KingletWrite write, void *context);

#ifdef __cplusplus
}  /* extern "C" */
#endif  /* __cplusplus */

#endif  /* KINGLET_H */

#ifdef __cplusplus
extern "C" {
#endif

/* Defined by the program, for the static library built with its default feature
   `panic-handler`: called if the library finds itself broken, with a message of
   `size` bytes, without NUL. The library is not to be called again; if this
   returns, the library loops forever. Without the feature it loops at once. */
void kinglet_panic(const char *message, size_t size);

#ifdef __cplusplus
}
#endif
