"""Decoding: greedy against a loop without cache, beams against trying everything, batches against single pictures."""

import itertools
import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch

from segue.nn.decoding import Hypothesis, decode
from segue.nn.prefix_decoder import PrefixDecoder
from segue.options import Decoding
from segue.types import InputError

END = 0


def decoder(vocabulary=11, seed=4, width=16, positions=16):
    torch.manual_seed(seed)
    model = PrefixDecoder(vocabulary=vocabulary, width=width, layers=2, heads=2, positions=positions)
    for p in model.parameters():  # far from uniform, so that no two tokens tie
        if p.ndim > 1:
            torch.nn.init.normal_(p, std=0.5)
    return model.eval()


def prefix(rows, width=16, seed=1):
    return 3 * torch.randn(rows, 2, width, generator=torch.Generator().manual_seed(seed))


def run(model, prefixes, options, **more):
    with torch.inference_mode():
        logits, cache = model.start(prefixes)
    return decode(model.step, logits, cache, end=END, options=options, **more)


def tokens_of(answers):
    return [[a.tokens for a in one] for one in answers]


def greedy_without_cache(model, one, limit):
    tokens = []
    with torch.inference_mode():
        while len(tokens) < limit:
            best = int(model(one[None], torch.tensor([tokens], dtype=torch.int64))[0, -1].argmax())
            if best == END:
                break
            tokens.append(best)
    return tokens


def log_probability(model, one, tokens, forced=None):
    """Of tokens and the end after them."""
    with torch.inference_mode():
        logp = model(one[None], torch.tensor([tokens], dtype=torch.int64))[0].log_softmax(-1)
    return sum(float(logp[i, t]) for i, t in enumerate([*tokens, END]))


def test_greedy_equals_a_loop_without_cache():
    model, prefixes = decoder(), prefix(20)
    naive = [[greedy_without_cache(model, one, 12)] for one in prefixes]
    assert tokens_of(run(model, prefixes, Decoding(max_tokens=12))) == naive
    assert len({len(one[0]) for one in naive}) > 2  # answers of several lengths, or the test shows little


def test_nothing_is_continued_where_every_hypothesis_has_ended():
    """Also when fewer have ended than are looked for."""

    def step(*_):
        raise AssertionError("a hypothesis that has ended was continued")

    logits = torch.full((1, 4), -torch.inf)
    logits[0, END] = 0.0
    found = decode(step, logits, torch.zeros(1, 1), end=END, options=Decoding(num=2, beams=3, max_tokens=5))
    assert tokens_of(found) == [[[]]]


def test_a_batch_equals_its_pictures_one_by_one():
    model, prefixes = decoder(), prefix(9)
    for options in (
        Decoding(max_tokens=8),
        Decoding(max_tokens=8, beams=3, num=2),
        Decoding(max_tokens=8, top_p=0.9, num=3),
        Decoding(max_tokens=8, beams=4, no_repeat=2, length_penalty=0.7),
    ):
        together = run(model, prefixes, options)
        alone = [run(model, prefixes[i : i + 1], options)[0] for i in range(9)]
        assert tokens_of(together) == tokens_of(alone)


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_wide_beams_equal_exhaustive_search(penalty):
    model, prefixes, limit = decoder(vocabulary=4), prefix(3), 3
    everything = [list(t) for n in range(limit + 1) for t in itertools.product([1, 2, 3], repeat=n)]
    options = Decoding(max_tokens=limit, beams=len(everything), num=5, length_penalty=penalty)
    for one, answers in zip(prefixes, run(model, prefixes, options), strict=True):
        scores = {tuple(t): log_probability(model, one, t) / (len(t) + 1) ** penalty for t in everything}
        best = sorted(scores, key=lambda t: -scores[t])[:5]
        assert [tuple(a.tokens) for a in answers] == best
        assert [a.score for a in answers] == pytest.approx([scores[t] for t in best], abs=1e-4)


