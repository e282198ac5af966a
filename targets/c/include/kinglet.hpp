// Kinglet for C++17: objects over kinglet.h that clean up after themselves.
//
// Model, Engine, Step, Sampler, Text and Verifier own their handles: they move, do not copy, and
// an object that was moved from, or never made, is empty and refused by every function. What can
// fail returns a Status or a Result; nothing throws and nothing allocates, so the header serves
// with -fno-exceptions -fno-rtti and without a C++ library. Buffers are the caller's, as in C, and
// live as long as what was made with them.
//
//     auto model = kinglet::Model::open({file, file_size});
//     if (!model) fail(model.status().message());
//     auto engine = kinglet::Engine::make(*model, 1, state, workspace);
//     if (!engine) fail(engine.status().message());
//     kinglet::Status status = engine->step(token, logits);
//
// What each function promises stands in kinglet.h beside the function of its name. The program
// defines kinglet_panic as a C program does.

#ifndef KINGLET_HPP
#define KINGLET_HPP

#include "kinglet.h"

#if __cplusplus < 201703L && (!defined(_MSVC_LANG) || _MSVC_LANG < 201703L)
#error "kinglet.hpp needs C++17; kinglet.h serves C++11"
#endif

namespace kinglet {

// The result of a function: done, to be continued, or why not.
class [[nodiscard]] Status {
public:
    constexpr Status(KingletStatus code = KINGLET_STATUS_OK) : code_(code) {}
    constexpr KingletStatus code() const { return code_; }
    // Done.
    constexpr bool ok() const { return code_ == KINGLET_STATUS_OK; }
    // A piece is done, and there are more: call again.
    constexpr bool more() const { return code_ == KINGLET_STATUS_MORE; }
    constexpr explicit operator bool() const { return ok(); }
    // In English; the string always lives.
    const char *message() const { return kinglet_error_string(code_); }

private:
    KingletStatus code_;
};

constexpr bool operator==(Status a, Status b) { return a.code() == b.code(); }
constexpr bool operator!=(Status a, Status b) { return !(a == b); }

// A view of `size` elements of the caller: of an array, or of anything with data() and size(),
// such as std::vector, std::array or std::string_view.
template <class T> class Span {
public:
    constexpr Span() = default;
    constexpr Span(T *data, size_t size) : data_(data), size_(size) {}
    template <size_t N> constexpr Span(T (&array)[N]) : data_(array), size_(N) {}
    template <class C>
    constexpr Span(C &from, decltype(static_cast<T *>(from.data())) * = nullptr)
        : data_(from.data()), size_(from.size()) {}
    template <class C>
    constexpr Span(const C &from, decltype(static_cast<T *>(from.data())) * = nullptr)
        : data_(from.data()), size_(from.size()) {}

    constexpr T *data() const { return data_; }
    constexpr size_t size() const { return size_; }
    constexpr size_t bytes() const { return size_ * sizeof(T); }
    constexpr T *begin() const { return data_; }
    constexpr T *end() const { return data_ + size_; }

private:
    T *data_ = nullptr;
    size_t size_ = 0;
};

// A value, or the status that says why there is none. The value of a failed result is empty.
template <class T> class [[nodiscard]] Result {
public:
    constexpr Result() = default;
    constexpr Result(Status failed) : status_(failed) {}

    constexpr explicit operator bool() const { return status_.ok(); }
    constexpr Status status() const { return status_; }
    constexpr T &operator*() & { return value_; }
    constexpr const T &operator*() const & { return value_; }
    constexpr T &&operator*() && { return static_cast<T &&>(value_); }
    constexpr T *operator->() { return &value_; }
    constexpr const T *operator->() const { return &value_; }

private:
    friend class Model;
    friend class Engine;
    friend class Sampler;
    friend class Text;
    friend class Verifier;

    T value_{};
    Status status_ = KINGLET_STATUS_INVALID_HANDLE;
};

namespace detail {

// Owns a handle. All zeros are none, which the library refuses.
template <class H> class Owner {
public:
    Owner(const Owner &) = delete;
    Owner &operator=(const Owner &) = delete;
    // The C handle, for functions that this header leaves out.
    H *handle() { return &handle_; }
    const H *handle() const { return &handle_; }

protected:
    Owner() = default;
    ~Owner() = default;
    Owner(Owner &&from) noexcept : handle_(from.handle_) { from.handle_ = H{}; }
    Owner &operator=(Owner &&from) noexcept {
        if (this != &from) {
            handle_ = from.handle_;
            from.handle_ = H{};
        }
        return *this;
    }

    H handle_{};
};

template <class T> struct Plain { using type = T; };
template <class T> struct Plain<T &> { using type = T; };

// Calls what the context points to, a function or an object, through the C interface.
template <class Write> void write(void *context, const char *text, size_t size) noexcept {
    (**static_cast<Write **>(context))(Span<const char>(text, size));
}

} // namespace detail

class Verifier;

// A view of a model file, whose bytes stay where they are.
class Model : public detail::Owner<KingletModel> {
public:
    Model() noexcept {}

