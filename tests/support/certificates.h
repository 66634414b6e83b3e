// TestAuthority: a certificate authority for tests in virtual time, which issues whatever a test needs, right or wrong, when it runs.
// A test owns one; what it gives are PEM texts.
// It never writes a file, and its certificates are valid around the day on which simulated worlds begin, 2026-01-01.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace weir::test {

struct PemPair {
  std::string certificate;  // its chain behind it, where there is one
  std::string key;
};

struct CertificateWish {
  std::string subject = "test";  // its common name
  std::vector<std::string> dns = {};
  std::vector<std::string> uris = {};
  std::vector<std::string> ips = {};
  int from_day = -30;  // counted from 2026-01-01
  int until_day = 365;
  bool rsa = false;
};

class TestAuthority {
 public:
  explicit TestAuthority(const std::string& name = "test ca");
  ~TestAuthority();
  TestAuthority(const TestAuthority&) = delete;
  TestAuthority& operator=(const TestAuthority&) = delete;

  PemPair issue(const CertificateWish& wish = {});
  const std::string& ca() const { return ca_; }  // its own certificate

 private:
  struct Inside;
  std::unique_ptr<Inside> inside_;
  std::string ca_;
};

// From now on OpenSSL draws its chance from this seed: so that a run with TLS in it can be repeated. Of the whole process, and no secret.
void make_chance_predictable(std::uint64_t seed);

// An encrypted private key.
std::string encrypted_key();

}  // namespace weir::test
