"""What the commands cost that only list or describe: CPU seconds, beside those of importing their CLI library.

python benchmarks/listing.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile

COMMANDS = ("--help", "ls", "recipes", "tasks", "spaces", "spaces adversarial", "methods", "describe quickstart")
REPEATS = 5


def seconds(*arguments: str) -> float:
    """CPU of a child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print one line per command: the least of five."""
    click = min(seconds("-c", "import click") for _ in range(REPEATS))
    print(f"| command | CPU, s | times `import click` ({click:.2f} s) |\n|---|---:|---:|")
    with tempfile.TemporaryDirectory() as empty:
        for command in COMMANDS:
            root = ["--root", empty] if command.startswith(("ls", "describe")) else []
            least = min(seconds("-m", "study", *command.split(), *root) for _ in range(REPEATS))
            print(f"| `study {command}` | {least:.2f} | {least / click:.0f} |")


if __name__ == "__main__":
    main()
