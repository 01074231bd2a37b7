"""What is refused by a request's head, and that the refusal reaches clients that send their whole body first."""

import asyncio
import http.client
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

import httpx
import pytest
from fastapi.testclient import TestClient

import segue as package
from optional import skip
from segue.serving import Limits, create_app, limits
from segue.serving.limits import Hosts
from segue.serving.run import _hosts
from serving.browsing import listening

TOKEN = {"Authorization": "Bearer correct horse"}
HOSTS = Hosts(frozenset({"localhost", "127.0.0.1", "::1"}), frozenset({"segue.example.org"}))


@pytest.fixture(scope="module")
def segmenter(tiny_model):
    return package.load(tiny_model)


# ------------------------------------------------------------------------------------------------ by the head


@pytest.fixture(scope="module")
def client(segmenter):
    with TestClient(create_app({"tiny": segmenter}, hosts=HOSTS), base_url="http://localhost:8000") as client:
        yield client


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("LOCALHOST:8000", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("localhost.", 200),
     ("segue.example.org", 200), ("evil.example", 400), ("localhost.evil.example", 400), ("127.0.0.1.nip.io", 400),
     ("192.168.1.7:8000", 400), ("[", 400), ("a b", 400), ("localhost@evil.example", 400)],
)  # fmt: skip
def test_a_name_that_is_not_the_servers_is_refused(client, host, status):
    for path in ("/health", "/", "/models", "/docs"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == status
    if status == 400:
        assert "not known by the name in Host; start it with --allowed-hosts NAME" in client.get(
            "/health", headers={"Host": host}
        ).json()["error"]  # fmt: skip


def test_a_server_for_others_may_be_called_by_any_address():
    assert all(_hosts("0.0.0.0", ()).has(host) for host in ("10.0.0.3:8000", "[fe80::1]", socket.gethostname()))
    assert not _hosts("0.0.0.0", ()).has("evil.example")
    assert not _hosts("127.0.0.1", ()).has("10.0.0.3")
    assert _hosts("127.0.0.1", ("Segue.Example.org",)).has("segue.example.org:443")


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://localhost:8000", 200), ("https://segue.example.org", 200), ("https://segue.example.org:8443", 200),
     ("http://localhost:3000", 403), ("http://127.0.0.1:8000", 403), ("https://evil.example", 403), ("null", 403),
     ("https://localhost:8000.evil.example", 403)],
)  # fmt: skip
def test_a_page_of_another_origin_is_refused(client, origin, status):
    assert client.get("/samples", headers={"Origin": origin}).status_code == status
    answer = client.post("/segment/note", json={}, headers={"Origin": origin})
    assert answer.status_code == (422 if status == 200 else 403)


def test_a_page_of_our_own_under_a_name_that_nobody_told(segmenter):
    with TestClient(create_app({"tiny": segmenter}), base_url="http://any.example") as client:
        assert client.get("/samples", headers={"Origin": "http://any.example"}).status_code == 200
        assert client.get("/samples", headers={"Origin": "http://other.example"}).status_code == 403


def test_a_head_that_is_too_large(client):
    assert client.get("/health", headers={f"a{i}": "1" for i in range(80)}).status_code == 200
    for headers in ({f"a{i}": "1" for i in range(101)}, {"a": "x" * 40_000}):
        answer = client.get("/health", headers=headers)
        assert (answer.status_code, "send fewer headers" in answer.json()["error"]) == (431, True)


# ------------------------------------------------------------------------------------------------ refusals arrive


@pytest.fixture(scope="module")
def guarded(segmenter):
    """A server with a token and room for one body of 1 MB."""
    with listening(create_app({"tiny": segmenter}, token="correct horse", limits=Limits(1_000_000))) as address:
        yield address


