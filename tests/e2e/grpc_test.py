"""gRPC through weir with grpcio at both ends, which is the C core that most languages use: calls of all four kinds, their ends, and their limits."""
import os, queue, threading, time, unittest

from grpc_peer import Cart, Status, grpc, open_channel, serve
from harness import *
import h2_peer

RETRY = ("{ retry: { max_attempts: 3, causes: [connect_failure, refused_stream, reset, grpc_unavailable], methods: any, backoff: { base: 1ms, max: 5ms } } }")
SERVICE = "protocol: http2, retry_budget: { min_rate: 1000/s }"


class Grpc(EndToEnd):
    def serve(self, cart=None, **options):
        server = serve(cart or self.cart, **options)
        self.addCleanup(lambda: server.stop(0).wait(5))
        return server

    def setUp(self):
        super().setUp()
        self.cart = Cart()

    def channel(self, options=(), **more):
        made = open_channel(f"127.0.0.1:{self.port}", options=options, **more)
        self.addCleanup(made.close)
        return made

    def call(self, channel, name, message=b"", kind="unary_unary", **options):
        return getattr(channel, kind)(f"/shop.Cart/{name}")(message, **{"timeout": 20, **options})

    def failure(self, *arguments, **options):
        with self.assertRaises(grpc.RpcError) as caught:
            self.call(*arguments, **options)
        return caught.exception

    def behind(self, *servers, policy="[ { timeout: { total: 20s } } ]", service=SERVICE, **options):
        return self.weir(self.simple(*[s.port for s in servers], policy=policy, service=service, **options))

    def rss(self, process):
        with open(f"/proc/{process.process.pid}/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS:"))


