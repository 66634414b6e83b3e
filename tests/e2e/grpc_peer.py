"""Servers and clients of gRPC for tests, by grpcio: generic ones, so that a message is bytes and nothing has to be generated."""
import concurrent.futures, os

os.environ.update(GRPC_ENABLE_FORK_SUPPORT="0", GRPC_VERBOSITY="NONE")  # read when grpc is imported
import grpc

Status = grpc.StatusCode
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0), ("grpc.max_receive_message_length", -1),
           ("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0)]


class Cart(grpc.GenericRpcHandler):
    """The server's side: a method is a function of the test, by name; messages are bytes. What is called is kept in `calls`."""

    def __init__(self):
        self.methods, self.calls = {}, []

    def add(self, kind, name, function):
        self.methods[f"/shop.Cart/{name}"] = getattr(grpc, f"{kind}_rpc_method_handler")(function)

    def service(self, details):
        self.calls.append(details)
        return self.methods.get(details.method)


def serve(cart, address="127.0.0.1:0", credentials=None, options=()):
    """A server that runs already; its port is `port`."""
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), options=[*OPTIONS, ("grpc.so_reuseport", 0), *options])
    server.add_generic_rpc_handlers((cart,))
    server.port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    return server


def open_channel(address, credentials=None, options=(), **more):
    if credentials:
        return grpc.secure_channel(address, credentials, [*OPTIONS, *options], **more)
    return grpc.insecure_channel(address, [*OPTIONS, *options], **more)
