"""`segue serve` itself: which models a detector reaches, and a server that is killed and started again."""

import base64
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from api.test_captioner import made as made_captioner
from segue.data.images import png_bytes
from segue.methods.sgdiff.relations import RelationHead, save_relations
from segue.serving import run
from segue.types import InputError
from serving.browsing import alive, until_ready
from tiny_detr import tiny_detr


@pytest.fixture
def served(monkeypatch):
    """Load the models as `segue serve` does, and listen to nothing: (models, options) -> the predictors by name."""
    import uvicorn

    def start(*models, **options):
        monkeypatch.setattr(uvicorn, "run", lambda app, **_: apps.append(app))
        apps = []
        asked = {"host": "127.0.0.1", "port": 0, "token": None, "limits": run.Limits(), "detector": None} | options
        run.serve([str(model) for model in models], **asked)
        return apps[0].state.served.models

    return start


def trained_with(folder, detector, pair):
    """A captioner whose config tells that a detector found the objects in training."""
    made_captioner(folder, pair)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"detector": detector}))
    return folder


def test_a_detector_reaches_all_that_find_objects_by_one(served, tiny_folders, tmp_path):
    old = tiny_detr(tmp_path / "old", sees="cat")
    mine = trained_with(tmp_path / "mine", str(old), tiny_folders["captions"].parent / "encoder")
    new = old.rename(tmp_path / "new")
    models = [mine, *(tiny_folders[name] for name in ("describer", "captions", "layouts"))]
    loaded = served(*models, detector=str(new))
    assert loaded["mine"].detector is not None
    assert loaded["describer"].detector is not None
    assert loaded["captions"].detector is None  # trained without: it looks for its names, as `segue caption` does
    with pytest.raises(InputError, match="mine finds objects by it: say where it is: --detector FOLDER"):
        served(mine)


def test_a_detector_that_nobody_needs_is_refused(served, tiny_folders, tmp_path):
    with pytest.raises(InputError, match="--detector: none of captions, names finds objects by one"):
        served(tiny_folders["captions"], tiny_folders["names"], detector=str(tiny_detr(tmp_path / "detr")))


def test_relations_reach_describers_only(served, tiny_folders, tmp_path):
    save_relations(RelationHead(("dog",), ("on",), 8), tmp_path / "relations")
    loaded = served(tiny_folders["describer"], tiny_folders["captions"], relations=tmp_path / "relations")
    assert loaded["describer"].relations.predicates == ("on",)
    with pytest.raises(InputError, match="--relations: none of captions describes pictures"):
        served(tiny_folders["captions"], relations=tmp_path / "relations")


def test_models_of_one_name_are_told_apart(served, tiny_model, tmp_path):
    for run_of in ("mine", "yours"):
        shutil.copytree(tiny_model, tmp_path / run_of / "best")
    both = [tmp_path / run_of / "best" for run_of in ("mine", "yours")]
    assert list(served(*both)) == ["mine/best", "yours/best"]
    assert list(served(both[0])) == ["best"]
    with pytest.raises(InputError, match="--models: mine/best is there twice"):
        served(both[0], both[0])


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("model", ["reclmis", "names", "captions", "describer", "layouts"])
def test_a_pickle_is_refused_unopened(segue, tiny_model, tiny_folders, tmp_path, model):
    folder, sprung = tmp_path / "mine", tmp_path / "sprung"
    shutil.copytree(tiny_model if model == "reclmis" else tiny_folders[model], folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(sprung)))
    status, out, error = segue("serve", "--models", folder, "--port", 0)
    assert (status, out) == (2, "")
    assert "mine: the weights are in pytorch_model.bin, a pickle, which can run code and is never opened" in error
    assert "safetensors.torch.save_file" in error
    assert "Traceback" not in error
    (folder / "pytorch_model.bin").rename(folder / "model.safetensors")  # nor under another name
    assert "weights can't be read" in segue("serve", "--models", folder, "--port", 0)[2]
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung))).close()
    assert sprung.exists()  # the trap works


# ------------------------------------------------------------------------------------------------ how it ends

SCAN = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
LARGE = base64.b64encode(png_bytes(np.tile(SCAN, (20, 15, 1)))).decode()  # 800 x 840
ASKED = {"image": base64.b64encode(png_bytes(SCAN)).decode(), "note": "One infected area, upper left lung."}


@contextmanager
def process(model, port, home, *options):
    """`python -m segue serve`, ready, with a home and a folder for temporary files of its own."""
    source = Path(run.__file__).parents[2]
    folders = {"HOME": home, "TMPDIR": home / "tmp", "PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": 1}
    environment = {name: str(value) for name, value in folders.items()}
    environment |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "segue", "serve", "--models", str(model), "--port", str(port), *options]
    server = subprocess.Popen(command, cwd=home, env=os.environ | environment, stderr=subprocess.PIPE)
    try:
        until_ready(httpx.get, f"http://127.0.0.1:{port}", lambda: alive(server))
        yield server
    finally:
        server.kill()
        server.communicate()


def _answer(port, **asked):
    return httpx.post(f"http://127.0.0.1:{port}/segment/note", json=ASKED | asked, timeout=600)


