"""Names of copies read back.

The names belong here; what the ledger says of them does not.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visitas_dagster.closing.contents import CopyName, copy_name, second_name
from visitas_dagster.resources.folders import Folders

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
report_names = st.from_regex(r"report_[0-9]{1,6}\.txt", fullmatch=True)
any_names = st.text(st.characters(exclude_characters="/\\", exclude_categories=("C", "Z")), min_size=1, max_size=40)


@given(archivo=st.one_of(report_names, any_names), digest=digests)
def test_a_copys_name_gives_its_report_and_digest(archivo: str, digest: str) -> None:
    name = Folders.name_in_zip(archivo, digest)
    assert copy_name(name) == CopyName(archivo, digest[:12])


@given(archivo=st.one_of(report_names, any_names), digest=digests, other=digests)
def test_a_second_name_stands_for_the_same_content(archivo: str, digest: str, other: str) -> None:
    name = Folders.name_in_zip(archivo, digest)
    second = second_name(name, other)
    assert second != name
    assert other[:12] in second
    assert copy_name(second) == CopyName(archivo, digest[:12])


@pytest.mark.parametrize(
    "name",
    ["manifiesto.json", "notas.txt", "report_1__abc.txt", "report_1__2A17FD3773A3.txt", "report_1.txt", "", "__"],
)
def test_other_names_are_no_copies(name: str) -> None:
    assert copy_name(name) is None
