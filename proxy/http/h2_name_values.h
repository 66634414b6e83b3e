// Field lists between nghttp2's form and ours, and our memory in its form, for the two sessions alone. Nothing is kept.
#pragma once

#include <nghttp2/nghttp2.h>

#include <span>
#include <string_view>
#include <vector>

#include "proxy/http/h2_head.h"
#include "proxy/runtime/block_pool.h"

namespace weir {

// Whether HPACK may put a field into its table. What differs with every message would push out what repeats, and be compared with all
// its predecessors there: 117 comparisons a request, measured, for x-request-id alone. nghttp2 itself leaves out :path, etag and others.
inline std::uint8_t indexing_of(std::string_view name) {
  switch (name.size()) {
    case 11: return name == "traceparent" ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
    case 12: return name == "x-request-id" || name == "grpc-timeout" ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
    default: return NGHTTP2_NV_FLAG_NONE;
  }
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) { return {reinterpret_cast<const char*>(data), size}; }

// A list of fields in nghttp2's form, most of them without the heap. `flags`: of NGHTTP2_NV_FLAG_*, for all; without NO_COPY nghttp2 copies.
class NameValues {
 public:
  explicit NameValues(std::span<const Http2Field> fields, unsigned flags = NGHTTP2_NV_FLAG_NONE) : size_(fields.size()) {
    if (size_ > kInPlace) more_.resize(size_);
    nghttp2_nv* at = size_ > kInPlace ? more_.data() : place_;
    for (const Http2Field& field : fields) {
      *at++ = {reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.name.data())),
               reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.value.data())), field.name.size(), field.value.size(),
               static_cast<std::uint8_t>(flags | indexing_of(field.name))};
    }
  }
  const nghttp2_nv* data() const { return size_ > kInPlace ? more_.data() : place_; }
  std::size_t size() const { return size_; }

 private:
  static constexpr std::size_t kInPlace = 32;
  nghttp2_nv place_[kInPlace];
  std::vector<nghttp2_nv> more_;
  const std::size_t size_;
};

inline nghttp2_mem nghttp2_memory(BlockPool& blocks) {
  return {&blocks, [](std::size_t size, void* of) { return static_cast<BlockPool*>(of)->allocate(size); },
          [](void* at, void* of) { static_cast<BlockPool*>(of)->release(at); },
          [](std::size_t count, std::size_t size, void* of) { return static_cast<BlockPool*>(of)->allocate_zeros(count, size); },
          [](void* at, std::size_t size, void* of) { return static_cast<BlockPool*>(of)->reallocate(at, size); }};
}

}  // namespace weir
