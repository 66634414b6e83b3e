#!/usr/bin/env python3
"""The rules of the house that a compiler does not see.

usage: lint.py ROOT          prints `file:line: rule: what is wrong`, exits 1 if anything is
Rules: floors, third-party, clocks, length, header, markers, words, top-level. Standard library only.
"""
import os
import re
import sys

WARN_LINES, MAX_LINES = 500, 600

# Which floor a folder stands on; the longest prefix wins. Files include their own floor or a lower one.
FLOORS = {
    "proxy/base": 0,
    "proxy/runtime": 1, "proxy/message": 1, "proxy/metrics": 1, "proxy/sim": 1, "config": 1,
    "proxy/net": 2,
    "proxy/http": 3,
    "proxy/chain": 4,
    "filters": 5, "proxy/upstream": 5, "proxy/observe": 5,
    "proxy/server": 6, "config/schema": 6,
    "proxy/cli": 7, "proxy/main.cc": 7,
    "perf": 8, "tests": 8,
}

# One home for each third-party library. A test folder may use what the folder that it mirrors may.
THIRD_PARTY = [
    (r"event2/|evutil|event\.h$", "libevent", ["proxy/runtime/libevent_loop.cc"]),
    (r"yaml-cpp/", "yaml-cpp", ["config/"]),
    (r"prometheus/", "prometheus-cpp", ["proxy/metrics/"]),
    (r"ares(_\w+)?\.h$", "c-ares", ["proxy/net/"]),
    (r"nghttp2/", "nghttp2", ["proxy/http/", "tests/support/h2_client.cc", "tests/support/h2_upstream.cc"]),
    (r"openssl/", "OpenSSL", ["proxy/net/", "tests/support/certificates.cc"]),
    (r"CLI/", "CLI11", ["proxy/cli/", "proxy/main.cc"]),
    (r"systemd/", "libsystemd", ["proxy/server/"]),
    (r"nlohmann/", "nlohmann-json", ["proxy/server/", "tests/"]),
    (r"catch2/", "Catch2", ["tests/"]),
    (r"llhttp", "llhttp", ["tests/fuzz/"]),
]
SYSTEM_FOLDERS = ("sys/", "netinet/", "arpa/", "net/", "linux/", "sanitizer/")
SYSTEM_HEADERS = set("""
    dirent.h dlfcn.h endian.h errno.h emmintrin.h execinfo.h fcntl.h fnmatch.h getopt.h glob.h grp.h immintrin.h limits.h netdb.h
    malloc.h poll.h pthread.h pwd.h sched.h signal.h stdlib.h string.h syslog.h termios.h time.h unistd.h
""".split())

CLOCK_HOMES = ("proxy/runtime/libevent_loop.cc", "proxy/main.cc", "tests/e2e/", "perf/")
CLOCKS = re.compile(
    r"\b(steady_clock|system_clock|high_resolution_clock|utc_clock|sleep_for|sleep_until|random_device|mt19937(_64)?"
    r"|default_random_engine|clock_gettime|gettimeofday|nanosleep|clock_nanosleep|usleep|arc4random|getentropy"
    r"|getrandom|drand48|random_shuffle)\b"
    r"|(?<![\w.>:])(?:std::|::)?(?:s?rand|sleep)\s*\("
    r"|(?<![\w.>:])(?:std::|::)?time\s*\(\s*(?:nullptr|NULL|0|&)")

# Spelled so that this file does not contain what it looks for.
MARKERS = re.compile(r"\b([T]ODO|[F]IXME|[X]XX|[H]ACK)\b")
WORDS = re.compile(r"/[w]ork/|/[t]mp/weir/|\.\./[s]hared|\b([c]laude|[c]hatgpt|[l]anguage model|[t]his session|[a]i agent"
                   r"|[s]ubagent|[p]reface\.md|[b]are-machine)\b", re.IGNORECASE)

TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "README.md", "proxy", "config", "filters", "deploy", "tests", "perf"}
SKIPPED = {"build", "__pycache__", "results"}
CODE = (".h", ".cc")
TEXT = CODE + (".py", ".sh", ".md", ".txt", ".yaml", ".yml", ".json", ".service", ".svg", ".conf", ".cfg", "")


def floor_of(path):
    best = max((p for p in FLOORS if path == p or path.startswith(p + "/")), key=len, default=None)
    return None if best is None else FLOORS[best]


def filter_folder(path):
    parts = path.split("/")
    return parts[1] if parts[0] == "filters" and len(parts) > 2 else None


