"""python add.py SOURCE TARGET."""

import sys
from pathlib import Path

source, target = map(Path, sys.argv[1:])
target.write_text(str(int(source.read_text()) + 1))
