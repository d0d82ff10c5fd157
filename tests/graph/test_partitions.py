"""Registering partitions: every name once, whoever else registers it at the same moment.

The partitions' keys belong here; which files get one does not.
"""

import threading
from collections import Counter
from pathlib import Path

import dagster as dg

from tests.support.pipeline import settings_for
from visitas_dagster.instance import open_instance
from visitas_dagster.partitions import ARCHIVOS, register


def test_what_is_there_already_stays_where_it_is(tmp_path: Path) -> None:
    with open_instance(settings_for("sqlite://", {}, tmp_path), captures_output=False) as instance:
        register(instance, ["b", "a"])
        register(instance, ["a", "c", "b"])
        assert instance.get_dynamic_partitions(ARCHIVOS) == ["b", "a", "c"]


def test_two_register_the_same_names_at_once(tmp_path: Path) -> None:
    settings = settings_for("sqlite://", {}, tmp_path)
    rounds = [[f"report_{number}.txt" for number in range(start, start + 300)] for start in range(0, 6000, 300)]
    together, failures = threading.Barrier(2), []

    def register_all(instance: dg.DagsterInstance) -> None:
        for names in rounds:
            together.wait()
            try:
                register(instance, names)
            except Exception as error:
                failures.append(error)

    with (
        open_instance(settings, captures_output=False) as one,
        open_instance(settings, captures_output=False) as other,
    ):
        threads = [threading.Thread(target=register_all, args=[instance]) for instance in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert Counter(one.get_dynamic_partitions(ARCHIVOS)) == Counter(name for names in rounds for name in names)
