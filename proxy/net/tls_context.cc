#include "proxy/net/tls_context.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>

#include "proxy/base/check.h"
#include "proxy/base/text.h"
#include "proxy/net/tls_error.h"
#include "proxy/net/tls_stream.h"

namespace weir {
namespace {

// Forward secrecy and authenticated encryption only; those with AES first, which most machines have instructions for. A client without
// them says so by preferring ChaCha20, and gets it (SSL_OP_PRIORITIZE_CHACHA).
constexpr const char* kCiphers =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384";
constexpr const char* kSuites = "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384";
constexpr const char* kGroups = "X25519:P-256:P-384";
constexpr std::string_view kUri = "://";

std::string wire_of(const std::vector<std::string>& protocols) {
  std::string wire;
  for (const std::string& one : protocols) wire += concat(std::string(1, static_cast<char>(one.size())), one);
  return wire;
}

Error openssl_error(std::string_view what) { return Error{concat(what, ": ", take_tls_errors()), 0}; }

bool uri_matches(std::string_view pattern, std::string_view uri) {
  if (!pattern.ends_with('*')) return pattern == uri;
  pattern.remove_suffix(1);
  return uri.size() > pattern.size() && uri.starts_with(pattern);
}

}  // namespace

// What OpenSSL calls; a friend of the contexts. Each finds its context by the connection's SSL_CTX.
struct TlsCallbacks {
  static const TlsContext& context_of(const SSL* ssl) {
    return *static_cast<const TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  }
  static const TlsServerContext& server_of(const SSL* ssl) {
    return *static_cast<const TlsServerContext*>(static_cast<const TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl))));
  }

  // Whether a certificate whose chain is good belongs to somebody who is allowed.
  static int verify(int good, X509_STORE_CTX* verification) {
    if (good != 1 || X509_STORE_CTX_get_error_depth(verification) != 0) return good;
    const auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx()));
    const TlsAllowedNames& allowed = context_of(ssl).allowed();
    if (allowed.empty()) return 1;
    const TlsCertificateFacts facts = facts_of(*X509_STORE_CTX_get_current_cert(verification));
    if (allowed.allow(facts.uris, facts.names)) return 1;
    X509_STORE_CTX_set_error(verification, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
  }

  // The first protocol of ours that the client knows too. None: it goes on without, and speaks HTTP/1.
  static int select_protocol(SSL* ssl, const unsigned char** out, unsigned char* size, const unsigned char* offered, unsigned offered_size,
                             void* /*argument*/) {
    const std::string& ours = server_of(ssl).alpn_wire_;
    auto* chosen = const_cast<unsigned char**>(out);
    const int found = SSL_select_next_proto(chosen, size, reinterpret_cast<const unsigned char*>(ours.data()),
                                            static_cast<unsigned>(ours.size()), offered, offered_size);
    return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
  }

  static int choose_certificate(SSL* ssl, void* /*argument*/) {
    const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    return server_of(ssl).choose_identity(ssl, name == nullptr ? std::string_view() : std::string_view(name)) ? 1 : 0;
  }

  // Seals (RFC 5077, with AES-256-CBC and HMAC-SHA-256) or opens a ticket. 0: unknown key, a full handshake; 2: open it, and seal a new one.
  static int ticket_key(SSL* ssl, unsigned char* name, unsigned char* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int sealing) {
    const TlsTicketKeys& keys = *server_of(ssl).tickets_;
    TlsTicketKeys::Key key;
    bool is_current = true;
    if (sealing != 0) {
      key = keys.current();
      std::copy(key.name.begin(), key.name.end(), name);
      if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1) return -1;
    } else if (!keys.find(name, key, is_current)) {
      return 0;
    }
    char digest[] = "SHA256";
    const std::array<OSSL_PARAM, 3> parameters{OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key.mac.data(), key.mac.size()),
                                               OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                               OSSL_PARAM_construct_end()};
    const bool ready = EVP_MAC_CTX_set_params(mac, parameters.data()) == 1 &&
                       EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key.cipher.data(), iv, sealing != 0 ? 1 : 0) == 1;
    OPENSSL_cleanse(&key, sizeof key);
    if (!ready) return -1;
    return is_current ? 1 : 2;
  }

  static int ticket_made(SSL* /*ssl*/, void* /*argument*/) { return 1; }

  // A session is no way around the end of a client's certificate.
  static SSL_TICKET_RETURN ticket_opened(SSL* ssl, SSL_SESSION* session, const unsigned char* /*name*/, std::size_t /*size*/,
                                         SSL_TICKET_STATUS status, void* /*argument*/) {
    if (status == SSL_TICKET_EMPTY || status == SSL_TICKET_NO_DECRYPT) return SSL_TICKET_RETURN_IGNORE_RENEW;
    if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW) return SSL_TICKET_RETURN_ABORT;
    const X509* peer = SSL_SESSION_get0_peer(session);
    if (peer != nullptr) {
      const auto* stream = static_cast<const TlsStream*>(SSL_get_app_data(ssl));
      if (facts_of(*peer).not_after <= stream->wall_now()) return SSL_TICKET_RETURN_IGNORE_RENEW;
    }
    // TLS 1.3: a ticket is good for one use, so that the client needs another.
    const bool renew = status == SSL_TICKET_SUCCESS_RENEW || SSL_version(ssl) == TLS1_3_VERSION;
    return renew ? SSL_TICKET_RETURN_USE_RENEW : SSL_TICKET_RETURN_USE;
  }
};

