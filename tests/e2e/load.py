"""A load that keeps books, for the fault tests: a program of its own, so that its pace does not hang on the test's work.

    load.py PORT PREFIX CONNECTIONS RATE     GETs PREFIX/<thread>-<number> on keep-alive connections, RATE requests a second in all

Runs until its standard input ends, lets what is open end, and prints {"outcomes": {path: outcome}, "seconds": [how long each took],
"noise": the longest that a sleep of 10 ms overslept}. An outcome is the status of a whole answer, "broken" where none came or not all of it,
or "unheard" where not even a connection was to be had.
"""
import json, socket, sys, threading, time

from harness import header, read_head


def read_answer(connection, buffered=b"", head_only=False):
    """(status or "broken", body, whether the connection can be used again) of one answer, by its framing."""
    try:
        head, rest = read_head(connection, buffered)
        if head is None:
            return "broken", rest, False
        status = int(head.split(" ")[1])
        again = (header(head, "connection") or "").lower() != "close"
        if head_only or status in (204, 304):
            return status, b"", again
        if (header(head, "transfer-encoding") or "").lower() == "chunked":
            return read_chunked(connection, status, rest, again)
        if header(head, "content-length") is None:
            return "broken", rest, False  # weir always frames what HTTP/1.1 clients get
        parts, missing = [rest], int(header(head, "content-length")) - len(rest)
        while missing > 0:
            more = connection.recv(65536)
            if not more:
                return "broken", b"".join(parts), False
            parts.append(more)
            missing -= len(more)
        return status, b"".join(parts), again
    except OSError:
        return "broken", b"", False


def read_chunked(connection, status, rest, again):
    body = b""
    while True:
        while b"\r\n" not in rest:
            more = connection.recv(65536)
            if not more:
                return "broken", body, False
            rest += more
        line, rest = rest.split(b"\r\n", 1)
        size = int(line.split(b";")[0], 16)
        while len(rest) < size + 2:
            more = connection.recv(65536)
            if not more:
                return "broken", body, False
            rest += more
        body, rest = body + rest[:size], rest[size + 2:]
        if size == 0:
            return status, body, again


class Load:
    def __init__(self, port, prefix, connections, rate):
        self.port, self.prefix, self.pause = port, prefix, connections / rate
        self.outcomes, self.seconds = {}, []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(connections)]

    def run(self, thread):
        connection, number, due = None, 0, time.monotonic()
        while not self.stopping.is_set():
            path = f"{self.prefix}/{thread}-{number}"
            number += 1
            started = time.monotonic()
            again = True
            try:
                if connection is None:
                    connection = socket.create_connection(("127.0.0.1", self.port), 20)
            except OSError:
                self.outcomes[path] = "unheard"
            else:
                try:
                    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: load\r\n\r\n".encode())
                    self.outcomes[path], _, again = read_answer(connection)
                except OSError:
                    self.outcomes[path], again = "broken", False
                self.seconds.append(time.monotonic() - started)
            if connection is not None and not again:
                connection.close()
                connection = None
            due = max(due + self.pause, time.monotonic() - 0.2)
            self.stopping.wait(max(0.0, due - time.monotonic()))
        if connection is not None:
            connection.close()


def noise(until):
    """How late this machine wakes whoever sleeps, at worst: what a loop's delay cannot be blamed for."""
    worst = 0.0
    while not until.is_set():
        before = time.monotonic()
        until.wait(0.01)
        worst = max(worst, time.monotonic() - before - 0.01)
    return worst


def main():
    load = Load(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
    for thread in load.threads:
        thread.start()

    def wait_for_the_end():
        sys.stdin.read()
        load.stopping.set()
    threading.Thread(target=wait_for_the_end, daemon=True).start()
    worst = noise(load.stopping)
    for thread in load.threads:
        thread.join()
    print(json.dumps({"outcomes": load.outcomes, "seconds": load.seconds, "noise": worst}))


if __name__ == "__main__":
    main()
