// Kinglet for sketches: the C interface, and the C++ one where the compiler is of C++17.
#pragma once

#include "kinglet.h"
#if __cplusplus >= 201703L
#include "kinglet.hpp"
#endif
