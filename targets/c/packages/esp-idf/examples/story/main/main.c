/* Tells a story of the model in the partition "model", which the cache maps into the address space:
   nothing of it is copied. */

#include "esp_partition.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "kinglet.h"
#include "stories.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Half of what an f32 state takes. */
static float state[KINGLET_MODEL_STATE_SIZE / 2 / sizeof(float)];
static float workspace[KINGLET_MODEL_WORKSPACE_SIZE / sizeof(float)];
static float logits[KINGLET_MODEL_LOGITS_SIZE / sizeof(float)];
static const uint8_t hash[] = KINGLET_MODEL_HASH_BYTES;
static KingletModel model;
static KingletModelInfo info;
static KingletEngine engine;
static KingletSampler sampler;
static KingletText text;

void kinglet_panic(const char *message, size_t size) {
    printf("kinglet: %.*s\n", (int)size, message);
    abort();
}

static void check(KingletStatus status) {
    if (status != KINGLET_STATUS_OK) {
        printf("story: %s\n", kinglet_error_string(status));
        abort();
    }
}

static void print(void *context, const char *part, size_t size) {
    (void)context;
    fwrite(part, 1, size, stdout);
    fflush(stdout);
}

static const void *map_model(void) {
    const esp_partition_t *partition =
        esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_ANY, "model");
    const void *mapped = NULL;
    esp_partition_mmap_handle_t handle;
    if (partition == NULL || partition->size < KINGLET_MODEL_SIZE ||
        esp_partition_mmap(partition, 0, KINGLET_MODEL_SIZE, ESP_PARTITION_MMAP_DATA, &mapped,
                           &handle) != ESP_OK) {
        printf("story: no partition \"model\" of %d bytes\n", KINGLET_MODEL_SIZE);
        abort();
    }
    return mapped;
}

void app_main(void) {
    check(kinglet_model_open(&model, map_model(), KINGLET_MODEL_SIZE));
    check(kinglet_model_verify(&model));
    check(kinglet_model_info(&model, &info));
    if (memcmp(info.content_hash, hash, sizeof hash) != 0) {
        printf("story: not the model of %s\n", KINGLET_MODEL_HASH);
        return;
    }
    check(kinglet_engine_init_f16(&engine, &model, KINGLET_MODEL_BATCH, state, sizeof state,
                                  workspace, sizeof workspace));
    check(kinglet_sampler_init(&sampler, kinglet_sampler_defaults_for(&model),
                               xTaskGetTickCount(), NULL, 0));
    check(kinglet_text_init(&text));

    uint32_t token = info.end_of_text;
    for (int tokens = 0; tokens < 512; tokens++) {
        const uint8_t *bytes;
        size_t size;
        KingletStatus status;
        check(kinglet_step_begin_f16(&engine, token, logits, sizeof logits));
        while ((status = kinglet_step_poll(&engine, 20000)) == KINGLET_STATUS_MORE) taskYIELD();
        check(status);
        check(kinglet_sampler_sample(&sampler, logits, info.drawable, &token));
        if (token == info.end_of_text) break;
        check(kinglet_decode(&model, token, &bytes, &size));
        check(kinglet_text_push(&text, bytes, size, print, NULL));
        vTaskDelay(1); /* the idle task feeds its watchdog */
    }
    check(kinglet_text_finish(&text, print, NULL));
    putchar('\n');
}
