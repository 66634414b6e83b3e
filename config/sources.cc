#include "config/sources.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <system_error>

#include "proxy/base/text.h"

namespace weir::config {
namespace {

constexpr std::size_t kMostBytes = std::size_t{5} * 1024 * 1024;  // above the loader's own limit, which has the better message

Error system_error(int code) { return Error{std::generic_category().message(code), code}; }

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

Result<std::string> HostSources::read_file(const std::string& path) {
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "rbe"));
  if (file == nullptr) return system_error(errno);
  struct stat info {};
  if (::fstat(::fileno(file.get()), &info) == 0 && S_ISDIR(info.st_mode)) return system_error(EISDIR);
  std::string text;
  char block[16384];
  while (text.size() <= kMostBytes) {
    const std::size_t count = std::fread(block, 1, sizeof block, file.get());
    text.append(block, count);
    if (count < sizeof block) break;
  }
  if (std::ferror(file.get()) != 0) return system_error(errno == 0 ? EIO : errno);
  return text;
}

std::optional<std::string> HostSources::environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

Result<std::vector<std::string>> HostSources::match(const std::string& pattern) {
  static thread_local std::string unread;
  static thread_local int reason;
  reason = 0;
  const auto note = [](const char* path, int error) {  // what is not there matches nothing; what cannot be read may hold anything
    if (error == ENOENT || error == ENOTDIR) return 0;
    unread = path;
    reason = error;
    return 1;
  };
  ::glob_t found{};
  std::vector<std::string> paths;
  const int result = ::glob(pattern.c_str(), 0, note, &found);
  for (std::size_t i = 0; result == 0 && i < found.gl_pathc; ++i) paths.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
  if (reason != 0) return Error{concat(unread, ": ", system_error(reason).message), reason};
  if (result != 0 && result != GLOB_NOMATCH) return system_error(ENOMEM);
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace weir::config
