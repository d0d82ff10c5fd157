"""The states and their groups, as the contract's section 2 has them.

What a state means belongs here; who moves a file from one to another does not.
"""

import pytest

from visitas_dagster.domain.states import CURRENT, FAILED, FINISHED, LOADED, Estado, loaded_state


def test_the_six_states_are_written_as_the_contract_names_them() -> None:
    assert [estado.value for estado in Estado] == [
        "EN_PROCESO",
        "COMPLETADO",
        "COMPLETADO_CON_ERRORES",
        "FALLO_LAYOUT",
        "FALLO_SISTEMA",
        "DUPLICADO",
    ]
    assert str(Estado.COMPLETADO) == "COMPLETADO"


# contract §2: whose rows stand, what becomes a name's current version, whose server copy goes, who needs a person
@pytest.mark.parametrize(
    ("estado", "loaded", "current", "finished", "failed"),
    [
        (Estado.EN_PROCESO, False, False, False, False),
        (Estado.COMPLETADO, True, True, True, False),
        (Estado.COMPLETADO_CON_ERRORES, True, True, True, False),
        (Estado.DUPLICADO, False, True, True, False),
        (Estado.FALLO_LAYOUT, False, False, True, True),
        (Estado.FALLO_SISTEMA, False, False, False, True),
    ],
)
def test_each_state_is_in_its_groups(estado: Estado, loaded: bool, current: bool, finished: bool, failed: bool) -> None:
    assert tuple(estado in group for group in (LOADED, CURRENT, FINISHED, FAILED)) == (
        loaded,
        current,
        finished,
        failed,
    )


@pytest.mark.parametrize(
    ("invalid", "estado"),
    [(0, Estado.COMPLETADO), (1, Estado.COMPLETADO_CON_ERRORES), (7, Estado.COMPLETADO_CON_ERRORES)],
)
def test_rejected_records_decide_how_a_load_ends(invalid: int, estado: Estado) -> None:
    assert loaded_state(invalid) is estado
