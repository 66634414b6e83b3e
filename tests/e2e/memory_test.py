"""Flat memory: what weir holds is bounded by what it was told to hold, whatever its peers do, and is given back afterwards.

WEIR_MEMORY_BYTES=10GiB moves that much each way through slow peers; by default 1 GiB, which shows the same within seconds.
"""
import os, resource, signal, socket, subprocess, sys, threading, time, unittest

from harness import *

HERE = os.path.dirname(os.path.abspath(__file__))
KIB, MIB, GIB = 1024, 1024 ** 2, 1024 ** 3


def wanted_bytes():
    text = os.environ.get("WEIR_MEMORY_BYTES", "1GiB")
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("", 1)):
        if text.endswith(unit):
            return int(text[:len(text) - len(unit)]) * size


def raise_open_files(number):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(number, hard), hard))


class Memory(EndToEnd):
    def status(self, process, field):
        with open(f"/proc/{process.process.pid}/status") as f:
            for line in f:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * KIB
        raise AssertionError(f"no {field}")

    def rss(self, process):
        return self.status(process, "VmRSS")

    def peak(self, process):
        """The most that was ever resident: the kernel's own high-water mark, so that no sample is missed."""
        return self.status(process, "VmHWM")

    def settled_rss(self, process):
        """RSS once it has not moved for a while: start-up and what a load left behind are over."""
        seen, since = self.rss(process), time.monotonic()
        end = since + 15
        while time.monotonic() < min(since + 1.5, end):
            time.sleep(0.05)  # a sample's distance
            now = self.rss(process)
            if now != seen:
                seen, since = now, time.monotonic()
        return seen

    def warm(self, count=300):
        """Enough requests that every piece of code and every series has been touched once."""
        connections = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(16)]
        for i in range(count):
            self.one_request(connections[i % len(connections)])
        for s in connections:
            s.close()
        self.metrics()

    def one_request(self, connection, path="/"):
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: memory/1\r\nAccept: */*\r\n\r\n".encode())
        head, rest = read_head(connection)
        length = int(header(head, "content-length"))
        while len(rest) < length:
            rest += connection.recv(65536)
        self.assertIn(" 200 ", head.split("\r\n")[0])


class Idle(Memory):
    def test_an_idle_weir_with_one_worker_takes_12_mib(self):
        nginx = self.nginx('location / { return 200 "ok\\n"; }')
        weir = self.weir(self.simple(nginx.port, workers=1))
        self.warm()
        self.settled_rss(weir)
        with open(f"/proc/{weir.process.pid}/smaps_rollup") as f:
            pss = next(int(line.split()[1]) * KIB for line in f if line.startswith("Pss:"))
        print(f"idle: PSS {pss / MIB:.1f} MiB, RSS {self.rss(weir) / MIB:.1f} MiB")
        self.assertLessEqual(pss, 12 * MIB)

    def test_an_idle_connection_takes_2_kib(self):
        count = 5000
        raise_open_files(3 * count)
        nginx = self.nginx('location / { return 200 "ok\\n"; }')
        weir = self.weir(self.simple(nginx.port, workers=2))
        self.warm()
        before = self.settled_rss(weir)
        connections = []
        self.addCleanup(lambda: [s.close() for s in connections])
        for _ in range(count):
            connections.append(socket.create_connection(("127.0.0.1", self.port)))
            self.one_request(connections[-1])
        self.assertEqual(self.metric("weir_listener_connections"), count)
        each = (self.rss(weir) - before) / count
        print(f"idle connections: {each / KIB:.2f} KiB each")
        self.assertLessEqual(each, 2 * KIB)
        for s in (connections[0], connections[-1]):  # they are alive, not merely forgotten
            self.one_request(s)


class Burst(Memory):
    def test_what_a_burst_took_is_given_back(self):
        """2,000 requests at once that all stand still: 1,000 answers that no client reads, 1,000 bodies that no upstream reads."""
        count = 1000
        raise_open_files(12 * count)
        with open(f"{self.dir}/blob", "wb") as f:
            f.truncate(4 * MIB)
        nginx = self.nginx(f"sendfile on; root {self.dir};")
        deaf = socket.socket()
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(4096)  # the kernel takes the connections, nobody reads
        self.addCleanup(deaf.close)
        weir = self.weir(f"""
workers: 2
listeners:
  - name: out
    direction: outbound
    listen: 127.0.0.1:@PORT@
    routes: [ {{ match: {{ path_prefix: /up }}, service: deaf }}, {{ service: app }} ]
services:
  app: {{ endpoints: ["127.0.0.1:{nginx.port}"], keep_alive: {{ idle: 1s }} }}
  deaf: {{ endpoints: ["127.0.0.1:{deaf.getsockname()[1]}"] }}
""")
        for _ in range(50):
            self.request(path="/missing")
        before = self.settled_rss(weir)
        connections = []
        self.addCleanup(lambda: [s.close() for s in connections])
        body = b"x" * (256 * KIB)
        for i in range(2 * count):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", self.port))
            s.setblocking(False)
            connections.append(s)
            if i % 2 == 0:
                s.send(b"GET /blob HTTP/1.1\r\nHost: a\r\n\r\n")
            else:
                s.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
                with contextlib.suppress(BlockingIOError):
                    s.send(body)
        wait_until(lambda: self.metric("weir_in_flight") == 2 * count, "all to be in flight", 90)
        self.settled_rss(weir)
        top = self.peak(weir)
        for s in connections:
            s.close()
        wait_until(lambda: self.metric("weir_listener_connections") == 0, "weir to see them go", 30)
        allowed = before + 10 * MIB  # what is kept for the next one: some arenas and buffers of each worker, and pools
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.rss(weir) <= allowed, "the memory to be given back", 30)
        after = self.rss(weir)
        print(f"burst: RSS {before / MIB:.1f} MiB before, {top / MIB:.1f} at most, {after / MIB:.1f} after")
        self.assertGreater(top, before + 20 * MIB, "there was no burst to give back")
        self.assertLessEqual(after, allowed)


class SlowPeers(Memory):
    STREAMS = 8
    LIMIT = 30 * MIB

    def setUp(self):
        super().setUp()
        self.total = wanted_bytes()
        self.each = self.total // self.STREAMS

    def rate(self):
        """Of one stream; all together well below what a sender that is not held back reaches."""
        return 160 * MIB / self.STREAMS

    def sampled(self, weir, running):
        """The samples of RSS while `running()`."""
        samples = []
        end = time.monotonic() + 120 + self.total / (20 * MIB)
        while running():
            self.assertLess(time.monotonic(), end, "the transfer does not end")
            samples.append(self.rss(weir))
            time.sleep(0.05)  # a sample's distance
        return samples

    def judge(self, weir, what, samples, started):
        seconds = time.monotonic() - started
        peak = self.peak(weir)
        half = samples[len(samples) // 2:]
        print(f"{what}: {self.total / GIB:.2f} GiB in {seconds:.1f} s, RSS {min(samples) / MIB:.1f} to {max(samples) / MIB:.1f} MiB, "
              f"at most {peak / MIB:.1f}, {(half[-1] - half[0]) / MIB:+.2f} over the second half")
        self.assertGreater(seconds, 0.8 * self.total / (160 * MIB), "the peers were not slow")
        self.assertLess(peak, self.LIMIT)

    def test_a_download_to_slow_clients(self):
        with open(f"{self.dir}/blob", "wb") as f:
            f.truncate(self.each)
        nginx = self.nginx(f"sendfile on; root {self.dir};")
        weir = self.weir(self.simple(nginx.port))
        started = time.monotonic()
        reader = Process([sys.executable, f"{HERE}/slow_peer.py", "read", str(self.port), "/blob", str(self.STREAMS), str(self.rate())])
        self.addCleanup(reader.stop)
        samples = self.sampled(weir, lambda: reader.process.poll() is None)
        self.assertEqual(json.loads(reader.text()), {"whole": self.STREAMS, "bytes": self.each * self.STREAMS})
        self.judge(weir, "down", samples, started)

    def test_an_upload_to_a_slow_upstream(self):
        server = subprocess.Popen([sys.executable, f"{HERE}/slow_peer.py", "serve", str(self.rate())], stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        weir = self.weir(self.simple(int(server.stdout.readline())))
        block = memoryview(bytes(MIB))
        answers = []

        def send():
            with socket.create_connection(("127.0.0.1", self.port), 60) as s:
                s.sendall(f"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: {self.each}\r\n\r\n".encode())
                for at in range(0, self.each, MIB):
                    s.sendall(block[:min(MIB, self.each - at)])
                head, rest = read_head(s)
                answers.append((head.split(" ")[1], rest.strip()))
        started = time.monotonic()
        threads = [threading.Thread(target=send, daemon=True) for _ in range(self.STREAMS)]
        for t in threads:
            t.start()
        samples = self.sampled(weir, lambda: any(t.is_alive() for t in threads))
        self.assertEqual(answers, [("200", str(self.each).encode())] * self.STREAMS)
        self.judge(weir, "up", samples, started)


class Soaked(unittest.TestCase):
    def test_memory_is_flat_under_a_mixed_load(self):
        """perf/soak, briefly; WEIR_SOAK_SECONDS for longer."""
        done = subprocess.run([sys.executable, f"{HERE}/../../perf/soak", "--seconds", os.environ.get("WEIR_SOAK_SECONDS", "32"), "--round", "8", "--at-least", "80000", "--weir", WEIR],
                              capture_output=True, text=True)
        print(done.stdout.strip())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=1)