class Calls(Grpc):
    def setUp(self):
        super().setUp()
        self.released = threading.Event()
        self.taken = 0

        def hold(requests, context):
            self.released.wait(20)
            for message in requests:
                self.taken += len(message)
            return str(self.taken).encode()

        def fail(message, context):
            context.set_trailing_metadata((("x-why", "sold out"), ("x-why-bin", b"\0\xff\n"), ("grpc-status-details-bin", b"\x08\x05")))
            if message == b"late":
                context.send_initial_metadata((("x-early", "1"),))
            context.abort(Status.FAILED_PRECONDITION, "sold out: 100 % of it, für immer")

        def fields(message, context):
            context.send_initial_metadata((("x-head", "1"), ("x-head-bin", bytes(range(256)))))
            context.set_trailing_metadata((("x-tail", "2"), ("x-tail-bin", bytes(range(255, -1, -1)))))
            return repr(sorted((k, v) for k, v in context.invocation_metadata() if k.startswith("x-one"))).encode()
        self.cart.add("unary_unary", "Echo", lambda m, c: m)
        self.cart.add("stream_unary", "Sum", lambda ms, c: str(sum(len(m) for m in ms)).encode())
        self.cart.add("unary_stream", "Count", lambda m, c: (b"x" * i for i in range(int(m))))
        self.cart.add("unary_stream", "Megabytes", lambda m, c: (self.give() for _ in range(int(m))))
        self.cart.add("stream_stream", "Double", lambda ms, c: (m + m for m in ms))
        self.cart.add("stream_unary", "Hold", hold)
        self.cart.add("unary_unary", "Fail", fail)
        self.cart.add("unary_unary", "Fields", fields)
        self.given = 0
        self.process = self.behind(self.serve(), workers=1)

    def give(self):
        self.given += 1
        return bytes(1 << 20)

    def test_all_four_kinds(self):
        channel = self.channel()
        self.assertEqual(self.call(channel, "Echo", b"hello"), b"hello")
        self.assertEqual(self.call(channel, "Echo", b""), b"")
        self.assertEqual(self.call(channel, "Sum", iter([b"x" * i for i in range(100)]), "stream_unary"), b"4950")
        self.assertEqual([len(m) for m in self.call(channel, "Count", b"100", "unary_stream")], list(range(100)))
        self.assertEqual(list(self.call(channel, "Double", iter([b"ab"] * 50), "stream_stream")), [b"abab"] * 50)

    def test_a_conversation_is_not_held_up(self):
        """Each message leaves only when the answer to the one before has come: whoever waits for the end of the request hangs here."""
        questions = queue.Queue()
        answers = self.call(self.channel(), "Double", iter(questions.get, None), "stream_stream")
        for i in range(200):
            questions.put(b"%d" % i)
            self.assertEqual(next(answers), b"%d%d" % (i, i))
        questions.put(None)
        self.assertEqual(list(answers), [])

    def test_messages_of_four_mebibytes(self):
        message = os.urandom(4 << 20)
        self.assertEqual(self.call(self.channel(), "Echo", message), message)

    def test_compressed_messages(self):
        for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
            message = b"weir" * 100000
            self.assertEqual(self.call(self.channel(compression=compression), "Echo", message), message)

    def test_metadata_binary_too(self):
        got, call = self.channel().unary_unary("/shop.Cart/Fields").with_call(
            b"", timeout=20, metadata=(("x-one", "a"), ("x-one", "b"), ("x-one-bin", b"\0\1\xfe\xff")))
        self.assertEqual(got, repr([("x-one", "a"), ("x-one", "b"), ("x-one-bin", b"\0\1\xfe\xff")]).encode())
        head, tail = dict(call.initial_metadata()), dict(call.trailing_metadata())
        self.assertEqual((head["x-head"], head["x-head-bin"]), ("1", bytes(range(256))))
        self.assertEqual((tail["x-tail"], tail["x-tail-bin"]), ("2", bytes(range(255, -1, -1))))

    def test_failures_come_whole(self):
        for message in (b"", b"late"):  # in the head alone; after a head
            error = self.failure(self.channel(), "Fail", message)
            self.assertEqual((error.code(), error.details()), (Status.FAILED_PRECONDITION, "sold out: 100 % of it, für immer"))
            tail = dict(error.trailing_metadata())
            self.assertEqual((tail["x-why"], tail["x-why-bin"], tail["grpc-status-details-bin"]), ("sold out", b"\0\xff\n", b"\x08\x05"))
        self.assertEqual(self.failure(self.channel(), "Nothing").code(), Status.UNIMPLEMENTED)

    def test_a_server_that_does_not_read_stops_its_client(self):
        given = []

        def messages():
            for _ in range(64):
                given.append(1)
                yield bytes(1 << 20)
        before = self.rss(self.process)
        call = self.channel().stream_unary("/shop.Cart/Hold").future(messages(), timeout=30)
        settled = [0, time.monotonic()]

        def stopped():  # no message left for a while
            if settled[0] != len(given):
                settled[:] = len(given), time.monotonic()
            return given and time.monotonic() - settled[1] > 0.5
        wait_until(stopped, "back-pressure")
        self.assertLess(len(given), 20)
        self.assertLess(self.rss(self.process) - before, 8 << 20)
        self.released.set()
        self.assertEqual(call.result(), str(64 << 20).encode())

    def test_a_client_that_does_not_read_stops_its_server(self):
        before = self.rss(self.process)
        call = self.call(self.channel(), "Megabytes", b"64", "unary_stream", timeout=30)
        self.assertEqual(len(next(call)), 1 << 20)
        settled = [0, time.monotonic()]

        def stopped():
            if settled[0] != self.given:
                settled[:] = self.given, time.monotonic()
            return time.monotonic() - settled[1] > 0.5
        wait_until(stopped, "back-pressure")
        self.assertLess(self.given, 32)
        self.assertLess(self.rss(self.process) - before, 8 << 20)
        self.assertEqual(sum(len(m) for m in call), 63 << 20)

    def test_a_thousand_calls_at_once(self):
        channels = [self.channel() for _ in range(4)]
        calls = [channels[i % 4].unary_unary("/shop.Cart/Echo").future(b"%d" % i, timeout=30) for i in range(1000)]
        self.assertEqual([c.result() for c in calls], [b"%d" % i for i in range(1000)])

    def test_keepalive_pings_are_borne_with(self):
        channel = self.channel([("grpc.keepalive_time_ms", 50), ("grpc.keepalive_timeout_ms", 2000), ("grpc.keepalive_permit_without_calls", 1),
                                ("grpc.http2.max_pings_without_data", 0), ("grpc.http2.min_time_between_pings_ms", 50)])
        questions = queue.Queue()
        answers = self.call(channel, "Double", iter(questions.get, None), "stream_stream")
        questions.put(b"a")
        next(answers)
        time.sleep(1.5)  # silence is what is tested
        questions.put(b"b")
        self.assertEqual(next(answers), b"bb")
        questions.put(None)
        self.assertEqual(list(answers), [])


