"""Commands of the authorization server, as an administrator runs them."""

from __future__ import annotations

from click.testing import Result

from support.auth_server import Server

CLIENT = ("add-client", "books", "--name", "Books", "--redirect-uri", "https://books.example/cb", "--scope", "profile")
RESOURCE = ("add-resource", "mail", "--name", "Mail", "--scope", "mail:read", "--identifier", "https://mail.example")


def run(server: Server, *arguments: str, answer: str = "") -> Result:
    return server.app.test_cli_runner().invoke(args=list(arguments), input=answer)
