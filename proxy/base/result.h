// Result<T>: a value or an Error; for what can fail and is answered by the caller at once.
// The holder owns the value. It never throws, and reading the wrong side is a failed CHECK.
// Across links of the chain a Failure travels instead (proxy/chain/failure.h).
#pragma once

#include <string>
#include <utility>
#include <variant>

#include "proxy/base/check.h"

namespace weir {

// What went wrong, for people; `code` is an errno where the system said it, 0 otherwise.
struct Error {
  std::string message;
  int code = 0;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & {
    WEIR_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    WEIR_CHECK(ok());
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    WEIR_CHECK(ok());
    return std::move(*std::get_if<0>(&state_));
  }
  const Error& error() const {
    WEIR_CHECK(!ok());
    return *std::get_if<1>(&state_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}
  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const {
    WEIR_CHECK(!ok_);
    return error_;
  }

 private:
  Error error_;
  bool ok_ = true;
};

}  // namespace weir
