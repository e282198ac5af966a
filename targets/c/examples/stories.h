/* A Kinglet model: the built-in model.
   Written by `kinglet fit --header stories.h`; not to be edited. */

#ifndef KINGLET_MODEL_H
#define KINGLET_MODEL_H

/* Bytes of the model's file, whose address is a multiple of KINGLET_MODEL_ALIGN. */
#define KINGLET_MODEL_SIZE 1788876

/* Bytes of the buffers of kinglet_engine_init with this batch. */
#define KINGLET_MODEL_BATCH 1
#define KINGLET_MODEL_STATE_F16 0
#define KINGLET_MODEL_STATE_SIZE 202752
#define KINGLET_MODEL_WORKSPACE_SIZE 8960

/* Bytes of the logits of a token, of a sampler's counts for penalties, and of a saved state. */
#define KINGLET_MODEL_LOGITS_SIZE 4096
#define KINGLET_MODEL_COUNTS_SIZE 4096
#define KINGLET_MODEL_STATE_FILE_SIZE 202816

/* KingletModelInfo.vocab and .drawable. */
#define KINGLET_MODEL_VOCAB 1024
#define KINGLET_MODEL_DRAWABLE 1024

/* KingletModelInfo.content_hash, to be compared at boot. */
#define KINGLET_MODEL_HASH \
    "669872725807d46aa0065ee85387f83ad184dd993b4b181701f951c61195917c"
#define KINGLET_MODEL_HASH_BYTES \
    { 0x66, 0x98, 0x72, 0x72, 0x58, 0x07, 0xd4, 0x6a, \
      0xa0, 0x06, 0x5e, 0xe8, 0x53, 0x87, 0xf8, 0x3a, \
      0xd1, 0x84, 0xdd, 0x99, 0x3b, 0x4b, 0x18, 0x17, \
      0x01, 0xf9, 0x51, 0xc6, 0x11, 0x95, 0x91, 0x7c }

#endif
