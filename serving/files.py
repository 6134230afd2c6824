"""Files as answers."""

from __future__ import annotations

from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send


class WholeFile(FileResponse):
    """A file, always whole: the next request may make another one, whose parts would not fit the first one's.

    And Starlette answers a range that makes no sense with plain text, before the file is cleaned up.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, whatever part is asked for."""
        self.headers["accept-ranges"] = "none"
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)
