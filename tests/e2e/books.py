"""The base of the fault tests: weir with two workers under a good load, and the books that must balance once a fault is over.

Nothing lost: each request that reached weir has exactly one line of the access log, which says what the client saw; metrics and lines add
up. Nothing leaked: gauges, queues, permits, connections and descriptors are back where they were. Nothing blocked: the good requests went
on, and no worker's loop was ever late by more than the machine itself is.
"""
import collections, concurrent.futures, os, socket, struct, subprocess, sys, time

from harness import *
from load import read_answer

HERE = os.path.dirname(os.path.abspath(__file__))
LATE = 0.15  # a loop's delay beyond the machine's own noise, in seconds: whatever really blocks takes longer
GAUGES = ("weir_in_flight", "weir_attempts_in_flight", "weir_upstream_pending", "weir_queue_length", "weir_limit_in_flight",
          "weir_upstream_limit_used", "weir_upstream_connections", "weir_listener_connections", "weir_breaker_probes_out")


def reset(connection):
    """Closes with RST in place of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Books(EndToEnd):
    def setUp(self):
        super().setUp()
        self.saw = {}            # path: what the client saw: a status, "broken", or "left"
        self.good_served = True  # every request of the good load gets a 200
        self.loads = []
        self.may_drop = False    # the access log may miss lines that it counts as dropped

    def start(self, services, policy="", listener="", good="", log=None, **options):
        """weir with the services good (nginx, under /good) and what the test adds; everything else goes to the service `bad`."""
        self.log_path = log or f"{self.dir}/access.log"
        self.good = self.nginx('keepalive_timeout 60s; location / { return 200 "good\\n"; }')
        policies = f"policies:\n  test:\n    filters: {policy}\n" if policy else ""
        self.process = self.weir(f"""
workers: 2
access_log: {{ path: {self.log_path}, format: json, sample: 100% }}
listeners:
  - name: out
    direction: outbound
    listen: 127.0.0.1:@PORT@
    {listener}
    routes:
      - {{ match: {{ path_prefix: /good }}, service: good }}
      - {{ service: bad{', policy: test' if policy else ''} }}
