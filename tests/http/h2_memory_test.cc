// The blocks of an HTTP/2 session: reused by size, never two at once, bounded in what is kept.
#include "proxy/http/h2_memory.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <set>
#include <vector>

namespace weir {

TEST_CASE("h2 memory: a block that was given back serves the next of its size, and no other") {
  H2Memory memory;
  void* one = memory.allocate(100);
  std::memset(one, 1, 100);
  memory.release(one);
  void* smaller = memory.allocate(33);
  CHECK(smaller != one);
  memory.release(smaller);
  CHECK(memory.allocate(128) == one);  // rounded up to the same
  CHECK(memory.from_heap() == 2);
  void* other = memory.allocate(100);
  CHECK(other != one);
  memory.release(nullptr);
  memory.release(one);
  memory.release(other);
  CHECK(memory.allocate_zeros(25, 4) == other);
  for (std::size_t i = 0; i < 100; ++i) REQUIRE(static_cast<char*>(other)[i] == 0);
  CHECK(memory.allocate_zeros(SIZE_MAX, 2) == nullptr);
  CHECK(memory.allocate(SIZE_MAX) == nullptr);
  memory.release(other);
}

TEST_CASE("h2 memory: contents survive growing and shrinking across sizes") {
  H2Memory memory;
  std::size_t size = 1;
  auto* at = static_cast<unsigned char*>(memory.reallocate(nullptr, size));
  at[0] = 0;
  for (const std::size_t next : {5UL, 32UL, 33UL, 500UL, 512UL, 513UL, 5000UL, 100'000UL, 600UL, 400UL, 401UL, 10UL}) {
    at = static_cast<unsigned char*>(memory.reallocate(at, next));
    for (std::size_t i = 0; i < std::min(size, next); ++i) REQUIRE(at[i] == static_cast<unsigned char>(i));
    for (std::size_t i = 0; i < next; ++i) at[i] = static_cast<unsigned char>(i);
    size = next;
  }
  memory.release(at);
}

TEST_CASE("h2 memory: a few of a size are kept, and large ones are the heap's") {
  H2Memory memory;
  std::vector<void*> all;
  for (int i = 0; i < 100; ++i) all.push_back(memory.allocate(64));
  CHECK(std::set<void*>(all.begin(), all.end()).size() == 100);
  for (void* one : all) memory.release(one);
  const std::uint64_t before = memory.from_heap();
  all.clear();
  for (int i = 0; i < 100; ++i) all.push_back(memory.allocate(64));
  CHECK(memory.from_heap() - before == 100 - H2Memory::kKept);
  for (void* one : all) memory.release(one);
  void* large = memory.allocate(513);
  memory.release(large);
  const std::uint64_t then = memory.from_heap();
  large = memory.allocate(513);
  CHECK(memory.from_heap() == then + 1);
  memory.release(large);
}

}  // namespace weir
