"""A row of a fake table as a process: `fake_row.py FOLDER NAME SECONDS` waits, then prints its metrics."""

import json
import sys
import time
from pathlib import Path

folder, name, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
with (folder / "log").open("a") as log:
    log.write(f"{name}\n")
time.sleep(seconds)
if "bad" in name:
    sys.exit("this row can't be computed")
print("words before the result")
if "mute" not in name:
    print(json.dumps({"dice": 0.5, "iou": 0.25}))
print("a library's warning at exit", file=sys.stderr)
