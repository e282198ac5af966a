/* A program of few tokens for cores without an FPU: prints a digest, and a product that the
   program's own arithmetic computes, so that both the library's and the compiler's floats are linked. */

#include "kinglet.h"
#include "stories.h"

#include <stdio.h>
#include <stdlib.h>

extern const uint8_t kinglet_model_bytes[], kinglet_model_end[];

static float state[KINGLET_MODEL_STATE_SIZE / sizeof(float)];
static float workspace[KINGLET_MODEL_WORKSPACE_SIZE / sizeof(float)];
static float logits[KINGLET_MODEL_LOGITS_SIZE / sizeof(float)];
static KingletModel model;
static KingletEngine engine;

void kinglet_panic(const char *message, size_t size) {
    fprintf(stderr, "kinglet: %.*s\n", (int)size, message);
    abort();
}

static void check(KingletStatus status) {
    if (status != KINGLET_STATUS_OK) {
        fprintf(stderr, "smoke: %s\n", kinglet_error_string(status));
        exit(2);
    }
}

int main(void) {
    volatile unsigned count = 3;
    volatile float third = 1.0f / (float)count;
    uint32_t digest;
    check(kinglet_model_open(&model, kinglet_model_bytes,
                             (size_t)(kinglet_model_end - kinglet_model_bytes)));
    check(kinglet_engine_init(&engine, &model, KINGLET_MODEL_BATCH, state, sizeof state,
                              workspace, sizeof workspace));
    check(kinglet_engine_digest(&engine, 3, logits, sizeof logits, &digest));
    printf("%08lx %.7f %s\n", (unsigned long)digest, (double)(third * (float)count - third),
           kinglet_version());
    return 0;
}
