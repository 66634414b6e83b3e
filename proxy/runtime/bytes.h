// Bytes: a move-only chain of byte chunks, for what cannot leave at once; BufferPool: the worker's chunks and its one read buffer.
// A Bytes owns its chunks and gives them back to its pool; the worker owns the pool, which outlives every Bytes.
// Neither is thread-safe, and an empty Bytes owns no memory.
//
// The read buffer (256 KiB, one per worker): whoever reads a stream reads into it and has used, copied or appended everything
// before the callback ends. Appending a part of it of 8 KiB or more to an empty chain (64 KiB or more to any chain) does not copy:
// the chain takes the whole buffer over and the next read gets another. What was read stays readable until then, even when that
// chain is gone already. A chain that holds something takes only large parts over, so that it never owns much more memory than bytes.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

namespace weir {

using ByteView = std::span<const std::uint8_t>;

inline ByteView as_bytes(std::string_view text) { return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}; }
inline std::string_view as_text(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

struct BufferChunk;  // bytes.cc

class BufferPool {
 public:
  static constexpr std::size_t kReadBufferSize = std::size_t{256} * 1024;
  static constexpr std::size_t kChunkSize = std::size_t{16} * 1024;
  static constexpr std::size_t kScratchSize = std::size_t{16} * 1024;
  static constexpr std::size_t kStealFrom = std::size_t{8} * 1024;       // by an empty chain
  static constexpr std::size_t kStealMoreFrom = std::size_t{64} * 1024;  // by a chain that holds something

  BufferPool();
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  std::span<std::uint8_t> read_buffer();
  // One per worker too: where small parts are put together for a single write; what is in it is used up before the callback ends.
  std::span<std::uint8_t> write_scratch();
  std::size_t chunks_in_use() const { return in_use_; }   // chunks held by chains, stolen read buffers included
  std::size_t bytes_held() const { return bytes_held_; }  // memory of those chunks
  void trim();                                            // frees the free lists but for a few

 private:
  friend class Bytes;
  BufferChunk* take(std::size_t size);
  BufferChunk* steal(ByteView part);  // null when `part` is not inside the present read buffer
  void give_back(BufferChunk* chunk);
  void free_list(BufferChunk*& list, std::size_t& count, std::size_t keep);

  std::unique_ptr<std::uint8_t[]> scratch_;  // made when first asked for
  BufferChunk* reading_ = nullptr;           // the last read buffer handed out, also while a chain holds it
  BufferChunk* free_small_ = nullptr;
  BufferChunk* free_large_ = nullptr;
  std::size_t free_small_count_ = 0;
  std::size_t free_large_count_ = 0;
  std::size_t in_use_ = 0;
  std::size_t bytes_held_ = 0;
};

class Bytes {
 public:
  explicit Bytes(BufferPool& pool) : pool_(&pool) {}
  Bytes(Bytes&& other) noexcept;
  Bytes& operator=(Bytes&& other) noexcept;
  ~Bytes() { clear(); }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void append(ByteView bytes);  // copies, or takes the read buffer over (see above)
  void append(std::string_view text) { append(as_bytes(text)); }
  void append(Bytes&& other);  // moves the chunks
  // Room of at least `size` contiguous bytes (size <= kChunkSize) at the end; commit() says how many were written.
  std::span<std::uint8_t> reserve(std::size_t size);
  void commit(std::size_t size);
  ByteView front() const;  // the first contiguous part; empty when empty
  void consume(std::size_t size);
  int vectors(std::span<iovec> out) const;  // how many were filled, from the front
  Bytes share_copy() const;                 // a copy of the content (replay); chunks are not shared
  void clear() {
    if (first_ != nullptr) give_back_all();
  }

 private:
  void give_back_all();
  void link(BufferChunk* chunk);
  void copy_in(ByteView bytes);

  BufferPool* pool_;
  BufferChunk* first_ = nullptr;
  BufferChunk* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace weir
