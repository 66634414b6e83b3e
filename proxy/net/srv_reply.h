// Reads the DNS message that answers a query for SRV records: c-ares' own reader leaves out how long they may be believed.
// A pure function over untrusted bytes.
#pragma once

#include <cstdint>
#include <span>

#include "proxy/runtime/name_resolver.h"

namespace weir {

// `found` with every SRV record of the answer and the smallest TTL of its records (aliases on the way included); `absent` when there
// is none; `failed` when the message is broken: nothing of it is believed then.
SrvAnswer read_srv_reply(std::span<const std::uint8_t> message);

}  // namespace weir
