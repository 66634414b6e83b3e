"""Limits to the last request: four workers on real sockets, and upstreams that count for themselves what comes and what is inside."""
import bisect, collections, http.client, selectors, socket, subprocess, threading, time, unittest

from harness import *

WORKERS = 4


class Counting:
    """A script for an upstream: notes when each request came and how many were inside at once; `work` is what it does meanwhile."""

    def __init__(self, work=lambda head: answer()):
        self.work, self.lock = work, threading.Lock()
        self.inside, self.most, self.came = 0, 0, []

    def __call__(self, connection, number):
        rest = b""
        while True:
            head, rest = read_head(connection, rest)
            if head is None:
                return
            if head.startswith("GET /gone"):  # weir has given it up long ago: it is not weir's any more
                self.work(head)
                connection.sendall(answer())
                continue
            with self.lock:
                self.came.append(time.monotonic())
                self.inside += 1
                self.most = max(self.most, self.inside)
            try:
                said = self.work(head)
            finally:
                with self.lock:  # before the answer leaves: after it, the next one may come
                    self.inside -= 1
            connection.sendall(said)

    @property
    def count(self):
        return len(self.came)


def working(seconds):
    def work(head):
        time.sleep(seconds)  # the upstream's own work, not a wait for weir
        return answer()
    return work


class Metronome:
    """How long at most the machine let a thread of ours stand that wanted to run every 2 ms."""

    def __enter__(self):
        self.longest, self.over = 0, threading.Event()
        self.thread = threading.Thread(target=self.beat)
        self.thread.start()
        return self

    def beat(self):
        last = time.monotonic()
        while not self.over.wait(0.002):
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last - 0.002), now

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Crowd:
    """Connections that ask again as soon as they are answered, driven by one thread; counts what each of them got."""

    def __init__(self, sockets):
        self.selector = selectors.DefaultSelector()
        self.sockets, count = sockets, len(sockets)
        self.served, self.statuses, self.buffers = [0] * count, {}, [b""] * count
        self.enough = threading.Event()  # nobody asks again once it is set
        for i, s in enumerate(self.sockets):
            s.setblocking(False)
            self.selector.register(s, selectors.EVENT_READ, i)

    def run(self, requests, seconds=60):
        left, end = requests, time.monotonic() + seconds
        for s in self.sockets:
            s.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        waiting = len(self.sockets)
        while waiting and time.monotonic() < end:
            for key, _ in self.selector.select(1):
                i = key.data
                got = key.fileobj.recv(65536)
                if not got:
                    raise AssertionError("weir closed a connection")
                self.buffers[i] += got
                head, found, rest = self.buffers[i].partition(b"\r\n\r\n")
                length = int(header(head.decode(), "content-length") or 0) if found else 0
                if not found or len(rest) < length:
                    continue
                self.buffers[i] = rest[length:]
                status = int(head[9:12])
                self.statuses[status] = self.statuses.get(status, 0) + 1
                self.served[i] += 1
                left -= 1
                if left >= len(self.sockets) and not self.enough.is_set():
                    key.fileobj.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                else:
                    waiting -= 1
        if waiting:
            raise AssertionError(f"{waiting} connections were not answered in {seconds} s")

    def close(self):
        for s in self.sockets:
            s.close()


def workers_by_client(process, port):
    """{a client's port: the worker that has its connection}, a worker being known by its epoll: one of those that watch the listening socket."""
    proc, watched, sockets = f"/proc/{process.process.pid}", {}, {}
    for fd in os.listdir(f"{proc}/fd"):
        with contextlib.suppress(FileNotFoundError):
            kind = os.readlink(f"{proc}/fd/{fd}")
            if kind.startswith("socket:["):
                sockets[kind[8:-1]] = int(fd)
            elif kind == "anon_inode:[eventpoll]":
                with open(f"{proc}/fdinfo/{fd}") as f:
                    watched[fd] = {int(line.split()[1]) for line in f if line.startswith("tfd:")}
    listening, clients = set(), {}
    with open(f"{proc}/net/tcp") as f:
        for line in f.read().splitlines()[1:]:
            _, local, remote, state, *rest = line.split()
            fd = sockets.get(rest[5])
            if fd is None or int(local.split(":")[1], 16) != port:
                continue
            if state == "0A":
                listening.add(fd)
            else:
                clients[int(remote.split(":")[1], 16)] = fd
    workers = [fd for fd, fds in watched.items() if listening & fds]
    if len(workers) < WORKERS:  # one looks away from the socket for a moment
        return {}
    return {client: worker for client, fd in clients.items() for worker in workers if fd in watched[worker]}


