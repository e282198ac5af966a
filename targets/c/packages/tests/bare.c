/* A program without a C library, for any core that an archive is for: prints a digest of a few
   tokens by semihosting. */

#include "kinglet.h"
#include "stories.h"

extern const uint8_t kinglet_model_bytes[], kinglet_model_end[];
extern uint32_t bss_start[], bss_end[];

static float state[KINGLET_MODEL_STATE_SIZE / sizeof(float)];
static float workspace[KINGLET_MODEL_WORKSPACE_SIZE / sizeof(float)];
static float logits[KINGLET_MODEL_LOGITS_SIZE / sizeof(float)];
static KingletModel model;
static KingletEngine engine;

#define SYS_WRITE0 0x04
#define SYS_EXIT 0x18
#define APPLICATION_EXIT 0x20026

#if defined(__arm__)

extern char stack_end[];
void reset(void);
__attribute__((section(".vectors"), used)) static void *const vectors[] = {stack_end, (void *)reset};

static void semihost(uintptr_t operation, uintptr_t argument) {
    register uintptr_t r0 __asm__("r0") = operation;
    register uintptr_t r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

static void enable_fpu(void) {
#if defined(__ARM_FP)
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm__ volatile("dsb\n isb");
#endif
}

#else

__attribute__((naked, section(".reset"), used)) void reset(void) {
    __asm__ volatile("la sp, stack_end\n"
#if defined(__riscv_flen)
                     "li t0, 0x6000\n csrs mstatus, t0\n" /* the FPU is on, its registers are clean */
#endif
                     "j start");
}

static void semihost(uintptr_t operation, uintptr_t argument) {
    register uintptr_t a0 __asm__("a0") = operation;
    register uintptr_t a1 __asm__("a1") = argument;
    __asm__ volatile(".balign 16\n .option push\n .option norvc\n slli x0, x0, 0x1f\n ebreak\n"
                     " srai x0, x0, 7\n .option pop"
                     : "+r"(a0) : "r"(a1) : "memory");
}

static void enable_fpu(void) {}

#endif

static void say(const char *text) {
    semihost(SYS_WRITE0, (uintptr_t)text);
}

static void end(void) {
    semihost(SYS_EXIT, APPLICATION_EXIT);
    for (;;) {}
}

void kinglet_panic(const char *message, size_t size) {
    (void)message;
    (void)size;
    say("panic\n");
    end();
}

static void check(KingletStatus status) {
    if (status != KINGLET_STATUS_OK) {
        say(kinglet_error_string(status));
        end();
    }
}

__attribute__((used, noreturn)) void start(void) {
    static char text[10];
    uint32_t digest;
    for (volatile uint32_t *to = bss_start; to < bss_end;) *to++ = 0;
    enable_fpu();
    check(kinglet_model_open(&model, kinglet_model_bytes,
                             (size_t)(kinglet_model_end - kinglet_model_bytes)));
    check(kinglet_engine_init(&engine, &model, KINGLET_MODEL_BATCH, state, sizeof state,
                              workspace, sizeof workspace));
    check(kinglet_engine_digest(&engine, 3, logits, sizeof logits, &digest));
    for (int i = 0; i < 8; i++) text[i] = "0123456789abcdef"[digest >> (28 - 4 * i) & 15];
    text[8] = '\n';
    say(text);
    end();
    for (;;) {}
}

#if defined(__arm__)
void reset(void) {
    start();
}
#endif
