"""Health checks by gRPC's health protocol against servers of grpcio, which is the C core that most languages use."""
import concurrent.futures, os, unittest

os.environ.update(GRPC_ENABLE_FORK_SUPPORT="0", GRPC_VERBOSITY="NONE")
try:
    import grpc
except ImportError:
    import sys
    sys.exit(77)
from harness import *

SERVICE = ("protocol: http2, balance: round_robin, health_check: { grpc: { service: shop.Cart }, interval: 400ms, fast_interval: 100ms, timeout: 2s, "
           "healthy_after: 1, unhealthy_after: 1 }")
SERVING, NOT_SERVING = 1, 2


class Server(grpc.GenericRpcHandler):
    """Answers grpc.health.v1.Health/Check with `status`; None: it has no such service."""

    def __init__(self):
        self.status, self.code, self.asked = SERVING, None, []
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((self,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def check(self, request, context):
        self.asked.append((request, context.time_remaining()))
        if self.code is not None:
            context.abort(self.code, "says the test")
        return bytes([8, self.status])

    def service(self, details):
        if details.method == "/grpc.health.v1.Health/Check" and self.status is not None:
            return grpc.unary_unary_rpc_method_handler(self.check)
        return None


class GrpcHealth(EndToEnd):
    def test_only_serving_is_healthy_and_the_page_says_why(self):
        servers = [Server() for _ in range(2)]
        for server in servers:
            self.addCleanup(lambda one=server: one.server.stop(0).wait(5))
        self.weir(self.simple(*[server.port for server in servers], service=SERVICE))

        def health(index=1):
            return json.loads(self.admin("/services")[2])["services"][0]["endpoints"][index]["health"]

        wait_until(lambda: health(0)["state"] == health(1)["state"] == "healthy", "both to be healthy")
        request, remaining = servers[1].asked[0]
        self.assertEqual(request, b"\x0a\x09shop.Cart")
        self.assertLessEqual(remaining, 2)
        for status, code, reason in [(NOT_SERVING, None, "not_serving"), (SERVING, grpc.StatusCode.NOT_FOUND, "not_serving"),
                                     (SERVING, grpc.StatusCode.INTERNAL, "wrong_grpc_status"), (None, None, "not_implemented")]:
            servers[1].status, servers[1].code = status, code
            wait_until(lambda: health()["last_check"] == reason and health()["state"] == "unhealthy", reason)
            self.assertGreaterEqual(self.metric("weir_health_checks_total", result=reason), 1)
            servers[1].status, servers[1].code = SERVING, None
            wait_until(lambda: health()["state"] == "healthy", "it to be healthy again")
        self.assertEqual(health(0)["state"], "healthy")
        servers[1].server.stop(0).wait(5)
        wait_until(lambda: health()["last_check"] == "connect_failure", "the stopped server to be noticed")


if __name__ == "__main__":
    unittest.main()
