"""Print docs/troubleshooting.md from the doctor's book.

    python -m scripts.doctor.manual > docs/troubleshooting.md

A test compares the file with this output, so every entry is something that the doctor finds.
"""

from __future__ import annotations

import re
import sys

from scripts.doctor.book import PARTS
from scripts.doctor.entry import Entry

HEAD = """# Troubleshooting

Run the doctor first:

```sh
.venv/bin/python scripts/check_gpu_gunicorn.py
```

It looks at driver, GPUs, packages, settings, models, ports, disk and database, starts a server of
its own on free ports with an empty data folder, and says what is wrong with the command that mends
it. `--quick` leaves out that server and the checksums of large files, `--json` is for programs,
`--only ports,database` looks at these alone; options of Gunicorn go behind `--`. The exit code is 0
when all is well, 1 after warnings, 2 after problems, 3 when the call itself is wrong. Any Python
runs it, also where `.venv` is broken. It changes nothing; beside a server that runs it starts none.
`scripts/start_gpu_server.sh --diagnose` is the same; with `--diagnose --production` the server is
started after it, unless there is a problem.

Every entry here is one of its findings (made by `python -m scripts.doctor.manual`). What stands in
`<>` is filled in by the doctor.
"""


def entry(one: Entry) -> str:
    """An entry for people."""
    remedy = re.sub(r"\{(\w+)\}", r"<\1>", one.example or one.remedy)
    return (
        f"### {one.symptom}\n\n{one.meaning}\n\n"
        f"Finding `{one.code}` ({one.level.value}, check `{one.check}`). Mend: `{remedy}`\n"
    )


def manual() -> str:
    """The whole page."""
    parts = [
        f"## {title}\n\n" + "\n".join(entry(one) for one in entries)
        for title, entries in PARTS.items()
    ]
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    sys.stdout.write(manual())
