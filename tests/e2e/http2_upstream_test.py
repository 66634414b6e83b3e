"""HTTP/2 towards upstreams that others wrote: nghttpd and python3-h2, with curl and h2load in front, over HTTP/1.1 and HTTP/2."""
import hashlib, os, re, shutil, socket, subprocess, threading, unittest

from harness import *

try:
    import h2.config, h2.connection, h2.errors, h2.events, h2.settings
except ImportError:
    h2 = None


class H2Server:
    """python3-h2 as an upstream: `script(server, stream, headers, body, trailers)` is called with each whole request, under the connection's lock."""

    def __init__(self, script, max_streams=100):
        self.script, self.max_streams = script, max_streams
        self.connections = []
        self.requests = 0
        self.socket = socket.create_server(("127.0.0.1", free_port()), backlog=128)
        self.port = self.socket.getsockname()[1]
        self.open = True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.open:
            try:
                one, _ = self.socket.accept()
            except OSError:
                return
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = H2ServerConnection(self, one)
            self.connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def close(self):
        self.open = False
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for connection in self.connections:
            connection.close()


class H2ServerConnection:
    def __init__(self, server, connection):
        self.server, self.socket = server, connection
        self.lock = threading.RLock()
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.local_settings[h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS] = server.max_streams
        self.headers, self.bodies, self.trailers = {}, {}, {}
        self.resets = []
        self.unsent = {}

    def serve(self):
        with contextlib.suppress(OSError):
            with self.lock:
                self.h2.initiate_connection()
                self.flush()
            while True:
                data = self.socket.recv(65536)
                if not data:
                    break
                with self.lock:
                    for event in self.h2.receive_data(data):
                        self.on_event(event)
                    self.send_more()
                    self.flush()
        self.close()

    def on_event(self, event):
        if isinstance(event, h2.events.RequestReceived):
            self.headers[event.stream_id] = dict(event.headers)
            self.bodies[event.stream_id] = bytearray()
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers[event.stream_id] = dict(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.bodies[event.stream_id] += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.resets.append((event.stream_id, int(event.error_code)))
            self.unsent.pop(event.stream_id, None)
        elif isinstance(event, h2.events.StreamEnded):
            stream = event.stream_id
            self.server.requests += 1
            self.server.script(self, stream, self.headers[stream], bytes(self.bodies[stream]), self.trailers.get(stream, {}))

    def answer(self, stream, status=200, body=b"ok\n", headers=(), trailers=None):
        self.h2.send_headers(stream, [(":status", str(status)), *headers])
        self.unsent[stream] = (memoryview(body), trailers)
        self.send_more()

    def send_more(self):
        for stream, (body, trailers) in list(self.unsent.items()):
            while body:
                size = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body))
                if size <= 0:
                    break
                self.h2.send_data(stream, bytes(body[:size]))
                body = body[size:]
            self.unsent[stream] = (body, trailers)
            if body:
                continue
            del self.unsent[stream]
            if trailers:
                self.h2.send_headers(stream, trailers, end_stream=True)
            else:
                self.h2.end_stream(stream)

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


HTTP2 = "protocol: http2"
RETRY = "[ { retry: { max_attempts: 3, causes: [refused_stream, reset], methods: any } } ]"


