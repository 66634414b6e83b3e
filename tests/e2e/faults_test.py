"""Faults on real sockets, each under a good load, with two workers; afterwards the books must balance (books.py): nothing lost, nothing leaked, nothing blocked."""
import os, random, signal, socket, subprocess, threading, time, unittest

from books import *

PLAIN = "[ { timeout: { total: 3s } } ]"


class Upstreams(Books):
    def test_killed_and_restarted_under_load(self):
        page = 'keepalive_timeout 60s; location / { return 200 "bad\\n"; }'
        nginx = self.nginx(page)
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{nginx.port}"], keep_alive: {{ idle: 300ms }} }}')
        self.load()
        self.load("/bad", connections=16, rate=400)
        served = lambda code: self.metric("weir_requests_total", service="bad", code=code)
        wait_until(lambda: served("2xx") > 100, "load")
        for _ in range(3):
            failed = served("5xx")
            nginx.kill_all()
            wait_until(lambda: served("5xx") > failed + 20, "failures to be seen")
            nginx = self.nginx(page, port=nginx.port)
            wait_until(lambda: self.request(path="/look")[0] == 200, "recovery", 15)
            well = served("2xx")
            wait_until(lambda: served("2xx") > well + 100, "load after recovery")
        seen, _ = self.calls([f"/after/{i}" for i in range(50)])
        self.assertEqual(seen, {200: 50})
        self.balance()
        outcomes = collections.Counter(outcome for path, outcome in self.saw.items() if path.startswith("/bad"))
        self.assertLessEqual(set(outcomes), {200, 502, 503, "broken"}, outcomes)

    def test_refusing(self):
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{free_port()}"] }}', PLAIN)
        self.load()
        seen, longest = self.calls([f"/refused/{i}" for i in range(200)])
        self.assertEqual(seen, {503: 200})
        self.assertLess(longest, 3)
        self.balance()
        self.assertEqual({line["failure"] for line in self.lines_of("/refused")}, {"connect_failure"})

    def black_hole(self):
        """A port whose SYNs are dropped: it listens, and its queue is full."""
        hole = socket.socket()
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        self.addCleanup(hole.close)
        while True:
            s = socket.socket()
            self.addCleanup(s.close)
            s.settimeout(0.3)
            try:
                s.connect(hole.getsockname())
            except TimeoutError:
                return hole.getsockname()[1]

    def test_black_holed(self):
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{self.black_hole()}"], connect_timeout: 400ms }}', PLAIN)
        self.load()
        seen, longest = self.calls([f"/hole/{i}" for i in range(60)], at_once=60)
        self.assertEqual(seen, {503: 60})
        self.assertLess(longest, 3)
        self.balance()
        self.assertEqual({line["failure"] for line in self.lines_of("/hole")}, {"connect_timeout"})

    def test_accepting_but_silent(self):
        deaf = socket.socket()
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(200)  # the kernel accepts, nobody reads
        self.addCleanup(deaf.close)
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{deaf.getsockname()[1]}"] }}', "[ { timeout: { response_headers: 400ms } } ]")
        self.load()
        seen, longest = self.calls([f"/silent/{i}" for i in range(60)], at_once=60)
        self.assertEqual(seen, {504: 60})
        self.assertLess(longest, 3)
        self.balance()

    def test_reset_mid_body(self):
        begun = {"length": b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 40000,
                 "long": b"HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n" + b"x" * 1_000_000,  # is spliced
                 "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9c40\r\n" + b"x" * 40000 + b"\r\n",
                 "head": b"HTTP/1.1 200 OK\r\nContent-Le"}
        def script(connection, number):
            head, rest = read_head(connection)
            kind = head.split(" ")[1].split("/")[2]
            while kind == "upload" and len(rest) < 50_000 and (more := connection.recv(65536)):  # half of it
                rest += more
            connection.sendall(begun.get(kind, b""))
            (connection.close if int(head.split(" ")[1].split("/")[3]) % 2 else lambda: reset(connection))()
        upstream = self.upstream(script)
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{upstream.port}"], outlier_detection: {{ mode: disabled }} }}', PLAIN)
        self.load()
        for kind, wanted in (("length", "broken"), ("chunked", "broken"), ("long", "broken"), ("head", 502), ("none", 502), ("upload", 502)):
            options = {"method": "POST", "body": b"u" * 100_000} if kind == "upload" else {}
            seen, _ = self.calls([f"/cut/{kind}/{i}" for i in range(50)], **options)
            if wanted == "broken":  # a reset that overtakes the head is a 502: no answer, which is as good
                self.assertEqual(seen["broken"] + seen[502], 50, (kind, seen))
                self.assertGreater(seen["broken"], 10, (kind, seen))
            else:
                self.assertEqual(seen, {wanted: 50}, kind)
        self.balance()

    def test_garbage_for_an_answer(self):
        rng = random.Random(3)
        good = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        made = [mutated(rng, good) if i % 3 else rng.randbytes(rng.randrange(1, 3000)) for i in range(500)]

        def script(connection, number):
            head, _ = read_head(connection)
            connection.sendall(made[int(head.split(" ")[1].rsplit("/")[2])])
        upstream = self.upstream(script)
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{upstream.port}"], outlier_detection: {{ mode: disabled }} }}', PLAIN)
        self.load()
        seen, _ = self.calls([f"/garbage/{i}" for i in range(len(made))])
        self.assertGreater(seen[502], 100, seen)
        self.balance()


