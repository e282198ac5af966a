// What a careless or hostile C program may hand to the library: null pointers, wrong
// addresses and lengths, memory that holds no handle, buffers that overlap, damaged files.
// Each call has the status that it must give; .ci/hostile builds the library and this
// program with the sanitizers for addresses and undefined behaviour, under which a byte
// read or written outside of what was handed over ends the program.
//
// Buffers have exactly the bytes that are needed, from malloc, so that one byte beyond is
// found.

#include "kinglet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int cases, failures;

void kinglet_panic(const char *message, size_t size) {
    fprintf(stderr, "PANIC after case %d: %.*s\n", cases, (int)size, message);
    abort();
}

static void check(int line, long found, long expected) {
    cases++;
    if (found != expected) {
        failures++;
        fprintf(stderr, "line %d: %ld, expected %ld\n", line, found, expected);
    }
}

#define IS(expected, call) check(__LINE__, (long)(call), (long)(expected))
#define REFUSED(reason, call) IS(KINGLET_STATUS_##reason, call)
#define OK(call) IS(KINGLET_STATUS_OK, call)

// One of everything, apart from each other.
typedef struct {
    KingletModel *model;
    KingletEngine *engine;
    KingletSampler *sampler;
    KingletText *text;
    uint8_t *file;
    size_t file_size;
    void *state, *workspace;
    float *logits;
    uint8_t *saved;
    size_t state_size, workspace_size, logits_size, saved_size, vocab;
} World;

static const size_t batch = 2;
static size_t shown;

static void show(void *context, const char *text, size_t size) {
    (void)context;
    for (size_t i = 0; i < size; i++) shown += (unsigned char)text[i];
}

static void *aligned(size_t size) {
    void *memory = aligned_alloc(64, (size + 63) / 64 * 64);
    if (!memory) abort();
    return memory;
}

static void *copy(const void *bytes, size_t size) {
    void *memory = aligned(size);
    memcpy(memory, bytes, size);
    return memory;
}

static World begin(const uint8_t *file, size_t size) {
    World w = {.file = copy(file, size), .file_size = size};
    w.model = malloc(sizeof *w.model);
    w.engine = malloc(sizeof *w.engine);
    w.sampler = malloc(sizeof *w.sampler);
    w.text = malloc(sizeof *w.text);
    OK(kinglet_model_open(w.model, w.file, size));
    w.state_size = kinglet_state_size(w.model);
    w.workspace_size = kinglet_workspace_size(w.model, batch);
    w.logits_size = kinglet_logits_size(w.model);
    w.saved_size = kinglet_state_file_size(w.model);
    w.vocab = w.logits_size / sizeof(float);
    w.state = malloc(w.state_size);
    w.workspace = aligned(w.workspace_size);
    w.logits = malloc(w.logits_size);
    w.saved = malloc(w.saved_size);
    OK(kinglet_engine_init(w.engine, w.model, batch, w.state, w.state_size, w.workspace,
                           w.workspace_size));
    OK(kinglet_sampler_init(w.sampler, kinglet_sampler_defaults(), 1, NULL, 0));
    OK(kinglet_text_init(w.text));
    return w;
}

