// Answers commands for an LED and a servo: a line of text becomes JSON that keeps the schema
// led_servo.json, whatever the model prefers, and the JSON moves the pins. On a desktop, and on a
// microcontroller without an operating system. Allocates nothing.
//
// The model that ships tells stories and was not trained on commands: the form is right, the choice
// takes a model of commands.

#include "kinglet.h"
#include "stories.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The longest text of the schema.
#define TEXT_SIZE 32
#define SEED 7
// Units of a piece of a draw.
#define BUDGET 10000

extern const uint8_t kinglet_model_bytes[], kinglet_model_end[];
extern const uint8_t kinglet_grammar_bytes[], kinglet_grammar_end[];

static float state[KINGLET_MODEL_STATE_SIZE / sizeof(float)];
static float workspace[KINGLET_MODEL_WORKSPACE_SIZE / sizeof(float)];
static float logits[KINGLET_MODEL_LOGITS_SIZE / sizeof(float)];
static KingletModel model;
static KingletModelInfo info;
static KingletEngine engine;
static KingletGrammar grammar;
static KingletSampler sampler;

void kinglet_panic(const char *message, size_t size) {
    fprintf(stderr, "kinglet: %.*s\n", (int)size, message);
    abort();
}

static void check(KingletStatus status) {
    if (status != KINGLET_STATUS_OK) {
        fprintf(stderr, "commands: %s\n", kinglet_error_string(status));
        exit(2);
    }
}

static void step(uint32_t token) {
    check(kinglet_engine_step(&engine, token, logits, sizeof logits));
}

// A token that may come next, drawn in pieces, between which a super loop has its turn.
static uint32_t draw(void) {
    uint32_t token;
    KingletStatus status;
    check(kinglet_sampler_sample_begin(&sampler, logits, info.drawable));
    do status = kinglet_sampler_sample_poll(&sampler, BUDGET, &token);
    while (status == KINGLET_STATUS_MORE);
    check(status);
    return token;
}

// The text that follows a line; it ends with NUL.
static void answer(const char *line, char text[TEXT_SIZE + 1]) {
    uint32_t tokens[64];
    size_t count, length = 0;
    check(kinglet_engine_reset(&engine));
    check(kinglet_sampler_restart(&sampler, SEED));
    check(kinglet_encode(&model, (const uint8_t *)line, strlen(line), tokens, 64, &count));
    step(info.end_of_text);
    for (size_t i = 0; i < count; i++) step(tokens[i]);
    while (!kinglet_sampler_is_over(&sampler)) {
        const uint8_t *bytes;
        size_t size;
        uint32_t token = draw();
        check(kinglet_sampler_accept(&sampler, &model, token));
        if (token == info.end_of_text) break;
        check(kinglet_decode(&model, token, &bytes, &size));
        memcpy(text + length, bytes, size); // TEXT_SIZE is the sampler's limit
        length += size;
        step(token);
    }
    text[length] = 0;
}

// What the pins would do: a board sets an output, and the duty of a PWM channel.
static void set_led(int is_on) {
    printf("LED: %s\n", is_on ? "on" : "off");
}

static void turn_servo(unsigned degrees) {
    // A pulse of 1 to 2 ms, every 20 ms.
    printf("servo: %u degrees, %u us\n", degrees, 1000 + degrees * 1000 / 180);
}

// Reads a text of the schema, which can have no other form.
static int perform(const char *json) {
    unsigned degrees;
    if (strcmp(json, "{\"led\":\"on\"}") == 0) set_led(1);
    else if (strcmp(json, "{\"led\":\"off\"}") == 0) set_led(0);
    else if (sscanf(json, "{\"servo\":{\"angle\":%3u}}", &degrees) == 1 && degrees <= 180)
        turn_servo(degrees);
    else return -1;
    return 0;
}

int main(void) {
    static const char *const lines[] = {
        "Turn on the light.",
        "It is too bright here.",
        "Look to the left, then to the right.",
        "The little bird wants to see the sun.",
    };
    check(kinglet_model_open(&model, kinglet_model_bytes,
                             (size_t)(kinglet_model_end - kinglet_model_bytes)));
    check(kinglet_model_verify(&model));
    check(kinglet_model_info(&model, &info));
    check(kinglet_engine_init(&engine, &model, KINGLET_MODEL_BATCH, state, sizeof state, workspace,
                              sizeof workspace));
    check(kinglet_sampler_init(&sampler, kinglet_sampler_defaults_for(&model), SEED, NULL, 0));
    check(kinglet_grammar_open(&grammar, kinglet_grammar_bytes,
                               (size_t)(kinglet_grammar_end - kinglet_grammar_bytes)));
    check(kinglet_sampler_set_grammar(&sampler, &grammar, &model, TEXT_SIZE, 0));
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char text[TEXT_SIZE + 1];
        answer(lines[i], text);
        printf("%s%s\n", lines[i], text);
        if (perform(text)) {
            fprintf(stderr, "commands: not of the schema: %s\n", text);
            return 2;
        }
    }
    return 0;
}
