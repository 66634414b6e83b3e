#include "proxy/net/tls_stream.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "proxy/base/check.h"
#include "proxy/base/text.h"
#include "proxy/net/tls_connector.h"

namespace weir {

// The way from OpenSSL to the inner stream. One read of it for each call from outside: more would be a system call that says "nothing".
struct TlsBio {
  static TlsStream& stream_of(BIO* bio) { return *static_cast<TlsStream*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* into, std::size_t size, std::size_t* done) {
    TlsStream& stream = stream_of(bio);
    BIO_clear_retry_flags(bio);
    if (!stream.may_read_inner_) {
      BIO_set_retry_read(bio);
      return 0;
    }
    const IoResult result = stream.inner_->read({reinterpret_cast<std::uint8_t*>(into), size});
    stream.may_read_inner_ = false;
    switch (result.status) {
      case IoResult::Status::ok: *done = result.bytes; return 1;
      case IoResult::Status::would_block: BIO_set_retry_read(bio); return 0;
      case IoResult::Status::end: stream.inner_ended_ = true; return 0;
      case IoResult::Status::error: stream.inner_error_ = result.error; return 0;
    }
    return 0;
  }

  static int write(BIO* bio, const char* from, std::size_t size, std::size_t* done) {
    TlsStream& stream = stream_of(bio);
    BIO_clear_retry_flags(bio);
    IoResult result{IoResult::Status::would_block, 0, 0};
    if (!stream.inner_full_) {
      const iovec part{const_cast<char*>(from), size};
      result = stream.inner_->write({&part, 1});
    }
    stream.inner_full_ = !result.ok() || result.bytes < size;
    if (result.ok() && result.bytes > 0) {
      *done = result.bytes;
      return 1;
    }
    if (result.status == IoResult::Status::error) {
      stream.inner_error_ = result.error;
    } else {
      BIO_set_retry_write(bio);
    }
    return 0;
  }

  static long control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
    if (command == BIO_CTRL_FLUSH) return 1;
    if (command == BIO_CTRL_EOF) return stream_of(bio).inner_ended_ ? 1 : 0;
    return 0;
  }

  static BIO_METHOD* make_method() {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir stream");
    CHECK(method != nullptr);
    BIO_meth_set_read_ex(method, &TlsBio::read);
    BIO_meth_set_write_ex(method, &TlsBio::write);
    BIO_meth_set_ctrl(method, &TlsBio::control);
    return method;
  }

  static BIO* make(TlsStream& stream) {
    static BIO_METHOD* const method = make_method();  // a constant table
    BIO* bio = BIO_new(method);
    CHECK(bio != nullptr);
    BIO_set_data(bio, &stream);
    BIO_set_init(bio, 1);
    return bio;
  }
};

TlsStream::TlsStream(EventLoop& loop, BufferPool& buffers, std::shared_ptr<const TlsServerContext> context,
                     std::unique_ptr<ByteStream> inner)
    : loop_(loop),
      buffers_(buffers),
      server_(std::move(context)),
      inner_(std::move(inner)),
      again_(loop, Callback::to<&TlsStream::on_again>(this)) {
  begin(*server_);
  SSL_set_accept_state(ssl_);
}

TlsStream::TlsStream(EventLoop& loop, BufferPool& buffers, std::shared_ptr<const TlsClientContext> context, TlsSessionCache* sessions)
    : loop_(loop),
      buffers_(buffers),
      client_(std::move(context)),
      sessions_(sessions),
      again_(loop, Callback::to<&TlsStream::on_again>(this)) {
  begin(*client_);
  SSL_set_connect_state(ssl_);
}

TlsStream::~TlsStream() {
  handler_ = nullptr;
  // What a write left behind would have to go first, and there is nobody to wait for it.
  if (state_ == State::open && !closing_ && !write_broken_ && blocked_.empty() && inner_ != nullptr) say_goodbye();
  SSL_free(ssl_);
  ERR_clear_error();
}

void TlsStream::begin(const TlsContext& context) {
  ssl_ = SSL_new(context.native());
  CHECK(ssl_ != nullptr);
  SSL_set_app_data(ssl_, this);
  BIO* bio = TlsBio::make(*this);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_msg_callback(ssl_, &TlsStream::count_message);
  SSL_set_msg_callback_arg(ssl_, this);
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(loop_.wall_now().time_since_epoch()).count();
  X509_VERIFY_PARAM_set_time(SSL_get0_param(ssl_), static_cast<time_t>(now));
}

// --- The handshake ---------------------------------------------------------------------------------------------------

void TlsStream::handshake() {
  CHECK(server_ != nullptr && state_ == State::idle);
  state_ = State::handshaking;
  inner_->set_handler(this);
  inner_->want_read(true);
}

