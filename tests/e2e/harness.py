"""What the end-to-end tests share: real weir, real nginx, scripted upstreams on real sockets. Nothing sleeps to wait: wait_until polls."""
import contextlib, http.client, json, os, random, shutil, signal, socket, subprocess, tempfile, threading, time, unittest

WEIR = os.environ.get("WEIR_BINARY", "build/release/weir")


GIVEN_PORTS = set()


def free_port():
    """Below the range from which the kernel takes ports for outgoing connections: one of those could have this port before its listener has."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
        low = int(f.read().split()[0])
    for _ in range(1000):
        port = random.randrange(max(1024, low - 12000), low) if low > 2048 else 0
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            port = s.getsockname()[1]
            if port not in GIVEN_PORTS:
                GIVEN_PORTS.add(port)
                return port
    raise AssertionError("no free port")


def wait_until(condition, what, seconds=10):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.01)


def connectable(address):
    try:
        with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as s:
            s.settimeout(1)
            s.connect(address if isinstance(address, str) else ("127.0.0.1", address))
        return True
    except OSError:
        return False


class Process:
    def __init__(self, command, **options):
        self.output = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(command, stdout=self.output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                        start_new_session=True, **options)

    def kill_all(self):
        """The process and its children: an nginx whose master alone is killed goes on serving."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def text(self):
        self.output.seek(0)
        return self.output.read()

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=15):
        return self.process.wait(seconds)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(3)
        self.kill_all()
        self.output.close()


class ScriptedUpstream:
    """Accepts connections; `script(connection, number)` runs in a thread for each, number counting from 0."""

    def __init__(self, script, port=0, path=None, address="127.0.0.1"):
        if path:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.bind(path)
        else:
            self.socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind((address, port))
            self.port = self.socket.getsockname()[1]
        self.socket.listen(128)
        self.script, self.accepted, self.open = script, 0, []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            number, self.accepted = self.accepted, self.accepted + 1
            self.open.append(connection)
            threading.Thread(target=self.serve, args=(connection, number), daemon=True).start()

    def serve(self, connection, number):
        with contextlib.suppress(OSError), connection:
            self.script(connection, number)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for connection in self.open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def read_head(connection, buffered=b""):
    data = buffered
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None, data
        data += more
    head, rest = data.split(b"\r\n\r\n", 1)
    return head.decode("latin-1"), rest


def header(head, name):
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.strip().lower() == name.lower():
            return value.strip()
    return None


def read_request(connection, buffered=b""):
    """(head, body, rest) of one request with Content-Length or chunked framing; head None at end of input."""
    head, rest = read_head(connection, buffered)
    if head is None:
        return None, b"", rest
    if (header(head, "transfer-encoding") or "").lower() == "chunked":
        body = b""
        while True:
            while b"\r\n" not in rest:
                more = connection.recv(65536)
                if not more:
                    return None, body, rest
                rest += more
            line, rest = rest.split(b"\r\n", 1)
            size = int(line.split(b";")[0], 16)
            while len(rest) < size + 2:
                more = connection.recv(65536)
                if not more:
                    return None, body, rest
                rest += more
            body, rest = body + rest[:size], rest[size + 2:]
            if size == 0:
                return head, body, rest
    length = int(header(head, "content-length") or 0)
    while len(rest) < length:
        more = connection.recv(65536)
        if not more:
            return None, rest, b""
        rest += more
    return head, rest[:length], rest[length:]


def answer(status=200, body=b"ok\n", extra=""):
    reason = {200: "OK", 500: "Internal Server Error", 503: "Service Unavailable", 404: "Not Found"}.get(status, "Whatever")
    return f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def keep_answering(make):
    """A script: answers every request of a connection with make(head, body, number of the connection)."""
    def script(connection, number):
        rest = b""
        while True:
            head, body, rest = read_request(connection, rest)
            if head is None:
                return
            connection.sendall(make(head, body, number))
    return script


