"""``python -m vlm_engine`` is ``vlm-engine``."""

import sys

from vlm_engine.cli import main

if __name__ == "__main__":
    sys.exit(main())
