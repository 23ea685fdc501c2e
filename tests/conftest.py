"""What every test has: where one fails that put a machine on a bench, its report shows the mail."""

import pytest

from tests.kit import picture


def pytest_runtest_setup() -> None:
    picture.forget()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> object:
    report = yield
    assert isinstance(report, pytest.TestReport)
    if report.failed and (lines := picture.of_this_test()):
        report.sections.append(("mail of the bench", "\n".join(lines)))
    return report
