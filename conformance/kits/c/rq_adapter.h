/* The line protocol of conformance/SPEC.md in one header, without dependencies, for C99 and C++.

   Write a function that fills the outputs of a case, and give it to rq_serve. Inputs are read and
   outputs allocated before it is called; outputs are written and everything is freed after it. */
#ifndef RQ_ADAPTER_H
#define RQ_ADAPTER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RQ_OK, RQ_UNSUPPORTED, RQ_REJECTED, RQ_ERROR };
enum { RQ_ARRAYS = 16, RQ_DIMS = 8, RQ_TEXT = 4096 };

typedef struct {
    char name[64], dtype[8], path[RQ_TEXT];
    size_t dims, shape[RQ_DIMS], count, bytes; /* count: elements */
    void *data;                                /* little-endian, C order */
} rq_array;

typedef struct {
    char op[64];
    const char *params; /* the JSON object; read it with rq_param and rq_integer */
    size_t inputs, outputs;
    rq_array in[RQ_ARRAYS], out[RQ_ARRAYS];
    char message[128]; /* the code of RQ_REJECTED, the detail of RQ_ERROR */
} rq_case;

typedef int (*rq_run)(rq_case *);

static inline const char *rq_blank(const char *at) {
    return at + strspn(at, " \t\r\n");
}

/* The end of the JSON value at `at`: behind its last character. */
static inline const char *rq_behind(const char *at) {
    int depth = 0;
    do {
        if (*at == '"') {
            for (at++; *at && *at != '"'; at++)
                if (*at == '\\' && at[1]) at++;
            if (*at) at++;
        } else if (*at == '{' || *at == '[') {
            depth++, at++;
        } else if (*at == '}' || *at == ']') {
            depth--, at++;
        } else if (depth) {
            at++;
        } else {
            at += strcspn(at, ",]} \t\r\n");
        }
    } while (depth > 0 && *at);
    return at;
}

/* The value of a key in the JSON object at `at`, at its own level; NULL if it has none. */
static inline const char *rq_value(const char *at, const char *key) {
    size_t length = strlen(key);
    if (!at || *at != '{') return NULL;
    for (at = rq_blank(at + 1); *at == '"';) {
        const char *name = at + 1, *end = rq_behind(at);
        int found = (size_t)(end - name) == length + 1 && !memcmp(name, key, length);
        at = rq_blank(end);
        if (*at != ':') return NULL;
        at = rq_blank(at + 1);
        if (found) return at;
        at = rq_blank(rq_behind(at));
        if (*at != ',') return NULL;
        at = rq_blank(at + 1);
    }
    return NULL;
}

static inline size_t rq_utf8(unsigned long code, char *to) {
    if (code < 0x80) return to[0] = (char)code, 1;
    if (code < 0x800) return to[0] = (char)(0xc0 | code >> 6), to[1] = (char)(0x80 | (code & 63)), 2;
    if (code < 0x10000) {
        to[0] = (char)(0xe0 | code >> 12), to[1] = (char)(0x80 | (code >> 6 & 63));
        return to[2] = (char)(0x80 | (code & 63)), 3;
    }
    to[0] = (char)(0xf0 | code >> 18), to[1] = (char)(0x80 | (code >> 12 & 63));
    return to[2] = (char)(0x80 | (code >> 6 & 63)), to[3] = (char)(0x80 | (code & 63)), 4;
}

static inline unsigned long rq_hex4(const char *at) {
    char digits[5] = {0};
    for (int i = 0; i < 4 && at[i]; i++) digits[i] = at[i];
    return strtoul(digits, NULL, 16);
}

/* Copy the JSON string at `at`, its escapes undone; 0 if there is none or it does not fit. */
static inline int rq_string(const char *at, char *to, size_t room) {
    static const char from[] = "bfnrt", into[] = "\b\f\n\r\t";
    size_t size = 0;
    if (!at || *at != '"') return 0;
    for (at++; *at && *at != '"'; at++) {
        if (size + 5 > room) return 0;
        if (*at != '\\') {
            to[size++] = *at;
        } else if (*++at == 'u') {
            unsigned long code = rq_hex4(at + 1);
            if (strlen(at) < 5) return 0;
            at += 4;
            if (code >> 10 == 0x36 && at[1] == '\\' && at[2] == 'u') {
                code = 0x10000 + ((code & 0x3ff) << 10) + (rq_hex4(at + 3) & 0x3ff);
                if (strlen(at) < 7) return 0;
                at += 6;
            }
            size += rq_utf8(code, to + size);
        } else if (*at) {
            const char *known = strchr(from, *at);
            to[size++] = known ? into[known - from] : *at;
        }
    }
    to[size] = 0;
    return *at == '"';
}

/* A parameter that is a text; 0 if there is none. */
static inline int rq_param(const rq_case *c, const char *key, char *to, size_t room) {
    return rq_string(rq_value(c->params, key), to, room);
}

/* A parameter that is an integer, or `otherwise`. */
static inline long long rq_integer(const rq_case *c, const char *key, long long otherwise) {
    const char *at = rq_value(c->params, key);
    return at && strchr("-0123456789", *at) ? strtoll(at, NULL, 10) : otherwise;
}

/* Whether the case asks for this operation with this scheme: rq_is(c, "decode", "ggml/q4_0"). */
static inline int rq_is(const rq_case *c, const char *op, const char *scheme) {
    char name[256];
    return !strcmp(c->op, op) && rq_param(c, "scheme", name, sizeof name) && !strcmp(name, scheme);
}

