// TlsContext: what the TLS connections of one listener or one service have in common: certificates, trust, versions, names that may call.
// Made whole or refused when a configuration is loaded, and constant once it serves; streams hold it by shared_ptr, so that a connection
// keeps what it began with when a reload brings another.
// There is no way to make one that accepts a certificate without verifying it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/result.h"
#include "proxy/net/tls_certificate.h"
#include "proxy/net/tls_tickets.h"
#include "proxy/runtime/address.h"

struct ssl_ctx_st;
struct ssl_st;

namespace weir {

enum class TlsVersion : std::uint8_t { v1_2, v1_3 };

// Which names a verified certificate must have one of: "spiffe://cluster.local/ns/shop/*" (a URI; a trailing * stands for any rest),
// "client.shop.local" or "*.shop.local" (a DNS name; * stands for one label). The subject's common name is never looked at.
class TlsAllowedNames {
 public:
  TlsAllowedNames() = default;
  explicit TlsAllowedNames(std::vector<std::string> patterns) : patterns_(std::move(patterns)) {}
  static Result<void> check(std::string_view pattern);  // whether it is one
  bool empty() const { return patterns_.empty(); }
  bool allow(const std::vector<std::string>& uris, const std::vector<std::string>& names) const;
  const std::vector<std::string>& patterns() const { return patterns_; }

 private:
  std::vector<std::string> patterns_;
};

struct TlsServerSettings {
  std::vector<std::shared_ptr<const TlsIdentity>> identities;  // the first where the client asks for no name, or for another
  TlsVersion min_version = TlsVersion::v1_2;
  std::vector<std::string> alpn;              // the one preferred first; empty: none is agreed on
  std::shared_ptr<const TlsTrust> client_ca;  // null: clients are not asked for a certificate
  bool require_client = true;                 // false: who has none is let in too, as nobody
  std::vector<std::string> allow_names;       // empty: whoever client_ca vouches for
};

struct TlsClientSettings {
  std::shared_ptr<const TlsTrust> ca;
  std::shared_ptr<const TlsIdentity> identity;  // null: none is shown
  TlsVersion min_version = TlsVersion::v1_2;
  std::string alpn;                      // the one protocol that is offered; empty: none
  bool alpn_required = false;            // a server that does not agree to it is no use
  std::string server_name;               // asked for, and checked; empty: the address is checked
  std::vector<std::string> allow_names;  // not empty: one of these is checked instead of server_name
};

class TlsContext {
 public:
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  ssl_ctx_st* native() const { return native_; }
  const TlsAllowedNames& allowed() const { return allowed_; }
  // Of all that it was made of: equal settings and equal files have equal ones.
  const std::string& fingerprint() const { return fingerprint_; }

 protected:
  TlsContext() = default;
  ~TlsContext();
  Result<void> begin(bool server, TlsVersion min_version);
  Result<void> use_identity(const TlsIdentity& identity);

  ssl_ctx_st* native_ = nullptr;
  TlsAllowedNames allowed_;
  std::string fingerprint_;
};

class TlsServerContext final : public TlsContext {
 public:
  static constexpr int kTickets = 2;                                    // TLS 1.3: for a client with two connections
  static constexpr Duration kSessionLife = std::chrono::seconds(7200);  // then a full handshake, which verifies anew

  // `scope` (the listener's name): a session of one scope resumes in no other.
  static Result<std::shared_ptr<TlsServerContext>> make(TlsServerSettings settings, std::string_view scope);
  // Once, before it serves; without, OpenSSL makes keys of its own, which die with the context.
  void use_tickets(std::shared_ptr<const TlsTicketKeys> keys);
  const TlsServerSettings& settings() const { return settings_; }

 private:
  friend struct TlsCallbacks;
  TlsServerContext() = default;
  Result<void> build(std::string_view scope);
  Result<void> ask_clients();
  bool choose_identity(ssl_st* ssl, std::string_view server_name) const;

  TlsServerSettings settings_;
  std::string alpn_wire_;  // as ALPN writes a list
  std::shared_ptr<const TlsTicketKeys> tickets_;
};

class TlsClientContext final : public TlsContext {
 public:
  static Result<std::shared_ptr<const TlsClientContext>> make(TlsClientSettings settings);
  const TlsClientSettings& settings() const { return settings_; }
  // The name to ask for and the check to make on a new connection to `to`. False when there is nothing to check it by.
  bool prepare(ssl_st* ssl, const Address& to) const;

 private:
  TlsClientContext() = default;
  Result<void> build();

  TlsClientSettings settings_;
};

}  // namespace weir
