"""The report of an evaluation of captions: each with its references and its CIDEr-D, the worst and the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from segue.api.captioner import Captioner
from segue.data.visualize import data_url
from segue.evaluation.reports.cases import (
    SIDE,
    examples_section_of,
    extremes_sections,
    file_of,
    split_ends,
    spread_evenly,
)
from segue.metrics.captions import CaptionScores
from segue.pages.charts import histogram
from segue.pages.page import Card, link, section, table
from segue.types import Picture

BY = "CIDEr-D"


@dataclass
class CaptionReport:
    """Sees what `segue.evaluation.captions.evaluate_captions` found."""

    pictures: Sequence[Picture] = ()
    said: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)

    def see(self, pictures: Sequence[Picture], said: Mapping[str, str], scores: CaptionScores) -> None:
        """All pictures with the caption of each by its name, and the scores."""
        self.pictures, self.said, self.scores = pictures, said, scores.each[BY]

    def parts(self, found: Mapping[str, Any], folder: Path) -> list[str]:
        """See `Report`; reads the pictures that are shown."""
        ordered = sorted(self.pictures, key=lambda picture: self.scores[picture.name])
        values = [self.scores[picture.name] for picture in ordered]
        worst, best = (list(map(self._card, some)) for some in split_ends(ordered))
        chart = histogram(values, f"{BY} of {len(values)} pictures", high=max([1.0, *values]), x_label=BY)
        lead = "It counts runs of words that a caption shares with its references, rare ones more; 10 is the most."
        return [
            section("distribution", f"Distribution of {BY}", lead, f'<div class="charts">{chart}</div>'),
            *extremes_sections(worst, best, BY),
            section("cases", "All pictures", "The worst first; a click on a head sorts.", self._table(ordered, folder)),
        ]

    def _card(self, picture: Picture) -> Card:
        return _card(picture, f"{self.scores[picture.name]:.3f}: {self.said[picture.name]}")

    def _table(self, ordered: Sequence[Picture], folder: Path) -> str:
        rows = [
            (
                link(picture.name, file_of(picture), folder),
                f"{self.scores[picture.name]:.3f}",
                escape(self.said[picture.name]),
                "<br>".join(map(escape, picture.captions)),
            )
            for picture in ordered
        ]
        return table(("picture", BY, "caption", "references"), rows, numbers=(1,))


def caption_examples(captioner: Captioner, pictures: Sequence[Picture]) -> str:
    """A section with some of the captioned pictures, spread evenly: what the captioner says, and what people said."""
    chosen = spread_evenly(pictures)
    found = captioner.caption_many(picture.load() for picture in chosen)
    drawn = [_card(picture, some[0].text) for picture, some in zip(chosen, found, strict=True)]
    return examples_section_of(drawn, len(pictures))


def _card(picture: Picture, heading: str) -> Card:
    """A picture with its captions and its name below the heading."""
    references = "".join(f"<br><i>{escape(text)}</i>" for text in picture.captions)
    return Card([data_url(picture.load(), SIDE, small=True)], heading, "", f"{references}<br>{escape(picture.name)}")