static inline size_t rq_width(const char *dtype) {
    size_t bits = (size_t)strtoul(dtype + strcspn(dtype, "0123456789"), NULL, 10);
    return bits / 8;
}

static inline int rq_describe(const char *at, rq_array *a) {
    const char *size = rq_value(at, "shape");
    if (!rq_string(rq_value(at, "name"), a->name, sizeof a->name)) return 0;
    if (!rq_string(rq_value(at, "dtype"), a->dtype, sizeof a->dtype)) return 0;
    if (!rq_string(rq_value(at, "path"), a->path, sizeof a->path) || !size) return 0;
    a->count = 1, a->dims = 0;
    for (size = rq_blank(size + 1); *size && *size != ']'; a->dims++) {
        if (a->dims == RQ_DIMS) return 0;
        a->shape[a->dims] = (size_t)strtoull(size, NULL, 10);
        a->count *= a->shape[a->dims];
        size = rq_blank(rq_behind(size));
        if (*size == ',') size = rq_blank(size + 1);
    }
    a->bytes = a->count * rq_width(a->dtype);
    a->data = calloc(a->bytes ? a->bytes : 1, 1);
    return a->data != NULL;
}

static inline int rq_load(const char *at, rq_array *a) {
    const char *off = rq_value(at, "off"), *len = rq_value(at, "len");
    if (!off || !len || strtoull(len, NULL, 10) != a->bytes) return 0;
    FILE *file = fopen(a->path, "rb");
    if (!file) return 0;
    int good = !fseek(file, strtol(off, NULL, 10), SEEK_SET) &&
               fread(a->data, 1, a->bytes, file) == a->bytes;
    return fclose(file), good;
}

static inline int rq_store(const rq_array *a) {
    FILE *file = fopen(a->path, "wb");
    if (!file) return 0;
    int good = fwrite(a->data, 1, a->bytes, file) == a->bytes;
    return !fclose(file) && good;
}

static inline int rq_arrays(const char *list, rq_array *to, size_t *count, int load) {
    if (!list || *list != '[') return 0;
    for (list = rq_blank(list + 1); *list == '{'; ) {
        if (*count == RQ_ARRAYS) return 0;
        rq_array *a = &to[(*count)++];
        if (!rq_describe(list, a) || (load && !rq_load(list, a))) return 0;
        list = rq_blank(rq_behind(list));
        if (*list == ',') list = rq_blank(list + 1);
    }
    return *list == ']';
}

static inline int rq_one(const char *line, rq_case *c, rq_run run) {
    c->params = rq_value(line, "params");
    strcpy(c->message, "the request cannot be read");
    if (!rq_string(rq_value(line, "op"), c->op, sizeof c->op)) return RQ_ERROR;
    if (!rq_arrays(rq_value(line, "in"), c->in, &c->inputs, 1)) return RQ_ERROR;
    if (!rq_arrays(rq_value(line, "out"), c->out, &c->outputs, 0)) return RQ_ERROR;
    c->message[0] = 0;
    int outcome = run(c);
    for (size_t i = 0; outcome == RQ_OK && i < c->outputs; i++)
        if (!rq_store(&c->out[i])) strcpy(c->message, "an output cannot be written"), outcome = RQ_ERROR;
    return outcome;
}

static inline char *rq_line(char **line, size_t *room) {
    size_t size = 0;
    for (int c; (c = getchar()) != EOF && c != '\n'; (*line)[size++] = (char)c) {
        if (size + 2 > *room) {
            char *more = (char *)realloc(*line, *room = *room * 2 + RQ_TEXT);
            if (!more) return NULL;
            *line = more;
        }
    }
    if (!size) return NULL;
    (*line)[size] = 0;
    return *line;
}

/* Answer requests on standard input until `bye`. `features` is a JSON array:
   "[\"decode.ggml-q4_0\"]". The result is the status for main. */
static inline int rq_serve(const char *name, const char *language, const char *features, rq_run run) {
    static const char *const outcomes[] = {"ok", "unsupported", "rejected", "error"};
    char *line = NULL, command[16];
    size_t room = 0;
    rq_case *c = (rq_case *)malloc(sizeof *c);
    while (c && rq_line(&line, &room)) {
        const char *seq = rq_value(line, "seq");
        if (!rq_string(rq_value(line, "cmd"), command, sizeof command)) command[0] = 0;
        if (!strcmp(command, "bye")) break;
        if (!strcmp(command, "hello")) {
            printf("@rq {\"engine\": {\"name\": \"%s\", \"language\": \"%s\"}, \"features\": %s}\n",
                   name, language, features);
        } else {
            memset(c, 0, sizeof *c);
            int outcome = strcmp(command, "run") ? RQ_UNSUPPORTED : rq_one(line, c, run);
            printf("@rq {\"seq\": %lld, \"outcome\": \"%s\"", seq ? strtoll(seq, NULL, 10) : -1,
                   outcomes[outcome]);
            if (c->message[0])
                printf(", \"%s\": \"%s\"", outcome == RQ_REJECTED ? "code" : "detail", c->message);
            puts("}");
            for (size_t i = 0; i < RQ_ARRAYS; i++) free(c->in[i].data), free(c->out[i].data);
        }
        fflush(stdout);
    }
    return free(c), free(line), 0;
}

#endif
