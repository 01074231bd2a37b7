"""`segue data check`: everything that is wrong with a data set, before training."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path

from tyro.conf import Positional


def check(folder: Positional[Path], /, json: bool = False) -> None:
    """Look for everything that is wrong with a data set; exit status 1 when there are errors.

    Args:
        folder: a data set in any known format (COCO, Karpathy, LViT, ...; a wrong folder lists them), or a file of
            captions (.txt, .tsv, .csv, .json, .jsonl, .gz).
        json: print one JSON object.
    """
    from segue.data.check_first import keep_report
    from segue.data.formats.check import check_any

    report = check_any(folder)
    keep_report(folder, report)
    print(jsonlib.dumps(report.to_json(), indent=2) if json else report)
    if not report.ok:
        sys.exit(1)