def test_more_beams_find_no_worse_answers():
    model, prefixes = decoder(seed=2), prefix(12)
    options = Decoding(max_tokens=6, length_penalty=0.0)
    scores = [sum(a[0].score for a in run(model, prefixes, replace(options, beams=k))) for k in (1, 8)]
    assert scores[1] > scores[0]


def test_answers_are_distinct_and_as_many_as_asked():
    model, prefixes = decoder(), prefix(6)
    for options in (Decoding(max_tokens=8, num=5), Decoding(max_tokens=8, num=5, top_p=1.0)):
        for answers in tokens_of(run(model, prefixes, options)):
            assert len({tuple(t) for t in answers}) == len(answers) == 5


def test_fewer_answers_where_no_more_exist():
    answers = run(decoder(vocabulary=3), prefix(1), Decoding(max_tokens=1, num=9))[0]
    assert sorted(a.tokens for a in answers) == [[], [1], [2]]


def test_max_tokens_is_exact_and_the_end_is_not_counted():
    model, prefixes = decoder(), prefix(20)
    for limit in (1, 3, 7):
        lengths = [len(a[0].tokens) for a in run(model, prefixes, Decoding(max_tokens=limit))]
        assert max(lengths) == limit


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_run_of_tokens_comes_twice(n):
    model, prefixes = decoder(seed=2), prefix(20)

    def repeats(tokens):
        runs = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
        return max(runs.values(), default=0) > 1

    free = run(model, prefixes, Decoding(max_tokens=12, beams=2))
    held = run(model, prefixes, Decoding(max_tokens=12, beams=2, no_repeat=n))
    assert any(repeats(a[0].tokens) for a in free)
    assert not any(repeats(a[0].tokens) for a in held)


def test_suppressed_tokens_never_occur():
    used = tokens_of(run(decoder(), prefix(10), Decoding(max_tokens=8, top_p=1.0, num=4), suppressed_token_ids=[3, 4]))
    assert {3, 4} & {t for one in used for answer in one for t in answer} == set()


def test_an_end_that_is_suppressed_comes_at_max_tokens_alone():
    answers = tokens_of(run(decoder(), prefix(10), Decoding(max_tokens=5, num=2), suppressed_token_ids=[END]))
    assert {len(tokens) for one in answers for tokens in one} == {5}


@dataclass
class Rows:
    """A cache that knows only how many rows there are."""

    rows: int

    def select(self, rows):
        return Rows(len(rows))


def two_coins(p):
    """A model whose answers are [] and [1] by the toss of a coin, as (step, first logits)."""
    first = torch.tensor([p, 1 - p, 0.0]).log()
    after = torch.tensor([1.0, 0.0, 0.0]).log()
    return (lambda tokens, cache: (after.expand(len(tokens), 3), cache)), first


def test_sampling_follows_the_probabilities():
    step, first = two_coins(0.3)
    draw = partial(decode, step, first.expand(4000, 3), Rows(4000), end=END, seeds=range(4000))
    answers = draw(options=Decoding(top_p=1.0))
    assert sum(a[0].tokens == [] for a in answers) / 4000 == pytest.approx(0.3, abs=0.03)
    answers = draw(options=Decoding(top_p=1.0, num=2))
    assert sum(a[0].tokens == [] for a in answers) / 4000 == pytest.approx(0.3, abs=0.03)
    assert all(sorted(x.tokens for x in a) == [[], [1]] for a in answers)


def test_two_drawn_answers_follow_sampling_without_replacement():
    first = torch.tensor([0.0, 0.5, 0.3, 0.2]).log()
    after = torch.tensor([1.0, 0.0, 0.0, 0.0]).log()
    n, options = 6000, Decoding(top_p=1.0, num=2, max_tokens=3)
    answers = decode(
        lambda tokens, cache: (after.expand(len(tokens), 4), cache),
        first.expand(n, 4), Rows(n), end=END, options=options, seeds=range(n),
    )  # fmt: skip
    pairs = Counter(tuple(a.tokens[0] for a in one) for one in answers)
    p = {1: 0.5, 2: 0.3, 3: 0.2}
    for a, b in itertools.permutations(p, 2):
        assert pairs[a, b] / n == pytest.approx(p[a] * p[b] / (1 - p[a]), abs=0.025)


