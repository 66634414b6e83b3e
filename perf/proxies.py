"""What perf/compare and perf/handshakes share: weir and its peers with the same certificate and the upstreams that they need, each pinned
to a CPU; the scheduler's own account of a process's time; intervals.
"""
import collections, glob, os, random, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
# streams: HTTP/2 with so many at once on each connection, 0 is HTTP/1.1; tls: from the client, upstream is always clear text;
# upstream: http1 is nginx, http2 is nghttpd, grpc is nghttpd that answers a POST of one message with one and a status in trailers.
Scenario = collections.namedtuple("Scenario", "path connections log streams tls upstream", defaults=(False, 0, False, "http1"))
PEERS = ["haproxy", "nginx", "nghttpx"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(port, process, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"{os.path.basename(sys.argv[0])}: {process.args} ended with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        except OSError:
            time.sleep(0.02)
    sys.exit(f"{os.path.basename(sys.argv[0])}: nothing listens on port {port}: {process.args}")


def descendants(pid):
    found = [pid]
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            fields = open(path).read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found += descendants(int(path.split("/")[2]))
    return found


def cpu_seconds(pid):
    total = 0
    for p in descendants(pid):
        for path in glob.glob(f"/proc/{p}/task/*/schedstat"):
            try:
                total += int(open(path).read().split()[0])
            except OSError:
                pass
    return total / 1e9


MESSAGE = b"\0\0\0\0\x18hello from the upstream\n"  # of gRPC: not compressed, its length, itself


class Proxies:
    def __init__(self, args):
        self.args = args
        self.dir = tempfile.mkdtemp(prefix="weir-perf-")
        self.processes = []
        os.makedirs(f"{self.dir}/files/shop.Cart")
        for name, what in (("64k", random.Random(1).randbytes(64 << 10)), ("1m", random.Random(1).randbytes(1 << 20)),
                           ("small", b"hello from the upstream\n"), ("shop.Cart/Get.grpc", MESSAGE)):
            with open(f"{self.dir}/files/{name}", "wb") as f:
                f.write(what)
        with open(f"{self.dir}/mime.types", "w") as f:
            f.write("application/grpc grpc\n")
        os.chmod(self.dir, 0o755)
        self.certificate()
        self.upstream = free_port()
        self.start(1, ["nginx", "-p", self.dir, "-c", self.conf("upstream.nginx.conf")], self.upstream)
        self.upstreams = {"http1": self.upstream}

    def certificate(self):
        """One for all: ECDSA with P-256, signed by itself; HAProxy wants both halves in one file."""
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-keyout", f"{self.dir}/key.pem", "-out", f"{self.dir}/cert.pem"], check=True, capture_output=True)
        with open(f"{self.dir}/both.pem", "w") as both:
            both.write(open(f"{self.dir}/cert.pem").read() + open(f"{self.dir}/key.pem").read())

    def use_upstream(self, kind):
        """From here on this one is @UPSTREAM@."""
        if kind not in self.upstreams:
            self.upstreams[kind] = free_port()
            self.start(1, ["nghttpd", "--no-tls", "-n1", f"--htdocs={self.dir}/files", f"--mime-types-file={self.dir}/mime.types",
                           *(["--trailer=grpc-status: 0"] if kind == "grpc" else []), str(self.upstreams[kind])], self.upstreams[kind])
        self.upstream = self.upstreams[kind]

    def conf(self, name, out=None, **values):
        text = open(f"{HERE}/peers/{name}").read()
        for key, value in dict(values, DIR=self.dir, UPSTREAM=self.upstream).items():
            text = text.replace(f"@{key}@", str(value))
        path = f"{self.dir}/{out or name}"
        open(path, "w").write(text)
        return path

    def start(self, cpu, command, port):
        log = open(f"{self.dir}/{os.path.basename(command[0])}-{port}.out", "w")
        process = subprocess.Popen(["taskset", "-c", str(cpu)] + command, stdout=log, stderr=log)
        self.processes.append(process)
        wait_port(port, process)
        return process

    def proxies(self, scenario):
        """Starts every proxy; returns {name: (process, port)}."""
        log, tls, http2 = scenario.log, scenario.tls, scenario.upstream != "http1"
        self.use_upstream(scenario.upstream)
        tag = f"{'log' if log else 'plain'}{'-tls' if tls else ''}-{scenario.upstream}"
        made = {}

        def add(name, command_of_port):
            if self.args.proxy and name not in self.args.proxy:
                return
            port = free_port()
            made[name] = (self.start(0, command_of_port(port), port), port)

        if not tls and not scenario.streams:  # it can neither encrypt nor translate
            add("relay", lambda p: [self.args.relay, str(p), str(self.upstream)])
        add("haproxy", lambda p: ["haproxy", "-db", "-f", self.conf(
            "haproxy.cfg", f"haproxy-{tag}.cfg", PORT=p,
            BIND=f"ssl crt {self.dir}/both.pem alpn h2,http/1.1 ssl-min-ver TLSv1.3" if tls else "", PROTOCOL="proto h2" if http2 else "",
            LOGGLOBAL=f"log {self.dir}/haproxy.sock len 4096 local0" if log else "",
            LOGDEFAULTS="log global\n  log-format '{\"t\":\"%Ts.%ms\",\"m\":\"%HM\",\"p\":\"%[capture.req.uri,json]\",\"s\":%ST,"
                        "\"b\":%B,\"d\":%Ta,\"u\":\"%s\",\"ud\":%Tr,\"r\":\"%rc\",\"id\":\"%ID\"}'" if log else "")])
        add("nginx", lambda p: ["nginx", "-p", self.dir, "-c", self.conf(
            "nginx-grpc.conf" if http2 else "nginx.conf", f"nginx-{tag}.conf", PORT=p,
            LISTEN=("ssl http2" if tls else "http2" if scenario.streams else ""),
            TLS=f"ssl_certificate {self.dir}/cert.pem; ssl_certificate_key {self.dir}/key.pem; ssl_protocols TLSv1.3;" if tls else "",
            LOG=("log_format j escape=json '{\"t\":\"$msec\",\"m\":\"$request_method\",\"p\":\"$request_uri\",\"s\":$status,"
                 "\"b\":$body_bytes_sent,\"d\":$request_time,\"u\":\"$upstream_addr\",\"us\":\"$upstream_status\","
                 "\"ud\":\"$upstream_response_time\",\"id\":\"$request_id\"}';\n"
                 f"  access_log {self.dir}/nginx-access.log j buffer=64k flush=1s;") if log else "access_log off;")])
        add("nghttpx", lambda p: ["nghttpx", "--workers=1", f"--frontend=127.0.0.1,{p}" + ("" if tls else ";no-tls"),
                                  f"--backend=127.0.0.1,{self.upstream}" + (";;proto=h2" if http2 else ""),
                                  "--no-http2-cipher-block-list", "--backend-connections-per-host=1024", "--errorlog-file=/dev/null",
                                  "--add-x-forwarded-for", "--backlog=4096", "--conf=/dev/null"]
            + ([f"--accesslog-file={self.dir}/nghttpx-access.log",
                '--accesslog-format={"t":"$time_iso8601","m":"$method","p":"$path","s":$status,"b":$body_bytes_sent,"d":$request_time,'
                '"u":"$backend_host:$backend_port"}'] if log else [])
            + (["--tls-min-proto-version=TLSv1.3", f"{self.dir}/key.pem", f"{self.dir}/cert.pem"] if tls else []))
        add("weir", lambda p: [self.args.weir, "run", "-c", self.conf(
            "weir.yaml", f"weir-{tag}.yaml", PORT=p, ADMIN=free_port(),
            TLS=f"tls: {{ certificate: {self.dir}/cert.pem, key: {self.dir}/key.pem, min_version: TLSv1.3 }}" if tls else "",
            PROTOCOL="http2" if http2 else "http1",
            METHODS="any" if scenario.upstream == "grpc" else "idempotent", GRPC=", grpc_unavailable" if scenario.upstream == "grpc" else "",
            LOG=f"access_log: {{ path: {self.dir}/weir-access.log, format: json, sample: 100% }}" if log else "")])
        return made

    def stop(self, process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.remove(process)

    def close(self):
        for process in list(self.processes):
            self.stop(process)
        shutil.rmtree(self.dir, ignore_errors=True)


def interval(ratios, seed):
    rng = random.Random(seed)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[49], medians[1949]
