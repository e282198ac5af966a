// Proves that this machine computes the same bits as every other, and that a
// sequence can be saved and restored: prints the number of `kinglet digest`.

#include "kinglet.h"

#include <stdio.h>
#include <stdlib.h>

extern const uint8_t kinglet_model_bytes[], kinglet_model_end[];
// Bytes of stack that were used so far, where the machine's startup code tells.
extern size_t stack_used(void) __attribute__((weak));

static float state[51 * 1024], workspace[8 * 1024], logits[1024], again[1024];
static float saved[51 * 1024];
static KingletModel model;
static KingletEngine engine;

void kinglet_panic(const char *message, size_t size) {
    fprintf(stderr, "kinglet: %.*s\n", (int)size, message);
    abort();
}

static void expect(KingletStatus expected, KingletStatus status, const char *what) {
    if (status != expected) {
        fprintf(stderr, "digest: %s: %s\n", what, kinglet_error_string(status));
        exit(2);
    }
}

static void check(KingletStatus status, const char *what) {
    expect(KINGLET_STATUS_OK, status, what);
}

int main(void) {
    uint32_t digest, next;
    size_t stack = 0;
    check(kinglet_model_open(&model, kinglet_model_bytes,
                             (size_t)(kinglet_model_end - kinglet_model_bytes)), "open");
    check(kinglet_engine_init(&engine, &model, 1, state, sizeof state,
                              workspace, sizeof workspace), "engine");
    check(kinglet_engine_digest(&engine, 64, logits, sizeof logits, &digest), "digest");
    if (stack_used) stack = stack_used();

    const uint32_t prompt[] = {1, 17, 300};
    check(kinglet_engine_prefill(&engine, prompt, 3, logits, sizeof logits), "prefill");
    check(kinglet_state_save(&engine, 42, (uint8_t *)saved, sizeof saved), "save");
    check(kinglet_engine_step(&engine, 42, logits, sizeof logits), "step");
    check(kinglet_engine_reset(&engine), "reset");
    const size_t size = kinglet_state_file_size(&model);
    check(kinglet_state_restore(&engine, (uint8_t *)saved, size, &next), "restore");
    check(kinglet_engine_step(&engine, next, again, sizeof again), "step after restore");
    for (size_t i = 0; i < kinglet_logits_size(&model) / sizeof *logits; i++) {
        if (logits[i] != again[i]) {
            fprintf(stderr, "digest: logit %u differs after restore\n", (unsigned)i);
            return 1;
        }
    }
    ((uint8_t *)saved)[1000] ^= 1;
    expect(KINGLET_STATUS_STATE_DAMAGED,
           kinglet_state_restore(&engine, (uint8_t *)saved, size, &next), "a damaged state");

    printf("%08lx\n", (unsigned long)digest);
    fprintf(stderr, "kernels %s\n", kinglet_engine_kernels(&engine));
    if (stack_used) fprintf(stderr, "stack %u\n", (unsigned)stack);
    return 0;
}
