"""`visitas check --contra-base`: what a correction would change, said before anything is delivered.

The command against real tables belongs here; the comparison itself is tested with the domain.
"""

from pathlib import Path

from tests.support.command import Visitas
from tests.support.fixtures import Database, SftpFolder
from tests.support.pipeline import record, report


def test_a_correction_is_previewed(database: Database, sftp_folder: SftpFolder, tmp_path: Path) -> None:
    visitas = Visitas(tmp_path, {**sftp_folder.environment(), "VISITAS_DB_URL": database.url})
    assert visitas.run("init").code == 0
    kept, changed = record("ana@example.com"), record("eva@example.org", "14/03/2024 18:30")
    gone = record("luis@example.net")
    local = tmp_path / "report_1.txt"
    local.write_bytes(report(kept, changed, gone))
    new = visitas.run("check", str(local), "--contra-base")
    assert (new.code, new.err) == (0, "")
    assert "Contra la base: report_1.txt no tiene versión cargada; sería una entrega nueva." in new.out

    (sftp_folder.path / local.name).write_bytes(local.read_bytes())
    assert visitas.run("dispatch").code == 0
    same = visitas.run("check", str(local), "--contra-base")
    assert "Contra la base: report_1.txt tiene las mismas visitas que la versión vigente." in same.out

    local.write_bytes(report(record("sol@example.com"), record("eva@example.org", "14/03/2024 18:30", opens="7"), kept))
    other = visitas.run("check", str(local), "--contra-base")
    assert "Contra la base: 1 registro agregado, 1 quitado, 1 cambiado, 1 igual; 3 visitantes tocados." in other.out, (
        other.out
    )
    assert visitas.run("check", str(local)).out.find("Contra la base") == -1