static void end(World *w) {
    // Whatever was refused has left everything usable.
    OK(kinglet_model_verify(w->model));
    OK(kinglet_engine_step(w->engine, 1, w->logits, w->logits_size));
    OK(kinglet_state_save(w->engine, KINGLET_NO_TOKEN, w->saved, w->saved_size));
    OK(kinglet_text_push(w->text, (const uint8_t *)"\xc3", 1, show, NULL));
    OK(kinglet_text_finish(w->text, show, NULL));
    void *all[] = {w->model, w->engine, w->sampler,   w->text,  w->file,
                   w->state, w->workspace, w->logits, w->saved};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void null_pointers(World *w) {
    uint32_t tokens[4] = {1, 2, 3, 4}, next;
    size_t count;
    const uint8_t *bytes;
    KingletModelInfo info;
    KingletSamplerOptions options = kinglet_sampler_defaults();
    const uint8_t *text = (const uint8_t *)"abc";
    REFUSED(NULL_POINTER, kinglet_model_open(NULL, w->file, w->file_size));
    REFUSED(NULL_POINTER, kinglet_model_verify(NULL));
    REFUSED(NULL_POINTER, kinglet_model_info(NULL, &info));
    REFUSED(NULL_POINTER, kinglet_model_info(w->model, NULL));
    if (kinglet_model_end_of_turn(NULL) != KINGLET_NO_TOKEN) abort();
    REFUSED(NULL_POINTER, kinglet_encode(NULL, text, 3, tokens, 4, &count));
    REFUSED(NULL_POINTER, kinglet_encode(w->model, NULL, 3, tokens, 4, &count));
    REFUSED(NULL_POINTER, kinglet_encode(w->model, text, 3, NULL, 4, &count));
    REFUSED(NULL_POINTER, kinglet_encode(w->model, text, 3, tokens, 4, NULL));
    REFUSED(NULL_POINTER, kinglet_decode(NULL, 1, &bytes, &count));
    REFUSED(NULL_POINTER, kinglet_decode(w->model, 1, NULL, &count));
    REFUSED(NULL_POINTER, kinglet_decode(w->model, 1, &bytes, NULL));
    REFUSED(NULL_POINTER, kinglet_engine_init(NULL, w->model, batch, w->state, w->state_size,
                                              w->workspace, w->workspace_size));
    REFUSED(NULL_POINTER, kinglet_engine_step(NULL, 1, w->logits, w->logits_size));
    REFUSED(NULL_POINTER, kinglet_step_begin(NULL, 1, w->logits, w->logits_size));
    REFUSED(NULL_POINTER, kinglet_step_poll(NULL, 1));
    REFUSED(NULL_POINTER, kinglet_engine_prefill(w->engine, NULL, 3, w->logits, w->logits_size));
    REFUSED(NULL_POINTER, kinglet_engine_reset(NULL));
    REFUSED(NULL_POINTER, kinglet_state_save(w->engine, 1, NULL, w->saved_size));
    REFUSED(NULL_POINTER, kinglet_state_restore(w->engine, NULL, w->saved_size, &next));
    REFUSED(NULL_POINTER, kinglet_engine_digest(w->engine, 1, w->logits, w->logits_size, NULL));
    REFUSED(NULL_POINTER, kinglet_engine_digest(w->engine, 1, NULL, w->logits_size, &next));
    REFUSED(NULL_POINTER, kinglet_sampler_init(NULL, options, 1, NULL, 0));
    REFUSED(NULL_POINTER, kinglet_sampler_sample(w->sampler, NULL, w->vocab, &next));
    REFUSED(NULL_POINTER, kinglet_sampler_sample(w->sampler, w->logits, w->vocab, NULL));
    REFUSED(NULL_POINTER, kinglet_sampler_sample_begin(NULL, w->logits, w->vocab));
    REFUSED(NULL_POINTER, kinglet_sampler_sample_begin(w->sampler, NULL, w->vocab));
    REFUSED(NULL_POINTER, kinglet_sampler_sample_poll(NULL, 9, &next));
    REFUSED(INVALID_HANDLE, kinglet_sampler_sample_poll(w->sampler, 9, &next));
    OK(kinglet_sampler_sample_begin(w->sampler, w->logits, w->vocab));
    REFUSED(NULL_POINTER, kinglet_sampler_sample_poll(w->sampler, 9, NULL));
    REFUSED(NULL_POINTER, kinglet_sampler_accept(NULL, w->model, 1));
    REFUSED(NULL_POINTER, kinglet_sampler_ban(NULL, 1));
    REFUSED(NULL_POINTER, kinglet_sampler_restart(NULL, 1));
    REFUSED(NULL_POINTER, kinglet_text_init(NULL));
    REFUSED(NULL_POINTER, kinglet_text_push(w->text, NULL, 3, show, NULL));
    REFUSED(NULL_POINTER, kinglet_text_push(w->text, text, 3, NULL, NULL));
    REFUSED(NULL_POINTER, kinglet_text_finish(w->text, NULL, NULL));
    KingletStop stop = {NULL, 3};
    KingletText other;
    REFUSED(NULL_POINTER, kinglet_text_init_with_stops(&other, NULL, 2));
    REFUSED(NULL_POINTER, kinglet_text_init_with_stops(&other, &stop, 1));
    IS(0, kinglet_state_size(NULL));
    IS(0, kinglet_workspace_size(NULL, 1));
    IS(0, kinglet_counts_size(NULL));
    IS(1, kinglet_engine_kernels(NULL) == NULL);
    IS(KINGLET_NO_STOP, kinglet_text_stop(NULL));
    OK(kinglet_engine_step(w->engine, 1, NULL, 0));
    OK(kinglet_engine_prefill(w->engine, NULL, 0, w->logits, w->logits_size));
}

// Jobs in pieces: out of order, beyond the ends, with other handles, torn at every place.
static void pieces(World *w) {
    KingletVerifier *verifier = malloc(sizeof *verifier);
    KingletStateWriter *writer = malloc(sizeof *writer);
    KingletStateLoader *loader = malloc(sizeof *loader);
    uint8_t *page = malloc(100), *room = malloc(24), *snapshot = malloc(8);
    uint32_t next = 0;
    size_t read = 0;
    REFUSED(NULL_POINTER, kinglet_model_verify_begin(NULL, w->model));
    REFUSED(NULL_POINTER, kinglet_model_verify_begin(verifier, NULL));
    REFUSED(NULL_POINTER, kinglet_model_verify_poll(NULL, 1));
    REFUSED(INVALID_HANDLE, kinglet_model_verify_poll(verifier, 1));
    OK(kinglet_model_verify_begin(verifier, w->model));
    for (size_t i = 0; i < 9; i++) REFUSED(MORE, kinglet_model_verify_poll(verifier, i));
    OK(kinglet_model_verify_poll(verifier, SIZE_MAX));
    OK(kinglet_model_verify_poll(verifier, 0));

    REFUSED(NULL_POINTER, kinglet_sampler_snapshot(w->sampler, NULL, 8));
    REFUSED(NULL_POINTER, kinglet_sampler_restore(w->sampler, NULL, 8));
    REFUSED(BUFFER_TOO_SMALL, kinglet_sampler_snapshot(w->sampler, snapshot, 7));
    IS(0, kinglet_sampler_snapshot_size(NULL));
    IS(8, kinglet_sampler_snapshot_size(w->sampler));
    OK(kinglet_sampler_snapshot(w->sampler, snapshot, 8));
    REFUSED(STATE_DAMAGED, kinglet_sampler_restore(w->sampler, snapshot, 7));
    REFUSED(STATE_DAMAGED, kinglet_sampler_restore(w->sampler, NULL, 0));
    OK(kinglet_sampler_restore(w->sampler, snapshot, 8));

    REFUSED(NULL_POINTER, kinglet_state_write_begin(NULL, w->engine, 5, snapshot, 8));
    REFUSED(NULL_POINTER, kinglet_state_write_begin(writer, NULL, 5, snapshot, 8));
    REFUSED(NULL_POINTER, kinglet_state_write_begin(writer, w->engine, 5, NULL, 8));
    REFUSED(LENGTH, kinglet_state_write_begin(writer, w->engine, 5, snapshot, SIZE_MAX));
    REFUSED(TOKEN, kinglet_state_write_begin(writer, w->engine, UINT32_MAX - 1, NULL, 0));
    REFUSED(INVALID_HANDLE, kinglet_state_write_check(writer, w->engine, 1));
    IS(0, kinglet_state_write_size(writer));
    OK(kinglet_state_write_begin(writer, w->engine, 5, snapshot, 8));
    size_t size = kinglet_state_write_size(writer);
    IS((long)w->saved_size + 16, size);
    REFUSED(UNFINISHED, kinglet_state_write_read(writer, w->engine, 0, page, 100, &read));
    REFUSED(NULL_POINTER, kinglet_state_write_check(writer, NULL, 1));
    REFUSED(MORE, kinglet_state_write_check(writer, w->engine, 0));
    REFUSED(MORE, kinglet_state_write_check(writer, w->engine, 1));
    OK(kinglet_state_write_check(writer, w->engine, SIZE_MAX));
    REFUSED(NULL_POINTER, kinglet_state_write_read(writer, w->engine, 0, NULL, 100, &read));
    REFUSED(NULL_POINTER, kinglet_state_write_read(writer, w->engine, 0, page, 100, NULL));
    REFUSED(LENGTH, kinglet_state_write_read(writer, w->engine, 0, page, SIZE_MAX, &read));
    size_t beyond[] = {size, size + 1, SIZE_MAX - 1, SIZE_MAX};
    for (size_t i = 0; i < 4; i++) {
        OK(kinglet_state_write_read(writer, w->engine, beyond[i], page, 100, &read));
        IS(0, read);
    }
    uint8_t *file = malloc(size);
    for (size_t at = 0; at < size; at += read) {
        OK(kinglet_state_write_read(writer, w->engine, at, page, 100, &read));
        memcpy(file + at, page, read);
    }

#define BEGIN(size) kinglet_state_load_begin(loader, w->engine, file, size, room, 24)
    REFUSED(NULL_POINTER, kinglet_state_load_begin(NULL, w->engine, file, size, room, 24));
    REFUSED(NULL_POINTER, kinglet_state_load_begin(loader, NULL, file, size, room, 24));
    REFUSED(NULL_POINTER, kinglet_state_load_begin(loader, w->engine, NULL, size, room, 24));
    REFUSED(LENGTH, kinglet_state_load_begin(loader, w->engine, file, size, room, SIZE_MAX));
    REFUSED(STATE_DAMAGED, BEGIN(0));
    REFUSED(STATE_DAMAGED, BEGIN(w->saved_size - 1));
    REFUSED(INVALID_HANDLE, kinglet_state_load_next(loader, w->engine, file + 64, 1));
    OK(BEGIN(SIZE_MAX));
    REFUSED(NULL_POINTER, kinglet_state_load_next(loader, w->engine, NULL, 1));
    REFUSED(LENGTH, kinglet_state_load_next(loader, w->engine, file, SIZE_MAX));
    REFUSED(UNFINISHED, kinglet_state_load_end(loader, &next, w->sampler));
    // A file that ends inside a section, and one that goes on.
    OK(BEGIN(size - 1));
    IS(1, kinglet_state_load_next(loader, w->engine, file + 64, size - 65) != KINGLET_STATUS_OK);
    OK(BEGIN(size));
    REFUSED(MORE, kinglet_state_load_next(loader, w->engine, file + 64, size - 65));
    REFUSED(UNFINISHED, kinglet_engine_step(w->engine, 1, w->logits, w->logits_size));
    REFUSED(UNFINISHED, kinglet_state_save(w->engine, 1, w->saved, w->saved_size));
    REFUSED(STATE_DAMAGED, kinglet_state_load_next(loader, w->engine, file + size - 2, 2));
    OK(kinglet_engine_step(w->engine, 1, w->logits, w->logits_size));
    for (size_t at = 64; at < size; at += 4099) {
        file[at] ^= 0x20;
        OK(BEGIN(size));
        int status = KINGLET_STATUS_MORE;
        for (size_t from = 64; from < size && status == KINGLET_STATUS_MORE; from += 1013)
            status = kinglet_state_load_next(loader, w->engine, file + from,
                                             size - from < 1013 ? size - from : 1013);
        IS(1, status != KINGLET_STATUS_OK && status != KINGLET_STATUS_MORE);
        file[at] ^= 0x20;
    }
    OK(BEGIN(size));
    for (size_t from = 64; from < size; from++)
        IS(from + 1 < size ? KINGLET_STATUS_MORE : KINGLET_STATUS_OK,
           kinglet_state_load_next(loader, w->engine, file + from, 1));
    REFUSED(NULL_POINTER, kinglet_state_load_end(NULL, &next, w->sampler));
    OK(kinglet_state_load_end(loader, NULL, NULL));
    OK(kinglet_state_load_end(loader, &next, w->sampler));
    IS(5, next);
    void *all[] = {verifier, writer, loader, page, room, snapshot, file};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static void addresses(World *w) {
    char *shifted = aligned(w->file_size + w->workspace_size + w->saved_size + 64);
    uint32_t next;
    size_t count;
    KingletModel model;
    KingletEngine engine;
    memcpy(shifted + 1, w->file, w->file_size);
    REFUSED(MISALIGNED, kinglet_model_open(&model, (uint8_t *)shifted + 1, w->file_size));
    REFUSED(MISALIGNED, kinglet_model_open((void *)(shifted + 4), w->file, w->file_size));
    REFUSED(MISALIGNED, kinglet_engine_init((void *)(shifted + 4), w->model, batch, w->state,
                                            w->state_size, w->workspace, w->workspace_size));
    REFUSED(MISALIGNED, kinglet_engine_init(&engine, w->model, batch, shifted + 1, w->state_size,
                                            w->workspace, w->workspace_size));
    REFUSED(MISALIGNED, kinglet_engine_init(&engine, w->model, batch, w->state, w->state_size,
                                            shifted + 2, w->workspace_size));
    REFUSED(MISALIGNED,
            kinglet_engine_step(w->engine, 1, (float *)(void *)(shifted + 2), w->logits_size));
    REFUSED(MISALIGNED, kinglet_engine_prefill(w->engine, (uint32_t *)(void *)(shifted + 1), 3,
                                               w->logits, w->logits_size));
    REFUSED(MISALIGNED, kinglet_state_save(w->engine, 1, (uint8_t *)shifted + 1, w->saved_size));
    OK(kinglet_state_save(w->engine, 1, w->saved, w->saved_size));
    memcpy(shifted + 3, w->saved, w->saved_size);
    REFUSED(MISALIGNED,
            kinglet_state_restore(w->engine, (uint8_t *)shifted + 3, w->saved_size, &next));
    REFUSED(MISALIGNED, kinglet_encode(w->model, (const uint8_t *)"abc", 3,
                                       (uint32_t *)(void *)(shifted + 1), 4, &count));
    REFUSED(MISALIGNED, kinglet_model_info(w->model, (void *)(shifted + 1)));
    REFUSED(MISALIGNED,
            kinglet_decode(w->model, 1, (const uint8_t **)(void *)(shifted + 1), &count));
    REFUSED(MISALIGNED,
            kinglet_sampler_sample(w->sampler, (float *)(void *)(shifted + 1), 4, &next));
    free(shifted);
}

static void memory_without_handles(World *w) {
    KingletModel model;
    KingletEngine engine;
    KingletSampler sampler;
    KingletText text;
    uint32_t next;
    for (int byte = 0; byte < 256; byte += 0x55) {
        memset(&model, byte, sizeof model);
        memset(&engine, byte, sizeof engine);
        memset(&sampler, byte, sizeof sampler);
        memset(&text, byte, sizeof text);
        REFUSED(INVALID_HANDLE, kinglet_model_verify(&model));
        IS(0, kinglet_state_size(&model));
        REFUSED(INVALID_HANDLE, kinglet_engine_init(&engine, &model, batch, w->state, w->state_size,
                                                    w->workspace, w->workspace_size));
        REFUSED(INVALID_HANDLE, kinglet_engine_step(&engine, 1, w->logits, w->logits_size));
        REFUSED(INVALID_HANDLE, kinglet_engine_reset(&engine));
        IS(1, kinglet_engine_kernels(&engine) == NULL);
        REFUSED(INVALID_HANDLE, kinglet_sampler_sample(&sampler, w->logits, w->vocab, &next));
        REFUSED(INVALID_HANDLE, kinglet_sampler_sample_begin(&sampler, w->logits, w->vocab));
        REFUSED(INVALID_HANDLE, kinglet_sampler_sample_poll(&sampler, 9, &next));
        REFUSED(INVALID_HANDLE, kinglet_text_push(&text, (const uint8_t *)"a", 1, show, NULL));
    }
    // A handle of one kind is none of another.
    memcpy(&engine, w->model, sizeof engine);
    REFUSED(INVALID_HANDLE, kinglet_engine_step(&engine, 1, w->logits, w->logits_size));
    // An initialisation that fails leaves no handle.
    memcpy(&model, w->model, sizeof model);
    IS(1, kinglet_model_open(&model, w->file, 511) != KINGLET_STATUS_OK);
    REFUSED(INVALID_HANDLE, kinglet_model_verify(&model));
}

static void lengths(World *w) {
    uint32_t tokens[4] = {1, 2, 3, 4}, next;
    size_t count;
    const uint8_t *bytes, *text = (const uint8_t *)"abc";
    KingletEngine engine;
    KingletModel model;
    KingletSampler sampler;
    KingletSamplerOptions options = kinglet_sampler_defaults();
#define INIT(batch, state_size, workspace_size)                                                   \
    kinglet_engine_init(&engine, w->model, batch, w->state, state_size, w->workspace,             \
                        workspace_size)
    REFUSED(BATCH, INIT(0, w->state_size, w->workspace_size));
    REFUSED(BATCH, INIT(SIZE_MAX, w->state_size, w->workspace_size));
    REFUSED(BUFFER_TOO_SMALL, INIT(batch, w->state_size - 1, w->workspace_size));
    REFUSED(BUFFER_TOO_SMALL, INIT(batch, w->state_size, w->workspace_size - 1));
    REFUSED(BUFFER_TOO_SMALL, INIT(batch, 0, w->workspace_size));
    REFUSED(BUFFER_TOO_SMALL, INIT(KINGLET_MAX_BATCH, w->state_size, w->workspace_size));
    REFUSED(BUFFER_TOO_SMALL, kinglet_engine_step(w->engine, 1, w->logits, w->logits_size - 1));
    REFUSED(BUFFER_TOO_SMALL, kinglet_step_begin(w->engine, 1, w->logits, w->logits_size - 1));
    REFUSED(TOKEN, kinglet_engine_step(w->engine, (uint32_t)w->vocab, w->logits, w->logits_size));
    REFUSED(TOKEN, kinglet_step_begin(w->engine, (uint32_t)w->vocab, w->logits, w->logits_size));
    REFUSED(STATE_TYPE, kinglet_step_begin_f16(w->engine, 1, w->logits, w->logits_size));
    REFUSED(INVALID_HANDLE, kinglet_step_poll(w->engine, SIZE_MAX));
    REFUSED(TOKEN, kinglet_engine_step(w->engine, UINT32_MAX, w->logits, w->logits_size));
    REFUSED(LENGTH, kinglet_engine_prefill(w->engine, tokens, SIZE_MAX, w->logits, w->logits_size));
    REFUSED(LENGTH,
            kinglet_engine_prefill(w->engine, tokens, SIZE_MAX / 4, w->logits, w->logits_size));
    REFUSED(BUFFER_TOO_SMALL, kinglet_state_save(w->engine, 1, w->saved, w->saved_size - 1));
    REFUSED(TOKEN, kinglet_state_save(w->engine, (uint32_t)w->vocab, w->saved, w->saved_size));
    memset(w->saved, 0, w->saved_size);
    for (size_t size = 0; size < 80; size++)
        IS(1, kinglet_state_restore(w->engine, w->saved, size, &next) != KINGLET_STATUS_OK);
    REFUSED(BUFFER_TOO_SMALL, kinglet_encode(w->model, text, 3, tokens, 0, &count));
    REFUSED(LENGTH, kinglet_encode(w->model, text, SIZE_MAX, tokens, 4, &count));
    REFUSED(LENGTH, kinglet_encode(w->model, text, 3, tokens, SIZE_MAX, &count));
    REFUSED(TOKEN, kinglet_decode(w->model, UINT32_MAX, &bytes, &count));
    REFUSED(NO_CANDIDATE, kinglet_sampler_sample(w->sampler, w->logits, 0, &next));
    REFUSED(LENGTH, kinglet_sampler_sample(w->sampler, w->logits, SIZE_MAX, &next));
    REFUSED(LENGTH, kinglet_sampler_sample_begin(w->sampler, w->logits, SIZE_MAX));
    IS(0, kinglet_workspace_size(w->model, SIZE_MAX));
    for (size_t size = 0; size < 600; size += 7)
        IS(1, kinglet_model_open(&model, w->file, size) != KINGLET_STATUS_OK);
    IS(1, kinglet_model_open(&model, w->file, w->file_size - 1) != KINGLET_STATUS_OK);
    REFUSED(LENGTH, kinglet_model_open(&model, w->file, SIZE_MAX));
    options.temperature = -1;
    REFUSED(OPTIONS, kinglet_sampler_init(&sampler, options, 1, NULL, 0));
    options.temperature = NAN;
    REFUSED(OPTIONS, kinglet_sampler_init(&sampler, options, 1, NULL, 0));
    options = kinglet_sampler_defaults();
    options.presence = 1;
    REFUSED(COUNTS, kinglet_sampler_init(&sampler, options, 1, NULL, 0));
    float *counts = malloc(8);
    OK(kinglet_sampler_init(&sampler, options, 1, counts, 8));
    OK(kinglet_engine_step(w->engine, 1, w->logits, w->logits_size));
    REFUSED(COUNTS, kinglet_sampler_sample(&sampler, w->logits, w->vocab, &next));
    free(counts);
    int status = KINGLET_STATUS_OK;
    for (uint32_t token = 0; token < 40 && !status; token++)
        status = kinglet_sampler_ban(w->sampler, token);
    IS(KINGLET_STATUS_TOO_MANY_BANS, status);
    w->logits[3] = NAN;
    REFUSED(NON_FINITE, kinglet_sampler_sample(w->sampler, w->logits, w->vocab, &next));
    for (int32_t status = -3; status < 40; status++)
        IS(1, strlen(kinglet_error_string(status)) > 2);
    IS(1, kinglet_error_string(INT32_MIN) != NULL);
}

// A handle and a buffer in one piece of memory, so that the buffer may begin in the handle.
static void *with_room(const void *handle, size_t size, size_t room) {
    char *memory = aligned(size + room);
    memcpy(memory, handle, size);
    memset(memory + size, 0, room);
    return memory;
}

static void overlaps(World *w) {
    uint32_t tokens[8] = {1, 2, 3, 4}, next;
    size_t count;
    KingletEngine engine;
    KingletSampler sampler;
    KingletSamplerOptions options = kinglet_sampler_defaults();
    const uint8_t *text = (const uint8_t *)"abc";
    size_t both_size = w->state_size + w->workspace_size;
    char *both = aligned(both_size);
    REFUSED(OVERLAP, kinglet_engine_init(&engine, w->model, batch, both, w->state_size,
                                         both + w->state_size / 64 * 64 - 64, w->workspace_size));
    free(both);
    size_t in_file = w->file_size > w->state_size ? w->state_size : w->file_size;
    IS(1, kinglet_engine_init(&engine, w->model, batch, w->file, in_file, w->workspace,
                              w->workspace_size) != KINGLET_STATUS_OK);
    REFUSED(OVERLAP, kinglet_engine_step(w->engine, 1, w->state, w->state_size));
    REFUSED(OVERLAP, kinglet_step_begin(w->engine, 1, w->state, w->state_size));
    REFUSED(OVERLAP, kinglet_engine_step(w->engine, 1, (float *)w->file, w->file_size));
    REFUSED(OVERLAP,
            kinglet_engine_prefill(w->engine, (uint32_t *)w->logits, 3, w->logits, w->logits_size));
    REFUSED(OVERLAP, kinglet_engine_prefill(w->engine, w->state, 3, w->logits, w->logits_size));
    REFUSED(OVERLAP, kinglet_state_restore(w->engine, w->state, w->state_size, &next));
    KingletEngine *roomy = with_room(w->engine, sizeof engine, w->logits_size + w->saved_size);
    size_t roomy_size = sizeof engine + w->logits_size + w->saved_size;
    IS(1, kinglet_engine_step(roomy, 1, (float *)roomy, roomy_size) != KINGLET_STATUS_OK);
    IS(1, kinglet_state_save(roomy, 1, (uint8_t *)roomy, roomy_size) != KINGLET_STATUS_OK);
    IS(1, kinglet_engine_digest(roomy, 3, (float *)roomy, roomy_size, &next) != KINGLET_STATUS_OK);
    free(roomy);
    OK(kinglet_state_save(w->engine, 5, w->saved, w->saved_size));
    uint32_t *inside[] = {(uint32_t *)(w->saved + 64), w->state, w->workspace,
                          (uint32_t *)w->engine, (uint32_t *)w->file};
    for (size_t i = 0; i < sizeof inside / sizeof *inside; i++) {
        REFUSED(OVERLAP, kinglet_state_restore(w->engine, w->saved, w->saved_size, inside[i]));
        if (i > 0)
            REFUSED(OVERLAP, kinglet_engine_digest(w->engine, 1, w->logits, w->logits_size,
                                                   inside[i]));
    }
    REFUSED(OVERLAP, kinglet_engine_digest(w->engine, 1, w->logits, w->logits_size,
                                           (uint32_t *)w->logits));
    REFUSED(OVERLAP, kinglet_encode(w->model, (uint8_t *)tokens, 8, tokens, 8, &count));
    REFUSED(OVERLAP, kinglet_encode(w->model, text, 3, (uint32_t *)w->file, 8, &count));
    REFUSED(OVERLAP, kinglet_encode(w->model, text, 3, (uint32_t *)w->model, 8, &count));
    REFUSED(OVERLAP, kinglet_encode(w->model, text, 3, tokens, 8, (size_t *)tokens));
    REFUSED(OVERLAP, kinglet_model_info(w->model, (void *)w->model));
    REFUSED(OVERLAP, kinglet_decode(w->model, 1, (void *)w->model, &count));
    union {
        const uint8_t *bytes;
        size_t size;
    } one;
    REFUSED(OVERLAP, kinglet_decode(w->model, 1, &one.bytes, &one.size));
    REFUSED(OVERLAP, kinglet_sampler_sample(w->sampler, (float *)w->sampler, 8, &next));
    REFUSED(OVERLAP, kinglet_sampler_sample(w->sampler, w->logits, 8, (uint32_t *)w->logits));
    REFUSED(OVERLAP, kinglet_sampler_sample_begin(w->sampler, (float *)w->sampler, 8));
    OK(kinglet_sampler_sample_begin(w->sampler, w->logits, 8));
    REFUSED(OVERLAP, kinglet_sampler_sample_poll(w->sampler, 9, (uint32_t *)w->logits));
    options.presence = 1;
    REFUSED(OVERLAP,
            kinglet_sampler_init(&sampler, options, 1, (float *)&sampler, sizeof sampler));
    OK(kinglet_sampler_init(&sampler, options, 1, w->logits, w->logits_size));
    REFUSED(OVERLAP, kinglet_sampler_sample(&sampler, w->logits, w->vocab, &next));
    REFUSED(OVERLAP,
            kinglet_text_push(w->text, (uint8_t *)w->text, sizeof *w->text, show, NULL));
    REFUSED(OVERLAP, kinglet_model_open((void *)w->file, w->file, w->file_size));
    REFUSED(OVERLAP, kinglet_engine_init((void *)w->file, w->model, batch, w->state, w->state_size,
                                         w->workspace, w->workspace_size));
}

// Damaged files, whose checksums find what they can.
static void damage(World *w) {
    uint32_t next;
    KingletModel model;
    OK(kinglet_state_save(w->engine, 5, w->saved, w->saved_size));
    for (size_t bit = 0; bit < 8 * w->saved_size; bit += 997) {
        w->saved[bit / 8] ^= (uint8_t)(1 << bit % 8);
        IS(1, kinglet_state_restore(w->engine, w->saved, w->saved_size, &next) !=
                  KINGLET_STATUS_OK || (bit >= 12 * 8 && bit < 16 * 8));
        w->saved[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    OK(kinglet_state_restore(w->engine, w->saved, w->saved_size, &next));
    IS(5, next);
    for (size_t bit = 0; bit < 8 * 512; bit += 3) {
        uint8_t *file = copy(w->file, 4096);
        file[bit / 8] ^= (uint8_t)(1 << bit % 8);
        IS(1, kinglet_model_open(&model, file, 4096) != KINGLET_STATUS_OK);
        free(file);
    }
    // A model that goes away with its handle does not matter; its bytes stay.
    memset(w->model, 0, sizeof *w->model);
    OK(kinglet_engine_step(w->engine, 1, w->logits, w->logits_size));
    OK(kinglet_model_open(w->model, w->file, w->file_size));
    for (size_t i = 0; i < 50; i++)
        OK(kinglet_engine_init(w->engine, w->model, 1 + i % batch, w->state, w->state_size,
                               w->workspace, w->workspace_size));
}

static void texts(World *w) {
    (void)w;
    char *stop = malloc(2);
    memcpy(stop, "\n\n", 2);
    KingletStop stops[3] = {{stop, 2}, {NULL, 0}, {"User:", 5}};
    KingletText text;
    OK(kinglet_text_init_with_stops(&text, stops, 3));
    uint8_t *bytes = malloc(300);
    for (size_t i = 0; i < 300; i++) bytes[i] = (uint8_t)(i * 37 + i / 7);
    for (size_t at = 0; at < 300; at += 1 + at % 5) {
        size_t size = at % 5 + 1 < 300 - at ? at % 5 + 1 : 300 - at;
        OK(kinglet_text_push(&text, bytes + at, size, show, NULL));
    }
    OK(kinglet_text_finish(&text, show, NULL));
    OK(kinglet_text_init_with_stops(&text, stops, 3));
    OK(kinglet_text_push(&text, (const uint8_t *)"a\n\nb", 4, show, NULL));
    IS(0, kinglet_text_stop(&text));
    stops[0].size = SIZE_MAX;
    REFUSED(LENGTH, kinglet_text_init_with_stops(&text, stops, 3));
    REFUSED(LENGTH, kinglet_text_init_with_stops(&text, stops, SIZE_MAX));
    free(bytes);
    free(stop);
}

// `x`, or any number of such texts in brackets: three states, a call, and cells of one byte.
static uint8_t *table_of_brackets(size_t *size) {
    static const uint8_t header[24] = {'k', 'g', 'r', 'm', 0, 1, 3, 3, 3, 0, 1, 0, 12, 0, 0, 0};
    static const uint8_t tables[] = {
        0, 0, 4, 0, 8, 0,                   // bases
        1, 1, 0, 0, 0, 0,                   // bytes and frames of the shortest texts
        0, 0, 1, 0,                         // the call
        0, 0, 1, 2, 2, 1, 0, 0,             // cells of the state before a text,
        0, 0, 1, 3, 2, 3, 3, 2,             // of the one inside brackets,
        0, 0, 0, 0, 0, 0, 0, 0};            // and after it
    *size = sizeof header + 256 + sizeof tables;
    uint8_t *table = calloc(*size, 1);
    memcpy(table, header, sizeof header);
    table[sizeof header + 'x'] = 1;
    table[sizeof header + '['] = 2;
    table[sizeof header + ']'] = 3;
    memcpy(table + sizeof header + 256, tables, sizeof tables);
    return table;
}

// The checksum of a table, which stands in it.
static void seal(uint8_t *table, size_t size) {
    uint32_t crc = 0xFFFFFFFF;
    memset(table + 16, 0, 4);
    for (size_t i = 0; i < size; i++) {
        crc ^= table[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
    }
    for (int i = 0; i < 4; i++) table[16 + i] = (uint8_t)(~crc >> 8 * i);
}

// Tables of which each byte is another one, with a right checksum: what is accepted is used.
static void grammars(World *w) {
    size_t size, accepted = 0;
    uint8_t *table = table_of_brackets(&size);
    KingletGrammar grammar;
    seal(table, size);
    REFUSED(NULL_POINTER, kinglet_grammar_open(NULL, table, size));
    REFUSED(NULL_POINTER, kinglet_grammar_open(&grammar, NULL, size));
    REFUSED(LENGTH, kinglet_grammar_open(&grammar, table, SIZE_MAX));
    REFUSED(GRAMMAR_DAMAGED, kinglet_grammar_open(&grammar, table, size - 1));
    REFUSED(NOT_A_GRAMMAR, kinglet_grammar_open(&grammar, w->file, w->file_size));
    REFUSED(INVALID_HANDLE, kinglet_sampler_set_grammar(w->sampler, &grammar, w->model, 0, 0));
    OK(kinglet_grammar_open(&grammar, table, size));
    REFUSED(NULL_POINTER, kinglet_sampler_set_grammar(NULL, &grammar, w->model, 0, 0));
    REFUSED(NULL_POINTER, kinglet_sampler_set_grammar(w->sampler, &grammar, NULL, 0, 0));
    OK(kinglet_sampler_set_grammar(w->sampler, &grammar, w->model, 1, 0));
    REFUSED(NOT_ALLOWED, kinglet_sampler_accept(w->sampler, w->model, UINT32_MAX));
    IS(0, kinglet_sampler_may_end(NULL));
    for (size_t i = 0; i < 8 * size; i++) {
        table[i / 8] ^= (uint8_t)(1 << i % 8);
        seal(table, size);
        if (kinglet_grammar_open(&grammar, table, size) == KINGLET_STATUS_OK &&
            kinglet_sampler_set_grammar(w->sampler, &grammar, w->model, 40, 0) ==
                KINGLET_STATUS_OK) {
            accepted++;
            for (int tokens = 0; tokens < 41 && !kinglet_sampler_is_over(w->sampler); tokens++) {
                uint32_t token;
                for (size_t id = 0; id < w->vocab; id++) w->logits[id] = (float)((id + i) % 31);
                KingletStatus status =
                    kinglet_sampler_sample(w->sampler, w->logits, w->vocab, &token);
                if (status != KINGLET_STATUS_OK) {
                    IS(KINGLET_STATUS_NO_CANDIDATE, status);
                    break;
                }
                OK(kinglet_sampler_accept(w->sampler, w->model, token));
            }
        }
        table[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    IS(1, accepted > 0);
    OK(kinglet_sampler_set_grammar(w->sampler, NULL, NULL, 0, 0));
    free(table);
}

int main(int count, char **names) {
    if (count != 2) return 2;
    FILE *stream = fopen(names[1], "rb");
    if (!stream || fseek(stream, 0, SEEK_END)) return 2;
    size_t size = (size_t)ftell(stream);
    rewind(stream);
    uint8_t *file = malloc(size);
    if (fread(file, 1, size, stream) != size) return 2;
    fclose(stream);
    void (*parts[])(World *) = {null_pointers, addresses, memory_without_handles, lengths,
                                overlaps,      damage,    texts,                  pieces,
                                grammars};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        World world = begin(file, size);
        parts[i](&world);
        end(&world);
    }
    free(file);
    printf("%d calls, %d with another status than they must have (%zu)\n", cases, failures, shown);
    return failures != 0;
}
