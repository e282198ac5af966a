// A super loop for a microcontroller without an operating system: tells the story of the model
// in flash in pieces, between which a periodic function runs and the watchdog is fed. Says at
// the end how late the function came and how long the longest piece took. Allocates nothing.

#include "kinglet.h"
#include "stories.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The Arm MPS2 board as QEMU has it: 25 MHz, and with `-icount shift=0` an instruction in each
// nanosecond. On silicon a tick is a cycle.
#define TICKS_PER_SECOND 25000000u
#define INSTRUCTIONS_PER_TICK 40u
#define SYSTICK_CONTROL (*(volatile uint32_t *)0xE000E010)
#define SYSTICK_RELOAD (*(volatile uint32_t *)0xE000E014)
#define SYSTICK_CURRENT (*(volatile uint32_t *)0xE000E018)
#define WATCHDOG_LOAD (*(volatile uint32_t *)0x40008000)
#define WATCHDOG_CONTROL (*(volatile uint32_t *)0x40008008)
#define WATCHDOG_CLEAR (*(volatile uint32_t *)0x4000800C)

// Multiply-accumulates of a piece.
#define BUDGET 20000
// 50 times a second.
#define PERIOD (TICKS_PER_SECOND / 50)

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
        fprintf(stderr, "super loop: %s\n", kinglet_error_string(status));
        exit(2);
    }
}

static void print(void *file, const char *part, size_t size) {
    fwrite(part, 1, size, file);
}

// Ticks, modulo 2^24: SysTick counts down.
static uint32_t now(void) {
    return 0xFFFFFF - SYSTICK_CURRENT;
}

static uint32_t between(uint32_t start, uint32_t end) {
    return (end - start) & 0xFFFFFF;
}

// Twice as long as a piece may take, and half as long as a token: it interrupts, and resets the
// board if nobody feeds it then.
static void start_watchdog(void) {
    WATCHDOG_LOAD = TICKS_PER_SECOND / 1000;
    WATCHDOG_CONTROL = 3;
}

static uint32_t longest_piece, latest, calls, due;

// What a product does 50 times a second, as soon as the super loop comes round.
static void periodic(void) {
    uint32_t late = between(due, now());
    if (late > 0x7FFFFF) return; // it is not yet time
    if (late > latest) latest = late;
    due = (due + PERIOD) & 0xFFFFFF;
    calls++;
}

// The logits after a token. Others have their turn between the pieces.
static void compute(uint32_t token) {
    KingletStatus status;
    check(kinglet_step_begin(&engine, token, logits, sizeof logits));
    do {
        uint32_t start = now();
        status = kinglet_step_poll(&engine, BUDGET);
        uint32_t ticks = between(start, now());
        if (ticks > longest_piece) longest_piece = ticks;
        WATCHDOG_CLEAR = 1;
        periodic();
    } while (status == KINGLET_STATUS_MORE);
    check(status);
}

int main(void) {
    check(kinglet_model_open(&model, kinglet_model_bytes,
                             (size_t)(kinglet_model_end - kinglet_model_bytes)));
    check(kinglet_model_verify(&model));
    check(kinglet_model_info(&model, &info));
    if (memcmp(info.content_hash, hash, sizeof hash) != 0) {
        fprintf(stderr, "super loop: not the model of %s\n", KINGLET_MODEL_HASH);
        return 2;
    }
    check(kinglet_engine_init(&engine, &model, KINGLET_MODEL_BATCH, state, sizeof state,
                              workspace, sizeof workspace));
    KingletSamplerOptions greedy = kinglet_sampler_defaults();
    greedy.temperature = 0;
    check(kinglet_sampler_init(&sampler, greedy, 0, NULL, 0));
    check(kinglet_text_init(&text));

    SYSTICK_RELOAD = 0xFFFFFF;
    SYSTICK_CURRENT = 0;
    SYSTICK_CONTROL = 5; // on, by the core's clock, without its interrupt
    due = between(0, now() + PERIOD);
    start_watchdog();

    uint32_t token = info.end_of_text;
    for (int tokens = 0; tokens < 512; tokens++) {
        const uint8_t *bytes;
        size_t size;
        compute(token);
        check(kinglet_sampler_sample(&sampler, logits, info.drawable, &token));
        if (token == info.end_of_text) break;
        check(kinglet_decode(&model, token, &bytes, &size));
        check(kinglet_text_push(&text, bytes, size, print, stdout));
        fflush(stdout);
    }
    check(kinglet_text_finish(&text, print, stdout));
    putchar('\n');
    fprintf(stderr, "longest piece: %lu instructions\n",
            (unsigned long)longest_piece * INSTRUCTIONS_PER_TICK);
    fprintf(stderr, "periodic: %lu calls, latest %lu instructions\n", (unsigned long)calls,
            (unsigned long)latest * INSTRUCTIONS_PER_TICK);
    return 0;
}
