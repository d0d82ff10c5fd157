"""``python -m visitas_dagster`` is the command ``visitas``.

Nothing but the call belongs here.
"""

from visitas_dagster.cli.app import main

if __name__ == "__main__":
    main()
