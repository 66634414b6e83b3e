"""Long bodies over HTTP/1.1 in clear text, which weir passes from socket to socket with splice(2): whole, in order, held back by a slow peer,
and never taken for whole when they were not. Nothing is left behind."""
import hashlib, os, random, shutil, socket, struct, subprocess, threading, unittest

from harness import *

KIB, MIB = 1024, 1024 ** 2
SIZES = [64 * KIB - 1, 64 * KIB, 80 * KIB, 128 * KIB - 1, 128 * KIB, 300_001, MIB, 1, 5 * MIB + 7, MIB]


def content(size, seed=0):
    return random.Random(size * 31 + seed).randbytes(size)


def read_exactly(connection, size, already=b""):
    parts, have = [already], len(already)
    while have < size:
        more = connection.recv(256 * KIB)
        if not more:
            raise AssertionError(f"ended after {have} of {size} bytes")
        parts.append(more)
        have += len(more)
    return b"".join(parts)


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Splice(EndToEnd):
    def setUp(self):
        super().setUp()
        self.retry = "[ { retry: { max_attempts: 3, causes: [connect_failure, reset] } }, { timeout: { total: 60s, idle: 20s } } ]"

    def start(self, script, policy=""):
        upstream = self.upstream(script)
        return self.weir(self.simple(upstream.port, policy=policy or self.retry, workers=1, top="access_log: { path: '@DIR@/access.log' }"))

    def descriptors(self, weir):
        return len(os.listdir(f"/proc/{weir.process.pid}/fd"))

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), 20)
        self.addCleanup(connection.close)
        return connection

    @staticmethod
    def asked(head):
        return int(head.split()[1].rsplit("/", 1)[1])

    def test_bodies_of_many_lengths_are_whole_both_ways(self):
        """Echoed by the upstream: each one up, and the same down, over one connection."""
        self.start(keep_answering(lambda head, body, number: answer(body=body)))
        with self.connect() as client:
            for size in SIZES:
                body = content(size)
                sender = threading.Thread(target=client.sendall, args=(f"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode() + body,))
                sender.start()
                head, rest = read_head(client)
                self.assertIn(" 200 ", head)
                self.assertEqual(int(header(head, "content-length")), size)
                self.assertEqual(hashlib.sha256(read_exactly(client, size, rest)).digest(), hashlib.sha256(body).digest(), size)
                sender.join()
        lines = wait_until(lambda: len(self.access_log()) == len(SIZES) and self.access_log(), "the access log")
        self.assertEqual([line["bytes_received"] for line in lines], SIZES)
        self.assertEqual([line["bytes_sent"] for line in lines], SIZES)

    def test_it_splices(self):
        if subprocess.run(["strace", "-c", "-o", "/dev/null", "true"], capture_output=True).returncode != 0:
            self.skipTest("strace may not trace here")
        report, upstream = f"{self.dir}/strace", self.nginx(f"root {self.dir};")
        with open(f"{self.dir}/file", "wb") as f:
            f.write(content(MIB))
        weir = self.weir(self.simple(upstream.port, policy=self.retry, workers=1), prefix=("strace", "-f", "-e", "trace=splice", "-o", report))
        for _ in range(5):
            self.assertEqual(self.request(path="/file")[2], content(MIB))
        os.kill(int(subprocess.check_output(["pgrep", "-P", str(weir.process.pid)])), signal.SIGTERM)
        weir.wait()
        with open(report) as f:
            moved = sum(int(line.rsplit("=", 1)[1]) for line in f if "splice(" in line and line.rsplit("=", 1)[1].strip().isdigit())
        self.assertGreater(moved, 2 * 5 * MIB // 2)  # in and out of the pipe: half of all bytes at the least

    def test_a_client_that_does_not_read_holds_the_upstream_back(self):
        size, sent = 64 * MIB, []
        body = content(MIB) * 64

        def script(connection, number):
            read_request(connection)
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
            view = memoryview(body)
            for at in range(0, size, 64 * KIB):
                connection.sendall(view[at:at + 64 * KIB])
                sent.append(at)
        weir = self.start(script)
        with self.connect() as client:
            client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            head, rest = read_head(client)
            seen = [-1]

            def stands():
                before, seen[0] = seen[0], len(sent)
                time.sleep(0.2)  # what is measured: nothing moves meanwhile
                return before == len(sent)
            wait_until(stands, "the upstream to be held back")
            self.assertLess(len(sent) * 64 * KIB, 40 * MIB)  # the buffers of two connections of the kernel
            got = hashlib.sha256(read_exactly(client, size, rest)).digest()
        self.assertEqual(got, hashlib.sha256(body).digest())
        with open(f"/proc/{weir.process.pid}/status") as f:
            peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))
        self.assertLess(peak, 30 * KIB)  # in KiB

    def test_an_upload_to_a_slow_upstream(self):
        size, got = 32 * MIB, []
        body = content(MIB) * 32

        def script(connection, number):
            head, rest = read_head(connection)
            seen = len(rest)
            digest = hashlib.sha256(rest)
            while seen < size:
                more = connection.recv(40_000)
                seen += len(more)
                digest.update(more)
            got.append(digest.digest())
            connection.sendall(answer())
        self.start(script)
        with self.connect() as client:
            client.sendall(f"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n".encode() + body)
            self.assertIn(" 200 ", read_head(client)[0])
        self.assertEqual(got, [hashlib.sha256(body).digest()])

    def broken_answer(self, end, detail):
        begun = threading.Event()

        def script(connection, number):
            read_request(connection)
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {4 * MIB}\r\n\r\n".encode() + content(2 * MIB))
            begun.wait(10)
            end(connection)
        self.start(script)
        with self.connect() as client:
            client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            head, rest = read_head(client)
            begun.set()
            have = len(rest)
            with self.assertRaises(ConnectionResetError):
                while True:
                    more = client.recv(MIB)
                    self.assertNotEqual(more, b"", "a clean end after part of the body")
                    have += len(more)
            self.assertLessEqual(have, 2 * MIB)
        line = wait_until(self.access_log, "the access log")[0]
        self.assertEqual((line["failure"], line["detail"]), ("truncated", detail))

    def test_an_answer_that_ends_early_is_reset(self):
        self.broken_answer(socket.socket.close, "the upstream closed the connection too early")

    def test_an_answer_that_is_reset_is_reset(self):
        self.broken_answer(reset, "the upstream reset the connection")

    def broken_upload(self, end):
        ended = []

        def script(connection, number):
            try:
                while connection.recv(MIB):
                    pass
                ended.append("fin")
            except ConnectionResetError:
                ended.append("reset")
        self.start(script)
        client = self.connect()
        client.sendall(f"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: {8 * MIB}\r\n\r\n".encode() + content(3 * MIB))
        end(client)
        wait_until(lambda: ended, "the end of the upload")
        self.assertEqual(ended, ["reset"])

    def test_an_upload_that_ends_early_is_reset_at_the_upstream(self):
        self.broken_upload(socket.socket.close)

    def test_an_upload_that_is_reset_is_reset_at_the_upstream(self):
        self.broken_upload(reset)

    def test_a_spliced_upload_is_not_tried_again(self):
        """It was not kept: the upstream's reset is the client's answer, not a second try with half a body."""
        def script(connection, number):
            seen = 0
            while seen < 3 * MIB:
                seen += len(connection.recv(MIB))
            reset(connection)
        upstream = self.upstream(script)
        self.weir(self.simple(upstream.port, policy=self.retry, workers=1))
        client = self.connect()
        client.sendall(f"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: {8 * MIB}\r\n\r\n".encode() + content(4 * MIB))
        self.assertIn(" 502 ", read_head(client)[0])
        self.assertEqual(upstream.accepted, 1)

    def test_clients_that_go_leave_nothing_behind(self):
        def script(connection, number):
            while read_request(connection)[0]:
                connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {8 * MIB}\r\n\r\n".encode() + content(MIB) * 8)
        weir = self.start(script)
        self.request(path="/x")
        before = self.descriptors(weir)
        for i in range(40):
            client = socket.create_connection(("127.0.0.1", self.port), 20)
            client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            read_head(client)
            client.recv(100_000 * (i % 4) + 1)
            (reset if i % 2 else socket.socket.close)(client)
        wait_until(lambda: self.metric("weir_in_flight") == 0, "the exchanges to end")
        wait_until(lambda: self.descriptors(weir) <= before, "the descriptors to be closed", 25)  # free pipes are kept for ten seconds
        self.assertEqual(len(self.request(path="/x")[2]), 8 * MIB)

    def test_many_slow_readers_at_once(self):
        """More than there are pipes: the others' bytes are copied."""
        body = content(3 * MIB)
        self.start(keep_answering(lambda head, _, number: answer(body=body)))
        clients = [self.connect() for _ in range(100)]
        for client in clients:
            client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
        heads = [read_head(client) for client in clients]
        wanted = hashlib.sha256(body).digest()
        for client, (head, rest) in zip(clients, heads):
            self.assertEqual(hashlib.sha256(read_exactly(client, len(body), rest)).digest(), wanted)

    def test_a_reader_of_the_log_that_goes_ends_nothing(self):
        """SIGPIPE: the access log goes to a pipe that nobody reads any more."""
        upstream = self.upstream(keep_answering(lambda head, body, number: answer()))
        self.config = f"{self.dir}/weir.yaml"
        self.write_config(self.simple(upstream.port, workers=1, top="access_log: { path: /dev/stdout }"))
        weir = subprocess.Popen([WEIR, "run", "-c", self.config], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.addCleanup(weir.wait)
        self.addCleanup(weir.kill)
        wait_until(lambda: connectable(self.port), "weir to listen")
        weir.stdout.close()
        for _ in range(5):
            self.assertEqual(self.request()[0], 200)
        wait_until(lambda: self.metric("weir_access_log_write_errors_total") > 0, "the log to be refused", 15)
        self.assertIsNone(weir.poll())
        self.assertEqual(self.request()[0], 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
