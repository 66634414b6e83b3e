// AdminPages: what the admin listeners answer: a method, a path and a query in, a status and a body out.
// The admin server owns it, on main's loop; the Server outlives it.
// It knows no sockets, and without `changes` it never changes anything.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace weir {

class Server;

struct AdminRequest {
  std::string_view method;
  std::string_view target;  // path and query
  std::string_view authority;
  std::string_view accept;  // the Accept field
  bool has_origin = false;  // a browser speaks for some page
  bool over_unix = false;
  bool changes = false;                                  // came by the full listener
  std::function<void(const struct AdminAnswer&)> later;  // takes an answer that is not known yet, once; may be called inside answer()
};

struct AdminAnswer {
  int status = 200;
  std::string_view content_type = "application/json";
  std::string body;
  std::string_view allow;    // of a 405
  bool comes_later = false;  // by AdminRequest::later, instead of this one
};

class AdminPages {
 public:
  explicit AdminPages(Server& server) : server_(server) {}
  AdminAnswer answer(const AdminRequest& request);

 private:
  AdminAnswer read(std::string_view path, std::string_view query, std::string_view accept);
  AdminAnswer change(std::string_view path, std::string_view query, const AdminRequest& request);
  AdminAnswer ready() const;
  AdminAnswer healthy() const;
  AdminAnswer config(bool json) const;
  AdminAnswer config_status() const;
  AdminAnswer services() const;
  AdminAnswer breakers() const;
  AdminAnswer front() const;
  AdminAnswer reload(const AdminRequest& request);
  AdminAnswer order_breaker(std::string_view key, std::string_view query);
  AdminAnswer set_level(std::string_view query);

  Server& server_;
};

}  // namespace weir
