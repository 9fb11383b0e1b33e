// Result<T>: a value, or the reason why there is none.
//
// An *outcome* that a caller must handle (invalid, not found, unsupported, exhausted, cancelled, malformed)
// travels as a Result. A bug, memory running out or a lost device is an exception instead, and is caught only
// where a request, a step, a message or main ends. The reasons are the codes of facet/status.h, which the
// wire and the C API share.
#pragma once

#include <facet/status.h>

#include <cassert>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace facet {

// Why something did not happen: a code for programs and a sentence, naming the thing, for people.
struct [[nodiscard]] Error {
  facet_status code = FACET_INTERNAL;
  std::string message;
  uint32_t retry_after_ms = 0;  // of exhausted: a try after that may succeed; 0: not known
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Only if ok().
  T& value() & { return assert(ok()), *std::get_if<0>(&state_); }
  const T& value() const& { return assert(ok()), *std::get_if<0>(&state_); }
  T&& value() && { return assert(ok()), std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // Only if not ok().
  const Error& error() const& { return assert(!ok()), *std::get_if<1>(&state_); }
  Error&& error() && { return assert(!ok()), std::move(*std::get_if<1>(&state_)); }

 private:
  std::variant<T, Error> state_;
};

// Success without a value.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), failed_(true) {}

  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { return assert(failed_), error_; }
  Error&& error() && { return assert(failed_), std::move(error_); }

 private:
  Error error_;
  bool failed_ = false;
};

}  // namespace facet

// Evaluates `expression`, a Result; returns its error from the enclosing function, or moves its value into
// `target`.
#define FACET_TRY_NAME2(line) facet_try_##line
#define FACET_TRY_NAME(line) FACET_TRY_NAME2(line)
#define FACET_TRY(target, expression)                                                     \
  auto FACET_TRY_NAME(__LINE__) = (expression);                                           \
  if (!FACET_TRY_NAME(__LINE__).ok()) return std::move(FACET_TRY_NAME(__LINE__)).error(); \
  target = std::move(FACET_TRY_NAME(__LINE__)).value()
// The same for a Result<void>.
#define FACET_CHECK(expression)                                                 \
  do {                                                                          \
    auto facet_check_result = (expression);                                     \
    if (!facet_check_result.ok()) return std::move(facet_check_result).error(); \
  } while (0)
