#define taskYIELD() ((void)0)

uint32_t xTaskGetTickCount(void);
void vTaskDelay(uint32_t ticks);
