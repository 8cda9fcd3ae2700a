"""What happens in a forked child."""

import asyncio
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable

from tests.asynchronous import SOON


def in_child(body: Callable[[], Awaitable[None]]) -> int:
    """Fork, run a coroutine in the child on a loop of its own, and return the child's exit code.

    It is below zero for a child that died of a signal.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside threads is what is tested
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(asyncio.wait_for(body(), SOON))
            code = 0
        except BaseException:  # noqa: BLE001 - nothing may leave the child
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    exit_code = os.waitstatus_to_exitcode(status)
    if exit_code < 0:
        sys.stderr.write(f"the child died of {signal.Signals(-exit_code).name}\n")  # it could not say so itself
    return exit_code
