"""What a server says of its memory and of the pages that every file touches, held against its own statistics."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import Pipeline, record, report
from visitas_dagster.loading.pages import Pages, look_at_pages

NAME = "report_1.txt"
VISITORS = 3000


@pytest.fixture
def pipeline(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> Iterator[Pipeline]:
    with Pipeline(database, sftp_folder, tmp_path) as pipeline:
        yield pipeline


@pytest.mark.databases("mysql", "mariadb")
def test_both_figures_are_the_servers_own(pipeline: Pipeline, database: Database) -> None:
    pipeline.deliver(NAME, report(*(record(f"persona{number}@example.com") for number in range(VISITORS))))
    pipeline.run([NAME])
    server, engine = database.server, pipeline.platform.engine
    assert server is not None
    name = engine.url.database
    server.execute(f"ANALYZE TABLE {name}.estadisticas, {name}.visitantes")
    ((memory,),) = server.execute("SELECT @@GLOBAL.innodb_buffer_pool_size")
    ((pages,),) = server.execute(
        "SELECT SUM(stat_value) FROM mysql.innodb_index_stats WHERE stat_name = 'size' AND database_name = %s "
        "AND (table_name, index_name = 'PRIMARY') IN (('estadisticas', FALSE), ('visitantes', TRUE))",
        name,
    )
    assert look_at_pages(engine) == Pages(memory, int(pages) * 16384)
    assert int(pages) * 16384 > VISITORS * len("persona1000@example.com") * 2


@pytest.mark.databases("sqlite")
def test_sqlite_has_no_such_memory(pipeline: Pipeline) -> None:
    assert look_at_pages(pipeline.platform.engine) is None


MIB = 1 << 20


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        (Pages(128 * MIB, 128 * MIB), None),
        (
            Pages(128 * MIB, 329 * MIB),
            "la base de datos tiene 128 MiB para páginas (innodb_buffer_pool_size), y los índices de estadisticas con "
            "visitantes ocupan 329 MiB: cada archivo tarda hasta el doble; pida a quien administra el servidor que la "
            "suba por encima de eso",
        ),
    ],
    ids=["they fit", "they do not"],
)
def test_what_does_not_fit_is_told(pages: Pages, said: str | None) -> None:
    assert pages.notice == said
