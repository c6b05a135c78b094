"""A test on real servers that fails is run once more, in a world of its own, and the end of the run tells of it.

Such a test depends on the time that servers, workers and the test itself get of the machine. Unit, property and
contract tests do not, and fail at once. What passes only at the second try is never silent: it may be a fault.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

ON_REAL_SERVERS = [Path(__file__).parent / folder for folder in ("fault", "integration")]
PLUGIN = "rerunfailures"
HUNG = "from pytest-timeout"
"""A test that hangs would hang again, and its limit is for both tries together."""

FAILED = pytest.StashKey[bool]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that are tried twice; ``-p no:rerunfailures`` tries each once."""
    if not config.pluginmanager.hasplugin(PLUGIN):
        return
    for item in items:
        real = any(item.path.is_relative_to(folder) for folder in ON_REAL_SERVERS)
        if real:
            item.add_marker(pytest.mark.flaky(reruns=1, rerun_except=[HUNG]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test has failed before it is taken down."""
    report = yield
    item.stash[FAILED] = report.failed or (report.when != "setup" and item.stash.get(FAILED, False))
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Take down what the tests of one file share, too, so that the second try begins in a world of its own."""
    module = item.getparent(pytest.Module)
    if module is None or not item.stash.get(FAILED, False) or item.get_closest_marker("flaky") is None:
        return
    if getattr(item, "execution_count", 0) == 1:  # counted by the plugin
        item.session._setupstate.teardown_exact(module.parent)  # type: ignore[arg-type]  # asks it for its parents only


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every test that was run twice, with the words of its first failure."""
    passed = {report.nodeid for report in terminalreporter.stats.get("passed", [])}
    for report in terminalreporter.stats.get("rerun", []):
        what = "passed only at the second try" if report.nodeid in passed else "failed at both tries"
        terminalreporter.write_sep("=", what, yellow=True, bold=True)
        terminalreporter.write_line(report.longreprtext)
        terminalreporter.write_line(f"{what}: {report.nodeid}", yellow=True, bold=True)
