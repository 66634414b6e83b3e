"""What a request costs, counted exactly: system calls (strace), instructions and heap allocations (valgrind). No clock decides here."""
import os, re, shutil, signal, subprocess, tempfile, unittest

from harness import *

FULL = ("[ { timeout: { total: 5s } }, { retry: { max_attempts: 3, causes: [connect_failure, reset, refused_stream, timeout, gateway_error] } },"
        " { circuit_breaker: { causes: [connect_failure, reset, timeout, 5xx], min_calls: 20, failure_ratio: 50%, slow_call: { longer_than: 4s, ratio: 80% } } },"
        " { concurrency_limit: { adaptive: { algorithm: gradient2, initial: 1000, min: 1000, max: 4000 }, queue: { size: 100, timeout: 1s } } },"
        " { timeout: { name: per-try, response_headers: 4s } } ]")


INSTRUCTIONS = 16000  # of the worker; measured 15,600, the aim is 10,000
CACHE_LINES = 120  # of the worker, with 1,000 requests at once and a cache of 512 KiB; measured 110
GRPC_INSTRUCTIONS = 53000  # of the worker; measured 50,500, of which nghttp2 takes 27,000
MESSAGE = b"\0\0\0\0\x18hello from the upstream\n"  # of gRPC: not compressed, its length, itself


class Cost(EndToEnd):
    def configure(self):
        server = self.nginx('keepalive_timeout 600s; location / { default_type text/plain; return 200 "hello from the upstream\\n"; }')
        self.write_config(self.simple(server.port, policy=FULL, workers=1))

    def start(self, prefix):
        self.config = f"{self.dir}/weir.yaml"
        self.configure()
        process = Process(prefix + [WEIR, "run", "-c", self.config])
        self.addCleanup(process.stop)
        wait_until(lambda: process.process.poll() is not None or connectable(self.port), "weir under its tool", 60)
        self.assertIsNone(process.process.poll(), process.text())
        return process

    def load(self, connections, count):
        out = subprocess.run(["h2load", "--h1", "-t1", f"-c{connections}", f"-n{count}", f"http://127.0.0.1:{self.port}/"],
                             capture_output=True, text=True, timeout=300).stdout
        self.assertIn(f"{count} succeeded, 0 failed", out)

    def end(self, process):
        # The tool is the parent: the daemon is its child, and a signal to the daemon drains it.
        children = subprocess.run(["pgrep", "-P", str(process.process.pid)], capture_output=True, text=True).stdout.split()
        os.kill(int(children[0]) if children else process.process.pid, signal.SIGTERM)
        process.wait(60)

    def requests(self, count):
        """Exactly `count` requests over one keep-alive connection; the answers are read."""
        one = b"GET / HTTP/1.1\r\nHost: weir.test\r\nUser-Agent: cost/1\r\nAccept: */*\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), 30) as s:
            buffered = b""
            for _ in range(count):
                s.sendall(one)
                head, buffered = read_head(s, buffered)
                length = int(header(head, "content-length"))
                while len(buffered) < length:
                    buffered += s.recv(65536)
                buffered = buffered[length:]

    def measured(self, tool, number, few=500, many=2500, requests=None):
        """What one request adds: the difference between two runs, so that start-up and end cancel out."""
        got = []
        for count in (few, many):
            self.port = free_port()
            process = self.start(tool)
            (requests or self.requests)(count)
            self.end(process)
            got.append(number(process))
        return (got[1] - got[0]) / (many - few)

    def callgrind(self, *options):
        return ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={self.dir}/callgrind", *options]

    def events_of_the_worker(self):  # the second thread; the first one's housekeeping goes by the clock, not by requests
        with open(f"{self.dir}/callgrind-02") as f:
            text = f.read()
        names, numbers = (re.search(rf"^{line}: (.*)", text, re.MULTILINE).group(1).split() for line in ("events", "summary"))
        return dict(zip(names, map(int, numbers)))

    def instructions(self):
        return self.measured(self.callgrind(), lambda process: self.events_of_the_worker()["Ir"])

    def allocations(self):
        def on_the_data_path(process):
            with open(f"{self.dir}/dhat") as f:
                profile = json.load(f)
            frames = profile["ftbl"]
            clocked = {i for i, text in enumerate(frames) if "Heartbeat" in text or "on_posted" in text}
            return sum(point["tbk"] for point in profile["pps"] if not clocked.intersection(point["fs"]))
        return self.measured(["valgrind", "--tool=dhat", "--num-callers=20", f"--dhat-out-file={self.dir}/dhat"], on_the_data_path)


