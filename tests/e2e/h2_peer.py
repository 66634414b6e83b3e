"""Peers of HTTP/2 that a test scripts frame by frame, as client and as server, over real sockets: python3-h2 with one reading thread each."""
import contextlib, socket, threading, time

import hyperframe.frame
import h2.config, h2.connection, h2.errors, h2.events, h2.exceptions, h2.settings

Code = h2.errors.ErrorCodes
Setting = h2.settings.SettingCodes


class Stream:
    """What came on one stream so far, and the verbs to answer or ask on it. A server's script and a client's test use the same."""

    def __init__(self, peer, number):
        self.peer, self.id = peer, number
        self.head, self.informational, self.trailers = None, [], None
        self.body = bytearray()
        self.ended, self.reset = False, None  # the code that the peer reset it with
        self.untaken = 0  # of the windows, while this end holds them back

    def field(self, name):
        return dict(self.head or []).get(name)

    @property
    def status(self):
        return int(self.field(":status") or 0)

    @property
    def over(self):
        return self.ended or self.reset is not None or self.peer.closed

    def wait(self, condition, what="", seconds=10):
        self.peer.wait(lambda: condition(self), what or f"stream {self.id}", seconds)
        return self

    def finish(self, seconds=20):
        """Waits until it ended, whichever way."""
        return self.wait(lambda s: s.over, f"the end of stream {self.id}", seconds)

    def send_head(self, fields, end=False):
        self.peer.act(lambda c: c.send_headers(self.id, fields, end_stream=end))
        return self

    def respond(self, status=200, *fields, end=False):
        return self.send_head([(":status", str(status)), *fields], end)

    def send(self, data=b"", end=False, seconds=20):
        """Sends as the peer's windows allow, and waits for them. False: the stream or the connection is gone."""
        view, deadline = memoryview(data), time.monotonic() + seconds
        with self.peer.changed:
            while len(view) or end:
                if self.reset is not None or self.peer.closed:
                    return False
                room = 0
                with contextlib.suppress(h2.exceptions.ProtocolError):
                    room = min(self.peer.h2.local_flow_control_window(self.id), self.peer.h2.max_outbound_frame_size, len(view))
                if room > 0 or (not len(view) and end):
                    last = end and room == len(view)
                    self.peer.act(lambda c: c.send_data(self.id, bytes(view[:room]), end_stream=last))
                    view = view[room:]
                    if last:
                        return True
                elif not self.peer.changed.wait(deadline - time.monotonic()) and time.monotonic() > deadline:
                    raise AssertionError(f"no window to send in for {seconds} s")
        return True

    def send_trailers(self, *fields):
        self.peer.act(lambda c: c.send_headers(self.id, list(fields), end_stream=True))

    def answer(self, body=b"ok\n", status=200, *fields):
        self.respond(status, ("content-length", str(len(body))), *fields, end=not body)
        if body:
            self.send(body, end=True)

    def cancel(self, code=Code.CANCEL):
        self.peer.act(lambda c: c.reset_stream(self.id, code))

    def take(self):
        """Gives the windows back, from now on at once."""
        with self.peer.changed:
            self.peer.takes = None
            if self.untaken:
                self.peer.act(lambda c: c.acknowledge_received_data(self.untaken, self.id))


