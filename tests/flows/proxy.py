"""A proxy of the tests in front of a Prefect server: a reverse proxy with TLS and demands, and a forward proxy."""

import re
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Self

END = b"\r\n\r\n"
REFUSED = b"HTTP/1.1 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Hands each request to a server, and closes the connection after its answer.

    Args:
        port: The port of the server on the loopback address.
        prefix: The path that each request begins with; the server gets `/api` in its place.
        demanded: A line that the head of each request has to have.
        given: The line that the server gets in its place.
        certificate: The files of the certificate and its key.
    """

    def __init__(
        self,
        port: int,
        *,
        prefix: str = "/api",
        demanded: str = "",
        given: str = "",
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self._server = port
        self._prefix = prefix
        self._demanded = demanded.lower()
        self._given = given or demanded
        self.seen: list[str] = []
        self.refused: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._tls = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with self._tls.wrap_socket(client, server_side=True) if self._tls else client as asking:
                head, rest = self._head(asking)
                if not head:
                    return
                if head.startswith("CONNECT "):
                    self.seen.append(head.splitlines()[0])
                    asking.sendall(b"HTTP/1.1 200 OK" + END)
                    head, rest = self._head(asking)
                self._answer(asking, head, rest)
        except OSError:
            return

    @staticmethod
    def _head(asking: socket.socket) -> tuple[str, bytes]:
        data = b""
        while END not in data:
            piece = asking.recv(65536)
            if not piece:
                return "", b""
            data += piece
        head, _, rest = data.partition(END)
        return head.decode("latin1"), rest

    def _answer(self, asking: socket.socket, head: str, rest: bytes) -> None:
        first, *lines = head.split("\r\n")
        self.seen.append(first)
        method, target, version = first.split(" ")
        target = re.sub(r"^https?://[^/]+", "", target)
        if self._demanded and self._demanded not in [line.lower() for line in lines]:
            self.refused.append(first)
            asking.sendall(REFUSED % b"403 Forbidden")
            return
        if not target.startswith(self._prefix):
            self.refused.append(first)
            asking.sendall(REFUSED % b"404 Not Found")
            return
        if not any(line.lower().startswith("upgrade:") for line in lines):
            lines = [line for line in lines if not line.lower().startswith("connection:")]
            lines.append("Connection: close")
        target = "/api" + target.removeprefix(self._prefix)
        lines = [self._given if line.lower() == self._demanded else line for line in lines]
        with socket.create_connection(("127.0.0.1", self._server), timeout=300) as server:
            server.settimeout(None)
            server.sendall(
                "\r\n".join([f"{method} {target} {version}", *lines]).encode("latin1") + END + rest
            )
            back = threading.Thread(target=_pour, args=(server, asking), daemon=True)
            back.start()
            threading.Thread(target=_pour, args=(asking, server), daemon=True).start()
            back.join()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def make_certificate(folder: Path) -> tuple[Path, Path, Path]:
    """Make a private authority and a certificate of it for localhost: authority, certificate, key."""
    lines = """
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=lab-authority
          -keyout ca.key -out ca.pem -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=here -keyout key.pem -out a.csr
        openssl x509 -req -in a.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out cert.pem -extfile names
    """
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for command in re.split(r"\n\s+(?=openssl)", lines)[1:]:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True, timeout=300)
    return folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