void TlsStream::connect(Connector& connector, const Address& to) {
  CHECK(client_ != nullptr && state_ == State::idle);
  const bool checkable = client_->prepare(ssl_, to);
  if (sessions_ != nullptr) {
    if (SSL_SESSION* session = sessions_->take(*client_, to)) {
      SSL_set_session(ssl_, session);
      SSL_SESSION_free(session);
    }
  }
  if (!checkable) fail_with(TlsReason::name_mismatch, "there is no name to check the certificate by");
  inner_ = connector.connect(to, *this);
}

void TlsStream::on_connected(int error) {
  if (state_ == State::failed) return fail_connect(error_code());
  if (error != 0) {
    state_ = State::failed;
    return fail_connect(error);
  }
  state_ = State::handshaking;
  step_handshake();
}

void TlsStream::step_handshake() {
  may_read_inner_ = true;
  inner_full_ = false;
  const int result = SSL_do_handshake(ssl_);
  if (result == 1) return finish_handshake();
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      inner_->want_read(true);
      inner_->want_write(false);
      return;
    case SSL_ERROR_WANT_WRITE:  // until that is out nothing is read, and what came would be told of for ever
      inner_->want_read(false);
      inner_->want_write(true);
      return;
    default: break;
  }
  note_trouble();
  fail_connect(error_code());
}

void TlsStream::finish_handshake() {
  auto info = std::make_shared<TlsInfo>();
  info->version = SSL_get_version(ssl_);
  info->cipher = SSL_CIPHER_get_name(SSL_get_current_cipher(ssl_));
  info->resumed = SSL_session_reused(ssl_) == 1;
  const unsigned char* protocol = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_, &protocol, &size);
  info->alpn.assign(reinterpret_cast<const char*>(protocol), size);
  if (const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name)) info->server_name = name;
  read_peer(*info);
  ERR_clear_error();
  if (client_ != nullptr && client_->settings().alpn_required && info->alpn != client_->settings().alpn) {
    fail_with(TlsReason::no_common_protocol, concat("the server does not speak ", client_->settings().alpn));
    return fail_connect(error_code());
  }
  info_ = std::move(info);
  state_ = State::open;
  messages_ = 0;
  buffered_ = SSL_has_pending(ssl_) == 1;
  inner_->want_read(want_read_);
  inner_->want_write(want_write_);
  if (buffered_ && want_read_) again_.schedule();
  if (handler_ != nullptr) handler_->on_connected(0);
}

void TlsStream::read_peer(TlsInfo& info) const {
  const X509* peer = SSL_get0_peer_certificate(ssl_);
  if (peer == nullptr || SSL_get_verify_result(ssl_) != X509_V_OK) return;
  if (const X509* own = SSL_get_certificate(ssl_)) {
    TlsCertificateFacts facts = facts_of(*own);
    if (!facts.uris.empty()) info.local_uri = std::move(facts.uris.front());
  }
  TlsCertificateFacts facts = facts_of(*peer);
  info.peer_verified = true;
  info.peer_uris = std::move(facts.uris);
  info.peer_names = std::move(facts.names);
  info.peer_subject = std::move(facts.subject);
  info.peer_fingerprint = std::move(facts.fingerprint);
}

void TlsStream::fail_connect(int error) {
  if (inner_ != nullptr) {
    inner_->want_read(false);
    inner_->want_write(false);
  }
  if (handler_ != nullptr) handler_->on_connected(error);
}

// --- Trouble ---------------------------------------------------------------------------------------------------------

void TlsStream::fail_with(TlsReason reason, std::string text) {
  state_ = State::failed;
  reason_ = reason;
  failure_ = std::move(text);
}

// The oldest error that OpenSSL has to say something of, or that of the inner stream.
void TlsStream::note_trouble() {
  if (ERR_GET_LIB(ERR_peek_error()) != ERR_LIB_SSL) {
    ERR_clear_error();
    return fail_with(TlsReason::closed,
                     inner_error_ != 0 ? std::string(std::strerror(inner_error_)) : std::string("the peer closed the connection"));
  }
  TlsTrouble trouble = take_tls_trouble(SSL_get_verify_result(ssl_));
  const bool cut = trouble.reason == TlsReason::closed;
  fail_with(trouble.reason, !cut               ? std::move(trouble.text)
                            : info_ == nullptr ? std::string("the peer closed the connection during the handshake")
                                               : std::string("the peer closed the connection without close_notify: it may be cut off"));
}

int TlsStream::error_code() const {
  if (is_about_certificate(reason_)) return kTlsCertificateError;
  if (reason_ != TlsReason::closed) return kTlsProtocolError;
  if (inner_error_ != 0) return inner_error_;
  return info_ == nullptr ? kTlsProtocolError : ECONNRESET;
}

