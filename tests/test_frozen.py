"""Frozen dataclasses: the same behaviour as those of the standard library."""

import copy
import dataclasses
import inspect
import pickle
from dataclasses import field
from typing import Any

import pytest

from sinagot_catalog.startup import dataclass


@dataclass(frozen=True)
class Ours:
    """A class of ours."""

    a: int
    b: list[int] = field(default_factory=list, hash=False)
    c: str = field(default="c", repr=False, compare=False)
    d: int = field(default=0, kw_only=True)


@dataclasses.dataclass(frozen=True)
class Theirs:
    """The same of the standard library."""

    a: int
    b: list[int] = field(default_factory=list, hash=False)
    c: str = field(default="c", repr=False, compare=False)
    d: int = field(default=0, kw_only=True)


@dataclass(frozen=True)
class Longer(Ours):  # noqa: PLW1641 - gets its hash from its fields
    """A class with a method of its own, and a field that it computes."""

    e: int = field(init=False, default=5)
    f: list[str] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "e", self.a + 1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Longer) and self.e == other.e


BOTH = pytest.mark.parametrize("cls", [Ours, Theirs])


@BOTH
def test_values_equality_hash_and_text(cls):
    one = cls(1, [2], d=4)
    assert (one.a, one.b, one.c, one.d) == (1, [2], "c", 4)
    assert repr(one) == f"{cls.__name__}(a=1, b=[2], d=4)"
    assert one == cls(1, [2], "other", d=4)
    assert hash(one) == hash(cls(1, [3], "other", d=4)) == hash((1, 4))
    assert one != cls(1, [2], d=5)
    assert one != (1, [2], "c", 4)
    assert cls(1).b is not cls(1).b


@BOTH
def test_a_field_is_set_once(cls):
    one = cls(1)
    for name in ("a", "new"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(one, name, 2)
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'a'"):
        del one.a
    assert one == cls(1)


@BOTH
def test_functions_of_the_standard_library(cls):
    one = cls(1, [2])
    assert dataclasses.replace(one, a=3, d=9) == cls(3, [2], d=9)
    assert dataclasses.asdict(one) == {"a": 1, "b": [2], "c": "c", "d": 0}
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - its own text
    signature = inspect.signature(cls)
    assert list(signature.parameters) == ["a", "b", "c", "d"]
    assert signature.parameters["d"].kind is inspect.Parameter.KEYWORD_ONLY
    assert signature.parameters["c"].default == "c"


@BOTH
def test_arguments_that_are_missing_or_too_many(cls):
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        cls()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        cls(1, z=2)
    with pytest.raises(TypeError, match="positional arguments"):
        cls(1, [2], "c", 3)


def test_inherited_and_computed_fields():
    one = Longer(1, d=2)
    assert repr(one) == "Longer(a=1, b=[], d=2, e=2, f=[])"
    assert one == Longer(1, d=3)
    assert one.f is not Longer(1).f
    assert one != Ours(1, d=2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.e = 7


def test_a_class_with_a_method_of_its_own_keeps_it():
    @dataclass(frozen=True)
    class Own:
        """A class with its own text."""

        a: Any

        def __repr__(self) -> str:
            return f"own {self.a}"

    assert repr(Own(3)) == "own 3"


def test_a_value_that_contains_itself_has_a_text():
    inner: list[Any] = []
    one = Ours(1, inner)
    inner.append(one)
    assert repr(one) == "Ours(a=1, b=[...], d=0)"
