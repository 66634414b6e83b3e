#include "proxy/runtime/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <charconv>
#include <cstddef>
#include <cstring>

namespace weir {
namespace {

Result<std::uint16_t> parse_port(std::string_view text, std::string_view whole) {
  unsigned value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc() || end != text.data() + text.size() || value > 65535 || (text.size() > 1 && text[0] == '0')) {
    return Error{"expected a port of 0 to 65535, got '" + std::string(text) + "' in '" + std::string(whole) + "'"};
  }
  return static_cast<std::uint16_t>(value);
}

}  // namespace

Result<Address> Address::parse(std::string_view text) {
  Address address;
  if (text.substr(0, 5) == "unix:") {
    const std::string_view path = text.substr(5);
    if (path.empty() || path[0] != '/') return Error{"expected unix:/path with an absolute path"};
    if (path.size() >= sizeof(sockaddr_un::sun_path)) {
      return Error{"a unix socket's path has at most " + std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes"};
    }
    if (path.find('\0') != std::string_view::npos) return Error{"a unix socket's path holds no NUL"};
    auto& un = address.storage_.path;
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, path.data(), path.size());
    address.size_ = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    address.family_ = Family::unix_path;
    address.text_ = std::string(text);
    return address;
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || (text.find(':') != colon && text[0] != '[')) {
    return Error{"expected host:port with a numeric host, [v6]:port or unix:/path, got '" + std::string(text) + "'"};
  }
  std::string_view host = text.substr(0, colon);
  const auto port = parse_port(text.substr(colon + 1), text);
  if (!port) return port.error();
  const bool bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const std::string name(host);
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage_.any);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage_.any);
  if (!bracketed && inet_pton(AF_INET, name.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(*port);
    address.size_ = sizeof(sockaddr_in);
    address.family_ = Family::ipv4;
  } else if (bracketed && inet_pton(AF_INET6, name.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(*port);
    address.size_ = sizeof(sockaddr_in6);
    address.family_ = Family::ipv6;
  } else {
    return Error{"'" + name + "' is not an IP address; for a host name write dns:" + std::string(text)};
  }
  address.write_text();
  return address;
}

Address Address::from_sockaddr(const sockaddr* from, socklen_t length) {
  Address address;
  if (length > sizeof(address.storage_) || length < sizeof(sa_family_t)) return address;
  std::memcpy(&address.storage_, from, length);
  address.size_ = length;
  switch (from->sa_family) {
    case AF_INET: address.family_ = Family::ipv4; break;
    case AF_INET6: address.family_ = Family::ipv6; break;
    case AF_UNIX: address.family_ = Family::unix_path; break;
    default: return Address();
  }
  address.write_text();
  return address;
}

std::uint16_t Address::port() const {
  if (family_ == Family::ipv4) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
  if (family_ == Family::ipv6) return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
  return 0;
}

Address Address::with_port(std::uint16_t port) const {
  Address other = *this;
  if (family_ == Family::ipv4) reinterpret_cast<sockaddr_in*>(&other.storage_)->sin_port = htons(port);
  if (family_ == Family::ipv6) reinterpret_cast<sockaddr_in6*>(&other.storage_)->sin6_port = htons(port);
  other.write_text();
  return other;
}

std::string_view Address::host() const {
  const std::string_view text = text_;
  switch (family_) {
    case Family::ipv4: return text.substr(0, text.rfind(':'));
    case Family::ipv6: return text.substr(1, text.rfind(':') - 2);
    case Family::unix_path: return text.substr(5);
    case Family::none: break;
  }
  return {};
}

bool Address::is_loopback() const {
  if (family_ == Family::unix_path) return true;
  if (family_ == Family::ipv4) {
    return (ntohl(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr.s_addr) >> 24) == 127;
  }
  if (family_ == Family::ipv6) {
    const in6_addr& v6 = reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
  }
  return false;
}

void Address::write_text() {
  char buffer[INET6_ADDRSTRLEN] = {};
  switch (family_) {
    case Family::ipv4:
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr, buffer, sizeof buffer);
      text_ = std::string(buffer) + ":" + std::to_string(port());
      break;
    case Family::ipv6:
      inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr, buffer, sizeof buffer);
      text_ = "[" + std::string(buffer) + "]:" + std::to_string(port());
      break;
    case Family::unix_path: {
      const std::size_t length = size_ > offsetof(sockaddr_un, sun_path) ? size_ - offsetof(sockaddr_un, sun_path) : 0;
      const char* path = storage_.path.sun_path;
      text_ = "unix:" + std::string(path, strnlen(path, length));  // a client's side of a unix socket has no name
      break;
    }
    case Family::none: text_.clear(); break;
  }
}

}  // namespace weir
