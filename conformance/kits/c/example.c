/* An engine in C: cc -O2 -o example example.c -lm */
#include "rq_adapter.h"

#include "decoders.h"

static const struct {
    const char *scheme;
    size_t bytes, weights;
    void (*decode)(const uint8_t *block, float *to);
} formats[] = {
    {"ggml/q4_0", 18, 32, decode_q4_0},
    {"ggml/q8_0", 34, 32, decode_q8_0},
    {"ggml/mxfp4", 17, 32, decode_mxfp4},
    {"float/f16", 2, 1, decode_f16},
};

static int run(rq_case *c) {
    const uint8_t *from = (const uint8_t *)c->in[0].data;
    float *to = (float *)c->out[0].data;
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
        if (!rq_is(c, "decode", formats[f].scheme)) continue;
        size_t blocks = c->in[0].bytes / formats[f].bytes;
        if (blocks * formats[f].weights != c->out[0].count) return RQ_UNSUPPORTED;
        for (size_t b = 0; b < blocks; b++)
            formats[f].decode(from + b * formats[f].bytes, to + b * formats[f].weights);
        return RQ_OK;
    }
    return RQ_UNSUPPORTED;
}

int main(void) {
    return rq_serve("example-c", "C",
                    "[\"decode.ggml-q4_0\", \"decode.ggml-q8_0\", \"decode.ggml-mxfp4\","
                    " \"decode.float-f16\"]",
                    run);
}
