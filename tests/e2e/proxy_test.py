"""weir in front of real servers: what a user does first."""
import hashlib, os, re, signal, socket, subprocess, sys, threading, time, unittest

from harness import *

LOG = "access_log: { path: @DIR@/access.log, format: json, sample: 100% }"


class Proxying(EndToEnd):
    def test_curl_gets_what_nginx_serves_and_sends_what_the_upstream_gets(self):
        os.mkdir(f"{self.dir}/www")
        blob = os.urandom(20 << 20)
        with open(f"{self.dir}/www/blob", "wb") as f:
            f.write(blob)
        nginx = self.nginx(f'root {self.dir}/www; location = /hello {{ return 200 "hello\\n"; }} location = /none {{ return 204; }}')
        self.weir(self.simple(nginx.port))
        base = f"http://127.0.0.1:{self.port}"
        self.assertEqual(self.curl(base + "/hello")[:2], (0, b"hello\n"))
        self.assertEqual(self.curl("-o", "/dev/null", "-w", "%{http_code}", base + "/none")[:2], (0, b"204"))
        self.assertEqual(self.curl("-o", "/dev/null", "-w", "%{http_code}", base + "/missing")[:2], (0, b"404"))
        code, out, _ = self.curl(base + "/blob")
        self.assertEqual((code, hashlib.sha256(out).digest()), (0, hashlib.sha256(blob).digest()))
        code, out, _ = self.curl("-I", base + "/blob")
        self.assertEqual(code, 0)
        self.assertIn(f"content-length: {20 << 20}", out.decode().lower())
        etag = header(out.decode(), "etag")
        self.assertEqual(self.curl("-o", "/dev/null", "-w", "%{http_code}", "-H", f"If-None-Match: {etag}", base + "/blob")[:2], (0, b"304"))
        code, out, _ = self.curl("-r", "0-99", base + "/blob")
        self.assertEqual((code, out), (0, blob[:100]))

    def test_uploads_arrive_whole_with_length_chunked_and_expect(self):
        seen = []

        def make(head, body, _):
            seen.append((head, hashlib.sha256(body).hexdigest()))
            return answer(200, f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode())
        upstream = self.upstream(keep_answering(make))
        self.weir(self.simple(upstream.port))
        blob = os.urandom(5 << 20)
        path = f"{self.dir}/up"
        with open(path, "wb") as f:
            f.write(blob)
        want = f"{5 << 20} {hashlib.sha256(blob).hexdigest()}".encode()
        url = f"http://127.0.0.1:{self.port}/up"
        self.assertEqual(self.curl("--data-binary", f"@{path}", "-H", "Expect:", url)[:2], (0, want))
        self.assertEqual(self.curl("-T", path, "-H", "Expect: 100-continue", url)[:2], (0, want))
        self.assertEqual(self.curl("-X", "POST", "-T", path, "-H", "Transfer-Encoding: chunked", url)[:2], (0, want))
        self.assertIsNotNone(header(seen[0][0], "content-length"))
        self.assertEqual(header(seen[2][0], "transfer-encoding"), "chunked")

    def test_what_goes_upstream_is_reserialised_with_proxy_fields(self):
        heads = []

        def make(head, body, _):
            heads.append(head)
            return answer(extra="Connection: x-secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nX-Kept: yes\r\n")
        upstream = self.upstream(keep_answering(make))
        self.weir(self.simple(upstream.port))
        status, headers, _ = self.request(headers={"Connection": "x-private, keep-alive", "X-Private": "1", "TE": "gzip", "Proxy-Connection": "close", "Upgrade": "foo"})
        self.assertEqual(status, 200)
        self.assertNotIn("x-secret", headers)
        self.assertEqual(headers["x-kept"], "yes")
        sent = heads[0]
        for gone in ("x-private", "te", "proxy-connection", "upgrade", "keep-alive"):
            self.assertIsNone(header(sent, gone), gone)
        self.assertIn("weir", header(sent, "via"))
        self.assertTrue(header(sent, "x-request-id"))
        self.assertEqual(header(sent, "host"), f"127.0.0.1:{self.port}")

    def test_truncated_answers_are_never_passed_off_as_whole(self):
        def script(connection, number):
            head, _ = read_head(connection)
            if "chunked" in head.split(" ")[1]:
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        upstream = self.upstream(script)
        self.weir(self.simple(upstream.port))
        for path in ("/chunked", "/length"):
            code, out, err = self.curl(f"http://127.0.0.1:{self.port}{path}")
            self.assertIn(code, (18, 56), (path, out, err))  # partial file, or receive error

    def test_pipelined_requests_are_answered_in_order(self):
        upstream = self.upstream(keep_answering(lambda head, body, n: answer(body=head.split(" ")[1].encode() + b"\n")))
        self.weir(self.simple(upstream.port))
        count = 50
        data = b"".join(f"GET /{i} HTTP/1.1\r\nHost: a\r\n{'Connection: close' if i == count - 1 else 'X: y'}\r\n\r\n".encode() for i in range(count))
        got = self.raw(data)
        self.assertEqual([line for line in got.decode().splitlines() if line.startswith("/")], [f"/{i}" for i in range(count)])

    def test_http10_clients_get_close_delimited_answers(self):
        def script(connection, number):
            read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        upstream = self.upstream(script)
        self.weir(self.simple(upstream.port))
        got = self.raw(b"GET / HTTP/1.0\r\n\r\n").decode()
        self.assertTrue(got.endswith("\r\n\r\nhello"), got)
        self.assertIsNone(header(got.split("\r\n\r\n")[0], "transfer-encoding"))

    def test_ambiguous_requests_are_refused_and_the_client_can_read_why(self):
        upstream = self.upstream(keep_answering(lambda *a: answer()))
        self.weir(self.simple(upstream.port))
        post = "POST / HTTP/1.1\r\nHost: a\r\n"
        cases = {
            post + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": 400,
            post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd": 400,
            post + "Transfer-Encoding: xchunked\r\n\r\n": 400,
            post + "Transfer-Encoding: chunked, identity\r\n\r\n": 400,
            "GET / HTTP/1.1\r\n\r\n": 400,
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": 400,
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n": 400,
            "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n": 400,
            "GET / HTTP/1.1\nHost: a\n\n": 400,
            "GET / HTTP/3.0\r\nHost: a\r\n\r\n": 505,
            f"GET /{'a' * 40000} HTTP/1.1\r\nHost: a\r\n\r\n": 414,
            "GET / HTTP/1.1\r\nHost: a\r\n" + "".join(f"x-{i}: 1\r\n" for i in range(150)) + "\r\n": 431,
            "GET / HTTP/1.1\r\nHost: a\r\nx: " + "b" * 70000 + "\r\n\r\n": 431,
        }
        for text, status in cases.items():
            got = self.raw(text.encode()).decode()
            self.assertTrue(got.startswith(f"HTTP/1.1 {status} "), (text[:80], got[:120]))
        self.assertEqual(upstream.accepted, 0)

    def test_a_direct_response_a_rewrite_and_no_route(self):
        upstream = self.upstream(keep_answering(lambda head, body, n: answer(body=(head.split(" ")[1] + " " + (header(head, "x-route") or "")).encode())))
        self.weir(f"""
listeners:
  - name: out
    direction: outbound
    listen: 127.0.0.1:@PORT@
    routes:
      - {{ match: {{ path: /weir-says }}, respond: {{ status: 200, body: "hello\\n" }} }}
      - {{ match: {{ path_prefix: /cart }}, rewrite: {{ path_prefix: / }}, service: app, request_headers: {{ set: {{ x-route: cart }} }} }}
services: {{ app: {{ endpoints: ["127.0.0.1:{upstream.port}"] }} }}
""")
        self.assertEqual(self.request(path="/weir-says")[2], b"hello\n")
        self.assertEqual(self.request(path="/cart/items?x=1")[2], b"/items?x=1 cart")
        status, headers, _ = self.request(path="/carton")
        self.assertEqual(status, 404)
        self.assertRegex(headers["date"], r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")


class Resilience(EndToEnd):
    def test_a_dead_endpoint_is_retried_on_another_and_seen(self):
        upstream = self.upstream(keep_answering(lambda *a: answer()))
        dead = free_port()
        self.weir(self.simple(dead, upstream.port, top=LOG, policy="[ { retry: { max_attempts: 3, causes: [connect_failure] } } ]",
                              service="balance: round_robin, retry_budget: { ratio: 100%, min_rate: 100/s, window: 10s }, outlier_detection: { mode: disabled }"))
        for _ in range(10):
            self.assertEqual(self.request()[0], 200)
        self.assertEqual(self.metric("weir_requests_total"), 10)
        self.assertGreaterEqual(self.metric("weir_filter_decisions_total", decision="retried"), 3)
        self.assertGreater(self.metric("weir_attempts_total"), self.metric("weir_requests_total"))
        lines = wait_until(lambda: [l for l in self.access_log() if len(l["attempts"]) == 2], "a log line with two attempts")
        self.assertEqual(lines[0]["status"], 200)

    def test_a_slow_try_is_cut_and_the_next_one_answers(self):
        stop = threading.Event()
        self.addCleanup(stop.set)

        def script(connection, number):
            read_head(connection)
            if number == 0:
                stop.wait(30)
            connection.sendall(answer())
        upstream = self.upstream(script)
        self.weir(self.simple(upstream.port, workers=1, policy="[ { timeout: { total: 5s } }, { retry: { max_attempts: 2, causes: [timeout] } }, { timeout: { name: per-try, response_headers: 200ms } } ]"))
        started = time.monotonic()
        self.assertEqual(self.request()[0], 200)
        self.assertLess(time.monotonic() - started, 4)

    def test_total_timeout_answers_504_and_names_the_policy(self):
        stop = threading.Event()
        self.addCleanup(stop.set)
        upstream = self.upstream(lambda c, n: (read_head(c), stop.wait(30)))
        self.weir(self.simple(upstream.port, top=LOG, policy="[ { timeout: { total: 150ms } } ]"))
        status, headers, _ = self.request()
        self.assertEqual(status, 504)
        self.assertIn("weir", headers["proxy-status"])
        line = wait_until(self.access_log, "the access log line")[0]
        self.assertRegex(json.dumps(line), r"weir\.yaml:\d+")

    def test_the_breaker_opens_and_answers_503_without_the_upstream(self):
        seen = []
        upstream = self.upstream(keep_answering(lambda *a: (seen.append(1), answer(500))[1]))
        self.weir(self.simple(upstream.port, policy="[ { circuit_breaker: { causes: [5xx], min_calls: 5, failure_ratio: 50%, open_for: { base: 30s, max: 60s } } } ]"))
        statuses = [self.request()[0] for _ in range(10)]
        self.assertEqual(statuses, [500] * 5 + [503] * 5)
        self.assertEqual(len(seen), 5)
        self.assertEqual(self.metric("weir_breaker_state"), 1)
        self.assertIn(b"open", self.admin("/breakers")[2])

    def test_shadow_decides_counts_and_lets_pass(self):
        upstream = self.upstream(keep_answering(lambda *a: answer(500)))
        self.weir(self.simple(upstream.port, policy="[ { circuit_breaker: { causes: [5xx], min_calls: 5, failure_ratio: 50%, mode: shadow } } ]"))
        self.assertEqual([self.request()[0] for _ in range(10)], [500] * 10)
        self.assertGreaterEqual(self.metric("weir_filter_decisions_total", mode="shadow"), 5)

    def test_rate_limit_says_429_and_when_to_come_back(self):
        upstream = self.upstream(keep_answering(lambda *a: answer()))
        self.weir(self.simple(upstream.port, policy="[ { rate_limit: { rate: 1/m, burst: 3 } } ]"))
        got = [self.request() for _ in range(4)]
        self.assertEqual([g[0] for g in got], [200, 200, 200, 429])
        self.assertTrue(1 <= int(got[3][1]["retry-after"]) <= 60)

    def test_a_limit_of_ten_with_four_workers_is_never_passed(self):
        inside, most, lock = [0], [0], threading.Lock()

        def script(connection, number):
            rest = b""
            while True:
                head, rest = read_head(connection, rest)
                if head is None:
                    return
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                time.sleep(0.003)  # the upstream's own work, not a wait for weir
                with lock:
                    inside[0] -= 1
                connection.sendall(answer())
        upstream = self.upstream(script)
        self.weir(self.simple(upstream.port, workers=4, policy="[ { concurrency_limit: { limit: 10, queue: { size: 500, timeout: 5s } } } ]"))
        # A counted load: clients that leave in the middle would make the upstream work on what weir has given up already.
        done = subprocess.run(["h2load", "--h1", "-t1", "-c64", "-n6000", f"http://127.0.0.1:{self.port}/"], capture_output=True, text=True, timeout=60)
        self.assertIn("6000 succeeded, 0 failed", done.stdout)
        self.assertLessEqual(most[0], 10)
        self.assertGreaterEqual(most[0], 8)


class Sockets(EndToEnd):
    def test_unix_endpoints_and_unix_listeners(self):
        self.upstream(keep_answering(lambda *a: answer(body=b"by unix\n")), path=f"{self.dir}/up.sock")
        self.weir(f"""
listeners: [ {{ name: out, direction: outbound, listen: "unix:{self.dir}/weir.sock", routes: [ {{ service: app }} ] }} ]
services: {{ app: {{ endpoints: ["unix:{self.dir}/up.sock"] }} }}
""", wait_for=f"{self.dir}/weir.sock")
        self.assertEqual(self.curl("--unix-socket", f"{self.dir}/weir.sock", "http://x/")[:2], (0, b"by unix\n"))

    def test_a_name_is_resolved(self):
        upstream = self.upstream(keep_answering(lambda *a: answer()))
        self.weir(self.simple(f"dns:localhost:{upstream.port}"))
        wait_until(lambda: self.request()[0] == 200, "the name to be resolved")

    def test_without_a_file_listen_and_upstream_are_enough(self):
        upstream = self.upstream(keep_answering(lambda *a: answer()))
        self.weir(arguments=["run", "--listen", f"127.0.0.1:{self.port}", "--upstream", f"127.0.0.1:{upstream.port}"])
        self.assertEqual(self.request()[0], 200)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


@unittest.skipUnless(has_ipv6(), "there is no ::1 here")
class Ipv6(EndToEnd):
    def test_ipv6_at_both_ends(self):
        """Listener, admin and endpoint; the upstream hears the client's address; what is written with a port has brackets."""
        heads = []

        def six(head, *_):
            heads.append(head)
            return answer(body=b"six")
        upstream = self.upstream(keep_answering(six), address="::1")
        self.weir("listeners:\n  - { name: in, direction: inbound, listen: '[::1]:@PORT@', routes: [ { service: app } ] }\n"
                  "  - { name: old, direction: inbound, listen: 127.0.0.1:@PORT@, routes: [ { service: app } ] }\n"
                  f"services:\n  app: {{ endpoints: ['[::1]:{upstream.port}'] }}\naccess_log: {{ path: @DIR@/log, sample: 100% }}\n")
        for host, client in (("::1", "::1"), ("127.0.0.1", "127.0.0.1")):
            connection = http.client.HTTPConnection(host, self.port, timeout=10)
            self.addCleanup(connection.close)
            connection.request("GET", "/")
            response = connection.getresponse()
            self.assertEqual((response.status, response.read()), (200, b"six"))
            self.assertEqual(header(heads[-1], "x-forwarded-for"), client)
        self.assertEqual(header(heads[0], "host"), f"[::1]:{self.port}")
        wait_until(lambda: self.log_lines(2), "two lines in the access log")
        with open(f"{self.dir}/log") as f:
            clients = {line["listener"]: line["client"] for line in map(json.loads, f)}  # of several workers, in any order
        self.assertRegex(clients["in"], r"^\[::1\]:\d+$")
        self.assertRegex(clients["old"], r"^127\.0\.0\.1:\d+$")

    def log_lines(self, count):
        with contextlib.suppress(FileNotFoundError), open(f"{self.dir}/log") as f:
            return len(f.readlines()) >= count


class Lifecycle(EndToEnd):
    def test_sigterm_finishes_what_runs_and_exits_0(self):
        release = threading.Event()
        self.addCleanup(release.set)

        def script(connection, number):
            read_head(connection)
            release.wait(20)
            connection.sendall(answer())
        upstream = self.upstream(script)
        weir = self.weir(self.simple(upstream.port, top="drain: { timeout: 20s }", direction="inbound"))
        got = []
        client = threading.Thread(target=lambda: got.append(self.request(timeout=20)[0]))
        client.start()
        wait_until(lambda: upstream.accepted >= 1, "the request to be upstream")
        weir.signal(signal.SIGTERM)
        wait_until(lambda: not connectable(self.port), "the listener to close")
        release.set()
        client.join(20)
        self.assertEqual(got, [200])
        self.assertEqual(weir.wait(), 0)

    def test_outbound_calls_are_served_while_it_drains(self):
        release = threading.Event()
        self.addCleanup(release.set)

        def script(connection, number):
            rest = b""
            while True:
                head, rest = read_head(connection, rest)
                if head is None:
                    return
                if head.startswith("GET /slow"):
                    release.wait(20)
                connection.sendall(answer())
        upstream = self.upstream(script)
        weir = self.weir(self.simple(upstream.port, top="drain: { timeout: 20s }"))
        got = []
        client = threading.Thread(target=lambda: got.append(self.request(path="/slow", timeout=20)[0]))
        client.start()
        wait_until(lambda: upstream.accepted >= 1, "the request to be upstream")
        weir.signal(signal.SIGTERM)
        wait_until(lambda: self.admin("/readyz")[0] == 503, "the drain to begin")
        self.assertEqual(self.request()[0], 200)
        release.set()
        client.join(20)
        self.assertEqual(got, [200])
        self.assertEqual(weir.wait(), 0)

    def test_a_second_sigterm_ends_it_at_once(self):
        stop = threading.Event()
        self.addCleanup(stop.set)
        upstream = self.upstream(lambda c, n: (read_head(c), stop.wait(30)))
        weir = self.weir(self.simple(upstream.port, top="drain: { timeout: 1m }", direction="inbound"))
        client = socket.create_connection(("127.0.0.1", self.port))
        self.addCleanup(client.close)
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: upstream.accepted >= 1, "the request to be upstream")
        weir.signal(signal.SIGTERM)
        wait_until(lambda: not connectable(self.port), "the listener to close")
        self.assertIsNone(weir.process.poll())
        weir.signal(signal.SIGTERM)
        weir.wait(5)

    def test_sighup_reloads_and_an_invalid_file_is_refused_whole(self):
        a = self.upstream(keep_answering(lambda *x: answer(body=b"a")))
        b = self.upstream(keep_answering(lambda *x: answer(body=b"b")))
        weir = self.weir(self.simple(a.port))
        self.assertEqual(self.request()[2], b"a")
        self.write_config(self.simple(b.port))
        weir.signal(signal.SIGHUP)
        wait_until(lambda: self.request()[2] == b"b", "the reload")
        self.assertEqual(self.metric("weir_config_last_reload_success"), 1)
        self.write_config(self.simple(a.port).replace("direction: outbound", "direction: sideways"))
        weir.signal(signal.SIGHUP)
        wait_until(lambda: self.metric("weir_config_last_reload_success") == 0, "the refusal to be seen")
        self.assertEqual(self.request()[2], b"b")
        self.assertIn("sideways", weir.text())

    def test_every_metric_stands_in_the_table_of_proxy_readme(self):
        upstream = self.upstream(keep_answering(lambda *a: answer()))
        self.weir(self.simple(upstream.port, top=LOG, policy="[ { rate_limit: { rate: 5/s } }, { retry: {} }, { circuit_breaker: {} }, { concurrency_limit: { limit: 3, queue: { size: 1, timeout: 1s } } } ]"))
        self.request()
        self.raw(b"GET / HTTP/1.1\r\n\r\n")
        names = re.findall(r"^# TYPE (\w+)", self.admin("/metrics")[2].decode(), re.MULTILINE)
        self.assertEqual(len(names), len(set(names)), "a family stands twice")
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../proxy/README.md")) as f:
            table = f.read()
        self.assertEqual([n for n in names if f"`{n}`" not in table], [])

    def test_the_read_only_listener_changes_nothing(self):
        upstream = self.upstream(keep_answering(lambda *a: answer()))
        self.weir(self.simple(upstream.port))
        self.assertEqual(self.admin("/healthz")[0], 200)
        wait_until(lambda: self.admin("/readyz")[0] == 200, "readiness")
        for page in ("/config", "/services", "/breakers", "/metrics"):
            self.assertEqual(self.admin(page)[0], 200, page)
        self.assertIn(self.admin("/drain", "POST")[0], (403, 405))
        self.assertEqual(self.request()[0], 200)


if __name__ == "__main__":
    unittest.main(verbosity=1)
