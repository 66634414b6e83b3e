// KeyedBuckets: one token bucket for each key seen, in a table of a fixed size; keys are 128-bit fingerprints, not texts.
// The rate limit policy owns it and guards it; its memory is taken when it is made, and no call allocates.
// It never forgets a bucket that is not full: when the table is full of such, further keys share one bucket, and so does one for which
// no full one was found in the time that a look may take.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "filters/rate_limit/token_bucket.h"

namespace weir {

// Of a composite key. Built part by part with a secret seed (SipHash-2-4, Aumasson and Bernstein 2012), so that nobody outside can make
// two keys meet.
struct KeyFingerprint {
  std::uint64_t a = 0;
  std::uint64_t b = 0;

  static KeyFingerprint seeded(std::uint64_t seed);
  void add(std::string_view part);
  void add_missing();  // unlike any part, the empty one too
  bool operator==(const KeyFingerprint&) const = default;
};

class KeyedBuckets {
 public:
  explicit KeyedBuckets(std::uint32_t max_keys);

  struct Taken {
    Duration wait{0};     // zero: a token was taken
    bool shared = false;  // out of the bucket that the keys without room share
  };
  Taken take(const BucketRules& rules, const KeyFingerprint& key, MonotonicTime now);

  // Another rate, burst or number of keys: buckets keep their tokens; full ones are dropped, and of the rest the emptiest stay.
  void change(const BucketRules& from, const BucketRules& to, std::uint32_t max_keys, MonotonicTime now);
  void clear();
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    KeyFingerprint key;
    TokenBucket bucket;
    WideTime listed_at = 0;  // when the bucket is full, as the heap knows it: never later than the truth, since tokens only get taken
  };
  static constexpr std::uint32_t kEmpty = 0xffffffff;
  static constexpr int kRepairs = 256;

  void reserve(std::uint32_t max_keys);
  std::size_t home(const KeyFingerprint& key) const { return static_cast<std::size_t>(key.a) & mask_; }
  std::size_t find_place(const KeyFingerprint& key) const;  // of the key, or the empty place where it belongs
  void erase_place(std::size_t place);
  // Puts the heap's first where it belongs, if that is not first; false: it was right, and is the earliest of all.
  bool repair_first();
  // The entry to use for a new key: a fresh one, or that of a bucket that is full by now; null when there is none, or none was found
  // within kRepairs: all workers wait for whoever looks.
  Entry* make_room(const BucketRules& rules, MonotonicTime now);
  void sift_down(std::size_t position);
  void sift_up(std::size_t position);

  std::uint32_t max_keys_ = 0;
  std::size_t mask_ = 0;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> places_;  // open addressing, linear probing: the entry's number or kEmpty; at most half full
  std::vector<std::uint32_t> heap_;    // entries' numbers, the earliest listed_at first
  TokenBucket shared_;
};

}  // namespace weir
