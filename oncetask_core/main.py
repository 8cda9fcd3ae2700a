"""The command line: `python -m oncetask worker module:manager`."""

import argparse
import asyncio
import gc
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from oncetask_core.errors import ConfigurationError, OncetaskError
from oncetask_core.logs import TaskContextFilter
from oncetask_core.manager import TaskManager

logger = logging.getLogger("oncetask.manager")

END_SECONDS = 1.0
WORKER = (
    "Run the tasks of a manager until SIGTERM or SIGINT, then drain. What the application has loaded by then is kept "
    "out of the garbage collector's rounds (gc.freeze): it lives as long as the process."
)
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 1 for a fault, or 2 for a mistake that the user can mend."""
    parser = argparse.ArgumentParser(prog="python -m oncetask", description="Durable tasks that complete exactly once.")
    commands = parser.add_subparsers(dest="command", required=True)
    worker = commands.add_parser("worker", help="run the tasks of a manager until it is stopped", description=WORKER)
    worker.add_argument("manager", help="where the manager is, as module:attribute")
    worker.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    options = parser.parse_args(arguments)
    _log_to_stderr(options.log_level)
    try:
        manager = find_manager(options.manager)
    except OncetaskError as error:
        return _explained(error)
    _freeze_what_is_loaded()
    return asyncio.run(_run(manager))


def _freeze_what_is_loaded() -> None:
    """Let the garbage collector pass over the application's modules, and not over the garbage of loading them."""
    gc.collect()
    gc.freeze()


def _explained(error: OncetaskError) -> int:
    sys.stderr.write(f"oncetask: {error}\n")
    return 2


async def _run(manager: TaskManager) -> int:
    """Run the worker; at its end no coroutine or thread that does not stop keeps the process from ending."""
    code = 0
    try:
        await manager.run()
    except OncetaskError as error:
        code = _explained(error)
    except Exception:
        logger.exception("the worker has failed")
        code = 1
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    executor = asyncio.create_task(asyncio.get_running_loop().shutdown_default_executor())
    _, stuck = await asyncio.wait({*left, executor}, timeout=END_SECONDS)
    if stuck:
        logger.error("the process ends although something that a handler began does not stop")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    return code


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler()
    handler.addFilter(TaskContextFilter())
    logging.basicConfig(level=level, format=LOG_FORMAT, handlers=[handler])


def find_manager(reference: str) -> TaskManager:
    """Return the manager that `module:attribute` names, importing the module from here or the installed packages.

    Whatever the module's own code raises is passed on.

    Raises:
        ConfigurationError: There is no such module or attribute, or it is no manager.
    """
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute or module_name.startswith("."):
        raise ConfigurationError(
            value=reference,
            rule="a manager is named as module:attribute",
            remedy="For example: shop.tasks:manager.",
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    module = _imported(module_name)
    try:
        found = getattr(module, attribute)
    except AttributeError as error:
        raise ConfigurationError(
            value=reference, rule=f"the module {module_name} has this attribute", remedy="Check the name."
        ) from error
    if not isinstance(found, TaskManager):
        raise ConfigurationError(value=found, rule=f"{reference} is a TaskManager", remedy="Name the manager itself.")
    return found


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):  # something else that the module imports
            raise
        raise ConfigurationError(
            value=name, rule="the module can be imported from here", remedy="Check the name and the folder."
        ) from error
