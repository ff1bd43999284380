"""Shape files are read as they were written, and a broken line is named."""

import pytest

from espnet3.components.data.shape_files import read_shape_file, write_shape_file
from espnet3.errors import UserError


def test_shapes_are_read_as_written_in_their_order(tmp_path):
    shapes = {"b": (123, 40), "a uid with blanks": (7,), "a": (0, 40), "a\u2028b\x85": (1,)}
    write_shape_file(tmp_path / "feats_shape", shapes)
    assert (tmp_path / "feats_shape").read_text() == "b 123,40\na uid with blanks 7\na 0,40\na\u2028b\x85 1\n"
    assert list(read_shape_file(tmp_path / "feats_shape").items()) == list(shapes.items())


@pytest.mark.parametrize(
    "line", ["123,40", "a 12,x", "a", "a 12,", "a -1,40", "a 1_0", "a \u0661", f"a {'9' * 5000}", ""]
)
def test_a_broken_line_is_named(tmp_path, line):
    (tmp_path / "feats_shape").write_text(f"b 1,2\n{line}\n")
    with pytest.raises(UserError, match=r"feats_shape:2: .* is not `uid 123,40`; run stage 1"):
        read_shape_file(tmp_path / "feats_shape")


def test_a_file_that_is_not_there_says_which_stage_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"no shape file at .*feats_shape; stage 1"):
        read_shape_file(tmp_path / "feats_shape")


def test_a_file_that_is_no_text_or_a_folder_is_refused(tmp_path):
    (tmp_path / "feats_shape").write_bytes(b"a 1\n\xff 2\n")
    with pytest.raises(UserError, match=r"feats_shape is no text in UTF-8 .*; run stage 1"):
        read_shape_file(tmp_path / "feats_shape")
    (tmp_path / "text_shape").mkdir()
    with pytest.raises(UserError, match=r"can't read .*text_shape: Is a directory"):
        read_shape_file(tmp_path / "text_shape")
