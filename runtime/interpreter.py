"""How long one thread may keep Python's interpreter while another wants it.

What it is not: priorities of the operating system.
"""

from __future__ import annotations

import sys

SWITCH_S = 0.0005


def share() -> None:
    """Hand the interpreter on after SWITCH_S instead of Python's 5 ms, in the whole process.

    A dub needs it, as its encoder idles while it waits (docs/decisions/0050), and so does the lane
    of a text model: it may keep the interpreter from the threads that send its tokens, and a small
    model then at times made four tokens before one was sent: they arrived in bursts.
    """
    sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_S))