class ClientsGone(Books):
    COUNT = 40

    def test_in_connect(self):
        hole = Upstreams.black_hole(self)
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{hole}"], connect_timeout: 4s, pending_timeout: 20s }}', "[ { timeout: { total: 1m } } ]")
        self.load()
        clients = [self.begin(f"/connect/{i}") for i in range(self.COUNT)]
        wait_until(lambda: self.metric("weir_upstream_pending", service="bad") == self.COUNT, "all to wait for a connection")
        self.leave(clients)
        # The connects themselves stay until they time out: whoever comes next takes one over in place of a connect of its own.
        self.balance()
        self.assertEqual([line["failure"] for line in self.lines_of("/connect")], ["client_gone"] * self.COUNT)

    def test_in_the_queue(self):
        release = threading.Event()
        self.addCleanup(release.set)

        def script(connection, number):
            rest = b""
            while True:
                head, rest = read_head(connection, rest)
                if head is None:
                    return
                release.wait(30)
                connection.sendall(answer())
        upstream = self.upstream(script)
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{upstream.port}"], keep_alive: {{ idle: 300ms }} }}',
                   "[ { concurrency_limit: { limit: 2, queue: { size: 100, timeout: 20s } } } ]")
        self.load()
        hogs = [threading.Thread(target=self.call, args=(f"/hog/{i}",)) for i in range(2)]
        for hog in hogs:
            hog.start()
        in_flight = lambda: self.metric("weir_limit_in_flight", service="bad")
        wait_until(lambda: in_flight() == 2, "the limit to be reached")
        clients = [self.begin(f"/queue/{i}") for i in range(self.COUNT)]
        wait_until(lambda: self.metric("weir_queue_length") == self.COUNT, "all to wait in the queue")
        self.leave(clients)
        wait_until(lambda: self.metric("weir_queue_length") == 0, "the queue to be empty")
        self.assertEqual(in_flight(), 2)
        release.set()
        for hog in hogs:
            hog.join(20)
        self.assertEqual(self.calls([f"/after/{i}" for i in range(20)])[0], {200: 20})
        self.balance()
        self.assertEqual([line["failure"] for line in self.lines_of("/queue")], ["client_gone"] * self.COUNT)
        self.assertEqual([self.saw["/hog/0"], self.saw["/hog/1"]], [200, 200])

    def test_in_the_back_off(self):
        upstream = self.upstream(keep_answering(lambda *a: answer(503)))
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{upstream.port}"], keep_alive: {{ idle: 300ms }}, outlier_detection: {{ mode: disabled }}, '
                   'retry_budget: { ratio: 100%, min_rate: 1000/s } }',
                   "[ { retry: { max_attempts: 2, causes: [5xx], backoff: { base: 1m, max: 5m } } } ]")
        self.load()
        clients = [self.begin(f"/backoff/{i}") for i in range(self.COUNT)]

        def waiting():
            metrics = self.metrics()
            total = lambda name, **labels: sum(v for (n, l), v in metrics.items() if n == name and set(labels.items()) <= l)
            return total("weir_attempts_total", service="bad") >= self.COUNT and total("weir_attempts_in_flight", service="bad") == 0
        wait_until(waiting, "all to be between two tries")
        left = self.metric("weir_in_flight", service="bad")
        self.assertGreater(left, self.COUNT / 2)  # a few drew a short wait
        self.leave(clients)
        self.balance()
        gone = [line for line in self.lines_of("/backoff") if line.get("failure") == "client_gone"]
        self.assertGreaterEqual(len(gone), left - 5)
        self.assertEqual({len(line["attempts"]) for line in gone}, {1})

    def test_in_the_request_body(self):
        whole, broken = [], []

        def script(connection, number):
            complete = False
            try:
                complete = read_request(connection)[0] is not None
            finally:
                (whole if complete else broken).append(number)
        upstream = self.upstream(script)
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{upstream.port}"], outlier_detection: {{ mode: disabled }} }}', PLAIN)
        self.load()
        half = b"x" * 100_000
        clients = [self.begin(f"/body/length/{i}", half, "POST", "Content-Length: 200000\r\n") for i in range(self.COUNT // 2)]
        clients += [self.begin(f"/body/chunked/{i}", b"%x\r\n%s\r\n" % (len(half), half), "POST", "Transfer-Encoding: chunked\r\n")
                    for i in range(self.COUNT // 2)]
        wait_until(lambda: self.metric("weir_in_flight", service="bad") == self.COUNT, "all to be in their bodies")
        wait_until(lambda: upstream.accepted == self.COUNT, "the upstream to be reading them")
        self.leave(clients)
        self.balance()
        self.assertEqual(whole, [], "a body that broke off was passed off as whole")
        wait_until(lambda: len(broken) == self.COUNT, "the upstream to hear of it")
        self.assertEqual({line["failure"] for line in self.lines_of("/body")}, {"client_gone"})

    def test_in_the_answers_body(self):
        with open(f"{self.dir}/blob", "wb") as f:
            f.truncate(64 << 20)
        nginx = self.nginx(f"root {self.dir}; rewrite ^ /blob break;")
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{nginx.port}"], keep_alive: {{ idle: 300ms }} }}')
        self.load()
        clients = [self.begin(f"/answer/{i}") for i in range(self.COUNT)]
        for s in clients:
            read_head(s)
            s.recv(100_000)
        self.leave(clients)
        self.balance()
        lines = self.lines_of("/answer")
        self.assertEqual({(line["status"], line.get("failure")) for line in lines}, {(200, "client_gone")})
        self.assertLess(max(line["bytes_sent"] for line in lines), 64 << 20)


class SlowClients(Books):
    def drip(self, connections, data, seconds=10):
        """A byte to each every 50 ms, until all are answered or closed; what each got."""
        got, open_ones, at = {}, dict(enumerate(connections)), 0
        end = time.monotonic() + seconds
        for s in connections:
            s.setblocking(False)
        while open_ones:
            self.assertLess(time.monotonic(), end, f"{len(open_ones)} slow clients are still borne with")
            for number, s in list(open_ones.items()):
                try:
                    answer_bytes = s.recv(4096)
                    got[number] = got.get(number, b"") + answer_bytes
                    if not answer_bytes:
                        s.close()
                        del open_ones[number]
                    continue
                except BlockingIOError:
                    pass
                except OSError:
                    got.setdefault(number, b"")
                    del open_ones[number]
                    continue
                with contextlib.suppress(OSError):
                    s.send(data[at % len(data):][:1])
            at += 1
            time.sleep(0.05)  # the pace of the drip
        return got

    def test_slow_loris_on_heads(self):
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{free_port()}"] }}', listener="timeouts: { request_headers: 600ms, idle: 10s }")
        self.load()
        connections = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(300)]
        for s in connections:
            s.send(b"GET /loris HTTP/1.1\r\nHost: slow\r\n")
        got = self.drip(connections, b"x-slow: and so on\r\n")
        self.assertEqual({text.split(b" ")[1] for text in got.values() if text}, {b"408"})
        self.assertGreater(sum(bool(text) for text in got.values()), 200)
        self.balance()
        self.assertEqual(self.metric("weir_requests_total", code="4xx"), 300)

    def test_slow_loris_on_bodies(self):
        upstream = self.upstream(keep_answering(lambda *a: answer()))
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{upstream.port}"], keep_alive: {{ idle: 300ms }} }}', "[ { timeout: { total: 1s } } ]")
        self.load()
        connections = [self.begin(f"/loris/{i}", b"", "POST", "Content-Length: 10000\r\n") for i in range(200)]
        got = self.drip(connections, b"x")
        self.assertEqual({text.split(b" ")[1] for text in got.values() if text}, {b"504"})
        self.balance()
        self.assertEqual({line["failure"] for line in self.lines_of("/loris")}, {"total_timeout"})

    def test_slow_readers(self):
        size = 8 << 20
        with open(f"{self.dir}/blob", "wb") as f:
            f.truncate(size)
        nginx = self.nginx(f"root {self.dir}; rewrite ^ /blob break;")
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{nginx.port}"], keep_alive: {{ idle: 300ms }} }}')
        self.load()
        readers = []
        for i in range(100):
            s = self.begin(f"/reader/{i}")
            readers.append(s)
        wait_until(lambda: self.metric("weir_in_flight", service="bad") == 100, "all answers to stand still")
        good = self.metric("weir_requests_total", service="good")
        wait_until(lambda: self.metric("weir_requests_total", service="good") > good + 100, "good requests meanwhile")
        self.assertEqual(self.metric("weir_in_flight", service="bad"), 100)
        for i, s in enumerate(readers[:20]):  # these had patience
            outcome, body, _ = read_answer(s)
            self.assertEqual((outcome, len(body)), (200, size))
            self.saw[f"/reader/{i}"] = 200
            s.close()
        self.leave(readers[20:])
        self.balance()


def mutated(rng, data):
    """`data` with a few bytes changed, cut out, doubled or put in."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at:at] = rng.randbytes(rng.randrange(1, 20))
        elif kind == 2:
            del data[at:at + rng.randrange(1, 20)]
        elif kind == 3:
            data[at:at] = data[max(0, at - 30):at]
        else:
            data[at:at] = rng.choice([b"\r\n", b"\n", b"\r", b"\0", b": ", b"\r\n ", b"0\r\n\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n"])
    return bytes(data)


class Garbage(Books):
    SEEDS = [b"GET /good/x HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nConnection: close\r\n\r\n",
             b"POST /good/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
             b"POST /good/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n",
             b"GET http://a.example/good/%41?x=1 HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
             b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\xa0\0\0",
             b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(range(200)),
             b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
             b"GET / HTTP/1.0\r\n\r\nGET /good/y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]

    def throw(self, seed, count, tally):
        rng = random.Random(seed)
        for i in range(count):
            kind = rng.randrange(10)
            if kind == 0:
                data = rng.randbytes(rng.randrange(1, 2000))
            elif kind == 1:
                data = rng.choice(self.SEEDS)[:rng.randrange(1, 60)]
            elif kind == 2:
                data = b"GET /good HTTP/1.1\r\nHost: a\r\n" + b"x" * rng.randrange(1, 70_000) + b": y\r\n" * rng.randrange(0, 150) + b"\r\n"
            else:
                data = mutated(rng, rng.choice(self.SEEDS))
            tally.append(self.one(data))

    def one(self, data):
        """The statuses that came back; the connection must end once the client has said all."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as s:
            got = b""
            with contextlib.suppress(ConnectionError):
                s.sendall(data)
                s.settimeout(0.1)
                try:
                    got += s.recv(65536)
                except TimeoutError:
                    pass
                s.shutdown(socket.SHUT_WR)
                s.settimeout(10)
                while more := s.recv(65536):
                    got += more
            return got

    def test_ten_thousand_requests_of_garbage(self):
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{free_port()}"] }}', PLAIN)
        self.load()
        threads, tallies = [], []
        for seed in range(16):
            tallies.append([])
            threads.append(threading.Thread(target=self.throw, args=(seed, 625, tallies[-1])))
            threads[-1].start()
        for t in threads:
            t.join(120)
        got = [one for tally in tallies for one in tally]
        self.assertEqual(len(got), 10_000, "a connection did not end")
        # Garbage that begins with HTTP/2's preface is answered with its SETTINGS.
        strange = [g for g in got if g and not g.startswith(b"HTTP/1.1 ") and g[3:9] != b"\4\0\0\0\0\0"]
        self.assertEqual(strange[:1], [])
        refused = sum(g[9:10] == b"4" for g in got)
        print(f"garbage: {refused} refused, {sum(g[9:10] == b'2' for g in got)} well, {sum(not g for g in got)} without an answer")
        self.assertGreater(refused, 4000)
        self.balance()
        self.assertGreaterEqual(self.metric("weir_bad_requests_total"), refused * 0.8)


class Resources(Books):
    def cpu_seconds(self):
        with open(f"/proc/{self.process.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def test_descriptors_exhausted(self):
        limit = 70
        set_limit = lambda: __import__("resource").setrlimit(__import__("resource").RLIMIT_NOFILE, (limit, limit))
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{free_port()}"] }}', PLAIN, good=", limits: { connections: 8 }", preexec_fn=set_limit)
        self.good_served = False  # where a connection to the upstream is missing, a 503 is the right answer
        self.load()
        wait_until(lambda: self.metric("weir_requests_total", service="good") > 50, "load")
        hogs = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(150)]
        self.addCleanup(lambda: [s.close() for s in hogs])
        wait_until(lambda: self.open_descriptors() >= limit, "the descriptors to run out")
        before, started = self.cpu_seconds(), time.monotonic()
        time.sleep(1)  # what is measured: a second of it
        share = (self.cpu_seconds() - before) / (time.monotonic() - started)
        self.assertLess(share, 0.6, "it spins")
        for s in hogs:
            s.close()
        seen = lambda: self.call(f"/good/again/{time.monotonic()}", timeout=5)[0] == 200
        wait_until(seen, "new connections to be accepted")
        wait_until(lambda: self.metric("weir_listener_accept_pauses_total") > 0, "the pauses to be counted", 15)
        self.balance()
        outcomes = collections.Counter(outcome for path, outcome in self.saw.items() if path.startswith("/good"))
        self.assertLessEqual(set(outcomes), {200, 503}, outcomes)
        self.assertGreater(outcomes[200], outcomes[503])

    def small_disk(self):
        """(a folder where only 64 KiB fit, what makes room there)"""
        folder = f"{self.dir}/disk"
        os.mkdir(folder)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", folder], capture_output=True).returncode == 0:
            self.addCleanup(subprocess.run, ["umount", "-l", folder])
            return folder, lambda: subprocess.run(["mount", "-o", "remount,size=256m", folder], check=True)
        resource = __import__("resource")  # without the right to mount: a limit of the file's size is met in the same place
        self.limit_size = lambda: resource.prlimit(self.process.process.pid, resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
        return folder, lambda: resource.prlimit(self.process.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    limit_size = staticmethod(lambda: None)

    def start_on_a_small_disk(self):
        folder, make_room = self.small_disk()
        self.start(f'bad: {{ endpoints: ["127.0.0.1:{free_port()}"] }}', PLAIN, log=f"{folder}/access.log")
        self.limit_size()
        return make_room

    def test_a_full_disk_under_the_access_log_loses_no_line_that_can_wait(self):
        make_room = self.start_on_a_small_disk()
        self.load(rate=400)
        wait_until(lambda: self.metric("weir_access_log_write_errors_total") > 0, "the disk to be full")
        served = self.metric("weir_requests_total", service="good")
        wait_until(lambda: self.metric("weir_requests_total", service="good") > served + 400, "requests to go on")
        make_room()
        self.balance()

    def test_a_disk_that_stays_full_costs_lines_that_are_counted_and_nothing_else(self):
        make_room = self.start_on_a_small_disk()
        self.load()
        done = subprocess.run(["h2load", "--h1", "-t1", "-c32", "-n40000", f"http://127.0.0.1:{self.port}/good/flood"], capture_output=True, text=True, timeout=60)
        self.assertIn("40000 succeeded, 0 failed", done.stdout)
        wait_until(lambda: self.metric("weir_access_log_dropped_total") > 0, "lines to be dropped")
        make_room()
        wait_until(lambda: self.metric("weir_listener_connections") == 4, "the flood to be gone")
        self.may_drop = True
        self.balance()


class Names(Books):
    def dnsmasq(self, *arguments):
        server = Process(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--pid-file=",
                          "--user=root", f"--listen-address={self.dns}", "--port=53", "--local-ttl=1", *arguments])
        self.addCleanup(server.stop)
        return server

    def where(self):
        """Which address answers."""
        outcome, body = self.call(f"/name/{time.monotonic_ns()}")
        return body.decode() if outcome == 200 else outcome

    def test_dns_that_dies(self):
        """weir has a resolv.conf of its own (in a mount namespace), which names a dnsmasq that hangs, dies, forgets the name and comes back."""
        self.dns = "127.53.%d.%d" % (os.getpid() // 250 % 250 + 1, os.getpid() % 250 + 1)
        port = free_port()
        self.nginx(f"listen 127.0.0.2:{port}; listen 127.0.0.3:{port}; keepalive_timeout 60s; location / {{ return 200 $server_addr; }}", port=port)
        with open(f"{self.dir}/resolv.conf", "w") as f:
            f.write(f"nameserver {self.dns}\noptions timeout:1 attempts:1\n")
        server = self.dnsmasq("--address=/up.weir.test/127.0.0.2")
        self.start(f'bad: {{ endpoints: ["dns:up.weir.test:{port}"], dns: {{ min_ttl: 200ms, max_ttl: 300ms }}, keep_alive: {{ idle: 300ms }} }}',
                   prefix=["unshare", "--mount", "sh", "-c", f'mount --bind {self.dir}/resolv.conf /etc/resolv.conf && exec "$@"', "sh"])
        self.assertEqual(self.where(), "127.0.0.2")
        self.load()
        self.load("/named", rate=100)
        complains = lambda: "up.weir.test: " in self.admin("/services")[2].decode()
        wait_until(lambda: not complains(), "the name to be well")
        server.signal(signal.SIGSTOP)  # silent
        wait_until(complains, "the time-out to be seen", 30)
        self.assertEqual(self.where(), "127.0.0.2")
        server.kill_all()  # refusing
        self.assertEqual(self.where(), "127.0.0.2")
        server = self.dnsmasq("--local=/up.weir.test/")  # no such name
        wait_until(lambda: "not found" in self.admin("/services")[2].decode(), "the name's end to be seen", 15)
        self.assertEqual(self.where(), "127.0.0.2")
        server.kill_all()
        self.dnsmasq("--address=/up.weir.test/127.0.0.3")
        wait_until(lambda: self.where() == "127.0.0.3", "the new address to be taken over", 15)
        wait_until(lambda: not complains(), "the complaint to end")
        self.assertEqual({self.where() for _ in range(20)}, {"127.0.0.3"})
        self.balance()
        self.assertEqual({outcome for outcome in self.saw.values()}, {200})


if __name__ == "__main__":
    unittest.main(verbosity=1)
