// Tells the story of examples/story.c by kinglet.hpp: without exceptions, RTTI or a C++ library,
// each token in pieces.

#include "kinglet.hpp"
#include "stories.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
extern const uint8_t kinglet_model_bytes[], kinglet_model_end[];

void kinglet_panic(const char *message, size_t size) {
    fprintf(stderr, "kinglet: %.*s\n", static_cast<int>(size), message);
    abort();
}
}

static float state[KINGLET_MODEL_STATE_SIZE / sizeof(float)];
static float workspace[KINGLET_MODEL_WORKSPACE_SIZE / sizeof(float)];
static float logits[KINGLET_MODEL_LOGITS_SIZE / sizeof(float)];
static const uint8_t hash[] = KINGLET_MODEL_HASH_BYTES;

static void check(kinglet::Status status) {
    if (!status) {
        fprintf(stderr, "story: %s\n", status.message());
        exit(2);
    }
}

template <class T> static T take(kinglet::Result<T> &&result) {
    check(result.status());
    return *static_cast<kinglet::Result<T> &&>(result);
}

static void print(kinglet::Span<const char> part) { fwrite(part.data(), 1, part.size(), stdout); }

int main() {
    const size_t size = static_cast<size_t>(kinglet_model_end - kinglet_model_bytes);
    const kinglet::Model model = take(kinglet::Model::open({kinglet_model_bytes, size}));
    kinglet::Verifier verifier = take(model.verify_begin());
    kinglet::Status status;
    do status = verifier.poll(4096); while (status.more());
    check(status);
    const KingletModelInfo info = take(model.info());
    if (memcmp(info.content_hash, hash, sizeof hash) != 0) {
        fprintf(stderr, "story: not the model of %s\n", KINGLET_MODEL_HASH);
        return 2;
    }
    kinglet::Engine engine =
        take(kinglet::Engine::make(model, KINGLET_MODEL_BATCH, state, workspace));
    KingletSamplerOptions greedy = kinglet_sampler_defaults();
    greedy.temperature = 0;
    kinglet::Sampler sampler = take(kinglet::Sampler::make(greedy, 0));
    kinglet::Text text = take(kinglet::Text::make());

    uint32_t token = info.end_of_text;
    for (int tokens = 0; tokens < 512; tokens++) {
        kinglet::Step step = take(engine.begin(token, logits));
        do status = step.poll(20000); while (status.more());
        check(status);
        token = take(sampler.sample({logits, info.drawable}));
        if (token == info.end_of_text) break;
        check(text.push(take(model.decode(token)), print));
        fflush(stdout);
    }
    check(text.finish(print));
    putchar('\n');
    return 0;
}
