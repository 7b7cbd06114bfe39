"""python total.py TARGET SOURCE..."""

import sys
from pathlib import Path

target, *sources = map(Path, sys.argv[1:])
target.write_text(str(sum(int(one.read_text()) for one in sources)))
