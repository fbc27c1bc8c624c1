"""Makes the hand-made linear model of the exporting tests importable here."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "exporting"))
