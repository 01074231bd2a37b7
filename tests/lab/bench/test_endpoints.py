"""Every endpoint is measured, beside its predictor with what the server's defaults are."""

import pytest

from segue.lab.bench import endpoints
from segue.lab.bench.endpoints import ENDPOINTS, measure_endpoint
from segue.options import Decoding, DescribeOptions, DrawOptions, LabelOptions, SegmentOptions
from segue.serving import schemas
from segue.serving.jobs import JOBS
from segue.serving.samples import sample

# of the calls of `ENDPOINTS`, which say no more
ALONE = {
    "segment/note": SegmentOptions(), "segment/labels": LabelOptions(), "caption": Decoding(beams=3),
    "describe": DescribeOptions(), "draw": DrawOptions(), "caption-layout": Decoding(beams=4),
}  # fmt: skip


@pytest.mark.parametrize("path", JOBS)
def test_a_request_of_each_job_has_the_options_of_the_predictor_beside_it(path):
    endpoint = ENDPOINTS[path]
    pictures = {endpoint.field: "-"} if endpoint.field else {}
    body = JOBS[path].body(**endpoint.fields(sample(endpoint.sample)[0]), **pictures)
    assert schemas.options_of(body, type(ALONE[path])) == ALONE[path]


def test_a_request_costs_the_server_more_than_its_predictor(monkeypatch):
    monkeypatch.setattr(endpoints, "ROUNDS", 1)
    found = measure_endpoint("segment/note", clients=(2,), seconds=0.5)
    assert found["errors"] == 0
    assert 0 < found["alone_ms"] < found["clients_2_ms"]
    assert found["clients_2_share"] == pytest.approx(found["alone_ms"] / found["clients_2_ms"])
    assert found["job_ms"] > found["alone_ms"]
    assert 0 < found["clients_2_p50_ms"] <= found["clients_2_p99_ms"]
