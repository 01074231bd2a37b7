"""The HTTP application: answers equal to the command line's, and what it refuses."""

import asyncio
import base64
import hmac
import json
import shutil
import socket
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import segue as package
from segue.api import Segmenter
from segue.data import rle
from segue.data.images import png_bytes, read_mask
from segue.nn.stopping import Stopped, stop_point
from segue.serving import Limits, create_app
from segue.serving.jobs import JOBS, Request
from segue.serving.uploads import Bounds
from segue.types import InputError
from serving.browsing import listening, until_ready

NOTE = "Bilateral pulmonary infection, two infected areas, all left lung and upper right lung."
IMAGE = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
SENT = base64.b64encode(png_bytes(IMAGE)).decode()


@pytest.fixture(scope="module")
def segmenter(tiny_model):
    return package.load(tiny_model)


@pytest.fixture
def client(segmenter, tiny_model):
    with TestClient(create_app({"tiny": segmenter}, origins={"tiny": tiny_model})) as client:
        yield client


def test_the_answer_is_that_of_the_command_line(client, segue, picture, tmp_path):
    _, output, _ = segue(
        "segment", picture, "--note", NOTE, "--json", "--model", client_model(client), "-o", tmp_path / "m.png"
    )
    sent = base64.b64encode(picture.read_bytes()).decode()
    answer = client.post("/segment/note", json={"image": sent, "note": NOTE, "masks": "rle"}).json()
    expected = json.loads(output)
    assert {k: answer[k] for k in ("note", "area", "share", "centroid", "score")} == {
        k: expected[k] for k in ("note", "area", "share", "centroid", "score")
    }
    mask = rle.decode(rle.from_json(answer["mask"], (40, 56), "mask"))
    np.testing.assert_array_equal(mask, read_mask(tmp_path / "m.png"))


def client_model(client):
    return str(client.app.state.folder)


@pytest.fixture(autouse=True)
def remember_folder(request, tiny_model):
    if "client" in request.fixturenames:
        request.getfixturevalue("client").app.state.folder = tiny_model


def test_masks_come_in_three_forms(client):
    ask = {"image": SENT, "note": NOTE, "threshold": 0.4}
    forms = {
        how: client.post("/segment/note", json=ask | {"masks": how}).json()["mask"]
        for how in ("rle", "png", "polygons")
    }
    mask = rle.decode(rle.from_json(forms["rle"], (40, 56), "mask"))
    from io import BytesIO

    png = np.array(Image.open(BytesIO(base64.b64decode(forms["png"]))))
    np.testing.assert_array_equal(png > 0, mask)
    np.testing.assert_array_equal(rle.decode(rle.from_json(forms["polygons"], (40, 56), "mask")), mask)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "image: Field required"),
        ({"image": ""}, "image: String should have at least 1 character"),
        ({"image": "/etc/passwd"}, "image: no"),
        ({"image": "file:///etc/passwd"}, "image: not base64"),
        ({"image": "http://example.org/cat.png"}, "image: not base64"),
        ({"image": SENT[:400]}, "image: "),
        ({"image": SENT, "threshold": 0}, "threshold: Input should be greater than 0"),
        ({"image": SENT, "threshold": 1}, "threshold: Input should be less than 1"),
        ({"image": SENT, "note": ""}, "note: "),
        ({"image": SENT, "note": "   "}, "note"),
        ({"image": SENT, "note": "x" * 2001}, "note: "),
        ({"image": SENT, "masks": "svg"}, "masks: Input should be 'rle', 'png' or 'polygons'"),
        ({"image": SENT, "model": "other"}, "model 'other': expected one of tiny"),
        ({"image": SENT, "path": "/etc/passwd"}, "path: Extra inputs are not permitted"),
        ([], "body: "),
        (None, "body: "),
        (3, "body: "),
    ],
)
def test_bad_input_is_answered_422_with_one_sentence(client, asked, said):
    answer = client.post("/segment/note", json=asked)
    assert answer.status_code == 422
    assert said in answer.json()["error"]
    assert "Traceback" not in answer.text
    assert SENT[:400] not in answer.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"image": NaN}', b'{"threshold": NaN, "image": "AAAA"}', b"[" * 10_000]
)
def test_broken_json_is_answered_4xx(client, body):
    answer = client.post("/segment/note", content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]


