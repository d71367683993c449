"""The folder on the path: its files import each other by name, as a command's do."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
