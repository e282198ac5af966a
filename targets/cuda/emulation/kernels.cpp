// The kernels, compiled for the CPU apart from the scheduler: the race check watches these alone.

#include "kinglet.cu"

// Called by the scheduler, so that a linker keeps the kernels, which nothing calls by name.
extern "C" void kinglet_kernels_are_linked() {}