def test_too_much_is_refused_before_it_is_read(segmenter):
    limits = Limits(body=10_000, picture=Bounds(pixels=1000))
    with TestClient(create_app({"tiny": segmenter}, limits=limits)) as client:
        assert "expected at most 1,000" in client.post("/segment/note", json={"image": SENT}).json()["error"]
        large = client.post("/segment/note", json={"image": "A" * 20_000})
        assert (large.status_code, large.json()["error"]) == (
            413,
            "a body of more than 10,000 bytes; send a smaller picture",
        )
        streamed = client.post("/segment/note", content=(b"A" * 1000 for _ in range(20)))  # without a Content-Length
        assert streamed.status_code == 413


OPEN = {"/health", "/ready", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", ""}  # "": the page


def test_without_a_token_only_what_tells_nothing_of_models_and_pictures_is_open(segmenter, tiny_model):
    app = create_app({"tiny": segmenter}, token="correct horse", origins={"tiny": tiny_model})
    with TestClient(app) as client:
        until_ready(client.get)
        routes = {path: list(methods) for path, methods in app.openapi()["paths"].items()}
        ways = {route.path: ["get"] for route in app.routes if hasattr(route, "path")} | routes
        assert {len(methods) for methods in ways.values()} == {1}
        found = {path: client.request(way, path.format(name="chest-0")) for path, (way,) in ways.items()}
        assert {path for path, answer in found.items() if answer.status_code != 401} == OPEN
        assert {path: found[path].status_code for path in OPEN} == dict.fromkeys(OPEN, 200)
        assert {"/models", "/samples", "/samples/{name}.png", "/metrics", "/segment/note"} <= set(found)
        for file in ("", "index.html", "app.js", "png.js", "style.css"):
            assert client.get(f"/{file}").status_code == 200
        for path in OPEN:
            assert "tiny" not in found[path].text  # no model's name


def test_a_wrong_token_is_refused_and_no_body_read(segmenter):
    with TestClient(create_app({"tiny": segmenter}, token="correct horse")) as client:
        for wrong in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Basic correct horse"},
            {"Authorization": "Bearer é"},
        ):
            for path in ("/models", "/metrics", "/samples", "/samples/chest-0.png"):
                headers = {k: v.encode() for k, v in wrong.items()}
                assert client.get(path, headers=headers).status_code == 401
            assert client.post("/segment/note", json={"image": SENT}).status_code == 401
        assert client.post("/segment/note", content=b"no json, not even read").status_code == 401
        right = {"Authorization": "Bearer correct horse"}
        assert client.post("/segment/note", json={"image": SENT}, headers=right).status_code == 200


def test_tokens_are_compared_in_constant_time(segmenter, monkeypatch):
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    with TestClient(create_app({"tiny": segmenter}, token="correct horse")) as client:
        client.get("/models", headers={"Authorization": "Bearer wrong"})
        client.post("/segment/note", json={}, headers={"Authorization": "Bearer worse"})
    assert compared == [(b"wrong", b"correct horse"), (b"worse", b"correct horse")]


def sent(app, body, tail=None):
    """One POST to /segment/note at the ASGI level: status and headers. tail: awaited before the body's end comes."""

    async def ask():
        async def receive():
            if parts:
                return {"type": "http.request", "body": parts.pop(0), "more_body": True}
            if not ended:
                if tail is not None:
                    await tail()
                ended.append(True)
                return {"type": "http.request", "body": b"", "more_body": False}
            return await asyncio.Event().wait()  # the client stays

        async def send(message):
            if message["type"] == "http.response.start":
                answers.append((message["status"], dict(message["headers"])))

        parts, ended, answers = [body], [], []
        scope = {"type": "http", "method": "POST", "path": "/segment/note", "query_string": b"", "root_path": ""}
        scope |= {"scheme": "http", "server": ("t", 80), "headers": [(b"content-type", b"application/json")]}
        await app(scope, receive, send)
        return answers[0]

    return ask()


def test_a_body_that_does_not_come_is_answered_408(segmenter):
    app = create_app({"tiny": segmenter}, limits=Limits(seconds=0.1))
    status, _ = asyncio.run(sent(app, b"{", tail=lambda: asyncio.sleep(60)))
    assert status == 408


