"""Settings of several kinds: the name decides which fields there are."""

import copy
import dataclasses
import re

import pytest

from rpd_jax.config.tagged import Tagged
from rpd_jax.config.validation import ConfigError, check, from_dict, setting, to_dict


@dataclasses.dataclass
class Animal(Tagged, section="animal"):
    name: str = "cat"
    weight: float = setting(1.0, above=0)


@dataclasses.dataclass
class Cat(Animal):
    lives: int = setting(9, low=1)


@dataclasses.dataclass
class Bird(Animal):
    name: str = "bird"
    wings: int = 2
    colours: tuple[str, ...] = ("red",)


Animal.kinds.update(cat=Cat, bird=Bird)


def test_the_name_chooses_the_kind_and_changes_it() -> None:
    animal = Animal(weight=2.0)
    assert type(animal) is Cat and animal == Cat("cat", 2.0, 9)
    animal.lives = 3
    animal.name = "bird"
    assert type(animal) is Bird and animal == Bird("bird", 2.0, 2, ("red",))
    assert "lives" not in vars(animal)
    assert type(Animal(name="bird", wings=4)) is Bird and Animal(name="bird", wings=4).wings == 4
    assert type(copy.deepcopy(animal)) is Bird and dataclasses.replace(animal, wings=0).wings == 0


def test_fields_of_other_kinds_are_refused() -> None:
    message = re.escape("animal.wings cannot work with animal.name='cat': only bird have such a setting")
    animal = Animal()
    with pytest.raises(ConfigError, match=message):
        animal.wings = 3
    with pytest.raises(ConfigError, match="did you mean 'weight'"):
        animal.wieght = 3
    with pytest.raises(ConfigError, match="wings"):
        from_dict(Animal, {"name": "cat", "wings": 3})
    with pytest.raises(ConfigError, match=r"animal.name='brid' is unknown: choose from cat, bird; did you mean 'bird'"):
        Animal(name="brid").check_kind()


def test_tables_go_there_and_back_and_old_ones_may_list_defaults_of_all_kinds() -> None:
    bird = Bird(weight=0.1, wings=3)
    assert from_dict(Animal, to_dict(bird)) == bird
    old = {"name": "cat", "weight": 2, "lives": 1, "wings": 2, "colours": ["red"]}
    assert from_dict(Animal, old) == Cat("cat", 2.0, 1)
    with pytest.raises(ConfigError, match=r"animal.name='brid' is unknown: .*did you mean 'bird'"):
        from_dict(Animal, {"name": "brid"})
    check(bird)
    bird.wings = "many"
    with pytest.raises(ConfigError, match=r"animal\.wings='many' cannot work"):
        check(bird, "animal.")