def _files(folder):
    return {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_server_killed_amid_requests_answers_the_same_when_it_is_back(tiny_model, tmp_path):
    port = _free_port()
    (tmp_path / "tmp").mkdir()
    with process(tiny_model, port, tmp_path) as server:
        first = _answer(port)
        assert first.status_code == 200, first.text
        before = _files(tmp_path)
        broken = []
        askers = [threading.Thread(target=_ask_until_it_breaks, args=(port, broken)) for _ in range(3)]
        for asker in askers:
            asker.start()
        time.sleep(1)
        server.send_signal(signal.SIGKILL)
        for asker in askers:
            asker.join(60)
        assert server.wait(30) == -signal.SIGKILL
    assert len(broken) == 3  # each was asking when the server went
    assert _files(tmp_path) == before
    with process(tiny_model, port, tmp_path):
        assert _answer(port).json() == first.json()
    assert _files(tmp_path) == before


def _ask_until_it_breaks(port, broken):
    try:
        while True:
            _answer(port, image=LARGE)
    except httpx.TransportError as error:
        broken.append(error)


def test_at_sigterm_those_that_wait_are_answered_and_no_others(tiny_model, tmp_path):
    """No limit of time is near: 12 answers of some seconds each may take minutes on a machine with other work."""
    port = _free_port()
    (tmp_path / "tmp").mkdir()
    slow = base64.b64encode(png_bytes(np.tile(SCAN, (50, 36, 1)))).decode()  # 2000 x 2016
    with process(tiny_model, port, tmp_path, "--gather", "0", "--seconds", "600") as server:
        expected = _answer(port, image=slow).json()
        answers = []
        askers = [threading.Thread(target=lambda: answers.append(_answer(port, image=slow))) for _ in range(12)]
        for asker in askers:
            asker.start()
        while _waiting(port) + len(answers) < 11:  # and one that runs
            time.sleep(0.01)
        server.send_signal(signal.SIGTERM)
        _until_refused(port)
        assert len(answers) < 12  # whoever is new is not kept until all are answered
        for asker in askers:
            asker.join(600)
        assert [answer.status_code for answer in answers] == [200] * 12
        assert all(answer.json() == expected for answer in answers)
        assert server.wait(30) == 0
        assert "Traceback" not in server.stderr.read().decode()


def test_what_was_sent_before_sigterm_is_answered(tiny_model, tmp_path):
    """Also where the server has only taken the connection, or part of the request, when it is told to stop."""
    port = _free_port()
    (tmp_path / "tmp").mkdir()
    body = json.dumps(ASKED).encode()
    head = "POST /segment/note HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    asked = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with process(tiny_model, port, tmp_path) as server:
        sent = [0, 30, len(asked) // 2, len(asked) - 1]
        askers = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in sent]
        for asker, size in zip(askers, sent, strict=True):
            asker.sendall(asked[:size])
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200  # the others are taken by now
        server.send_signal(signal.SIGTERM)
        time.sleep(0.15)  # the server looks at it ten times a second
        for asker, size in zip(askers, sent, strict=True):
            asker.sendall(asked[size:])
        assert [asker.recv(12) for asker in askers] == [b"HTTP/1.1 200"] * 4
        for asker in askers:
            asker.close()
        assert server.wait(30) == 0


STUCK = """
import sys, threading
from segue.api import Segmenter
from segue.serving import app, run

class Stuck(Segmenter):
    def __init__(self):
        pass

    def segment_many(self, images, notes, **options):
        if "panic" in notes:
            raise BaseException("as a panic in Rust")
        if "for ever" in notes:
            threading.Event().wait()
        raise StopIteration

app.STOP = 0.2
run.load = lambda *_, **__: Stuck()
run.serve([sys.argv[1]], host="127.0.0.1", port=int(sys.argv[2]), token=None, limits=run.Limits(seconds=1, gather=0))
"""


@pytest.mark.parametrize("note", ["panic", "for ever", "StopIteration"])
def test_sigterm_ends_it_whatever_has_become_of_the_threads(tiny_model, tmp_path, note):
    port = _free_port()
    environment = {"PYTHONPATH": str(Path(run.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", STUCK, str(tiny_model), str(port)]
    server = subprocess.Popen(command, cwd=tmp_path, env=os.environ | environment, stderr=subprocess.PIPE)
    try:
        _until_it_listens(server, port)
        status = _answer(port, note=note).status_code
        assert status == (504 if note == "for ever" else 500)
        assert httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 503
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.communicate()


def _until_it_listens(server, port):
    for _ in range(2000):
        assert server.poll() is None, server.stderr.read().decode()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health")
        except httpx.TransportError:
            time.sleep(0.1)
    return pytest.fail("the server does not listen")


def test_only_names_of_this_machine_and_those_given_lead_to_it(tiny_model, tmp_path):
    port = _free_port()
    (tmp_path / "tmp").mkdir()
    with process(tiny_model, port, tmp_path, "--allowed-hosts", "segue.example.org"):
        names = ["localhost", "127.0.0.1", "segue.example.org", "evil.example", "10.1.2.3"]
        found = [httpx.get(f"http://127.0.0.1:{port}/health", headers={"Host": name}).status_code for name in names]
    assert found == [200, 200, 200, 400, 400]


def _waiting(port):
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return float(re.search(r"^segue_waiting\{.*\} (\S+)$", metrics, re.MULTILINE)[1])


def _until_refused(port):
    for _ in range(2000):
        try:
            httpx.get(f"http://127.0.0.1:{port}/health")
        except httpx.TransportError:
            return
    pytest.fail("the server still takes requests")
