// Http2Floods: how much of each thing that costs more than it carries an HTTP/2 client may do: one allowance a kind, refilled by time and
// earned by useful work. A connection owns it.
// It never reads a clock and acts on nothing: who asks ends the connection, with ENHANCE_YOUR_CALM.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "proxy/base/time.h"
#include "proxy/http/framing_rules.h"

namespace weir {

enum class Http2Flood : std::uint8_t {
  resets,          // RST_STREAM of the client, and requests beyond the streams that it may open
  malformed,       // messages that make us say RST_STREAM
  pings,           //
  settings,        //
  priorities,      // PRIORITY and PRIORITY_UPDATE
  window_updates,  //
  empty_data,      // DATA without a byte, padding aside, that does not end its stream
  unknown_frames,  //
  continuations,   // more CONTINUATION than a header block of the largest size needs
  headers,         // fields that are four times what is allowed, decoded or not
};
inline constexpr std::size_t kHttp2Floods = 10;

const Rule& rule_of(Http2Flood kind);

class Http2Floods {
 public:
  // `resets` a second are borne with on end, and ten times as many at once.
  Http2Floods(std::uint32_t resets, MonotonicTime now);

  // One of that kind came. False: one too many.
  [[nodiscard]] bool bear(Http2Flood kind, MonotonicTime now);
  void on_request() { earn(kForRequest); }                   // it began
  void on_served() { earn_one(Http2Flood::resets, 1); }      // a request was answered to its end
  void on_late_reset() { earn_one(Http2Flood::resets, 1); }  // the stream that was reset had run for long: nobody gains by that
  void on_data() { earn(kForData); }                         // DATA with bytes went either way

 private:
  struct Earning {
    Http2Flood kind;
    std::int32_t count;
  };
  // Clients open windows as they read, some for every kilobyte; they measure the round trip with PINGs while DATA flows; and browsers
  // order their requests.
  static constexpr Earning kForRequest[] = {
      {Http2Flood::priorities, 10}, {Http2Flood::window_updates, 5}, {Http2Flood::pings, 1}, {Http2Flood::unknown_frames, 2}};
  static constexpr Earning kForData[] = {{Http2Flood::window_updates, 20}, {Http2Flood::pings, 1}};

  // In thousandths, so that milliseconds and a rate a second are whole numbers.
  struct Balance {
    std::int32_t left = 0;
    std::uint32_t at = 0;  // in milliseconds since `start_`
  };
  static constexpr std::int32_t kUnit = 1000;
  static constexpr std::int32_t kMostEarned = 100;  // bursts that may be saved up

  void earn_one(Http2Flood kind, std::int32_t count);
  template <std::size_t N>
  void earn(const Earning (&list)[N]) {
    for (const Earning& one : list) earn_one(one.kind, one.count);
  }

  const MonotonicTime start_;
  const std::int32_t resets_;
  std::array<Balance, kHttp2Floods> balances_{};
};

}  // namespace weir
