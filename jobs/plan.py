"""`python -m jobs.plan`: the former name of `segfill estimate`."""

import sys

from jobs.estimate import main

if __name__ == "__main__":
    print("plan: jobs.plan is now `segfill estimate` (python -m jobs.estimate); this name goes away", file=sys.stderr)
    sys.exit(main())
