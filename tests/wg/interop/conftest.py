"""Runs the tunnels that must live for two minutes beside all other tests: they start first and are looked at last."""

import pytest

from tests.wg.interop.rekey import RekeyRun

RUN = pytest.StashKey[RekeyRun | Exception]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_is_rekey_test)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    if any(map(_is_rekey_test, session.items)) and not session.config.option.collectonly:
        try:
            session.config.stash[RUN] = RekeyRun()
        except Exception as error:  # the tests that wanted it fail with this, and no other
            session.config.stash[RUN] = error


def pytest_unconfigure(config: pytest.Config) -> None:
    run = config.stash.get(RUN, None)
    if isinstance(run, RekeyRun):
        run.stack.close()


@pytest.fixture
def rekey_run(pytestconfig: pytest.Config) -> RekeyRun:
    run = pytestconfig.stash[RUN]
    if isinstance(run, Exception):
        raise run
    return run


def _is_rekey_test(item: pytest.Item) -> bool:
    return item.path.name == "test_rekey.py"
