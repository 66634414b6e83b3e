#include "tests/fuzz/llhttp_oracle.h"

#include <llhttp.h>

namespace weir {

namespace {

struct Asked {
  llhttp_t parser;
  OracleAnswer answer;
  bool to_head = false;
  bool in_head = true;
  bool in_value = false;

  OracleFields& fields() { return in_head ? answer.fields : answer.trailers; }
};

Asked& asked(llhttp_t* parser) { return *static_cast<Asked*>(parser->data); }

int on_url(llhttp_t* parser, const char* at, size_t size) {
  asked(parser).answer.target.append(at, size);
  return 0;
}
int on_field(llhttp_t* parser, const char* at, size_t size) {
  Asked& a = asked(parser);
  OracleFields& fields = a.fields();
  if (a.in_value || fields.empty()) fields.emplace_back();
  a.in_value = false;
  for (size_t i = 0; i < size; ++i) {
    const char c = at[i];
    fields.back().first += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return 0;
}
int on_value(llhttp_t* parser, const char* at, size_t size) {
  Asked& a = asked(parser);
  a.in_value = true;
  if (!a.fields().empty()) a.fields().back().second.append(at, size);
  return 0;
}
int on_value_complete(llhttp_t* parser) {  // an empty value may be told by this alone
  asked(parser).in_value = true;
  return 0;
}
int on_body(llhttp_t* parser, const char* at, size_t size) {
  asked(parser).answer.body.append(at, size);
  return 0;
}
int on_head(llhttp_t* parser) {
  Asked& a = asked(parser);
  a.in_head = false;
  a.in_value = false;
  a.answer.status = parser->status_code;
  a.answer.upgrade = parser->upgrade != 0;
  if (parser->type == HTTP_REQUEST) a.answer.method = llhttp_method_name(static_cast<llhttp_method_t>(parser->method));
  return a.to_head ? 1 : 0;  // 1: no body follows
}
int on_complete(llhttp_t* parser) {
  asked(parser).answer.complete = true;
  asked(parser).answer.keep_alive = llhttp_should_keep_alive(parser) != 0;
  return HPE_PAUSED;
}

}  // namespace

OracleAnswer ask_oracle(const OracleQuestion& question, std::string_view bytes) {
  Asked a;
  a.to_head = question.to_head;
  llhttp_settings_t settings;
  llhttp_settings_init(&settings);
  settings.on_url = on_url;
  settings.on_header_field = on_field;
  settings.on_header_value = on_value;
  settings.on_header_value_complete = on_value_complete;
  settings.on_body = on_body;
  settings.on_headers_complete = on_head;
  settings.on_message_complete = on_complete;
  llhttp_init(&a.parser, question.response ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
  a.parser.data = &a;
  const std::string_view fed = bytes.data() == nullptr ? std::string_view("") : bytes;
  llhttp_errno_t error = llhttp_execute(&a.parser, fed.data(), fed.size());
  const char* at = llhttp_get_error_pos(&a.parser);
  const auto offset = at == nullptr ? bytes.size() : static_cast<std::size_t>(at - fed.data());
  if (error == HPE_OK && question.closed && !a.answer.complete) {
    error = llhttp_finish(&a.parser);
    if (a.answer.complete) a.answer.used = bytes.size();
  } else if (a.answer.complete) {
    a.answer.used = offset;
  }
  if (error != HPE_OK && error != HPE_PAUSED && error != HPE_PAUSED_UPGRADE) {
    a.answer.error = llhttp_errno_name(error);
    a.answer.error_at = offset;
  }
  return a.answer;
}

}  // namespace weir
