#include "proxy/net/tls_connector.h"

#include <openssl/ssl.h>

#include <utility>

#include "proxy/base/check.h"

namespace weir {

void TlsSessionCache::clear() {
  for (const auto& [address, sessions] : sessions_) {
    for (SSL_SESSION* session : sessions) SSL_SESSION_free(session);
  }
  sessions_.clear();
  count_ = 0;
}

void TlsSessionCache::use(const TlsClientContext* context) {
  if (context != context_) clear();
  context_ = context;
}

ssl_session_st* TlsSessionCache::take(const TlsClientContext& context, const Address& of) {
  if (&context != context_) return nullptr;
  const auto found = sessions_.find(of.text());
  if (found == sessions_.end() || found->second.empty()) return nullptr;
  SSL_SESSION* session = found->second.back();  // the newest
  if (SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION) {
    SSL_SESSION_up_ref(session);
    return session;
  }
  found->second.pop_back();
  --count_;
  if (found->second.empty()) sessions_.erase(found);
  return session;
}

bool TlsSessionCache::keep(const TlsClientContext& context, const Address& of, ssl_session_st* session) {
  if (&context != context_ || SSL_SESSION_is_resumable(session) != 1) return false;
  if (sessions_.size() >= kAddresses && sessions_.find(of.text()) == sessions_.end()) clear();
  std::deque<SSL_SESSION*>& sessions = sessions_[std::string(of.text())];
  sessions.push_back(session);
  ++count_;
  if (sessions.size() <= kEach) return true;
  SSL_SESSION_free(sessions.front());
  sessions.pop_front();
  --count_;
  return true;
}

void TlsConnector::use(std::shared_ptr<const TlsClientContext> context) {
  CHECK(context != nullptr);
  sessions_.use(context.get());
  context_ = std::move(context);
}

std::unique_ptr<ByteStream> TlsConnector::connect(const Address& to, ByteStreamHandler& handler) {
  auto stream = std::make_unique<TlsStream>(loop_, buffers_, context_, &sessions_);
  stream->set_handler(&handler);
  stream->connect(inner_, to);
  return stream;
}

}  // namespace weir
