#include "proxy/runtime/bytes.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <new>
#include <utility>

#include "proxy/base/check.h"
#include "proxy/runtime/memory_poison.h"

namespace weir {

// A link of a chain; `capacity` bytes follow it in memory, of which [begin, end) belong to the chain.
struct BufferChunk {
  BufferChunk* next = nullptr;
  std::size_t capacity = 0;
  std::size_t begin = 0;
  std::size_t end = 0;
  bool stolen = false;  // a read buffer in a chain: others may still read beside [begin, end), so nothing is written to it

  std::uint8_t* data() { return reinterpret_cast<std::uint8_t*>(this + 1); }
  ByteView view() { return {data() + begin, end - begin}; }
  std::size_t room() const { return stolen ? 0 : capacity - end; }
};

namespace {

// What the free lists keep at most; beyond it a burst's memory goes back to the heap at once.
constexpr std::size_t kSmallKept = 128;  // 2 MiB
constexpr std::size_t kLargeKept = 16;   // 4 MiB
constexpr std::size_t kKeptByTrim = 2;

bool inside(BufferChunk& chunk, ByteView part) {
  const std::less_equal<const std::uint8_t*> not_after;
  return not_after(chunk.data(), part.data()) && not_after(part.data() + part.size(), chunk.data() + chunk.capacity);
}

}  // namespace

BufferPool::BufferPool() = default;

BufferPool::~BufferPool() {
  WEIR_CHECK(in_use_ == 0);
  if (reading_ != nullptr) ::operator delete(reading_);
  free_list(free_small_, free_small_count_, 0);
  free_list(free_large_, free_large_count_, 0);
}

std::span<std::uint8_t> BufferPool::read_buffer() {
  if (reading_ == nullptr || reading_->stolen) {
    reading_ = take(kReadBufferSize);
    --in_use_;  // take() counted it for a chain
    bytes_held_ -= kReadBufferSize;
  }
  return {reading_->data(), reading_->capacity};
}

std::span<std::uint8_t> BufferPool::write_scratch() {
  if (scratch_ == nullptr) scratch_ = std::make_unique<std::uint8_t[]>(kScratchSize);
  return {scratch_.get(), kScratchSize};
}

BufferChunk* BufferPool::take(std::size_t size) {
  const bool large = size > kChunkSize;
  const std::size_t capacity = large ? kReadBufferSize : kChunkSize;
  BufferChunk*& list = large ? free_large_ : free_small_;
  std::size_t& count = large ? free_large_count_ : free_small_count_;
  void* memory = list;
  if (list != nullptr) {
    list = list->next;
    --count;
    unpoison(memory, sizeof(BufferChunk) + capacity);
  } else {
    memory = ::operator new(sizeof(BufferChunk) + capacity);
  }
  auto* chunk = new (memory) BufferChunk;
  chunk->capacity = capacity;
  ++in_use_;
  bytes_held_ += capacity;
  return chunk;
}

BufferChunk* BufferPool::steal(ByteView part) {
  if (reading_ == nullptr || reading_->stolen || !inside(*reading_, part)) return nullptr;
  reading_->stolen = true;
  reading_->begin = static_cast<std::size_t>(part.data() - reading_->data());
  reading_->end = reading_->begin + part.size();
  ++in_use_;
  bytes_held_ += reading_->capacity;
  return reading_;
}

void BufferPool::give_back(BufferChunk* chunk) {
  --in_use_;
  bytes_held_ -= chunk->capacity;
  chunk->next = nullptr;
  if (chunk == reading_) {  // its reader may not be done with it: it becomes the read buffer again, untouched
    chunk->stolen = false;
    return;
  }
  const bool large = chunk->capacity > kChunkSize;
  BufferChunk*& list = large ? free_large_ : free_small_;
  std::size_t& count = large ? free_large_count_ : free_small_count_;
  if (count >= (large ? kLargeKept : kSmallKept)) {
    ::operator delete(chunk);
    return;
  }
  chunk->next = list;
  list = chunk;
  ++count;
  poison(chunk->data(), chunk->capacity);
}

void BufferPool::free_list(BufferChunk*& list, std::size_t& count, std::size_t keep) {
  for (; count > keep; --count) {
    BufferChunk* chunk = std::exchange(list, list->next);
    unpoison(chunk->data(), chunk->capacity);
    ::operator delete(chunk);
  }
}

void BufferPool::trim() {
  free_list(free_small_, free_small_count_, kKeptByTrim);
  free_list(free_large_, free_large_count_, kKeptByTrim);
}

Bytes::Bytes(Bytes&& other) noexcept
    : pool_(other.pool_),
      first_(std::exchange(other.first_, nullptr)),
      last_(std::exchange(other.last_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

Bytes& Bytes::operator=(Bytes&& other) noexcept {
  if (this == &other) return *this;
  clear();
  pool_ = other.pool_;
  first_ = std::exchange(other.first_, nullptr);
  last_ = std::exchange(other.last_, nullptr);
  size_ = std::exchange(other.size_, 0);
  return *this;
}

void Bytes::link(BufferChunk* chunk) {
  (last_ == nullptr ? first_ : last_->next) = chunk;
  last_ = chunk;
}

void Bytes::append(ByteView bytes) {
  if (bytes.size() >= (empty() ? BufferPool::kStealFrom : BufferPool::kStealMoreFrom)) {
    if (BufferChunk* stolen = pool_->steal(bytes)) {
      if (empty()) clear();  // a chunk reserved and never written to
      link(stolen);
      size_ += bytes.size();
      return;
    }
  }
  copy_in(bytes);
}

void Bytes::copy_in(ByteView bytes) {
  while (!bytes.empty()) {
    if (last_ == nullptr || last_->room() == 0) link(pool_->take(BufferPool::kChunkSize));
    const std::size_t n = std::min(bytes.size(), last_->room());
    std::memcpy(last_->data() + last_->end, bytes.data(), n);
    last_->end += n;
    size_ += n;
    bytes = bytes.subspan(n);
  }
}

void Bytes::append(Bytes&& other) {
  WEIR_CHECK(&other != this && other.pool_ == pool_);
  if (other.empty()) {
    other.clear();
    return;
  }
  if (empty()) clear();
  link(other.first_);
  last_ = other.last_;
  size_ += other.size_;
  other.first_ = other.last_ = nullptr;
  other.size_ = 0;
}

std::span<std::uint8_t> Bytes::reserve(std::size_t size) {
  WEIR_CHECK(size <= BufferPool::kChunkSize);
  if (last_ == nullptr || last_->room() < size) {
    if (empty()) clear();
    link(pool_->take(BufferPool::kChunkSize));
  }
  return {last_->data() + last_->end, last_->room()};
}

void Bytes::commit(std::size_t size) {
  WEIR_CHECK(last_ != nullptr && size <= last_->room());
  last_->end += size;
  size_ += size;
  if (empty()) clear();
}

// A chunk without bytes may stand anywhere: one reserved and never written to.
ByteView Bytes::front() const {
  for (BufferChunk* chunk = first_; chunk != nullptr; chunk = chunk->next) {
    if (chunk->end != chunk->begin) return chunk->view();
  }
  return {};
}

void Bytes::consume(std::size_t size) {
  WEIR_CHECK(size <= size_);
  size_ -= size;
  if (size_ == 0) {
    clear();
    return;
  }
  while (size > 0) {
    const std::size_t n = std::min(size, first_->end - first_->begin);
    first_->begin += n;
    size -= n;
    if (first_->begin == first_->end) {
      BufferChunk* done = std::exchange(first_, first_->next);
      pool_->give_back(done);
    }
  }
}

int Bytes::vectors(std::span<iovec> out) const {
  std::size_t filled = 0;
  for (BufferChunk* chunk = first_; chunk != nullptr && filled < out.size(); chunk = chunk->next) {
    if (chunk->begin == chunk->end) continue;
    out[filled++] = {chunk->data() + chunk->begin, chunk->end - chunk->begin};
  }
  return static_cast<int>(filled);
}

Bytes Bytes::share_copy() const {
  Bytes copy(*pool_);
  for (BufferChunk* chunk = first_; chunk != nullptr; chunk = chunk->next) copy.copy_in(chunk->view());
  return copy;
}

void Bytes::give_back_all() {
  while (first_ != nullptr) {
    BufferChunk* done = std::exchange(first_, first_->next);
    pool_->give_back(done);
  }
  last_ = nullptr;
  size_ = 0;
}

}  // namespace weir
