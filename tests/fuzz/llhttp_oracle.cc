#include "tests/fuzz/llhttp_oracle.h"

#include <llhttp.h>

namespace weir {

namespace {

struct Asked {
  llhttp_t parser;
  OracleAnswer answer;
  bool in_head = true;
  bool in_value = false;
};

Asked& asked(llhttp_t* parser) {
  return *static_cast<Asked*>(parser->data);
}

int on_url(llhttp_t* parser, const char* at, size_t size) {
  asked(parser).answer.target.append(at, size);
  return 0;
}
int on_field(llhttp_t* parser, const char* at, size_t size) {
  Asked& a = asked(parser);
  if (!a.in_head) return 0;
  if (a.in_value || a.answer.fields.empty()) a.answer.fields.emplace_back();
  a.in_value = false;
  for (size_t i = 0; i < size; ++i) {
    const char c = at[i];
    a.answer.fields.back().first += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return 0;
}
int on_value(llhttp_t* parser, const char* at, size_t size) {
  Asked& a = asked(parser);
  if (!a.in_head) return 0;
  a.in_value = true;
  a.answer.fields.back().second.append(at, size);
  return 0;
}
int on_body(llhttp_t* parser, const char* at, size_t size) {
  asked(parser).answer.body.append(at, size);
  return 0;
}
int on_head(llhttp_t* parser) {
  Asked& a = asked(parser);
  a.in_head = false;
  a.answer.status = parser->status_code;
  if (parser->type == HTTP_REQUEST)
    a.answer.method = llhttp_method_name(static_cast<llhttp_method_t>(parser->method));
  return 0;
}
int on_complete(llhttp_t* parser) {
  asked(parser).answer.complete = true;
  return HPE_PAUSED;
}

}  // namespace

OracleAnswer ask_oracle(bool response, std::string_view bytes, bool closed) {
  Asked a;
  llhttp_settings_t settings;
  llhttp_settings_init(&settings);
  settings.on_url = on_url;
  settings.on_header_field = on_field;
  settings.on_header_value = on_value;
  settings.on_body = on_body;
  settings.on_headers_complete = on_head;
  settings.on_message_complete = on_complete;
  llhttp_init(&a.parser, response ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
  a.parser.data = &a;
  llhttp_errno_t error = llhttp_execute(&a.parser, bytes.data(), bytes.size());
  if (error == HPE_OK && closed && !a.answer.complete) {
    error = llhttp_finish(&a.parser);
    if (a.answer.complete) a.answer.used = bytes.size();
  } else if (a.answer.complete) {
    const char* at = llhttp_get_error_pos(&a.parser);
    a.answer.used = at == nullptr ? bytes.size() : static_cast<std::size_t>(at - bytes.data());
  }
  if (error != HPE_OK && error != HPE_PAUSED && error != HPE_PAUSED_UPGRADE)
    a.answer.error = llhttp_errno_name(error);
  return a.answer;
}

}  // namespace weir
