/* See rq.h. The order of this file is the order of the specification's stages. */

#include "families.h"
#include "rq.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#define MIB_64 ((uint64_t)64 << 20)
#define MOST_AXES 8
#define MOST_BITS 524288
#define HUGE_COUNT UINT64_MAX

enum type { INTEGER, FLOAT, BOOL, STRING, BYTES, ARRAY, MAP };

struct value {
    enum type type;
    int64_t integer; /* also a bool */
    double number;
    const uint8_t *bytes; /* of a string, of bytes, or of a whole map as it stands there */
    size_t size;          /* of these bytes */
    size_t count;         /* items of an array, entries of a map */
    struct value *items;  /* a map's keys and values by turns */
};

struct segment {
    const uint8_t *bytes;
    size_t size;
    uint32_t crc;
    const uint8_t *sha256;
    int kind;
};

struct slice {
    int64_t bits, base;
    size_t axes;
    int64_t shape[MOST_AXES], strides[MOST_AXES];
    uint64_t runs, end;
};

struct piece {
    size_t count;
    struct slice *slices;
};

struct element {
    char kind; /* u i d f */
    int64_t b, base, n, s, e, m, bias, bits;
    enum { IEEE, FN, FNUZ, NONE, E8M0 } specials;
};

struct extents {
    size_t count;
    int64_t of[MOST_AXES];
};

struct plane {
    struct rq_text name;
    struct extents block, order;
    int has_order;
    int64_t bytes;
};

struct field {
    struct rq_text name, plane_name;
    size_t plane;
    struct element element;
    struct extents over;
    size_t piece_count;
    struct piece *pieces;
    uint64_t codes_per_run;
};

struct table {
    struct rq_text name;
    const uint8_t *bytes;
    size_t entries;
    int used;
};

struct formula {
    enum { FIELD, CONSTANT, ADD, SUB, MUL, DIV, LUT } kind;
    struct rq_text name;
    size_t field, table;
    double constant;
    struct formula *left, *right;
};

/* What stands between stored planes and the layout (D-23 to D-26). */
struct operators {
    enum { NO_VIEW, FLAT, PARTS } view;
    int64_t group, axis, parts;
    int64_t words[16]; /* by plane; 0 where its records lie together */
    int has_index, gathered[16];
    struct rq_text index;
    size_t index_place; /* planes before it */
};

struct layout {
    size_t plane_count, field_count, table_count;
    int has_operators;
    struct operators ops;
    struct plane planes[16];
    struct field fields[16];
    struct table tables[16];
    struct formula *formula;
    const uint8_t *span;
    size_t span_size;
};

struct tensor {
    struct rq_text name;
    /* As it is listed; and what the layout speaks of, which a view makes another. */
    size_t own_rank, rank;
    uint64_t own_shape[MOST_AXES], shape[MOST_AXES], weights;
    uint64_t rows, columns; /* of the matrix that is cut into parts */
    const struct layout *layout;
    struct segment *planes[16], *index;
};

struct document {
    struct rq_text name, media;
    const struct segment *segment; /* NULL if empty */
};

/* What the root expects of a shard: the segments of one plane. */
struct use {
    struct use *next;
    int64_t first;
    size_t count;
    uint64_t expected;
    struct segment **plane; /* where the first is to be entered */
};

struct shard {
    struct rq_text name;
    uint64_t size;
    const uint8_t *root;
    struct use *uses, *last;
    struct segment *segments;
    size_t segment_count;
};

struct block {
    struct block *next;
    /* The data follow. */
};

struct rq_file {
    const uint8_t *data;
    size_t size;
    struct block *blocks;
    jmp_buf refuse;
    const char *code;
    size_t segment_count, tensor_count, document_count, layout_count;
    struct segment *segments;
    struct tensor *tensors;
    struct document *documents;
    struct value *core;
    struct layout *layouts;
    struct shard *shards;
    size_t shard_count;
    int is_shard;
    /* The next reference: file 0 is the root, k the k-th shard. */
    int64_t due_file, due;
    /* RQ-MP1 */
    const uint8_t *at, *end;
    uint64_t values;
};

static void fail(struct rq_file *file, const char *code) {
    file->code = code;
    longjmp(file->refuse, 1);
}

static void *allocate(struct rq_file *file, size_t count, size_t size) {
    if (count == 0) count = 1;
    if (size > (SIZE_MAX - 16) / count) fail(file, "out of memory");
    struct block *block = calloc(1, 16 + count * size);
    if (block == NULL) fail(file, "out of memory");
    block->next = file->blocks;
    file->blocks = block;
    return (char *)block + 16;
}

/* ---------------------------------------------------------------------------- numbers and sums */

static uint64_t little(const uint8_t *bytes, int width) {
    uint64_t value = 0;
    while (width-- > 0) value = value << 8 | bytes[width];
    return value;
}

static uint64_t times(uint64_t a, uint64_t b) {
    return a != 0 && b > HUGE_COUNT / a ? HUGE_COUNT : a * b;
}

static uint64_t plus(uint64_t a, uint64_t b) { return b > HUGE_COUNT - a ? HUGE_COUNT : a + b; }

static uint64_t ceiling(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

static uint32_t crc32(const uint8_t *bytes, size_t size) {
    static uint32_t table[256];
    if (table[1] == 0) {
        for (uint32_t n = 0; n < 256; n++) {
            uint32_t c = n;
            for (int k = 0; k < 8; k++) c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
            table[n] = c;
        }
    }
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) crc = table[(crc ^ bytes[i]) & 255] ^ crc >> 8;
    return crc ^ 0xffffffffu;
}

/* FIPS 180-4. */
struct sha256 {
    uint32_t state[8];
    uint8_t buffer[64];
    size_t filled;
    uint64_t total;
};

static const uint32_t SHA_ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha_block(uint32_t state[8], const uint8_t *block) {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++) {
        const uint8_t *p = block + 4 * i;
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] +
               (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
    }
    memcpy(s, state, sizeof s);
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) +
                      ((s[4] & s[5]) ^ (~s[4] & s[6])) + SHA_ROUND[i] + w[i];
        uint32_t t2 = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) +
                      ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += s[i];
}

static void sha_begin(struct sha256 *sha) {
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(sha->state, first, sizeof first);
    sha->filled = 0;
    sha->total = 0;
}

static void sha_add(struct sha256 *sha, const uint8_t *data, size_t size) {
    sha->total += size;
    while (size > 0) {
        if (sha->filled == 0 && size >= 64) {
            sha_block(sha->state, data);
            data += 64;
            size -= 64;
            continue;
        }
        size_t part = 64 - sha->filled < size ? 64 - sha->filled : size;
        memcpy(sha->buffer + sha->filled, data, part);
        sha->filled += part;
        data += part;
        size -= part;
        if (sha->filled == 64) {
            sha_block(sha->state, sha->buffer);
            sha->filled = 0;
        }
    }
}

