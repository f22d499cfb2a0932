/* A reader of `.rq` files in C99 with nothing but its library, written from `spec/` alone.
 *
 *     struct rq_file *file;
 *     const char *code = rq_read(data, size, &file);      NULL, or "E_..." of the first rule broken
 *     rq_decode(file, 0, values);                          rq_weights(file, 0) floats
 *     rq_free(file);
 *
 * Everything is checked, stages S0 to S8, and S7 by who asks whether the model can be run. The bytes must outlive the file. It has no zstd: files
 * with feature bit 0 are refused with E_FEATURE (rule Z-4). Compile with -ffp-contract=off.
 */
#ifndef RQ_H
#define RQ_H

#include <stddef.h>
#include <stdint.h>

struct rq_file;

struct rq_text {
    const char *bytes; /* UTF-8, not terminated */
    size_t size;
};

/* The bytes of the regular file of that name beside the root, or NULL. They must outlive the file. */
typedef const uint8_t *(*rq_sibling)(void *context, struct rq_text name, size_t *size);

const char *rq_read(const uint8_t *data, size_t size, struct rq_file **file);
/* The same for a root with shards, which are asked for by name. */
const char *rq_read_set(const uint8_t *data, size_t size, rq_sibling sibling, void *context,
                        struct rq_file **file);
const char *rq_runnable(struct rq_file *file); /* S7: NULL, or the code of the first rule broken */
void rq_free(struct rq_file *file);

size_t rq_tensor_count(const struct rq_file *file);
struct rq_text rq_tensor_name(const struct rq_file *file, size_t tensor);
size_t rq_tensor_rank(const struct rq_file *file, size_t tensor);
const uint64_t *rq_tensor_shape(const struct rq_file *file, size_t tensor);
uint64_t rq_weights(const struct rq_file *file, size_t tensor);
void rq_decode(const struct rq_file *file, size_t tensor, float *values);

size_t rq_document_count(const struct rq_file *file);
struct rq_text rq_document_name(const struct rq_file *file, size_t document);
struct rq_text rq_document(const struct rq_file *file, size_t document);

void rq_sha256(const uint8_t *data, size_t size, uint8_t digest[32]);

#endif
