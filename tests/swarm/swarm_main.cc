// The swarm: runs random worlds, seed after seed, against the invariants. See README.md beside it.
// It ends with 1 when a seed failed, having printed the seed, what broke and the plan; a crash prints its seed too.
// Its worlds live in virtual time: it waits for nothing.
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include "tests/swarm/run.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

using weir::test::Outcome;
using weir::test::Plan;

std::uint64_t present_seed = 0;

// Only what is safe in a signal handler.
void say_seed() {
  char text[64] = "swarm: this was seed ";
  char digits[24];
  std::size_t n = 0;
  for (std::uint64_t left = present_seed; n == 0 || left > 0; left /= 10) digits[n++] = static_cast<char>('0' + left % 10);
  std::size_t at = std::strlen(text);
  while (n > 0) text[at++] = digits[--n];
  text[at++] = '\n';
  if (write(STDERR_FILENO, text, at) < 0) return;
}

void on_signal(int signal) {
  say_seed();
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void watch_for_crashes() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_set_death_callback(say_seed);
#else
  std::signal(SIGSEGV, on_signal);
#endif
  std::signal(SIGABRT, on_signal);
  std::signal(SIGALRM, on_signal);  // a seed that does not end
}

struct Options {
  std::uint64_t from = 0;
  std::uint64_t seeds = 2000;
  std::uint64_t twice_every = 20;  // runs these seeds twice and compares the hashes
  std::uint64_t most_failures = 5;
  bool one = false;
  bool quiet = false;
};

int usage() {
  std::fputs(
      "usage: weir_swarm [--seeds N] [--from S] [--failures N] [--quiet]   N seeds from S on (2000 from 0)\n"
      "       weir_swarm --seed S                               one seed: its plan and what happened\n",
      stderr);
  return 2;
}

bool read_options(int count, char** words, Options& options) {
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--quiet") {
      options.quiet = true;
      continue;
    }
    if (i + 1 == count) return false;
    const std::uint64_t value = std::strtoull(words[++i], nullptr, 10);
    if (word == "--seeds") {
      options.seeds = value;
    } else if (word == "--from") {
      options.from = value;
    } else if (word == "--failures") {
      options.most_failures = value;
    } else if (word == "--seed") {
      options.from = value;
      options.seeds = 1;
      options.one = true;
    } else {
      return false;
    }
  }
  return true;
}

void print_problems(const Plan& plan, const Outcome& outcome) {
  std::printf("FAILED seed %llu (again: weir_swarm --seed %llu)\n", static_cast<unsigned long long>(plan.seed),
              static_cast<unsigned long long>(plan.seed));
  const std::size_t shown = std::min<std::size_t>(outcome.problems.size(), 8);
  for (std::size_t i = 0; i < shown; ++i) std::printf("  %s\n", outcome.problems[i].c_str());
}

bool run_one(std::uint64_t seed) {
  const Plan plan = weir::test::make_plan(seed);
  std::printf("%s--- what happened\n", weir::test::describe(plan).c_str());
  std::fflush(stdout);
  const Outcome outcome = weir::test::run(plan, true);
  for (const std::string& line : outcome.trail) std::printf("%s\n", line.c_str());
  std::printf("hash %016llx, %llu events, %llu exchanges, %llu tries\n", static_cast<unsigned long long>(outcome.hash),
              static_cast<unsigned long long>(outcome.events), static_cast<unsigned long long>(outcome.exchanges),
              static_cast<unsigned long long>(outcome.attempts));
  if (outcome.ok()) return true;
  print_problems(plan, outcome);
  return false;
}

bool run_many(const Options& options) {
  std::uint64_t failures = 0, events = 0, exchanges = 0, attempts = 0, done = 0;
  const std::clock_t began = std::clock();
  for (std::uint64_t seed = options.from; seed < options.from + options.seeds && failures < options.most_failures; ++seed, ++done) {
    present_seed = seed;
    alarm(300);
    const Plan plan = weir::test::make_plan(seed);
    Outcome outcome = weir::test::run(plan);
    if (outcome.ok() && seed % options.twice_every == 0 && weir::test::run(plan).hash != outcome.hash) {
      outcome.problems.emplace_back("the same seed gave another hash");
    }
    events += outcome.events;
    exchanges += outcome.exchanges;
    attempts += outcome.attempts;
    if (outcome.ok()) continue;
    ++failures;
    print_problems(plan, outcome);
    if (!options.quiet && failures == 1) std::printf("%s", weir::test::describe(plan).c_str());
    std::fflush(stdout);
  }
  const double cpu = static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC;
  std::printf("%llu seeds from %llu: %llu failed; %llu exchanges, %llu tries, %llu events; %.1f seeds a second of CPU\n",
              static_cast<unsigned long long>(done), static_cast<unsigned long long>(options.from),
              static_cast<unsigned long long>(failures), static_cast<unsigned long long>(exchanges),
              static_cast<unsigned long long>(attempts), static_cast<unsigned long long>(events),
              cpu > 0 ? static_cast<double>(done) / cpu : 0.0);
  return failures == 0;
}

}  // namespace

int main(int count, char** words) {
  Options options;
  if (!read_options(count, words, options)) return usage();
  watch_for_crashes();
  present_seed = options.from;
  return (options.one ? run_one(options.from) : run_many(options)) ? 0 : 1;
}