static void sha_end(struct sha256 *sha, uint8_t digest[32]) {
    uint64_t bits = 8 * sha->total;
    uint8_t tail[72] = {0x80};
    size_t zeros = (sha->filled < 56 ? 56 : 120) - sha->filled;
    for (int i = 0; i < 8; i++) tail[zeros + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
    sha_add(sha, tail, zeros + 8);
    for (int i = 0; i < 32; i++) digest[i] = (uint8_t)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
}

void rq_sha256(const uint8_t *data, size_t size, uint8_t digest[32]) {
    struct sha256 sha;
    sha_begin(&sha);
    sha_add(&sha, data, size);
    sha_end(&sha, digest);
}

/* --------------------------------------------------------------------- S0 to S3: file and table */

static void read_preamble(struct rq_file *file) {
    static const uint8_t magic[8] = {0x89, 'R', 'Q', 'F', '\r', '\n', 0x1a, '\n'};
    const uint8_t *data = file->data;
    if (file->size < 128) fail(file, "E_SIZE");
    if (memcmp(data, magic, 8) != 0) fail(file, "E_MAGIC");
    if (little(data + 8, 2) != 1) fail(file, "E_VERSION");
    if ((little(data + 12, 4) & ~(uint64_t)6) != 0) fail(file, "E_FEATURE");
    if (little(data + 28, 4) != 0) fail(file, "E_RESERVED");
    if (little(data + 16, 8) != file->size) fail(file, "E_LENGTH");
    file->segment_count = (size_t)little(data + 24, 4);
    if (file->segment_count < 1 || file->segment_count > 1 << 20 ||
        file->segment_count > (file->size - 64) / 64)
        fail(file, "E_COUNT");
    struct sha256 sha;
    uint8_t root[32];
    sha_begin(&sha);
    sha_add(&sha, data, 32);
    sha_add(&sha, data + 64, 64 * file->segment_count);
    sha_end(&sha, root);
    if (memcmp(root, data + 32, 32) != 0) fail(file, "E_TABLE_DIGEST");
}

static void read_segments(struct rq_file *file) {
    uint64_t end = 64 + 64 * (uint64_t)file->segment_count;
    int has_frames = 0;
    file->segments = allocate(file, file->segment_count, sizeof *file->segments);
    for (size_t i = 0; i < file->segment_count; i++) {
        const uint8_t *entry = file->data + 64 + 64 * i;
        uint64_t offset = little(entry, 8), stored = little(entry + 8, 8);
        uint64_t raw = little(entry + 16, 8), start = ceiling(end, 64) * 64;
        int codec = entry[28], kind = entry[29];
        if (little(entry + 30, 2) != 0) fail(file, "E_SEG_FLAGS");
        if (codec > 1 || (i == 0 && codec != 0)) fail(file, "E_SEG_CODEC");
        if (kind > 2 || (i == 0) != (kind == 0)) fail(file, "E_SEG_KIND");
        if (offset != start) fail(file, "E_SEG_OFFSET");
        if (start > file->size || stored > file->size - start) fail(file, "E_SEG_BOUNDS");
        for (uint64_t p = end; p < start; p++)
            if (file->data[p] != 0) fail(file, "E_PAD");
        if (stored == 0) fail(file, "E_SEG_EMPTY");
        if (codec == 0 && raw != stored) fail(file, "E_SEG_RAWLEN");
        if (codec == 1 && raw > MIB_64) fail(file, "E_ZSTD_RAWMAX");
        if (codec == 1 && raw <= stored) fail(file, "E_ZSTD_NOGAIN");
        if (i == 0 && raw > MIB_64) fail(file, "E_LIMIT");
        has_frames |= codec;
        end = start + stored;
        file->segments[i].bytes = file->data + start;
        file->segments[i].size = (size_t)stored;
        file->segments[i].crc = (uint32_t)little(entry + 24, 4);
        file->segments[i].sha256 = entry + 32;
        file->segments[i].kind = kind;
    }
    if (end != file->size) fail(file, "E_LENGTH");
    if (has_frames) fail(file, "E_FEATURE");
}

static void verify(struct rq_file *file, const struct segment *segment) {
    uint8_t digest[32];
    if (crc32(segment->bytes, segment->size) != segment->crc) fail(file, "E_SEG_CRC");
    rq_sha256(segment->bytes, segment->size, digest);
    if (memcmp(digest, segment->sha256, 32) != 0) fail(file, "E_SEG_SHA");
}

/* ------------------------------------------------------------------------- S5: RQ-MP1, chapter 3 */

static const uint8_t *take(struct rq_file *file, uint64_t size) {
    if (size > (uint64_t)(file->end - file->at)) fail(file, "E_MP_TRUNC");
    file->at += size;
    return file->at - size;
}

static uint64_t big(struct rq_file *file, int width) {
    const uint8_t *bytes = take(file, (uint64_t)width);
    uint64_t value = 0;
    for (int i = 0; i < width; i++) value = value << 8 | bytes[i];
    return value;
}

static int is_utf8(const uint8_t *p, size_t size) {
    for (size_t i = 0; i < size;) {
        uint32_t c = p[i++], least;
        int more;
        if (c < 0x80) continue;
        if (c >= 0xc2 && c < 0xe0) { more = 1; c &= 31; least = 0x80; }
        else if (c >= 0xe0 && c < 0xf0) { more = 2; c &= 15; least = 0x800; }
        else if (c >= 0xf0 && c < 0xf5) { more = 3; c &= 7; least = 0x10000; }
        else return 0;
        for (; more > 0; more--) {
            if (i >= size || (p[i] & 0xc0) != 0x80) return 0;
            c = c << 6 | (p[i++] & 63);
        }
        if (c < least || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
    }
    return 1;
}

static int is_word(const uint8_t *p, size_t size) {
    if (size < 1 || size > 64 || p[0] < 'a' || p[0] > 'z') return 0;
    for (size_t i = 1; i < size; i++) {
        int letter = p[i] >= 'a' && p[i] <= 'z', digit = p[i] >= '0' && p[i] <= '9';
        if (!letter && !digit && p[i] != '_' && p[i] != '.' && p[i] != '-') return 0;
    }
    return 1;
}

static int compare(const uint8_t *a, size_t m, const uint8_t *b, size_t n) {
    int order = memcmp(a, b, m < n ? m : n);
    return order != 0 ? order : (m > n) - (m < n);
}

/* tag c4..c6, d9..df: bytes of the size, the least that has no shorter form, the type. */
static int sized(int tag, int *width, uint64_t *least, enum type *type) {
    static const struct { int tag, width; uint64_t least; enum type type; } forms[] = {
        {0xc4, 1, 0, BYTES}, {0xc5, 2, 1 << 8, BYTES}, {0xc6, 4, 1 << 16, BYTES},
        {0xd9, 1, 1 << 5, STRING}, {0xda, 2, 1 << 8, STRING}, {0xdb, 4, 1 << 16, STRING},
        {0xdc, 2, 1 << 4, ARRAY}, {0xdd, 4, 1 << 16, ARRAY},
        {0xde, 2, 1 << 4, MAP}, {0xdf, 4, 1 << 16, MAP}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (forms[i].tag != tag) continue;
        *width = forms[i].width;
        *least = forms[i].least;
        *type = forms[i].type;
        return 1;
    }
    return 0;
}

static void parse_value(struct rq_file *file, struct value *out, int depth);

static void open_container(struct rq_file *file, uint64_t values, int depth) {
    if (depth == 16) fail(file, "E_MP_DEPTH");
    if (values > (uint64_t)(file->end - file->at)) fail(file, "E_MP_TRUNC");
    file->values += values;
    if (file->values > 1 << 22) fail(file, "E_MP_LIMIT");
}

static void parse_array(struct rq_file *file, struct value *out, uint64_t count, int depth) {
    open_container(file, count, depth);
    out->type = ARRAY;
    out->count = (size_t)count;
    out->items = allocate(file, out->count, sizeof *out->items);
    for (size_t i = 0; i < out->count; i++) parse_value(file, out->items + i, depth + 1);
}

static void parse_key(struct rq_file *file, struct value *key) {
    int tag = *take(file, 1), width;
    uint64_t size = (uint64_t)(tag & 31), least;
    enum type type;
    if (tag < 0xa0 || tag >= 0xc0) {
        if (!sized(tag, &width, &least, &type) || type != STRING) fail(file, "E_MP_KEY");
        size = big(file, width);
        if (size < least) fail(file, "E_MP_MINIMAL");
    }
    key->type = STRING;
    key->bytes = take(file, size);
    key->size = (size_t)size;
    if (!is_word(key->bytes, key->size)) fail(file, "E_MP_KEY");
}

static void parse_map(struct rq_file *file, struct value *out, uint64_t count, int depth,
                      const uint8_t *start) {
    open_container(file, 2 * count, depth);
    out->type = MAP;
    out->count = (size_t)count;
    out->items = allocate(file, 2 * out->count, sizeof *out->items);
    for (size_t i = 0; i < out->count; i++) {
        struct value *key = out->items + 2 * i;
        parse_key(file, key);
        if (i > 0 && compare(key[-2].bytes, key[-2].size, key->bytes, key->size) >= 0)
            fail(file, "E_MP_ORDER");
        parse_value(file, key + 1, depth + 1);
    }
    out->bytes = start;
    out->size = (size_t)(file->at - start);
}

static void parse_integer(struct rq_file *file, struct value *out, int tag) {
    const int64_t most = ((int64_t)1 << 53) - 1;
    int width = 1 << (tag & 3);
    uint64_t bits = big(file, width);
    out->type = INTEGER;
    if (tag < 0xd0) {
        static const uint64_t least[4] = {1 << 7, 1 << 8, 1 << 16, (uint64_t)1 << 32};
        if (bits < least[tag & 3]) fail(file, "E_MP_MINIMAL");
        if (bits > (uint64_t)most) fail(file, "E_MP_INT");
        out->integer = (int64_t)bits;
        return;
    }
    static const int64_t below[4] = {-32, -128, -32768, -2147483647 - 1};
    uint64_t sign = (uint64_t)1 << (8 * width - 1);
    /* Minus the complement plus one is the number that the bits stand for, without overflow. */
    uint64_t mask = sign | (sign - 1);
    int64_t number = bits & sign ? -(int64_t)(~bits & mask) - 1 : (int64_t)bits;
    if (number >= below[tag & 3]) fail(file, "E_MP_MINIMAL");
    if (number < -most) fail(file, "E_MP_INT");
    out->integer = number;
}

static void parse_text(struct rq_file *file, struct value *out, uint64_t size) {
    out->type = STRING;
    out->bytes = take(file, size);
    out->size = (size_t)size;
    if (!is_utf8(out->bytes, out->size)) fail(file, "E_MP_UTF8");
}

static void parse_float(struct rq_file *file, struct value *out) {
    uint64_t bits = big(file, 8);
    if ((bits >> 52 & 2047) == 2047 || bits == (uint64_t)1 << 63) fail(file, "E_MP_FLOAT");
    out->type = FLOAT;
    memcpy(&out->number, &bits, 8);
}

static void parse_value(struct rq_file *file, struct value *out, int depth) {
    const uint8_t *start = file->at;
    int tag = *take(file, 1), width;
    uint64_t least, size;
    enum type type;
    if (tag < 0x80 || tag >= 0xe0) {
        out->type = INTEGER;
        out->integer = tag < 0x80 ? tag : tag - 256;
    } else if (tag < 0x90) parse_map(file, out, (uint64_t)(tag & 15), depth, start);
    else if (tag < 0xa0) parse_array(file, out, (uint64_t)(tag & 15), depth);
    else if (tag < 0xc0) parse_text(file, out, (uint64_t)(tag & 31));
    else if (tag == 0xc2 || tag == 0xc3) {
        out->type = BOOL;
        out->integer = tag == 0xc3;
    } else if (tag == 0xcb) parse_float(file, out);
    else if ((tag >= 0xcc && tag <= 0xcf) || (tag >= 0xd0 && tag <= 0xd3))
        parse_integer(file, out, tag);
    else {
        if (!sized(tag, &width, &least, &type)) fail(file, "E_MP_TYPE");
        size = big(file, width);
        if (size < least) fail(file, "E_MP_MINIMAL");
        if (type == MAP) parse_map(file, out, size, depth, start);
        else if (type == ARRAY) parse_array(file, out, size, depth);
        else if (type == STRING) parse_text(file, out, size);
        else {
            out->type = BYTES;
            out->bytes = take(file, size);
            out->size = (size_t)size;
        }
    }
}

/* -------------------------------------------------------------------------- steps into a header */

static int is(const struct value *value, const char *text) {
    return value->type == STRING && value->size == strlen(text) &&
           memcmp(value->bytes, text, value->size) == 0;
}

static struct rq_text text_of(const struct value *value) {
    struct rq_text text = {(const char *)value->bytes, value->size};
    return text;
}

static int same_text(struct rq_text a, struct rq_text b) {
    return a.size == b.size && memcmp(a.bytes, b.bytes, a.size) == 0;
}

static struct value *get(const struct value *map, const char *key) {
    for (size_t i = 0; i < map->count; i++)
        if (is(map->items + 2 * i, key)) return map->items + 2 * i + 1;
    return NULL;
}

static struct value *typed(struct rq_file *file, struct value *value, enum type type) {
    if (value->type != type) fail(file, "E_SCHEMA_TYPE");
    return value;
}

/* Keys are separated by spaces; those after '?' are optional. */
static int listed(const char *keys, const struct value *key) {
    for (const char *p = keys; *p;) {
        size_t size = strcspn(p, " ?");
        if (size > 0 && size == key->size && memcmp(p, key->bytes, size) == 0) return 1;
        p += size;
        p += strspn(p, " ?");
    }
    return 0;
}

static void map_with(struct rq_file *file, struct value *value, const char *keys) {
    char key[32];
    typed(file, value, MAP);
    for (const char *p = keys; *p && *p != '?';) {
        size_t size = strcspn(p, " ?");
        memcpy(key, p, size);
        key[size] = 0;
        if (get(value, key) == NULL) fail(file, "E_SCHEMA_MISSING");
        p += size;
        p += strspn(p, " ");
    }
    for (size_t i = 0; i < value->count; i++)
        if (!listed(keys, value->items + 2 * i)) fail(file, "E_SCHEMA_UNKNOWN");
}

static struct value *array(struct rq_file *file, struct value *value, size_t most) {
    typed(file, value, ARRAY);
    if (value->count > most) fail(file, "E_LIMIT");
    return value;
}

static struct rq_text name_of(struct rq_file *file, struct value *value,
                              const struct rq_text *previous) {
    typed(file, value, STRING);
    if (value->size < 1 || value->size > 512) fail(file, "E_NAME");
    for (size_t i = 0; i < value->size; i++)
        if (value->bytes[i] < 0x20 || value->bytes[i] == 0x7f) fail(file, "E_NAME");
    if (previous != NULL) {
        int order = compare((const uint8_t *)previous->bytes, previous->size, value->bytes,
                            value->size);
        if (order == 0) fail(file, "E_DUP");
        if (order > 0) fail(file, "E_ORDER");
    }
    return text_of(value);
}

/* ------------------------------------------------------------ descriptors, first pass, chapter 5 */

static struct extents numbers(struct rq_file *file, struct value *value, size_t most, int64_t low,
                              int64_t high) {
    struct extents found = {0, {0}};
    typed(file, value, ARRAY);
    for (size_t i = 0; i < value->count; i++) typed(file, value->items + i, INTEGER);
    if (value->count > most) fail(file, "E_DESC_BLOCK");
    for (size_t i = 0; i < value->count; i++) {
        found.of[i] = value->items[i].integer;
        if (found.of[i] < low || found.of[i] > high) fail(file, "E_DESC_BLOCK");
    }
    found.count = value->count;
    return found;
}

static int64_t number(struct rq_file *file, struct value *value, int64_t low, int64_t high) {
    typed(file, value, INTEGER);
    if (value->integer < low || value->integer > high) fail(file, "E_DESC_BLOCK");
    return value->integer;
}

static void named(struct rq_file *file, struct value *value) {
    typed(file, value, MAP);
    if (value->count == 0) fail(file, "E_SCHEMA_EMPTY");
    if (value->count > 16) fail(file, "E_LIMIT");
}

static void parse_plane(struct rq_file *file, struct plane *plane, struct value *value) {
    const int64_t extent = (int64_t)1 << 40;
    map_with(file, value, "block bytes ?order");
    plane->block = numbers(file, get(value, "block"), MOST_AXES, 0, extent);
    plane->bytes = typed(file, get(value, "bytes"), INTEGER)->integer;
    plane->has_order = get(value, "order") != NULL;
    if (plane->has_order) plane->order = numbers(file, get(value, "order"), MOST_AXES, 0, MOST_AXES);
}

static int64_t integer(const struct value *map, const char *key) { return get(map, key)->integer; }

static void parse_element(struct rq_file *file, struct element *element, struct value *value) {
    static const char *const specials[] = {"ieee", "fn", "fnuz", "none", "e8m0"};
    struct value *kind = (typed(file, value, MAP), get(value, "k"));
    if (kind == NULL || kind->type != STRING || kind->size != 1 ||
        strchr("uidf", kind->bytes[0]) == NULL || kind->bytes[0] == 0)
        fail(file, "E_DESC_ELEM");
    element->kind = (char)kind->bytes[0];
    map_with(file, value,
             element->kind == 'd' ? "k base n" : element->kind == 'f' ? "k s e m bias sp" : "k b");
    for (size_t i = 0; i < value->count; i++) {
        struct value *key = value->items + 2 * i;
        if (!is(key, "k") && !is(key, "sp")) typed(file, key + 1, INTEGER);
    }
    if (element->kind == 'd') {
        element->base = integer(value, "base");
        element->n = integer(value, "n");
        element->bits = 8;
    } else if (element->kind == 'f') {
        int found = -1;
        for (int i = 0; i < 5; i++)
            if (is(get(value, "sp"), specials[i])) found = i;
        if (found < 0) fail(file, "E_DESC_ELEM");
        element->specials = found;
        element->s = integer(value, "s");
        element->e = integer(value, "e");
        element->m = integer(value, "m");
        element->bias = integer(value, "bias");
        element->bits = element->s + element->e + element->m;
    } else {
        element->b = element->bits = integer(value, "b");
    }
}

static void parse_slice(struct rq_file *file, struct slice *slice, struct value *value) {
    typed(file, value, ARRAY);
    if (value->count != 4) fail(file, "E_SCHEMA_TYPE");
    slice->bits = number(file, value->items, 1, 32);
    slice->base = number(file, value->items + 1, 0, MOST_BITS);
    struct extents shape = numbers(file, value->items + 2, MOST_AXES, 1, MOST_BITS);
    struct extents strides = numbers(file, value->items + 3, MOST_AXES, 0, MOST_BITS);
    if (shape.count != strides.count) fail(file, "E_DESC_SLICE");
    slice->axes = shape.count;
    slice->runs = 1;
    slice->end = (uint64_t)(slice->base + slice->bits);
    for (size_t a = 0; a < shape.count; a++) {
        slice->shape[a] = shape.of[a];
        slice->strides[a] = strides.of[a];
        slice->runs = times(slice->runs, (uint64_t)shape.of[a]);
        slice->end += (uint64_t)(shape.of[a] - 1) * (uint64_t)strides.of[a];
    }
}

static void parse_field(struct rq_file *file, struct field *field, struct value *value) {
    map_with(file, value, "plane elem over at");
    struct value *at = get(value, "at");
    if (get(value, "plane")->type != STRING || at->type != ARRAY) fail(file, "E_SCHEMA_TYPE");
    field->plane_name = text_of(get(value, "plane"));
    parse_element(file, &field->element, get(value, "elem"));
    field->over = numbers(file, get(value, "over"), MOST_AXES, 0, (int64_t)1 << 40);
    if (at->count < 1 || at->count > 64) fail(file, "E_LIMIT");
    field->piece_count = at->count;
    field->pieces = allocate(file, at->count, sizeof *field->pieces);
    for (size_t i = 0; i < at->count; i++) {
        struct value *piece = at->items + i;
        if (piece->type != ARRAY || piece->count < 1 || piece->count > 8)
            fail(file, "E_SCHEMA_TYPE");
        field->pieces[i].count = piece->count;
        field->pieces[i].slices = allocate(file, piece->count, sizeof(struct slice));
        for (size_t k = 0; k < piece->count; k++)
            parse_slice(file, field->pieces[i].slices + k, piece->items + k);
    }
    field->codes_per_run = field->element.kind == 'd' ? (uint64_t)field->element.n : 1;
}

static void parse_table(struct rq_file *file, struct table *table, struct value *value) {
    typed(file, value, BYTES);
    if (value->size % 4 != 0 || value->size < 4 || value->size > 262144)
        fail(file, "E_DESC_TABLE");
    table->bytes = value->bytes;
    table->entries = value->size / 4;
}

static struct formula *parse_formula(struct rq_file *file, struct value *value, int depth) {
    static const char *const operators[] = {"add", "sub", "mul", "div", "lut"};
    struct formula *formula = allocate(file, 1, sizeof *formula);
    if (depth > 8) fail(file, "E_DESC_EXPR");
    if (value->type == STRING) {
        formula->kind = FIELD;
        formula->name = text_of(value);
        return formula;
    }
    if (value->type == FLOAT) {
        formula->kind = CONSTANT;
        formula->constant = value->number;
        return formula;
    }
    if (value->type != ARRAY || value->count < 1 || value->items[0].type != STRING)
        fail(file, "E_DESC_EXPR");
    int found = -1;
    for (int i = 0; i < 5; i++)
        if (is(value->items, operators[i])) found = i;
    if (found < 0) fail(file, "E_DESC_OP");
    if (value->count != 3) fail(file, "E_DESC_EXPR");
    formula->kind = ADD + (unsigned)found;
    if (formula->kind == LUT &&
        (value->items[1].type != STRING || value->items[2].type != STRING))
        fail(file, "E_DESC_EXPR");
    formula->left = parse_formula(file, value->items + 1, depth + 1);
    formula->right = parse_formula(file, value->items + 2, depth + 1);
    return formula;
}

/* ----------------------------------------------------------------------- descriptors, second pass */

static void check_plane(struct rq_file *file, const struct plane *plane) {
    if (plane->bytes < 1 || plane->bytes > 65536) fail(file, "E_DESC_BLOCK");
    if (plane->has_order) {
        int seen = 0, moved = 0;
        for (size_t i = 0; i < plane->order.count; i++) {
            seen |= 1 << plane->order.of[i];
            moved |= plane->order.of[i] != (int64_t)i;
        }
        if (plane->order.count != plane->block.count || seen != (1 << plane->block.count) - 1 ||
            !moved)
            fail(file, "E_DESC_PERM");
    }
    if (plane->block.count == 0 ||
        (!plane->has_order && plane->block.count > 1 && plane->block.of[0] == 1))
        fail(file, "E_DESC_BLOCK");
}

static int is_element(const struct element *x) {
    if (x->kind == 'u') return x->b >= 1 && x->b <= 24;
    if (x->kind == 'i') return x->b >= 2 && x->b <= 24;
    if (x->kind == 'd') {
        int64_t whole = 1;
        if (x->base < 2 || x->base > 16 || x->n < 1 || x->n > 8) return 0;
        for (int64_t i = 0; i < x->n; i++) whole *= x->base;
        return whole <= 256;
    }
    if (x->bits != 4 && x->bits != 6 && x->bits != 8 && x->bits != 16 && x->bits != 32) return 0;
    if (x->bits == 32)
        return x->s == 1 && x->e == 8 && x->m == 23 && x->bias == 127 && x->specials == IEEE;
    if ((x->s != 0 && x->s != 1) || x->e < 1 || x->e > 8 || x->m < 0) return 0;
    int bare = x->specials == E8M0;
    if (bare && (x->s != 0 || x->e != 8 || x->m != 0)) return 0;
    int64_t top = ((int64_t)1 << x->e) - (bare || x->specials == IEEE ? 2 : 1) - x->bias;
    return top <= 127 && !bare - x->bias - x->m >= -149;
}

static uint64_t codes_of(const struct field *field) {
    uint64_t runs = 0;
    for (size_t i = 0; i < field->piece_count; i++)
        runs = plus(runs, field->pieces[i].slices[0].runs);
    return times(runs, field->codes_per_run);
}

static void check_field(struct rq_file *file, const struct field *field,
                        const struct plane *plane) {
    uint64_t shares = 1, bits = 8 * (uint64_t)plane->bytes;
    if (field->over.count != plane->block.count) fail(file, "E_DESC_RANK");
    for (size_t a = 0; a < field->over.count; a++) {
        int64_t over = field->over.of[a], block = plane->block.of[a];
        if ((over == 0) != (block == 0) || (over != 0 && block % over != 0))
            fail(file, "E_DESC_BLOCK");
        if (over != 0) shares = times(shares, (uint64_t)(block / over));
    }
    for (size_t i = 0; i < field->piece_count; i++) {
        const struct piece *piece = field->pieces + i;
        int64_t width = 0;
        for (size_t k = 0; k < piece->count; k++) {
            width += piece->slices[k].bits;
            if (piece->slices[k].runs != piece->slices[0].runs || piece->slices[k].end > bits)
                fail(file, "E_DESC_SLICE");
        }
        if (width > field->element.bits) fail(file, "E_DESC_SLICE");
        if (field->element.kind == 'd' && (piece->count > 1 || piece->slices[0].bits != 8))
            fail(file, "E_DESC_SLICE");
    }
    uint64_t codes = codes_of(field);
    uint64_t last = field->pieces[field->piece_count - 1].slices[0].runs;
    uint64_t spare = times(last, field->codes_per_run - 1);
    if (codes > bits || codes < shares || codes > plus(shares, spare)) fail(file, "E_DESC_SLICE");
}

static void check_shares(struct rq_file *file, const struct layout *layout) {
    for (size_t axis = 1; axis <= MOST_AXES; axis++) {
        int64_t shares[16];
        size_t count = 0;
        for (size_t i = 0; i < layout->field_count; i++) {
            const struct extents *over = &layout->fields[i].over;
            if (over->count < axis || over->of[over->count - axis] == 0) continue;
            int64_t share = over->of[over->count - axis];
            size_t place = count++;
            for (; place > 0 && shares[place - 1] > share; place--)
                shares[place] = shares[place - 1];
            shares[place] = share;
        }
        for (size_t i = 1; i < count; i++)
            if (shares[i] % shares[i - 1] != 0) fail(file, "E_DESC_BLOCK");
    }
}

static uint64_t start_of(const struct slice *slice, uint64_t run) {
    uint64_t start = (uint64_t)slice->base;
    for (size_t a = slice->axes; a-- > 0;) {
        start += run % (uint64_t)slice->shape[a] * (uint64_t)slice->strides[a];
        run /= (uint64_t)slice->shape[a];
    }
    return start;
}

/* No bit of a plane's record belongs to two runs. */
static void check_overlap(struct rq_file *file, const struct layout *layout, size_t plane) {
    uint64_t size = (uint64_t)layout->planes[plane].bytes, total = 0;
    uint8_t taken[65536];
    memset(taken, 0, size);
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct field *field = layout->fields + i;
        for (size_t p = 0; field->plane == plane && p < field->piece_count; p++)
            for (size_t k = 0; k < field->pieces[p].count; k++) {
                const struct slice *slice = field->pieces[p].slices + k;
                total += slice->runs * (uint64_t)slice->bits;
                if (total > 8 * size) fail(file, "E_DESC_OVERLAP");
                for (uint64_t run = 0; run < slice->runs; run++) {
                    uint64_t start = start_of(slice, run), end = start + (uint64_t)slice->bits;
                    for (uint64_t bit = start; bit < end; bit++) {
                        if (taken[bit / 8] >> bit % 8 & 1) fail(file, "E_DESC_OVERLAP");
                        taken[bit / 8] |= (uint8_t)(1u << bit % 8);
                    }
                }
            }
    }
}

static float table_entry(const struct table *table, uint64_t index) {
    uint32_t bits = (uint32_t)little(table->bytes + 4 * index, 4);
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static size_t find_field(const struct layout *layout, struct rq_text name) {
    size_t i = 0;
    while (i < layout->field_count && !same_text(layout->fields[i].name, name)) i++;
    return i;
}

static int count_nodes(const struct formula *formula) {
    if (formula->kind == FIELD || formula->kind == CONSTANT) return 1;
    int left = formula->kind == LUT ? 0 : count_nodes(formula->left);
    return 1 + left + count_nodes(formula->right);
}

static void check_constants(struct rq_file *file, const struct formula *formula) {
    if (formula->kind == CONSTANT) {
        /* Beyond binary32 the conversion would not be defined in C. */
        if (fabs(formula->constant) > 3.4028234663852886e38 ||
            (double)(float)formula->constant != formula->constant)
            fail(file, "E_DESC_EXPR");
    } else if (formula->kind >= ADD) {
        if (formula->kind != LUT) check_constants(file, formula->left);
        check_constants(file, formula->right);
    }
}

static void find_names(struct rq_file *file, const struct layout *layout, struct formula *formula,
                       int used[16]) {
    if (formula->kind == FIELD) {
        formula->field = find_field(layout, formula->name);
        if (formula->field == layout->field_count) fail(file, "E_DESC_EXPR");
        used[formula->field] = 1;
    } else if (formula->kind >= ADD) {
        if (formula->kind != LUT) find_names(file, layout, formula->left, used);
        find_names(file, layout, formula->right, used);
    }
}

static void check_lookups(struct rq_file *file, struct layout *layout, struct formula *formula) {
    if (formula->kind < ADD) return;
    if (formula->kind != LUT) {
        check_lookups(file, layout, formula->left);
        check_lookups(file, layout, formula->right);
        return;
    }
    const struct element *element = &layout->fields[formula->right->field].element;
    size_t i = 0;
    while (i < layout->table_count && !same_text(layout->tables[i].name, formula->left->name)) i++;
    if (i == layout->table_count || element->kind != 'u') fail(file, "E_DESC_EXPR");
    struct table *table = layout->tables + i;
    const struct extents *over = &layout->fields[formula->right->field].over;
    uint64_t codes = (uint64_t)1 << element->b, vectors = 0;
    if (over->count == 1) vectors = times(codes, (uint64_t)over->of[0]);
    if (table->entries != codes && table->entries != vectors) fail(file, "E_DESC_TABLE");
    for (size_t k = 0; k < table->entries; k++)
        if ((little(table->bytes + 4 * k, 4) & 0x7f800000) == 0x7f800000)
            fail(file, "E_DESC_TABLE");
    table->used = 1;
    formula->table = i;
}

static void check_formula(struct rq_file *file, struct layout *layout) {
    int used[16] = {0}, plane_used[16] = {0};
    if (count_nodes(layout->formula) > 64) fail(file, "E_DESC_EXPR");
    check_constants(file, layout->formula);
    find_names(file, layout, layout->formula, used);
    for (size_t i = 0; i < layout->field_count; i++) {
        if (!used[i]) fail(file, "E_DESC_UNUSED");
        plane_used[layout->fields[i].plane] = 1;
    }
    for (size_t i = 0; i < layout->plane_count; i++)
        if (!plane_used[i]) fail(file, "E_DESC_UNUSED");
    check_lookups(file, layout, layout->formula);
    for (size_t i = 0; i < layout->table_count; i++)
        if (!layout->tables[i].used) fail(file, "E_DESC_UNUSED");
}

static size_t find_plane(const struct layout *layout, struct rq_text name) {
    size_t i = 0;
    while (i < layout->plane_count && !same_text(layout->planes[i].name, name)) i++;
    return i;
}

static void parse_view(struct rq_file *file, struct operators *ops, struct value *value) {
    if (value->type != ARRAY || value->count == 0 || value->items[0].type != STRING)
        fail(file, "E_SCHEMA_TYPE");
    for (size_t i = 1; i < value->count; i++) typed(file, value->items + i, INTEGER);
    ops->view = FLAT;
    if (is(value->items, "flat") && value->count == 1) return;
    if (!is(value->items, "parts") || value->count != 4) fail(file, "E_DESC_OPS");
    ops->view = PARTS;
    ops->group = value->items[1].integer;
    ops->axis = value->items[2].integer;
    ops->parts = value->items[3].integer;
    if (ops->group < 1 || ops->group > (int64_t)1 << 40 || ops->axis < 0 || ops->axis > 1 ||
        ops->parts < 2 || ops->parts > 64)
        fail(file, "E_DESC_OPS");
}

static void parse_words(struct rq_file *file, struct layout *layout, struct value *value) {
    typed(file, value, MAP);
    if (value->count == 0) fail(file, "E_SCHEMA_EMPTY");
    for (size_t i = 0; i < value->count; i++) {
        int64_t words = typed(file, value->items + 2 * i + 1, INTEGER)->integer;
        size_t plane = find_plane(layout, text_of(value->items + 2 * i));
        if (plane == layout->plane_count || words < 2 || words > 64 ||
            layout->planes[plane].bytes % words != 0)
            fail(file, "E_DESC_OPS");
        layout->ops.words[plane] = words;
    }
}

/* Whether a formula looks up one number for each of the weights that share a code of a field. */
static int is_vector(const struct layout *layout, const struct formula *formula, size_t field) {
    if (formula->kind < ADD) return 0;
    if (formula->kind == LUT)
        return formula->right->field == field &&
               layout->tables[formula->table].entries > (size_t)1 << layout->fields[field].element.b;
    return is_vector(layout, formula->left, field) || is_vector(layout, formula->right, field);
}

static void check_gathered(struct rq_file *file, const struct layout *layout, size_t number) {
    const struct plane *plane = layout->planes + number;
    int64_t block = plane->block.of[plane->block.count - 1];
    if (plane->bytes > 16) fail(file, "E_DESC_OPS");
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct field *field = layout->fields + i;
        if (field->plane != number) continue;
        if (field->over.of[field->over.count - 1] != block) fail(file, "E_DESC_OPS");
        if (is_vector(layout, layout->formula, i)) fail(file, "E_DESC_OPS");
    }
}

static void parse_gather(struct rq_file *file, struct layout *layout, struct value *value) {
    struct operators *ops = &layout->ops;
    map_with(file, value, "index planes");
    struct value *index = get(value, "index"), *planes = get(value, "planes");
    typed(file, index, STRING);
    typed(file, planes, ARRAY);
    for (size_t i = 0; i < planes->count; i++) typed(file, planes->items + i, STRING);
    ops->has_index = 1;
    ops->index = text_of(index);
    if (!is_word(index->bytes, index->size)) fail(file, "E_DESC_OPS");
    if (find_plane(layout, ops->index) < layout->plane_count) fail(file, "E_DESC_OPS");
    if (planes->count == 0) fail(file, "E_DESC_OPS");
    for (size_t i = 0, least = 0; i < planes->count; i++, least++) {
        size_t found = find_plane(layout, text_of(planes->items + i));
        if (found == layout->plane_count || found < least) fail(file, "E_DESC_OPS");
        ops->gathered[found] = 1;
        least = found;
    }
    for (size_t i = 0; i < layout->plane_count; i++) {
        struct rq_text name = layout->planes[i].name;
        if (ops->gathered[i]) check_gathered(file, layout, i);
        if (compare((const uint8_t *)name.bytes, name.size, index->bytes, index->size) < 0)
            ops->index_place = i + 1;
    }
}

static void parse_operators(struct rq_file *file, struct layout *layout, struct value *value) {
    typed(file, value, MAP);
    if (value->count == 0) fail(file, "E_SCHEMA_EMPTY");
    for (size_t i = 0; i < value->count; i++)
        if (!listed("gather view words", value->items + 2 * i)) fail(file, "E_DESC_OPS");
    struct value *view = get(value, "view");
    if (view != NULL && value->count > 1) fail(file, "E_DESC_OPS");
    if (view != NULL) parse_view(file, &layout->ops, view);
    if (get(value, "words") != NULL) parse_words(file, layout, get(value, "words"));
    if (get(value, "gather") != NULL) parse_gather(file, layout, get(value, "gather"));
    layout->has_operators = 1;
}

static void parse_layout(struct rq_file *file, struct layout *layout, struct value *value) {
    map_with(file, value, "rqd planes fields value ?ops tables");
    struct value *version = get(value, "rqd"), *map = get(value, "planes");
    if (version->type != INTEGER || version->integer != 1) fail(file, "E_DESC_VERSION");
    named(file, map);
    for (; layout->plane_count < map->count; layout->plane_count++) {
        struct value *key = map->items + 2 * layout->plane_count;
        layout->planes[layout->plane_count].name = text_of(key);
        parse_plane(file, layout->planes + layout->plane_count, key + 1);
    }
    map = get(value, "fields");
    named(file, map);
    for (; layout->field_count < map->count; layout->field_count++) {
        struct value *key = map->items + 2 * layout->field_count;
        layout->fields[layout->field_count].name = text_of(key);
        parse_field(file, layout->fields + layout->field_count, key + 1);
    }
    map = get(value, "tables");
    if (map != NULL) named(file, map);
    for (; map != NULL && layout->table_count < map->count; layout->table_count++) {
        struct value *key = map->items + 2 * layout->table_count;
        layout->tables[layout->table_count].name = text_of(key);
        parse_table(file, layout->tables + layout->table_count, key + 1);
    }
    layout->formula = parse_formula(file, get(value, "value"), 1);
    for (size_t i = 0; i < layout->plane_count; i++) check_plane(file, layout->planes + i);
    for (size_t i = 0; i < layout->field_count; i++) {
        struct field *field = layout->fields + i;
        while (field->plane < layout->plane_count &&
               !same_text(layout->planes[field->plane].name, field->plane_name))
            field->plane++;
        if (field->plane == layout->plane_count) fail(file, "E_DESC_EXPR");
        if (!is_element(&field->element)) fail(file, "E_DESC_ELEM");
        check_field(file, field, layout->planes + field->plane);
    }
    check_shares(file, layout);
    for (size_t i = 0; i < layout->plane_count; i++) check_overlap(file, layout, i);
    check_formula(file, layout);
    if (get(value, "ops") != NULL) parse_operators(file, layout, get(value, "ops"));
    layout->span = value->bytes;
    layout->span_size = value->size;
}

/* -------------------------------------------------------------------------- S6: header, chapter 4 */

static void take_one(struct rq_file *file, int64_t in, int64_t n, int kind) {
    if (in == 0) {
        if (n < 1 || n >= (int64_t)file->segment_count) fail(file, "E_REF");
        if (file->segments[n].kind != kind) fail(file, "E_REF");
    } else if (in < 1 || in > (int64_t)file->shard_count || n < 1 || n >= 1 << 20 || kind == 2)
        fail(file, "E_REF");
    if (in < file->due_file || (in == file->due_file && n < file->due)) fail(file, "E_SHARED");
    int is_done = file->due_file == 0 ? file->due == (int64_t)file->segment_count : file->due > 1;
    int begins_next = is_done && in == file->due_file + 1 && n == 1;
    if (!begins_next && (in != file->due_file || n != file->due)) fail(file, "E_ORDER");
    file->due_file = in;
    file->due = n + 1;
}

struct pieces {
    int64_t file, first;
    size_t count;
};

/* The segments that an array refers to; `kind` is 1 for planes and 2 for documents. */
static struct pieces take_references(struct rq_file *file, struct value *value, int kind) {
    struct pieces found = {0, 0, 0};
    int is_in_two = 0;
    array(file, value, 1 << 20);
    for (size_t i = 0; i < value->count; i++) {
        struct value *item = value->items + i;
        if (file->shard_count == 0) {
            typed(file, item, INTEGER);
            continue;
        }
        if (item->type != ARRAY || item->count != 2) fail(file, "E_SCHEMA_TYPE");
        typed(file, item->items, INTEGER);
        typed(file, item->items + 1, INTEGER);
    }
    for (size_t i = 0; i < value->count; i++) {
        struct value *item = value->items + i;
        int64_t in = file->shard_count ? item->items[0].integer : 0;
        int64_t n = file->shard_count ? item->items[1].integer : item->integer;
        take_one(file, in, n, kind);
        if (i == 0) {
            found.file = in;
            found.first = n;
        }
        is_in_two |= in != found.file;
        found.count++;
    }
    if (is_in_two) fail(file, "E_CUT");
    return found;
}

static uint64_t bytes_of(const struct segment *first, size_t count) {
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++) size += first[i].size;
    return size;
}

