// Runs the kernels on the CPU: their sources, with `kinglet_device.h` of this folder.
//
// A thread of a block is a fiber with a stack of its own. The scheduler runs the threads of a warp
// in turn, each until it waits or ends:
//
//   while threads are left:
//       for each warp: run every thread that does not wait for the block
//           all that are left wait for the warp:  a lane exchange is complete, run them again
//           all that are left wait for the block: the warp is at the barrier
//           both kinds:                           the kernel is wrong: abort with its name
//       all warps at the barrier: open it
//
// Blocks and the threads of a warp run in an order that `order` chooses. Kernels without a race
// between two barriers give the same bits in every order; the tests run several. Shared memory is
// filled with a pattern that is NaN before each block, so that a read before a write shows.
//
// Under KINGLET_RACES the thread sanitizer knows each thread of a block as one of its own, and the
// barriers and exchanges as all that orders them: it finds two accesses of a block to the same
// memory, one of them a write, with no barrier between, whatever order they ran in. Blocks are
// ordered for it, because they share the arrays of SHARED here.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kinglet_device.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

extern "C" void kinglet_kernels_are_linked();

#if defined(KINGLET_RACES)
extern "C" {
void *__tsan_get_current_fiber();
void *__tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *at);
void __tsan_release(void *at);
}
#endif

