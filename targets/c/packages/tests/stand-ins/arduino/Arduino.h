// What Story.ino uses of Arduino's core, over stdio.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct Console {
    void begin(unsigned long) {}
    explicit operator bool() const { return true; }
    void write(const char *text, size_t size) { fwrite(text, 1, size, stdout); }
    void println() { putchar('\n'); }
    void println(const char *text) { puts(text); }
};
static Console Serial;
static inline unsigned long micros() { return 0; }