static void finish_references(struct rq_file *file) {
    if (file->due_file == 0 && file->due != (int64_t)file->segment_count) fail(file, "E_UNREF");
    if (file->due_file != (int64_t)file->shard_count) fail(file, "E_UNREF");
}

/* Hold a plane's segments against the bytes that it takes; in a shard, once it is opened. */
static void expect(struct rq_file *file, struct pieces pieces, uint64_t expected,
                   struct segment **plane) {
    if (pieces.file == 0) {
        *plane = file->segments + pieces.first;
        if (bytes_of(*plane, pieces.count) != expected) fail(file, "E_PLANE_SIZE");
        /* Without zstd no segment is compressed, so nothing may be cut. */
        if (pieces.count > 1) fail(file, "E_CUT");
        return;
    }
    struct shard *shard = file->shards + pieces.file - 1;
    struct use *use = allocate(file, 1, sizeof *use);
    use->first = pieces.first;
    use->count = pieces.count;
    use->expected = expected;
    use->plane = plane;
    if (shard->last != NULL) shard->last->next = use;
    else shard->uses = use;
    shard->last = use;
}

/* ------------------------------------------------------------------------------ shards, chapter 9 */

static int same_letters(const char *a, const char *b, size_t size) {
    for (size_t i = 0; i < size; i++) {
        int x = a[i] >= 'A' && a[i] <= 'Z' ? a[i] + 32 : a[i];
        int y = b[i] >= 'A' && b[i] <= 'Z' ? b[i] + 32 : b[i];
        if (x != y) return 0;
    }
    return 1;
}

