"""`python -m jobs VERB ...`: `segfill VERB ...` without an installation."""

import sys

from jobs.entry import segfill

if __name__ == "__main__":
    sys.exit(segfill())
