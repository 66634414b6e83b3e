#include "proxy/runtime/arena.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

#include "tests/support/allocation_count.h"

using namespace weir;

namespace {

bool aligned(const void* pointer, std::size_t alignment) { return reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0; }

}  // namespace

TEST_CASE("an arena gives aligned memory that does not overlap") {
  ArenaPool pool;
  Arena& arena = pool.open();
  std::vector<std::pair<char*, std::size_t>> given;
  for (std::size_t i = 0; i < 400; ++i) {
    const std::size_t size = i * 7 % 131;
    const std::size_t alignment = std::size_t{1} << (i % 7);
    auto* memory = static_cast<char*>(arena.allocate(size, alignment));
    REQUIRE(aligned(memory, alignment));
    std::memset(memory, static_cast<int>(i & 0x7f), size);
    given.emplace_back(memory, size);
  }
  for (std::size_t i = 0; i < given.size(); ++i) {
    for (std::size_t k = 0; k < given[i].second; ++k) REQUIRE(given[i].first[k] == static_cast<char>(i & 0x7f));
  }
  arena.release();
  CHECK(pool.in_use() == 0);
}

TEST_CASE("an arena gives any size, from nothing to many blocks, with large alignments") {
  ArenaPool pool;
  Arena& arena = pool.open();
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{4000}, std::size_t{4095}, std::size_t{4096}, std::size_t{4097}, std::size_t{70000}}) {
    for (const std::size_t alignment : {std::size_t{1}, std::size_t{8}, std::size_t{64}, std::size_t{512}}) {
      auto* memory = static_cast<char*>(arena.allocate(size, alignment));
      REQUIRE(memory != nullptr);
      REQUIRE(aligned(memory, alignment));
      std::memset(memory, 1, size);
    }
  }
  CHECK(arena.bytes() > 4 * 70000);
  arena.release();
  CHECK(pool.in_use() == 0);
}

TEST_CASE("an arena lives until its last holder lets go") {
  ArenaPool pool;
  Arena& arena = pool.open();
  ArenaHold hold(arena);
  {
    ArenaHold moved(std::move(hold));
    CHECK(hold.get() == nullptr);
    CHECK(moved.get() == &arena);
    hold = std::move(moved);
  }
  arena.release();
  CHECK(pool.in_use() == 1);
  hold.reset();
  CHECK(pool.in_use() == 0);
  CHECK(pool.free_blocks() == 1);
  hold.reset();  // twice is once
}

TEST_CASE("exchanges in steady state take nothing from the heap") {
  ArenaPool pool;
  const auto exchange = [&] {
    Arena& arena = pool.open();
    arena.make_array<std::uint64_t>(100);
    arena.copy("GET /path HTTP/1.1");
    arena.allocate(3000);
    arena.allocate(3000);  // a second block
    arena.release();
  };
  exchange();
  CHECK(pool.free_blocks() >= 2);
  const auto before = test::allocation_count();
  for (int i = 0; i < 1000; ++i) exchange();
  CHECK(test::allocation_count() == before);
}

TEST_CASE("what is made in an arena is made in place") {
  ArenaPool pool;
  Arena& arena = pool.open();
  struct Point {
    Point(int a, int b) : x(a), y(b) {}
    int x, y;
  };
  const auto* point = arena.make<Point>(3, 4);
  CHECK(point->x * 10 + point->y == 34);
  const auto* zeros = arena.make_array<int>(5);
  for (int i = 0; i < 5; ++i) CHECK(zeros[i] == 0);
  std::string text = "value";
  const std::string_view copy = arena.copy(text);
  text = "other";
  CHECK(copy == "value");
  CHECK(arena.copy("").empty());
  arena.release();
}

TEST_CASE("trim gives back what a burst left behind") {
  ArenaPool pool;
  std::vector<Arena*> burst;
  for (int i = 0; i < 50; ++i) burst.push_back(&pool.open());
  CHECK(pool.in_use() == 50);
  for (Arena* arena : burst) arena->release();
  CHECK(pool.free_blocks() == 50);
  pool.trim(8);
  CHECK(pool.free_blocks() == 8);
  pool.trim(20);
  CHECK(pool.free_blocks() == 8);
}
