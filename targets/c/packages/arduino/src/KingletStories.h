// The model that tells stories, in flash, and the sizes of its buffers.
#pragma once

#include "KingletStoriesSizes.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// KINGLET_MODEL_SIZE bytes.
extern const uint8_t kinglet_stories[];

#ifdef __cplusplus
}
#endif
