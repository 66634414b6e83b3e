"""Reload without harm: 1,000 of them under load cost no request and no memory, live state stays, and weir sees by itself what changed."""
import sys

from harness import *
from load import read_answer

HERE = os.path.dirname(os.path.abspath(__file__))
MIB = 1024 ** 2
RELOADS = 1000


class Reload(EndToEnd):
    def setUp(self):
        super().setUp()
        self.config = f"{self.dir}/weir.yaml"
        self.socket = f"{self.dir}/admin.sock"

    def text(self, listeners="", services="", policies="", routes="{ service: app, policy: test }", top=""):
        return (f"version: 1\nworkers: 2\nadmin: {{ listen: unix:{self.socket}, read_only_listen: 127.0.0.1:{self.admin_port} }}\n{top}"
                f"listeners:\n  - {{ name: out, direction: outbound, listen: 127.0.0.1:{self.port}, routes: [ {routes} ] }}\n{listeners}"
                f"services:\n{services}policies:\n{policies}")

    def put(self, text, path=None):
        """By rename, as most editors do."""
        path = path or self.config
        with open(path + ".new", "w") as f:
            f.write(text)
        os.rename(path + ".new", path)

    def start(self, text, *arguments):
        self.put(text)
        return self.weir(arguments=["run", "-c", self.config, *arguments])

    def order(self):
        """POST /reload: (status, the answer), once every worker serves it."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(self.socket)
            s.sendall(b"POST /reload HTTP/1.1\r\nHost: weir\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            status, body, _ = read_answer(s)
        return status, json.loads(body)

    def command(self, *arguments):
        done = subprocess.run([WEIR, "reload", *arguments], capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr


class SideClients:
    """Clients of a listener that comes, moves and goes: they ask at the port where it is, and any answer that is begun must be whole."""

    def __init__(self, keep_alive, one_shot):
        self.port, self.stopping = None, threading.Event()
        self.asked, self.failed, self.refused = 0, [], 0
        self.threads = [threading.Thread(target=self.run, args=(i < keep_alive,)) for i in range(keep_alive + one_shot)]
        for thread in self.threads:
            thread.start()

    def run(self, keep):
        connection = None
        while not self.stopping.wait(0.01 if keep else 0.03):
            port = self.port
            try:
                if connection is None:
                    if port is None:
                        continue
                    connection = socket.create_connection(("127.0.0.1", port), 0.2)  # a SYN that comes as the socket closes is lost, for a second
                    connection.settimeout(20)
            except OSError:  # it has just moved
                self.refused += 1
                continue
            again = False
            try:
                connection.sendall(b"GET /side HTTP/1.1\r\nHost: side\r\n\r\n")
                status, _, again = read_answer(connection)
            except OSError as error:
                status = str(error)
            self.asked += 1
            if status != 200:
                self.failed.append((port, self.port, keep, status))
            if not again or not keep:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


class Thousand(Reload):
    def make(self, i, ports, sides, upstream):
        """The i-th configuration: another limit, other endpoints, other routes, and a listener at one place, at another, or nowhere."""
        side = sides[i % 3]
        listener = "" if side is None else (f"  - {{ name: side, direction: outbound, listen: 127.0.0.1:{side}, limits: {{ connections: {100 + i % 7} }}, "
                                            "routes: [ { service: app, policy: test } ] }\n")
        chosen = [ports[i % 3], ports[(i + 1) % 3]]
        extra = f"{{ name: extra-{i % 5}, match: {{ path_prefix: /extra-{i % 5} }}, respond: {{ status: 204 }} }}, " if i % 4 else ""
        return self.text(listener, f"  app: {{ endpoints: [{', '.join(f'127.0.0.1:{p}' for p in chosen)}], connect_timeout: {1 + i % 3}s }}\n"
                         f"  spare-{i % 6}: {{ endpoints: [127.0.0.1:{upstream}] }}\n",
                         f"  test:\n    filters:\n      - timeout: {{ total: {20 + i % 10}s }}\n      - concurrency_limit: {{ limit: {100 + i % 9}, queue: {{ size: {200 + i % 11}, timeout: 20s }} }}\n",
                         routes=extra + "{ name: all, service: app, policy: test }"), side

    def rss(self, weir):
        """Of several looks the least: what is there anyhow, not what the load needs at this moment."""
        looks = []
        for _ in range(10):
            with open(f"/proc/{weir.process.pid}/statm") as f:
                looks.append(int(f.read().split()[1]) * 4096)
            self.order()
        return min(looks)

    def test_a_thousand_reloads_under_load_fail_no_request_and_take_no_memory(self):
        ports = [self.nginx('location / { return 200 "ok\\n"; }').port for _ in range(3)]
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        self.addCleanup(taken.close)
        sides = [free_port(), free_port(), None]
        spoilt = [lambda text: text + "nonsense: 1\n", lambda text: text.replace("filters:", "filters: ["), lambda text: text.replace("limit: ", "limit: -"),
                  lambda text: text.replace(f"127.0.0.1:{self.port},", f"127.0.0.1:{taken.getsockname()[1]},")]
        first, side = self.make(0, ports, sides, ports[0])
        weir = self.start(first, "--no-watch")
        load = subprocess.Popen([sys.executable, f"{HERE}/load.py", str(self.port), "/main", "8", "200"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        clients = SideClients(3, 2)
        clients.port = side
        self.addCleanup(clients.stop)
        self.addCleanup(load.kill)
        began, generation, baseline = time.monotonic(), 1, None
        for i in range(1, RELOADS + 1):
            text, side = self.make((i + 1) // 2, ports, sides, ports[0])
            if i % 2 == 1:
                self.put(spoilt[i // 2 % len(spoilt)](text))
                status, told = self.order()
                self.assertEqual((status, told["result"], told["generation"]), (422, "refused", generation), told)
                continue
            self.put(text)
            if side is None:  # whoever comes from now on has nowhere to go
                clients.port = None
            status, told = self.order()
            generation += 1
            self.assertEqual((status, told["result"], told["generation"]), (200, "taken", generation), told)
            clients.port = side
            if i == RELOADS // 5:
                baseline = self.rss(weir)
        grown = self.rss(weir) - baseline
        took = time.monotonic() - began
        clients.stop()
        books = json.loads(load.communicate("")[0])
        print(f"{RELOADS} reloads in {took:.1f} s; {len(books['outcomes'])} and {clients.asked} requests, {clients.refused} refused; RSS {grown / MIB:+.2f} MiB")
        self.assertEqual({path: outcome for path, outcome in books["outcomes"].items() if outcome != 200}, {})
        self.assertEqual(clients.failed, [])
        self.assertGreater(clients.asked, 100)
        self.assertGreater(len(books["outcomes"]), 500)
        self.assertLess(grown, 2 * MIB)
        self.assertEqual(self.metric("weir_config_generation"), generation)
        self.assertEqual(self.metric("weir_limit_in_flight"), 0)


class LiveState(Reload):
    def test_a_limit_of_ten_is_ten_across_reloads(self):
        lock, inside, most, served, done = threading.Lock(), [0], [0], [0], threading.Event()

        def serve(head, body, number):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            done.wait(0.01)  # the work
            with lock:
                inside[0] -= 1
                served[0] += 1
            return answer()
        upstream = self.upstream(keep_answering(serve))

        def text(i):
            return self.text(services=f"  app: {{ endpoints: [127.0.0.1:{upstream.port}], connect_timeout: {3 + i % 2}s }}\n",
                             policies=f"  test:\n    filters:\n      - concurrency_limit: {{ limit: 10, queue: {{ size: {500 + i}, timeout: 30s }} }}\n")
        self.start(text(0), "--no-watch")
        load = subprocess.Popen([sys.executable, f"{HERE}/load.py", str(self.port), "/work", "40", "4000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(load.kill)
        for i in range(1, 41):
            seen = served[0]
            self.put(text(i))
            self.assertEqual(self.order()[1]["result"], "taken")
            wait_until(lambda: served[0] > seen + 20, "a share of the load", 30)
        outcomes = json.loads(load.communicate("")[0])["outcomes"]
        self.assertEqual(set(outcomes.values()), {200})
        self.assertEqual(most[0], 10)

    def test_a_breaker_that_is_open_stays_open(self):
        upstream = self.upstream(keep_answering(lambda *_: answer(500)))

        def text(ratio):
            return self.text(services=f"  app: {{ endpoints: [127.0.0.1:{upstream.port}] }}\n",
                             policies="  test:\n    filters:\n      - circuit_breaker: { name: main, causes: [5xx], min_calls: 5, "
                                      f"failure_ratio: {ratio}, open_for: {{ base: 1h, max: 1h }} }}\n")
        self.start(text("50%"), "--no-watch")
        for _ in range(5):
            self.assertEqual(self.request()[0], 500)
        self.assertEqual(self.request()[0], 503)
        for ratio in ("60%", "90%"):
            self.put(text(ratio))
            self.assertEqual(self.order()[1]["changes"], [f"policy test: filter main failure_ratio {'50%' if ratio == '60%' else '60%'} -> {ratio}"])
            self.assertEqual(self.request()[0], 503)
            self.assertEqual(self.metric("weir_breaker_state", filter="main"), 1)


class Saying(Reload):
    def saying(self, body, top=""):
        return (f"version: 1\nadmin: {{ listen: unix:{self.socket}, read_only_listen: 127.0.0.1:{self.admin_port} }}\n{top}"
                f"listeners:\n  - {{ name: out, direction: outbound, listen: 127.0.0.1:{self.port}, "
                f"routes: [ {{ match: {{ path: / }}, respond: {{ status: 200, body: {body} }} }}, {{ service: app }} ] }}\n"
                "services: { app: { endpoints: [127.0.0.1:1] } }\n")


class Watching(Saying):
    SOON = 2.0

    def soon(self, condition, what):
        began = time.monotonic()
        wait_until(condition, what, 10)
        self.assertLess(time.monotonic() - began, self.SOON, what)

    def says(self, text):
        self.soon(lambda: self.request()[2] == text.encode(), text)

    def test_whatever_an_editor_does_is_seen_without_a_signal(self):
        self.start(self.saying("one"))
        self.says("one")
        with open(self.config, "w") as f:  # in place
            f.write(self.saying("two"))
        self.says("two")
        os.rename(self.config, self.config + "~")  # vim with backups
        with open(self.config, "w") as f:
            f.write(self.saying("three"))
        self.says("three")
        subprocess.run(["sed", "-i", "s/three/four/", self.config], check=True)
        self.says("four")
        os.unlink(self.config)
        self.soon(lambda: self.metric("weir_config_last_reload_success") == 0, "the file gone")
        self.assertEqual(self.request()[2], b"four")
        self.put(self.saying("five"))
        self.says("five")
        self.assertEqual(self.metric("weir_config_last_reload_success"), 1)

    def test_a_config_map_is_seen(self):
        os.mkdir(f"{self.dir}/map")

        def swap(version, body):
            os.mkdir(f"{self.dir}/map/..{version}")
            with open(f"{self.dir}/map/..{version}/weir.yaml", "w") as f:
                f.write(self.saying(body))
            os.symlink(f"..{version}", f"{self.dir}/map/..data_tmp")
            os.rename(f"{self.dir}/map/..data_tmp", f"{self.dir}/map/..data")
        swap("2026_1", "one")
        os.symlink("..data/weir.yaml", f"{self.dir}/map/weir.yaml")
        self.config = f"{self.dir}/map/weir.yaml"
        self.weir(arguments=["run", "-c", self.config])
        self.says("one")
        for i, body in enumerate(("two", "three")):
            swap(f"2026_{i + 2}", body)
            self.says(body)
            shutil.rmtree(f"{self.dir}/map/..2026_{i + 1}")
        self.assertEqual(self.metric("weir_config_generation"), 3)

    def test_includes_and_files_that_values_come_from_are_seen(self):
        secret = f"{self.dir}/body"
        self.put("one\n", secret)
        os.mkdir(f"{self.dir}/conf.d")
        self.start(self.saying(f"\"${{file:{secret}}}\"", top="include: [conf.d/*.yaml]\n"))
        self.says("one")
        self.put("two\n", secret)
        self.says("two")

        def services():
            return [s["name"] for s in json.loads(self.admin("/services")[2])["services"]]
        self.put("services: { more: { endpoints: [127.0.0.1:2] } }\n", f"{self.dir}/conf.d/more.yaml")
        self.soon(lambda: services() == ["app", "more"], "an include added")
        self.put("services: { less: { endpoints: [127.0.0.1:2] } }\n", f"{self.dir}/conf.d/more.yaml")
        self.soon(lambda: services() == ["app", "less"], "an include changed")
        os.unlink(f"{self.dir}/conf.d/more.yaml")
        self.soon(lambda: services() == ["app"], "an include removed")

    def test_with_no_watch_it_waits_to_be_asked(self):
        self.start(self.saying("one"), "--no-watch")
        self.put(self.saying("two"))
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            self.assertEqual(self.request()[2], b"one")
        self.assertEqual(self.command("-c", self.config)[0], 0)
        self.assertEqual(self.request()[2], b"two")


class Command(Saying):
    def test_weir_reload_says_what_came_of_it(self):
        weir = self.start(self.saying("one"), "--no-watch")
        self.assertEqual(self.command("-c", self.config), (0, "nothing changed: generation 1 stays\n"))
        self.put(self.saying("two"))
        status, said = self.command("--admin", f"unix:{self.socket}")
        self.assertEqual((status, said), (0, "taken: every worker serves generation 2\n  listener out: route route-1 respond body one -> two\n"))
        self.assertEqual(self.request()[2], b"two")
        self.put(self.saying("three") + "nonsense: 1\nmore: 2\n")
        status, said = self.command("-c", self.config)
        self.assertEqual(status, 1)
        self.assertTrue(said.startswith("refused: generation 2 stays\n"), said)
        self.assertIn("nonsense", said)
        self.assertIn("more", said)
        self.put("listeners: [\n")
        status, said = self.command("-c", self.config)
        self.assertEqual(status, 1)
        self.assertIn("weir.yaml:", said)
        self.assertEqual(self.command("-c", f"{self.dir}/nothing.yaml")[0], 2)
        self.assertEqual(self.command()[0], 2)
        self.assertEqual(self.command("--admin", f"127.0.0.1:{self.admin_port}")[0], 2)  # reads only
        self.put(self.saying("three"))
        weir.stop()
        status, said = self.command("-c", self.config)
        self.assertEqual(status, 2)
        self.assertIn("no weir answers", said)

    def test_weir_reload_gives_up_waiting(self):
        deaf = socket.socket(socket.AF_UNIX)
        deaf.bind(f"{self.dir}/deaf.sock")
        deaf.listen()
        self.addCleanup(deaf.close)
        status, said = self.command("--admin", f"unix:{self.dir}/deaf.sock", "--timeout", "300ms")
        self.assertEqual(status, 2)
        self.assertIn("within 300ms", said)


if __name__ == "__main__":
    unittest.main(verbosity=1)
