"""The lint finds each kind of violation, at its line, and is silent on good code."""
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lint  # noqa: E402

HEADER = "// What it is.\n// Who owns it.\n// What it never does.\n#pragma once\n"
GOOD = {
    "proxy/base/text.h": HEADER,
    "proxy/runtime/event_loop.h": HEADER + '#include "proxy/base/text.h"\n',
    "proxy/runtime/libevent_loop.cc": "#include <event2/event.h>\nauto now() { return std::chrono::steady_clock::now(); }\n",
    "proxy/net/tls.cc": "#include <openssl/ssl.h>\n#include <sys/socket.h>\n#include <vector>\n",
    "proxy/chain/link.h": HEADER + '#include "proxy/runtime/event_loop.h"\n',
    "filters/retry/retry_filter.h": HEADER + '#include "proxy/chain/link.h"\n',
    "filters/timeout/timeout_filter.h": HEADER + '#include "proxy/chain/link.h"\n',
    "filters/catalog.cc": '#include "filters/retry/retry_filter.h"\n#include "filters/timeout/timeout_filter.h"\n',
    "config/value.h": HEADER,
    "config/schema/schema.h": HEADER + '#include "config/value.h"\n#include "filters/retry/retry_filter.h"\n',
    "tests/net/tls_test.cc": '#include <catch2/catch.hpp>\n#include <openssl/ssl.h>\n#include "proxy/chain/link.h"\n',
}


class LintTest(unittest.TestCase):
    def problems(self, changes):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**GOOD, **changes}.items():
                os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            checker = lint.Lint(root)
            checker.run()
            return [line for _, _, line in checker.problems]

    def assert_found(self, path, text, place, part=""):
        found = self.problems({path: text})
        self.assertEqual(1, len(found), found)
        self.assertTrue(found[0].startswith(place), found[0])
        self.assertIn(part, found[0])

    def test_a_good_tree_is_clean(self):
        self.assertEqual([], self.problems({}))

    def test_an_upward_include_is_found(self):
        self.assert_found("proxy/base/log.h", HEADER + '#include "proxy/chain/link.h"\n', "proxy/base/log.h:5: floors")
        self.assert_found("config/reader.cc", '#include "config/schema/schema.h"\n', "config/reader.cc:1: floors")
        self.assert_found("proxy/chain/chain.cc", '#include "filters/catalog.cc"\n', "proxy/chain/chain.cc:1: floors")

    def test_production_does_not_include_tests(self):
        self.assert_found("proxy/server/worker.cc", '#include "tests/net/tls_test.cc"\n', "proxy/server/worker.cc:1: floors")

    def test_filters_do_not_know_each_other(self):
        self.assert_found("filters/retry/retry_filter.cc", '#include "filters/timeout/timeout_filter.h"\n',
                          "filters/retry/retry_filter.cc:1: floors", "do not know each other")

    def test_an_include_that_is_not_from_the_root_is_found(self):
        self.assert_found("proxy/base/log.cc", '\n#include "text.h"\n', "proxy/base/log.cc:2: floors")

    def test_a_folder_on_no_floor_is_found(self):
        self.assert_found("proxy/utils/misc.cc", "int a;\n", "proxy/utils/misc.cc:1: floors")

    def test_a_library_outside_its_home_is_found(self):
        for header in ["event2/event.h", "yaml-cpp/yaml.h", "prometheus/registry.h", "ares.h", "nghttp2/nghttp2.h",
                       "openssl/ssl.h", "CLI/CLI.hpp", "systemd/sd-daemon.h", "nlohmann/json.hpp", "catch2/catch.hpp"]:
            self.assert_found("proxy/upstream/pool.cc", f"#include <{header}>\n", "proxy/upstream/pool.cc:1: third-party")

    def test_libevent_has_one_file_not_one_folder(self):
        self.assert_found("proxy/runtime/timer.cc", "#include <event2/event.h>\n", "proxy/runtime/timer.cc:1: third-party")

    def test_an_unknown_library_is_found(self):
        self.assert_found("proxy/net/x.cc", "#include <curl/curl.h>\n", "proxy/net/x.cc:1: third-party")
        self.assert_found("tests/net/x.cc", "#include <zlib.h>\n", "tests/net/x.cc:1: third-party")

    def test_clocks_and_chance_are_found(self):
        for code in ["auto t = std::chrono::steady_clock::now();", "std::this_thread::sleep_for(1ms);", "std::random_device d;",
                     "int r = rand();", "auto t = time(nullptr);", "auto t = ::time(0);", "usleep(5);", "::sleep(1);",
                     "clock_gettime(CLOCK_MONOTONIC, &t);", "using C = std::chrono::system_clock;", "std::mt19937 g;"]:
            self.assert_found("filters/retry/x.cc", f"// a\n{code}\n", "filters/retry/x.cc:2: clocks")
        self.assert_found("tests/net/x_test.cc", "std::this_thread::sleep_for(1ms);\n", "tests/net/x_test.cc:1: clocks")

    def test_what_only_looks_like_a_clock_is_not_one(self):
        self.assertEqual([], self.problems({"filters/retry/x.cc": (
            "// steady_clock is for the loop\nconst char* s = \"rand()\";\nauto t = loop.time(0);\nx.rand();\n"
            "Duration uptime(int);\nauto big = 1'000'000; auto more = 2'000;\nint operand(int a);\n")}))

    def test_a_clock_behind_a_digit_separator_is_seen(self):
        self.assert_found("filters/retry/x.cc", "int a = 1'000 + rand() + 2'000;\n", "filters/retry/x.cc:1: clocks")

    def test_the_end_of_length_is_found(self):
        self.assertEqual([], self.problems({"proxy/base/x.cc": "\n" * 600}))
        self.assert_found("proxy/base/x.cc", "\n" * 601, "proxy/base/x.cc:601: length")

    def test_headers_are_checked(self):
        self.assert_found("proxy/base/x.h", "// What.\nint a;\n", "proxy/base/x.h:1: header", "#pragma once")
        self.assert_found("proxy/base/x.h", "#pragma once\n", "proxy/base/x.h:1: header", "opens with a comment")
        self.assert_found("proxy/base/x.h", HEADER + "inline void f(int a) { CHECK(a); }\n", "proxy/base/x.h:5: header")

    def test_markers_and_words_are_found(self):
        for marker in ["TO" + "DO", "FIX" + "ME", "X" + "XX"]:
            self.assert_found("proxy/base/x.cc", f"int a;  // {marker}(me): later\n", "proxy/base/x.cc:1: markers")
        for word in ["/wo" + "rk/main", "Cla" + "ude", "this ses" + "sion"]:
            self.assert_found("deploy/README.md", f"\nas {word} has it\n", "deploy/README.md:2: words")

    def test_a_stray_top_level_folder_is_found(self):
        self.assert_found("docs/a.md", "text\n", "docs:1: top-level")


if __name__ == "__main__":
    unittest.main()