    // The address is a multiple of KINGLET_MODEL_ALIGN.
    static Result<Model> open(Span<const uint8_t> file) {
        Result<Model> made;
        made.status_ = kinglet_model_open(&made.value_.handle_, file.data(), file.size());
        return made;
    }

    // Reads all weights; verify_begin does it in pieces.
    Status verify() const { return kinglet_model_verify(&handle_); }
    inline Result<Verifier> verify_begin() const;

    Result<KingletModelInfo> info() const {
        Result<KingletModelInfo> found;
        found.status_ = kinglet_model_info(&handle_, &found.value_);
        return found;
    }

    // Bytes of buffers; 0 where the model is none.
    size_t state_size() const { return kinglet_state_size(&handle_); }
    size_t state_size_f16() const { return kinglet_state_size_f16(&handle_); }
    size_t workspace_size(size_t batch) const { return kinglet_workspace_size(&handle_, batch); }
    size_t logits_size() const { return kinglet_logits_size(&handle_); }
    size_t counts_size() const { return kinglet_counts_size(&handle_); }
    size_t state_file_size() const { return kinglet_state_file_size(&handle_); }
    uint32_t end_of_turn() const { return kinglet_model_end_of_turn(&handle_); }
    KingletSamplerOptions sampler_options() const { return kinglet_sampler_defaults_for(&handle_); }

    // The number of a text's tokens, which are written as far as there is room. When there is
    // less, the status is BUFFER_TOO_SMALL and the value how many there are.
    Result<size_t> encode(Span<const char> text, Span<uint32_t> tokens) const {
        Result<size_t> count;
        count.status_ = kinglet_encode(&handle_, reinterpret_cast<const uint8_t *>(text.data()),
                                       text.size(), tokens.data(), tokens.size(), &count.value_);
        return count;
    }

    // The bytes of a token, in the model file.
    Result<Span<const uint8_t>> decode(uint32_t token) const {
        const uint8_t *bytes = nullptr;
        size_t size = 0;
        Result<Span<const uint8_t>> found;
        found.status_ = kinglet_decode(&handle_, token, &bytes, &size);
        found.value_ = Span<const uint8_t>(bytes, size);
        return found;
    }
};

// A check of a model, in pieces.
class Verifier : public detail::Owner<KingletVerifier> {
public:
    Verifier() noexcept {}
    // About `size` bytes more; more() until all of it is whole.
    Status poll(size_t size) { return kinglet_model_verify_poll(&handle_, size); }

private:
    friend class Model;

    static Result<Verifier> begin(const KingletModel *model) {
        Result<Verifier> begun;
        begun.status_ = kinglet_model_verify_begin(&begun.value_.handle_, model);
        return begun;
    }
};

inline Result<Verifier> Model::verify_begin() const { return Verifier::begin(&handle_); }

class Engine;

// A token that is computed in pieces. Its engine stays where it is, and is not used otherwise,
// until the step is done. A step that goes away before that resets the engine: its sequence is
// then at the start.
class Step {
public:
    Step() = default;
    Step(Step &&from) noexcept : engine_(from.engine_) { from.engine_ = nullptr; }
    Step &operator=(Step &&from) noexcept {
        if (this != &from) {
            give_up();
            engine_ = from.engine_;
            from.engine_ = nullptr;
        }
        return *this;
    }
    Step(const Step &) = delete;
    Step &operator=(const Step &) = delete;
    ~Step() { give_up(); }

    // About `budget` multiply-accumulates; more() until the step is done.
    Status poll(size_t budget) {
        Status status = kinglet_step_poll(engine_, budget);
        if (!status.more()) engine_ = nullptr;
        return status;
    }

private:
    friend class Engine;

    void give_up() {
        if (engine_) static_cast<void>(kinglet_engine_reset(engine_));
        engine_ = nullptr;
    }

    KingletEngine *engine_ = nullptr;
};

// One sequence on its way through a model.
class Engine : public detail::Owner<KingletEngine> {
public:
    Engine() noexcept {}

    // The buffers are the engine's as long as it is used, also after it moved.
    static Result<Engine> make(const Model &model, size_t batch, Span<float> state,
                               Span<float> workspace) {
        Result<Engine> made;
        made.status_ = kinglet_engine_init(&made.value_.handle_, model.handle(), batch,
                                           state.data(), state.bytes(), workspace.data(),
                                           workspace.bytes());
        return made;
    }

    // With a state of Model::state_size_f16 bytes.
    static Result<Engine> make_f16(const Model &model, size_t batch, Span<float> state,
                                   Span<float> workspace) {
        Result<Engine> made;
        made.status_ = kinglet_engine_init_f16(&made.value_.handle_, model.handle(), batch,
                                               state.data(), state.bytes(), workspace.data(),
                                               workspace.bytes());
        return made;
    }

