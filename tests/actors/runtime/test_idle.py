"""A process that has nothing to do does nothing, also when one of its links has lost its other end."""

import asyncio
import selectors
import tempfile
from pathlib import Path

import pytest

from actors.runtime.post_office import PostOffice


class CountingSelector(selectors.EpollSelector):
    """Counts how often the loop waits."""

    waits = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.waits += 1
        return super().select(timeout)


@pytest.mark.process
def test_a_link_whose_other_end_is_gone_does_not_keep_the_loop_spinning() -> None:
    with tempfile.TemporaryDirectory() as directory:
        selector = CountingSelector()
        loop = asyncio.SelectorEventLoop(selector)
        far = PostOffice("far", 1, Path(directory))
        near = PostOffice("near", 1, Path(directory))
        try:
            near.connect("far", 1)
            near.attach(loop)
            loop.run_until_complete(asyncio.sleep(0.05))  # connected
            far.close()
            loop.run_until_complete(asyncio.sleep(0.05))  # noticed
            before = selector.waits
            loop.run_until_complete(asyncio.sleep(0.3))
            # It looks about every time ZeroMQ tries to reconnect; spinning would be thousands.
            assert selector.waits - before < 150
        finally:
            near.close()
            far.close()
            loop.close()
