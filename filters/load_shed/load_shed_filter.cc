#include "filters/load_shed/load_shed_filter.h"

#include "proxy/chain/gate_link.h"

namespace weir {

namespace {

using config::ratio;
using config::Reader;
using config::Section;
using config::Value;

struct OwnPolicy {
  SharedPolicy own_policy;
};

// The policy is a base, so that it is there before the link that borrows it.
class LoadShedLink final : private OwnPolicy, public GateLink {
 public:
  LoadShedLink(const LoadShedConfig& config, const LinkContext& context, Link& next)
      : OwnPolicy{SharedPolicy(std::make_unique<LoadShedPolicy>(config, context.pressure))}, GateLink(context, own_policy, next) {}
};

class LoadShedFactory final : public FilterFactory {
 public:
  std::string_view kind() const override { return "load_shed"; }
  const config::SectionBase& section() const override { return load_shed_section(); }

  FilterFacts facts(const void* /*config*/) const override {
    FilterFacts facts;
    facts.rejects = true;
    return facts;
  }

  void explain(const void* config, const RequestHead& /*head*/, std::vector<FilterNote>& notes) const override {
    const LoadShedConfig& shed = Section<LoadShedConfig>::as(config);
    std::string above;
    const auto add = [&above](std::string_view what, const std::optional<Ratio>& threshold) {
      if (threshold) above += concat(above.empty() ? "" : ", ", what, ' ', format_ratio(*threshold));
    };
    add("cpu", shed.cpu);
    add("memory", shed.memory);
    add("open_files", shed.open_files);
    if (shed.loop_delay) above += concat(above.empty() ? "" : ", ", "loop_delay ", format_duration(*shed.loop_delay));
    notes.push_back({"refuses above", std::move(above)});
  }

  std::unique_ptr<Link> build(const void* config, const LinkContext& context, Link& next) const override {
    return std::make_unique<LoadShedLink>(Section<LoadShedConfig>::as(config), context, next);
  }
};

}  // namespace

const Section<LoadShedConfig>& load_shed_section() {
  using Config = LoadShedConfig;
  const Ratio least = Ratio::percent(1);
  static const Section<Config> section =
      Section<Config>("load_shed",
                      "Refuses requests while the host is near a limit: none at the threshold, all of them at 100%. "
                      "What cannot be measured sheds nothing.")
          .field("cpu", &Config::cpu, ratio(least), "Of the CPUs that weir may use. Keep it above what an autoscaler aims at.")
          .example("90%")
          .field("memory", &Config::memory, ratio(least), "Of the limit of weir's own cgroup.")
          .example("95%")
          .field("open_files", &Config::open_files, ratio(least), "Of weir's limit of open files.")
          .example("95%")
          .field("loop_delay", &Config::loop_delay, config::duration(1ms, 1min),
                 "How late the slowest worker's event loop is; at twice this, all requests are shed.")
          .example("50ms")
          .check([](const Config& shed, const Value& value, Reader& reader) {
            if (shed.cpu || shed.memory || shed.open_files || shed.loop_delay) return true;
            reader.error(value.place, "expected at least one of cpu, memory, open_files, loop_delay");
            return false;
          });
  return section;
}

const FilterFactory& load_shed_filter() {
  static const LoadShedFactory factory;
  return factory;
}

}  // namespace weir