    Status reset() { return kinglet_engine_reset(&handle_); }
    const char *kernels() const { return kinglet_engine_kernels(&handle_); }

    // Logits may be an empty span where none are wanted.
    Status step(uint32_t token, Span<float> logits) {
        return kinglet_engine_step(&handle_, token, logits.data(), logits.bytes());
    }
    Status prefill(Span<const uint32_t> tokens, Span<float> logits) {
        return kinglet_engine_prefill(&handle_, tokens.data(), tokens.size(), logits.data(),
                                      logits.bytes());
    }

    // A token in pieces; begin_f16 for an engine of make_f16.
    Result<Step> begin(uint32_t token, Span<float> logits) {
        return begun(kinglet_step_begin(&handle_, token, logits.data(), logits.bytes()));
    }
    Result<Step> begin_f16(uint32_t token, Span<float> logits) {
        return begun(kinglet_step_begin_f16(&handle_, token, logits.data(), logits.bytes()));
    }

    // The file lies at a multiple of KINGLET_BUFFER_ALIGN.
    Status save(uint32_t next, Span<uint8_t> file) const {
        return kinglet_state_save(&handle_, next, file.data(), file.size());
    }
    // The token to feed next, or KINGLET_NO_TOKEN.
    Result<uint32_t> restore(Span<const uint8_t> file) {
        Result<uint32_t> next;
        next.status_ = kinglet_state_restore(&handle_, file.data(), file.size(), &next.value_);
        return next;
    }

    Result<uint32_t> digest(size_t count, Span<float> logits) {
        Result<uint32_t> found;
        found.status_ = kinglet_engine_digest(&handle_, count, logits.data(), logits.bytes(),
                                              &found.value_);
        return found;
    }

private:
    Result<Step> begun(Status status) {
        Result<Step> step;
        step.status_ = status;
        if (status.ok()) step.value_.engine_ = &handle_;
        return step;
    }
};

// Draws tokens from logits.
class Sampler : public detail::Owner<KingletSampler> {
public:
    Sampler() noexcept {}

    // Counts, of Model::counts_size bytes, are for penalties; an empty span where there are none.
    static Result<Sampler> make(const KingletSamplerOptions &options, uint64_t seed,
                                Span<float> counts = {}) {
        Result<Sampler> made;
        made.status_ = kinglet_sampler_init(&made.value_.handle_, options, seed, counts.data(),
                                            counts.bytes());
        return made;
    }

    Status set_options(const KingletSamplerOptions &options) {
        return kinglet_sampler_set_options(&handle_, options);
    }
    Status restart(uint64_t seed) { return kinglet_sampler_restart(&handle_, seed); }

    // Of the first KingletModelInfo.drawable logits, which are overwritten.
    Result<uint32_t> sample(Span<float> logits) {
        Result<uint32_t> token;
        token.status_ =
            kinglet_sampler_sample(&handle_, logits.data(), logits.size(), &token.value_);
        return token;
    }

    // The same in pieces: the status of a poll is more() until the token is drawn.
    Status sample_begin(Span<float> logits) {
        return kinglet_sampler_sample_begin(&handle_, logits.data(), logits.size());
    }
    Result<uint32_t> sample_poll(size_t budget) {
        Result<uint32_t> token;
        token.status_ = kinglet_sampler_sample_poll(&handle_, budget, &token.value_);
        return token;
    }

    // Counts a token for the penalties.
    Status accept(const Model &model, uint32_t token) {
        return kinglet_sampler_accept(&handle_, model.handle(), token);
    }
    Status ban(uint32_t token) { return kinglet_sampler_ban(&handle_, token); }
    Status unban(uint32_t token) { return kinglet_sampler_unban(&handle_, token); }
};

// Joins the bytes of tokens to text. `write` is anything that is called with a Span<const char>;
// an exception that leaves it ends the program.
class Text : public detail::Owner<KingletText> {
public:
    Text() noexcept {}

    static Result<Text> make() {
        Result<Text> made;
        made.status_ = kinglet_text_init(&made.value_.handle_);
        return made;
    }
    // The array and its strings live as long as the text.
    static Result<Text> make(Span<const KingletStop> stops) {
        Result<Text> made;
        made.status_ =
            kinglet_text_init_with_stops(&made.value_.handle_, stops.data(), stops.size());
        return made;
    }

    template <class Write> Status push(Span<const uint8_t> bytes, Write &&write) {
        using Called = typename detail::Plain<Write>::type;
        Called *called = &write;
        return kinglet_text_push(&handle_, bytes.data(), bytes.size(), detail::write<Called>,
                                 &called);
    }
    // The index of the stop string that ended the text, or KINGLET_NO_STOP.
    uint32_t stop() const { return kinglet_text_stop(&handle_); }
    template <class Write> Status finish(Write &&write) {
        using Called = typename detail::Plain<Write>::type;
        Called *called = &write;
        return kinglet_text_finish(&handle_, detail::write<Called>, &called);
    }
};

} // namespace kinglet

#endif // KINGLET_HPP
