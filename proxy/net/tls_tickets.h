// TlsTicketKeys: the keys that session tickets are sealed with, so that a client resumes at any worker and after a reload; nobody stores
// its session. The Server owns one, rotates it by its timer, and shares it with the contexts; any thread may use it.
// A key seals for one period and opens for the two after it; then it is wiped, and what was recorded cannot be opened with it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "proxy/base/time.h"

namespace weir {

class TlsTicketKeys {
 public:
  static constexpr Duration kPeriod = std::chrono::hours(1);
  static constexpr std::size_t kKept = 3;  // the one that seals, and those that still open

  struct Key {
    std::array<unsigned char, 16> name{};
    std::array<unsigned char, 32> cipher{};  // AES-256
    std::array<unsigned char, 32> mac{};     // HMAC-SHA-256
  };

  TlsTicketKeys();
  ~TlsTicketKeys();
  TlsTicketKeys(const TlsTicketKeys&) = delete;
  TlsTicketKeys& operator=(const TlsTicketKeys&) = delete;

  void rotate();
  Key current() const;
  // The key of that name and whether it is the one that seals now; false when it is forgotten.
  bool find(const unsigned char* name, Key& found, bool& is_current) const;

 private:
  static Key fresh();
  mutable std::mutex mutex_;
  std::array<Key, kKept> keys_;  // the newest first
  std::size_t count_ = 1;
};

}  // namespace weir
