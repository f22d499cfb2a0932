// The line protocol of conformance/SPEC.md for C++17: a thin dress over rq_adapter.h, which lies
// beside it or in ../c.
#ifndef RQ_ADAPTER_HPP
#define RQ_ADAPTER_HPP

#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#if __has_include("rq_adapter.h")
#include "rq_adapter.h"
#else
#include "../c/rq_adapter.h"
#endif

namespace rq {

// Thrown by an engine for a case that it does not know.
struct Unsupported : std::exception {};

// Thrown for input that breaks a rule; the text is the rule's code.
struct Rejected : std::runtime_error {
    using std::runtime_error::runtime_error;
};

template <class T>
struct Span {
    T *data;
    size_t size;
    T *begin() const { return data; }
    T *end() const { return data + size; }
    T &operator[](size_t i) const { return data[i]; }
};

class Case {
public:
    explicit Case(rq_case *c) : c_(c) {}

    std::string op() const { return c_->op; }

    std::string param(const char *key) const {
        char text[RQ_TEXT];
        return rq_param(c_, key, text, sizeof text) ? text : "";
    }

    long long integer(const char *key, long long otherwise = 0) const {
        return rq_integer(c_, key, otherwise);
    }

    template <class T>
    Span<const T> in(const char *name) const {
        return view<const T>(c_->in, c_->inputs, name);
    }

    template <class T>
    Span<T> out(const char *name) const {
        return view<T>(c_->out, c_->outputs, name);
    }

private:
    template <class T>
    static Span<T> view(rq_array *arrays, size_t count, const char *name) {
        for (size_t i = 0; i < count; i++)
            if (!std::strcmp(arrays[i].name, name))
                return {static_cast<T *>(arrays[i].data), arrays[i].bytes / sizeof(T)};
        throw Unsupported();
    }

    rq_case *c_;
};

using Run = std::function<void(const Case &)>;

inline Run &chosen() {
    static Run run;
    return run;
}

inline int guarded(rq_case *c) noexcept {
    try {
        chosen()(Case(c));
        return RQ_OK;
    } catch (const Unsupported &) {
        return RQ_UNSUPPORTED;
    } catch (const Rejected &error) {
        std::snprintf(c->message, sizeof c->message, "%s", error.what());
        return RQ_REJECTED;
    } catch (...) {
        std::snprintf(c->message, sizeof c->message, "an exception");
        return RQ_ERROR;
    }
}

// Answer requests on standard input until `bye`; the result is the status for main.
inline int serve(const std::string &name, const std::vector<std::string> &features, Run run) {
    std::string list;
    for (const auto &feature : features) list += (list.empty() ? "\"" : ", \"") + feature + "\"";
    chosen() = std::move(run);
    return rq_serve(name.c_str(), "C++", ("[" + list + "]").c_str(), guarded);
}

}  // namespace rq

#endif