def by_urllib(address, method, path, body, headers):
    """Sends `Connection: close`, all of the body, then reads."""
    asked = urllib.request.Request(f"{address}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def by_http_client(address, method, path, body, headers):
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def by_httpx(address, method, path, body, headers):
    answer = httpx.request(method, f"{address}{path}", content=body, headers=headers, timeout=60)
    return answer.status_code, answer.content


def by_requests(address, method, path, body, headers):
    answer = pytest.importorskip("requests").request(method, f"{address}{path}", data=body, headers=headers, timeout=60)
    return answer.status_code, answer.content


def by_chunks(address, method, path, body, headers):
    """Without a Content-Length."""
    parts = (body[i : i + 65_536] for i in range(0, len(body), 65_536))
    return by_httpx(address, method, path, parts, headers)


def by_curl(address, method, path, body, headers, *options):
    if shutil.which("curl") is None:
        skip("no program `curl` here")
    head = [f"-H{name}: {value}" for name, value in headers.items()]
    command = ["curl", "-sS", "-X", method, "--data-binary", "@-", "-w", "\n%{http_code}", *head, *options]
    done = subprocess.run([*command, f"{address}{path}"], input=body, capture_output=True, check=True, timeout=60)
    text, _, status = done.stdout.rpartition(b"\n")
    return int(status), text


def by_curl_at_once(*asked):
    """Without waiting for `100 Continue`."""
    return by_curl(*asked, "-H", "Expect:")


CLIENTS = [by_urllib, by_http_client, by_httpx, by_requests, by_chunks, by_curl, by_curl_at_once]


@pytest.mark.parametrize("ask", CLIENTS)
@pytest.mark.parametrize("size", [1_500_000, 30_000_000])
@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "message"),
    [
        ("POST", "/segment/note", {}, 401, "send the server's token"),
        ("POST", "/segment/note", TOKEN, 413, "a body of more than 1,000,000 bytes"),
        ("GET", "/models", {}, 401, "send the server's token"),
        ("POST", "/segment/note", TOKEN | {"Origin": "http://evil.example"}, 403, "a page of another origin"),
    ],
)
def test_a_refusal_arrives_at_senders_of_large_bodies(guarded, ask, size, method, path, headers, status, message):
    sent = headers | {"Content-Type": "application/json"}
    found, text = ask(guarded, method, path, bytes(size), sent)
    assert (found, message in json.loads(text)["error"]) == (status, True)


def test_a_hundred_megabytes_that_are_not_wanted(guarded):
    assert by_urllib(guarded, "GET", "/health", bytes(100_000_000), {})[0] == 200
    assert by_urllib(guarded, "POST", "/segment/note", bytes(100_000_000), {})[0] == 401


def test_busy_arrives_at_clients_that_send_a_large_body(segmenter):
    with listening(create_app({"tiny": segmenter}, limits=Limits(waiting=1))) as address:
        port = int(address.rpartition(":")[2])
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]  # as many bodies as may be held
        for one in slow:
            one.sendall(b"POST /caption HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n{")
        for ask in CLIENTS:
            for _ in range(200):  # until both are being read
                status, _ = ask(address, "POST", "/segment/note", bytes(3_000_000), {})
                if status != 422:
                    break
                time.sleep(0.05)
            assert status == 429, ask
        for one in slow:
            one.close()


def test_who_asks_first_whether_to_send_is_refused_before_it_sends(guarded):
    port = int(guarded.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as one:
        one.sendall(
            b"POST /segment/note HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000000\r\nExpect: 100-continue\r\n\r\n"
        )
        assert one.recv(100).startswith(b"HTTP/1.1 401 ")


def test_what_is_not_wanted_is_read_up_to_a_bound(monkeypatch, segmenter):
    """A client that never ends its body has its answer, and is let go."""
    monkeypatch.setattr(limits, "DRAINED", 1_000_000)
    app, taken, parts = create_app({"tiny": segmenter}, token="correct horse", limits=Limits(1000)), [], []

    async def receive():
        taken.append(65_536)
        await asyncio.sleep(0)
        return {"type": "http.request", "body": bytes(65_536), "more_body": True}

    async def send(message):
        parts.append((message["type"], message.get("more_body", False), bool(taken)))

    scope = {"type": "http", "method": "POST", "path": "/segment/note", "query_string": b"", "root_path": ""}
    scope |= {"scheme": "http", "server": ("t", 80), "headers": [(b"transfer-encoding", b"chunked")]}
    asyncio.run(app(scope, receive, send))
    assert parts == [  # the whole answer before anything is read
        ("http.response.start", False, False), ("http.response.body", True, False), ("http.response.body", False, True)
    ]  # fmt: skip
    assert 1_000_000 <= sum(taken) < 1_100_000