services:
  good: {{ endpoints: ["127.0.0.1:{self.good.port}"], keep_alive: {{ idle: 300ms }} {good} }}
  {services}
{policies}""", **options)
        wait_until(lambda: connectable(self.admin_port), "the admin pages")
        wait_until(lambda: self.metric("weir_listener_connections") == 0, "the first look to be over")
        self.descriptors = self.steady_descriptors()
        return self.process

    def open_descriptors(self):
        return len(os.listdir(f"/proc/{self.process.process.pid}/fd"))

    def steady_descriptors(self):
        seen = [0]

        def twice():
            time.sleep(0.05)  # between two looks
            seen.append(self.open_descriptors())
            return seen[-1] == seen[-2]
        wait_until(twice, "the descriptors to be steady")
        return seen[-1]

    # --- Load and clients -----------------------------------------------------------------------------------------------------------

    def load(self, prefix="/good", connections=4, rate=200):
        """Starts load.py; it runs until the books are balanced."""
        process = subprocess.Popen([sys.executable, f"{HERE}/load.py", str(self.port), prefix, str(connections), str(rate)],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        process.prefix = prefix
        self.loads.append(process)
        before = self.metric("weir_requests_total")
        wait_until(lambda: self.metric("weir_requests_total") > before + 20, f"load on {prefix}")

    def call(self, path, method="GET", body=b"", head="", timeout=20):
        """One request on a connection of its own; what the client saw goes into the books. (outcome, body)"""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as s:
            length = f"Content-Length: {len(body)}\r\n" if body else ""
            s.sendall(f"{method} {path} HTTP/1.1\r\nHost: fault\r\nConnection: close\r\n{length}{head}\r\n".encode() + body)
            outcome, got, _ = read_answer(s, head_only=method == "HEAD")
        self.saw[path] = outcome
        return outcome, got

    def calls(self, paths, at_once=32, **options):
        """{outcome: how often}, and how long the longest took."""
        started = time.monotonic()

        def one(path):
            outcome, _ = self.call(path, **options)
            return outcome, time.monotonic() - started
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            results = list(pool.map(one, paths))
        return collections.Counter(r[0] for r in results), max(r[1] for r in results)

    def begin(self, path, data=b"", method="GET", head=""):
        """A request that is sent and not read: the client is going to leave."""
        s = socket.create_connection(("127.0.0.1", self.port), 20)
        self.addCleanup(s.close)
        s.sendall(f"{method} {path} HTTP/1.1\r\nHost: fault\r\n{head}\r\n".encode() + data)
        self.saw[path] = "left"
        return s

    def leave(self, connections):
        """Half of them with FIN, half with RST."""
        for number, s in enumerate(connections):
            s.close() if number % 2 == 0 else reset(s)

    # --- The books ------------------------------------------------------------------------------------------------------------------

    def end_loads(self):
        noise = 0.0
        for process in self.loads:
            out, _ = process.communicate(timeout=40)
            result = json.loads(out)
            noise = max(noise, result["noise"])
            self.saw.update((path, outcome) for path, outcome in result["outcomes"].items() if outcome != "unheard")
            if process.prefix == "/good" and self.good_served:
                strange = {p: o for p, o in result["outcomes"].items() if o != 200}
                self.assertEqual(strange, {}, "good requests suffered")
                self.assertGreater(len(result["outcomes"]), 20)
                took = sorted(result["seconds"])
                self.assertLess(took[int(len(took) * 0.99)], 1.0 + noise, "good requests were slow")
        return noise

    def balance(self, seconds=15):
        """Ends the load; then everything must add up and be given back."""
        noise = self.end_loads()
        self.assertIsNone(self.process.process.poll(), "weir ended:\n" + self.process.text())
        held = {}

        def empty():
            held.clear()
            held.update({(name, tuple(sorted(labels))): value for (name, labels), value in self.metrics().items() if name in GAUGES and value != 0})
            return not held
        try:
            wait_until(empty, "everything to be given back", seconds)
            wait_until(lambda: self.open_descriptors() == self.descriptors, "the descriptors to be closed", seconds)
        except AssertionError as e:
            raise AssertionError(f"{e}; still held: {held}; {self.open_descriptors()} descriptors, {self.descriptors} at the start") from None
        self.compare_lines(seconds)
        longest = self.metric("weir_loop_delay_max_seconds")
        self.assertLess(longest, LATE + noise, "a worker was blocked")
        self.assertGreater(longest, 0)

    def compare_lines(self, seconds):
        requests = int(self.metric("weir_requests_total"))
        dropped = lambda: int(self.metric("weir_access_log_dropped_total"))
        wait_until(lambda: len(self.access_log()) + dropped() >= requests, "the lines of the access log", seconds)
        lines = self.access_log()
        metrics = self.metrics()
        total = lambda name, **labels: sum(v for (n, l), v in metrics.items() if n == name and set(labels.items()) <= l)
        self.assertEqual(len(lines) + dropped(), requests)
        if self.may_drop:
            return
        self.assertEqual(dropped(), 0)
        self.assertEqual(total("weir_access_log_lines_total"), requests)
        for code in "2345":
            self.assertEqual(sum(str(line["status"])[0] == code for line in lines), total("weir_requests_total", code=code + "xx"), code)
        self.assertEqual(sum(line["status"] == 0 for line in lines), total("weir_requests_total", code="none"))
        self.assertEqual(sum("failure" in line for line in lines), total("weir_request_failures_total"))
        self.assertEqual(sum(len(line["attempts"]) for line in lines), total("weir_attempts_total"))
        by_path = collections.defaultdict(list)
        for line in lines:
            by_path[line["path"]].append(line)
        wrong = []
        for path, outcome in self.saw.items():
            found = by_path[path]
            right = len(found) == 1 and (found[0]["status"] == outcome if isinstance(outcome, int) else outcome == "left" or "failure" in found[0])
            if not right:
                wrong.append((path, outcome, found))
        self.assertEqual(wrong[:3], [], f"{len(wrong)} of {len(self.saw)} requests are not told once, and as the client saw them")

    def access_log(self):
        with open(self.log_path) as f:
            return [json.loads(line) for line in f.read().splitlines(True) if line.endswith("\n")]  # the last one may not be whole yet

    def lines_of(self, prefix):
        return [line for line in self.access_log() if line["path"].startswith(prefix)]
