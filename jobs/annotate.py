"""`segfill annotate` as `python -m jobs.annotate`: conf/annotate.yaml says what it does."""

import sys

from jobs.entry import main

if __name__ == "__main__":
    sys.exit(main("annotate"))
