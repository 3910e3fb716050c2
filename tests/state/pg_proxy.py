"""Between a client and PostgreSQL: drops a connection around a commit, as a network does."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Proxy:
    """Passes bytes on until a commit goes by, then cuts that connection: `before` the server saw it, or `after`."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut: str | None = None
        self.cuts = 0
        self.open = threading.Event()  # while it is clear, nothing that the server says gets through
        self.open.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                threading.Thread(target=self._forth, args=(client, server), daemon=True).start()
                threading.Thread(target=self._back, args=(server, client), daemon=True).start()

    def _forth(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                if self.cut and b"COMMIT\0" in data:
                    where, self.cut = self.cut, None
                    self.cuts += 1
                    if where == "after":
                        client.shutdown(socket.SHUT_WR)  # no answer gets through
                        server.sendall(data)
                        server.recv(1)
                    break
                server.sendall(data)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                self.open.wait()
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_WR)