static int is_device(const char *p, size_t size) {
    static const char *const words[] = {"con", "prn", "aux", "nul", "com", "lpt"};
    for (size_t i = 0; i < 6; i++) {
        size_t wanted = i < 4 ? 3 : 4;
        int is_number = i < 4 || (size == 4 && p[3] >= '0' && p[3] <= '9');
        if (size == wanted && same_letters(p, words[i], 3) && is_number) return 1;
    }
    return 0;
}

static int is_letter_or_digit(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static int is_shard_name(struct rq_text name) {
    const char *p = name.bytes;
    size_t stem = 0;
    if (name.size < 4 || name.size > 128 || memcmp(p + name.size - 3, ".rq", 3) != 0) return 0;
    for (size_t i = 0; i < name.size; i++) {
        int is_mark = p[i] == '.' || p[i] == '_' || p[i] == '-';
        if (!is_letter_or_digit(p[i]) && !(i > 0 && is_mark)) return 0;
        if (i > 0 && p[i] == '.' && p[i - 1] == '.') return 0;
    }
    while (p[stem] != '.') stem++;
    return !is_device(p, stem);
}

static void read_shards(struct rq_file *file, struct value *shards) {
    array(file, shards, 4096);
    if (shards->count == 0) fail(file, "E_SCHEMA_EMPTY");
    file->shards = allocate(file, shards->count, sizeof *file->shards);
    for (size_t i = 0; i < shards->count; i++) {
        struct value *entry = shards->items + i;
        struct shard *shard = file->shards + i;
        map_with(file, entry, "file_len name root");
        shard->name = text_of(typed(file, get(entry, "name"), STRING));
        if (!is_shard_name(shard->name)) fail(file, "E_SHARD_NAME");
        int64_t size = typed(file, get(entry, "file_len"), INTEGER)->integer;
        if (size < 128) fail(file, "E_SHARD_LENGTH");
        shard->size = (uint64_t)size;
        struct value *root = typed(file, get(entry, "root"), BYTES);
        if (root->size != 32) fail(file, "E_SCHEMA_TYPE");
        shard->root = root->bytes;
        for (size_t k = 0; k < i; k++)
            if (file->shards[k].name.size == shard->name.size &&
                same_letters(file->shards[k].name.bytes, shard->name.bytes, shard->name.size))
                fail(file, "E_DUP");
    }
    file->shard_count = shards->count;
}

static int is_extension(const struct value *key) {
    size_t i = 2;
    const uint8_t *p = key->bytes;
    if (key->size < 2 || p[0] != 'x' || p[1] != '-') return 0;
    while (i < key->size && ((p[i] >= 'a' && p[i] <= 'z') || (p[i] >= '0' && p[i] <= '9'))) i++;
    /* All characters of a key are allowed after the point. */
    return i > 2 && i + 1 < key->size && p[i] == '.';
}

static void check_extensions(struct rq_file *file, struct value *ext) {
    typed(file, ext, MAP);
    if (ext->count == 0) fail(file, "E_SCHEMA_EMPTY");
    for (size_t i = 0; i < ext->count; i++) {
        struct value *key = ext->items + 2 * i, *entry = key + 1;
        if (!is_extension(key)) fail(file, "E_NAME");
        map_with(file, entry, "critical data ?follows");
        if (get(entry, "follows") != NULL && !is(get(entry, "follows"), "tensors"))
            fail(file, "E_SCHEMA_TYPE");
        if (typed(file, get(entry, "critical"), BOOL)->integer) fail(file, "E_EXT_CRITICAL");
    }
}

/* [!-~]+/[!-~]+(?:; ?[!-~]+)*: words of printable ASCII between single spaces, each but the last
 * with a semicolon after at least one character, the first with a slash inside. */
static int is_media(const uint8_t *p, size_t size) {
    size_t start = 0, slash = 0;
    if (size > 128) return 0;
    for (size_t i = 0; i <= size; i++) {
        if (i < size && p[i] > 0x20 && p[i] < 0x7f) continue;
        if (i < size && p[i] != ' ') return 0;
        size_t end = i;
        if (i < size) {
            if (end == start || p[end - 1] != ';') return 0;
            end--;
        }
        if (end == start) return 0;
        if (start == 0) {
            for (size_t k = 1; k + 1 < end; k++) slash |= p[k] == '/';
            if (!slash) return 0;
        }
        start = i + 1;
    }
    return 1;
}

static void read_documents(struct rq_file *file, struct value *docs) {
    array(file, docs, 1 << 20);
    file->documents = allocate(file, docs->count, sizeof *file->documents);
    for (size_t i = 0; i < docs->count; i++) {
        struct value *entry = docs->items + i;
        struct document *document = file->documents + i;
        map_with(file, entry, "media name seg");
        document->name = name_of(file, get(entry, "name"), i ? &document[-1].name : NULL);
        struct value *media = typed(file, get(entry, "media"), STRING);
        if (!is_media(media->bytes, media->size)) fail(file, "E_NAME");
        document->media = text_of(media);
        struct pieces pieces = take_references(file, get(entry, "seg"), 2);
        const struct segment *first = file->segments + pieces.first;
        if (bytes_of(first, pieces.count) > MIB_64) fail(file, "E_LIMIT");
        if (pieces.count > 1) fail(file, "E_CUT");
        document->segment = pieces.count ? first : NULL;
        file->document_count++;
    }
}

static void read_schemes(struct rq_file *file, struct value *schemes) {
    uint64_t size = 0;
    array(file, schemes, 4096);
    file->layouts = allocate(file, schemes->count, sizeof *file->layouts);
    for (size_t i = 0; i < schemes->count; i++) {
        struct layout *layout = file->layouts + i;
        parse_layout(file, layout, schemes->items + i);
        for (size_t k = 0; k < i; k++)
            if (compare(file->layouts[k].span, file->layouts[k].span_size, layout->span,
                        layout->span_size) == 0)
                fail(file, "E_DUP");
        for (size_t p = 0; p < layout->plane_count; p++) size += (uint64_t)layout->planes[p].bytes;
        if (size > 1 << 22) fail(file, "E_LIMIT");
        file->layout_count++;
    }
}

/* Extents with one number an axis; 0 if a surplus extent is not 0. */
static int fill(const struct extents *extents, const struct tensor *tensor, uint64_t out[MOST_AXES]) {
    size_t surplus = extents->count > tensor->rank ? extents->count - tensor->rank : 0;
    size_t missing = tensor->rank - (extents->count - surplus);
    for (size_t i = 0; i < surplus; i++)
        if (extents->of[i] != 0) return 0;
    for (size_t a = 0; a < tensor->rank; a++) {
        int64_t given = a < missing ? 1 : extents->of[surplus + a - missing];
        out[a] = given != 0 ? (uint64_t)given : tensor->shape[a];
    }
    return 1;
}

static void read_shape(struct rq_file *file, struct tensor *tensor, struct value *shape) {
    typed(file, shape, ARRAY);
    if (shape->count < 1 || shape->count > MOST_AXES) fail(file, "E_SHAPE");
    tensor->rank = tensor->own_rank = shape->count;
    tensor->weights = 1;
    for (size_t a = 0; a < shape->count; a++) {
        int64_t n = typed(file, shape->items + a, INTEGER)->integer;
        if (n < 1 || n > (int64_t)1 << 40) fail(file, "E_SHAPE");
        tensor->shape[a] = tensor->own_shape[a] = (uint64_t)n;
        tensor->weights = times(tensor->weights, (uint64_t)n);
    }
    if (tensor->weights >= (uint64_t)1 << 53) fail(file, "E_SHAPE");
}

/* The shape that the layout speaks of (D-24). */
static void enter_view(struct rq_file *file, struct tensor *tensor) {
    const struct operators *ops = &tensor->layout->ops;
    if (ops->view == NO_VIEW) return;
    tensor->rank = 1;
    tensor->shape[0] = tensor->weights;
    if (ops->view == FLAT) return;
    uint64_t group = (uint64_t)ops->group, parts = (uint64_t)ops->parts;
    if (tensor->weights % group != 0) fail(file, "E_DESC_RANK");
    tensor->rows = ops->axis == 1 ? tensor->weights / group : group;
    tensor->columns = tensor->weights / tensor->rows;
    tensor->rank = 3;
    tensor->shape[0] = ceiling(tensor->rows, parts);
    tensor->shape[1] = tensor->columns;
    tensor->shape[2] = parts;
}

/* Records of a plane: all of its grid or, in parts, up to the last one that has a weight. */
static uint64_t records_of(const struct tensor *tensor, const struct plane *plane,
                           const uint64_t *blocks) {
    uint64_t records = 1, last = 0, step = tensor->shape[0];
    for (size_t a = 0; a < tensor->rank; a++)
        records = times(records, ceiling(tensor->shape[a], blocks[a]));
    if (tensor->rows == 0) return records;
    for (uint64_t part = 0; part < tensor->shape[2] && part * step < tensor->rows; part++) {
        uint64_t left = tensor->rows - part * step, number = 0;
        uint64_t weight[3] = {(left < step ? left : step) - 1, tensor->columns - 1, part};
        for (size_t i = 0; i < 3; i++) {
            size_t fixed = 3 - (plane->has_order ? plane->order.count : 0);
            size_t a = i < fixed ? i : fixed + (size_t)plane->order.of[i - fixed];
            number = plus(times(number, ceiling(tensor->shape[a], blocks[a])), weight[a] / blocks[a]);
        }
        if (number > last) last = number;
    }
    return plus(last, 1);
}

static uint64_t plane_bytes(struct rq_file *file, struct tensor *tensor, const struct plane *plane) {
    uint64_t blocks[MOST_AXES];
    if (!fill(&plane->block, tensor, blocks)) fail(file, "E_DESC_RANK");
    if (plane->has_order && plane->order.count > tensor->rank) fail(file, "E_DESC_RANK");
    return times((uint64_t)plane->bytes, records_of(tensor, plane, blocks));
}

static void read_planes(struct rq_file *file, struct tensor *tensor, struct value *planes) {
    const struct layout *layout = tensor->layout;
    uint64_t total = 0, weights = 1;
    int has_index = layout->ops.has_index;
    size_t place = layout->ops.index_place;
    typed(file, planes, MAP);
    if (planes->count != layout->plane_count + (size_t)has_index) fail(file, "E_PLANES");
    for (size_t i = 0; i < planes->count; i++) {
        size_t plane = has_index && i > place ? i - 1 : i;
        struct rq_text name =
            has_index && i == place ? layout->ops.index : layout->planes[plane].name;
        if (!same_text(text_of(planes->items + 2 * i), name)) fail(file, "E_PLANES");
    }
    for (size_t i = 0; i < planes->count; i++) {
        struct pieces pieces = take_references(file, planes->items + 2 * i + 1, 1);
        uint64_t expected;
        if (i == 0) enter_view(file, tensor);
        if (has_index && i == place) {
            expected = times(4, tensor->shape[tensor->rank - 1]);
            expect(file, pieces, expected, &tensor->index);
        } else {
            size_t plane = has_index && i > place ? i - 1 : i;
            expected = plane_bytes(file, tensor, layout->planes + plane);
            expect(file, pieces, expected, &tensor->planes[plane]);
        }
        total = plus(total, expected);
    }
    uint64_t most = times(64, total);
    for (size_t a = 0; a < tensor->rank; a++) weights = times(weights, tensor->shape[a]);
    if (weights > (most > 65536 ? most : 65536)) fail(file, "E_LIMIT");
}

static void read_tensors(struct rq_file *file, struct value *tensors) {
    size_t used = 0;
    array(file, tensors, 1 << 18);
    file->tensors = allocate(file, tensors->count, sizeof *file->tensors);
    for (size_t i = 0; i < tensors->count; i++) {
        struct value *entry = tensors->items + i;
        struct tensor *tensor = file->tensors + i;
        map_with(file, entry, "name planes scheme shape");
        tensor->name = name_of(file, get(entry, "name"), i ? &tensor[-1].name : NULL);
        read_shape(file, tensor, get(entry, "shape"));
        int64_t scheme = typed(file, get(entry, "scheme"), INTEGER)->integer;
        if (scheme < 0 || scheme >= (int64_t)file->layout_count) fail(file, "E_REF");
        if (scheme > (int64_t)used) fail(file, "E_ORDER");
        if (scheme == (int64_t)used) used++;
        tensor->layout = file->layouts + scheme;
        read_planes(file, tensor, get(entry, "planes"));
        file->tensor_count++;
    }
    if (used < file->layout_count) fail(file, "E_UNREF");
}

static int is_tensor(const struct rq_file *file, struct rq_text name) {
    size_t low = 0, high = file->tensor_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        struct rq_text found = file->tensors[middle].name;
        int order = compare((const uint8_t *)found.bytes, found.size, (const uint8_t *)name.bytes,
                            name.size);
        if (order == 0) return 1;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return 0;
}

static void check_aliases(struct rq_file *file, struct value *aliases) {
    struct rq_text previous = {NULL, 0};
    array(file, aliases, 1 << 18);
    if (aliases->count == 0) fail(file, "E_SCHEMA_EMPTY");
    for (size_t i = 0; i < aliases->count; i++) {
        struct value *entry = aliases->items + i;
        map_with(file, entry, "name of");
        previous = name_of(file, get(entry, "name"), i ? &previous : NULL);
        if (is_tensor(file, previous)) fail(file, "E_DUP");
        if (!is_tensor(file, text_of(typed(file, get(entry, "of"), STRING)))) fail(file, "E_REF");
    }
}

static void check_word(struct rq_file *file, struct value *value) {
    typed(file, value, STRING);
    if (!is_word(value->bytes, value->size)) fail(file, "E_NAME");
}

static void check_tokenizer(struct rq_file *file, struct value *tokenizer) {
    int found = 0;
    int64_t last = -1;
    map_with(file, tokenizer, "add_bos doc eos kind ?bos");
    struct rq_text doc = text_of(typed(file, get(tokenizer, "doc"), STRING));
    for (size_t i = 0; i < file->document_count; i++)
        found |= same_text(file->documents[i].name, doc);
    if (!found) fail(file, "E_REF");
    struct value *eos = array(file, get(tokenizer, "eos"), 1024), *bos = get(tokenizer, "bos");
    for (size_t i = 0; i < eos->count; i++) typed(file, eos->items + i, INTEGER);
    for (size_t i = 0; i < eos->count; i++) {
        if (eos->items[i].integer <= last) fail(file, "E_ORDER");
        last = eos->items[i].integer;
    }
    if (bos != NULL && typed(file, bos, INTEGER)->integer < 0) fail(file, "E_SCHEMA_TYPE");
    check_word(file, get(tokenizer, "kind"));
    typed(file, get(tokenizer, "add_bos"), BOOL);
}

static void check_chat_text(struct rq_file *file, struct value *text) {
    if (typed(file, text, STRING)->size > 65536) fail(file, "E_LIMIT");
}

static void check_chat(struct rq_file *file, struct value *chat) {
    map_with(file, chat, "prompt start turns");
    check_chat_text(file, get(chat, "prompt"));
    check_chat_text(file, get(chat, "start"));
    struct value *turns = get(chat, "turns");
    map_with(file, turns, "assistant user ?system");
    for (size_t i = 0; i < turns->count; i++) {
        struct value *pair = typed(file, turns->items + 2 * i + 1, ARRAY);
        if (pair->count != 2) fail(file, "E_SCHEMA_TYPE");
        for (size_t k = 0; k < 2; k++) check_chat_text(file, pair->items + k);
    }
}

static void read_header(struct rq_file *file) {
    struct value *header = allocate(file, 1, sizeof *header);
    file->at = file->segments[0].bytes;
    file->end = file->at + file->segments[0].size;
    file->values = 1;
    parse_value(file, header, 0);
    if (file->at != file->end) fail(file, "E_MP_TRAIL");
    map_with(file, header, "core info ?ext");
    typed(file, get(header, "info"), MAP);
    if (get(header, "ext") != NULL) check_extensions(file, get(header, "ext"));
    struct value *core = file->core = typed(file, get(header, "core"), MAP);
    struct value *shards = get(core, "shards");
    int has_bit = (file->data[12] & 2) != 0, is_shard = get(core, "role") != NULL;
    if (is_shard) {
        map_with(file, core, "role");
        if (!is(get(core, "role"), "shard")) fail(file, "E_SCHEMA_TYPE");
    } else
        map_with(file, core, "docs schemes tensors ?alias arch chat shards tokenizer");
    if ((is_shard || shards != NULL) != has_bit) fail(file, "E_FEATURE");
    file->is_shard = is_shard;
    int has_operators = (file->data[12] & 4) != 0, is_listed = 0;
    /* Opened by itself it is refused for another reason. */
    if (is_shard && has_operators && file->shards != NULL) fail(file, "E_FEATURE");
    if (is_shard) return;
    /* Of a shard only the role is needed; that it has another is known now. */
    if (file->shards != NULL) fail(file, "E_SHARD_ROLE");
    if (shards != NULL) read_shards(file, shards);
    file->due_file = 0;
    file->due = 1;
    read_documents(file, get(core, "docs"));
    read_schemes(file, get(core, "schemes"));
    for (size_t i = 0; i < file->layout_count; i++) is_listed |= file->layouts[i].has_operators;
    if (is_listed != has_operators) fail(file, "E_FEATURE");
    read_tensors(file, get(core, "tensors"));
    finish_references(file);
    if (get(core, "alias") != NULL) check_aliases(file, get(core, "alias"));
    struct value *arch = get(core, "arch"), *tokenizer = get(core, "tokenizer");
    if (arch != NULL) {
        map_with(file, arch, "family fields");
        typed(file, get(arch, "fields"), MAP);
        check_word(file, get(arch, "family"));
    }
    if (tokenizer != NULL) check_tokenizer(file, tokenizer);
    if (get(core, "chat") != NULL) check_chat(file, get(core, "chat"));
}

/* ----------------------------------------------------------------------------- S8 and decoding */

static uint64_t bits_at(const uint8_t *record, uint64_t start, int64_t bits) {
    uint64_t value = 0;
    for (int64_t have = 0; have < bits;) {
        uint64_t at = start + (uint64_t)have;
        int shift = (int)(at % 8);
        int64_t width = 8 - shift < bits - have ? 8 - shift : bits - have;
        value |= ((uint64_t)record[at / 8] >> shift & ((1u << width) - 1)) << have;
        have += width;
    }
    return value;
}

static uint64_t joined(const struct piece *piece, const uint8_t *record, uint64_t run) {
    uint64_t code = 0;
    int64_t low = 0;
    for (size_t k = 0; k < piece->count; k++) {
        const struct slice *slice = piece->slices + k;
        code |= bits_at(record, start_of(slice, run), slice->bits) << low;
        low += slice->bits;
    }
    return code;
}

static uint64_t code_of(const struct field *field, const uint8_t *record, uint64_t number) {
    const struct piece *piece = field->pieces;
    while (number >= piece->slices[0].runs * field->codes_per_run)
        number -= (piece++)->slices[0].runs * field->codes_per_run;
    uint64_t runs = piece->slices[0].runs;
    if (field->element.kind != 'd') return joined(piece, record, number);
    uint64_t byte = joined(piece, record, number % runs), base = (uint64_t)field->element.base;
    for (uint64_t k = number / runs; k > 0; k--) byte = byte * base % 256;
    return byte * base >> 8;
}

static float number_of(const struct element *x, uint64_t code) {
    if (x->kind == 'i' && code >> (x->b - 1))
        return (float)((int64_t)code - ((int64_t)1 << x->b));
    if (x->kind != 'f') return (float)code;
    if (x->bits == 32) {
        uint32_t bits = (uint32_t)code;
        float value;
        memcpy(&value, &bits, 4);
        return value;
    }
    uint64_t full = ((uint64_t)1 << x->m) - 1, fraction = code & full;
    int64_t power = (int64_t)(code >> x->m & (((uint64_t)1 << x->e) - 1));
    int negative = x->s == 1 && code >> (x->e + x->m) != 0;
    int top = power == ((int64_t)1 << x->e) - 1;
    int is_nan = (x->specials == E8M0 && top) || (x->specials == FN && top && fraction == full) ||
                 (x->specials == FNUZ && negative && power == 0 && fraction == 0) ||
                 (x->specials == IEEE && top && fraction > 0);
    if (is_nan) return (float)NAN;
    if (x->specials == E8M0) return (float)ldexp(1.0, (int)(power - x->bias));
    double size = power == 0 ? ldexp((double)fraction, (int)(1 - x->bias - x->m))
                             : ldexp((double)(full + 1 + fraction), (int)(power - x->bias - x->m));
    if (x->specials == IEEE && top) size = (double)INFINITY;
    return (float)(negative ? -size : size);
}

/* `within` says for each field which of the weights that share its code this one is (D-16). */
static float evaluate(const struct layout *layout, const struct formula *formula,
                      const uint64_t *codes, const uint64_t *within) {
    if (formula->kind == FIELD)
        return number_of(&layout->fields[formula->field].element, codes[formula->field]);
    if (formula->kind == CONSTANT) return (float)formula->constant;
    if (formula->kind == LUT) {
        const struct table *table = layout->tables + formula->table;
        size_t field = formula->right->field;
        uint64_t numbers = table->entries >> layout->fields[field].element.b;
        uint64_t place = numbers > 1 ? within[field] : 0;
        return table_entry(table, codes[field] * numbers + place);
    }
    float a = evaluate(layout, formula->left, codes, within);
    float b = evaluate(layout, formula->right, codes, within);
    float result = formula->kind == ADD   ? a + b
                   : formula->kind == SUB ? a - b
                   : formula->kind == MUL ? a * b
                                          : a / b;
    return result;
}

struct place {
    uint64_t blocks[MOST_AXES], overs[MOST_AXES], grid[MOST_AXES];
    size_t axes[MOST_AXES];
};

static void find_place(const struct tensor *tensor, const struct field *field, struct place *place) {
    const struct plane *plane = tensor->layout->planes + field->plane;
    size_t fixed = tensor->rank - (plane->has_order ? plane->order.count : 0);
    fill(&plane->block, tensor, place->blocks);
    fill(&field->over, tensor, place->overs);
    for (size_t a = 0; a < tensor->rank; a++) {
        place->grid[a] = ceiling(tensor->shape[a], place->blocks[a]);
        place->axes[a] = a < fixed ? a : fixed + (size_t)plane->order.of[a - fixed];
    }
}

static uint64_t code_at(const struct tensor *tensor, const struct field *field,
                        const struct place *place, const uint64_t *index) {
    const struct plane *plane = tensor->layout->planes + field->plane;
    uint64_t record = 0, number = 0, moved[MOST_AXES];
    memcpy(moved, index, sizeof moved);
    if (tensor->layout->ops.gathered[field->plane]) {
        /* The first weight of the group that the index names: all have the same code. */
        uint64_t group = little(tensor->index->bytes + 4 * index[tensor->rank - 1], 4);
        moved[tensor->rank - 1] = group * place->blocks[tensor->rank - 1];
    }
    for (size_t i = 0; i < tensor->rank; i++) {
        size_t a = place->axes[i];
        record = record * place->grid[a] + moved[a] / place->blocks[a];
    }
    for (size_t a = 0; a < tensor->rank; a++)
        number = number * (place->blocks[a] / place->overs[a]) +
                 moved[a] % place->blocks[a] / place->overs[a];
    const uint8_t *bytes = tensor->planes[field->plane]->bytes;
    return code_of(field, bytes + record * (uint64_t)plane->bytes, number);
}

/* The place of weight w in the shape that the layout speaks of. */
static void find_index(const struct tensor *tensor, uint64_t w, uint64_t *index) {
    if (tensor->rows != 0) {
        uint64_t row = w / tensor->columns;
        index[0] = row % tensor->shape[0];
        index[1] = w % tensor->columns;
        index[2] = row / tensor->shape[0];
        return;
    }
    for (size_t a = tensor->rank; a-- > 0;) {
        index[a] = w % tensor->shape[a];
        w /= tensor->shape[a];
    }
}

void rq_decode(const struct rq_file *file, size_t number, float *values) {
    const struct tensor *tensor = file->tensors + number;
    const struct layout *layout = tensor->layout;
    struct place places[16];
    uint64_t index[MOST_AXES] = {0}, codes[16], within[16];
    for (size_t i = 0; i < layout->field_count; i++)
        find_place(tensor, layout->fields + i, places + i);
    for (uint64_t w = 0; w < tensor->weights; w++) {
        find_index(tensor, w, index);
        for (size_t i = 0; i < layout->field_count; i++) {
            codes[i] = code_at(tensor, layout->fields + i, places + i, index);
            within[i] = index[tensor->rank - 1] % places[i].overs[tensor->rank - 1];
        }
        values[w] = evaluate(layout, layout->formula, codes, within);
    }
}

static void check_spare_bits(struct rq_file *file, const struct tensor *tensor, size_t plane,
                             uint8_t *spare) {
    const struct layout *layout = tensor->layout;
    size_t size = (size_t)layout->planes[plane].bytes, length = tensor->planes[plane]->size;
    const uint8_t *bytes = tensor->planes[plane]->bytes;
    memset(spare, 255, size);
    for (size_t i = 0; i < layout->field_count; i++) {
        const struct field *field = layout->fields + i;
        for (size_t p = 0; field->plane == plane && p < field->piece_count; p++)
            for (size_t k = 0; k < field->pieces[p].count; k++) {
                const struct slice *slice = field->pieces[p].slices + k;
                for (uint64_t run = 0; run < slice->runs; run++) {
                    uint64_t start = start_of(slice, run), end = start + (uint64_t)slice->bits;
                    for (uint64_t bit = start; bit < end; bit++)
                        spare[bit / 8] &= (uint8_t)~(1u << bit % 8);
                }
            }
    }
    for (size_t i = 0; i < length; i++)
        if (bytes[i] & spare[i % size]) fail(file, "E_CODE_PAD");
}

static void check_digits(struct rq_file *file, const struct tensor *tensor,
                         const struct field *field) {
    uint8_t allowed[256] = {0};
    uint64_t whole = 1, size = (uint64_t)tensor->layout->planes[field->plane].bytes;
    const struct segment *stored = tensor->planes[field->plane];
    for (int64_t i = 0; i < field->element.n; i++) whole *= (uint64_t)field->element.base;
    for (uint64_t v = 0; v < whole; v++) allowed[ceiling(256 * v, whole)] = 1;
    for (uint64_t start = 0; start < stored->size; start += size)
        for (size_t p = 0; p < field->piece_count; p++) {
            const struct slice *slice = field->pieces[p].slices;
            for (uint64_t run = 0; run < slice->runs; run++)
                if (!allowed[bits_at(stored->bytes + start, start_of(slice, run), 8)])
                    fail(file, "E_CODE_DIGIT");
        }
}

/* Codes beyond the tensor's edges, and digits that the record does not need, are 0 (D-22). */
static int is_of_no_weight(const struct tensor *tensor, const struct place *place,
                           const uint64_t *at, uint64_t number) {
    uint64_t shares = 1;
    for (size_t a = 0; a < tensor->rank; a++) shares *= place->blocks[a] / place->overs[a];
    if (number >= shares) return 1;
    uint64_t first[MOST_AXES];
    for (size_t a = tensor->rank; a-- > 0;) {
        uint64_t inside = place->blocks[a] / place->overs[a];
        first[a] = at[a] * place->blocks[a] + number % inside * place->overs[a];
        if (first[a] >= tensor->shape[a]) return 1;
        number /= inside;
    }
    return tensor->rows != 0 && first[2] * tensor->shape[0] + first[0] >= tensor->rows;
}

static void check_edges(struct rq_file *file, const struct tensor *tensor,
                        const struct field *field) {
    const struct segment *stored = tensor->planes[field->plane];
    uint64_t size = (uint64_t)tensor->layout->planes[field->plane].bytes, at[MOST_AXES] = {0};
    struct place place;
    find_place(tensor, field, &place);
    for (uint64_t start = 0; start < stored->size; start += size) {
        int is_edge = field->element.kind == 'd' || tensor->rows != 0;
        for (size_t a = 0; a < tensor->rank; a++)
            is_edge |= (at[a] + 1) * place.blocks[a] > tensor->shape[a];
        for (uint64_t code = 0; is_edge && code < codes_of(field); code++)
            if (is_of_no_weight(tensor, &place, at, code) &&
                code_of(field, stored->bytes + start, code) != 0)
                fail(file, "E_CODE_EDGE");
        for (size_t i = tensor->rank; i-- > 0;) {
            size_t a = place.axes[i];
            if (++at[a] < place.grid[a]) break;
            at[a] = 0;
        }
    }
}

/* Put the words of each record of a plane together (D-25). */
static void join_words(struct rq_file *file, struct tensor *tensor, size_t number) {
    const struct plane *plane = tensor->layout->planes + number;
    uint64_t words = (uint64_t)tensor->layout->ops.words[number], blocks[MOST_AXES];
    if (words == 0) return;
    const struct segment *stored = tensor->planes[number];
    size_t outer = plane->has_order && plane->order.count == tensor->rank
                       ? (size_t)plane->order.of[0] : 0;
    fill(&plane->block, tensor, blocks);
    uint64_t first = ceiling(tensor->shape[outer], blocks[outer]), size = (uint64_t)plane->bytes;
    uint64_t apart = stored->size / size / first;
    struct segment *joined = allocate(file, 1, sizeof *joined);
    uint8_t *bytes = allocate(file, stored->size, 1);
    const uint8_t *from = stored->bytes;
    *joined = *stored;
    joined->bytes = bytes;
    for (uint64_t i = 0; i < first; i++)
        for (uint64_t word = 0; word < words; word++)
            for (uint64_t rest = 0; rest < apart; rest++, from += size / words)
                memcpy(bytes + (i * apart + rest) * size + word * (size / words), from, size / words);
    tensor->planes[number] = joined;
}

static void check_index(struct rq_file *file, const struct tensor *tensor) {
    const struct layout *layout = tensor->layout;
    uint64_t inputs = tensor->shape[tensor->rank - 1], groups = HUGE_COUNT, blocks[MOST_AXES];
    for (size_t p = 0; p < layout->plane_count; p++) {
        if (!layout->ops.gathered[p]) continue;
        fill(&layout->planes[p].block, tensor, blocks);
        uint64_t there = ceiling(inputs, blocks[tensor->rank - 1]);
        if (there < groups) groups = there;
    }
    for (uint64_t i = 0; i < inputs; i++) {
        uint64_t group = little(tensor->index->bytes + 4 * i, 4);
        if (group > INT32_MAX || group >= groups) fail(file, "E_CODE_INDEX");
    }
}

static void check_codes(struct rq_file *file) {
    uint8_t *spare = allocate(file, 65536, 1);
    for (size_t t = 0; t < file->tensor_count; t++) {
        struct tensor *tensor = file->tensors + t;
        const struct operators *ops = &tensor->layout->ops;
        for (size_t p = 0; p <= tensor->layout->plane_count; p++) {
            if (ops->has_index && p == ops->index_place) check_index(file, tensor);
            if (p == tensor->layout->plane_count) break;
            join_words(file, tensor, p);
            check_spare_bits(file, tensor, p, spare);
            for (size_t i = 0; i < tensor->layout->field_count; i++) {
                const struct field *field = tensor->layout->fields + i;
                if (field->plane == p && field->element.kind == 'd')
                    check_digits(file, tensor, field);
            }
            for (size_t i = 0; i < tensor->layout->field_count; i++)
                if (tensor->layout->fields[i].plane == p)
                    check_edges(file, tensor, tensor->layout->fields + i);
        }
    }
}

/* ------------------------------------------------------------- S7: JSON, chapter 8, J-1 to J-5 */

struct json {
    enum { OTHER, WHOLE, TEXT, LIST, OBJECT } type;
    uint64_t number; /* of a whole number from 0 on; at most 10^18 */
    struct rq_text text;
    size_t count, room;
    struct json *items; /* an object's keys and values by turns */
};

struct json_text {
    struct rq_file *file;
    const uint8_t *at, *end;
    int has_half, has_twice;
};

static void check_depth(struct rq_file *file, const uint8_t *p, const uint8_t *end) {
    int depth = 0;
    for (; p < end; p++) {
        if (*p == '"') {
            for (p++; p < end && *p != '"'; p++)
                if (*p == '\\') p++;
        } else if (*p == '[' || *p == '{') {
            if (++depth > 64) fail(file, "E_JSON_DEPTH");
        } else if ((*p == ']' || *p == '}') && depth > 0) depth--;
    }
}

static void skip_space(struct json_text *text) {
    while (text->at < text->end && memchr(" \t\n\r", *text->at, 4) != NULL) text->at++;
}

static int next_is(struct json_text *text, char wanted) {
    skip_space(text);
    if (text->at == text->end || *text->at != (uint8_t)wanted) return 0;
    text->at++;
    return 1;
}

static void need(struct json_text *text, char wanted) {
    if (!next_is(text, wanted)) fail(text->file, "E_JSON_SYNTAX");
}

/* Four hexadecimal digits. */
static uint32_t json_unit(struct json_text *text) {
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++, text->at++) {
        int c = text->at < text->end ? *text->at : 0;
        int digit = c >= '0' && c <= '9' ? c - '0' : -1;
        if ((c | 32) >= 'a' && (c | 32) <= 'f') digit = (c | 32) - 'a' + 10;
        if (digit < 0) fail(text->file, "E_JSON_SYNTAX");
        unit = unit << 4 | (uint32_t)digit;
    }
    return unit;
}

