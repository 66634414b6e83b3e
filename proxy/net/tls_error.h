// What goes wrong with TLS, as a bounded set of reasons for metrics and as words for logs; the one place that reads OpenSSL's error queue.
// Plain values and free functions; used by the files of this folder and by whoever counts handshakes.
// They never guess: what OpenSSL does not say is `protocol_error`.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weir {

enum class TlsReason : std::uint8_t {
  none,
  unknown_ca,          // the certificate comes from no authority that is trusted
  expired,             // it, or one above it
  not_yet_valid,       //
  not_allowed,         // verified, but none of allow_names
  name_mismatch,       // verified, but for another name than the one that was called
  bad_certificate,     // anything else that is wrong with it
  no_certificate,      // the client has none
  no_common_version,   //
  no_common_cipher,    //
  no_common_protocol,  // ALPN
  plain_http,          // a request in clear text
  not_tls,             // neither that nor TLS
  refused_by_peer,     // it sent an alert
  closed,              // it went away
  flood,               // too many messages that carry no data
  timeout,             // the handshake took too long
  limit,               // too many handshakes at once
  protocol_error,
  count_,
};

std::string_view to_word(TlsReason reason);
inline bool is_about_certificate(TlsReason reason) { return reason >= TlsReason::unknown_ca && reason <= TlsReason::bad_certificate; }

struct TlsTrouble {
  TlsReason reason = TlsReason::none;
  std::string text;  // "certificate verify failed: certificate has expired"
};

// Of a certificate's verification: an X509_V_ERR_ code.
TlsReason reason_of_verification(long code);

// The oldest error of this thread's queue, which is emptied; `verification`: what verifying the peer said (X509_V_OK: nothing).
TlsTrouble take_tls_trouble(long verification);
std::string take_tls_errors();  // in words only

}  // namespace weir
