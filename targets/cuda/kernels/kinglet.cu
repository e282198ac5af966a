// All kernels, one module.

#include "elementwise.cu"
#include "products.cu"
#include "wkv.cu"
