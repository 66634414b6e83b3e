// The type of a `causes` field in the configuration: a list of words (or one) compiled into a Causes.
// A constant for the sections of filters and services, beside the value that it reads.
// It never decides what a cause matches: proxy/chain/causes.h does.
#pragma once

#include "config/type.h"
#include "proxy/chain/causes.h"

namespace weir {

// `rejected` (by weir itself) is accepted only where told so: in a fallback.
enum class Rejections { refused, allowed };
config::Type<Causes> causes_type(Rejections rejections = Rejections::refused);

// For defaults: causes_of({"connect_failure", "5xx"}). Each word must be one that parse_word knows.
Causes causes_of(std::initializer_list<const char*> words);

// The fewest words that say the same, in a fixed order.
std::vector<std::string> words_of(const Causes& causes);

}  // namespace weir
