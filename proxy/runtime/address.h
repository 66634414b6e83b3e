// Address: where a socket is bound or connected: IPv4, IPv6 or a unix path.
// A plain value. It never resolves names: `dns:` endpoints become addresses in proxy/upstream.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "proxy/base/result.h"

namespace weir {

class Address {
 public:
  enum class Family : std::uint8_t { none, ipv4, ipv6, unix_path };

  Address() = default;
  // "127.0.0.1:80", "[::1]:80", "unix:/path". Host names and missing ports are errors that say so.
  static Result<Address> parse(std::string_view text);
  static Address from_sockaddr(const sockaddr* address, socklen_t length);

  Family family() const { return family_; }
  std::uint16_t port() const;  // 0 for unix
  Address with_port(std::uint16_t port) const;
  std::string_view text() const { return text_; }  // as parse() takes it
  std::string_view host() const;                   // without port and brackets; the path for unix
  bool is_loopback() const;
  const sockaddr* data() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  bool operator==(const Address& other) const { return text_ == other.text_; }

 private:
  void write_text();
  union Storage {
    sockaddr_storage any;
    sockaddr_un path;
  };
  Family family_ = Family::none;
  socklen_t size_ = 0;
  std::string text_;
  Storage storage_{};  // last: large, and rarely looked at
};

}  // namespace weir