static uint8_t *put_utf8(uint8_t *out, uint32_t c) {
    if (c < 0x80) *out++ = (uint8_t)c;
    else if (c < 0x800) {
        *out++ = (uint8_t)(0xc0 | c >> 6);
        *out++ = (uint8_t)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *out++ = (uint8_t)(0xe0 | c >> 12);
        *out++ = (uint8_t)(0x80 | (c >> 6 & 63));
        *out++ = (uint8_t)(0x80 | (c & 63));
    } else {
        *out++ = (uint8_t)(0xf0 | c >> 18);
        *out++ = (uint8_t)(0x80 | (c >> 12 & 63));
        *out++ = (uint8_t)(0x80 | (c >> 6 & 63));
        *out++ = (uint8_t)(0x80 | (c & 63));
    }
    return out;
}

static uint8_t *json_escape(struct json_text *text, uint8_t *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int c = text->at < text->end ? *text->at++ : 0;
    const char *found = c != 0 ? strchr(from, c) : NULL;
    if (found != NULL) {
        *out++ = (uint8_t)to[found - from];
        return out;
    }
    if (c != 'u') fail(text->file, "E_JSON_SYNTAX");
    uint32_t unit = json_unit(text);
    if (unit >= 0xd800 && unit < 0xdc00 && text->end - text->at >= 2 && text->at[0] == '\\' &&
        text->at[1] == 'u') {
        const uint8_t *second = text->at;
        text->at += 2;
        uint32_t low = json_unit(text);
        if (low >= 0xdc00 && low < 0xe000)
            return put_utf8(out, 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
        text->at = second;
    }
    if (unit >= 0xd800 && unit < 0xe000) text->has_half = 1;
    return put_utf8(out, unit);
}

/* The inside of a string, behind its first quotation mark. */
static struct rq_text json_string(struct json_text *text) {
    size_t room = 0;
    while (text->at + room < text->end && text->at[room] != '"')
        room += text->at[room] == '\\' && text->at + room + 1 < text->end ? 2 : 1;
    uint8_t *start = allocate(text->file, room, 1), *out = start;
    for (;;) {
        if (text->at == text->end || *text->at < 0x20) fail(text->file, "E_JSON_SYNTAX");
        int c = *text->at++;
        if (c == '"') break;
        if (c == '\\') out = json_escape(text, out);
        else *out++ = (uint8_t)c;
    }
    struct rq_text found = {(const char *)start, (size_t)(out - start)};
    return found;
}

static int digits(struct json_text *text) {
    int count = 0;
    for (; text->at < text->end && *text->at >= '0' && *text->at <= '9'; text->at++) count++;
    return count;
}

static void json_number(struct json_text *text, struct json *out) {
    const uint8_t *start = text->at;
    int negative = text->at < text->end && *text->at == '-';
    text->at += negative;
    const uint8_t *first = text->at;
    out->type = OTHER;
    int whole = digits(text);
    if (whole == 0 || (whole > 1 && *first == '0')) fail(text->file, "E_JSON_SYNTAX");
    const uint8_t *end = text->at;
    if (text->at < text->end && *text->at == '.') {
        text->at++;
        if (digits(text) == 0) fail(text->file, "E_JSON_SYNTAX");
    }
    if (text->at < text->end && (*text->at | 32) == 'e') {
        text->at++;
        if (text->at < text->end && (*text->at == '+' || *text->at == '-')) text->at++;
        if (digits(text) == 0) fail(text->file, "E_JSON_SYNTAX");
    }
    if (negative || text->at != end) return;
    out->type = WHOLE;
    if (whole > 18) out->number = 1000000000000000000u;
    for (; whole <= 18 && start < end; start++)
        out->number = 10 * out->number + (uint64_t)(*start - '0');
}

static struct json *json_item(struct json_text *text, struct json *list) {
    if (list->count == list->room) {
        struct json *old = list->items;
        list->room = list->room ? 2 * list->room : 4;
        list->items = allocate(text->file, list->room, sizeof *list->items);
        if (old != NULL) memcpy(list->items, old, list->count * sizeof *old);
    }
    return list->items + list->count++;
}

static int by_text(const void *a, const void *b) {
    const struct rq_text *x = *(const struct rq_text *const *)a;
    const struct rq_text *y = *(const struct rq_text *const *)b;
    return compare((const uint8_t *)x->bytes, x->size, (const uint8_t *)y->bytes, y->size);
}

static int has_twice(struct rq_file *file, const struct json *object) {
    size_t keys = object->count / 2;
    const struct rq_text **sorted = allocate(file, keys, sizeof *sorted);
    for (size_t i = 0; i < keys; i++) sorted[i] = &object->items[2 * i].text;
    qsort(sorted, keys, sizeof *sorted, by_text);
    for (size_t i = 1; i < keys; i++)
        if (same_text(*sorted[i - 1], *sorted[i])) return 1;
    return 0;
}

static void json_value(struct json_text *text, struct json *out) {
    static const char *const words[] = {"true", "false", "null"};
    memset(out, 0, sizeof *out);
    if (next_is(text, '"')) {
        out->type = TEXT;
        out->text = json_string(text);
    } else if (next_is(text, '[')) {
        out->type = LIST;
        if (next_is(text, ']')) return;
        do {
            struct json item;
            json_value(text, &item);
            *json_item(text, out) = item;
        } while (next_is(text, ','));
        need(text, ']');
    } else if (next_is(text, '{')) {
        out->type = OBJECT;
        if (next_is(text, '}')) return;
        do {
            struct json key = {TEXT, 0, {NULL, 0}, 0, 0, NULL}, item;
            need(text, '"');
            key.text = json_string(text);
            need(text, ':');
            json_value(text, &item);
            *json_item(text, out) = key;
            *json_item(text, out) = item;
        } while (next_is(text, ','));
        need(text, '}');
        text->has_twice |= has_twice(text->file, out);
    } else {
        for (int i = 0; i < 3; i++) {
            size_t size = strlen(words[i]);
            if ((size_t)(text->end - text->at) >= size && memcmp(text->at, words[i], size) == 0) {
                text->at += size;
                return;
            }
        }
        json_number(text, out);
    }
}

static struct json parse_json(struct rq_file *file, const struct segment *segment) {
    const uint8_t *bytes = segment ? segment->bytes : (const uint8_t *)"";
    size_t size = segment ? segment->size : 0;
    struct json_text text = {file, bytes, bytes + size, 0, 0};
    struct json value;
    if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) fail(file, "E_JSON_UTF8");
    if (!is_utf8(bytes, size)) fail(file, "E_JSON_UTF8");
    check_depth(file, bytes, bytes + size);
    json_value(&text, &value);
    skip_space(&text);
    if (text.at != text.end) fail(file, "E_JSON_SYNTAX");
    if (text.has_half) fail(file, "E_JSON_ESCAPE");
    if (text.has_twice) fail(file, "E_JSON_DUP");
    return value;
}

