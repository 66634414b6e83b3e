"""README's tour is true: its commands, run in its order, do what it says; its examples are accepted by `weir validate`."""
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import certificates  # noqa: E402
from harness import connectable, free_port, wait_until  # noqa: E402

ROOT = os.environ["WEIR_SOURCE_DIR"]
WEIR = os.environ["WEIR_BINARY"]
with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as stream:
    README = stream.read()
TOUR = re.findall(r"```sh tour\n(.*?)```", README, re.DOTALL)
YAML = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)


class Shell:
    """The reader's shell: one bash that lives through the tour."""

    def __init__(self, folder):
        self.process = subprocess.Popen(["bash"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.run(f'PATH="{os.path.dirname(WEIR)}:$PATH"')  # no function: `weir &` is then weir itself, which close() ends

    def run(self, commands):
        self.process.stdin.write(f"{commands}\necho @@end $?\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.startswith("@@end "):
                return "".join(lines), int(line.split()[1])
            lines.append(line)
        raise AssertionError("the shell is gone: " + "".join(lines))

    def close(self):
        self.process.stdin.write("kill $(jobs -p) 2>/dev/null; wait; exit\n")
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError("the tour left a process behind")


class TourTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.shell = Shell(self.folder.name)
        self.addCleanup(self.shell.close)
        names = ["8079", "8080", "8081", "9901", "15001"]
        self.ports = {name: free_port() for name in names}

    def step(self, block):
        commands = re.sub(r"127\.0\.0\.1:(\d+)", lambda m: f"127.0.0.1:{self.ports[m.group(1)]}", block)
        commands = commands.replace("/tmp/", self.folder.name + "/")
        output, status = self.shell.run(commands.strip())
        for port in re.findall(r"(?:listen|read_only_listen):? 127\.0\.0\.1:(\d+)", commands):
            wait_until(lambda: connectable(int(port)), f"port {port} of:\n{commands}{output}{self.logs()}")
        return output, status

    def logs(self):
        text = ""
        for name in ["app.log", "plain.log", "weir.log"]:
            path = os.path.join(self.folder.name, name)
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    text += f"\n{name}: {file.read()[-2000:]}"
        return text

    def access_log(self):
        with open(os.path.join(self.folder.name, "weir-access.log"), encoding="utf-8") as file:
            return file.read()

    def metrics(self, pattern):
        output, _ = self.step("curl -s http://127.0.0.1:9901/metrics")
        return [line for line in output.splitlines() if re.match(pattern, line)]

    def total(self, pattern):
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.metrics(pattern))

    def test_the_tour_of_five_minutes(self):
        (stand_in, without_file_start, policy, calls, look, breaker, to_shadow, in_shadow) = self.blocks()
        self.step(stand_in)
        start, curl = without_file_start.strip().split("\n")
        self.step(start)
        wait_until(lambda: connectable(self.ports["8081"]), "weir run --listen" + self.logs())
        output, _ = self.step(curl)
        self.assertRegex(output, r"HTTP/1.1 200 ")
        self.assertIn("hello", output)

        self.step(policy)
        output, _ = self.step(calls)
        self.assertEqual(["200"] * 10, output.split(), self.logs())

        wait_until(self.access_log, "the access log")
        output, status = self.step(look)
        self.assertEqual(0, status)
        self.assertGreater(self.total(r"weir_attempts_total"), self.total(r"weir_requests_total"))
        entry = json.loads(output.strip().splitlines()[-1])
        self.assertIn("attempts", entry, entry)

        output, _ = self.step(breaker)
        self.assertEqual(["503"] * 20, output.splitlines()[0].split())
        self.assertRegex(output, r"(?i)\nproxy-status: weir; .*breaker_open.*weir.yaml:")
        wait_until(lambda: "weir.yaml:" in self.access_log(), "the place of the policy in the access log")

        output, status = self.step(to_shadow)
        self.assertEqual(["weir_config_generation 2"], self.metrics(r"weir_config_generation"), output + self.logs())
        self.step(in_shadow)
        output, _ = self.step("curl -si http://127.0.0.1:15001/broken")
        self.assertIn("sorry", output)
        self.assertGreater(self.total(r'weir_filter_decisions_total\{.*filter="circuit_breaker".*mode="shadow"'), 0)

    def blocks(self):
        self.assertEqual(8, len(TOUR), "the tour has other steps than this test knows")
        return TOUR


class ExamplesTest(unittest.TestCase):
    def test_every_example_is_accepted(self):
        self.assertGreaterEqual(len(YAML), 3)
        frame = "version: 1\nservices:\n  any: { endpoints: [127.0.0.1:1], policy: p }\npolicies:\n  p:\n    filters:\n"
        for example in YAML:
            text = example
            if not example.startswith("version: 1"):
                text = frame + "".join("      " + line + "\n" for line in example.splitlines())
            with tempfile.TemporaryDirectory() as folder:
                if "/etc/weir/tls/" in text:
                    authority = certificates.Authority(folder, "example")
                    certificate, key = authority.issue("tls", dns=["payments.shop"], client=True)
                    for name, made in (("tls.crt", certificate), ("tls.key", key), ("ca.crt", authority.ca_path)):
                        shutil.copy(made, os.path.join(folder, name))
                    text = text.replace("/etc/weir/tls/", folder + "/")
                path = os.path.join(folder, "example.yaml")
                with open(path, "w", encoding="utf-8") as out:
                    out.write(text)
                done = subprocess.run([WEIR, "validate", "--strict", path], capture_output=True, text=True, check=False)
                self.assertEqual(0, done.returncode, text + done.stdout + done.stderr)


if __name__ == "__main__":
    if not os.access(WEIR, os.X_OK):
        print("the weir program is not built")
        sys.exit(77)
    unittest.main()
