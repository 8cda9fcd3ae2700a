"""One worker process of the example: `python -m examples.index_files.worker --store URL --ledger FILE --name NAME`.

With `--linger SECONDS` each of its groups of files takes that much longer, so that it can be caught holding one.
"""

import argparse
import asyncio
import logging
from pathlib import Path

from examples.index_files.ledger import Ledger
from examples.index_files.tasks import make_manager


def main() -> None:
    """Run tasks until SIGTERM."""
    parser = argparse.ArgumentParser()
    for option in ("--store", "--ledger", "--name"):
        parser.add_argument(option, required=True)
    parser.add_argument("--linger", type=float, default=0.0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    ledger = Ledger(Path(options.ledger))
    asyncio.run(make_manager(options.store, ledger, name=options.name, linger=options.linger).run())


if __name__ == "__main__":
    main()
