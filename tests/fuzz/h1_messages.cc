#include "tests/fuzz/h1_messages.h"

#include "proxy/base/text.h"
#include "tests/http/h1_harness.h"

namespace weir {

namespace {

H1Message::Fields fields_of(const Headers* headers) {
  H1Message::Fields fields;
  if (headers == nullptr) return fields;
  for (const HeaderField& field : *headers) {
    if (field.id != HeaderId::removed) fields.emplace_back(field.name, field.value);
  }
  return fields;
}

H1Message message_of(const H1Harness& read, bool response) {
  H1Message message;
  if (response) {
    message.head = concat(read.response().status);
    message.fields = fields_of(&read.response().headers);
  } else {
    const RequestHead& head = read.request();
    message.method = head.method;
    message.head = concat(head.method_text, ' ', head.target);
    message.authority = head.authority;
    message.fields = fields_of(&head.headers);
  }
  message.trailers = fields_of(read.trailers());
  message.body = read.body();
  message.complete = read.complete();
  return message;
}

H1Stream read_stream(std::string_view bytes, const std::vector<Method>* asked, bool ended) {
  H1Stream stream;
  const bool response = asked != nullptr;
  while (!bytes.empty()) {
    const std::size_t answers = stream.messages.size();
    const Method method = response && answers < asked->size() ? (*asked)[answers] : Method::get;
    H1Harness read(response ? SectionKind::response : SectionKind::request, HttpLimits(), method);
    read.feed(bytes);
    if (ended) read.finish();
    if (read.broken() != nullptr) stream.broken = read.broken()->name;
    if (!read.head_complete()) break;
    const bool informational = response && read.response().status < 200;
    if (!informational) stream.messages.push_back(message_of(read, response));
    if (!read.complete()) break;
    bytes.remove_prefix(bytes.size() - read.left_over().size());
  }
  return stream;
}

}  // namespace

H1Stream read_requests(std::string_view bytes) { return read_stream(bytes, nullptr, false); }

H1Stream read_answers(std::string_view bytes, const std::vector<Method>& asked, bool ended) { return read_stream(bytes, &asked, ended); }

}  // namespace weir
