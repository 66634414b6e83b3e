// Callback: a function to call later, as two words (a function pointer and its object).
// It owns nothing: the object must outlive it, which the holders (Timer, Deferred) see to by being members of that object.
// It never allocates; where a closure must be kept, use std::function off the data path.
#pragma once

namespace weir {

class Callback {
 public:
  using Function = void (*)(void*);

  Callback() = default;
  Callback(Function function, void* object) : function_(function), object_(object) {}

  // Callback::to<&Retry::on_backoff>(this)
  template <auto kMethod, class T>
  static Callback to(T* object) {
    return {[](void* self) { (static_cast<T*>(self)->*kMethod)(); }, object};
  }

  explicit operator bool() const { return function_ != nullptr; }
  void operator()() const { function_(object_); }

 private:
  Function function_ = nullptr;
  void* object_ = nullptr;
};

}  // namespace weir