def test_no_more_bodies_are_held_than_allowed(segmenter):
    app = create_app({"tiny": segmenter}, limits=Limits(waiting=1, seconds=5))

    async def several():
        come = asyncio.Event()
        first = [asyncio.create_task(sent(app, b"{", tail=come.wait)) for _ in range(2)]
        await asyncio.sleep(0.05)
        status, headers = await sent(app, b"{}")
        come.set()
        return status, headers, [status for status, _ in await asyncio.gather(*first)]

    status, headers, others = asyncio.run(several())
    assert (status, headers[b"retry-after"]) == (429, b"1")
    assert others == [422, 422]
    assert asyncio.run(sent(app, b"{}"))[0] == 422  # there is room again


class Gated(Segmenter):
    gate = threading.Event()

    def segment_many(self, images, notes, **options):
        self.gate.wait(60)
        return super().segment_many(images, notes, **options)


def test_a_full_queue_is_answered_429(segmenter):
    app = create_app({"slow": like(Gated, segmenter)}, limits=Limits(waiting=1, gather=0))
    Gated.gate.set()
    body = json.dumps({"image": SENT}).encode()

    async def several():
        async with app.router.lifespan_context(app):
            while not app.state.served.ready:
                await asyncio.sleep(0.01)
            Gated.gate.clear()
            queue = app.state.served.queues["segment/note", "slow"]
            running = asyncio.create_task(queue.ask(request()))
            while queue.queue.empty() and not running.done():
                await asyncio.sleep(0)
            while not queue.queue.empty():  # until it runs
                await asyncio.sleep(0.01)
            waiting = asyncio.create_task(queue.ask(request()))
            await asyncio.sleep(0)
            answer = await sent(app, body)
            Gated.gate.set()
            await asyncio.gather(running, waiting)
            return answer

    def request():
        return Request(JOBS["segment/note"].body(image="-"), {"image": base64.b64decode(SENT)})

    status, headers = asyncio.run(several())
    assert (status, headers[b"retry-after"]) == (429, b"1")


def test_a_queue_that_is_full_while_warming_delays_readiness_only(segmenter):
    app = create_app({"slow": like(Slow, segmenter)}, limits=Limits(waiting=1, gather=0))
    queue = app.state.served.queues["segment/note", "slow"]
    request = Request(JOBS["segment/note"].body(image="-"), {"image": base64.b64decode(SENT)})

    async def several():
        others = [asyncio.create_task(queue.ask(request)) for _ in range(1)]
        await asyncio.sleep(0.1)
        others.append(asyncio.create_task(queue.ask(request)))
        await asyncio.sleep(0.1)
        await app.state.served.warm()
        await asyncio.gather(*others)
        await app.state.served.close()

    asyncio.run(several())
    assert app.state.served.ready


def test_a_folder_of_folds_says_what_it_is(segmenter, tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "folds/fold-1")
    (tmp_path / "folds/ensemble.json").write_text(json.dumps({"members": ["fold-1"]}))
    with TestClient(create_app({"folds": segmenter}, origins={"folds": tmp_path / "folds"})) as client:
        assert client.get("/models").json()[0]["about"]["method"] == "reclmis"


def test_no_other_origin_is_let_in(client):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in client.options("/segment/note", headers=asked).headers
    assert "access-control-allow-origin" not in client.get("/health", headers=asked).headers


