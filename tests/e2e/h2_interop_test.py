"""HTTP/2 on either side of weir, or on both, with peers that others wrote: what crosses, what breaks, and what must not be felt by neighbors."""
import hashlib, os, re, subprocess, threading, unittest

import h2_peer
from h2_peer import Code, Setting
from harness import *

PLAIN = "[ { timeout: { total: 20s } } ]"  # neither retries nor limits


class Interop(EndToEnd):
    def server(self, script, **options):
        server = h2_peer.Server(script, **options)
        self.addCleanup(server.close)
        return server

    def client(self, port=None, **options):
        peer = h2_peer.connect(port or self.port, **options)
        self.addCleanup(peer.close)
        return peer

    def towards(self, server, policy=PLAIN, service="protocol: http2", **options):
        return self.weir(self.simple(server.port, policy=policy, service=service, **options))

    def h1_exchange(self, path="/", fields="", body=b""):
        """All that comes on a connection of HTTP/1.1 until it is closed."""
        method = "POST" if body else "GET"
        return self.raw(f"{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body, timeout=20)

    def rss(self, process, field="VmRSS"):
        with open(f"/proc/{process.process.pid}/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith(field + ":"))


class Crossing(Interop):
    def test_megabytes_and_heads_cross_all_four_ways(self):
        blob = os.urandom(1 << 20)

        def digest(body):
            return hashlib.sha256(body).hexdigest().encode()

        def script(stream):
            if stream.field(":method") == "HEAD":
                return stream.respond(200, ("content-length", "77"), end=True)
            stream.finish()
            stream.answer(digest(bytes(stream.body)) if stream.body else blob)

        def make(head, body, _):
            if head.startswith("HEAD"):
                return b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"
            return answer(body=digest(body) if body else blob)
        one, two = self.upstream(keep_answering(make)), self.server(script)
        self.weir(f"""
listeners:
  - name: out
    direction: outbound
    listen: 127.0.0.1:@PORT@
    routes: [ {{ match: {{ path_prefix: /1 }}, service: one }}, {{ service: two }} ]
services:
  one: {{ endpoints: ['127.0.0.1:{one.port}'] }}
  two: {{ endpoints: ['127.0.0.1:{two.port}'], protocol: http2 }}
""")
        with open(f"{self.dir}/up", "wb") as f:
            f.write(blob)
        for front, version in (("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")):
            for path in ("/1", "/2"):
                with self.subTest(front=version, upstream=path[1:]):
                    url = f"http://127.0.0.1:{self.port}{path}"
                    code, out, err = self.curl(front, "-w", "%{http_version}", "-o", f"{self.dir}/down", url)
                    self.assertEqual((code, out.decode()), (0, version), err)
                    with open(f"{self.dir}/down", "rb") as f:
                        self.assertEqual(digest(f.read()), digest(blob))
                    self.assertEqual(self.curl(front, "--data-binary", f"@{self.dir}/up", url)[:2], (0, digest(blob)))
                    code, out, err = self.curl(front, "-I", url)
                    self.assertEqual(code, 0, err)
                    self.assertIn("content-length: 77", out.decode().lower())
        self.assertEqual([peer.broken for peer in two.peers], [None] * len(two.peers))

    def test_what_a_server_of_http2_is_sent(self):
        server = self.server(lambda s: s.answer())
        self.towards(server)
        self.h1_exchange("/a?b=c", "X-One: 1\r\nTE: trailers\r\nConnection: x-hop\r\nX-Hop: 1\r\nCookie: a=b; c=d\r\n")
        self.client().request("/a?b=c", fields=[("x-one", "1"), ("te", "trailers"), ("cookie", "a=b"), ("cookie", "c=d")]).finish()
        for stream in server.streams():
            names = [name for name, _ in stream.head]
            self.assertEqual([stream.field(f) for f in (":method", ":scheme", ":authority", ":path", "x-one")], ["GET", "http", "a", "/a?b=c", "1"])
            self.assertEqual("; ".join(value for name, value in stream.head if name == "cookie"), "a=b; c=d")
            for never in ("connection", "keep-alive", "x-hop", "transfer-encoding", "upgrade", "host", "proxy-connection"):
                self.assertNotIn(never, names)
            self.assertLessEqual({value for name, value in stream.head if name == "te"}, {"trailers"})
            self.assertIn("weir", stream.field("via"))
        self.assertEqual(server.streams()[1].field("te"), "trailers")  # gRPC's servers insist on it

    def test_trailers_cross_both_ways(self):
        def script(stream):
            stream.finish()
            stream.respond(200, ("x-came", str(dict(stream.trailers or []).get("x-up"))))
            stream.send(b"hello")
            stream.send_trailers(("x-sum", "42"), ("x-more", "a"))
        server = self.server(script)
        self.towards(server)
        stream = self.client().request("/", "POST", body=b"12345", end=False)
        stream.send_trailers(("x-up", "7"))
        stream.finish()
        self.assertEqual((stream.status, stream.field("x-came"), bytes(stream.body), stream.trailers), (200, "7", b"hello", [("x-sum", "42"), ("x-more", "a")]))
        got = self.raw(b"POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE, close\r\nTransfer-Encoding: chunked\r\n\r\n"
                       b"5\r\n12345\r\n0\r\nx-up: 8\r\n\r\n")
        self.assertIn(b"\r\nx-came: 8\r\n", got.lower())
        self.assertTrue(got.lower().endswith(b"5\r\nhello\r\n0\r\nx-sum: 42\r\nx-more: a\r\n\r\n"), got)

    def test_informational_answers_cross(self):
        def script(stream):
            stream.send_head([(":status", "103"), ("link", "</a>")])
            stream.send_head([(":status", "103"), ("link", "</b>")])
            stream.answer()
        server = self.server(script)
        self.towards(server)
        stream = self.client().request().finish()
        self.assertEqual([dict(head)["link"] for head in stream.informational], ["</a>", "</b>"])
        self.assertEqual((stream.status, bytes(stream.body)), (200, b"ok\n"))
        got = self.h1_exchange()
        self.assertEqual(re.findall(rb"HTTP/1.1 (\d+)", got), [b"103", b"103", b"200"])

    def test_a_client_that_waits_for_100_continue(self):
        def script(stream):
            if stream.field("expect"):
                stream.send_head([(":status", "100")])
            stream.finish()
            stream.answer(str(len(stream.body)).encode())
        self.towards(self.server(script))
        with open(f"{self.dir}/up", "wb") as f:
            f.write(bytes(100000))
        for front in ("--http1.1", "--http2-prior-knowledge"):
            code, out, err = self.curl(front, "--expect100-timeout", "15", "-H", "Expect: 100-continue", "-T", f"{self.dir}/up", f"http://127.0.0.1:{self.port}/", timeout=10)
            self.assertEqual((code, out), (0, b"100000"), err)

    def test_an_answer_before_the_request_ended_is_whole(self):
        def script(stream):
            stream.answer(b"enough", 413)
            stream.cancel(Code.NO_ERROR)
        self.towards(self.server(script))
        stream = self.client().request("/", "POST", body=b"x" * 1000, end=False).finish()
        self.assertEqual((stream.status, bytes(stream.body), stream.ended), (413, b"enough", True))
        self.assertIn(stream.reset, (None, Code.NO_ERROR))


class Breaking(Interop):
    PHASES = {
        "before the head": lambda s: None,
        "after the head": lambda s: s.respond(200, ("content-length", "10")),
        "in the body": lambda s: (s.respond(200, ("content-length", "10")), s.send(b"hello")),
        "in a body of unknown length": lambda s: (s.respond(200), s.send(b"hello")),
    }

    def test_a_reset_of_the_upstream_is_never_a_whole_answer(self):
        self.seen = threading.Event()

        def script(stream):
            self.PHASES[stream.field(":path")[1:].replace("-", " ")](stream)
            self.seen.wait(10)
            stream.cancel(Code.INTERNAL_ERROR)
        server = self.server(script)
        self.towards(server)
        client = self.client()
        for phase in self.PHASES:
            with self.subTest(phase):
                path = "/" + phase.replace(" ", "-")
                stream = client.request(path)
                if phase == "before the head":
                    self.seen.set()
                    self.assertEqual((stream.finish().status, stream.ended), (502, True))
                    self.assertIn(b"HTTP/1.1 502 ", self.h1_exchange(path))
                    continue
                self.seen.clear()
                stream.wait(lambda s: s.head)
                self.seen.set()
                stream.finish()
                self.assertEqual((stream.status, stream.ended), (200, False))
                self.assertIsNotNone(stream.reset)
                self.seen.clear()
                with socket.create_connection(("127.0.0.1", self.port), 10) as s:
                    s.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                    head, body = read_head(s)
                    self.seen.set()
                    with contextlib.suppress(ConnectionResetError):
                        while more := s.recv(65536):
                            body += more
                self.assertIn(" 200 ", head)
                self.assertTrue(len(body) < 11 and not body.endswith(b"0\r\n\r\n"), body)
        self.assertLessEqual(len(server.peers), 2)  # one for each worker: a reset costs a stream, not its connection
        self.assertFalse(client.closed)

    def test_a_lost_connection_breaks_its_streams(self):
        self.seen = threading.Event()

        def script(stream):
            if stream.field(":path") == "/late":
                stream.respond(200)
                stream.send(b"hello")
            self.seen.wait(20)
            stream.peer.close()
        server = self.server(script)
        self.towards(server)
        client = self.client()
        streams = [client.request(path) for path in ("/late", "/early", "/early", "/late")]
        for stream in (streams[0], streams[3]):
            stream.wait(lambda s: s.body)
        wait_until(lambda: len(server.streams()) == 4, "four requests")
        self.seen.set()
        for stream in streams:
            stream.finish()
        self.assertEqual([s.status for s in streams], [200, 502, 502, 200])
        self.assertEqual([s.ended for s in streams], [False, True, True, False])

    def test_a_client_that_cancels_cancels_upstream(self):
        def script(stream):
            if stream.field(":path") == "/quick":
                return stream.answer()
            if stream.field(":path") == "/began":
                stream.respond(200)
                stream.send(b"hello")
            stream.finish()
        server = self.server(script)
        self.towards(server, workers=1)
        client = self.client()
        for path in ("/waits", "/began"):
            stream = client.request(path)
            wait_until(lambda: [s for s in server.streams() if s.field(":path") == path], "the request to arrive")
            if path == "/began":
                stream.wait(lambda s: s.body)
            stream.cancel()
            wait_until(lambda: [s for s in server.streams() if s.field(":path") == path][0].reset == Code.CANCEL, "the upstream's CANCEL")
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.sendall(b"GET /waits?h1 HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_until(lambda: server.streams()[-1].field(":path") == "/waits?h1", "the request to arrive")
        wait_until(lambda: server.streams()[-1].reset == Code.CANCEL, "the upstream's CANCEL")
        self.assertEqual(client.request("/quick").finish().status, 200)
        self.assertEqual(len(server.peers), 1)

    def test_refused_streams_are_tried_again_whatever_the_method(self):
        def script(stream):
            if len(server.streams()) < 3:
                return stream.cancel(Code.REFUSED_STREAM)
            stream.finish()
            stream.answer(bytes(stream.body))
        server = self.server(script)
        self.towards(server, "[ { timeout: { total: 20s } }, { retry: { max_attempts: 3, causes: [refused_stream], backoff: { base: 1ms, max: 2ms } } } ]",
                     "protocol: http2, retry_budget: { min_rate: 100/s }", workers=1)
        stream = self.client().request("/", "POST", body=b"x" * 1000).finish()
        self.assertEqual((stream.status, len(stream.body)), (200, 1000))
        self.assertEqual(len(server.streams()), 3)

    def test_a_graceful_goaway_fails_nothing(self):
        def script(stream):
            if stream.field(":path") == "/first":
                stream.peer.terminate(last=stream.id)
                wait_until(lambda: len(server.peers) == 2, "the other connection")
            stream.answer()
        server = self.server(script)
        self.towards(server, workers=1)
        client = self.client()
        first = client.request("/first")
        wait_until(lambda: server.streams(), "the first request")
        wait_until(lambda: client.request("/next").finish().status == 200 and len(server.peers) == 2, "another connection")
        self.assertEqual(first.finish().status, 200)
        wait_until(lambda: server.peers[0].closed, "the old connection to be given up")
        self.assertEqual([p.broken for p in server.peers], [None, None])

    def test_streams_that_a_goaway_leaves_out_are_tried_again(self):
        def script(stream):
            if len(server.peers) == 1:
                stream.wait(lambda s: len(s.peer.streams) == 8, "eight streams")
                if stream.id == 1:
                    stream.peer.terminate(last=1)
                    stream.answer()
                    stream.wait(lambda s: s.peer.closed)
                return
            stream.answer()
        server = self.server(script)
        self.towards(server, "[ { timeout: { total: 20s } }, { retry: { max_attempts: 3, causes: [refused_stream], backoff: { base: 1ms, max: 2ms } } } ]",
                     "protocol: http2, retry_budget: { min_rate: 100/s }", workers=1)
        client = self.client()
        streams = [client.request(f"/{i}", "POST", body=b"x") for i in range(8)]
        self.assertEqual({s.finish().status for s in streams}, {200})

    def test_the_servers_limit_of_streams_spreads_over_connections(self):
        def script(stream):
            if stream.field(":path") == "/first":
                return stream.answer()
            if stream.beside > 4:  # crossed the first SETTINGS: refused, as servers do
                return stream.cancel(Code.REFUSED_STREAM)
            wait_until(lambda: self.enough or sum(s.beside <= 4 for s in server.streams()) >= 33, "32 at once")
            self.enough = True
            stream.answer()
        self.enough = False
        server = self.server(script, settings={Setting.MAX_CONCURRENT_STREAMS: 4})
        self.towards(server, "[ { timeout: { total: 20s } }, { retry: { max_attempts: 10, causes: [refused_stream], backoff: { base: 1ms, max: 2ms } } } ]",
                     "protocol: http2, retry_budget: { min_rate: 1000/s }", workers=1)
        client = self.client()
        self.assertEqual(client.request("/first").finish().status, 200)
        streams = [client.request() for _ in range(32)]
        self.assertEqual({s.finish().status for s in streams}, {200})
        self.assertTrue(8 <= len(server.peers) <= 16, len(server.peers))


class Neighbors(Interop):
    SMALL = {Setting.INITIAL_WINDOW_SIZE: 16384}

    def test_a_slow_reader_holds_up_itself_alone(self):
        big = bytes(4 << 20)

        def script(stream):
            stream.answer(big if stream.field(":path") == "/slow" else b"ok\n")
        server = self.server(script)
        weir = self.towards(server, workers=1)
        client = self.client(settings=self.SMALL, takes=lambda stream: stream is not slow)
        slow = None
        with client.changed:
            slow = client.request("/slow")
        slow.wait(lambda s: s.untaken == 16384)
        before = self.rss(weir)
        for _ in range(50):
            self.assertEqual(client.request("/quick").finish(5).status, 200)
        self.assertEqual(self.h1_exchange()[:12], b"HTTP/1.1 200")
        self.assertEqual((len(slow.body), len(server.peers)), (16384, 1))
        self.assertLess(self.rss(weir) - before, 4 << 20)
        slow.take()
        slow.finish()
        self.assertEqual((len(slow.body), slow.ended), (len(big), True))

    def test_a_slow_upload_holds_up_itself_alone(self):
        def script(stream):
            stream.finish()
            stream.answer(str(len(stream.body)).encode())
        server = self.server(script, settings=self.SMALL, takes=lambda stream: stream.field(":path") != "/slow")
        weir = self.towards(server, workers=1)
        client = self.client()
        self.assertEqual(client.request("/quick", "POST", body=b"x").finish().status, 200)  # the server's SETTINGS have come
        slow = client.request("/slow", "POST", end=False)
        thread = threading.Thread(target=slow.send, args=(bytes(4 << 20), True))
        thread.start()
        wait_until(lambda: server.streams()[-1].field(":path") == "/slow" and server.streams()[-1].untaken == 16384, "the window to be full")
        blocked = server.streams()[-1]
        before = self.rss(weir)
        for _ in range(20):
            quick = client.request("/quick", "POST", body=bytes(10000)).finish(5)
            self.assertEqual((quick.status, bytes(quick.body)), (200, b"10000"))
        self.assertEqual(len(server.peers), 1)
        self.assertLess(self.rss(weir) - before, 4 << 20)
        blocked.take()
        thread.join(20)
        slow.finish()
        self.assertEqual((slow.status, bytes(slow.body)), (200, str(4 << 20).encode()))


if __name__ == "__main__":
    unittest.main()
