"""What the client scripts share: steps that are run in order and named when they fail."""

import sys
import traceback

PORT = sys.argv[1] if len(sys.argv) > 1 else "5432"
DSN = f"host=127.0.0.1 port={PORT} user=postgres dbname=postgres"
URL = f"127.0.0.1:{PORT}/postgres"


def run(*steps):
    """Runs the steps; prints each one's name, and ends with status 1 if one failed."""
    failed = False
    for step in steps:
        try:
            step()
            print("ok", step.__name__)
        except Exception:
            failed = True
            print("FAILED", step.__name__)
            traceback.print_exc(file=sys.stdout)
    sys.exit(1 if failed else 0)
