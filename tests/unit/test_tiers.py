"""The rules that keep a test in its tier; that pytest applies them at collection shows in every run."""

from pathlib import PurePath

import pytest

from tests.support import tiers


def fake_server_class() -> type:
    return type("OpenSSHServer", (), {"__module__": "tests.support.servers"})


@pytest.mark.parametrize("tier", tiers.TIERS)
def test_a_folder_is_a_tier(tier: str) -> None:
    assert tiers.tier_of(PurePath(tier, "domain", "test_layout.py")) == tier


@pytest.mark.parametrize("path", ["test_layout.py", "support/test_layout.py", "units/test_layout.py"])
def test_a_test_outside_the_tiers_is_refused(path: str) -> None:
    assert tiers.complaints(PurePath(path), (), {}) == [
        f"tests/{path}: lies in none of the tiers unit, cases, graph, integration, faults, browser, oracle"
    ]


def test_a_unit_test_may_not_use_a_server_fixture() -> None:
    assert tiers.complaints(PurePath("unit/test_a.py"), ("tmp_path", "database"), {}) == [
        "tests/unit/test_a.py: a test of the tier `unit` uses the server fixture `database`"
    ]


def test_a_case_may_not_import_a_server() -> None:
    names = {"PurePath": PurePath, "Sshd": fake_server_class(), "limit": 3}
    assert tiers.complaints(PurePath("cases/test_a.py"), (), names) == [
        "tests/cases/test_a.py: a test of the tier `cases` imports `Sshd` from a server module"
    ]


@pytest.mark.parametrize("tier", [tier for tier in tiers.TIERS if tier not in tiers.SERVERLESS])
def test_the_other_tiers_may_use_servers(tier: str) -> None:
    names = {"Sshd": fake_server_class()}
    assert tiers.complaints(PurePath(tier, "test_a.py"), ("database",), names) == []


def test_every_fixture_that_starts_a_server_is_known_to_the_rules() -> None:
    from tests.support import fixtures

    defined = {name for name, value in vars(fixtures).items() if type(value).__name__ == "FixtureFunctionDefinition"}
    assert defined == tiers.SERVER_FIXTURES