static const struct json *json_get(const struct json *object, const char *key) {
    for (size_t i = 0; object->type == OBJECT && i + 1 < object->count; i += 2) {
        struct rq_text text = object->items[i].text;
        if (text.size == strlen(key) && memcmp(text.bytes, key, text.size) == 0)
            return object->items + i + 1;
    }
    return NULL;
}

/* ----------------------------------------------- S7: architecture and tokenizer, chapter 8, M and T */

#define MOST_WORDS 16

/* The words of a line of families.h. */
static size_t words_of(const char *line, struct rq_text words[MOST_WORDS]) {
    size_t count = 0;
    while (*line && count < MOST_WORDS) {
        words[count].bytes = line;
        words[count++].size = strcspn(line, " ");
        line += strcspn(line, " ");
        line += *line == ' ';
    }
    return count;
}

static int word_is(struct rq_text word, const char *text) {
    return word.size == strlen(text) && memcmp(word.bytes, text, word.size) == 0;
}

static struct value *get_word(const struct value *map, struct rq_text key) {
    for (size_t i = 0; i < map->count; i++)
        if (same_text(text_of(map->items + 2 * i), key)) return map->items + 2 * i + 1;
    return NULL;
}

static int64_t word_number(struct rq_text word) {
    int64_t number = 0;
    for (size_t i = 0; i < word.size; i++) {
        if (word.bytes[i] < '0' || word.bytes[i] > '9') return -1;
        number = 10 * number + (word.bytes[i] - '0');
    }
    return number;
}

