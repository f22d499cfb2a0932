/* rq FILE... --json      one line of JSON a file
 * rq FILE... --run       the same, and S7 too: whether the model in it can be run
 * rq --stdin             frames of u32 length and bytes in, one line of JSON each out
 * rq --paths             the same, but the bytes of a frame are the path of a file */

#include "rq.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int is_run;

static void print_text(struct rq_text text) {
    putchar('"');
    for (size_t i = 0; i < text.size; i++) {
        if (text.bytes[i] == '"' || text.bytes[i] == '\\') putchar('\\');
        putchar(text.bytes[i]);
    }
    putchar('"');
}

static void print_digest(const uint8_t *data, size_t size) {
    uint8_t digest[32];
    rq_sha256(data, size, digest);
    putchar('"');
    for (int i = 0; i < 32; i++) printf("%02x", digest[i]);
    putchar('"');
}

/* SHA-256 of the values as little-endian binary32, every NaN as 7fc00000. */
static int print_values(const struct rq_file *file, size_t tensor) {
    size_t count = (size_t)rq_weights(file, tensor);
    float *values = malloc(4 * count);
    uint8_t *bytes = malloc(4 * count);
    if (values != NULL && bytes != NULL) {
        rq_decode(file, tensor, values);
        for (size_t i = 0; i < count; i++) {
            uint32_t bits;
            memcpy(&bits, values + i, 4);
            if ((bits & 0x7fffffffu) > 0x7f800000u) bits = 0x7fc00000u;
            for (int k = 0; k < 4; k++) bytes[4 * i + (size_t)k] = (uint8_t)(bits >> 8 * k);
        }
        print_digest(bytes, 4 * count);
    }
    int done = values != NULL && bytes != NULL;
    free(values);
    free(bytes);
    return done;
}

static int print_tensor(const struct rq_file *file, size_t tensor) {
    const uint64_t *shape = rq_tensor_shape(file, tensor);
    printf("%s[", tensor ? "," : "");
    print_text(rq_tensor_name(file, tensor));
    printf(",{\"shape\":[");
    for (size_t a = 0; a < rq_tensor_rank(file, tensor); a++)
        printf("%s%llu", a ? "," : "", (unsigned long long)shape[a]);
    printf("],\"sha256\":");
    int done = print_values(file, tensor);
    printf("}]");
    return done;
}

/* The bytes of a file; NULL if it cannot be read, as a folder cannot. */
static uint8_t *read_file(const char *path, size_t *size) {
    FILE *stream = fopen(path, "rb");
    uint8_t *data = NULL;
    size_t room = 0;
    *size = 0;
    if (stream == NULL) return NULL;
    for (size_t got = 1; got > 0; *size += got) {
        if (*size == room) {
            room = room ? 2 * room : 65536;
            uint8_t *larger = realloc(data, room);
            if (larger == NULL) break;
            data = larger;
        }
        got = fread(data + *size, 1, room - *size, stream);
    }
    int failed = ferror(stream) || !feof(stream);
    fclose(stream);
    if (failed) {
        free(data);
        return NULL;
    }
    /* No room to spare, so that a checker sees every step beyond the end. */
    uint8_t *exact = realloc(data, *size ? *size : 1);
    return exact ? exact : data;
}

struct loaded {
    struct loaded *next;
    uint8_t *data;
};

/* Where a root is, and what has been read beside it. */
struct folder {
    const char *path;
    struct loaded *loaded;
};

static const uint8_t *beside(void *context, struct rq_text name, size_t *size) {
    struct folder *folder = context;
    const char *slash = strrchr(folder->path, '/');
    size_t stem = slash ? (size_t)(slash - folder->path) + 1 : 0;
    char *path = malloc(stem + name.size + 1);
    struct loaded *loaded = malloc(sizeof *loaded);
    if (path == NULL || loaded == NULL) {
        free(path);
        free(loaded);
        return NULL;
    }
    memcpy(path, folder->path, stem);
    memcpy(path + stem, name.bytes, name.size);
    path[stem + name.size] = 0;
    loaded->data = read_file(path, size);
    loaded->next = folder->loaded;
    folder->loaded = loaded;
    free(path);
    return loaded->data;
}

static int report(const uint8_t *data, size_t size, struct folder *folder) {
    struct rq_file *file;
    const char *code = rq_read_set(data, size, folder ? beside : NULL, folder, &file);
    if (code == NULL && is_run && (code = rq_runnable(file)) != NULL) rq_free(file);
    if (code != NULL) {
        printf("{\"code\":\"%s\"}\n", code);
        return 3;
    }
    int done = 1;
    printf("{\"tensors\":[");
    for (size_t i = 0; i < rq_tensor_count(file); i++) done &= print_tensor(file, i);
    printf("],\"documents\":[");
    for (size_t i = 0; i < rq_document_count(file); i++) {
        struct rq_text text = rq_document(file, i);
        printf("%s[", i ? "," : "");
        print_text(rq_document_name(file, i));
        printf(",");
        print_digest((const uint8_t *)text.bytes, text.size);
        printf("]");
    }
    printf("]}\n");
    rq_free(file);
    return done ? 0 : 6;
}

static int open_file(const char *path) {
    size_t size;
    uint8_t *data = read_file(path, &size);
    if (data == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        return 2;
    }
    struct folder folder = {path, NULL};
    int status = report(data, size, &folder);
    while (folder.loaded != NULL) {
        struct loaded *next = folder.loaded->next;
        free(folder.loaded->data);
        free(folder.loaded);
        folder.loaded = next;
    }
    free(data);
    return status;
}

static int serve(int by_path) {
    uint8_t head[4];
    while (fread(head, 1, 4, stdin) == 4) {
        size_t size = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16 | (size_t)head[3] << 24;
        /* Exactly as many bytes as the file has, so that a checker sees every step beyond it. */
        size_t room = by_path ? size + 1 : size;
        uint8_t *data = malloc(room ? room : 1);
        if (data == NULL || fread(data, 1, size, stdin) != size) return 2;
        if (by_path) {
            data[size] = 0;
            open_file((const char *)data);
        } else {
            report(data, size, NULL);
        }
        fflush(stdout);
        free(data);
    }
    return 0;
}

int main(int count, char **options) {
    int status = 0;
    for (int i = 1; i < count; i++) is_run |= strcmp(options[i], "--run") == 0;
    for (int i = 1; i < count; i++) {
        if (strcmp(options[i], "--stdin") == 0) return serve(0);
        if (strcmp(options[i], "--paths") == 0) return serve(1);
        if (strncmp(options[i], "--", 2) == 0) continue;
        int found = open_file(options[i]);
        if (found > status) status = found;
    }
    return status;
}
