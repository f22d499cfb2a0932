// An engine in C++: c++ -std=c++17 -O2 -o example example.cpp
#include "rq_adapter.hpp"

#include <map>

#include "../c/decoders.h"

struct Format {
    size_t bytes, weights;
    void (*decode)(const uint8_t *block, float *to);
};

static const std::map<std::string, Format> formats = {
    {"ggml/q4_0", {18, 32, decode_q4_0}},
    {"ggml/q8_0", {34, 32, decode_q8_0}},
    {"ggml/mxfp4", {17, 32, decode_mxfp4}},
};

static void run(const rq::Case &c) {
    auto found = formats.find(c.param("scheme"));
    if (c.op() != "decode" || found == formats.end()) throw rq::Unsupported();
    const Format &format = found->second;
    auto blocks = c.in<uint8_t>("blocks");
    auto values = c.out<float>("values");
    if (blocks.size / format.bytes * format.weights != values.size) throw rq::Unsupported();
    for (size_t b = 0; b < blocks.size / format.bytes; b++)
        format.decode(&blocks[b * format.bytes], &values[b * format.weights]);
}

int main() {
    return rq::serve("example-cpp",
                     {"decode.ggml-q4_0", "decode.ggml-q8_0", "decode.ggml-mxfp4"}, run);
}
