#include "proxy/net/tls_certificate.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "proxy/base/check.h"
#include "proxy/base/text.h"
#include "proxy/net/tls_error.h"

namespace weir {
namespace {

constexpr std::size_t kMostSubject = 1024;       // of a subject, for people and logs
constexpr std::size_t kMostCertificates = 1000;  // of one file: a bundle of all public authorities has 150

struct BioFree {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using BioPtr = std::unique_ptr<BIO, BioFree>;

BioPtr bio_of(std::string_view text) { return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

std::string hex(const unsigned char* bytes, std::size_t size) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < size; ++i) {
    out += kDigits[bytes[i] >> 4U];
    out += kDigits[bytes[i] & 15U];
  }
  return out;
}

WallTime time_of(const ASN1_TIME* time) {
  tm parts{};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return {};
  // Beyond what nanoseconds can count (2262) a certificate does not expire as far as anyone is concerned.
  constexpr int kLastYear = 2200;
  const std::chrono::year year(std::min(parts.tm_year + 1900, kLastYear));
  const std::chrono::sys_days day = year / (parts.tm_mon + 1) / parts.tm_mday;
  return WallTime(day.time_since_epoch() + std::chrono::hours(parts.tm_hour) + std::chrono::minutes(parts.tm_min) +
                  std::chrono::seconds(parts.tm_sec));
}

std::string subject_of(const X509& certificate) {
  const BioPtr out(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(out.get(), X509_get_subject_name(&certificate), 0, XN_FLAG_RFC2253);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return size > 0 ? std::string(text, std::min(static_cast<std::size_t>(size), kMostSubject)) : std::string();
}

void read_names(const X509& certificate, TlsCertificateFacts& facts) {
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(&certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI && name->type != GEN_DNS) continue;
    const ASN1_STRING* value = name->type == GEN_URI ? name->d.uniformResourceIdentifier : name->d.dNSName;
    std::string text(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)), static_cast<std::size_t>(ASN1_STRING_length(value)));
    if (text.find_first_of(std::string_view("\0\r\n\"", 4)) != std::string::npos) continue;  // nobody has such a name honestly
    (name->type == GEN_URI ? facts.uris : facts.names).push_back(std::move(text));
  }
  GENERAL_NAMES_free(names);
}

// All certificates of a PEM text; what else is in it (keys, remarks) is passed over.
Result<std::vector<X509*>> read_all(std::string_view pem) {
  std::vector<X509*> all;
  const BioPtr in = bio_of(pem);
  while (X509* one = PEM_read_bio_X509_AUX(in.get(), nullptr, nullptr, nullptr)) {
    all.push_back(one);
    if (all.size() > kMostCertificates) break;
  }
  const unsigned long end = ERR_peek_last_error();
  const bool whole = end == 0 || (ERR_GET_LIB(end) == ERR_LIB_PEM && ERR_GET_REASON(end) == PEM_R_NO_START_LINE);
  std::string error;
  if (!whole) {
    error = concat("it cannot be read as a certificate in PEM: ", take_tls_errors());
  } else if (all.empty()) {
    error = "there is no certificate in PEM in it";
  } else if (all.size() > kMostCertificates) {
    error = concat("more than ", kMostCertificates, " certificates are in it");
  }
  ERR_clear_error();
  if (error.empty()) return all;
  for (X509* one : all) X509_free(one);
  return Error{std::move(error), 0};
}

int refuse_password(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

}  // namespace

void wipe_secret(std::string& text) { OPENSSL_cleanse(text.data(), text.size()); }

std::string sha256_hex(std::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, &size, EVP_sha256(), nullptr) == 1);
  return hex(digest, size);
}

bool dns_name_matches(std::string_view pattern, std::string_view name) {
  if (!pattern.starts_with("*.")) return ascii_lower(pattern) == ascii_lower(name);
  const std::size_t dot = name.find('.');
  return dot != std::string_view::npos && dot > 0 && ascii_lower(pattern.substr(1)) == ascii_lower(name.substr(dot));
}

