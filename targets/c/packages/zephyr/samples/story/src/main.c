/* Tells a story of the model in flash; between the pieces of a token other threads have their
   turn. */

#include "kinglet.h"
#include "stories.h"

#include <string.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

extern const uint8_t kinglet_model_bytes[], kinglet_model_end[];

static float state[KINGLET_MODEL_STATE_SIZE / sizeof(float)];
static float workspace[KINGLET_MODEL_WORKSPACE_SIZE / sizeof(float)];
static float logits[KINGLET_MODEL_LOGITS_SIZE / sizeof(float)];
static const uint8_t hash[] = KINGLET_MODEL_HASH_BYTES;
static KingletModel model;
static KingletModelInfo info;
static KingletEngine engine;
static KingletSampler sampler;
static KingletText text;

void kinglet_panic(const char *message, size_t size)
{
	printk("kinglet: %.*s\n", (int)size, message);
	k_panic();
}

static void print(void *context, const char *part, size_t size)
{
	ARG_UNUSED(context);
	printk("%.*s", (int)size, part);
}

static KingletStatus prepare(void)
{
	KingletStatus status;

	status = kinglet_model_open(&model, kinglet_model_bytes,
				    (size_t)(kinglet_model_end - kinglet_model_bytes));
	if (status == KINGLET_STATUS_OK) {
		status = kinglet_model_verify(&model);
	}
	if (status == KINGLET_STATUS_OK) {
		status = kinglet_model_info(&model, &info);
	}
	if (status == KINGLET_STATUS_OK && memcmp(info.content_hash, hash, sizeof(hash)) != 0) {
		printk("not the model of %s\n", KINGLET_MODEL_HASH);
		status = KINGLET_STATUS_OTHER;
	}
	if (status == KINGLET_STATUS_OK) {
		status = kinglet_engine_init(&engine, &model, KINGLET_MODEL_BATCH, state,
					     sizeof(state), workspace, sizeof(workspace));
	}
	if (status == KINGLET_STATUS_OK) {
		status = kinglet_sampler_init(&sampler, kinglet_sampler_defaults_for(&model),
					      k_cycle_get_32(), NULL, 0);
	}
	if (status == KINGLET_STATUS_OK) {
		status = kinglet_text_init(&text);
	}
	return status;
}

/* Feeds a token and draws the next one. */
static KingletStatus advance(uint32_t *token)
{
	KingletStatus status = kinglet_step_begin(&engine, *token, logits, sizeof(logits));

	while (status == KINGLET_STATUS_OK || status == KINGLET_STATUS_MORE) {
		status = kinglet_step_poll(&engine, 20000);
		if (status == KINGLET_STATUS_OK) {
			return kinglet_sampler_sample(&sampler, logits, info.drawable, token);
		}
		k_yield();
	}
	return status;
}

int main(void)
{
	KingletStatus status = prepare();
	uint32_t token = info.end_of_text;

	while (status == KINGLET_STATUS_OK) {
		const uint8_t *bytes;
		size_t size;

		status = advance(&token);
		if (status != KINGLET_STATUS_OK || token == info.end_of_text) {
			break;
		}
		status = kinglet_decode(&model, token, &bytes, &size);
		if (status == KINGLET_STATUS_OK) {
			status = kinglet_text_push(&text, bytes, size, print, NULL);
		}
	}
	if (status == KINGLET_STATUS_OK) {
		status = kinglet_text_finish(&text, print, NULL);
	}
	printk("\n%s\n", status == KINGLET_STATUS_OK ? "done" : kinglet_error_string(status));
	return status;
}