static int is_lawful(const struct rq_text *words, size_t count, const struct value *value) {
    char kind = words[0].bytes[0];
    if (kind == 'c' && words[0].bytes[1] == 'o')
        return value->type == INTEGER && value->integer >= 1 &&
               value->integer <= word_number(words[2]);
    if (kind == 'n') return value->type == FLOAT && value->number > 0;
    if (kind == 'f') return value->type == BOOL;
    for (size_t i = 2; i < count; i++)
        if (value->type == STRING && same_text(words[i], text_of(value))) return 1;
    return 0;
}

static int is_in_family(const char *line) {
    return line != NULL && strncmp(line, "family ", 7) != 0;
}

/* Whether a `when` law with this value of its key asks for a field. */
static int is_needed(const char *const *family, struct rq_text key, struct rq_text value,
                     struct rq_text field) {
    struct rq_text words[MOST_WORDS];
    for (; is_in_family(*family); family++) {
        size_t count = words_of(*family, words);
        if (count < 4 || !word_is(words[1], "when") || !same_text(words[2], key) ||
            !same_text(words[3], value))
            continue;
        for (size_t i = 4; i < count; i++)
            if (same_text(words[i], field)) return 1;
    }
    return 0;
}

/* The fields that a `when` law asks for are there, and none that another value would need. */
static int holds_when(const char *const *family, struct rq_text key, const struct value *fields) {
    const struct value *value = get_word(fields, key);
    struct rq_text words[MOST_WORDS];
    for (const char *const *line = family; is_in_family(*line); line++) {
        size_t count = words_of(*line, words);
        if (count < 4 || !word_is(words[1], "when") || !same_text(words[2], key)) continue;
        for (size_t i = 4; i < count; i++) {
            int needed = value != NULL && is_needed(family, key, text_of(value), words[i]);
            if (needed != (get_word(fields, words[i]) != NULL)) return 0;
        }
    }
    return 1;
}