class Ends(Grpc):
    """How calls end that nobody finishes: deadlines and cancellations reach who works for them."""

    def setUp(self):
        super().setUp()
        self.remaining, self.ended, self.began = [], threading.Event(), threading.Event()

        def wait(message, context):
            self.remaining.append(context.time_remaining())
            context.add_callback(self.ended.set)
            self.began.set()
            self.ended.wait(20)
            return b""
        self.cart.add("unary_unary", "Wait", wait)
        self.server = self.serve()

    def test_the_clients_deadline_is_sent_on(self):
        self.behind(self.server)
        began = time.monotonic()
        self.assertEqual(self.failure(self.channel(), "Wait", timeout=0.5).code(), Status.DEADLINE_EXCEEDED)
        self.assertLess(time.monotonic() - began, 5)
        self.assertTrue(self.ended.wait(5))
        self.assertTrue(0.2 < self.remaining[0] <= 0.5, self.remaining)

    def test_the_deadline_is_shortened_to_what_weir_allows(self):
        self.behind(self.server, policy="[ { timeout: { total: 500ms } } ]")
        began = time.monotonic()
        self.assertEqual(self.failure(self.channel(), "Wait", timeout=20).code(), Status.DEADLINE_EXCEEDED)
        self.assertLess(time.monotonic() - began, 5)
        self.assertTrue(self.ended.wait(5))
        self.assertTrue(0.2 < self.remaining[0] <= 0.5, self.remaining)

    def test_a_cancelled_call_is_cancelled_at_the_server(self):
        self.behind(self.server)
        call = self.channel().unary_unary("/shop.Cart/Wait").future(b"", timeout=20)
        self.assertTrue(self.began.wait(10))
        self.assertFalse(self.ended.is_set())
        call.cancel()
        self.assertTrue(self.ended.wait(5))

    def test_a_client_that_is_gone_is_a_cancelled_call(self):
        self.behind(self.server)
        channel = self.channel()
        call = channel.unary_unary("/shop.Cart/Wait").future(b"", timeout=20)
        self.assertTrue(self.began.wait(10))
        channel.close()
        self.assertTrue(call.done())
        self.assertTrue(self.ended.wait(5))


class Failing(Grpc):
    """What weir does about failures, and how what it says itself is said in gRPC."""

    def test_unavailable_in_head_or_trailers_is_tried_again(self):
        self.left = 0

        def flaky(message, context):
            self.left -= 1
            if self.left >= 0:
                if message == b"trailers":
                    context.send_initial_metadata((("x-early", "1"),))
                context.abort(Status.UNAVAILABLE, "not now")
            return message
        self.cart.add("unary_unary", "Flaky", flaky)
        self.behind(self.serve(), policy=f"[ {{ timeout: {{ total: 20s }} }}, {RETRY} ]")
        channel = self.channel()
        for message in (b"head", b"trailers"):
            self.left, before = 2, len(self.cart.calls)
            self.assertEqual(self.call(channel, "Flaky", message), message)
            self.assertEqual(len(self.cart.calls) - before, 3)
            attempts = [dict(c.invocation_metadata).get("grpc-previous-rpc-attempts") for c in self.cart.calls[before:]]
            self.assertEqual(attempts, [None, "1", "2"])
            self.left, before = 5, len(self.cart.calls)
            error = self.failure(channel, "Flaky", message)
            self.assertEqual((error.code(), error.details()), (Status.UNAVAILABLE, "not now"))  # the server's own, not ours
            self.assertEqual(len(self.cart.calls) - before, 3)

    def test_a_server_that_says_do_not_retry_is_heard(self):
        def flaky(message, context):
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "-1"),))
            context.abort(Status.UNAVAILABLE, "not now")
        self.cart.add("unary_unary", "Flaky", flaky)
        self.behind(self.serve(), policy=f"[ {{ timeout: {{ total: 20s }} }}, {RETRY} ]")
        self.assertEqual(self.failure(self.channel(), "Flaky").code(), Status.UNAVAILABLE)
        self.assertEqual(len(self.cart.calls), 1)

    def test_nobody_at_home_is_unavailable(self):
        self.weir(self.simple(free_port(), policy="[ { timeout: { total: 20s } } ]", service=SERVICE))
        error = self.failure(self.channel(), "Get", timeout=10)
        self.assertEqual(error.code(), Status.UNAVAILABLE)
        self.assertIn("proxy-status", dict(error.trailing_metadata()))

    def test_an_open_breaker_is_unavailable(self):
        def fail(message, context):
            context.abort(Status.INTERNAL, "broken")
        self.cart.add("unary_unary", "Fail", fail)
        self.behind(self.serve(), policy="[ { circuit_breaker: { causes: [grpc_internal], consecutive_failures: 5, open_for: { base: 60s } } } ]")
        channel = self.channel()
        codes = [self.failure(channel, "Fail").code() for _ in range(8)]
        self.assertEqual(codes, [Status.INTERNAL] * 5 + [Status.UNAVAILABLE] * 3)
        self.assertEqual(len(self.cart.calls), 5)

    def test_a_path_without_a_route_is_unimplemented(self):
        server = self.serve()
        self.weir(self.simple(server.port, service=SERVICE).replace("{ service: app }", "{ match: { path_prefix: /shop.Till }, service: app }"))
        self.assertEqual(self.failure(self.channel(), "Get").code(), Status.UNIMPLEMENTED)

    def test_a_server_that_stops_gracefully_under_load_fails_no_call(self):
        """GOAWAY and all: its calls end, new ones go elsewhere."""
        def slow(message, context):
            time.sleep(0.01)  # work
            return message
        self.cart.add("unary_unary", "Work", slow)
        servers = [self.serve() for _ in range(2)]
        # A grpcio that stops answers what it has taken, but not begun, with CANCELLED.
        retry = RETRY.replace("grpc_unavailable", "grpc_unavailable, grpc_cancelled")
        self.behind(*servers, policy=f"[ {{ timeout: {{ total: 20s }} }}, {retry} ]", service=SERVICE + ", outlier_detection: { eject_for: { base: 100ms } }")
        done, failed, stop = [], [], threading.Event()

        def load():
            channel = self.channel()
            while not stop.is_set():
                try:
                    done.append(self.call(channel, "Work", b"x"))
                except grpc.RpcError as error:
                    failed.append((error.code(), error.details()))
        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(3):  # stops, and comes back at the same port
            for i in range(2):
                before = len(done)
                wait_until(lambda: len(done) > before + 50, "calls")
                servers[i].stop(10).wait(10)
                before = len(done)
                wait_until(lambda: len(done) > before + 50, "calls, by the other alone")
                servers[i] = self.serve(address=f"127.0.0.1:{servers[i].port}")
                wait_until(lambda: self.metric("weir_endpoints", state="usable") == 2, "its ejection to end")
        stop.set()
        for thread in threads:
            thread.join(20)
        self.assertEqual(failed[:5], [])
        self.assertGreater(len(done), 500)

    def test_health_is_asked_in_grpc(self):
        serving = {}

        def health(name):
            def check(message, context):
                return serving.get(name, b"\x08\x01")
            cart = Cart()
            cart.add("unary_unary", "Who", lambda m, c: name.encode())
            cart.methods["/grpc.health.v1.Health/Check"] = grpc.unary_unary_rpc_method_handler(check)
            return self.serve(cart)
        servers = [health("one"), health("two")]
        self.behind(*servers, service=SERVICE + ", health_check: { grpc: {}, interval: 200ms, timeout: 1s, unhealthy_after: 2, healthy_after: 1 }")
        channel = self.channel()

        def who():
            return {self.call(channel, "Who") for _ in range(30)}
        wait_until(lambda: self.metric("weir_health_checks_total", result="passed") >= 2, "checks")
        self.assertEqual(who(), {b"one", b"two"})
        serving["one"] = b"\x08\x02"  # NOT_SERVING
        wait_until(lambda: who() == {b"two"}, "the other alone")
        serving["one"] = b"\x08\x01"
        wait_until(lambda: who() == {b"one", b"two"}, "both again")


