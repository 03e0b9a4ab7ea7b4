"""``python -m study`` is ``study``."""

from __future__ import annotations

import sys
from pathlib import Path

from study.cli import main

if __name__ == "__main__":
    # Python looks for modules in the current folder first, where one that is named like a package would hide it.
    sys.path.sort(key=lambda path: path in ("", str(Path.cwd())))
    main()
