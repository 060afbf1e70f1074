// Checks for CUDA programs of these tests: a call or a condition that fails ends the program and says where.
#pragma once
#include <cstdio>
#include <cstdlib>

#define OK(call)                                                                                              \
    do {                                                                                                      \
        cudaError_t error_ = (call);                                                                          \
        if (error_ != cudaSuccess) {                                                                          \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_));        \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)
#define HOLDS(what)                                                                                           \
    do {                                                                                                      \
        if (!(what)) {                                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                                \
            exit(1);                                                                                          \
        }                                                                                                     \
    } while (0)
