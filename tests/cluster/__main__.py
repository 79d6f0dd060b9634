"""`make cluster`: docker-compose.yml, and its form of three brokers, without Docker, killed piece by piece.

`python -m tests.cluster [one|three]`: the documented commands of one broker, or of three with kill -9 of everything.
"""

from __future__ import annotations

import sys
import tempfile

from tests.cluster.sandbox import contained, lacking

_NO_PLACE = 3  # the exit code of a set-up that lacks something


def main() -> int:
    """Make the namespaces, and run the play in them."""
    if why := lacking():
        print(f"make cluster: {why}", file=sys.stderr)
        return _NO_PLACE
    form = sys.argv[1] if len(sys.argv) > 1 else "three"
    with tempfile.TemporaryDirectory(prefix="escape-cluster-", ignore_cleanup_errors=True) as folder:
        return contained([sys.executable, "-m", "tests.cluster.play", form, folder])


if __name__ == "__main__":
    sys.exit(main())
