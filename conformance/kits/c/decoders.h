/* The engine of the example: four formats, decoded to binary32. */
#ifndef DECODERS_H
#define DECODERS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline float half(const uint8_t *at) {
    unsigned bits = at[0] | (unsigned)at[1] << 8, exponent = bits >> 10 & 31, rest = bits & 1023;
    float value = ldexpf((float)(exponent ? rest + 1024 : rest), (int)(exponent ? exponent : 1) - 25);
    if (exponent == 31) value = rest ? NAN : INFINITY;
    return bits >> 15 ? -value : value;
}

static inline void decode_q4_0(const uint8_t *block, float *to) {
    float scale = half(block);
    for (int i = 0; i < 16; i++) {
        to[i] = scale * (float)((block[2 + i] & 15) - 8);
        to[i + 16] = scale * (float)((block[2 + i] >> 4) - 8);
    }
}

static inline void decode_q8_0(const uint8_t *block, float *to) {
    float scale = half(block);
    for (int i = 0; i < 32; i++) to[i] = scale * (float)(int8_t)block[2 + i];
}

static inline void decode_mxfp4(const uint8_t *block, float *to) {
    static const float doubled[] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    float scale = ldexpf(1, block[0] - 128);
    for (int i = 0; i < 16; i++) {
        to[i] = scale * doubled[block[1 + i] & 15];
        to[i + 16] = scale * doubled[block[1 + i] >> 4];
    }
}

static inline void decode_f16(const uint8_t *block, float *to) {
    *to = half(block);
}

#endif