namespace emulator {

// What the thread sanitizer is told: whose turn it is, and what happened before what.
#if defined(KINGLET_RACES)
// A switch is no order between the two.
static void turn_of(void *fiber) { __tsan_switch_to_fiber(fiber, 1); }
static void *current_turn() { return __tsan_get_current_fiber(); }
static void *new_turn() { return __tsan_create_fiber(0); }
static void before(void *what) { __tsan_release(what); }
static void after(void *what) { __tsan_acquire(what); }
#else
static void turn_of(void *) {}
static void *current_turn() { return nullptr; }
static void *new_turn() { return nullptr; }
static void before(void *) {}
static void after(void *) {}
#endif

// What the address sanitizer wants to know of a switch between stacks.
#if defined(__SANITIZE_ADDRESS__)
static void leave_for(const void *stack, size_t len, void **fake_stack) {
    __sanitizer_start_switch_fiber(fake_stack, stack, len);
}
static void arrive_from(void *fake_stack, const void **stack, size_t *len) {
    __sanitizer_finish_switch_fiber(fake_stack, stack, len);
}
#else
static void leave_for(const void *, size_t, void **) {}
static void arrive_from(void *, const void **, size_t *) {}
#endif

static Kernel *kernels = nullptr;
static SharedArray *shared_arrays = nullptr;

Kernel::Kernel(const char *name, uint32_t max_threads, uint32_t params_len, Body body)
    : name(name), max_threads(max_threads), params_len(params_len), body(body), next(kernels) {
    kernels = this;
}

SharedArray::SharedArray(void *memory, uint64_t len)
    : memory(memory), len(len), next(shared_arrays) {
    shared_arrays = this;
    std::memset(memory, 0xFF, len);
}

Thread *current;
uint32_t block_index[2];
uint32_t threads_of_block;

// ---- fibers

constexpr size_t STACK = 64 * 1024;

enum class Wait { NONE, WARP, BLOCK, END };

struct Fiber : Thread {
    Wait wait;
    void *stack;
    void *context; // its stack pointer, where it waits
    void *fake_stack;
    void *turn; // the thread sanitizer's
#if !defined(__x86_64__)
    ucontext_t machine;
#endif
};

static const Kernel *kernel;
static const void *parameters;
static void *scheduler_context;
static void *scheduler_fake_stack;
static const void *scheduler_stack;
static size_t scheduler_stack_len;
static void *scheduler_turn;
// What orders threads: the start and end of a block, its barriers, the exchanges of each warp. A
// thread may be at the next barrier before another has left this one, hence two of each.
static char launches, block_start, block_end, barriers[2], warp_barriers[32][2];

#if defined(__x86_64__)
// Keeps the registers that a call keeps on the stack, and the stack pointer in `*from`; goes on at
// `to`, another such stack.
extern "C" void kinglet_switch(void **from, void *to);
asm(".text\n"
    ".globl kinglet_switch\n"
    ".type kinglet_switch, @function\n"
    "kinglet_switch:\n"
    "    push %rbp\n    push %rbx\n    push %r12\n    push %r13\n    push %r14\n    push %r15\n"
    "    mov %rsp, (%rdi)\n"
    "    mov %rsi, %rsp\n"
    "    pop %r15\n    pop %r14\n    pop %r13\n    pop %r12\n    pop %rbx\n    pop %rbp\n"
    "    ret\n"
    ".size kinglet_switch, .-kinglet_switch\n");
#else
static ucontext_t scheduler_machine;
#endif

static void to_scheduler(bool last) {
    Fiber *fiber = static_cast<Fiber *>(current);
    leave_for(scheduler_stack, scheduler_stack_len, last ? nullptr : &fiber->fake_stack);
    turn_of(scheduler_turn);
#if defined(__x86_64__)
    kinglet_switch(&fiber->context, scheduler_context);
#else
    swapcontext(&fiber->machine, &scheduler_machine);
#endif
    arrive_from(fiber->fake_stack, &scheduler_stack, &scheduler_stack_len);
}

static void fiber_main() {
    arrive_from(nullptr, &scheduler_stack, &scheduler_stack_len);
    after(&block_start);
    kernel->body(parameters);
    before(&block_end);
    static_cast<Fiber *>(current)->wait = Wait::END;
    to_scheduler(true);
    std::abort();
}

static void start(Fiber *fiber) {
    fiber->wait = Wait::NONE;
    fiber->group = fiber->copies_len = 0;
    fiber->fake_stack = nullptr;
#if defined(__x86_64__)
    // As if `kinglet_switch` had been called at the start of `fiber_main`: six registers, the
    // return address, and a word that keeps the stack aligned as a call does.
    void **top = reinterpret_cast<void **>(static_cast<char *>(fiber->stack) + STACK);
    top -= 8;
    std::fill(top, top + 8, nullptr);
    top[6] = reinterpret_cast<void *>(fiber_main);
    fiber->context = top;
#else
    getcontext(&fiber->machine);
    fiber->machine.uc_stack.ss_sp = fiber->stack;
    fiber->machine.uc_stack.ss_size = STACK;
    fiber->machine.uc_link = nullptr;
    makecontext(&fiber->machine, fiber_main, 0);
#endif
}

static void run(Fiber *fiber) {
    current = fiber;
    leave_for(fiber->stack, STACK, &scheduler_fake_stack);
    turn_of(fiber->turn);
#if defined(__x86_64__)
    kinglet_switch(&scheduler_context, fiber->context);
#else
    swapcontext(&scheduler_machine, &fiber->machine);
#endif
    arrive_from(scheduler_fake_stack, nullptr, nullptr);
}

// ---- warps

// What the lanes of each warp gave at their last two exchanges: a lane may give the next value
// before another has read the last one.
static uint32_t lanes[32][2][32];
static uint32_t exchanges[1024];
// How often each thread has waited for its warp and its block.
static uint32_t warp_waits[1024], block_waits[1024];

static void wait(Wait what, void *barrier) {
    static_cast<Fiber *>(current)->wait = what;
    before(barrier);
    to_scheduler(false);
    after(barrier);
}

void wait_warp() {
    const uint32_t thread = current->index;
    wait(Wait::WARP, &warp_barriers[thread / 32][warp_waits[thread]++ % 2]);
}

void wait_block() { wait(Wait::BLOCK, &barriers[block_waits[current->index]++ % 2]); }

const uint32_t *exchange_all(uint32_t x) {
    const uint32_t thread = current->index;
    uint32_t *slots = lanes[thread / 32][exchanges[thread]++ % 2];
    slots[thread % 32] = x;
    wait_warp();
    return slots;
}

uint32_t exchange(uint32_t x, uint32_t lane) { return exchange_all(x)[lane]; }

// ---- launch

[[noreturn]] static void fail(const char *what) {
    std::fprintf(stderr, "kernel %s: %s\n", kernel ? kernel->name : "?", what);
    std::abort();
}

// A generator for orders: xorshift.
struct Random {
    uint64_t state;
    uint32_t below(uint32_t n) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return uint32_t((state >> 32) % n);
    }
};