def without_comments(text):
    """The code with comments and literals blanked, line breaks kept."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.DOTALL)

    def blank(match):
        start = match.start()
        if match.group(0)[0] == "'" and start and (text[start - 1].isalnum()):  # a digit separator: 1'000'000
            return match.group(0)
        return re.sub(r"[^\n]", " ", match.group(0))

    return pattern.sub(blank, text)


class Lint:
    def __init__(self, root):
        self.root, self.problems, self.warnings = root, [], []

    def problem(self, path, line, rule, message):
        self.problems.append((path, line, f"{path}:{line}: {rule}: {message}"))

    def run(self):
        for path in sorted(self.files()):
            try:
                with open(os.path.join(self.root, path), encoding="utf-8") as file:
                    text = file.read()
            except UnicodeDecodeError:
                continue
            self.check_text(path, text)
            if path.endswith(CODE):
                self.check_code(path, text)
        self.problems.sort()
        return not self.problems

    def files(self):
        for entry in sorted(os.listdir(self.root)):
            hidden = entry.startswith(".")
            if not hidden and entry not in TOP_LEVEL and entry not in SKIPPED and not entry.startswith("build-") \
                    and entry != "compile_commands.json":
                self.problem(entry, 1, "top-level", "only " + ", ".join(sorted(TOP_LEVEL)) + " and dotfiles stand here")
            elif os.path.isfile(os.path.join(self.root, entry)) and (hidden or entry in TOP_LEVEL) and entry != ".git":
                yield entry
        for top in [t for t in TOP_LEVEL if "." not in t] + [".ci"]:
            for folder, names, files in os.walk(os.path.join(self.root, top)):
                names[:] = [n for n in names if n not in SKIPPED]
                for name in files:
                    path = os.path.relpath(os.path.join(folder, name), self.root)
                    if os.path.splitext(name)[1] in TEXT and not os.path.islink(os.path.join(folder, name)):
                        yield path

    def check_text(self, path, text):
        lines = text.split("\n")
        count = len(lines) - 1
        if path.endswith(CODE + (".py", ".sh")):
            if count > MAX_LINES:
                self.problem(path, count, "length", f"{count} lines, at most {MAX_LINES}: two ideas in one room?")
            elif count > WARN_LINES:
                self.warnings.append(f"{path}:{count}: length: {count} lines, aim for {WARN_LINES}")
        for number, line in enumerate(lines, 1):
            found = MARKERS.search(line)
            if found:
                self.problem(path, number, "markers", f"{found.group(0)}: do it, or file an issue")
            found = WORDS.search(line)
            if found:
                self.problem(path, number, "words", f"'{found.group(0)}' does not belong in the project")

    def check_code(self, path, text):
        code = without_comments(text)
        floor = floor_of(path)
        if floor is None:
            self.problem(path, 1, "floors", "this folder is on no floor: give it one in tests/lint/lint.py")
            return
        if path.endswith(".h"):
            self.check_header(path, text, code)
        for number, line in enumerate(code.split("\n"), 1):
            if not path.startswith(CLOCK_HOMES):
                found = CLOCKS.search(line)
                if found:
                    self.problem(path, number, "clocks", f"'{found.group(0).strip()}': time is loop.now(), chance is a Random&")
        for number, line in enumerate(text.split("\n"), 1):
            found = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
            if found:
                quoted, target = found.group(1) == '"', found.group(2)
                if quoted:
                    self.check_own_include(path, number, floor, target)
                else:
                    self.check_system_include(path, number, target)

    def check_header(self, path, text, code):
        if "#pragma once" not in text:
            self.problem(path, 1, "header", "#pragma once is missing")
        if not text.startswith("//"):
            self.problem(path, 1, "header", "opens with a comment: what it is, who owns it, what it never does")
        for number, line in enumerate(code.split("\n"), 1):
            if path != "proxy/base/check.h" and re.search(r"(?<!\w)CHECK\(", line) and not path.startswith("tests/"):
                self.problem(path, number, "header", "a header says WEIR_CHECK: in tests CHECK is Catch2's")

    def check_own_include(self, path, number, floor, target):
        if not os.path.isfile(os.path.join(self.root, target)):
            self.problem(path, number, "floors", f"\"{target}\" is no path from the root of the repository")
            return
        other = floor_of(target)
        if other is None or other > floor:
            self.problem(path, number, "floors", f"\"{target}\" stands on a higher floor ({other}) than this file ({floor})")
        mine, theirs = filter_folder(path), filter_folder(target)
        if mine and target.startswith("filters/") and mine != theirs:
            self.problem(path, number, "floors", f"filters/{mine} includes \"{target}\": filters do not know each other")

    def check_system_include(self, path, number, target):
        for pattern, library, homes in THIRD_PARTY:
            if re.match(pattern, target):
                mirrored = self.mirrored(path)
                if not any(p.startswith(h) for h in homes for p in mirrored):
                    self.problem(path, number, "third-party", f"{library} is included from {' and '.join(homes)} only")
                return
        if target.startswith(SYSTEM_FOLDERS) or target in SYSTEM_HEADERS or re.fullmatch(r"[a-z_]+", target):
            return
        self.problem(path, number, "third-party", f"<{target}> is no header that tests/lint/lint.py knows")

    @staticmethod
    def mirrored(path):
        if not path.startswith("tests/"):
            return [path]
        rest = path[len("tests/"):]
        return [path, rest, "proxy/" + rest]


def main():
    if len(sys.argv) != 2 or not os.path.isdir(sys.argv[1]):
        print(__doc__, file=sys.stderr)
        return 2
    lint = Lint(sys.argv[1])
    good = lint.run()
    for warning in lint.warnings:
        print(f"warning: {warning}")
    for _, _, line in lint.problems:
        print(line)
    print("lint: clean" if good else f"lint: {len(lint.problems)} problem(s)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
