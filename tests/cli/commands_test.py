"""weir explain and weir schema as commands: exit statuses, which stream says what, and what is ambiguous."""
import json, os, subprocess, tempfile, unittest

ROOT = os.environ["WEIR_SOURCE_DIR"]
WEIR = os.environ["WEIR_BINARY"]
MAIN = f"{ROOT}/tests/acceptance/main.yaml"
SIDECAR = f"{ROOT}/tests/cli/inbound.yaml"


def weir(*arguments):
    done = subprocess.run([WEIR, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


class Commands(unittest.TestCase):
    def test_explain_prints_the_plan_and_exits_0(self):
        status, out, err = weir("explain", "-c", MAIN, "POST", "http://payments.local/v1/charge", "-H", "x-tenant: gold", "-H", "a:b")
        self.assertEqual((status, err), (0, ""))
        for words in ("charge", "careful, named by the route", "main.yaml:59", "worst case", "per process"):
            self.assertIn(words, out)

    def test_a_refused_request_is_an_answer_too(self):
        status, out, _ = weir("explain", "-c", MAIN, "GET", "/a/../b")
        self.assertEqual(status, 0)
        self.assertIn("400", out)

    def test_json(self):
        status, out, _ = weir("explain", "--json", "-c", MAIN, "GET", "/cart")
        self.assertEqual(status, 0)
        self.assertEqual([target["service"] for target in json.loads(out)["targets"]], ["payments", "payments-next"])

    def test_a_listener_is_asked_for_where_there_are_several(self):
        status, out, err = weir("explain", "-c", SIDECAR, "GET", "http://app.local/")
        self.assertEqual((status, out), (2, ""))
        self.assertIn("in (inbound), out (outbound)", err)
        self.assertEqual(weir("explain", "-c", SIDECAR, "--listener", "in", "GET", "http://app.local/")[0], 0)
        self.assertIn("layered", weir("explain", "-c", SIDECAR, "--direction", "outbound", "GET", "http://app.local/")[1])
        self.assertEqual(weir("explain", "-c", SIDECAR, "--listener", "nobody", "GET", "/")[0], 2)

    def test_a_file_with_errors_exits_1_and_usage_2(self):
        status, out, err = weir("explain", "-c", f"{ROOT}/tests/acceptance/broken.yaml", "GET", "/")
        self.assertEqual((status, out), (1, ""))
        self.assertIn("error: ", err)
        self.assertEqual(weir("explain", "-c", "/nowhere.yaml", "GET", "/")[0], 2)
        self.assertEqual(weir("explain", "-c", MAIN, "GET")[0], 2)
        self.assertEqual(weir("explain", "-c", MAIN, "GET", "/", "-H", "no colon")[0], 2)
        self.assertEqual(weir("explain", "-c", f"{ROOT}/tests/acceptance/default.yaml", "GET", "/")[0], 2)

    def test_schema_is_json(self):
        status, out, err = weir("schema")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(json.loads(out)["title"], "weir configuration")


if __name__ == "__main__":
    unittest.main()
