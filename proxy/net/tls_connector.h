// TlsConnector: a Connector whose streams are secured: it connects by another one, and then shakes hands; TlsSessionCache: what it resumes by.
// Each worker has one for each service that is called by TLS (and main one, for health checks); it outlives its streams.
// It never falls back to clear text, and never resumes a session with other settings than those that it was made by.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <memory>
#include <string>

#include "proxy/net/tls_stream.h"

namespace weir {

class TlsSessionCache {
 public:
  static constexpr std::size_t kEach = 4;  // sessions of one address
  static constexpr std::size_t kAddresses = 1000;

  ~TlsSessionCache() { clear(); }
  void clear();
  // A session to resume by, or null; the caller frees it. One of TLS 1.3 is used once (RFC 8446 C.4), one of 1.2 again and again.
  ssl_session_st* take(const TlsClientContext& context, const Address& of);
  // Whether it was taken over.
  bool keep(const TlsClientContext& context, const Address& of, ssl_session_st* session);
  void use(const TlsClientContext* context);
  std::size_t size() const { return count_; }

 private:
  const TlsClientContext* context_ = nullptr;  // whose sessions these are; only compared
  std::map<std::string, std::deque<ssl_session_st*>, std::less<>> sessions_;
  std::size_t count_ = 0;
};

class TlsConnector final : public Connector {
 public:
  TlsConnector(EventLoop& loop, BufferPool& buffers, Connector& inner) : loop_(loop), buffers_(buffers), inner_(inner) {}

  // For connections from now on. Not null.
  void use(std::shared_ptr<const TlsClientContext> context);
  const TlsClientContext* context() const { return context_.get(); }
  std::unique_ptr<ByteStream> connect(const Address& to, ByteStreamHandler& handler) override;

 private:
  EventLoop& loop_;
  BufferPool& buffers_;
  Connector& inner_;
  std::shared_ptr<const TlsClientContext> context_;
  TlsSessionCache sessions_;
};

}  // namespace weir
