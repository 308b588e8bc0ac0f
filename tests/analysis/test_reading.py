from pathlib import Path

import pandas as pd
import pytest

from analysis.load import read_table
from analysis.reading import read_alike


def files(folder: Path, *contents: str) -> list[Path]:
    paths = [folder / f"{i}.csv" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(content, newline="")
    return paths


def test_alike_files_are_read_as_each_alone(tmp_path: Path) -> None:
    paths = files(
        tmp_path, "step,return\n1,2.5\n2,\n", "step,return\n7,nan\n", "step,length\n3,4\n", "step,return\n1,2\n"
    )
    found = read_alike(paths)
    assert set(found) == set(paths)
    for path in paths:
        pd.testing.assert_frame_equal(found[path], read_table(path, ("step",)), check_dtype=False)


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    paths = files(tmp_path, "step,return\n1,2\n2,", "step,return\n3,4\n")
    assert [len(read_alike(paths)[path]) for path in paths] == [1, 1]


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "step,return\n",
        "step,return",
        "step,return\n1,2,3\n",
        "step,return\n1,two\n",
        'step,return\n1,"2"\n',
        "step,return\n1,2\n\n",
        "step,return\r\n1,2\r\n",
        "\n1,2\n",
    ],
)
def test_an_odd_file_is_left_to_be_read_alone_and_harms_no_other_kind(tmp_path: Path, odd: str) -> None:
    paths = files(tmp_path, odd, "step,length\n1,2\n")
    assert set(read_alike([*paths, tmp_path / "absent.csv"])) == {paths[1]}


def test_a_row_that_is_too_short_is_a_row_with_blanks_as_it_is_alone(tmp_path: Path) -> None:
    paths = files(tmp_path, "step,return\n1\n", "step,return\n2,3\n")
    found = read_alike(paths)
    assert found[paths[0]]["return"].isna().all()
    assert found[paths[1]]["return"].tolist() == [3]
