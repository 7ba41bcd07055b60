"""The browser without a window, with servers that send malformed responses."""

from __future__ import annotations

import socket
import threading

import pytest

from rolecall_lab.walker import Walker


@pytest.mark.parametrize("answer", [b"", b"rubbish\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_an_answer_that_is_cut_off_is_nobodys_answer(answer: bytes) -> None:
    """Callers of the walker have to handle only one kind of error."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        with pytest.raises(ConnectionError):
            Walker().open(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        server.join(60)
