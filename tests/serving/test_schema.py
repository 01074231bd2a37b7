"""What OpenAPI promises, held against what is answered: schemathesis makes requests from the schema, good and bad."""

import base64
import os

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi import checks

import segue as package
from methods.sgdiff.toys import toy_example
from segue.data.images import index_png_bytes, png_bytes
from segue.serving import Limits, create_app
from segue.serving.jobs import JOBS
from serving.browsing import listening, until_ready

TIMES = int(os.environ.get("SEGUE_EXAMPLES", "1"))  # as many times the examples
TOKEN = {"Authorization": "Bearer correct horse"}
IMAGE = base64.b64encode(png_bytes(toy_example()[0])).decode()
LAYOUT = base64.b64encode(index_png_bytes(np.eye(8, dtype=np.uint8), np.zeros((2, 3), np.uint8))).decode()
ASKED = [("POST", f"/{path}") for path in JOBS]
FACTS = [("GET", path) for path in ("/models", "/samples", "/samples/{name}.png", "/metrics", "/health", "/ready")]
PLACE = {"point": None, "scribble": None, "every": False, "relations": [], "include": []}
REAL = {
    "/segment/note": {"image": IMAGE, "note": "One infected area."},
    "/segment/labels": {"image": IMAGE, "labels": ["dog", "grass"]},
    "/caption": {"image": IMAGE},
    "/describe": {"image": IMAGE, "box": [4, 10, 9, 9], "regions": [{"label": "dog", "box": [4, 10, 9, 9]}]} | PLACE,
    "/draw": {"caption": "a dog", "image": IMAGE, "keep": None},
    "/caption-layout": {"layout": LAYOUT, "image": IMAGE},
}
HELD = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
    checks.missing_required_header,
    checks.unsupported_method,
]


@pytest.fixture(scope="module")
def promised(tiny_models, tiny_model):
    limits = Limits(seconds=600)  # whether an answer comes in time is no matter of the schema
    app = create_app(tiny_models | {"notes": package.load(tiny_model)}, token="correct horse", limits=limits)
    with listening(app) as address:
        until_ready(httpx.get, address)  # before it, /ready answers 503, as promised
        yield schemathesis.openapi.from_url(f"{address}/openapi.json")


def held(promised, method, path, mode, examples):
    """Requests of one operation, and their statuses; in good ones what must be real is so."""

    @settings(max_examples=TIMES * examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(promised[path][method].as_strategy(generation_mode=mode))
    def ask(case):
        if mode is GenerationMode.POSITIVE and path in REAL:
            case.body |= REAL[path] | {"model": None}
        seen.add(case.call_and_validate(headers=TOKEN, checks=HELD, timeout=600).status_code)

    seen = set()
    ask()
    return seen


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
@pytest.mark.parametrize(("method", "path"), ASKED)
def test_jobs_answer_as_the_schema_promises(promised, method, path, mode):
    seen = held(promised, method, path, mode, 25 if mode is GenerationMode.NEGATIVE else 10)
    assert (200 if mode is GenerationMode.POSITIVE else 422) in seen


@pytest.mark.parametrize(("method", "path"), FACTS)
def test_facts_answer_as_the_schema_promises(promised, method, path):
    held(promised, method, path, GenerationMode.POSITIVE, 5)


def test_every_operation_is_held(promised):
    there = {(found.ok().method.upper(), found.ok().path) for found in promised.get_all_operations()}
    assert there == {*ASKED, *FACTS}