def test_nothing_is_written_to_disk(client, monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a file was made")

    for name in ("NamedTemporaryFile", "TemporaryFile", "SpooledTemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(tempfile, name, refuse)
    large = base64.b64encode(
        png_bytes(np.random.default_rng(1).integers(0, 255, (800, 800, 3), dtype=np.uint8))
    ).decode()
    assert client.post("/segment/note", json={"image": large, "note": NOTE}).status_code == 200


class Slow(Segmenter):
    def segment_many(self, images, notes, **options):
        time.sleep(0.5)
        return super().segment_many(images, notes, **options)


class Broken(Segmenter):
    def segment_many(self, images, notes, **options):
        raise RuntimeError("the secret is 42")


def like(kind, segmenter):
    return kind(segmenter.members, segmenter.preprocessing)


def test_what_takes_too_long_is_answered_504(segmenter):
    with TestClient(create_app({"slow": like(Slow, segmenter)}, limits=Limits(seconds=0.1))) as client:
        answer = client.post("/segment/note", json={"image": SENT})
        assert (answer.status_code, answer.json()["error"]) == (
            504,
            "no answer within 0.1 s; ask for less, or again later",
        )
        told = client.post("/segment/note", json={"image": SENT}, headers={"Accept": "text/event-stream"}).text
        assert told == f"event: error\ndata: {json.dumps({'status': 504, **answer.json()})}\n\n"


class Stepping(Segmenter):
    """Takes ten seconds for a note of "slow", in steps at which it can be stopped."""

    begun = threading.Event()
    ended: list[str]

    def segment_many(self, images, notes, **options):
        if "slow" in notes:
            try:
                for _ in range(1000):
                    self.begun.set()
                    time.sleep(0.01)
                    stop_point()
                self.ended.append("to the end")
            except Stopped:
                self.ended.append("stopped")
                raise
        return super().segment_many(images, notes, **options)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_a_client_that_hangs_up_stops_what_is_computed_for_it(segmenter, accept):
    model = like(Stepping, segmenter)
    model.ended = []
    model.begun.clear()
    body = json.dumps({"image": SENT, "note": "slow"}).encode()
    head = ("POST /segment/note HTTP/1.1", "Host: t", "Content-Type: application/json", f"Accept: {accept}",
            f"Content-Length: {len(body)}")  # fmt: skip
    with listening(create_app({"steps": model})) as address:
        until_ready(httpx.get, address)
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as client:
            client.sendall("\r\n".join([*head, "", ""]).encode() + body)
            assert model.begun.wait(30)
            assert model.ended == []
        answer = httpx.post(f"{address}/segment/note", json={"image": SENT, "note": NOTE}, timeout=60)
        assert answer.status_code == 200  # the model is free again
        assert model.ended == ["stopped"]
        metrics = httpx.get(f"{address}/metrics").text
    status = 499 if accept == "application/json" else 200  # of a stream it is sent before the answer
    assert f'segue_requests_total{{path="/segment/note",status="{status}"}}' in metrics


def test_a_broken_picture_in_a_batch_fails_alone(segmenter):
    """Its head is sound, so that it is found out only when the batch is computed."""
    whole = [png_bytes(np.roll(IMAGE, i, 1)) for i in range(4)]
    broken = base64.b64encode(whole[1][: len(whole[1]) // 2]).decode()
    sent_ones = [base64.b64encode(one).decode() for one in whole]
    sent_ones[1] = broken
    Gated.gate.set()
    with (
        TestClient(create_app({"slow": segmenter}, limits=Limits(gather=0))) as alone,
        listening(gated := create_app({"slow": like(Gated, segmenter)}, limits=Limits(gather=1.0))) as address,
        ThreadPoolExecutor(5) as clients,
    ):
        until_ready(httpx.get, address)

        def ask(image):
            return httpx.post(f"{address}/segment/note", json={"image": image, "note": NOTE}, timeout=60)

        Gated.gate.clear()
        queue = gated.state.served.queues["segment/note", "slow"].queue
        first, before = clients.submit(ask, sent_ones[0]), time.monotonic()
        while not (queue._unfinished_tasks and queue.empty()) and time.monotonic() < before + 30:  # until it runs
            time.sleep(0.01)
        others = [clients.submit(ask, one) for one in sent_ones]
        while queue.qsize() < 4 and time.monotonic() < before + 30:
            time.sleep(0.01)
        Gated.gate.set()
        assert first.result().status_code == 200
        answers = [one.result() for one in others]
        metrics = httpx.get(f"{address}/metrics").text
        expected = [alone.post("/segment/note", json={"image": image, "note": NOTE}).json() for image in sent_ones]
    assert [answer.status_code for answer in answers] == [200, 422, 200, 200]
    assert "image: can't be read" in answers[1].json()["error"]
    assert 'segue_batch_size_sum{job="segment/note"} 6.0' in metrics
    assert 'segue_batch_size_count{job="segment/note"} 3.0' in metrics  # the warming one, the first, all four at once
    assert answers[1].json() == expected.pop(1)  # and in the same words as when it is alone
    for answer, other in zip([answers[0], *answers[2:]], expected, strict=True):
        assert answer.json()["area"] == pytest.approx(other["area"], rel=0.01)


def test_an_error_of_ours_tells_nothing_of_it(segmenter, caplog):
    app = create_app({"broken": like(Broken, segmenter)})
    with TestClient(app, raise_server_exceptions=False) as client:
        answer = client.post("/segment/note", json={"image": SENT})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "the secret is 42" in caplog.text
    assert answer.headers["x-content-type-options"] == "nosniff"
    with TestClient(app, raise_server_exceptions=False) as client:
        assert 'segue_requests_total{path="/segment/note",status="500"} 1.0' in client.get("/metrics").text


class Failing(Segmenter):
    """Raises what `fault` holds for notes of "bad"; with `broken`, for all."""

    fault: BaseException
    broken = False

    def segment_many(self, images, notes, **options):
        if self.broken or "bad" in notes:
            raise self.fault
        return super().segment_many(images, notes, **options)


def failing(segmenter, fault):
    model = like(Failing, segmenter)
    model.fault = fault
    return model


class Panic(BaseException):
    """As a panic in Rust arrives."""


@pytest.mark.parametrize("fault", [StopIteration("secret"), Panic("secret"), SystemExit("secret")], ids=repr)
def test_a_worker_that_dies_fails_its_own_request_and_is_replaced(segmenter, caplog, fault):
    with TestClient(create_app({"frail": failing(segmenter, fault)}), raise_server_exceptions=False) as client:
        until_ready(client.get)
        counted = 'segue_worker_restarts_total{job="segment/note",model="frail"}'
        assert f"{counted} 0.0" in client.get("/metrics").text
        answer = client.post("/segment/note", json={"image": SENT, "note": "bad"})
        assert (answer.status_code, "secret" in answer.text) == (500, False)
        assert client.post("/segment/note", json={"image": SENT, "note": NOTE}).status_code == 200
        assert f"{counted} 1.0" in client.get("/metrics").text
        assert client.get("/ready").status_code == 200
    assert f"{type(fault).__name__}: secret" in caplog.text


def test_ready_tells_of_a_model_that_fails_until_it_answers_again(segmenter):
    model = failing(segmenter, RuntimeError("CUDA error: device-side assert triggered"))
    with TestClient(create_app({"frail": model}), raise_server_exceptions=False) as client:
        until_ready(client.get)
        model.broken = True
        assert client.post("/segment/note", json={"image": SENT}).status_code == 500
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()["error"]) == (
            503,
            "segment/note: being warmed, or failed and tried again; ask again in some seconds",
        )
        model.broken = False
        until_ready(client.get)  # tried again, without any request


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("can't allocate memory: you tried")], ids=repr)
def test_one_request_without_memory_for_it_is_answered_503_and_the_next_200(segmenter, fault):
    with TestClient(create_app({"frail": failing(segmenter, fault)}), raise_server_exceptions=False) as client:
        until_ready(client.get)
        answer = client.post("/segment/note", json={"image": SENT, "note": "bad"})
        assert (answer.status_code, answer.json()["error"]) == (
            503,
            "not enough memory for this request; send a smaller picture, or ask for less",
        )
        assert client.get("/ready").status_code == 200
        assert client.post("/segment/note", json={"image": SENT, "note": NOTE}).status_code == 200


def test_memory_that_is_short_while_a_request_is_read(segmenter, monkeypatch):
    def short(*_):
        raise MemoryError

    monkeypatch.setattr("segue.serving.app.decode_base64", short)
    with TestClient(create_app({"tiny": segmenter}), raise_server_exceptions=False) as client:
        assert client.post("/segment/note", json={"image": SENT}).status_code == 503


def test_it_is_ready_when_the_models_are_warm(segmenter):
    with TestClient(create_app({"slow": like(Slow, segmenter)})) as client:
        assert client.get("/ready").status_code == 503
        assert until_ready(client.get).json() == {"status": "ready", "cold": []}


class Choosy(Segmenter):
    """Takes wide pictures only, which the warming request has not."""

    def segment_many(self, images, notes, **options):
        if images[0].shape[0] == images[0].shape[1]:
            raise InputError("the picture of /a/path is square")
        return super().segment_many(images, notes, **options)


def test_a_model_that_refuses_the_warming_request_is_named_as_cold(segmenter, caplog):
    with TestClient(create_app({"choosy": like(Choosy, segmenter)})) as client:
        answer = until_ready(client.get)
        assert answer.json() == {"status": "ready", "cold": ["segment/note"]}  # no reason: strangers may ask
        assert client.post("/segment/note", json={"image": SENT, "note": NOTE}).status_code == 200
    assert "warming segment/note of choosy: the picture of /a/path is square" in caplog.text


def test_a_server_whose_model_fails_at_the_warming_request_does_not_get_ready(segmenter, caplog):
    with TestClient(create_app({"broken": like(Broken, segmenter)})) as client:
        for _ in range(100):
            if "does not get ready" in caplog.text:
                break
            time.sleep(0.05)
        assert "warming segment/note of broken failed; the server does not get ready" in caplog.text
        assert client.get("/ready").status_code == 503


def test_models_say_what_they_are(client):
    (tiny,) = client.get("/models").json()
    assert tiny == {
        "name": "tiny",
        "jobs": ["segment/note"],
        "medical": True,
        "synthetic": False,
        "about": {"method": "reclmis", "recipe": "a test"},
    }


def test_samples_can_be_asked_of_the_model(client):
    for one in client.get("/samples").json():
        data = client.get(f"/samples/{one['name']}.png").content
        assert client.post("/segment/note", json={"image": base64.b64encode(data).decode()}).status_code == 200
    assert client.get("/samples/x.png").status_code == 404


def test_metrics_count_what_was_answered_by_route(client):
    client.post("/segment/note", json={"image": SENT})
    client.post("/segment/note", json={})
    client.get("/a/strangers/path")
    metrics = client.get("/metrics").text
    assert 'segue_requests_total{path="/segment/note",status="200"} 1.0' in metrics
    assert 'segue_requests_total{path="/segment/note",status="422"} 1.0' in metrics
    assert "strangers" not in metrics


def test_jobs_without_a_model_are_not_offered(client):
    assert client.post("/caption", json={"image": SENT}).status_code in (404, 405)
    assert "/segment/note" in client.get("/openapi.json").json()["paths"]
    assert "/caption" not in client.get("/openapi.json").json()["paths"]


def test_models_of_no_job_are_refused():
    with pytest.raises(InputError, match="none does a job that is served"):
        create_app({"pair": object()})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--models", "nonsense"], "model 'nonsense': neither a folder nor a bundled model"),
        (["--host", "0.0.0.0"], "others can reach it; give a token (SEGUE_TOKEN, --token-file)"),
        (["--token", "short"], "got 5 characters, expected 8 or more"),
        (["--token", "pässword1"], "expected 8 or more, of ASCII and without spaces"),
        (["--token", " abcdefgh"], "expected 8 or more, of ASCII and without spaces"),
    ],
)
def test_bad_options_of_the_command(segue, options, said):
    status, _, error = segue("serve", *options)
    assert status == 2
    assert said in error


def test_openapi_tells_every_refusal_as_the_json_that_it_is(client):
    paths = client.get("/openapi.json").json()["paths"]
    bad = client.post("/segment/note", content=b'{"image": "\xe9"}', headers={"Content-Type": "application/json"})
    assert (bad.status_code, bad.headers["content-type"]) == (400, "application/json")
    assert "send a JSON object in UTF-8" in bad.json()["error"]
    assert "400" in paths["/segment/note"]["post"]["responses"]
    for path in ("/samples/{name}.png", "/metrics", "/models", "/samples"):
        refused = paths[path]["get"]["responses"]["401"]["content"]
        assert refused == {"application/json": {"schema": {"$ref": "#/components/schemas/Wrong"}}}
    assert list(paths["/samples/{name}.png"]["get"]["responses"]["404"]["content"]) == ["application/json"]
    assert list(paths["/samples/{name}.png"]["get"]["responses"]["200"]["content"]) == ["image/png"]
    answer = client.get("/openapi.json").json()["components"]["schemas"]["Answer"]["properties"]["size"]
    assert answer["anyOf"][0]["items"] == {"type": "integer"}
