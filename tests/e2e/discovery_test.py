"""Discovery with a real name server (dnsmasq) whose zone changes and which dies, and with one of the test's own that lies."""
import contextlib, json, os, pwd, signal, socket, struct, subprocess, sys, threading, time, unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from harness import EndToEnd, Process, answer, free_port, keep_answering, wait_until

A, AAAA, SRV = 1, 28, 33
NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3


def name_bytes(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


class LyingServer:
    """Answers every query by `answer(name, type)`: (rcode, [addresses]), or None for silence. Whole answers over TCP where UDP is too small."""

    def __init__(self, answer_to):
        self.answer_to, self.asked = answer_to, 0
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port = free_port()  # one that no outgoing connection holds: it is bound twice
        self.udp.bind(("127.0.0.1", self.port))
        self.tcp = socket.socket()
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.tcp.bind(("127.0.0.1", self.port))
        self.tcp.listen(16)
        for run in (self.serve_udp, self.serve_tcp):
            threading.Thread(target=run, daemon=True).start()

    def reply(self, query, most):
        self.asked += 1
        end = query.index(b"\0", 12)
        labels, at = [], 12
        while at < end:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        kind = struct.unpack(">H", query[end + 1:end + 3])[0]
        told = self.answer_to(".".join(labels), kind)
        if told is None:
            return None
        rcode, addresses = told
        records = [b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 1, 4) + socket.inet_aton(a) for a in addresses]
        whole = 12 + end + 5 - 12 + sum(map(len, records))
        cut = whole > most
        if cut:
            records = []
        flags = 0x8180 | rcode | (0x0200 if cut else 0)
        return query[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0) + query[12:end + 5] + b"".join(records)

    def serve_udp(self):
        with contextlib.suppress(OSError):
            while True:
                query, client = self.udp.recvfrom(4096)
                told = self.reply(query, 512)
                if told:
                    self.udp.sendto(told, client)

    def serve_tcp(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.tcp.accept()
                with connection, contextlib.suppress(OSError, struct.error):
                    connection.settimeout(5)
                    (length,) = struct.unpack(">H", connection.recv(2))
                    told = self.reply(connection.recv(length), 65535)
                    if told:
                        connection.sendall(struct.pack(">H", len(told)) + told)

    def close(self):
        self.udp.close()
        with contextlib.suppress(OSError):
            self.tcp.shutdown(socket.SHUT_RDWR)
        self.tcp.close()


class Discovery(EndToEnd):
    def dnsmasq(self, *records, port=None, address="127.0.0.1", hosts=""):
        """`hosts`: lines of "address name", kept in a file that set_hosts() writes again."""
        port = port or free_port()
        path = f"{self.dir}/hosts-{address}-{port}"
        with open(path, "w") as f:
            f.write(hosts)
        server = Process(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--no-resolv", "--no-hosts",
                          f"--user={pwd.getpwuid(os.getuid()).pw_name}", f"--port={port}", f"--listen-address={address}", "--bind-interfaces",
                          "--local=/test/", "--local-ttl=1", f"--addn-hosts={path}", *records])
        self.addCleanup(server.stop)
        server.port, server.hosts = port, path
        probe = b"\1\2\1\0\0\1\0\0\0\0\0\0" + name_bytes("probe.test") + b"\0\1\0\1"

        def answers():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(0.2)
                with contextlib.suppress(OSError):
                    s.sendto(probe, (address, port))
                    return s.recv(512)
            if server.process.poll() is not None:
                raise AssertionError("dnsmasq ended:\n" + server.text())
        wait_until(answers, "dnsmasq to answer")
        return server

    def set_hosts(self, server, hosts):
        with open(server.hosts, "w") as f:
            f.write(hosts)
        server.signal(signal.SIGHUP)

    def names(self, *addresses, port=None):
        """An upstream on each of these addresses of loopback, all on one port, that answers with its address."""
        port = port or free_port()
        for address in addresses:
            self.upstream(keep_answering(lambda head, body, number, a=address: answer(body=a.encode())), port=port, address=address)
        return port

    def start(self, endpoints, resolver, service="", workers=1):
        return self.weir(f"workers: {workers}\nresolver: {{ {resolver}, timeout: 200ms, tries: 1 }}\n"
                         "listeners: [ { name: out, direction: outbound, listen: 127.0.0.1:@PORT@, routes: [ { service: app } ] } ]\n"
                         f"services: {{ app: {{ endpoints: [\"{endpoints}\"], dns: {{ max_ttl: 1s }}{service} }} }}\n")

    def service(self):
        status, _, body = self.admin("/services")
        self.assertEqual(status, 200)
        return json.loads(body)["services"][0]

    def addresses(self):
        return sorted(endpoint["address"].rsplit(":", 1)[0] for endpoint in self.service()["endpoints"])

    def who(self):
        status, _, body = self.request()
        self.assertEqual(status, 200, body)
        return body.decode()

    def test_a_zone_that_changes_is_followed_without_a_failed_request(self):
        port = self.names("127.0.0.1", "127.0.0.2", "127.0.0.3")
        server = self.dnsmasq(hosts="127.0.0.1 app.test\n")
        self.start(f"dns:app.test:{port}", f'servers: ["127.0.0.1:{server.port}"]')
        wait_until(lambda: self.service()["endpoints"], "the first answer")
        self.assertEqual(self.who(), "127.0.0.1")
        began = time.monotonic()
        self.set_hosts(server, "127.0.0.2 app.test\n127.0.0.3 app.test\n")
        seen = set()

        def both():
            seen.add(self.who())
            return seen >= {"127.0.0.2", "127.0.0.3"}
        wait_until(both, "the new addresses")
        self.assertLess(time.monotonic() - began, 5)  # a TTL of one second, and what a busy machine takes
        wait_until(lambda: self.addresses() == ["127.0.0.2", "127.0.0.3"], "the old address to go")
        self.assertEqual({self.who() for _ in range(10)}, {"127.0.0.2", "127.0.0.3"})
        self.assertGreaterEqual(self.metric("weir_discovery_updates_total", service="app"), 2)
        self.assertNotIn("discovery_error", self.service())

    def test_a_server_that_dies_takes_nothing_away_and_is_seen(self):
        port = self.names("127.0.0.1")
        server = self.dnsmasq(hosts="127.0.0.1 app.test\n")
        process = self.start(f"dns:app.test:{port}", f'servers: ["127.0.0.1:{server.port}"]')
        wait_until(lambda: self.service()["endpoints"], "the first answer")
        server.kill_all()
        wait_until(lambda: "discovery_error" in self.service(), "the error to show")
        self.assertTrue(self.service()["discovery_error"].startswith("dns:app.test: "))
        self.assertEqual(self.who(), "127.0.0.1")
        wait_until(lambda: self.metric("weir_discovery_age_seconds", service="app") >= 2, "the age to grow")
        self.assertGreaterEqual(self.metric("weir_discovery_errors_total", service="app"), 1)
        self.assertIn("dns:app.test", process.text())
        self.dnsmasq(hosts="127.0.0.1 app.test\n", port=server.port)
        wait_until(lambda: "discovery_error" not in self.service(), "the error to go")
        self.assertEqual(self.who(), "127.0.0.1")

    def test_lies_are_bounded_and_empty_nothing(self):
        port = self.names("127.0.0.1")
        good = (NOERROR, ["127.0.0.1"])
        told = {A: good, AAAA: (NOERROR, [])}
        server = LyingServer(lambda name, kind: told[kind] if name == "app.test" else (NXDOMAIN, []))
        self.addCleanup(server.close)
        self.start(f"dns:app.test:{port}", f'servers: ["127.0.0.1:{server.port}"]')
        wait_until(lambda: self.service()["endpoints"], "the first answer")
        lies = {"no such name": (NXDOMAIN, []), "no address": (NOERROR, []), "SERVFAIL": (SERVFAIL, []), "silence": None}
        for lie, reply in lies.items():
            with self.subTest(lie):
                told[A] = reply
                wait_until(lambda: "discovery_error" in self.service(), f"{lie} to show")
                self.assertEqual(self.addresses(), ["127.0.0.1"])
                self.assertEqual(self.who(), "127.0.0.1")
                told[A] = good
                wait_until(lambda: "discovery_error" not in self.service(), f"the end of {lie}")
        told[A] = (NOERROR, [f"127.1.{i // 250}.{i % 250 + 1}" for i in range(4000)])  # nearly what a DNS message holds
        wait_until(lambda: len(self.service()["endpoints"]) == 1000, "the many")
        self.assertIn("too many addresses", self.service()["discovery_error"])
        told[A] = good
        wait_until(lambda: self.addresses() == ["127.0.0.1"], "the truth")
        self.assertNotIn("discovery_error", self.service())
        self.assertEqual(self.who(), "127.0.0.1")

    def test_thousands_of_srv_targets_are_a_hundred_lookups(self):
        port = self.names("127.0.0.1")
        targets = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", SRV, 1, 1, 6 + len(t)) + struct.pack(">HHH", 0, 0, port) + t
                           for t in (name_bytes(f"t{i:04}.test") for i in range(1900)))
        asked = set()

        def address(name, kind):
            asked.add(name)
            return (NOERROR, ["127.0.0.1"]) if kind == A and name.startswith("t") else (NOERROR, [])
        server = LyingServer(address)
        self.addCleanup(server.close)
        plain = server.reply

        def reply(query, most):
            end = query.index(b"\0", 12)
            if struct.unpack(">H", query[end + 1:end + 3])[0] != SRV:
                return plain(query, most)
            cut = most < 65535
            return (query[:2] + struct.pack(">HHHHH", 0x8180 | (0x0200 if cut else 0), 1, 0 if cut else 1900, 0, 0) + query[12:end + 5]
                    + (b"" if cut else targets))
        server.reply = reply
        self.start("srv:_http._tcp.test", f'servers: ["127.0.0.1:{server.port}"]')
        wait_until(lambda: self.service()["endpoints"], "the first addresses")
        self.assertEqual(self.who(), "127.0.0.1")
        self.assertIn("too many targets", self.service()["discovery_error"])
        wait_until(lambda: len(asked) >= 100, "all lookups")
        self.assertEqual(asked, {f"t{i:04}.test" for i in range(100)})

    def test_srv_records_say_ports_weights_and_priorities(self):
        heavy, light, spare = self.names("127.0.0.1"), self.names("127.0.0.2"), self.names("127.0.0.3")
        records = [f"--srv-host=_http._tcp.app.test,{host}.test,{port},{priority},{weight}"
                   for host, port, priority, weight in (("heavy", heavy, 1, 30), ("light", light, 1, 10), ("spare", spare, 2, 0))]
        near = "127.0.0.1 heavy.test\n127.0.0.2 light.test\n"
        server = self.dnsmasq(*records, hosts=near + "127.0.0.3 spare.test\n")
        self.start("srv:_http._tcp.app.test", f'servers: ["127.0.0.1:{server.port}"]', ", balance: round_robin")
        wait_until(lambda: len(self.service()["endpoints"]) == 2, "the records")
        count = [self.who() for _ in range(40)]
        self.assertEqual((count.count("127.0.0.1"), count.count("127.0.0.2")), (30, 10))
        self.assertEqual(sorted((e["address"], e["weight"]) for e in self.service()["endpoints"]),
                         [(f"127.0.0.1:{heavy}", 30), (f"127.0.0.2:{light}", 10)])

    def test_the_targets_of_a_lower_priority_serve_when_the_higher_have_no_address(self):
        spare = self.names("127.0.0.3")
        server = self.dnsmasq("--srv-host=_http._tcp.app.test,gone.test,80,1,1", f"--srv-host=_http._tcp.app.test,spare.test,{spare},2,0",
                              hosts="127.0.0.3 spare.test\n")
        self.start("srv:_http._tcp.app.test", f'servers: ["127.0.0.1:{server.port}"]')
        wait_until(lambda: self.service()["endpoints"], "the records")
        self.assertEqual(self.who(), "127.0.0.3")
        self.assertTrue(self.service()["discovery_error"].startswith("dns:gone.test: "))

    def test_a_changed_resolv_conf_is_noticed(self):
        port = self.names("127.0.0.1", "127.0.0.2")
        first = self.dnsmasq(address="127.0.0.2", hosts="127.0.0.1 app.test\n")
        self.dnsmasq(address="127.0.0.3", port=first.port, hosts="127.0.0.2 app.test\n")
        resolv_conf = f"{self.dir}/resolv.conf"
        with open(resolv_conf, "w") as f:
            f.write("nameserver 127.0.0.2\n")
        self.start(f"dns:app.test:{port}", f"resolv_conf: {resolv_conf}, port: {first.port}")
        wait_until(lambda: self.addresses() == ["127.0.0.1"], "the first server's answer")
        with open(resolv_conf + ".new", "w") as f:
            f.write("nameserver 127.0.0.3\n")
        os.rename(resolv_conf + ".new", resolv_conf)
        wait_until(lambda: self.addresses() == ["127.0.0.2"], "the second server's answer")
        self.assertEqual(self.who(), "127.0.0.2")

    def test_a_file_of_endpoints_is_read_with_the_configuration(self):
        port = self.names("127.0.0.1", "127.0.0.2")
        path = f"{self.dir}/endpoints.yaml"

        def write(text):
            with open(path + ".new", "w") as f:
                f.write(text)
            os.rename(path + ".new", path)
        write(f"- 127.0.0.1:{port}\n")
        process = self.start(f"file:{path}", 'servers: ["127.0.0.1:1"]')
        self.assertEqual(self.who(), "127.0.0.1")
        write(f"- {{ address: 127.0.0.2:{port}, weight: 3 }}\n")
        process.signal(signal.SIGHUP)
        wait_until(lambda: self.addresses() == ["127.0.0.2"], "the new list")
        self.assertEqual(self.who(), "127.0.0.2")
        write(f"- 127.0.0.2:{port}\n- 127.0.0.2\n")
        process.signal(signal.SIGHUP)
        wait_until(lambda: f"{path}:2:3: error" in process.text(), "the mistake to be told")
        self.assertEqual(self.who(), "127.0.0.2")
        os.remove(path)
        checked = subprocess.run([harness.WEIR, "validate", self.config], capture_output=True, text=True)
        self.assertEqual(checked.returncode, 1)
        self.assertRegex(checked.stderr, r"weir\.yaml:\d+:\d+: error: services\.app\.endpoints\[0\]: cannot read .*endpoints\.yaml")


if __name__ == "__main__":
    unittest.main()
