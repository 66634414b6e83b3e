#include "proxy/runtime/bytes.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <string>

#include "proxy/base/random.h"
#include "tests/support/allocation_count.h"

using namespace weir;

namespace {

std::string content(const Bytes& bytes) {
  iovec vectors[64];
  const int count = bytes.vectors(vectors);
  std::string text;
  for (int i = 0; i < count; ++i) text.append(static_cast<const char*>(vectors[i].iov_base), vectors[i].iov_len);
  return text;
}

ByteView filled(BufferPool& pool, std::size_t size, char with) {
  const auto buffer = pool.read_buffer();
  std::memset(buffer.data(), with, size);
  return {buffer.data(), size};
}

}  // namespace

TEST_CASE("bytes keep what was appended, in order") {
  BufferPool pool;
  Bytes bytes(pool);
  CHECK(bytes.empty());
  CHECK(bytes.front().empty());
  bytes.append("hello ");
  bytes.append("");
  bytes.append("world");
  CHECK(bytes.size() == 11);
  CHECK(content(bytes) == "hello world");
  bytes.consume(6);
  CHECK(as_text(bytes.front()) == "world");
  bytes.consume(5);
  CHECK(bytes.empty());
  CHECK(pool.chunks_in_use() == 0);  // an empty chain owns nothing
}

TEST_CASE("bytes agree with a string under random operations") {
  const std::uint64_t seed = GENERATE(1U, 2U, 3U, 4U);
  Random random(seed);
  BufferPool pool;
  Bytes bytes(pool);
  std::string reference;
  char letter = 'a';
  for (int i = 0; i < 250; ++i) {
    letter = letter == 'z' ? 'a' : static_cast<char>(letter + 1);
    switch (random.below(7)) {
      case 0: {
        const std::string text(random.below(40000), letter);
        bytes.append(text);
        reference += text;
        break;
      }
      case 1: {
        const std::size_t size = random.below(90000);
        bytes.append(filled(pool, size, letter));
        reference.append(size, letter);
        break;
      }
      case 2: {
        const auto room = bytes.reserve(random.below(BufferPool::kChunkSize + 1));
        const std::size_t size = random.below(room.size() + 1);
        std::memset(room.data(), letter, size);
        bytes.commit(size);
        reference.append(size, letter);
        break;
      }
      case 3: {
        bytes.reserve(random.below(BufferPool::kChunkSize) + 1);  // and nothing written
        break;
      }
      case 4: {
        Bytes other(pool);
        const std::string text(random.below(20000), letter);
        other.append(text);
        bytes.append(std::move(other));
        reference += text;
        break;
      }
      case 5: {
        const std::size_t front = bytes.front().size();
        REQUIRE((front > 0) == !reference.empty());
        const std::size_t size = std::min<std::size_t>(front + random.below(30000), reference.size());
        bytes.consume(size);
        reference.erase(0, size);
        break;
      }
      default: {
        Bytes moved(std::move(bytes));
        REQUIRE(bytes.empty());
        bytes = std::move(moved);
      }
    }
    REQUIRE(bytes.size() == reference.size());
    if (reference.size() < 500000) REQUIRE(content(bytes) == reference.substr(0, content(bytes).size()));
    if (reference.size() > 600000) {
      bytes.clear();
      reference.clear();
    }
  }
  const Bytes copy = bytes.share_copy();
  CHECK(copy.size() == bytes.size());
  CHECK(content(copy).substr(0, 1000) == content(bytes).substr(0, 1000));
}

TEST_CASE("a large part of the read buffer is taken over, not copied") {
  BufferPool pool;
  Bytes bytes(pool);
  const auto first = pool.read_buffer();
  CHECK(first.size() == BufferPool::kReadBufferSize);
  CHECK(pool.chunks_in_use() == 0);
  bytes.append(ByteView(first).subspan(100, BufferPool::kStealFrom));
  CHECK(bytes.front().data() == first.data() + 100);
  CHECK(pool.chunks_in_use() == 1);
  CHECK(pool.bytes_held() == BufferPool::kReadBufferSize);
  const auto second = pool.read_buffer();
  CHECK(second.data() != first.data());
}

TEST_CASE("a small part of the read buffer is copied") {
  BufferPool pool;
  Bytes bytes(pool);
  const auto buffer = pool.read_buffer();
  bytes.append(ByteView(buffer).subspan(0, BufferPool::kStealFrom - 1));
  CHECK(bytes.front().data() != buffer.data());
  CHECK(pool.read_buffer().data() == buffer.data());
  CHECK(pool.bytes_held() == BufferPool::kChunkSize);
}

TEST_CASE("a chain that holds something takes only large parts over") {
  BufferPool pool;
  Bytes bytes(pool);
  bytes.append("x");
  const auto buffer = pool.read_buffer();
  bytes.append(ByteView(buffer).subspan(0, BufferPool::kStealMoreFrom - 1));
  CHECK(pool.read_buffer().data() == buffer.data());
  bytes.append(ByteView(buffer).subspan(0, BufferPool::kStealMoreFrom));
  CHECK(pool.read_buffer().data() != buffer.data());
  CHECK(bytes.size() == 2 * BufferPool::kStealMoreFrom);
}

TEST_CASE("two chains share one read: the second copies, and both stay whole when the first goes") {
  BufferPool pool;
  Bytes second(pool);
  ByteView rest;
  {
    Bytes first(pool);
    const ByteView read = filled(pool, 40000, 'r');
    first.append(read.subspan(0, 20000));
    rest = read.subspan(20000);
    first.append("tail");  // does not write over what the reader has not used yet
    CHECK(rest[0] == 'r');
  }
  // The first chain is gone, but the reader still parses what it read.
  Bytes other(pool);
  other.append(std::string(3 * BufferPool::kChunkSize, 'o'));
  CHECK(std::all_of(rest.begin(), rest.end(), [](std::uint8_t b) { return b == 'r'; }));
  second.append(rest);
  CHECK(content(second) == std::string(20000, 'r'));
}

TEST_CASE("buffers in steady state take nothing from the heap") {
  BufferPool pool;
  const auto turn = [&] {
    Bytes bytes(pool);
    bytes.append(filled(pool, 100000, 's'));
    bytes.append(filled(pool, 100000, 't'));
    bytes.append(std::string_view("small"));
    bytes.reserve(16);
    bytes.consume(150000);
  };
  turn();
  const auto before = test::allocation_count();
  for (int i = 0; i < 200; ++i) turn();
  CHECK(test::allocation_count() == before);
  CHECK(pool.chunks_in_use() == 0);
  CHECK(pool.bytes_held() == 0);
}

TEST_CASE("trim keeps the pool usable") {
  BufferPool pool;
  {
    Bytes bytes(pool);
    for (int i = 0; i < 10; ++i) bytes.append(filled(pool, 100000, 't'));
    bytes.append(std::string(500000, 'u'));
  }
  pool.trim();
  pool.trim();
  Bytes bytes(pool);
  bytes.append(filled(pool, 100000, 'v'));
  CHECK(bytes.size() == 100000);
}