TlsCertificateFacts facts_of(const X509& certificate) {
  TlsCertificateFacts facts;
  facts.subject = subject_of(certificate);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (X509_digest(&certificate, EVP_sha256(), digest, &size) == 1) facts.fingerprint = hex(digest, size);
  facts.not_before = time_of(X509_get0_notBefore(&certificate));
  facts.not_after = time_of(X509_get0_notAfter(&certificate));
  read_names(certificate, facts);
  ERR_clear_error();
  return facts;
}

// --- TlsIdentity -----------------------------------------------------------------------------------------------------

Result<std::shared_ptr<const TlsIdentity>> TlsIdentity::parse(std::string_view certificate_pem, std::string_view key_pem) {
  std::shared_ptr<TlsIdentity> made(new TlsIdentity);
  if (Result<void> read = made->read_certificates(certificate_pem); !read) return read.error();
  if (Result<void> read = made->read_key(key_pem); !read) return read.error();
  return std::shared_ptr<const TlsIdentity>(std::move(made));
}

Result<void> TlsIdentity::read_certificates(std::string_view pem) {
  Result<std::vector<X509*>> all = read_all(pem);
  if (!all) return Error{all.error().message, static_cast<int>(TlsPart::certificate)};
  certificate_ = all->front();
  chain_.assign(all->begin() + 1, all->end());
  facts_ = facts_of(*certificate_);
  return {};
}

std::string TlsIdentity::fingerprint() const {
  std::string all = facts_.fingerprint;
  for (const X509* one : chain_) all += facts_of(*one).fingerprint;
  return sha256_hex(all);
}

Result<void> TlsIdentity::read_key(std::string_view pem) {
  const auto wrong = [](std::string message) {
    ERR_clear_error();
    return Error{std::move(message), static_cast<int>(TlsPart::key)};
  };
  bool asked = false;
  key_ = PEM_read_bio_PrivateKey(bio_of(pem).get(), nullptr, &refuse_password, &asked);
  if (asked) return wrong("the key is encrypted: weir asks nobody for a password; store it in clear, readable by weir alone");
  if (key_ == nullptr) return wrong("there is no private key in PEM in it");
  if (X509_check_private_key(certificate_, key_) != 1) return wrong("the key does not belong to the certificate");
  ERR_clear_error();
  return {};
}

TlsIdentity::~TlsIdentity() {
  X509_free(certificate_);
  for (X509* one : chain_) X509_free(one);
  EVP_PKEY_free(key_);
}

bool TlsIdentity::serves(std::string_view server_name) const {
  for (const std::string& name : facts_.names) {
    if (dns_name_matches(name, server_name)) return true;
  }
  return false;
}

// --- TlsTrust --------------------------------------------------------------------------------------------------------

Result<std::shared_ptr<const TlsTrust>> TlsTrust::parse(std::string_view pem) {
  Result<std::vector<X509*>> all = read_all(pem);
  if (!all) return all.error();
  std::shared_ptr<TlsTrust> made(new TlsTrust);
  made->authorities_ = std::move(all).value();
  made->store_ = X509_STORE_new();
  CHECK(made->store_ != nullptr);
  std::string together;
  for (X509* one : made->authorities_) {
    X509_STORE_add_cert(made->store_, one);  // one that is in it twice is in it once
    together += facts_of(*one).fingerprint;
  }
  ERR_clear_error();
  made->fingerprint_ = sha256_hex(together);
  // What the file lists is trusted, be it a root or an intermediate authority.
  X509_STORE_set_flags(made->store_, X509_V_FLAG_PARTIAL_CHAIN);
  return std::shared_ptr<const TlsTrust>(std::move(made));
}

TlsTrust::~TlsTrust() {
  X509_STORE_free(store_);
  for (X509* one : authorities_) X509_free(one);
}

}  // namespace weir