// Every message of a handshake once it is over, but for the tickets that a server sends.
void TlsStream::count_message(int writing, int /*version*/, int type, const void* bytes, std::size_t size, ssl_st* /*ssl*/, void* stream) {
  if (writing != 0 || type != SSL3_RT_HANDSHAKE || size == 0) return;
  auto& self = *static_cast<TlsStream*>(stream);
  if (self.state_ != State::open) return;
  constexpr std::uint32_t kTicketWorth = 1;
  self.messages_ += static_cast<const unsigned char*>(bytes)[0] == SSL3_MT_NEWSESSION_TICKET ? kTicketWorth : kTicketWorth * 2;
}

bool TlsStream::flooded() const {
  constexpr std::uint64_t kMiB = std::uint64_t{1024} * 1024;
  return messages_ / 2 > kIdleMessages + received_ / kMiB;
}

// --- Reading ---------------------------------------------------------------------------------------------------------

void TlsStream::want_read(bool wanted) {
  want_read_ = wanted;
  if (state_ == State::handshaking || state_ == State::idle || inner_ == nullptr) return;
  inner_->want_read(wanted && !read_waits_to_write_);
  if (wanted && (buffered_ || !end_.ok())) again_.schedule();
}

IoResult TlsStream::read(std::span<std::uint8_t> into) {
  if (!end_.ok()) return end_;
  if (state_ != State::open) return {IoResult::Status::error, 0, error_code()};
  may_read_inner_ = !std::exchange(only_buffered_, false);
  inner_full_ = false;  // what the last write found says nothing now: OpenSSL may have to answer something
  buffered_ = false;
  std::size_t got = 0;
  do {
    std::size_t part = 0;
    const int result = SSL_read_ex(ssl_, into.data() + got, into.size() - got, &part);
    if (result != 1) return read_failed(result, got);
    got += part;
    received_ += part;
  } while (got < into.size() && SSL_has_pending(ssl_) == 1);
  buffered_ = SSL_has_pending(ssl_) == 1;
  if (buffered_ && want_read_) again_.schedule();
  return {IoResult::Status::ok, got, 0};
}

// Bytes that came before the trouble are told first; the trouble comes with the next read.
IoResult TlsStream::read_failed(int result, std::size_t got) {
  const int error = SSL_get_error(ssl_, result);
  if (flooded()) {
    fail_with(TlsReason::flood, "too many messages without data");
    end_ = {IoResult::Status::error, 0, kTlsProtocolError};
  } else if (error == SSL_ERROR_WANT_READ) {
    if (got > 0) return {IoResult::Status::ok, got, 0};
    return {IoResult::Status::would_block, 0, 0};
  } else if (error == SSL_ERROR_WANT_WRITE) {  // an answer to a message of the peer's has no room
    read_waits_to_write_ = true;
    inner_->want_read(false);
    inner_->want_write(true);
    if (got > 0) return {IoResult::Status::ok, got, 0};
    return {IoResult::Status::would_block, 0, 0};
  } else if (error == SSL_ERROR_ZERO_RETURN) {
    end_ = {IoResult::Status::end, 0, 0};
  } else {
    note_trouble();
    end_ = {IoResult::Status::error, 0, error_code()};
  }
  ERR_clear_error();
  if (got == 0) return end_;
  if (want_read_) again_.schedule();
  return {IoResult::Status::ok, got, 0};
}

void TlsStream::on_readable() {
  if (state_ == State::handshaking) return step_handshake();
  only_buffered_ = false;
  if (!want_read_) return inner_->want_read(false);
  if (handler_ != nullptr) handler_->on_readable();
}

// What is read here was received already: it must not become a way to read the inner stream for ever within one callback.
void TlsStream::on_again() {
  if (!want_read_ || handler_ == nullptr || (!buffered_ && end_.ok())) return;
  only_buffered_ = true;
  handler_->on_readable();
}

// --- Writing ---------------------------------------------------------------------------------------------------------

void TlsStream::want_write(bool wanted) {
  want_write_ = wanted;
  if (state_ == State::handshaking || state_ == State::idle || inner_ == nullptr || closing_) return;
  inner_->want_write(wanted || read_waits_to_write_);
}

namespace {

// Walks through the parts of a write, a record at a time: small parts are put together in the scratch, so that a head and its body are
// one record and one system call.
class Records {
 public:
  Records(std::span<const iovec> parts, BufferPool& buffers) : parts_(parts), buffers_(buffers) {}

  std::size_t left() const {
    std::size_t sum = 0;
    for (std::size_t i = part_; i < parts_.size(); ++i) sum += parts_[i].iov_len;
    return sum - offset_;
  }

