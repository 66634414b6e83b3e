#include "filters/rate_limit/keyed_buckets.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace weir {

namespace {

std::uint64_t little_endian(const char* bytes) {
  std::uint64_t word = 0;
  for (unsigned i = 0; i < 8; ++i) word |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  return word;
}

struct SipState {
  std::uint64_t v0, v1, v2, v3;

  void rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0 += v1;
      v1 = std::rotl(v1, 13) ^ v0;
      v0 = std::rotl(v0, 32);
      v2 += v3;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 += v3;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 += v1;
      v1 = std::rotl(v1, 17) ^ v2;
      v2 = std::rotl(v2, 32);
    }
  }
  void word(std::uint64_t m) {
    v3 ^= m;
    rounds(2);
    v0 ^= m;
  }
  std::uint64_t folded() const { return v0 ^ v1 ^ v2 ^ v3; }
};

// SipHash-2-4 with 128 bits of output, keyed by (k0, k1).
KeyFingerprint sip_hash(std::uint64_t k0, std::uint64_t k1, std::string_view text) {
  SipState s{k0 ^ 0x736f6d6570736575U, k1 ^ 0x646f72616e646f6dU ^ 0xeeU, k0 ^ 0x6c7967656e657261U, k1 ^ 0x7465646279746573U};
  std::size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) s.word(little_endian(text.data() + at));
  char tail[8] = {};
  if (at < text.size()) std::memcpy(tail, text.data() + at, text.size() - at);
  tail[7] = static_cast<char>(text.size() & 0xff);
  s.word(little_endian(tail));
  s.v2 ^= 0xeeU;
  s.rounds(4);
  KeyFingerprint result;
  result.a = s.folded();
  s.v1 ^= 0xddU;
  s.rounds(4);
  result.b = s.folded();
  return result;
}

}  // namespace

KeyFingerprint KeyFingerprint::seeded(std::uint64_t seed) {
  KeyFingerprint start;
  start.a = seed;
  start.b = ~seed;
  return sip_hash(start.a, start.b, "rate_limit");
}

// Each part is hashed under the fingerprint of the parts before it, so lengths need no separators.
void KeyFingerprint::add(std::string_view part) { *this = sip_hash(a, b, part); }
void KeyFingerprint::add_missing() { *this = sip_hash(~a, b, {}); }

KeyedBuckets::KeyedBuckets(std::uint32_t max_keys) { reserve(max_keys); }

void KeyedBuckets::reserve(std::uint32_t max_keys) {
  max_keys_ = std::max(max_keys, 1U);
  const std::size_t wanted = std::bit_ceil(std::size_t{max_keys_} * 2);
  mask_ = wanted - 1;
  places_.assign(wanted, kEmpty);
  entries_.reserve(max_keys_);
  heap_.reserve(max_keys_);
}

void KeyedBuckets::clear() {
  std::fill(places_.begin(), places_.end(), kEmpty);
  entries_.clear();
  heap_.clear();
  shared_ = TokenBucket();
}

std::size_t KeyedBuckets::find_place(const KeyFingerprint& key) const {
  std::size_t place = home(key);
  while (places_[place] != kEmpty && !(entries_[places_[place]].key == key)) place = (place + 1) & mask_;
  return place;
}

void KeyedBuckets::erase_place(std::size_t place) {
  // What follows in the same run moves back, so that no lookup meets a hole (Knuth 6.4, algorithm R).
  std::size_t hole = place;
  for (std::size_t next = (hole + 1) & mask_; places_[next] != kEmpty; next = (next + 1) & mask_) {
    const std::size_t wanted = home(entries_[places_[next]].key);
    if (((next - wanted) & mask_) < ((next - hole) & mask_)) continue;  // it would be moved before its home
    places_[hole] = places_[next];
    hole = next;
  }
  places_[hole] = kEmpty;
}

KeyedBuckets::Taken KeyedBuckets::take(const BucketRules& rules, const KeyFingerprint& key, MonotonicTime now) {
  Taken taken;
  std::size_t place = find_place(key);
  if (places_[place] == kEmpty) {
    Entry* entry = make_room(rules, now);
    if (entry == nullptr) {
      taken.shared = true;
      taken.wait = shared_.take(rules, now);
      return taken;
    }
    place = find_place(key);  // making room may have moved it
    places_[place] = static_cast<std::uint32_t>(entry - entries_.data());
    entry->key = key;
    entry->bucket = TokenBucket();
    taken.wait = entry->bucket.take(rules, now);
    entry->listed_at = entry->bucket.full_at();
    if (heap_.size() < entries_.size()) {
      heap_.push_back(places_[place]);
      sift_up(heap_.size() - 1);
    } else {
      sift_down(0);  // make_room took the entry at the top
    }
    return taken;
  }
  taken.wait = entries_[places_[place]].bucket.take(rules, now);
  // Each taking makes the heap untrue in one place at most, so one repair for each keeps it nearly true once it matters.
  if (entries_.size() >= max_keys_) repair_first();
  return taken;
}

bool KeyedBuckets::repair_first() {
  Entry& first = entries_[heap_.front()];
  if (first.listed_at == first.bucket.full_at()) return false;
  first.listed_at = first.bucket.full_at();
  sift_down(0);
  return true;
}

KeyedBuckets::Entry* KeyedBuckets::make_room(const BucketRules& rules, MonotonicTime now) {
  if (entries_.size() < max_keys_) return &entries_.emplace_back();
  // The heap's times may be too early. Once its first is true, it is the earliest of all; and any that is full would do.
  for (int repairs = 0; repairs < kRepairs && repair_first(); ++repairs) continue;
  Entry& first = entries_[heap_.front()];
  if (!first.bucket.full(rules, now)) return nullptr;
  erase_place(find_place(first.key));
  return &first;
}

void KeyedBuckets::sift_down(std::size_t position) {
  while (true) {
    std::size_t least = position;
    for (std::size_t child = 2 * position + 1; child <= 2 * position + 2 && child < heap_.size(); ++child) {
      if (entries_[heap_[child]].listed_at < entries_[heap_[least]].listed_at) least = child;
    }
    if (least == position) return;
    std::swap(heap_[position], heap_[least]);
    position = least;
  }
}

void KeyedBuckets::sift_up(std::size_t position) {
  while (position > 0) {
    const std::size_t parent = (position - 1) / 2;
    if (entries_[heap_[parent]].listed_at <= entries_[heap_[position]].listed_at) return;
    std::swap(heap_[position], heap_[parent]);
    position = parent;
  }
}

void KeyedBuckets::change(const BucketRules& from, const BucketRules& to, std::uint32_t max_keys, MonotonicTime now) {
  shared_.change_rules(from, to, now);
  std::vector<Entry> kept;
  for (Entry& entry : entries_) {
    if (entry.bucket.full(from, now)) continue;
    entry.bucket.change_rules(from, to, now);
    entry.listed_at = entry.bucket.full_at();
    kept.push_back(entry);
  }
  std::sort(kept.begin(), kept.end(), [](const Entry& x, const Entry& y) { return x.listed_at > y.listed_at; });
  if (kept.size() > max_keys) kept.resize(max_keys);
  entries_.clear();
  heap_.clear();
  reserve(max_keys);
  for (const Entry& entry : kept) {
    const auto number = static_cast<std::uint32_t>(entries_.size());
    entries_.push_back(entry);
    places_[find_place(entry.key)] = number;
    heap_.push_back(number);
    sift_up(heap_.size() - 1);
  }
}

}  // namespace weir
