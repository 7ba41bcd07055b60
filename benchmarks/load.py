"""The load: Locust with one connection for each user, in a separate process that reads its task from standard input.

The task is a JSON object: `host`, `users`, `seconds`, `requests` (at most), `scenario`, and the data of the scenario.
"""
# ruff: noqa: E402, I001  gevent replaces parts of the standard library before anything else is imported

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import json
import sys
import time
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import gevent
from locust import FastHttpUser, constant, task
from locust.env import Environment


MEASURED = "request"
"""The name of the measured unit: a request, or a whole flow."""


class Visitor(FastHttpUser):
    """A connection that sends the next request as soon as it has received a response."""

    wait_time = constant(0)
    job: ClassVar[dict[str, Any]]
    left: ClassVar[list[dict[str, str]]]
    """The initial data of each user in a scenario with state, such as a refresh token."""

    connection_timeout = network_timeout = 20.0
    max_redirects = 0

    def on_start(self) -> None:
        self.own = self.left.pop() if self.left else {}

    @task
    def work(self) -> None:
        getattr(self, self.job["scenario"])()

    def send(self, name: str, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> Any:
        response = self.client.request(
            method, path, name=name, data=form, headers={**self.job["headers"], **headers}, allow_redirects=False
        )
        return response if response.status_code in {200, 302, 303} else None

    def request(self) -> None:
        """Send the same request each time."""
        self.send(MEASURED, self.job["method"], self.job["path"], self.job["form"])

    def refresh(self) -> None:
        """Redeem the refresh token of the last response."""
        form = {"grant_type": "refresh_token", "refresh_token": self.own["refresh_token"]}
        response = self.send(MEASURED, "POST", "/token", {**form, **self.job["form"]})
        if response is not None:
            self.own["refresh_token"] = response.json().get("refresh_token", self.own["refresh_token"])

    def code(self) -> None:
        """Request a code with the cookie of a session, and redeem it."""
        began = time.perf_counter()
        response = self.send("/authorize", "GET", self.job["path"], Cookie=self.own["cookie"])
        if response is None:  # a response that redirects is false
            return
        [code] = parse_qs(urlsplit(response.headers["Location"]).query)["code"]
        form = {**self.job["form"], "code": code}
        if self.send("/token", "POST", "/token", form, **self.job["credentials"]) is not None:
            took = (time.perf_counter() - began) * 1000
            self.environment.events.request.fire(
                request_type="FLOW", name=MEASURED, response_time=took, response_length=0, exception=None, context={}
            )


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of a run: times of requests (or whole flows) in milliseconds, and errors."""
    Visitor.job, Visitor.left, Visitor.host = job, list(job["own"]), job["host"]
    environment = Environment(user_classes=[Visitor])
    times: list[float] = []
    errors: dict[str, int] = {}
    done = gevent.event.Event()

    def count(name: str, response_time: float, exception: Exception | None, **_more: Any) -> None:
        if exception is not None:
            errors[f"{name} {exception}"] = errors.get(f"{name} {exception}", 0) + 1
        elif name == MEASURED:
            times.append(response_time)
        if len(times) >= job["requests"]:
            done.set()

    environment.events.request.add_listener(count)
    runner = environment.create_local_runner()
    began = time.perf_counter()
    runner.start(job["users"], spawn_rate=100)
    done.wait(job["seconds"])
    took = time.perf_counter() - began
    runner.quit()
    return {"times": times, "seconds": took, "errors": errors}


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
