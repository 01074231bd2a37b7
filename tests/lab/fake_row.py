"""A row of a fake table as a process: `fake_row.py FOLDER NAME SECONDS [ROWS]` waits, then prints its metrics.

ROWS: waits also until so many rows have started, a minute at most.
"""

import json
import sys
import time
from pathlib import Path

folder, name, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
with (folder / "log").open("a") as log:
    log.write(f"{name}\n")
time.sleep(seconds)
rows, stop = int((*sys.argv, 0)[4]), time.monotonic() + 60
while len((folder / "log").read_text().splitlines()) < rows:
    if time.monotonic() > stop:
        sys.exit(f"fewer than {rows} rows run at a time")
    time.sleep(0.02)
if "bad" in name:
    sys.exit("this row can't be computed")
print("words before the result")
if "mute" not in name:
    print(json.dumps({"dice": 0.5, "iou": 0.25}))
print("a library's warning at exit", file=sys.stderr)
