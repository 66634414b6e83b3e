// Field lists between nghttp2's form and ours, and our memory in its form, for the two sessions alone. Nothing is kept.
#pragma once

#include <nghttp2/nghttp2.h>

#include <span>
#include <string_view>
#include <vector>

#include "proxy/http/h2_head.h"
#include "proxy/http/h2_memory.h"

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

// nghttp2 copies names and values.
inline std::vector<nghttp2_nv> name_values(std::span<const Http2Field> fields) {
  std::vector<nghttp2_nv> list;
  list.reserve(fields.size());
  for (const Http2Field& field : fields) {
    list.push_back({reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.name.data())),
                    reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.value.data())), field.name.size(), field.value.size(),
                    indexing_of(field.name)});
  }
  return list;
}

inline nghttp2_mem nghttp2_memory(H2Memory& memory) {
  return {&memory, [](std::size_t size, void* of) { return static_cast<H2Memory*>(of)->allocate(size); },
          [](void* at, void* of) { static_cast<H2Memory*>(of)->release(at); },
          [](std::size_t count, std::size_t size, void* of) { return static_cast<H2Memory*>(of)->allocate_zeros(count, size); },
          [](void* at, std::size_t size, void* of) { return static_cast<H2Memory*>(of)->reallocate(at, size); }};
}

}  // namespace weir