// 0 .. n - 1 as they are for order 0, backwards for 1, shuffled otherwise.
static std::vector<uint32_t> sequence(uint32_t n, uint32_t order, Random &random) {
    std::vector<uint32_t> out(n);
    for (uint32_t i = 0; i < n; i++) out[i] = order == 1 ? n - 1 - i : i;
    if (order > 1) {
        for (uint32_t i = n; i > 1; i--) std::swap(out[i - 1], out[random.below(i)]);
    }
    return out;
}

static void run_warp(std::vector<Fiber> &fibers, const std::vector<uint32_t> &order, uint32_t warp) {
    for (;;) {
        uint32_t at_warp = 0, at_block = 0;
        for (const uint32_t lane : order) {
            Fiber &fiber = fibers[warp * 32 + lane];
            if (fiber.wait == Wait::NONE) run(&fiber);
            at_warp += fiber.wait == Wait::WARP;
            at_block += fiber.wait == Wait::BLOCK;
        }
        if (at_warp == 0) return;
        if (at_warp != 32) fail("lanes exchange values while others of their warp do not");
        for (uint32_t lane = 0; lane < 32; lane++) fibers[warp * 32 + lane].wait = Wait::NONE;
    }
}

static void run_block(std::vector<Fiber> &fibers, uint32_t order, Random &random) {
    for (SharedArray *array = shared_arrays; array; array = array->next) {
        std::memset(array->memory, 0xFF, array->len);
    }
    for (Fiber &fiber : fibers) start(&fiber);
    for (uint32_t *counts : {exchanges, warp_waits, block_waits}) std::fill(counts, counts + 1024, 0);
    before(&block_start);
    const uint32_t warps = uint32_t(fibers.size()) / 32;
    const auto lane_order = sequence(32, order, random);
    for (;;) {
        for (const uint32_t warp : sequence(warps, order, random)) {
            run_warp(fibers, lane_order, warp);
        }
        size_t waiting = 0, ended = 0;
        for (const Fiber &fiber : fibers) {
            waiting += fiber.wait == Wait::BLOCK;
            ended += fiber.wait == Wait::END;
        }
        if (ended == fibers.size()) {
            after(&block_end);
            return;
        }
        if (waiting != fibers.size()) fail("threads wait for the block while others have ended");
        for (Fiber &fiber : fibers) fiber.wait = Wait::NONE;
    }
}

} // namespace emulator

// Runs kernel `name` on blocks (0, 0) to (blocks_x - 1, blocks_y - 1). `order`: 0 and 1 run blocks
// and threads forwards and backwards, others seed a shuffle. One launch at a time. Returns 0, or 1
// where there is no such kernel, 2 where it takes other parameters or fewer threads.
extern "C" int kinglet_emulate(const char *name, uint32_t blocks_x, uint32_t blocks_y,
                               uint32_t threads, const void *params, uint32_t params_len,
                               uint32_t order) {
    using namespace emulator;
    kinglet_kernels_are_linked();
    const Kernel *found = kernels;
    while (found && std::strcmp(found->name, name) != 0) found = found->next;
    if (!found) return 1;
    if (found->params_len != params_len || threads > found->max_threads || threads % 32 != 0) {
        return 2;
    }
    kernel = found;
    parameters = params;
    threads_of_block = threads;
    static std::vector<std::unique_ptr<char[]>> stacks;
    static std::vector<void *> turns;
    while (stacks.size() < threads) {
        stacks.emplace_back(new char[STACK]);
        turns.push_back(new_turn());
    }
    // One launch at a time, which the caller sees to.
    after(&launches);
    scheduler_turn = current_turn();
    std::vector<Fiber> fibers(threads);
    for (uint32_t i = 0; i < threads; i++) {
        fibers[i].index = i;
        fibers[i].stack = stacks[i].get();
        fibers[i].turn = turns[i];
    }
    Random random{0x9E3779B97F4A7C15 * (order + 1)};
    for (const uint32_t y : sequence(blocks_y, order, random)) {
        for (const uint32_t x : sequence(blocks_x, order, random)) {
            block_index[0] = x;
            block_index[1] = y;
            run_block(fibers, order, random);
        }
    }
    before(&launches);
    return 0;
}