class Frames(Grpc):
    """What grpcio hides: the bytes themselves."""

    def test_messages_cross_untouched_and_split_anywhere(self):
        message = b"\1\0\0\0\5hello" + b"\0\0\0\0\0"  # compressed as far as anybody can tell, and an empty one

        def script(stream):
            stream.finish()
            stream.respond(200, ("content-type", "application/grpc+proto"), ("grpc-encoding", "weird"), ("grpc-accept-encoding", "identity,weird"))
            for byte in bytes(stream.body):
                stream.send(bytes([byte]))
            stream.send_trailers(("grpc-status", "0"))
        server = h2_peer.Server(script)
        self.addCleanup(server.close)
        self.behind(server)
        client = h2_peer.connect(self.port)
        self.addCleanup(client.close)
        stream = client.request("/shop.Cart/Get", "POST", [("content-type", "application/grpc+proto"), ("te", "trailers"), ("grpc-encoding", "weird")],
                                body=message).finish()
        self.assertEqual((bytes(server.streams()[0].body), bytes(stream.body)), (message, message))
        self.assertEqual((stream.field("grpc-encoding"), stream.field("content-type")), ("weird", "application/grpc+proto"))
        self.assertEqual((server.streams()[0].field("grpc-encoding"), server.streams()[0].field("te")), ("weird", "trailers"))
        self.assertEqual(dict(stream.trailers)["grpc-status"], "0")

    def test_a_reset_after_the_head_is_never_a_status_of_success(self):
        def script(stream):
            stream.respond(200, ("content-type", "application/grpc"))
            stream.send(b"\0\0\0\0\5hel")
            stream.cancel(h2_peer.Code.INTERNAL_ERROR)
        server = h2_peer.Server(script)
        self.addCleanup(server.close)
        self.behind(server)
        self.assertIn(self.failure(self.channel(), "Get").code(), (Status.INTERNAL, Status.UNAVAILABLE, Status.UNKNOWN, Status.CANCELLED))


if __name__ == "__main__":
    unittest.main()
