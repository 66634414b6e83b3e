#include "proxy/net/tls_error.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "proxy/base/text.h"

namespace weir {
namespace {

constexpr std::string_view kWords[] = {"none",
                                       "unknown_ca",
                                       "expired",
                                       "not_yet_valid",
                                       "not_allowed",
                                       "name_mismatch",
                                       "bad_certificate",
                                       "no_certificate",
                                       "no_common_version",
                                       "no_common_cipher",
                                       "no_common_protocol",
                                       "plain_http",
                                       "not_tls",
                                       "refused_by_peer",
                                       "closed",
                                       "flood",
                                       "timeout",
                                       "limit",
                                       "protocol_error"};
static_assert(std::size(kWords) == static_cast<std::size_t>(TlsReason::count_), "one word for each reason");

constexpr int kAlertsFrom = SSL_AD_REASON_OFFSET;  // reasons from here on are alerts that the peer sent

TlsReason reason_of(int code) {
  switch (code) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return TlsReason::no_certificate;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_NO_PROTOCOLS_AVAILABLE:
    case SSL_R_INAPPROPRIATE_FALLBACK:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION: return TlsReason::no_common_version;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
    case SSL_R_NO_SHARED_GROUPS: return TlsReason::no_common_cipher;
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: return TlsReason::no_common_protocol;
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST: return TlsReason::plain_http;
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_BAD_RECORD_TYPE:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
    case SSL_R_RECORD_LENGTH_MISMATCH: return TlsReason::not_tls;
    case SSL_R_UNEXPECTED_EOF_WHILE_READING: return TlsReason::closed;
    default: break;
  }
  return code >= kAlertsFrom ? TlsReason::refused_by_peer : TlsReason::protocol_error;
}

}  // namespace

std::string_view to_word(TlsReason reason) { return kWords[static_cast<std::size_t>(reason)]; }

TlsReason reason_of_verification(long code) {
  switch (code) {
    case X509_V_ERR_CERT_HAS_EXPIRED: return TlsReason::expired;
    case X509_V_ERR_CERT_NOT_YET_VALID: return TlsReason::not_yet_valid;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_CERT_UNTRUSTED: return TlsReason::unknown_ca;
    case X509_V_ERR_APPLICATION_VERIFICATION: return TlsReason::not_allowed;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH: return TlsReason::name_mismatch;
    default: return TlsReason::bad_certificate;
  }
}

TlsTrouble take_tls_trouble(long verification) {
  const unsigned long code = ERR_peek_error();
  TlsTrouble trouble;
  const bool of_tls = ERR_GET_LIB(code) == ERR_LIB_SSL;
  const int reason = ERR_GET_REASON(code);
  if (of_tls && reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verification != X509_V_OK) {
    trouble.reason = reason_of_verification(verification);
    const char* why =
        verification == X509_V_ERR_APPLICATION_VERIFICATION ? "none of its names is allowed" : X509_verify_cert_error_string(verification);
    trouble.text = concat("certificate verify failed: ", why);
  } else {
    trouble.reason = of_tls ? reason_of(reason) : TlsReason::protocol_error;
    const char* words = ERR_reason_error_string(code);
    trouble.text = code == 0 ? "the connection broke off" : words != nullptr ? words : concat("error ", code);
  }
  ERR_clear_error();
  return trouble;
}

std::string take_tls_errors() {
  const unsigned long code = ERR_peek_error();
  const char* words = ERR_reason_error_string(code);
  std::string text = words != nullptr ? words : concat("error ", code);
  ERR_clear_error();
  return text;
}

}  // namespace weir
