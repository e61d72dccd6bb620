"""Labels and selectors: what they may be, and which nodes they mean."""

from __future__ import annotations

import pytest

from edgesplit.errors import InvalidInput
from edgesplit.planning.selector import checked_labels, labels_text, parsed_selector

HOME_EDGE = {"site": "home", "role": "edge"}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("site=home", True),
        ("site=home,role=edge", True),
        (" site = home , role = edge ", True),
        ("site=home,role=device", False),
        ("role!=device", True),
        ("role!=edge", False),
        ("rack!=7", True),  # whoever has no rack has another than 7
        ("rack=7", False),
        ("site=Home", False),
    ],
)
def test_all_requirements_have_to_hold(text: str, selected: bool) -> None:
    assert parsed_selector(text).matches(HOME_EDGE) == selected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read at ''"),
        ("home", "cannot be read at 'home'"),
        ("site=home,", "cannot be read at ''"),
        ("site=", "the value ''"),
        ("=home", "the label ''"),
        ("site==home", "the value '=home'"),
        ("site=a b", "the value 'a b'"),
        ("site=" + "x" * 64, "1 to 63"),
        (",".join(f"a{number}=b" for number in range(17)), "17 requirements"),
    ],
)
def test_what_is_no_selector_is_refused_and_says_where(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match="selector") as error:
        parsed_selector(text)
    assert said in str(error.value)


def test_a_selector_is_written_as_it_is_read() -> None:
    assert str(parsed_selector("site=home, role!=gateway")) == "site=home,role!=gateway"
    assert labels_text(HOME_EDGE) == "role=edge,site=home"
    assert parsed_selector(labels_text(HOME_EDGE)).matches(HOME_EDGE)


@pytest.mark.parametrize("labels", [{"site": ""}, {"": "home"}, {"si te": "home"}, {"site": "a=b"}, {"site": "a,b"}])
def test_labels_that_no_selector_could_name_are_refused(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="letters, digits"):
        checked_labels(labels)


def test_a_node_has_so_many_labels() -> None:
    checked_labels({f"a{number}": "b" for number in range(16)})
    with pytest.raises(InvalidInput, match="17 labels"):
        checked_labels({f"a{number}": "b" for number in range(17)})