class Peer:
    """One connection. `script(stream)` runs in a thread for each request that a client made; `takes(stream)`: whether windows are given back at once."""

    def __init__(self, connection, client, script=None, settings=None, takes=None):
        self.socket, self.client, self.script, self.takes = connection, client, script, takes
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(
            client_side=client, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False))
        self.h2.local_settings = h2.settings.Settings(client, {Setting.MAX_CONCURRENT_STREAMS: 100, **(settings or {})})
        # h2 takes nothing more once a GOAWAY came; but streams that it spares go on.
        self.h2._frame_dispatch_table[hyperframe.frame.GoAwayFrame] = self.on_goaway
        self.changed = threading.Condition(threading.RLock())
        self.streams, self.closed, self.goaway, self.pings = {}, False, None, 0
        self.act(lambda c: c.initiate_connection())
        # What is announced is judged by the tests: h2 would end the connection over a stream that crossed the first SETTINGS.
        self.h2.local_settings[Setting.MAX_CONCURRENT_STREAMS] = 10000
        self.h2.local_settings.acknowledge()

    def start(self):
        threading.Thread(target=self.read, daemon=True).start()
        return self

    def wait(self, condition, what="", seconds=10):
        with self.changed:
            if not self.changed.wait_for(condition, seconds):
                raise AssertionError(f"waited {seconds} s in vain: {what}")

    def act(self, verb):
        """Does it, and sends what it made. Frames for what is gone already are dropped: the other end raced us."""
        with self.changed:
            made = None
            with contextlib.suppress(h2.exceptions.StreamClosedError, h2.exceptions.ProtocolError):
                made = verb(self.h2)
            with contextlib.suppress(OSError):
                self.socket.sendall(self.h2.data_to_send())
            return made

    def read(self):
        while True:
            data = b""
            with contextlib.suppress(OSError):
                data = self.socket.recv(262144)
            with self.changed:
                try:
                    for event in self.h2.receive_data(data) if data else ():
                        self.on(event)
                except h2.exceptions.ProtocolError as error:
                    self.broken, data = error, b""
                with contextlib.suppress(OSError):
                    self.socket.sendall(self.h2.data_to_send())
                self.closed = self.closed or not data
                self.changed.notify_all()
                if not data:
                    return

    def on_goaway(self, frame):
        self.goaway = frame
        return [], []

    broken = None  # what weir did wrong in the eyes of python3-h2

    def on(self, event):
        if isinstance(event, h2.events.RequestReceived):
            stream = self.streams[event.stream_id] = Stream(self, event.stream_id)
            stream.head = event.headers
            stream.beside = self.h2.open_inbound_streams  # open, itself included, when it came
            threading.Thread(target=self.run, args=(stream,), daemon=True).start()
        elif not getattr(event, "stream_id", None):
            self.pings += isinstance(event, h2.events.PingReceived)
        else:
            self.on_stream(self.streams.get(event.stream_id), event)

    def on_stream(self, stream, event):
        if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
            if stream and self.takes and not self.takes(stream):
                stream.untaken += event.flow_controlled_length
            else:
                with contextlib.suppress(h2.exceptions.ProtocolError):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if stream is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            stream.head = event.headers
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream.informational.append(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            stream.body += event.data
        elif isinstance(event, h2.events.TrailersReceived):
            stream.trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset) and stream.reset is None:
            stream.reset = event.error_code

    def run(self, stream):
        with contextlib.suppress(OSError):
            self.script(stream)

    def request(self, path="/", method="GET", fields=(), body=None, end=True, authority="a"):
        """Opens a stream; with a body, or `end=False`, the caller sends on it."""
        with self.changed:
            number = self.h2.get_next_available_stream_id()
            stream = self.streams[number] = Stream(self, number)
            stream.send_head([(":method", method), (":scheme", "http"), (":authority", authority), (":path", path), *fields], end and body is None)
        if body is not None:
            stream.send(body, end=end)
        return stream

    def terminate(self, code=Code.NO_ERROR, last=None):
        """GOAWAY; what is open goes on, for h2's own close_connection would refuse to."""
        frame = b"".join(n.to_bytes(size, "big") for n, size in ((8, 3), (7, 1), (0, 1), (0, 4), (last if last is not None else 2**31 - 1, 4), (int(code), 4)))
        self.raw(frame)

    def raw(self, data):
        with self.changed, contextlib.suppress(OSError):
            self.socket.sendall(data)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Server:
    """Accepts connections and scripts their streams: script(stream), in a thread of its own for each."""

    def __init__(self, script, settings=None, takes=None):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(128)
        self.port = self.socket.getsockname()[1]
        self.peers, self.script, self.settings, self.takes = [], script, settings, takes
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peers.append(Peer(connection, False, self.script, self.settings, self.takes))
            self.peers[-1].start()  # a script finds its connection among them

    def streams(self):
        """Every request of every connection, in order of arrival on each."""
        return [stream for peer in list(self.peers) for stream in list(peer.streams.values())]

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for peer in self.peers:
            peer.close()


def connect(port, **options):
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Peer(connection, True, **options).start()