class EndToEnd(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="weir-e2e-")
        os.chmod(self.dir, 0o755)
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.admin_port = free_port()
        self.port = free_port()

    def upstream(self, script, **options):
        server = ScriptedUpstream(script, **options)
        self.addCleanup(server.close)
        return server

    def nginx(self, locations, port=None):
        port = port or free_port()
        config = f"{self.dir}/nginx-{port}.conf"
        temp = "".join(f"{kind}_temp_path {self.dir}/{kind}-{port};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(config, "w") as f:
            f.write(f"""daemon off; worker_processes 1; pid {self.dir}/nginx-{port}.pid; error_log {self.dir}/nginx-{port}.err;
                events {{ worker_connections 4096; }}
                http {{ {temp} access_log off; keepalive_requests 1000000; client_max_body_size 1g;
                  server {{ listen 127.0.0.1:{port} backlog=1024; {locations} }} }}""")
        server = Process(["nginx", "-p", self.dir, "-c", config])
        self.addCleanup(server.stop)
        wait_until(lambda: connectable(port), f"nginx on {port}")
        server.port = port
        return server

    def weir(self, text=None, arguments=None, wait_for=None, prefix=(), **options):
        """Starts weir with this YAML; `admin:` is added. @PORT@ is the listener's port. `prefix`: a command that runs it."""
        if arguments is None:
            self.config = f"{self.dir}/weir.yaml"
            self.write_config(text)
            arguments = ["run", "-c", self.config]
        process = Process([*prefix, WEIR, *arguments], **options)
        self.addCleanup(process.stop)
        target = wait_for or self.port

        def up():
            if process.process.poll() is not None:
                raise AssertionError("weir ended:\n" + process.text())
            return connectable(target)
        wait_until(up, "weir to listen")
        return process

    def write_config(self, text):
        full = f"version: 1\nadmin: {{ read_only_listen: 127.0.0.1:{self.admin_port} }}\n" + text.replace("@PORT@", str(self.port)).replace("@DIR@", self.dir)
        temporary = self.config + ".new"
        with open(temporary, "w") as f:
            f.write(full)
        os.rename(temporary, self.config)

    def simple(self, *ports, policy="", service="", top="", workers=2, direction="outbound"):
        """One listener, one service `app` on these ports; `policy` is a list of filters in YAML flow form."""
        route = "{ service: app, policy: test }" if policy else "{ service: app }"
        policies = f"policies:\n  test:\n    filters: {policy}\n" if policy else ""
        endpoints = ", ".join(p if isinstance(p, str) else f"127.0.0.1:{p}" for p in ports)
        return (f"workers: {workers}\n{top}\nlisteners:\n  - name: out\n    direction: {direction}\n    listen: 127.0.0.1:@PORT@\n    routes: [ {route} ]\n"
                f"services:\n  app: {{ endpoints: [{', '.join(repr(e.strip()) for e in endpoints.split(','))}]{', ' + service if service else ''} }}\n{policies}")

    def request(self, method="GET", path="/", body=None, headers=None, port=None, timeout=10):
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            response = connection.getresponse()
            return response.status, dict((k.lower(), v) for k, v in response.getheaders()), response.read()
        finally:
            connection.close()

    def raw(self, data, port=None, timeout=5, half_close=False):
        """Sends bytes, reads until the peer closes (or the time is up), returns what came."""
        with socket.create_connection(("127.0.0.1", port or self.port), timeout) as s:
            s.sendall(data)
            if half_close:
                s.shutdown(socket.SHUT_WR)
            got = b""
            with contextlib.suppress(OSError):
                while True:
                    more = s.recv(65536)
                    if not more:
                        break
                    got += more
            return got

    def curl(self, *arguments, timeout=30):
        done = subprocess.run(["curl", "-sS", "--max-time", str(timeout), *arguments], capture_output=True)
        return done.returncode, done.stdout, done.stderr.decode()

    def admin(self, path, method="GET"):
        return self.request(method, path, port=self.admin_port)

    def metrics(self):
        """{(name, frozenset of labels)}: value}"""
        status, _, body = self.admin("/metrics")
        assert status == 200, body
        found = {}
        for line in body.decode().splitlines():
            if line.startswith("#") or not line:
                continue
            series, value = line.rsplit(" ", 1)
            name, _, labels = series.partition("{")
            pairs = frozenset(tuple(part.split("=", 1)) for part in labels.rstrip("}").replace('"', "").split(",") if part)
            found[(name, pairs)] = float(value)
        return found

    def metric(self, name, **labels):
        """The sum of the series of that name that have these labels."""
        wanted = set((k, str(v)) for k, v in labels.items())
        return sum(v for (n, pairs), v in self.metrics().items() if n == name and wanted <= pairs)

    def access_log(self):
        with contextlib.suppress(FileNotFoundError):
            with open(f"{self.dir}/access.log") as f:
                return [json.loads(line) for line in f]
        return []