class SystemCalls(Cost):
    def syscalls(self, connections, requests):
        report = f"{self.dir}/strace"
        process = self.start(["strace", "-c", "-f", "-o", report])
        self.load(connections, requests)
        self.end(process)
        counts = {}
        with open(report) as f:
            for fields in map(str.split, f):
                if len(fields) >= 5 and fields[0][0].isdigit() and fields[-1] != "total":
                    counts[fields[-1]] = int(fields[3])
        # What main does by the clock (pressure from /proc, a beat to each worker) is dearer a request the slower the tracer is; it is bounded apart.
        clocked = {k: counts.pop(k, 0) for k in ("openat", "read", "close", "newfstatat", "fstat", "getrusage", "write", "prlimit64")}
        for name, count in clocked.items():
            self.assertLess(count / requests, 0.1, name)
        return sum(counts.values()) / requests, {k: round(v / requests, 3) for k, v in counts.items() if v > requests / 200}

    def test_system_calls_a_request(self):
        if subprocess.run(["strace", "-c", "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
            self.skipTest("strace may not trace here")
        for connections, requests, bar in ((64, 40000, 4.2), (1, 20000, 6.1)):
            with self.subTest(connections=connections):
                # On a busy machine fewer events wait at each epoll_wait: the least of three is what weir needs, the rest is the neighbours'.
                total, each = bar + 1, {}
                for _ in range(3):
                    if total > bar:
                        self.port = free_port()
                        total, each = min((total, each), self.syscalls(connections, requests), key=lambda measured: measured[0])
                print(f"system calls a request at {connections} connections: {total:.3f} {each}")
                self.assertLessEqual(total, bar, each)
                self.assertLess(each.get("epoll_ctl", 0), 0.02)


@unittest.skipUnless(shutil.which("valgrind"), "valgrind is not installed")
class Http1(Cost):
    def test_instructions_a_request(self):
        instructions = self.instructions()
        print(f"instructions a request: {instructions:.0f}")
        self.assertLessEqual(instructions, INSTRUCTIONS)

    def test_cache_lines_a_request(self):
        """Lines of memory that are fetched or written anew because a thousand other requests came in between: what many connections cost."""
        def fetched(process):
            events = self.events_of_the_worker()
            return events["DLmr"] + events["DLmw"]
        lines = self.measured(self.callgrind("--cache-sim=yes", "--D1=32768,8,64", "--LL=524288,8,64"), fetched, 4000, 12000, lambda count: self.load(1000, count))
        print(f"cache lines a request at 1,000 connections: {lines:.1f}")
        self.assertLessEqual(lines, CACHE_LINES)

    def test_heap_allocations_a_request(self):
        heap = self.allocations()
        print(f"heap allocations a request: {heap:.4f}")
        self.assertLessEqual(heap, 0.01)


@unittest.skipUnless(shutil.which("valgrind") and shutil.which("nghttpd"), "valgrind or nghttpd is not installed")
class Grpc(Cost):
    """Unary calls, 64 at once on one connection, to an upstream of HTTP/2 that says its status in trailers."""

    def configure(self):
        os.makedirs(f"{self.dir}/files/shop.Cart", exist_ok=True)
        for path in ("files/shop.Cart/Get", "message"):
            with open(f"{self.dir}/{path}", "wb") as f:
                f.write(MESSAGE)
        port = free_port()
        server = Process(["nghttpd", "--no-tls", "-n1", f"--htdocs={self.dir}/files", "--trailer=grpc-status: 0", str(port)])
        self.addCleanup(server.stop)
        wait_until(lambda: connectable(port), f"nghttpd on {port}")
        self.write_config(self.simple(port, policy=FULL, service="protocol: http2", workers=1))

    def requests(self, count):
        out = subprocess.run(["h2load", "-t1", "-c1", "-m64", f"-n{count}", f"--data={self.dir}/message", "-H", "content-type: application/grpc",
                              "-H", "te: trailers", f"http://127.0.0.1:{self.port}/shop.Cart/Get"], capture_output=True, text=True, timeout=120).stdout
        self.assertIn(f"{count} succeeded, 0 failed", out)

    def test_instructions_a_call(self):
        instructions = self.instructions()
        print(f"instructions a gRPC call: {instructions:.0f}")
        self.assertLessEqual(instructions, GRPC_INSTRUCTIONS)

    def test_heap_allocations_a_call(self):
        heap = self.allocations()
        print(f"heap allocations a gRPC call: {heap:.4f}")
        self.assertLessEqual(heap, 2)  # every ten seconds of the clock the worker gives its blocks back, and takes them anew


if __name__ == "__main__":
    unittest.main(verbosity=1)
