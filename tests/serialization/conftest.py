"""The modules beside the tests (hostile_pickles, damaged_files) are imported by their names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
