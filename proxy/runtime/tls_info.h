// TlsInfo: what is known of a connection that TLS secures, once its handshake is over: version, names, and who the peer is.
// The connection's stream owns it; an exchange that outlives its connection shares it. Constant from the handshake on.
// Plain facts: nothing here is believed that the peer's certificate, verified, does not say.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace weir {

struct TlsInfo : std::enable_shared_from_this<TlsInfo> {
  std::string_view version;  // "TLSv1.3"; static, as is the next
  std::string_view cipher;   // "TLS_AES_128_GCM_SHA256"
  std::string alpn;          // the protocol agreed on; empty: none
  std::string server_name;   // that the client asked for; empty: none
  bool resumed = false;

  bool peer_verified = false;           // it presented a certificate, which was verified: what follows is set
  std::vector<std::string> peer_uris;   // subject alternative names, in the certificate's order
  std::vector<std::string> peer_names;  // the DNS ones
  std::string peer_subject;             // RFC 2253
  std::string peer_fingerprint;         // SHA-256 of the certificate, in hexadecimal
  std::string local_uri;                // of our own certificate: its first URI; empty: none

  // Who the peer is, in one word: its first URI, else its first DNS name, else its subject. Empty when it was not verified.
  std::string_view peer_identity() const {
    if (!peer_verified) return {};
    if (!peer_uris.empty()) return peer_uris.front();
    return peer_names.empty() ? std::string_view(peer_subject) : std::string_view(peer_names.front());
  }
};

}  // namespace weir