class Http2Upstream(EndToEnd):
    def curl_both(self, *arguments):
        for flag in ("--http1.1", "--http2-prior-knowledge"):
            yield self.curl(flag, *arguments)

    def nghttpd(self, *arguments):
        port = free_port()
        root = f"{self.dir}/www"
        os.makedirs(root, exist_ok=True)
        server = Process(["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", root, *arguments, str(port)])
        self.addCleanup(server.stop)
        wait_until(lambda: connectable(port), f"nghttpd on {port}")
        server.port, server.root = port, root
        return server

    def h2_server(self, script, **options):
        server = H2Server(script, **options)
        self.addCleanup(server.close)
        return server

    @unittest.skipUnless(shutil.which("nghttpd"), "nghttpd is not installed")
    def test_files_of_nghttpd_arrive_whole_over_both_protocols(self):
        upstream = self.nghttpd("--echo-upload")
        blob = os.urandom(5 << 20)
        for name, content in (("blob", blob), ("small", b"hello\n"), ("none", b"")):
            with open(f"{upstream.root}/{name}", "wb") as f:
                f.write(content)
        self.weir(self.simple(upstream.port, service=HTTP2))
        url = f"http://127.0.0.1:{self.port}"
        for name, content in (("blob", blob), ("small", b"hello\n"), ("none", b"")):
            for code, out, err in self.curl_both(f"{url}/{name}"):
                self.assertEqual(code, 0, err)
                self.assertEqual(hashlib.sha256(out).digest(), hashlib.sha256(content).digest())
        for code, out, _ in self.curl_both("-o", "/dev/null", "-w", "%{http_code}", f"{url}/missing"):
            self.assertEqual((code, out), (0, b"404"))
        for code, out, err in self.curl_both("-I", f"{url}/blob"):
            self.assertEqual(code, 0, err)
            self.assertIn(f"content-length: {5 << 20}".encode(), out.lower())
        for sent in (blob[:1 << 20], b"x"):
            with open(f"{self.dir}/up", "wb") as f:
                f.write(sent)
            for arguments in (("--data-binary", f"@{self.dir}/up"), ("-T", f"{self.dir}/up"), ("-T", f"{self.dir}/up", "-H", "Transfer-Encoding: chunked")):
                for code, out, err in self.curl_both(*arguments, f"{url}/echo"):
                    self.assertEqual(code, 0, err)
                    self.assertEqual(hashlib.sha256(out).digest(), hashlib.sha256(sent).digest())

    @unittest.skipUnless(shutil.which("nghttpd") and shutil.which("h2load"), "nghttpd or h2load is not installed")
    def test_h2load_gets_every_answer_through_few_connections(self):
        upstream = self.nghttpd("--max-concurrent-streams=20")
        with open(f"{upstream.root}/small", "wb") as f:
            f.write(b"hello\n")
        self.weir(self.simple(upstream.port, service=HTTP2))
        count = int(os.environ.get("WEIR_H2LOAD_REQUESTS", "20000"))
        total = 0
        for arguments in (("-c8", "-m16"), ("--h1", "-c32")):
            done = subprocess.run(["h2load", f"-n{count}", *arguments, f"http://127.0.0.1:{self.port}/small"], capture_output=True, timeout=300)
            out = done.stdout.decode("latin-1")
            self.assertEqual(done.returncode, 0, done.stderr)
            numbers = re.search(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored", out)
            self.assertEqual([int(n) for n in numbers.groups()], [count, count, 0, 0], out)
            total += count
            wait_until(lambda: self.metric("weir_requests_total") == total, "the outcomes to be counted")
        self.assertEqual(self.metric("weir_requests_total", code="2xx"), total)
        self.assertEqual(self.metric("weir_upstream_streams"), 0)
        # 128 at once, 20 a connection, two workers; some more while connections are being made.
        self.assertLessEqual(self.metric("weir_upstream_connects_total"), 20)

    @unittest.skipIf(h2 is None, "python3-h2 is not installed")
    def test_heads_bodies_trailers_and_the_host_are_as_they_were(self):
        seen = []

        def script(connection, stream, headers, body, trailers):
            seen.append((headers, body, trailers))
            connection.answer(stream, 200, body.upper(), [("x-from", "upstream")], [("x-sum", "42")])
        upstream = self.h2_server(script)
        self.weir(self.simple(upstream.port, service=HTTP2 + ", host: inner.local"))
        for code, out, err in self.curl_both("-v", "--data-binary", "hello", "-H", "TE: trailers", f"http://127.0.0.1:{self.port}/a?b=c"):
            self.assertEqual((code, out), (0, b"HELLO"), err)
            self.assertIn("x-from: upstream", err)
        self.assertIn("x-sum: 42", err)  # curl shows trailers of HTTP/2 only
        for headers, body, _ in seen:
            self.assertEqual(headers[":path"], "/a?b=c")
            self.assertEqual(headers[":method"], "POST")
            self.assertEqual(headers[":authority"], "inner.local")
            self.assertEqual(headers["content-length"], "5")
            self.assertEqual(headers["content-type"], "application/x-www-form-urlencoded")
            self.assertNotIn("host", headers)
            self.assertNotIn("connection", headers)
            self.assertEqual(body, b"hello")
        raw = self.raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\nx-up: 1\r\n\r\n")
        self.assertIn(b"ABC\r\n0\r\nx-sum: 42\r\n\r\n", raw)
        self.assertEqual(seen[-1][2], {"x-up": "1"})

    @unittest.skipIf(h2 is None, "python3-h2 is not installed")
    def test_refused_streams_and_goaways_are_tried_again_and_resets_are_told(self):
        def script(connection, stream, headers, body, trailers):
            path = headers[":path"]
            if path == "/refused" and connection.server.requests % 2 == 1:
                connection.h2.reset_stream(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
            elif path == "/reset":
                connection.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            elif path == "/cut":
                connection.h2.send_headers(stream, [(":status", "200")])
                connection.h2.send_data(stream, b"part")
                connection.h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            elif path == "/go":
                connection.answer(stream)
                connection.h2.close_connection()
            else:
                connection.answer(stream)
        upstream = self.h2_server(script)
        self.weir(self.simple(upstream.port, service=HTTP2, workers=1, policy="[ { retry: { max_attempts: 3, causes: [refused_stream], methods: any } } ]"))
        url = f"http://127.0.0.1:{self.port}"
        for i in range(3):
            self.assertEqual(self.request("POST", "/refused", body=b"x")[0], 200)
        self.assertGreaterEqual(self.metric("weir_attempts_total", outcome="refused_stream"), 1)
        self.assertEqual(self.request("GET", "/reset")[0], 502)
        self.assertIn(self.curl("--http1.1", f"{url}/cut")[0], (18, 56))  # a partial file, or a reset before any of it was read
        self.assertEqual(self.curl("--http2-prior-knowledge", f"{url}/cut")[0], 92)
        before = len(upstream.connections)
        for i in range(5):
            self.assertEqual(self.request("GET", "/go")[0], 200)
            self.assertEqual(self.request("GET", "/")[0], 200)
        self.assertGreaterEqual(len(upstream.connections), before + 4)
        self.assertEqual(self.metric("weir_upstream_limit_used", limit="connections"), 1)

    @unittest.skipIf(h2 is None, "python3-h2 is not installed")
    def test_a_client_that_goes_away_cancels_its_stream_and_no_other(self):
        waiting = []

        def script(connection, stream, headers, body, trailers):
            if headers[":path"] == "/wait":
                waiting.append((connection, stream))
            else:
                connection.answer(stream)
        upstream = self.h2_server(script)
        self.weir(self.simple(upstream.port, service=HTTP2, workers=1))
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_until(lambda: waiting, "the request to arrive")
        connection, stream = waiting[0]
        wait_until(lambda: connection.resets, "the stream to be reset")
        self.assertEqual(connection.resets, [(stream, 8)])
        self.assertEqual(self.request("GET", "/")[0], 200)
        self.assertEqual(len(upstream.connections), 1)

    @unittest.skipIf(h2 is None, "python3-h2 is not installed")
    def test_a_slow_reader_does_not_stop_the_others_of_its_connection(self):
        blob = os.urandom(8 << 20)
        upstream = self.h2_server(lambda connection, stream, *_: connection.answer(stream, 200, blob))
        weir = self.weir(self.simple(upstream.port, service=HTTP2, workers=1))
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", self.port))
            slow.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            for code, out, err in self.curl_both(f"http://127.0.0.1:{self.port}/fast"):
                self.assertEqual(code, 0, err)
                self.assertEqual(hashlib.sha256(out).digest(), hashlib.sha256(blob).digest())
            self.assertEqual(len(upstream.connections), 1)
            with upstream.connections[0].lock:
                self.assertGreater(sum(len(body) for body, _ in upstream.connections[0].unsent.values()), 1 << 20)
        self.assertIsNone(weir.process.poll())

    @unittest.skipIf(h2 is None, "python3-h2 is not installed")
    def test_health_checks_speak_http2(self):
        upstream = self.h2_server(lambda connection, stream, headers, *_: connection.answer(stream, 200 if headers[":path"] == "/healthz" else 404))
        self.weir(self.simple(upstream.port, service=HTTP2 + ", health_check: { http: { path: /healthz }, interval: 100ms, timeout: 1s }"))
        wait_until(lambda: self.metric("weir_health_checks_total", result="passed") >= 3, "checks to pass")
        self.assertEqual(self.metric("weir_health_checks_total"), self.metric("weir_health_checks_total", result="passed"))

    def test_an_upstream_of_http1_is_told_in_the_log(self):
        upstream = self.upstream(keep_answering(lambda *_: answer()))
        self.weir(self.simple(upstream.port, service=HTTP2, top="access_log: { path: @DIR@/access.log }"))
        self.assertEqual(self.request()[0], 503)
        self.assertIn("HTTP/2 was not spoken", wait_until(lambda: str(self.access_log()[-1]) if self.access_log() else "", "the line"))


if __name__ == "__main__":
    unittest.main()
