#define OPENSSL_SUPPRESS_DEPRECATED  // RAND_set_rand_method: the one way to repeat a run
#include "tests/support/certificates.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <stdexcept>

namespace weir::test {
namespace {

constexpr long kEpoch = 1767225600;  // 2026-01-01
constexpr long kDay = 86400;

void expect(bool good) {
  if (!good) throw std::runtime_error("OpenSSL refuses to make a certificate");
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(bio);
  return text;
}

std::string pem_of(X509* certificate) {
  BIO* out = BIO_new(BIO_s_mem());
  expect(PEM_write_bio_X509(out, certificate) == 1);
  return text_of(out);
}

std::string pem_of(EVP_PKEY* key, const char* password = nullptr) {
  BIO* out = BIO_new(BIO_s_mem());
  const EVP_CIPHER* cipher = password == nullptr ? nullptr : EVP_aes_256_cbc();
  expect(PEM_write_bio_PKCS8PrivateKey(out, key, cipher, nullptr, 0, nullptr, const_cast<char*>(password)) == 1);
  return text_of(out);
}

EVP_PKEY* make_key(bool rsa = false) {
  EVP_PKEY* key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
  expect(key != nullptr);
  return key;
}

void add_extension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  expect(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

X509* make_certificate(const std::string& subject, EVP_PKEY* key, int from_day, int until_day) {
  static long serial = 1;
  X509* made = X509_new();
  expect(made != nullptr && X509_set_version(made, X509_VERSION_3) == 1);
  ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial);
  ASN1_TIME_set(X509_getm_notBefore(made), kEpoch + from_day * kDay);
  ASN1_TIME_set(X509_getm_notAfter(made), kEpoch + until_day * kDay);
  X509_set_pubkey(made, key);
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(subject.c_str()), -1,
                             -1, 0);
  return made;
}

}  // namespace

struct TestAuthority::Inside {
  EVP_PKEY* key = make_key();
  X509* certificate = nullptr;
  ~Inside() {
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
};

TestAuthority::TestAuthority(const std::string& name) : inside_(std::make_unique<Inside>()) {
  X509* root = make_certificate(name, inside_->key, -3650, 3650);
  inside_->certificate = root;
  X509_set_issuer_name(root, X509_get_subject_name(root));
  add_extension(root, root, NID_basic_constraints, "critical,CA:TRUE");
  add_extension(root, root, NID_key_usage, "critical,keyCertSign,cRLSign");
  add_extension(root, root, NID_subject_key_identifier, "hash");
  expect(X509_sign(root, inside_->key, EVP_sha256()) > 0);
  ca_ = pem_of(root);
}

TestAuthority::~TestAuthority() = default;

PemPair TestAuthority::issue(const CertificateWish& wish) {
  EVP_PKEY* key = make_key(wish.rsa);
  X509* made = make_certificate(wish.subject, key, wish.from_day, wish.until_day);
  X509_set_issuer_name(made, X509_get_subject_name(inside_->certificate));
  std::string names;
  const auto add = [&names](const char* kind, const std::vector<std::string>& of) {
    for (const std::string& one : of) names += (names.empty() ? "" : ",") + std::string(kind) + one;
  };
  add("DNS:", wish.dns);
  add("URI:", wish.uris);
  add("IP:", wish.ips);
  if (!names.empty()) add_extension(made, inside_->certificate, NID_subject_alt_name, names);
  add_extension(made, inside_->certificate, NID_basic_constraints, "CA:FALSE");
  add_extension(made, inside_->certificate, NID_authority_key_identifier, "keyid");
  expect(X509_sign(made, inside_->key, EVP_sha256()) > 0);
  PemPair pair{pem_of(made), pem_of(key)};
  X509_free(made);
  EVP_PKEY_free(key);
  return pair;
}

std::string encrypted_key() {
  EVP_PKEY* key = make_key();
  std::string text = pem_of(key, "secret");
  EVP_PKEY_free(key);
  return text;
}

namespace {

std::uint64_t chance = 1;

int draw(unsigned char* into, int size) {
  for (int i = 0; i < size; ++i) {
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    into[i] = static_cast<unsigned char>(chance >> 32);
  }
  return 1;
}

int seeded() { return 1; }

}  // namespace

void make_chance_predictable(std::uint64_t seed) {
  static const RAND_METHOD method{nullptr, &draw, nullptr, nullptr, &draw, &seeded};
  chance = seed * 2 + 1;
  expect(RAND_set_rand_method(&method) == 1);
}

}  // namespace weir::test
