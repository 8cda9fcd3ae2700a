"""The environment that a manager works in: a namespace of tasks within one store."""

import os

from oncetask_core.limits import check_env

ENV_VARIABLE = "ONCE_TASK_ENV"
DEFAULT_ENV = "DEFAULT"


def current_env() -> str:
    """Return the environment that `ONCE_TASK_ENV` names; unset or empty means `DEFAULT`.

    Raises:
        InvalidTaskError: The variable holds a name that no store could keep.
    """
    return check_env(os.environ.get(ENV_VARIABLE) or DEFAULT_ENV)
