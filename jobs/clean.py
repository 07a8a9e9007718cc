"""`segfill clean` as `python -m jobs.clean`: conf/clean.yaml says what it does."""

import sys

from jobs.entry import main

if __name__ == "__main__":
    sys.exit(main("clean"))
