#include "proxy/net/tls_tickets.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <cstring>

#include "proxy/base/check.h"

namespace weir {

TlsTicketKeys::TlsTicketKeys() { keys_[0] = fresh(); }

TlsTicketKeys::~TlsTicketKeys() { OPENSSL_cleanse(keys_.data(), sizeof keys_); }

TlsTicketKeys::Key TlsTicketKeys::fresh() {
  Key key;
  CHECK(RAND_bytes(key.name.data(), static_cast<int>(key.name.size())) == 1);
  CHECK(RAND_priv_bytes(key.cipher.data(), static_cast<int>(key.cipher.size())) == 1);
  CHECK(RAND_priv_bytes(key.mac.data(), static_cast<int>(key.mac.size())) == 1);
  return key;
}

void TlsTicketKeys::rotate() {
  Key next = fresh();
  const std::lock_guard<std::mutex> hold(mutex_);
  OPENSSL_cleanse(&keys_[kKept - 1], sizeof(Key));
  for (std::size_t i = kKept - 1; i > 0; --i) keys_[i] = keys_[i - 1];
  keys_[0] = next;
  if (count_ < kKept) ++count_;
  OPENSSL_cleanse(&next, sizeof next);
}

TlsTicketKeys::Key TlsTicketKeys::current() const {
  const std::lock_guard<std::mutex> hold(mutex_);
  return keys_[0];
}

bool TlsTicketKeys::find(const unsigned char* name, Key& found, bool& is_current) const {
  const std::lock_guard<std::mutex> hold(mutex_);
  for (std::size_t i = 0; i < count_; ++i) {
    if (std::memcmp(keys_[i].name.data(), name, keys_[i].name.size()) != 0) continue;
    found = keys_[i];
    is_current = i == 0;
    return true;
  }
  return false;
}

}  // namespace weir
