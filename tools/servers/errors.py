"""What can go wrong with a server: it is not to be had, it fails, or it is not ours to stop."""

from collections.abc import Sequence

from tools.commands import ToolError


class ServerMissingError(ToolError):
    """A server is not to be had on this machine. Tests skip on this error, and on no other."""

    def __init__(self, name: str, *, looked: Sequence[str], ways: Sequence[str]) -> None:
        self.name = name
        self.looked = tuple(looked)
        """Each place that was searched, and why what is there will not do."""
        self.ways = tuple(ways)
        """What a person can do about it."""
        super().__init__(f"No {name} was found. Looked for: {'; '.join(looked)}. Ways out: {'; or '.join(ways)}.")


class ServerFailedError(ToolError):
    """A server that is there does not do what it should; its log says why."""

    def __init__(self, name: str, what: str, *, log: str = "") -> None:
        self.name = name
        self.log = log
        super().__init__(f"{name} {what}" + (f"; the end of its log:\n{log}" if log else ""))


class GivenServerError(ToolError):
    """A server that the environment names was asked to start or stop."""

    def __init__(self, name: str, variable: str) -> None:
        super().__init__(
            f"{name} at the URL in {variable} is not ours to start or stop: "
            f"ask for a server of your own (own=True), or unset {variable}"
        )
