// Tells the story of the model in its read-only memory: on a desktop, and on a
// microcontroller without an operating system. Allocates nothing.

#include "kinglet.h"
#include "stories.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const uint8_t kinglet_model_bytes[], kinglet_model_end[];

// The sizes are those of `kinglet fit --header stories.h`.
static float state[KINGLET_MODEL_STATE_SIZE / sizeof(float)];
static float workspace[KINGLET_MODEL_WORKSPACE_SIZE / sizeof(float)];
static float logits[KINGLET_MODEL_LOGITS_SIZE / sizeof(float)];
static const uint8_t hash[] = KINGLET_MODEL_HASH_BYTES;
static KingletModel model;
static KingletModelInfo info;
static KingletEngine engine;
static KingletSampler sampler;
static KingletText text;

void kinglet_panic(const char *message, size_t size) {
    fprintf(stderr, "kinglet: %.*s\n", (int)size, message);
    abort();
}

static void check(KingletStatus status) {
    if (status != KINGLET_STATUS_OK) {
        fprintf(stderr, "story: %s\n", kinglet_error_string(status));
        exit(2);
    }
}

static void print(void *file, const char *part, size_t size) {
    fwrite(part, 1, size, file);
}

int main(void) {
    check(kinglet_model_open(&model, kinglet_model_bytes,
                             (size_t)(kinglet_model_end - kinglet_model_bytes)));
    check(kinglet_model_verify(&model));
    check(kinglet_model_info(&model, &info));
    if (memcmp(info.content_hash, hash, sizeof hash) != 0) {
        fprintf(stderr, "story: not the model of %s\n", KINGLET_MODEL_HASH);
        return 2;
    }
    check(kinglet_engine_init(&engine, &model, KINGLET_MODEL_BATCH, state, sizeof state,
                              workspace, sizeof workspace));
#ifdef SEED
    // The story of `kinglet run --seed SEED`.
    KingletSamplerOptions options = kinglet_sampler_defaults_for(&model);
    check(kinglet_sampler_init(&sampler, options, SEED, NULL, 0));
#else
    KingletSamplerOptions greedy = kinglet_sampler_defaults();
    greedy.temperature = 0;
    check(kinglet_sampler_init(&sampler, greedy, 0, NULL, 0));
#endif
    check(kinglet_text_init(&text));

    uint32_t token = info.end_of_text;
    for (int tokens = 0; tokens < 512; tokens++) {
        const uint8_t *bytes;
        size_t size;
        check(kinglet_engine_step(&engine, token, logits, sizeof logits));
        check(kinglet_sampler_sample(&sampler, logits, info.drawable, &token));
        if (token == info.end_of_text) break;
        check(kinglet_decode(&model, token, &bytes, &size));
        check(kinglet_text_push(&text, bytes, size, print, stdout));
        fflush(stdout);
    }
    check(kinglet_text_finish(&text, print, stdout));
    putchar('\n');
    return 0;
}
