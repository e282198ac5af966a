// Tells a story of the model in flash over the serial port, a token in pieces between which other
// work has its turn.

#include <Kinglet.h>
#include <KingletStories.h>

static float state[KINGLET_MODEL_STATE_SIZE / sizeof(float)];
static float workspace[KINGLET_MODEL_WORKSPACE_SIZE / sizeof(float)];
static float logits[KINGLET_MODEL_LOGITS_SIZE / sizeof(float)];
static KingletModel model;
static KingletModelInfo info;
static KingletEngine engine;
static KingletSampler sampler;
static KingletText text;
static uint32_t token;
static bool telling;

extern "C" void kinglet_panic(const char *message, size_t size) {
  Serial.write(message, size);
  for (;;) {}
}

static void check(KingletStatus status) {
  if (status == KINGLET_STATUS_OK) return;
  Serial.println(kinglet_error_string(status));
  for (;;) {}
}

static void print(void *, const char *part, size_t size) { Serial.write(part, size); }

void setup() {
  Serial.begin(115200);
  while (!Serial) {}
  check(kinglet_model_open(&model, kinglet_stories, KINGLET_MODEL_SIZE));
  check(kinglet_model_verify(&model));
  check(kinglet_model_info(&model, &info));
  check(kinglet_engine_init(&engine, &model, KINGLET_MODEL_BATCH, state, sizeof state, workspace,
                            sizeof workspace));
  KingletSamplerOptions options = kinglet_sampler_defaults_for(&model);
  options.temperature = 0;  // the same story every time; leave this out for another one
  check(kinglet_sampler_init(&sampler, options, micros(), nullptr, 0));
  check(kinglet_text_init(&text));
  token = info.end_of_text;
  check(kinglet_step_begin(&engine, token, logits, sizeof logits));
  telling = true;
}

void loop() {
  // A piece of a token: blink, read sensors and feed watchdogs before or after it.
  if (!telling) return;
  const KingletStatus status = kinglet_step_poll(&engine, 20000);
  if (status == KINGLET_STATUS_MORE) return;
  check(status);
  check(kinglet_sampler_sample(&sampler, logits, info.drawable, &token));
  if (token == info.end_of_text) {
    check(kinglet_text_finish(&text, print, nullptr));
    Serial.println();
    telling = false;
    return;
  }
  const uint8_t *bytes;
  size_t size;
  check(kinglet_decode(&model, token, &bytes, &size));
  check(kinglet_text_push(&text, bytes, size, print, nullptr));
  check(kinglet_step_begin(&engine, token, logits, sizeof logits));
}
