"""Check the sizes that DESIGN asks for: files, functions; and the line of every package's
docstring.

    python scripts/check_sizes.py

Prints each breach and exits 1 when there is one.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
ROOT = Path(__file__).resolve().parent.parent


def tracked(pattern: str) -> list[Path]:
    """Files that git knows or would add."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", pattern],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    return [ROOT / name for name in sorted(set(names)) if name and (ROOT / name).is_file()]


def breaches(path: Path) -> list[str]:
    """What is too long or missing in one Python file."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT)
    found = []
    lines = text.count("\n")
    if lines > MAX_FILE_LINES:
        found.append(f"{name}: {lines} lines, at most {MAX_FILE_LINES}")
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(f"{name}:{node.lineno}: {node.name} has {length} lines, at most 60")
    if not (ast.get_docstring(tree) or "tests" in path.parts):
        found.append(f"{name}: no module docstring")
    if path.name == "__init__.py" and "tests" not in path.parts:
        found += _package_breaches(name, tree)
    return found


def _package_breaches(name: Path, tree: ast.Module) -> list[str]:
    doc = ast.get_docstring(tree) or ""
    found = []
    if not any(line.startswith("Never:") for line in doc.splitlines()):
        found.append(f"{name}: its docstring has no line that starts 'Never:'")
    if len(tree.body) > 1:
        found.append(f"{name}: holds more than a docstring")
    return found


def main() -> int:
    """Check every Python file."""
    found = [line for path in tracked("*.py") for line in breaches(path)]
    print("\n".join(found) or "sizes: ok")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
