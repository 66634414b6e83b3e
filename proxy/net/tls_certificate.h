// TlsIdentity: a certificate with its chain and private key, read from PEM; TlsTrust: the authorities that a peer's certificate must come from.
// Immutable once parsed; contexts (tls_context.h) share them. Whoever reads configuration makes them, so that what is wrong is said there.
// Neither opens a file, and neither ever shows a private key.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/base/result.h"
#include "proxy/base/time.h"

struct x509_st;
struct evp_pkey_st;
struct x509_store_st;

namespace weir {

struct TlsCertificateFacts {
  std::string subject;      // RFC 2253
  std::string fingerprint;  // SHA-256, in hexadecimal
  WallTime not_before{}, not_after{};
  std::vector<std::string> uris, names;  // subject alternative names
};

TlsCertificateFacts facts_of(const x509_st& certificate);

// Error::code of TlsIdentity::parse: which of the two texts is at fault.
enum class TlsPart : int { certificate = 1, key = 2 };

class TlsIdentity {
 public:
  static Result<std::shared_ptr<const TlsIdentity>> parse(std::string_view certificate_pem, std::string_view key_pem);
  ~TlsIdentity();
  TlsIdentity(const TlsIdentity&) = delete;
  TlsIdentity& operator=(const TlsIdentity&) = delete;

  const TlsCertificateFacts& facts() const { return facts_; }
  // Whether a client that asks for this name may be shown it: a DNS name, exactly or by a wildcard for its first label.
  bool serves(std::string_view server_name) const;
  x509_st* certificate() const { return certificate_; }
  evp_pkey_st* key() const { return key_; }
  const std::vector<x509_st*>& chain() const { return chain_; }
  std::string fingerprint() const;  // of the certificate and its chain

 private:
  TlsIdentity() = default;
  Result<void> read_certificates(std::string_view pem);
  Result<void> read_key(std::string_view pem);
  x509_st* certificate_ = nullptr;
  std::vector<x509_st*> chain_;
  evp_pkey_st* key_ = nullptr;
  TlsCertificateFacts facts_;
};

class TlsTrust {
 public:
  static Result<std::shared_ptr<const TlsTrust>> parse(std::string_view pem);
  ~TlsTrust();
  TlsTrust(const TlsTrust&) = delete;
  TlsTrust& operator=(const TlsTrust&) = delete;

  x509_store_st* store() const { return store_; }
  const std::vector<x509_st*>& authorities() const { return authorities_; }
  const std::string& fingerprint() const { return fingerprint_; }  // of all of them

 private:
  TlsTrust() = default;
  x509_store_st* store_ = nullptr;
  std::vector<x509_st*> authorities_;
  std::string fingerprint_;
};

void wipe_secret(std::string& text);  // overwrites what was read of a private key

// SHA-256 in hexadecimal.
std::string sha256_hex(std::string_view bytes);
// Whether a DNS name is the one of a certificate: "a.b", or "*.b" for one label.
bool dns_name_matches(std::string_view pattern, std::string_view name);

}  // namespace weir
