"""`python -m recipe_runner`."""

import sys

from recipe_runner.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
