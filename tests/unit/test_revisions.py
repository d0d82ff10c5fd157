"""The numbers of the migrations: what `newest` reads from the names is what Alembic reads from the scripts.

The scripts' order belongs here; what they do to a database is tested on real ones.
"""

from alembic.config import Config
from alembic.script import ScriptDirectory

from visitas_dagster.loading.schema import newest
from visitas_dagster.loading.statements import sql_folder


def test_the_newest_revision_is_alembics_head_and_each_follows_the_one_before() -> None:
    config = Config()
    config.set_main_option("script_location", str(sql_folder() / "migrations"))
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())[::-1]
    numbers = [script.revision for script in scripts]
    assert numbers == [f"{number:04}" for number in range(1, len(scripts) + 1)]
    assert [script.down_revision for script in scripts] == [None, *numbers[:-1]]
    assert [script.path.rpartition("/")[2][:5] for script in scripts] == [f"{number}_" for number in numbers]
    assert newest() == numbers[-1]
