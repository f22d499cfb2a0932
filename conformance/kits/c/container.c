/* Another engine in C, of files instead of blocks: the reader of `.rq` in ../../readers/c:
   cc -O2 -ffp-contract=off -o container container.c ../../readers/c/rq.c -lm */
#include "../../readers/c/rq.h"
#include "rq_adapter.h"

static uint8_t *whole(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = file && !fseek(file, 0, SEEK_END) ? malloc((size_t)ftell(file) + 1) : NULL;
    *size = data ? (size_t)ftell(file) : 0;
    if (data) rewind(file), *size = fread(data, 1, *size, file);
    return file ? fclose(file), data : NULL;
}

/* The digest of rule S-11: every NaN counts as 7fc00000. */
static void digest_values(const struct rq_file *file, size_t tensor, uint8_t *to) {
    size_t count = (size_t)rq_weights(file, tensor);
    float *values = malloc(4 * count);
    rq_decode(file, tensor, values);
    for (size_t i = 0; i < count; i++)
        if (values[i] != values[i]) memcpy(&values[i], "\0\0\xc0\x7f", 4);
    rq_sha256((uint8_t *)values, 4 * count, to);
    free(values);
}

/* An output has as many rows as are expected; of a file that should have been refused, none. */
static int digests(const struct rq_file *file, rq_case *c) {
    size_t tensors = rq_tensor_count(file), documents = rq_document_count(file);
    char *names = malloc((tensors + documents + 1) * 1024), *end = names;
    for (size_t i = 0; i < tensors; i++) {
        struct rq_text name = rq_tensor_name(file, i);
        if (i < c->out[0].shape[0]) digest_values(file, i, (uint8_t *)c->out[0].data + 32 * i);
        end += sprintf(end, "%.*s\t", (int)name.size, name.bytes);
        for (size_t a = 0; a < rq_tensor_rank(file, i); a++)
            end += sprintf(end, a ? "x%ju" : "%ju", (uintmax_t)rq_tensor_shape(file, i)[a]);
        *end++ = '\n';
    }
    for (size_t i = 0; i < documents; i++) {
        struct rq_text name = rq_document_name(file, i), text = rq_document(file, i);
        uint8_t *to = (uint8_t *)c->out[1].data + 32 * i;
        if (i < c->out[1].shape[0]) rq_sha256((const uint8_t *)text.bytes, text.size, to);
        end += sprintf(end, "%.*s\n", (int)name.size, name.bytes);
    }
    rq_sha256((uint8_t *)names, (size_t)(end - names), c->out[2].data);
    return free(names), RQ_OK;
}

static int run(rq_case *c) {
    char path[RQ_TEXT];
    struct rq_file *file;
    size_t size;
    if (!rq_param(c, "file", path, sizeof path)) return RQ_UNSUPPORTED;
    uint8_t *data = whole(path, &size);
    if (!data) return RQ_ERROR;
    const char *code = rq_read(data, size, &file);
    if (code) return strcpy(c->message, code), free(data), RQ_REJECTED;
    int outcome = digests(file, c);
    return rq_free(file), free(data), outcome;
}

int main(void) { return rq_serve("rq.c", "C", "[\"container.raw\",\"container.operators\"]", run); }