def test_a_small_nucleus_is_greedy_and_a_low_temperature_too():
    model, prefixes = decoder(), prefix(10)
    greedy = tokens_of(run(model, prefixes, Decoding(max_tokens=8)))
    assert tokens_of(run(model, prefixes, Decoding(max_tokens=8, top_p=1e-6))) == greedy
    assert tokens_of(run(model, prefixes, Decoding(max_tokens=8, top_p=1e-86))) == greedy  # 0 in float32
    assert tokens_of(run(model, prefixes, Decoding(max_tokens=8, top_p=1.0, temperature=1e-3))) == greedy


def test_the_nucleus_leaves_out_the_tail():
    step, first = two_coins(0.3)
    answers = decode(step, first.expand(200, 3), Rows(200), end=END, options=Decoding(top_p=0.6))
    assert {tuple(a[0].tokens) for a in answers} == {(1,)}


def test_the_length_penalty_prefers_longer_answers():
    # [] has probability .4; [1] has .6 * .5 = .3, but a better mean: log .4 < log .3 / 2
    first, after = torch.tensor([0.4, 0.6, 0.0]).log(), torch.tensor([0.5, 0.0, 0.5]).log()

    def best(penalty):
        options = Decoding(beams=4, max_tokens=1, length_penalty=penalty)
        return decode(lambda t, c: (after.expand(len(t), 3), c), first[None], Rows(1), end=END, options=options)[0][0]

    assert best(0.0) == Hypothesis([], pytest.approx(math.log(0.4)))
    assert best(1.0) == Hypothesis([1], pytest.approx(math.log(0.3) / 2))


def by_table(table):
    """A model whose next token depends on the last one alone, as (step, first logits). table: {last: probabilities}."""
    rows = torch.tensor([table.get(token, [1.0, 0, 0, 0]) for token in range(4)]).log()
    return (lambda tokens, cache: (rows[tokens], cache)), torch.tensor(table["first"]).log()


def test_a_beam_is_filled_with_others_where_a_hypothesis_ends():
    # [] has .5; [1] has .3 * .1 and [2] has .2 * .9: both must be kept though the end is the likeliest first token
    step, first = by_table({"first": [0.5, 0.3, 0.2, 0.0], 1: [0.1, 0.3, 0.3, 0.3], 2: [0.9, 0.1, 0.0, 0.0]})
    options = Decoding(beams=2, num=2, max_tokens=2, length_penalty=0.0)
    (answers,) = decode(step, first[None], Rows(1), end=END, options=options)
    assert [a.tokens for a in answers] == [[], [2]]


def test_the_search_goes_on_while_an_open_hypothesis_is_ahead():
    # after two steps [] with .25 and [2] with .135 are finished, and [1, 3] with .54 is open
    step, first = by_table({"first": [0.25, 0.6, 0.15, 0.0], 1: [0.1, 0.0, 0.0, 0.9], 2: [0.9, 0.1, 0.0, 0.0]})
    options = Decoding(beams=2, max_tokens=5, length_penalty=0.0)
    (answers,) = decode(step, first[None], Rows(1), end=END, options=options)
    assert answers[0] == Hypothesis([1, 3], pytest.approx(math.log(0.54), abs=1e-5))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_tokens": 0}, "max_tokens: got 0, expected 1 or more"),
        ({"num": 0}, "num: got 0, expected 1 or more"),
        ({"beams": 0}, "beams: got 0, expected 1 or more"),
        ({"top_p": 1.5}, "top_p: got 1.5, expected 0"),
        ({"temperature": 0.0}, "temperature: got 0.0, expected 0.001 or more, at most 1000"),
    ],
)
def test_bad_settings_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        Decoding(**setting)
