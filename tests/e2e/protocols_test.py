"""acceptance/protocols.yaml with ports and paths replaced, without its TCP and WebSocket: it loads, and behaves as its comments say.

The clients are curl, grpcio and Python's ssl, the servers grpcio and a script: none of them is ours."""
import os, re, ssl, threading, time, unittest

import h2_peer
from certificates import Authority
from grpc_peer import Cart, Status, grpc, open_channel, serve
from harness import *

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../acceptance/protocols.yaml")
SHOP, TILL = "spiffe://cluster.local/ns/shop/sa/cart", "spiffe://cluster.local/ns/till/sa/till"


def read(path):
    with open(path, "rb") as f:
        return f.read()


def without_tcp_and_websocket(text):
    """Until weir has them: one listener, one service and one route are left out, and nothing else."""
    for pattern in (r"      - match: \{ path_prefix: /ws \}\n.*\n.*upgrades:.*\n", r"  - name: postgres .*\n(    .*\n)+\n", r"  database: .*\n"):
        text, count = re.subn(pattern, "", text)
        assert count == 1, pattern
    return text


class ProtocolsYaml(EndToEnd):
    def setUp(self):
        super().setUp()
        tls = f"{self.dir}/tls"
        self.authority, self.stranger = Authority(tls, "ca"), Authority(tls, "stranger")
        self.ca = self.authority.ca_path
        server, server_key = self.authority.issue("server", dns=["shop.local", "localhost"], ips=["127.0.0.1"])
        client, client_key = self.authority.issue("client", uris=[SHOP], client=True)
        payments, payments_key = self.authority.issue("payments", dns=["payments.local"])
        self.web_heads, self.cart, self.payments = [], Cart(), Cart()

        def web(head, body, _):
            self.web_heads.append(head)
            return answer(body=b"web")
        self.cart.add("unary_unary", "Get", lambda m, c: b"cart:" + m)
        web_port = self.upstream(keep_answering(web)).port
        cart_port = self.serve(self.cart, None)
        self.credentials = lambda key, certificate: grpc.ssl_server_credentials([(read(key), read(certificate))], read(self.ca), True)
        payments_port = self.serve(self.payments, self.credentials(payments_key, payments))
        self.mtls, self.plain, self.outbound = free_port(), self.port, free_port()
        with open(SOURCE) as f:
            text = without_tcp_and_websocket(f.read())
        for old, new in (("127.0.0.1:9901", f"127.0.0.1:{self.admin_port}"), ("127.0.0.1:15443", f"127.0.0.1:{self.mtls}"),
                         ("127.0.0.1:15080", f"127.0.0.1:{self.plain}"), ("127.0.0.1:15002", f"127.0.0.1:{self.outbound}"),
                         ("127.0.0.1:9001", f"127.0.0.1:{web_port}"), ("127.0.0.1:9003", f"127.0.0.1:{cart_port}"),
                         ("127.0.0.1:9443", f"127.0.0.1:{payments_port}"), ("/tmp/weir-tls/ca.crt", self.ca),
                         ("/tmp/weir-tls/server.crt", f"{tls}/live.crt"), ("/tmp/weir-tls/server.key", f"{tls}/live.key"),
                         ("/tmp/weir-tls/client.crt", client), ("/tmp/weir-tls/client.key", client_key)):
            self.assertIn(old, text)
            text = text.replace(old, new)
        self.install(server, server_key)
        self.config = f"{self.dir}/protocols.yaml"
        with open(self.config, "w") as f:
            f.write(text)
        self.process = self.weir(arguments=["run", "-c", self.config])
        self.client = ["--cert", client, "--key", client_key]
        self.client_pair = (client, client_key)

    def install(self, certificate, key):
        """Puts a pair where the listener's is, as `install` would: each file is renamed into place."""
        for source, name in ((key, "live.key"), (certificate, "live.crt")):
            with open(f"{self.dir}/tls/{name}.new", "wb") as f:
                os.fchmod(f.fileno(), 0o600)
                f.write(read(source))
            os.rename(f"{self.dir}/tls/{name}.new", f"{self.dir}/tls/{name}")

    def serve(self, cart, credentials):
        server = serve(cart, credentials=credentials)
        self.addCleanup(lambda: server.stop(0).wait(5))
        return server.port

    def channel(self, port, credentials=None):
        made = open_channel(f"{'localhost' if credentials else '127.0.0.1'}:{port}", credentials)
        self.addCleanup(made.close)
        return made

    def get(self, channel, message=b"", method="/shop.Cart/Get", timeout=10):
        return channel.unary_unary(method)(message, timeout=timeout)

    def https(self, *arguments):
        return self.curl("--cacert", self.ca, *arguments, "-w", " %{http_version} %{http_code}", f"https://localhost:{self.mtls}/x")

    def connect(self, pair=None, ca=None):
        context = ssl.create_default_context(cafile=ca or self.ca)
        if pair:
            context.load_cert_chain(*pair)
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.mtls), 10), server_hostname="localhost")

    def test_http1_and_http2_by_alpn_behind_mtls(self):
        self.assertEqual(self.https(*self.client, "--http1.1")[:2], (0, b"web 1.1 200"))
        self.assertEqual(self.https(*self.client, "--http2")[:2], (0, b"web 2 200"))
        for head in self.web_heads:
            self.assertIn(f"URI={SHOP}", header(head, "x-forwarded-client-cert"))
            self.assertEqual(header(head, "x-forwarded-proto"), "https")
        for flags in (["--tls-max", "1.2"], ["--tlsv1.3"]):
            self.assertEqual(self.https(*self.client, *flags)[0], 0, flags)

    def test_who_is_not_allowed_is_refused(self):
        by_dns = self.authority.issue("by-dns", dns=["client.shop.local"], client=True)
        self.assertEqual(self.https("--cert", by_dns[0], "--key", by_dns[1])[0], 0)
        before = len(self.web_heads)
        self.assertNotEqual(self.https()[0], 0)
        for name, pair in (("of another namespace", self.authority.issue("till", uris=[TILL], client=True)),
                           ("by common name", self.authority.issue("cn", subject="/CN=client.shop.local", client=True)),
                           ("expired", self.authority.issue("old", uris=[SHOP], client=True, expired=True)),
                           ("of a stranger", self.stranger.issue("client", uris=[SHOP], client=True))):
            with self.subTest(name):
                code, out, err = self.https("--cert", pair[0], "--key", pair[1])
                self.assertNotEqual(code, 0)
                self.assertNotIn(b"200", out)
        self.assertEqual(len(self.web_heads), before)

    def test_grpc_over_mtls(self):
        certificate, key = self.client_pair
        credentials = grpc.ssl_channel_credentials(read(self.ca), read(key), read(certificate))
        self.assertEqual(self.get(self.channel(self.mtls, credentials), b"1"), b"cart:1")
        with self.assertRaises(grpc.RpcError) as caught:
            self.get(self.channel(self.mtls, grpc.ssl_channel_credentials(read(self.ca))), b"1", timeout=5)
        self.assertEqual(caught.exception.code(), Status.UNAVAILABLE)

    def test_certificates_are_reread_and_live_connections_stay(self):
        def serial(connection):
            return connection.getpeercert()["serialNumber"]

        def ask(connection):
            connection.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            return read_head(connection)[0]
        live = self.connect(self.client_pair)
        self.addCleanup(live.close)
        self.assertIn(" 200 ", ask(live))
        old = serial(live)
        self.install(*self.authority.issue("renewed", dns=["localhost"]))

        def renewed():
            with self.connect(self.client_pair) as connection:
                return " 200 " in ask(connection) and serial(connection) != old
        wait_until(renewed, "the new certificate")
        self.assertIn(" 200 ", ask(live))
        with open(f"{self.dir}/tls/live.crt", "w") as f:
            f.write("nonsense\n")
        wait_until(lambda: "live.crt" in self.process.text(), "a word about it")
        self.assertTrue(renewed())  # the last good one stays

    def test_the_plain_listener_tells_by_the_preface(self):
        url = f"http://127.0.0.1:{self.plain}/x"
        self.assertEqual(self.curl("--http1.1", url)[:2], (0, b"web"))
        self.assertEqual(self.curl("--http2-prior-knowledge", url)[:2], (0, b"web"))
        self.assertEqual(self.get(self.channel(self.plain), b"2"), b"cart:2")
        peer = h2_peer.connect(self.plain)
        self.addCleanup(peer.close)
        self.assertEqual(peer.request("/x", authority="a").finish().status, 200)
        self.assertEqual(peer.h2.remote_settings.max_concurrent_streams, 100)

    def test_payments_are_called_by_mtls_under_their_own_name(self):
        seen = []

        def charge(message, context):
            seen.append((context._rpc_event.call_details.host, context.auth_context()))
            return b"charged"
        self.payments.add("unary_unary", "Charge", charge)
        self.assertEqual(self.get(self.channel(self.outbound), method="/shop.Cart/Charge"), b"charged")
        host, identity = seen[0]
        self.assertEqual(host.decode() if isinstance(host, bytes) else host, "payments.local")
        self.assertIn(SHOP.encode(), identity["x509_subject_alternative_name"])

    def test_grpc_reads_are_retried_bounded_and_broken(self):
        left, calls = [2], []

        def flaky(message, context):
            calls.append(context.time_remaining())
            left[0] -= 1
            if left[0] >= 0:
                context.abort(Status.UNAVAILABLE, "not now")
            return b"at last"

        def stuck(message, context):
            calls.append(context.time_remaining())
            done = threading.Event()
            context.add_callback(done.set)
            done.wait(10)
            return b""

        def broken(message, context):
            calls.append(0)
            context.abort(Status.INTERNAL, "broken")
        for name, function in (("Flaky", flaky), ("Stuck", stuck), ("Broken", broken)):
            self.payments.add("unary_unary", name, function)
        channel = self.channel(self.outbound)
        # The retry budget is the service's: a few are free at the start.
        self.assertEqual(self.get(channel, method="/shop.Cart/Flaky", timeout=10), b"at last")
        self.assertEqual(len(calls), 3)
        self.assertTrue(all(remaining <= 1 for remaining in calls), calls)  # total: 1s, or less
        del calls[:]
        began = time.monotonic()
        with self.assertRaises(grpc.RpcError) as caught:
            self.get(channel, method="/shop.Cart/Stuck", timeout=10)
        self.assertEqual(caught.exception.code(), Status.DEADLINE_EXCEEDED)
        self.assertTrue(0.25 < time.monotonic() - began < 0.95)  # response_headers: 300ms; a timeout is no cause of retries here
        self.assertEqual(len(calls), 1)
        codes = []
        for _ in range(40):
            with self.assertRaises(grpc.RpcError) as caught:
                self.get(channel, method="/shop.Cart/Broken")
            codes.append(caught.exception.code())
        self.assertEqual(codes[-1], Status.UNAVAILABLE)  # the breaker
        self.assertEqual(set(codes), {Status.INTERNAL, Status.UNAVAILABLE})

    def test_a_server_of_another_name_is_not_payments(self):
        impostor, key = self.authority.issue("impostor", dns=["impostor.local"])
        cart = Cart()
        cart.add("unary_unary", "Charge", lambda m, c: b"stolen")
        port = self.serve(cart, self.credentials(key, impostor))
        with open(self.config) as f:
            text = re.sub(r"(payments:\n    endpoints: \[127\.0\.0\.1:)\d+", rf"\g<1>{port}", f.read())
        with open(self.config + ".new", "w") as f:
            f.write(text)
        os.rename(self.config + ".new", self.config)
        wait_until(lambda: self.metric("weir_config_generation") == 2, "the reload")
        with self.assertRaises(grpc.RpcError) as caught:
            self.get(self.channel(self.outbound), method="/shop.Cart/Charge")
        self.assertEqual(caught.exception.code(), Status.UNAVAILABLE)
        self.assertIn("certificate", dict(caught.exception.trailing_metadata())["proxy-status"])
        self.assertEqual(cart.calls, [])


if __name__ == "__main__":
    unittest.main()
