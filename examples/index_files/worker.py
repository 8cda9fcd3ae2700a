"""One worker process of the example: `python -m examples.index_files.worker --store URL --ledger FILE --name NAME`."""

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
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(make_manager(options.store, Ledger(Path(options.ledger)), name=options.name).run())


if __name__ == "__main__":
    main()
