// What kinglet.hpp promises beyond the functions of kinglet.h: ownership, spans, and a step that is
// given up. Says what does not hold, and ends with 1.

#include "kinglet.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

extern "C" {
extern const uint8_t kinglet_model_bytes[], kinglet_model_end[];

void kinglet_panic(const char *message, size_t size) {
    std::fprintf(stderr, "kinglet: %.*s\n", static_cast<int>(size), message);
    std::abort();
}
}

using namespace kinglet;

template <class T> constexpr bool moves_only =
    std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
    !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(moves_only<Model> && moves_only<Engine> && moves_only<Step> && moves_only<Sampler> &&
              moves_only<Text> && moves_only<Verifier>);
// A buffer that is only read is not written.
static_assert(!std::is_constructible_v<Span<float>, const std::vector<float> &>);
static_assert(std::is_constructible_v<Span<const char>, std::string_view>);

static int failed;

static void expect(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "header: %s\n", what);
        failed = 1;
    }
}

int main() {
    const Span<const uint8_t> file(kinglet_model_bytes,
                                   static_cast<size_t>(kinglet_model_end - kinglet_model_bytes));
    const Result<Model> none = Model::open({file.data(), 16});
    expect(!none && none.status().code() == KINGLET_STATUS_NOT_A_MODEL, "a model cut short");
    expect(none->state_size() == 0, "a model that is none has a state");

    Result<Model> opened = Model::open(file);
    expect(bool(opened), "the model");
    Model model = *std::move(opened);
    expect(opened->state_size() == 0 && model.state_size() != 0, "a model moves");

    std::vector<float> state(model.state_size() / sizeof(float));
    std::vector<float> workspace(model.workspace_size(4) / sizeof(float));
    std::vector<float> logits(model.logits_size() / sizeof(float)), again = logits;
    Result<Engine> made = Engine::make(model, 4, state, workspace);
    expect(bool(made), "the engine");
    Engine engine = *std::move(made);
    expect(made->step(1, logits).code() == KINGLET_STATUS_INVALID_HANDLE, "a moved engine computes");
    expect(!Engine::make(model, 4, Span<float>(state.data(), 8), workspace), "a short state");

    std::array<uint32_t, 32> tokens{};
    const std::string prompt = "Once upon a time";
    const Result<size_t> count = model.encode(prompt, tokens);
    expect(count && *count > 0 && *count < tokens.size(), "encode");
    const Result<size_t> needed = model.encode(std::string_view(prompt), Span<uint32_t>());
    expect(needed.status().code() == KINGLET_STATUS_BUFFER_TOO_SMALL && *needed == *count,
           "how many tokens there are");
    std::string text;
    Result<Text> stream = Text::make();
    const auto append = [&](Span<const char> part) { text.append(part.data(), part.size()); };
    for (size_t i = 0; i < *count; i++) {
        expect(bool(stream->push(*model.decode(tokens[i]), append)), "push");
    }
    expect(bool(stream->finish(append)) && text == prompt, "the text of the tokens is another");

    // A step that is given up leaves the start of a sequence, as a fresh engine has it.
    expect(bool(engine.step(7, logits)), "a step");
    expect(bool(engine.reset()), "reset");
    expect(bool(engine.prefill({tokens.data(), *count}, again)), "prefill");
    {
        Result<Step> step = engine.begin(7, again);
        expect(step && step->poll(1000).more(), "a step begins");
        expect(engine.step(7, again).code() == KINGLET_STATUS_UNFINISHED, "two steps at one time");
        Step moved = *std::move(step);
        expect(step->poll(1000).code() == KINGLET_STATUS_NULL_POINTER, "a moved step computes");
        expect(moved.poll(1000).more(), "a step moves");
    }
    expect(bool(engine.step(7, again)) && again == logits, "a step that was given up left something");

    // Saved, spoilt, restored.
    std::vector<float> saved(model.state_file_size() / sizeof(float));
    auto *bytes = reinterpret_cast<uint8_t *>(saved.data());
    expect(bool(engine.save(9, {bytes, model.state_file_size()})), "save");
    expect(bool(engine.step(9, logits)) && bool(engine.reset()), "go on");
    const Result<uint32_t> next = engine.restore({bytes, model.state_file_size()});
    expect(next && *next == 9 && engine.step(*next, again) && again == logits, "restore");

    // The same token in one go and in pieces.
    KingletSamplerOptions options = model.sampler_options();
    Sampler one = *Sampler::make(options, 5), two = *Sampler::make(options, 5);
    const Result<uint32_t> token = one.sample(logits);
    expect(bool(two.sample_begin(again)), "a draw begins");
    Result<uint32_t> drawn = two.sample_poll(100);
    expect(drawn.status().more(), "a draw in pieces is one piece");
    while (drawn.status().more()) drawn = two.sample_poll(100);
    expect(token && drawn && *token == *drawn, "a draw in pieces is another token");
    return failed;
}
