"""acceptance/main.yaml as it stands, with ports and paths replaced: it loads, and behaves as its comments say."""
import collections, os, re, subprocess, unittest

from harness import *

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../acceptance/main.yaml")


class MainYaml(EndToEnd):
    def setUp(self):
        super().setUp()
        self.calls = []  # (upstream, head)
        self.status = 200

        def serve(name):
            def make(head, body, _):
                self.calls.append((name, head))
                return answer(self.status, name.encode())
            return keep_answering(make)
        self.ports = {name: self.upstream(serve(name)).port for name in ("one", "two", "next")}
        with open(SOURCE) as f:
            text = f.read()
        for old, new in (("127.0.0.1:9901", f"127.0.0.1:{self.admin_port}"), ("127.0.0.1:15001", f"127.0.0.1:{self.port}"),
                         ("127.0.0.1:9001", f"127.0.0.1:{self.ports['one']}"), ("127.0.0.1:9002", f"127.0.0.1:{self.ports['two']}"),
                         ("127.0.0.1:9003", f"127.0.0.1:{self.ports['next']}"), ("/tmp/weir-admin.sock", f"{self.dir}/admin.sock"),
                         ("/tmp/weir-access.log", f"{self.dir}/access.log")):
            self.assertIn(old, text)
            text = text.replace(old, new)
        self.config = f"{self.dir}/main.yaml"
        with open(self.config, "w") as f:
            f.write(text)
        self.process = self.weir(arguments=["run", "-c", self.config])

    CHARGE = {"Host": "shop.payments.local:1234", "x-tenant": "gold", "x-debug": "1"}

    def test_routes_policies_and_header_edits(self):
        self.assertEqual(self.request("POST", "/v1/charge", b"x", self.CHARGE)[0], 200)
        name, head = self.calls[-1]
        self.assertIn(name, ("one", "two"))
        self.assertEqual(header(head, "x-route"), "charge")
        self.assertIsNone(header(head, "x-debug"))
        for method, path, headers in (("POST", "/v1/charge", dict(self.CHARGE, **{"x-tenant": "tin"})), ("GET", "/v1/charge", self.CHARGE),
                                      ("POST", "/v10/charge", self.CHARGE), ("POST", "/v1/charge", dict(self.CHARGE, Host="evilpayments.local"))):
            self.assertEqual(self.request(method, path, None, headers)[0], 200)
            self.assertIsNone(header(self.calls[-1][1], "x-route"), (method, path, headers))
        self.assertEqual(self.request(path="/weir-says")[2], b"hello\n")

    def test_explain_says_what_the_proxy_then_does(self):
        gold = dict(self.CHARGE)
        for method, path, headers in (("POST", "/v1/charge", gold), ("GET", "/v1/charge", gold), ("POST", "/%76%31/charge", gold),
                                      ("POST", "/v1/charge", dict(gold, **{"x-tenant": "tin"})), ("GET", "/cart/list?page=2", {}),
                                      ("GET", "/carton", {}), ("GET", "/weir-says", {}), ("GET", "/a/../b", {}), ("GET", "/a%2fb", {}),
                                      ("OPTIONS", "*", {}), ("GET", "/", {"Host": "user@host"})):
            fields = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
            explained = subprocess.run([WEIR, "explain", "--json", "-c", self.config, method, path, *fields], capture_output=True, timeout=60)
            said = json.loads(explained.stdout)
            before = len(self.access_log())
            status = self.request(method, path, None, headers)[0]
            line = wait_until(lambda: self.access_log()[before:], "its line")[0]
            with self.subTest(method=method, path=path, headers=headers):
                self.assertEqual(status, said.get("status", 200))
                self.assertEqual(line.get("route") or None, said.get("route"))
                self.assertIn(line.get("service") or None, [target["service"] for target in said["targets"]] or [None])
                self.assertIn(line.get("policy") or None, [target["policy"] for target in said["targets"]] or [None])

    def test_the_canary_is_split_and_rewritten(self):
        seen = collections.Counter()
        for _ in range(400):
            self.assertEqual(self.request(path="/cart/list?page=2")[0], 200)
            name, head = self.calls[-1]
            seen["next" if name == "next" else "payments"] += 1
            self.assertEqual(head.split(" ")[1], "/list?page=2")
        self.assertTrue(3 <= seen["next"] <= 50, seen)  # 5 % of 400 is 20
        self.assertEqual(self.request(path="/carton")[0], 200)
        self.assertEqual(self.calls[-1][1].split(" ")[1], "/carton")

    def test_weights_share_the_load(self):
        for _ in range(300):
            self.request(path="/x")
        seen = collections.Counter(name for name, _ in self.calls)
        self.assertTrue(seen["two"] > seen["one"] > 30, seen)

    def test_the_careful_policy_retries_breaks_and_says_why(self):
        self.status = 503
        keyed = dict(self.CHARGE, **{"Idempotency-Key": "k1"})
        self.assertEqual(self.request("POST", "/v1/charge", b"x", self.CHARGE)[0], 503)
        self.assertEqual(len(self.calls), 1)  # POST is not repeated once a byte was sent ...
        self.assertEqual(self.request("POST", "/v1/charge", b"x", keyed)[0], 503)
        self.assertEqual(len(self.calls), 4)  # ... but with an Idempotency-Key it is
        statuses = [self.request("POST", "/v1/charge", b"x", keyed) for _ in range(12)]
        by_weir = [s for s in statuses if "proxy-status" in s[1]]
        self.assertTrue(by_weir, "the breaker never opened")
        self.assertIn("open", self.curl("--unix-socket", f"{self.dir}/admin.sock", "http://weir/breakers")[1].decode())
        line = wait_until(lambda: [l for l in self.access_log() if "breaker_open" in json.dumps(l)], "the line of a request that the breaker refused")[-1]
        number = next(i for i, text in enumerate(open(self.config), 1) if "circuit_breaker:" in text)
        self.assertIn(f"main.yaml:{number}", json.dumps(line))

    def test_the_admin_socket_is_ours_alone_and_changes_things(self):
        self.assertEqual(os.stat(f"{self.dir}/admin.sock").st_mode & 0o777, 0o600)
        code, out, _ = self.curl("-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "--unix-socket", f"{self.dir}/admin.sock", "http://weir/logging?level=debug")
        self.assertEqual((code, out), (0, b"200"))
        self.assertIn(self.admin("/logging?level=debug", "POST")[0], (403, 404, 405))

    def test_only_what_matters_is_logged_when_sampling_is_off(self):
        with open(self.config) as f:
            text = f.read().replace("sample: 100%", "sample: 0%")
        with open(self.config, "w") as f:
            f.write(text)
        self.process.signal(signal.SIGHUP)
        wait_until(lambda: self.metric("weir_config_generation") == 2, "the reload")
        self.request(path="/fine")
        self.status = 500
        self.request(path="/broken")
        lines = wait_until(lambda: self.access_log(), "the line of the failure")
        self.assertEqual([l["status"] for l in lines], [500])


if __name__ == "__main__":
    unittest.main(verbosity=1)
