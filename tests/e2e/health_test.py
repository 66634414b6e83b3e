"""Active health checks, outlier detection and panic with real HTTP servers."""
import http.server, unittest

from harness import *

CHECK = "health_check: { http: { path: /healthz }, interval: 400ms, fast_interval: 100ms, timeout: 300ms, healthy_after: 2, unhealthy_after: 3 }"


class App:
    """Python's own HTTP server: /healthz answers `health`, everything else `status`."""

    def __init__(self, port=0):
        app = self
        self.health, self.status, self.checks, self.requests, self.hang = 200, 200, 0, 0, threading.Event()
        self.hang.set()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                check = self.path == "/healthz"
                if check:
                    app.checks += 1
                    app.hang.wait(20)
                else:
                    app.requests += 1
                body = b"hello\n"
                self.send_response(app.health if check else app.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a peer that gave up is no news
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.hang.set()
        self.server.shutdown()
        self.server.server_close()


class Health(EndToEnd):
    def apps(self, count):
        made = [App() for _ in range(count)]
        for app in made:
            self.addCleanup(app.close)
        return made

    def endpoints(self):
        return json.loads(self.admin("/services")[2])["services"][0]["endpoints"]

    def states(self):
        return [one["state"] for one in self.endpoints()]

    def ask(self, count, status=200):
        for _ in range(count):
            self.assertEqual(self.request()[0], status)

    def test_an_unhealthy_endpoint_is_left_out_and_comes_back(self):
        one, two = self.apps(2)
        process = self.weir(self.simple(one.port, two.port, service=f"balance: round_robin, {CHECK}"))
        wait_until(lambda: all(e["health"]["state"] == "healthy" for e in self.endpoints()), "both to be healthy")
        two.health = 503
        wait_until(lambda: self.states() == ["usable", "unhealthy"], "the second to be unhealthy")
        before = two.requests
        self.ask(20)
        self.assertEqual(two.requests, before)
        self.assertEqual(self.metric("weir_endpoints", state="unhealthy"), 1)
        self.assertGreaterEqual(self.metric("weir_health_checks_total", result="wrong_status"), 3)
        self.assertIn("an endpoint fails its health checks", process.text())
        two.health = 200
        wait_until(lambda: self.states() == ["usable", "usable"], "the second to be back")
        self.ask(20)
        self.assertGreaterEqual(two.requests, before + 8)
        two.hang.clear()  # it accepts and says nothing
        wait_until(lambda: self.states() == ["usable", "unhealthy"], "the second to be unhealthy again")
        self.assertEqual(self.endpoints()[1]["health"]["last_check"], "timeout")
        two.hang.set()
        wait_until(lambda: self.states() == ["usable", "usable"], "the second to be back again")

    def test_when_all_are_unhealthy_all_are_used(self):
        apps = self.apps(2)
        process = self.weir(self.simple(*[app.port for app in apps], service=f"balance: round_robin, {CHECK}"))
        for app in apps:
            app.health = 500
        wait_until(lambda: self.states() == ["unhealthy", "unhealthy"], "both to be unhealthy")
        self.ask(10)
        self.assertEqual(self.metric("weir_balancer_panic_total", reason="unhealthy"), 10)
        self.assertEqual(json.loads(self.admin("/services")[2])["services"][0]["panic"], "unhealthy")
        self.assertIn("too few endpoints are usable", process.text())
        for app in apps:
            app.health = 200
        wait_until(lambda: self.metric("weir_balancer_in_panic") == 0, "the panic to be over")

    def test_a_tcp_check_sees_a_port_close_and_open(self):
        one, two = self.apps(2)
        self.weir(self.simple(one.port, two.port, service="health_check: { tcp: {}, interval: 200ms, timeout: 200ms }"))
        wait_until(lambda: all(e["health"]["state"] == "healthy" for e in self.endpoints()), "both to be healthy")
        two.close()
        wait_until(lambda: self.states() == ["usable", "unhealthy"], "the closed port to be noticed")
        self.assertEqual(self.endpoints()[1]["health"]["last_check"], "connect_failure")
        self.ask(10)
        again = App(two.port)
        self.addCleanup(again.close)
        wait_until(lambda: self.states() == ["usable", "usable"], "the port to be back")
        self.assertEqual(one.checks + again.checks, 0)

    def test_an_ejected_endpoint_waits_for_a_check(self):
        one, two = self.apps(2)
        outliers = "outlier_detection: { causes: [5xx], consecutive_failures: 1000, failure_ratio: 50%, min_calls: 10, window: 1s, eject_for: { base: 4s, max: 4s } }"
        process = self.weir(self.simple(one.port, two.port, service=f"balance: round_robin, {CHECK}, {outliers}"))
        wait_until(lambda: all(e["health"]["state"] == "healthy" for e in self.endpoints()), "both to be healthy")
        two.status = 500

        def ejected():
            for _ in range(10):
                self.request()
            return self.endpoints()[1].get("ejected_for") == "failure_ratio"
        wait_until(ejected, "the second to be ejected", 20)
        two.hang.clear()  # its checks stand still: it does not come back by time alone
        wait_until(lambda: "returns_in_s" not in self.endpoints()[1], "its time to be over")
        self.assertTrue(self.endpoints()[1]["awaits_check"])
        before = two.requests
        self.ask(20)
        self.assertEqual(two.requests, before)
        two.status = 200
        two.hang.set()
        wait_until(lambda: self.states() == ["usable", "usable"], "a check to bring it back")
        self.assertIn("an endpoint is ejected", process.text())
        self.ask(20)
        self.assertGreater(two.requests, before)


if __name__ == "__main__":
    unittest.main(verbosity=1)
