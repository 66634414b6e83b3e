"""HTTP/2 over clear text with prior knowledge, by clients that others wrote: curl, h2load and nghttp, on the port of HTTP/1.1."""
import hashlib, os, re, shutil, socket, subprocess, unittest

from harness import *


def run(*arguments, timeout=60):
    done = subprocess.run(arguments, capture_output=True, timeout=timeout)
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


class Http2(EndToEnd):
    def h2(self, *arguments):
        return self.curl("--http2-prior-knowledge", *arguments)

    def test_curl_gets_heads_and_sends_megabytes(self):
        blob = os.urandom(1 << 20)
        heads = []

        def make(head, body, _):
            heads.append(head)
            if head.startswith("HEAD"):
                return b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"
            return answer(body=blob if head.startswith("GET") else hashlib.sha256(body).hexdigest().encode())
        upstream = self.upstream(keep_answering(make))
        self.weir(self.simple(upstream.port))
        url = f"http://127.0.0.1:{self.port}/x?y"
        code, out, err = self.h2("-w", "%{http_version} %{http_code}", "-o", f"{self.dir}/down", url)
        self.assertEqual((code, out), (0, b"2 200"), err)
        with open(f"{self.dir}/down", "rb") as f:
            self.assertEqual(f.read(), blob)
        with open(f"{self.dir}/up", "wb") as f:
            f.write(blob)
        want = hashlib.sha256(blob).hexdigest().encode()
        self.assertEqual(self.h2("--data-binary", f"@{self.dir}/up", url)[:2], (0, want))
        self.assertEqual(self.h2("-T", "-", url, "-H", "Expect: 100-continue")[0], 0)
        code, out, err = self.h2("-I", url)
        self.assertEqual(code, 0, err)
        self.assertIn("content-length: 77", out.decode())
        self.assertTrue(heads[0].startswith("GET /x?y HTTP/1.1"))
        self.assertEqual(header(heads[0], "host"), f"127.0.0.1:{self.port}")
        self.assertEqual(header(heads[0], "via"), "2 weir")
        self.assertEqual(header(heads[1], "content-length"), str(1 << 20))
        self.assertEqual(header(heads[2], "transfer-encoding"), "chunked")

    def test_http11_and_http2_share_a_port_told_apart_by_the_preface(self):
        upstream = self.upstream(keep_answering(lambda *_: answer()))
        self.weir(self.simple(upstream.port))
        url = f"http://127.0.0.1:{self.port}/"
        for version, flag in (("1.1", "--http1.1"), ("2", "--http2-prior-knowledge"), ("1.1", "--http1.1")):
            # One request each: curl 7.88 cannot use a connection of prior knowledge twice, not towards nginx either.
            code, out, _ = self.curl(flag, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", url)
            self.assertEqual((code, out), (0, f"{version} 200".encode()))
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:  # a preface in single bytes
            for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]):
                s.sendall(bytes([byte]))
            self.assertEqual(s.recv(9)[3], 4)  # SETTINGS
        self.assertIn(b" 505 ", self.raw(b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n"))

    def test_a_truncated_answer_is_an_error_and_trailers_arrive(self):
        def script(connection, number):
            head, _ = read_head(connection)
            if "/trailers" in head:
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 42\r\n\r\n")
            else:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        upstream = self.upstream(script)
        self.weir(self.simple(upstream.port))
        self.assertEqual(self.h2(f"http://127.0.0.1:{self.port}/cut")[0], 92)  # stream not closed cleanly
        code, out, err = self.h2("-v", f"http://127.0.0.1:{self.port}/trailers")
        self.assertEqual((code, out), (0, b"hello"))
        self.assertIn("x-sum: 42", err)

    @unittest.skipUnless(shutil.which("h2load"), "h2load is not installed")
    def test_h2load_gets_every_answer(self):
        upstream = self.nginx('location / { return 200 "hello\\n"; }')
        self.weir(self.simple(upstream.port))
        count = int(os.environ.get("WEIR_H2LOAD_REQUESTS", "20000"))
        code, out, err = run("h2load", f"-n{count}", "-c8", "-m16", f"http://127.0.0.1:{self.port}/", timeout=300)
        self.assertEqual(code, 0, err)
        done = re.search(r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored", out)
        self.assertEqual([int(n) for n in done.groups()], [count, count, 0, 0], out)
        wait_until(lambda: self.metric("weir_requests_total") == count, "the outcomes to be counted")
        self.assertEqual(self.metric("weir_in_flight"), 0)
        self.assertEqual(self.metric("weir_requests_total", code="2xx"), count)
        # Eight of h2load, and those that looked whether weir listens.
        self.assertLessEqual(self.metric("weir_listener_accepted_total"), 8 + 5)

    @unittest.skipUnless(shutil.which("nghttp"), "nghttp is not installed")
    def test_nghttp_uploads_and_pings(self):
        upstream = self.upstream(keep_answering(lambda head, body, _: answer(body=str(len(body)).encode())))
        self.weir(self.simple(upstream.port))
        path = f"{self.dir}/up"
        with open(path, "wb") as f:
            f.write(os.urandom(300000))
        code, out, err = run("nghttp", "-d", path, f"http://127.0.0.1:{self.port}/")
        self.assertEqual((code, out), (0, "300000"), err)


if __name__ == "__main__":
    unittest.main()
