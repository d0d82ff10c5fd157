"""A drill: one incident in an installation of its own, a terminal in it, and a verdict when the person leaves.

`tools/sembrar-incidentes` runs it. Servers and terminal belong here; the incidents are `incidents.py`.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from tests.support.disks import SmallDisk, can_mount
from tests.support.guardian import guardian
from tests.support.incidents import DISK, INCIDENTS, Incident
from tests.support.manual import PAGE
from tests.support.servers import MariaDBServer, MySQLServer, mysql_script
from tests.support.site import PROJECT, Site

USAGE = "uso: tools/sembrar-incidentes --lista | NOMBRE"


def main(arguments: Sequence[str]) -> int:
    """Run the drill that the arguments name; return 0 when it was cured, 1 when not, 2 for wrong use."""
    if list(arguments) == ["--lista"]:
        for incident in INCIDENTS:
            print(incident.name)
        return 0
    known = {incident.name: incident for incident in INCIDENTS}
    if len(arguments) != 1 or arguments[0] not in known:
        print(USAGE, file=sys.stderr)
        return 2
    incident = known[arguments[0]]
    if incident.needs_disk and not can_mount():
        print("esta máquina no deja montar un disco pequeño", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        folder = guardian().make_folder("visitas-simulacro-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        is_mysql = incident.engine == "mysql" and mysql_script() is not None
        server = stack.enter_context(MySQLServer() if is_mysql else MariaDBServer())
        disk = stack.enter_context(SmallDisk(folder / "disco", DISK)).path if incident.needs_disk else None
        return _drill(incident, stack.enter_context(Site(folder, server, disk)))


def _drill(incident: Incident, site: Site) -> int:
    incident.seed(site)
    # Whoever sits here edits the settings himself.
    site.edits = {}
    print(
        f"Simulacro preparado. Algo falla; busque el mensaje en {PAGE.relative_to(PROJECT)} y cúrelo.\n"
        f"Donde el manual dice /home/etl, aquí es {site.home}\n"
        f"Donde dice /opt/visitas, aquí es {PROJECT}\n"
        f"Los servicios, sudo y journalctl son de mentira. Empiece con: visitas status\n"
        f"Al salir (exit o Ctrl-D) se dice si quedó curado, y se borra todo.",
        flush=True,
    )
    terminal = ["bash", "--noprofile", "--norc", *(["-i"] if sys.stdin.isatty() else ["-s"])]
    environment = site.environment() | site.written()
    environment |= {name: os.environ[name] for name in ("EDITOR", "TERM") if name in os.environ}
    subprocess.run(terminal, cwd=site.home, env=environment, check=False)
    wrong = incident.wrong(site)
    print("Curado." if not wrong else "Todavía no:\n" + "\n".join(f"  {line}" for line in wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
