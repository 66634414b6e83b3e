"""TLS and mTLS over real sockets, with clients that others wrote: curl, openssl s_client, Python's ssl; and weir towards weir."""
import contextlib, hashlib, os, re, shutil, signal, socket, ssl, subprocess, threading, time, unittest

from certificates import Authority, make_key
from harness import *

MIB = 1 << 20


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def keeps_what_it_frees():
    """AddressSanitizer holds freed memory back: then its amount says nothing."""
    return subprocess.run(["grep", "-qc", "__asan_init", WEIR]).returncode == 0


class Tls(EndToEnd):
    def setUp(self):
        super().setUp()
        self.ca = Authority(f"{self.dir}/tls", "ca")
        self.certificate, self.key = self.ca.issue("server", dns=["localhost", "web.local"], ips=["127.0.0.1"],
                                                   uris=["spiffe://cluster.local/ns/shop/sa/web"])

    def secured(self, *ports, client="", tls="", service="", direction="inbound", top="", workers=2):
        """One listener with TLS before the service `app`."""
        tls = tls or f"{{ certificate: {self.certificate}, key: {self.key}{', client: ' + client if client else ''} }}"
        endpoints = ", ".join(f"127.0.0.1:{p}" for p in ports)
        return (f"workers: {workers}\n{top}\nlisteners:\n  - name: in\n    direction: {direction}\n    listen: 127.0.0.1:@PORT@\n    tls: {tls}\n"
                f"    routes: [ {{ service: app }} ]\nservices:\n  app: {{ endpoints: [{endpoints}]{', ' + service if service else ''} }}\n")

    def ok_upstream(self, heads=None):
        def make(head, body, _):
            if heads is not None:
                heads.append(head)
            return answer()
        return self.upstream(keep_answering(make))

    def secure_curl(self, *arguments, **options):
        return self.curl("--cacert", self.ca.ca_path, *arguments, **options)

    def url(self, path="/"):
        return f"https://localhost:{self.port}{path}"

    def s_client(self, *arguments, stdin="", timeout=20):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-servername", "localhost", "-CAfile", self.ca.ca_path,
                               *arguments], input=stdin, capture_output=True, text=True, timeout=timeout)
        return done.stdout + done.stderr

    def context(self, certificate=None):
        context = ssl.create_default_context(cafile=self.ca.ca_path)
        if certificate:
            context.load_cert_chain(*certificate)
        return context

    def connect(self, context=None, name="localhost"):
        raw = socket.create_connection(("127.0.0.1", self.port), 10)
        try:
            return (context or self.context()).wrap_socket(raw, server_hostname=name)
        except BaseException:
            raw.close()
            raise

    def test_curl_agrees_on_a_protocol_and_a_version(self):
        heads = []
        self.weir(self.secured(self.ok_upstream(heads).port))
        for flags, want in ((["--http1.1"], "1.1"), (["--http2"], "2"), (["--http2", "--tls-max", "1.2"], "2"), (["--http1.1", "--tlsv1.3"], "1.1")):
            code, out, err = self.secure_curl(*flags, "-o", "/dev/null", "-w", "%{http_version} %{http_code}", self.url())
            self.assertEqual((code, out.decode()), (0, f"{want} 200"), err)
        for head in heads:
            self.assertEqual(header(head, "x-forwarded-proto"), "https")
        self.assertEqual(self.metric("weir_tls_handshakes_total", listener="in", version="TLSv1.2"), 1)
        self.assertEqual(self.metric("weir_tls_handshakes_total", listener="in", version="TLSv1.3"), 3)
        self.assertEqual(self.secure_curl("--tls-max", "1.1", self.url())[0], 35)
        self.assertEqual(self.curl(self.url())[0], 60)  # who does not trust our authority is right to go away
        self.assertGreater(self.metric("weir_tls_certificate_expiry_timestamp_seconds", listener="in"), time.time() + 80 * 86400)

    def test_one_connection_serves_many_requests_of_either_protocol(self):
        self.weir(self.secured(self.ok_upstream().port))
        for flag in ("--http1.1", "--http2"):
            code, out, err = self.secure_curl(flag, "-w", "%{http_code} %{num_connects} ", *["-o", "/dev/null", self.url()] * 5)
            self.assertEqual((code, out.decode()), (0, "200 1 200 0 200 0 200 0 200 0 "), err)

    def test_sessions_resume_at_every_worker_and_after_a_reload(self):
        self.weir(self.secured(self.ok_upstream().port, workers=2))
        out = self.s_client("-tls1_2", "-reconnect", stdin="")
        self.assertEqual(len(re.findall("^Reused, TLSv1.2", out, re.M)), 5, out)
        session = f"{self.dir}/session"
        request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        self.s_client("-tls1_3", "-sess_out", session, "-ign_eof", stdin=request)
        self.write_config(self.secured(self.ok_upstream().port, workers=2))
        wait_until(lambda: self.metric("weir_config_generation") == 2, "the reload")
        for _ in range(4):
            self.assertIn("Reused, TLSv1.3", self.s_client("-tls1_3", "-sess_in", session, "-sess_out", session, "-ign_eof", stdin=request))

    def test_nobody_renegotiates_and_old_versions_and_ciphers_are_gone(self):
        self.weir(self.secured(self.ok_upstream().port))
        process = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-tls1_2", "-CAfile", self.ca.ca_path],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.addCleanup(process.kill)
        wait_until(lambda: self.metric("weir_tls_handshakes_total") >= 1, "the handshake")
        out, _ = process.communicate("R\n", timeout=10)
        self.assertRegex(out, "no renegotiation|alert")
        for flags in (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0"],
                      ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"]):
            self.assertIn("Cipher is (NONE)", self.s_client(*flags))

    def test_clear_text_on_the_port_is_told_so(self):
        self.weir(self.secured(self.ok_upstream().port))
        self.assertIn(b"this port speaks https", self.raw(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
        self.assertEqual(self.metric("weir_tls_handshake_failures_total", reason="plain_http"), 1)

    def test_mtls_lets_in_whom_it_should_and_says_why_not(self):
        heads = []
        weir = self.weir(self.secured(self.ok_upstream(heads).port,
                                      client=f'{{ ca: {self.ca.ca_path}, allow_names: ["spiffe://cluster.local/ns/shop/*", client.shop.local] }}'))
        shop = ["spiffe://cluster.local/ns/shop/sa/cart"]
        good = self.ca.issue("cart", uris=shop, client=True)
        named = self.ca.issue("named", dns=["client.shop.local"], client=True, ec=False)
        expired = self.ca.issue("expired", uris=shop, client=True, expired=True)
        bank = self.ca.issue("bank", uris=["spiffe://cluster.local/ns/bank/sa/cart"], client=True)
        wrong = Authority(f"{self.dir}/tls", "other").issue("cart", uris=shop, client=True)
        for flag in ("--http1.1", "--http2"):
            for certificate, key in (good, named):
                code, out, err = self.secure_curl(flag, "--cert", certificate, "--key", key, self.url(), "-H", "X-Forwarded-Client-Cert: forged")
                self.assertEqual((code, out), (0, b"ok\n"), err)
        self.assertIn("URI=spiffe://cluster.local/ns/shop/sa/cart", header(heads[0], "x-forwarded-client-cert"))
        self.assertIn("By=spiffe://cluster.local/ns/shop/sa/web;Hash=", header(heads[0], "x-forwarded-client-cert"))
        for head in heads:
            self.assertNotIn("forged", head)
        served = len(heads)
        for reason, flags in (("no_certificate", []), ("expired", ["--cert", expired[0], "--key", expired[1]]),
                              ("not_allowed", ["--cert", bank[0], "--key", bank[1]]), ("unknown_ca", ["--cert", wrong[0], "--key", wrong[1]])):
            for version in ([], ["--tls-max", "1.2"]):
                code, out, err = self.secure_curl(*flags, *version, self.url())
                self.assertNotEqual(code, 0, f"{reason} was let in")
                self.assertRegex(err, "alert|verification failed", f"{reason}: the client is told, not reset: {err}")
            self.assertEqual(self.metric("weir_tls_handshake_failures_total", listener="in", reason=reason), 2)
            self.assertIn(f"reason={reason}", weir.text())
        self.assertEqual(len(heads), served)

    def test_two_weirs_talk_mtls_and_bad_certificates_are_told_in_the_answer(self):
        heads = []
        upstream = self.ok_upstream(heads)
        client = self.ca.issue("client", uris=["spiffe://cluster.local/ns/shop/sa/cart"], client=True)
        self.weir(self.secured(upstream.port, client=f'{{ ca: {self.ca.ca_path}, allow_names: ["spiffe://cluster.local/ns/shop/*"] }}'))
        inner, inner_admin = self.port, self.admin_port
        self.port, self.admin_port = free_port(), free_port()
        own = f"certificate: {client[0]}, key: {client[1]}"
        service = f'tls: {{ ca: {self.ca.ca_path}, server_name: web.local, {own} }}'
        self.weir(self.simple(inner, service=service, top="access_log: { path: @DIR@/access.log }"))
        for _ in range(10):
            self.assertEqual(self.request()[0], 200)
        self.assertIn("URI=spiffe://cluster.local/ns/shop/sa/cart", header(heads[0], "x-forwarded-client-cert"))
        self.assertEqual(header(heads[0], "x-forwarded-proto"), "https")
        self.assertGreaterEqual(self.metric("weir_upstream_tls_handshakes_total", service="app"), 1)
        for generation, (change, error, detail) in enumerate((
                (f"tls: {{ ca: {self.ca.ca_path}, server_name: other.local, {own} }}", "tls_certificate_error", "hostname mismatch"),
                (f"tls: {{ server_name: web.local, {own} }}", "tls_certificate_error", "certificate"),
                (f"tls: {{ ca: {self.ca.ca_path}, allow_names: [nobody.local], {own} }}", "tls_certificate_error", "none of its names is allowed")), 2):
            self.write_config(self.simple(inner, service=change, top="access_log: { path: @DIR@/access.log }"))
            wait_until(lambda: self.metric("weir_config_generation") == generation, f"generation {generation}")
            status, fields, _ = self.request()
            self.assertEqual(status, 503)
            self.assertIn(error, fields["proxy-status"])
            self.assertIn(detail, fields["proxy-status"])
        self.port, self.admin_port = inner, inner_admin

    def tls_upstream(self, script):
        """An upstream by Python's ssl."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)

        def wrapped(connection, number):
            with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                script(secured, number)
        return self.upstream(wrapped)

    def to_tls(self, upstream):
        return self.simple(upstream.port, service=f"tls: {{ ca: {self.ca.ca_path}, server_name: web.local }}",
                           top="access_log: { path: @DIR@/access.log }")

    def test_an_upstream_that_cuts_its_answer_is_told_apart_from_one_that_ends_it(self):
        def script(connection, number):
            head, _ = read_head(connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100000)
            if "clean" in head:
                connection.unwrap()
            else:
                os.close(connection.detach())  # a FIN without close_notify
        self.weir(self.to_tls(self.tls_upstream(script)))
        code, out, _ = self.curl(f"http://127.0.0.1:{self.port}/clean")
        self.assertEqual((code, len(out)), (0, 100000))
        code, out, err = self.curl(f"http://127.0.0.1:{self.port}/cut")
        self.assertIn(code, (18, 56), err)
        wait_until(lambda: len(self.access_log()) == 2, "the lines")
        self.assertEqual([line.get("failure") for line in self.access_log()], [None, "truncated"])
        self.assertIn("without close_notify", self.access_log()[1]["detail"])

    def test_large_bodies_to_and_from_an_upstream_by_tls(self):
        size = 20 * MIB

        def script(connection, number):
            rest = b""
            while True:
                head, rest = read_head(connection, rest)
                if head is None:
                    return
                length, got = int(header(head, "content-length") or 0), len(rest)
                while got < length:
                    got += len(connection.recv(1 << 16))
                rest = b""
                if head.startswith("GET"):
                    connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
                    for _ in range(size // MIB):
                        connection.sendall(b"y" * MIB)
                else:
                    connection.sendall(answer(body=str(got).encode()))
        weir = self.weir(self.to_tls(self.tls_upstream(script)))
        url = f"http://127.0.0.1:{self.port}/"
        with open(f"{self.dir}/blob", "wb") as f:
            f.write(os.urandom(size))
        self.assertEqual(self.curl("-T", f"{self.dir}/blob", url)[:2], (0, str(size).encode()))
        before = resident_kib(weir.process.pid)
        for _ in range(3):
            code, out, err = self.curl(url)
            self.assertEqual((code, len(out)), (0, size), err)
            self.assertEqual(self.curl("-T", f"{self.dir}/blob", url)[:2], (0, str(size).encode()))
        if not keeps_what_it_frees():
            self.assertLess(resident_kib(weir.process.pid) - before, 8 * 1024)
        self.assertEqual(self.metric("weir_upstream_tls_handshakes_total", service="app"),
                         self.metric("weir_upstream_connects_total", service="app", result="connected"))

    def test_a_secret_is_swapped_under_load_without_a_failed_request(self):
        """As Kubernetes does it: ..data is a link to a folder, which is replaced by a rename."""
        secret = f"{self.dir}/secret"
        os.makedirs(secret)

        def publish(number):
            certificate, key = self.ca.issue(f"generation{number}", dns=["localhost"], ec=number % 2 == 0)
            folder = f"{secret}/..{number}"
            os.makedirs(folder)
            shutil.copy(certificate, f"{folder}/tls.crt")
            shutil.copy(key, f"{folder}/tls.key")
            os.symlink(f"..{number}", f"{secret}/..data_tmp")
            os.rename(f"{secret}/..data_tmp", f"{secret}/..data")
        publish(0)
        for name in ("tls.crt", "tls.key"):
            os.symlink(f"..data/{name}", f"{secret}/{name}")
        self.weir(self.secured(self.ok_upstream().port, tls=f"{{ certificate: {secret}/tls.crt, key: {secret}/tls.key }}"))
        stop, failures, seen, done = threading.Event(), [], set(), [0, 0]

        def ask(connection):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head, rest = read_head(connection)
            if head is None or not head.startswith("HTTP/1.1 200"):
                raise AssertionError(f"{head!r}")
            while len(rest) < 3:
                rest += connection.recv(100)

        def load(kept):
            connection = None
            while not stop.is_set():
                try:
                    if connection is None or not kept:
                        if connection is not None:
                            connection.close()
                        connection = self.connect()
                        seen.add(connection.getpeercert()["subject"][0][0][1])
                    ask(connection)
                    done[kept] += 1
                except Exception as error:
                    failures.append(repr(error))
                    connection = None
            if connection is not None:
                connection.close()
        threads = [threading.Thread(target=load, args=(kept,)) for kept in (False, False, True)]
        for thread in threads:
            thread.start()
        for number in range(1, 5):
            before = done[0]
            publish(number)
            wait_until(lambda: f"generation{number}" in seen, f"certificate {number} to be served")
            wait_until(lambda: done[0] > before + 20, "more requests")
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertGreater(done[1], 50)
        self.assertEqual(self.metric("weir_config_generation"), 5)

    def test_a_pair_that_does_not_fit_is_refused_and_the_old_one_stays(self):
        weir = self.weir(self.secured(self.ok_upstream().port))
        other = make_key(f"{self.dir}/other.key")
        os.rename(other, self.key)
        wait_until(lambda: self.metric("weir_config_last_reload_success") == 0, "the refusal")
        self.assertEqual(self.secure_curl(self.url())[1], b"ok\n")
        self.assertIn("the key does not belong to the certificate", self.admin("/config/status")[2].decode())
        self.assertRegex(weir.text(), r"weir.yaml:\d+:\d+: error: listeners\[0\].tls.key: .*does not belong")

    def test_validate_says_what_is_wrong_with_files_and_where(self):
        locked = make_key(f"{self.dir}/locked.key", password="secret")
        self.config = f"{self.dir}/weir.yaml"
        for tls, want in ((f"{{ certificate: {self.certificate}, key: {locked} }}", "the key is encrypted"),
                          (f"{{ certificate: {self.dir}/none.crt, key: {self.key} }}", "No such file or directory"),
                          (f"{{ certificate: {self.key}, key: {self.key} }}", "there is no certificate in PEM in it"),
                          (f"{{ certificate: {self.certificate}, key: {self.ca.root_key} }}", "the key does not belong to the certificate"),
                          (f"{{ certificate: {self.certificate} }}", "key is missing"),
                          (f"{{ certificate: {self.certificate}, key: {self.key}, client: {{ ca: {self.key} }} }}", "there is no certificate in PEM in it"),
                          (f"{{ certificate: {self.certificate}, key: {self.key}, client: {{ ca: {self.ca.ca_path}, allow_names: ['*'] }} }}", "expected a URI")):
            self.write_config(self.secured(9, tls=tls))
            done = subprocess.run([WEIR, "validate", self.config], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(want, done.stderr)
            self.assertRegex(done.stderr, r"weir.yaml:\d+:\d+: error: listeners\[0\].tls")

    def test_a_hundred_megabytes_each_way_and_memory_stays_flat(self):
        size = 100 * MIB
        with open(f"{self.dir}/blob", "wb") as f:
            for _ in range(100):
                f.write(os.urandom(MIB))
        with open(f"{self.dir}/blob", "rb") as f:
            want = hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()
        nginx = self.nginx(f"root {self.dir}; location /up {{ client_body_buffer_size 64k; proxy_request_buffering off; proxy_pass http://127.0.0.1:{self.sink()}; }}")
        weir = self.weir(self.secured(nginx.port, workers=1))
        self.assertEqual(self.secure_curl("-o", "/dev/null", self.url("/blob"))[0], 0)
        before = resident_kib(weir.process.pid)
        for flag in ("--http1.1", "--http2"):
            code, _, err = self.secure_curl(flag, "-o", f"{self.dir}/down", self.url("/blob"), timeout=120)
            self.assertEqual(code, 0, err)
            with open(f"{self.dir}/down", "rb") as f:
                self.assertEqual(hashlib.sha256(f.read()).hexdigest(), want)
            code, out, err = self.secure_curl(flag, "-T", f"{self.dir}/blob", self.url("/up"), timeout=120)
            self.assertEqual((code, out.decode()), (0, f"{size}"), err)
        if not keeps_what_it_frees():
            self.assertLess(resident_kib(weir.process.pid) - before, 8 * 1024)

    def sink(self):
        """An upstream that counts what it is sent."""
        def script(connection, _):
            head, rest = read_head(connection)
            if head is None:
                return
            length, got = int(header(head, "content-length")), len(rest)
            while got < length:
                more = connection.recv(1 << 18)
                if not more:
                    return
                got += len(more)
            connection.sendall(answer(body=str(got).encode(), extra="Connection: close\r\n"))
        return self.upstream(script).port

    def test_a_drain_finishes_what_runs_and_waits_for_no_handshake(self):
        release = threading.Event()

        def make(head, body, _):
            release.wait(10)
            return answer(body=b"late")
        weir = self.weir(self.secured(self.upstream(keep_answering(make)).port))
        busy, idle = self.connect(), self.connect()
        silent = socket.create_connection(("127.0.0.1", self.port), 10)
        busy.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_until(lambda: self.metric("weir_in_flight") == 1, "the request to run")
        weir.signal(signal.SIGTERM)
        silent.settimeout(5)
        self.assertEqual(silent.recv(10), b"")
        idle.settimeout(5)
        self.assertEqual(idle.recv(10), b"")  # by close_notify: Python's ssl would complain otherwise
        release.set()
        head, rest = read_head(busy)
        while len(rest) < 4:
            rest += busy.recv(10)
        self.assertEqual(rest, b"late")
        self.assertEqual(header(head, "connection"), "close")
        self.assertEqual(busy.recv(10), b"")
        self.assertEqual(weir.wait(), 0)
        for one in (busy, idle, silent):
            one.close()

    def test_an_idle_connection_costs_little_memory(self):
        count, most = 1000, 40
        weir = self.weir(self.secured(self.ok_upstream().port, workers=1))
        context, kept = self.context(), []

        def open_one():
            connection = self.connect(context)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            read_head(connection)
            kept.append(connection)
        for _ in range(50):
            open_one()
        before = resident_kib(weir.process.pid)
        for _ in range(count):
            open_one()
        each = (resident_kib(weir.process.pid) - before) / count
        for connection in kept:
            connection.close()
        print(f"\n{each:.1f} KiB for each idle TLS connection", end=" ")
        if not keeps_what_it_frees():
            self.assertLess(each, most)


if __name__ == "__main__":
    unittest.main()