class Exactness(EndToEnd):
    def spread(self, count):
        """So many connections, of which each worker has its share: the kernel gives them to whom it likes, so more are made, and some closed."""
        share, kept = -(-count // WORKERS), collections.defaultdict(list)
        for _ in range(200):
            made = [socket.create_connection(("127.0.0.1", self.port), 20) for _ in range(WORKERS)]
            ports, workers = {s.getsockname()[1] for s in made}, {}

            def accepted():
                workers.update(workers_by_client(self.process, self.port))
                return ports <= set(workers)
            wait_until(accepted, "the workers to accept")
            for s in made:
                mine = kept[workers[s.getsockname()[1]]]
                if len(mine) < share:
                    self.addCleanup(s.close)
                    mine.append(s)
                else:
                    s.close()
            if sum(map(len, kept.values())) == share * WORKERS:
                return [s for each in zip(*kept.values()) for s in each][:count]
        raise AssertionError(f"connections of the workers: {[len(mine) for mine in kept.values()]}")

    def weir(self, config, **options):
        self.process = super().weir(config, **options)
        return self.process

    def crowd(self, count):
        return Crowd(self.spread(count))

    def connections(self, count):
        all_of_them = []
        for s in self.spread(count):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            connection.sock = s
            all_of_them.append(connection)
        return all_of_them

    @staticmethod
    def get(connection, path="/"):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status

    def many(self, count, filters, upstream_port):
        """As many services with a state of their own, /0/ to the last: as many rounds with one weir."""
        routes = ", ".join(f"{{ match: {{ path_prefix: /{i} }}, service: s{i}, policy: test }}" for i in range(count))
        services = "".join(f"  s{i}: {{ endpoints: ['127.0.0.1:{upstream_port}'] }}\n" for i in range(count))
        return (f"workers: {WORKERS}\nlisteners: [ {{ name: out, direction: outbound, listen: 127.0.0.1:@PORT@, routes: [ {routes} ] }} ]\n"
                f"services:\n{services}policies: {{ test: {{ filters: {filters} }} }}\n")

    def test_a_limit_of_ten_lets_ten_through_at_once_and_never_eleven(self):
        counting = Counting(working(0.003))
        upstream = self.upstream(counting)
        self.weir(self.simple(upstream.port, workers=WORKERS, policy="[ { concurrency_limit: { limit: 10, queue: { size: 500, timeout: 30s } } } ]"))
        # A busy machine may be slow to fill the limit.
        for crowds in range(1, 11):
            crowd = self.crowd(64)
            crowd.run(6000)
            self.assertEqual(crowd.statuses, {200: 6000})
            self.assertEqual(counting.count, 6000 * crowds)
            self.assertLessEqual(counting.most, 10)
            # First come, first served, over all workers: whichever worker a connection fell to, it is served as often as any other.
            self.assertLessEqual(max(crowd.served) - min(crowd.served), 0.2 * 6000 / 64, crowd.served)
            if counting.most == 10:
                break
        self.assertEqual(counting.most, 10)
        self.assertEqual(self.metric("weir_limit_in_flight"), 0)
        self.assertEqual(self.metric("weir_queue_length"), 0)

    def test_clients_that_leave_the_queue_leave_no_permit_behind(self):
        counting = Counting(working(0.003))
        upstream = self.upstream(counting)
        self.weir(self.simple(upstream.port, workers=WORKERS, policy="[ { concurrency_limit: { limit: 10, queue: { size: 100, timeout: 30s } } } ]"))
        for _ in range(10):
            leaving = [socket.create_connection(("127.0.0.1", self.port)) for _ in range(60)]
            for s in leaving:
                s.sendall(b"GET /gone HTTP/1.1\r\nHost: a\r\n\r\n")
            for s in leaving:
                s.close()
        wait_until(lambda: self.metric("weir_limit_in_flight") == 0 and self.metric("weir_queue_length") == 0, "all to be given back")
        for _ in range(20):  # a permit that was lost would never be seen again
            crowd = self.crowd(40)
            crowd.run(1000)
            self.assertEqual(crowd.statuses, {200: 1000})
            crowd.close()
            if counting.most >= 10:
                break
        self.assertEqual(counting.most, 10)

    def test_a_reload_of_the_limit_under_load_is_kept_on_every_worker(self):
        counting = Counting(working(0.003))
        upstream = self.upstream(counting)

        def text(limit):
            return self.simple(upstream.port, workers=WORKERS, policy=f"[ {{ concurrency_limit: {{ limit: {limit}, queue: {{ size: 500, timeout: 30s }} }} }} ]")
        weir = self.weir(text(10))
        crowd = self.crowd(64)
        load = threading.Thread(target=crowd.run, args=(1_000_000, 120))
        load.start()
        self.addCleanup(load.join, 120)
        self.addCleanup(crowd.enough.set)
        for limit in (5, 20, 1, 10):
            wait_until(lambda: counting.inside > 0, "load")
            self.write_config(text(limit))
            weir.signal(signal.SIGHUP)
            # What was let in under the old limit may still be on its way to the upstream: weir's own count says when it is over.
            wait_until(lambda: self.metric("weir_concurrency_limit") == limit and self.metric("weir_limit_in_flight") <= limit, f"a limit of {limit}")
            seen = counting.count
            counting.most = 0
            wait_until(lambda: counting.count > seen + 200 and counting.most >= limit, f"all of {limit} to be used", 20)
            self.assertEqual(counting.most, limit)
        crowd.enough.set()
        load.join(120)
        self.assertFalse(load.is_alive())
        self.assertEqual(crowd.statuses, {200: counting.count})

    def test_one_permit_is_free_again_when_the_client_has_its_answer(self):
        for name, said in (("no body", answer(204, b"").replace(b"Content-Length: 0\r\n", b"")), ("length 0", answer(200, b"")), ("a body", answer())):
            with self.subTest(name):
                upstream = self.upstream(Counting(lambda head: said))
                self.port = free_port()
                self.admin_port = free_port()
                self.weir(self.simple(upstream.port, workers=WORKERS, policy="[ { concurrency_limit: { limit: 1 } } ]"))
                connections = self.connections(16)
                statuses = [self.get(connections[i * 7 % 16]) for i in range(3000)]
                self.assertEqual([s for s in statuses if s == 503], [])

    def test_500_a_second_is_500_in_any_second_give_or_take_one_percent(self):
        counting = Counting()
        upstream = self.upstream(counting)
        weir = self.weir(self.simple(upstream.port, workers=WORKERS, policy="[ { rate_limit: { rate: 500/s, burst: 20 } } ]"))
        tries, workers = [], []
        for _ in range(4):
            counting.came = []
            with Metronome() as metronome:
                began = time.monotonic()
                # Each client asks every 4 ms: between two askings two tokens gather. Four at a time, for a burst of connects goes to one worker.
                loads = [subprocess.Popen(["h2load", "--h1", "-t1", "-c4", "--rps=250", "-n4000", f"http://127.0.0.1:{self.port}/"], stdout=subprocess.PIPE, text=True)
                         for _ in range(8)]
                for load in loads:
                    self.addCleanup(load.kill)
                wait_until(lambda: len(workers_by_client(weir, self.port)) >= 32, "the clients to connect")
                workers.append(len(set(workers_by_client(weir, self.port).values())))
                for load in loads:
                    said, _ = load.communicate(timeout=60)
                    self.assertIn("4000 done", said)
            came = sorted(counting.came)
            lasted = came[-1] - came[0]
            self.assertGreater(lasted, 3)
            # The law over the whole run: never more than burst and rate together. This upstream may see the first one late, for all come at
            # once; but nothing can come before somebody asks, and the last one is never seen early.
            self.assertLessEqual(len(came), 20 + 500 * (came[-1] - began))
            # A second begins after the burst and ends before the demand does, so that there is demand in all of it.
            begins = [t for t in came if came[0] + 0.2 <= t <= came[-1] - 1.2]
            in_a_second = [bisect.bisect_left(came, t + 1) - bisect.bisect_left(came, t) for t in begins]
            least, most = min(in_a_second), max(in_a_second)
            tries.append((least, most, round(metronome.longest, 3)))
            if 495 <= least and most <= 505 and workers[-1] == WORKERS:
                return
        self.assertEqual(max(workers), WORKERS)
        # 10 ms in which a busy machine runs neither h2load nor weir nor this upstream are one percent: what it stood still is allowed for.
        # Where the demand of four seconds took longer, there was not always demand: then too many is still wrong, too few is not.
        said = f"least and most in a second and longest stall, of each try: {tries}"
        allowed = 5 + 500 * metronome.longest
        self.assertLessEqual(most, 500 + allowed, said)
        if lasted < 4.2:
            self.assertGreaterEqual(least, 500 - allowed, said)

    def test_through_a_total_outage_attempts_stay_within_1_2_for_each_request(self):
        counting = Counting(lambda head: answer(503))
        upstream = self.upstream(counting)
        self.weir(self.simple(upstream.port, workers=WORKERS, policy="[ { retry: { max_attempts: 4, causes: [5xx, connect_failure, reset], backoff: { base: 1ms, max: 10ms } } } ]",
                              service="retry_budget: { ratio: 20%, min_rate: 0/s, window: 10s }, outlier_detection: { mode: disabled }"))
        crowd = self.crowd(32)
        crowd.run(4000)
        self.assertEqual(crowd.statuses, {503: 4000})
        self.assertLessEqual(counting.count, 1.2 * 4000)
        self.assertGreaterEqual(counting.count, 1.2 * 4000 - 1)  # every retry that was paid for was made
        upstream.close()
        self.crowd(32).run(2000)
        wait_until(lambda: self.metric("weir_requests_total") == 6000, "the last request to be counted")  # its client may be told sooner
        requests, attempts = 6000, self.metric("weir_attempts_total")
        self.assertLessEqual(attempts, 1.2 * requests)
        self.assertGreaterEqual(attempts, 1.2 * requests - 1)

    def test_a_breaker_opens_at_exactly_the_twentieth_call_whichever_workers_have_them(self):
        rounds, seen = 40, {}

        def work(head):
            path = head.split(" ")[1]
            seen[path] = seen.get(path, 0) + 1
            return answer(500 if seen[path] % 2 == 0 else 200, b"" if path.endswith("empty") else b"x")
        upstream = self.upstream(Counting(work))
        self.weir(self.many(rounds, "[ { circuit_breaker: { causes: [5xx], window: 1m, min_calls: 20, failure_ratio: 50%, open_for: { base: 1m, max: 1m } } } ]", upstream.port))
        connections = self.connections(16)
        for i in range(rounds):
            path = f"/{i}/" + ("empty" if i % 2 else "")
            statuses = [self.get(connections[(i + call * 5) % 16], path) for call in range(30)]
            self.assertEqual(statuses, [200, 500] * 10 + [503] * 10, path)
            self.assertEqual(seen[path], 20)

    def test_half_open_lets_exactly_its_probes_through_while_they_hang(self):
        healthy, release = threading.Event(), threading.Event()
        self.addCleanup(release.set)

        def work(head):
            if not healthy.is_set():
                return answer(500)
            release.wait(30)
            return answer()
        counting = Counting(work)
        upstream = self.upstream(counting)
        self.weir(self.simple(upstream.port, workers=WORKERS, policy="[ { circuit_breaker: { causes: [5xx], min_calls: 20, failure_ratio: 50%, "
                              "open_for: { base: 200ms, max: 200ms }, half_open: { probes: 5, successes: 5 } } } ]"))
        self.assertEqual([self.get(c) for c in self.connections(22)], [500] * 20 + [503] * 2)
        self.assertEqual(counting.count, 20)
        healthy.set()
        wait_until(lambda: self.metric("weir_breaker_seconds_until_half_open") == 0, "the open time to end")
        got, lock = [], threading.Lock()

        def client(connection):
            status = self.get(connection)
            with lock:
                got.append(status)
        threads = [threading.Thread(target=client, args=(c,), daemon=True) for c in self.connections(60)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(got) == 55, "all but the probes to be refused")
        self.assertEqual(got, [503] * 55)
        self.assertEqual((counting.count, counting.inside), (25, 5))
        release.set()
        for thread in threads:
            thread.join(20)
        self.assertEqual(got, [503] * 55 + [200] * 5)
        self.assertEqual(self.get(self.connections(1)[0]), 200)


if __name__ == "__main__":
    unittest.main(verbosity=1)
