"""The container's health check: `python probe.py URL` exits 0 when the address answers 200, else 1.

What it is not: a judge; the server says whether it is well. Standard library only, so that it
answers within a moment; the image has no curl.
"""

from __future__ import annotations

import sys
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

TIMEOUT_S = 4.0


def probe(url: str) -> tuple[bool, str]:
    """Whether the address answers 200, and its body or the reason why not."""
    try:
        # No proxy: the address is this container's own.
        with build_opener(ProxyHandler({})).open(url, timeout=TIMEOUT_S) as answer:
            return answer.status == 200, answer.read(1000).decode(errors="replace")
    except HTTPError as error:
        return False, f"{error.code} {error.read(1000).decode(errors='replace')}"
    except (OSError, ValueError) as error:
        return False, f"{url}: {error}"


def main(arguments: list[str]) -> int:
    """Exit code 0: healthy."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python probe.py URL\n")
        return 2
    good, text = probe(arguments[0])
    sys.stdout.write(f"{text.strip()}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
