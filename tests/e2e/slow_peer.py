"""Peers that are slower than whoever sends to them, many streams in one process, for the memory tests: a program of its own, so that its work is not the test's.

    slow_peer.py read PORT PATH STREAMS RATE      GETs PATH on STREAMS connections and reads RATE bytes a second on each
    slow_peer.py serve RATE                       an upstream that reads request bodies so slowly, then answers with the number of bytes

`serve` prints its port first. `read` ends by itself and prints {"whole": streams that got all their bytes, "bytes": of all bodies}.
"""
import json, selectors, socket, sys, time

CHUNK = 64 * 1024


class Stream:
    """One connection of which at most `rate` bytes a second are read; time not used is not saved up."""

    def __init__(self, connection, rate):
        self.connection, self.rate, self.next_at = connection, rate, 0.0
        self.head, self.length, self.body = b"", None, 0

    def read(self, buffer):
        """Bytes read; 0: the peer is gone."""
        try:
            got = self.connection.recv_into(buffer)
        except ConnectionError:
            return 0
        now = time.monotonic()
        self.next_at = max(self.next_at, now - 0.05) + got / self.rate
        if self.length is not None:
            self.body += got
        else:
            self.head += bytes(buffer[:got])
            head, separator, rest = self.head.partition(b"\r\n\r\n")
            if separator:
                fields = [line.split(b":", 1) for line in head.split(b"\r\n")[1:]]
                self.length = int(dict((name.lower(), value) for name, value in fields).get(b"content-length", b"0"))
                self.body = len(rest)
        return got

    def whole(self):
        return self.length is not None and self.body >= self.length


def turn(selector, resting, buffer, on_whole, on_gone, on_other=None):
    """One round: what is due is read, what has had its share rests."""
    now = time.monotonic()
    for stream in [s for s in resting if s.next_at <= now]:
        resting.remove(stream)
        selector.register(stream.connection, selectors.EVENT_READ, stream)
    wait = min([s.next_at - now for s in resting] + [0.5])
    for key, _ in selector.select(max(wait, 0.0005)):
        stream = key.data
        if stream is None:
            on_other()
            continue
        got = stream.read(buffer)
        if got == 0 or stream.whole():
            selector.unregister(stream.connection)
            (on_whole if stream.whole() else on_gone)(stream)
        elif stream.next_at > time.monotonic():
            selector.unregister(stream.connection)
            resting.append(stream)


def read(port, path, streams, rate):
    selector, resting, buffer = selectors.DefaultSelector(), [], memoryview(bytearray(CHUNK))
    done = []

    def end(stream):
        stream.connection.close()
        done.append(stream)
    for _ in range(streams):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: slow\r\nConnection: close\r\n\r\n".encode())
        selector.register(connection, selectors.EVENT_READ, Stream(connection, rate))
    while len(done) < streams:
        turn(selector, resting, buffer, end, end)
    print(json.dumps({"whole": sum(s.whole() for s in done), "bytes": sum(s.body for s in done)}))


def serve(rate):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(listener.getsockname()[1], flush=True)
    selector, resting, buffer = selectors.DefaultSelector(), [], memoryview(bytearray(CHUNK))
    selector.register(listener, selectors.EVENT_READ, None)

    def accept():
        connection, _ = listener.accept()
        selector.register(connection, selectors.EVENT_READ, Stream(connection, rate))

    def answer(stream):
        text = f"{stream.body}\n".encode()
        stream.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        selector.register(stream.connection, selectors.EVENT_READ, Stream(stream.connection, rate))
    while True:
        turn(selector, resting, buffer, answer, lambda stream: stream.connection.close(), accept)


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
    else:
        serve(float(sys.argv[2]))
