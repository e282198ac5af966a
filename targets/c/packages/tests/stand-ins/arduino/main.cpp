// The sketch as Arduino compiles it, called until it has told its story.
#include "Arduino.h"

#include "Story.ino"

int main() {
    setup();
    while (telling) loop();
    return 0;
}
