// What a try of a gRPC call tells the upstream beyond the client's own fields: how much of grpc-timeout is left, and how many tries came
// before (grpc-previous-rpc-attempts). The head that all tries share stays as it is: a try that says something else gets one of its own.
// Pure but for the arena that the new head lives in. It never makes a deadline up: where the client sent none, none is sent.
#pragma once

#include "proxy/chain/link.h"

namespace weir {

// The request's own head where nothing differs. `now` is when it is sent; the deadline, if there is one, has not passed.
const RequestHead& head_of_try(const Request& request, MonotonicTime now);

}  // namespace weir
