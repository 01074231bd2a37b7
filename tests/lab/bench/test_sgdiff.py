import json

import torch

from segue.lab.bench.sgdiff import bench_sgdiff
from segue.methods.sgdiff.inference import SGDiffGenerator

SMALL = {
    "width": 16,
    "blocks": 1,
    "words": 4,
    "num": 2,
    "steps": 2,
    "objects": 3,
    "rounds": 1,
    "batch": 2,
    "detector_side": 64,
}


def test_it_measures_both_decoders_and_both_prompts():
    result = bench_sgdiff(sizes=(32, 48), **SMALL)
    json.dumps(result)
    assert set(result["decoders"]) == {"diffusion", "autoregressive"}
    for costs in result["decoders"].values():
        assert min(costs.values()) > 0
    one, other = (costs["params"] for costs in result["decoders"].values())
    assert abs(one - other) < 0.1 * one  # the same size, but for the vocabulary's table
    assert set(result["pictures"]) == {"32", "48"}
    for prompt in result["pictures"].values():
        assert prompt["further_share"] > prompt["further_share_detected"] > 0
    assert result["speedup"] > 0


def test_the_command_line_runs_it(segue):
    sizes = [word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", value)]
    status, out, _ = segue("lab", "bench", "sgdiff", "--sizes", 32, *sizes, "--json")
    assert status == 0
    assert json.loads(out)["settings"]["words"] == 4


def test_both_decoders_describe_the_same_subgraphs(monkeypatch):
    graphs, captions = [], SGDiffGenerator._captions

    def spy(self, graph, *more):
        graphs.append(graph)
        return captions(self, graph, *more)

    monkeypatch.setattr(SGDiffGenerator, "_captions", spy)
    bench_sgdiff(sizes=(32,), **{**SMALL, "objects": 6, "num": 5})
    assert len(graphs) > 6
    for graph in graphs[1:]:
        assert torch.equal(graph.mask, graphs[0].mask)
        assert torch.equal(graph.boxes, graphs[0].boxes)
