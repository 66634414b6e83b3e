"""HTTP/2 and TLS by the tools that others wrote (curl, h2load, nghttp, nghttpd), in bulk: every byte arrives, memory stays flat, and SIGTERM breaks nothing."""
import hashlib, os, re, shutil, subprocess, threading, unittest

import h2_peer
from certificates import Authority
from harness import *

MIB = 1 << 20
BULK = int(os.environ.get("WEIR_BULK_MIB", "100")) * MIB


def run(*arguments, timeout=120):
    done = subprocess.run(arguments, capture_output=True, timeout=timeout)
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


def digesting(connection, _):
    """An upstream of HTTP/1.1 that says how much came and what its digest is, and keeps none of it."""
    rest = b""
    while True:
        head, rest = read_head(connection, rest)
        if head is None:
            return
        if "expect: 100-continue" in head.lower():
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        left, digest = int(header(head, "content-length")), hashlib.sha256()
        while left:
            piece = rest or connection.recv(min(left, MIB))
            if not piece:
                return
            digest.update(piece)
            left, rest = left - len(piece), b""
        connection.sendall(answer(body=digest.hexdigest().encode()))


@unittest.skipUnless(shutil.which("nghttpd") and shutil.which("h2load"), "the tools of nghttp2 are not installed")
class WithTools(EndToEnd):
    def nghttpd(self, *arguments, folder=None, pair=None):
        port = free_port()
        secured = [str(port), *reversed(pair)] if pair else ["--no-tls", str(port)]
        server = Process(["nghttpd", f"--htdocs={folder or self.dir}", *arguments, *secured])
        self.addCleanup(server.stop)
        wait_until(lambda: connectable(port), f"nghttpd on {port}")
        server.port = port
        return server

    def status(self, process, field):
        with open(f"/proc/{process.process.pid}/status") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith(field + ":"))

    def all_succeeded(self, out, count):
        done = re.search(r"requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
        self.assertTrue(done, out)
        self.assertEqual([int(n) for n in done.groups()], [count, count, count, 0, 0, 0], out)
        self.assertIn(f"status codes: {count} 2xx", out)


class Tools(WithTools):
    def test_h2load_to_nghttpd_gets_every_answer_on_few_connections(self):
        with open(f"{self.dir}/small", "w") as f:
            f.write("hello\n")
        self.weir(self.simple(self.nghttpd().port, service="protocol: http2", workers=2))
        count = 20000
        code, out, err = run("h2load", f"-n{count}", "-c8", "-m16", f"http://127.0.0.1:{self.port}/small")
        self.assertEqual(code, 0, err)
        self.all_succeeded(out, count)
        wait_until(lambda: self.metric("weir_requests_total") == count, "the outcomes to be counted")
        self.assertEqual((self.metric("weir_in_flight"), self.metric("weir_requests_total", code="2xx")), (0, count))
        self.assertLessEqual(self.metric("weir_upstream_connects_total"), 2 * 3)  # 128 at once, of which a connection carries 100

    def test_h2load_by_http11_to_nghttpd(self):
        with open(f"{self.dir}/small", "w") as f:
            f.write("hello\n")
        self.weir(self.simple(self.nghttpd().port, service="protocol: http2", workers=2))
        code, out, err = run("h2load", "--h1", "-n10000", "-c32", f"http://127.0.0.1:{self.port}/small")
        self.assertEqual(code, 0, err)
        self.all_succeeded(out, 10000)

    def test_nghttp_and_nghttpd_exchange_trailers(self):
        with open(f"{self.dir}/up", "wb") as f:
            f.write(os.urandom(300000))
        server = self.nghttpd("--echo-upload", "--trailer=x-down: 2", "-v")
        self.weir(self.simple(server.port, service="protocol: http2"))
        code, out, err = run("nghttp", "-v", "-d", f"{self.dir}/up", "--trailer=x-up: 1", f"http://127.0.0.1:{self.port}/")
        self.assertEqual(code, 0, err)
        self.assertIn("x-down: 2", out)
        self.assertIn("x-up: 1", server.text())
        self.assertNotIn("RST_STREAM", out)

    def test_nghttp_many_requests_at_once_with_weights(self):
        with open(f"{self.dir}/small", "wb") as f:
            f.write(os.urandom(50000))
        self.weir(self.simple(self.nghttpd().port, service="protocol: http2"))
        code, out, err = run("nghttp", "-ns", "-p7", "-m50", f"http://127.0.0.1:{self.port}/small")
        self.assertEqual(code, 0, err)
        self.assertEqual(len(re.findall(r" 200 +\S+ /small", out)), 50, out)


class Bulk(WithTools):
    def start(self, tls):
        authority = Authority(self.dir)
        certificate, key = authority.issue("server", dns=["localhost"], ips=["127.0.0.1"])
        self.ca = authority.ca_path
        self.files = f"{self.dir}/files"
        os.makedirs(f"{self.files}/h2")
        with open(f"{self.files}/bulk", "wb") as f:
            for _ in range(BULK // MIB):
                f.write(os.urandom(MIB))
        os.link(f"{self.files}/bulk", f"{self.files}/h2/bulk")
        with open(f"{self.files}/bulk", "rb") as f:
            self.digest = hashlib.file_digest(f, "sha256").hexdigest()
        nginx, sink, h2 = self.nginx(f"location /h1/ {{ alias {self.files}/; }}"), self.upstream(digesting), self.nghttpd("--echo-upload", folder=self.files)
        self.process = self.weir(f"""
workers: 1
listeners:
  - name: out
    direction: outbound
    listen: 127.0.0.1:@PORT@
    {f'tls: {{ certificate: {certificate}, key: {key} }}' if tls else ''}
    routes:
      - {{ match: {{ path_prefix: /h1 }}, service: h1 }}
      - {{ match: {{ path_prefix: /up }}, service: sink }}
      - {{ match: {{ path_prefix: /h2 }}, service: h2 }}
services:
  h1: {{ endpoints: ['127.0.0.1:{nginx.port}'] }}
  sink: {{ endpoints: ['127.0.0.1:{sink.port}'] }}
  h2: {{ endpoints: ['127.0.0.1:{h2.port}'], protocol: http2 }}
""")
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def flat(self, front, what, *arguments):
        """curl says the digest of what it got; weir grew by little meanwhile, by the kernel's own high-water mark."""
        with open(f"/proc/{self.process.process.pid}/clear_refs", "w") as f:
            f.write("5")  # the mark begins anew
        before = self.status(self.process, "VmRSS")
        curl = subprocess.Popen(["curl", "-sS", "--max-time", "100", "--cacert", self.ca, front, *arguments], stdout=subprocess.PIPE)
        with curl.stdout:
            digest = hashlib.file_digest(curl.stdout, "sha256").hexdigest()
        self.assertEqual(curl.wait(), 0, what)
        grown = self.status(self.process, "VmHWM") - before
        print(f"{what}: grew by {grown / MIB:.1f} MiB")
        self.assertLess(grown, 16 * MIB, what)
        return digest

    def crossing(self, fronts):
        for front in fronts:
            for up in ("h1", "h2"):
                with self.subTest(front=front, upstream=up):
                    self.assertEqual(self.flat(front, f"{front} {up} down", f"{self.url}/{up}/bulk"), self.digest)
            file = f"{self.files}/bulk"
            with self.subTest(front=front, upstream="h1, up"):
                said = hashlib.sha256(self.digest.encode()).hexdigest()
                self.assertEqual(self.flat(front, f"{front} h1 up", "-T", file, f"{self.url}/up"), said)
            with self.subTest(front=front, upstream="h2, up and down"):
                self.assertEqual(self.flat(front, f"{front} h2 up and down", "--data-binary", f"@{file}", f"{self.url}/h2/"), self.digest)

    def test_bulk_in_clear_text(self):
        self.start(False)
        self.crossing(("--http1.1", "--http2-prior-knowledge"))

    def test_bulk_over_tls(self):
        self.start(True)
        self.crossing(("--http1.1", "--http2"))


class Tls(WithTools):
    def start(self, **options):
        authority = Authority(self.dir)
        certificate, key = authority.issue("server", dns=["localhost"], ips=["127.0.0.1"])
        self.ca = authority.ca_path
        nginx = self.nginx('location / { return 200 "hello\\n"; }')
        text = self.simple(nginx.port, **options).replace("    routes:", f"    tls: {{ certificate: {certificate}, key: {key} }}\n    routes:")
        return self.weir(text)

    def test_curl_agrees_on_a_protocol(self):
        self.start()
        url = f"https://127.0.0.1:{self.port}/"
        for flags, version in ((["--http1.1"], "1.1"), (["--http2"], "2"), (["--no-alpn"], "1.1"), (["--http2", "--tlsv1.2", "--tls-max", "1.2"], "2")):
            code, out, err = self.curl("--cacert", self.ca, *flags, "-o", "/dev/null", "-w", "%{http_version} %{http_code} %{ssl_verify_result}", url)
            self.assertEqual((code, out.decode()), (0, f"{version} 200 0"), (flags, err))

    def test_h2load_gets_every_answer(self):
        self.start(workers=2)
        for flags in (["-m16"], ["--h1"], ["-m1", "--max-concurrent-streams=1"]):
            code, out, err = run("h2load", "-n10000", "-c8", *flags, f"https://127.0.0.1:{self.port}/")
            self.assertEqual(code, 0, err)
            self.all_succeeded(out, 10000)

    def test_an_upstream_of_http2_over_tls_hears_https(self):
        authority = Authority(self.dir)
        server = self.nghttpd("--echo-upload", "-v", pair=authority.issue("upstream", dns=["nghttpd.local"]))
        self.weir(self.simple(server.port, service=f"protocol: http2, host: nghttpd.local, tls: {{ ca: {authority.ca_path} }}"))
        for flags in (["--http1.1"], ["--http2-prior-knowledge"]):
            code, out, err = self.curl(*flags, "--data-binary", "over and back", f"http://127.0.0.1:{self.port}/echo")
            self.assertEqual((code, out), (0, b"over and back"), err)
        said = re.sub(r"\x1b\[[0-9;]*m", "", server.text())
        self.assertEqual(said.count(":scheme: https"), 2, said)
        self.assertEqual(said.count(":authority: nghttpd.local"), 2, said)

    def test_sigterm_lets_open_streams_finish(self):
        """Four slow downloads, larger than what sockets hold, over HTTP/2 and TLS; SIGTERM while they run."""
        content = os.urandom(MIB) * 24
        with open(f"{self.dir}/bulk", "wb") as f:
            f.write(content)
        authority = Authority(self.dir)
        certificate, key = authority.issue("server", dns=["localhost"], ips=["127.0.0.1"])
        nginx = self.nginx(f"root {self.dir};")
        weir = self.weir(self.simple(nginx.port, direction="inbound").replace("    routes:", f"    tls: {{ certificate: {certificate}, key: {key} }}\n    routes:"))
        got = [None] * 4

        def download(i):
            command = ["curl", "-sS", "--max-time", "30", "--limit-rate", "8M", "--cacert", authority.ca_path, "--http2", f"https://127.0.0.1:{self.port}/bulk"]
            done = subprocess.run(command, stdout=subprocess.PIPE)
            got[i] = done.returncode, hashlib.sha256(done.stdout).hexdigest()
        threads = [threading.Thread(target=download, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: self.metric("weir_in_flight") == 4, "the downloads to run")
        weir.signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        self.assertEqual(got, [(0, hashlib.sha256(content).hexdigest())] * 4)
        self.assertEqual(weir.wait(20), 0)


class Draining(EndToEnd):
    def test_sigterm_says_goaway_and_lets_open_streams_finish(self):
        def script(stream):
            if stream.field(":path") == "/began":
                stream.respond(200)
                stream.send(b"hello")
            self.released.wait(20)
            stream.answer() if stream.field(":path") == "/waits" else stream.send(b" world", end=True)
        self.released = threading.Event()
        server = h2_peer.Server(script)
        self.addCleanup(server.close)
        weir = self.weir(self.simple(server.port, service="protocol: http2", top="drain: { timeout: 10s }", direction="inbound"))
        client = h2_peer.connect(self.port)
        self.addCleanup(client.close)
        waits, began = client.request("/waits"), client.request("/began")
        began.wait(lambda s: s.body)
        wait_until(lambda: len(server.streams()) == 2, "both requests to arrive")
        weir.signal(signal.SIGTERM)
        client.wait(lambda: client.goaway, "GOAWAY")
        self.assertEqual(client.goaway.error_code, h2_peer.Code.NO_ERROR)
        wait_until(lambda: not connectable(self.port), "no more connections to be taken")
        self.released.set()
        self.assertEqual((waits.finish().status, waits.ended), (200, True))
        self.assertEqual((bytes(began.finish().body), began.ended), (b"hello world", True))
        self.assertEqual(weir.wait(8), 0)


if __name__ == "__main__":
    unittest.main()
