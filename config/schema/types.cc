#include "config/schema/types.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace weir {
namespace {

using config::Description;
using config::Reader;
using config::Section;
using config::Type;
using config::Value;

Description string_form(std::string form, std::string pattern = {}) {
  Description description;
  description.json = Description::Json::string;
  description.form = std::move(form);
  description.pattern = std::move(pattern);
  return description;
}

bool is_ip(std::string_view host) {
  const std::string with_port = host.find(':') == std::string_view::npos ? concat(host, ":1") : concat('[', host, "]:1");
  return Address::parse(with_port).ok();
}

bool looks_like_ip4(std::string_view host) {
  return std::all_of(host.begin(), host.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

// Letters, digits, hyphens, underscores and dots, as resolvers take them.
bool is_host_name(std::string_view host) {
  const auto fits = [](char c) {
    const char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  };
  return !host.empty() && host.size() <= 253 && host.front() != '.' && host.find("..") == std::string_view::npos &&
         std::all_of(host.begin(), host.end(), fits);
}

constexpr std::string_view kListenForms = "host:port such as 127.0.0.1:8080, [::1]:8080, or unix:/path";
constexpr std::string_view kEndpointForms = "host:port such as 127.0.0.1:8080, unix:/path, dns:host:port, srv:name, or file:/path";
// The same for JSON Schema, which need not be as exact: what these refuse is refused here too.
constexpr const char* kListenPattern = "^(unix:.+|(\\[[^\\]]+\\]|[0-9.]+):[0-9]{1,5})$";
constexpr const char* kEndpointPattern = "^((unix|dns|srv|file):.+|(\\[[^\\]]+\\]|[0-9.]+):[0-9]{1,5})$";

Result<std::uint16_t> port_of(std::string_view digits, std::uint16_t least) {
  const Result<std::int64_t> port = parse_integer(digits);
  if (!port) return Error{concat("expected a port of ", least, " to 65535, got ", digits.empty() ? "nothing" : digits)};
  if (*port < least || *port > 65'535) return Error{concat("port ", digits, " is out of range, expected ", least, " to 65535")};
  return static_cast<std::uint16_t>(*port);
}

// ip:port or unix:/path, with a message for each way in which people write it wrong.
Result<Address> parse_address(std::string_view text, std::uint16_t least_port, std::string_view forms) {
  if (text.starts_with("unix:")) return Address::parse(text);
  if (text.starts_with("dns:")) return Error{concat("a name is no address here; expected ", forms)};
  const std::size_t colon = text.rfind(':');
  const bool bare_ip6 = !text.starts_with('[') && std::count(text.begin(), text.end(), ':') > 1;
  if (bare_ip6) return Error{concat("an IPv6 address with a port is written [::1]:8080, got ", text)};
  if (colon == std::string_view::npos || text.ends_with(']')) {
    if (is_ip(text) || text.starts_with('[')) return Error{concat("no port, got ", text, "; expected ", forms)};
    return Error{concat("expected ", forms, ", got ", text.empty() ? "nothing" : text)};
  }
  const std::string_view host = text.substr(0, colon);
  const Result<std::uint16_t> port = port_of(text.substr(colon + 1), least_port);
  if (!port) return port.error();
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (!is_ip(bracketed ? host.substr(1, host.size() - 2) : host))
    return Error{
        concat(host.empty() ? "no host" : concat(host, looks_like_ip4(host) ? " is no IPv4 address" : " is a host name, no address"),
               "; expected ", forms)};
  return Address::parse(text);
}

Result<EndpointConfig> parse_dns(std::string_view text, EndpointConfig endpoint) {
  const std::string_view rest = text.substr(4);
  const std::size_t colon = rest.rfind(':');
  const std::string_view host = rest.substr(0, colon);
  if (colon == std::string_view::npos) return Error{concat("no port, got ", text, "; expected dns:host:port")};
  if (!is_host_name(host)) return Error{concat("expected dns:host:port, got ", text)};
  const Result<std::uint16_t> port = port_of(rest.substr(colon + 1), 1);
  if (!port) return port.error();
  endpoint.kind = EndpointConfig::Kind::dns;
  endpoint.dns_host = ascii_lower(host);
  endpoint.dns_port = *port;
  return endpoint;
}

Result<EndpointConfig> parse_srv(std::string_view text, EndpointConfig endpoint) {
  const std::string_view name = text.substr(4);
  if (name.find(':') != std::string_view::npos)
    return Error{concat("SRV records say the port; expected srv:_http._tcp.payments.shop, got ", text)};
  if (!is_host_name(name)) return Error{concat("expected srv:name such as srv:_http._tcp.payments.shop, got ", text)};
  endpoint.kind = EndpointConfig::Kind::srv;
  endpoint.dns_host = ascii_lower(name);
  return endpoint;
}

Result<EndpointConfig> parse_endpoint(std::string_view text) {
  EndpointConfig endpoint;
  endpoint.text = text;
  if (text.starts_with("dns:")) return parse_dns(text, std::move(endpoint));
  if (text.starts_with("srv:")) return parse_srv(text, std::move(endpoint));
  if (text.starts_with("file:")) {
    if (!text.starts_with("file:/")) return Error{concat("expected file:/path, from the root, got ", text)};
    endpoint.kind = EndpointConfig::Kind::file;
    endpoint.path = text.substr(5);
    return endpoint;
  }
  const std::size_t colon = text.find(':');
  const std::string_view host = text.substr(0, colon);
  const bool named = is_host_name(host) && !looks_like_ip4(host) && host != "unix" && text.rfind(':') == colon;
  if (named) {
    const std::string_view port = colon == std::string_view::npos ? std::string_view(":port") : text.substr(colon);
    return Error{concat(text, " is a bare host name; write dns:", host, port)};
  }
  const Result<Address> address = parse_address(text, 1, kEndpointForms);
  if (!address) return address.error();
  endpoint.address = *address;
  return endpoint;
}

Type<EndpointConfig> endpoint_text() {
  return config::scalar<EndpointConfig>(string_form(std::string(kEndpointForms), kEndpointPattern), parse_endpoint,
                                        [](const EndpointConfig& endpoint) { return Value::plain(endpoint.text); });
}

const Section<EndpointConfig>& endpoint_section() {
  static const Section<EndpointConfig> section =
      Section<EndpointConfig>("endpoint", "An endpoint with a weight.")
          .projected<EndpointConfig>(
              "address", [](const EndpointConfig& endpoint) { return endpoint; },
              [](EndpointConfig& endpoint, EndpointConfig address) {
                address.weight = endpoint.weight;
                endpoint = std::move(address);
              },
              endpoint_text(), "Where it is.")
          .required()
          .example("127.0.0.1:9002")
          .field("weight", &EndpointConfig::weight, config::integer(1, 1000),
                 "Its share, beside the weights of the others; of a name, that of each of its addresses.")
          .check([](const EndpointConfig& endpoint, const Value& value, Reader& reader) {
            const bool elsewhere = endpoint.kind == EndpointConfig::Kind::srv || endpoint.kind == EndpointConfig::Kind::file;
            const Value::Member* weight = value.find("weight");
            if (!elsewhere || weight == nullptr) return true;
            reader.error(weight->place, concat("the weights of ", endpoint.text, " are written there, not here"));
            return false;
          });
  return section;
}

Result<std::pair<int, int>> parse_statuses(std::string_view text) {
  const auto status = [](std::string_view digits) {
    const Result<std::int64_t> number = parse_integer(digits);
    return number && *number >= 100 && *number <= 599 ? static_cast<int>(*number) : 0;
  };
  std::pair<int, int> range;
  if (text.size() == 3 && text.ends_with("xx") && text[0] >= '1' && text[0] <= '5') {
    range = {(text[0] - '0') * 100, (text[0] - '0') * 100 + 99};
  } else if (text.size() == 7 && text[3] == '-') {
    range = {status(text.substr(0, 3)), status(text.substr(4))};
  } else {
    range = {status(text), status(text)};
  }
  if (range.first == 0 || range.second < range.first)
    return Error{concat("expected a status such as 503, a range such as 500-503, or a class such as 5xx, got ", text)};
  return range;
}

std::string print_statuses(const std::pair<int, int>& range) {
  if (range.first == range.second) return concat(range.first);
  if (range.first % 100 == 0 && range.second == range.first + 99) return concat(range.first / 100, "xx");
  return concat(range.first, '-', range.second);
}

Type<std::string> host_pattern() {
  const auto check = [](std::string_view given) -> Result<std::string> {
    const std::string_view name = given.starts_with("*.") ? given.substr(2) : given;
    const bool bracketed = given.starts_with('[') && given.ends_with(']');
    const bool good = bracketed ? is_ip(given.substr(1, given.size() - 2)) : is_host_name(name);
    if (good) return ascii_lower(given.ends_with('.') ? given.substr(0, given.size() - 1) : given);
    if (!bracketed && given.find(':') != std::string_view::npos) return Error{concat("a host is matched without its port, got ", given)};
    return Error{concat("expected a host such as payments.local or *.payments.local, got ", given)};
  };
  return config::scalar<std::string>(string_form("host, or *.host", "^((\\*\\.)?[^*/:]+|\\[[0-9A-Fa-f:.]+\\])$"), check,
                                     [](const std::string& host) { return Value::string(host); });
}

Type<std::string> method() {
  const auto check = [](std::string_view given) -> Result<std::string> {
    std::string upper(given);
    for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    const bool letters =
        !given.empty() && std::all_of(upper.begin(), upper.end(), [](char c) { return (c >= 'A' && c <= 'Z') || c == '-' || c == '_'; });
    if (!letters) return Error{concat("expected a method such as GET, got ", given)};
    if (upper != given) return Error{concat("methods are written in capitals; did you mean ", upper, '?')};
    return upper;
  };
  return config::scalar<std::string>(string_form("method", "^[A-Z_-]+$"), check,
                                     [](const std::string& name) { return Value::string(name); });
}

}  // namespace

Type<Address> listen_address() {
  return config::scalar<Address>(
      string_form(std::string(kListenForms), kListenPattern), [](std::string_view text) { return parse_address(text, 0, kListenForms); },
      [](const Address& address) { return Value::plain(std::string(address.text())); });
}

Type<Address> private_address() {
  const Type<Address> any = listen_address();
  return Type<Address>(
      any.describe(),
      [any](const Value& value, Reader& reader, Address& out) {
        if (!any.read(value, reader, out)) return false;
        if (out.family() == Address::Family::unix_path || out.is_loopback()) return true;
        reader.error(value.place, "changes are taken on unix:/path or a loopback address only; read_only_listen may be any");
        return false;
      },
      [any](const Address& address) { return any.print(address); });
}

Type<Address> name_server() {
  return config::scalar<Address>(
      string_form("host:port such as 10.0.0.10:53 or [fd00::a]:53"),
      [](std::string_view text) -> Result<Address> {
        const Result<Address> address = parse_address(text, 1, "host:port such as 10.0.0.10:53 or [fd00::a]:53");
        if (address && address->family() == Address::Family::unix_path) return Error{concat("a name server is no file, got ", text)};
        return address;
      },
      [](const Address& address) { return Value::plain(std::string(address.text())); });
}

Type<std::string> file_path() {
  return config::scalar<std::string>(
      string_form("path of a file", "^/"),
      [](std::string_view text) -> Result<std::string> {
        if (!text.starts_with('/')) return Error{concat("expected a path that begins with /, got ", text)};
        if (text.find('\0') != std::string_view::npos) return Error{"expected a path without a NUL in it"};
        return std::string(text);
      },
      [](const std::string& path) { return Value::string(path); });
}

Type<std::string> allowed_name() {
  return config::scalar<std::string>(
      string_form("spiffe://domain/path, where the last * stands for any rest, or a DNS name, whose first label may be *",
                  "^[^*]+[*]?$|^[*][.][^*]+$"),
      [](std::string_view text) -> Result<std::string> {
        if (Result<void> checked = TlsAllowedNames::check(text); !checked) return Error{concat(checked.error().message, ", got ", text)};
        return std::string(text);
      },
      [](const std::string& name) { return Value::string(name); });
}

Type<std::string> server_name() {
  return config::scalar<std::string>(
      string_form("a DNS name or an IP address", "^[^*/ ]+$"),
      [](std::string_view text) -> Result<std::string> {
        const bool plain = text.find_first_of("*/ ") == std::string_view::npos;
        const bool name = plain && text.find(':') == std::string_view::npos && TlsAllowedNames::check(text).ok();
        if (name || (plain && Address::parse(concat('[', text, "]:1")).ok())) return std::string(text);
        return Error{concat("expected a DNS name or an IP address, got ", text)};
      },
      [](const std::string& name) { return Value::string(name); });
}

Type<TlsVersion> tls_version() { return config::enumeration<TlsVersion>({{"TLSv1.2", TlsVersion::v1_2}, {"TLSv1.3", TlsVersion::v1_3}}); }

Type<EndpointConfig> endpoint() {
  Description description;
  description.form = concat(kEndpointForms, ", or { address:, weight: }");
  description.parts = {endpoint_text().describe(), config::object(endpoint_section()).describe()};
  return Type<EndpointConfig>(
      std::move(description),
      [](const Value& value, Reader& reader, EndpointConfig& out) {
        if (value.is(Value::Kind::map)) return endpoint_section().read(value, reader, out);
        return endpoint_text().read(value, reader, out);
      },
      [](const EndpointConfig& endpoint) {
        return endpoint.weight == 1 ? endpoint_text().print(endpoint) : endpoint_section().print(endpoint);
      });
}

Type<double> share() {
  return config::scalar<double>(
      config::ratio().describe(),
      [](std::string_view text) -> Result<double> {
        const Result<Ratio> ratio = parse_ratio(text);
        if (!ratio) return ratio.error();
        return ratio.value().value();
      },
      [](const double& value) {
        const double millionths = std::round(std::clamp(value, 0.0, 1.0) * Ratio::kWhole);
        return Value::plain(format_ratio(Ratio{static_cast<std::uint32_t>(millionths)}));
      });
}

Type<double> per_second() {
  return config::scalar<double>(
      config::rate().describe(),
      [](std::string_view text) -> Result<double> {
        const Result<Rate> rate = parse_rate(text);
        if (!rate) return rate.error();
        return rate.value().per_second();
      },
      [](const double& value) {
        for (const Duration unit : {Duration(1s), Duration(1min)}) {  // the first in which it is a whole number
          const double count = value * seconds(unit);
          if (std::abs(count - std::round(count)) < 1e-6)
            return Value::plain(format_rate(Rate{static_cast<std::uint64_t>(std::round(count)), unit}));
        }
        return Value::plain(format_rate(Rate{static_cast<std::uint64_t>(std::round(value * 3600)), 1h}));
      });
}

Type<std::vector<std::pair<int, int>>> status_ranges() {
  Description status =
      string_form("status such as 503, range such as 500-503, or class such as 5xx", "^([1-5]xx|[1-5][0-9]{2}(-[1-5][0-9]{2})?)$");
  status.minimum = 100;
  status.maximum = 599;
  return config::list_of(
      config::scalar<std::pair<int, int>>(std::move(status), parse_statuses,
                                          [](const std::pair<int, int>& range) { return Value::plain(print_statuses(range)); }),
      1, 100);
}

Type<FilterMode> filter_mode() {
  return config::enumeration<FilterMode>(
      {{"enforce", FilterMode::enforce}, {"shadow", FilterMode::shadow}, {"disabled", FilterMode::disabled}});
}

Type<std::string> edited_header_name() {
  // Framing, the connection and the host are the codec's; editing them would let configuration break them.
  static constexpr std::array<std::string_view, 9> kOurs = {"connection", "content-length", "transfer-encoding", "te", "trailer", "upgrade",
                                                            "keep-alive", "host",           "proxy-connection"};
  const Type<std::string> any = config::header_name();
  return Type<std::string>(
      any.describe(),
      [any](const Value& value, Reader& reader, std::string& out) {
        if (!any.read(value, reader, out)) return false;
        if (std::find(kOurs.begin(), kOurs.end(), out) == kOurs.end()) return true;
        reader.error(value.place, concat(out, " belongs to the connection and cannot be edited"));
        return false;
      },
      [any](const std::string& name) { return any.print(name); });
}

const Section<Matcher>& matcher_section() {
  using config::list_of;
  static const Section<Matcher> section =
      Section<Matcher>("match", "Which requests: all that is given must hold; of a list, any entry.")
          .field("hosts", &Matcher::hosts, list_of(host_pattern(), 1), "Host without port, case-blind; *.x for any name below x.")
          .absent()
          .example("[payments.local, \"*.payments.local\"]")
          .field("path", &Matcher::path, config::url_path(), "The path, exactly, without query.")
          .absent()
          .example("/weir-says")
          .field("path_prefix", &Matcher::path_prefix, config::url_path(), "The path begins so, by segment: /cart is not /carton.")
          .absent()
          .example("/v1/")
          .field("methods", &Matcher::methods, list_of(method(), 1), "Any of these methods.")
          .absent()
          .example("[GET, POST]")
          .field("headers", &Matcher::headers, config::map_of(config::header_name(), config::header_value()),
                 "Each of these fields is there with this value.")
          .absent()
          .example("{ x-tenant: gold }")
          .check([](const Matcher& matcher, const Value& value, Reader& reader) {
            if (matcher.path.empty() || matcher.path_prefix.empty()) return true;
            reader.error(value.place, "path and path_prefix exclude each other");
            return false;
          });
  return section;
}

PolicyPlace policy_place(const Reader& reader, config::Place place) {
  return PolicyPlace{reader.files() == nullptr ? nullptr : reader.files()->c_name(place.file), place.line};
}

}  // namespace weir