// --- TlsAllowedNames -------------------------------------------------------------------------------------------------

Result<void> TlsAllowedNames::check(std::string_view pattern) {
  const Error wrong{
      "expected a URI such as spiffe://cluster.local/ns/shop/* (the last * stands for any rest) or a DNS name such as "
      "*.shop.local (its first label may be *)",
      0};
  if (pattern.empty()) return wrong;
  const std::size_t star = pattern.find('*');
  if (pattern.find(kUri) != std::string_view::npos) {
    const bool only_last = star == std::string_view::npos || star + 1 == pattern.size();
    // A * that stands for the trust domain, or a part of it, would let in whoever has a certificate of a like name.
    const std::size_t authority_end = pattern.find('/', pattern.find(kUri) + kUri.size());
    return only_last && (star == std::string_view::npos || (authority_end != std::string_view::npos && authority_end < star))
               ? Result<void>()
               : wrong;
  }
  if (star != std::string_view::npos && (star != 0 || !pattern.starts_with("*.") || pattern.find('*', 1) != std::string_view::npos))
    return wrong;
  const std::string_view labels = star == 0 ? pattern.substr(2) : pattern;
  const bool good =
      !labels.empty() && labels.front() != '.' && labels.back() != '.' && std::all_of(labels.begin(), labels.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
      });
  if (!good) return wrong;
  return {};
}

bool TlsAllowedNames::allow(const std::vector<std::string>& uris, const std::vector<std::string>& names) const {
  for (const std::string& pattern : patterns_) {
    const bool is_uri = pattern.find(kUri) != std::string::npos;
    for (const std::string& one : is_uri ? uris : names) {
      // A name of a certificate may be a wildcard itself: as text it must be the pattern, it does not match what it might stand for.
      if (is_uri ? uri_matches(pattern, one) : dns_name_matches(pattern, one)) return true;
    }
  }
  return false;
}

// --- TlsContext ------------------------------------------------------------------------------------------------------

TlsContext::~TlsContext() { SSL_CTX_free(native_); }

