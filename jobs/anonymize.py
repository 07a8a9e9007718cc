"""`segfill anonymize` as `python -m jobs.anonymize`: conf/anonymize.yaml says what it does."""

import sys

from jobs.entry import main

if __name__ == "__main__":
    sys.exit(main("anonymize"))
