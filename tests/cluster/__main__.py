"""`make cluster`: docker-compose.yml, and its form of three brokers, without Docker, killed piece by piece.

`python -m tests.cluster [one|three]`: the documented commands of one broker, or of three with kill -9 of everything.
"""

from __future__ import annotations

import signal
import sys
import tempfile

from tests.cluster.sandbox import contained, lacking

_USAGE, _NO_PLACE, _INTERRUPTED = 2, 3, 130  # as those of `escape`


def main() -> int:
    """Make the namespaces, and run the play in them."""
    if why := lacking():
        print(f"make cluster: {why}", file=sys.stderr)
        return _NO_PLACE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # as Ctrl-C: what is below is taken away
    form, *further = sys.argv[1:] or ["three"]
    if form not in ("one", "three") or further:
        print("usage: python -m tests.cluster [one|three]", file=sys.stderr)
        return _USAGE
    with tempfile.TemporaryDirectory(prefix="escape-cluster-", ignore_cleanup_errors=True) as folder:
        return contained([sys.executable, "-m", "tests.cluster.play", form, folder])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
