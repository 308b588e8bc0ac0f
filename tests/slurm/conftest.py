"""What the tests of command lines share lies beside them."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "bench"))
