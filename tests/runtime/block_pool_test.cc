// Small blocks: reused by size, never two at once, bounded in what is kept, and given back.
#include "proxy/runtime/block_pool.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <set>
#include <vector>

namespace weir {

TEST_CASE("block pool: a block that was given back serves the next of its size, and no other") {
  BlockPool pool;
  void* one = pool.allocate(100);
  std::memset(one, 1, 100);
  pool.release(one);
  CHECK(pool.kept() == 128);
  void* smaller = pool.allocate(33);
  CHECK(smaller != one);
  pool.release(smaller);
  CHECK(pool.allocate(128) == one);  // rounded up to the same
  CHECK(pool.from_heap() == 2);
  void* other = pool.allocate(100);
  CHECK(other != one);
  pool.release(nullptr);
  pool.release(one);
  pool.release(other);
  CHECK(pool.allocate_zeros(25, 4) == other);
  for (std::size_t i = 0; i < 100; ++i) REQUIRE(static_cast<char*>(other)[i] == 0);
  CHECK(pool.allocate_zeros(SIZE_MAX, 2) == nullptr);
  CHECK(pool.allocate(SIZE_MAX) == nullptr);
  pool.release(other);
}

TEST_CASE("block pool: contents survive growing and shrinking across sizes") {
  BlockPool pool;
  std::size_t size = 1;
  auto* at = static_cast<unsigned char*>(pool.reallocate(nullptr, size));
  at[0] = 0;
  for (const std::size_t next : {5UL, 32UL, 33UL, 500UL, 512UL, 513UL, 768UL, 769UL, 2048UL, 2049UL, 100'000UL, 600UL, 400UL, 10UL}) {
    at = static_cast<unsigned char*>(pool.reallocate(at, next));
    for (std::size_t i = 0; i < std::min(size, next); ++i) REQUIRE(at[i] == static_cast<unsigned char>(i));
    for (std::size_t i = 0; i < next; ++i) at[i] = static_cast<unsigned char>(i);
    size = next;
  }
  CHECK(pool.reallocate(at, SIZE_MAX) == nullptr);
  pool.release(at);
}

TEST_CASE("block pool: blocks of every size are whole") {
  BlockPool pool;
  for (int round = 0; round < 2; ++round) {
    std::vector<std::pair<unsigned char*, std::size_t>> all;
    for (std::size_t size = 0; size <= BlockPool::kLargest + 40; size += 7) {
      all.emplace_back(static_cast<unsigned char*>(pool.allocate(size)), size);
      std::memset(all.back().first, static_cast<int>(size % 251), size);
    }
    for (const auto& [at, size] : all) {
      for (std::size_t i = 0; i < size; ++i) REQUIRE(at[i] == size % 251);
      pool.release(at);
    }
  }
}

TEST_CASE("block pool: what is kept is bounded, large ones are the heap's, and trim gives all back") {
  BlockPool pool;
  std::vector<void*> all;
  constexpr std::size_t kMany = 2 * BlockPool::kMostKept / 64;
  for (std::size_t i = 0; i < kMany; ++i) all.push_back(pool.allocate(64));
  CHECK(std::set<void*>(all.begin(), all.end()).size() == kMany);
  for (void* one : all) pool.release(one);
  CHECK(pool.kept() == BlockPool::kMostKept);
  const std::uint64_t before = pool.from_heap();
  all.clear();
  for (std::size_t i = 0; i < kMany; ++i) all.push_back(pool.allocate(64));
  CHECK(pool.from_heap() - before == kMany / 2);
  CHECK(pool.kept() == 0);
  for (void* one : all) pool.release(one);
  pool.trim();
  CHECK(pool.kept() == 0);
  void* large = pool.allocate(BlockPool::kLargest + 1);
  pool.release(large);
  CHECK(pool.kept() == 0);
}

}  // namespace weir