Result<void> TlsContext::begin(bool server, TlsVersion min_version) {
  native_ = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
  if (native_ == nullptr) return openssl_error("OpenSSL gives no context");
  SSL_CTX_set_app_data(native_, this);
  SSL_CTX_set_options(native_,
                      SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(native_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_read_ahead(native_, 1);  // one read for all that waits, instead of two for each record
  const bool good = SSL_CTX_set_min_proto_version(native_, min_version == TlsVersion::v1_3 ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
                    SSL_CTX_set_cipher_list(native_, kCiphers) == 1 && SSL_CTX_set_ciphersuites(native_, kSuites) == 1 &&
                    SSL_CTX_set1_groups_list(native_, kGroups) == 1;
  return good ? Result<void>() : openssl_error("OpenSSL refuses versions, ciphers or groups");
}

Result<void> TlsContext::use_identity(const TlsIdentity& identity) {
  STACK_OF(X509)* chain = sk_X509_new_null();
  for (X509* one : identity.chain()) sk_X509_push(chain, one);
  const int done = SSL_CTX_use_cert_and_key(native_, identity.certificate(), identity.key(), chain, 1);
  sk_X509_free(chain);
  return done == 1 ? Result<void>() : openssl_error("the certificate cannot be used");
}

// --- TlsServerContext ------------------------------------------------------------------------------------------------

Result<std::shared_ptr<TlsServerContext>> TlsServerContext::make(TlsServerSettings settings, std::string_view scope) {
  std::shared_ptr<TlsServerContext> made(new TlsServerContext);
  made->settings_ = std::move(settings);
  if (Result<void> built = made->build(scope); !built) return built.error();
  return made;
}

Result<void> TlsServerContext::build(std::string_view scope) {
  CHECK(!settings_.identities.empty());
  if (Result<void> begun = begin(true, settings_.min_version); !begun) return begun;
  std::string all = concat(scope, '\n', static_cast<int>(settings_.min_version), '\n');
  for (const auto& identity : settings_.identities) {
    if (Result<void> used = use_identity(*identity); !used) return used;
    all += concat(identity->fingerprint(), '\n');
  }
  if (settings_.identities.size() > 1) SSL_CTX_set_cert_cb(native_, &TlsCallbacks::choose_certificate, nullptr);
  alpn_wire_ = wire_of(settings_.alpn);
  all += concat(alpn_wire_, '\n');
  if (!settings_.alpn.empty()) SSL_CTX_set_alpn_select_cb(native_, &TlsCallbacks::select_protocol, nullptr);
  if (settings_.client_ca != nullptr) {
    if (Result<void> asked = ask_clients(); !asked) return asked;
    all += concat(settings_.client_ca->fingerprint(), settings_.require_client ? " required" : " optional");
    for (const std::string& name : settings_.allow_names) all += concat('\n', name);
  }
  fingerprint_ = sha256_hex(all);
  // Nothing is kept for clients: tickets hold their sessions. They resume only where all of the above is the same, who may call included.
  SSL_CTX_set_session_cache_mode(native_, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_session_id_context(native_, reinterpret_cast<const unsigned char*>(fingerprint_.data()), SSL_MAX_SID_CTX_LENGTH);
  SSL_CTX_set_timeout(native_, std::chrono::duration_cast<std::chrono::seconds>(kSessionLife).count());
  SSL_CTX_set_num_tickets(native_, kTickets);
  SSL_CTX_set_session_ticket_cb(native_, &TlsCallbacks::ticket_made, &TlsCallbacks::ticket_opened, nullptr);
  return {};
}

Result<void> TlsServerContext::ask_clients() {
  allowed_ = TlsAllowedNames(settings_.allow_names);
  X509_STORE* store = settings_.client_ca->store();
  X509_STORE_up_ref(store);
  SSL_CTX_set_cert_store(native_, store);
  STACK_OF(X509_NAME)* names = sk_X509_NAME_new_null();
  for (const X509* one : settings_.client_ca->authorities()) sk_X509_NAME_push(names, X509_NAME_dup(X509_get_subject_name(one)));
  SSL_CTX_set_client_CA_list(native_, names);  // which certificate a client with several is to choose
  const int required = settings_.require_client ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
  SSL_CTX_set_verify(native_, SSL_VERIFY_PEER | required, &TlsCallbacks::verify);
  return {};
}

// Those that serve the name, one of each kind of key; for no name, and for one that none serves, the first.
bool TlsServerContext::choose_identity(ssl_st* ssl, std::string_view server_name) const {
  std::vector<const TlsIdentity*> chosen;
  for (const auto& identity : settings_.identities) {
    if (server_name.empty() || !identity->serves(server_name)) continue;
    const auto same_kind = [&](const TlsIdentity* other) {
      return EVP_PKEY_get_base_id(other->key()) == EVP_PKEY_get_base_id(identity->key());
    };
    if (std::none_of(chosen.begin(), chosen.end(), same_kind)) chosen.push_back(identity.get());
  }
  if (chosen.empty()) chosen.push_back(settings_.identities.front().get());
  SSL_certs_clear(ssl);
  for (const TlsIdentity* identity : chosen) {
    STACK_OF(X509)* chain = sk_X509_new_null();
    for (X509* one : identity->chain()) sk_X509_push(chain, one);
    const int done = SSL_use_cert_and_key(ssl, identity->certificate(), identity->key(), chain, 1);
    sk_X509_free(chain);
    if (done != 1) return false;
  }
  return true;
}

void TlsServerContext::use_tickets(std::shared_ptr<const TlsTicketKeys> keys) {
  tickets_ = std::move(keys);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(native_, tickets_ == nullptr ? nullptr : &TlsCallbacks::ticket_key);
}

// --- TlsClientContext ------------------------------------------------------------------------------------------------

Result<std::shared_ptr<const TlsClientContext>> TlsClientContext::make(TlsClientSettings settings) {
  std::shared_ptr<TlsClientContext> made(new TlsClientContext);
  made->settings_ = std::move(settings);
  if (Result<void> built = made->build(); !built) return built.error();
  return std::shared_ptr<const TlsClientContext>(std::move(made));
}

Result<void> TlsClientContext::build() {
  CHECK(settings_.ca != nullptr);
  if (Result<void> begun = begin(false, settings_.min_version); !begun) return begun;
  std::string all = concat(settings_.ca->fingerprint(), '\n', static_cast<int>(settings_.min_version), '\n', settings_.server_name, '\n',
                           settings_.alpn, '\n');
  if (settings_.identity != nullptr) {
    if (Result<void> used = use_identity(*settings_.identity); !used) return used;
    all += settings_.identity->fingerprint();
  }
  for (const std::string& name : settings_.allow_names) all += concat('\n', name);
  fingerprint_ = sha256_hex(all);
  allowed_ = TlsAllowedNames(settings_.allow_names);
  X509_STORE* store = settings_.ca->store();
  X509_STORE_up_ref(store);
  SSL_CTX_set_cert_store(native_, store);
  SSL_CTX_set_verify(native_, SSL_VERIFY_PEER, &TlsCallbacks::verify);
  if (!settings_.alpn.empty()) {
    const std::string wire = wire_of({settings_.alpn});
    if (SSL_CTX_set_alpn_protos(native_, reinterpret_cast<const unsigned char*>(wire.data()), static_cast<unsigned>(wire.size())) != 0) {
      return openssl_error("ALPN");
    }
  }
  // Sessions are kept by the connector (tls_connector.h), which knows whose they are.
  SSL_CTX_set_session_cache_mode(native_, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(native_, &TlsStream::keep_session);
  return {};
}

bool TlsClientContext::prepare(ssl_st* ssl, const Address& to) const {
  X509_VERIFY_PARAM* rules = SSL_get0_param(ssl);
  const std::string& name = settings_.server_name;
  const Result<Address> as_address = Address::parse(concat(name.find(':') == std::string::npos ? name : concat('[', name, ']'), ":1"));
  if (!name.empty() && !as_address && SSL_set_tlsext_host_name(ssl, name.c_str()) != 1) return false;  // RFC 6066 3: no addresses
  if (!allowed_.empty()) return true;                                                                  // the callback checks
  if (!name.empty() && !as_address) {
    X509_VERIFY_PARAM_set_hostflags(rules, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return X509_VERIFY_PARAM_set1_host(rules, name.data(), name.size()) == 1;
  }
  if (!name.empty()) return X509_VERIFY_PARAM_set1_ip_asc(rules, name.c_str()) == 1;
  if (to.family() != Address::Family::ipv4 && to.family() != Address::Family::ipv6) return false;
  return X509_VERIFY_PARAM_set1_ip_asc(rules, std::string(to.host()).c_str()) == 1;
}

}  // namespace weir