  ByteView next() {
    while (part_ < parts_.size() && parts_[part_].iov_len == offset_) {
      ++part_;
      offset_ = 0;
    }
    if (part_ == parts_.size()) return {};
    const ByteView first = rest(part_, offset_);
    if (first.size() >= TlsStream::kRecord) return first.first(TlsStream::kRecord);
    if (part_ + 1 == parts_.size()) return first;
    const std::span<std::uint8_t> scratch = buffers_.write_scratch();
    std::size_t used = 0;
    std::size_t offset = offset_;
    for (std::size_t i = part_; i < parts_.size() && used < TlsStream::kRecord; ++i, offset = 0) {
      const ByteView piece = rest(i, offset);
      const std::size_t taken = std::min(piece.size(), TlsStream::kRecord - used);
      if (taken > 0) std::memcpy(scratch.data() + used, piece.data(), taken);
      used += taken;
    }
    return scratch.first(used);
  }

  void advance(std::size_t size) {
    while (size > 0) {
      const std::size_t here = std::min(size, parts_[part_].iov_len - offset_);
      offset_ += here;
      size -= here;
      if (offset_ < parts_[part_].iov_len) return;
      ++part_;
      offset_ = 0;
    }
  }

 private:
  ByteView rest(std::size_t part, std::size_t offset) const {
    return {static_cast<const std::uint8_t*>(parts_[part].iov_base) + offset, parts_[part].iov_len - offset};
  }
  std::span<const iovec> parts_;
  BufferPool& buffers_;
  std::size_t part_ = 0;
  std::size_t offset_ = 0;
};

}  // namespace

IoResult TlsStream::write(std::span<const iovec> from) {
  if (state_ != State::open) return {IoResult::Status::error, 0, error_code()};
  if (closing_ || write_broken_) return {IoResult::Status::error, 0, EPIPE};
  inner_full_ = false;
  Records records(from, buffers_);
  std::size_t done = 0;
  if (!blocked_.empty()) {
    const int result = SSL_write_ex(ssl_, blocked_.data(), blocked_.size(), &ahead_);
    if (result != 1) return write_failed(result, 0);
    blocked_ = {};
  }
  if (ahead_ > 0) {  // the caller gives the same bytes again, perhaps fewer at a time
    done = std::min(ahead_, records.left());
    records.advance(done);
    ahead_ -= done;
  }
  for (ByteView record = records.next(); !record.empty(); record = records.next()) {
    std::size_t written = 0;
    const int result = SSL_write_ex(ssl_, record.data(), record.size(), &written);
    if (result != 1) {
      blocked_.assign(record.begin(), record.end());
      return write_failed(result, done);
    }
    records.advance(written);
    done += written;
  }
  return {IoResult::Status::ok, done, 0};
}

IoResult TlsStream::write_failed(int result, std::size_t done) {
  const int error = SSL_get_error(ssl_, result);
  if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) {
    return {done > 0 ? IoResult::Status::ok : IoResult::Status::would_block, done, 0};
  }
  if (inner_error_ != 0) {  // nothing can be sent any more, but an answer that was sent before may still be read
    ERR_clear_error();
    write_broken_ = true;
    return {IoResult::Status::error, 0, std::exchange(inner_error_, 0)};
  }
  note_trouble();
  return {IoResult::Status::error, 0, error_code()};
}

void TlsStream::on_writable() {
  if (state_ == State::handshaking) return step_handshake();
  if (closing_) return say_goodbye();
  if (std::exchange(read_waits_to_write_, false)) {
    inner_->want_read(want_read_);
    buffered_ = true;  // perhaps: what follows the message that had to be answered
    if (want_read_) again_.schedule();
  }
  if (!want_write_) inner_->want_write(false);
  if (want_write_ && handler_ != nullptr) handler_->on_writable();
}

void TlsStream::shutdown_write() {
  if (closing_) return;
  if (state_ != State::open) return inner_->shutdown_write();
  if (write_broken_) return inner_->shutdown_write();
  closing_ = true;
  say_goodbye();
}

// close_notify and, once it is out, the FIN.
void TlsStream::say_goodbye() {
  inner_full_ = false;
  const int result = SSL_shutdown(ssl_);
  const bool waits = result < 0 && SSL_get_error(ssl_, result) == SSL_ERROR_WANT_WRITE;
  ERR_clear_error();
  if (waits && closing_) return inner_->want_write(true);
  inner_->want_write(false);
  if (closing_) inner_->shutdown_write();
}

void TlsStream::reset() {
  state_ = State::failed;
  handler_ = nullptr;
  if (inner_ != nullptr) inner_->reset();
}

int TlsStream::keep_session(ssl_st* ssl, ssl_session_st* session) {
  const auto* stream = static_cast<const TlsStream*>(SSL_get_app_data(ssl));
  if (stream->sessions_ == nullptr || stream->inner_ == nullptr) return 0;
  return stream->sessions_->keep(*stream->client_, stream->peer_address(), session) ? 1 : 0;
}

}  // namespace weir