static int holds(const char *const *family, const struct rq_text *words, size_t count,
                 const struct value *fields) {
    const struct value *x = get_word(fields, words[2]);
    const struct value *y = count > 3 ? get_word(fields, words[3]) : NULL;
    const struct value *z = count > 4 ? get_word(fields, words[4]) : NULL;
    if (word_is(words[1], "when")) return holds_when(family, words[2], fields);
    if (word_is(words[1], "beside")) return x == NULL || y != NULL;
    if (word_is(words[1], "even")) return x == NULL || x->integer % 2 == 0;
    if (word_is(words[1], "product"))
        return y == NULL || z == NULL ||
               times((uint64_t)y->integer, (uint64_t)z->integer) <= (uint64_t)word_number(words[2]);
    if (x == NULL || y == NULL) return 1;
    if (word_is(words[1], "multiple")) return x->integer % y->integer == 0;
    return word_is(words[1], "most") ? x->integer <= y->integer : x->integer < y->integer;
}

static int is_field(struct rq_text word) {
    return !word_is(word, "law") && !word_is(word, "tensor");
}

static void check_fields(struct rq_file *file, const char *const *family, const struct value *fields) {
    struct rq_text words[MOST_WORDS];
    size_t known = 0;
    for (const char *const *line = family; is_in_family(*line); line++) {
        size_t count = words_of(*line, words);
        if (!is_field(words[0])) continue;
        const struct value *value = get_word(fields, words[1]);
        int is_optional = words[0].bytes[words[0].size - 1] == '?';
        if (value == NULL ? !is_optional : !is_lawful(words, count, value))
            fail(file, "E_ARCH_FIELD");
        known += value != NULL;
    }
    if (known != fields->count) fail(file, "E_ARCH_FIELD");
    for (const char *const *line = family; is_in_family(*line); line++) {
        size_t count = words_of(*line, words);
        if (word_is(words[0], "law") && !holds(family, words, count, fields))
            fail(file, "E_ARCH_FIELD");
    }
}

/* Sums of products of fields and numbers, perhaps divided: `a*b+2*c`, `a/2`. */
static uint64_t extent_of(const char *p, const char *end, const struct value *fields) {
    uint64_t sum = 0, product = 1;
    char before = '*';
    while (p < end) {
        size_t size = 0;
        while (p + size < end && strchr("*+/", p[size]) == NULL) size++;
        struct rq_text word = {p, size};
        int64_t number = word_number(word);
        uint64_t factor = number >= 0 ? (uint64_t)number : (uint64_t)get_word(fields, word)->integer;
        if (before == '*') product = times(product, factor);
        else if (before == '+') {
            sum = plus(sum, product);
            product = factor;
        } else return plus(sum, product) / factor;
        p += size;
        before = p < end ? *p++ : '*';
    }
    return plus(sum, product);
}

static int is_set(const struct value *fields, struct rq_text name) {
    const struct value *value = get_word(fields, name);
    return value != NULL && !(value->type == BOOL && !value->integer);
}

static const struct tensor *find_tensor(const struct rq_file *file, const char *name, size_t size) {
    struct rq_text wanted = {name, size};
    struct value *aliases = get(file->core, "alias");
    for (size_t i = 0; aliases != NULL && i < aliases->count; i++)
        if (same_text(text_of(get(aliases->items + i, "name")), wanted))
            wanted = text_of(get(aliases->items + i, "of"));
    size_t low = 0, high = file->tensor_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct tensor *tensor = file->tensors + middle;
        int order = compare((const uint8_t *)tensor->name.bytes, tensor->name.size,
                            (const uint8_t *)wanted.bytes, wanted.size);
        if (order == 0) return tensor;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

static int has_shape(const struct tensor *tensor, struct rq_text shape, const struct value *fields) {
    const char *p = shape.bytes, *end = p + shape.size;
    size_t axis = 0;
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        if (comma == NULL) comma = end;
        if (axis == tensor->own_rank) return 0;
        if (tensor->own_shape[axis] != extent_of(p, comma, fields)) return 0;
        axis++;
        p = comma < end ? comma + 1 : end;
    }
    return axis == tensor->own_rank;
}

/* `{layer}` in a name of the table is a number. */
static size_t layer_name(char *out, struct rq_text pattern, uint64_t layer) {
    size_t size = 0;
    for (size_t i = 0; i < pattern.size; i++) {
        if (pattern.bytes[i] != '{') {
            out[size++] = pattern.bytes[i];
            continue;
        }
        char number[24];
        int length = 0;
        do number[length++] = (char)('0' + layer % 10);
        while ((layer /= 10) > 0);
        while (length > 0) out[size++] = number[--length];
        i += 6;
    }
    return size;
}

static int is_tied_output(const struct value *alias, const struct value *fields) {
    struct rq_text tied = {"tied_embeddings", 15};
    return is_set(fields, tied) && is(get(alias, "name"), "output.weight") &&
           is(get(alias, "of"), "token_embd.weight");
}

static void check_tensors(struct rq_file *file, const char *const *family,
                          const struct value *fields) {
    struct value *aliases = get(file->core, "alias");
    uint64_t found = file->tensor_count, expected = 0;
    for (size_t i = 0; aliases != NULL && i < aliases->count; i++)
        found += !is_tied_output(aliases->items + i, fields);
    for (const char *const *line = family; is_in_family(*line); line++) {
        struct rq_text words[MOST_WORDS];
        size_t count = words_of(*line, words);
        int is_absent = 0;
        if (!word_is(words[0], "tensor")) continue;
        for (size_t i = 3; i + 1 < count; i += 2)
            is_absent |= word_is(words[i], "unless") == is_set(fields, words[i + 1]);
        if (is_absent) continue;
        int is_repeated = memchr(words[1].bytes, '{', words[1].size) != NULL;
        uint64_t copies = is_repeated ? (uint64_t)get(fields, "layers")->integer : 1;
        for (uint64_t layer = 0; layer < copies; layer++, expected++) {
            char name[160];
            const struct tensor *tensor = find_tensor(file, name, layer_name(name, words[1], layer));
            if (tensor == NULL || !has_shape(tensor, words[2], fields))
                fail(file, "E_ARCH_TENSOR");
        }
    }
    if (expected != found) fail(file, "E_ARCH_TENSOR");
}

static void check_architecture(struct rq_file *file, const struct value *arch) {
    for (const char *const *line = FAMILIES; *line; line++)
        if (strncmp(*line, "family ", 7) == 0 && is(get(arch, "family"), *line + 7)) {
            check_fields(file, line + 1, get(arch, "fields"));
            check_tensors(file, line + 1, get(arch, "fields"));
            return;
        }
    fail(file, "E_ARCH_FAMILY");
}

static void check_id(struct rq_file *file, const struct json *id, uint64_t *largest) {
    if (id == NULL || id->type != WHOLE) fail(file, "E_TOKENIZER");
    if (id->number > *largest) *largest = id->number;
}

/* The largest token id of a `tokenizer.json`. */
static uint64_t largest_id(struct rq_file *file, const struct json *text) {
    const struct json *model = json_get(text, "model"), *added = json_get(text, "added_tokens");
    const struct json *vocabulary = model == NULL ? NULL : json_get(model, "vocab");
    uint64_t largest = 0;
    if (vocabulary == NULL || vocabulary->type < LIST) fail(file, "E_TOKENIZER");
    if (added != NULL && added->type != LIST) fail(file, "E_TOKENIZER");
    if (vocabulary->type == LIST && vocabulary->count > 0) largest = vocabulary->count - 1;
    for (size_t i = 1; vocabulary->type == OBJECT && i < vocabulary->count; i += 2)
        check_id(file, vocabulary->items + i, &largest);
    for (size_t i = 0; added != NULL && i < added->count; i++)
        check_id(file, json_get(added->items + i, "id"), &largest);
    return largest;
}

static void check_model_tokenizer(struct rq_file *file, const struct value *arch,
                                  const struct value *tokenizer) {
    struct value *kind = get(tokenizer, "kind"), *eos = get(tokenizer, "eos");
    struct value *bos = get(tokenizer, "bos");
    struct json text = {OTHER, 0, {NULL, 0}, 0, 0, NULL};
    int is_known = 0;
    for (const char *const *line = FAMILIES; *line; line++)
        is_known |= strncmp(*line, "tokenizer ", 10) == 0 && is(kind, *line + 10);
    if (!is_known) fail(file, "E_TOKENIZER_KIND");
    for (size_t i = 0; i < file->document_count; i++)
        if (same_text(file->documents[i].name, text_of(get(tokenizer, "doc"))))
            text = parse_json(file, file->documents[i].segment);
    uint64_t largest = largest_id(file, &text);
    for (size_t i = 0; i < eos->count; i++)
        if ((uint64_t)eos->items[i].integer > largest) largest = (uint64_t)eos->items[i].integer;
    if (bos != NULL && (uint64_t)bos->integer > largest) largest = (uint64_t)bos->integer;
    const struct value *most = arch == NULL ? NULL : get(get(arch, "fields"), "vocabulary");
    if (most != NULL && largest >= (uint64_t)most->integer) fail(file, "E_TOKENIZER_ID");
}

const char *rq_runnable(struct rq_file *file) {
    if (setjmp(file->refuse) != 0) return file->code;
    for (size_t i = 0; i < file->document_count; i++) {
        struct rq_text media = file->documents[i].media;
        const char *end = memchr(media.bytes, ';', media.size);
        if (end != NULL) media.size = (size_t)(end - media.bytes);
        if (word_is(media, "application/json")) parse_json(file, file->documents[i].segment);
    }
    struct value *arch = get(file->core, "arch"), *tokenizer = get(file->core, "tokenizer");
    if (arch != NULL) check_architecture(file, arch);
    if (tokenizer != NULL) check_model_tokenizer(file, arch, tokenizer);
    return NULL;
}

/* ---------------------------------------------------------------------------------- what is public */

static void open_one(struct rq_file *file, const uint8_t *data, size_t size) {
    file->data = data;
    file->size = size;
    read_preamble(file);
    read_segments(file);
    verify(file, file->segments);
    read_header(file);
}

/* Open a shard, and enter its segments where the root expects them. */
static void open_shard(struct rq_file *file, struct shard *shard, rq_sibling sibling,
                       void *context) {
    size_t size = 0;
    const uint8_t *data = sibling ? sibling(context, shard->name, &size) : NULL;
    if (data == NULL) fail(file, "E_SHARD_MISSING");
    if (size != shard->size) fail(file, "E_SHARD_LENGTH");
    if (memcmp(data + 32, shard->root, 32) != 0) fail(file, "E_SHARD_ROOT");
    open_one(file, data, size);
    shard->segments = file->segments;
    shard->segment_count = file->segment_count;
    size_t used = 1;
    for (struct use *use = shard->uses; use != NULL; use = use->next) {
        for (size_t i = 0; i < use->count; i++) {
            size_t n = (size_t)use->first + i;
            if (n >= shard->segment_count || shard->segments[n].kind != 1) fail(file, "E_REF");
        }
        *use->plane = shard->segments + use->first;
        if (bytes_of(*use->plane, use->count) != use->expected) fail(file, "E_PLANE_SIZE");
        if (use->count > 1) fail(file, "E_CUT");
        used += use->count;
    }
    if (used != shard->segment_count) fail(file, "E_UNREF");
}

static void read_all(struct rq_file *file, const uint8_t *data, size_t size, rq_sibling sibling,
                     void *context) {
    open_one(file, data, size);
    if (file->is_shard) fail(file, "E_SHARD_ROLE");
    struct segment *segments = file->segments;
    size_t count = file->segment_count;
    for (size_t k = 0; k < file->shard_count; k++)
        open_shard(file, file->shards + k, sibling, context);
    for (size_t i = 1; i < count; i++) verify(file, segments + i);
    for (size_t k = 0; k < file->shard_count; k++)
        for (size_t i = 1; i < file->shards[k].segment_count; i++)
            verify(file, file->shards[k].segments + i);
    check_codes(file);
}

const char *rq_read(const uint8_t *data, size_t size, struct rq_file **out) {
    return rq_read_set(data, size, NULL, NULL, out);
}

const char *rq_read_set(const uint8_t *data, size_t size, rq_sibling sibling, void *context,
                        struct rq_file **out) {
    struct rq_file *file = calloc(1, sizeof *file);
    *out = NULL;
    if (file == NULL) return "out of memory";
    if (setjmp(file->refuse) != 0) {
        const char *code = file->code;
        rq_free(file);
        return code;
    }
    read_all(file, data, size, sibling, context);
    *out = file;
    return NULL;
}

void rq_free(struct rq_file *file) {
    if (file == NULL) return;
    for (struct block *block = file->blocks; block != NULL;) {
        struct block *next = block->next;
        free(block);
        block = next;
    }
    free(file);
}

size_t rq_tensor_count(const struct rq_file *file) { return file->tensor_count; }

struct rq_text rq_tensor_name(const struct rq_file *file, size_t tensor) {
    return file->tensors[tensor].name;
}

size_t rq_tensor_rank(const struct rq_file *file, size_t tensor) {
    return file->tensors[tensor].own_rank;
}

const uint64_t *rq_tensor_shape(const struct rq_file *file, size_t tensor) {
    return file->tensors[tensor].own_shape;
}

uint64_t rq_weights(const struct rq_file *file, size_t tensor) {
    return file->tensors[tensor].weights;
}

size_t rq_document_count(const struct rq_file *file) { return file->document_count; }

struct rq_text rq_document_name(const struct rq_file *file, size_t document) {
    return file->documents[document].name;
}

struct rq_text rq_document(const struct rq_file *file, size_t document) {
    const struct segment *segment = file->documents[document].segment;
    struct rq_text text = {segment ? (const char *)segment->bytes : "", segment ? segment->size : 0};
    return text;
}
