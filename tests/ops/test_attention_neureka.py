"""attention_neureka: bit for bit attention of one row, and where N-EUREKA has its scores."""

from __future__ import annotations

from op_laws import check_refuses, check_types, examples, run

from edgec.ir.graph import TensorType
from edgec.ops import find
from edgec.ops.attention_neureka import first_position, form, line_bytes, row_length, suits


def test_types() -> None:
    check_types("attention_neureka")
    check_refuses("attention_neureka", q=TensorType((2, 64), "i8"))
    check_refuses("attention_neureka", q=TensorType((1, 64), "f32"))


def test_it_is_attention() -> None:
    for op, example in examples("attention_neureka"):
        inputs = {role: value.copy() for role, value in example.inputs.items()}
        want = find("attention").reference(inputs, dict(example.attrs), example.pos)
        got = run(op, example)
        assert {role: a.tobytes() for role, a in got.items()} == {role: a.tobytes() for role, a in want.items()}


def test_heads_that_share_keys_and_do_not_fill_the_cores() -> None:
    assert suits(9, 3, 28, 8) and suits(15, 5, 16, 8)
    assert not suits(9, 9, 28, 8)  # none has another one's keys
    assert not suits(9, 3, 30, 8)  # elements that end within a word


def test_heads_that_fill_the_cores() -> None:
    assert suits(8, 4, 16, 8) and suits(16, 8, 32, 8) and suits(8, 2, 128, 8)
    assert not suits(8, 8, 16, 8)  # none has another one's keys
    assert not suits(8, 4, 8, 8)  # scores take little
    assert not suits(8, 4, 128, 8)  # queries take long to encode
    assert not suits(32, 8, 16, 8)


def test_late_positions_are_the_engines() -> None:
    numbers = {"n_heads": 9, "n_kv_heads": 3, "head_dim": 28, "cores": 8}
    first = first_position(numbers)
    assert first == 92 and form(9, 3, 28, first, 8) == "engine"
    assert [form(9, 3, 28, pos, 8) for pos in (0, 7, 8, first - 1)] == ["words", "words", "teams", "teams"]
    assert [form(8, 4, 16, pos, 8) for pos in (7, 8, 212, 213)] == ["words", "teams", "teams", "engine"]
    assert first_position({"n_heads": 8, "n_kv_heads": 2, "head_dim": 64, "cores": 8}) == 85
    assert all(
        form(heads, heads // 3, d, pos, 8) != "engine" for heads in (3, 9, 15) for d in (4, 1040) for pos in range(6)
    )


def test_two_heads_with_the_same_keys_that_do_not_fill_the_cores() -> None:
    assert suits(4, 2, 64, 8) and suits(10, 5, 64, 8) and suits(6, 3, 48, 8)
    assert not suits(4, 2, 12, 8) and not suits(10, 5, 68, 8) and not suits(9, 9, 64, 8)
    first = {h: first_position({"n_heads": h, "n_kv_heads": h // 2, "head_dim": 64, "cores": 8}) for h in (4, 6, 10)}
    assert first == {4: 100, 6: 56, 10: 68}  # cores share heads that are few, or left over, well


def test_room_for_the_engine() -> None:
    assert line_bytes(3, 28) == 96 and line_bytes(2, 16) == 32  # a line of 32 bytes for 32 elements
    assert row_length(9) == 16 and row_length(8) == 8
